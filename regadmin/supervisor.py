"""One parent, and the processes that it forks: restarted when they die, ended together."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

log = logging.getLogger(__name__)

GRACE_SECONDS = 9
"""For all processes to end; those that did not are killed."""

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
"""Seconds until a process is restarted that died soon after its start, doubled each time."""

SOON = 10
"""Seconds after which a process counts as well started."""

_ENDING = (signal.SIGTERM, signal.SIGINT)
_HEARD = {*_ENDING, signal.SIGHUP, signal.SIGCHLD}


class Task:
    """A process to be: `work` runs in it until `end_all` tells it to end."""

    def __init__(self, name: str, work: Callable[[], None]):
        self.name = name
        self.work = work
        self.pid = 0
        self.started_at = self.due_at = 0.0
        self.pause = 0.0


class Supervisor:
    """Keeps one process for each task. The parent must have no threads and no open store when `run` is called."""

    def __init__(self, tasks: Sequence[Task]):
        self._tasks = tasks
        # Its writing end is the parent's alone: when the parent dies, whoever reads comes to the end.
        self._lifeline, self._life = os.pipe()

    def run(self, on_started: Callable[[], None], on_ending: Callable[[], None]) -> None:
        """Fork, and watch until a signal ends it all."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        for task in self._tasks:
            self._fork(task, before)
        on_started()
        while self._wait(self._next_due()) not in _ENDING:
            self._reap(is_ending=False)
            for task in self._tasks:
                if not task.pid and task.due_at <= time.monotonic():
                    self._fork(task, before)
        on_ending()
        self._end()

    def _fork(self, task: Task, mask: set[int]) -> None:
        task.started_at = time.monotonic()
        task.pid = os.fork()
        if not task.pid:
            self._be(task, mask)

    def _be(self, task: Task, mask: set[int]) -> None:
        """What the new process does, to its end."""
        status = 1
        try:
            os.close(self._life)
            threading.Thread(target=self._end_with_parent, name="lifeline", daemon=True).start()
            for number in _HEARD:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            task.work()
            status = 0
        except BaseException:
            log.exception("%s broke off", task.name)
        finally:
            logging.shutdown()
            # Not sys.exit: what the parent has opened is the parent's to clean up.
            os._exit(status)

    def _end_with_parent(self) -> None:
        os.read(self._lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _wait(self, seconds: float | None) -> int | None:
        if seconds is None:
            return signal.sigwaitinfo(_HEARD).si_signo
        heard = signal.sigtimedwait(_HEARD, seconds)
        return heard.si_signo if heard else None

    def _next_due(self) -> float | None:
        due = [task.due_at for task in self._tasks if not task.pid]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _reap(self, is_ending: bool) -> None:
        for pid, status in _ended():
            # All others are orphans, which process 1 of a container inherits.
            for task in (task for task in self._tasks if task.pid == pid):
                task.pid = 0
                if not is_ending:
                    _plan_another(task, status)

    def _send(self, number: int) -> None:
        for task in self._tasks:
            if task.pid:
                os.kill(task.pid, number)

    def _end(self) -> None:
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(task.pid for task in self._tasks):
            left = deadline - time.monotonic()
            if left <= 0:
                self._send(signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, max(left, 0.1))
            self._reap(is_ending=True)


def _ended() -> Iterator[tuple[int, int]]:
    """The processes that have ended, with their statuses."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _plan_another(task: Task, status: int) -> None:
    lived = time.monotonic() - task.started_at
    task.pause = 0.0 if lived > SOON else min(max(2 * task.pause, FIRST_PAUSE), LAST_PAUSE)
    task.due_at = time.monotonic() + task.pause
    log.warning("%s %s; starting another", task.name, _cause(status))


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was ended by signal {os.WTERMSIG(status)}"
    return f"ended with exit status {os.waitstatus_to_exitcode(status)}"
