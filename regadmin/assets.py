"""Where templates and static files lie: inside an installed package, or beside it in a checkout."""

import hashlib
from functools import cached_property
from importlib.resources import files
from pathlib import Path


def directory(name: str) -> Path:
    """The folder `templates` or `static`."""
    inside = Path(str(files("regadmin"))) / name
    return inside if inside.is_dir() else inside.parent.parent / name


class StaticFiles:
    """The static files under names that carry a hash of their content: they may be cached for ever."""

    def __init__(self, root: Path):
        self.root = root

    @cached_property
    def _paths(self) -> dict[str, Path]:
        return {p.relative_to(self.root).as_posix(): p for p in self.root.rglob("*") if p.is_file()}

    @cached_property
    def _hashed(self) -> dict[str, str]:
        return {name: _hashed_name(name, path.read_bytes()) for name, path in self._paths.items()}

    @cached_property
    def _originals(self) -> dict[str, str]:
        return {hashed: name for name, hashed in self._hashed.items()}

    def url(self, name: str) -> str:
        """The address of a file. Raises KeyError if there is none."""
        return "/static/" + self._hashed[name]

    def original(self, hashed: str) -> str | None:
        """The file's name for the name in an address, or None."""
        return self._originals.get(hashed)


def _hashed_name(name: str, content: bytes) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}{dot}{ending}"
