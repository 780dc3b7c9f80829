"""Signing in: the first start, wrong passwords, where one lands, and what happens when the session is over."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import RunningServer

CHOSEN = "a password of my own"
BOTH = pytest.mark.parametrize("has_javascript", [True, False])


def sign_in(page: Page, login: str, password: str) -> None:
    page.get_by_label("Login", exact=True).fill(login)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


@BOTH
def test_the_first_start_leads_to_a_password_and_the_checklist_turns_green(visit, tmp_path, has_javascript):
    port = free_port()
    server = RunningServer(tmp_path, port, store={"embed": {"path": str(tmp_path / "data.db")}}).start()
    page = visit(server.url, has_javascript=has_javascript).page

    def check(name: str, state: str) -> None:
        """The page says so of this check, now or when checked again."""
        page.get_by_role("link", name="Check again").click()
        row = page.locator("#checks li").filter(has=page.get_by_role("heading", name=name, exact=True))
        expect(row).to_have_class(state)

    try:
        page.goto("/setup")
        sign_in(page, "admin", "admin")
        expect(page).to_have_url(re.compile("/password"))
        page.goto("/users")
        expect(page).to_have_url(re.compile("/password"))
        page.get_by_label("New password", exact=True).fill(CHOSEN)
        page.get_by_label("New password again", exact=True).fill(CHOSEN)
        page.get_by_role("button", name="Save and continue").click()
        expect(page).not_to_have_url(re.compile("/password"))
        page.goto("/setup")
        check("Default password", "ok")
        check("Registry", "bad")
        token = {
            "realm": f"{server.url}/api/v1/registry/auth",
            "service": "another_service",
            "issuer": "registry_token_issuer",
            "rootcertbundle": server.certificate,
        }
        with RealRegistry(tmp_path / "registry", port=port, auth=token):
            check("Registry", "ok")
            check("Where clients are sent", "bad")
            expect(page.locator("#checks")).to_contain_text("another_service")
        token["service"] = "container_registry"
        with RealRegistry(tmp_path / "registry", port=port, auth=token):
            check("Where clients are sent", "ok")
            check("Trust in this server", "ok")
            check("Deleting", "ok")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def blocked(site) -> str:
    user_id = site.add_user("blocked")
    assert site.server.call("PUT", f"/api/v1/users/{user_id}", json={"blocked": True}).status_code == 200
    return "blocked"


@BOTH
def test_every_failure_reads_alike_and_success_leads_to_where_one_wanted(visit, site, blocked, has_javascript):
    page = visit(site.url, has_javascript=has_javascript).page
    page.goto("/repos/web/app/-/tags/1.0?view=config")
    messages = set()
    page.goto("/account")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    for login, password in (("user", "wrong one"), ("nobody", PASSWORD), (blocked, PASSWORD)):
        sign_in(page, login, password)
        expect(page.get_by_label("Login", exact=True)).to_have_value(login)
        expect(page.get_by_label("Password", exact=True)).to_have_value("")
        messages.add(page.get_by_role("alert").inner_text())
    assert len(messages) == 1
    sign_in(page, "user", PASSWORD)
    expect(page).to_have_url(site.url + "/account")


@BOTH
def test_who_guesses_on_is_told_when_to_try_again(visit, tmp_path, has_javascript):
    server = RunningServer(tmp_path, free_port()).start()
    page = visit(server.url, has_javascript=has_javascript).page
    try:
        page.goto("/login")
        for number in range(20):
            sign_in(page, "admin", f"guess {number}")
            if re.search(r"\d\d:\d\d", page.locator("form .notice").inner_text()):
                break
        else:
            pytest.fail("twenty guesses, and no word of waiting")
        expect(page.get_by_label("Login", exact=True)).to_have_value("admin")
    finally:
        server.stop()


@pytest.mark.parametrize("target", ["https://example.com/", "//example.com", "/\\example.com", "javascript:alert(1)"])
def test_nobody_is_led_away(visit, site, target):
    page = visit(site.url).page
    page.goto("/login?next=" + target)
    sign_in(page, "user", PASSWORD)
    expect(page).to_have_url(site.url + "/repos")


def test_a_session_that_ends_leads_to_sign_in_and_back_to_the_page(visit, site):
    visitor = visit(site.url, login="manager")
    page = visitor.page
    page.goto("/access?sort=name")
    visitor.context.clear_cookies()
    page.get_by_role("searchbox").fill("web")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    sign_in(page, "manager", PASSWORD)
    expect(page).to_have_url(re.compile("/access[?]sort=name$"))
