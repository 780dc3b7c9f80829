"""Token answers of a real server, beside what Waitress and bcrypt alone do. `python -m tests.bench.tokens` runs it."""

import base64
import http.client
import itertools
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import bcrypt
import requests

from regadmin.passwords import COST, usable_cores
from tests.rigs.registry import free_port
from tests.rigs.server import HttpsServer, RunningServer, wait_until
from tests.rigs.tls import write_certificate
from tests.rigs.tools import clean_environment, find_tool

SECONDS, CONNECTIONS = 4, (16, 64, 200)
COLD_USERS, COLD_CONNECTIONS = 300, 16
RULES = 50
TOKEN = "/api/v1/registry/auth?scope=repository:team/app:pull,push&service=container_registry"
WORKERS = len(usable_cores())
BARE = """
import os, socket, sys, logging, waitress
logging.getLogger("waitress.queue").setLevel(logging.ERROR)
port, workers = int(sys.argv[1]), int(sys.argv[2])
def answer(environ, start):
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", "1200")])
    return [b"x" * 1200]
sockets = []
for _ in range(workers):
    sockets.append(socket.socket())
    sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sockets[-1].bind(("127.0.0.1", port))
cores = sorted(os.sched_getaffinity(0))
for number in range(workers):
    if os.fork() == 0:
        os.sched_setaffinity(0, {cores[number % len(cores)]})
        waitress.serve(answer, sockets=[sockets[number]], threads=8, connection_limit=2000, asyncore_use_poll=True)
os.wait()
"""
GUESSES = """
math.randomseed(os.time())
request = function()
  local n = math.random(1, 250) .. "." .. math.random(1, 250) .. "." .. math.random(1, 250)
  wrk.headers["X-Forwarded-For"] = "10." .. n
  wrk.headers["Authorization"] = "Basic " .. GUESS[math.random(#GUESS)]
  return wrk.format(nil, nil)
end
"""
"""For wrk: each guess comes from another address, so that the throttle lets it through to bcrypt."""


class Load(NamedTuple):
    """What wrk found. Times in milliseconds; `failures` are answers that are no success, and lost connections."""

    rate: float
    median: float
    p99: float
    failures: int


class Row(NamedTuple):
    name: str
    connections: int
    load: Load
    base: float
    """Answers a second that are 100 %."""


