"""Repositories, tags and manifests, as one person may see and delete them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from regadmin.entities import Actor, Audience, Page, Repository, User
from regadmin.errors import NotFound, RegistryError, RegistryUnavailable
from regadmin.messages import Message
from regadmin.registry.client import RegistryClient
from regadmin.services.rules import Rules
from regadmin.services.sight import Sight
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.repository_reading import TagNames

MOST_TAGS = 5
MOST_SIBLINGS = 4
MOST_NAMESPACES = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """A repository in somebody's list: what he may do with it, and who may pull it (None: whom a rule names).

    `tags` are those that were searched for.
    """

    repository: Repository
    rights: tuple[str, ...]
    audience: Audience | None
    tags: TagNames | None = None


@dataclass(frozen=True, slots=True)
class TagList:
    """`siblings` are, by digest, the first tags that point to it, the listed one among them or not."""

    repository: Repository
    page: Page
    siblings: dict[str, TagNames]


class Repositories:
    """Who sees what is told by the ids of repositories, which are used again: a list and what its reader may see are
    read from one snapshot, or a repository that comes in between could be shown to the wrong one.
    """

    def __init__(self, store: Store, rules: Rules, registry: RegistryClient):
        self._store = store
        self._rules = rules
        self._registry = registry

    def list(self, user: User | None, listing: Listing) -> Page:
        """Repositories that the user may pull; None is an anonymous visitor."""
        with self._store.snapshot():
            return self._store.repositories.list(listing, self._seen(user))

    def list_tags(self, user: User | None, listing: Listing) -> Page:
        """Tags of the repositories that the user may pull."""
        with self._store.snapshot():
            return self._store.repositories.list_tags(listing, self._seen(user))

    def list_manifests(self, user: User | None, listing: Listing) -> tuple[Page, dict[int, bytes]]:
        """`list_tags`, and the bytes of what they point to by their ids."""
        with self._store.snapshot():
            page = self.list_tags(user, listing)
            return page, self._store.repositories.documents(tag.id for tag in page.rows)

    def browse(self, user: User | None, listing: Listing, openness: str = "") -> Page:
        """Like `list`, but the rows are Listed; `openness` is '' or one of OPENNESS."""
        with self._store.snapshot():
            sight = self._rules.sight(user)
            page = self._store.repositories.list(listing, self._rules.seen(sight, openness))
            tags = self._searched_tags(listing, page.rows)
        rows = [_listed(sight, repository, tags.get(repository.id)) for repository in page.rows]
        return replace(page, rows=rows)

    def each(self, user: User | None, listing: Listing, openness: str = "") -> Iterator[Listed]:
        """All rows that `browse` has pages of, read as they are asked for."""
        with self._store.snapshot():
            sight = self._rules.sight(user)
            found = self._store.repositories.each(listing, self._rules.seen(sight, openness))
        return (_listed(sight, repository) for repository in found)

    def namespaces(self, user: User | None, text: str = "") -> list[str]:
        """The first segments of the names that he may see, of those that hold the text the first few."""
        with self._store.snapshot():
            return self._store.repositories.namespaces(text, MOST_NAMESPACES, self._seen(user))

    def browse_tags(self, user: User | None, name: str, listing: Listing) -> TagList:
        """The tags of one repository. Raises NotFound, also for what he may not see."""
        repository = self.find(user, name)
        filters = {**listing.filters, "repository": name}
        page = self._store.repositories.list_tags(replace(listing, filters=filters))
        digests = {tag.digest for tag in page.rows}
        return TagList(repository, page, self._store.repositories.tags_by_digest(name, digests, MOST_SIBLINGS))

    def find(self, user: User | None, name: str) -> Repository:
        """Raises NotFound, in the same words, whether there is none or he may not see it."""
        repository = self._store.repositories.find(name)
        if not repository or not self._may_see(user, name):
            raise NotFound(Message("there is no repository %(name)s", name=name))
        return repository

    def document(self, name: str, digest: str) -> bytes:
        """A manifest's bytes, for somebody who was shown the manifest. Raises NotFound."""
        raw = self._store.repositories.document(name, digest)
        if raw is None:
            raise NotFound(Message("there is no manifest %(digest)s in %(name)s", digest=digest, name=name))
        return raw

    def blob(self, user: User | None, name: str, digest: str) -> bytes:
        """An image configuration, from the index or else from the registry. Raises NotFound and RegistryError."""
        self.find(user, name)
        return self._store.repositories.config(name, digest) or self._registry.blob(name, digest)

    def delete_manifest(self, name: str, digest: str, by: Actor) -> None:
        """Delete the image with all its tags, first in the registry. Raises NotFound and RegistryError."""
        is_known = self._store.repositories.has_manifest(name, digest)
        try:
            self._registry.delete_manifest(name, digest)
        except NotFound:
            if not is_known:
                raise
        with self._store.transaction():
            self._store.repositories.remove_manifest(name, digest)
            self._store.activity.add("delete", by.login, f"{name}@{digest}", by.address)

    def delete_image(self, name: str, digest: str, by: Actor, with_children: bool = False) -> list[str]:
        """Delete it with all its tags, and of an index also the children that nothing else needs.

        Returns the digests of children that could not be deleted. Raises NotFound and RegistryError.
        """
        children = self.lone_children(name, digest) if with_children else []
        self.delete_manifest(name, digest, by)
        return [left for child in children for left in self._delete_child(name, child, by)]

    def lone_children(self, name: str, digest: str) -> list[str]:
        """The parts of an index that no tag and no other index needs."""
        return self._store.repositories.lone_children(name, digest)

    def delete_tag(self, name: str, tag: str, by: Actor) -> None:
        """Remove only the tag; the image and its other tags stay. Raises NotFound and RegistryError."""
        is_known = bool(self._store.repositories.tag_digest(name, tag))
        try:
            self._registry.delete_tag(name, tag)
        except NotFound:
            if not is_known:
                raise
        with self._store.transaction():
            self._store.repositories.remove_tag(name, tag)
            self._store.activity.add("delete", by.login, f"{name}:{tag}", by.address)

    def check_registry(self) -> None:
        """Raises RegistryError if nothing answers there, or something that is no registry."""
        try:
            self._registry.ping()
        except NotFound:
            raise RegistryUnavailable(
                Message("what answers at the registry's address has no /v2/: it is no registry")
            ) from None

    def _delete_child(self, name: str, digest: str, by: Actor) -> list[str]:
        try:
            return self.delete_image(name, digest, by, with_children=True)
        except (NotFound, RegistryError):
            return [digest]

    def _seen(self, user: User | None) -> bytes | None:
        return self._rules.seen(self._rules.sight(user))

    def _may_see(self, user: User | None, name: str) -> bool:
        visible = self._rules.visible(user)
        return visible is None or visible(name)

    def _searched_tags(self, listing: Listing, rows: list[Repository]) -> dict[int, TagNames]:
        text = listing.filters.get("tag")
        ids = [repository.id for repository in rows]
        return self._store.repositories.tags_holding(text, ids, MOST_TAGS) if text else {}


def _listed(sight: Sight, repository: Repository, tags: TagNames | None = None) -> Listed:
    return Listed(repository, sight.rights(repository.name), sight.openness.of(repository.name), tags)
