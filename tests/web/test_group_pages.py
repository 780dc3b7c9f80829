"""The pages of the groups: who may see them, their members, and every change that they make."""

import re

import pytest

from regadmin.entities import DEFAULT_GROUP_ID, Role
from regadmin.store.listing import Listing
from tests.rigs.client import Client
from tests.web.test_pages import HTMX, hidden, submit
from tests.web.test_user_pages import HOSTILE, SECRET, alice, boss, visitor

__all__ = ["alice", "boss"]

PAGES = ["/groups", "/groups/new", "/groups/{}", "/groups/{}/edit", "/groups/{}/delete"]
POSTS = ["/groups/new", "/groups/{}", "/groups/{}/edit", "/groups/{}/delete"]


@pytest.fixture
def crew(app, by):
    return app.groups.create(by, "crew", "Those on call")


def members(app, group) -> list[str]:
    return [user.login for user in app.users.list(Listing(filters={"group_id": group.id})).rows]


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_led_to_the_sign_in(client, crew, page):
    assert client.get(page.format(crew.id)).header("Location").startswith("/login?next=%2Fgroups")


@pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
@pytest.mark.parametrize("page", PAGES)
def test_only_an_admin_sees_groups_and_others_are_told_so(app, by, crew, role, page):
    answer = visitor(app, by, role).get(page.format(crew.id))
    assert answer.status == 403
    assert f"This needs the role admin; yours is {role}." in answer.text
    assert "Those on call" not in answer.text


@pytest.mark.parametrize("role", [None, Role.USER, Role.MANAGER])
@pytest.mark.parametrize("page", POSTS)
def test_only_an_admin_changes_groups(app, by, alice, crew, role, page):
    browser = visitor(app, by, role)
    form = {"csrf": hidden(browser.get("/repos" if role else "/login")), "name": "other", "login": "alice"}
    assert browser.post(page.format(crew.id), form=form).status == (403 if role else 303)
    assert app.groups.find(crew.id) == crew
    assert members(app, crew) == []


@pytest.mark.parametrize("page", PAGES)
def test_an_admin_sees_them_all(boss, crew, page):
    assert boss.get(page.format(crew.id)).status == 200


@pytest.mark.parametrize("page", ["/groups/99", "/groups/99/edit", "/groups/99/delete"])
def test_a_group_that_is_not_there_is_a_clear_page(boss, page):
    assert boss.get(page).status == 404


def test_the_list_counts_members_and_rules(app, boss, by, alice, crew):
    app.users.update(alice.id, by, group_ids=[crew.id, DEFAULT_GROUP_ID])
    app.rules.create(by, crew.id, True, resource_name="a", action="pull")
    shown = boss.get("/groups?q=crew").text
    assert 'data-label="Members">1<' in shown
    assert 'data-label="Rules">1<' in shown
    assert "Those on call" in shown


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", ["crew", "default"]), ("sort=-name", ["default", "crew"]), ("sort=-member_count", ["default", "crew"])]
    + [("q=CALL", ["crew"]), ("q=zzz", [])],
)
def test_the_list_is_searched_and_sorted(boss, crew, query, expected):
    shown = boss.get(f"/groups?{query}").text
    assert re.findall(r'<a href="/groups/\d+">([^<]*)</a>', shown) == expected
    assert ("No group matches" in shown) is not bool(expected)


def test_htmx_gets_the_lists_alone(boss, crew):
    for page in ("/groups?q=c&sort=name", f"/groups/{crew.id}?q=c&sort=login"):
        answer = boss.get(page, headers=HTMX)
        assert "<html" not in answer.text
        assert answer.header("HX-Push-Url") == page.partition("&")[0]


def test_a_group_is_created_and_renamed(app, boss):
    answer = submit(boss, "/groups/new", "/groups/new", name=" crew ", description="old")
    page = answer.header("Location")
    assert answer.status == 303
    assert "The group is created." in boss.get(page).text
    answer = submit(boss, page + "/edit", page + "/edit", name="team", description="new\r\nwords")
    assert (answer.status, answer.header("Location")) == (303, page)
    assert "The group is changed." in boss.get(page).text
    changed = app.groups.find(int(page.rpartition("/")[2]))
    assert (changed.name, changed.description) == ("team", "new\nwords")


@pytest.mark.parametrize("page", ["/groups/new", "/groups/2/edit"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("", "Must hold 1 to 255"), ("x" * 256, "Must hold 1 to 255"), ("DEFAULT", "Is taken by another group.")],
)
def test_a_mistake_is_shown_and_the_input_kept(app, boss, crew, page, name, words):
    answer = submit(boss, page, page, name=name, description="kept words")
    assert answer.status == 422
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'href="#name"' in answer.text
    assert "kept words" in answer.text
    assert app.groups.find(crew.id) == crew


