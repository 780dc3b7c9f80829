"""`make bench`: how fast it is, as ratios of one run. With `--write` the tables go to docs/benchmarks.md."""

import argparse
import os
import platform
import re
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
        "Of a real registry on the same cores, beside a sequential walk of it by a program that keeps nothing. What is "
        "away is behind a relay that keeps each byte for a while, on the same cores too.",
        sync.tables,
    ),
    "lists": (
        "Lists",
        "Milliseconds of the answering thread, rendering included, for an admin, by the number of repositories, with "
        "ten times as many tags, and as many rows of activity.",
        lists.growth,
    ),
}

def main() -> None:
    arguments = argparse.ArgumentParser(prog="make bench")
    arguments.add_argument("--write", action="store_true", help="keep the tables in docs/benchmarks.md")
    arguments.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all if none is named")
    wanted = arguments.parse_args()
    where = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    for part in wanted.parts or PARTS:
        title, explanation, report = PARTS[part]
        when = f"On {datetime.now(UTC):%d %B %Y}, {where}."
        section = f"## {title}\n\n{' '.join(filter(None, (when, explanation)))}\n\n{report()}\n"
        print(section, flush=True)
        if wanted.write:
            PAGE.write_text(_with(PAGE.read_text(), section))


def _with(page: str, section: str) -> str:
    """The page with this section in place of the one of the same title."""
    head, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    title = section.partition("\n")[0]
    kept = {each.partition("\n")[0]: each.rstrip() + "\n" for each in sections} | {title: section}
    return "\n".join([head.rstrip() + "\n", *kept.values()])


if __name__ == "__main__":
    main()
