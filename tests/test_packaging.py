"""The wheel carries everything; installed elsewhere, it runs without the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
