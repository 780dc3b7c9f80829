"""Access rules, and the questions that are asked of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from regadmin import patterns, scopes
from regadmin.decisions import INCLUDES, RESOURCE_TYPES, Decision, decide
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Actor, Audience, Page, Rule, User
from regadmin.errors import Conflict, Invalid, Malformed, NotFound
from regadmin.messages import Message
from regadmin.services.coverage import Coverage
from regadmin.services.sight import OPENNESS, Sight, within
from regadmin.services.sources import refuse_change
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.rules import OwnedRule

MAX_TEXT = 255
MAX_CHOICES = 500
MAX_SUGGESTED = 50


class AlreadySaid(Conflict):
    """`rule` has the same owner, resource and action."""

    def __init__(self, rule: Rule):
        super().__init__(Message("rule %(id)s (%(name)s) already says this", id=rule.id, name=rule.name))
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to: may this user (None: anonymous) do this? `rule` decided it, or came nearest.

    `lacks` tells why a rule that came near does not allow it: `owner`, `action`, `disabled`.
    """

    user: User | None
    name: str
    action: str
    decision: Decision
    owner: str
    lacks: tuple[str, ...]
    is_known: bool

    @property
    def rule(self) -> Rule | None:
        return self.decision.rule or self.decision.nearest


@dataclass(frozen=True, slots=True)
class Choices:
    """What a form suggests. There may be more; any other name can be typed."""

    users: list[str]
    groups: list[str]
    repositories: list[str]


