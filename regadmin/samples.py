"""Tiny images of every kind that a registry holds, made in memory: for a look around, and for tests.

The same bytes on every run, so that pushing them again changes nothing. They can be pulled, not run.
Forms: Docker image manifest v2 schema 2, and the OCI image specification 1.1.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urljoin

import requests

from regadmin import errors

CREATED = "2026-03-14T09:26:53Z"
TIMEOUT = 30  # seconds, for each request
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
EMPTY_STEP = {"created": CREATED, "empty_layer": True}


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest or a blob."""

    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    @property
    def descriptor(self) -> dict:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True, slots=True)
class Platform:
    """What one child of an index, or a single image, is made of."""

    manifest: Content
    blobs: tuple[Content, ...]
    name: dict[str, str]
    """`os`, `architecture` and perhaps `variant`, as configurations and indexes spell them."""


@dataclass(frozen=True, slots=True)
class SampleImage:
    """What to push to a repository: the blobs, the children by digest, then the manifest under its tags."""

    repository: str
    tags: tuple[str, ...]
    manifest: Content
    blobs: tuple[Content, ...]
    children: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """The media types that belong together."""

    manifest: str
    config: str
    layer: str
    index: str


DOCKER_FAMILY = Family(
    manifest=f"{DOCKER}.distribution.manifest.v2+json",
    config=f"{DOCKER}.container.image.v1+json",
    layer=f"{DOCKER}.image.rootfs.diff.tar.gzip",
    index=f"{DOCKER}.distribution.manifest.list.v2+json",
)
OCI_FAMILY = Family(
    manifest=f"{OCI}.manifest.v1+json",
    config=f"{OCI}.config.v1+json",
    layer=f"{OCI}.layer.v1.tar+gzip",
    index=f"{OCI}.index.v1+json",
)
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64", "variant": "v8"}
ARM = {"os": "linux", "architecture": "arm", "variant": "v7"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def images() -> list[SampleImage]:
    """One of each kind: Docker image, OCI image, OCI index with an attestation, Docker list, OCI artifact."""
    return [hello(), web(), tools(), cache(), chart()]


def hello() -> SampleImage:
    image = _platform(DOCKER_FAMILY, AMD64, {"hello": 2_000}, {"Cmd": ["/hello"]})
    return SampleImage("demo/hello", ("1.0", "latest"), image.manifest, image.blobs)


def web() -> SampleImage:
    config = {
        "User": "1001",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SITE_ROOT=/srv/site"],
        "Entrypoint": ["/usr/sbin/nginx"],
        "Cmd": ["-g", "daemon off;"],
        "WorkingDir": "/srv/site",
        "Labels": {
            "org.opencontainers.image.title": "web",
            "org.opencontainers.image.description": "A web server with a page",
            "org.opencontainers.image.version": "2.3",
            "org.opencontainers.image.created": CREATED,
            "org.opencontainers.image.revision": "5d41402abc4b2a76b9719d911017c592a1b2c3d4",
            "org.opencontainers.image.source": "https://git.example.com/demo/web",
            "org.opencontainers.image.licenses": "MIT",
        },
    }
    layers = {"var/lib/dpkg/status": 60_000, "usr/sbin/nginx": 24_000, "srv/site/index.html": 900}
    image = _platform(OCI_FAMILY, AMD64, layers, config, _web_history())
    return SampleImage("demo/web", ("2.3",), image.manifest, image.blobs)


def _web_history() -> list[dict]:
    """As a builder writes it: steps that only change the configuration have no layer."""
    step = {"created": CREATED, "comment": "buildkit.dockerfile.v0"}
    return [
        {"created": CREATED, "created_by": "/bin/sh -c #(nop) ADD file:3a1c9e0b in / "},
        {**EMPTY_STEP, "created_by": '/bin/sh -c #(nop)  CMD ["bash"]'},
        {**step, **EMPTY_STEP, "created_by": "ENV SITE_ROOT=/srv/site"},
        {**step, "created_by": "RUN /bin/sh -c apt-get update && apt-get install -y nginx # buildkit"},
        {**step, "created_by": "COPY site /srv/site # buildkit"},
        {**step, **EMPTY_STEP, "created_by": "WORKDIR /srv/site"},
        {**step, **EMPTY_STEP, "created_by": "EXPOSE map[8080/tcp:{}]"},
        {**step, **EMPTY_STEP, "created_by": "USER 1001"},
        {**step, **EMPTY_STEP, "created_by": 'ENTRYPOINT ["/usr/sbin/nginx"]'},
        {**step, **EMPTY_STEP, "created_by": 'CMD ["-g" "daemon off;"]'},
    ]


def tools() -> SampleImage:
    platforms = [
        _platform(OCI_FAMILY, name, {f"bin/tools-{name['architecture']}": size}, {"Cmd": ["/bin/tools"]})
        for name, size in ((AMD64, 31_000), (ARM64, 29_000))
    ]
    platforms.append(_attestation(platforms[0].manifest))
    annotations = {
        platforms[2].manifest.digest: {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": platforms[0].manifest.digest,
        }
    }
    return _index("demo/tools", "1.27", OCI_FAMILY, platforms, annotations)


def cache() -> SampleImage:
    platforms = [
        _platform(DOCKER_FAMILY, name, {f"bin/cache-{name['architecture']}": 12_000}, {"Cmd": ["/bin/cache"]})
        for name in (AMD64, ARM)
    ]
    return _index("demo/cache", "7.2", DOCKER_FAMILY, platforms, {})


def chart() -> SampleImage:
    """A Helm chart as `helm push` lays it out, with the artifact type of OCI 1.1 beside it."""
    media_type = "application/vnd.cncf.helm.config.v1+json"
    config = Content(media_type, _json({"name": "chart", "version": "0.4.0", "apiVersion": "v2"}))
    archive = gzip.compress(_tar("chart/Chart.yaml", 1_500), mtime=0)
    layer = Content("application/vnd.cncf.helm.chart.content.v1.tar+gzip", archive)
    extra = {
        "artifactType": media_type,
        "annotations": {
            "org.opencontainers.image.title": "chart",
            "org.opencontainers.image.version": "0.4.0",
            "org.opencontainers.image.created": CREATED,
        },
    }
    manifest = _manifest(OCI_FAMILY, config, [layer], extra)
    return SampleImage("demo/chart", ("0.4.0",), manifest, (config, layer))


def _attestation(subject: Content) -> Platform:
    """What BuildKit adds to an index for each image: how it was built, as an in-toto statement."""
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "tools", "digest": {"sha256": subject.digest.removeprefix("sha256:")}}],
        "predicate": {"buildType": "https://mobyproject.org/buildkit@v1"},
    }
    layer = Content("application/vnd.in-toto+json", _json(statement))
    config = Content(OCI_FAMILY.config, _json({**UNKNOWN, "config": {}, "rootfs": _rootfs([layer.data])}))
    return Platform(_manifest(OCI_FAMILY, config, [layer], {}), (config, layer), UNKNOWN)


