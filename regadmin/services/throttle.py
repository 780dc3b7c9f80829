"""Guessing passwords: failed sign-ins are counted, and whoever guesses on waits longer and longer.

Three things are counted, each with a limit of its own: the same wrong credentials again (a job with an old password,
which a guesser would not repeat), different wrong ones from one address, and different wrong ones for one login.

All of it lives in memory: a restart forgets it. The processes of one server tell each other each failure and each
success; what runs or waits at this moment each of them counts for itself.
"""

import hmac
import math
import secrets
import struct
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
from regadmin.ring import Ring


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

_DISORDER = 1
"""Seconds by which a failure may be told after one that came later: each process looks at the clock, then waits for its
turn to tell. Whoever guesses at two processes at once would else be forgiven as if the clock had been set back."""

HOME_FOR = 30 * 24 * 3600
"""Seconds for which an address where a login signed in well is not foreign to it."""

VERIFIED_FOR = 24 * 3600
"""Seconds for which credentials that were right pass from the same address, even while that address must wait."""

SPARE = 10
"""How many other passwords for a login an address may try while it must wait, before the right one passes no more:
else it could try out as many as it likes and would know the right one by its passing."""

SIZE = 10_000
"""Of each kind so many are kept; what was not used for longest goes first. About 20 MB when all are full."""

_TOLD_AGAIN_AFTER = 3600
"""Seconds after which the other processes are told again that credentials are right, however often they are used."""

_PATIENCE = 10
"""Seconds for which an attempt waits for those before it; they take as long as a bcrypt."""


@dataclass(slots=True)
class _Count:
    limit: Limit
    failures: int = 0
    running: int = 0
    until: float = 0
    failed_at: float = 0

    def touch(self, now: float) -> None:
        """Forget what is old; a clock that was set back makes nobody wait longer."""
        if not _is_kept(self.failed_at, now):
            self.failures, self.until = 0, 0

    def wait(self, now: float) -> float:
        """Seconds until the next attempt."""
        self.touch(now)
        return max(0, self.until - now)

    def is_full(self) -> bool:
        """Whether those that are running would reach the limit if they all failed."""
        return self.running > 0 and self.failures + self.running >= self.limit.free

    def fail(self, now: float) -> None:
        self.touch(now)
        self.failures += 1
        delay = self.limit.delay(self.failures)
        self.failed_at, self.until = now, now + delay if delay else 0

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
        if not _is_kept(self.at, now):
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


class _Keys(NamedTuple):
    """Whose attempt it is, in digests: of the address or network, of the login, and of both with the password."""

    network: bytes
    login: bytes
    guess: bytes

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return self.network, self.login


_FORM = struct.Struct("<?d16s16s16s")
"""How an attempt ended, as the processes tell it each other: whether it was right, when it ended, its keys."""


class Throttle:
    """`clock` gives seconds since 1970. May be used by several threads, and by processes that are forked later."""

    def __init__(self, clock: Callable[[], float], size: int = SIZE):
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._outcomes = Ring(size, _FORM.size)
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
        keys = _Keys(self._digest(network), self._digest(login), self._digest(network, login, password))
        counts = self._begin(keys)
        is_right = None
        try:
            yield
            is_right = True
        except Unauthenticated:
            is_right = False
            raise
        finally:
            self._end(keys, counts, is_right)

    def _begin(self, keys: _Keys) -> tuple[_Count, ...]:
        """The counts in which it runs from now on: none if it passes by being known."""
        with self._changed:
            self._learn()
            while (counts := self._admit(keys)) is None:
                if not self._changed.wait(_PATIENCE):
                    raise self._too_many(1)
            for count in counts:
                count.running += 1
            return counts

    def _end(self, keys: _Keys, counts: tuple[_Count, ...], is_right: bool | None) -> None:
        with self._changed:
            for count in counts:
                count.running -= 1
            if is_right is False or (is_right and self._is_news(keys)):
                self._outcomes.append(_FORM.pack(is_right, self._clock(), *keys))
                self._learn()
            self._changed.notify_all()

    def _learn(self) -> None:
        """Take in how attempts ended, here and in the other processes, in the order that all of them see."""
        for record in self._outcomes.news():
            is_right, at, *keys = _FORM.unpack(record)
            note = self._note_success if is_right else self._note_failure
            note(_Keys(*keys), at)

    def _is_news(self, keys: _Keys) -> bool:
        """Whether it changes anything that these credentials are right."""
        pair = self._pairs.find(keys.pair)
        has_failed = self._guesses.find(keys.guess) or (pair and (pair.failures or pair.refused))
        return bool(has_failed) or not self._is_recent(self._verified, keys.guess, _TOLD_AGAIN_AFTER)

    def _admit(self, keys: _Keys) -> tuple[_Count, ...] | None:
        """The counts in which it may run now; None: once one that is running has ended. Raises TooMany."""
        now = self._clock()
        pair = self._pairs.obtain(keys.pair)
        pair.touch(now)
        if self._is_recent(self._verified, keys.guess, VERIFIED_FOR) and pair.refused < SPARE:
            return ()
        known = (self._guesses.find(keys.guess), self._networks.find(keys.network))
        wait = max((count.wait(now) for count in known if count), default=0)
        if wait:
            self._note_refusal(keys, pair)
            raise self._too_many(wait)
        counts = [self._guesses.obtain(keys.guess), self._networks.obtain(keys.network)]
        if not self._is_recent(self._homes, keys.pair, HOME_FOR):
            counts.append(self._logins.obtain(keys.login))
            self._wait_for_turn(pair, counts[-1], now)
        if any(count.is_full() for count in counts):
            return None
        pair.turn_at = None
        return tuple(counts)

    def _wait_for_turn(self, pair: _Pair, login: _Count, now: float) -> None:
        """While others guess at a login, everybody from elsewhere waits once, and for himself: so the owner gets in."""
        login.touch(now)
        if login.failures < LOGIN.free:
            return
        if pair.turn_at is None or pair.turn_at > now + LOGIN.longest:
            pair.turn_at = now + LOGIN.delay(login.failures)
        if pair.turn_at > now:
            raise self._too_many(pair.turn_at - now)

    def _note_refusal(self, keys: _Keys, pair: _Pair) -> None:
        if not self._refused.find(keys.guess):
            self._refused.keep(keys.guess, True)
            pair.refused += 1

    def _note_failure(self, keys: _Keys, at: float) -> None:
        self._verified.forget(keys.guess)
        guess = self._guesses.obtain(keys.guess)
        guess.fail(at)
        if guess.failures == 1:
            self._networks.obtain(keys.network).fail(at)
            self._logins.obtain(keys.login).fail(at)
            pair = self._pairs.obtain(keys.pair)
            pair.touch(at)
            pair.failures += 1

    def _note_success(self, keys: _Keys, at: float) -> None:
        """Forget the failures of this login at this address; those of others at this address stay."""
        self._verified.keep(keys.guess, at)
        self._homes.keep(keys.pair, at)
        self._guesses.forget(keys.guess)
        pair = self._pairs.forget(keys.pair)
        if pair:
            self._networks.obtain(keys.network).take_back(pair.failures)
            self._logins.obtain(keys.login).take_back(pair.failures)

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
        return hmac.digest(self._key, "\0".join(texts).encode("utf-8", "surrogatepass"), "sha256")[:16]


def _is_kept(failed_at: float, now: float) -> bool:
    """Whether a failure still counts at this time."""
    return now - FORGOTTEN_AFTER <= failed_at <= now + _DISORDER


def network_of(address: str) -> str:
    """What one client has: an IPv4 address, or an IPv6 network of 64 bits, in which it can choose any."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))
