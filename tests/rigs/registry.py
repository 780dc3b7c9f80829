"""A real registry (Debian's `docker-registry`) on a free port of the loopback address."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.rigs.tools import clean_environment, find_tool

START_SECONDS = 20
STOP_SECONDS = 10


class RealRegistry:
    """Use it as a context manager, or call start() and stop().

    auth            None, a mapping with the settings of token authentication (realm, service, issuer,
                    rootcertbundle, autoredirect), or the path of an htpasswd file
    notifications   None, or (url, headers) of the listener that gets the events
    tls             None, or the paths of certificate and key
    directory       where data, configuration and log are kept; a temporary one of its own if None
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        auth: Mapping[str, str] | Path | str | None = None,
        delete_enabled: bool = True,
        notifications: tuple[str, Mapping[str, str]] | None = None,
        tls: tuple[Path, Path] | None = None,
        http_secret: str = "a-secret-of-the-tests",
        port: int = 0,
    ):
        self._program = find_tool("docker-registry", "docker-registry")
        self._owns_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="registry-"))
        self.data = self.directory / "data"
        self.log = self.directory / "registry.log"
        self.port = port or free_port()
        self._has_tls = tls is not None
        self._settings = {
            "version": "0.1",
            "log": {"level": "info", "fields": {"service": "registry"}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": delete_enabled},
            },
            "http": {"addr": self.host, "secret": http_secret, **_tls_section(tls)},
            **_auth_section(auth),
            **_notifications_section(notifications),
        }
        self._process: subprocess.Popen | None = None

    @property
    def host(self) -> str:
        """`address:port`, as a client names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self._has_tls else 'http'}://{self.host}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> "RealRegistry":
        """Start it and wait until it answers. Raises RuntimeError with the end of its log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(exist_ok=True)
        # JSON is YAML too: nothing needs to be quoted by hand.
        config = self.directory / "registry.yml"
        config.write_text(json.dumps(self._settings, indent=1))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(self.directory),
                cwd=self.directory,
            )
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Stop it and keep the data."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> "RealRegistry":
        """Start it again, on the same port and with the same data."""
        self.stop()
        return self.start()

    def __enter__(self) -> "RealRegistry":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if _has_ended(self._process, within=0.02) or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the registry on {self.host} did not start:\n{self.log_tail()}")

    def _answers(self) -> bool:
        connection = self._connection()
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except OSError:
            return False
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._has_tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)

    def log_tail(self, lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port() -> int:
    """A port of the loopback address on which nothing listens at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _has_ended(process: subprocess.Popen, within: float) -> bool:
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        return False
    return True


def _auth_section(auth: Mapping[str, str] | Path | str | None) -> dict:
    if auth is None:
        return {}
    if isinstance(auth, Mapping):
        settings = {key: value if isinstance(value, bool) else str(value) for key, value in auth.items()}
        return {"auth": {"token": settings}}
    return {"auth": {"htpasswd": {"realm": "registry", "path": str(auth)}}}


def _tls_section(tls: tuple[Path, Path] | None) -> dict:
    return {"tls": {"certificate": str(tls[0]), "key": str(tls[1])}} if tls else {}


def _notifications_section(notifications: tuple[str, Mapping[str, str]] | None) -> dict:
    if notifications is None:
        return {}
    url, headers = notifications
    endpoint = {
        "name": "listener",
        "url": url,
        "headers": {name: [value] for name, value in headers.items()},
        "timeout": "1s",
        "threshold": 3,
        "backoff": "100ms",
    }
    return {"notifications": {"endpoints": [endpoint]}}
