"""The pages of the users: who may see them, what they show, and every change that they make."""

import re
from html import unescape

import pytest

from regadmin.entities import EVERYONE_ID, Manifest, Role
from tests.rigs.client import Answer, Client
from tests.web.test_pages import HTMX, hidden, sign_in, submit

HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "x" * 255]
PAGES = ["/users", "/users/new", "/users/{}", "/users/{}/edit", "/users/{}/delete"]
POSTS = ["/users/new", "/users/{}/edit", "/users/{}/delete"]
SECRET = "alice-pass"


@pytest.fixture
def alice(app, by):
    return app.users.create(by, SECRET, login="alice", name="Alice", description="On call")


@pytest.fixture
def boss(app) -> Client:
    """An admin's browser."""
    browser = Client(app.wsgi)
    sign_in(browser)
    return browser


def visitor(app, by, role: Role | None) -> Client:
    browser = Client(app.wsgi)
    if role:
        app.users.create(by, "a password", login="visitor", role=role)
        sign_in(browser, "visitor", "a password")
    return browser


def fields(**changes) -> dict:
    """The form of a user, filled in."""
    return {"login": "carol", "name": "Carol", "password": "carol-pass", "role": "user"} | changes


def shown_password(answer: Answer) -> str:
    return unescape(re.search(r'id="password" name="password" type="text"[^>]*value="([^"]*)"', answer.text)[1])


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_led_to_the_sign_in(client, alice, page):
    answer = client.get(page.format(alice.id))
    assert answer.status == 303
    assert answer.header("Location").startswith("/login?next=%2Fusers")


@pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
@pytest.mark.parametrize("page", PAGES)
def test_only_an_admin_sees_users_and_others_are_told_so(app, by, alice, role, page):
    answer = visitor(app, by, role).get(page.format(alice.id))
    assert answer.status == 403
    assert f"This needs the role admin; yours is {role}." in answer.text
    assert "Alice" not in answer.text
    assert "Sign out" in answer.text


@pytest.mark.parametrize("role", [None, Role.USER, Role.MANAGER])
@pytest.mark.parametrize("page", POSTS)
def test_only_an_admin_changes_users(app, by, alice, role, page):
    browser = visitor(app, by, role)
    form = fields() | {"csrf": hidden(browser.get("/login" if not role else "/repos"))}
    assert browser.post(page.format(alice.id), form=form).status == (403 if role else 303)
    assert app.users.find(alice.id) == alice
    assert not app.store.users.find_login("carol")


@pytest.mark.parametrize("page", PAGES)
def test_an_admin_sees_them_all(boss, alice, page):
    assert boss.get(page.format(alice.id)).status == 200


@pytest.mark.parametrize("page", ["/users/999", "/users/999/edit", "/users/999/delete", "/users/x"])
def test_a_user_who_is_not_there_is_a_clear_page(boss, page):
    assert boss.get(page).status == 404


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (None, ["/repos"]),
        (Role.USER, ["/repos"]),
        (Role.MANAGER, ["/overview", "/repos", "/access", "/activity", "/sync"]),
        (Role.ADMIN, ["/overview", "/repos", "/access", "/users", "/groups", "/activity", "/sync"]),
    ],
)
def test_the_menu_offers_what_the_role_may_open(app, by, role, expected):
    menu = re.search(r'<nav class="menu".*?</nav>', visitor(app, by, role).get("/repos").text, re.S)[0]
    assert re.findall(r'href="([^"]+)"', menu) == expected


