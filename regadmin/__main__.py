"""The command line: `regadmin [command] [options]`. Without a command it serves."""

import json
import logging
import os
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

from regadmin import options
from regadmin.app import App, Groundwork
from regadmin.demo import run as run_demo
from regadmin.entities import Actor
from regadmin.errors import Error, Misconfigured
from regadmin.importing.plan import Weight
from regadmin.messages import printable
from regadmin.server import serve
from regadmin.services import imports
from regadmin.services.findings import CheckResult, Fact, State
from regadmin.services.imports import SOURCES, Outcome
from regadmin.store.backup import back_up, restore

COMMANDS = {
    "serve": "serve the web interface, the token realm and the API (the default)",
    "sync": "bring the index in line with the registry, and wait for the end",
    "htpasswd": "print the accounts as an htpasswd file, or write it: for a registry in basic mode, or for nginx",
    "check": "check the setup without changing anything, also while a server is at work; fails if something is bad",
    "backup": "copy the store into a file, also while a server works on it",
    "restore": "put a backup into the store, also while a server works on it; the store as it was is kept",
    "import": "show what users, groups and rules another program's file would give, and with --apply create them",
    "export": "print all users, groups and rules as YAML, or write it into a file: for `import`",
    "ping": "ask the server of this configuration whether it answers",
    "demo": "start a registry, a server and sample images for a look around",
}
_CONFIGURED = ("challenge", "credentials", "deletion", "notifications")
"""Checks whose remedies speak of the configuration below."""

_PORTS = {"port": "port", "registry.port": "registry_port"}
"""The options of `demo`, and the arguments of its function."""

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
    for name, text in (("backup", "the copy; replaced if it is there"), ("restore", "what `backup` wrote")):
        parser.commands[name].usage = "%(prog)s [options] FILE"
        parser.commands[name].add_argument("file", metavar="FILE", help=text)
    importing = parser.commands["import"]
    importing.usage = f"%(prog)s [options] [--apply [--grant-more]] {{{','.join(SOURCES)}}} FILE"
    importing.add_argument("source", choices=SOURCES, metavar="SOURCE", help=f"whose file it is: {', '.join(SOURCES)}")
    importing.add_argument("file", metavar="FILE", help="what is read; nothing is written to it")
    importing.add_argument("--apply", action="store_true", default=False, help="create what is shown")
    importing.add_argument(
        "--grant-more", action="store_true", default=False, help="also if somebody would be allowed more than before"
    )
    parser.commands["export"].usage = "%(prog)s [options] [FILE]"
    parser.commands["export"].add_argument("file", nargs="?", default="", metavar="FILE", help="for its owner only")
    parser.commands["demo"].usage = "%(prog)s " + " ".join(f"[--{name} PORT]" for name in _PORTS)
    parser.commands["check"].add_argument("--json", action="store_true", default=False, help="print JSON")
    return parser


def _run(namespace) -> int:
    if namespace.command == "demo":
        return _demonstrate(namespace)
    settings = options.load(namespace, os.environ)
    options.validate(settings)
    _log(settings["debug"])
    if namespace.command == "sync":
        return _synchronise(settings)
    if namespace.command == "ping":
        return _ping(settings)
    if namespace.command == "htpasswd":
        return _show_accounts(settings, namespace.file)
    if namespace.command == "import":
        return _import(settings, namespace)
    if namespace.command == "export":
        return _export(settings, namespace.file)
    if namespace.command == "check":
        return _check(settings, namespace.json)
    if namespace.command == "backup":
        back_up(Path(settings["store.embed.path"]), Path(namespace.file))
        return 0
    if namespace.command == "restore":
        return _restore(settings, Path(namespace.file))
    serve(settings)
    return 0


