import http.client
import json
import os
import shutil
import socket
import subprocess
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest
import requests
import yaml

from regadmin import errors, samples

IMAGES = {image.repository: image for image in samples.images()}
EVERY_TYPE = ", ".join({image.manifest.media_type for image in IMAGES.values()})


def answers(address):
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """The base URL of a registry that asks for no credentials."""
    binary = shutil.which("docker-registry") or shutil.which("registry")
    assert binary, "install the package docker-registry"
    directory = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": "{}:{}".format(*address)},
    }
    (directory / "config.yml").write_text(yaml.safe_dump(config))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with open(directory / "log", "wb") as log:
        command = [binary, "serve", str(directory / "config.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 30
        while not answers(address):
            assert process.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.02)
        yield "http://{}:{}".format(*address)
    finally:
        process.terminate()
        process.wait(30)


def skopeo(*arguments):
    skopeo = shutil.which("skopeo")
    assert skopeo, "install the package skopeo"
    command = [skopeo, "--insecure-policy", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fetch(registry, repository, path):
    headers = {"Accept": EVERY_TYPE}
    answer = requests.get(f"{registry}/v2/{repository}/{path}", headers=headers, timeout=30)
    answer.raise_for_status()
    return answer


def assert_complete(registry, repository, image):
    for tag in image.tags:
        answer = fetch(registry, repository, f"manifests/{tag}")
        assert answer.content == image.manifest.data
        assert answer.headers["Content-Type"] == image.manifest.media_type
        assert answer.headers["Docker-Content-Digest"] == image.manifest.digest
    for child in image.children:
        assert fetch(registry, repository, f"manifests/{child.digest}").content == child.data
    for blob in image.blobs:
        assert fetch(registry, repository, f"blobs/{blob.digest}").content == blob.data


def test_there_is_one_of_each_kind():
    assert {name: image.manifest.media_type.rsplit("/")[-1] for name, image in IMAGES.items()} == {
        "demo/hello": "vnd.docker.distribution.manifest.v2+json",
        "demo/web": "vnd.oci.image.manifest.v1+json",
        "demo/tools": "vnd.oci.image.index.v1+json",
        "demo/cache": "vnd.docker.distribution.manifest.list.v2+json",
        "demo/chart": "vnd.oci.image.manifest.v1+json",
    }


def test_the_same_bytes_are_made_again():
    assert samples.images() == list(IMAGES.values())


def test_layers_are_small_archives():
    layers = [blob for image in IMAGES.values() for blob in image.blobs if "gzip" in blob.media_type]
    assert len(layers) == 9
    for layer in layers:
        with tarfile.open(fileobj=BytesIO(layer.data), mode="r:gz") as archive:
            assert len(archive.getnames()) == 1
        assert len(layer.data) < 100_000


def test_the_history_of_the_web_image_matches_its_layers():
    manifest = json.loads(IMAGES["demo/web"].manifest.data)
    config = json.loads(IMAGES["demo/web"].blobs[0].data)
    filled = [step for step in config["history"] if not step.get("empty_layer")]
    assert len(filled) == len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) == 3
    assert len(config["history"]) > 6


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_every_image_can_be_pushed_twice_and_fetched(registry, image):
    samples.push(image, registry, lambda repository: None)
    samples.push(image, registry, lambda repository: None)
    assert_complete(registry, image.repository, image)


@pytest.mark.parametrize("repository", ["demo/web", "demo/tools", "demo/chart"])
def test_skopeo_copies_an_oci_layout(registry, tmp_path, repository):
    image, target = IMAGES[repository], f"layout/{repository}"
    write_oci_layout(image, tmp_path / "layout")
    tag = image.tags[0]
    destination = f"docker://{registry.removeprefix('http://')}/{target}:{tag}"
    skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}:{tag}", destination)
    assert_complete(registry, target, image)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES.keys())
def test_skopeo_copies_a_directory_with_its_media_types(registry, tmp_path, image):
    write_dir_layout(image, tmp_path / "layout")
    target = f"directory/{image.repository}"
    for tag in image.tags:
        destination = f"docker://{registry.removeprefix('http://')}/{target}:{tag}"
        skopeo("copy", "--all", "--dest-tls-verify=false", f"dir:{tmp_path / 'layout'}", destination)
    assert_complete(registry, target, image)


def test_skopeo_finds_the_platform_that_it_asks_for(registry):
    samples.push(IMAGES["demo/tools"], registry, lambda repository: None)
    reference = f"docker://{registry.removeprefix('http://')}/demo/tools:1.27"
    options = ("--override-arch=arm64", "--override-variant=v8", "--override-os=linux")
    found = skopeo(*options, "inspect", "--tls-verify=false", "--format={{.Architecture}}", reference)
    assert found.strip() == "arm64"


def test_the_header_is_asked_for_the_repository_and_sent(registry):
    asked = []

    def authorization(repository):
        asked.append(repository)
        return "Bearer unused"

    samples.push(IMAGES["demo/hello"], registry, authorization)
    assert asked == ["demo/hello"]


def test_a_refusal_carries_the_registrys_status(registry):
    hidden = samples.SampleImage("UPPER", ("1",), IMAGES["demo/hello"].manifest, IMAGES["demo/hello"].blobs)
    with pytest.raises(errors.RegistryRefused) as caught:
        samples.push(hidden, registry, lambda repository: None)
    assert caught.value.status == 404


def test_a_registry_that_does_not_answer_is_unavailable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(errors.RegistryUnavailable):
        samples.push(IMAGES["demo/hello"], f"http://127.0.0.1:{port}", lambda repository: None)


def write_oci_layout(image: samples.SampleImage, directory: Path) -> None:
    """The image as an OCI image layout (`oci:DIRECTORY:TAG`), for images of the OCI's media types only."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in (*image.blobs, *image.children, image.manifest):
        (blobs / content.digest.removeprefix("sha256:")).write_bytes(content.data)
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**image.manifest.descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
            for tag in image.tags
        ],
    }
    (directory / "index.json").write_bytes(json.dumps(index).encode())
    (directory / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')


def write_dir_layout(image: samples.SampleImage, directory: Path) -> None:
    """The image for skopeo's `dir:DIRECTORY`, which keeps all media types; copy indexes with `--all`."""
    directory.mkdir(parents=True)
    (directory / "version").write_text("Directory Transport Version: 1.1\n")
    (directory / "manifest.json").write_bytes(image.manifest.data)
    for child in image.children:
        (directory / f"{child.digest.removeprefix('sha256:')}.manifest.json").write_bytes(child.data)
    for blob in image.blobs:
        (directory / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
