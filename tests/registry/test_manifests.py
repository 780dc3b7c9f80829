import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.errors import Malformed
from regadmin.registry import manifests
from tests.rigs import images

DIGEST = "sha256:" + "0" * 64
DESCRIPTOR = {"mediaType": "text/plain", "digest": DIGEST, "size": 7}
IMAGE = {"schemaVersion": 2, "config": DESCRIPTOR, "layers": [DESCRIPTOR]}
INDEX = {"schemaVersion": 2, "manifests": [DESCRIPTOR]}

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
HOSTILE_DESCRIPTOR = ANY_JSON | st.fixed_dictionaries(
    {},
    optional={
        "mediaType": ANY_JSON | st.just("text/plain"),
        "digest": ANY_JSON | st.just(DIGEST),
        "size": ANY_JSON | st.integers(0, 9),
        "platform": ANY_JSON | st.fixed_dictionaries({"os": ANY_JSON, "architecture": ANY_JSON}),
        "annotations": ANY_JSON,
    },
)
HOSTILE_DOCUMENT = st.fixed_dictionaries(
    {"schemaVersion": st.just(2) | ANY_JSON},
    optional={
        "mediaType": ANY_JSON | st.sampled_from(manifests.MEDIA_TYPES),
        "config": HOSTILE_DESCRIPTOR,
        "layers": st.lists(HOSTILE_DESCRIPTOR) | ANY_JSON,
        "manifests": st.lists(HOSTILE_DESCRIPTOR) | ANY_JSON,
        "annotations": ANY_JSON,
        "artifactType": ANY_JSON,
    },
)


def size_of(manifest) -> int:
    """Bytes of the configuration and the layers, each digest once, as the index adds them up."""
    return sum({blob.digest: blob.size for blob in manifest.blobs}.values())


def encoded(document) -> bytes:
    return json.dumps(document).encode()


def parse(document, media_type=""):
    return manifests.parse(encoded(document), media_type)


@pytest.mark.parametrize("build", [images.docker_image, images.oci_image])
def test_an_image_is_read_with_its_configuration_and_layers(build):
    image = build()
    manifest = manifests.parse(image.raw, image.media_type)
    assert (manifest.digest, manifest.media_type, manifest.kind) == (image.digest, image.media_type, "image")
    assert manifest.raw == image.raw
    assert {blob.digest: blob.size for blob in manifest.blobs} == {d: len(b) for d, b in image.blobs.items()}
    assert size_of(manifest) == image.size


@pytest.mark.parametrize("build", [images.docker_list, images.oci_index])
def test_an_index_is_read_with_its_children_and_their_platforms(build):
    image = build()
    manifest = manifests.parse(image.raw, image.media_type)
    assert (manifest.kind, manifest.media_type) == ("index", image.media_type)
    assert [child.platform for child in manifest.children] == ["linux/amd64", "linux/arm64/v8"]
    assert [child.digest for child in manifest.children] == [child.digest for child in image.children]
    assert (manifest.config, size_of(manifest)) == (None, 0)


def test_the_media_type_comes_from_the_header_then_the_document_then_the_shape():
    docker = IMAGE | {"mediaType": manifests.DOCKER_MANIFEST}
    assert parse(docker, "Application/vnd.oci.image.manifest.v1+json; charset=utf-8").media_type == (
        manifests.OCI_MANIFEST
    )
    assert parse(docker, "application/json").media_type == manifests.DOCKER_MANIFEST
    assert parse(IMAGE).media_type == manifests.OCI_MANIFEST
    assert parse(INDEX).media_type == manifests.OCI_INDEX


@pytest.mark.parametrize(
    "change, artifact_type",
    [
        ({"artifactType": "application/spdx+json"}, "application/spdx+json"),
        ({"config": DESCRIPTOR | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}, ""),
        ({"config": DESCRIPTOR | {"mediaType": "application/vnd.oci.empty.v1+json"}}, ""),
    ],
)
def test_what_has_no_image_configuration_is_an_artifact(change, artifact_type):
    manifest = parse(IMAGE | change)
    assert (manifest.kind, manifest.artifact_type) == ("artifact", artifact_type)


