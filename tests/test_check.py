"""`regadmin check` as a process: what it prints, how it ends, and that it leaves everything as it was."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import GuardedRegistry, RunningServer
from tests.rigs.tools import clean_environment


def check(server: RunningServer, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "regadmin", "check", "--config-file", str(server.config), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(server.directory),
    )


def states(ended: subprocess.CompletedProcess) -> dict[str, str]:
    return {result["name"]: result["state"] for result in json.loads(ended.stdout)}


def tree(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and content."""
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    guarded = GuardedRegistry(tmp_path_factory.mktemp("guarded"))
    yield guarded
    guarded.stop()


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory) -> Path:
    """The files of a server that has run, without a registry, and has ended."""
    server = RunningServer(tmp_path_factory.mktemp("stopped"), free_port()).start()
    assert server.stop() == 0
    with closing(sqlite3.connect(server.directory / "data.db")) as store:
        # Whoever leaves last folds the log into the store, if its last moments on a busy machine were not enough.
        store.execute("PRAGMA user_version").fetchone()
    return server.directory


@pytest.fixture
def stopped(left_behind, tmp_path) -> RunningServer:
    """That server with files of its own."""
    shutil.copytree(left_behind, tmp_path, dirs_exist_ok=True)
    return RunningServer(tmp_path, free_port())


def test_beside_a_running_server_all_is_well(guarded):
    ended = check(guarded.server)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "ok    Registry: the registry answers\n" in ended.stdout
    assert "ok    Trust in this server: the registry accepts a token of this server\n" in ended.stdout
    assert "      Version: not told\n" in ended.stdout
    assert "open  Notifications: no notification has come yet\n      put the part “notifications”" in ended.stdout
    assert guarded.server.call("GET", "/api/v1/users").status_code == 200


def test_json_holds_everything_of_each_check(guarded):
    ended = check(guarded.server, "--json")
    assert ended.returncode == 0
    results = json.loads(ended.stdout)
    assert all(set(result) == {"name", "state", "says", "remedy", "facts"} for result in results)
    found = {result["name"]: result for result in results}
    assert [found[name]["state"] for name in ("registry", "credentials", "clock", "files")] == ["ok"] * 4
    assert found["challenge"]["state"] == "warn", "its realm has 127.0.0.1, the configuration localhost"
    ends = next(fact["text"] for fact in found["certificate"]["facts"] if fact["label"] == "Ends")
    assert ends.endswith("Z")
    assert "https" not in found


def test_a_registry_that_does_not_allow_to_delete_is_bad(tmp_path):
    guarded = GuardedRegistry(tmp_path, delete_enabled=False)
    try:
        ended = check(guarded.server)
    finally:
        guarded.stop()
    assert ended.returncode == 1
    assert "bad   Deleting: the registry does not allow to delete images\n      put the part “storage”" in ended.stdout
    _, _, below = ended.stdout.partition("the registry's configuration:\n")
    assert "storage:\n  delete:\n    enabled: true\n" in below


def test_without_the_registry_it_is_bad_and_the_rest_is_told(stopped):
    ended = check(stopped, "--json")
    assert ended.returncode == 1
    assert (states(ended)["registry"], states(ended)["clock"], states(ended)["files"]) == ("bad", "open", "ok")


def test_it_leaves_every_file_as_it_was(stopped):
    (stopped.directory / "access.log").unlink()
    before = tree(stopped.directory)
    check(stopped)
    assert tree(stopped.directory) == before


def test_files_that_others_can_read_are_bad_until_the_remedy_is_run(stopped):
    key, store = stopped.directory / "certs" / "registry_auth.key", stopped.directory / "data.db"
    key.chmod(0o640)
    store.chmod(0o644)
    found = {result["name"]: result for result in json.loads(check(stopped, "--json").stdout)}["files"]
    assert found["state"] == "bad"
    assert {fact["label"]: fact["text"] for fact in found["facts"]} == {str(key): "0640", str(store): "0644"}
    subprocess.run(found["remedy"].partition("“")[2].removesuffix("”"), shell=True, check=True)
    assert states(check(stopped, "--json"))["files"] == "ok"
    assert [os.stat(path).st_mode & 0o777 for path in (key, store)] == [0o600, 0o600]


def test_where_nothing_is_yet_nothing_is_made(tmp_path):
    server = RunningServer(tmp_path, free_port())
    before = tree(tmp_path)
    ended = check(server)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"store {tmp_path}/data.db: does not exist; it is made when the server starts" in ended.stderr
    assert tree(tmp_path) == before


def test_missing_keys_are_named_and_not_made(stopped):
    key = stopped.directory / "certs" / "registry_auth.key"
    key.unlink()
    ended = check(stopped)
    assert ended.returncode == 2
    assert str(key) in ended.stderr
    assert not key.exists()


def test_a_store_of_another_version_is_not_brought_up_to_date(stopped):
    with closing(sqlite3.connect(stopped.directory / "data.db")) as store:
        store.execute("PRAGMA user_version = 1")
    before = tree(stopped.directory)
    ended = check(stopped)
    assert ended.returncode == 2
    assert "not of this version" in ended.stderr
    assert tree(stopped.directory) == before


def test_in_basic_mode_it_looks_at_the_shared_file_and_asks_for_no_tokens(tmp_path):
    shared, port = tmp_path / ".htpasswd", free_port()
    auth = {"auth_type": "basic", "login": "robot", "password": "x", "htpasswd": str(shared)}
    registry = {"host": "http://127.0.0.1", "port": port, "certs": {"path": str(tmp_path / "certs")}} | auth
    server = RunningServer(tmp_path, port, registry=registry).start()
    try:
        with RealRegistry(tmp_path / "registry", port=port, auth=shared):
            shared.chmod(0o640)
            found = states(check(server, "--json"))
            shared.chmod(0o644)
            assert states(check(server, "--json"))["files"] == "bad"
    finally:
        server.stop()
    assert [found[name] for name in ("challenge", "credentials", "files")] == ["ok"] * 3
    assert not {"certificate", "clock"} & set(found)


def test_a_wrong_option_ends_with_2(stopped):
    assert check(stopped, "--port=none").returncode == 2
    assert check(stopped, "--no-such-option").returncode == 2
