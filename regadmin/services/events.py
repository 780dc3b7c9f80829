"""Notifications of the registry: kept at once, applied to the index afterwards and in order.

An event is a hint; the registry is the truth. A push makes us look, and nothing leaves the index before the
registry has confirmed that it is gone.

Every process on the store applies what waits. The mark comes first in the transaction, so that each event counts once;
and nobody comes to an event before the ones before it are marked.
"""

import logging
from collections.abc import Callable

from regadmin.counters import Counters
from regadmin.entities import Event, User
from regadmin.errors import Error, NotFound, RegistryUnavailable
from regadmin.registry.client import RegistryClient
from regadmin.registry.events import parse_envelope, parse_event
from regadmin.registry.references import is_repository
from regadmin.services.indexing import Indexer
from regadmin.services.metrics import EVENTS_APPLIED, count_received_event
from regadmin.store import Store
from regadmin.store.inbox import Notification

log = logging.getLogger(__name__)

_BATCH = 100
_SETTLING = 3
"""Seconds: the registry tells of a push some milliseconds before the tag points where it says."""

_ATTEMPTS = 10
"""How often an event is tried that fails although the registry answers; with the worker's pauses about 12 s."""

_REMEMBERED = 7 * 24 * 3600
"""Seconds for which an applied event is remembered, so that its duplicate is recognised."""


class _NotSettled(Exception):
    """The registry is not yet where the event says that it is."""


class Events:
    """`is_own` tells the events that our own requests cause."""

    def __init__(
        self,
        store: Store,
        registry: RegistryClient,
        indexer: Indexer,
        counters: Counters,
        is_own: Callable[[Event], bool],
    ):
        self._store = store
        self._registry = registry
        self._indexer = indexer
        self._counters = counters
        self._is_own = is_own
        self.on_arrival: Callable[[], None] = lambda: None

    def record(self, body: bytes, posted_by: User) -> int:
        """Keep the envelope's events and return how many were new. Raises Malformed.

        Once this returns nothing is lost any more; applying comes later.
        """
        events = parse_envelope(body)
        added = self._store.inbox.add(events, posted_by.login)
        self.on_arrival()
        for _, raw in events:
            count_received_event(self._counters, parse_event(raw).action)
        return added

    def apply_waiting(self) -> bool:
        """Apply what waits, oldest first. False: the registry is away or not ready, so try again later."""
        while waiting := self._store.inbox.waiting(_BATCH):
            for notification in waiting:
                if not self._apply(notification):
                    return False
        return True

    def forget_old(self) -> None:
        self._store.inbox.forget(self._store.now() - _REMEMBERED)

    def _apply(self, notification: Notification) -> bool:
        try:
            outcome = self._dispatch(notification, parse_event(notification.body))
        except _NotSettled:
            return False
        except RegistryUnavailable as error:
            return self._indexer.registry_answers() and self._note_failure(notification, error.message)
        except Error as error:
            self._set_aside(notification, error.message)
        except Exception:
            log.exception("event %s", notification.id)
            return self._note_failure(notification, "an unexpected error; the server's log has it")
        else:
            if outcome:
                self._counters.add(EVENTS_APPLIED, outcome)
        return True

    def _note_failure(self, notification: Notification, why: str) -> bool:
        """Count an attempt that the registry's absence does not explain. False: there will be another."""
        self._store.inbox.mark_failed(notification.id, why)
        if notification.attempts + 1 < _ATTEMPTS:
            return False
        self._set_aside(notification, why)
        return True

    def _set_aside(self, notification: Notification, why: str) -> None:
        """One event that cannot be applied must not hold up the others; a synchronisation mends the rest."""
        log.warning("event %s could not be applied: %s", notification.id, why)
        self._store.inbox.mark_kept(notification.id, why)
        self._counters.add(EVENTS_APPLIED, "set aside")

    def _dispatch(self, notification: Notification, event: Event) -> str:
        """Apply it and return what became of it; '' if another process was first."""
        apply = {"push": self._push, "pull": self._pull, "delete": self._delete}.get(event.action)
        if not apply or not is_repository(event.repository):
            self._store.inbox.mark_kept(notification.id, "nothing to do")
            return "nothing to do"
        if not _is_about_manifest(event):
            return self._mark(notification, "about no manifest")
        return apply(notification, event)

    def _mark(self, notification: Notification, outcome: str) -> str:
        """Returns the outcome; '' if another process was first."""
        return outcome if self._store.inbox.mark_applied(notification.id, outcome) else ""

    def _push(self, notification: Notification, event: Event) -> str:
        name, repositories = event.repository, self._store.repositories
        known = event.digest if repositories.has_manifest(name, event.digest) else ""
        try:
            fetched = self._indexer.fetch(name, event.tag or event.digest, known) if event.tag or not known else None
            digest = fetched.digest if fetched else known
        except NotFound:
            fetched, digest = None, ""
        is_young = 0 <= self._store.now() - notification.received_at < _SETTLING
        if digest != event.digest and is_young and not self._is_own(event):
            raise _NotSettled
        if not digest:
            return self._mark(notification, "gone before it was looked up")
        with self._store.transaction():
            outcome = self._mark(notification, "pushed")
            if not outcome:
                return ""
            if fetched:
                self._indexer.save(name, fetched)
            if event.tag:
                repositories.point_tag(name, event.tag, digest)
            if digest == event.digest and not self._is_own(event):
                repositories.record_push(name, event.tag, digest, self._time(event), event.actor)
            repositories.refresh([name])
            self._note(event)
            if event.tag and not self._is_own(event):
                self._store.activity.count("push", self._time(event))
        return outcome

    def _pull(self, notification: Notification, event: Event) -> str:
        is_counted = event.method != "HEAD" and not self._is_own(event)
        with self._store.transaction():
            outcome = self._mark(notification, "counted" if is_counted else "not counted")
            if not outcome or not is_counted:
                return outcome
            if self._store.repositories.record_pull(event.repository, event.tag, event.digest, self._time(event)):
                self._note(event)
                self._store.activity.count("pull", self._time(event))
        return outcome

    def _delete(self, notification: Notification, event: Event) -> str:
        known = self._store.repositories.tag_digest(event.repository, event.tag) if event.tag else event.digest
        is_gone = self._is_gone(event.repository, event.tag or event.digest, known)
        with self._store.transaction():
            outcome = self._mark(notification, "removed" if is_gone else "still there")
            if not outcome:
                return ""
            if is_gone and event.tag:
                self._store.repositories.remove_tag(event.repository, event.tag)
            elif is_gone:
                self._store.repositories.remove_manifest(event.repository, event.digest)
            if is_gone:
                self._note(event)
        return outcome

    def _is_gone(self, repository: str, reference: str, known: str) -> bool:
        try:
            self._registry.manifest(repository, reference, unless=known)
        except NotFound:
            return True
        return False

    def _time(self, event: Event) -> int:
        """When it happened: not later than now, whatever the event says."""
        now = self._store.now()
        return min(event.timestamp or now, now)

    def _note(self, event: Event) -> None:
        reference = f":{event.tag}" if event.tag else f"@{event.digest}"
        if not self._is_own(event):
            self._store.activity.add(
                event.action, event.actor, event.repository + reference, event.address, at=self._time(event)
            )


def _is_about_manifest(event: Event) -> bool:
    """Blobs are notified too. A deletion names no media type, and a deleted tag no digest either."""
    return bool(event.tag or event.digest) and "octet-stream" not in event.media_type
