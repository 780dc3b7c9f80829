"""Notifications of the registry: kept at once, applied to the index afterwards and in order.

An event is a hint; the registry is the truth. A push makes us look, and nothing leaves the index before the
registry has confirmed that it is gone.

What waits is looked up ahead, several at a time, and then applied in its order, many in one transaction. Every
process on the store does so. The mark comes before the change that goes with it, so that each event counts once; and
nobody comes to an event before the ones before it are marked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from regadmin.counters import Counters
from regadmin.entities import Event, User
from regadmin.errors import Error, Malformed, NotFound, RegistryUnavailable
from regadmin.registry.events import parse_envelope, parse_event
from regadmin.registry.references import is_repository
from regadmin.services.indexing import Fetched, Indexer, Question
from regadmin.services.metrics import EVENTS_APPLIED, count_received_event
from regadmin.store import Store
from regadmin.store.inbox import Notification

log = logging.getLogger(__name__)

_BATCH = 100
"""Notifications that are applied in one transaction: few enough to hold up no other writer for long."""

_PARALLEL = 4
"""Look-ups at the same time."""

_SETTLING = 3
"""Seconds: the registry tells of a push some milliseconds before the tag points where it says."""

_ATTEMPTS = 10
"""How often an event is tried that fails although the registry answers; with the worker's pauses about 12 s."""

_REMEMBERED = 7 * 24 * 3600
"""Seconds for which an applied event is remembered, so that its duplicate is recognised."""


class _NotSettled(Exception):
    """The registry is not yet where the event says that it is."""


class _Finding(NamedTuple):
    """What the registry says to an event."""

    notification: Notification
    event: Event | None
    digest: str = ""
    """What it holds under the event's reference; '' if that is gone, or was not asked for."""
    fetched: Fetched | None = None
    """The manifest of that digest, unless it was known."""
    trouble: str = ""
    """Why the event can never be applied."""


