"""The own account: what everybody may change of himself, his sessions and his rights."""

import re
from html import unescape

import pytest

from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Manifest, Role
from regadmin.services.sessions import MOST_SHOWN
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD
from tests.web.test_pages import HTMX, hidden, sign_in, submit

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
PAGES = ["/account", "/password"]
POSTS = ["/account", "/account/sessions", "/password"]


@pytest.fixture
def person(app, alice) -> Client:
    """Alice's browser."""
    client = Client(app.wsgi)
    sign_in(client, "alice", PASSWORD)
    return client


@pytest.fixture
def add_repositories(app):
    def add(*names: str) -> None:
        for number, name in enumerate(names):
            digest = f"sha256:{number:064x}"
            app.store.repositories.save_manifest(name, Manifest(digest, "x/y", "image", b"{}"), None)
            app.store.repositories.point_tag(name, "v1", digest)
        app.store.repositories.refresh(list(names))

    return add


def save(client: Client, **changes) -> Answer:
    form = {"name": "Alice", "language": "", "time_zone": "", "theme": "system", "shortcuts": "on"} | changes
    return submit(client, "/account", "/account", **{name: value for name, value in form.items() if value is not None})


def session_names(client: Client) -> list[str]:
    return re.findall(r'name="session" value="([0-9a-f]+)"', client.get("/account").text)


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_led_to_the_sign_in(client, page):
    answer = client.get(page)
    assert (answer.status, answer.header("Location")) == (303, f"/login?next=%2F{page[1:]}")


@pytest.mark.parametrize("page", POSTS)
def test_a_stranger_changes_nothing(client, page):
    assert client.post(page, form={"csrf": hidden(client.get("/login"))}).status == 303


@pytest.mark.parametrize("role", list(Role))
def test_everybody_who_is_signed_in_has_one_and_finds_it(app, add_user, role):
    add_user("bob", role)
    client = Client(app.wsgi)
    sign_in(client, "bob", PASSWORD)
    answer = client.get("/account")
    assert answer.status == 200
    assert 'href="/account"' in answer.text
    assert ('href="/setup"' in answer.text) == (role is Role.ADMIN)


@pytest.mark.parametrize("page", POSTS)
def test_a_form_from_elsewhere_changes_nothing(app, person, alice, page):
    before = app.users.find(alice.id)
    form = {"name": "Mallory", "session": "others", "old": PASSWORD, "new": "a new one", "repeat": "a new one"}
    assert person.post(page, form=form | {"csrf": "0" * 64}).status == 403
    assert app.users.find(alice.id) == before
    assert sign_in(Client(app.wsgi), "alice", PASSWORD).status == 303


class TestPreferences:
    def test_are_kept_and_hold_at_once(self, app, person, alice):
        answer = save(person, name="Alice A", language="ja", time_zone="Asia/Tokyo", theme="dark")
        assert (answer.status, answer.header("Location")) == (303, "/account")
        found = app.users.find(alice.id)
        assert (found.name, found.language, found.time_zone) == ("Alice A", "ja", "Asia/Tokyo")
        shown = person.get("/account").text
        assert '<html lang="ja" data-theme="dark"' in shown
        assert "+09:00" in shown

    def test_of_language_follow_the_account_to_another_browser(self, app, person):
        save(person, language="ko")
        other = Client(app.wsgi)
        sign_in(other, "alice", PASSWORD)
        assert '<html lang="ko"' in other.get("/repos").text

    def test_as_the_browser_forgets_what_was_chosen_before(self, person):
        save(person, language="ru")
        save(person, language="")
        assert '<html lang="ja"' in person.get("/account", headers={"Accept-Language": "ja"}).text

    def test_of_shortcuts_are_kept_in_the_browser(self, person):
        save(person, shortcuts=None)
        assert person.cookies["shortcuts"] == "off"
        assert re.search(r'name="shortcuts" value="on" role="switch" aria', person.get("/account").text)
        save(person, shortcuts="on")
        assert "shortcuts" not in person.cookies

    def test_a_name_that_is_left_empty_is_the_login(self, app, person, alice):
        save(person, name=" ")
        assert app.users.find(alice.id).name == "alice"

    def test_a_new_name_is_noted_with_the_old_one(self, app, person):
        save(person, name="Alice A")
        entry = app.store.activity.latest(1)[0]
        assert (entry["event"], entry["actor"], entry["object"]) == ("user changed", "alice", "alice")
        assert (entry["details"]["before"]["name"], entry["details"]["after"]["name"]) == ("alice", "Alice A")

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"name": "x" * 256}, "Must hold 1 to 255 characters"),
            ({"name": "a\nb"}, "without control characters"),
            ({"time_zone": "Mars/Base"}, "no time zone that this server knows"),
            ({"time_zone": "../../etc/passwd"}, "no time zone that this server knows"),
            ({"language": "tlh"}, "Must be one of"),
        ],
    )
    def test_that_cannot_be_are_shown_and_the_rest_is_kept(self, app, person, alice, changes, words):
        answer = save(person, **{"theme": "dark", "time_zone": "Asia/Seoul"} | changes)
        assert answer.status == 422
        assert words in unescape(answer.text)
        assert app.users.find(alice.id) == alice
        assert re.search(r'value="dark" checked', answer.text)
        if "time_zone" not in changes:
            assert 'value="Asia/Seoul" list' in answer.text

    def test_that_cannot_be_are_named_all_at_once(self, person):
        answer = save(person, name="x" * 256, time_zone="Mars/Base")
        assert answer.text.count('aria-invalid="true"') == 2

    def test_give_nobody_another_role(self, app, person, alice):
        save(person, role="admin", login="root", is_blocked="1", id="1")
        found = app.users.find(alice.id)
        assert (found.role, found.login) == (Role.USER, "alice")

    def test_survive_a_change_by_an_admin(self, app, person, alice, by):
        save(person, language="ja", time_zone="Asia/Tokyo")
        app.users.update(alice.id, by, name="New")
        assert app.users.find(alice.id).time_zone == "Asia/Tokyo"


