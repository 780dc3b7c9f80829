"""Where the access log goes: a file that several processes share, and standard output."""

import fcntl
import gzip
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SETTLED = 0.1
"""Seconds after which no process still writes to a file that was renamed."""

_QUIET = 60
"""Seconds between two complaints."""

log = logging.getLogger(__name__)


class LogFile:
    """Rotated by size with `backups` compressed files beside it, `.1.gz` the youngest; with 0 of them never rotated.

    It follows its name: whoever renames the file, another process of ours or logrotate, the next line goes to a new
    one. Raises OSError.
    """

    def __init__(self, path: str, max_bytes: int, backups: int):
        self._path = Path(path).absolute()
        self._max_bytes = max_bytes if backups else sys.maxsize
        self._backups = backups
        self._lock = threading.Lock()
        self._compressor = threading.Thread()
        self._complained_at = -_QUIET
        self._descriptor, self._inode = self._open()

    def write(self, line: str) -> None:
        """Add a line. What cannot be written is lost and complained of: the answer matters more."""
        data = f"{line}\n".encode()
        try:
            with self._lock:
                size = self._follow()
                if size and size + len(data) > self._max_bytes:
                    self._rotate(len(data))
                os.write(self._descriptor, data)
        except OSError as error:
            self._complain(error)

    def _open(self) -> tuple[int, int]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return descriptor, os.fstat(descriptor).st_ino

    def _follow(self) -> int:
        """The size of the file of our name, opened anew if it is not the one that is open."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            found = None
        if found and found.st_ino == self._inode:
            return found.st_size
        try:
            descriptor, inode = self._open()
        except OSError as error:
            self._complain(error)
            return 0
        os.close(self._descriptor)
        self._descriptor, self._inode = descriptor, inode
        return found.st_size if found else 0

    def _rotate(self, coming: int) -> None:
        with _locked(self._path.parent):
            # Another process may have been first.
            if self._follow() + coming <= self._max_bytes:
                return
            os.rename(self._path, self._path.with_name(f"{self._path.name}.rotated.{time.time_ns()}"))
            self._follow()
        if not self._compressor.is_alive():
            self._compressor = threading.Thread(target=self._compress_all, name="access log", daemon=True)
            self._compressor.start()

    def _compress_all(self) -> None:
        """Also what a process left that was killed."""
        time.sleep(SETTLED)
        while rotated := sorted(self._path.parent.glob(f"{self._path.name}.rotated.*")):
            try:
                self._compress(rotated[0])
            except OSError as error:
                log.warning("the rotated access log %s cannot be compressed: %s", rotated[0], error.strerror)
                return

    def _compress(self, rotated: Path) -> None:
        draft = self._path.with_name(f"{self._path.name}.1.new")
        with suppress(FileNotFoundError), rotated.open("rb") as source:
            fcntl.flock(source, fcntl.LOCK_EX)
            if not rotated.exists():
                return
            with gzip.open(draft, "wb", compresslevel=6) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            shutil.copymode(rotated, draft)
            for number in range(self._backups - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._backup(number).replace(self._backup(number + 1))
            draft.replace(self._backup(1))
            rotated.unlink()

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}.gz")

    def _complain(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained_at >= _QUIET:
            self._complained_at = now
            log.warning("the access log %s cannot be written: %s", self._path, error.strerror)


def print_line(line: str) -> None:
    """Write to standard output, a line in one piece."""
    with suppress(OSError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
