"""Signing in and out: every failure, the throttle, and where it leads."""

import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Manifest, Role
from regadmin.passwords import Passwords
from regadmin.services.throttle import LOGIN
from tests.conftest import ADMIN, ADMIN_PASSWORD
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD
from tests.web.test_pages import hidden, sign_in, submit

OFFICE = "203.0.113.5"
REALM = "/api/v1/registry/auth"
EVENTS = "/api/v1/registry/events"


@pytest.fixture
def visitor(app) -> Client:
    return Client(app.wsgi, address=OFFICE)


@pytest.fixture
def guess_out(app, alice):
    """Guess at alice's password from the visitor's address until he must wait."""

    def guess_out(login: str = "alice") -> None:
        guesser = Client(app.wsgi, address=OFFICE)
        for number in range(LOGIN.free):
            assert sign_in(guesser, login, f"guess {number}").status == 401

    return guess_out


@pytest.fixture
def hashings(monkeypatch) -> list:
    """One entry for every password that was really looked at."""
    found = []
    verify = Passwords.verify
    monkeypatch.setattr(Passwords, "verify", lambda self, *a: found.append(a) or verify(self, *a))
    return found


class TestTheThrottle:
    def test_says_on_the_page_when_to_come_back_and_keeps_the_form(self, visitor, guess_out, hashings):
        guess_out()
        hashings.clear()
        answer = sign_in(visitor, "alice", PASSWORD, next="/repos?q=x")
        assert answer.status == 429
        assert answer.header("Retry-After") == str(LOGIN.first)
        assert "Too many failed attempts. Try again in 5 seconds, at 11:07 UTC." in answer.text
        assert 'value="alice"' in answer.text
        assert hidden(answer, "next") == "/repos?q=x"
        assert PASSWORD not in answer.text
        assert "JWT" not in visitor.cookies
        assert hashings == []

    def test_lets_the_right_one_in_afterwards_and_on_to_the_page(self, visitor, guess_out, clock):
        guess_out()
        assert sign_in(visitor, "alice", PASSWORD).status == 429
        clock.pass_time(LOGIN.first)
        answer = sign_in(visitor, "alice", PASSWORD, next="/repos?q=x")
        assert (answer.status, answer.header("Location")) == (303, "/repos?q=x")

    def test_says_minutes_when_they_are_many(self, app, visitor):
        for number in range(10):
            Client(app.wsgi, address=OFFICE).get(REALM, basic=f"login {number}:guess")
        for _ in range(5):
            app.throttle._clock.pass_time(int(sign_in(visitor, "bob", "x").header("Retry-After")))
            assert sign_in(visitor, f"bob {_}", f"guess {_}").status == 401
        assert "Try again in 3 minutes, at " in sign_in(visitor, "bob", "x").text

    def test_looks_the_same_for_a_login_that_nobody_has(self, app, visitor, guess_out):
        guess_out("nobody")
        answer = sign_in(visitor, "nobody", "guess")
        assert answer.status == 429
        assert "Too many failed attempts. Try again in 5 seconds" in answer.text

    def test_is_shared_by_all_doors(self, app, visitor, guess_out):
        guess_out()
        basic = f"alice:{PASSWORD}"
        for answer in (
            visitor.get("/api/v1/registry/catalog", basic=basic),
            visitor.post("/auth/local/login", form={"user": "alice", "passwd": PASSWORD}),
            visitor.post(EVENTS, json={"events": []}, basic=basic),
        ):
            assert answer.status == 429
            assert answer.header("Retry-After") == str(LOGIN.first)
            assert answer.header("WWW-Authenticate") is None
            assert answer.json == {
                "error": True,
                "message": "too many failed attempts; try again at 11:07 UTC",
                "id": 0,
                "data": None,
            }

    def test_speaks_to_registry_clients_in_their_format(self, visitor, guess_out):
        guess_out()
        answer = visitor.get(REALM, basic=f"alice:{PASSWORD}")
        assert (answer.status, answer.header("Retry-After")) == (429, str(LOGIN.first))
        assert answer.json["errors"][0]["code"] == "TOOMANYREQUESTS"

    @pytest.mark.parametrize("path", ["/repos", "/nowhere", "/help"])
    def test_is_a_clear_page_for_a_script_that_reads_pages(self, visitor, guess_out, path):
        guess_out()
        answer = visitor.get(path, basic=f"alice:{PASSWORD}")
        assert answer.status == 429
        assert "<h1" in answer.text
        assert "Sign out" not in answer.text

    def test_does_not_meet_those_who_are_signed_in(self, app, alice, guess_out):
        browser = Client(app.wsgi, address=OFFICE)
        sign_in(browser, "alice", PASSWORD)
        for number in range(30):
            sign_in(Client(app.wsgi, address=OFFICE), f"login {number}", "guess")
        assert browser.get("/repos").status == 200
        assert browser.get("/auth/user").status == 200

    def test_does_not_meet_the_owner_at_his_usual_address(self, app, admin):
        admin.get("/auth/user")
        for number in range(40):
            Client(app.wsgi, address=f"10.0.0.{number}").get(REALM, basic=f"admin:guess {number}")
        assert admin.get("/auth/user").status == 200
        assert Client(app.wsgi, address=OFFICE).get("/auth/user", basic=ADMIN).status == 429

    def test_counts_a_blocked_user_like_a_wrong_password(self, app, by, alice, visitor):
        app.users.update(alice.id, by, is_blocked=True)
        answers = [sign_in(visitor, "alice", PASSWORD if number % 2 else f"{number}").status for number in range(12)]
        assert set(answers) == {401, 429}

    def test_does_not_fill_the_activity(self, app, visitor, guess_out):
        guess_out()
        before = app.store.activity.latest_id()
        for number in range(10):
            sign_in(visitor, "alice", f"more {number}")
        assert app.store.activity.latest_id() == before