class TestTheList:
    def test_names_groups_rules_times_and_status(self, app, boss, by, alice, clock):
        crew = app.groups.create(by, "crew")
        app.users.update(alice.id, by, group_ids=[crew.id], is_blocked=True)
        app.rules.create(by, alice.id, resource_name="a", action="pull")
        app.rules.create(by, alice.id, resource_name="b", action="pull")
        shown = boss.get("/users?q=alice").text
        assert f'href="/users/{alice.id}">alice<' in shown
        assert f'href="/groups/{crew.id}"' in shown
        assert 'data-label="Rules">2<' in shown
        assert shown.count(">never<") == 2
        assert "Blocked" in shown

    def test_asks_the_store_the_same_number_of_times_however_long_it_is(self, app, boss, by, alice, monkeypatch):
        asked = []
        database = app.store.database
        monkeypatch.setattr(database, "all", lambda *a, all=database.all: asked.append(a) or all(*a))
        boss.get("/users")
        before = len(asked)
        for number in range(20):
            app.users.create(by, SECRET, login=f"robot-{number}")
        asked.clear()
        boss.get("/users")
        assert len(asked) == before

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("role=manager", ["bob"]),
            ("status=blocked", ["carol"]),
            ("status=active&role=user", ["alice"]),
            ("role=robot", ["ci"]),
            ("group=2", ["bob"]),
            ("q=CALL", ["alice"]),
            ("q=alice&role=admin", []),
            ("sort=-login", ["ci", "carol", "bob", "alice", "admin"]),
            ("sort=-rule_count", ["bob", "ci", "carol", "alice", "admin"]),
        ],
    )
    def test_is_searched_filtered_and_sorted(self, app, boss, by, alice, query, expected):
        crew = app.groups.create(by, "crew")
        bob = app.users.create(by, SECRET, [crew.id], login="bob", role="manager")
        app.users.create(by, SECRET, login="carol", is_blocked=True)
        app.users.create(by, "", login="ci", is_robot=True)
        app.rules.create(by, bob.id, resource_name="a", action="pull")
        shown = boss.get(f"/users?{query}").text
        assert re.findall(r'<a href="/users/\d+">([^<]*)</a>', shown) == expected
        if not expected:
            assert "No user matches" in shown

    def test_keeps_the_filters_in_every_link_and_in_the_address(self, app, boss, by):
        for number in range(30):
            app.users.create(by, SECRET, login=f"robot-{number}")
        answer = boss.get("/users?q=robot&role=user&status=&group=", headers=HTMX)
        assert answer.header("HX-Push-Url") == "/users?q=robot&role=user"
        assert "<html" not in answer.text
        assert 'href="/users?q=robot&amp;page=2&amp;role=user"' in answer.text
        whole = boss.get("/users?role=user").text
        assert '<option value="user" selected>' in whole

    @pytest.mark.parametrize("query", ["role=king", "status=asleep", "group=x", "group=%C2%B2", "sort=password_hash"])
    def test_does_not_take_a_filter_that_cannot_be(self, boss, query):
        assert boss.get(f"/users?{query}").status == 400


class TestCreating:
    def test_makes_a_user_who_can_sign_in(self, app, boss, by):
        crew = app.groups.create(by, "crew")
        filled = fields(group=[crew.id], role="manager", description="a\r\nb")
        answer = submit(boss, "/users/new", "/users/new", **filled)
        created = app.store.users.find_login("carol")[0]
        assert (answer.status, answer.header("Location")) == (303, f"/users/{created.id}")
        assert (created.name, created.role, created.groups) == ("Carol", Role.MANAGER, (crew,))
        assert created.description == "a\nb"
        assert "The user is created." in boss.get(f"/users/{created.id}").text
        assert sign_in(Client(app.wsgi), "carol", "carol-pass").status == 303

    def test_takes_the_login_for_a_name_and_the_default_group(self, app, boss):
        submit(boss, "/users/new", "/users/new", **fields(name=""))
        created = app.store.users.find_login("carol")[0]
        assert (created.name, [group.name for group in created.groups]) == ("carol", ["default"])

    @pytest.mark.parametrize(
        ("changes", "field", "words"),
        [
            ({"login": ""}, "login", "Must hold 1 to 64 characters"),
            ({"login": "a:b"}, "login", "Must not hold a colon"),
            ({"login": "ADMIN"}, "login", "Is taken by another user."),
            ({"name": "x" * 256}, "name", "Must hold 1 to 255 characters"),
            ({"password": "short"}, "password", "Must be 6 to 72 bytes long."),
            ({"role": "king"}, "role", "Must be one of"),
            ({"group": "99"}, "group", "There is no group 99."),
            ({"description": "x" * 3000}, "description", "Must hold at most 2550 characters"),
        ],
    )
    def test_shows_what_is_wrong_and_keeps_the_rest(self, app, boss, changes, field, words):
        filled = fields(name="Carol & Co", description="kept", is_blocked="1") | changes
        answer = submit(boss, "/users/new", "/users/new", **filled)
        assert answer.status == 422
        assert words in answer.text
        assert f'href="#{field}"' in answer.text
        assert f'id="{field}-error"' in answer.text
        assert "aria-invalid" in answer.text or field == "group"
        assert "kept" in answer.text or "description" in changes
        assert "Carol &amp; Co" in answer.text or "name" in changes
        assert "carol-pass" not in answer.text
        assert not app.store.users.find_login("carol")

    def test_shows_all_that_is_wrong_at_once(self, boss):
        answer = submit(boss, "/users/new", "/users/new", **fields(login="", password="x"))
        assert 'href="#login"' in answer.text
        assert 'href="#password"' in answer.text

    def test_needs_the_form(self, app, boss):
        answer = boss.post("/users/new", form=fields(csrf="0" * 64))
        assert answer.status == 403
        assert 'value="carol"' in answer.text
        assert not app.store.users.find_login("carol")


