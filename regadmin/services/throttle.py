"""Guessing passwords: failed sign-ins are counted, and whoever guesses on waits longer and longer.

Three things are counted, each with a limit of its own: the same wrong credentials again (a job with an old password,
which a guesser would not repeat), different wrong ones from one address, and different wrong ones for one login.

All of it lives in the memory of this process: a restart forgets it, and several processes count each for themselves.
"""

import hmac
import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

from regadmin.errors import TooMany, Unauthenticated
from regadmin.messages import Message


class Limit(NamedTuple):
    """After `free` failures the next attempt waits `first` seconds, then twice as long each time up to `longest`."""

    free: int
    first: float
    longest: float

    def delay(self, failures: int) -> float:
        over = failures - self.free
        return min(self.longest, self.first * 2 ** min(over, 20)) if over >= 0 else 0


SAME = Limit(free=3, first=2, longest=30)
"""The very same credentials from the same address."""

ADDRESS = Limit(free=10, first=5, longest=900)

LOGIN = Limit(free=5, first=5, longest=30)
"""For addresses from which the login did not sign in well lately. Short, because it meets the owner as well."""

FORGOTTEN_AFTER = 3600
"""Seconds without a failure after which the count begins anew."""

HOME_FOR = 30 * 24 * 3600
"""Seconds for which an address where a login signed in well is not foreign to it."""

VERIFIED_FOR = 24 * 3600
"""Seconds for which credentials that were right pass from the same address, even while that address must wait."""

SPARE = 10
"""How many other passwords for a login an address may try while it must wait, before the right one passes no more:
else it could try out as many as it likes and would know the right one by its passing."""

SIZE = 10_000
"""Of each kind so many are kept; what was not used for longest goes first. About 20 MB when all are full."""

_PATIENCE = 10
"""Seconds for which an attempt waits for those before it; they take as long as a bcrypt."""


@dataclass(slots=True)
class _Count:
    limit: Limit
    failures: int = 0
    running: int = 0
    until: float = 0
    failed_at: float = 0

    def wait(self, now: float) -> float:
        """Seconds until the next attempt; a clock that was set back does not make them more."""
        if not now - FORGOTTEN_AFTER <= self.failed_at <= now:
            self.failures, self.until = 0, 0
        return max(0, self.until - now)

    def is_full(self) -> bool:
        """Whether those that are running would reach the limit if they all failed."""
        return self.running > 0 and self.failures + self.running >= self.limit.free

    def fail(self, now: float) -> None:
        self.failures += 1
        self.failed_at, self.until = now, now + self.limit.delay(self.failures)

    def take_back(self, failures: int) -> None:
        self.failures = max(0, self.failures - failures)
        if self.failures < self.limit.free:
            self.until = 0


@dataclass(slots=True)
class _Pair:
    """A login at an address. `turn_at` is when it may try, once it had to wait because of others."""

    failures: int = 0
    refused: int = 0
    at: float = 0
    turn_at: float | None = None

    def touch(self, now: float) -> None:
        if not now - FORGOTTEN_AFTER <= self.at <= now:
            self.failures, self.refused, self.turn_at = 0, 0, None
        self.at = now


class _Memory:
    def __init__(self, size: int, make: Callable[[], Any] = lambda: None):
        self._size = size
        self._make = make
        self._kept: OrderedDict[Any, Any] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Any) -> Any:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def obtain(self, key: Any) -> Any:
        if key not in self._kept:
            self.keep(key, self._make())
        return self.find(key)

    def keep(self, key: Any, value: Any) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def forget(self, key: Any) -> Any:
        return self._kept.pop(key, None)


@dataclass(slots=True)
class _Attempt:
    """`counts` are those in which it is running: none if it passed by being known."""

    network: str
    login: bytes
    guess: bytes
    counts: tuple[_Count, ...] = ()

    @property
    def pair(self) -> tuple[str, bytes]:
        return self.network, self.login


