"""What each role finds in the pages, and what it does not."""

import pytest
from playwright.sync_api import expect

from regadmin.entities import EVERYONE_ID
from tests.rigs.images import docker_image

WRITES = ["/users/new", "/groups/new", "/access/new", "/repos/web/app/-/tags/1.0/delete"]


@pytest.fixture
def manager(visit, site):
    return visit(site.url, login="manager").page


@pytest.mark.parametrize("path", WRITES)
def test_a_manager_is_told_which_role_it_needs_and_stays_signed_in(manager, path):
    answer = manager.goto(path)
    assert answer.status == 403
    expect(manager.locator("main")).to_contain_text("admin")
    manager.goto("/access")
    expect(manager.locator("h1")).to_have_text("Access")


@pytest.mark.parametrize("path", ["/access", "/repos", "/repos/web/app", "/repos/web/app/-/tags/1.0", "/activity"])
def test_a_manager_sees_nothing_that_he_could_not_press(manager, path):
    assert manager.goto(path).status == 200
    new = ", ".join(f"main a[href^='/{noun}/new']" for noun in ("users", "groups", "access"))
    expect(manager.locator(f"main form[method=post], main a[href$='/delete'], {new}")).to_have_count(0)


@pytest.fixture(scope="module")
def public(site):
    """One repository for everybody, anonymous visitors too."""
    site.push("open/door:1", docker_image("open"))
    site.allow(EVERYONE_ID, "open/*")


def test_an_anonymous_visitor_finds_what_is_shared_with_everybody_and_nothing_else(visit, site, public):
    page = visit(site.url).page
    page.goto("/")
    expect(page).to_have_url(site.url + "/repos")
    expect(page.locator("#list tbody th[scope=row]")).to_have_text(["open/door"])
    assert page.goto("/repos/open/door/-/tags/1").status == 200
    private, missing = page.goto("/repos/team/private"), page.content()
    assert private.status == 404
    assert page.goto("/repos/team/missing").status == 404
    assert page.content().replace("missing", "private") == missing


def test_a_user_finds_what_he_may_pull_and_no_administration(visit, site, public):
    page = visit(site.url, login="user").page
    page.goto("/")
    expect(page).to_have_url(site.url + "/repos")
    expect(page.locator("#list tbody th[scope=row]")).to_have_text(["open/door", "web/app"])
    expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_text(["Repositories"])
    for path in ("/users", "/groups", "/access", "/overview", "/activity", "/sync", "/setup"):
        assert page.goto(path).status == 403, path
