"""A route: what a surface answers to, and who may call it."""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Access(StrEnum):
    """Who may call a route. Without one of these a route cannot be made: denied is the default."""

    PUBLIC = "public"
    CLIENT = "signed in or access token"
    SIGNED_IN = "signed in"
    """With a session or a password: an access token opens nothing but CLIENT, the registry's realm and `forward`."""
    MANAGER = "manager"
    """Admins and managers."""
    ADMIN = "admin"


class Route(NamedTuple):
    method: str
    path: str
    handler: Callable
    access: Access
