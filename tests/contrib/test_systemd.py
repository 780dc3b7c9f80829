"""contrib/systemd: units that systemd understands, in a sandbox that it finds OK."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.contrib import CONTRIB
from tests.rigs.tools import find_tool

UNITS = sorted(path.name for path in (CONTRIB / "systemd").iterdir() if path.is_file())
REGISTRY = "docker-registry.service"


@pytest.fixture
def units(tmp_path) -> Path:
    """The units, ours with a program that exists here, and the one of Debian's registry."""
    directory = shutil.copytree(CONTRIB / "systemd", tmp_path / "units")
    ours = directory / "regadmin.service"
    ours.write_text(ours.read_text().replace("/usr/local/bin/regadmin", "/bin/true"))
    shutil.copy(Path("/lib/systemd/system") / REGISTRY, directory)
    return directory


def analyze(*arguments) -> subprocess.CompletedProcess:
    command = [find_tool("systemd-analyze", "systemd"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_there_is_a_unit():
    assert "regadmin.service" in UNITS


@pytest.mark.parametrize("name", [*UNITS, REGISTRY])
def test_systemd_has_nothing_to_say_about_a_unit(units, name):
    verified = analyze("verify", "--man=no", units / name)
    assert verified.returncode == 0, verified.stderr
    assert verified.stderr == ""


def test_the_sandbox_is_ok(units):
    found = analyze("security", "--offline=true", "--threshold=20", units / "regadmin.service")
    assert found.returncode == 0, found.stdout
    assert " OK " in found.stdout