class TestTheLanguageOfTheFooter:
    def test_is_kept_for_a_stranger_in_the_browser(self, client):
        answer = submit(client, "/login", "/language", language="zh-CN", next="/login?next=/repos")
        assert answer.header("Location") == "/login?next=/repos"
        assert '<html lang="zh-CN"' in client.get("/login").text

    def test_is_kept_in_the_account_too(self, app, person, alice):
        submit(person, "/repos", "/language", language="ru", next="/repos")
        assert app.users.find(alice.id).language == "ru"
        assert '<html lang="ru"' in person.get("/repos").text

    @pytest.mark.parametrize("language", ["", "tlh", "<x>"])
    def test_stays_as_it_is_if_there_is_no_such_language(self, app, person, alice, language):
        submit(person, "/repos", "/language", language=language, next="/repos")
        assert app.users.find(alice.id).language == ""

    def test_leads_to_no_other_site(self, person):
        answer = submit(person, "/repos", "/language", language="ru", next="//evil.example")
        assert answer.header("Location") == "/"

    def test_needs_the_form(self, person):
        assert person.post("/language", form={"language": "ru"}).status == 403

    def test_reloads_the_page_that_htmx_shows(self, person):
        form = {"csrf": hidden(person.get("/repos")), "language": "ru", "next": "/repos?q=x"}
        answer = person.post("/language", form=form, headers=HTMX)
        assert answer.header("HX-Redirect") == "/repos?q=x"


class TestThePassword:
    def test_is_changed_from_the_account_and_leads_back(self, app, person):
        form = {"old": PASSWORD, "new": "a new one", "repeat": "a new one", "next": "/account"}
        assert submit(person, "/account", "/password", **form).header("Location") == "/account"
        assert sign_in(Client(app.wsgi), "alice", "a new one").status == 303

    def test_that_is_refused_comes_back_with_the_way_on(self, person):
        form = {"old": "wrong", "new": "a new one", "repeat": "a new one", "next": "/account"}
        answer = submit(person, "/account", "/password", **form)
        assert answer.status == 422
        assert hidden(answer, "next") == "/account"
        assert "a new one" not in answer.text

    def test_form_that_was_too_old_says_so(self, person):
        answer = person.post("/password", form={"csrf": "0" * 64, "next": "/account"})
        assert answer.status == 403
        assert "The form was too old" in answer.text
        assert hidden(answer) != "0" * 64


