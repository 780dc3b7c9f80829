"""Files that are on the disk whole or not at all."""

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, data: bytes, mode: int) -> None:
    """`data` in a file that did not exist, on the disk when this returns; private from its first moment."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def replace(path: Path, data: bytes) -> None:
    """`data` in this file instead of what it held, for its owner only. Raises OSError and leaves the old."""
    draft = path.with_name(path.name + ".new")
    write(draft, data, 0o600)
    draft.rename(path)
    sync_directories([path])


def sync_directories(paths: Iterable[Path]) -> None:
    """What was renamed in the directories of these files is on the disk when this returns."""
    for directory in {path.parent for path in paths}:
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
