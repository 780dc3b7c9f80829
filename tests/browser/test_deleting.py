"""Deleting: what stays, what is said, and where the focus goes."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.rigs import images


@pytest.fixture
def shared(site, request) -> str:
    """A repository of this test's own, in which `old` and `new` are the same image and `other` is another one."""
    name = f"gone/{request.node.name.split('[')[0].removeprefix('test_')[:40].replace('_', '-')}"
    twin = images.docker_image(name)
    for tag in ("old", "new"):
        site.push(f"{name}:{tag}", twin)
    site.push(f"{name}:other", images.docker_image(name + " other"))
    return name


def tags(page: Page):
    return page.locator("#list tbody th[scope=row]")


@pytest.mark.parametrize("has_javascript", [True, False])
def test_a_tag_goes_and_its_siblings_stay(visit, site, shared, has_javascript):
    page = visit(site.url, login="admin", has_javascript=has_javascript).page
    page.goto(f"/repos/{shared}/-/tags/old")
    page.get_by_role("link", name="Delete").first.click()
    expect(page.get_by_role("heading", name=f"Delete {shared}:old?")).to_be_visible()
    expect(page.get_by_label("Remove only this tag")).to_be_checked()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#toasts")).to_contain_text("The tag is removed.")
    page.goto(f"/repos/{shared}?sort=name")
    expect(tags(page)).to_contain_text(["new", "other"])
    expect(tags(page)).to_have_count(2)
    assert {row["tag"] for row in site.server.catalog(repository_name=shared)} == {"new", "other"}


def test_escape_asks_the_registry_nothing_and_gives_the_focus_back(visit, site, shared):
    page = visit(site.url, login="admin").page
    page.goto(f"/repos/{shared}/-/tags/old")
    opener = page.get_by_role("link", name="Delete").first
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()
    expect(page).to_have_url(f"{site.url}/repos/{shared}/-/tags/old")
    assert len(site.server.catalog(repository_name=shared)) == 3


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A registry that does not allow to delete."""
    site = Site(tmp_path_factory.mktemp("locked"), delete_enabled=False)
    yield site
    site.stop()


@pytest.mark.parametrize("has_javascript", [True, False])
def test_a_registry_that_refuses_is_explained_and_the_row_is_still_there(visit, locked, has_javascript):
    page = visit(locked.url, login="admin", has_javascript=has_javascript).page
    page.goto("/repos/team/private/-/tags/1")
    page.get_by_role("link", name="Delete").first.click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="The registry does not allow to delete")).to_be_visible()
    expect(page.locator("main, dialog").get_by_text("enabled: true").first).to_be_visible()
    page.goto("/repos/team/private")
    expect(tags(page)).to_have_count(1)
