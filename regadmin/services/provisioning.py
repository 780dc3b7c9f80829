"""Users, groups and rules from files: what a directory says now is what holds, as soon as it has changed.

All files are applied together in one transaction, or none of them. What is not from a file is never changed: something
of the same name must be the same in every respect, and becomes the file's then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from regadmin.entities import DEFAULT_GROUP_ID, EVERYONE_ID, REGISTERED_ID, Actor, Audience, Group, User
from regadmin.errors import Error
from regadmin.importing import directory
from regadmin.importing.directory import File
from regadmin.importing.plan import Place, Plan, PlannedGroup, PlannedRule, PlannedUser, Weight
from regadmin.passwords import Passwords
from regadmin.services.groups import Groups
from regadmin.services.provision_report import Report, find_report, is_refused, keep_report, make_report
from regadmin.services.rules import Rules, name_of
from regadmin.services.users import Users
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.rules import OwnedRule

_AUDIENCE_IDS = {Audience.REGISTERED: REGISTERED_ID, Audience.EVERYONE: EVERYONE_ID}
_OF_USER = ("name", "role", "is_blocked", "description", "is_robot", "source")

log = logging.getLogger(__name__)


class _Refused(Exception):
    """Takes back the transaction."""


@dataclass(slots=True)
class _Here:
    """What there is before the files are applied, by the words that a plan has for it."""

    groups: dict[str, Group]
    users: dict[str, tuple[User, str]]
    rules: dict[str, OwnedRule]


@dataclass(slots=True)
class _Work:
    plan: Plan
    hashes: dict[str, str]
    """By login."""
    changed: list[str] = field(default_factory=list)

    def error(self, place: Place, text: str) -> None:
        self.plan.remark(place, Weight.ERROR, text)


class Provisioning:
    """`on_change` is called when users were committed; what it raises has been told."""

    def __init__(
        self,
        store: Store,
        users: Users,
        groups: Groups,
        rules: Rules,
        hasher: Passwords,
        path: Path,
        on_change: Callable[[], None] = lambda: None,
    ):
        self._store, self._hasher, self._path, self._on_change = store, hasher, path, on_change
        self._users, self._groups, self._rules = users, groups, rules
        self._seen = ""
        self._applied: tuple[str, int] | None = None

    def begin(self) -> None:
        """Apply the files as they are at the start."""
        self.look()
        self.look()

    def look(self) -> None:
        """Apply the files if they, or what they speak of, have changed since.

        Only what two looks find alike is applied: a file may be half written, and a directory half exchanged.
        """
        files = directory.look(self._path)
        fingerprint = directory.fingerprint(files)
        is_settled, self._seen = fingerprint == self._seen, fingerprint
        if is_settled and self._applied != (fingerprint, self._store.revision()):
            report, revision = self._apply(files, fingerprint)
            self._tell(report)
            self._applied = fingerprint, revision

    def _tell(self, report: Report) -> None:
        is_new = report != find_report(self._store)
        if is_new:
            keep_report(self._store, report)
        if is_new or not self._applied:
            for place, reason in report.errors:
                log.error("%s: %s", place, reason)
            for place, reason in report.left_out:
                log.warning("%s: left out: %s", place, reason)
            if report.errors:
                log.error("nothing in %s is applied until this is mended; what it said before holds", self._path)

    def _apply(self, files: Sequence[File], fingerprint: str) -> tuple[Report, int]:
        """What came of it, and the revision up to which that is true."""
        plan, revision = directory.read(files, self._path), self._store.revision()
        if not is_refused(plan):
            revision = self._carry_out(plan) or revision
        return make_report(fingerprint, len(files), plan), revision

    def _carry_out(self, plan: Plan) -> int:
        """The revision that this led to; 0 if it was refused."""
        # Before the transaction: hashing takes long, and all other writers would wait.
        work = _Work(plan, self._hashes(plan))
        try:
            with self._store.transaction():
                admins = self._store.users.count_active_admins_made_here()
                self._take_away(work)
                self._bring(work)
                self._keep_an_admin(work, admins)
                if is_refused(plan):
                    raise _Refused
                revision = self._store.revision()
        except _Refused:
            return 0
        if work.changed:
            log.info("%s is applied: %s", self._path, ", ".join(work.changed))
            self._follow_change()
        return revision

    def _follow_change(self) -> None:
        try:
            self._on_change()
        except Error as error:
            log.error("%s", error.message)

    def _hashes(self, plan: Plan) -> dict[str, str]:
        """The stored hash of each password that it belongs to, a new one for the others."""
        kept = {user.login: stored for user, stored in self._store.users.list_with_hashes()}
        return {planned.user.login: self._hash(planned, kept.get(planned.user.login, "")) for planned in plan.users}

    def _hash(self, planned: PlannedUser, kept: str) -> str:
        if planned.password_hash or planned.user.is_robot:
            return planned.password_hash
        is_known = kept and self._hasher.belongs(planned.password, kept)
        return kept if is_known else self._hasher.hash(planned.password)

    def _here(self) -> _Here:
        groups = self._store.groups.list(Listing()).rows
        users, rules = self._store.users.list_with_hashes(), self._store.rules.list_owned(Listing()).rows
        return _Here(
            {group.name: group for group in groups},
            {user.login: (user, stored) for user, stored in users},
            {_planned(owned).subject: owned for owned in rules},
        )

    def _take_away(self, work: _Work) -> None:
        """What came from a file and stands in none any more."""
        here, plan = self._here(), work.plan
        wanted = {planned.subject for planned in (*plan.groups, *plan.users, *plan.rules)}
        for subject, (rule, _) in here.rules.items():
            if rule.source and subject not in wanted:
                self._rules.delete(rule.id, _file(rule.source))
                work.changed.append(f"{subject} gone")
        for user, _ in here.users.values():
            if user.source and f"user {user.login}" not in wanted:
                self._users.let_go(user.id, _file(user.source))
                work.changed.append(f"user {user.login} gone")
        for group in here.groups.values():
            if group.source and f"group {group.name}" not in wanted:
                self._groups.delete(group.id, _file(group.source))
                work.changed.append(f"group {group.name} gone")

    def _bring(self, work: _Work) -> None:
        here = self._here()
        for planned in work.plan.groups:
            self._try(work, planned, lambda planned=planned: self._bring_group(work, planned, here))
        for planned in work.plan.users:
            self._try(work, planned, lambda planned=planned: self._bring_user(work, planned, here))
        for planned in work.plan.rules:
            self._try(work, planned, lambda planned=planned: self._bring_rule(work, planned, here))

    def _try(self, work: _Work, planned: PlannedGroup | PlannedUser | PlannedRule, change: Callable) -> None:
        try:
            if change():
                work.changed.append(planned.subject)
        except Error as error:
            work.error(planned.place, f"{planned.subject}: {error.message}")

    def _bring_group(self, work: _Work, planned: PlannedGroup, here: _Here) -> bool:
        """Whether anything had to be changed. So with users and rules."""
        wanted, by = planned.group, _file(planned.group.source)
        old = here.groups.get(wanted.name)
        if not old:
            self._groups.create(by, wanted.name, wanted.description, wanted.source)
            return True
        if old.description != wanted.description and not old.source:
            raise Error(_OF_ANOTHER)
        if old.id == DEFAULT_GROUP_ID or replace(wanted, id=old.id) == old:
            return False
        self._groups.update(old.id, by, description=wanted.description, source=wanted.source)
        return True

    def _bring_user(self, work: _Work, planned: PlannedUser, here: _Here) -> bool:
        wanted, by, hashed = planned.user, _file(planned.user.source), work.hashes[planned.user.login]
        group_ids = self._group_ids(planned.groups)
        old, stored = here.users.get(wanted.login, (None, ""))
        if not old:
            self._users.adopt(wanted, hashed, by, group_ids)
            return True
        fields = {name: getattr(wanted, name) for name in _OF_USER}
        changed = {name for name in _OF_USER if getattr(old, name) != fields[name]}
        changed |= {"groups"} if [group.id for group in old.groups] != group_ids else set()
        changed |= {"password"} if stored != hashed or old.must_change_password else set()
        if not old.source and changed != {"source"}:
            raise Error(_OF_ANOTHER)
        if changed:
            self._users.follow(old.id, by, hashed if "password" in changed else "", group_ids, **fields)
        return bool(changed)

    def _group_ids(self, names: Sequence[str]) -> list[int]:
        found = {name: self._find_group(name) for name in names}
        missing = [name for name, group_id in found.items() if group_id is None]
        if missing:
            raise Error(f"there is no group {missing[0]}")
        return list(found.values()) or [DEFAULT_GROUP_ID]

    def _bring_rule(self, work: _Work, planned: PlannedRule, here: _Here) -> bool:
        wanted, by = planned.rule, _file(planned.rule.source)
        fields = {"name": name_of(wanted), "is_disabled": wanted.is_disabled, "source": wanted.source}
        old = here.rules.get(planned.subject)
        if old and all(getattr(old.rule, name) == fields[name] for name in fields):
            return False
        if old:
            if not old.rule.source and replace(old.rule, source=wanted.source) != replace(old.rule, **fields):
                raise Error(_OF_ANOTHER)
            self._rules.update(old.rule.id, by, **fields)
            return True
        owner_id = self._owner_id(planned)
        if owner_id is None:
            weight = Weight.ERROR if planned.must_have_owner else Weight.LESS
            work.plan.remark(planned.place, weight, f"a rule of {planned.owner}, and there is none")
            return False
        fields |= {name: getattr(wanted, name) for name in ("resource_type", "resource_name", "action")}
        self._rules.create(by, owner_id, bool(planned.group), **fields)
        return True

    def _owner_id(self, planned: PlannedRule) -> int | None:
        if planned.rule.audience:
            return _AUDIENCE_IDS[planned.rule.audience]
        if planned.group:
            return self._find_group(planned.group)
        found = self._store.users.find_login(planned.user)
        return found[0].id if found else None

    def _find_group(self, name: str) -> int | None:
        """By its exact name: what is said twice in other letters would take turns for ever."""
        rows = self._store.groups.list(Listing(filters={"name": name})).rows
        return next((group.id for group in rows if group.name == name), None)

    def _keep_an_admin(self, work: _Work, before: int) -> None:
        """Whoever was here first cannot be shut out by a file, nor can everybody."""
        if before and not self._store.users.count_active_admins_made_here():
            work.error(Place(str(self._path)), "an admin must be left who is in no file: leave one out here")
        elif not self._store.users.count_active_admins():
            work.error(Place(str(self._path)), "no admin would be left: make one first")


_OF_ANOTHER = "is here already, and not from a file: make it the same here, or delete it, or choose another name"


def release(store: Store) -> None:
    """From now on no file decides about anything: what came from files stays, and can be changed here."""
    with store.transaction():
        for rows in (store.users, store.groups, store.rules):
            rows.forget_sources()


def _file(name: str) -> Actor:
    return Actor(name, is_file=True)


def _planned(owned: OwnedRule) -> PlannedRule:
    rule = owned.rule
    user, group = (owned.owner * (owner_id is not None) for owner_id in (rule.user_id, rule.group_id))
    return PlannedRule(Place(rule.source), rule, user, group)