class TestTheForm:
    def test_survives_an_old_token_and_gets_a_fresh_one(self, visitor):
        visitor.get("/login")
        answer = visitor.post("/login", form={"login": "admin", "password": "x", "next": "/access", "csrf": "0" * 64})
        assert answer.status == 403
        assert "The form was too old or came from elsewhere; try it again." in answer.text
        form = {"csrf": hidden(answer), "next": hidden(answer, "next"), "login": "admin", "password": ADMIN_PASSWORD}
        assert visitor.post("/login", form=form).header("Location") == "/access"

    def test_leads_who_is_signed_in_on(self, visitor):
        sign_in(visitor)
        assert visitor.get("/login?next=/access").header("Location") == "/access"
        assert visitor.get("/login?next=https://evil.example").header("Location") == "/"

    def test_speaks_the_language_of_the_browser(self, visitor):
        assert '<html lang="ja"' in visitor.get("/login", headers={"Accept-Language": "ja"}).text


class TestTheForcedChange:
    @pytest.fixture
    def app(self, settings, clock) -> App:
        return App(settings(store__admin_password="admin"), clock)

    def change(self, browser: Client, page: str) -> Answer:
        target = hidden(browser.get(page), "next")
        return submit(browser, page, "/password", new="a better one", repeat="a better one", next=target)

    def test_leads_on_to_the_page_that_was_wanted(self, visitor):
        page = sign_in(visitor, password="admin", next="/repos?q=x").header("Location")
        assert page == "/password?next=%2Frepos%3Fq%3Dx"
        assert self.change(visitor, page).header("Location") == "/repos?q=x"

    def test_never_leads_to_another_site(self, visitor):
        sign_in(visitor, password="admin")
        assert self.change(visitor, "/password?next=//evil.example").header("Location") == "/"

    def test_leaves_language_theme_and_help_open(self, visitor):
        sign_in(visitor, password="admin")
        assert visitor.get("/help").status == 200
        answer = submit(visitor, "/password", "/language", language="ko", next="/password")
        assert answer.header("Location") == "/password"
        assert '<html lang="ko"' in visitor.get("/password").text


@pytest.mark.parametrize(
    ("role", "expected"),
    [(None, "/login"), (Role.USER, "/repos"), (Role.MANAGER, "/overview"), (Role.ADMIN, "/overview")],
)
def test_everybody_begins_where_his_work_is(app, add_user, visitor, role, expected):
    if role:
        add_user("bob", role)
        sign_in(visitor, "bob", PASSWORD)
    assert visitor.get("/").header("Location") == expected


def test_a_stranger_begins_with_what_is_shared(app, allow, visitor):
    digest = "sha256:" + "a" * 64
    manifest = Manifest(digest, "x/y", "image", b"{}")
    app.store.repositories.save_manifest("open/tool", manifest, None)
    app.store.repositories.point_tag("open/tool", "v1", digest)
    app.store.repositories.refresh(["open/tool"])
    assert visitor.get("/").header("Location") == "/login"
    allow(EVERYONE_ID, "open/*")
    assert visitor.get("/").header("Location") == "/repos"
