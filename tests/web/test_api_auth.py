"""`/auth`: signing in and out, what a session survives and what it does not"""

import json
from http.cookies import Morsel, SimpleCookie

import bcrypt
import jwt
import pytest

from regadmin.app import App
from regadmin.entities import Actor, Role
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD

LOGIN, USER, STATUS = "/auth/local/login", "/auth/user", "/auth/status"
LOGOUTS = ["/auth/logout", "/auth/local/logout"]
CATALOG = "/api/v1/registry/catalog"
HOUR = 3600
COOKIE_TTL = 24 * HOUR
ALICE = {"user": "alice", "passwd": PASSWORD}


def cookies(answer: Answer) -> dict[str, Morsel]:
    found = {}
    for name, value in answer.headers:
        if name.lower() == "set-cookie":
            found |= SimpleCookie(value)
    return found


def is_signed_in(client: Client) -> bool:
    """What a page and what the API think of it; they must agree."""
    answers = client.get(USER).status, client.get(CATALOG).status
    assert answers in ((200, 200), (401, 401))
    return answers == (200, 200)


def with_token(app: App, token: str) -> Client:
    client = Client(app.wsgi)
    client.cookies["JWT"] = token
    return client


def csrf(client: Client) -> dict[str, str]:
    return {"X-XSRF-TOKEN": client.cookies["XSRF-TOKEN"]}


# Signing in


@pytest.mark.parametrize("how", ["form", "json"])
def test_signing_in_answers_as_the_original_did_and_sets_the_cookie(client, alice, how):
    answer = client.post(LOGIN, **{how: ALICE})
    row = {
        "name": "alice",
        "id": "local_2",
        "picture": "",
        "attrs": {"disabled": False, "uid": "2"},
        "role": "user",
    }
    assert (answer.status, answer.json) == (200, row)
    assert client.get(USER).json == row
    assert client.get(STATUS).json == {"status": "logged in", "user": "alice"}
    assert is_signed_in(client)


def test_json_may_come_with_a_charset(app, alice):
    def wsgi(environ, start_response):
        return app.wsgi(environ | {"CONTENT_TYPE": "Application/JSON; charset=utf-8"}, start_response)

    assert Client(wsgi).post(LOGIN, body=json.dumps(ALICE).encode()).status == 200


def test_the_cookies_are_kept_from_scripts_and_from_other_sites(client, alice):
    found = cookies(client.post(LOGIN, form=ALICE))
    session, token = found["JWT"], found["XSRF-TOKEN"]
    assert session["httponly"]
    assert not token["httponly"], "a script of ours copies it into a header"
    for cookie in (session, token):
        assert (cookie["samesite"].lower(), cookie["path"], cookie["max-age"]) == ("lax", "/", str(COOKIE_TTL))
        assert not cookie["secure"]
        assert not cookie["domain"]


def test_with_tls_the_cookies_are_for_tls_only(settings, clock, tmp_path):
    files = {"ssl__cert": tmp_path / "cert.pem", "ssl__key": tmp_path / "key.pem"}
    for path in files.values():
        path.write_text("read by the server, not by the application")
    client = Client(App(settings(ssl__type="static", **files), clock).wsgi)
    found = cookies(client.post(LOGIN, form={"user": "admin", "passwd": ADMIN_PASSWORD}))
    assert found["JWT"]["secure"]
    assert found["XSRF-TOKEN"]["secure"]


def test_the_cookie_tells_nothing_of_the_user_but_his_number(client, alice):
    client.post(LOGIN, form=ALICE)
    claims = jwt.decode(client.cookies["JWT"], options={"verify_signature": False})
    assert set(claims) == {"iss", "sub", "jti", "iat", "exp"}
    assert (claims["iss"], claims["sub"], claims["exp"] - claims["iat"]) == ("zebox", "2", HOUR)


def test_every_sign_in_is_a_session_of_its_own(app, browser, alice):
    first, second = browser("alice"), browser("alice")
    assert first.cookies["JWT"] != second.cookies["JWT"]
    assert first.cookies["XSRF-TOKEN"] != second.cookies["XSRF-TOKEN"]
    first.post("/auth/logout")
    assert not is_signed_in(first)
    assert is_signed_in(second)


