"""A route: what a surface answers to, and who may call it."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Access(StrEnum):
    """Who may call a route. Without one of these a route cannot be made: denied is the default."""

    PUBLIC = "public"
    SIGNED_IN = "signed in"
    MANAGER = "manager"
    """Admins and managers."""
    ADMIN = "admin"


class Route(NamedTuple):
    method: str
    path: str
    handler: Callable
    access: Access
