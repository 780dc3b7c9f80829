"""The listeners: Waitress in one process, ended by SIGTERM or Ctrl-C with exit status 0."""

import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from regadmin import readiness
from regadmin.app import App
from regadmin.certificates.served import ServedCertificate
from regadmin.errors import Misconfigured
from regadmin.options import Settings
from regadmin.tls import TlsServer

THREADS = 8
CONNECTIONS = 2000
OWN_FILES = 200
"""File descriptors for everything but connections: the store, bodies that are spilled to disk, the registry."""

GRACE_SECONDS = 8
"""For the requests that are open when the server is told to end."""

LEAVE_SECONDS = 1
"""For requests to the registry, once all answers are given."""

REDIRECT_BODY = 65536
"""The most bytes of a body that is sent to the port that only redirects."""

_LAST_TURNS = 4
"""In which a request that was sent before the end is read: the rest of a handshake, the request, and some to spare."""

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises Misconfigured if it cannot start."""
    # Waitress warns of every request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    app = App(settings)
    listener = Listener(connections=raise_limit_of_connections())
    _open(listener, app, settings)

    def stop(*_) -> None:
        readiness.notify("STOPPING=1")
        listener.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda *_: app.reopen_logs())
    app.start_background_work()
    readiness.notify("READY=1")
    listener.run()
    app.stop_background_work()
    log.info("stopped")
    _leave()


def _leave() -> None:
    """End the process at once if threads still wait for a registry that hangs; else it ends by itself."""
    deadline = time.monotonic() + LEAVE_SECONDS
    for thread in threading.enumerate():
        # Daemons too: what they left to a pool is waited for at the interpreter's end.
        if thread is not threading.main_thread():
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                logging.shutdown()
                os._exit(0)


def _open(listener: "Listener", app: App, settings: Settings) -> None:
    address = settings["listen"]
    if settings["ssl.type"] == "none":
        listener.listen(app.wsgi, bind(address, settings["port"]))
        log.info("listening on %s:%s", address, settings["port"])
        return
    app.prepare_certificate()
    listener.listen_tls(app.wsgi, bind(address, settings["ssl.port"]), app.certificate)
    plain = bind(address, settings["ssl.http-port"])
    listener.listen(app.redirect, plain, max_request_body_size=REDIRECT_BODY)
    log.info("listening on %s:%s, redirecting from %s", address, settings["ssl.port"], settings["ssl.http-port"])


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


def bind(address: str, port: int) -> list[socket.socket]:
    """Sockets on this port of an address or host name, `*` for all of the machine. Raises Misconfigured."""
    sockets = []
    try:
        for family, kind, protocol, name in Adjustments(host=address, port=port).listen:
            sockets.append(socket.socket(family, kind, protocol))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind(name)
    except (OSError, ValueError) as error:
        for opened in sockets:
            opened.close()
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(f"cannot listen on {address}:{port}: {reason}") from None
    return sockets


class Listener:
    """All listening sockets of the process: one event loop and one pool of threads for plain HTTP and TLS.

    `grace` is the time that open requests have to end after `stop`, in seconds. More than `connections` wait.
    """

    def __init__(self, grace: float = GRACE_SECONDS, connections: int = CONNECTIONS):
        self._grace = grace
        self._connections = connections
        self._map: dict[int, object] = {}
        self._servers: list[TcpWSGIServer] = []
        self._is_ending = False
        self._threads = ThreadedTaskDispatcher()
        self._threads.set_thread_count(THREADS)

    def listen(self, application: Callable, sockets: list[socket.socket], **adjustments) -> None:
        """Answer plain HTTP on these sockets."""
        self._add(TcpWSGIServer, application, sockets, adjustments)

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
            # Not the whole server: open requests still pull its trigger.
            wasyncore.dispatcher.close(server)
        deadline = time.monotonic() + self._grace
        for _ in range(_LAST_TURNS):
            self._turn(seconds=0.05)
        while self._close_idle() and time.monotonic() < deadline:
            self._turn(seconds=0.05)
        self._turn(seconds=0)
        self._threads.shutdown(timeout=0.5)
        wasyncore.close_all(self._map)

    def stop(self) -> None:
        """End `run`. May be called by a signal handler or another thread."""
        if not self._is_ending:
            self._is_ending = True
            # The loop may have seen it, and closed everything, before it is woken.
            with suppress(OSError):
                self._servers[0].pull_trigger()

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
                    dispatcher=self._threads,
                    adj=options,
                    bind_socket=False,
                    sockinfo=sockinfo,
                )
            )

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)

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