def test_signing_in_again_replaces_the_session_of_the_browser(app, browser, alice, add_user):
    add_user("bob")
    client = browser("alice")
    client.post(LOGIN, form={"user": "bob", "passwd": PASSWORD})
    assert client.get(STATUS).json["user"] == "bob"


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("carol", PASSWORD),
        ("Alice", PASSWORD),
        ("2", PASSWORD),
        ("", ""),
        ("alice' OR 1=1 --", PASSWORD),
    ],
)
def test_wrong_credentials_get_one_message_and_no_cookie(client, alice, add_user, login, password):
    add_user("carol", is_blocked=True)
    answer = client.post(LOGIN, form={"user": login, "passwd": password})
    assert answer.status == 401
    assert answer.json == {"error": True, "message": "wrong login or password", "id": 0, "data": None}
    assert cookies(answer) == {}


def test_unknown_wrong_and_blocked_cost_one_bcrypt_each(client, alice, add_user, monkeypatch):
    add_user("carol", is_blocked=True)
    costs, compute = [], bcrypt.checkpw

    def counting(password, stored):
        costs.append(stored.split(b"$")[2])
        return compute(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    for login in ("alice", "nobody", "carol"):
        client.post(LOGIN, form={"user": login, "passwd": "wrong password"})
    assert costs == [b"04"] * 3


@pytest.mark.parametrize("query", [ALICE, {"user": "alice"}, {"passwd": PASSWORD}])
def test_credentials_in_the_address_are_refused(client, alice, query):
    for options in ({"params": query}, {"params": query, "form": ALICE}):
        answer = client.post(LOGIN, **options)
        assert (answer.status, cookies(answer)) == (400, {})
        assert "logs" in answer.json["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "alice"},
        {"passwd": PASSWORD},
        {"user": 2, "passwd": PASSWORD},
        {"user": "alice", "passwd": None},
        {"user": ["alice"], "passwd": PASSWORD},
        {"user": "\ud800", "passwd": PASSWORD},
        {"user": "alice", "passwd": "\ud800"},
        {"user": "alice\0", "passwd": PASSWORD},
        [],
        "alice",
    ],
)
def test_a_body_without_login_and_password_is_malformed(client, alice, body):
    assert client.post(LOGIN, json=body).status == 400


@pytest.mark.parametrize("body", [b"user=%ff&passwd=x", b"user=\xff&passwd=x", b"x" * 1024 * 1024, b"", b"a&" * 2000])
def test_a_form_that_cannot_be_read_is_malformed(client, body):
    assert client.post(LOGIN, body=body).status == 400


def test_signing_in_goes_by_post_only(client, alice):
    answer = client.get(LOGIN, params=ALICE)
    assert (answer.status, cookies(answer), answer.json["error"]) == (405, {}, True)


def test_signing_in_failing_and_signing_out_is_noted_with_the_address(app, client, alice):
    client.address = "192.0.2.77"
    client.post(LOGIN, form=ALICE | {"passwd": "a guess"})
    client.post(LOGIN, form=ALICE)
    client.post("/auth/logout")
    noted = app.store.activity.latest(3)
    assert [row["event"] for row in noted] == ["signed out", "signed in", "sign-in failed"]
    assert {(row["actor"], row["address"]) for row in noted} == {("alice", "192.0.2.77")}
    assert "a guess" not in repr(noted)


# Who one is


def test_without_a_session_one_is_nobody(client):
    answer = client.get(USER)
    assert (answer.status, answer.json["error"]) == (401, True)
    assert client.get(STATUS).json == {"status": "not logged in"}


def test_there_is_one_way_to_sign_in(client):
    assert client.get("/auth/list").json == ["local"]


def test_the_server_answers_a_ping(client):
    answer = client.get("/ping")
    assert (answer.status, answer.text) == (200, "pong")


