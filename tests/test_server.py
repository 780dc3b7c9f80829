"""The server as a process: HTTPS with the owner's files or from an authority, the redirect, and the end."""

import signal
import socket
import ssl
import subprocess
import sys
import time

import pytest
import requests

from regadmin.app import App
from tests.rigs.pebble import Pebble
from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, HttpsServer, RunningServer, wait_until
from tests.rigs.tls import HOST, write_certificate
from tests.rigs.tools import find_tool


@pytest.fixture
def static(tmp_path):
    certificate, key = write_certificate(tmp_path / "tls")
    server = HttpsServer(tmp_path, type="static", cert=str(certificate), key=str(key), hsts="1d")
    yield server.start()
    server.stop()


def open_request(server: RunningServer, certificate=None) -> tuple[socket.socket, bytes]:
    """A connection on which half of a sign-in was read, as `100 Continue` proves, and the other half."""
    port = getattr(server, "port_of_https", server.port)
    connection = socket.create_connection((HOST, port), timeout=15)
    if certificate:
        context = ssl.create_default_context(cafile=certificate)
        connection = context.wrap_socket(connection, server_hostname="localhost")
    body = f"user={ADMIN[0]}&passwd={ADMIN[1].replace(' ', '+')}"
    head = f"POST /auth/local/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nExpect: 100-continue\r\n"
    connection.sendall(f"{head}\r\n{body[:5]}".encode())
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection, body[5:].encode()


def test_https_with_the_owners_files(static, tmp_path):
    curl = [find_tool("curl", "curl"), "-sSi", "--noproxy", "*", "--cacert", tmp_path / "tls" / "server.crt", "-L"]
    sent = [*curl, "-u", ":".join(ADMIN), f"http://localhost:{static.http_port}/api/v1/users?range=[0,1]", "-g"]
    # The redirect leads to the name that we are configured to have, and to the port of HTTPS.
    answer = subprocess.run([*sent, "--location-trusted"], capture_output=True, text=True, timeout=20).stdout
    assert f"Location: {static.url}/api/v1/users?range=[0,1]\n" in answer.replace("\r", "")
    assert "Strict-Transport-Security: max-age=86400" in answer
    assert '"login": "admin"' in answer
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(static.url, timeout=5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_https_answers_what_is_open(static, tmp_path, number):
    assert_ends_well(static, tmp_path / "tls" / "server.crt", number)


def test_the_end_of_http_answers_what_is_open(tmp_path):
    server = RunningServer(tmp_path, free_port()).start()
    try:
        assert_ends_well(server, None, signal.SIGTERM)
    finally:
        server.stop()


def assert_ends_well(server: RunningServer, certificate, number: int) -> None:
    began = time.monotonic()
    connection, rest = open_request(server, certificate)
    with connection:
        server._process.send_signal(number)
        wait_until(lambda: is_closed(server))
        connection.sendall(rest)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        assert server._process.wait(10) == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in server.log.read_text()


def is_closed(server: RunningServer) -> bool:
    try:
        socket.create_connection((HOST, getattr(server, "port_of_https", server.port)), timeout=5).close()
    except ConnectionError:  # Refused, or reset: then the socket was closed while we waited to be accepted.
        return True
    return False


def test_https_with_a_certificate_from_an_authority(tmp_path):
    pebble = Pebble(tmp_path / "pebble").start()
    server = HttpsServer(
        tmp_path,
        type="auto",
        http_port=pebble.http_port,
        fqdn=["localhost"],
        acme_directory=pebble.url,
        acme_location=str(tmp_path / "acme"),
        acme_email="admin@example.com",
    )
    server.environment = {"REQUESTS_CA_BUNDLE": str(pebble.authority)}
    try:
        server.start()
        root = tmp_path / "root.pem"
        root.write_text(pebble.root)
        wait_until(lambda: is_trusted(server, root), 15, lambda: server.log.read_text())
        assert "new certificate for localhost" in server.log.read_text()
    finally:
        server.stop()
        pebble.stop()


def is_trusted(server: HttpsServer, root) -> bool:
    try:
        return requests.get(f"{server.url}/ping", verify=str(root), timeout=5).text == "pong"
    except requests.exceptions.SSLError:
        return False


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "descriptors"),
    [(64, 1000, 800, 1000), (1024, 4096, 2000, 2200), (3000, 4096, 2000, 3000), (250, 250, 200, 250)],
)
def test_there_are_as_many_connections_as_the_system_allows(soft, hard, connections, descriptors):
    # In a process of its own: what is lowered cannot be raised again.
    script = f"""
import resource
from regadmin.server import raise_limit_of_connections
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_limit_of_connections(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert ended.stdout == f"{connections} {descriptors}\n", ended.stderr


def test_a_renewed_file_is_taken_up_by_background_work(settings, clock, tmp_path):
    certificate, key = write_certificate(tmp_path / "tls", days=30)
    app = App(settings(ssl__type="static", ssl__cert=certificate, ssl__key=key), clock)
    app.prepare()
    ends = app.certificate.ends
    write_certificate(tmp_path / "tls", days=60)
    app.begin()
    try:
        wait_until(lambda: app.certificate.ends > ends)
    finally:
        app.end()


def test_the_redirect_knows_our_names(settings, clock):
    def leads_to(**changes) -> str:
        headers = []
        environ = {"PATH_INFO": "/x", "REQUEST_URI": "/x", "REQUEST_METHOD": "GET", "HTTP_HOST": "evil.example"}
        App(settings(**changes), clock).redirect(environ, lambda status, given: headers.extend(given))
        return dict(headers)["Location"]

    assert leads_to(hostname="admin.example.com") == "https://admin.example.com/x"
    assert leads_to(hostname="http://admin.example.com", ssl__port=8443) == "https://admin.example.com:8443/x"
    assert leads_to(hostname="admin.example.com:444", ssl__port=8443) == "https://admin.example.com:444/x"
    assert leads_to(ssl__fqdn="a.example,b.example") == "https://a.example/x"
