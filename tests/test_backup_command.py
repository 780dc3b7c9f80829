"""`regadmin backup` and `regadmin restore`, beside a server that is at work."""

import subprocess
import sys

import pytest

from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer
from tests.rigs.tools import clean_environment


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RunningServer(tmp_path_factory.mktemp("server"), free_port()).start()
    yield server
    server.stop()


def run(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "regadmin", *arguments, "--config-file", str(server.config)]
    environment = clean_environment(server.directory)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)


def test_what_was_restored_holds_in_the_running_server_with_the_next_request(server, tmp_path):
    alice = ("alice", "alice-pass")
    server.create("users", login=alice[0], password=alice[1], role="user")
    assert run(server, "backup", f"{tmp_path}/copy.db").returncode == 0
    server.create("users", login="bob", password="bob-pass", role="user")
    realm = "/api/v1/registry/auth?service=container_registry"
    assert server.call("GET", realm, ("bob", "bob-pass")).status_code == 200
    ended = run(server, "restore", f"{tmp_path}/copy.db")
    assert ended.returncode == 0, ended.stderr
    assert "data.db.before-restore-" in ended.stdout
    assert server.call("GET", realm, alice).status_code == 200
    assert server.call("GET", realm, ("bob", "bob-pass")).status_code == 401


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_without_a_file_it_says_what_is_missing(server, command):
    ended = run(server, command)
    assert ended.returncode == 2
    assert "FILE" in ended.stderr


def test_what_is_no_backup_is_refused(server):
    ended = run(server, "restore", str(server.config))
    assert ended.returncode == 1
    assert "is no backup" in ended.stderr
    assert "Traceback" not in ended.stderr