class Rules:
    def __init__(self, store: Store):
        self._store = store
        self._coverage = Coverage(store)

    def list(self, listing: Listing) -> Page:
        return self._store.rules.list(listing)

    def list_owned(self, listing: Listing) -> Page:
        """Rules with the names of their owners."""
        return self._store.rules.list_owned(listing)

    def find_owned(self, rule_id: int) -> OwnedRule:
        """Raises NotFound."""
        owned = self._store.rules.find_owned(rule_id)
        if not owned:
            raise NotFound(Message("there is no access rule %(rule)s", rule=rule_id))
        return owned

    def find(self, rule_id: int) -> Rule:
        return self.find_owned(rule_id).rule

    def create(self, by: Actor, owner_id: int, is_group: bool = False, **fields) -> Rule:
        """`fields` are those of the entity Rule. The repository need not exist yet. Raises Invalid, Conflict."""
        with self._store.transaction():
            defaults = {"id": 0, "name": "", "resource_type": "repository", "resource_name": "", "action": ""}
            rule = self._checked(Rule(**defaults | self._owner(owner_id, is_group) | fields))
            try:
                rule = self._store.rules.create(rule)
            except sqlite3.IntegrityError:
                raise self._taken(rule) from None
            self._store.activity.add("rule created", by.login, rule.resource_name, by.address, self._row(rule))
            return rule

    def update(
        self, rule_id: int, by: Actor, owner_id: int | None = None, is_group: bool | None = None, **fields
    ) -> Rule:
        """Change the given fields. Raises Invalid, Conflict, Forbidden and NotFound."""
        with self._store.transaction():
            old = self.find(rule_id)
            refuse_change(old, by)
            owner = old.owner_id if owner_id is None else owner_id
            fields |= self._owner(owner, old.is_group if is_group is None else is_group)
            new = self._checked(replace(old, **fields))
            before = self._row(old)
            try:
                self._store.rules.update(new)
            except sqlite3.IntegrityError:
                raise self._taken(new) from None
            details = {"before": before, "after": self._row(new)}
            self._store.activity.add("rule changed", by.login, new.resource_name, by.address, details)
            return new

    def delete(self, rule_id: int, by: Actor) -> Rule:
        """Raises NotFound and Forbidden."""
        with self._store.transaction():
            rule = self.find(rule_id)
            refuse_change(rule, by)
            row = self._row(rule)
            self._store.rules.delete(rule_id)
            self._store.activity.add("rule deleted", by.login, rule.resource_name, by.address, row)
            return rule

    def visible(self, user: User | None) -> Callable[[str], bool] | None:
        """Tells by its name whether the user may see a repository; None if he may see all of them."""
        return self.sight(user).visible

    def seen(self, sight: Sight, openness: str = "") -> bytes | None:
        """1 at the id of each repository that can be seen; None for all of them.

        `openness` is '' or one of OPENNESS, to which they are narrowed.
        """
        visible = sight.visible_among(self._coverage)
        if not openness:
            return visible
        chosen = sight.openness.among(self._coverage, OPENNESS[openness])
        return chosen if visible is None else within(chosen, visible)

    def sight(self, user: User | None) -> Sight:
        """What the user (None: an anonymous visitor) may see and do, by the rules of this moment."""
        return Sight(user, self._store.rules.list_for(user))

    def reaching(self, name: str) -> list[OwnedRule]:
        """All rules, disabled ones too, that cover the repository for somebody."""
        rows = self.list_owned(Listing(sort="owner", filters={"resource_type": "repository"})).rows
        return [row for row in rows if patterns.may_match(row.rule.resource_name, name)]

    def rights(self, user: User | None, names: list[str]) -> dict[str, tuple[str, ...]]:
        """What the user may do with each of these repositories."""
        sight = self.sight(user)
        return {name: sight.rights(name) for name in names}

    def check(self, login: str, name: str, action: str) -> Check:
        """Whether the user with this login ('' is anonymous) may do this, and why. Raises Invalid."""
        user = self._asked(login, name, action)
        owned = self.list_owned(Listing()).rows
        decision = _decide_at_the_realm(user, name, action, [row.rule for row in owned])
        rule = decision.rule or decision.nearest
        return Check(
            user,
            name,
            action,
            decision,
            next((row.owner for row in owned if row.rule == rule), ""),
            _lacks(decision.nearest, user, name, action) if decision.nearest else (),
            self._store.repositories.find(name) is not None,
        )

    def matching(self, resource_name: str) -> list[str] | None:
        """The known repositories that it covers; None if that depends on who asks. Raises Malformed."""
        patterns.check(resource_name)
        if patterns.depends_on_subject(resource_name):
            return None
        covers = patterns.matcher(frozenset([resource_name]))
        return [name for name, _ in self._store.repositories.between([patterns.span(resource_name)]) if covers(name)]

    def count_matches(self, rules: Iterable[Rule]) -> dict[int, int]:
        """How many known repositories each rule covers, by its id.

        Without those that speak of no repository, and those for which it depends on who asks.
        """
        speaking = [rule for rule in rules if rule.resource_type == "repository"]
        counted = [rule for rule in speaking if not patterns.depends_on_subject(rule.resource_name)]
        counts = self._coverage.counts(rule.resource_name for rule in counted)
        return {rule.id: counts[rule.resource_name] for rule in counted}

    def choices(self) -> Choices:
        users = self._store.users.list(Listing(sort="login", limit=MAX_CHOICES)).rows
        groups = self._store.groups.list(Listing(sort="name", limit=MAX_CHOICES)).rows
        repositories = self._store.rules.repository_names("", MAX_CHOICES)
        return Choices([user.login for user in users], [group.name for group in groups], repositories)

    def suggest(self, kind: str, text: str) -> list[str]:
        """Users, groups or repositories (`kind` is user, group or repository) whose name holds the text."""
        listing = Listing(limit=MAX_SUGGESTED, filters={"q": text})
        if kind == "user":
            return [user.login for user in self._store.users.list(replace(listing, sort="login")).rows]
        if kind == "group":
            return [group.name for group in self._store.groups.list(replace(listing, sort="name")).rows]
        return self._store.rules.repository_names(text, MAX_SUGGESTED)

    def prepare(self, kind: str, owner: str, is_confirmed: bool, **fields) -> dict:
        """What `create` and `update` take, for an owner who is named. Raises Invalid, with all that is wrong."""
        wrong = {}
        found = self._find_owner(kind, owner)
        if not found:
            is_named = kind in ("user", "group")
            wrong[kind if is_named else "kind"] = _missing(kind, owner) if is_named else Message("choose one of these")
        try:
            self._checked(Rule(id=0, **fields))
        except Invalid as error:
            wrong |= error.fields
        if not wrong and kind == "everyone" and fields["action"] != "pull" and not is_confirmed:
            wrong["confirmed"] = Message("tick the box if this is what you want")
        if wrong:
            raise Invalid(wrong)
        return {"owner_id": found[0], "is_group": found[1]} | fields

    def _find_owner(self, kind: str, name: str) -> tuple[int, bool] | None:
        """The number of the contract, and whether it is a group's."""
        if kind == "user":
            found = self._store.users.find_login(name)
            return (found[0].id, False) if found else None
        if kind == "group":
            rows = self._store.groups.list(Listing(filters={"name": name})).rows
            return (rows[0].id, True) if rows else None
        audiences = {Audience.REGISTERED: (REGISTERED_ID, False), Audience.EVERYONE: (EVERYONE_ID, False)}
        return audiences.get(kind)

    def _asked(self, login: str, name: str, action: str) -> User | None:
        """The user of a question that can be asked. Raises Invalid."""
        wrong = {}
        found = self._store.users.find_login(login)
        if login and not found:
            wrong["user"] = _missing("user", login)
        if not _is_repository_name(name):
            wrong["repo"] = Message("must be the name of one repository, in full")
        if action not in scopes.ACTIONS:
            wrong["action"] = _one_of(scopes.ACTIONS)
        if wrong:
            raise Invalid(wrong)
        return found[0] if found else None

    def _row(self, rule: Rule) -> dict:
        """For the activity: its owner by name, which says something even when he is gone."""
        kind = rule.audience or ("group" if rule.is_group else "user")
        row = {"id": rule.id, "name": rule.name, "owner_kind": str(kind), "owner": self.find_owned(rule.id).owner}
        names = ("resource_type", "resource_name", "action", "is_disabled", "source")
        return row | {name: getattr(rule, name) for name in names}

    def _owner(self, owner_id: int, is_group: bool) -> dict:
        """The owner of the REST contract's numbers. Raises Invalid."""
        audience = {REGISTERED_ID: Audience.REGISTERED, EVERYONE_ID: Audience.EVERYONE}.get(owner_id)
        found = self._store.groups.find(owner_id) if is_group else self._store.users.find(owner_id)
        if not audience and not found:
            raise Invalid({"owner_id": _missing("group" if is_group else "user", owner_id)})
        return {
            "user_id": None if audience or is_group else owner_id,
            "group_id": owner_id if is_group and not audience else None,
            "audience": audience,
        }

    def _checked(self, rule: Rule) -> Rule:
        wrong = {}
        if rule.resource_type not in RESOURCE_TYPES:
            wrong["type"] = _one_of(RESOURCE_TYPES)
        if rule.action not in INCLUDES:
            wrong["action"] = _one_of(INCLUDES)
        if len(rule.name) > MAX_TEXT or not rule.name.isprintable():
            wrong["name"] = Message("must hold at most %(most)s characters, without control characters", most=MAX_TEXT)
        try:
            patterns.check(rule.resource_name)
        except Malformed as error:
            wrong["resource_name"] = error.message
        if wrong:
            raise Invalid(wrong)
        return replace(rule, name=name_of(rule))

    def _taken(self, rule: Rule) -> AlreadySaid:
        return AlreadySaid(self._store.rules.find_equal(rule))


