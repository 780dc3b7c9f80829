"""A synchronisation of a real registry, and a sequential walk of the same one. `python -m tests.bench.sync` runs it."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import requests

from regadmin import options
from regadmin.app import App
from tests.rigs import images
from tests.rigs.distance import at_distance
from tests.rigs.images import Image
from tests.rigs.registry import RealRegistry
from tests.rigs.standin import StandinRegistry
from tests.rigs.tools import clean_environment

TAGS, REPOSITORIES = 5_000, 100
MEMORY_TAGS = (5_000, 50_000)
FEWER_TAGS, AWAY = 2_000, 5
"""Where the walk takes long; milliseconds in each direction."""
_ACCEPT = ", ".join((images.OCI_INDEX, images.DOCKER_LIST, images.OCI_MANIFEST, images.DOCKER_MANIFEST))


class Row(NamedTuple):
    name: str
    value: float
    """Seconds, or what the name says."""
    ratio: float | None = None
    """How many times faster than the walk, or than the first pass."""


class Corpus(NamedTuple):
    name: str
    tags_per_image: int
    make: Callable[[str], Image]


CORPORA = (
    Corpus("an image for each tag", 1, images.oci_image),
    Corpus("five tags an image", 5, images.oci_image),
    Corpus("an image of two platforms for each tag", 1, images.oci_index),
)


def fill(data: Path, corpus: Corpus, tags: int = TAGS) -> None:
    """Write a registry's files as it does: by its API it takes minutes.

    Source: distribution, registry/storage/paths.go.
    """
    root = data / "docker/registry/v2"
    for number in range(REPOSITORIES):
        repository = root / f"repositories/team-{number % 10}/app-{number:03}"
        for tag in range(tags // REPOSITORIES):
            image = corpus.make(f"{number} {tag // corpus.tags_per_image}")
            if tag % corpus.tags_per_image == 0:
                _write_image(root, repository, image)
            of_tag = repository / f"_manifests/tags/1.0.{tag}"
            _write(of_tag / "current/link", image.digest)
            _write(of_tag / "index" / _path(image.digest) / "link", image.digest)


def _write_image(root: Path, repository: Path, image: Image) -> None:
    for child in image.children:
        _write_image(root, repository, child)
    for digest, blob in {**image.blobs, image.digest: image.raw}.items():
        _write(root / "blobs/sha256" / digest[7:9] / digest[7:] / "data", blob)
    for digest in image.blobs:
        _write(repository / "_layers" / _path(digest) / "link", digest)
    _write(repository / "_manifests/revisions" / _path(image.digest) / "link", image.digest)


def _path(digest: str) -> str:
    return digest.replace(":", "/")


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def walk(url: str) -> int:
    """What a program does that keeps nothing: manifest and configuration of each tag, one after the other."""
    with requests.Session() as session:
        session.trust_env = False

        def get(path: str) -> requests.Response:
            answer = session.get(url + path, headers={"Accept": _ACCEPT}, timeout=30)
            answer.raise_for_status()
            return answer

        def read(repository: str, reference: str) -> None:
            manifest = get(f"/v2/{repository}/manifests/{reference}").json()
            for child in manifest.get("manifests", ()):
                read(repository, child["digest"])
            if "config" in manifest:
                get(f"/v2/{repository}/blobs/{manifest['config']['digest']}").json()

        tags = [
            (repository, tag)
            for repository in get("/v2/_catalog?n=1000").json()["repositories"]
            for tag in get(f"/v2/{repository}/tags/list").json()["tags"]
        ]
        for repository, tag in tags:
            read(repository, tag)
        return len(tags)


def build(directory: Path, port: int) -> App:
    directory.mkdir(exist_ok=True)
    given = {
        "registry.host": "http://127.0.0.1",
        "registry.port": str(port),
        "store.embed.path": str(directory / "data.db"),
        "store.admin-password": "a good password",
        "registry.certs.path": str(directory / "certs"),
    }
    settings = options.load(options.parser({}).parse_args([f"--{name}={text}" for name, text in given.items()]), {})
    options.validate(settings)
    return App(settings)


def measure(corpus: Corpus, tags: int = TAGS, distance: float = 0) -> list[Row]:
    """With the registry `distance` milliseconds away in each direction."""
    name = f"{corpus.name}, {2 * distance:g} ms away" if distance else corpus.name
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory) / "registry/data", corpus, tags)
        with (
            RealRegistry(Path(directory) / "registry") as registry,
            at_distance(registry.port, distance) if distance else nullcontext(registry.port) as port,
        ):
            app = build(Path(directory) / "own", port)
            sequential, own, theirs = timed(lambda: walk(f"http://127.0.0.1:{port}"), registry.pid)
            rows = [Row(f"{name}: sequential walk", sequential, 1), *_costs(tags, own, theirs)]
            first = 0.0
            for name in ("first pass", "second pass"):
                run, (seconds, own, theirs) = _synchronised(app, registry)
                assert (run.state, run.tags, run.errors) == ("complete", tags, ()), run
                rows += [Row(f"{name}", seconds, sequential / seconds), *_costs(tags, own, theirs)]
                if first:
                    rows.append(Row("second pass, against the first", seconds, first / seconds))
                first = seconds
            return rows


def _synchronised(app: App, registry: RealRegistry):
    runs = []
    figures = timed(lambda: runs.append(app.synchronisation.run("bench")), registry.pid)
    return runs[0], figures


def _costs(tags: int, own: float, theirs: float) -> list[Row]:
    return [Row("  own CPU, ms a tag", own / tags * 1000), Row("  registry's CPU, ms a tag", theirs / tags * 1000)]


def timed(work: Callable[[], object], pid: int) -> tuple[float, float, float]:
    """Wall seconds, and CPU seconds of this process and of that one."""
    began, own, theirs = time.perf_counter(), time.process_time(), cpu(pid)
    work()
    return time.perf_counter() - began, time.process_time() - own, cpu(pid) - theirs


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_memory(tags: int) -> list[Row]:
    """The most memory that `regadmin sync` of so many tags takes, against a stand-in."""
    with tempfile.TemporaryDirectory() as directory, StandinRegistry() as registry:
        for number in range(tags):
            name = f"team/app-{number // 50:04}"
            registry.put(name, f"1.0.{number % 50}", images.oci_image(f"{name} {number % 50 // 5}"))
        command = [
            *(sys.executable, "-m", "regadmin", "sync"),
            *("--registry.host=http://127.0.0.1", f"--registry.port={registry.port}"),
            *(f"--store.embed.path={directory}/data.db", "--store.admin-password=a good password"),
            f"--registry.certs.path={directory}/certs",
        ]
        process = subprocess.Popen(command, env=clean_environment(Path(directory)), stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return [Row(f"memory of a synchronisation of {tags:,} tags, MiB", used.ru_maxrss / 1024)]


def report(rows: list[Row]) -> str:
    lines = ["| what | seconds | times faster |", "|---|---:|---:|"]
    return "\n".join(lines + [f"| {row.name} | {row.value:.2f} | {_times(row.ratio)} |" for row in rows])


def tables() -> str:
    """What `make bench` measures: each kind of images, and one of them with the registry in another place."""
    one, several, platforms = CORPORA
    runs = (one,), (several,), (platforms, FEWER_TAGS), (one, FEWER_TAGS, AWAY)
    return "\n\n".join(report(measure(*run)) for run in runs)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.bench.sync")
    arguments.add_argument("--tags", type=int, default=TAGS)
    arguments.add_argument("--distance", type=float, default=0, help="milliseconds to the registry, in each direction")
    arguments.add_argument("--memory", action="store_true", help="measure the memory instead, of two sizes")
    wanted = arguments.parse_args()
    if wanted.memory:
        print(report([row for tags in MEMORY_TAGS for row in measure_memory(tags)]))
        return
    for corpus in CORPORA:
        print(report(measure(corpus, wanted.tags, wanted.distance)), flush=True)


if __name__ == "__main__":
    main()
