"""What one person may see and do, told for thousands of repositories at once."""

from collections.abc import Callable, Iterable
from functools import cache

from regadmin import patterns
from regadmin.decisions import INCLUDES
from regadmin.entities import Audience, Role, Rule, User
from regadmin.scopes import ACTIONS
from regadmin.services.coverage import Coverage

OPENNESS = {"everyone": Audience.EVERYONE, "registered": Audience.REGISTERED, "restricted": None}
"""Who may pull a repository, as a filter names it."""

_Covering = tuple[frozenset[str], str, tuple[str, ...]]

_OVERSEERS = (Role.ADMIN, Role.MANAGER)


class Sight:
    """`rules` are the enabled ones of the user (None: an anonymous visitor). The answers are those of `decide`."""

    def __init__(self, user: User | None, rules: Iterable[Rule]):
        self._user = user
        self._rules = [rule for rule in rules if rule.resource_type == "repository"]
        self._allows = cache(self._matcher)
        self.openness = Openness(self._rules)

    @property
    def visible(self) -> Callable[[str], bool] | None:
        """Tells by its name whether he may see a repository; None if he may see all of them."""
        if self._user and self._user.role in _OVERSEERS and not self._user.access_token:
            return None
        return self._allows("pull")

    def visible_among(self, coverage: Coverage) -> bytes | None:
        """`visible` for all repositories at once, by their ids."""
        if self.visible is None:
            return None
        if self._user and self._user.is_blocked:
            return b""
        ids = coverage.ids(*self._covering("pull"))
        return within(ids, coverage.ids(*self._reached("pull"))) if self._has_scope else ids

    def rights(self, name: str) -> tuple[str, ...]:
        """All that he may do with the repository."""
        if self._user and self._user.is_admin and not self._user.is_blocked and not self._user.access_token:
            return ACTIONS
        return tuple(action for action in ACTIONS if self._allows(action)(name))

    def _matcher(self, action: str) -> Callable[[str], bool]:
        if self._user and self._user.is_blocked:
            return lambda name: False
        allowed = patterns.matcher(*self._covering(action))
        if not self._has_scope:
            return allowed
        reached = patterns.matcher(*self._reached(action))
        return lambda name: allowed(name) and reached(name)

    @property
    def _has_scope(self) -> bool:
        return bool(self._user and self._user.access_token and self._user.access_token.scope)

    def _covering(self, action: str) -> _Covering:
        """The resource names that allow it, and for whom."""
        if self._user and self._user.is_admin:
            return self._for_user(frozenset({"**"}))
        return self._for_user(
            frozenset(rule.resource_name for rule in self._rules if action in INCLUDES.get(rule.action, ()))
        )

    def _reached(self, action: str) -> _Covering:
        """Like `_covering`, of the access token that he came with."""
        scope = self._user.access_token.scope
        return self._for_user(frozenset(reach.resource_name for reach in scope if action in INCLUDES[reach.action]))

    def _for_user(self, texts: frozenset[str]) -> _Covering:
        login = self._user.login if self._user else ""
        groups = tuple(group.name for group in self._user.groups) if self._user else ()
        return texts, login, groups


class Openness:
    """Which repositories everybody may pull, and which everybody who is signed in, by these enabled rules.

    Rules that depend on who asks open a repository to somebody, not to all.
    """

    def __init__(self, rules: Iterable[Rule]):
        opening = [rule for rule in rules if _opens(rule)]
        self._texts = {
            audience: frozenset(rule.resource_name for rule in opening if rule.audience is audience)
            for audience in Audience
        }
        self._everyone = patterns.matcher(self._texts[Audience.EVERYONE])
        self._registered = patterns.matcher(self._texts[Audience.REGISTERED])

    def of(self, name: str) -> Audience | None:
        """The largest audience of the repository; None if it is open only to whom a rule names."""
        if self._everyone(name):
            return Audience.EVERYONE
        return Audience.REGISTERED if self._registered(name) else None

    def among(self, coverage: Coverage, audience: Audience | None) -> bytes:
        """Those of all repositories that `of` tells this audience of, by their ids."""
        everyone, registered = (coverage.ids(self._texts[each]) for each in (Audience.EVERYONE, Audience.REGISTERED))
        if audience is Audience.EVERYONE:
            return everyone
        if audience is Audience.REGISTERED:
            return without(registered, everyone)
        return without(without(coverage.ids(frozenset({"**"})), everyone), registered)


def within(ids: bytes, others: bytes) -> bytes:
    """The ids that are in both."""
    return _bytes(_number(ids) & _number(others), min(len(ids), len(others)))


def without(ids: bytes, others: bytes) -> bytes:
    """The ids that are not among the others."""
    return _bytes(_number(ids) & ~_number(others), len(ids))


def _number(ids: bytes) -> int:
    return int.from_bytes(ids, "little")


def _bytes(number: int, length: int) -> bytes:
    return number.to_bytes(length, "little")


def _opens(rule: Rule) -> bool:
    return (
        rule.audience is not None
        and not rule.is_disabled
        and rule.resource_type == "repository"
        and "pull" in INCLUDES.get(rule.action, ())
        and not patterns.depends_on_subject(rule.resource_name)
    )
