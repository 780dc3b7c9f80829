"""Passwords: bcrypt, and a cache of credentials that were verified a moment ago."""

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import bcrypt

from regadmin.errors import Invalid
from regadmin.memory import Memory
from regadmin.messages import Message

MIN_BYTES, MAX_BYTES = 6, 72
COST = 10
HIGHEST_COST = 14
"""A hash of this cost takes a second to verify: a few sign-ins at once would stop the server."""

_HASH = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_MAX_THREADS = 4
_NICENESS = 10


def check(password: str, field: str = "password") -> None:
    """Raise Invalid if nobody may choose this password."""
    reason = why_no_password(password)
    if reason:
        raise Invalid({field: reason})


def why_no_password(password: str) -> str:
    """The reason why nobody may choose this password, or ''."""
    if not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
        return Message("must be %(least)s to %(most)s bytes long", least=MIN_BYTES, most=MAX_BYTES)
    return Message("must not hold a zero character") if "\0" in password else ""


def why_no_hash(text: str) -> str:
    """The reason why passwords cannot be verified against this text, or ''."""
    found = _HASH.fullmatch(text)
    if not found:
        return "is no bcrypt hash ($2a$, $2b$, $2y$), the only kind that is understood here"
    if not 4 <= int(found[1]) <= HIGHEST_COST:
        return f"is a bcrypt hash of cost {found[1]}; 04 to {HIGHEST_COST} are accepted here"
    return ""


def usable_cores() -> set[int]:
    """The processor cores that this process may use."""
    try:
        return os.sched_getaffinity(0)
    except AttributeError:
        return set(range(os.cpu_count() or 1))


class Passwords:
    """Hashes and verifies. Verified credentials are remembered for `ttl` seconds, at most `size` of them.

    The key of the memory is a keyed digest of password and stored hash: the password itself is never kept,
    and a changed hash is another key. Failures are not remembered.
    """

    def __init__(self, cost: int = COST, ttl: float = 300, size: int = 10_000, clock=time.monotonic):
        self._cost = cost
        self._ttl, self._size = ttl, size
        self._key = secrets.token_bytes(32)
        self._verified: Memory[bool] = Memory(size, clock)
        self._flights: dict[bytes, threading.Lock] = {}
        self._lock = threading.Lock()
        self._cores = usable_cores()
        self._pool = ThreadPoolExecutor(min(len(self._cores), _MAX_THREADS), "bcrypt", self._step_aside)
        self._dummy = self.hash(secrets.token_hex(16))

    def hash(self, password: str) -> str:
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(self._cost)).decode()

    def verify(self, password: str, stored: str | None) -> bool:
        """Tell whether the password belongs to the stored hash; None takes as long and is never true."""
        key = hmac.digest(self._key, b"%s\0%s" % (password.encode(), (stored or "").encode()), hashlib.sha256)
        if self._verified.get(key):
            return True
        with self._flight(key):
            return self._verified.get(key) or self._compute(password, stored, key)

    def belongs(self, password: str, stored: str) -> bool:
        """Like `verify` for what nobody waits for: in this thread, as before a process is forked there is no other."""
        return bcrypt.checkpw(password.encode(), stored.encode())

    def close(self) -> None:
        """End the threads; what has not begun is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compute(self, password: str, stored: str | None, key: bytes) -> bool:
        # Longer passwords cannot have been set; bcrypt would refuse or cut them.
        given = password.encode()[:MAX_BYTES] if "\0" not in password else b""
        equal = self._pool.submit(self._check, given, stored).result()
        if not equal or stored is None or given != password.encode():
            return False
        self._verified.put(key, True, self._ttl)
        return True

    def _check(self, given: bytes, stored: str | None) -> bool:
        equal = bcrypt.checkpw(given, (stored or self._dummy).encode())
        if not equal and stored and _cost(stored) < self._cost:
            # A hash from elsewhere may be a cheap one: a quick answer would tell that there is such a user.
            bcrypt.checkpw(given, self._dummy.encode())
        return equal

    def _step_aside(self) -> None:
        """The present thread computes on every core, even in a process that keeps to one, and gives way to all else."""
        with suppress(AttributeError, OSError):
            os.sched_setaffinity(0, self._cores)
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)

    def _flight(self, key: bytes) -> threading.Lock:
        """One computation per key: a burst of the same cold credentials waits for the first of them."""
        with self._lock:
            if len(self._flights) > self._size:
                self._flights.clear()
            return self._flights.setdefault(key, threading.Lock())


def _cost(stored: str) -> int:
    return int(_HASH.fullmatch(stored)[1])