class TestAGeneratedPassword:
    def test_is_shown_once_kept_over_a_mistake_and_works(self, app, boss):
        answer = submit(boss, "/users/new", "/users/new", **fields(login="admin", password="", generate="1"))
        password = shown_password(answer)
        assert re.fullmatch(r"(\w{5}-){3}\w{5}", password)
        assert 'value="Carol"' in answer.text
        assert not app.store.users.find_login("carol")
        filled = fields(login="admin", password=password, is_shown="1", csrf=hidden(answer))
        again = boss.post("/users/new", form=filled)
        assert (again.status, shown_password(again)) == (422, password)
        saved = boss.post("/users/new", form=filled | {"login": "carol"})
        assert saved.status == 303
        for page in (saved.header("Location"), saved.header("Location") + "/edit", "/users"):
            assert password not in boss.get(page).text
        assert sign_in(Client(app.wsgi), "carol", password).status == 303

    def test_is_another_one_each_time(self, boss):
        made = {shown_password(submit(boss, "/users/new", "/users/new", generate="1")) for _ in range(5)}
        assert len(made) == 5

    def test_replaces_the_old_one_only_when_saved(self, app, boss, alice):
        page = f"/users/{alice.id}/edit"
        answer = submit(boss, page, page, name="Alice", role="user", generate="1")
        assert sign_in(Client(app.wsgi), "alice", SECRET).status == 303
        submit(boss, page, page, name="Alice", role="user", password=shown_password(answer))
        assert sign_in(Client(app.wsgi), "alice", SECRET).status == 401
        assert sign_in(Client(app.wsgi), "alice", shown_password(answer)).status == 303

    def test_is_never_in_the_activity(self, app, boss, alice):
        page = f"/users/{alice.id}/edit"
        password = shown_password(submit(boss, page, page, name="Alice", role="user", generate="1"))
        submit(boss, page, page, name="Alice", role="user", password=password)
        assert password not in str(app.store.activity.latest(100))


