"""The state of the whole: what there is, what it weighs, and what needs the owner's attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from typing import NamedTuple

from regadmin.certificates.signing import WARNING_DAYS
from regadmin.entities import Counts, RepositoryStorage, Storage
from regadmin.services.provision_report import find_report
from regadmin.store import Store

LARGEST = 10
"""Repositories that are shown one by one."""

_SMALL = 10_000
"""Blobs: what so few make up is measured for every reader, in some milliseconds."""

_NAME = "storage"


class Kind(StrEnum):
    CERTIFICATE = "certificate"
    """The certificate that signs tokens ends in `number` days."""
    EVENTS = "events"
    """`number` notifications could not be applied."""
    PROVISION = "provision"
    """`number` mistakes keep the files from being applied that decide about users, groups and rules."""
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
    """`days_left` tells how many days the certificate is good for that signs tokens, if it is used at all.

    `is_provisioned` if files decide about users, groups and rules.
    """

    def __init__(self, store: Store, days_left: Callable[[], int | None], is_provisioned: bool = False):
        self._store = store
        self._days_left = days_left
        self._is_provisioned = is_provisioned

    def counts(self) -> Counts:
        return self._store.overview.counts()

    def storage(self) -> Measured:
        """With a large index that of the background work, some minutes old, if there is one."""
        if self._store.overview.is_small(_SMALL):
            return self._measured_now()
        found = self._store.findings.find(_NAME)
        return Measured(found[0], _storage(found[1])) if found else self._measured_now()

    def measure(self) -> bool:
        """For the background work of one process: keep the measurement for all of them."""
        self._store.findings.keep(_NAME, asdict(self._measured_now().storage))
        return True

    def _measured_now(self) -> Measured:
        return Measured(self._store.now(), self._store.overview.storage(LARGEST))

    def concerns(self) -> list[Concern]:
        days_left, set_aside = self._days_left(), self._store.inbox.count_set_aside()
        run = self._store.sync_runs.latest()
        report = find_report(self._store) if self._is_provisioned else None
        return [
            *([Concern(Kind.CERTIFICATE, days_left)] if days_left is not None and days_left < WARNING_DAYS else []),
            *([Concern(Kind.EVENTS, set_aside)] if set_aside else []),
            *([Concern(Kind.PROVISION, len(report.errors))] if report and report.errors else []),
            *([Concern(Kind.SYNCHRONISATION)] if run and run.state in ("failed", "interrupted") else []),
        ]


def _storage(kept: dict) -> Storage:
    parts = {"largest": tuple(RepositoryStorage(**row) for row in kept["largest"])}
    return Storage(**kept | parts | {"others": RepositoryStorage(**kept["others"])})
