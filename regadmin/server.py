"""The server as processes: one, or workers that share its ports, ended by SIGTERM or Ctrl-C with exit status 0."""

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from regadmin import readiness
from regadmin.app import App
from regadmin.listener import Listener, bind, raise_limit_of_connections
from regadmin.options import Settings
from regadmin.passwords import usable_cores
from regadmin.supervisor import Supervisor, Task
from regadmin.web.inputs import MAX_ENVELOPE

LEAVE_SECONDS = 0.2
"""For threads that have nothing more to do."""

BODY = MAX_ENVELOPE + 1
"""Bytes of a body that is too long to be read at all: Waitress would keep up to 1 GiB of it for anybody."""

REDIRECT_BODY = 65536
"""The most bytes of a body that is sent to the port that only redirects."""

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises Misconfigured if it cannot start."""
    # Waitress warns of every request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    app = App(settings)
    app.prepare()
    ports = _Ports(settings, app.workers)
    if len(ports) == 1:
        _serve_alone(app, ports)
    else:
        _serve_with_workers(app, ports)
    log.info("stopped")


class _Ports:
    """What every process listens on: the sockets of HTTP, or of HTTPS and of its redirect."""

    def __init__(self, settings: Settings, count: int):
        address = settings["listen"]
        self._is_secure = settings["ssl.type"] != "none"
        main, plain = settings["ssl.port" if self._is_secure else "port"], settings["ssl.http-port"]
        self._main = bind(address, main, count)
        self._plain = bind(address, plain, count) if self._is_secure else [[] for _ in range(count)]
        redirecting = f", redirecting from {plain}" if self._is_secure else ""
        log.info("listening on %s:%s%s, with %s processes", address, main, redirecting, count)

    def __len__(self) -> int:
        return len(self._main)

    def listen(self) -> None:
        """Let connections wait from now on, also for a process that is yet to come."""
        for each in self._all():
            each.listen(socket.SOMAXCONN)

    def close(self) -> None:
        for each in self._all():
            each.close()

    def listener(self, app: App, index: int) -> Listener:
        """For the process of that number, which leaves the sockets of the others alone."""
        listener = Listener(app.reception, app.metrics.note_load, connections=raise_limit_of_connections())
        if self._is_secure:
            listener.listen_tls(app.wsgi, self._main[index], app.certificate, max_request_body_size=BODY)
            listener.listen(app.redirect, self._plain[index], max_request_body_size=REDIRECT_BODY)
        else:
            listener.listen(app.wsgi, self._main[index], max_request_body_size=BODY)
        return listener

    def _all(self) -> list[socket.socket]:
        return [each for sockets in (*self._main, *self._plain) for each in sockets]


def _serve_alone(app: App, ports: _Ports) -> None:
    listener = ports.listener(app, 0)

    def stop() -> None:
        readiness.notify("STOPPING=1")
        listener.stop()

    _hear(stop)
    app.begin()
    app.begin_background_work()
    readiness.notify("READY=1")
    listener.run()
    app.end()
    _leave()


def _serve_with_workers(app: App, ports: _Ports) -> None:
    cores = sorted(usable_cores())
    tasks = [
        Task(f"worker {number}", lambda number=number: _answer(app, ports, number, cores[number % len(cores)]))
        for number in range(len(ports))
    ]
    tasks.append(Task("background", lambda: _work_in_background(app, ports)))
    # A connection does not survive a fork.
    app.store.close()
    ports.listen()
    # What is there now is never looked at again by the collector, whose marks would cost each process its own copy.
    gc.freeze()
    supervisor = Supervisor(tasks)
    supervisor.run(lambda: readiness.notify("READY=1"), lambda: readiness.notify("STOPPING=1"))
    ports.close()


def _answer(app: App, ports: _Ports, index: int, core: int) -> None:
    """What a worker does. It keeps to one core: threads that hand Python's lock from core to core are slow."""
    with suppress(AttributeError, OSError):
        os.sched_setaffinity(0, {core})
    app.counters.use_row(index)
    listener = ports.listener(app, index)
    _hear(listener.stop)
    app.begin()
    listener.run()
    app.end()


def _work_in_background(app: App, ports: _Ports) -> None:
    ports.close()
    app.counters.use_row(len(ports))
    ended = threading.Event()
    _hear(ended.set)
    app.begin()
    app.begin_background_work()
    ended.wait()
    app.end()


def _hear(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    # The access log follows its name: nothing is to be opened anew.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _leave() -> None:
    """End the process at once if threads still wait for a registry that hangs; else it ends by itself."""
    for thread in threading.enumerate():
        # Daemons too: what they left to a pool is waited for at the interpreter's end.
        if thread is not threading.main_thread():
            thread.join(LEAVE_SECONDS)
            if thread.is_alive():
                logging.shutdown()
                os._exit(0)
