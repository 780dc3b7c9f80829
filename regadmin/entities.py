"""What the product talks about, as frozen values. Times are UTC in whole seconds since 1970."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

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
    source: str = ""
    """The file that decides about it; '' if it was made here. The same with users and rules."""


class Reach(NamedTuple):
    """What an access token is for: an action on what the name matches, both as in a rule."""

    resource_name: str
    action: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """Stands for its owner's password, with his rights as far as the scope reaches; an empty one reaches everywhere.

    The secret is not here: only its digest is kept, and never leaves the store.
    """

    id: int
    user_id: int
    name: str
    scope: tuple[Reach, ...] = ()
    created_at: int = 0
    expires_at: int | None = None

    def is_over(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now


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
    source: str = ""
    is_external: bool = False
    """Whether another source of identity knows him: then the store does not, and his id is 0."""
    rules: tuple["Rule", ...] = ()
    """Those that the source gave him, beside the ones in the store."""
    is_robot: bool = False
    """A machine: it has no password and never signs in, but access tokens."""
    access_token: AccessToken | None = None
    """What he came with, if not with his password: it limits what he may do."""

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
    source: str = ""

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
    attached_count: int
    """Tags of signatures, attestations and lists of referrers, which `tag_count` leaves out."""
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
    is_file: bool = False
    """Whether it is a file that decides about users, groups and rules; then `login` is its name."""


@dataclass(frozen=True, slots=True)
class ActivityEntry:
    """Something that was done. `details` of a change hold `before` and `after`, else what was created or deleted.

    `target` is what `object` names, if it is still there: ("user", id), ("group", id), ("rule", id),
    ("repository", name), ("tag", repository, tag) or ("manifest", repository, digest).
    """

    id: int
    at: int
    actor: str
    event: str
    object: str
    address: str = ""
    details: dict[str, Any] = field(default_factory=dict)
    target: tuple = ()

    @property
    def changes(self) -> list[tuple[str, Any, Any]]:
        """Name, old and new value of each field that changed; None stands for what was not there."""
        before, after = self.details.get("before"), self.details.get("after")
        if before is None and after is None:
            is_gone = self.event.endswith(("deleted", "revoked"))
            before, after = (self.details, {}) if is_gone else ({}, self.details)
        names = dict.fromkeys((*before, *after))
        pairs = ((name, before.get(name), after.get(name)) for name in names if name != "id")
        return [(name, old, new) for name, old, new in pairs if (old or None) != (new or None)]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are. `manifests` are images, indexes and artifacts, with a tag or without."""

    repositories: int
    tags: int
    manifests: int
    users: int
    groups: int
    rules: int


@dataclass(frozen=True, slots=True)
class RepositoryStorage:
    """Bytes: `stored` counts each blob once, `shared` of them are in other repositories too.

    `sum` adds up the sizes of the tags, as the list of repositories does.
    """

    name: str
    stored: int
    shared: int
    sum: int


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes of all repositories, of the largest ones, and of the others together (`shared` with the largest)."""

    stored: int
    shared: int
    sum: int
    largest: tuple[RepositoryStorage, ...]
    other_count: int
    others: RepositoryStorage


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and how many rows there are in all, or with `is_more` more than that.

    Where `searched` is not 0 only so many of the newest rows were looked at.
    """

    rows: list[Any]
    total: int
    offset: int = 0
    is_more: bool = False
    searched: int = 0