def test_an_index_with_an_artifact_type_stays_an_index():
    assert parse(INDEX | {"artifactType": "a/b"}).kind == "index"


def test_annotations_are_kept_of_manifests_and_of_descriptors():
    note = {"annotations": {"org.opencontainers.image.title": "app"}}
    assert parse(IMAGE | note).annotations == note["annotations"]
    assert parse(INDEX | {"manifests": [DESCRIPTOR | note]}).children[0].annotations == note["annotations"]


def test_a_digest_that_stands_twice_counts_once():
    layer = DESCRIPTOR | {"digest": "sha256:" + "1" * 64, "size": 5}
    assert size_of(parse(IMAGE | {"layers": [layer, layer]})) == 12


def test_halves_of_surrogate_pairs_become_storable_text():
    manifest = manifests.parse(encoded(IMAGE | {"annotations": {"\ud800": "a\udfffb"}}), "")
    assert manifest.annotations == {"?": "a?b"}


def test_a_platform_needs_system_and_architecture():
    def platform(value):
        return parse(INDEX | {"manifests": [DESCRIPTOR | {"platform": value}]}).children[0].platform

    assert platform({"os": "linux", "architecture": "arm", "variant": "v7"}) == "linux/arm/v7"
    assert platform({"os": "unknown", "architecture": "unknown"}) == "unknown/unknown"
    assert platform({"architecture": "arm"}) == platform({}) == platform(None) == ""


BROKEN = {
    "not JSON": b"<html>",
    "empty": b"",
    "not UTF-8": b'{"schemaVersion": 2, "x": "\xff"}',
    "a list": b"[]",
    "nested deeply": b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a huge number": b'{"schemaVersion": 2, "x": ' + b"9" * 10_000 + b"}",
    "no version": encoded({"config": DESCRIPTOR}),
    "version 3": encoded(IMAGE | {"schemaVersion": 3}),
    "no config": encoded({"schemaVersion": 2, "layers": []}),
    "config is a text": encoded(IMAGE | {"config": "x"}),
    "layers is an object": encoded(IMAGE | {"layers": {"0": DESCRIPTOR}}),
    "layers is an empty text": encoded(IMAGE | {"layers": ""}),
    "a layer is null": encoded(IMAGE | {"layers": [None]}),
    "manifests is a number": encoded({"schemaVersion": 2, "manifests": 0}),
    "size is negative": encoded(IMAGE | {"config": DESCRIPTOR | {"size": -1}}),
    "size is absurd": encoded(IMAGE | {"config": DESCRIPTOR | {"size": 1 << 62}}),
    "sizes are absurd": encoded(IMAGE | {"layers": [DESCRIPTOR | {"size": 15 << 40}] * 2}),
    "size is a fraction": encoded(IMAGE | {"config": DESCRIPTOR | {"size": 1.5}}),
    "size is a boolean": encoded(IMAGE | {"config": DESCRIPTOR | {"size": True}}),
    "size is a text": encoded(IMAGE | {"config": DESCRIPTOR | {"size": "7"}}),
    "size is missing": encoded(IMAGE | {"config": {"digest": DIGEST}}),
    "digest is short": encoded(IMAGE | {"config": DESCRIPTOR | {"digest": "sha256:00"}}),
    "digest is a path": encoded(IMAGE | {"config": DESCRIPTOR | {"digest": "../../etc/passwd"}}),
    "digest ends the line": encoded(IMAGE | {"config": DESCRIPTOR | {"digest": DIGEST + "\n"}}),
    "digest is null": encoded(IMAGE | {"config": DESCRIPTOR | {"digest": None}}),
    "media type is a list": encoded(IMAGE | {"config": DESCRIPTOR | {"mediaType": []}}),
    "media type is endless": encoded(IMAGE | {"config": DESCRIPTOR | {"mediaType": "x" * 300}}),
    "platform is a text": encoded(INDEX | {"manifests": [DESCRIPTOR | {"platform": "linux"}]}),
    "system is a number": encoded(INDEX | {"manifests": [DESCRIPTOR | {"platform": {"os": 1}}]}),
    "annotations is a list": encoded(IMAGE | {"annotations": ["x"]}),
    "an annotation is a number": encoded(IMAGE | {"annotations": {"x": 1}}),
    "artifact type is a number": encoded(IMAGE | {"artifactType": 1}),
    "image and index at once": encoded(IMAGE | INDEX),
    "larger than 4 MiB": encoded(IMAGE | {"annotations": {"x": "x" * (4 << 20)}}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_document_is_malformed(name):
    with pytest.raises(Malformed) as caught:
        manifests.parse(BROKEN[name], "")
    assert caught.value.message


@pytest.mark.parametrize(
    "document, header",
    [
        ({"schemaVersion": 1, "name": "app", "tag": "v1", "fsLayers": []}, ""),
        ({}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}, ""),
    ],
)
def test_schema_1_is_refused_with_a_way_out(document, header):
    with pytest.raises(Malformed, match="schema 1.*push the image again"):
        parse(document, header)


