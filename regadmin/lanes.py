"""Where a request waits in Waitress: nowhere, in the usual lane, or where passwords are computed.

A build farm asks for known tokens by the thousand. Handing each to a thread costs more than the answer, so the event
loop gives it itself. And a flood of passwords that must be computed has threads of its own, so that it holds up
nothing else. It leans on Waitress 3's inner attributes; setup.cfg keeps version 4 away (docs/decisions/0012).
"""

import threading
from collections import deque
from functools import lru_cache
from typing import Protocol

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.task import Task, ThreadedTaskDispatcher, WSGITask
from waitress.utilities import build_http_date

from regadmin.parsing import Parser

THREADS = 8
"""Of each of the two lanes."""

KNOWN = "regadmin.known"
"""In the WSGI environment: what `Sorter.recall` gave."""


class Sorter(Protocol):
    """Tells from a request's head how long the answer will take. The event loop calls, so it must never wait."""

    def begin(self) -> None:
        """The requests that are sorted next have all arrived by now."""

    def recall(self, request: HTTPRequestParser) -> object | None:
        """What the application needs to answer at once, without any waiting; None if it cannot."""

    def is_costly(self, request: HTTPRequestParser) -> bool:
        """Whether a password must probably be computed."""


class Unsorted:
    """For applications all of whose requests are usual ones."""

    def begin(self) -> None: ...

    def recall(self, request: HTTPRequestParser) -> None: ...

    def is_costly(self, request: HTTPRequestParser) -> bool:
        return False


class Lanes:
    """Waitress' dispatcher of tasks."""

    def __init__(self, sort: Sorter):
        self._sort = sort
        self._usual, self._costly = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._usual.set_thread_count(THREADS)
        self._costly.set_thread_count(THREADS)
        self._arrived: deque[HTTPChannel] = deque()
        self.thread_of_loop = threading.get_ident()

    def add_task(self, channel: HTTPChannel) -> None:
        """Called with the channel's lock held, so nothing can be answered here."""
        self._arrived.append(channel)
        channel.server.pull_trigger()

    def take_in(self) -> None:
        """Answer or hand on what arrived; to be called by the event loop after each of its turns."""
        self.thread_of_loop = threading.get_ident()
        if self._arrived:
            self._sort.begin()
        while self._arrived:
            channel = self._arrived.popleft()
            request = channel.requests[0]
            request.known = None if request.error else self._sort.recall(request)
            if request.known is not None:
                channel.service()
            elif not request.error and self._sort.is_costly(request):
                self._costly.add_task(channel)
            else:
                self._usual.add_task(channel)

    def count_waiting(self) -> int:
        """Requests for which there is no thread."""
        return sum(max(0, len(lane.queue) - THREADS + lane.active_count) for lane in (self._usual, self._costly))

    def shutdown(self, timeout: float) -> None:
        """End the threads, and wait for them that many seconds."""
        self._usual.shutdown(timeout=timeout)
        self._costly.shutdown(timeout=timeout)


class KnownTask(Task):
    """Gives the application no more than it needs for what was recalled, and sends the answer in one piece.

    Waitress' own task takes longer than such an answer.
    """

    def execute(self) -> None:
        request = self.request
        environ = {f"HTTP_{name}": value for name, value in request.headers.items()} | {
            KNOWN: request.known,
            "REQUEST_METHOD": request.command,
            "REQUEST_URI": request.request_uri,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "SERVER_PROTOCOL": f"HTTP/{self.version}",
            "REMOTE_ADDR": self.channel.addr[0],
            "wsgi.url_scheme": request.url_scheme,
        }
        body = self.channel.server.application(environ, self._begin)
        self.channel.write_soon(b"".join([self._head(), *body]))
        self.wrote_header = True

    def finish(self) -> None:
        """All is written."""

    def _begin(self, status: str, headers: list[tuple[str, str]], exc_info=None) -> None:
        self.status, self.response_headers = status, headers

    def _head(self) -> bytes:
        lines = [f"HTTP/{self.version} {self.status}", f"Date: {_date(int(self.start_time))}"]
        lines += [f"{name}: {value}" for name, value in self.response_headers]
        if self.version != "1.1" or self.request.headers.get("CONNECTION", "").lower() == "close":
            self.close_on_finish = True
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class LaneChannel(HTTPChannel):
    parser_class = Parser

    def task_class(self, channel: HTTPChannel, request: HTTPRequestParser) -> Task:
        return WSGITask(self, request) if request.known is None else KnownTask(self, request)


class LaneServer(TcpWSGIServer):
    """A listening socket whose dispatcher is `Lanes`."""

    channel_class = LaneChannel

    def pull_trigger(self) -> None:
        """Wake the event loop, unless it calls: then it looks at all channels before it sleeps again."""
        if threading.get_ident() != self.task_dispatcher.thread_of_loop:
            super().pull_trigger()


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return build_http_date(second)
