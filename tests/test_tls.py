"""HTTPS on real sockets: what clients do, and what they ought not to."""

import contextlib
import http.client
import json
import os
import socket
import ssl
import struct
import subprocess
import threading

import pytest

from regadmin.tls import HANDSHAKE_SECONDS, TlsServer
from tests.rigs.server import wait_until
from tests.rigs.tls import HOST, TlsRig, write_certificate
from tests.rigs.tools import find_tool

MEGABYTE = 1 << 20
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Application:
    """`/environ` tells what the server told it, `/size/N` answers N bytes, `/count` counts a body, `/wait` waits."""

    def __init__(self):
        self.is_waiting = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        if path == "/wait":
            self.is_waiting.set()
            self.go_on.wait(10)
            path = f"/size/{5 * MEGABYTE}"
        if path.startswith("/size/"):
            size = path.removeprefix("/size/")
            # Without the length Waitress would close the connection after the answer.
            start_response("200 OK", [("Content-Length", size)])
            return self.blocks(int(size))
        start_response("200 OK", [])
        if path == "/count":
            return [str(sum(map(len, iter(lambda: environ["wsgi.input"].read(65536), b"")))).encode()]
        told = {name: environ[name] for name in ("wsgi.url_scheme", "REMOTE_ADDR", "REQUEST_URI")}
        return [json.dumps(told).encode()]

    def blocks(self, size):
        for start in range(0, size, 65536):
            yield b"x" * min(65536, size - start)


@pytest.fixture
def application():
    return Application()


@pytest.fixture
def rig(tmp_path, application):
    rig = TlsRig(tmp_path / "tls", application)
    yield rig
    application.go_on.set()
    rig.stop()
    assert not rig.thread.is_alive()


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def ask(rig: TlsRig, path: str, method: str = "GET", body=None) -> http.client.HTTPResponse:
    """A request on a connection of its own; the answer is not read yet."""
    connection = http.client.HTTPSConnection("localhost", rig.port, timeout=10, context=rig.trusting())
    connection.sock = rig.connect_tls()
    connection.request(method, path, body)
    return connection.getresponse()


def assert_answers(rig: TlsRig) -> None:
    assert ask(rig, "/size/3").read() == b"xxx"


def read_answer(connection: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.read()


def read_to_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def hello() -> bytes:
    """What a client sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def memory() -> int:
    """Bytes of this process in RAM, which is server and client here."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# What every client gets


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_request_is_answered_and_the_application_knows_who_asked_and_how(rig, version):
    context = rig.trusting()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with rig.connect_tls(context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(GET % b"/environ?a=%2F")
        status, body = read_answer(connection)
    assert status == 200
    assert json.loads(body) == {"wsgi.url_scheme": "https", "REMOTE_ADDR": HOST, "REQUEST_URI": "/environ?a=%2F"}


def test_the_address_is_the_clients_own(rig):
    with rig.trusting().wrap_socket(rig.connect(source_address=("127.0.0.9", 0)), server_hostname="localhost") as sock:
        sock.sendall(GET % b"/environ")
        assert json.loads(read_answer(sock)[1])["REMOTE_ADDR"] == "127.0.0.9"


def test_curl_and_openssl_are_content(rig):
    url = f"https://localhost:{rig.port}/size/{MEGABYTE}"
    command = [find_tool("curl", "curl"), "-sS", "--cacert", rig.paths[0], "--resolve", f"localhost:{rig.port}:{HOST}"]
    assert len(subprocess.run([*command, url], capture_output=True, check=True, timeout=20).stdout) == MEGABYTE
    verify = ["-verify_return_error", "-CAfile", rig.paths[0], "-servername", "localhost", "-alpn", "http/1.1"]
    command = [find_tool("openssl", "openssl"), "s_client", "-connect", f"{HOST}:{rig.port}", *verify]
    ended = subprocess.run(command, input=b"", capture_output=True, check=True, timeout=20)
    assert b"ALPN protocol: http/1.1" in ended.stdout
    assert b"Verify return code: 0 (ok)" in ended.stdout


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_are_refused(rig, version):
    # Level 0, or the client would not even ask.
    weak = ["-cipher", "ALL:@SECLEVEL=0", version]
    command = [find_tool("openssl", "openssl"), "s_client", "-connect", f"{HOST}:{rig.port}", *weak]
    ended = subprocess.run(command, input=b"", capture_output=True, timeout=20)
    assert ended.returncode != 0
    assert b"alert protocol version" in ended.stderr


def test_plain_http_shares_the_loop_and_the_threads(rig):
    with socket.create_connection((HOST, rig.plain_port), timeout=10) as connection:
        connection.sendall(GET % b"/environ")
        assert json.loads(read_answer(connection)[1])["wsgi.url_scheme"] == "http"


# Clients that do not keep to the rules


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"POST /upload HTTP/1.1", b"CONNECT a:1 HTTP/1.1"])
def test_plain_http_on_the_port_of_tls_is_told_so(rig, request_line):
    with rig.connect() as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n\r\n" + b"x" * MEGABYTE)
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"https://" in answer
    wait_until(lambda: rig.channels() == 0)


