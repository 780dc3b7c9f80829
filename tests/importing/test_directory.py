"""What a directory holds is found, however it is linked, and what is too much is told."""

import os
from pathlib import Path

import pytest

from regadmin.importing.directory import MOST_BYTES, MOST_LEVELS, look


@pytest.fixture
def directory(tmp_path) -> Path:
    (tmp_path / "team.yml").write_text("regadmin: 1\n")
    return tmp_path


def found(directory: Path) -> dict[str, str]:
    """Problems by the names of files."""
    return {file.name: file.problem for file in look(directory)}


def test_links_that_lead_in_circles_or_multiply_are_followed_once(directory):
    levels = [directory / f".{number}" for number in range(12)]
    for level, next_one in zip(levels, [*levels[1:], directory], strict=True):
        level.mkdir()
        for name in ("a", "b"):
            (level / name).symlink_to(next_one)
    (levels[-1] / "deep.yml").write_text("regadmin: 1\n")
    (directory / "all").symlink_to(levels[0])
    (directory / "itself.yml").symlink_to("itself.yml")
    files = found(directory)
    assert (files["team.yml"], files[f"all/{'a/' * 11}deep.yml"]) == ("", "")
    assert "symbolic links" in files["itself.yml"]
    assert len(files) == 3


def test_what_is_too_large_too_deep_or_no_file_is_told_and_not_read(directory):
    (directory / "exact.json").write_bytes(b" " * MOST_BYTES)
    with (directory / "large.yml").open("wb") as file:
        file.truncate(1 << 40)
    (directory / "endless.yml").symlink_to("/dev/zero")
    os.mkfifo(directory / "pipe.yml")
    (directory / Path(*"d" * MOST_LEVELS, "d")).mkdir(parents=True)
    assert found(directory) == {
        "team.yml": "",
        "exact.json": "",
        "large.yml": "is larger than 8 MiB",
        "endless.yml": "is no file",
        "pipe.yml": "is no file",
        "/".join("d" * (MOST_LEVELS + 1)): "is more than 16 directories deep",
    }
