"""Checks of this server's own side: clock, served certificate and files, with real files and a real registry."""

import time
from pathlib import Path

import pytest

from regadmin.app import App
from regadmin.certificates.renewal import Status
from regadmin.certificates.served import ServedCertificate
from regadmin.services.findings import State
from regadmin.services.own_checks import OwnSide, check_clock, check_files, check_https
from tests.rigs.client import Client
from tests.rigs.clock import Clock
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.tls import write_certificate
from tests.web.test_pages import sign_in

DAY = 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock(int(time.time()))


def found(app: App, name: str):
    return next(result for result in app.checks.known() if result.name == name)


class TestTheClock:
    @pytest.mark.parametrize(
        ("seconds", "state"), [(0, "ok"), (30, "ok"), (-31, "warn"), (60, "warn"), (61, "bad"), (-3600, "bad")]
    )
    def test_may_differ_by_half_a_minute(self, seconds, state):
        result = check_clock(1_800_000_000 + seconds, 1_800_000_000)
        assert result.state == state
        assert bool(result.remedy) == (state != "ok")
        assert state == "ok" or str(abs(seconds)) in result.says

    def test_that_is_not_told_is_open(self):
        assert check_clock(None, 1_800_000_000).state is State.OPEN

    def test_is_that_of_a_real_registry(self, settings, clock, tmp_path):
        app = App(settings(registry__port=free_port()), clock)
        with RealRegistry(tmp_path / "registry", port=app._settings["registry.port"]):
            app.checks.run()
            assert found(app, "clock").state is State.OK
            clock.now += 600
            app.checks.run()
            assert found(app, "clock").state is State.BAD


class TestACertificateFromFiles:
    @pytest.fixture
    def app(self, settings, clock, tmp_path):
        certificate, key = write_certificate(tmp_path / "tls")
        key.chmod(0o640)
        return App(settings(ssl__type="static", ssl__cert=certificate, ssl__key=key, hostname="a.example"), clock)

    def test_is_good_ends_soon_and_has_ended(self, app, clock):
        result = found(app, "https")
        assert (result.state, result.remedy) == (State.OK, "")
        ends = result.facts[0].at
        for left, state in ((15 * DAY, State.OK), (13 * DAY, State.WARN), (-1, State.BAD)):
            clock.now = ends - left
            assert found(app, "https").state is state

    def test_that_is_damaged_is_told_although_the_old_one_is_served(self, app, tmp_path):
        (tmp_path / "tls" / "server.crt").write_text("no certificate")
        result = found(app, "https")
        assert result.state is State.BAD
        assert "server.crt is damaged" in result.says

    def test_may_have_a_key_that_its_group_reads_but_nobody_else(self, app, tmp_path):
        assert found(app, "files").state is State.OK
        key = tmp_path / "tls" / "server.key"
        key.chmod(0o644)
        result = found(app, "files")
        assert (result.state, result.remedy) == (State.BAD, f"run “chmod g-w,o= {key}”")

    def test_is_warned_of_on_the_overview(self, app, clock):
        client = Client(app.wsgi)
        sign_in(client)
        assert "The certificate ends soon." not in client.get("/overview").text
        clock.now = found(app, "https").facts[0].at - 5 * DAY
        client = Client(app.wsgi)
        sign_in(client)
        shown = client.get("/overview").text
        assert "The certificate ends soon." in shown
        assert "it is taken up without a restart." in shown


class TestACertificateFromAnAuthority:
    @pytest.fixture
    def app(self, settings, clock, tmp_path) -> App:
        """An authority that cannot be reached."""
        app = App(
            settings(
                ssl__type="auto",
                ssl__fqdn="a.example",
                ssl__acme_location=tmp_path / "acme",
                ssl__acme_directory=f"http://127.0.0.1:{free_port()}/dir",
            ),
            clock,
        )
        app.prepare()
        return app

    def test_is_waited_for_and_its_failure_told_with_the_next_try(self, app, clock):
        assert found(app, "https").state is State.OPEN
        app.renewal.run_if_due()
        result = found(app, "https")
        assert result.state is State.BAD
        assert app.renewal.status().failure in result.says
        assert result.facts[-1].at == app.renewal.status().next_try > clock.now
        client = Client(app.wsgi)
        sign_in(client)
        shown = client.get("/overview").text
        assert "The authority gave no new certificate: " in shown
        assert "Next try: <time" in shown

    def test_has_files_for_nobody_else(self, app, tmp_path):
        assert found(app, "files").state is State.OK
        (tmp_path / "acme" / "certificate.pem").chmod(0o640)
        assert f"chmod go= {tmp_path / 'acme' / 'certificate.pem'}" in found(app, "files").remedy

    def test_that_lives_six_days_is_warned_of_when_its_renewal_is_overdue(self, tmp_path, clock):

        class SixDays:
            term = staticmethod(lambda: (clock.now, clock.now + 6 * DAY))

        def state(after: float) -> State:
            status = Status(clock.now + 6 * DAY, clock.now, 0, "", clock.now + 4 * DAY)
            return check_https(OwnSide(SixDays, lambda: status), clock.now + int(after * DAY)).state

        assert [state(days) for days in (0, 4, 5, 7)] == [State.OK, State.OK, State.WARN, State.BAD]

    def test_whose_renewal_fails_while_it_is_good_is_a_warning(self, tmp_path, clock):

        certificate = ServedCertificate(*write_certificate(tmp_path / "tls"), clock)
        status = Status(certificate.term()[1], clock.now - DAY, clock.now, "too many", clock.now + 60)
        result = check_https(OwnSide(certificate, lambda: status), clock.now)
        assert result.state is State.WARN
        assert "too many" in result.says


class TestFiles:
    def test_of_a_new_server_are_its_own(self, app):
        assert found(app, "files").state is State.OK

    @pytest.mark.parametrize("name", ["data.db", "data.db.secret", "certs/registry_auth.key", "data.db-wal"])
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
    def test_are_bad_when_others_may_use_them(self, app, tmp_path, name, mode):
        (tmp_path / name).chmod(mode)
        result = found(app, "files")
        assert result.state is State.BAD
        assert result.facts == ((str(tmp_path / name), f"{mode:04o}", None),)

    def test_that_a_group_shares_may_be_read_by_it(self, tmp_path):
        shared = tmp_path / "a b.htpasswd"
        shared.touch()
        own = OwnSide(shared_files=(shared, Path("missing")))
        for mode, state in ((0o640, State.OK), (0o660, State.BAD), (0o644, State.BAD)):
            shared.chmod(mode)
            assert check_files(own).state is state
        assert check_files(own).remedy == f"run “chmod g-w,o= '{shared}'”"
