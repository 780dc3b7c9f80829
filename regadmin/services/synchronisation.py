"""Bringing the index in line with the registry, whatever events were missed."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from regadmin.entities import SyncRun
from regadmin.errors import Conflict, Error, RegistryUnavailable
from regadmin.registry.client import RegistryClient
from regadmin.services.indexing import Indexer
from regadmin.store import Store

log = logging.getLogger(__name__)

STALE_AFTER = 120
"""Seconds without a sign of life after which a run is taken for dead."""

_BEAT = 0.5
_GIVE_UP_AFTER = 20


class _Aborted(Exception):
    """The registry is away: going on would only repeat the same error."""


@dataclass
class _Progress:
    """The counters of a run, shared by its threads."""

    store: Store
    run: SyncRun
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_complete: bool = True
    failures: int = 0
    beat_at: float = 0

    def count(self, **amounts: int) -> None:
        with self.lock:
            changes = {name: getattr(self.run, name) + amount for name, amount in amounts.items()}
            self.run = replace(self.run, **changes)
            self.failures = 0
            self._beat()

    def fail(self, what: str, error: Error) -> None:
        """Note an error. One that may come from the registry's absence makes the pass incomplete."""
        with self.lock:
            self.run = replace(self.run, errors=(*self.run.errors, f"{what}: {error.message}"))
            if isinstance(error, RegistryUnavailable):
                self.is_complete = False
                self.failures += 1
            self._beat()

    def _beat(self) -> None:
        if time.monotonic() - self.beat_at > _BEAT:
            self.beat_at = time.monotonic()
            self.store.sync_runs.progress(self.run)


class Synchronisation:
    """One run at a time, whoever starts it: timer, button, REST call or command line."""

    def __init__(self, store: Store, registry: RegistryClient, indexer: Indexer, parallel: int = 8):
        self._store = store
        self._registry = registry
        self._indexer = indexer
        self._parallel = parallel

    def start(self, trigger: str) -> SyncRun:
        """Begin a run in the background. Raises Conflict if one is going on."""
        run = self._begin(trigger)
        threading.Thread(target=self._work, args=(run,), name="synchronisation", daemon=True).start()
        return run

    def run(self, trigger: str) -> SyncRun:
        """Run to the end. Raises Conflict if one is going on; the registry's faults are in the result."""
        return self._work(self._begin(trigger))

    def latest(self) -> SyncRun | None:
        """The running synchronisation, else the last one."""
        return self._store.sync_runs.latest()

    def run_if_empty(self) -> None:
        if self._store.repositories.is_empty():
            self.run_by_timer("start")

    def run_by_timer(self, trigger: str = "timer") -> None:
        try:
            self.run(trigger)
        except Conflict as error:
            log.info("synchronisation: %s", error.message)

    def _begin(self, trigger: str) -> SyncRun:
        run_id = self._store.sync_runs.start(trigger, STALE_AFTER)
        if run_id is None:
            current = self._store.sync_runs.latest()
            since = time.strftime("%H:%M", time.gmtime(current.started_at))
            raise Conflict(f"already running since {since} UTC, by {current.trigger}")
        return self._store.sync_runs.find(run_id)

    def _work(self, run: SyncRun) -> SyncRun:
        progress = _Progress(self._store, run)
        try:
            self._walk(progress)
        except Error as error:
            progress.fail("registry", error)
            progress.is_complete = False
        except _Aborted:
            progress.is_complete = False
        except Exception:
            log.exception("synchronisation broke off")
            progress.is_complete = False
        return self._finish(progress)

    def _finish(self, progress: _Progress) -> SyncRun:
        if progress.is_complete:
            progress.count(removed=self._store.repositories.sweep(progress.run.id))
        run = replace(progress.run, state="complete" if progress.is_complete else "failed")
        self._store.sync_runs.finish(run)
        for error in run.errors[:10]:
            log.warning("synchronisation: %s", error)
        log.info("synchronisation %s: %s repositories, %s tags", run.state, run.repositories_done, run.tags)
        return run

    def _walk(self, progress: _Progress) -> None:
        names = list(self._registry.repositories())
        progress.count(repositories_total=len(names))
        with ThreadPoolExecutor(self._parallel, "sync") as fetchers, ThreadPoolExecutor(2, "list") as listers:
            listed = _ahead(listers, lambda name: (name, self._tags(name, progress)), names, 2 * self._parallel)
            tasks = ((name, tag) for name, tags in listed for tag in tags)
            for _ in _ahead(fetchers, lambda task: self._take(*task, progress), tasks, 4 * self._parallel):
                if progress.failures >= _GIVE_UP_AFTER:
                    raise _Aborted
        self._store.repositories.refresh(names)

    def _tags(self, name: str, progress: _Progress) -> list[str]:
        try:
            tags = self._registry.tags(name)
        except Error as error:
            progress.fail(name, error if isinstance(error, RegistryUnavailable) else _incomplete(error))
            return []
        progress.count(repositories_done=1)
        return tags

    def _take(self, name: str, tag: str, progress: _Progress) -> None:
        """One tag: ask whether it is still what we know, else take it in. A broken one stays as it was."""
        try:
            known = self._store.repositories.tag_digest(name, tag)
            fetched = self._indexer.fetch(name, tag, known)
            with self._store.transaction():
                if fetched:
                    self._indexer.save(name, fetched)
                    self._store.repositories.point_tag(name, tag, fetched.digest)
                else:
                    self._store.repositories.confirm_tag(name, tag)
                    self._store.repositories.confirm_manifest(name, known)
            progress.count(tags=1, added=bool(fetched and not known), updated=bool(fetched and known))
        except Error as error:
            self._store.repositories.confirm_tag(name, tag)
            progress.fail(f"{name}:{tag}", error)


def _incomplete(error: Error) -> RegistryUnavailable:
    """A repository whose tags cannot be listed leaves the pass incomplete, for whatever reason."""
    return RegistryUnavailable(error.message)


def _ahead(pool: ThreadPoolExecutor, work, items: Iterable, window: int):
    """Like `pool.map`, but at most `window` items ahead of the consumer, so that memory stays flat."""
    pending: deque[Future] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
