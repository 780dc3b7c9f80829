"""`make bench`: answers a second, as ratios to a bare Waitress answer of the same run, and the time of lists."""

import argparse
import base64
import os
import platform
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import requests

from tests.bench import lists
from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.tools import find_tool

PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"
SECONDS, CONNECTIONS = 4, (16, 64)
SCOPE = "scope=repository:team/app:pull,push&service=container_registry"
BARE = """
import waitress
def answer(environ, start):
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", "1200")])
    return [b"x" * 1200]
waitress.serve(answer, host="127.0.0.1", port={port}, threads=8, connection_limit=2000, asyncore_use_poll=True)
"""


def rate(url: str, connections: int, credentials: str = "") -> float:
    """Answers a second by wrk. Fails if one of them is not a success."""
    headers = ["-H", "Authorization: Basic " + base64.b64encode(credentials.encode()).decode()] if credentials else []
    command = [find_tool("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{SECONDS}s", *headers, url]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in report, report
    return float(re.search(r"Requests/sec:\s+([\d.]+)", report)[1])


def measure(directory: Path) -> list[tuple[str, int, float]]:
    """(what, connections, answers a second)"""
    port = free_port()
    bare = subprocess.Popen([sys.executable, "-c", BARE.format(port=port)])
    server = RunningServer(directory, registry_port=free_port()).start()
    try:
        wait_until(lambda: _answers(port), 10)
        alice = server.create("users", login="alice", password="alice-pass", role="user")
        for number in range(50):
            server.create("access", owner_id=alice, type="repository", resource_name=f"team/{number}", action="pull")
        realm = f"{server.url}/api/v1/registry/auth?{SCOPE}"
        targets = [
            ("bare Waitress answer", f"http://127.0.0.1:{port}/", ""),
            ("token, anonymous", realm, ""),
            ("token, signed in, 50 rules", realm, "alice:alice-pass"),
            ("token, admin", realm, ":".join(ADMIN)),
        ]
        return [(what, c, rate(url, c, who)) for c in CONNECTIONS for what, url, who in targets]
    finally:
        server.stop()
        bare.terminate()
        bare.wait()


def table(rows: list[tuple[str, int, float]]) -> str:
    lines = ["| what | connections | answers/s | of bare |", "|---|---:|---:|---:|"]
    for what, connections, found in rows:
        base = next(r for w, c, r in rows if c == connections and w.startswith("bare"))
        lines.append(f"| {what} | {connections} | {found:,.0f} | {found / base:.0%} |")
    return "\n".join(lines)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=2).ok
    except requests.ConnectionError:
        return False


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--write", action="store_true", help="keep the table in docs/benchmarks.md")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = table(measure(Path(directory)))
    found += f"\n\n{lists.REPOSITORIES:,} repositories, {lists.TAGS:,} tags, one request at a time:\n\n{lists.report()}"
    print(found)
    if options.write:
        where = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
        head = f"# Benchmarks\n\nBy `make bench` on {datetime.now(UTC):%d %B %Y}, {where}. Trust the ratios.\n\n"
        PAGE.write_text(head + found + "\n")


if __name__ == "__main__":
    main()
