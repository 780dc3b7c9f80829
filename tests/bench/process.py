"""What the processes of a server cost: their start, and their memory. `python -m tests.bench.process` runs it."""

import re
import statistics
import tempfile
import time
from pathlib import Path

import requests

from tests.bench.tokens import TOKEN, put_under_load
from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer

STARTS = 7
REQUESTS = 200_000


def measure() -> list[tuple[str, str]]:
    """(what, how much)"""
    with tempfile.TemporaryDirectory() as directory:
        server = RunningServer(Path(directory), free_port(), workers="auto")
        server.start().stop()
        starts = [_start(server) for _ in range(STARTS)]
        server.start()
        try:
            return [
                (f"start to first answer, median of {STARTS}", f"{statistics.median(starts):.2f} s"),
                *_memory(server),
            ]
        finally:
            server.stop()


def table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| what | how much |", "|---|---:|", *(f"| {what} | {much} |" for what, much in rows)])


def _start(server: RunningServer) -> float:
    began = time.monotonic()
    server.launch()
    while True:
        try:
            requests.get(server.url + "/ping", timeout=5)
        except requests.ConnectionError:
            time.sleep(0.005)
        else:
            break
    taken = time.monotonic() - began
    server.stop()
    return taken


def _memory(server: RunningServer) -> list[tuple[str, str]]:
    *workers, background = _children(server.pid)
    put_under_load(server.url + TOKEN, 64, seconds=1)
    idle = _largest(workers)
    rows = [
        ("memory of a worker, idle (resident; with its share of what is shared)", idle),
        ("of the background process", _mebibytes(background)),
    ]
    answered = 0.0
    while answered < REQUESTS:
        answered += put_under_load(server.url + TOKEN, 64, seconds=5).rate * 5
    rows.append((f"of a worker after {answered:,.0f} more requests", _largest(workers)))
    return [(what, f"{resident:.1f} MiB; {share:.1f} MiB") for what, (resident, share) in rows]


def _largest(pids: list[int]) -> tuple[float, float]:
    return max(map(_mebibytes, pids))


def _mebibytes(pid: int) -> tuple[float, float]:
    """Resident, and proportional where pages are shared."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    return int(found["Rss"]) / 1024, int(found["Pss"]) / 1024


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    print(table(measure()))