class TestSessions:
    @pytest.fixture
    def others(self, app, alice, clock) -> list[Client]:
        clients = [Client(app.wsgi, address=f"203.0.113.{number}") for number in range(3)]
        for client in clients:
            clock.pass_time(60)
            sign_in(client, "alice", PASSWORD)
        return clients

    def is_signed_in(self, client: Client) -> bool:
        return client.get("/account").status == 200

    def test_are_listed_with_device_address_and_times(self, app, alice, clock):
        client = Client(app.wsgi, address="203.0.113.9")
        form = {"csrf": hidden(client.get("/login")), "login": "alice", "password": PASSWORD}
        client.post("/login", form=form, headers={"User-Agent": FIREFOX})
        shown = client.get("/account").text
        assert f'title="{FIREFOX}">Firefox on Linux<' in shown
        assert "<code>203.0.113.9</code>" in shown
        assert shown.count("This one") == 1
        assert "Sign out all others" not in shown

    def test_show_when_they_were_used_last(self, app, person, clock):
        clock.pass_time(1000)
        person.get("/repos")
        row = next(iter(app.sessions.list_of(app.store.users.find_login("alice")[0]).values()))
        assert (row.session.created_at, row.seen_at) == (clock.now - 1000, clock.now)

    def test_do_not_write_at_every_request(self, app, person, clock, monkeypatch):
        written = []
        clock.pass_time(301)
        monkeypatch.setattr(app.store.sessions, "note_use", lambda *a: written.append(a))
        for _ in range(10):
            person.get("/repos")
        assert len(written) == 1

    def test_are_ended_one_by_one(self, person, others):
        name = session_names(person)[0]
        answer = submit(person, "/account", "/account/sessions", session=name)
        assert answer.header("Location") == "/account#sessions"
        assert "That session is signed out." in person.get("/account").text
        assert [self.is_signed_in(client) for client in [*others, person]].count(False) == 1
        assert self.is_signed_in(person)

    def test_are_ended_all_but_this_one(self, app, person, others):
        submit(person, "/account", "/account/sessions", session="others")
        assert [self.is_signed_in(client) for client in others] == [False] * 3
        assert self.is_signed_in(person)
        assert app.store.activity.latest(1)[0]["event"] == "signed out"

    def test_that_end_themselves_lead_to_the_sign_in(self, person):
        answer = submit(person, "/account", "/account/sessions", session=session_names(person)[0])
        assert answer.header("Location") == "/login"
        assert "JWT" not in person.cookies
        assert "You are signed out." in person.get("/login").text

    def test_of_others_are_out_of_reach_and_secret(self, app, person, add_user):
        add_user("bob")
        bob = Client(app.wsgi)
        sign_in(bob, "bob", PASSWORD)
        assert submit(person, "/account", "/account/sessions", session=session_names(bob)[0]).status == 404
        assert self.is_signed_in(bob)
        ids = [row["id"] for row in app.store.database.all("SELECT id FROM sessions")]
        assert not any(session_id in person.get("/account").text for session_id in ids)

    @pytest.mark.parametrize("session", ["", "x", "0" * 20])
    def test_that_are_over_already_are_told(self, person, session):
        assert submit(person, "/account", "/account/sessions", session=session).status == 404

    def test_are_not_shown_by_the_thousand(self, app, person, alice):
        for _ in range(MOST_SHOWN + 10):
            app.sessions.start(alice, "192.0.2.7", "script")
        assert len(session_names(person)) == MOST_SHOWN


class TestRights:
    def test_are_the_rules_that_reach_me_and_what_they_open(self, app, person, alice, by, allow, add_repositories):
        crew = app.groups.create(by, "crew")
        app.users.update(alice.id, by, group_ids=[crew.id])
        add_repositories("team/app", "crew/tool", "open/x", "secret/y")
        allow(alice, "team/*", "push")
        allow(crew, "crew/**")
        allow(REGISTERED_ID, "open/x")
        allow(EVERYONE_ID, "gone/z")
        allow(alice, "secret/y", is_disabled=True)
        shown = person.get("/account").text
        rights = shown.partition("What you may do")[2]
        for words in ("<code>team/*</code>", "Group crew", "All signed-in users", "Everyone, also anonymous"):
            assert words in rights
        assert "secret" not in rights
        assert re.findall(r'href="/repos/([^"]+)"', rights) == ["crew/tool", "open/x", "team/app"]
        assert rights.count("</svg>Push") == 2

    def test_of_a_manager_are_those_towards_the_registry(self, app, add_user, allow, add_repositories):
        manager = add_user("mike", Role.MANAGER)
        add_repositories("team/app", "secret/y")
        allow(manager, "team/*")
        client = Client(app.wsgi)
        sign_in(client, "mike", PASSWORD)
        shown = client.get("/account").text
        assert 'href="/repos/team/app"' in shown
        assert "secret/y" not in shown

    def test_of_an_admin_are_all(self, app, add_repositories):
        add_repositories("team/app")
        client = Client(app.wsgi)
        sign_in(client)
        shown = client.get("/account").text
        assert "You are an admin" in shown
        assert 'href="/repos/team/app"' in shown

    def test_are_asked_for_with_the_same_number_of_queries(self, app, person, alice, allow, monkeypatch):
        asked = []
        database = app.store.database
        monkeypatch.setattr(database, "all", lambda *a, all=database.all: asked.append(a) or all(*a))
        person.get("/account")
        before = len(asked)
        for number in range(40):
            allow(alice, f"team/app-{number}")
            app.sessions.start(alice, "192.0.2.7", "script")
        asked.clear()
        shown = person.get("/account").text
        assert len(asked) == before
        assert "the first 20 of 40" in shown


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_text_of_strangers_is_shown_as_text(app, person, alice, by, allow, hostile):
    app.sessions.start(alice, hostile, hostile)
    app.users.update(alice.id, by, name=hostile, group_ids=[app.groups.create(by, hostile).id])
    for answer in (person.get("/account"), save(person, name=hostile + "x" * 255, time_zone=hostile)):
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