def test_an_image_that_is_sent_as_an_index_is_malformed_and_the_other_way_round():
    with pytest.raises(Malformed, match="at once"):
        parse(IMAGE, manifests.OCI_INDEX)
    with pytest.raises(Malformed, match="at once"):
        parse(INDEX, manifests.OCI_MANIFEST)


@given(ANY_JSON | HOSTILE_DOCUMENT, st.sampled_from(("", "text/html", *manifests.MEDIA_TYPES)))
def test_any_document_is_read_or_malformed(document, media_type):
    try:
        manifest = parse(document, media_type)
    except Malformed:
        return
    assert manifest.kind in ("image", "index", "artifact")
    assert 0 <= size_of(manifest) < 1 << 63


@given(st.binary())
def test_any_bytes_are_read_or_malformed(raw):
    with pytest.raises(Malformed):
        manifests.parse(raw, "")


def test_a_manifest_as_large_as_allowed_is_read_quickly():
    layers = [DESCRIPTOR | {"digest": f"sha256:{number:064x}"} for number in range(30_000)]
    raw = encoded(IMAGE | {"layers": layers})
    started = time.monotonic()
    assert len(manifests.parse(raw, "").layers) == 30_000
    assert time.monotonic() - started < 5


def test_a_configuration_tells_platform_and_time():
    image = images.oci_image(platform="linux/arm64/v8")
    raw = image.blobs[image.document["config"]["digest"]]
    config = manifests.parse_config(raw)
    assert (config.platform, config.created_at, config.raw) == ("linux/arm64/v8", 1714979289, raw)


@pytest.mark.parametrize(
    "created, seconds",
    [
        ("2024-05-06T07:08:09Z", 1714979289),
        ("2024-05-06T09:08:09.999999999+02:00", 1714979289),
        ("2024-05-06T07:08:09", 1714979289),
        ("1970-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", 253402387139),
        ("yesterday", None),
        ("2024-13-45T00:00:00Z", None),
        ("", None),
        (None, None),
        (1714979289, None),
    ],
)
def test_times_are_read_leniently(created, seconds):
    assert manifests.parse_config(encoded({"created": created})).created_at == seconds


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\x00\xff", b'{"os":1,"architecture":[]}', b"[" * 100_000])
def test_a_configuration_that_says_nothing_is_empty(raw):
    config = manifests.parse_config(raw)
    assert (config.platform, config.created_at, config.raw) == ("", None, raw)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("os", "architecture", "variant", "created"), ANY_JSON)))
def test_any_configuration_is_read(document):
    assert isinstance(manifests.parse_config(encoded(document)).platform, str)
