"""A real ACME authority (Debian's `pebble`) for which every name leads to the loopback address."""

import json
import subprocess
from pathlib import Path

import requests

from tests.rigs.registry import free_port
from tests.rigs.server import wait_until
from tests.rigs.tls import HOST, write_certificate
from tests.rigs.tools import clean_environment, find_tool

START_SECONDS = STOP_SECONDS = 20
LIFETIME = 90 * 24 * 60 * 60


class Pebble:
    """It looks for the answers to its challenges at `http_port`. Each start makes a new root and forgets all accounts.

    `authority` is the path of the certificate that signs its own HTTPS.
    """

    def __init__(self, directory: Path, **environment: str):
        self._programs = [find_tool(name, "pebble") for name in ("pebble", "pebble-challtestsrv")]
        self._environment = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", **environment}
        self._directory = directory
        self._processes: list[subprocess.Popen] = []
        self.http_port, self._port, self._management, self._dns = (free_port() for _ in range(4))
        self.authority, key = write_certificate(directory)
        self.log = directory / "pebble.log"
        self._config = directory / "pebble.json"
        settings = {
            "listenAddress": f"{HOST}:{self._port}",
            "managementListenAddress": f"{HOST}:{self._management}",
            "certificate": str(self.authority),
            "privateKey": str(key),
            "httpPort": self.http_port,
            "tlsPort": free_port(),
            "certificateValidityPeriod": LIFETIME,
        }
        self._config.write_text(json.dumps({"pebble": settings}))

    @property
    def url(self) -> str:
        """Of its directory."""
        return f"https://localhost:{self._port}/dir"

    @property
    def root(self) -> str:
        """The certificate that signs what it issues, in PEM."""
        return requests.get(f"https://localhost:{self._management}/roots/0", verify=self.authority, timeout=5).text

    def start(self) -> "Pebble":
        dns = f"{HOST}:{self._dns}"
        pebble, names = self._programs
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"{HOST}:{free_port()}"]
        # Without the empty address of IPv6 it would ask ::1.
        self._run([names, "-dns01", dns, "-defaultIPv4", HOST, "-defaultIPv6", "", *off])
        self._run([pebble, "-config", str(self._config), "-dnsserver", dns])
        wait_until(self._answers, START_SECONDS, lambda: self.log.read_text(errors="replace"))
        return self

    def stop(self) -> None:
        while self._processes:
            process = self._processes.pop()
            process.terminate()
            process.wait(STOP_SECONDS)

    def asked_for(self, path: str) -> int:
        """How many requests went to paths with this beginning, since it was made."""
        return self.log.read_text().count(f"POST {path}")

    def _run(self, command: list[str]) -> None:
        with self.log.open("ab") as log:
            environment = clean_environment(self._directory) | self._environment
            self._processes.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            )

    def _answers(self) -> bool:
        try:
            return requests.get(self.url, verify=self.authority, timeout=5).ok
        except requests.ConnectionError:
            return False
