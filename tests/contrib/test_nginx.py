"""contrib/nginx: a real nginx before a real server and a real registry, with the configurations as they are written."""

import base64
import http.client
import os
import re
import ssl
from contextlib import closing

import pytest
import requests
from requests.adapters import HTTPAdapter

from regadmin.entities import EVERYONE_ID
from tests.rigs import images
from tests.rigs.nginx import Nginx
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.skopeo import parsed

CLIENT, NEIGHBOUR = "127.0.0.9", "127.0.0.10"
"""Addresses of clients; the proxy's is 127.0.0.1."""


class From(HTTPAdapter):
    """Connects from another address of this machine."""

    def __init__(self, address: str):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RunningServer(tmp_path_factory.mktemp("server"), free_port(), trusted_proxies=["127.0.0.1"]).start()
    server.create("users", login="events", password="events-pass", role="user")
    for login, name, action in (
        ("alice", "team/**", "push"),
        ("alice", "base/image", "pull"),
        ("bob", "team/app", "pull"),
        ("bob", "own/**", "push"),
    ):
        owner = by_login(server, login) or server.create("users", login=login, password=f"{login}-pass", role="user")
        allow(server, owner, name, action)
    allow(server, EVERYONE_ID, "open/app", "pull")
    yield server
    server.stop()


def by_login(server: RunningServer, login: str) -> int | None:
    found = server.call("GET", "/api/v1/users").json()["data"]
    return next((user["id"] for user in found if user["login"] == login), None)


def allow(server: RunningServer, owner: int, name: str, action: str) -> None:
    what = {"type": "repository", "resource_name": name, "action": action}
    server.create("access", owner_id=owner, is_group=False, name=f"{action} {name}", **what)


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory):
    """nginx before both."""
    with Nginx(tmp_path_factory.mktemp("nginx"), "regadmin.conf", server, registry_port_of(server)) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def registry(server, proxy, tmp_path_factory):
    """It sends its clients to nginx for tokens."""
    authorization = "Basic " + base64.b64encode(b"events:events-pass").decode()
    with RealRegistry(
        tmp_path_factory.mktemp("registry"),
        port=registry_port_of(server),
        auth=trust(server) | {"realm": f"{proxy.url}/api/v1/registry/auth"},
        notifications=(f"{server.url}/api/v1/registry/events", {"Authorization": authorization}),
    ) as registry:
        yield registry


def trust(server: RunningServer) -> dict:
    names = {"service": "container_registry", "issuer": "registry_token_issuer"}
    return names | {"rootcertbundle": server.certificate}


def registry_port_of(server: RunningServer) -> int:
    return int(re.search(r'"port": (\d+), "auth_type"', server.config.read_text())[1])


@pytest.fixture
def client(proxy):
    """Makes a client of nginx that has this address."""
    made = []

    def make(address: str) -> requests.Session:
        session = requests.Session()
        session.trust_env, session.verify = False, str(proxy.certificate)
        session.mount("https://", From(address))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


def sign_in(client: requests.Session, proxy: Nginx, login: str, password: str) -> requests.Response:
    return client.post(f"{proxy.url}/auth/local/login", json={"user": login, "passwd": password}, timeout=10)


def test_cookies_are_for_https_only_and_links_lead_to_the_proxy(proxy, client):
    with closing(client(CLIENT)) as browser:
        signed_in = sign_in(browser, proxy, *ADMIN)
        assert signed_in.status_code == 200
        assert {cookie.name: cookie.secure for cookie in browser.cookies} == {"JWT": True, "XSRF-TOKEN": True}
        page = browser.get(f"{proxy.url}/setup", timeout=30).text
    assert f"realm: {proxy.url}/api/v1/registry/auth" in page
    assert f"http://localhost:{proxy.port}" not in page


