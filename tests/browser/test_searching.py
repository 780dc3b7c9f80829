"""Active search: one request when typing rests, the address and the count follow, Back and Forward restore."""

import re

import pytest
from playwright.sync_api import Page, expect


@pytest.fixture
def visitor(visit, site):
    return visit(site.url, login="admin")


@pytest.fixture
def searches(visitor) -> list[str]:
    """The addresses that the page asks for by itself."""
    asked = []
    visitor.page.on("request", lambda request: asked.append(request.url) if request.headers.get("hx-request") else None)
    return asked


def names(page: Page):
    return page.locator("#list tbody th[scope=row]")


def test_typing_searches_once_and_back_and_forward_restore(visitor, searches):
    page = visitor.page
    page.clock.install(time=0)
    page.goto("/repos")
    everything = names(page).count()
    assert everything > 1
    # However slow the machine is, the letters are typed within the time that is waited for the next one.
    page.clock.pause_at(60_000)
    page.get_by_role("searchbox").press_sequentially("priv")
    assert searches == []
    page.clock.run_for(1000)
    page.clock.resume()
    expect(names(page)).to_have_count(1)
    expect(page).to_have_url(re.compile(r"/repos\?q=priv$"))
    expect(page.locator("#list .count")).to_contain_text("1")
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert len(searches) == 1
    page.go_back()
    expect(names(page)).to_have_count(everything)
    expect(page.get_by_role("searchbox")).to_have_value("")
    page.go_forward()
    expect(names(page)).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_have_value("priv")


def test_a_word_that_is_being_composed_does_not_search_and_the_finished_one_does_once(visitor, searches):
    page = visitor.page
    page.clock.install()
    page.goto("/repos")
    page.get_by_role("searchbox").focus()
    keyboard = visitor.context.new_cdp_session(page)
    for text in ("ㅎ", "하", "한"):
        keyboard.send("Input.imeSetComposition", {"text": text, "selectionStart": 1, "selectionEnd": 1})
    page.clock.run_for(1000)
    assert searches == []
    keyboard.send("Input.insertText", {"text": "한"})
    page.clock.run_for(1000)
    expect(page).to_have_url(re.compile(r"q=%ED%95%9C$"))
    expect(names(page)).to_have_count(0)
    assert len(searches) == 1


def test_sorting_and_searching_work_without_javascript(visit, site):
    page = visit(site.url, login="admin", has_javascript=False).page
    page.goto("/repos")
    page.get_by_role("link", name="Name", exact=True).click()
    expect(page).to_have_url(re.compile("sort=-name"))
    expect(names(page).first).to_have_text("web/app")
    page.get_by_role("searchbox").fill("priv")
    page.get_by_role("button", name="Search").click()
    expect(names(page)).to_have_count(1)
    expect(page).to_have_url(re.compile("sort=-name"))
