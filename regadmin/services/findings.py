"""What checks of the setup find, and what people call them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from regadmin.messages import Message


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    """It works, but wants attention."""
    BAD = "bad"
    OPEN = "open"
    """It has not happened yet, or cannot be told now."""


class Fact(NamedTuple):
    """Something that a check found: a text, or with `at` a time in seconds."""

    label: str
    text: str = ""
    at: int | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`name` is stable; what it `says` of its state, and the `remedy` if there is something to do, are sentences."""

    name: str
    state: State
    says: str
    remedy: str = ""
    facts: tuple[Fact, ...] = ()

    @property
    def title(self) -> str:
        return NAMES[self.name]

    @property
    def is_done(self) -> bool:
        return self.state in (State.OK, State.WARN)


NAMES = {
    "default-password": Message("Default password"),
    "registry": Message("Registry"),
    "challenge": Message("Where clients are sent"),
    "credentials": Message("Trust in this server"),
    "clock": Message("Clock"),
    "certificate": Message("Signing certificate"),
    "https": Message("HTTPS certificate"),
    "files": Message("Files with secrets"),
    "identity": Message("Other sources of identity"),
    "deletion": Message("Deleting"),
    "notifications": Message("Notifications"),
    "synchronisation": Message("First synchronisation"),
    "access": Message("First user and rule"),
    "provision": Message("Users and rules from files"),
}
"""All checks, in the order in which they are gone through, and what people call them."""
