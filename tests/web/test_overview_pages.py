"""The first page of admins and managers: the registry, the counts, the charts, and what needs attention."""

import re

import pytest

from regadmin.app import App
from regadmin.entities import Descriptor, Manifest, Role
from tests.rigs.client import Client
from tests.rigs.standin import StandinRegistry

HTMX = {"HX-Request": "true"}


@pytest.fixture
def boss(app, browser, add_user) -> Client:
    add_user("boss", Role.ADMIN)
    return browser("boss")


@pytest.fixture
def stored(app):
    blobs = (Descriptor("sha256:" + "a" * 64, 2_000_000), Descriptor("sha256:" + "b" * 64, 1_000_000))
    for name, layers in (("team/app", blobs), ("<b>team</b>", blobs[:1])):
        manifest = Manifest("sha256:" + "c" * 64, "type", "image", b"{}", layers=layers)
        app.store.repositories.save_manifest(name, manifest, None)
        app.store.repositories.point_tag(name, "v1", manifest.digest)
        app.store.repositories.refresh([name])


@pytest.mark.parametrize("path", ["/overview", "/overview/registry"])
@pytest.mark.parametrize(("role", "status"), [(None, 303), (Role.USER, 403), (Role.MANAGER, 200), (Role.ADMIN, 200)])
def test_admins_and_managers_see_it(client, browser, add_user, path, role, status):
    if role:
        add_user("visitor", role)
    assert (browser("visitor") if role else client).get(path).status == status


def test_an_empty_server_draws_nothing(boss):
    text = boss.get("/overview").text
    assert "Nothing is stored yet." in text
    assert "Nothing was pulled or pushed in this period." in text
    assert 'role="img"' not in text
    assert "There was none yet." in text


def test_a_manager_is_led_only_where_he_may_go(browser, add_user):
    add_user("meg", Role.MANAGER)
    text = browser("meg").get("/overview").text
    assert 'href="/users"' not in text and 'href="/groups"' not in text
    assert 'href="/access"' in text


class TestCharts:
    def test_storage_has_a_name_a_table_and_bars(self, boss, stored):
        text = boss.get("/overview").text
        chart = re.search(r'aria-labelledby="storage".*?</section>', text, re.S)[0]
        assert 'role="img" aria-label="Bars: bytes stored' in chart
        assert chart.count("<rect") == 2 + 3
        assert "3.0 MB" in chart and "2.0 MB" in chart and "5.0 MB" in chart
        assert "&lt;b&gt;team&lt;/b&gt;" in chart and "<b>" not in chart
        assert len(re.findall(r"<tr role=\"row\">", chart)) == 3

    def test_days_have_a_name_a_table_and_columns(self, app, boss, clock):
        for ago, number in ((0, 3), (40, 5)):
            for _ in range(number):
                app.store.activity.count("pull", int(clock.now) - ago * 86_400)
        text = boss.get("/overview").text
        assert "Columns: pulls per day. 3 in all, most of them on 2026-11-18: 3." in text
        assert text.count('class="column"') == 1
        assert "None in this period." in text

    def test_of_90_days_comes_alone_for_htmx_with_its_address(self, app, boss, clock):
        app.store.activity.count("pull", int(clock.now) - 40 * 86_400)
        answer = boss.get("/overview?days=90", headers=HTMX)
        assert answer.header("HX-Push-Url") == "/overview?days=90"
        assert answer.text.lstrip().startswith('<section class="card chart" id="days"')
        assert answer.text.count('class="slot"') == 90
        assert boss.get("/overview?days=30", headers=HTMX).header("HX-Push-Url") == "/overview"
        assert boss.get("/overview?days=90").text.count('class="slot"') == 90

    @pytest.mark.parametrize("days", ["", "7", "x", "1e9"])
    def test_of_another_number_of_days_there_is_none(self, boss, days):
        assert boss.get(f"/overview?days={days}").status == 400


class TestTheRegistry:
    @pytest.fixture
    def registry(self):
        with StandinRegistry() as registry:
            yield registry

    @pytest.fixture
    def app(self, settings, clock, registry) -> App:
        return App(settings(registry__port=registry.port), clock)

    def test_is_not_asked_for_the_page(self, boss, registry):
        registry.requests.clear()
        text = boss.get("/overview").text
        assert registry.requests == []
        assert "Not checked yet" in text and 'hx-get="/overview/registry" hx-trigger="load"' in text

    def test_is_asked_by_the_link_with_and_without_htmx(self, boss, registry):
        whole, part = boss.get("/overview/registry").text, boss.get("/overview/registry", headers=HTMX).text
        assert [request.path for request in registry.requests] == ["/v2/", "/v2/"]
        for text in (whole, part):
            assert "Answers" in text and " ms" in text
        assert "<html" in whole and "<html" not in part
        assert "hx-trigger" not in part

    def test_that_does_not_answer_is_a_state_and_not_an_error(self, boss, registry):
        registry.stop()
        answer = boss.get("/overview/registry")
        assert answer.status == 200
        assert "Does not answer" in answer.text and "Connection refused" in answer.text


class TestTheBanner:
    def test_is_on_every_page_while_the_registry_is_away(self, app, boss):
        app.health.note(False)
        for path in ("/overview", "/repos", "/access", "/users", "/activity", "/sync"):
            assert "The registry does not answer since" in boss.get(path).text, path
        app.health.note(True)
        assert "does not answer since" not in boss.get("/repos").text

    def test_is_not_for_strangers_nor_within_fragments(self, app, client, boss):
        app.health.note(False)
        assert "does not answer since" not in client.get("/login").text
        assert "does not answer since" not in boss.get("/repos", headers=HTMX).text


class TestConcerns:
    @pytest.mark.parametrize(
        ("days", "words"),
        [
            (3, "The certificate that signs tokens ends in 3 days."),
            (1, "The certificate that signs tokens ends in 1 day."),
            (-1, "The certificate that signs tokens has ended"),
        ],
    )
    def test_of_the_certificate_is_told(self, app, clock, script, add_user, days, words):
        add_user("boss", Role.ADMIN)
        clock.pass_time(app.signing_key.not_after - clock.now - days * 86_400)
        assert words in script("boss").get("/overview").text

    def test_of_events_and_of_the_synchronisation_are_told(self, app, boss):
        app.store.inbox.add([("1", b"{}")], "events")
        app.store.inbox.mark_kept(1, "broken")
        app.synchronisation.run("test")
        text = boss.get("/overview").text
        assert "1 notification of the last 7 days could not be applied." in text
        assert 'The last <a href="/sync">synchronisation</a> did not come to its end.' in text
