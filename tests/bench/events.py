"""A flood of notifications: how long until they are taken, and until they are in the index.

`python -m tests.bench.events` runs it.
"""

import argparse
import http.client
import itertools
import sqlite3
import tempfile
import time
import uuid
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.bench.sync import CORPORA, Row, fill, report
from tests.rigs import images
from tests.rigs.images import Image
from tests.rigs.registry import RealRegistry
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.standin import envelope, event

EVENTS = 1_000
HOOK = "/api/v1/registry/events"
FLOODS = (("one after the other", 1, 1), ("16 at a time", 16, 1), ("16 at a time, 25 in an envelope", 16, 25))
"""(name, how many post, events in an envelope)"""
_CREDENTIALS = "Basic " + b64encode(":".join(ADMIN).encode()).decode()
_PATIENCE = 120


def told_of_push(repository: str, tag: str, image: Image) -> list[dict]:
    """As the registry tells of it: the blobs, then the manifest."""
    told = [(digest, "application/octet-stream", "") for digest in image.blobs]
    told.append((image.digest, image.media_type, tag))
    return [
        event("push", repository, id=str(uuid.uuid4()), digest=digest, media_type=kind, tag=name, method="PUT")
        for digest, kind, name in told
    ]


def pushes(events: int) -> list[dict]:
    """Of images that `fill` has put into the registry."""
    made = (
        told_of_push(f"team-{number % 10}/app-{number:03}", f"1.0.{tag}", images.oci_image(f"{number} {tag}"))
        for tag in itertools.count()
        for number in range(100)
    )
    return list(itertools.islice(itertools.chain.from_iterable(made), events))


def post(port: int, bodies: Iterable[bytes]) -> None:
    """Over one connection that is kept, as the registry does. Fails unless each is taken."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        for body in bodies:
            connection.request("POST", HOOK, body, {"Authorization": _CREDENTIALS})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status


def flood(port: int, events: list[dict], posters: int, in_envelope: int) -> None:
    bodies = [envelope(*events[start : start + in_envelope]) for start in range(0, len(events), in_envelope)]
    with ThreadPoolExecutor(posters) as pool:
        list(pool.map(lambda number: post(port, bodies[number::posters]), range(posters)))


def measure(events: int = EVENTS) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory) / "registry/data", CORPORA[0], (events // 300 + 1) * 100)
        with RealRegistry(Path(directory) / "registry") as registry:
            for number, (name, posters, in_envelope) in enumerate(FLOODS):
                own = Path(directory) / str(number)
                own.mkdir()
                rows += _flooded(own, registry.port, name, pushes(events), posters, in_envelope)
    return rows


def _flooded(own: Path, port: int, name: str, events: list[dict], posters: int, in_envelope: int) -> list[Row]:
    server = RunningServer(own, port)
    expected = sum(bool(event["target"]["tag"]) for event in events)
    try:
        server.start()
        _forget_first_synchronisation(own / "data.db")
        began = time.monotonic()
        flood(server.port, events, posters, in_envelope)
        taken = time.monotonic() - began
        wait_until(lambda: _applied(own / "data.db") >= expected, _PATIENCE)
        applied = time.monotonic() - began
    finally:
        server.stop()
    what = f"{len(events):,} events, {name}"
    return [Row(f"{what}: taken", taken), Row(f"{what}: in the index", applied)]


def _forget_first_synchronisation(path: Path) -> None:
    """The index is empty again, and the events alone fill it."""
    with closing(sqlite3.connect(path, timeout=30)) as database:

        def is_complete() -> bool:
            return bool(database.execute("SELECT 1 FROM sync_runs WHERE state = 'complete'").fetchone())

        wait_until(is_complete, _PATIENCE)
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM repositories")
        database.commit()


def _applied(path: Path) -> int:
    with closing(sqlite3.connect(path, timeout=30)) as database:
        return database.execute("SELECT count(*) FROM tags WHERE pushed_at IS NOT NULL").fetchone()[0]


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.bench.events")
    arguments.add_argument("--events", type=int, default=EVENTS)
    print(report(measure(arguments.parse_args().events)))


if __name__ == "__main__":
    main()
