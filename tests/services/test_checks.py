"""The checks of the setup, against a real registry that is set up well, badly or not at all."""

import os
import time

import pytest
import yaml

from regadmin.app import App
from regadmin.entities import REGISTERED_ID
from regadmin.messages import Message
from regadmin.services.findings import NAMES, CheckResult, State
from tests.rigs import standin
from tests.rigs.clock import Clock
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import wait_until
from tests.rigs.standin import Reply, StandinRegistry

HERE = "http://admin.example:8080"
ASKING = ("registry", "challenge", "credentials", "clock", "deletion")


@pytest.fixture
def clock() -> Clock:
    """Begins now: the registry has a clock of its own, by which it believes our tokens or not."""
    return Clock(int(time.time()))


@pytest.fixture
def app(settings, clock) -> App:
    return App(settings(registry__port=free_port()), clock)


@pytest.fixture
def registry(app, tmp_path):
    """Start the registry that the app looks for, with changes to what its settings should be."""
    started = []

    def start(delete_enabled: bool = True, is_open: bool = False, **changes) -> RealRegistry:
        auth = yaml.safe_load(app.registry_settings.yaml(HERE))["auth"]["token"] | changes
        port = app._settings["registry.port"]
        options = {"port": port, "delete_enabled": delete_enabled, "auth": None if is_open else auth}
        started.append(RealRegistry(tmp_path / "registry", **options).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def results(app: App, address: str = HERE) -> dict[str, CheckResult]:
    return {result.name: result for result in app.checks.run(address)}


def states(app: App, names=ASKING) -> dict[str, State]:
    found = results(app)
    return {name: found[name].state for name in names}


def facts(result: CheckResult) -> dict[str, str]:
    return {fact.label: fact.text for fact in result.facts}


def test_all_is_well_with_the_configuration_that_we_give(app, registry):
    registry()
    assert set(states(app).values()) == {State.OK}


def test_all_have_a_stable_name_and_speak_in_sentences(app):
    found = app.checks.run()
    unused = ("https", "provision", "identity")
    assert [result.name for result in found] == [name for name in NAMES if name not in unused]
    for result in found:
        assert isinstance(result.title, Message)
        assert isinstance(result.says, Message), result
        assert result.state is State.OK or result.remedy or result.state is State.OPEN
        assert not result.remedy or isinstance(result.remedy, Message)


def test_what_one_process_found_is_known_to_all_and_what_a_visitor_found_is_not(app, settings, clock):
    port = app._settings["registry.port"]
    app.checks.look()
    other = App(settings(registry__port=port), clock)
    assert {result.state for result in other.checks.known() if result.name in ASKING} == {State.OPEN}
    found = app.checks.run()
    known = other.checks.known()
    assert known == found
    assert all(isinstance(result.says, Message) for result in known)


def test_a_registry_that_is_not_there_leaves_the_rest_open(app):
    found = results(app)
    assert found["registry"].state is State.BAD
    assert "Connection refused" in found["registry"].says
    assert {found[name].state for name in ASKING[1:]} == {State.OPEN}


def test_a_registry_that_hangs_keeps_nobody_waiting_long(settings, clock, monkeypatch):
    monkeypatch.setattr(standin, "SLOW_SECONDS", 60)
    with StandinRegistry() as silent:
        silent.fail(standin.SLOW)
        app = App(settings(registry__port=silent.port), clock)
        found = results(app)
        silent.heal()
    assert found["registry"].state is State.BAD
    assert "did not answer within 3 seconds" in found["registry"].says


class TestTheChallenge:
    def test_shows_what_was_expected_and_what_was_found(self, app, registry):
        registry(service="another", realm="http://admin.example:8080/token")
        found = results(app)["challenge"]
        assert found.state is State.BAD
        assert facts(found) == {
            "Expected realm": f"{HERE}/api/v1/registry/auth",
            "Found realm": f"{HERE}/token",
            "Expected service": "container_registry",
            "Found service": "another",
        }

    @pytest.mark.parametrize("path", ["/api/v1/registry/auth", "/api/v1/auth", "/auth/token"])
    def test_takes_every_path_that_answers(self, app, registry, path):
        registry(realm=HERE.upper().replace("HTTP", "http") + path)
        assert results(app)["challenge"].state is State.OK

    def test_of_another_address_may_be_right_and_is_shown(self, app, registry):
        registry(realm="https://admin.example/api/v1/registry/auth")
        found = results(app)["challenge"]
        assert found.state is State.WARN
        assert found.is_done
        assert facts(found)["Found realm"] == "https://admin.example/api/v1/registry/auth"

    def test_that_is_missing_is_the_worst(self, app, registry):
        registry(is_open=True)
        found = results(app)
        assert found["challenge"].state is State.BAD
        assert "lets everybody do everything" in found["challenge"].says
        assert found["credentials"].state is State.OPEN

    @pytest.mark.parametrize("challenge", ["", "Basic realm=x", 'Bearer realm="http://[",service="container_registry"'])
    def test_of_another_kind_is_told(self, settings, clock, challenge):
        with StandinRegistry() as other:
            other.fail(Reply(401, b"{}", {"WWW-Authenticate": challenge}), on="/v2/")
            app = App(settings(registry__port=other.port), clock)
            assert results(app)["challenge"].state is State.BAD

    def test_is_compared_with_the_configured_address_where_there_is_no_browser(self, settings, clock, registry):
        app = App(settings(hostname="admin.example", port=8080), clock)
        assert app.checks._address == HERE
        app = App(settings(hostname="admin.example", port=80), clock)
        assert app.checks._address == "http://admin.example"


@pytest.mark.parametrize("wrong", ["issuer", "rootcertbundle"])
def test_a_registry_that_does_not_believe_us_is_found(app, registry, settings, clock, tmp_path, wrong):
    App(settings(registry__certs__path=tmp_path / "others", store__embed__path=tmp_path / "other.db"), clock)
    values = {"issuer": "somebody", "rootcertbundle": tmp_path / "others" / "registry_auth_ca.crt"}
    registry(**{wrong: values[wrong]})
    found = results(app)
    assert found["challenge"].state is State.OK
    assert found["credentials"].state is State.BAD
    assert "restart" in found["credentials"].remedy


def test_a_registry_that_deletes_nothing_is_found_without_deleting(app, registry):
    started = registry(delete_enabled=False)
    found = results(app)["deletion"]
    assert found.state is State.BAD
    assert "“storage”" in found.remedy
    assert not any(os.scandir(started.data))


def test_checking_leaves_nothing_behind_in_the_registry(app, registry):
    started = registry()
    assert results(app)["deletion"].state is State.OK
    assert list(app.registry.repositories()) == []
    assert not any(os.scandir(started.data))


class TestWithoutTheRegistry:
    def local(self, app) -> dict[str, CheckResult]:
        return {result.name: result for result in app.checks.known()}

    def test_nothing_is_asked(self, settings, clock):
        with StandinRegistry() as registry:
            app = App(settings(registry__port=registry.port), clock)
            found = self.local(app)
            assert registry.requests == []
            assert {found[name].state for name in ASKING} == {State.OPEN}
            app.checks.run()
            asked = len(registry.requests)
            assert self.local(app)["registry"].state is State.OK
            assert len(registry.requests) == asked

    def test_the_default_password_is_found_whoever_has_it(self, settings, clock, by):
        app = App(settings(store__admin_password="admin"), clock)
        found = self.local(app)["default-password"]
        assert (found.state, "the account admin" in found.says) == (State.BAD, True)
        admin = app.users.find(1)
        app.users.change_password(admin, "", "a better one", by=by)
        assert self.local(app)["default-password"].state is State.OK

    def test_the_certificate_is_shown_and_its_end_told_in_time(self, app, clock):
        found = self.local(app)["certificate"]
        assert found.state is State.OK
        fingerprint, end = found.facts
        assert (fingerprint.text, end.at) == (app.signing_key.fingerprint, app.signing_key.not_after)
        clock.now = app.signing_key.not_after - 10 * 86_400
        assert self.local(app)["certificate"].state is State.WARN
        clock.now = app.signing_key.not_after + 86_400
        assert self.local(app)["certificate"].state is State.BAD

    def test_notifications_are_known_by_the_last_one(self, app, clock):
        assert self.local(app)["notifications"].state is State.OPEN
        app.events.record(standin.envelope(standin.event("pull", "team/app")), app.users.find(1))
        found = self.local(app)["notifications"]
        assert (found.state, found.facts[0].at) == (State.OK, clock.now)

    def test_notifications_are_known_when_they_are_forgotten(self, app, clock):
        app.store.activity.add("push", "alice", "team/app:1", at=1_700_000_000)
        found = self.local(app)["notifications"]
        assert (found.state, found.facts[0].at) == (State.OK, 1_700_000_000)

    def test_the_first_synchronisation_waits_runs_fails_and_is_done(self, app, registry):
        assert self.local(app)["synchronisation"].says == "the registry has not been read yet"
        run_id = app.store.sync_runs.start("timer")
        assert self.local(app)["synchronisation"].says == "the registry is being read"
        app.store.database.execute("DELETE FROM sync_runs WHERE id = ?", (run_id,))
        app.store.sync_runs.release(run_id)
        app.synchronisation.run("timer")
        assert self.local(app)["synchronisation"].state is State.BAD
        registry()
        app.synchronisation.run("timer")
        assert self.local(app)["synchronisation"].state is State.OK
        app.store.sync_runs.start("timer")
        assert self.local(app)["synchronisation"].state is State.OK

    def test_the_first_user_and_rule_are_both_needed(self, app, by):
        assert self.local(app)["access"].says == "you are the only one"
        app.users.create(by, "a good password", login="alice")
        assert self.local(app)["access"].says == "no rule gives anybody access"
        rule = app.rules.create(by, REGISTERED_ID, resource_name="**", action="pull", is_disabled=True)
        assert not self.local(app)["access"].is_done
        app.rules.update(rule.id, by, is_disabled=False)
        assert self.local(app)["access"].state is State.OK


class TestTheBasicMode:
    @pytest.fixture
    def app(self, settings, clock, tmp_path) -> App:
        htpasswd = tmp_path / ".htpasswd"
        htpasswd.write_text("robot:$2y$05$wLYmgFEeCbMtpNp0tzzvSeqbCPh9nmfDMxfXbKzsBmOBqC2xqPjgu\n")
        options = {"auth_type": "basic", "login": "robot", "password": "x", "htpasswd": htpasswd, "port": free_port()}
        return App(settings(**{f"registry__{name}": value for name, value in options.items()}), clock)

    def start(self, app, tmp_path, auth) -> RealRegistry:
        return RealRegistry(tmp_path / "registry", port=app._settings["registry.port"], auth=auth)

    def test_has_no_certificate_and_wants_login_and_password(self, app, tmp_path):
        with self.start(app, tmp_path, tmp_path / ".htpasswd"):
            found = results(app)
        assert "certificate" not in found
        assert found["challenge"].state is State.OK
        assert found["credentials"].state is State.BAD
        assert "htpasswd" in found["credentials"].remedy

    def test_does_not_fit_a_registry_that_wants_tokens(self, app, settings, clock, tmp_path):
        auth = {"realm": HERE, "service": "s", "issuer": "i"}
        auth["rootcertbundle"] = tmp_path / "certs" / "registry_auth_ca.crt"
        with self.start(app, tmp_path, auth):
            assert results(app)["challenge"].state is State.BAD


class TestTheBlocksToPaste:
    def test_are_the_live_settings(self, settings, clock, tmp_path):
        app = App(settings(registry__service="a: service", registry__issuer="l'émetteur"), clock)
        read = yaml.safe_load(app.registry_settings.yaml("https://admin.example"))
        assert read["auth"]["token"] == {
            "realm": "https://admin.example/api/v1/registry/auth",
            "service": "a: service",
            "issuer": "l'émetteur",
            "rootcertbundle": str(tmp_path / "certs" / "registry_auth_ca.crt"),
        }
        endpoint = read["notifications"]["endpoints"][0]
        assert endpoint["url"] == "https://admin.example/api/v1/registry/events"
        assert read["storage"] == {"delete": {"enabled": True}}

    def test_as_variables_a_real_registry_understands_them(self, app, tmp_path, registry, monkeypatch):
        lines = app.registry_settings.environment(HERE).splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        assert set(variables) >= {"REGISTRY_AUTH_TOKEN_REALM", "REGISTRY_NOTIFICATIONS_ENDPOINTS"}
        monkeypatch.setattr("tests.rigs.registry.clean_environment", lambda directory: os.environ | variables)
        started = registry(is_open=True, delete_enabled=False)
        assert set(states(app).values()) == {State.OK}
        wait_until(lambda: "configuring endpoint regadmin" in started.log.read_text())

    def test_of_the_basic_mode_name_the_shared_file(self, settings, clock, tmp_path):
        options = {"auth_type": "basic", "login": "robot", "password": "x", "htpasswd": tmp_path / "h"}
        app = App(settings(**{f"registry__{name}": value for name, value in options.items()}), clock)
        read = yaml.safe_load(app.registry_settings.yaml(HERE))
        assert read["auth"] == {"htpasswd": {"realm": "RegistryAdmin", "path": str(tmp_path / "h")}}
        assert f"REGISTRY_AUTH_HTPASSWD_PATH={tmp_path / 'h'}" in app.registry_settings.environment(HERE)