def test_the_log_has_the_clients_address_and_not_the_one_that_it_claims(proxy, server, client):
    client(CLIENT).get(f"{proxy.url}/ping?seen", headers={"X-Forwarded-For": "192.0.2.66"}, timeout=10)
    lines = (server.directory / "access.log").read_text().splitlines()
    assert [line.split()[0] for line in lines if "/ping?seen" in line] == [CLIENT]


def test_guesses_count_for_the_client_and_not_for_the_proxy(proxy, client):
    guesser, neighbour = client("127.0.0.66"), client(NEIGHBOUR)
    statuses = [sign_in(guesser, proxy, f"nobody{number}", "a guess").status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]
    assert sign_in(neighbour, proxy, "nobody11", "a guess").status_code == 401
    assert sign_in(neighbour, proxy, *ADMIN).status_code == 200


def test_skopeo_pushes_and_pulls_through_it(proxy, registry, skopeo, tmp_path):
    push_and_pull(proxy, skopeo, tmp_path)


def push_and_pull(proxy: Nginx, skopeo, tmp_path) -> None:
    image = images.write_dir(images.docker_image(), tmp_path / "image")
    target = proxy.docker("team/app:v1")
    assert skopeo.login(proxy.host, *ADMIN).returncode == 0
    pushed = skopeo.copy(image, target)
    assert pushed.returncode == 0, pushed.stderr
    pulled = skopeo.copy(target, f"dir:{tmp_path}/pulled")
    assert pulled.returncode == 0, pulled.stderr
    assert skopeo.logout(proxy.host).returncode == 0
    assert skopeo.inspect(target).returncode != 0
    assert skopeo.login(proxy.host, ADMIN[0], "wrong").returncode != 0


def test_a_registry_that_sends_its_clients_to_its_own_name_sends_them_to_the_server(
    server, skopeo, tmp_path, tmp_path_factory
):
    port = free_port()
    auth = trust(server) | {"realm": "https://nowhere.example", "autoredirect": True}
    root = tmp_path_factory.mktemp("autoredirect")
    with (
        RealRegistry(root / "registry", port=port, auth=auth),
        Nginx(root, "regadmin.conf", server, port) as nginx,
    ):
        answer = requests.get(f"{nginx.url}/v2/", verify=nginx.certificate, timeout=10)
        assert f'realm="{nginx.url}/auth/token"' in answer.headers["WWW-Authenticate"]
        push_and_pull(nginx, skopeo, tmp_path)


def test_plain_http_is_redirected(proxy):
    answer = requests.get(f"http://localhost:{proxy.plain_port}/login?next=/", allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://localhost/login?next=/")


# Forward authentication

ALICE, BOB = "alice:alice-pass", "bob:bob-pass"


@pytest.fixture(scope="module")
def forward(server, registry, tmp_path_factory):
    """nginx that asks the server about each request, before the same registry."""
    with Nginx(tmp_path_factory.mktemp("forward"), "forward.conf", server, registry.port) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def pushed(registry, forward) -> images.Image:
    """An image in repositories of all kinds."""
    image = images.oci_image("secret")
    for name in ("team/app", "secret/app", "open/app", "base/image", "team/manifests/v1", "team/blobs/uploads"):
        images.push(forward.url, name, "v1", image, basic(":".join(ADMIN)), forward.certificate)
    return image


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def send(nginx: Nginx, method: str, target: str, credentials: str = "", body: str | None = None, **headers):
    """A request whose target is sent as it is: status, headers and body of the answer."""
    context = ssl.create_default_context(cafile=str(nginx.certificate))
    with closing(http.client.HTTPSConnection("localhost", nginx.port, timeout=30, context=context)) as connection:
        # The client of the standard library would refuse what an attacker sends.
        connection._validate_path = lambda url: None
        connection.putrequest(method, target, skip_accept_encoding=True)
        headers |= {"Accept": images.OCI_MANIFEST} | ({"Authorization": basic(credentials)} if credentials else {})
        headers |= {"Content-Length": str(len(body))} if body is not None else {}
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body.encode() if body else None)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_a_layer_of_100_megabytes_goes_and_comes_with_plain_credentials(forward, pushed, server, skopeo, tmp_path):
    # Nothing can compress it, and skopeo takes it for compressed.
    image = images.with_layer(images.oci_image(), b"\x1f\x8b\x08" + os.urandom(1_000_000) * 100)
    assert skopeo.login(forward.host, "alice", "alice-pass").returncode == 0
    copied = skopeo.copy(images.write_dir(image, tmp_path / "image"), forward.docker("team/app:large"))
    assert copied.returncode == 0, copied.stderr
    pulled = skopeo.copy(forward.docker("team/app:large"), f"dir:{tmp_path}/pulled", src_creds=BOB)
    assert pulled.returncode == 0, pulled.stderr
    assert (tmp_path / "pulled" / "manifest.json").read_bytes() == image.raw
    (row,) = wait_until(lambda: server.catalog(repository_name="team/app", tag="large"))
    assert (row["digest"], row["pushed_by"]) == (image.digest, "alice")