def _platform(
    family: Family, name: dict, files: dict[str, int], config: dict, history: list[dict] | None = None
) -> Platform:
    """An image with one layer for each of `files`, which maps names to sizes in bytes."""
    archives = [_tar(path, size) for path, size in files.items()]
    layers = [Content(family.layer, gzip.compress(archive, mtime=0)) for archive in archives]
    document = {
        **name,
        "created": CREATED,
        "config": config,
        "rootfs": _rootfs(archives),
        "history": history or [{"created": CREATED, "created_by": f"COPY {path} /{path}"} for path in files],
    }
    configuration = Content(family.config, _json(document))
    return Platform(_manifest(family, configuration, layers, {}), (configuration, *layers), name)


def _rootfs(archives: list[bytes]) -> dict:
    return {"type": "layers", "diff_ids": [Content("", archive).digest for archive in archives]}


def _manifest(family: Family, config: Content, layers: list[Content], extra: dict) -> Content:
    document = {
        "schemaVersion": 2,
        "mediaType": family.manifest,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
    }
    return Content(family.manifest, _json({**document, **extra}))


def _index(
    repository: str, tag: str, family: Family, platforms: list[Platform], annotations: dict[str, dict]
) -> SampleImage:
    """`annotations` maps the digest of a child to what its descriptor is annotated with."""
    manifests = []
    for platform in platforms:
        descriptor = {**platform.manifest.descriptor, "platform": platform.name}
        if platform.manifest.digest in annotations:
            descriptor["annotations"] = annotations[platform.manifest.digest]
        manifests.append(descriptor)
    document = {"schemaVersion": 2, "mediaType": family.index, "manifests": manifests}
    return SampleImage(
        repository,
        (tag,),
        Content(family.index, _json(document)),
        tuple(blob for platform in platforms for blob in platform.blobs),
        tuple(platform.manifest for platform in platforms),
    )


def _tar(path: str, size: int) -> bytes:
    """An archive of one file whose noise does not shrink, so that sizes differ visibly."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(path)
        member.size = size
        archive.addfile(member, io.BytesIO(random.Random(path).randbytes(size)))
    return buffer.getvalue()


def _json(document: dict) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def push(image: SampleImage, base_url: str, authorization: Callable[[str], str | None]) -> None:
    """Pushes the image to the registry at `base_url`; what is there already stays.

    `authorization` gives the Authorization header for a repository, None for a registry that asks for none.
    Raises `errors.RegistryRefused` and `errors.RegistryUnavailable`.
    """
    repository_url = f"{base_url}/v2/{image.repository}"
    with requests.Session() as session:
        session.trust_env = False  # else a ~/.netrc would replace the header
        if header := authorization(image.repository):
            session.headers["Authorization"] = header
        for blob in image.blobs:
            _push_blob(session, repository_url, blob)
        for child in image.children:
            _push_manifest(session, repository_url, child.digest, child)
        for tag in image.tags:
            _push_manifest(session, repository_url, tag, image.manifest)


def _push_blob(session: requests.Session, repository_url: str, blob: Content) -> None:
    begun = _request(session, "POST", f"{repository_url}/blobs/uploads/")
    location = urljoin(begun.url, begun.headers["Location"])
    headers = {"Content-Type": "application/octet-stream"}
    _request(session, "PUT", location, params={"digest": blob.digest}, data=blob.data, headers=headers)


def _push_manifest(session: requests.Session, repository_url: str, reference: str, manifest: Content) -> None:
    headers = {"Content-Type": manifest.media_type}
    _request(session, "PUT", f"{repository_url}/manifests/{reference}", data=manifest.data, headers=headers)


def _request(session: requests.Session, method: str, url: str, **keywords) -> requests.Response:
    try:
        response = session.request(method, url, timeout=TIMEOUT, **keywords)
    except requests.RequestException as error:
        raise errors.RegistryUnavailable(f"the registry does not answer: {error}")
    if not response.ok:
        what = f"{method} {url.partition('?')[0]}: {response.status_code} {response.text[:200]}"
        raise errors.RegistryRefused(f"the registry refused {what}", response.status_code)
    return response