class Events:
    """`is_own` tells the events that our own requests cause."""

    def __init__(self, store: Store, indexer: Indexer, counters: Counters, is_own: Callable[[Event], bool]):
        self._store = store
        self._indexer = indexer
        self._counters = counters
        self._is_own = is_own
        self._outcomes: list[str] = []
        """Of what the present transaction applies; they count once it is over."""
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
            findings, obstacle = self._look_up(waiting)
            if not self._apply_all(findings) or (obstacle and not self._get_past(*obstacle)):
                return False
        return True

    def forget_old(self) -> None:
        self._store.inbox.forget(self._store.now() - _REMEMBERED)

    def _look_up(self, waiting: list[Notification]) -> tuple[list[_Finding], tuple[Notification, Exception] | None]:
        """What the registry says to those that can be applied, and what stands in the way of the one behind them."""
        findings: list[_Finding] = []
        with self._indexer.answers(map(self._question, waiting), _PARALLEL) as answers:
            for question, answer in answers:
                try:
                    findings.append(self._finding(question, answer))
                except Exception as error:
                    return findings, (question.subject[0], error)
        return findings, None

    def _question(self, notification: Notification) -> Question:
        """What is to be asked before it can be applied: nothing, for many of them."""
        try:
            event = parse_event(notification.body)
        except Malformed:
            return Question((notification, None))
        subject, name = (notification, event), event.repository
        if not is_repository(name) or not _is_about_manifest(event):
            return Question(subject)
        if event.action == "delete":
            known = self._store.repositories.tag_digest(name, event.tag) if event.tag else event.digest
            return Question(subject, name, event.tag or event.digest, known)
        if event.action == "push":
            known = event.digest if self._store.repositories.has_manifest(name, event.digest) else ""
            return Question(subject, name, event.tag or ("" if known else event.digest), known)
        return Question(subject)

    def _finding(self, question: Question, answer: Future) -> _Finding:
        """Raises whatever another attempt may mend."""
        notification, event = question.subject
        if event is None:
            return _Finding(notification, event, trouble="the event cannot be read")
        try:
            fetched = answer.result()
        except NotFound:
            finding = _Finding(notification, event)
        except RegistryUnavailable:
            raise
        except Error as error:
            return _Finding(notification, event, trouble=error.message)
        else:
            finding = _Finding(notification, event, fetched.digest if fetched else question.known_digest, fetched)
        if event.action == "push" and question.repository:
            self._check_settled(finding)
        return finding

    def _check_settled(self, finding: _Finding) -> None:
        is_young = 0 <= self._store.now() - finding.notification.received_at < _SETTLING
        if finding.digest != finding.event.digest and is_young and not self._is_own(finding.event):
            raise _NotSettled

    def _apply_all(self, findings: list[_Finding]) -> bool:
        """In one transaction, unless one of them fails: it must not spoil those before it."""
        try:
            self._apply(findings)
        except Exception:
            return all(map(self._apply_alone, findings))
        return True

    def _apply_alone(self, finding: _Finding) -> bool:
        try:
            self._apply([finding])
        except Exception as error:
            return self._get_past(finding.notification, error)
        return True

    def _get_past(self, notification: Notification, error: Exception) -> bool:
        """Whether the notification holds up the next ones no longer."""
        if isinstance(error, _NotSettled):
            return False
        if isinstance(error, RegistryUnavailable):
            return self._indexer.registry_answers() and self._note_failure(notification, error.message)
        log.error("event %s", notification.id, exc_info=error)
        return self._note_failure(notification, "an unexpected error; the server's log has it")

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

    def _apply(self, findings: list[_Finding]) -> None:
        self._outcomes.clear()
        with self._store.transaction():
            for finding in findings:
                self._dispatch(finding)
            # Once for all of them: the sums of a large repository take their time.
            pushed = {each.event.repository for each in findings if each.event and each.event.action == "push"}
            self._store.repositories.refresh(pushed)
        for outcome in self._outcomes:
            self._counters.add(EVENTS_APPLIED, outcome)

    def _mark(self, notification: Notification, outcome: str) -> bool:
        """False: another process was first."""
        is_first = self._store.inbox.mark_applied(notification.id, outcome)
        if is_first:
            self._outcomes.append(outcome)
        return is_first

    def _dispatch(self, finding: _Finding) -> None:
        notification, event = finding.notification, finding.event
        if finding.trouble:
            self._set_aside(notification, finding.trouble)
            return
        apply = {"push": self._push, "pull": self._pull, "delete": self._delete}.get(event.action)
        if not apply or not is_repository(event.repository):
            self._store.inbox.mark_kept(notification.id, "nothing to do")
            self._outcomes.append("nothing to do")
        elif not _is_about_manifest(event):
            self._mark(notification, "about no manifest")
        else:
            apply(finding)

    def _push(self, finding: _Finding) -> None:
        notification, event, digest = finding.notification, finding.event, finding.digest
        name, repositories = event.repository, self._store.repositories
        if not self._mark(notification, "pushed" if digest else "gone before it was looked up"):
            return
        if not digest:
            return
        if not repositories.has_manifest(name, digest):
            if not finding.fetched or not finding.fetched.parts:
                # It was known when we looked, and a synchronisation has removed it since.
                raise _NotSettled
            self._indexer.save(name, finding.fetched)
        if event.tag:
            repositories.point_tag(name, event.tag, digest)
        if digest == event.digest and not self._is_own(event):
            repositories.record_push(name, event.tag, digest, self._time(event), event.actor)
        self._note(event)
        if event.tag and not self._is_own(event):
            self._store.activity.count("push", self._time(event))

    def _pull(self, finding: _Finding) -> None:
        event = finding.event
        is_counted = event.method != "HEAD" and not self._is_own(event)
        is_first = self._mark(finding.notification, "counted" if is_counted else "not counted")
        if not is_first or not is_counted:
            return
        if self._store.repositories.record_pull(event.repository, event.tag, event.digest, self._time(event)):
            self._note(event)
            self._store.activity.count("pull", self._time(event))

    def _delete(self, finding: _Finding) -> None:
        event, is_gone = finding.event, not finding.digest
        is_first = self._mark(finding.notification, "removed" if is_gone else "still there")
        if not is_first or not is_gone:
            return
        if event.tag:
            self._store.repositories.remove_tag(event.repository, event.tag)
        else:
            self._store.repositories.remove_manifest(event.repository, event.digest)
        self._note(event)

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
