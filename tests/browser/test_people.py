"""An admin makes a user, a group and a rule; what that user then finds agrees with the token endpoint."""

import base64
import json
import re

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.conftest import PASSWORD, PHONE


def granted(site, login: str, repository: str, password: str = PASSWORD) -> list[str]:
    """The actions that the realm signs for this user."""
    scope = f"repository:{repository}:pull,push"
    params = {"service": "container_registry", "scope": scope}
    answer = requests.get(f"{site.url}/api/v1/registry/auth", params=params, auth=(login, password), timeout=30)
    payload = answer.json()["token"].split(".")[1]
    access = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["access"]
    return access[0]["actions"] if access else []


def create_user(page: Page, login: str) -> None:
    page.goto("/users/new")
    page.get_by_label("Login", exact=True).fill(login)
    page.get_by_label("Name", exact=True).fill(login.title())
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#toasts")).to_contain_text("The user is created.")


def create_group(page: Page, name: str, member: str) -> None:
    page.goto("/groups/new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#toasts")).to_contain_text("The group is created.")
    page.get_by_label("Add a user").fill(member)
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("table")).to_contain_text(member)


def create_rule(page: Page, group: str, pattern: str) -> None:
    page.goto("/access/new")
    page.get_by_role("radio", name="A group").check()
    page.locator("input[name=group]").fill(group)
    page.locator("input[name=resource_name]").fill(pattern)
    page.get_by_role("radio", name="Pull", exact=True).check()
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#toasts")).to_contain_text("The rule is created.")


@pytest.mark.parametrize("has_javascript", [True, False])
def test_user_group_and_rule_made_in_the_browser_hold_at_once(visit, site, has_javascript):
    login, group = f"carol{int(has_javascript)}", f"crew{int(has_javascript)}"
    page = visit(site.url, login="admin", has_javascript=has_javascript).page
    create_user(page, login)
    create_group(page, group, login)
    create_rule(page, group, "web/*")
    for repository, may_pull in (("web/app", True), ("team/private", False)):
        page.goto(f"/access/check?user={login}&repo={repository}&action=pull")
        verdict = page.get_by_role("heading", name="Allowed" if may_pull else "Denied", exact=False)
        expect(verdict).to_be_visible()
        assert granted(site, login, repository) == (["pull"] if may_pull else [])
    carol = visit(site.url, login=login, has_javascript=has_javascript).page
    carol.goto("/repos")
    shown = carol.locator("#list tbody th[scope=row]")
    expect(shown.filter(has_text="web/app")).to_have_count(1)
    expect(shown.filter(has_text="team/private")).to_have_count(0)


def test_an_access_token_is_copied_once_and_revoked_in_a_dialog(visit, site):
    visitor = visit(site.url, login="user", viewport=PHONE)
    page = visitor.page
    page.goto("/account")
    page.get_by_role("link", name="New access token").click()
    page.get_by_label("Name", exact=True).fill("laptop")
    page.get_by_role("radio", name="Pull", exact=True).check()
    page.get_by_label("Repositories").fill("web/app")
    page.get_by_role("button", name="Make the access token").click()
    secret = page.get_by_text(re.compile(r"^rap_\w+$")).text_content()
    assert (visitor.violations(), visitor.scrolls_sideways()) == ([], False)
    button = page.get_by_role("button").filter(has_text="the access token")
    assert button.get_attribute("data-copy") == secret
    button.click()
    expect(button).to_contain_text("Copied")
    assert granted(site, "user", "web/app", secret) == ["pull"]
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("table", name="Access tokens of user")).to_contain_text("laptop")
    assert secret not in page.content()
    revoke = page.get_by_role("link").filter(has_text="Revoke: laptop")
    revoke.click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke the access token").click()
    expect(page.locator("#toasts")).to_contain_text("The access token is revoked.")
    expect(revoke).to_have_count(0)


def test_the_whole_of_it_by_keyboard(visit, site):
    """Rule, check and deletion without a mouse: the focus is where the next key is needed."""
    page = visit(site.url, login="admin").page
    keyboard = page.keyboard
    page.goto("/repos")
    keyboard.press("g")
    keyboard.press("a")
    expect(page.get_by_role("heading", level=1)).to_have_text("Access")
    keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_contain_text("rule")
    page.get_by_role("radio", name="All signed-in users").focus()
    keyboard.press("Space")
    page.locator("input[name=resource_name]").focus()
    keyboard.type("keyboard/only")
    keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("The rule is created.")
    keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    keyboard.type("keyboard/only")
    expect(page).to_have_url(re.compile("q=keyboard"))
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.locator("#list tbody a[href$='/delete']").focus()
    keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="Cancel")).to_be_focused()
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(page.locator("#list tbody tr")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
