"""Carrying out a plan: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Actor, Audience, Group
from regadmin.errors import Error
from regadmin.importing import formats, original
from regadmin.importing.plan import Plan, PlannedRule, PlannedUser, Weight
from regadmin.passwords import Passwords
from regadmin.services.groups import Groups
from regadmin.services.rules import AlreadySaid, Rules
from regadmin.services.users import Users
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.original import read_original

ORIGINAL = "registry-admin"
SOURCES = (*formats.READERS, ORIGINAL)
_AUDIENCE_IDS = {Audience.REGISTERED: REGISTERED_ID, Audience.EVERYONE: EVERYONE_ID}


@dataclass(slots=True)
class Outcome:
    """What was done, or without `is_applied` would be done; what is `kept` was here before, and stays as it is."""

    plan: Plan
    users: list[PlannedUser] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    rules: list[PlannedRule] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    is_applied: bool = False


def read(source: str, path: Path) -> Plan:
    """What the file asks for, which is of one of the SOURCES. Raises Error."""
    return original.read(read_original(path), str(path)) if source == ORIGINAL else formats.read(source, path)


class _OnlyTried(Exception):
    """Ends the transaction of a trial."""


class Imports:
    """`on_change` is called when users were committed; what it raises goes to the one who imports."""

    def __init__(
        self,
        store: Store,
        users: Users,
        groups: Groups,
        rules: Rules,
        hasher: Passwords,
        on_change: Callable[[], None] = lambda: None,
    ):
        self._store, self._hasher, self._on_change = store, hasher, on_change
        self._users, self._groups, self._rules = users, groups, rules

    def run(self, plan: Plan, by: Actor, is_applied: bool, may_grant_more: bool = False) -> Outcome:
        """Create what is not here yet, and add what must be said of that to the plan's remarks.

        Users and groups that are here stay as they are. Nothing is changed if it is not to be applied, if the plan
        has an error, or if it grants more than its source and the owner does not want that.
        """
        # Before the transaction: hashing takes long, and all other writers would wait.
        hashes = [self._hash(planned) if is_applied else planned.password_hash for planned in plan.users]
        outcome = Outcome(plan)
        try:
            with self._store.transaction():
                self._carry_out(outcome, hashes, by)
                refused = plan.has(Weight.ERROR) or (plan.has(Weight.MORE) and not may_grant_more)
                if refused or not is_applied:
                    raise _OnlyTried
        except _OnlyTried:
            return outcome
        outcome.is_applied = True
        self._on_change()
        return outcome

    def _hash(self, planned: PlannedUser) -> str:
        if planned.password_hash or planned.user.is_robot:
            return planned.password_hash
        return self._hasher.hash(planned.password)

    def _carry_out(self, outcome: Outcome, hashes: list[str], by: Actor) -> None:
        for planned in outcome.plan.groups:
            name = planned.group.name
            if self._find_group(name):
                outcome.kept.append(f"group {name}")
            elif self._try(outcome, planned.place, self._groups.create, by, name, planned.group.description):
                outcome.groups.append(name)
        for planned, password_hash in zip(outcome.plan.users, hashes, strict=True):
            self._add_user(outcome, planned, password_hash, by)
        for planned in outcome.plan.rules:
            self._add_rule(outcome, planned, by)

    def _add_user(self, outcome: Outcome, planned: PlannedUser, password_hash: str, by: Actor) -> None:
        if self._store.users.find_login(planned.user.login):
            outcome.kept.append(f"user {planned.user.login}")
            return
        groups = {name: self._find_group(name) for name in planned.groups}
        for name in (name for name, group in groups.items() if not group):
            outcome.plan.remark(planned.place, Weight.ERROR, f"user {planned.user.login}: there is no group {name}")
        group_ids = [group.id for group in groups.values() if group]
        if self._try(outcome, planned.place, self._users.adopt, planned.user, password_hash, by, group_ids):
            outcome.users.append(planned)

    def _add_rule(self, outcome: Outcome, planned: PlannedRule, by: Actor) -> None:
        owner_id = self._owner_id(planned)
        if owner_id is None:
            weight = Weight.ERROR if planned.must_have_owner else Weight.LESS
            outcome.plan.remark(planned.place, weight, f"a rule of {planned.owner}, and there is none")
            return
        names = ("name", "resource_type", "resource_name", "action", "is_disabled")
        fields = {name: getattr(planned.rule, name) for name in names}
        try:
            if self._try(outcome, planned.place, self._rules.create, by, owner_id, bool(planned.group), **fields):
                outcome.rules.append(planned)
        except AlreadySaid as error:
            outcome.kept.append(f"rule {error.rule.name} of {planned.owner}")

    def _owner_id(self, planned: PlannedRule) -> int | None:
        if planned.rule.audience:
            return _AUDIENCE_IDS[planned.rule.audience]
        if planned.group:
            group = self._find_group(planned.group)
            return group.id if group else None
        found = self._store.users.find_login(planned.user)
        return found[0].id if found else None

    def _find_group(self, name: str) -> Group | None:
        rows = self._store.groups.list(Listing(filters={"name": name})).rows
        return rows[0] if rows else None

    def _try(self, outcome: Outcome, place, change: Callable, *arguments, **fields):
        """The result of the change; None if it cannot be made, which is remarked on."""
        try:
            return change(*arguments, **fields)
        except AlreadySaid:
            raise
        except Error as error:
            outcome.plan.remark(place, Weight.ERROR, error.message)
            return None
