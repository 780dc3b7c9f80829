"""The state of the whole: what there is, what it weighs, and what needs the owner's attention."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from regadmin.certificates.signing import WARNING_DAYS
from regadmin.entities import Counts, Storage
from regadmin.store import Store

LARGEST = 10
"""Repositories that are shown one by one."""

_CHEAP = 0.05
"""Seconds: what takes less to measure is measured for every reader."""

_KEPT = 600
"""Seconds for which a measurement is good that took longer."""


class Kind(StrEnum):
    CERTIFICATE = "certificate"
    """The certificate that signs tokens ends in `number` days."""
    EVENTS = "events"
    """`number` notifications could not be applied."""
    SYNCHRONISATION = "synchronisation"
    """The last synchronisation failed."""


class Concern(NamedTuple):
    kind: Kind
    number: int = 0


class Measured(NamedTuple):
    """What is stored, as it was `at` that time in seconds."""

    at: int
    storage: Storage


class Overview:
    """`days_left` tells how many days the certificate is good for that signs tokens, if it is used at all."""

    def __init__(self, store: Store, days_left: Callable[[], int | None]):
        self._store = store
        self._days_left = days_left
        self._measured: Measured | None = None
        self._cost = 0.0

    def counts(self) -> Counts:
        return self._store.overview.counts()

    def storage(self) -> Measured:
        """With a large index it is some minutes old: to measure that takes a second."""
        is_old = not self._measured or self._store.now() - self._measured.at > _KEPT
        return self.measure() if is_old or self._cost < _CHEAP else self._measured

    def measure(self) -> Measured:
        started = time.perf_counter()
        measured = self._measured = Measured(self._store.now(), self._store.overview.storage(LARGEST))
        self._cost = time.perf_counter() - started
        return measured

    def concerns(self) -> list[Concern]:
        days_left, set_aside = self._days_left(), self._store.inbox.count_set_aside()
        run = self._store.sync_runs.latest()
        return [
            *([Concern(Kind.CERTIFICATE, days_left)] if days_left is not None and days_left < WARNING_DAYS else []),
            *([Concern(Kind.EVENTS, set_aside)] if set_aside else []),
            *([Concern(Kind.SYNCHRONISATION)] if run and run.state in ("failed", "interrupted") else []),
        ]
