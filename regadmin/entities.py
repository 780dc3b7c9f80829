"""What the product talks about, as frozen values. Times are UTC in whole seconds since 1970."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

REGISTERED_ID = -999
"""The owner id that stands for every signed-in user in the REST contract."""

EVERYONE_ID = -1000
"""The owner id that stands for everybody, anonymous clients included, in the REST contract."""

DEFAULT_GROUP_ID = 1


class Role(StrEnum):
    ADMIN = "admin"
    MANAGER = "manager"
    USER = "user"


class Audience(StrEnum):
    """Who owns a rule that belongs to no single user or group."""

    REGISTERED = "registered"
    EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Group:
    id: int
    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """An account. The password's hash is not here: it never leaves the store but to be verified."""

    id: int
    login: str
    name: str
    role: Role
    groups: tuple[Group, ...] = ()
    is_blocked: bool = False
    must_change_password: bool = False
    description: str = ""
    created_at: int = 0
    language: str = ""
    """The code of one of the languages of the pages; '' leaves it to the browser."""
    time_zone: str = ""
    """A name of the IANA time zone database; '' is UTC."""

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN


@dataclass(frozen=True, slots=True)
class Rule:
    """An access rule: its owner may do `action` on what `resource_name` matches.

    Exactly one of `user_id`, `group_id`, `audience` is set.
    """

    id: int
    name: str
    resource_type: str
    resource_name: str
    action: str
    user_id: int | None = None
    group_id: int | None = None
    audience: Audience | None = None
    is_disabled: bool = False

    @property
    def owner_id(self) -> int:
        """The owner in the REST contract's numbers."""
        if self.audience is not None:
            return REGISTERED_ID if self.audience is Audience.REGISTERED else EVERYONE_ID
        return self.group_id if self.group_id is not None else self.user_id

    @property
    def is_group(self) -> bool:
        return self.group_id is not None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content (OCI image specification, descriptor.md)."""

    digest: str
    size: int
    media_type: str = ""
    platform: str = ""
    """`os/architecture[/variant]`, or '' when none is given."""
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed manifest. `kind` is `image`, `index` or `artifact`."""

    digest: str
    media_type: str
    kind: str
    raw: bytes
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What it stores by itself: the configuration, then the layers."""
        return ((self.config,) if self.config else ()) + self.layers


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What the index keeps of an image's configuration blob."""

    platform: str
    created_at: int | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Repository:
    id: int
    name: str
    tag_count: int
    size: int
    pull_count: int
    last_pulled_at: int | None
    last_pushed_at: int | None
    last_pushed_by: str


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with what is known of the manifest that it points to."""

    id: int
    repository: str
    name: str
    digest: str
    config_digest: str
    media_type: str
    kind: str
    size: int
    platforms: tuple[str, ...]
    pull_count: int
    last_pulled_at: int | None
    pushed_at: int | None
    pushed_by: str
    created_at: int | None
    updated_at: int


@dataclass(frozen=True, slots=True)
class Event:
    """One notification of the registry, read leniently: what is missing is ''."""

    id: str
    action: str
    repository: str
    digest: str
    tag: str
    media_type: str
    actor: str
    method: str
    user_agent: str
    address: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser or script. `id` is random and secret."""

    id: str
    user_id: int
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One synchronisation of the index with the registry.

    `state` is running, complete, failed or interrupted.
    """

    id: int
    trigger: str
    state: str
    started_at: int
    finished_at: int | None
    repositories_total: int
    repositories_done: int
    tags: int
    added: int
    updated: int
    removed: int
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, and from where; kept in the activity."""

    login: str
    address: str = ""
    session_id: str = ""
    """The session that he asks in, which survives a change of his own password."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and how many rows there are in all."""

    rows: list[Any]
    total: int
    offset: int = 0
