"""Which other sites may call the API, and with whose cookies."""

import pytest

from regadmin.app import App
from regadmin.entities import Role
from regadmin.options import Settings
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD

USERS, GROUPS, LOGIN = "/api/v1/users", "/api/v1/groups", "/auth/local/login"
OURS, DEVELOPERS = "http://registry.example", "http://localhost:3000"
CSRF = "X-XSRF-TOKEN"
FOREIGN = [
    "http://evil.example",
    "https://registry.example",
    "http://registry.example.evil.example",
    "http://sub.registry.example",
    "http://registry.example:81",
    "http://REGISTRY.example",
    "null",
    "*",
    "",
    "file://",
    "http://registry.example\xe9",
]


@pytest.fixture
def app(settings, clock) -> App:
    return App(settings(hostname="registry.example"), clock)


@pytest.fixture
def root(add_user, browser) -> Client:
    """An admin in a browser."""
    add_user("root", Role.ADMIN)
    return browser("root")


def settings_of_developers(given: Settings) -> Settings:
    """As with RA_DEV_HOST in the environment, which has no flag."""
    return Settings({**given, "dev-host": DEVELOPERS}, {})


def headers_of_cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.lower().startswith("access-control-")}


def assert_is_shared(answer: Answer, origin: str) -> None:
    found = headers_of_cors(answer)
    assert found["Access-Control-Allow-Origin"] == origin
    assert found["Access-Control-Allow-Credentials"] == "true"


# Who may read answers


@pytest.mark.parametrize("origin", [OURS, f"{OURS}:80"])
def test_our_own_host_may_call_with_credentials(admin, origin):
    answer = admin.get(USERS, headers={"Origin": origin})
    assert_is_shared(answer, origin)
    assert "Content-Range" in headers_of_cors(answer)["Access-Control-Expose-Headers"]
    assert answer.header("Vary") == "Origin"


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_other_site_may(admin, client, origin):
    for answer in (
        admin.get(USERS, headers={"Origin": origin}),
        client.get(USERS, headers={"Origin": origin}),
        client.request("OPTIONS", USERS, headers={"Origin": origin, "Access-Control-Request-Method": "PUT"}),
    ):
        assert "Access-Control-Allow-Origin" not in headers_of_cors(answer)
        assert "Access-Control-Allow-Credentials" not in headers_of_cors(answer)


def test_without_an_origin_nothing_is_said_of_it(admin):
    assert headers_of_cors(admin.get(USERS)) == {}


def test_answers_differ_by_origin_for_caches_too(client):
    assert client.get(USERS).header("Vary") == "Origin"


def test_errors_can_be_read_by_our_host_as_well(client, admin):
    assert_is_shared(client.get(USERS, headers={"Origin": OURS}), OURS)
    assert_is_shared(admin.get(f"{USERS}/999", headers={"Origin": OURS}), OURS)


def test_a_browser_that_asks_first_is_told_what_it_may_send(client):
    answer = client.request("OPTIONS", f"{USERS}/1", headers={"Origin": OURS, "Access-Control-Request-Method": "PUT"})
    assert (answer.status, answer.body) == (204, b"")
    assert_is_shared(answer, OURS)
    assert {"GET", "POST", "PUT", "DELETE"} <= set(answer.header("Access-Control-Allow-Methods").split(", "))
    allowed = {name.lower() for name in answer.header("Access-Control-Allow-Headers").split(", ")}
    assert {"content-type", "authorization", "x-jwt", CSRF.lower()} <= allowed


def test_with_tls_the_origin_is_https(settings, clock, tmp_path):
    files = {"ssl__cert": tmp_path / "cert.pem", "ssl__key": tmp_path / "key.pem"}
    for path in files.values():
        path.write_text("read by the server, not by the application")
    client = Client(App(settings(hostname="registry.example", ssl__type="static", ssl__port=8443, **files), clock).wsgi)
    for origin in ("https://registry.example", "https://registry.example:8443"):
        assert_is_shared(client.get(USERS, headers={"Origin": origin}), origin)
    assert "Access-Control-Allow-Origin" not in headers_of_cors(client.get(USERS, headers={"Origin": OURS}))


