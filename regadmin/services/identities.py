"""Who somebody is: an account of this server, or else a person whom another source of identity knows.

Local accounts come first: no source is asked about a login that exists here, not even if it is blocked or the password
is wrong. Whatever a source does, it lets nobody in by failing, and keeps no local user waiting.
"""

import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from regadmin.entities import Role, User
from regadmin.errors import Error, SourceUnavailable, Unauthenticated
from regadmin.identity.places import Places
from regadmin.identity.source import TIMEOUT, Person, Source, unavailable
from regadmin.memory import Memory
from regadmin.services.users import Users, why_no_login
from regadmin.store import Store

MOST_AT_ONCE = 4
"""Half of the threads that there are for passwords: the others are for local accounts (regadmin.lanes)."""

PATIENCE = 1.0
"""Seconds that a source may take before those who find no place are refused; those after a failure are so at once."""

MOST_REMEMBERED = 10_000
MOST_BYTES = 1024
"""Of a password that is handed on."""

_SLACK = 0.5
"""Seconds by which we wait longer than a source should take: its own report says more."""

log = logging.getLogger(__name__)


class Identities:
    """`sources` are asked in their order. What they say of a person holds for `ttl` seconds."""

    def __init__(
        self, users: Users, store: Store, sources: Sequence[Source], ttl: float, clock: Callable[[], float]
    ):
        self._users = users
        self._store = store
        self._sources = sources
        self._ttl = ttl
        self._key = secrets.token_bytes(32)
        self._known: Memory[Person] = Memory(MOST_REMEMBERED, clock)
        self._places = Places(MOST_AT_ONCE)
        self._asking = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._failures: dict[Source, str] = {}

    @contextmanager
    def place(self, login: str, password: str) -> Iterator[None]:
        """To be held around all that is done about these credentials, waiting for others included.

        Raises SourceUnavailable if a source must be asked and too many ask already.
        """
        if self._is_local(login) or self.are_known(login, password):
            yield
            return
        is_failing = any(self._failures.values())
        with self._places.take(0 if is_failing else PATIENCE):
            yield

    def authenticate(self, login: str, password: str) -> User:
        """The user with these credentials. Raises Unauthenticated, alike for all reasons, and SourceUnavailable."""
        person = None if self._is_local(login) else self._person(login, password)
        if person:
            groups = self._store.groups.find_named(person.groups)
            return User(0, login, login, Role.USER, groups, is_external=True, rules=person.rules)
        # Of an unknown login too, so that it takes the same time.
        return self._users.authenticate(login, password)

    def are_known(self, login: str, password: str) -> bool:
        """Whether no source need be asked about these credentials, because they were right a moment ago."""
        return bool(self._sources) and self._known.get(self._digest(login, password)) is not None

    def _is_local(self, login: str) -> bool:
        return not self._sources or self._store.users.has_login(login)

    def _person(self, login: str, password: str) -> Person | None:
        key = self._digest(login, password)
        person = self._known.get(key)
        if not person and _can_be_asked(login, password):
            person = self._find(login, password)
            if person:
                self._known.put(key, person, self._ttl)
        return person

    def _find(self, login: str, password: str) -> Person | None:
        """None if all sources say so, or one says that it is none. Raises SourceUnavailable.

        Those after one that cannot tell are not asked: they might let in whom it would have refused.
        """
        try:
            return next(filter(None, (self._ask(source, login, password) for source in self._sources)), None)
        except Unauthenticated:
            return None

    def _ask(self, source: Source, login: str, password: str) -> Person | None:
        """What the source says, by its deadline: it is asked in a thread of its own, which may hang for longer."""
        try:
            if not self._asking.acquire(blocking=False):
                raise unavailable("it still owes answers to those who were asked before")
            person = self._begin(source, login, password).result(TIMEOUT + _SLACK)
        except TimeoutError:
            raise self._note(source, unavailable("it did not answer in time")) from None
        except SourceUnavailable as error:
            raise self._note(source, error) from None
        except Unauthenticated:
            self._note(source)
            raise
        self._note(source)
        return person

    def _begin(self, source: Source, login: str, password: str) -> Future:
        answer: Future[Person | None] = Future()
        try:
            threading.Thread(target=self._answer, args=(answer, source, login, password), daemon=True).start()
        except RuntimeError:
            self._asking.release()
            raise unavailable("there is no thread to ask it in") from None
        return answer

    def _answer(self, answer: Future, source: Source, login: str, password: str) -> None:
        try:
            try:
                person = source.authenticate(login, password)
            finally:
                self._asking.release()
            answer.set_result(person)
        except Error as error:
            answer.set_exception(error)
        except Exception:
            log.exception("%s %s failed", source.name, source.place)
            answer.set_exception(unavailable("it failed as nobody foresaw; the log has the details"))

    def _note(self, source: Source, error: SourceUnavailable | None = None) -> SourceUnavailable | None:
        """Tell the owner when it begins to fail, when it fails for another reason, and when it answers again."""
        reason = str(error.reason) if error else ""
        if self._failures.get(source, "") != reason:
            self._failures[source] = reason
            level = logging.WARNING if reason else logging.INFO
            log.log(level, "%s %s: %s", source.name, source.place, reason or "it answers again")
        return error

    def _digest(self, login: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{login}\0{password}".encode("utf-8", "surrogatepass"), "sha256")


def _can_be_asked(login: str, password: str) -> bool:
    """Whether an account could have this login, too: it stands in tokens and in the activity."""
    try:
        return not why_no_login(login) and 0 < len(password.encode()) <= MOST_BYTES
    except UnicodeEncodeError:
        return False
