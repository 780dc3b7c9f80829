"""What one person may see and do, told for thousands of repositories at once."""

from collections.abc import Callable, Iterable
from functools import cache

from regadmin import patterns
from regadmin.decisions import INCLUDES
from regadmin.entities import Audience, Role, Rule, User
from regadmin.scopes import ACTIONS

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
        if self._user and self._user.role in _OVERSEERS:
            return None
        return self._allows("pull")

    def rights(self, name: str) -> tuple[str, ...]:
        """All that he may do with the repository."""
        if self._user and self._user.is_admin and not self._user.is_blocked:
            return ACTIONS
        return tuple(action for action in ACTIONS if self._allows(action)(name))

    def _matcher(self, action: str) -> Callable[[str], bool]:
        if self._user and self._user.is_blocked:
            return lambda name: False
        texts = frozenset(rule.resource_name for rule in self._rules if action in INCLUDES.get(rule.action, ()))
        login = self._user.login if self._user else ""
        groups = tuple(group.name for group in self._user.groups) if self._user else ()
        return patterns.matcher(texts, login, groups)


class Openness:
    """Which repositories everybody may pull, and which everybody who is signed in, by these enabled rules.

    Rules that depend on who asks open a repository to somebody, not to all.
    """

    def __init__(self, rules: Iterable[Rule]):
        opening = [rule for rule in rules if _opens(rule)]
        self._everyone = _names(rule for rule in opening if rule.audience is Audience.EVERYONE)
        self._registered = _names(rule for rule in opening if rule.audience is Audience.REGISTERED)

    def of(self, name: str) -> Audience | None:
        """The largest audience of the repository; None if it is open only to whom a rule names."""
        if self._everyone(name):
            return Audience.EVERYONE
        return Audience.REGISTERED if self._registered(name) else None


def _opens(rule: Rule) -> bool:
    return (
        rule.audience is not None
        and not rule.is_disabled
        and rule.resource_type == "repository"
        and "pull" in INCLUDES.get(rule.action, ())
        and not patterns.depends_on_subject(rule.resource_name)
    )


def _names(rules: Iterable[Rule]) -> Callable[[str], bool]:
    return patterns.matcher(frozenset(rule.resource_name for rule in rules))
