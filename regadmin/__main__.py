"""The command line: `regadmin [command] [options]`. Without a command it serves."""

import logging
import os
import ssl
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from regadmin import options
from regadmin.app import App
from regadmin.demo import run as run_demo
from regadmin.errors import Error, Misconfigured
from regadmin.server import serve

COMMANDS = {
    "serve": "serve the web interface, the token realm and the API (the default)",
    "sync": "bring the index in line with the registry, and wait for the end",
    "htpasswd": "print the accounts as an htpasswd file, or write it: for a registry in basic mode, or for nginx",
    "ping": "ask the server of this configuration whether it answers",
    "demo": "start a registry, a server and sample images for a look around",
}
EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    namespace = _parser().parse_args(argv)
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


def _parser() -> options.Parser:
    parser = options.parser(COMMANDS)
    htpasswd = parser.commands["htpasswd"]
    htpasswd.usage = "%(prog)s [options] [FILE]"
    htpasswd.add_argument("file", nargs="?", default="", metavar="FILE", help="write it; owner and mode are kept")
    return parser


def _run(namespace) -> int:
    if namespace.command == "demo":
        return run_demo()
    settings = options.load(namespace, os.environ)
    options.validate(settings)
    _log(settings["debug"])
    if namespace.command == "sync":
        return _synchronise(settings)
    if namespace.command == "ping":
        return _ping(settings)
    if namespace.command == "htpasswd":
        return _show_accounts(settings, namespace.file)
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


def _ping(settings: options.Settings) -> int:
    """For health checks, so the certificate may be that of any name."""
    address = "127.0.0.1" if settings["listen"] == "*" else settings["listen"]
    if settings["ssl.type"] == "none":
        connection = HTTPConnection(address, settings["port"], timeout=5)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection(address, settings["ssl.port"], timeout=5, context=context)
    try:
        connection.request("GET", "/ping")
        answer = connection.getresponse().read(10).decode("latin-1")
    except (OSError, HTTPException) as error:
        raise Error(f"no answer from {connection.host}:{connection.port}: {error}") from None
    print(answer)
    return 0 if answer == "pong" else EXIT_FAILED


def _show_accounts(settings: options.Settings, path: str) -> int:
    htpasswd = App(settings).htpasswd
    if path:
        htpasswd.write(path)
    else:
        print(htpasswd.text(), end="")
    return 0


def _log(is_debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if is_debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # These print requests with their headers when they debug.
    for name in ("urllib3", "requests", "acme"):
        logging.getLogger(name).setLevel(logging.INFO)


if __name__ == "__main__":
    raise SystemExit(main())
