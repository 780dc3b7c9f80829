"""Manifests and image configurations: Docker schema 2 and OCI, one platform or several.

Whoever may push writes these documents, so nothing in them is believed but what fits the specifications.
Sources: distribution, docs/spec/manifest-v2-2.md; OCI image specification, manifest.md, image-index.md.
"""

from typing import TypeVar

from regadmin.entities import Descriptor, ImageConfig, Manifest
from regadmin.errors import Malformed
from regadmin.registry.documents import read_object, seconds, text
from regadmin.registry.references import digest_of, is_digest

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"

INDEX_TYPES = frozenset({DOCKER_LIST, OCI_INDEX})
MEDIA_TYPES = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
ACCEPT = ", ".join(MEDIA_TYPES)
"""Asking for fewer makes a registry convert a list to one of its platforms, which has another digest."""

CONFIG_TYPES = frozenset(
    {"application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"}
)

MAX_BYTES = 4 << 20
MAX_SIZE = 16 << 40
"""The most bytes that one manifest may claim to hold, so that no sum of them leaves 64 bits."""

MAX_TEXT = 255
"""The longest media type (RFC 6838 allows 127 + 1 + 127) or platform."""

T = TypeVar("T", dict, list, str)

_TYPE_WORDS = {dict: "an object", list: "a list", str: "a text"}


def parse(raw: bytes, media_type: str) -> Manifest:
    """Read a manifest; `media_type` is the Content-Type that it came with, or ''. Raises Malformed."""
    document = read_object(raw, "the manifest", MAX_BYTES)
    kind_of_document = _media_type(document, media_type)
    if document.get("schemaVersion") != 2:
        raise Malformed("the manifest has no schemaVersion 2")
    read = _index if kind_of_document in INDEX_TYPES else _image
    return read(raw, kind_of_document, document)


def parse_config(raw: bytes) -> ImageConfig:
    """Read an image's configuration. What is missing or unreadable is '' or None: it only informs."""
    try:
        document = read_object(raw, "the configuration", MAX_BYTES)
    except Malformed:
        document = {}
    parts = [text(document.get(key)) for key in ("os", "architecture", "variant")]
    return ImageConfig(_join_platform(parts), seconds(document.get("created")), raw)


def _media_type(document: dict, header: str) -> str:
    """What the header says, else the document itself, else what it looks like."""
    claimed = [header.partition(";")[0].strip().lower(), text(document.get("mediaType"))]
    if document.get("schemaVersion") == 1 or any(name.startswith(SCHEMA_1) for name in claimed):
        raise Malformed("the manifest is of Docker's schema 1, which is not supported: push the image again")
    for name in claimed:
        if name in MEDIA_TYPES:
            return name
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def _index(raw: bytes, media_type: str, document: dict) -> Manifest:
    _refuse(document, "config", "layers")
    children = _descriptors(document, "manifests")
    return Manifest(
        digest=digest_of(raw),
        media_type=media_type,
        kind="index",
        raw=raw,
        children=children,
        artifact_type=_short_text(document, "artifactType"),
        annotations=_annotations(document),
    )


def _image(raw: bytes, media_type: str, document: dict) -> Manifest:
    _refuse(document, "manifests")
    config = _descriptor(document.get("config"), "config")
    artifact_type = _short_text(document, "artifactType")
    is_artifact = artifact_type or (config.media_type and config.media_type not in CONFIG_TYPES)
    return Manifest(
        digest=digest_of(raw),
        media_type=media_type,
        kind="artifact" if is_artifact else "image",
        raw=raw,
        config=config,
        layers=_descriptors(document, "layers"),
        artifact_type=artifact_type,
        annotations=_annotations(document),
    )


def _refuse(document: dict, *keys: str) -> None:
    """A document that is both an index and an image means different things to different readers.

    Source: OCI image specification, GHSA-77vh-xpmg-72qh.
    """
    for key in keys:
        if document.get(key):
            raise Malformed(f"the manifest must not hold {key}: it would be an index and an image at once")


def _descriptors(document: dict, key: str) -> tuple[Descriptor, ...]:
    entries = _member(document, key, list)
    found = tuple(_descriptor(entry, f"{key}[{number}]") for number, entry in enumerate(entries))
    if sum(descriptor.size for descriptor in found) > MAX_SIZE:
        raise Malformed(f"{key} of the manifest claim an impossible size")
    return found


def _descriptor(entry: object, where: str) -> Descriptor:
    if not isinstance(entry, dict):
        raise Malformed(f"{where} of the manifest is no descriptor")
    digest, size = entry.get("digest"), entry.get("size")
    if not is_digest(digest):
        raise Malformed(f"{where} of the manifest has no valid digest")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise Malformed(f"{where} of the manifest has no possible size")
    return Descriptor(digest, size, _short_text(entry, "mediaType"), _platform(entry), _annotations(entry))


def _platform(entry: dict) -> str:
    platform = _member(entry, "platform", dict)
    return _join_platform([_short_text(platform, key) for key in ("os", "architecture", "variant")])


def _join_platform(parts: list[str]) -> str:
    """`os/architecture[/variant]`, or '' if either of the first two is missing or it is absurdly long."""
    joined = "/".join(filter(None, parts))
    return joined if all(parts[:2]) and len(joined) <= MAX_TEXT else ""


def _annotations(holder: dict) -> dict[str, str]:
    annotations = _member(holder, "annotations", dict)
    if not all(isinstance(value, str) for value in annotations.values()):
        raise Malformed("an annotation in the manifest is not a text")
    return {text(key): text(value) for key, value in annotations.items()}


def _short_text(holder: dict, key: str) -> str:
    value = _member(holder, key, str)
    if len(value) > MAX_TEXT:
        raise Malformed(f"{key} in the manifest is longer than {MAX_TEXT} characters")
    return text(value)


def _member(holder: dict, key: str, kind: type[T]) -> T:
    """What stands under the key, or an empty one of its kind if nothing does. Raises Malformed."""
    value = holder.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Malformed(f"{key} in the manifest is not {_TYPE_WORDS[kind]}")
    return value
