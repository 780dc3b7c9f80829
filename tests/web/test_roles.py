"""Every route of the API and everybody who may call it: one table. A route that is not in it fails the test."""

from typing import NamedTuple

import pytest
from bottle import Bottle

from regadmin.app import App
from regadmin.entities import Reach, Role
from regadmin.web.forward import PATH as FORWARD_PATH
from regadmin.web.realm import PATHS as REALM_PATHS
from regadmin.web.routes import Access
from tests.rigs.client import Client
from tests.web.conftest import PASSWORD

CALLERS = ("anonymous", "blocked", "user", "manager", "admin")
DIGEST = "sha256:" + "0" * 64


class Expected(NamedTuple):
    """The statuses that each caller gets: what is allowed goes on to find nothing, or a fault in the request."""

    anonymous: int
    blocked: int
    user: int
    manager: int
    admin: int


ALL_200 = Expected(200, 200, 200, 200, 200)
READ = Expected(401, 401, 403, 200, 200)
READ_ONE = Expected(401, 401, 403, 404, 404)
CREATE = Expected(401, 401, 403, 403, 422)
CHANGE = Expected(401, 401, 403, 403, 404)
TOKEN = Expected(200, 401, 200, 200, 200)

TABLE = {
    "GET /ping": ("/ping", ALL_200),
    "GET /healthz": ("/healthz", ALL_200),
    "GET /readyz": ("/readyz", ALL_200),
    # Accounts do not count there, but the address and the token; see test_metrics.py.
    "GET /metrics": ("/metrics", Expected(403, 403, 403, 403, 403)),
    "GET /api/v1/openapi.json": ("/api/v1/openapi.json", ALL_200),
    # Signing in and out
    "POST /auth/local/login": ("/auth/local/login", Expected(400, 400, 400, 400, 400)),
    "GET /auth/user": ("/auth/user", Expected(401, 401, 200, 200, 200)),
    "GET /auth/status": ("/auth/status", ALL_200),
    "GET /auth/list": ("/auth/list", ALL_200),
    "GET /auth/logout": ("/auth/logout", ALL_200),
    "POST /auth/logout": ("/auth/logout", ALL_200),
    "GET /auth/local/logout": ("/auth/local/logout", ALL_200),
    "POST /auth/local/logout": ("/auth/local/logout", ALL_200),
    # Users, groups and rules
    "GET /api/v1/users": ("/api/v1/users", READ),
    "GET /api/v1/users/<user_id:int>": ("/api/v1/users/999", READ_ONE),
    "POST /api/v1/users": ("/api/v1/users", CREATE),
    "PUT /api/v1/users/<user_id:int>": ("/api/v1/users/999", CHANGE),
    "DELETE /api/v1/users/<user_id:int>": ("/api/v1/users/999", CHANGE),
    "GET /api/v1/groups": ("/api/v1/groups", READ),
    "GET /api/v1/groups/<group_id:int>": ("/api/v1/groups/999", READ_ONE),
    "POST /api/v1/groups": ("/api/v1/groups", CREATE),
    "PUT /api/v1/groups/<group_id:int>": ("/api/v1/groups/999", CHANGE),
    "DELETE /api/v1/groups/<group_id:int>": ("/api/v1/groups/999", CHANGE),
    "GET /api/v1/access": ("/api/v1/access", READ),
    "GET /api/v1/access/<rule_id:int>": ("/api/v1/access/999", READ_ONE),
    "POST /api/v1/access": ("/api/v1/access", CREATE),
    "PUT /api/v1/access/<rule_id:int>": ("/api/v1/access/999", CHANGE),
    "DELETE /api/v1/access/<rule_id:int>": ("/api/v1/access/999", CHANGE),
    # Access tokens of the caller
    "GET /api/v1/tokens": ("/api/v1/tokens", Expected(401, 401, 200, 200, 200)),
    "POST /api/v1/tokens": ("/api/v1/tokens", Expected(401, 401, 422, 422, 422)),
    "DELETE /api/v1/tokens/<token_id:int>": ("/api/v1/tokens/999", Expected(401, 401, 404, 404, 404)),
    # The registry, which is away: 502 is as far as one can come
    "GET /api/v1/registry/catalog": ("/api/v1/registry/catalog", Expected(401, 401, 200, 200, 200)),
    "GET /api/v1/registry/catalog/blobs": (
        f"/api/v1/registry/catalog/blobs?name=a&digest={DIGEST}",
        Expected(401, 401, 404, 404, 404),
    ),
    "DELETE /api/v1/registry/catalog/<path:path>": (
        f"/api/v1/registry/catalog/a?digest={DIGEST}",
        Expected(401, 401, 403, 403, 502),
    ),
    "GET /api/v1/registry/health": ("/api/v1/registry/health", Expected(401, 401, 502, 502, 502)),
    "GET /api/v1/registry/sync": ("/api/v1/registry/sync", Expected(401, 401, 403, 403, 200)),
    "POST /api/v1/registry/sync": ("/api/v1/registry/sync", Expected(401, 401, 403, 403, 409)),
    "POST /api/v1/registry/events": ("/api/v1/registry/events", Expected(401, 401, 400, 400, 400)),
    # The token realm, and what a proxy asks: without a request to ask about nobody gets further
    f"GET {FORWARD_PATH}": (FORWARD_PATH, Expected(400, 401, 400, 400, 400)),
    **{f"{method} {path}": (path, TOKEN) for path in REALM_PATHS for method in ("GET", "POST")},
}
OUTSIDE = ("/ping", "/healthz", "/readyz", "/metrics")
"""They answer with text, and do not look at the credentials of accounts."""
PLAIN = tuple(f"GET {path}" for path in OUTSIDE)
FOR_CLIENTS = (*REALM_PATHS, FORWARD_PATH)
"""Of the registry's clients: sessions do not count there, and errors are the registry's."""

