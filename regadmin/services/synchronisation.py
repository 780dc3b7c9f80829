"""Bringing the index in line with the registry, whatever events were missed."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby

from regadmin.entities import Page, SyncRun
from regadmin.errors import Conflict, Error, Malformed, RegistryUnavailable
from regadmin.messages import Message
from regadmin.registry.client import RegistryClient
from regadmin.services.indexing import Fetched, Indexer, Question, ahead
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.sync_runs import MAX_ERRORS

log = logging.getLogger(__name__)

_BEAT = 0.5
"""Seconds between two looks at the counters, and after which what was found is saved, however little it is."""

_BATCH = 100
"""Tags that are saved in one transaction: few enough to hold up no other writer for long."""

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


class _Intake:
    """What a run found, saved in batches."""

    def __init__(self, store: Store, indexer: Indexer):
        self._store = store
        self._indexer = indexer
        self._waiting: list[tuple[Question, Fetched | None]] = []
        self._since = 0.0
        self._changed: set[str] = set()

    def add(self, question: Question, fetched: Fetched | None) -> None:
        """The tag that was asked for, with what it points to now; None confirms what is known."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.append((question, fetched))
        if len(self._waiting) >= _BATCH or time.monotonic() - self._since >= _BEAT:
            self.save()

    def save(self) -> None:
        found, self._waiting = self._waiting, []
        with self._store.transaction():
            for name, group in groupby(found, lambda pair: pair[0].repository):
                self._refresh_others(name)
                self._save(name, list(group))

    def _save(self, name: str, found: list[tuple[Question, Fetched | None]]) -> None:
        repositories, saved = self._store.repositories, set()
        for question, fetched in found:
            if not fetched:
                continue
            self._changed.add(name)
            if fetched.digest not in saved:
                self._indexer.save(name, fetched)
                saved.add(fetched.digest)
            # If an event has moved the tag meanwhile, it knows better.
            if repositories.tag_digest(name, question.reference) == question.known_digest:
                repositories.point_tag(name, question.reference, fetched.digest)
        repositories.confirm_tags(name, [question.reference for question, _ in found])

    def _refresh_others(self, name: str) -> None:
        """The sums of a repository are made once it is done; those of the last ones when the run ends."""
        if done := self._changed - {name}:
            self._store.repositories.refresh(done)
            self._changed -= done


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
        self.hand_over: Callable[[int, int], None] | None = None
        """If another process carries out what is started here: it gets the run's id and the file that locks it."""

    def stop(self) -> None:
        """Let a run end early and without removing anything: the process wants to end.

        It may wait for a registry that hangs until the process is gone, and must not hold up the next one.
        """
        self._is_stopped = True
        self._store.sync_runs.interrupt(self._run_id)

    def start(self, trigger: str) -> SyncRun:
        """Begin a run in the background. Raises Conflict if one is going on."""
        run = self._begin(trigger)
        if self.hand_over:
            lock = self._store.sync_runs.give_lock_away(run.id)
            try:
                self.hand_over(run.id, lock)
            finally:
                os.close(lock)
        else:
            threading.Thread(target=self._work, args=(run.id,), name="synchronisation", daemon=True).start()
        return run

    def take_over(self, run_id: int, lock: int) -> None:
        """Carry out, to the end, a run that another process began."""
        self._store.sync_runs.take_lock_over(run_id, lock)
        self._work(run_id)

    def run(self, trigger: str) -> SyncRun:
        """Run to the end. Raises Conflict if one is going on; the registry's faults are in the result."""
        return self._work(self._begin(trigger).id)

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
        self._store.sync_runs.interrupt_dead()
        if self._store.sync_runs.has_complete() and not self._store.repositories.is_empty():
            return True
        return self._indexer.registry_answers() and self._is_done_unless_running(self.run, "start")

    def start_by_timer(self) -> bool:
        """Begin a run in the background, unless one is going on; tells whether it began."""
        return self._is_done_unless_running(self.start, "timer")

    def _is_done_unless_running(self, begin: Callable[[str], SyncRun], trigger: str) -> bool:
        try:
            begin(trigger)
        except Conflict as error:
            log.info("synchronisation: %s", error.message)
            return False
        return True

    def _begin(self, trigger: str) -> SyncRun:
        run_id = self._store.sync_runs.start(trigger)
        if run_id is None:
            current = self._store.sync_runs.latest()
            if not current:
                raise Conflict(Message("another one is just beginning"))
            since = time.strftime("%H:%M", time.gmtime(current.started_at))
            raise Conflict(
                Message("already running since %(time)s UTC, by %(trigger)s", time=since, trigger=current.trigger)
            )
        return self._store.sync_runs.find(run_id)

    def _work(self, run_id: int) -> SyncRun:
        self._run_id = run_id
        try:
            return self._run(_Progress(self._store, self._store.sync_runs.find(run_id)))
        finally:
            self._store.sync_runs.release(run_id)

    def _run(self, progress: _Progress) -> SyncRun:
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
        listers = ThreadPoolExecutor(2, "list")
        try:
            listed = ahead((name, listers.submit(self._tags, name, progress)) for name in names)
            questions = (question for name, tags in listed for question in self._questions(name, tags.result()))
            with self._indexer.answers(questions, self._parallel) as answers:
                self._take_in(answers, progress)
        finally:
            listers.shutdown(cancel_futures=True)

    def _questions(self, name: str, tags: list[str]) -> Iterator[Question]:
        """Is each tag still what we know?"""
        for start in range(0, len(tags), _BATCH):
            part = tags[start : start + _BATCH]
            known = self._store.repositories.tags_named(name, part)
            yield from (Question(None, name, tag, known.get(tag, "")) for tag in part)

    def _take_in(self, answers: Iterable[tuple[Question, Future]], progress: _Progress) -> None:
        intake = _Intake(self._store, self._indexer)
        try:
            for question, answer in answers:
                intake.add(question, self._result(question, answer, progress))
                self._check(progress)
        finally:
            intake.save()

    def _result(self, question: Question, answer: Future, progress: _Progress) -> Fetched | None:
        """What is new. A tag whose manifest cannot be had stays as it was."""
        try:
            fetched = answer.result()
        except Error as error:
            progress.fail(f"{question.repository}:{question.reference}", error)
            return None
        is_known = bool(question.known_digest)
        progress.count(tags=1, added=bool(fetched and not is_known), updated=bool(fetched and is_known))
        return fetched

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

    def _check(self, progress: _Progress) -> None:
        """Raises _Aborted once the registry is away, or the process wants to end."""
        if progress.failures >= _DOUBT_AFTER:
            progress.failures = 0
            progress.is_aborted |= not self._indexer.registry_answers()
        if progress.is_aborted or self._is_stopped:
            raise _Aborted
