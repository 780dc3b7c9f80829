"""Two servers on one store, as while one is replaced by the next: what one does holds in the other at once."""

import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
import requests

from tests.rigs import images
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.standin import SLOW, StandinRegistry, envelope, event

TOKEN, SYNC, EVENTS = "/api/v1/registry/auth", "/api/v1/registry/sync", "/api/v1/registry/events"
EACH = 200
"""Events that each server gets: the workers of both are busy for a while."""


@pytest.fixture(scope="module")
def registry():
    with StandinRegistry() as registry:
        for tag in ("v1", "v2"):
            registry.put("team/app", tag, images.docker_image(tag))
        yield registry


@pytest.fixture(scope="module")
def servers(tmp_path_factory, registry):
    """Both are started on an empty store at the same moment."""
    common = tmp_path_factory.mktemp("common")
    certs = {"path": str(common / "certs"), "fqdns": ["localhost"]}
    pair = [
        RunningServer(
            tmp_path_factory.mktemp(name),
            registry.port,
            registry={"host": "http://127.0.0.1", "port": registry.port, "auth_type": "token", "certs": certs},
            store={"type": "embed", "admin_password": ADMIN[1], "embed": {"path": str(common / "data.db")}},
        ).launch()
        for name in ("first", "second")
    ]
    for server in pair:
        server.wait()
    wait_until(lambda: len(pair[0].catalog()) == 2 and pair[0].call("GET", SYNC).json()["data"]["state"] == "complete")
    yield pair
    for server in pair:
        server.stop()


@pytest.fixture
def alice(servers):
    """A user, made at the first server."""
    user_id = servers[0].create("users", login="alice", password="alice-pass", role="user")
    yield user_id
    servers[0].call("DELETE", f"/api/v1/users/{user_id}")


def ask(server, password="alice-pass") -> requests.Response:
    return server.call("GET", f"{TOKEN}?service=container_registry&scope=repository:team/app:pull", ("alice", password))


def granted(server) -> list:
    return jwt.decode(ask(server).json()["token"], options={"verify_signature": False})["access"]


def pulls(server, tag: str) -> int:
    (row,) = server.catalog(repository_name="team/app", tag=tag)
    return row["pull_counter"]


def test_started_at_once_they_made_one_admin_and_one_key(servers, alice):
    first, second = (jwt.get_unverified_header(ask(server).json()["token"]) for server in servers)
    assert first["x5c"] == second["x5c"]
    for server in servers:
        assert [user["login"] for user in server.call("GET", "/api/v1/users").json()["data"]] == ["admin", "alice"]


def test_a_session_of_one_is_known_to_the_other_until_it_ends(servers):
    first, second = servers
    with requests.Session() as browser:
        browser.trust_env = False
        signed_in = browser.post(f"{first.url}/auth/local/login", json={"user": ADMIN[0], "passwd": ADMIN[1]})
        token = signed_in.cookies["JWT"]
    headers = {"X-JWT": token}
    assert second.call("GET", "/auth/user", None, headers=headers).json()["name"]
    assert second.call("GET", "/auth/logout", None, headers=headers).status_code == 200
    for server in servers:
        assert server.call("GET", "/auth/user", None, headers=headers).status_code == 401


def test_rules_hold_with_the_next_request_in_both(servers, alice):
    first, second = servers
    for server in servers:
        assert granted(server) == []
    fields = {"owner_id": alice, "resource_name": "team/app", "action": "pull", "type": "repository"}
    rule = first.create("access", **fields)
    for server in servers:
        assert [each["name"] for each in granted(server)] == ["team/app"]
    second.call("PUT", f"/api/v1/access/{rule}", json={"disabled": True})
    for server in servers:
        assert granted(server) == []


def test_blocks_and_passwords_hold_with_the_next_request_in_both(servers, alice):
    first, second = servers
    assert [ask(server).status_code for server in servers] == [200, 200]
    second.call("PUT", f"/api/v1/users/{alice}", json={"blocked": True})
    assert [ask(server).status_code for server in servers] == [401, 401]
    first.call("PUT", f"/api/v1/users/{alice}", json={"blocked": False, "password": "another pass"})
    assert [ask(server).status_code for server in servers] == [401, 401]
    assert [ask(server, "another pass").status_code for server in servers] == [200, 200]


def test_every_notification_counts_once_wherever_it_arrives(servers, registry):
    digest = registry.tags["team/app"]["v1"]

    def post(number: int) -> int:
        pulled = [event("pull", "team/app", id=str(uuid.uuid4()), tag="v1", digest=digest, method="GET")]
        # A registry posts an envelope again if it saw no answer: to the other one, behind a balancer.
        answers = [server.call("POST", EVENTS, data=envelope(*pulled)) for server in (servers[number % 2], servers[0])]
        return sum(answer.status_code == 200 for answer in answers)

    before = pulls(servers[0], "v1")
    with ThreadPoolExecutor(8) as posters:
        assert set(posters.map(post, range(EACH))) == {2}
    wait_until(lambda: pulls(servers[1], "v1") >= before + EACH, 20)
    for server in servers:
        server.call("POST", EVENTS, data=envelope(event("pull", "team/app", id=str(uuid.uuid4()), tag="v2")))
    wait_until(lambda: pulls(servers[1], "v2") == 2)
    assert pulls(servers[0], "v1") == before + EACH


def test_only_one_synchronises(servers, registry):
    first, second = servers
    registry.fail(SLOW, on="/manifests/")
    try:
        assert first.call("POST", SYNC).status_code == 202
        refused = second.call("POST", SYNC)
        assert refused.status_code == 409
        assert "already running" in refused.json()["message"]
    finally:
        registry.heal()
    wait_until(lambda: second.call("GET", SYNC).json()["data"]["state"] == "complete")
    assert second.call("POST", SYNC).status_code == 202
    wait_until(lambda: first.call("GET", SYNC).json()["data"]["state"] == "complete")


def test_one_goes_on_while_the_other_is_killed_and_comes_again(servers, alice):
    first, second = servers
    second.stop(signal.SIGKILL)
    assert ask(first).status_code == 200
    second.start()
    assert ask(second).status_code == 200
