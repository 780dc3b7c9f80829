"""Worker processes: what one does holds in all with the next request, and none is missed when it dies."""

import base64
import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from regadmin.passwords import usable_cores
from regadmin.services.throttle import ADDRESS, SAME
from tests.rigs import images
from tests.rigs.processes import children
from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.standin import SLOW, StandinRegistry

WORKERS = 2
CONNECTIONS = 12
"""All on one worker only once in two thousand runs."""

REFUSED = {401, 429}
"""Whoever goes on with wrong credentials is throttled."""

TOKEN = "/api/v1/registry/auth?service=container_registry&scope=repository:team/app:pull"


def is_there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def workers(server: RunningServer) -> list[int]:
    """Those that answer: the last child works in the background."""
    return children(server.pid)[:WORKERS]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RunningServer(tmp_path_factory.mktemp("workers"), free_port(), workers=WORKERS).start()
    yield server
    server.stop()


class Everywhere:
    """Connections that stay open, so that each worker has some."""

    def __init__(self, port: int, client: str = "127.0.0.1"):
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(client, 0))
            for _ in range(CONNECTIONS)
        ]

    def ask(self, path: str, login: str = "", password: str = "") -> list[tuple[int, bytes]]:
        """The answers of all of them."""
        credentials = base64.b64encode(f"{login}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} if login else {}
        answers = []
        for connection in self._connections:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()))
        return answers

    def granted(self, password: str = "alice-pass") -> list[list[str] | int]:
        """What the tokens of all of them allow, or the status of a refusal."""
        answers = self.ask(TOKEN, "alice", password)
        return [_actions(body) if status == 200 else status for status, body in answers]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def _actions(body: bytes) -> list[str]:
    access = jwt.decode(json.loads(body)["token"], options={"verify_signature": False})["access"]
    return access[0]["actions"] if access else []


@pytest.fixture
def everywhere(server):
    everywhere = Everywhere(server.port)
    yield everywhere
    everywhere.close()


@pytest.fixture
def alice(server):
    user_id = server.create("users", login="alice", password="alice-pass", role="user")
    yield user_id
    server.call("DELETE", f"/api/v1/users/{user_id}")


def test_each_worker_keeps_to_a_core_and_the_background_to_none(server):
    *answering, background = children(server.pid)
    cores = usable_cores()
    own = [{sorted(cores)[number % len(cores)]} for number in range(WORKERS)]
    wait_until(lambda: [os.sched_getaffinity(pid) for pid in answering] == own)
    assert os.sched_getaffinity(background) == cores


def test_every_change_holds_with_the_next_request_in_every_worker(server, everywhere, alice):
    nothing, pull = [[]] * CONNECTIONS, [["pull"]] * CONNECTIONS
    # Twice, because the second answer comes from memory.
    assert everywhere.granted() == everywhere.granted() == nothing
    rule = server.create("access", owner_id=alice, type="repository", resource_name="team/app", action="pull")
    assert everywhere.granted() == everywhere.granted() == pull
    server.call("PUT", f"/api/v1/access/{rule}", json={"disabled": True})
    assert everywhere.granted() == nothing
    server.call("PUT", f"/api/v1/access/{rule}", json={"disabled": False})
    assert everywhere.granted() == everywhere.granted() == pull
    server.call("PUT", f"/api/v1/users/{alice}", json={"password": "another pass"})
    assert everywhere.granted("another pass") == everywhere.granted("another pass") == pull
    assert set(everywhere.granted()) <= REFUSED
    server.call("DELETE", f"/api/v1/access/{rule}")
    assert everywhere.granted("another pass") == everywhere.granted("another pass") == nothing
    server.call("PUT", f"/api/v1/users/{alice}", json={"blocked": True})
    assert set(everywhere.granted("another pass")) <= REFUSED


def test_guesses_are_counted_over_all_workers(server):
    guesser = Everywhere(server.port, "127.0.0.66")
    # The same wrong credentials again count as one guess, and wait by themselves.
    statuses = [status for status, _ in guesser.ask(TOKEN, "nobody", "an old password")]
    assert statuses == [401] * SAME.free + [429] * (CONNECTIONS - SAME.free)
    for number in range(ADDRESS.free):
        guesser.ask(TOKEN, f"nobody {number}", "a guess")
    assert {status for status, _ in guesser.ask(TOKEN, "somebody", "another guess")} == {429}
    guesser.close()