@pytest.mark.parametrize("sent", [b"\x00\x00", b"\x80\x2e\x01", b"\x16" + b"\xff" * 5000, b"\x16\x03\x01\x00\x04abcd"])
def test_what_is_neither_tls_nor_http_is_hung_up_on(rig, sent):
    with rig.connect() as connection:
        connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert not read_to_end(connection).startswith(b"HTTP")
    wait_until(lambda: rig.channels() == 0)
    assert_answers(rig)


def test_silent_clients_and_half_hellos_keep_nobody_waiting_and_have_ten_seconds(rig, stack, monkeypatch):
    assert HANDSHAKE_SECONDS == TlsServer.handshake_seconds == 10
    half = hello()[:40]
    for number in range(100):
        stack.enter_context(rig.connect()).sendall(half if number % 2 else b"")
    wait_until(lambda: rig.channels() == 100)
    assert_answers(rig)
    idle = stack.enter_context(rig.connect_tls())
    monkeypatch.setattr(TlsServer, "handshake_seconds", 0)
    wait_until(lambda: rig.channels() == 1)
    idle.sendall(GET % b"/size/1")
    assert read_answer(idle) == (200, b"x")


def test_two_hundred_idle_connections_keep_nobody_waiting(rig, stack):
    context = rig.trusting()
    idle = [stack.enter_context(rig.connect_tls(context)) for _ in range(200)]
    for _ in range(20):
        assert_answers(rig)
    for connection in (idle[0], idle[-1]):
        connection.sendall(GET % b"/size/1")
        assert read_answer(connection) == (200, b"x")


def test_connections_beyond_the_limit_wait_for_their_turn(tmp_path, application, stack):
    rig = TlsRig(tmp_path / "tls", application, connections=20)
    stack.callback(rig.stop)
    silent = [stack.enter_context(rig.connect()) for _ in range(40)]
    wait_until(lambda: rig.channels() > 10)
    for connection in silent:
        connection.close()
    assert_answers(rig)


def test_resets_at_any_moment_do_no_harm(rig, stack, caplog):
    half, context = hello()[:40], rig.trusting()
    for stage in range(60):
        connection = rig.connect()
        if stage % 4 == 1:
            connection.sendall(half)
        elif stage % 4 > 1:
            connection = context.wrap_socket(connection, server_hostname="localhost")
            connection.sendall(GET % (b"/size/40000000" if stage % 4 == 2 else b"/environ")[: 10 + stage])
        # A linger time of zero makes a reset of the close.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    wait_until(lambda: rig.channels() == 0)
    assert_answers(rig)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


# How bytes arrive


def test_a_request_in_records_of_one_byte_is_understood(rig):
    with rig.connect_tls() as connection:
        for byte in GET % b"/size/70000":
            connection.sendall(bytes([byte]))
        assert read_answer(connection) == (200, b"x" * 70000)


def test_a_hello_in_segments_of_one_byte_is_understood(rig):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = rig.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with rig.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    connection.sendall(bytes([byte]))
                incoming.write(connection.recv(65536))
        client.write(GET % b"/size/1")
        connection.sendall(outgoing.read())
        answer = b""
        while not answer.endswith(b"\r\n\r\nx"):
            try:
                answer += client.read(65536)
            except ssl.SSLWantReadError:
                assert incoming.write(connection.recv(65536))


