"""Taking manifests from the registry into the index; shared by events and synchronisation."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from regadmin.entities import ImageConfig, Manifest
from regadmin.errors import Error, Malformed, NotFound, RegistryRefused
from regadmin.registry.client import RegistryClient
from regadmin.registry.manifests import MAX_BYTES, parse_config
from regadmin.store import Store

T = TypeVar("T")

_MAX_DEPTH = 3
"""An index may hold an index; deeper nesting is nobody's image."""

_AHEAD = 32
"""Look-ups that are begun before the first of them is wanted."""

_UNSAVED = 200
"""Answers of Indexer.answers that may be taken before they are saved."""


class Fetched(NamedTuple):
    """A manifest with all that is new below it, the children before their parents."""

    digest: str
    parts: tuple[tuple[Manifest, ImageConfig | None], ...]


class Question(NamedTuple):
    """What does the registry hold under the reference? Without one nothing is asked; `subject` is the asker's own."""

    subject: Any
    repository: str = ""
    reference: str = ""
    known_digest: str = ""


class Indexer:
    def __init__(self, store: Store, registry: RegistryClient):
        self._store = store
        self._registry = registry

    def fetch(self, repository: str, reference: str, known_digest: str = "") -> Fetched | None:
        """Get what the registry holds under the reference; None if it is still the known digest.

        Touches only the registry, so that it never holds a transaction open. Raises NotFound, Malformed and
        RegistryError.
        """
        manifest = self._registry.manifest(repository, reference, unless=known_digest)
        return manifest and self._complete(repository, manifest, {})

    @contextmanager
    def answers(self, questions: Iterable[Question], parallel: int) -> Iterator[Iterator[tuple[Question, Future]]]:
        """Ask many questions at a time: each with what `fetch` returns or raises, in their order.

        What several of them lead to is fetched once, and all of them get it; so save the answers in their order. Only
        so many questions are taken ahead that memory stays flat. At the end what was not begun is not asked any more.
        """
        pool = ThreadPoolExecutor(parallel, "look-up")
        try:
            yield self._answers(questions, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def save(self, repository: str, fetched: Fetched) -> None:
        with self._store.transaction():
            for manifest, config in fetched.parts:
                self._store.repositories.save_manifest(repository, manifest, config)

    def registry_answers(self) -> bool:
        """Tell a registry that is away from one that fails at a single thing."""
        try:
            self._registry.ping()
        except Error:
            return False
        return True

    def _answers(self, questions: Iterable[Question], pool: ThreadPoolExecutor) -> Iterator[tuple[Question, Future]]:
        unsaved: OrderedDict[tuple[str, str], Future] = OrderedDict()
        asked = ((question, pool.submit(self._look, question)) for question in questions)
        completed = (
            (question, self._completion(question.repository, look, unsaved, pool)) for question, look in ahead(asked)
        )
        yield from ahead(completed)

    def _look(self, question: Question) -> Manifest | None:
        if not question.reference:
            return None
        return self._registry.manifest(question.repository, question.reference, unless=question.known_digest)

    def _completion(
        self, repository: str, look: Future, unsaved: OrderedDict[tuple[str, str], Future], pool: ThreadPoolExecutor
    ) -> Future:
        """One flight for each digest, whoever else asks for it before it is saved."""
        if look.exception() or look.result() is None:
            return look
        key = repository, look.result().digest
        if key not in unsaved:
            unsaved[key] = pool.submit(self._complete, repository, look.result(), unsaved)
            if len(unsaved) > _UNSAVED + 2 * _AHEAD:
                unsaved.popitem(last=False)
        return unsaved[key]

    def _complete(self, repository: str, manifest: Manifest, coming: dict[tuple[str, str], Future]) -> Fetched:
        """The manifest with what is new below it; nothing, if it is known itself. `coming` is saved soon."""
        if self._store.repositories.has_manifest(repository, manifest.digest):
            return Fetched(manifest.digest, ())
        asked: set[str] = set()

        def is_new(digest: str) -> bool:
            return not (
                digest in asked
                or (repository, digest) in coming
                or self._store.repositories.has_manifest(repository, digest)
            )

        def parts(manifest: Manifest, depth: int):
            """An index may name a child many times, and so may its children: each digest is asked for once."""
            for child in manifest.children if depth else ():
                if is_new(child.digest):
                    asked.add(child.digest)
                    found = self._child(repository, child.digest)
                    if found:
                        yield from parts(found, depth - 1)
            yield manifest, self._config(repository, manifest)

        return Fetched(manifest.digest, tuple(parts(manifest, _MAX_DEPTH)))

    def _child(self, repository: str, digest: str) -> Manifest | None:
        """A child may be missing: sparse indexes exist, and the index says so on its page."""
        try:
            return self._registry.manifest(repository, digest)
        except (NotFound, Malformed):
            return None

    def _config(self, repository: str, manifest: Manifest) -> ImageConfig | None:
        if manifest.kind != "image" or not manifest.config or manifest.config.size > MAX_BYTES:
            return None
        known = self._store.repositories.any_config(manifest.config.digest)
        if known is not None:
            return parse_config(known)
        try:
            return parse_config(self._registry.blob(repository, manifest.config.digest))
        except (NotFound, Malformed, RegistryRefused):
            return None


def ahead(begun: Iterable[tuple[T, Future]]) -> Iterator[tuple[T, Future]]:
    """The same pairs once they are done, in their order, while the next ones are begun, though not too many."""
    pending: deque[tuple[T, Future]] = deque()
    for pair in begun:
        pending.append(pair)
        if len(pending) >= _AHEAD:
            yield _done(pending.popleft())
    while pending:
        yield _done(pending.popleft())


def _done(pair: tuple[T, Future]) -> tuple[T, Future]:
    wait([pair[1]])
    return pair
