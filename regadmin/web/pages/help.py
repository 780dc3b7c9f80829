"""Help for those who push and pull, and what this program is made of"""

import platform
import sqlite3
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from regadmin.web.guards import identity
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route


class Component(NamedTuple):
    name: str
    licence: str
    """By its SPDX identifier."""
    address: str


class Server(NamedTuple):
    """`seconds` is for how long it runs; `store_size` in bytes, with the log of what is not in the file itself yet."""

    started_at: int
    seconds: int
    store_path: Path
    store_size: int


COMPONENTS = (
    Component("bcrypt", "Apache-2.0", "https://github.com/pyca/bcrypt"),
    Component("bottle", "MIT", "https://bottlepy.org"),
    Component("cryptography", "Apache-2.0 OR BSD-3-Clause", "https://cryptography.io"),
    Component("htmx", "0BSD", "https://htmx.org"),
    Component("Jinja2", "BSD-3-Clause", "https://jinja.palletsprojects.com"),
    Component("PyJWT", "MIT", "https://pyjwt.readthedocs.io"),
    Component("PyYAML", "MIT", "https://pyyaml.org"),
    Component("requests", "Apache-2.0", "https://requests.readthedocs.io"),
    Component("schedule", "MIT", "https://schedule.readthedocs.io"),
    Component("waitress", "ZPL-2.1", "https://docs.pylonsproject.org/projects/waitress"),
)


class HelpPages:
    """`now` gives seconds since 1970; the server runs since this was made. `store_path` is its file."""

    def __init__(self, surface: PageSurface, now: Callable[[], int], store_path: Path):
        self._surface = surface
        self._now = now
        self._started_at = now()
        self._store_path = store_path

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/help", self.show_help, Access.PUBLIC),
            Route("GET", "/about", self.show_about, Access.PUBLIC),
        ]

    def show_help(self) -> str:
        return self._surface.render("help/show.html")

    def show_about(self) -> str:
        user = identity().user
        # What runs here in which version is nobody's business but the administrators'.
        is_admin = user is not None and user.is_admin
        return self._surface.render(
            "about.html",
            components=COMPONENTS,
            versions=_versions() if is_admin else {},
            server=self._server() if is_admin else None,
        )

    def _server(self) -> Server:
        return Server(
            self._started_at,
            self._now() - self._started_at,
            self._store_path.absolute(),
            sum(map(_size, (self._store_path, Path(f"{self._store_path}-wal")))),
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for component in COMPONENTS:
        try:
            found[component.name] = version(component.name)
        except PackageNotFoundError:
            continue
    return found
