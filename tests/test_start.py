"""Starting: what is wrong is said in one sentence with exit status 2, and breaks nothing."""

import json
import socket
import subprocess
import sys

import pytest

from regadmin.__main__ import main
from regadmin.server import Listener
from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer
from tests.rigs.tools import clean_environment


def given(tmp_path, *arguments: str) -> list[str]:
    """The arguments of a complete configuration, changed by these; the server is meant to end at once."""
    return [
        "--listen=127.0.0.1",
        f"--port={free_port()}",
        "--registry.host=http://127.0.0.1",
        f"--store.embed.path={tmp_path}/data.db",
        f"--registry.certs.path={tmp_path}/certs",
        *arguments,
    ]


def start(tmp_path, *arguments: str) -> subprocess.CompletedProcess:
    """As a process, which takes a hundred times as long as in this one."""
    command = [sys.executable, "-m", "regadmin", *given(tmp_path, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=clean_environment(tmp_path))


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Hold that a server with these arguments ends with 2 and these words; whatever it raises fails the test."""
    monkeypatch.setattr(Listener, "run", lambda _: pytest.fail("it serves"))

    def refuse(arguments: list[str], *words: str) -> None:
        try:
            status = main(given(tmp_path, *arguments))
        except SystemExit as end:
            status = end.code
        assert_refused(status, capsys.readouterr().err, *words)

    return refuse


def assert_refused(status: int, said: str, *words: str) -> None:
    assert status == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said, said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--registry.auth-type=basic"], ["registry.htpasswd"]),
        (["--ssl.type=static"], ["ssl.cert"]),
        (["--ssl.type=static", "--ssl.cert=/proc/no.crt", "--ssl.key=/proc/no.key"], ["ssl.cert", "/proc/no.crt"]),
        (["--ssl.type=auto", "--hostname=a.example", "--ssl.acme-location=/proc/acme"], ["/proc/acme"]),
        (["--ssl.type=auto", "--hostname=a.example", "--ssl.port=80"], ["ssl.http-port", "ssl.port"]),
        (["--registry.host=http://registry:5000"], ["registry.host", "registry.port"]),
        (["--registry.token-ttl=59"], ["registry.token-ttl", "60"]),
        (["--store.embed.path=/proc/data.db"], ["/proc/data.db"]),
        (["--store.embed.path=missing/data.db"], ["missing/data.db", "directory"]),
        (["--registry.certs.path=/proc/certs"], ["/proc/certs"]),
        (["--logger.enabled", "--logger.file=/proc/access.log"], ["logger.file", "/proc/access.log"]),
        (["--no-such-option"], ["--no-such-option"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_wrong_option_is_refused_with_a_sentence_that_names_it(refuse, arguments, words):
    refuse(arguments, *words)


@pytest.mark.parametrize("text", ["registry: [", "registry: {hots: x}", "- a list", "\x00"])
def test_a_configuration_file_that_cannot_be_read_is_named(refuse, tmp_path, text):
    path = tmp_path / "ra.yml"
    path.write_text(text)
    refuse([f"--config-file={path}"], "ra.yml")


def test_a_store_that_is_no_sqlite_file_is_left_as_it_is(refuse, tmp_path):
    (tmp_path / "data.db").write_bytes(b"these are my notes, not a database" * 100)
    refuse([], "data.db", "not a database")
    assert (tmp_path / "data.db").read_bytes().startswith(b"these are my notes")


def test_a_store_of_another_program_is_left_as_it_is(refuse, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "data.db") as other:
        other.execute("CREATE TABLE recipes (name TEXT)")
    refuse([], "data.db")
    with sqlite3.connect(tmp_path / "data.db") as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


def test_a_store_of_a_newer_version_is_refused(refuse, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "data.db") as newer:
        newer.execute("PRAGMA user_version = 9999")
    refuse([], "newer version")


def test_a_half_present_set_of_keys_is_named(refuse, tmp_path):
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "registry_auth.key").write_text("no key")
    refuse([], "registry_auth")


def test_a_secret_that_was_cut_short_is_named(refuse, tmp_path):
    (tmp_path / "data.db.secret").write_text("")
    refuse([], "data.db.secret", "remove it")


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = start(tmp_path, f"--port={port}")
    assert_refused(ended.returncode, ended.stderr, str(port))


def test_a_registry_that_is_down_does_not_keep_the_server_from_starting(tmp_path):
    server = RunningServer(tmp_path, registry_port=free_port()).start()
    try:
        assert server.call("GET", "/api/v1/users").status_code == 200
        health = server.call("GET", "/api/v1/registry/health")
        assert health.status_code == 502
        assert "cannot be reached" in health.json()["message"]
        assert server.call("GET", "/api/v1/registry/auth").status_code == 200
    finally:
        assert server.stop() == 0


def test_a_second_start_finds_the_same_users_and_keys(tmp_path):
    server = RunningServer(tmp_path, registry_port=free_port()).start()
    server.create("users", login="alice", password="alice-pass", role="user")
    certificate = server.certificate.read_bytes()
    server.stop()
    server.start()
    try:
        assert server.call("GET", "/auth/user", ("alice", "alice-pass")).status_code == 200
        assert server.certificate.read_bytes() == certificate
    finally:
        server.stop()


def test_secrets_stand_in_no_log_and_the_store_is_for_its_owner_only(tmp_path):
    server = RunningServer(tmp_path, registry_port=free_port(), debug=True).start()
    server.call("GET", "/api/v1/users")
    server.call("GET", "/api/v1/registry/health")
    server.stop()
    logs = server.log.read_text() + (tmp_path / "access.log").read_text()
    assert "correct horse" not in logs
    assert "Bearer" not in logs
    for name in ("data.db", "data.db.secret", "certs/registry_auth.key"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name


def test_help_names_every_option_and_ends_with_status_zero(tmp_path):
    ended = start(tmp_path, "--help")
    assert ended.returncode == 0
    assert "RA_REGISTRY_AUTH_TYPE" in ended.stdout


def test_the_checkout_runs_without_being_installed(tmp_path):
    from regadmin import assets

    root = assets.directory("templates").parent
    ended = subprocess.run(
        [sys.executable, root / "regadmin.py", "--registry.port=0"], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    assert "registry.port" in ended.stderr


def test_json_and_yaml_say_the_same(refuse, tmp_path):
    bad = {"registry": {"host": "http://127.0.0.1", "token_ttl": 5}}
    (tmp_path / "ra.json").write_text(json.dumps(bad))
    (tmp_path / "ra.yml").write_text("registry:\n  host: http://127.0.0.1\n  token_ttl: 5\n")
    for name in ("ra.json", "ra.yml"):
        refuse([f"--config-file={tmp_path / name}"], name, "token_ttl")
