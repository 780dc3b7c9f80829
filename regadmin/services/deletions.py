"""Deleting many images at once: what would go, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from regadmin.entities import Actor, Repository, User
from regadmin.errors import Conflict, Error, Malformed, NotFound, RegistryError, RegistryRefused, RegistryUnavailable
from regadmin.messages import Message
from regadmin.services.repositories import Repositories
from regadmin.store import Store
from regadmin.store.repository_reading import IndexedManifest, TagNames

MOST_TAGS = 200
"""How many tags can be chosen at once."""

MOST_UNASKED = 10
"""More images than this go only when the repository's name is typed."""

MOST_SECONDS = 20.0
"""How long one request deletes before it tells how far it came."""

_MOST_SIBLINGS = MOST_TAGS + 50


@dataclass(frozen=True, slots=True)
class ChosenImage:
    """An image under chosen tags. `others` would disappear with it; `other_count` may be more than are named."""

    manifest: IndexedManifest
    tags: tuple[str, ...]
    others: tuple[str, ...]
    other_count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What the chosen tags of a repository point to now. `missing` are no tags of it any more."""

    repository: Repository
    images: tuple[ChosenImage, ...]
    missing: tuple[str, ...]

    @property
    def needs_typing(self) -> bool:
        return len(self.images) > MOST_UNASKED

    @property
    def has_index(self) -> bool:
        return any(image.manifest.kind == "index" for image in self.images)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What went, what did not and why, and what was not tried because the registry stopped it or time was up.

    `is_refused` tells that the registry allows no deletions at all.
    """

    deleted: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    untried: tuple[str, ...] = ()
    is_refused: bool = False


Step = tuple[str, Callable[[], object]]


class Deletions:
    def __init__(self, store: Store, repositories: Repositories, clock: Callable[[], float] = time.monotonic):
        self._index = store.repositories
        self._repositories = repositories
        self._clock = clock

    def plan(self, user: User | None, name: str, tags: list[str]) -> Plan:
        """Raises NotFound, and Malformed if no tag or too many are chosen."""
        repository = self._repositories.find(user, name)
        chosen = list(dict.fromkeys(tags))
        if not 1 <= len(chosen) <= MOST_TAGS:
            raise Malformed(Message("choose 1 to %(most)s tags", most=MOST_TAGS))
        known = self._index.tags_named(name, chosen)
        by_digest = self._index.tags_by_digest(name, known.values(), _MOST_SIBLINGS)
        manifests = self._index.manifests(name, known.values())
        digests = dict.fromkeys(known[tag] for tag in chosen if tag in known)
        return Plan(
            repository,
            tuple(_chosen(manifests[digest], by_digest[digest], known) for digest in digests),
            tuple(tag for tag in chosen if tag not in known),
        )

    def count_images(self, name: str) -> int:
        """All that the index knows of the repository, tagged or not."""
        return len(self._index.digests(name))

    def delete_images(self, name: str, chosen: dict[str, str], by: Actor, with_children: bool = False) -> Outcome:
        """Delete the images under the tags, with all their tags. `chosen` tells the digest of each tag, as it was
        when somebody decided: a tag that points elsewhere by now dooms nothing.
        """
        tags_of: dict[str, list[str]] = {}
        for tag, digest in chosen.items():
            tags_of.setdefault(digest, []).append(tag)

        def delete(digest: str, tags: list[str]) -> None:
            if not self._still_point(name, tags, digest):
                raise _moved()
            left = self._repositories.delete_image(name, digest, by, with_children)
            if left:
                raise RegistryError(Message("it is deleted, but not all of its platform images could be"))

        return self._run((", ".join(tags), lambda d=digest, t=tags: delete(d, t)) for digest, tags in tags_of.items())

    def delete_tags(self, name: str, chosen: dict[str, str], by: Actor) -> Outcome:
        """Remove only the tags, as far as they still point where they did; the images stay."""

        def delete(tag: str, digest: str) -> None:
            if not self._still_point(name, [tag], digest):
                raise _moved()
            self._repositories.delete_tag(name, tag, by)

        return self._run((tag, lambda t=tag, d=digest: delete(t, d)) for tag, digest in chosen.items())

    def delete_repository(self, name: str, by: Actor, seconds: float = MOST_SECONDS) -> Outcome:
        """Delete all images that the index knows; after `seconds` the rest is left for another call."""
        digests = self._index.digests(name)
        return self._run(
            ((digest, lambda d=digest: self._repositories.delete_manifest(name, d, by)) for digest in digests), seconds
        )

    def _still_point(self, name: str, tags: list[str], digest: str) -> bool:
        return digest in self._index.tags_named(name, tags).values()

    def _run(self, steps: Iterable[Step], seconds: float = MOST_SECONDS) -> Outcome:
        """Take one step after the other; a registry that is away or refuses all deletions ends it."""
        end = self._clock() + seconds
        deleted, failed = [], []
        waiting = iter(steps)
        for what, delete in waiting:
            try:
                delete()
                deleted.append(what)
            except (NotFound, Conflict, RegistryError) as error:
                failed.append((what, error.message))
                if _is_hopeless(error):
                    return _outcome(deleted, failed, waiting, _refuses_all(error))
            if self._clock() >= end:
                break
        return _outcome(deleted, failed, waiting)


def _outcome(deleted: list, failed: list, waiting: Iterator[Step], is_refused: bool = False) -> Outcome:
    return Outcome(tuple(deleted), tuple(failed), tuple(what for what, _ in waiting), is_refused)


def _is_hopeless(error: Error) -> bool:
    return isinstance(error, RegistryUnavailable) or _refuses_all(error)


def _refuses_all(error: Error) -> bool:
    return isinstance(error, RegistryRefused) and error.status == 405


def _moved() -> Conflict:
    return Conflict(Message("it points to another image now, and nothing was deleted"))


def _chosen(manifest: IndexedManifest, tags: TagNames, known: dict[str, str]) -> ChosenImage:
    mine = tuple(tag for tag, digest in known.items() if digest == manifest.digest)
    others = tuple(tag for tag in tags.names if tag not in mine)
    return ChosenImage(manifest, mine, others, tags.total - len(mine))
