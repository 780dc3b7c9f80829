"""What can be measured of the server, for those who watch it. docs/metrics.md explains it to them.

`METRICS` names all of it. What happens is counted in shared counters; the rest is looked up when somebody asks.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from regadmin.counters import Counters, Name
from regadmin.entities import SyncRun
from regadmin.services.health import Health
from regadmin.services.tokens import Extent
from regadmin.store import Store
from regadmin.version import __version__

Samples = dict[str, float]
"""Numbers by the value of their label; '' where the metric has none."""

TOKEN_ANSWERS = "regadmin_token_answers_total"
TOKEN_SECONDS = "regadmin_token_answer_seconds"
HTTP_REQUESTS = "regadmin_http_requests_total"
EVENTS_RECEIVED = "regadmin_events_received_total"
EVENTS_APPLIED = "regadmin_events_applied_total"
SIGN_INS_REFUSED = "regadmin_sign_ins_refused_total"
REQUESTS_WAITING = "regadmin_requests_waiting"
CONNECTIONS = "regadmin_connections"

SUM = "sum"
"""Of a histogram, beside its buckets."""

_NANO = 10**9
_MILLISECONDS = (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_BOUNDS = [int(bound * 10**6) for bound in _MILLISECONDS]
_BUCKETS = (*(str(bound / 1000) for bound in _MILLISECONDS), "+Inf")
_RESULTS = (*Extent, "refused", "throttled", "error")
_FAILURES = {"401": "refused", "403": "refused", "429": "throttled"}
_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_EVENT_KINDS = ("push", "pull", "delete")
_OTHER = "other"
_STATES = ("complete", "failed", "interrupted")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    name: str
    kind: Kind
    meaning: str
    label: str = ""
    values: tuple[str, ...] = ()
    """Those that the label can have."""

    def cells(self) -> list[Name]:
        return [(self.name, value) for value in self.values or ("",)]


_TOTALS = (
    Metric(TOKEN_ANSWERS, Kind.COUNTER,
           "Answers of the token realm: granted in full, in part or nothing of what was asked for; refused; too early "
           "after failures; or not to be answered",
           "result", _RESULTS),
    Metric(TOKEN_SECONDS, Kind.HISTOGRAM,
           "Time that answers of the token realm took, once there was a thread for them", "le", (*_BUCKETS, SUM)),
    Metric(HTTP_REQUESTS, Kind.COUNTER,
           "Requests that were answered, by class of status", "status", _CLASSES),
    Metric(EVENTS_RECEIVED, Kind.COUNTER,
           "Notifications of the registry that were received, repeated ones too", "kind", (*_EVENT_KINDS, _OTHER)),
    Metric(EVENTS_APPLIED, Kind.COUNTER,
           "Notifications that were done with, by what became of them", "outcome",
           ("pushed", "counted", "not counted", "removed", "still there", "gone before it was looked up",
            "about no manifest", "nothing to do", "set aside")),
    Metric(SIGN_INS_REFUSED, Kind.COUNTER,
           "Credentials that were wrong, came too early after failures, or could not be checked", "reason",
           ("credentials", "throttled", "unavailable")),
)  # fmt: skip
_LEVELS = (
    Metric(REQUESTS_WAITING, Kind.GAUGE, "Requests that wait for a thread"),
    Metric(CONNECTIONS, Kind.GAUGE, "Connections of clients that are open"),
)
_LOOKED_UP = (
    Metric("regadmin_events_waiting", Kind.GAUGE, "Notifications that are not applied yet"),
    Metric("regadmin_events_oldest_seconds", Kind.GAUGE,
           "For how long the oldest of them has been waiting; 0 if none waits"),
    Metric("regadmin_events_set_aside", Kind.GAUGE, "Notifications of the last 7 days that could not be applied"),
    Metric("regadmin_sync_running", Kind.GAUGE, "Whether a synchronisation is going on"),
    Metric("regadmin_sync_state", Kind.GAUGE,
           "1 for how the last synchronisation ended that is over; absent before the first is", "state", _STATES),
    Metric("regadmin_sync_start_timestamp_seconds", Kind.GAUGE, "When it began"),
    Metric("regadmin_sync_duration_seconds", Kind.GAUGE, "How long it took"),
    Metric("regadmin_sync_complete_timestamp_seconds", Kind.GAUGE,
           "When the last complete one ended; absent before the first is"),
    Metric("regadmin_registry_up", Kind.GAUGE, "Whether the registry answered when it was last asked"),
    Metric("regadmin_certificate_end_timestamp_seconds", Kind.GAUGE,
           "When the certificate ends that signs tokens (absent in basic mode), and the one of HTTPS if we serve it",
           "use", ("tokens", "https")),
    Metric("regadmin_users", Kind.GAUGE, "Accounts, of people and of robots"),
    Metric("regadmin_access_tokens", Kind.GAUGE,
           "Access tokens that open something: neither over nor of a blocked account"),
    Metric("regadmin_repositories", Kind.GAUGE, "Repositories in the index"),
    Metric("regadmin_tags", Kind.GAUGE, "Tags in the index"),
    Metric("regadmin_workers_configured", Kind.GAUGE, "Processes that shall answer requests"),
    Metric("regadmin_workers_alive", Kind.GAUGE, "Processes that do"),
    Metric("regadmin_resident_memory_bytes", Kind.GAUGE,
           "Memory of these processes; what they share is counted for each"),
    Metric("regadmin_start_timestamp_seconds", Kind.GAUGE, "When the server started"),
    Metric("regadmin_build_info", Kind.GAUGE, "Always 1", "version", (__version__,)),
)  # fmt: skip
METRICS = (*_TOTALS, *_LEVELS, *_LOOKED_UP)


def new_counters(processes: int) -> Counters:
    """Counters of all that is counted as it happens."""
    totals = [cell for metric in _TOTALS for cell in metric.cells()]
    return Counters(totals, [cell for metric in _LEVELS for cell in metric.cells()], processes)


class RequestCounts:
    """Counts answers by their HTTP status. Thousands a second come here, so the cells are looked up beforehand."""

    def __init__(self, counters: Counters):
        self._counters = counters
        self._classes = {name[0]: counters.cell(HTTP_REQUESTS, name) for name in _CLASSES}
        self._results = {result: counters.cell(TOKEN_ANSWERS, result) for result in _RESULTS}
        self._buckets = [counters.cell(TOKEN_SECONDS, bound) for bound in _BUCKETS]
        self._sum = counters.cell(TOKEN_SECONDS, SUM)

    def add(self, status: str) -> None:
        self._counters.add_at((self._classes[status[0]], 1))

    def add_token_answer(self, status: str, extent: Extent | None, nanoseconds: int) -> None:
        """`extent` is that of the token, if there is one."""
        self._counters.add_at(
            (self._classes[status[0]], 1),
            (self._results[extent or _FAILURES.get(status[:3], "error")], 1),
            (self._buckets[bisect_left(_BOUNDS, nanoseconds)], 1),
            (self._sum, nanoseconds),
        )


def count_received_event(counters: Counters, action: str) -> None:
    counters.add(EVENTS_RECEIVED, action if action in _EVENT_KINDS else _OTHER)


class Metrics:
    """The first `workers` rows of the counters are of those that answer requests.

    `certificate_ends` gives seconds since 1970 by what each certificate is used for.
    """

    def __init__(
        self,
        counters: Counters,
        workers: int,
        store: Store,
        health: Health,
        certificate_ends: Callable[[], dict[str, int]],
    ):
        self._counters = counters
        self._workers = workers
        self._store = store
        self._health = health
        self._certificate_ends = certificate_ends
        self._started_at = store.now()

    def note_load(self, waiting: int, connections: int) -> None:
        """How many requests wait for a thread of this process, and how many connections it has."""
        self._counters.set(REQUESTS_WAITING, waiting)
        self._counters.set(CONNECTIONS, connections)

    def collect(self) -> dict[str, Samples]:
        """All metrics by their names. One that nothing is known of yet has no samples."""
        return self._counted() | self._events() | self._synchronisation() | self._content() | self._server()

    def _counted(self) -> dict[str, Samples]:
        counters = self._counters
        found = {m.name: {kind: counters.total(name, kind) for name, kind in m.cells()} for m in _TOTALS}
        found[TOKEN_SECONDS][SUM] /= _NANO
        return found | {m.name: {"": counters.level(m.name)} for m in _LEVELS}

    def _events(self) -> dict[str, Samples]:
        inbox = self._store.inbox
        oldest = inbox.oldest_waiting()
        return {
            "regadmin_events_waiting": {"": inbox.count_waiting()},
            "regadmin_events_oldest_seconds": {"": 0 if oldest is None else max(0, self._store.now() - oldest)},
            "regadmin_events_set_aside": {"": inbox.count_set_aside()},
        }

    def _synchronisation(self) -> dict[str, Samples]:
        runs = self._store.sync_runs
        latest, ended, completed = runs.latest(), runs.latest_ended(), runs.latest_completion()
        return {
            "regadmin_sync_running": {"": latest is not None and latest.state == "running"},
            **_ended(ended),
            "regadmin_sync_complete_timestamp_seconds": {} if completed is None else {"": completed},
        }

    def _content(self) -> dict[str, Samples]:
        counts = self._store.overview.counts()
        return {
            "regadmin_users": {"": counts.users},
            "regadmin_access_tokens": {"": self._store.access_tokens.count_good()},
            "regadmin_repositories": {"": counts.repositories},
            "regadmin_tags": {"": counts.tags},
        }

    def _server(self) -> dict[str, Samples]:
        living = self._counters.living(self._workers)
        return {
            "regadmin_registry_up": {"": self._health.down_since is None},
            "regadmin_certificate_end_timestamp_seconds": self._certificate_ends(),
            "regadmin_workers_configured": {"": self._workers},
            "regadmin_workers_alive": {"": len(living)},
            "regadmin_resident_memory_bytes": {"": sum(map(_resident, living))},
            "regadmin_start_timestamp_seconds": {"": self._started_at},
            "regadmin_build_info": {__version__: 1},
        }


def _ended(run: SyncRun | None) -> dict[str, Samples]:
    return {
        "regadmin_sync_state": {state: state == run.state for state in _STATES} if run else {},
        "regadmin_sync_start_timestamp_seconds": {"": run.started_at} if run else {},
        "regadmin_sync_duration_seconds": {"": max(0, run.finished_at - run.started_at)} if run else {},
    }


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:  # It has just ended.
        return 0
