"""What is no HTTP, sent to a server process with and without TLS: it refuses, says why, and lives on."""

import contextlib
import random
import socket
import ssl
from collections.abc import Callable
from http.client import HTTPResponse
from typing import NamedTuple

import pytest

from regadmin.web.inputs import MAX_ENVELOPE
from tests.rigs.fuzzing import EFFORT
from tests.rigs.registry import free_port
from tests.rigs.server import HttpsServer, RunningServer
from tests.rigs.tls import HOST, write_certificate

HOST_LINE = b"Host: localhost\r\n"
PING = b"GET /ping HTTP/1.1\r\n" + HOST_LINE + b"\r\n"
SIGN_IN = b"POST /auth/local/login HTTP/1.1\r\n" + HOST_LINE
CHUNKED = SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "no words": b"\r\n\r\nx\r\n\r\n",
    "zero bytes": b"\0\0\0\0\r\n\r\n",
    "a line of 300 kB": b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\n\r\n",
    "headers of 300 kB": b"GET /ping HTTP/1.1\r\n" + b"X-Y: z\r\n" * 40_000 + b"\r\n",
    "one header of 300 kB": b"GET /ping HTTP/1.1\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    "a method in lower case": b"get /ping HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "too many words": b"GET /ping and more HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "spaces before the colon": b"GET /ping HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a header without a colon": b"GET /ping HTTP/1.1\r\nHost\r\n\r\n",
    "a header without a name": b"GET /ping HTTP/1.1\r\n: x\r\n\r\n",
    "a bare line feed": b"GET /ping HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
    "a bare return": b"GET /ping HTTP/1.1\r\nHost: loc\ralhost\r\n\r\n",
    "a zero byte in a header": b"GET /ping HTTP/1.1\r\nHost: localhost\0\r\n\r\n",
    "a control character in a header": b"GET /ping HTTP/1.1\r\nX: \x1b[31m\r\n\r\n",
    "two lengths": SIGN_IN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "a negative length": SIGN_IN + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": SIGN_IN + b"Content-Length: +1\r\n\r\na",
    "a length in hexadecimal": SIGN_IN + b"Content-Length: 0x1\r\n\r\na",
    "a length of other digits": SIGN_IN + b"Content-Length: \xd9\xa1\r\n\r\na",
    "no length": SIGN_IN + b"Content-Length: \r\n\r\n",
    "a huge length": SIGN_IN + b"Content-Length: 99999999999999999999\r\n\r\n",
    "a length of five thousand digits": SIGN_IN + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "chunks and a length": SIGN_IN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /ping HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": SIGN_IN + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": CHUNKED + b"x\r\n\r\n",
    "a chunk of negative size": CHUNKED + b"-1\r\n\r\n",
    "a chunk with more than its size": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "an absolute address that is none": b"GET http://[/ HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "bytes in the line": b"GET /\xff\xfe HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "a body of more than anybody sends": SIGN_IN + b"Content-Length: %d\r\n\r\n" % (MAX_ENVELOPE + 1),
    "chunks of more than anybody sends": CHUNKED + b"%x\r\n" % (MAX_ENVELOPE * 2) + b"x" * (MAX_ENVELOPE + 1),
    "an endless chunk extension": CHUNKED + b"1;" + b"x" * 20_000,
    "an endless trailer": CHUNKED + b"0\r\n" + b"X: y\r\n" * 4000,
}
"""Refused with 4xx or 501 before the application sees it, and the connection ends."""

ANSWERED = {
    "a path with a zero byte": b"GET /\0 HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "an unknown version": b"GET /ping HTTP/9.9\r\n" + HOST_LINE + b"\r\n",
    "an address in brackets": b"GET //[x]y/ HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "no host": b"GET /ping HTTP/1.1\r\n\r\n",
    "a strange host": b"GET /setup HTTP/1.1\r\nHost: \xff\"'<x>:y:z\r\n\r\n",
    "bytes in headers": b"GET /login HTTP/1.1\r\nCookie: JWT=\xff\r\nAccept-Language: \xfe\r\nX-JWT: \x80\r\n\r\n",
    "an unknown method": b"BREW /login HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "another site's address": b"CONNECT example.com:443 HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST_LINE + b"\r\n",
    "another protocol": b"GET /ping HTTP/1.1\r\n" + HOST_LINE + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "a body where none belongs": b"GET /ping HTTP/1.1\r\n" + HOST_LINE + b"Content-Length: 3\r\n\r\nabc",
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nX: y\r\n\r\n",
    "wrong credentials for nothing": b"GET /nothing HTTP/1.1\r\nAuthorization: Basic \xff\r\n\r\n",
}
"""The application's to answer, and no fault."""


