"""Every page and everybody who may see it: one table. A route that is not in it fails the test.

The registry is away. Only admins and managers may see `team/app`, where they find nothing to change.
"""

import re
from typing import NamedTuple
from urllib.parse import quote

import pytest
from bottle import Bottle

from regadmin.app import App
from regadmin.entities import Descriptor, ImageConfig, Manifest, Role
from tests.rigs.client import Client
from tests.web.conftest import PASSWORD

CALLERS = ("anonymous", "blocked", "user", "manager", "admin")
NOT_PAGES = ("/api", "/auth", "/ping", "/healthz", "/readyz", "/metrics", "/static")
DIGEST = "sha256:" + "d" * 64
KNOWN = {
    "<name:path>": "team/app",
    "<tag>": "v1",
    "<digest>": quote(DIGEST),
    "<kind:re:user|group|repository>": "user",
}


class Expected(NamedTuple):
    """The statuses that each caller gets; 303 leads to signing in, or on after a change."""

    anonymous: int
    blocked: int
    user: int
    manager: int
    admin: int


EVERYBODY = Expected(200, 200, 200, 200, 200)
LED_ON = Expected(303, 303, 303, 303, 303)
SIGNED_IN = Expected(303, 303, 200, 200, 200)
STAFF = Expected(303, 303, 403, 200, 200)
ADMIN = Expected(303, 303, 403, 403, 200)
ADMIN_FINDS_NOTHING = Expected(303, 303, 403, 403, 404)
ADMIN_MISSES_FIELDS = Expected(303, 303, 403, 403, 422)
READERS = Expected(404, 404, 404, 200, 200)

TABLE = {
    "GET /overview": STAFF,
    "GET /overview/registry": STAFF,
    "GET /sync": STAFF,
    "POST /sync": Expected(303, 303, 403, 403, 409),
    "GET /sync/progress": Expected(303, 303, 403, 303, 303),
    "GET /activity": STAFF,
    "GET /activity/news": STAFF,
    "GET /activity.csv": STAFF,
    "GET /": LED_ON,
    "GET /login": Expected(200, 200, 303, 303, 303),
    "GET /account": SIGNED_IN,
    "POST /account": LED_ON,
    "POST /account/sessions": Expected(303, 303, 404, 404, 404),
    "GET /account/tokens/new": SIGNED_IN,
    "POST /account/tokens/new": Expected(303, 303, 422, 422, 422),
    "GET /account/tokens/<token_id:int>/revoke": Expected(303, 303, 404, 404, 404),
    "POST /account/tokens/<token_id:int>/revoke": Expected(303, 303, 404, 404, 404),
    "GET /password": SIGNED_IN,
    "POST /login": Expected(401, 401, 401, 401, 401),
    "POST /logout": LED_ON,
    "POST /password": Expected(303, 303, 422, 422, 422),
    "POST /theme": LED_ON,
    "POST /language": LED_ON,
    "GET /help": EVERYBODY,
    "GET /about": EVERYBODY,
    "GET /setup": ADMIN,
    "GET /setup/certificate.crt": ADMIN,
    "GET /repos/<name:path>/-/tags/<tag>/delete": ADMIN,
    "POST /repos/<name:path>/-/tags/<tag>/delete": Expected(303, 303, 403, 403, 409),
    "GET /repos/<name:path>/-/manifests/<digest>/delete": ADMIN,
    "POST /repos/<name:path>/-/manifests/<digest>/delete": Expected(303, 303, 403, 403, 409),
    "GET /repos/<name:path>/-/tags/<tag>": READERS,
    "GET /repos/<name:path>/-/manifests/<digest>": READERS,
    "GET /repos": EVERYBODY,
    "GET /repos.csv": EVERYBODY,
    "GET /repos/-/namespaces": EVERYBODY,
    "GET /repos/<name:path>/-/access": STAFF,
    "GET /repos/<name:path>/-/activity": STAFF,
    "GET /repos/<name:path>/-/delete": ADMIN,
    "POST /repos/<name:path>/-/delete": ADMIN_MISSES_FIELDS,
    "GET /repos/<name:path>/-/delete-tags": Expected(303, 303, 403, 403, 400),
    "POST /repos/<name:path>/-/delete-tags": Expected(303, 303, 403, 403, 400),
    "GET /repos/<name:path>": READERS,
    "GET /access": STAFF,
    "GET /access/check": STAFF,
    "GET /access/matches": ADMIN,
    "GET /access/suggestions/<kind:re:user|group|repository>": STAFF,
    "GET /access/new": ADMIN,
    "POST /access/new": ADMIN_MISSES_FIELDS,
    "GET /access/<rule_id:int>": ADMIN_FINDS_NOTHING,
    "POST /access/<rule_id:int>": ADMIN_FINDS_NOTHING,
    "POST /access/<rule_id:int>/status": ADMIN_FINDS_NOTHING,
    "GET /access/<rule_id:int>/delete": ADMIN_FINDS_NOTHING,
    "POST /access/<rule_id:int>/delete": ADMIN_FINDS_NOTHING,
    "GET /users": ADMIN,
    "GET /users/new": ADMIN,
    "POST /users/new": ADMIN_MISSES_FIELDS,
    "GET /users/<user_id:int>": ADMIN_FINDS_NOTHING,
    "GET /users/<user_id:int>/edit": ADMIN_FINDS_NOTHING,
    "POST /users/<user_id:int>/edit": ADMIN_FINDS_NOTHING,
    "GET /users/<user_id:int>/delete": ADMIN_FINDS_NOTHING,
    "POST /users/<user_id:int>/delete": ADMIN_FINDS_NOTHING,
    "GET /users/<user_id:int>/tokens/new": ADMIN_FINDS_NOTHING,
    "POST /users/<user_id:int>/tokens/new": ADMIN_FINDS_NOTHING,
    "GET /users/<user_id:int>/tokens/<token_id:int>/revoke": ADMIN_FINDS_NOTHING,
    "POST /users/<user_id:int>/tokens/<token_id:int>/revoke": ADMIN_FINDS_NOTHING,
    "GET /groups": ADMIN,
    "GET /groups/new": ADMIN,
    "POST /groups/new": ADMIN_MISSES_FIELDS,
    "GET /groups/<group_id:int>": ADMIN_FINDS_NOTHING,
    "POST /groups/<group_id:int>": ADMIN_FINDS_NOTHING,
    "GET /groups/<group_id:int>/edit": ADMIN_FINDS_NOTHING,
    "POST /groups/<group_id:int>/edit": ADMIN_FINDS_NOTHING,
    "GET /groups/<group_id:int>/delete": ADMIN_FINDS_NOTHING,
    "POST /groups/<group_id:int>/delete": ADMIN_FINDS_NOTHING,
}


