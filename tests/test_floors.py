"""A room imports only from floors below its own (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "regadmin"
FLOORS = [
    {"counters", "errors", "entities", "memory", "messages", "ring", "version"},
    {"scopes", "patterns", "options", "assets", "passwords", "languages", "translations", "readiness"}
    | {"parsing", "supervisor"},
    {"decisions", "go_patterns", "samples", "lanes"},
    {"store", "registry", "certificates", "identity", "importing"},
    {"services"},
    {"web", "scheduler", "tls"},
    {"app", "listener"},
    {"server"},
    {"demo"},
    {"__main__"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "regadmin":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("regadmin."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("regadmin.")}
    return names


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_room_imports_only_from_floors_below(module):
    room = room_of(module)
    assert room in FLOOR_OF, f"{room} has no floor yet: give it one here and in CONTRIBUTING.md"
    for imported in imported_rooms(PACKAGE / module) - {room}:
        assert FLOOR_OF[imported] < FLOOR_OF[room], f"{module} must not import {imported}"


def test_the_contributing_page_names_every_room():
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    for number, rooms in enumerate(FLOORS):
        line = next(line for line in page.splitlines() if line.startswith(f"| {number} |"))
        assert all(f"`{room}" in line for room in rooms), line
