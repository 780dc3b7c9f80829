"""A program that knows people, as with `ext_auth` of cesanta/docker_auth.

It gets login and password on its standard input, with a space between them and nothing behind. Its exit status says 0:
they are right, 1: they are wrong, 2: it does not know the login; everything else says nothing. With 0 it may print
`{"labels": {"groups": ["team"]}}`.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from select import POLLIN, poll

from regadmin.errors import SourceUnavailable, Unauthenticated
from regadmin.identity.source import TIMEOUT, Person, Source, unavailable
from regadmin.messages import Message

MOST_BYTES = 64 << 10
GROUPS = ("group", "groups")
"""The labels whose values are names of groups."""

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""All that it gets of it: our own may hold passwords."""

_RIGHT, _WRONG, _UNKNOWN = 0, 1, 2
_PAUSE = 0.005


class Program(Source):
    """`command` is the absolute path of the program, and its arguments. No shell reads them."""

    name = Message("Identity program")

    def __init__(self, command: Sequence[str], timeout: float = TIMEOUT):
        self.place = command[0]
        self._command = list(command)
        self._timeout = timeout

    def authenticate(self, login: str, password: str) -> Person | None:
        # The program could not tell where the one ends and the other begins.
        if any(letter.isspace() for letter in login) or any(letter in "\0\n\r" for letter in password):
            return None
        status, output = self._run(f"{login} {password}".encode())
        if status == _RIGHT:
            return Person(_groups(output))
        if status == _WRONG:
            raise Unauthenticated("the program refused them")
        if status == _UNKNOWN:
            return None
        raise unavailable("it ended with exit status %(status)s", status=status)

    def check(self) -> None:
        if not os.path.isfile(self.place) or not os.access(self.place, os.X_OK):
            raise unavailable("it is no file that this server may run")

    def _run(self, sent: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + self._timeout
        process = self._start()
        try:
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(sent)
            output = _read(process.stdout.fileno(), deadline)
            return _exit_status(process.pid, deadline), output
        finally:
            with suppress(ProcessLookupError):
                # All that it has started, too.
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
            process.wait()
            _reap(process.pid)

    def _start(self) -> subprocess.Popen:
        try:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Where a script may well print what it was given.
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
            )
        except OSError as error:
            raise unavailable("it cannot be run: %(reason)s", reason=error.strerror) from None


def _read(descriptor: int, deadline: float) -> bytes:
    output, ready = bytearray(), poll()
    ready.register(descriptor, POLLIN)
    while True:
        if not ready.poll(max(0, deadline - time.monotonic()) * 1000):
            raise _too_slow()
        part = os.read(descriptor, MOST_BYTES)
        output += part
        if len(output) > MOST_BYTES:
            raise unavailable("it printed more than %(most)s bytes", most=MOST_BYTES)
        if not part:
            return bytes(output)


def _exit_status(pid: int, deadline: float) -> int:
    """Asked of the system, not of `subprocess`, which takes a status that was lost for 0: that would let anybody in."""
    while True:
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            raise unavailable("its exit status was lost: does something ignore SIGCHLD?") from None
        if ended:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        if time.monotonic() > deadline:
            raise _too_slow()
        time.sleep(_PAUSE)


def _reap(group: int) -> None:
    """What it had started is ours now if we are process 1 of a container, and would stay as zombies."""
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def _groups(output: bytes) -> tuple[str, ...]:
    if not output.strip():
        return ()
    try:
        labels = json.loads(output).get("labels") or {}
        lists = [labels.get(label) or [] for label in GROUPS]
    except (ValueError, RecursionError, AttributeError):
        raise _no_labels() from None
    if not all(isinstance(each, list) for each in lists):
        raise _no_labels()
    found = tuple(name for each in lists for name in each)
    if not all(isinstance(name, str) for name in found):
        raise _no_labels()
    return found


def _no_labels() -> SourceUnavailable:
    return unavailable("it printed something else than labels in JSON")


def _too_slow() -> SourceUnavailable:
    return unavailable("it did not end in time")