def name_of(rule: Rule) -> str:
    """What lists call it, though nobody gave it a name."""
    return rule.name or f"{rule.action} {rule.resource_name}"[:MAX_TEXT]


def _decide_at_the_realm(user: User | None, name: str, action: str, rules: list[Rule]) -> Decision:
    if user and user.must_change_password:
        return Decision(False, Message("the default password must be changed first"))
    return decide(user, "repository", name, action, rules)


def _lacks(rule: Rule, user: User | None, name: str, action: str) -> tuple[str, ...]:
    """What a rule that speaks of this repository needs to allow it."""
    enabled = replace(rule, is_disabled=False)
    missing = {
        "owner": not decide(user, "repository", name, rule.action, [enabled]).is_allowed,
        "action": action not in INCLUDES[rule.action],
        "disabled": rule.is_disabled,
    }
    return tuple(reason for reason, is_missing in missing.items() if is_missing)


def _is_repository_name(text: str) -> bool:
    try:
        return scopes.parse(f"repository:{text}:pull").name == text
    except Malformed:
        return False


def _missing(kind: str, name: str | int) -> Message:
    if not name:
        return Message("is missing")
    if kind == "group":
        return Message("there is no group %(group)s", group=str(name)[:80])
    return Message("there is no user %(user)s", user=str(name)[:80])


def _one_of(choices: Iterable[str]) -> Message:
    return Message("must be one of %(choices)s", choices=", ".join(choices))
