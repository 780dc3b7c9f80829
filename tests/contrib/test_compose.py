"""contrib/compose: both sides of each example fit together, and its registry accepts its own configuration."""

import base64
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from regadmin import options
from regadmin.web.notifications import PATH as EVENTS_PATH
from regadmin.web.realm import PATHS as REALM_PATHS
from tests.contrib import CONTRIB
from tests.rigs.registry import RealRegistry
from tests.rigs.tools import find_tool

EXAMPLES = sorted((CONTRIB / "compose").iterdir())
TOKEN_EXAMPLES = [directory for directory in EXAMPLES if directory.name != "basic"]

every_example = pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
every_token_example = pytest.mark.parametrize("directory", TOKEN_EXAMPLES, ids=lambda path: path.name)


def tree(directory: Path, name: str) -> dict:
    return yaml.safe_load((directory / f"{name}.yml").read_text())


def services(directory: Path) -> dict:
    return tree(directory, "compose")["services"]


@pytest.fixture
def settings(directory) -> options.Settings:
    """As the server in the container has them."""
    environment = dict(services(directory)["regadmin"]["environment"])
    assert environment.pop("RA_CONFIG_FILE") == "/config/regadmin.yml"
    arguments = ["--config-file", str(directory / "regadmin.yml")]
    found = options.load(options.parser({}).parse_args(arguments), environment)
    options.validate(found)
    return found


def volumes(directory: Path, service: str) -> dict[str, str]:
    """What is mounted where."""
    return {mount.split(":")[1]: mount.split(":")[0] for mount in services(directory)[service]["volumes"]}


def is_kept(path: str, mounts: dict[str, str]) -> bool:
    return any(path.startswith(f"{place}/") for place in mounts)


def published(directory: Path, service: str) -> list[str]:
    """The ports inside the container."""
    return [mapping.split(":")[-1] for mapping in services(directory)[service]["ports"]]


@every_example
def test_our_options_are_known_and_complete(settings):
    assert settings["registry.host"]


@every_example
def test_the_image_is_built_from_this_checkout(directory):
    assert (directory / services(directory)["regadmin"]["build"] / "Dockerfile").exists()


@every_example
def test_all_that_is_written_is_on_a_volume(directory, settings):
    mounts = volumes(directory, "regadmin")
    assert is_kept(settings["store.embed.path"], mounts)
    assert is_kept(settings["registry.certs.key"], mounts)
    registry = tree(directory, "registry")
    assert registry["storage"]["filesystem"]["rootdirectory"] in volumes(directory, "registry")


@every_token_example
def test_realm_service_and_issuer_agree(directory, settings):
    token = tree(directory, "registry")["auth"]["token"]
    realm = urlsplit(token["realm"])
    assert realm.path in REALM_PATHS
    assert realm.hostname == settings["hostname"]
    assert realm.scheme == ("http" if settings["ssl.type"] == "none" else "https")
    port = settings["port"] if settings["ssl.type"] == "none" else settings["ssl.port"]
    assert str(realm.port or 443) == str(port)
    assert str(port) in published(directory, "regadmin")
    assert (token["service"], token["issuer"]) == (settings["registry.service"], settings["registry.issuer"])


@every_token_example
def test_the_registry_finds_our_certificate(directory, settings):
    assert tree(directory, "registry")["auth"]["token"]["rootcertbundle"] == settings["registry.certs.ca-root"]
    assert volumes(directory, "regadmin")["/certs"] == volumes(directory, "registry")["/certs"]


def test_the_registry_finds_our_htpasswd_file():
    directory = CONTRIB / "compose" / "basic"
    written = tree(directory, "regadmin")["registry"]["htpasswd"]
    assert tree(directory, "registry")["auth"]["htpasswd"]["path"] == written
    assert volumes(directory, "regadmin")["/auth"] == volumes(directory, "registry")["/auth"] == "auth"


@every_example
def test_the_registry_and_its_events_are_reached_by_names_of_the_network(directory, settings):
    names = {name: {name} for name in services(directory)}
    for name, service in services(directory).items():
        names[name] |= set(service.get("networks", {}).get("default", {}).get("aliases", []))
    assert urlsplit(settings["registry.host"]).hostname in names["registry"]
    (endpoint,) = tree(directory, "registry")["notifications"]["endpoints"]
    events = urlsplit(endpoint["url"])
    assert events.path == EVENTS_PATH
    assert events.hostname in names["regadmin"]
    scheme, _, encoded = endpoint["headers"]["Authorization"][0].partition(" ")
    assert (scheme, base64.b64decode(encoded)) == ("Basic", b"events:events-pass")


@every_example
def test_a_real_registry_starts_with_the_example(directory, settings, tmp_path):
    """Debian's registry, with the example's configuration on paths and a port of this machine."""
    registry = RealRegistry(tmp_path)
    own = tree(directory, "registry")
    own["http"] = {"addr": registry.host}
    own["storage"]["filesystem"]["rootdirectory"] = str(registry.data)
    if "token" in own["auth"]:
        bundle = tmp_path / "ca.crt"
        openssl = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]
        command = [find_tool("openssl", "openssl"), *openssl, "-keyout", tmp_path / "key", "-out", bundle]
        subprocess.run(command, check=True, capture_output=True)
        own["auth"]["token"]["rootcertbundle"] = str(bundle)
    else:
        own["auth"]["htpasswd"]["path"] = str(tmp_path / "htpasswd")
        (tmp_path / "htpasswd").touch()
    registry._settings = own
    with registry:
        assert requests.get(f"{registry.url}/v2/", timeout=10).status_code == 401
