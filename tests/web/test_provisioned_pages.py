"""What comes from a file: shown with the file's name on every page and in the API, and changed nowhere."""

import re

import pytest

from regadmin.app import App
from regadmin.store.listing import Listing

PASSWORD = "a good password"
FILE = "people/team.yml"
TEAM = f"""\
regadmin: 1
groups:
  crew: {{}}
users:
  alice: {{password: {PASSWORD}, groups: [crew], role: manager}}
rules:
- {{group: crew, resource_name: team/**, action: push, name: The crew builds}}
"""
REFUSAL = f"comes from the file {FILE}"


@pytest.fixture
def files(tmp_path):
    path = tmp_path / "provision" / FILE
    path.parent.mkdir(parents=True)
    path.write_text(TEAM)
    return path


@pytest.fixture
def app(app, settings, clock, files) -> App:
    app = App(settings(provision=files.parent.parent), clock)
    app.prepare()
    return app


@pytest.fixture
def ids(app) -> dict[str, int]:
    alice = app.users.authenticate("alice", PASSWORD)
    return {"users": alice.id, "groups": alice.groups[0].id, "access": app.rules.list(Listing()).rows[0].id}


@pytest.fixture
def boss(browser):
    return browser("admin", "correct horse")


def token(client) -> str:
    return client.cookies["XSRF-TOKEN"]


@pytest.mark.parametrize("noun", ["users", "groups", "access"])
def test_pages_show_the_file_and_neither_forms_nor_buttons(boss, ids, noun):
    one = f"/{noun}/{ids[noun]}"
    page, rows = boss.get(one).text, boss.get(f"/{noun}").text
    assert f"from file {FILE}" in rows
    assert f"This comes from the file {FILE}." in page
    for text in (page, rows):
        assert not re.search(rf'"{one}/(edit|delete|status)"', text)
    assert 'name="resource_name"' not in page


@pytest.mark.parametrize(
    "path", ["/users/{users}/edit", "/users/{users}/delete", "/groups/{groups}/edit", "/groups/{groups}/delete"]
    + ["/access/{access}", "/access/{access}/delete", "/access/{access}/status"],
)  # fmt: skip
def test_forms_are_refused(app, boss, ids, path):
    before = app.store.revision()
    form = {"csrf": token(boss), "kind": "everyone", "resource_name": "x", "action": "pull", "role": "user"}
    answer = boss.post(path.format(**ids), form=form)
    assert answer.status == 403
    assert REFUSAL in answer.text
    assert app.store.revision() == before
    if not path.endswith(("}", "status")):
        assert REFUSAL in boss.get(path.format(**ids)).text


@pytest.mark.parametrize("noun", ["users", "groups", "access"])
def test_the_api_names_the_file_and_refuses_changes(admin, ids, noun):
    url = f"/api/v1/{noun}/{ids[noun]}"
    row = admin.get(url).json["data"]
    assert row["source"] == FILE
    assert row in admin.get(f"/api/v1/{noun}").json["data"]
    for answer in (admin.put(url, json={"name": "x"}), admin.put(url, json=row), admin.delete(url)):
        assert answer.status == 403
        assert REFUSAL in answer.json["message"]
    assert admin.post(f"/api/v1/{noun}", json={"source": "x"}).json["data"]["fields"].keys().isdisjoint({"source"})


def test_the_own_account_keeps_its_language_and_the_file_its_password(app, browser):
    alice = browser("alice", PASSWORD)
    page = alice.get("/account").text
    assert f"Your name and your password come from the file {FILE}" in page
    assert 'name="new"' not in page
    form = {"csrf": token(alice), "name": "laptop", "action": "all", "lifetime": "7"}
    assert alice.post("/account/tokens/new", form=form).status == 200
    assert "laptop" in alice.get("/account").text
    assert alice.get("/password").status == 403
    form = {"csrf": token(alice), "old": PASSWORD, "new": "another password", "repeat": "another password"}
    assert REFUSAL in alice.post("/password", form=form).text
    assert app.users.authenticate("alice", PASSWORD)
    form = {"csrf": token(alice), "name": "alice", "language": "ko", "time_zone": "", "theme": "system"}
    assert alice.post("/account", form=form).status == 303
    assert alice.post("/account", form=form | {"name": "Alice"}).status == 403


def test_who_was_made_here_may_be_a_member_of_a_group_from_a_file(app, boss, ids, add_user):
    add_user("bob")
    one = f"/groups/{ids['groups']}"
    assert boss.post(one, form={"csrf": token(boss), "login": "bob"}).status == 303
    assert boss.post(one, form={"csrf": token(boss), "remove": ids["users"]}).status == 403
    page = boss.get(one).text
    assert f'name="remove" value="{ids["users"]}"' not in page
    assert page.count('name="remove"') == 1


def test_mistakes_stand_on_the_overview_and_on_the_setup_page(app, boss, files):
    assert "have 1 mistake" not in boss.get("/overview").text
    files.write_text(TEAM + "rule: []\n")
    app.provisioning.begin()
    assert "have 1 mistake, and nothing that changed" in boss.get("/overview").text
    page = boss.get("/setup").text
    assert f"{files}:8" in page
    assert "unknown key rule, the nearest known one is rules" in page


def test_the_activity_says_which_file(boss):
    page = boss.get("/activity").text
    assert FILE in page


def test_a_start_with_broken_files_serves_what_there_was(app, settings, clock, files):
    files.write_text("regadmin: [")
    again = App(settings(provision=files.parent.parent), clock)
    again.prepare()
    assert again.users.authenticate("alice", PASSWORD).source == FILE
    without = App(settings(), clock)
    without.prepare()
    assert without.users.authenticate("alice", PASSWORD).source == ""
