"""A stand-in for what the real registry at hand does not do: distribution 3.x's other answers, and faults.

It speaks just enough of the API for a client that reads, deletes and stores manifests. Content is in memory.
"""

import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests

from tests.rigs.images import Image, digest_of

EVENTS_TYPE = "application/vnd.docker.distribution.events.v2+json"
MOST_PER_PAGE = 1000
SLOW_SECONDS = 60

SLOW = "slow"
"""No answer until heal() or stop()."""
HANG_UP = "hang up"
"""The connection ends without an answer."""
CUT = "cut"
"""The connection ends in the middle of the body."""
ENDLESS = "endless"
"""The body never ends."""
WRONG_DIGEST = "wrong digest"
"""Docker-Content-Digest is that of other bytes."""
WRONG_BYTES = "wrong bytes"
"""The body is not the one whose digest is told."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    port: int
    """The client's port: one for each connection."""


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


GARBAGE = Reply(200, b"<html>Sign in to the hotel's network", {"Content-Type": "text/html"})


class StandinRegistry:
    """Use it as a context manager, or call start() and stop(); it keeps its port and content between them.

    `requests` is the log of everything that was asked. `authorization`, if set, is the only header value
    that is let in; `blob_host`, if set, is the address that blobs are redirected to. Without `has_untag`
    a tag cannot be deleted, as in 2.8.
    """

    def __init__(
        self,
        *,
        delete_enabled: bool = True,
        has_untag: bool = True,
        authorization: str = "",
        blob_host: str = "",
    ):
        self.delete_enabled = delete_enabled
        self.has_untag = has_untag
        self.authorization = authorization
        self.blob_host = blob_host
        self.requests: list[Request] = []
        self.tags: dict[str, dict[str, str]] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.port = 0
        self._fault: tuple[str | Reply, str] | None = None
        self._healed = threading.Event()
        self._server: _Server | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def start(self) -> "StandinRegistry":
        self._healed.clear()
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be down: nothing listens any more, and open connections end."""
        server, self._server = self._server, None
        if server:
            self._healed.set()
            server.shutdown()
            server.server_close()
            server.end_connections()

    def __enter__(self) -> "StandinRegistry":
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def put_image(
        self, repository: str, tag: str, raw: bytes, media_type: str, blobs: Mapping[str, bytes] | None = None
    ) -> str:
        """Store a manifest, under a tag unless that is '', with its blobs; returns its digest."""
        digest = digest_of(raw)
        self.manifests[repository, digest] = (media_type, raw)
        self.tags.setdefault(repository, {})
        if tag:
            self.tags[repository][tag] = digest
        self.blobs |= blobs or {}
        return digest

    def put(self, repository: str, tag: str, image: Image) -> str:
        """Store an image of `tests.rigs.images` with its children; returns its digest."""
        for child in image.children:
            self.put(repository, "", child)
        return self.put_image(repository, tag, image.raw, image.media_type, image.blobs)

    def fail(self, fault: str | Reply, on: str = "") -> None:
        """Answer with a fault, or with this very reply, to requests whose path holds `on`."""
        self._healed.clear()
        self._fault = (fault, on)

    def heal(self) -> None:
        self._fault = None
        self._healed.set()

    def fault_for(self, request: Request) -> str | Reply | None:
        fault, on = self._fault or (None, "")
        if fault == SLOW and on in request.path:
            self._healed.wait(SLOW_SECONDS)
            return None
        return fault if on in request.path else None

    def answer(self, request: Request) -> Reply:
        """What a healthy registry answers."""
        if self.authorization and request.headers.get("Authorization") != self.authorization:
            return _error(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Bearer realm="{self.url}/token"'})
        for pattern, method in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match:
                return getattr(self, method)(request, *match.groups())
        return Reply(404, b"404 page not found\n", {"Content-Type": "text/plain"})

    def _base(self, request: Request) -> Reply:
        return _json({})

    def _catalog(self, request: Request) -> Reply:
        return self._page(request, "repositories", sorted(self.tags))

    def _tags(self, request: Request, repository: str) -> Reply:
        if repository not in self.tags:
            return _error(404, "NAME_UNKNOWN")
        return self._page(request, "tags", sorted(self.tags[repository]), name=repository)

    def _page(self, request: Request, key: str, names: list[str], **more: str) -> Reply:
        count = int(request.query.get("n", MOST_PER_PAGE))
        if not 0 < count <= MOST_PER_PAGE:
            return _error(400, "PAGINATION_NUMBER_INVALID")
        rest = [name for name in names if name > request.query.get("last", "")]
        page = rest[:count]
        next_page = urlencode({"last": page[-1], "n": count}) if len(rest) > count else ""
        links = {"Link": f'<{request.path}?{next_page}>; rel="next"'} if next_page else {}
        return _json({**more, key: page}, links)

    def _manifest(self, request: Request, repository: str, reference: str) -> Reply:
        if request.method == "PUT":
            return self._store(request, repository, reference)
        digest = self.tags.get(repository, {}).get(reference, reference)
        if request.method == "DELETE":
            return self._delete(repository, reference, digest)
        media_type, raw = self.manifests.get((repository, digest), ("", b""))
        if not raw or media_type not in request.headers.get("Accept", ""):
            return _error(404, "MANIFEST_UNKNOWN")
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}
        if request.headers.get("If-None-Match", "").strip('"') == digest:
            return Reply(304, b"", headers)
        return Reply(200, raw, headers)

    def _store(self, request: Request, repository: str, reference: str) -> Reply:
        tag = "" if ":" in reference else reference
        digest = self.put_image(repository, tag, request.body, request.headers["Content-Type"])
        return Reply(201, b"", {"Docker-Content-Digest": digest})

    def _delete(self, repository: str, reference: str, digest: str) -> Reply:
        if not self.has_untag and ":" not in reference:
            return _error(400, "DIGEST_INVALID")
        if not self.delete_enabled:
            return _error(405, "UNSUPPORTED")
        if (repository, digest) not in self.manifests:
            return _error(404, "MANIFEST_UNKNOWN")
        tags = self.tags[repository]
        if reference in tags:
            del tags[reference]
        else:
            del self.manifests[repository, digest]
            self.tags[repository] = {tag: known for tag, known in tags.items() if known != digest}
        return Reply(202)

    def _blob(self, request: Request, repository: str, digest: str) -> Reply:
        if self.blob_host:
            return Reply(307, b"", {"Location": self.blob_host + request.path})
        if digest not in self.blobs:
            return _error(404, "BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        return Reply(200, self.blobs[digest], headers)


_ROUTES = (
    (r"/v2/", "_base"),
    (r"/v2/_catalog", "_catalog"),
    (r"/v2/(.+)/tags/list", "_tags"),
    (r"/v2/(.+)/manifests/([^/]+)", "_manifest"),
    (r"/v2/(.+)/blobs/([^/]+)", "_blob"),
)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], registry: StandinRegistry):
        self.registry = registry
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def end_connections(self) -> None:
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, *_) -> None:
        """A client that leaves in the middle is what many tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_) -> None:
        """Nothing: the log is `requests`."""

    def _handle(self) -> None:
        registry, request = self.server.registry, self._read_request()
        registry.requests.append(request)
        fault = registry.fault_for(request)
        if isinstance(fault, Reply):
            self._send(fault)
        elif fault == HANG_UP:
            self.close_connection = True
        elif fault in (CUT, ENDLESS):
            self._send_part(is_endless=fault == ENDLESS)
        else:
            self._send(_spoiled(registry.answer(request), fault))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _read_request(self) -> Request:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return Request(self.command, url.path, query, self.headers, body, self.client_address[1])

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD" and reply.status != 304:
            self.wfile.write(reply.body)

    def _send_part(self, is_endless: bool) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.wfile.write(b'{"errors":')
        while is_endless:
            self.wfile.write(b" " * (1 << 16))


