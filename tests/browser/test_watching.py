"""What changes while somebody looks: a synchronisation, the activity, a registry that goes and comes back."""

import re

import pytest
from playwright.sync_api import expect

from tests.rigs import images
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.standin import SLOW, Reply, StandinRegistry

BROKEN = Reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', {"Content-Type": "application/json"})


@pytest.fixture(scope="module")
def registry():
    with StandinRegistry() as registry:
        for number in range(12):
            registry.put(f"team/app{number:02}", "v1", images.docker_image(str(number)))
        yield registry


@pytest.fixture(scope="module")
def server(tmp_path_factory, registry):
    server = RunningServer(tmp_path_factory.mktemp("watched"), registry.port).start()
    wait_until(lambda: is_synchronised(server), 20)
    yield server
    server.stop()


def is_synchronised(server: RunningServer) -> bool:
    latest = server.call("GET", "/api/v1/registry/sync").json()["data"]
    return bool(latest) and latest["state"] == "complete"


@pytest.fixture
def page(visit, server):
    return visit(server.url, login="admin").page


@pytest.fixture
def held(registry):
    """A registry that does not give the manifests of one repository before heal()."""
    registry.fail(SLOW, "/team/app05/manifests/")
    yield registry
    registry.heal()


def start(page):
    page.goto("/sync")
    page.get_by_role("button", name="Synchronise now").click()
    expect(page.get_by_role("progressbar")).to_be_visible()


def test_a_synchronisation_is_watched_to_its_end_which_is_announced_once(page, held):
    start(page)
    expect(page.locator("#progress")).to_contain_text(re.compile(r"\d+ of \d+ repositor(y|ies), \d+ tags?, 0 errors"))
    expect(page.locator("#outcome")).to_be_empty()
    held.heal()
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.locator("#outcome")).to_have_text(
        "The synchronisation is complete: 12 of 12 repositories, 12 tags, 0 errors"
    )
    expect(page.locator("#list tbody tr").first).to_contain_text("Complete")
    expect(page.locator("#progress")).not_to_have_attribute("hx-trigger", re.compile("every"))


def test_a_second_start_tells_who_started_the_one_that_runs(page, held):
    start(page)
    page.get_by_role("button", name="Synchronise now").click()
    expect(page.get_by_role("alert")).to_contain_text("already running since")
    expect(page.get_by_role("alert")).to_contain_text("started by: admin")


def test_without_javascript_the_page_is_asked_again_by_a_link(visit, server, held):
    page = visit(server.url, login="admin", has_javascript=False).page
    start(page)
    held.heal()
    wait_until(lambda: server.call("GET", "/api/v1/registry/sync").json()["data"]["state"] == "complete")
    page.locator("#progress a").click()
    expect(page.locator("#progress a")).to_have_count(0)
    expect(page.locator("#list tbody tr").first).to_contain_text("Complete")


def test_one_broken_manifest_is_listed_and_the_rest_is_there(page, registry):
    registry.fail(BROKEN, "/team/app03/manifests/")
    try:
        page.goto("/sync")
        page.get_by_role("button", name="Synchronise now").click()
        row = page.locator("#list tbody tr").first
        expect(row).to_contain_text("Complete, with errors")
    finally:
        registry.heal()
    row.get_by_text("1 error", exact=True).click()
    expect(row.get_by_role("listitem").filter(has_text="team/app03:v1")).not_to_have_count(0)
    expect(row.locator("td").nth(5)).to_have_text("11")


def test_while_the_registry_is_down_the_lists_say_so_and_afterwards_no_more(page, registry):
    registry.stop()
    try:
        page.goto("/overview")
        page.get_by_role("link", name="Check now").click()
        expect(page.locator("#finding")).to_contain_text("Does not answer")
        page.goto("/repos")
        expect(page.locator(".banner")).to_contain_text("The registry does not answer since")
        expect(page.locator("#list tbody tr")).to_have_count(12)
    finally:
        registry.start()
    page.goto("/overview")
    page.get_by_role("link", name="Check now").click()
    expect(page.locator("#finding")).to_contain_text("Answers")
    page.goto("/repos")
    expect(page.locator(".banner")).to_have_count(0)


def test_new_events_are_offered_and_not_pushed_upon_the_reader(page, server):
    page.clock.install()
    page.goto("/activity?event=sign-in+failed")
    before = page.locator("#list tbody tr").count()
    server.call("GET", "/api/v1/users", auth=("mallory", "a guess"))
    page.clock.run_for(31_000)
    offer = page.get_by_role("link", name="1 new event")
    expect(offer).to_be_visible()
    expect(page.locator("#list tbody tr")).to_have_count(before)
    offer.click()
    expect(page.locator("#list tbody tr")).to_have_count(before + 1)
    expect(page.locator("#list tbody tr").first).to_contain_text("mallory")
    expect(offer).to_have_count(0)


def test_the_chart_of_another_period_comes_without_the_page(page, server):
    page.goto("/overview")
    page.get_by_role("link", name="90 days").click()
    expect(page).to_have_url(server.url + "/overview?days=90")
    expect(page.get_by_role("link", name="90 days")).to_have_attribute("aria-current", "true")
    page.go_back()
    expect(page.get_by_role("link", name="30 days")).to_have_attribute("aria-current", "true")