NAMES = [name for name in TABLE if not name.endswith(FOR_CLIENTS)]


@pytest.fixture
def app(settings, clock, by) -> App:
    """With an account of each kind, and a synchronisation that runs already."""
    app = App(settings(), clock)
    app.store.sync_runs.start("somebody")
    for login in CALLERS[1:]:
        role = Role.USER if login == "blocked" else Role(login)
        app.users.create(by, PASSWORD, login=f"the {login}", role=role)
    return app


@pytest.fixture
def block(app, by):
    def block() -> None:
        found, _ = app.store.users.find_login("the blocked")
        app.users.update(found.id, by, is_blocked=True)

    return block


def bottle_of(app: App) -> Bottle:
    """The application itself, below its middleware."""
    part = app.wsgi
    while not isinstance(part, Bottle):
        part = part._app
    return part


def api_routes(app: App) -> set[str]:
    rules = {f"{route.method} {route.rule}" for route in bottle_of(app).routes}
    return {rule for rule in rules if rule.split(" ")[1].startswith(("/api", "/auth", *OUTSIDE))}


def call(client: Client, name: str, **options) -> int:
    method, path = name.split(" ")[0], TABLE[name][0]
    answer = client.request(method, path, body=b"{}" if method in ("POST", "PUT") else b"", **options)
    if name not in PLAIN:
        assert answer.header("Content-Type") == "application/json"
    if not name.endswith((*FOR_CLIENTS, *OUTSIDE, "/openapi.json")) and answer.status >= 400:
        assert answer.json["error"] is True
    return answer.status


def test_every_route_of_the_api_is_in_the_table(app):
    assert api_routes(app) == set(TABLE)


def test_the_list_of_documented_routes_is_complete(app):
    documented = {f"{route.method} {route.path}" for route in app.api_routes}
    assert documented == set(TABLE) - set(PLAIN)


def test_the_table_agrees_with_what_each_route_declares(app):
    for route in app.api_routes:
        _, expected = TABLE[f"{route.method} {route.path}"]
        denials = [status in (401, 403) for status in expected]
        declared = {
            Access.ADMIN: [True, True, True, True, False],
            Access.MANAGER: [True, True, True, False, False],
            Access.SIGNED_IN: [True, True, False, False, False],
            Access.CLIENT: [True, True, False, False, False],
        }
        if route.access is not Access.PUBLIC:
            assert denials == declared[route.access], route


@pytest.mark.parametrize("name", TABLE)
def test_with_basic_credentials_everybody_gets_what_the_table_says(app, block, name):
    block()
    _, expected = TABLE[name]
    if name not in PLAIN:
        # Credentials that were sent and are wrong are refused even where none are needed.
        expected = expected._replace(blocked=401)
    got = []
    for caller in CALLERS:
        basic = "" if caller == "anonymous" else f"the {caller}:{PASSWORD}"
        got.append(call(Client(app.wsgi, basic=basic), name))
    assert Expected(*got) == expected


@pytest.mark.parametrize("scope", [(), (Reach("**", "*"),)], ids=["without a limit", "with a scope"])
@pytest.mark.parametrize("login", ["the admin", "the-robot"])
def test_an_access_token_opens_what_is_declared_for_it_and_nothing_else(app, by, login, scope):
    """Of an admin, too: what is refused is so because of the token."""
    app.users.create(by, "", login="the-robot", is_robot=True)
    owner = app.store.users.find_login(login)[0]
    _, secret = app.access_tokens.create(owner, by, "all", scope, None)
    holder = Client(app.wsgi, basic=f"{login}:{secret}")
    for route in app.api_routes:
        name = f"{route.method} {route.path}"
        status = call(holder, name)
        if route.access is Access.CLIENT or route.path.endswith(FOR_CLIENTS):
            assert status == TABLE[name][1].admin, name
        else:
            assert status == 403, name


@pytest.mark.parametrize("name", NAMES)
def test_with_a_session_everybody_gets_what_the_table_says(app, browser, block, name):
    clients = {caller: browser(f"the {caller}") for caller in CALLERS[1:]} | {"anonymous": Client(app.wsgi)}
    block()
    got = []
    for caller in CALLERS:
        client = clients[caller]
        headers = {"X-XSRF-TOKEN": client.cookies.get("XSRF-TOKEN", "")}
        got.append(call(client, name, headers=headers))
    assert Expected(*got) == TABLE[name][1]


@pytest.mark.parametrize("name", [name for name in NAMES if TABLE[name][1].anonymous == 401])
def test_wrong_credentials_are_as_good_as_none(app, name):
    assert call(Client(app.wsgi, basic="the admin:wrong password"), name) == 401
    assert call(Client(app.wsgi), name, headers={"X-JWT": "x.y.z"}) == 401
    assert call(Client(app.wsgi, cookies={"JWT": "x.y.z"}), name) == 401


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/users", "/auth/nothing"])
def test_what_is_not_there_is_not_found_for_anybody(app, path):
    for basic in ("", f"the admin:{PASSWORD}"):
        assert Client(app.wsgi, basic=basic).get(path).status == 404