def test_everybody_gets_what_the_rules_give_him(forward, pushed, skopeo, tmp_path):
    image = images.write_dir(pushed, tmp_path / "image")
    for name, creds, may_pull, may_push in (
        ("team/app", ALICE, True, True),
        ("team/app", BOB, True, False),
        ("team/app", None, False, False),
        ("team/manifests/v1", ALICE, True, True),
        ("team/manifests/v1", BOB, False, False),
        ("open/app", BOB, True, False),
        ("open/app", None, True, False),
        ("secret/app", ALICE, False, False),
    ):
        assert (skopeo.inspect(forward.docker(f"{name}:v1"), creds=creds).returncode == 0) is may_pull
        copied = skopeo.copy(image, forward.docker(f"{name}:v2"), creds=creds)
        assert (copied.returncode == 0) is may_push
        # The body of the answer; or what skopeo makes of its status, if it was one to HEAD.
        said = r"denied|403 \(Forbidden\)" if creds else "authentication required"
        assert may_push or re.search(said, copied.stderr)


def test_an_access_token_of_a_robot_reaches_as_far_as_its_scope(forward, pushed, server, skopeo, tmp_path):
    robot = server.create("users", login="robot_ci", robot=True)
    allow(server, robot, "team/**", "push")
    image, target = images.write_dir(pushed, tmp_path / "image"), forward.docker("team/app:robot")
    assert skopeo.copy(image, target, creds="robot_ci:").returncode != 0
    with requests.Session() as admin:
        made = make_token(server, admin, robot, action="pull", repositories="team/app")
        assert skopeo.login(forward.host, "robot_ci", made).returncode == 0
        assert skopeo.inspect(forward.docker("team/app:v1")).returncode == 0
        assert skopeo.copy(image, target).returncode != 0
        assert skopeo.inspect(forward.docker("team/manifests/v1:v1")).returncode != 0
        pusher = make_token(server, admin, robot, action="all")
        assert skopeo.copy(image, target, creds=f"robot_ci:{pusher}").returncode == 0
        page = f"{server.url}/users/{robot}/tokens/1/revoke"
        admin.post(page, data={"csrf": admin.cookies["XSRF-TOKEN"]}, timeout=10).raise_for_status()
    assert skopeo.inspect(forward.docker("team/app:v1")).returncode != 0
    assert skopeo.inspect(target, creds=f"robot_ci:{pusher}").returncode == 0


def make_token(server: RunningServer, admin: requests.Session, owner: int, **fields) -> str:
    """As an admin does in a browser: the secret."""
    if not admin.cookies:
        form = dict(zip(("user", "passwd"), ADMIN, strict=True))
        admin.post(f"{server.url}/auth/local/login", json=form, timeout=10).raise_for_status()
    form = {"csrf": admin.cookies["XSRF-TOKEN"], "name": "ci", "lifetime": "7"} | fields
    answer = admin.post(f"{server.url}/users/{owner}/tokens/new", data=form, timeout=10)
    return re.search(r"rap_\w+", answer.text)[0]


