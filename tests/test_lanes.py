"""Who waits for whom: what is known for nobody, what is usual not for passwords."""

import socket
import threading
from contextlib import ExitStack

import pytest

from regadmin.lanes import KNOWN, THREADS
from tests.rigs.server import wait_until
from tests.rigs.tls import HOST, TlsRig


class Sorter:
    def __init__(self):
        self.begun = 0

    def begin(self):
        self.begun += 1

    def recall(self, request):
        return "what is known" if request.path == "/known" else None

    def is_costly(self, request):
        return request.path == "/costly"


class Application:
    """`/costly` and `/usual` wait until they may end; `/known` and all else is answered at once."""

    def __init__(self):
        self.may_end = {"/costly": threading.Event(), "/usual": threading.Event()}
        self.waiting: list[str] = []
        self.seen: list[dict] = []

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        self.seen.append(environ)
        if path in self.may_end:
            self.waiting.append(path)
            assert self.may_end[path].wait(20)
        start_response("200 OK", [("Content-Length", str(len(path))), ("Content-Type", "text/plain")])
        return [path.encode()]


@pytest.fixture
def application():
    application = Application()
    yield application
    for each in application.may_end.values():
        each.set()


@pytest.fixture
def sorter():
    return Sorter()


@pytest.fixture
def rig(tmp_path, application, sorter):
    rig = TlsRig(tmp_path, application, sort=sorter)
    yield rig
    for each in application.may_end.values():
        each.set()
    rig.stop()


def connect(rig: TlsRig) -> socket.socket:
    return socket.create_connection((HOST, rig.plain_port), timeout=10)


def send(connection: socket.socket, *paths: str, version: str = "1.1", header: str = "Host: x") -> None:
    connection.sendall("".join(f"GET {path} HTTP/{version}\r\n{header}\r\n\r\n" for path in paths).encode())


def bodies(connection: socket.socket, count: int) -> list[str]:
    """Of so many answers, in the order in which they came."""
    found = []
    with connection.makefile("rb") as file:
        while len(found) < count:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                assert line, "the connection was closed"
                head += line
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            found.append(file.read(length).decode())
    return found


def get(rig: TlsRig, path: str) -> str:
    with connect(rig) as connection:
        send(connection, path)
        return bodies(connection, 1)[0]


def test_nothing_waits_for_passwords_and_the_known_for_nobody(rig, application):
    with ExitStack() as stack:
        for path in ("/costly", "/usual"):
            for _ in range(2 * THREADS):
                send(stack.enter_context(connect(rig)), path)
            wait_until(lambda path=path: application.waiting.count(path) == THREADS)
            assert get(rig, "/known") == "/known"
            if path == "/costly":
                assert get(rig, "/other") == "/other"
    assert get(rig, "/known") == "/known"


def test_answers_come_in_the_order_of_the_requests_whichever_way_they_go(rig, application):
    application.may_end["/costly"].set()
    paths = ["/known", "/costly", "/known", "/known", "/other", "/known"] * 20
    with connect(rig) as connection:
        send(connection, *paths)
        assert bodies(connection, len(paths)) == paths


def test_the_known_is_answered_over_tls_too(rig):
    with rig.connect_tls() as connection:
        for _ in range(3):
            send(connection, "/known", "/other")
            assert bodies(connection, 2) == ["/known", "/other"]


def test_the_application_finds_what_was_recalled_and_who_asks(rig, application):
    with connect(rig) as connection:
        send(connection, "/known?a=b", header="Host: x\r\nUser-Agent: curl/8\r\nAuthorization: Basic eDp5")
        bodies(connection, 1)
    (environ,) = application.seen
    assert environ[KNOWN] == "what is known"
    assert (environ["REQUEST_METHOD"], environ["QUERY_STRING"], environ["REMOTE_ADDR"]) == ("GET", "a=b", HOST)
    assert (environ["HTTP_USER_AGENT"], environ["HTTP_AUTHORIZATION"]) == ("curl/8", "Basic eDp5")
    assert (environ["REQUEST_URI"], environ["SERVER_PROTOCOL"]) == ("/known?a=b", "HTTP/1.1")
    assert environ["wsgi.url_scheme"] == "http"


@pytest.mark.parametrize(("version", "header"), [("1.0", "Host: x"), ("1.1", "Host: x\r\nConnection: close")])
def test_who_wants_one_answer_gets_one_and_the_end(rig, version, header):
    with connect(rig) as connection:
        send(connection, "/known", version=version, header=header)
        received = b""
        while data := connection.recv(4096):
            received += data
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/{version} 200 OK\r\nDate: ".encode())
    assert b"\r\nConnection: close" in head
    assert body == b"/known"


def test_each_turn_of_the_loop_begins_anew(rig, sorter):
    begun = sorter.begun
    get(rig, "/known")
    assert sorter.begun > begun


def test_a_fault_in_the_answer_to_what_is_known_is_answered_with_500(rig, application, caplog):
    application.may_end["/known"] = None
    with connect(rig) as connection:
        send(connection, "/known")
        assert connection.recv(100).startswith(b"HTTP/1.1 500 ")
    del application.may_end["/known"]
    assert get(rig, "/known") == "/known"
