"""Passwords: bcrypt, and a cache of credentials that were verified a moment ago."""

import hashlib
import hmac
import secrets
import threading
import time

import bcrypt

from regadmin.errors import Invalid
from regadmin.memory import Memory
from regadmin.messages import Message

MIN_BYTES, MAX_BYTES = 6, 72
COST = 10


def check(password: str, field: str = "password") -> None:
    """Raise Invalid if nobody may choose this password."""
    if not MIN_BYTES <= len(password.encode()) <= MAX_BYTES:
        raise Invalid({field: Message("must be %(least)s to %(most)s bytes long", least=MIN_BYTES, most=MAX_BYTES)})
    if "\0" in password:
        raise Invalid({field: Message("must not hold a zero character")})


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

    def _compute(self, password: str, stored: str | None, key: bytes) -> bool:
        # Longer passwords cannot have been set; bcrypt would refuse or cut them.
        given = password.encode()[:MAX_BYTES] if "\0" not in password else b""
        equal = bcrypt.checkpw(given, (stored or self._dummy).encode())
        if not equal or stored is None or given != password.encode():
            return False
        self._verified.put(key, True, self._ttl)
        return True

    def _flight(self, key: bytes) -> threading.Lock:
        """One computation per key: a burst of the same cold credentials waits for the first of them."""
        with self._lock:
            if len(self._flights) > self._size:
                self._flights.clear()
            return self._flights.setdefault(key, threading.Lock())
