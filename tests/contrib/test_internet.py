"""docs/internet.md: its commands make configurations that fit together."""

import base64
import re
import stat
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from regadmin import options
from regadmin.web.notifications import PATH as EVENTS_PATH
from regadmin.web.realm import PATHS as REALM_PATHS
from tests.contrib import CONTRIB
from tests.rigs.registry import RealRegistry
from tests.rigs.tools import find_tool

GUIDE = (CONTRIB.parent / "docs" / "internet.md").read_text()
NAME = "images.example.org"
CREDENTIALS = "/run/credentials/docker-registry.service"


def commands() -> dict[int, str]:
    """The commands of the guide by their numbers."""
    block = re.search(r"```sh\n(.*?)```", GUIDE, re.DOTALL)[1]
    parts = re.split(r"^# (\d+)\..*\n", block, flags=re.MULTILINE)
    numbered = zip(parts[1::2], parts[2::2], strict=True)
    return {int(number): re.sub("^#.*$", "", text, flags=re.MULTILINE) for number, text in numbered}


def elsewhere(script: str, root: Path) -> str:
    """The same commands on a directory that stands for the server's root."""
    return re.sub(r"(?<![\w.])/(etc|usr)/", rf"{root}/\1/", script.replace("-o docker-registry ", ""))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The server's files after the commands that write configurations."""
    root = tmp_path_factory.mktemp("root")
    for name in ("etc/systemd/system", "etc/fail2ban/jail.d", "etc/docker/registry", "usr/local/bin"):
        (root / name).mkdir(parents=True)
    found = commands()
    found[3] = found[3].replace("registry.example.com", NAME)
    found[10] = found[10].partition("&&")[0]
    script = "\n".join(["set -eu", *(elsewhere(found[number], root) for number in (3, 5, 6, 7, 10))])
    script += f'\nprintf %s "$EVENTS" >{root}/events\n'
    ended = subprocess.run(["sh", "-c", script], cwd=CONTRIB.parent, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.fixture(scope="module")
def registry(root) -> dict:
    return yaml.safe_load((root / "etc/docker/registry/config.yml").read_text())


@pytest.fixture(scope="module")
def settings(root) -> options.Settings:
    """As systemd starts the server."""
    lines = (root / "etc/regadmin/environment").read_text().splitlines()
    arguments = ["--config-file", str(root / "etc/regadmin/regadmin.yml")]
    found = options.load(options.parser({}).parse_args(arguments), dict(line.split("=", 1) for line in lines))
    options.validate(found)
    return found


def test_there_are_at_most_ten_commands():
    assert list(commands()) == list(range(1, len(commands()) + 1))
    assert len(commands()) <= 10


def test_the_server_gets_a_password_of_its_own_that_only_root_can_read(root, settings):
    assert len(settings["store.admin-password"]) >= 16
    assert stat.S_IMODE((root / "etc/regadmin/environment").stat().st_mode) == 0o600


def test_both_sides_agree(settings, registry):
    token = registry["auth"]["token"]
    assert token["realm"] == f"https://{settings['hostname']}{REALM_PATHS[0]}"
    assert settings["hostname"] == NAME
    assert settings["ssl.fqdn"] == (NAME,)
    assert settings["registry.host"] == f"https://{NAME}"
    assert (token["service"], token["issuer"]) == (settings["registry.service"], settings["registry.issuer"])


def test_the_notifications_carry_the_account_that_the_guide_makes(root, registry):
    (endpoint,) = registry["notifications"]["endpoints"]
    assert endpoint["url"] == f"https://{NAME}{EVENTS_PATH}"
    sent = endpoint["headers"]["Authorization"][0].removeprefix("Basic ")
    assert base64.b64decode(sent).decode() == "events:" + (root / "events").read_text()


def test_the_registry_gets_copies_of_what_the_server_makes(root, settings, registry):
    unit = (root / "etc/systemd/system/docker-registry.service.d/regadmin.conf").read_text()
    handed = dict(re.findall(r"LoadCredential=([\w.]+):(\S+)", unit))
    assert handed["registry_auth_ca.crt"] == settings["registry.certs.ca-root"]
    assert Path(handed["certificate.pem"]).parent == Path(settings["ssl.acme-location"])
    watched = (root / "etc/systemd/system/regadmin-certificate.path").read_text()
    assert f"PathChanged={handed['certificate.pem']}\n" in watched
    tls = registry["http"]["tls"]
    assert tls["certificate"] == tls["key"] == f"{CREDENTIALS}/certificate.pem"
    assert registry["auth"]["token"]["rootcertbundle"] == f"{CREDENTIALS}/registry_auth_ca.crt"


def test_what_the_unit_lets_the_server_write_is_what_it_is_configured_to(root, settings):
    unit = (root / "etc/systemd/system/regadmin.service").read_text()
    assert "StateDirectory=regadmin\n" in unit
    assert "LogsDirectory=regadmin\n" in unit
    for name in ("store.embed.path", "registry.certs.path", "ssl.acme-location"):
        assert settings[name].startswith("/var/lib/regadmin/")
    jail = (root / "etc/fail2ban/jail.d/regadmin.conf").read_text()
    assert f"logpath = {settings['logger.file']}\n" in jail
    assert settings["logger.enabled"]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_real_registry_starts_with_certificate_and_key_in_one_file(registry, tmp_path):
    pem, bundle = tmp_path / "certificate.pem", tmp_path / "ca.crt"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={NAME}"]
    command = [find_tool("openssl", "openssl"), *request, "-keyout", pem, "-out", bundle]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + bundle.read_text())
    real = RealRegistry(tmp_path, tls=(pem, pem))
    text = yaml.safe_dump(registry).replace(f"{CREDENTIALS}/certificate.pem", str(pem))
    own = yaml.safe_load(text.replace(f"{CREDENTIALS}/registry_auth_ca.crt", str(bundle)))
    own["http"]["addr"] = real.host
    own["storage"]["filesystem"]["rootdirectory"] = str(real.data)
    real._settings = own
    with real:
        challenge = requests.get(f"{real.url}/v2/", verify=False, timeout=10)
        assert challenge.headers["WWW-Authenticate"].startswith(f'Bearer realm="https://{NAME}/api/v1/registry/auth"')