def test_pipelined_requests_are_answered_in_order(rig):
    sizes = [1, 70000, 0, 16384, 2] * 20
    with rig.connect_tls() as connection:
        connection.sendall(b"".join(GET % b"/size/%d" % size for size in sizes))
        reader = connection.makefile("rb")
        for size in sizes:
            assert b"Content-Length: %d\r\n" % size in iter(reader.readline, b"\r\n")
            while reader.readline() != b"\r\n":
                pass
            assert len(reader.read(size)) == size


def test_slow_readers_keep_nobody_waiting(rig, stack):
    slow = [stack.enter_context(rig.connect_tls()) for _ in range(20)]
    for connection in slow:
        connection.sendall(GET % b"/size/%d" % (4 * MEGABYTE))
    for _ in range(10):
        assert_answers(rig)
    for connection in slow:
        assert read_answer(connection) == (200, b"x" * 4 * MEGABYTE)


def test_slow_writers_keep_nobody_waiting(rig, stack):
    slow = [stack.enter_context(rig.connect_tls()) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
    for _ in range(10):
        assert_answers(rig)
    for connection in slow:
        connection.sendall(b"cd")
        assert read_answer(connection) == (200, b"4")


def test_large_bodies_go_through_both_ways_without_being_held_in_memory(rig):
    size = 64 * MEGABYTE
    before = peak = memory()
    with rig.connect_tls() as connection:
        connection.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            connection.sendall(b"x" * MEGABYTE)
            peak = max(peak, memory())
        assert read_answer(connection) == (200, b"%d" % size)
    answer = ask(rig, f"/size/{size}")
    received = 0
    while block := answer.read(MEGABYTE):
        received += len(block)
        peak = max(peak, memory())
    assert received == size
    assert peak - before < size / 2


def test_a_continue_is_sent_before_the_body(rig):
    with rig.connect_tls() as connection:
        head = b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert read_answer(connection) == (200, b"2")


def test_a_connection_ends_with_a_goodbye(rig):
    context = rig.trusting()
    with context.wrap_socket(rig.connect(), server_hostname="localhost", suppress_ragged_eofs=False) as connection:
        connection.sendall(b"GET /size/3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        # Without the alert close_notify this raises SSLEOFError.
        assert read_to_end(connection).endswith(b"\r\n\r\nxxx")


# Renewed certificates


def served(rig: TlsRig) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with rig.connect_tls(context) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True))


def test_a_renewed_certificate_is_taken_up_while_connections_go_on(rig, application, tmp_path):
    with rig.connect_tls() as before, rig.connect_tls() as working:
        working.sendall(GET % b"/wait")
        assert application.is_waiting.wait(5)
        write_certificate(tmp_path / "tls", days=30)
        rig.certificate.refresh()
        assert served(rig) == rig.paths[0].read_text()
        assert_answers(rig)
        before.sendall(GET % b"/size/1")
        assert read_answer(before) == (200, b"x")
        application.go_on.set()
        assert len(read_answer(working)[1]) == 5 * MEGABYTE


# The end


def test_open_requests_are_answered_at_the_end_and_idle_connections_closed(rig, application):
    with rig.connect_tls() as working, rig.connect_tls() as idle, rig.connect_tls() as writing, rig.connect() as silent:
        working.sendall(GET % b"/wait")
        writing.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        assert application.is_waiting.wait(5)
        rig.listener.stop()
        assert read_to_end(idle) == read_to_end(silent) == b""
        with pytest.raises(ConnectionRefusedError):
            rig.connect()
        writing.sendall(b"cd")
        assert read_answer(writing) == (200, b"4")
        application.go_on.set()
        assert len(read_answer(working)[1]) == 5 * MEGABYTE
        rig.thread.join(5)


def test_the_end_does_not_wait_for_ever(tmp_path, application):
    rig = TlsRig(tmp_path / "tls", application, grace=0.1)
    with rig.connect_tls() as working, rig.connect_tls() as writing:
        working.sendall(GET % b"/wait")
        writing.sendall(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nab")
        assert application.is_waiting.wait(5)
        rig.listener.stop()
        rig.thread.join(5)
        assert not rig.thread.is_alive()
    application.go_on.set()