def _demonstrate(namespace) -> int:
    """The only command that is not about somebody's own server, so it looks at no environment and no file."""
    settings = options.load(namespace, {})
    given = [option.name for option in options.OPTIONS if settings.source(option.name) != "default"]
    if others := [name for name in given if name not in _PORTS]:
        raise Misconfigured(f"demo: it makes its own configuration and takes no --{others[0]}")
    return run_demo(**{keyword: settings[name] for name, keyword in _PORTS.items() if name in given})


def _restore(settings: options.Settings, backup: Path) -> int:
    kept = restore(Path(settings["store.embed.path"]), backup)
    if kept:
        print(f"the store as it was: {kept}")
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


def _check(settings: options.Settings, is_json: bool) -> int:
    groundwork = Groundwork(settings, is_visitor=True)
    results = groundwork.checks.look()
    if is_json:
        print(json.dumps([_as_json(result) for result in results], indent=2))
    else:
        print("".join(_as_lines(result) for result in results), end="")
        if any(result.remedy and result.name in _CONFIGURED for result in results):
            print(f"\nthe registry's configuration:\n\n{groundwork.registry_settings.yaml(groundwork.address)}", end="")
    groundwork.store.close()
    return EXIT_FAILED if any(result.state is State.BAD for result in results) else 0


def _as_json(result: CheckResult) -> dict:
    facts = [{"label": fact.label, "text": _fact(fact)} for fact in result.facts]
    told = {"name": result.name, "state": result.state, "says": result.says, "remedy": result.remedy}
    return told | {"facts": facts}


def _as_lines(result: CheckResult) -> str:
    lines = [result.remedy] if result.remedy else []
    lines += [f"{fact.label}: {_fact(fact)}" for fact in result.facts]
    head = f"{result.state:<4}  {result.title}: {result.says}\n"
    return head + "".join(f"      {line}\n" for line in lines)


def _fact(fact: Fact) -> str:
    return fact.text if fact.at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(fact.at))


def _show_accounts(settings: options.Settings, path: str) -> int:
    htpasswd = App(settings).htpasswd
    if path:
        htpasswd.write(path)
    else:
        print(htpasswd.text(), end="")
    return 0


def _import(settings: options.Settings, namespace) -> int:
    plan = imports.read(namespace.source, Path(namespace.file))
    service = App(settings).imports
    outcome = service.run(plan, Actor("command line"), namespace.apply, namespace.grant_more)
    for line in _told(outcome):
        print(printable(line))
    print(_summary(outcome))
    is_refused = plan.has(Weight.ERROR) or (namespace.apply and not outcome.is_applied)
    return EXIT_FAILED if is_refused else 0


def _told(outcome: Outcome) -> Iterator[str]:
    yield from (f"here already, stays as it is: {name}" for name in outcome.kept)
    yield from (f"new group {name}" for name in outcome.groups)
    for planned in outcome.users:
        yield f"{planned.place}: new user {planned.user.login}, role {planned.user.role}"
    for planned in outcome.rules:
        rule = planned.rule
        yield f"{planned.place}: new rule: {planned.owner}: {rule.action} {rule.resource_type} {rule.resource_name}"
    for remark in sorted(outcome.plan.remarks, key=lambda remark: list(Weight).index(remark.weight)):
        yield f"{remark.place}: {remark.weight}: {remark.text}"


def _summary(outcome: Outcome) -> str:
    counts = f"users: {len(outcome.users)}, groups: {len(outcome.groups)}, rules: {len(outcome.rules)}"
    if outcome.is_applied:
        return f"created {counts}"
    if outcome.plan.has(Weight.ERROR):
        return "nothing was changed. Mend the errors first"
    if outcome.plan.has(Weight.MORE):
        return f"nothing was changed. This grants more than the file does: --apply needs --grant-more, too. {counts}"
    return f"nothing was changed. With --apply: {counts}"


def _export(settings: options.Settings, path: str) -> int:
    exports = App(settings).exports
    if path:
        exports.write(Path(path))
    else:
        print(exports.text(), end="")
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
