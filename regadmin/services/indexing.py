"""Taking manifests from the registry into the index; shared by events and synchronisation."""

from typing import NamedTuple

from regadmin.entities import ImageConfig, Manifest
from regadmin.errors import Error, Malformed, NotFound, RegistryRefused
from regadmin.registry.client import RegistryClient
from regadmin.registry.manifests import MAX_BYTES, parse_config
from regadmin.store import Store

_MAX_DEPTH = 3
"""An index may hold an index; deeper nesting is nobody's image."""


class Fetched(NamedTuple):
    """A manifest with all that is new below it, the children before their parents."""

    digest: str
    parts: tuple[tuple[Manifest, ImageConfig | None], ...]


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
        return manifest and Fetched(manifest.digest, tuple(self._parts(repository, manifest, set(), _MAX_DEPTH)))

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

    def _parts(self, repository: str, manifest: Manifest, asked: set[str], depth: int):
        """An index may name a child many times, and so may its children: each digest is asked for once."""
        for child in manifest.children if depth else ():
            if child.digest not in asked and not self._store.repositories.has_manifest(repository, child.digest):
                asked.add(child.digest)
                found = self._child(repository, child.digest)
                if found:
                    yield from self._parts(repository, found, asked, depth - 1)
        yield manifest, self._config(repository, manifest)

    def _child(self, repository: str, digest: str) -> Manifest | None:
        """A child may be missing: sparse indexes exist, and the index says so on its page."""
        try:
            return self._registry.manifest(repository, digest)
        except (NotFound, Malformed):
            return None

    def _config(self, repository: str, manifest: Manifest) -> ImageConfig | None:
        if manifest.kind != "image" or not manifest.config or manifest.config.size > MAX_BYTES:
            return None
        try:
            return parse_config(self._registry.blob(repository, manifest.config.digest))
        except (NotFound, Malformed, RegistryRefused):
            return None
