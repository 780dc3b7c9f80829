"""A server, a registry and a few images for a look around; everything stops and goes together."""

import base64
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
import yaml

from regadmin import errors, samples

PACKAGE = "docker-registry"
INSTALL = f"install the package {PACKAGE}, or put distribution's binary `registry` on the PATH"
SERVICE = "container_registry"
ISSUER = "registry_token_issuer"
START_LIMIT = 60  # seconds
STOP_LIMIT = 10  # seconds, then killed

RULES = (
    {"owner": "alice", "name": "alice pulls the samples", "resource_name": "demo/**", "action": "pull"},
    {"owner_id": -999, "name": "everyone has a place", "resource_name": "${login}/**", "action": "*"},
    {"owner_id": -1000, "name": "hello is public", "resource_name": "demo/hello", "action": "pull"},
)
"""Access rows of the REST contract; `owner` is the login of one of our users."""

Accounts = dict[str, str]
"""The passwords of our users, by login."""


@contextmanager
def _session() -> Iterator[requests.Session]:
    """Talks to the loopback address, whatever proxy or ~/.netrc says."""
    with requests.Session() as session:
        session.trust_env = False
        yield session


def free_port() -> int:
    """A port of the loopback address that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def find_registry(cache_dir: str | Path) -> str:
    """The path of an installed registry, or of Debian's package unpacked in `cache_dir`.

    The package is downloaded if need be, but not installed, so that no service starts and root is not needed.
    """
    unpacked = Path(cache_dir) / "usr/bin" / PACKAGE
    for name in ("registry", PACKAGE, str(unpacked)):
        if found := shutil.which(name):
            return found
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise errors.Misconfigured(f"no registry is installed: {INSTALL}")
    _unpack(Path(cache_dir))
    if not unpacked.exists():
        raise errors.Misconfigured(f"Debian's package {PACKAGE} holds no registry: {INSTALL}")
    return str(unpacked)


def _unpack(cache_dir: Path) -> None:
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir) as download:
        try:
            _command("apt-get", "download", PACKAGE, directory=download)
            (package,) = Path(download).glob("*.deb")
            _command("dpkg", "-x", str(package), str(cache_dir), directory=download)
        except (subprocess.SubprocessError, ValueError):
            raise errors.Misconfigured(f"Debian's package {PACKAGE} cannot be downloaded: {INSTALL}")


def _command(*command: str, directory: str) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=300)


def start_registry(
    binary: str,
    directory: str | Path,
    port: int,
    realm: str,
    service: str,
    issuer: str,
    certificate_path: str | Path,
    events_url: str,
    events_authorization: str,
) -> subprocess.Popen:
    """A registry on the loopback address that keeps its files in `directory` and answers when this returns.

    `realm` is the address of the token endpoint, `certificate_path` what its tokens are checked against,
    `events_authorization` the header that the notifications to `events_url` carry.
    """
    directory = Path(directory)
    token = {"realm": realm, "service": service, "issuer": issuer, "rootcertbundle": str(certificate_path)}
    config = _configuration(directory / "registry", port, token, events_url, events_authorization)
    config_path, log_path = directory / "config.yml", directory / "registry.log"
    config_path.touch(mode=0o600)
    config_path.write_text(yaml.safe_dump(config, sort_keys=False))
    process = _start([binary, "serve", str(config_path)], log_path, {})
    _await(process, f"{_address(port)}/v2/", lambda answer: True, log_path)
    return process


def _configuration(
    data_directory: Path, port: int, token: dict, events_url: str, events_authorization: str
) -> dict:
    endpoint = {
        "name": "regadmin",
        "url": events_url,
        "headers": {"Authorization": [events_authorization]},
        "timeout": "1s",
        "threshold": 5,
        "backoff": "1s",
    }
    return {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(data_directory)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": secrets.token_hex(16)},
        "auth": {"token": token},
        "notifications": {"endpoints": [endpoint]},
    }


def start_server(directory: Path, port: int, registry_port: int, admin_password: str) -> subprocess.Popen:
    """Our own server on the loopback address, with its store and keys in `directory`."""
    options = {
        "--listen": "127.0.0.1",
        "--port": port,
        "--registry.host": "http://127.0.0.1",
        "--registry.port": registry_port,
        "--registry.public": f"127.0.0.1:{registry_port}",
        "--registry.service": SERVICE,
        "--registry.issuer": ISSUER,
        "--registry.certs.path": directory / "certs",
        "--store.embed.path": directory / "data.db",
    }
    command = [sys.executable, "-m", "regadmin"]
    for name, value in options.items():
        command += [name, str(value)]
    # A password among the arguments could be read by every user of the machine.
    settings = {"RA_STORE_ADMIN_PASSWORD": admin_password, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = _start(command, directory / "server.log", settings)
    _await(process, f"{_address(port)}/ping", lambda answer: answer.text == "pong", directory / "server.log")
    return process


def _start(command: list[str], log_path: Path, settings: dict[str, str]) -> subprocess.Popen:
    """A process out of the terminal's reach: Ctrl-C is for us, and we stop the others in order."""
    ours = ("RA_", "REGISTRY_", "OTEL_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Distribution 3 sends its traces to port 4318 of this machine unless told not to.
    environment |= {"OTEL_TRACES_EXPORTER": "none", **settings}
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _await(process: subprocess.Popen, url: str, is_ready: Callable, log_path: Path) -> None:
    """Returns when the process answers; one that does not, or whose start is interrupted, is stopped."""
    try:
        if _answers(process, url, is_ready):
            return
        raise errors.Misconfigured(f"{url} does not come up: {_complaint(log_path)} (see {log_path})")
    except BaseException:
        stop(process)
        raise


def _answers(process: subprocess.Popen, url: str, is_ready: Callable) -> bool:
    deadline = time.monotonic() + START_LIMIT
    with _session() as session:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if is_ready(session.get(url, timeout=5)):
                    return True
            except requests.RequestException:
                pass
            time.sleep(0.05)
    return False


def _complaint(log_path: Path) -> str:
    """The line that says why a process gave up; the registry prints a stack or its usage after it."""
    lines = log_path.read_text(errors="replace").splitlines() or ["it said nothing"]
    return next((line for line in lines if re.search("panic|error", line, re.IGNORECASE)), lines[-1])


def stop(process: subprocess.Popen) -> None:
    """Ends the process, by force if it does not listen."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(directory: str | None = None, port: int = 0, registry_port: int = 0) -> int:
    """The whole demo, until Ctrl-C or SIGTERM; the exit status.

    Without `directory` (new or empty) its files are temporary, and kept only when something goes wrong.
    A port of 0 is any that is free.
    """
    place = _place(directory)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            _populate(stack, place, port or free_port(), registry_port or free_port())
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            raise errors.Error(f"the server or the registry ended by itself: see the logs in {place}")
    except KeyboardInterrupt:
        if directory is None:
            shutil.rmtree(place)
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _place(directory: str | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="regadmin-demo-"))
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    if any(place.iterdir()):
        raise errors.Misconfigured(f"{directory} is not empty: name a new directory")
    return place


def _populate(stack: ExitStack, place: Path, port: int, registry_port: int) -> None:
    """Starts both, in the order in which they need each other: the registry knows the events account."""
    binary = find_registry(_cache_dir())
    accounts = {login: secrets.token_hex(8) for login in ("admin", "alice", "events")}
    stack.callback(stop, start_server(place, port, registry_port, accounts["admin"]))
    _create_users_and_rules(port, accounts)
    registry = start_registry(
        binary,
        place,
        registry_port,
        realm=f"{_address(port)}/api/v1/registry/auth",
        service=SERVICE,
        issuer=ISSUER,
        certificate_path=place / "certs" / "registry_auth_ca.crt",
        events_url=f"{_address(port)}/api/v1/registry/events",
        events_authorization=_basic("events", accounts["events"]),
    )
    stack.callback(stop, registry)
    for image in samples.images():
        samples.push(image, _address(registry_port), lambda name: _bearer(port, accounts["admin"], name))
    print(_welcome(place, port, registry_port, accounts), flush=True)


def _create_users_and_rules(port: int, accounts: Accounts) -> None:
    users = {
        "alice": {"name": "Alice", "password": accounts["alice"], "description": "May pull the samples"},
        "events": {"name": "Registry", "password": accounts["events"], "description": "Sends notifications"},
    }
    with _session() as session:
        session.auth = ("admin", accounts["admin"])
        ids = {}
        for login, fields in users.items():
            row = {"login": login, "role": "user", "group": 1, **fields}
            ids[login] = _create(session, port, "users", row)
        for rule in RULES:
            row = {"type": "repository", "is_group": False, **rule}
            if "owner" in row:
                row["owner_id"] = ids[row.pop("owner")]
            _create(session, port, "access", row)


def _create(session: requests.Session, port: int, noun: str, row: dict) -> int:
    answer = session.post(f"{_address(port)}/api/v1/{noun}", json=row, timeout=30)
    if not answer.ok:
        raise errors.Error(f"the server refused to create {row['name']}: {answer.status_code} {answer.text}")
    return answer.json()["id"]


def _bearer(port: int, admin_password: str, repository: str) -> str:
    wanted = {"service": SERVICE, "scope": f"repository:{repository}:pull,push"}
    with _session() as session:
        session.auth = ("admin", admin_password)
        answer = session.get(f"{_address(port)}/api/v1/registry/auth", params=wanted, timeout=30)
    if not answer.ok:
        raise errors.Error(f"the server gave no token: {answer.status_code} {answer.text}")
    return f"Bearer {answer.json()['token']}"


def _basic(login: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regadmin"


def _welcome(place: Path, port: int, registry_port: int, accounts: Accounts) -> str:
    registry = f"127.0.0.1:{registry_port}"
    return f"""
RegistryAdmin  {_address(port)}
Registry       {registry}
Files          {place}

  admin   {accounts["admin"]}  may do everything
  alice   {accounts["alice"]}  may pull demo/** and do everything in alice/**
  events  {accounts["events"]}  sends the registry's notifications

Try
  docker login -u alice -p {accounts["alice"]} {registry}
  docker pull {registry}/demo/web:2.3
  curl -u alice:{accounts["alice"]} {_address(port)}/api/v1/registry/catalog

Ctrl-C stops both."""