class TestChanging:
    def test_keeps_login_and_password_and_the_order_of_groups(self, app, boss, by, alice):
        crew, staff = app.groups.create(by, "crew"), app.groups.create(by, "staff")
        app.users.update(alice.id, by, group_ids=[staff.id])
        page = f"/users/{alice.id}/edit"
        answer = submit(
            boss, page, page, login="mallory", name="A. Liddell", role="manager", group=[crew.id, staff.id]
        )
        assert answer.header("Location") == f"/users/{alice.id}"
        changed = app.users.find(alice.id)
        assert (changed.login, changed.name, changed.role) == ("alice", "A. Liddell", Role.MANAGER)
        assert (changed.groups, changed.description) == ((staff, crew), "")
        assert "The user is changed." in boss.get(f"/users/{alice.id}").text
        assert app.users.authenticate("alice", SECRET)

    def test_blocking_ends_the_sessions(self, app, boss, alice):
        browser = Client(app.wsgi)
        sign_in(browser, "alice", SECRET)
        page = f"/users/{alice.id}/edit"
        submit(boss, page, page, name="Alice", role="user", is_blocked="1")
        assert "Sign out" not in browser.get("/repos").text
        assert "This user is blocked" in boss.get(f"/users/{alice.id}").text

    @pytest.mark.parametrize(("changes", "field"), [({"role": "user"}, "role"), ({"is_blocked": "1"}, "is_blocked")])
    def test_nobody_locks_himself_out(self, app, boss, changes, field):
        answer = submit(boss, "/users/1/edit", "/users/1/edit", **{"name": "Me", "role": "admin"} | changes)
        assert answer.status == 422
        assert "You cannot delete, block or demote yourself; ask another admin." in answer.text
        assert f'href="#{field}"' in answer.text
        assert 'value="Me"' in answer.text
        assert app.users.find(1).is_admin

    def test_a_mistake_keeps_what_was_filled_in(self, boss, alice):
        page = f"/users/{alice.id}/edit"
        answer = submit(boss, page, page, name="New name", role="user", password="short", description="new words")
        assert answer.status == 422
        assert 'value="New name"' in answer.text
        assert "new words" in answer.text

    def test_needs_the_form(self, app, boss, alice):
        assert boss.post(f"/users/{alice.id}/edit", form=fields()).status == 403
        assert app.users.find(alice.id) == alice


class TestDeleting:
    def test_names_what_goes_with_it(self, app, boss, by, alice):
        app.rules.create(by, alice.id, resource_name="a", action="pull")
        for _ in range(2):
            sign_in(Client(app.wsgi), "alice", SECRET)
        shown = boss.get(f"/users/{alice.id}/delete").text
        assert "1 access rule of this user" in shown
        assert "2 open sessions" in shown
        answer = submit(boss, f"/users/{alice.id}/delete", f"/users/{alice.id}/delete")
        assert answer.header("Location") == "/users"
        assert "The user is deleted." in boss.get("/users").text
        assert boss.get(f"/users/{alice.id}").status == 404
        assert not app.store.users.find_login("alice")

    def test_is_refused_for_oneself(self, app, boss):
        assert "You cannot delete, block or demote yourself" in boss.get("/users/1/delete").text
        answer = submit(boss, "/users/1/delete", "/users/1/delete")
        assert answer.status == 409
        assert "You cannot delete, block or demote yourself" in answer.text
        assert app.users.find(1)

    def test_is_refused_for_the_last_admin(self, app, boss, by):
        other = app.users.create(by, SECRET, login="other", role="admin")
        form = {"csrf": hidden(boss.get(f"/users/{other.id}/delete"))}
        app.users.update(1, by=type(by)("other"), is_blocked=False, role="admin")
        app.store.database.execute("UPDATE users SET role = 'admin', is_blocked = 1 WHERE id = ?", (other.id,))
        assert boss.post(f"/users/{other.id}/delete", form=form).status == 303
        assert app.store.users.count_active_admins() == 1
        assert app.users.why_not_delete(app.users.find(1), type(by)("nobody")) == (
            "this is the last admin; make another one first"
        )

    def test_needs_the_form(self, app, boss, alice):
        answer = boss.post(f"/users/{alice.id}/delete", form={})
        assert answer.status == 403
        assert "Nothing was deleted." in answer.text
        assert app.users.find(alice.id)


