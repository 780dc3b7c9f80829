"""The listening sockets of a process, served by Waitress with an event loop of our own."""

import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from regadmin.certificates.served import ServedCertificate
from regadmin.errors import Misconfigured
from regadmin.lanes import THREADS, Lanes, LaneServer, Sorter, Unsorted
from regadmin.tls import TlsServer

CONNECTIONS = 2000
OWN_FILES = 200
"""File descriptors for everything but connections: the store, bodies that are spilled to disk, the registry."""

GRACE_SECONDS = 8
"""For the requests that are open when the server is told to end."""

REDIRECT_BODY = 65536
"""The most bytes of a body that is sent to the port that only redirects."""

LOAD_SECONDS = 0.1
"""Between two reports of the load."""

_UNSORTED = Unsorted()

_LAST_TURNS = 4
"""In which a request that was sent before the end is read: the rest of a handshake, the request, and some to spare."""


def raise_limit_of_connections() -> int:
    """How many connections this process may hold, after asking the system for `CONNECTIONS`.

    Beyond the limit of descriptors Waitress would try to accept again and again, at full speed.
    """
    wanted = CONNECTIONS + OWN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed - OWN_FILES, OWN_FILES)


def bind(address: str, port: int, processes: int = 1) -> list[list[socket.socket]]:
    """Sockets on this port of an address or host name, `*` for all of the machine, for each process that will listen.

    With more than one the system shares out the connections (SO_REUSEPORT, socket(7)): one socket for all would
    leave most of them to one process. Raises Misconfigured.
    """
    opened: list[socket.socket] = []
    try:
        names = Adjustments(host=address, port=port).listen
        if processes == 1:
            return [[_bound(*name, opened=opened) for name in names]]
        # Else another server of this user could take a share of our connections, and we of its.
        for name in names:
            _bound(*name, opened=[]).close()
        return [[_bound(*name, opened=opened, is_shared=True) for name in names] for _ in range(processes)]
    except (OSError, ValueError) as error:
        for each in opened:
            each.close()
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(f"cannot listen on {address}:{port}: {reason}") from None


def _bound(family, kind, protocol, name, opened: list, is_shared: bool = False) -> socket.socket:
    found = socket.socket(family, kind, protocol)
    opened.append(found)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    found.bind(name)
    return found


class Listener:
    """All listening sockets of the process: one event loop for plain HTTP and TLS.

    `sort` says which requests are answered at once and which have to wait. `on_load` is told now and then how many wait
    for a thread, and how many connections there are. `grace` is the time that open requests
    have to end after `stop`, in seconds. More than `connections` wait.
    """

    def __init__(
        self,
        sort: Sorter = _UNSORTED,
        on_load: Callable[[int, int], None] = lambda waiting, connections: None,
        grace: float = GRACE_SECONDS,
        connections: int = CONNECTIONS,
    ):
        self._on_load = on_load
        self._told_at = 0.0
        self._grace = grace
        self._connections = connections
        self._map: dict[int, object] = {}
        self._servers: list[TcpWSGIServer] = []
        self._is_ending = False
        self._lanes = Lanes(sort)

    def listen(self, application: Callable, sockets: list[socket.socket], **adjustments) -> None:
        """Answer plain HTTP on these sockets."""
        self._add(LaneServer, application, sockets, adjustments)

    def listen_tls(
        self, application: Callable, sockets: list[socket.socket], certificate: ServedCertificate, **adjustments
    ) -> None:
        """Answer HTTPS on these sockets with whatever certificate is loaded."""
        kind = partial(TlsServer, certificate)
        # Handshakes have a limit of seconds, so there is a look at the channels each second.
        self._add(kind, application, sockets, {"url_scheme": "https", "cleanup_interval": 1, **adjustments})

    def run(self) -> None:
        """Serve until `stop`; then answer the requests that are open."""
        while not self._is_ending:
            self._turn(seconds=1)
        for server in self._servers:
            # Other processes may hold it too, and clients would wait for them.
            with suppress(OSError):
                server.socket.shutdown(socket.SHUT_RDWR)
            # Not the whole server: open requests still pull its trigger.
            wasyncore.dispatcher.close(server)
        deadline = time.monotonic() + self._grace
        for _ in range(_LAST_TURNS):
            self._turn(seconds=0.05)
        while self._close_idle() and time.monotonic() < deadline:
            self._turn(seconds=0.05)
        self._turn(seconds=0)
        self._lanes.shutdown(timeout=0.5)
        wasyncore.close_all(self._map)

    def stop(self) -> None:
        """End `run`. May be called by a signal handler or another thread."""
        if not self._is_ending:
            self._is_ending = True
            # The loop may have seen it, and closed everything, before it is woken.
            with suppress(OSError):
                self._servers[0].trigger.pull_trigger()

    def _add(self, kind: Callable, application: Callable, sockets: list[socket.socket], adjustments: dict) -> None:
        options = Adjustments(
            threads=THREADS,
            connection_limit=self._connections,
            ident=None,
            clear_untrusted_proxy_headers=False,
            log_socket_errors=False,
            **adjustments,
        )
        for each in sockets:
            sockinfo = (each.family, each.type, each.proto, each.getsockname())
            self._servers.append(
                kind(
                    application,
                    self._map,
                    _sock=each,
                    dispatcher=self._lanes,
                    adj=options,
                    bind_socket=False,
                    sockinfo=sockinfo,
                )
            )

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        self._lanes.take_in()
        now = time.monotonic()
        if now - self._told_at >= LOAD_SECONDS:
            self._told_at = now
            self._on_load(self._lanes.count_waiting(), sum(len(server.active_channels) for server in self._servers))

    def _close_idle(self) -> bool:
        """Close the connections on which no request is open, and say whether any is left."""
        is_busy = False
        for channel in self._channels():
            if channel.requests or channel.request or channel.total_outbufs_len:
                is_busy = True
            else:
                channel.will_close = True
        return is_busy

    def _channels(self) -> Iterator[HTTPChannel]:
        return (each for each in list(self._map.values()) if isinstance(each, HTTPChannel))
