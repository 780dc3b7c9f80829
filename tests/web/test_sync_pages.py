"""The pages of synchronisations: starting one, watching it, and their history."""

import re

import pytest

from regadmin.app import App
from regadmin.entities import Role
from regadmin.web.pages.synchronisation import errors_by_repository
from tests.rigs import images
from tests.rigs.client import Client
from tests.rigs.server import wait_until
from tests.rigs.standin import SLOW, Reply, StandinRegistry
from tests.web.test_pages import hidden

HTMX = {"HX-Request": "true"}
IMAGE = images.docker_image()


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        for name in ("team/app", "team/web"):
            registry.put(name, "v1", IMAGE)
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def boss(app, browser, add_user) -> Client:
    add_user("boss", Role.ADMIN)
    return browser("boss")


@pytest.fixture
def running(app, registry, boss):
    """A synchronisation that the registry holds up until heal()."""
    registry.fail(SLOW, "/manifests/")
    start(boss)
    wait_until(lambda: any("/manifests/" in request.path for request in registry.requests))
    yield app.synchronisation.latest()
    registry.heal()
    wait_until(lambda: app.synchronisation.latest().state != "running")


def start(browser: Client):
    return browser.post("/sync", form={"csrf": hidden(browser.get("/sync"))})


@pytest.mark.parametrize("path", ["/sync", "/sync/progress"])
@pytest.mark.parametrize(("role", "status"), [(None, 303), (Role.USER, 403), (Role.MANAGER, 200), (Role.ADMIN, 200)])
def test_admins_and_managers_see_it(app, client, browser, add_user, path, role, status):
    app.synchronisation.run("test")
    if role:
        add_user("visitor", role)
    assert (browser("visitor") if role else client).get(path, headers=HTMX).status == (status if role else 401)


@pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
def test_only_an_admin_starts_one(app, browser, add_user, role):
    add_user("visitor", role)
    visitor = browser("visitor")
    assert visitor.post("/sync", form={"csrf": hidden(visitor.get("/repos"))}).status == 403
    assert app.synchronisation.latest() is None
    assert 'action="/sync"' not in visitor.get("/sync").text


def test_starting_needs_our_own_form(app, boss):
    assert boss.post("/sync", form={"csrf": "guess"}).status == 403
    assert app.synchronisation.latest() is None


def test_before_the_first_one_the_page_says_what_to_do(boss):
    text = boss.get("/sync").text
    assert "No synchronisation yet" in text
    assert 'id="progress"' not in text


def test_one_is_started_under_the_name_of_the_admin_and_told_when_it_is_over(app, boss):
    answer = start(boss)
    assert (answer.status, answer.header("Location")) == (303, "/sync")
    run = wait_until(lambda: app.synchronisation.latest().state == "complete" and app.synchronisation.latest())
    assert (run.trigger, run.tags) == ("boss", 2)
    answer = boss.get(f"/sync/progress?watched={run.id}", headers=HTMX)
    assert "hx-trigger" not in answer.text
    assert answer.header("HX-Trigger") == "synchronised"
    assert 'id="outcome" hx-swap-oob="innerHTML"' in answer.text
    assert "The synchronisation is complete: 2 of 2 repositories, 2 tags, 0 errors" in answer.text


class TestWhileItRuns:
    def test_the_page_shows_how_far_it_is_and_asks_again(self, app, boss, running):
        wait_until(lambda: app.synchronisation.latest().repositories_total == 2)
        text = boss.get("/sync").text
        assert f'hx-get="/sync/progress?watched={running.id}" hx-trigger="every 1s"' in text
        assert re.search(r'<progress aria-label="[^"]+" max="2" value="[012]"', text)
        assert re.search(r"[012] of 2 repositories, 0 tags, 0 errors", text)
        assert '<a class="button" href="/sync">Refresh</a>' in text

    def test_the_block_asks_on_and_announces_nothing(self, boss, running):
        answer = boss.get(f"/sync/progress?watched={running.id}", headers=HTMX)
        assert 'hx-trigger="every 1s"' in answer.text
        assert "outcome" not in answer.text
        assert not answer.header("HX-Trigger")

    def test_another_one_is_refused_with_who_started_this_one(self, app, boss, running):
        answer = start(boss)
        assert answer.status == 409
        assert "A synchronisation is already running since" in answer.text
        assert "started by: boss" in answer.text
        assert app.synchronisation.latest().id == running.id

    def test_a_stray_visit_to_the_block_leads_to_the_page(self, boss, running):
        assert boss.get("/sync/progress").header("Location") == "/sync"


class TestTheHistory:
    def test_shows_the_newest_first_page_by_page(self, app, boss, clock):
        for number in range(30):
            clock.pass_time(100)
            run_id = app.store.sync_runs.start(f"robot-{number}")
            app.store.database.execute("UPDATE sync_runs SET state = 'complete', finished_at = started_at + 75")
            app.store.sync_runs.release(run_id)
        text = boss.get("/sync").text
        assert re.findall(r">robot-(\d+)<", text) == [str(number) for number in range(29, 4, -1)]
        assert "1 min 15 s" in text
        answer = boss.get("/sync?page=2", headers=HTMX)
        assert re.findall(r">robot-(\d+)<", answer.text) == ["4", "3", "2", "1", "0"]
        assert answer.header("HX-Push-Url") == "/sync?page=2"

    def test_renews_itself_without_a_step_in_the_browsers_history(self, app, boss):
        app.synchronisation.run("test")
        answer = boss.get("/sync", headers=HTMX | {"HX-Trigger": "list"})
        assert "<html" not in answer.text and ">test<" in answer.text
        assert not answer.header("HX-Push-Url")

    def test_tells_the_errors_by_repository(self, app, boss, registry):
        registry.fail(Reply(403, b'{"errors":[{"code":"DENIED","message":"<b>no</b>"}]}'), "/team/app/manifests/")
        run = app.synchronisation.run("test")
        assert list(errors_by_repository(run)) == ["team/app"]
        text = boss.get("/sync").text
        assert "Complete, with errors" in text and "1 error</summary>" in text
        assert "<strong>team/app</strong>" in text
        assert "&lt;b&gt;no&lt;/b&gt;" in text and "<b>no" not in text

    def test_tells_what_is_wrong_with_the_registry_itself(self, app, boss, registry):
        registry.stop()
        run = app.synchronisation.run("test")
        assert list(errors_by_repository(run)) == [""]
        text = boss.get("/sync").text
        assert "<strong>The registry</strong>" in text and "The catalog: the registry at" in text

    @pytest.mark.parametrize("query", ["?page=0", "?sort=errors"])
    def test_what_cannot_be_is_a_clear_page(self, boss, query):
        assert boss.get(f"/sync{query}").status == 400


def test_errors_are_kept_so_that_they_can_be_said_in_another_language(app, registry):
    registry.stop()
    app.synchronisation.run("test")
    [error] = app.synchronisation.latest().errors
    assert error.template == "%(what)s: %(reason)s"
    assert error.values["reason"].template.startswith("the registry at %(registry)s cannot be reached")
