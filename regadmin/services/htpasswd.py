"""The accounts as an htpasswd file, for a registry in basic mode or for nginx."""

import errno
import logging
import os
import time
from pathlib import Path

from regadmin.errors import Error, Misconfigured
from regadmin.messages import Message
from regadmin.store import Store

log = logging.getLogger(__name__)

_TICK = 1_000_000_000
"""Nanoseconds. The registry reads the file again when its time of change differs; some file systems keep seconds."""


class Htpasswd:
    """One line for each user who may sign in, with his bcrypt hash as it is kept.

    `own_login` and `own_hash` are the account of this server at the registry. It takes the place of a user with the
    same login: without it this server could not work.
    """

    def __init__(self, store: Store, own_login: str = "", own_hash: str = ""):
        self._store = store
        self._own = {own_login: own_hash} if own_login else {}

    def text(self) -> str:
        accounts = self._store.users.list_hashes() | self._own
        return "".join(f"{login}:{stored}\n" for login, stored in sorted(accounts.items()))

    def write(self, path: str | Path) -> None:
        """Replace the file, whole or not at all, unless it is up to date; it keeps its owner and mode. Raises Error.

        The store's write lock makes that one at a time, in all processes: the last writer has seen every change.
        """
        path = Path(os.path.realpath(path))
        try:
            with self._store.transaction():
                _replace(path, self.text().encode())
        except OSError as error:
            hint = "; mount its directory, not the file" if error.errno == errno.EBUSY else ""
            raise Error(f"{path} cannot be written: {error.strerror}{hint}") from None


class HtpasswdKeeper:
    """Keeps the registry's file in line with the accounts; without a path there is none to keep."""

    def __init__(self, htpasswd: Htpasswd, path: str):
        self._htpasswd = htpasswd
        self._path = path

    def begin(self) -> None:
        """Raises Misconfigured if the file cannot be written."""
        try:
            self._write()
        except Error as error:
            raise Misconfigured(f"registry.htpasswd {error.message}") from None

    def follow_change(self) -> None:
        """To be called when a change of users was committed. Raises Error with what the one who made it must know."""
        try:
            self._write()
        except Error as error:
            log.error("the registry does not follow a change of users: %s", error.message)
            raise Error(
                Message("this is saved, but the registry does not follow yet: %(reason)s", reason=error.message)
            ) from None

    def repair(self) -> None:
        """Write what could not be written, or what somebody else has changed."""
        try:
            self._write()
        except Error as error:
            log.error("the registry does not follow the accounts: %s", error.message)

    def _write(self) -> None:
        if self._path:
            self._htpasswd.write(self._path)


def _replace(path: Path, content: bytes) -> None:
    old = _look(path)
    if old and path.read_bytes() == content:
        return
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            if old:
                _take_after(file.fileno(), old)
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _take_after(descriptor: int, old: os.stat_result) -> None:
    """Give the new file the owner and mode of the old one, and a time that differs on every file system."""
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, old.st_mode & 0o777)
    moment = max(time.time_ns(), old.st_mtime_ns + _TICK)
    os.utime(descriptor, ns=(moment, moment))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