def put_under_load(url: str, connections: int, credentials: str = "", seconds: float = SECONDS) -> Load:
    header = ["-H", "Authorization: Basic " + _basic(credentials)] if credentials else []
    command = [find_tool("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *header, url]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    return Load(
        rate=float(re.search(r"Requests/sec:\s+([\d.]+)", report)[1]),
        median=_milliseconds(re.search(r"\n\s+50%\s+(\S+)", report)[1]),
        p99=_milliseconds(re.search(r"\n\s+99%\s+(\S+)", report)[1]),
        failures=int(failed[1] if failed else 0) + sum(map(int, errors.groups() if errors else ())),
    )


def measure() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as directory, bare() as bare_url, served(Path(directory)) as servers:
        plain, secure = servers
        for server in servers:
            # The first answer of each process has a bcrypt in it.
            put_under_load(server.url + TOKEN, CONNECTIONS[0], "alice:alice-pass", seconds=1)
        for connections in CONNECTIONS:
            base = put_under_load(bare_url, connections)
            rows.append(Row("bare Waitress answer", connections, base, base.rate))
            for name, url, who in (
                ("token, signed in", plain.url + TOKEN, "alice:alice-pass"),
                ("token, anonymous", plain.url + TOKEN, ""),
                ("token, signed in, HTTPS", secure.url + TOKEN, "alice:alice-pass"),
            ):
                rows.append(Row(name, connections, put_under_load(url, connections, who), base.rate))
        rows += _beside_a_flood(plain, Path(directory), bare_url)
        rows += _cold(plain, Path(directory))
    return rows


def table(rows: list[Row]) -> str:
    lines = [
        "| what | connections | answers/s | of the base | median ms | p99 ms | failures |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, connections, load, base in rows:
        times = f"{load.median:.1f} | {load.p99:.1f}" if load.median else "- | -"
        share = f"{load.rate / base:.0%}"
        lines.append(f"| {name} | {connections} | {load.rate:,.0f} | {share} | {times} | {load.failures} |")
    return "\n".join(lines)


@contextmanager
def bare() -> Iterator[str]:
    """As many pinned processes of Waitress as our server has workers, whose answer costs nothing."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port), str(WORKERS)], start_new_session=True)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/"), 10)
        yield f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@contextmanager
def served(directory: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    """A server by HTTP, and one by HTTPS, in which alice has rules."""
    certificate, key = write_certificate(directory / "tls")
    (directory / "plain").mkdir()
    (directory / "secure").mkdir()
    common = {"workers": "auto", "trusted_proxies": "127.0.0.1"}
    plain = RunningServer(directory / "plain", free_port(), **common)
    secure = HttpsServer(directory / "secure", type="static", cert=str(certificate), key=str(key))
    os.environ["REQUESTS_CA_BUNDLE"] = str(certificate)
    try:
        for server in (plain, secure):
            server.start()
            alice = server.create("users", login="alice", password="alice-pass", role="user")
            for number in range(RULES):
                rule = {"owner_id": alice, "type": "repository", "resource_name": f"team/{number}", "action": "pull"}
                server.create("access", **rule)
        yield plain, secure
    finally:
        plain.stop()
        secure.stop()
        del os.environ["REQUESTS_CA_BUNDLE"]


def _beside_a_flood(server: RunningServer, directory: Path, bare_url: str) -> list[Row]:
    """Warm answers without and with people who guess passwords from everywhere."""
    script = directory / "guesses.lua"
    guesses = ", ".join(f'"{_basic(f"somebody{number}:a guess {number}")}"' for number in range(5000))
    script.write_text(f"GUESS = {{{guesses}}}\n{GUESSES}")
    url = server.url + TOKEN
    quiet = put_under_load(url, 64, "alice:alice-pass")
    command = [find_tool("wrk", "wrk"), "-t1", "-c64", f"-d{SECONDS + 2}s", "-s", str(script), url]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    threading.Event().wait(1)
    beside = put_under_load(url, 64, "alice:alice-pass")
    guessed = float(re.search(r"Requests/sec:\s+([\d.]+)", flood.communicate()[0])[1])
    return [
        Row("token, signed in, before the flood", 64, quiet, quiet.rate),
        Row(f"the same beside {guessed:.0f} wrong passwords a second", 64, beside, quiet.rate),
    ]


def _cold(server: RunningServer, directory: Path) -> list[Row]:
    """Sign-ins of users who were not there before, and bcrypt alone on all cores."""
    passwords = [f"password {number}" for number in range(COLD_USERS)]
    with ProcessPoolExecutor(WORKERS) as pool:
        hashes = list(pool.map(_hashed, passwords, chunksize=10))
        began = time.monotonic()
        assert all(pool.map(_verified, passwords, hashes, chunksize=5))
        alone = COLD_USERS / (time.monotonic() - began)
    accounts = directory / "accounts"
    accounts.write_text("".join(f"cold{number}:{each}\n" for number, each in enumerate(hashes)))
    command = [sys.executable, "-m", "regadmin", "import", "--config-file", str(server.config)]
    environment = clean_environment(server.directory)
    subprocess.run([*command, "--apply", "htpasswd", accounts], check=True, env=environment, capture_output=True)
    numbers, failures = itertools.count(), itertools.count()

    def sign_in() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while (number := next(numbers)) < COLD_USERS:
            header = {"Authorization": "Basic " + _basic(f"cold{number}:{passwords[number]}")}
            connection.request("GET", TOKEN, headers=header | {"X-Forwarded-For": f"10.1.{number % 250}.1"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                next(failures)

    threads = [threading.Thread(target=sign_in) for _ in range(COLD_CONNECTIONS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cold = Load(COLD_USERS / (time.monotonic() - began), 0, 0, next(failures))
    return [
        Row("bcrypt alone, on all cores", WORKERS, Load(alone, 0, 0, 0), alone),
        Row("token, first answer to each of 300 users", COLD_CONNECTIONS, cold, alone),
    ]


def _hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(COST)).decode()


def _verified(password: str, stored: str) -> bool:
    return bcrypt.checkpw(password.encode(), stored.encode())


def _basic(credentials: str) -> str:
    return base64.b64encode(credentials.encode()).decode()


def _milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[unit]


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.ConnectionError:
        return False


if __name__ == "__main__":
    print(table(measure()))