@pytest.mark.parametrize("page", POSTS)
def test_every_change_needs_the_form(app, boss, alice, crew, page):
    answer = boss.post(page.format(crew.id), form={"name": "other", "login": "alice", "csrf": "0" * 64})
    assert answer.status == 403
    assert app.groups.find(crew.id) == crew
    assert members(app, crew) == []
    assert "The form" in answer.text


class TestMembers:
    def test_are_added_by_login_and_removed(self, app, boss, alice, crew):
        page = f"/groups/{crew.id}"
        assert '<option value="alice">' in boss.get(page).text
        assert submit(boss, page, page, login=" alice ").header("Location") == page
        shown = boss.get(page).text
        assert "The user is now a member of this group." in shown
        assert f'name="remove" value="{alice.id}"' in shown
        assert '<option value="alice">' not in shown
        assert [group.id for group in app.users.find(alice.id).groups] == [DEFAULT_GROUP_ID, crew.id]
        assert submit(boss, page, page, remove=alice.id).header("Location") == page
        assert "The user is no longer a member of this group." in boss.get(page).text
        assert members(app, crew) == []

    @pytest.mark.parametrize(
        ("login", "words"),
        [("nobody", "There is no user nobody."), ("", "Must not be empty."), ("Alice", "There is no user Alice.")],
    )
    def test_who_are_not_there_are_refused_with_the_input_kept(self, boss, alice, crew, login, words):
        answer = submit(boss, f"/groups/{crew.id}", f"/groups/{crew.id}", login=login)
        assert answer.status == 422
        assert words in answer.text
        assert f'value="{login}"' in answer.text
        assert 'aria-invalid="true"' in answer.text

    def test_are_not_added_twice(self, app, boss, by, alice, crew):
        app.users.join("alice", crew.id, by)
        answer = submit(boss, f"/groups/{crew.id}", f"/groups/{crew.id}", login="alice")
        assert answer.status == 422
        assert "The user alice is a member already." in answer.text

    def test_without_another_group_are_in_the_default_one_and_stay_there(self, app, boss, by, alice, crew):
        app.users.update(alice.id, by, group_ids=[crew.id])
        submit(boss, f"/groups/{crew.id}", f"/groups/{crew.id}", remove=alice.id)
        assert [group.id for group in app.users.find(alice.id).groups] == [DEFAULT_GROUP_ID]
        answer = submit(boss, f"/groups/{DEFAULT_GROUP_ID}", f"/groups/{DEFAULT_GROUP_ID}", remove=alice.id)
        assert answer.status == 422
        assert "The user alice is in no other group" in answer.text

    def test_are_searched(self, app, boss, by, alice, crew):
        for login in ("bob", "carol"):
            app.users.create(by, SECRET, [crew.id], login=login)
        shown = boss.get(f"/groups/{crew.id}?q=bo").text
        assert re.findall(r'<a href="/users/\d+">([^<]*)</a>', shown) == ["bob"]
        assert "No member matches" in boss.get(f"/groups/{crew.id}?q=zzz").text


class TestDeleting:
    def test_names_what_goes_with_it_and_keeps_the_members(self, app, boss, by, alice, crew):
        app.users.join("alice", crew.id, by)
        app.rules.create(by, crew.id, True, resource_name="a", action="pull")
        page = f"/groups/{crew.id}/delete"
        shown = boss.get(page).text
        assert "1 access rule of this group is deleted" in shown
        assert "1 member loses what these rules gave" in shown
        assert submit(boss, page, page).header("Location") == "/groups"
        assert "The group is deleted." in boss.get("/groups").text
        assert boss.get(f"/groups/{crew.id}").status == 404
        assert app.users.find(alice.id)

    def test_the_default_group_stays(self, app, boss):
        page = f"/groups/{DEFAULT_GROUP_ID}/delete"
        assert "it stays" in boss.get(page).text
        assert submit(boss, page, page).status == 409
        assert app.groups.find(DEFAULT_GROUP_ID)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_strangers_is_shown_as_text(app, boss, by, hostile):
    group = app.groups.create(by, hostile, hostile)
    app.users.create(by, SECRET, [group.id], login=hostile[:64], name=hostile)
    for page in [page.format(group.id) for page in PAGES] + ["/groups?q=%3Cscript%3E"]:
        shown = boss.get(page).text
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
    refused = submit(boss, f"/groups/{group.id}", f"/groups/{group.id}", login=hostile).text
    assert "<script>alert" not in refused
    assert "<img src=x" not in refused


def test_an_anonymous_browser_cannot_add_itself(app, crew):
    browser = Client(app.wsgi)
    form = {"login": "admin", "csrf": hidden(browser.get("/login"))}
    assert browser.post(f"/groups/{crew.id}", form=form).status == 303
    assert members(app, crew) == []