def test_an_image_is_deleted_by_who_may(forward, pushed, skopeo):
    images.push(forward.url, "team/app", "old", images.oci_image("old"), basic(ALICE), forward.certificate)
    old = forward.docker("team/app:old")
    assert "denied" in skopeo.delete(old, ALICE).stderr
    assert skopeo.delete(old, ":".join(ADMIN)).returncode == 0
    assert "old" not in parsed(skopeo.list_tags(forward.docker("team/app"), BOB))["Tags"]


def test_signing_in_works_and_fails_as_it_should(forward, pushed, skopeo):
    assert skopeo.login(forward.host, "bob", "bob-pass").returncode == 0
    assert skopeo.inspect(forward.docker("team/app:v1")).returncode == 0
    refused = skopeo.login(forward.host, "bob", "wrong")
    assert "invalid username/password" in refused.stderr


SECRET = "secret/app/manifests/v1"
READING = {
    "plainly": f"/v2/{SECRET}",
    "dots": f"/v2/team/app/../../{SECRET}",
    "dots to the catalog": "/v2/team/app/blobs/../../../v2/_catalog",
    "encoded dots": f"/v2/team/app/%2e%2e/%2e%2e/{SECRET}",
    "encoded slashes": "/v2/team%2f..%2f..%2fsecret%2fapp/manifests/v1",
    "encoded dots and slashes": "/v2/team/app/..%2f..%2fsecret/app/manifests/v1",
    "encoded letters": "/v2/%73ecret/app/manifests/v1",
    "encoded twice": "/v2/%2573ecret/app/manifests/v1",
    "double slashes": f"/v2//{SECRET}",
    "double slash first": f"//v2/{SECRET}",
    "slash at the end": f"/v2/{SECRET}/",
    "dot": f"/v2/./{SECRET}",
    "from outside": f"/team/../v2/{SECRET}",
    "backslashes": "/v2/team/app\\..\\..\\secret/app/manifests/v1",
    "whole address": f"https://localhost/v2/{SECRET}",
    "fragment": f"/v2/team/app/manifests/v1#/../../../../{SECRET}",
    "zero": f"/v2/{SECRET}%00/v2/team/app/manifests/v1",
    "zero in the name": "/v2/team/app%00/../../secret/app/manifests/v1",
    "line break": f"/v2/team/app/manifests/v1%0d%0aX:%20/v2/{SECRET}",
    "semicolon": f"/v2/team/app;/../../{SECRET}",
    "question mark": f"/v2/{SECRET}?/v2/team/app/manifests/v1",
    "capitals": "/V2/secret/app/manifests/v1",
    "catalog": "/v2/_catalog",
    "catalog with a slash": "/v2/_catalog/",
    "tags": "/v2/secret/app/tags/list",
    "a name that looks like a route": "/v2/team/manifests/v1/manifests/v1",
    "a name that looks like an upload": "/v2/team/blobs/uploads/manifests/v1",
}


@pytest.mark.parametrize("target", READING.values(), ids=READING)
def test_no_spelling_of_an_address_reads_what_the_rules_do_not_give(forward, pushed, target):
    """Bob may pull team/app."""
    for lie in ({}, {"X_Original_URI": "/v2/team/app/manifests/v1", "X_Forwarded_Uri": "/v2/team/app/manifests/v1"}):
        status, headers, body = send(forward, "GET", target, BOB, X_Original_Method="GET", **lie)
        # Those that nginx takes for a page get there.
        assert status in (301, 303, 400, 401, 403, 404), body
        assert "Docker-Content-Digest" not in headers
        assert not any(word in body for word in (b"schemaVersion", b'"repositories"', b'"tags"'))


