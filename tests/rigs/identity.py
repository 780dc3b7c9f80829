"""Sources of identity for tests: an HTTP service in a thread of this process, and programs as shell scripts."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

HANG, TRICKLE, HANG_UP = "hang", "trickle", "hang up"
"""What it can do instead of answering."""

LONGEST = 30
"""Seconds; a test that heals it or ends needs less."""


class Asked(NamedTuple):
    method: str
    path: str
    login: str
    password: str
    """Two times '' without credentials."""


class IdentityService:
    """Knows whom `people` names by `login:password`, each with his rules. Use it as a context manager.

    With a certificate and its key it speaks HTTPS. While `fault` is set it answers so: one of the words above, or
    status, body and headers.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None):
        self.people: dict[str, list | None] = {}
        self.asked: list[Asked] = []
        self.fault: str | tuple | None = None
        self._healed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.service = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}/login?by=us"

    def __enter__(self) -> "IdentityService":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    def heal(self) -> None:
        """Those who hang are answered, and all others from now on."""
        self.fault = None
        self._healed.set()

    def answer(self, asked: Asked) -> tuple:
        known = self.people.get(f"{asked.login}:{asked.password}", "nobody")
        return (401, b"", {}) if known == "nobody" else (200, json.dumps(known).encode(), {})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    service: IdentityService

    def handle_error(self, *_) -> None:
        """A client that leaves in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_) -> None:
        """Nothing: the log is `asked`."""

    def _handle(self) -> None:
        service = self.server.service
        credentials = self.headers.get("Authorization", "").removeprefix("Basic ")
        login, _, password = base64.b64decode(credentials).decode().partition(":")
        asked = Asked(self.command, self.path, login, password)
        service.asked.append(asked)
        fault = service.fault
        if fault == HANG:
            service._healed.wait(LONGEST)
        if fault == TRICKLE:
            return self._trickle(service)
        if fault != HANG_UP:
            self._send(*(fault if isinstance(fault, tuple) else service.answer(asked)))
        return None

    do_GET = do_POST = _handle

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _trickle(self, service: IdentityService) -> None:
        """Headers without an end, one now and then."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not service._healed.wait(0.02):
            self.wfile.write(b"X-Still-Here: yes\r\n")


def write_program(directory: Path, body: str) -> str:
    """The path of a shell script that has read `$login` and `$password`."""
    path = directory / "identity.sh"
    path.write_text(f"#!/bin/sh\nread -r login password\n{body}\n")
    path.chmod(0o755)
    return str(path)
