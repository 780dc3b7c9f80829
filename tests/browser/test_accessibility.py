"""Every page, in both themes, looked at by axe-core, wide and on a phone."""

import pytest

from tests.browser.conftest import PHONE, WIDE

IMAGE = "/repos/web/app/-/tags/1.0"
PAGES = ["/repos", "/repos/web/app", IMAGE, "/access", "/users", "/groups"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_has_a_barrier_or_scrolls_sideways(visit, site, viewport, theme):
    visitor = visit(site.url, login="admin", viewport=viewport)
    visitor.choose_theme(theme)
    for path in PAGES:
        visitor.page.goto(path)
        assert (path, visitor.violations()) == (path, [])
        assert not visitor.scrolls_sideways(), path
