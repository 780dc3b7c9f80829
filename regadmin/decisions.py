"""Who may do what. One pure function, used by the realm, the pages, the REST API and the access check.

Rules only allow: the answer is the union of the enabled rules that match. `push` includes `pull`, `*`
includes everything, and an admin may do everything. Without a matching rule the answer is no.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from regadmin import patterns
from regadmin.entities import Audience, Reach, Role, Rule, User
from regadmin.messages import Message
from regadmin.scopes import ACTIONS, Scope

INCLUDES = {
    "pull": frozenset({"pull"}),
    "push": frozenset({"push", "pull"}),
    "delete": frozenset({"delete"}),
    "*": frozenset(ACTIONS),
}
"""What a rule with this action allows."""

RESOURCE_TYPES = ("repository", "registry")


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict on one action. `rule` decided it; if denied, `nearest` is the rule that came closest."""

    is_allowed: bool
    reason: str
    rule: Rule | None = None
    nearest: Rule | None = None


def decide(
    user: User | None, resource_type: str, name: str, action: str, rules: Iterable[Rule]
) -> Decision:
    """Decide whether `user` (None: anonymous) may do `action` on the resource, by these rules."""
    if action not in ACTIONS or resource_type not in RESOURCE_TYPES:
        return Decision(False, Message("unknown action or resource type"))
    if user and user.is_blocked:
        return Decision(False, Message("the user is blocked"))
    if user and not _is_within_token(user, resource_type, name, action):
        return Decision(False, Message("the access token is not for this"))
    if user and user.role is Role.ADMIN:
        return Decision(True, Message("an admin may do everything"))
    nearest, closeness = None, 0
    for rule in rules:
        failures = _failures(rule, user, resource_type, name, action)
        if not failures:
            return Decision(True, Message("a rule allows it"), rule=rule)
        if _belongs_together(failures) and len(_STEPS) - len(failures) > closeness:
            nearest, closeness = rule, len(_STEPS) - len(failures)
    return Decision(False, Message("no rule allows it"), nearest=nearest)


def grant(user: User | None, scope: Scope, rules: Iterable[Rule]) -> Scope:
    """The intersection of what is asked and what is allowed: the scope with its allowed actions only.

    A request for `*` is answered with all that the user has, because clients that delete ask for it.
    """
    rules = list(rules)
    wanted = ACTIONS if "*" in scope.actions else tuple(a for a in ACTIONS if a in scope.actions)
    if scope.type == "registry":
        wanted = tuple(action for action in wanted if action in scope.actions)
    allowed = tuple(a for a in wanted if decide(user, scope.type, scope.name, a, rules).is_allowed)
    return scope._replace(actions=allowed)


def _is_within_token(user: User, resource_type: str, name: str, action: str) -> bool:
    """Whether the access token that he came with is for this; what he may do is another question."""
    if not user.access_token or not user.access_token.scope:
        return True
    return resource_type == "repository" and any(
        action in INCLUDES[reach.action] and _covers(reach, name, user) for reach in user.access_token.scope
    )


_STEPS = ("owner", "resource", "action", "disabled")


def _failures(rule: Rule, user: User | None, resource_type: str, name: str, action: str) -> list[str]:
    passed = (
        _is_owned(rule, user),
        rule.resource_type == resource_type and _covers(rule, name, user),
        action in INCLUDES.get(rule.action, ()),
        not rule.is_disabled,
    )
    return [step for step, ok in zip(_STEPS, passed, strict=True) if not ok]


def _belongs_together(failures: list[str]) -> bool:
    """A rule is near only if it speaks of this resource."""
    return "resource" not in failures


def _is_owned(rule: Rule, user: User | None) -> bool:
    if rule.audience is not None:
        return rule.audience is Audience.EVERYONE or user is not None
    if user is None:
        return False
    if rule.group_id is not None:
        return any(group.id == rule.group_id for group in user.groups)
    return rule.user_id == user.id


def _covers(rule: Rule | Reach, name: str, user: User | None) -> bool:
    login = user.login if user else ""
    groups = tuple(group.name for group in user.groups) if user else ()
    return patterns.matches(rule.resource_name, name, login, groups)