def test_what_is_refused_is_refused_in_the_registrys_form(forward, pushed):
    status, headers, body = send(forward, "GET", f"/v2/{SECRET}", ":".join(ADMIN))
    assert (status, headers["Docker-Content-Digest"], body) == (200, pushed.digest, pushed.raw)
    for credentials, status, code in ((BOB, 403, "DENIED"), ("", 401, "UNAUTHORIZED"), ("bob:x", 401, "UNAUTHORIZED")):
        answered, headers, body = send(forward, "GET", f"/v2/{SECRET}", credentials)
        assert (answered, headers["Content-Type"]) == (status, "application/json")
        assert f'"code": "{code}"'.encode() in body
        assert (headers["WWW-Authenticate"] or "").startswith("Basic ") is (status == 401)


WRITING = {
    "manifest": ("PUT", "/v2/team/app/manifests/v3"),
    "upload": ("POST", "/v2/team/app/blobs/uploads/"),
    "upload, no slash": ("POST", "/v2/team/app/blobs/uploads"),
    "upload, dots": ("POST", "/v2/own/x/../../team/app/blobs/uploads/"),
    "upload, encoded": ("POST", "/v2/team%2Fapp/blobs/uploads/"),
    "mount into another": ("POST", "/v2/secret/app/blobs/uploads/?mount={digest}&from=team/app"),
    "mount from another": ("POST", "/v2/own/x/blobs/uploads/?mount={digest}&from=secret/app"),
    "mount from another, encoded": ("POST", "/v2/own/x/blobs/uploads/?mount={digest}&fr%6Fm=secret%2Fapp"),
    "mount from two": ("POST", "/v2/own/x/blobs/uploads/?mount={digest}&from=secret/app&from=team/app"),
    "mount from two, turned": ("POST", "/v2/own/x/blobs/uploads/?mount={digest}&from=team/app&from=secret/app"),
    "manifest, deleted": ("DELETE", "/v2/team/app/manifests/{digest}"),
    "blob, deleted": ("DELETE", "/v2/team/app/blobs/{digest}"),
    "small letters": ("put", "/v2/team/app/manifests/v3"),
}


@pytest.mark.parametrize("name", WRITING)
def test_no_spelling_of_a_request_writes_what_the_rules_do_not_give(forward, pushed, name):
    """Bob may pull team/app, and push below own."""
    method, target = WRITING[name]
    target = target.format(digest=next(iter(pushed.blobs)))
    for lie in ("X-Original-Method", "X-Forwarded-Method", "X-HTTP-Method-Override"):
        status, headers, body = send(forward, method, target, BOB, "", **{lie.replace("-", "_"): "GET"})
        assert status in (301, 400, 401, 403, 404, 405), body
        assert "Location" not in headers or status == 301


def test_a_source_that_hides_in_the_body_is_seen_by_the_registry(forward, pushed):
    digest, form = next(iter(pushed.blobs)), "application/x-www-form-urlencoded"
    for query, source, expected in (("", "secret/app", 401), ("", "team/app", 401), ("&from=team/app", None, 201)):
        target = f"/v2/own/x/blobs/uploads/?mount={digest}{query}"
        body = f"from={source}&mount={digest}" if source else ""
        status, _, answer = send(forward, "POST", target, BOB, body, Content_Type=form)
        assert status == expected, answer


def test_guesses_wait_in_forward_mode_too(forward, client, server):
    guesser = client("127.0.0.77")
    guesser.auth, guesser.verify = ("guest", "x"), str(forward.certificate)
    answers = [guesser.get(f"{forward.url}/v2/", timeout=10) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429]
    assert answers[-1].json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert int(answers[-1].headers["Retry-After"]) > 0
    lines = (server.directory / "access.log").read_text().splitlines()
    assert any(line.startswith("127.0.0.77 - guest ") and '" 401 ' in line for line in lines)


def test_a_registry_that_is_away_is_said_in_the_registrys_form(forward, registry):
    registry.stop()
    try:
        status, _, body = send(forward, "GET", "/v2/", ALICE)
    finally:
        registry.start()
    assert (status, b'"UNAVAILABLE"' in body) == (503, True)
