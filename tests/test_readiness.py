"""What a service manager and logrotate see of a real server process."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
import requests

from regadmin import readiness
from tests.contrib import CONTRIB
from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer
from tests.rigs.tools import clean_environment, find_tool


@contextmanager
def manager(address: str):
    """The service manager's end of the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(20)
        yield listener


@pytest.mark.parametrize("is_abstract", [False, True], ids=["file", "abstract"])
def test_a_state_reaches_the_service_manager(tmp_path, monkeypatch, is_abstract):
    name = f"{tmp_path}/notify"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if is_abstract else name)
    with manager(f"\0{name}" if is_abstract else name) as listener:
        readiness.notify("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_is_said(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    readiness.notify("READY=1")
    assert caplog.text == ""


def test_a_service_manager_that_is_gone_is_no_reason_to_end(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/gone")
    readiness.notify("READY=1")
    assert "READY=1" in caplog.text


def test_a_server_is_ready_once_it_answers_and_says_when_it_stops(tmp_path):
    server = RunningServer(tmp_path, free_port())
    with manager(f"{tmp_path}/notify") as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "regadmin", "--config-file", server.config],
            env=clean_environment(tmp_path) | {"NOTIFY_SOCKET": f"{tmp_path}/notify"},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert listener.recv(100) == b"READY=1"
            assert requests.get(server.url + "/ping", timeout=10).text == "pong"
            process.send_signal(signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture
def server(tmp_path):
    server = RunningServer(tmp_path, free_port()).start()
    yield server
    server.stop()


def test_logrotate_takes_the_log_away_and_no_line_is_lost(server, tmp_path):
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    rules = tmp_path / "rules"
    hang_up = f"kill -{signal.SIGHUP.value} {server.pid}"
    rules.write_text(f"{log} {{\n rotate 2\n nocreate\n postrotate\n  {hang_up}\n endscript\n}}\n")
    rules.chmod(0o644)
    tmp_path.chmod(0o755)
    server.call("GET", "/before")
    rotate = [find_tool("logrotate", "logrotate"), "--force", "--state", tmp_path / "state", rules]
    ended = subprocess.run(rotate, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    server.call("GET", "/after")
    assert "/before" in moved.read_text()
    assert "/after" in log.read_text()
    assert "/after" not in moved.read_text()


def test_our_rules_for_logrotate_can_be_read(tmp_path):
    rules = tmp_path / "rules"
    text = (CONTRIB / "logrotate" / "regadmin").read_text()
    rules.write_text(text.replace("regadmin regadmin", "root root") if os.geteuid() == 0 else text)
    rules.chmod(0o644)
    command = [find_tool("logrotate", "logrotate"), "--debug", "--state", tmp_path / "state", rules]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert "error" not in ended.stderr


def test_ping_says_whether_the_server_answers(server):
    command = [sys.executable, "-m", "regadmin", "ping", "--config-file", server.config]
    environment = clean_environment(server.directory)
    answered = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert (answered.returncode, answered.stdout) == (0, "pong\n"), answered.stderr
    server.stop()
    silent = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert silent.returncode == 1
    assert str(server.port) in silent.stderr
    assert "Traceback" not in silent.stderr