def test_basic_credentials_serve_as_well(script, alice):
    assert script("alice").get(STATUS).json == {"status": "logged in", "user": "alice"}
    assert is_signed_in(script("alice"))
    assert not is_signed_in(script("alice", "wrong password"))


def test_wrong_basic_credentials_are_not_made_good_by_a_cookie(browser, alice):
    client = browser("alice")
    client.basic = "alice:wrong password"
    assert not is_signed_in(client)


def test_the_token_serves_in_a_header_and_then_needs_no_csrf_token(app, browser, add_user):
    add_user("root", Role.ADMIN)
    headers = {"X-JWT": browser("root").cookies["JWT"]}
    client = Client(app.wsgi)
    assert client.get(USER, headers=headers).json["name"] == "root"
    assert client.post("/api/v1/groups", json={"name": "crew"}, headers=headers).status == 200


@pytest.mark.parametrize("token", ["x", "a.b.c", "\xe9", '"', "null", "x" * 8000])
def test_a_token_that_is_none_is_refused_and_never_a_fault(app, client, token):
    for headers in ({"X-JWT": token}, {"Cookie": f"JWT={token}"}):
        assert client.get(CATALOG, headers=headers).status == 401
        assert client.get(STATUS, headers=headers).json == {"status": "not logged in"}


@pytest.mark.parametrize("strange", ["a/b=c", "=", ";;;", "a=b=c", "[]={}", "\xe9=\xff", 'x="', "a" * 5000])
def test_strange_cookies_of_others_do_no_harm(app, browser, alice, strange):
    token = browser("alice").cookies["JWT"]
    for cookie in (f"{strange}; JWT={token}", f"JWT={token}; {strange}"):
        assert Client(app.wsgi).get(CATALOG, headers={"Cookie": cookie}).status == 200
    assert Client(app.wsgi).get(CATALOG, headers={"Cookie": strange}).status == 401


# How long


def test_the_token_in_the_cookie_is_renewed_while_the_session_lasts(browser, clock, alice):
    client = browser("alice")
    first = client.cookies["JWT"]
    clock.pass_time(HOUR - 1)
    assert is_signed_in(client)
    assert client.cookies["JWT"] == first
    clock.pass_time(1)
    assert is_signed_in(client)
    assert client.cookies["JWT"] != first


def test_the_session_ends_with_the_life_of_the_cookie_however_busy_it_is(browser, clock, alice):
    client = browser("alice")
    for _ in range(23):
        clock.pass_time(HOUR)
        assert is_signed_in(client)
    clock.pass_time(HOUR - 1)
    assert is_signed_in(client)
    clock.pass_time(1)
    assert not is_signed_in(client)


def test_the_token_in_a_header_is_not_renewed(app, browser, clock, alice):
    token = browser("alice").cookies["JWT"]
    client = Client(app.wsgi)
    clock.pass_time(HOUR - 1)
    assert client.get(CATALOG, headers={"X-JWT": token}).status == 200
    clock.pass_time(1)
    assert client.get(CATALOG, headers={"X-JWT": token}).status == 401


def test_lives_are_those_of_the_settings(settings, clock):
    client = Client(App(settings(auth__jwt_ttl="90s", auth__cookie_ttl="15m"), clock).wsgi)
    answer = client.post(LOGIN, form={"user": "admin", "passwd": ADMIN_PASSWORD})
    assert cookies(answer)["JWT"]["max-age"] == "900"
    clock.pass_time(899)
    assert is_signed_in(client)
    clock.pass_time(1)
    assert not is_signed_in(client)


def test_a_session_survives_a_restart(settings, clock, by):
    first = App(settings(), clock)
    client = Client(first.wsgi)
    client.post(LOGIN, form={"user": "admin", "passwd": ADMIN_PASSWORD})
    client.wsgi = App(settings(), clock).wsgi
    assert is_signed_in(client)


# What ends it