def test_a_session_that_ends_is_over_in_every_worker(server, everywhere):
    posted = {"user": ADMIN[0], "passwd": ADMIN[1]}
    cookies = server.call("POST", "/auth/local/login", None, json=posted).cookies
    headers = {"X-JWT": cookies["JWT"]}

    def statuses() -> set[int]:
        return {server.call("GET", "/auth/user", None, headers=headers).status_code for _ in range(CONNECTIONS)}

    assert statuses() == {200}
    server.call("GET", "/auth/logout", None, headers=headers)
    assert statuses() == {401}


@contextmanager
def as_before(server: RunningServer) -> Iterator[None]:
    """Whatever is done inside, afterwards there are as many processes, all of which answer."""
    before = len(children(server.pid))
    yield
    wait_until(lambda: len(children(server.pid)) == before)
    everywhere = Everywhere(server.port)
    assert everywhere.ask("/ping") == [(200, b"pong")] * CONNECTIONS
    everywhere.close()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_dies_is_replaced(server, by):
    victim = workers(server)[0]
    with as_before(server):
        os.kill(victim, by)
        wait_until(lambda: victim not in children(server.pid))
    assert "worker 0" in server.log.read_text()


def test_the_background_process_is_replaced_and_notifications_are_taken_up(server):
    victim = children(server.pid)[-1]
    with as_before(server):
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in children(server.pid))
    event = {"id": "1", "action": "mount", "target": {"repository": "team/app"}}
    assert server.call("POST", "/api/v1/registry/events", json={"events": [event]}).status_code == 200


def test_a_synchronisation_runs_in_the_background_whoever_started_it(tmp_path):
    def latest(server: RunningServer) -> dict:
        return server.call("GET", "/api/v1/registry/sync").json()["data"]

    with StandinRegistry() as registry:
        server = RunningServer(tmp_path, registry.port, workers=WORKERS).start()
        try:
            wait_until(lambda: (latest(server) or {}).get("state") == "complete")
            registry.put("team/app", "1.0", images.oci_image("an image"))
            registry.fail(SLOW, on="/manifests/")
            assert server.call("POST", "/api/v1/registry/sync", json={}).status_code == 202
            wait_until(lambda: any("/manifests/" in request.path for request in registry.requests))
            for pid in workers(server):
                os.kill(pid, signal.SIGKILL)
            registry.heal()
            wait_until(lambda: latest(server)["state"] != "running")
            assert (latest(server)["state"], latest(server)["added"]) == ("complete", 1)
        finally:
            server.stop()


def test_connections_wait_for_a_worker_that_is_being_replaced(server):
    """None is refused while there is nobody behind a socket."""
    deadline = time.monotonic() + 1
    os.kill(workers(server)[1], signal.SIGKILL)
    answered = 0
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/ping")
        assert connection.getresponse().read() == b"pong"
        connection.close()
        answered += 1
    assert answered > 20


def test_without_the_parent_all_end_and_another_may_begin(tmp_path):
    server = RunningServer(tmp_path, free_port(), workers=WORKERS).start()
    family = children(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_there, family)), 10)
    server.stop()
    server.start()
    assert server.call("GET", "/api/v1/users").status_code == 200
    family = [server.pid, *children(server.pid)]
    began = time.monotonic()
    assert server.stop(signal.SIGINT) == 0
    assert time.monotonic() - began < 10
    assert not any(map(is_there, family))
    assert "Traceback" not in server.log.read_text()


def test_a_second_server_on_the_port_is_refused(server, tmp_path):
    other = RunningServer(tmp_path, free_port(), workers=WORKERS, port=server.port)
    other.launch()
    wait_until(lambda: other.log.read_text())
    assert other._process.wait(20) == 2
    assert f"cannot listen on 127.0.0.1:{server.port}" in other.log.read_text()
