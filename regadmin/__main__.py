"""The command line: `regadmin [command] [options]`. Without a command it serves."""

import logging
import os
import sys
from collections.abc import Sequence

from regadmin import options
from regadmin.app import App
from regadmin.demo import run as run_demo
from regadmin.errors import Error, Misconfigured
from regadmin.server import serve

COMMANDS = {
    "serve": "serve the web interface, the token realm and the API (the default)",
    "sync": "bring the index in line with the registry, and wait for the end",
    "demo": "start a registry, a server and sample images for a look around",
}
EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    namespace = options.parser(COMMANDS).parse_args(argv)
    try:
        return _run(namespace)
    except Misconfigured as error:
        print(f"regadmin: {error.message}", file=sys.stderr)
        return EXIT_MISCONFIGURED
    except Error as error:
        print(f"regadmin: {error.message}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(namespace) -> int:
    if namespace.command == "demo":
        return run_demo()
    settings = options.load(namespace, os.environ)
    options.validate(settings)
    _log(settings["debug"])
    if namespace.command == "sync":
        return _synchronise(settings)
    serve(settings)
    return 0


def _synchronise(settings: options.Settings) -> int:
    run = App(settings).synchronisation.run("command line")
    for error in run.errors:
        print(f"regadmin: {error}", file=sys.stderr)
    print(
        f"{run.state}: {run.repositories_done} repositories, {run.tags} tags; "
        f"{run.added} added, {run.updated} updated, {run.removed} removed"
    )
    return 0 if run.state == "complete" and not run.errors else EXIT_FAILED


def _log(is_debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if is_debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # These two print requests with their headers when they debug.
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.INFO)


if __name__ == "__main__":
    raise SystemExit(main())