class Throttle:
    """`clock` gives seconds since 1970. May be used by several threads at once."""

    def __init__(self, clock: Callable[[], float], size: int = SIZE):
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._changed = threading.Condition()
        self._guesses = _Memory(size, lambda: _Count(SAME))
        self._networks = _Memory(size, lambda: _Count(ADDRESS))
        self._logins = _Memory(size, lambda: _Count(LOGIN))
        self._pairs = _Memory(size, _Pair)
        self._refused = _Memory(size)
        # Written by those who signed in well only, so that no stranger can fill these two.
        self._homes = _Memory(size)
        self._verified = _Memory(size)

    @contextmanager
    def attempt(self, login: str, password: str, address: str) -> Iterator[None]:
        """Around the verification of credentials, which raises Unauthenticated if they are wrong.

        It counts as a failure while it runs, so that many at once are no more than many in a row. Raises TooMany
        instead of letting it begin.
        """
        network = network_of(address)
        attempt = _Attempt(network, self._digest(login), self._digest(network, login, password))
        self._begin(attempt)
        try:
            yield
        except Unauthenticated:
            self._end(attempt, self._note_failure)
            raise
        except BaseException:
            self._end(attempt)
            raise
        self._end(attempt, self._note_success)

    def _begin(self, attempt: _Attempt) -> None:
        with self._changed:
            while not self._admit(attempt):
                if not self._changed.wait(_PATIENCE):
                    raise self._too_many(1)

    def _end(self, attempt: _Attempt, note: Callable[[_Attempt, float], None] | None = None) -> None:
        with self._changed:
            for count in attempt.counts:
                count.running -= 1
            if note:
                note(attempt, self._clock())
            self._changed.notify_all()

    def _admit(self, attempt: _Attempt) -> bool:
        """Whether it may begin now; False: once one that is running has ended. Raises TooMany."""
        now = self._clock()
        pair = self._pairs.obtain(attempt.pair)
        pair.touch(now)
        if self._is_recent(self._verified, attempt.guess, VERIFIED_FOR) and pair.refused < SPARE:
            return True
        known = (self._guesses.find(attempt.guess), self._networks.find(attempt.network))
        wait = max((count.wait(now) for count in known if count), default=0)
        if wait:
            self._note_refusal(attempt, pair)
            raise self._too_many(wait)
        counts = [self._guesses.obtain(attempt.guess), self._networks.obtain(attempt.network)]
        if not self._is_recent(self._homes, attempt.pair, HOME_FOR):
            counts.append(self._logins.obtain(attempt.login))
            self._wait_for_turn(pair, counts[-1], now)
        if any(count.is_full() for count in counts):
            return False
        pair.turn_at = None
        attempt.counts = tuple(counts)
        for count in counts:
            count.running += 1
        return True

    def _wait_for_turn(self, pair: _Pair, login: _Count, now: float) -> None:
        """While others guess at a login, everybody from elsewhere waits once, and for himself: so the owner gets in."""
        login.wait(now)
        if login.failures < LOGIN.free:
            return
        if pair.turn_at is None or pair.turn_at > now + LOGIN.longest:
            pair.turn_at = now + LOGIN.delay(login.failures)
        if pair.turn_at > now:
            raise self._too_many(pair.turn_at - now)

    def _note_refusal(self, attempt: _Attempt, pair: _Pair) -> None:
        if not self._refused.find(attempt.guess):
            self._refused.keep(attempt.guess, True)
            pair.refused += 1

    def _note_failure(self, attempt: _Attempt, now: float) -> None:
        self._verified.forget(attempt.guess)
        guess = self._guesses.obtain(attempt.guess)
        is_new = not guess.failures
        guess.fail(now)
        if is_new:
            self._networks.obtain(attempt.network).fail(now)
            self._logins.obtain(attempt.login).fail(now)
            self._pairs.obtain(attempt.pair).failures += 1

    def _note_success(self, attempt: _Attempt, now: float) -> None:
        """Forget the failures of this login at this address; those of others at this address stay."""
        self._verified.keep(attempt.guess, now)
        self._homes.keep(attempt.pair, now)
        self._guesses.forget(attempt.guess)
        pair = self._pairs.forget(attempt.pair)
        if pair:
            self._networks.obtain(attempt.network).take_back(pair.failures)
            self._logins.obtain(attempt.login).take_back(pair.failures)

    def _is_recent(self, memory: _Memory, key: Any, seconds: float) -> bool:
        at = memory.find(key)
        return at is not None and abs(self._clock() - at) < seconds

    def _too_many(self, wait: float) -> TooMany:
        wait = math.ceil(wait)
        retry_at = math.ceil(self._clock()) + wait
        minute = datetime.fromtimestamp(math.ceil(retry_at / 60) * 60, UTC)
        return TooMany(
            Message("too many failed attempts; try again at %(time)s", time=f"{minute:%H:%M} UTC"), retry_at, wait
        )

    def _digest(self, *texts: str) -> bytes:
        """Of one size, whatever is sent, and of no use to whoever reads it."""
        return hmac.digest(self._key, "\0".join(texts).encode("utf-8", "surrogatepass"), "sha256")


def network_of(address: str) -> str:
    """What one client has: an IPv4 address, or an IPv6 network of 64 bits, in which it can choose any."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))