def test_the_host_of_developers_may_call_too(settings, clock):
    client = Client(App(settings_of_developers(settings(hostname="registry.example")), clock).wsgi)
    for origin in (OURS, DEVELOPERS):
        assert_is_shared(client.get(USERS, headers={"Origin": origin}), origin)
    foreign = client.get(USERS, headers={"Origin": "http://localhost:3001"})
    assert "Access-Control-Allow-Origin" not in headers_of_cors(foreign)


# Who may change something


CHANGES = [
    ("POST", GROUPS, {"name": "crew"}),
    ("PUT", f"{GROUPS}/1", {"name": "crew"}),
    ("DELETE", f"{USERS}/3", None),
    ("POST", "/api/v1/registry/sync", None),
    ("POST", "/api/v1/registry/events", {"events": []}),
]


def unchanged(root: Client) -> bool:
    groups, users = root.get(GROUPS).json["data"], root.get(USERS).json["data"]
    return [row["name"] for row in groups] == ["default"] and len(users) == 3


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_cookie_alone_changes_nothing(root, alice, method, path, body):
    tokens = ["", "x", "\xe9", root.cookies["XSRF-TOKEN"][:-1], root.cookies["JWT"]]
    for headers in [{}, *({CSRF: token} for token in tokens)]:
        answer = root.request(method, path, json=body, headers=headers)
        assert (answer.status, answer.json["error"]) == (403, True)
    assert unchanged(root)


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_a_cookie_with_its_csrf_token_does(root, alice, method, path, body):
    answer = root.request(method, path, json=body, headers={CSRF: root.cookies["XSRF-TOKEN"]})
    assert answer.status in (200, 202), answer.text


def test_the_csrf_token_of_another_session_is_none(root, browser, alice):
    for other in (browser("root"), browser("alice")):
        answer = root.post(GROUPS, json={"name": "crew"}, headers={CSRF: other.cookies["XSRF-TOKEN"]})
        assert answer.status == 403


def test_a_csrf_cookie_that_an_attacker_set_is_none(root):
    root.cookies["XSRF-TOKEN"] = "chosen"
    assert root.post(GROUPS, json={"name": "crew"}, headers={CSRF: "chosen"}).status == 403


def test_reading_needs_no_csrf_token(root):
    assert root.get(USERS).status == 200


def test_basic_credentials_and_the_header_need_none_because_no_browser_sends_them_for_another_site(app, root):
    assert Client(app.wsgi, basic=f"root:{PASSWORD}").post(GROUPS, json={"name": "one"}).status == 200
    header = {"X-JWT": root.cookies["JWT"]}
    assert Client(app.wsgi).post(GROUPS, json={"name": "two"}, headers=header).status == 200


def test_a_refused_token_does_not_fall_back_to_the_cookie(root):
    headers = {CSRF: root.cookies["XSRF-TOKEN"], "X-JWT": "x.y.z"}
    assert root.post(GROUPS, json={"name": "crew"}, headers=headers).status == 401


# Another site that makes a browser call us


def test_another_site_can_sign_nobody_in_or_out(app, root):
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    form = {"user": "root", "passwd": PASSWORD}
    assert Client(app.wsgi).post(LOGIN, form=form, headers=headers).status == 403
    for method in ("GET", "POST"):
        assert root.request(method, "/auth/logout", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert root.get(USERS).status == 200


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
def test_another_site_cannot_use_basic_credentials_that_the_browser_keeps(app, root, alice, method, path, body):
    script = Client(app.wsgi, basic=f"root:{PASSWORD}")
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}
    assert script.request(method, path, json=body, headers=headers).status == 403
    assert unchanged(root)


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none"])
def test_our_own_pages_and_the_address_bar_can(app, root, site):
    headers = {"Sec-Fetch-Site": site}
    form = {"user": "root", "passwd": PASSWORD}
    assert Client(app.wsgi).post(LOGIN, form=form, headers=headers).status == 200
    assert root.get("/auth/logout", headers=headers).status == 200


def test_the_host_of_developers_can_sign_in_although_it_is_another_site(settings, clock, by):
    app = App(settings_of_developers(settings()), clock)
    app.users.create(by, PASSWORD, login="alice")
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": DEVELOPERS}
    assert Client(app.wsgi).post(LOGIN, form={"user": "alice", "passwd": PASSWORD}, headers=headers).status == 200
