"""The wheel carries everything; installed elsewhere, it runs without the checkout."""

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import requests

from tests.rigs.registry import free_port
from tests.rigs.server import wait_until

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the checkout stays clean."""
    target = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    source = target / "source"
    for name in filter(None, files.stdout.splitlines()):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return next(target.glob("*.whl"))


def test_the_wheel_holds_every_template_static_file_and_migration(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("templates", "static"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"regadmin/{path.relative_to(ROOT).as_posix()}" in inside
    for path in (ROOT / "regadmin").rglob("*.*"):
        if path.suffix in (".py", ".sql"):
            assert path.relative_to(ROOT).as_posix() in inside
    assert "regadmin.py" not in inside


def test_the_wheel_serves_its_pages_from_where_it_is_installed(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = "from regadmin import assets; print(assets.StaticFiles(assets.directory('static')).url('app.css'))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)}
    )
    assert ended.stdout.startswith("/static/app."), ended.stderr


# The single file


def interpreters() -> list[str]:
    """The Pythons of this machine that the file is made for, itself among them."""
    neighbours = Path(sys._base_executable).parents[2].glob("*3.1*/bin/python3")
    names = [sys.executable, "/usr/bin/python3", "python3.11", "python3.12", "python3.13", *map(str, neighbours)]
    found = {}
    for name in filter(shutil.which, names):
        program = "import sys; print(sys.version_info[1], sys._base_executable)"
        told = subprocess.run([name, "-c", program], capture_output=True, text=True, timeout=30)
        minor, _, path = told.stdout.strip().partition(" ")
        if told.returncode == 0 and 11 <= int(minor) <= 13:
            found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


@pytest.fixture(scope="module")
def pyz(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pyz") / "regadmin.pyz"
    command = [sys.executable, ROOT / "contrib/pyz/build", wheel, platform.machine(), target]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return target


def run(python: str, pyz: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """In an environment that holds nothing else."""
    command = [python, "-I", pyz, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd="/")


@pytest.mark.parametrize("python", interpreters())
def test_the_single_file_runs_with_nothing_but_python(pyz, tmp_path, python):
    ended = run(python, pyz, "--help", HOME=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert "RA_REGISTRY_AUTH_TYPE" in ended.stdout
    (unpacked,) = (tmp_path / ".shiv").glob("regadmin.pyz_*")
    assert (unpacked / "site-packages/regadmin/templates/base.html").exists()


def test_the_single_file_carries_compiled_modules_for_three_versions_of_python(pyz):
    names = zipfile.ZipFile(pyz).namelist()
    assert len(names) == len(set(names))
    compiled = [name for name in names if "_cffi_backend" in name]
    assert [minor for minor in (311, 312, 313) if any(f"-{minor}-" in name for name in compiled)] == [311, 312, 313]


def test_the_single_file_serves_with_a_home_that_cannot_be_written(pyz, tmp_path):
    port = free_port()
    options = [f"--port={port}", "--listen=127.0.0.1", "--registry.host=http://127.0.0.1"]
    options += [f"--store.embed.path={tmp_path}/data.db", f"--registry.certs.path={tmp_path}/certs"]
    shared = Path(f"/var/tmp/regadmin-{os.geteuid()}")
    before = set(shared.glob("regadmin.pyz_*"))
    # Nobody, not even root, can make a directory there.
    process = subprocess.Popen([sys.executable, "-I", pyz, *options], env={"HOME": "/proc/1/none"}, cwd="/")
    try:
        page = wait_until(lambda: answer(f"http://127.0.0.1:{port}/login"), 30)
        assert "<form" in page
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert shared.stat().st_mode & 0o077 == 0
    (unpacked,) = set(shared.glob("regadmin.pyz_*")) - before
    shutil.rmtree(unpacked)


def answer(url: str) -> str:
    try:
        return requests.get(url, timeout=5).text
    except requests.ConnectionError:
        return ""


def test_the_single_file_says_so_when_it_cannot_unpack(pyz):
    ended = run(sys.executable, pyz, "--help", SHIV_ROOT="/proc/1/none")
    assert ended.returncode == 2
    assert "SHIV_ROOT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_single_file_says_what_machine_it_is_for(tmp_path):
    start = (ROOT / "contrib/pyz/__main__.py").read_text()
    (tmp_path / "_bootstrap.py").write_text("def bootstrap(): print('unpacking')")
    (tmp_path / "start.py").write_text(start.replace('"x86_64"', '"another-machine"'))
    ended = subprocess.run([sys.executable, tmp_path / "start.py"], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert "another-machine" in ended.stderr
    assert platform.machine() in ended.stderr
    assert "Traceback" not in ended.stderr
