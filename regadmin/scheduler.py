"""What happens by itself: a timer, workers that are woken, and what wakes those of another process."""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import schedule

log = logging.getLogger(__name__)

_FIRST_RETRY, _LAST_RETRY = 0.05, 3.0
"""Seconds until work that could not be done is tried again, doubled each time."""


class Timer(threading.Thread):
    """Runs jobs at intervals, in a thread of its own. A job that fails is logged and runs again.

    `tick` is the time between two looks at the clock, in seconds.
    """

    def __init__(self, tick: float = 1.0) -> None:
        super().__init__(name="timer", daemon=True)
        self._tick = tick
        self._schedule = schedule.Scheduler()
        self._stopped = threading.Event()

    def every(self, minutes: float, job: Callable[[], object]) -> None:
        self._schedule.every(minutes).minutes.do(_guarded(job))

    def run(self) -> None:
        while not self._stopped.wait(self._tick):
            self._schedule.run_pending()

    def stop(self) -> None:
        self._stopped.set()


class Worker(threading.Thread):
    """Calls `work` when woken, once at the start, and again after a while as long as it returns False.

    While it has to be tried again, what arrives does not hasten that.
    """

    def __init__(self, name: str, work: Callable[[], bool]):
        super().__init__(name=name, daemon=True)
        self._work = _guarded(work)
        self._woken = threading.Event()
        self._stopped = threading.Event()

    def wake(self) -> None:
        self._woken.set()

    def run(self) -> None:
        pause = _FIRST_RETRY
        while not self._stopped.is_set():
            if self._work():
                pause = _FIRST_RETRY
                self._woken.wait()
            else:
                self._stopped.wait(pause)
                pause = min(2 * pause, _LAST_RETRY)
            self._woken.clear()

    def stop(self) -> None:
        self._stopped.set()
        self._woken.set()


class Bell:
    """Rung in any process that was forked after it was made, heard in one."""

    def __init__(self) -> None:
        self._ear, self._rope = socket.socketpair()
        self._rope.setblocking(False)
        self._is_stopped = False

    def ring(self) -> None:
        # When it is full, it has been rung often enough.
        with suppress(BlockingIOError):
            self._rope.send(b"!")

    def answer(self, call: Callable[[], object]) -> None:
        """Call this, in a thread, whenever it has been rung."""
        threading.Thread(target=self._listen, args=(_guarded(call),), name="bell", daemon=True).start()

    def _listen(self, call: Callable[[], object]) -> None:
        while self._ear.recv(4096) and not self._is_stopped:
            call()

    def stop(self) -> None:
        """Listen no more. Another process may."""
        self._is_stopped = True
        self.ring()


class Baton:
    """A number and an open file, given by any process that was forked after it was made, taken by one.

    What was given waits for whoever takes it next.
    """

    def __init__(self) -> None:
        self._taker, self._giver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def give(self, number: int, file: int) -> None:
        socket.send_fds(self._giver, [number.to_bytes(8, "big")], [file])

    def take(self, call: Callable[[int, int], object]) -> None:
        """Call this, in a thread, with each number and its file, which the called one owns; one after the other."""
        threading.Thread(target=self._take, args=(call,), name="baton", daemon=True).start()

    def _take(self, call: Callable[[int, int], object]) -> None:
        while True:
            number, files, *_ = socket.recv_fds(self._taker, 8, 1, socket.MSG_CMSG_CLOEXEC)
            if files:
                _guarded(partial(call, int.from_bytes(number, "big"), *files))()
            else:
                log.error("what another process handed over is lost: too many files are open")


def _guarded(job: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        try:
            return job()
        except Exception:
            log.exception("%s failed", getattr(job, "__qualname__", job))
            return False

    return run
