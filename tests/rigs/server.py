"""A real `regadmin` process, and one that guards a real registry."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.tools import clean_environment

START_SECONDS = STOP_SECONDS = 20
ADMIN = ("admin", "correct horse")


class RunningServer:
    """`python -m regadmin` with a configuration file as the original's users have it."""

    environment: dict[str, str] = {}
    """What it is started with beside the clean one."""

    def __init__(self, directory: Path, registry_port: int, **changes):
        self.directory = directory
        self.port = free_port()
        self.log = directory / "regadmin.log"
        self.config = directory / "config.yml"
        self._process: subprocess.Popen | None = None
        settings = {
            "listen": "127.0.0.1",
            "hostname": "localhost",
            "port": self.port,
            "workers": 1,
            "registry": {
                "host": "http://127.0.0.1",
                "port": registry_port,
                "auth_type": "token",
                "issuer": "registry_token_issuer",
                "service": "container_registry",
                "certs": {"path": str(directory / "certs"), "fqdns": ["localhost"], "ip": "127.0.0.1"},
            },
            "store": {
                "type": "embed",
                "admin_password": ADMIN[1],
                "embed": {"path": str(directory / "data.db")},
            },
            "logger": {"enabled": True, "filename": str(directory / "access.log"), "max_size": "5M"},
        }
        self.config.write_text(json.dumps(settings | changes))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def certificate(self) -> Path:
        return self.directory / "certs" / "registry_auth_ca.crt"

    def start(self) -> "RunningServer":
        """Start it and wait until it answers. Raises RuntimeError with its log."""
        return self.launch().wait()

    def launch(self) -> "RunningServer":
        """Start it without waiting."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "regadmin", "--config-file", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(self.directory) | self.environment,
                start_new_session=True,
            )
        return self

    def wait(self) -> "RunningServer":
        """Wait until it answers. Raises RuntimeError with its log."""
        wait_until(self._answers, START_SECONDS, lambda: self.log.read_text(errors="replace"))
        return self

    def stop(self, by: int = signal.SIGTERM) -> int:
        """End it by a signal and return its exit status. SIGKILL ends all of its processes, as a power cut does."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if by == signal.SIGKILL:
            os.killpg(process.pid, by)
        else:
            process.send_signal(by)
        return process.wait(STOP_SECONDS)

    def call(self, method: str, path: str, auth=ADMIN, **options) -> requests.Response:
        return requests.request(method, self.url + path, auth=auth, timeout=30, **options)

    def create(self, noun: str, **fields) -> int:
        """Create a user, group or access rule as the admin, and return its id."""
        answer = self.call("POST", f"/api/v1/{noun}", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def catalog(self, auth=ADMIN, **filters) -> list[dict]:
        """The tags that the index holds."""
        params = {"group_by": "none", "filter": json.dumps(filters)}
        return self.call("GET", "/api/v1/registry/catalog", auth, params=params).json()["data"]

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + "/ping", timeout=5).text == "pong"
        except requests.ConnectionError:
            return self._process.poll() is not None and _raise_ended(self.log)


class HttpsServer(RunningServer):
    """Its HTTP port is the one that redirects."""

    def __init__(self, directory, **ssl_settings):
        self.http_port = ssl_settings.setdefault("http_port", free_port())
        self.port_of_https = free_port()
        super().__init__(directory, free_port(), ssl={"port": self.port_of_https, **ssl_settings})

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port_of_https}"

    def _answers(self) -> bool:
        try:
            answer = requests.get(f"http://127.0.0.1:{self.http_port}/", timeout=5, allow_redirects=False)
            return answer.status_code == 301
        except requests.ConnectionError:
            return super()._answers()


class GuardedRegistry:
    """A server and a registry that know each other: tokens one way, notifications the other."""

    def __init__(self, directory: Path, *, delete_enabled: bool = True, **changes):
        port = free_port()
        self.server = RunningServer(directory, port, **changes).start()
        self.server.create("users", login="events", password="events-pass", role="user")
        authorization = "Basic " + base64.b64encode(b"events:events-pass").decode()
        self.registry = RealRegistry(
            directory / "registry",
            port=port,
            delete_enabled=delete_enabled,
            auth={
                "realm": f"{self.server.url}/api/v1/registry/auth",
                "service": "container_registry",
                "issuer": "registry_token_issuer",
                "rootcertbundle": self.server.certificate,
            },
            notifications=(f"{self.server.url}/api/v1/registry/events", {"Authorization": authorization}),
        ).start()

    def docker(self, name: str) -> str:
        """The image as skopeo names it."""
        return f"docker://{self.registry.host}/{name}"

    def stop(self) -> None:
        self.registry.stop()
        self.server.stop()


def wait_until(condition, seconds: float = 5, explain=lambda: "it did not become true"):
    """Poll until the condition holds, and return what it gave. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {explain()}")


def _raise_ended(log: Path) -> bool:
    raise RuntimeError(f"the server ended:\n{log.read_text(errors='replace')}")
