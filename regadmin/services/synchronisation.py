"""Bringing the index in line with the registry, whatever events were missed."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from regadmin.entities import Page, SyncRun
from regadmin.errors import Conflict, Error, Malformed, RegistryUnavailable
from regadmin.messages import Message
from regadmin.registry.client import RegistryClient
from regadmin.services.indexing import Indexer
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.sync_runs import MAX_ERRORS

log = logging.getLogger(__name__)

STALE_AFTER = 120
"""Seconds without a sign of life after which a run is taken for dead."""

_BEAT = 0.5
"""Seconds between two looks at the counters."""

_DOUBT_AFTER = 20
"""Failures in a row after which the registry is asked whether it is there at all."""


class _Aborted(Exception):
    """The registry is away: going on would only repeat the same error."""


@dataclass
class _Progress:
    """The counters of a run, shared by its threads."""

    store: Store
    run: SyncRun
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_complete: bool = True
    is_aborted: bool = False
    failures: int = 0

    def count(self, **amounts: int) -> None:
        with self.lock:
            changes = {name: getattr(self.run, name) + amount for name, amount in amounts.items()}
            self.run = replace(self.run, **changes)
            self.failures = 0

    def fail(self, what: str, error: Error) -> None:
        with self.lock:
            if len(self.run.errors) < MAX_ERRORS:
                complaint = Message("%(what)s: %(reason)s", what=what, reason=error.message)
                self.run = replace(self.run, errors=(*self.run.errors, complaint))
            self.failures += isinstance(error, RegistryUnavailable)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the counters in the store meanwhile, also while all threads wait for a slow registry."""
        ended = threading.Event()
        thread = threading.Thread(target=self._show_until, args=(ended,), name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _show_until(self, ended: threading.Event) -> None:
        while not ended.wait(_BEAT):
            try:
                self.store.sync_runs.progress(self.run)
            except sqlite3.OperationalError as error:
                log.warning("the progress of the synchronisation is not shown: %s", error)
        self.store.close()


class Synchronisation:
    """One run at a time, whoever starts it: timer, button, REST call or command line.

    A pass is complete when the catalog and the tags of every repository were listed to their end; only then
    what it did not see is removed. A manifest that cannot be had is reported, and its tag stays as it was.
    """

    def __init__(self, store: Store, registry: RegistryClient, indexer: Indexer, parallel: int = 8):
        self._store = store
        self._registry = registry
        self._indexer = indexer
        self._parallel = parallel
        self._is_stopped = False
        self._run_id = 0

    def stop(self) -> None:
        """Let a run end early and without removing anything: the process wants to end.

        It may wait for a registry that hangs until the process is gone, and must not hold up the next one.
        """
        self._is_stopped = True
        self._store.sync_runs.interrupt(self._run_id)

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

    def list(self, listing: Listing) -> Page:
        """All runs that are kept, by `id`."""
        return self._store.sync_runs.list(listing)

    def run_if_empty(self) -> bool:
        """Fill an index that is empty or was never completely read. False: try again later.

        That is when the registry is away, or while another run is going on.
        """
        if self._store.sync_runs.has_complete() and not self._store.repositories.is_empty():
            return True
        return self._indexer.registry_answers() and self.run_by_timer("start")

    def run_by_timer(self, trigger: str = "timer") -> bool:
        """Run to the end, unless one is going on; tells whether it ran."""
        try:
            self.run(trigger)
        except Conflict as error:
            log.info("synchronisation: %s", error.message)
            return False
        return True

    def _begin(self, trigger: str) -> SyncRun:
        run_id = self._store.sync_runs.start(trigger, STALE_AFTER)
        if run_id is None:
            current = self._store.sync_runs.latest()
            since = time.strftime("%H:%M", time.gmtime(current.started_at))
            raise Conflict(
                Message("already running since %(time)s UTC, by %(trigger)s", time=since, trigger=current.trigger)
            )
        self._run_id = run_id
        return self._store.sync_runs.find(run_id)

    def _work(self, run: SyncRun) -> SyncRun:
        progress = _Progress(self._store, run)
        try:
            with progress.shown():
                self._walk(progress)
        except _Aborted:
            progress.is_complete = False
        except (KeyboardInterrupt, SystemExit):
            progress.is_complete = False
            self._finish(progress)
            raise
        except Error as error:
            progress.fail(Message("the catalog"), error)
            progress.is_complete = False
        except Exception:
            log.exception("synchronisation broke off")
            progress.fail(Message("synchronisation"), Error(Message("broke off; the server's log says why")))
            progress.is_complete = False
        return self._finish(progress)

    def _finish(self, progress: _Progress) -> SyncRun:
        if progress.is_complete:
            progress.count(removed=self._store.repositories.sweep(progress.run.id))
        else:
            self._store.repositories.refresh_all()
        run = replace(progress.run, state="complete" if progress.is_complete else "failed")
        self._store.sync_runs.finish(run)
        for error in run.errors[:10]:
            log.warning("synchronisation: %s", error)
        log.info("synchronisation %s: %s repositories, %s tags", run.state, run.repositories_done, run.tags)
        return run

    def _walk(self, progress: _Progress) -> None:
        names = []
        for name in self._registry.repositories():
            names.append(name)
            progress.count(repositories_total=1)
        with ThreadPoolExecutor(self._parallel, "sync") as fetchers, ThreadPoolExecutor(2, "list") as listers:
            listed = _ahead(listers, lambda name: (name, self._tags(name, progress)), names, 2 * self._parallel)
            tasks = ((name, tag) for name, tags in listed for tag in tags)
            taken = _ahead(fetchers, lambda task: self._take(*task, progress), tasks, 4 * self._parallel)
            for name, outcomes in groupby(taken, itemgetter(0)):
                if sum(is_news for _, is_news in outcomes):
                    self._store.repositories.refresh([name])

    def _tags(self, name: str, progress: _Progress) -> list[str]:
        self._check(progress)
        try:
            tags = self._registry.tags(name)
        except Malformed as error:
            # Nothing of that name can be in the index.
            progress.fail(name, error)
            return []
        except Error as error:
            progress.is_complete = False
            progress.fail(name, error)
            return []
        progress.count(repositories_done=1)
        return tags

    def _take(self, name: str, tag: str, progress: _Progress) -> tuple[str, bool]:
        """One tag: ask whether it is still what we know, else take it in.

        If an event has moved the tag meanwhile, it knows better. Returns the repository, and whether there was news.
        """
        self._check(progress)
        repositories = self._store.repositories
        known = repositories.tag_digest(name, tag)
        try:
            fetched = self._indexer.fetch(name, tag, known)
        except Error as error:
            repositories.confirm_tag(name, tag)
            progress.fail(f"{name}:{tag}", error)
            return name, False
        with self._store.transaction():
            if fetched:
                self._indexer.save(name, fetched)
            if repositories.tag_digest(name, tag) == known:
                repositories.point_tag(name, tag, fetched.digest if fetched else known)
        progress.count(tags=1, added=bool(fetched and not known), updated=bool(fetched and known))
        return name, bool(fetched)

    def _check(self, progress: _Progress) -> None:
        """Raises _Aborted once the registry is away, or the process wants to end."""
        if progress.failures >= _DOUBT_AFTER:
            progress.failures = 0
            progress.is_aborted |= not self._indexer.registry_answers()
        if progress.is_aborted or self._is_stopped:
            raise _Aborted


def _ahead(pool: ThreadPoolExecutor, work, items: Iterable, window: int):
    """Like `pool.map`, but at most `window` items ahead of the consumer, so that memory stays flat."""
    pending: deque[Future] = deque()
    for item in items:
        pending.append(pool.submit(work, item))
        if len(pending) >= window:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