def _spoiled(reply: Reply, fault: str | None) -> Reply:
    if fault == WRONG_DIGEST:
        return Reply(reply.status, reply.body, reply.headers | {"Docker-Content-Digest": digest_of(b"other")})
    if fault == WRONG_BYTES:
        return Reply(reply.status, reply.body + b" ", reply.headers)
    return reply


def _json(document: dict, headers: dict[str, str] | None = None, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json", **(headers or {})})


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    """An error body as distribution writes it."""
    return _json({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}, headers, status)


def event(action: str, repository: str, **fields: str) -> dict:
    """An event as distribution 3.x writes it: what it does not know is an empty string, not left out.

    `fields` are id, timestamp, digest, tag, media_type, actor, method, user_agent and address.
    """
    return {
        "id": fields.get("id", "b3b4ee5b-3ac0-4f4b-9d8c-6a0f3b7c9f10"),
        "timestamp": fields.get("timestamp", "2024-05-06T07:08:09.123456789Z"),
        "action": action,
        "target": {
            "mediaType": fields.get("media_type", ""),
            "digest": fields.get("digest", ""),
            "repository": repository,
            "url": "",
            "tag": fields.get("tag", ""),
        },
        "request": {
            "id": "",
            "addr": fields.get("address", ""),
            "host": "",
            "method": fields.get("method", ""),
            "useragent": fields.get("user_agent", ""),
        },
        "actor": {"name": fields.get("actor", "")},
        "source": {"addr": "", "instanceID": ""},
    }


def envelope(*events: dict) -> bytes:
    return json.dumps({"events": list(events)}).encode()


def notify(url: str, headers: Mapping[str, str], *events: dict) -> int:
    """Post events in one envelope as distribution 3.x does; returns the listener's status."""
    sent = {"Content-Type": EVENTS_TYPE, **headers}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, data=envelope(*events), headers=sent, timeout=10).status_code
