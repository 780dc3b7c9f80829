"""`make bench`: how fast it is, as ratios of one run. With `--write` the tables go to docs/benchmarks.md."""

import argparse
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import events, lists, process, sync, tokens

PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"

PARTS: dict[str, tuple[str, str, Callable[[], str]]] = {
    "tokens": (
        "Tokens",
        "As many workers as cores, each pinned, and the same for the bare answer of Waitress: an application that does "
        "nothing. The load generator shares the cores. The base of cold answers is bcrypt alone on all cores; that of "
        "the flood are the same answers without it.",
        lambda: tokens.table(tokens.measure()),
    ),
    "process": ("Processes", "", lambda: process.table(process.measure())),
    "events": (
        "Notifications",
        "From the first request until the last one is answered, and until the index tells of the last push.",
        lambda: events.report(events.measure()),
    ),
    "sync": (
        "Synchronisation",
        "Against a real registry on the same cores, beside a sequential walk of it by a program that keeps nothing.",
        lambda: "\n\n".join(sync.report(sync.measure(corpus)) for corpus in sync.CORPORA[:2]),
    ),
    "lists": ("Lists", "Milliseconds of the answering thread, rendering included.", lists.report),
}


def main() -> None:
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--write", action="store_true", help="keep the tables in docs/benchmarks.md")
    arguments.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if none is named")
    wanted = arguments.parse_args()
    where = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    pieces = [f"# Benchmarks\n\nBy `make bench` on {datetime.now(UTC):%d %B %Y}, {where}. Trust the ratios."]
    for part in wanted.parts or PARTS:
        title, explanation, report = PARTS[part]
        pieces.append("\n\n".join(filter(None, (f"## {title}", explanation, report()))))
        print(pieces[-1], end="\n\n", flush=True)
    if wanted.write:
        PAGE.write_text("\n\n".join(pieces) + "\n")


if __name__ == "__main__":
    main()