@pytest.fixture
def app(settings, clock, by) -> App:
    """With an account of each kind, one image, and a synchronisation that runs already."""
    app = App(settings(), clock)
    app.store.sync_runs.start("somebody")
    for login in CALLERS[1:]:
        role = Role.USER if login == "blocked" else Role(login)
        app.users.create(by, PASSWORD, login=f"the {login}", role=role)
    config = Descriptor("sha256:" + "c" * 64, 10)
    manifest = Manifest(DIGEST, "application/vnd.oci.image.manifest.v1+json", "image", b"{}", config=config)
    app.store.repositories.save_manifest("team/app", manifest, ImageConfig("linux/amd64", 1, b"{}"))
    app.store.repositories.point_tag("team/app", "v1", DIGEST)
    return app


@pytest.fixture
def callers(app, browser, by) -> dict[str, Client]:
    clients = {caller: browser(f"the {caller}") for caller in CALLERS[1:]} | {"anonymous": Client(app.wsgi)}
    for number, client in enumerate(clients.values(), 1):
        # Else the failed sign-ins of one would slow down the others.
        client.address = f"192.0.2.{number}"
    app.users.update(app.store.users.find_login("the blocked")[0].id, by, is_blocked=True)
    return clients


def bottle_of(app: App) -> Bottle:
    part = app.wsgi
    while not isinstance(part, Bottle):
        part = part._app
    return part


def page_routes(app: App) -> list[str]:
    routes = [f"{route.method} {route.rule}" for route in bottle_of(app).routes]
    return [route for route in routes if not route.split(" ")[1].startswith(NOT_PAGES)]


def call(client: Client, name: str) -> int:
    method, path = name.split(" ", 1)
    for placeholder, value in KNOWN.items():
        path = path.replace(placeholder, value)
    path = re.sub(r"<\w+_id:int>", "999", path)
    csrf = re.search(r'name="csrf" value="(\w+)"', client.get("/help").text)[1]
    return client.request(method, path, form={"csrf": csrf} if method == "POST" else None).status


def test_every_page_is_in_the_table(app):
    assert set(page_routes(app)) == set(TABLE)


def test_an_access_token_opens_no_page(app, by):
    owner = app.store.users.find_login("the admin")[0]
    _, secret = app.access_tokens.create(owner, by, "all", (), None)
    holder = Client(app.wsgi, basic=f"the admin:{secret}")
    for name in TABLE:
        method, path = name.replace("<name:path>", "team/app").split(" ", 1)
        answer = holder.request(method, re.sub("<[^>]*>", "1", path), form={} if method == "POST" else None)
        assert answer.status in (403, 404), name
        assert "Signed in as" not in answer.text


@pytest.mark.parametrize("name", TABLE)
def test_everybody_gets_what_the_table_says(callers, name):
    assert Expected(*(call(callers[caller], name) for caller in CALLERS)) == TABLE[name]
