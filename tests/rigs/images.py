"""Tiny images, made in memory: Docker schema 2, OCI, and lists of several platforms.

The same text and platform always make the same bytes, so that digests can be compared.
"""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import requests

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"

PLATFORMS = ("linux/amd64", "linux/arm64/v8")
TIMEOUT_SECONDS = 30

_TYPES_OF_A_MANIFEST = {
    DOCKER_MANIFEST: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    OCI_MANIFEST: (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
}


@dataclass(frozen=True)
class Image:
    """A manifest with everything that it points to."""

    raw: bytes
    media_type: str
    blobs: dict[str, bytes] = field(default_factory=dict)
    children: tuple["Image", ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.raw)

    @property
    def document(self) -> dict:
        return json.loads(self.raw)

    @property
    def size(self) -> int:
        """Configuration and layers, each digest once; of a list, over all its platforms."""
        return sum(len(blob) for blob in self.all_blobs().values())

    def all_blobs(self) -> dict[str, bytes]:
        """Its own blobs and those of its children."""
        merged = dict(self.blobs)
        for child in self.children:
            merged |= child.all_blobs()
        return merged


def docker_image(text: str = "hello", platform: str = PLATFORMS[0]) -> Image:
    """A Docker schema 2 image of one layer that holds `hello.txt` with this text."""
    return _image(text, platform, DOCKER_MANIFEST)


def oci_image(text: str = "hello", platform: str = PLATFORMS[0], **extra) -> Image:
    """An OCI image; `extra` are more keys of the manifest, such as annotations or artifactType."""
    return _image(text, platform, OCI_MANIFEST, **extra)


def docker_list(text: str = "hello", platforms: tuple[str, ...] = PLATFORMS) -> Image:
    return _list(DOCKER_LIST, [docker_image(f"{text} on {p}", p) for p in platforms], platforms)


def oci_index(text: str = "hello", platforms: tuple[str, ...] = PLATFORMS) -> Image:
    return _list(OCI_INDEX, [oci_image(f"{text} on {p}", p) for p in platforms], platforms)


def with_layer(image: Image, layer: bytes) -> Image:
    """The same image with this layer in place of its own."""
    document = image.document
    (old,) = document["layers"]
    document["layers"] = [_descriptor(layer, old["mediaType"])]
    blobs = {digest: blob for digest, blob in image.blobs.items() if digest != old["digest"]}
    return Image(_json(document), image.media_type, blobs | {digest_of(layer): layer})


def write_dir(image: Image, directory: Path) -> str:
    """Write the image in the layout of skopeo's `dir:` transport; returns its name for skopeo."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    (directory / "manifest.json").write_bytes(image.raw)
    for child in image.children:
        (directory / f"{_hex(child.digest)}.manifest.json").write_bytes(child.raw)
    for digest, blob in image.all_blobs().items():
        (directory / _hex(digest)).write_bytes(blob)
    return f"dir:{directory}"


def push(
    url: str, repository: str, tag: str, image: Image, authorization: str | None = None, authority: Path | None = None
) -> str:
    """Push the image to the registry at `url` by plain requests; returns its digest."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority) if authority else True
        if authorization:
            session.headers["Authorization"] = authorization
        for digest, blob in image.all_blobs().items():
            _push_blob(session, url, repository, digest, blob)
        for child in image.children:
            _push_manifest(session, url, repository, child.digest, child)
        _push_manifest(session, url, repository, tag, image)
    return image.digest


def digest_of(raw: bytes) -> str:
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def _image(text: str, platform: str, media_type: str, **extra) -> Image:
    config_type, layer_type = _TYPES_OF_A_MANIFEST[media_type]
    tar = _tar("hello.txt", text.encode())
    layer = gzip.compress(tar, mtime=0)
    config = _json(_config(text, platform, digest_of(tar)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config, config_type),
        "layers": [_descriptor(layer, layer_type)],
        **extra,
    }
    return Image(_json(manifest), media_type, {digest_of(config): config, digest_of(layer): layer})


def _config(text: str, platform: str, diff_id: str) -> dict:
    created = "2024-05-06T07:08:09.123456789Z"
    return {
        **_platform(platform),
        "created": created,
        "config": {"Cmd": ["cat", "/hello.txt"], "Labels": {"text": text}},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "COPY hello.txt /"}],
    }


def _list(media_type: str, children: list[Image], platforms: tuple[str, ...]) -> Image:
    manifests = [
        _descriptor(child.raw, child.media_type) | {"platform": _platform(platform)}
        for child, platform in zip(children, platforms, strict=True)
    ]
    raw = _json({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests})
    return Image(raw, media_type, {}, tuple(children))


def _platform(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(blob: bytes, media_type: str) -> dict:
    return {"mediaType": media_type, "size": len(blob), "digest": digest_of(blob)}


def _json(document: dict) -> bytes:
    return json.dumps(document, indent=2).encode()


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _push_blob(session: requests.Session, url: str, repository: str, digest: str, blob: bytes) -> None:
    started = session.post(f"{url}/v2/{repository}/blobs/uploads/", timeout=TIMEOUT_SECONDS)
    started.raise_for_status()
    location = requests.compat.urljoin(url, started.headers["Location"])
    location += ("&" if "?" in location else "?") + f"digest={digest}"
    headers = {"Content-Type": "application/octet-stream"}
    session.put(location, data=blob, headers=headers, timeout=TIMEOUT_SECONDS).raise_for_status()


def _push_manifest(session: requests.Session, url: str, repository: str, reference: str, image: Image) -> None:
    target = f"{url}/v2/{repository}/manifests/{reference}"
    headers = {"Content-Type": image.media_type}
    session.put(target, data=image.raw, headers=headers, timeout=TIMEOUT_SECONDS).raise_for_status()