@pytest.mark.parametrize("path", LOGOUTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_signing_out_ends_the_session_and_takes_the_cookies(app, browser, alice, method, path):
    client = browser("alice")
    token = client.cookies["JWT"]
    answer = client.request(method, path)
    assert answer.status == 200
    assert "JWT" not in client.cookies
    assert "XSRF-TOKEN" not in client.cookies
    assert not is_signed_in(with_token(app, token))


@pytest.mark.parametrize("path", LOGOUTS)
def test_signing_out_without_a_session_is_no_error(client, path):
    assert client.get(path).status == 200


@pytest.mark.parametrize("change", [{"password": "another one"}, {"blocked": True}])
def test_a_new_password_and_a_block_by_an_admin_end_it(admin, browser, alice, change):
    client = browser("alice")
    assert admin.put(f"/api/v1/users/{alice.id}", json=change).status == 200
    assert not is_signed_in(client)


def test_a_deletion_ends_it(admin, browser, alice):
    client = browser("alice")
    assert admin.delete(f"/api/v1/users/{alice.id}").status == 200
    assert not is_signed_in(client)


def test_unblocking_does_not_bring_it_back(admin, browser, alice):
    client = browser("alice")
    for is_blocked in (True, False):
        admin.put(f"/api/v1/users/{alice.id}", json={"blocked": is_blocked})
    assert not is_signed_in(client)


def test_ones_own_new_password_ends_the_other_sessions_only(app, browser, alice):
    here, there = browser("alice"), browser("alice")
    session_id = jwt.decode(here.cookies["JWT"], options={"verify_signature": False})["jti"]
    app.users.change_password(alice, PASSWORD, "another one", Actor("alice", session_id=session_id))
    assert is_signed_in(here)
    assert not is_signed_in(there)


def test_an_admin_who_sets_his_own_password_by_the_api_keeps_the_session_he_does_it_in(browser, add_user):
    root = add_user("root", Role.ADMIN)
    here, there = browser("root"), browser("root")
    answer = here.put(f"/api/v1/users/{root.id}", json={"password": "another one"}, headers=csrf(here))
    assert answer.status == 200
    assert is_signed_in(here)
    assert not is_signed_in(there)


def test_other_changes_leave_it(admin, browser, alice):
    client = browser("alice")
    admin.put(f"/api/v1/users/{alice.id}", json={"name": "A", "role": "manager", "password": ""})
    assert is_signed_in(client)


def test_a_new_role_holds_at_once(admin, browser, alice):
    client = browser("alice")
    assert client.get("/api/v1/users").status == 403
    admin.put(f"/api/v1/users/{alice.id}", json={"role": "manager"})
    assert client.get("/api/v1/users").status == 200
    assert client.get(USER).json["role"] == "manager"


# The default password


@pytest.fixture
def fresh(settings, clock) -> App:
    """A server that was just installed."""
    return App(settings(store__admin_password="admin"), clock)


def test_the_default_password_signs_nobody_in_here(fresh):
    client = Client(fresh.wsgi)
    answer = client.post(LOGIN, form={"user": "admin", "passwd": "admin"})
    assert (answer.status, cookies(answer)) == (403, {})
    assert "default password" in answer.json["message"]


def test_a_wrong_password_says_nothing_of_the_default_one(fresh):
    answer = Client(fresh.wsgi).post(LOGIN, form={"user": "admin", "passwd": "wrong"})
    assert (answer.status, answer.json["message"]) == (401, "wrong login or password")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/user"),
        ("GET", "/api/v1/users"),
        ("POST", "/api/v1/users"),
        ("PUT", "/api/v1/users/1"),
        ("GET", CATALOG),
        ("GET", "/api/v1/registry/health"),
        ("POST", "/api/v1/registry/events"),
    ],
)
def test_the_default_password_opens_no_part_of_the_api(fresh, method, path):
    answer = Client(fresh.wsgi, basic="admin:admin").request(method, path, json={"password": "another one"})
    assert (answer.status, answer.json["error"]) == (403, True)
    assert "default password" in answer.json["message"]


def test_a_password_that_was_changed_opens_all(fresh, by):
    fresh.users.change_password(fresh.users.find(1), "", "another one", by)
    client = Client(fresh.wsgi)
    assert client.post(LOGIN, form={"user": "admin", "passwd": "another one"}).status == 200
    assert client.get("/api/v1/users").status == 200
