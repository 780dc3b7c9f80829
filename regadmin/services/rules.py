"""Access rules, and the questions that are asked of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache

from regadmin import patterns
from regadmin.decisions import INCLUDES, RESOURCE_TYPES, actions, decide
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Actor, Audience, Page, Role, Rule, User
from regadmin.errors import Conflict, Invalid, Malformed, NotFound
from regadmin.store import Store
from regadmin.store.listing import Listing

MAX_TEXT = 255


class Rules:
    def __init__(self, store: Store):
        self._store = store

    def list(self, listing: Listing) -> Page:
        return self._store.rules.list(listing)

    def find(self, rule_id: int) -> Rule:
        rule = self._store.rules.find(rule_id)
        if not rule:
            raise NotFound(f"there is no access rule {rule_id}")
        return rule

    def create(self, by: Actor, owner_id: int, is_group: bool = False, **fields) -> Rule:
        """`fields` are those of the entity Rule. The repository need not exist yet. Raises Invalid, Conflict."""
        with self._store.transaction():
            defaults = {"id": 0, "name": "", "resource_type": "repository", "resource_name": "", "action": ""}
            rule = self._checked(Rule(**defaults | self._owner(owner_id, is_group) | fields))
            try:
                rule = self._store.rules.create(rule)
            except sqlite3.IntegrityError:
                raise self._taken(rule) from None
            self._store.activity.add("rule created", by.login, rule.resource_name, by.address, asdict(rule))
            return rule

    def update(
        self, rule_id: int, by: Actor, owner_id: int | None = None, is_group: bool | None = None, **fields
    ) -> Rule:
        """Change the given fields. Raises Invalid, Conflict and NotFound."""
        with self._store.transaction():
            old = self.find(rule_id)
            owner = old.owner_id if owner_id is None else owner_id
            fields |= self._owner(owner, old.is_group if is_group is None else is_group)
            new = self._checked(replace(old, **fields))
            try:
                self._store.rules.update(new)
            except sqlite3.IntegrityError:
                raise self._taken(new) from None
            details = {"before": asdict(old), "after": asdict(new)}
            self._store.activity.add("rule changed", by.login, new.resource_name, by.address, details)
            return new

    def delete(self, rule_id: int, by: Actor) -> Rule:
        """Raises NotFound."""
        with self._store.transaction():
            rule = self.find(rule_id)
            self._store.rules.delete(rule_id)
            self._store.activity.add("rule deleted", by.login, rule.resource_name, by.address, asdict(rule))
            return rule

    def visible(self, user: User | None) -> Callable[[str], bool] | None:
        """Tells by its name whether the user may see a repository; None if he may see all of them."""
        if user and user.role in (Role.ADMIN, Role.MANAGER):
            return None
        rules = self._store.rules.list_for(user)
        return lru_cache(maxsize=None)(
            lambda name: decide(user, "repository", name, "pull", rules).is_allowed
        )

    def rights(self, user: User | None, names: list[str]) -> dict[str, tuple[str, ...]]:
        """What the user may do with each of these repositories."""
        rules = self._store.rules.list_for(user)
        return {name: actions(user, name, rules) for name in names}

    def _owner(self, owner_id: int, is_group: bool) -> dict:
        """The owner of the REST contract's numbers. Raises Invalid."""
        audience = {REGISTERED_ID: Audience.REGISTERED, EVERYONE_ID: Audience.EVERYONE}.get(owner_id)
        found = self._store.groups.find(owner_id) if is_group else self._store.users.find(owner_id)
        if not audience and not found:
            raise Invalid({"owner_id": f"there is no {'group' if is_group else 'user'} {owner_id}"})
        return {
            "user_id": None if audience or is_group else owner_id,
            "group_id": owner_id if is_group and not audience else None,
            "audience": audience,
        }

    def _checked(self, rule: Rule) -> Rule:
        wrong = {}
        if rule.resource_type not in RESOURCE_TYPES:
            wrong["type"] = f"must be one of {', '.join(RESOURCE_TYPES)}"
        if rule.action not in INCLUDES:
            wrong["action"] = f"must be one of {', '.join(INCLUDES)}"
        if len(rule.name) > MAX_TEXT or not rule.name.isprintable():
            wrong["name"] = f"must hold at most {MAX_TEXT} characters, without control characters"
        try:
            patterns.check(rule.resource_name)
        except Malformed as error:
            wrong["resource_name"] = error.message
        if wrong:
            raise Invalid(wrong)
        return rule if rule.name else replace(rule, name=f"{rule.action} {rule.resource_name}"[:MAX_TEXT])

    def _taken(self, rule: Rule) -> Conflict:
        equal = self._store.rules.find_equal(rule)
        return Conflict(f"rule {equal.id} ({equal.name}) already says this")