class Door(NamedTuple):
    """A port, and what is said to it first."""

    server: RunningServer
    connect: Callable[[], socket.socket]


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """Of two servers: plain HTTP, HTTPS, and the port that redirects to it."""
    plain = RunningServer(tmp_path_factory.mktemp("plain"), free_port()).start()
    directory = tmp_path_factory.mktemp("secure")
    certificate, key = write_certificate(directory / "tls")
    secure = HttpsServer(directory, type="static", cert=str(certificate), key=str(key)).start()
    context = ssl.create_default_context(cafile=str(certificate))
    yield {
        "plain": Door(plain, lambda: connected(plain.port)),
        "secure": Door(
            secure, lambda: context.wrap_socket(connected(secure.port_of_https), server_hostname="localhost")
        ),
        "redirect": Door(secure, lambda: connected(secure.http_port)),
    }
    statuses = plain.stop(), secure.stop()
    logs = plain.log.read_text() + secure.log.read_text()
    assert statuses == (0, 0)
    assert "Traceback" not in logs
    assert "ERROR" not in logs, logs


@pytest.fixture(params=["plain", "secure", "redirect"])
def door(doors, request) -> Door:
    return doors[request.param]


def connected(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=10)


def said(connection: socket.socket, sent: bytes) -> int:
    """Send it; the status of the answer, 0 if there is none."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        # The answer may come, and the connection end, before all is sent.
        connection.sendall(sent)
    answer = HTTPResponse(connection)
    try:
        answer.begin()
        answer.read()
    except (ConnectionError, ssl.SSLError):
        return answer.status if isinstance(answer.status, int) else 0
    return answer.status


def assert_lives(door: Door) -> None:
    with door.connect() as connection:
        assert said(connection, PING) in (200, 301)


def test_what_is_no_request_is_refused(door):
    for name, sent in REFUSED.items():
        with door.connect() as connection:
            status = said(connection, sent)
            assert 400 <= status < 500 or status == 501, name
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert connection.recv(1) == b"", name
        assert_lives(door)


def test_what_is_strange_is_answered(door):
    for name, sent in ANSWERED.items():
        with door.connect() as connection:
            assert 200 <= said(connection, sent) < 500, name
        assert_lives(door)


def test_requests_in_one_piece_are_answered_one_by_one_up_to_the_first_that_is_none(door):
    with door.connect() as connection:
        connection.sendall(PING * 100 + b"\0\r\n\r\n" + PING)
        connection.settimeout(10)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK") + received.count(b"HTTP/1.1 301") == 100
    assert received.count(b" 400 Bad Request") == 1
    assert_lives(door)


def test_random_bytes_do_no_harm(door):
    """Broken requests, cut off or with bytes changed, on many connections at once."""
    chance = random.Random(7 if EFFORT == 1 else None)
    whole = [*REFUSED.values(), *ANSWERED.values(), PING]
    for _ in range(5 * EFFORT):
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                sent = bytearray(chance.choice(whole)[:2000])
                for _ in range(chance.randrange(4)):
                    sent[chance.randrange(len(sent))] = chance.randrange(256)
                connection = stack.enter_context(door.connect())
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    connection.sendall(sent[: chance.randrange(len(sent) + 1)])
            assert_lives(door)


def test_random_bytes_before_the_handshake_do_no_harm(doors):
    secure = doors["secure"]
    chance = random.Random(7 if EFFORT == 1 else None)
    port = secure.server.port_of_https
    for _ in range(100 * EFFORT):
        with connected(port) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(chance.choice([b"", b"\x16\x03\x01", b"\x16"]) + chance.randbytes(chance.randrange(600)))
    assert_lives(secure)
