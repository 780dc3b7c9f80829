"""One image with everything that the index knows of it. The registry is not asked: it may be away."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from regadmin.entities import Descriptor, Manifest, Tag, User
from regadmin.errors import Malformed, NotFound
from regadmin.messages import Message
from regadmin.registry import manifests
from regadmin.services.configurations import Configuration, Label, read_configuration, read_labels
from regadmin.services.history import History, read_history
from regadmin.services.repositories import Repositories
from regadmin.services.rules import Rules
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.repository_reading import IndexedManifest

_UNKNOWN = "unknown/unknown"
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"
_PREDICATE = "in-toto.io/predicate-type"
_SUFFIXES = {".sig": "signature", ".att": "attestation", ".sbom": "sbom"}
_WORDS = {
    "signature": ("signature", "cosign", "sigstore", "notary"),
    "sbom": ("spdx", "cyclonedx", "syft", "sbom"),
    "attestation": ("in-toto", "attestation", "provenance", "slsa"),
}
_TITLE = "org.opencontainers.image.title"
_RECENT = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Platform:
    """One entry of an index. `held` is None for what the registry does not have: sparse indexes exist."""

    name: str
    digest: str
    held: IndexedManifest | None


@dataclass(frozen=True, slots=True)
class Referrer:
    """Something that says something about an image. Nobody has checked what it says.

    `kind` is signature, sbom, attestation or artifact; `about` the platform, '' for the image as a whole.
    """

    kind: str
    digest: str
    held: IndexedManifest | None
    about: str
    tag: str = ""
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    name: str
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class Content:
    """A single manifest, opened. What the index lacks of it is None."""

    held: IndexedManifest
    manifest: Manifest | None
    document: str
    configuration: Configuration | None
    history: History
    shared: dict[str, int]

    @property
    def files(self) -> tuple[File, ...]:
        layers = self.manifest.layers if self.manifest else ()
        return tuple(File(layer.annotations.get(_TITLE, ""), layer) for layer in layers)

    @property
    def annotations(self) -> tuple[Label, ...]:
        return read_labels(self.manifest.annotations if self.manifest else {})

    @property
    def artifact_type(self) -> str:
        config = self.manifest.config if self.manifest else None
        return self.held.artifact_type or (config.media_type if config else "")


@dataclass(frozen=True, slots=True)
class Image:
    """What one page shows. `tag` is None when it was asked for by digest; `content` is that of the platform.

    `parents` are the indexes that it is a part of, with the tags of each.
    """

    repository: str
    digest: str
    tag: Tag | None
    tags: tuple[str, ...]
    whole: Content
    platforms: tuple[Platform, ...]
    selected: Platform | None
    content: Content | None
    referrers: tuple[Referrer, ...]
    parents: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def kind(self) -> str:
        return self.whole.held.kind

    @property
    def size(self) -> int:
        return self.whole.held.size

    @property
    def name(self) -> str:
        """As a client names it, without the registry."""
        return f"{self.repository}:{self.tag.name}" if self.tag else f"{self.repository}@{self.digest}"


class Images:
    def __init__(self, store: Store, rules: Rules, repositories: Repositories):
        self._store = store
        self._index = store.repositories
        self._rules = rules
        self._repositories = repositories

    def find_tag(self, user: User | None, repository: str, name: str, platform: str = "") -> Image:
        """The image under a tag. Raises NotFound, also for what the user may not see."""
        self._repositories.find(user, repository)
        found = self._index.list_tags(Listing(filters={"repository": repository, "name": name})).rows
        if not found:
            raise NotFound(Message("there is no tag %(tag)s in %(repository)s", tag=name, repository=repository))
        return self._image(user, repository, found[0].digest, found[0], platform)

    def find_manifest(self, user: User | None, repository: str, digest: str, platform: str = "") -> Image:
        """The image of a digest. Raises NotFound, also for what the user may not see."""
        self._repositories.find(user, repository)
        return self._image(user, repository, digest, None, platform)

    def count_pulls(self, image: Image) -> int:
        """How often the image was pulled in the last 30 days, by its digest or by the tags that it has now."""
        references = [f"{image.repository}@{image.digest}", *(f"{image.repository}:{tag}" for tag in image.tags)]
        since = self._store.now() - _RECENT
        return self._store.activity.count_objects("pull", image.repository, references, since)

    def _image(self, user: User | None, repository: str, digest: str, tag: Tag | None, wanted: str) -> Image:
        held = self._index.manifests(repository, [digest]).get(digest)
        if not held:
            raise NotFound(
                Message("there is no manifest %(digest)s in %(repository)s", digest=digest, repository=repository)
            )
        whole = self._content(user, repository, held)
        children = whole.manifest.children if whole.manifest else ()
        platforms = self._platforms(repository, [child for child in children if not _is_attestation(child)])
        selected = _selected(platforms, wanted)
        return Image(
            repository,
            digest,
            tag,
            tuple(self._index.tags_of(repository, digest)),
            whole,
            platforms,
            selected,
            self._selected_content(user, repository, whole, selected),
            tuple(self._referrers(repository, digest, platforms, children)),
            tuple(self._parents(repository, digest)),
        )

    def _parents(self, repository: str, digest: str) -> Iterable[tuple[str, tuple[str, ...]]]:
        for parent in self._index.parents(repository, digest):
            yield parent, tuple(self._index.tags_of(repository, parent))

    def _content(self, user: User | None, repository: str, held: IndexedManifest) -> Content:
        raw = self._index.document(repository, held.digest) or b""
        config = self._index.config(repository, held.config_digest) if held.kind == "image" else None
        configuration = read_configuration(config) if config is not None else None
        manifest = _parsed(raw, held.media_type)
        layers = manifest.layers if manifest else ()
        with self._store.snapshot():
            shared = self._index.sharing(repository, held.digest, self._rules.seen(self._rules.sight(user)))
        return Content(
            held,
            manifest,
            _pretty(raw),
            configuration,
            read_history(configuration.history if configuration else None, layers),
            shared,
        )

    def _selected_content(
        self, user: User | None, repository: str, whole: Content, selected: Platform | None
    ) -> Content | None:
        if whole.held.kind != "index":
            return whole
        return self._content(user, repository, selected.held) if selected and selected.held else None

    def _platforms(self, repository: str, children: list[Descriptor]) -> tuple[Platform, ...]:
        held = self._index.manifests(repository, [child.digest for child in children])
        return tuple(Platform(child.platform, child.digest, held.get(child.digest)) for child in children)

    # What refers to the image: distribution has no API for it, so that clients leave traces of three kinds

    def _referrers(
        self, repository: str, digest: str, platforms: tuple[Platform, ...], children: tuple[Descriptor, ...]
    ) -> Iterable[Referrer]:
        about = {platform.digest: platform.name for platform in platforms} | {digest: ""}
        yield from self._attestations(repository, [child for child in children if _is_attestation(child)], about)
        subjects = {subject.replace(":", "-", 1): name for subject, name in about.items()}
        wanted = [stem + suffix for stem in subjects for suffix in ("", *_SUFFIXES)]
        for tag, found in self._index.tags_named(repository, wanted).items():
            stem, dot, suffix = tag.partition(".")
            held = self._index.manifests(repository, [found]).get(found)
            if dot:
                yield Referrer(_SUFFIXES[dot + suffix], found, held, subjects[stem], tag)
            else:
                yield from self._listed(repository, held, subjects[stem], tag)

    def _attestations(self, repository: str, children: list[Descriptor], about: dict[str, str]) -> Iterable[Referrer]:
        held = self._index.manifests(repository, [child.digest for child in children])
        for child in children:
            subject = about.get(child.annotations.get(_REFERENCE_DIGEST, ""), "")
            details = self._predicates(repository, held.get(child.digest))
            yield Referrer("attestation", child.digest, held.get(child.digest), subject, details=details)

    def _listed(self, repository: str, held: IndexedManifest | None, about: str, tag: str) -> Iterable[Referrer]:
        """A fallback tag points to an index of the referrers (OCI distribution specification, referrers tag)."""
        manifest = self._manifest(repository, held)
        if not manifest or manifest.kind != "index":
            return
        known = self._index.manifests(repository, [child.digest for child in manifest.children])
        for child in manifest.children:
            found = known.get(child.digest)
            kind_of_artifact = found.artifact_type if found else ""
            kind_of_artifact = kind_of_artifact or self._config_type(repository, found)
            details = (kind_of_artifact,) if kind_of_artifact else ()
            yield Referrer(_kind(kind_of_artifact), child.digest, found, about, tag, details)

    def _config_type(self, repository: str, held: IndexedManifest | None) -> str:
        manifest = self._manifest(repository, held)
        return manifest.config.media_type if manifest and manifest.config else ""

    def _predicates(self, repository: str, held: IndexedManifest | None) -> tuple[str, ...]:
        manifest = self._manifest(repository, held)
        found = (layer.annotations.get(_PREDICATE, "") for layer in (manifest.layers if manifest else ()))
        return tuple(filter(None, found))

    def _manifest(self, repository: str, held: IndexedManifest | None) -> Manifest | None:
        return _parsed(self._index.document(repository, held.digest) or b"", held.media_type) if held else None


def _is_attestation(child: Descriptor) -> bool:
    return child.platform == _UNKNOWN or _REFERENCE_TYPE in child.annotations


def _selected(platforms: tuple[Platform, ...], wanted: str) -> Platform | None:
    """`linux/arm64` is also the name of `linux/arm64/v8`. Unasked, the most usual one that is there."""
    if wanted:
        fitting = [p for p in platforms if p.name == wanted] or [p for p in platforms if _fits(p.name, wanted)]
        return fitting[0] if fitting else None
    there = [platform for platform in platforms if platform.held] or list(platforms)
    usual = [platform for platform in there if platform.name == "linux/amd64"]
    return next(iter(usual or there), None)


def _fits(name: str, wanted: str) -> bool:
    return name.startswith(wanted + "/")


def _kind(artifact_type: str) -> str:
    name = artifact_type.lower()
    return next((kind for kind, words in _WORDS.items() if any(word in name for word in words)), "artifact")


def _parsed(raw: bytes, media_type: str) -> Manifest | None:
    try:
        return manifests.parse(raw, media_type)
    except Malformed:
        return None


def _pretty(raw: bytes) -> str:
    """Halves of surrogate pairs, which JSON can escape, become `?`: no answer can hold them."""
    try:
        return json.dumps(json.loads(raw), indent=2, ensure_ascii=False).encode(errors="replace").decode()
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")
