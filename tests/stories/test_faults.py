"""What happens to servers in real life: nothing that was answered is lost, nobody else suffers, no hand is needed."""

import itertools
import os
import random
import resource
import signal
import socket
import sqlite3
import threading
from contextlib import ExitStack, closing

import pytest
import requests

from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.stories.test_workers import TOKEN, children

KILLS = 6
HALF_OPEN = 1000
ALICE = ("alice", "alice-pass")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    allowed = {"allow": "127.0.0.1"}
    server = RunningServer(tmp_path_factory.mktemp("faults"), free_port(), workers=2, metrics=allowed).start()
    server.create("users", login=ALICE[0], password=ALICE[1], role="user")
    yield server
    server.stop()


def family(server: RunningServer) -> list[int]:
    return [server.pid, *children(server.pid)]


def ask(server: RunningServer, who=ALICE) -> int:
    return server.call("GET", TOKEN, who).status_code


def add_user(server: RunningServer, login: str) -> requests.Response:
    fields = {"login": login, "password": "a good password", "role": "user"}
    return server.call("POST", "/api/v1/users", json=fields)


def logins(server: RunningServer) -> set[str]:
    with closing(sqlite3.connect(server.directory / "data.db")) as database:
        return {login for (login,) in database.execute("SELECT login FROM users")}


def test_whichever_process_dies_what_was_answered_is_there_and_writing_goes_on(server):
    answered, failed, ended = set(), [], threading.Event()

    def write(name: str) -> None:
        for number in itertools.count():
            login = f"{name}{number}"
            try:
                answer = add_user(server, login)
            except requests.ConnectionError:
                continue
            if answer.status_code != 200:
                failed.append(answer.text)
            answered.add(login)
            if ended.is_set():
                return

    writers = [threading.Thread(target=write, args=(f"writer{name}-",)) for name in range(3)]
    for writer in writers:
        writer.start()
    chance = random.Random(7)
    for _ in range(KILLS):
        before, known = children(server.pid), len(answered)
        victim = chance.choice(before)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda b=before, v=victim: len(children(server.pid)) == len(b) and v not in children(server.pid))
        wait_until(lambda known=known: len(answered) > known)
    ended.set()
    for writer in writers:
        writer.join()
    assert failed == []
    assert len(answered) > KILLS
    assert answered <= logins(server)


def test_a_full_disk_is_told_and_over_when_there_is_room(server):
    """No process may write to any file, which is what a full disk comes to."""
    assert ask(server) == 200
    before, unlimited = family(server), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        for pid in before:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = add_user(server, "nobody")
        assert refused.status_code == 503
        assert "the store cannot be written now" in refused.json()["message"]
        assert {ask(server) for _ in range(8)} == {200}
        assert ask(server, ("alice", "wrong")) == 401
        assert server.call("GET", "/login", None).status_code == 200
        assert server.call("GET", "/api/v1/users").status_code == 200
    finally:
        for pid in before:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    assert "nobody" not in logins(server)
    assert add_user(server, "somebody").status_code == 200
    assert family(server) == before


def test_while_another_program_holds_the_store_reading_goes_on_and_writing_waits(server):
    before, answers = family(server), []
    with closing(sqlite3.connect(server.directory / "data.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writer = threading.Thread(target=lambda: answers.append(add_user(server, "patient").status_code))
        writer.start()
        assert {ask(server) for _ in range(8)} == {200}
        assert server.call("GET", "/api/v1/users").status_code == 200
        assert not answers
        other.execute("COMMIT")
        writer.join(15)
    assert answers == [200]
    assert family(server) == before


def connections(server: RunningServer) -> int:
    lines = server.call("GET", "/metrics", None).text.splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("regadmin_connections "))


def test_a_thousand_half_open_connections_are_in_nobodys_way(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HALF_OPEN + 500), hard))
    try:
        with ExitStack() as stack:
            for _ in range(HALF_OPEN):
                half = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
                half.sendall(b"GET /ping HT")
            wait_until(lambda: connections(server) >= HALF_OPEN)
            assert {ask(server) for _ in range(20)} == {200}
            assert server.call("GET", "/api/v1/users", ADMIN).status_code == 200
        wait_until(lambda: connections(server) < 10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
