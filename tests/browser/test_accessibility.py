"""Every page, in both themes, wide and on a phone, looked at by axe-core."""

import pytest

from tests.browser.conftest import PHONE, WIDE

IMAGE = "/repos/web/app/-/tags/1.0"
REACHES = [{"repository": f"a-team-with-a-long-name/an-app-{action}", "action": action} for action in ("pull", "*")]
FOR_VISITORS = ["/login", "/help", "/about", "/nothing-here"]
FOR_ADMINS = [
    "/overview",
    *["/repos", "/repos/web/app", "/repos/web/app/-/access", "/repos/web/app/-/activity", "/repos/web/app/-/delete"],
    *[IMAGE, f"{IMAGE}?view=config", f"{IMAGE}?view=referrers", f"{IMAGE}?view=manifest", f"{IMAGE}/delete"],
    *["/access", "/access/new", "/access/1", "/access/1/delete", "/access/check"],
    "/access/check?user=user&repo=team/private&action=pull",
    *["/users", "/users/new", "/users/2", "/users/2/edit", "/users/3/delete"],
    *["/groups", "/groups/new", "/groups/1", "/groups/1/edit"],
    *["/activity", "/sync", "/setup", "/account", "/password", "/help"],
]


@pytest.fixture(scope="module")
def token_pages(site) -> list[str]:
    """Of a robot, and of a token of the admin."""
    robot = site.server.create("users", login="robot_ci", robot=True)
    token = site.server.create("tokens", name="laptop", scope=REACHES, expires_at=None)
    return ["/account/tokens/new", f"/account/tokens/{token}/revoke", f"/users/{robot}", f"/users/{robot}/tokens/new"]


@pytest.mark.parametrize(("theme", "viewport"), [("light", WIDE), ("dark", PHONE)], ids=["light, wide", "dark, phone"])
def test_no_page_has_a_barrier_or_scrolls_sideways(visit, site, token_pages, theme, viewport):
    for login, paths in (("", FOR_VISITORS), ("admin", FOR_ADMINS + token_pages)):
        visitor = visit(site.url, login=login, viewport=viewport)
        visitor.choose_theme(theme)
        for path in paths:
            visitor.page.goto(path)
            assert (path, visitor.violations()) == (path, [])
            assert not visitor.scrolls_sideways(), path


def test_an_open_dialog_has_no_barrier(visit, site):
    visitor = visit(site.url, login="admin")
    visitor.page.goto(IMAGE)
    visitor.page.get_by_role("link", name="Delete").first.click()
    visitor.page.get_by_role("dialog").wait_for()
    assert visitor.violations() == []