class TestTheUsersPage:
    @pytest.fixture
    def images(self, app):
        for name in [f"team/app-{number:02}" for number in range(25)] + ["open/tool", "secret/plan"]:
            digest = "sha256:" + f"{abs(hash(name)):064x}"[-64:]
            manifest = Manifest(digest, "application/vnd.oci.image.manifest.v1+json", "image", b"{}")
            app.store.repositories.save_manifest(name, manifest, None)
            app.store.repositories.point_tag(name, "v1", digest)
            app.store.repositories.refresh([name])

    @pytest.fixture
    def rules(self, app, by, alice):
        crew = app.groups.create(by, "crew")
        app.users.update(alice.id, by, group_ids=[crew.id])
        app.rules.create(by, alice.id, resource_name="team/**", action="push")
        app.rules.create(by, alice.id, resource_name="off/**", action="pull", is_disabled=True)
        app.rules.create(by, crew.id, True, resource_name="crew/**", action="pull")
        app.rules.create(by, EVERYONE_ID, resource_name="open/*", action="pull")
        app.rules.create(by, 1, resource_name="not/his", action="pull")

    def test_shows_every_rule_that_speaks_of_him(self, boss, alice, rules):
        shown = boss.get(f"/users/{alice.id}").text
        for name in ("team/**", "off/**", "crew/**", "open/*"):
            assert name in shown
        assert "not/his" not in shown
        assert "Everyone, also anonymous" in shown

    @pytest.mark.parametrize("role", [Role.USER, Role.MANAGER])
    def test_shows_the_first_repositories_that_rules_open(self, app, boss, by, alice, rules, images, role):
        app.users.update(alice.id, by, role=role)
        shown = boss.get(f"/users/{alice.id}").text
        assert "the first 20 of 26 repositories" in shown
        assert "/repos/open/tool" in shown
        assert "/repos/secret/plan" not in shown
        assert shown.count('href="/repos/') == 20

    def test_shows_no_repository_to_the_blocked_and_all_to_an_admin(self, app, boss, by, alice, rules, images):
        app.users.update(alice.id, by, is_blocked=True)
        assert "Nothing while blocked." in boss.get(f"/users/{alice.id}").text
        assert "the first 20 of 27 repositories" in boss.get("/users/1").text

    def test_shows_what_he_did_and_what_was_done_to_him(self, app, boss, alice):
        sign_in(Client(app.wsgi, address="198.51.100.7"), "alice", SECRET)
        shown = boss.get(f"/users/{alice.id}").text
        assert "Signed in" in shown
        assert "198.51.100.7" in shown
        assert "User created" in shown


class TestTimes:
    def test_a_sign_in_is_noted(self, app, boss, alice, clock):
        assert app.users.find_summary(alice.id).signed_in_at is None
        sign_in(Client(app.wsgi), "alice", SECRET)
        assert app.users.find_summary(alice.id).signed_in_at == clock.now
        assert app.users.find_summary(alice.id).used_at is None

    def test_a_use_of_the_registry_is_noted_at_most_once_a_minute(self, app, alice, clock, monkeypatch):
        docker, written = Client(app.wsgi, basic=f"alice:{SECRET}"), []
        note = app.store.users.note_uses
        monkeypatch.setattr(app.store.users, "note_uses", lambda user_ids: written.append(clock.now) or note(user_ids))
        for _ in range(4):
            assert docker.get("/api/v1/registry/auth").status == 200
            clock.pass_time(25)
        assert written == [clock.now - 100, clock.now - 25]
        assert app.users.find_summary(alice.id).used_at == clock.now - 25

    def test_a_wrong_password_and_an_anonymous_client_are_no_use(self, app, alice):
        Client(app.wsgi, basic="alice:wrong-pass").get("/api/v1/registry/auth")
        Client(app.wsgi).get("/api/v1/registry/auth")
        assert app.users.find_summary(alice.id).used_at is None

    def test_a_store_that_cannot_write_keeps_nobody_from_the_registry(self, app, alice):
        docker = Client(app.wsgi, basic=f"alice:{SECRET}")
        app.store.database.execute("PRAGMA query_only = ON")
        assert docker.get("/api/v1/registry/auth").status == 200

    def test_times_go_with_the_user(self, app, by, alice):
        sign_in(Client(app.wsgi), "alice", SECRET)
        app.users.delete(alice.id, by)
        assert app.store.database.all("SELECT * FROM user_times WHERE user_id = ?", (alice.id,)) == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_text_of_strangers_is_shown_as_text(app, boss, by, hostile):
    group = app.groups.create(by, hostile)
    shown = app.users.create(by, SECRET, [group.id], login=hostile[:64], name=hostile, description=hostile)
    app.store.activity.add("user changed", hostile, shown.login, hostile)
    pages = [page.format(shown.id) for page in PAGES] + ["/users?q=%3Cscript%3E"]
    for page in pages:
        answer = boss.get(page)
        assert answer.status == 200
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
    refused = submit(boss, "/users/new", "/users/new", **fields(name=hostile, login="", description=hostile))
    assert "<script>alert" not in refused.text
    assert "<img src=x" not in refused.text
