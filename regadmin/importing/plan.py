"""What a file asks for: users, groups and rules, each with its place in the file, and what must be said about it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from regadmin import passwords
from regadmin.entities import Audience, Group, Role, Rule, User


class Place(NamedTuple):
    file: str
    line: int = 0
    """0 stands for the file as a whole."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Weight(StrEnum):
    """What follows from a remark."""

    ERROR = "error"
    """The file cannot be meant like this: nothing is imported."""
    MORE = "grants more"
    """Somebody would be allowed what the file does not allow: only imported if the owner says so."""
    LESS = "left out"
    """It has no equal here, and nobody is allowed more without it."""
    NOTE = "note"


class Remark(NamedTuple):
    place: Place
    weight: Weight
    text: str


@dataclass(frozen=True, slots=True)
class PlannedUser:
    """`password_hash` is a bcrypt hash as it was found, else `password` is in the clear."""

    place: Place
    user: User
    password_hash: str = ""
    password: str = field(default="", repr=False)
    groups: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What it is about: nothing else may be about the same. So with groups and rules."""
        return f"user {self.user.login}"


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    place: Place
    group: Group

    @property
    def subject(self) -> str:
        return f"group {self.group.name}"


@dataclass(frozen=True, slots=True)
class PlannedRule:
    """A rule of the user or group that is named, or of an audience.

    Other programs let rules stand that are nobody's: such a rule is left out, unless it `must_have_owner`.
    """

    place: Place
    rule: Rule
    user: str = ""
    group: str = ""
    must_have_owner: bool = False

    @property
    def owner(self) -> str:
        if self.rule.audience:
            return "everybody" if self.rule.audience is Audience.EVERYONE else "all registered"
        return f"group {self.group}" if self.group else f"user {self.user}"

    @property
    def subject(self) -> str:
        return f"the rule {self.rule.action} {self.rule.resource_type} {self.rule.resource_name} of {self.owner}"


@dataclass(slots=True)
class Plan:
    """The lists are in the order of the file. With a remark that is an error the plan is not to be carried out."""

    users: list[PlannedUser] = field(default_factory=list)
    groups: list[PlannedGroup] = field(default_factory=list)
    rules: list[PlannedRule] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    _said: set = field(default_factory=set, repr=False)

    def remark(self, place: Place, weight: Weight, text: str) -> None:
        found = Remark(place, weight, text)
        if found not in self._said:
            self._said.add(found)
            self.remarks.append(found)

    def has(self, weight: Weight) -> bool:
        return any(remark.weight is weight for remark in self.remarks)

    def add_user(self, place: Place, login: str, secret: str, groups: tuple[str, ...] = (), **fields) -> None:
        """`secret` is a bcrypt hash or a password in the clear; if it can be neither, he is left out.

        `fields` are those of the entity User.
        """
        is_hash = secret.startswith("$")
        reason = passwords.why_no_hash(secret) if is_hash else passwords.why_no_password(secret)
        if reason:
            self.remark(place, Weight.LESS, f"user {login}: his password {reason}; create him by hand")
            return
        user = User(**{"id": 0, "login": login, "name": login, "role": Role.USER} | fields)
        self.users.append(PlannedUser(place, user, secret * is_hash, secret * (not is_hash), groups))

    def add_rule(self, place: Place, resource_name: str, action: str, kind: str = "repository", **owner) -> None:
        """`owner` is user, group or audience."""
        audience = owner.pop("audience", None)
        rule = Rule(0, "", kind, resource_name, action, audience=audience)
        planned = PlannedRule(place, rule, **owner)
        if (rule, planned.owner) not in self._said:
            self._said.add((rule, planned.owner))
            self.rules.append(planned)
