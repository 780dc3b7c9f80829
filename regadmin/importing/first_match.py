"""Lists in which the first entry that matches decides, as rules that only allow.

Rules add up: an entry that others stand before could allow more here than it does there. So each entry is looked at for
each known user, for anonymous clients and for everybody else. Who is decided about before is left out. Where that
depends on the name or on what is not known here, the plan says that it grants more: rather once too often.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from regadmin import patterns
from regadmin.decisions import RESOURCE_TYPES
from regadmin.entities import Audience
from regadmin.go_patterns import EVERYTHING
from regadmin.importing import actions
from regadmin.importing.plan import Place, Plan, Weight
from regadmin.scopes import ACTIONS

ANONYMOUS, OTHERS = "", "\0"
"""Subjects beside the logins. OTHERS stands for those who are in no list yet."""

CATALOG = "catalog"
"""All that a registry is asked for beside repositories."""

_EVERY_LOGIN = (".*", ".+", "[^/]*")
_NAMED = 3
_FOR_EVERYBODY = "anonymous clients may do this: here everybody may, signed in or not"


@dataclass(frozen=True)
class Entry:
    """`account` is a login, an expression for logins or None for everybody; `resource_name` is '' if not known.

    An entry `is_conditional` if it depends on what rules here do not know.
    """

    place: Place
    account: str | re.Pattern | None
    types: frozenset[str]
    resource_name: str
    actions: frozenset[str]
    is_conditional: bool = False

    def may_match(self, subject: str) -> bool:
        if self.account is None:
            return True
        if isinstance(self.account, str):
            return self.account == subject
        return subject == OTHERS or self.account.fullmatch(subject) is not None

    def must_match(self, subject: str) -> bool:
        if self.is_conditional or not self.may_match(subject):
            return False
        return subject != OTHERS or self.account is None or self.account.pattern in _EVERY_LOGIN

    def of_type(self, kind: str) -> frozenset[str]:
        """The actions; with the catalog only `*` means something."""
        return self.actions if kind == "repository" else self.actions & {"*"}


class FirstMatch:
    def __init__(self, entries: Sequence[Entry], logins: Sequence[str], has_anonymous: bool):
        self._entries = entries
        self._subjects = [ANONYMOUS] * has_anonymous + list(logins) + [OTHERS]

    def write(self, plan: Plan) -> None:
        """Add rules and remarks to the plan."""
        for at, entry in enumerate(self._entries):
            if not entry.actions:
                plan.remark(entry.place, Weight.NOTE, "this denies: rules here only allow, so none is written for it")
            for kind in RESOURCE_TYPES:
                if kind in entry.types and entry.resource_name and not entry.is_conditional and entry.of_type(kind):
                    self._write(plan, entry, kind, [e for e in self._entries[:at] if kind in e.types])

    def _write(self, plan: Plan, entry: Entry, kind: str, earlier: list[Entry]) -> None:
        resource_name = entry.resource_name
        if kind == "registry":
            if patterns.depends_on_subject(resource_name) or not patterns.matches(resource_name, CATALOG):
                return
            resource_name = CATALOG
        reached = [s for s in self._subjects if _reaches(entry, s) and not any(_hides(e, entry, s) for e in earlier)]
        surplus = [(e, s) for e in earlier for s in reached if _clashes(e, entry, s, kind)]
        is_open = any(s == OTHERS and not e.must_match(s) for e, s in surplus)
        for owner in self._owners(plan, entry, reached, is_open):
            for action in actions.needed(entry.of_type(kind)):
                plan.add_rule(entry.place, resource_name, action, kind, **owner)
        if ANONYMOUS in reached:
            surplus = [(e, s) for e, s in surplus if s == ANONYMOUS]
        self._remark(plan, entry, kind, [(e, s) for e, s in surplus if s != OTHERS or e.must_match(s)])

    def _owners(self, plan: Plan, entry: Entry, reached: list[str], is_open: bool) -> Iterator[dict]:
        """Whose rules the entry becomes; it `is_open` what others decide about those who come later.

        What anonymous clients may do everybody may: he could sign out.
        """
        logins = [s for s in reached if s not in (ANONYMOUS, OTHERS)]
        if ANONYMOUS in reached:
            yield {"audience": Audience.EVERYONE}
            if reached != self._subjects:
                plan.remark(entry.place, Weight.NOTE, _FOR_EVERYBODY)
        elif self._is_for_all(entry, reached) and not is_open:
            yield {"audience": Audience.REGISTERED}
        else:
            yield from ({"user": login} for login in logins)
            if not reached:
                plan.remark(entry.place, Weight.NOTE, "this never decides: lines before it do")
            elif OTHERS in reached:
                text = f"rules are written for {_names(logins)}; who is created later needs one of his own"
                plan.remark(entry.place, Weight.NOTE, text)

    def _is_for_all(self, entry: Entry, reached: list[str]) -> bool:
        return entry.must_match(OTHERS) and {*self._subjects} - {ANONYMOUS} <= {*reached}

    def _remark(self, plan: Plan, entry: Entry, kind: str, surplus: list[tuple[Entry, str]]) -> None:
        granted = entry.of_type(kind)
        if "push" in granted and "pull" not in granted:
            plan.remark(entry.place, Weight.MORE, "push without pull: push includes pull here")
        for earlier in dict.fromkeys(e for e, _ in surplus):
            names = _names([s for e, s in surplus if e is earlier])
            more = actions.allowed(granted) - earlier.actions
            text = (
                f"this decides before line {entry.place.line}, but rules here add up: where both speak of a name, "
                f"{names} could also {' and '.join(action for action in ACTIONS if action in more)}"
            )
            plan.remark(earlier.place, Weight.MORE, text)


def _reaches(entry: Entry, subject: str) -> bool:
    """Whether it may match; a name made of his login is nothing to somebody without one."""
    is_nameless = subject == ANONYMOUS and patterns.depends_on_subject(entry.resource_name)
    return entry.may_match(subject) and not is_nameless


def _hides(earlier: Entry, entry: Entry, subject: str) -> bool:
    """Whether the earlier one surely decides all that the entry speaks of."""
    return earlier.must_match(subject) and _covers(*_filled(earlier, entry, subject))


def _clashes(earlier: Entry, entry: Entry, subject: str, kind: str) -> bool:
    """Whether the earlier one may decide something that the entry would allow more of."""
    more = actions.allowed(entry.of_type(kind)) - earlier.actions
    return bool(more) and earlier.may_match(subject) and not _are_apart(*_filled(earlier, entry, subject))


def _filled(earlier: Entry, entry: Entry, subject: str) -> tuple[str, str]:
    """The two names with the login in place, if it is known and an ordinary one."""
    names = earlier.resource_name, entry.resource_name
    if re.fullmatch(r"[A-Za-z0-9._-]+", subject) and not any(map(patterns.is_regex, names)):
        return tuple(name.replace("${login}", subject) for name in names)
    return names


@lru_cache(maxsize=4096)
def _covers(wide: str, narrow: str) -> bool:
    if wide == narrow or wide in EVERYTHING:
        return True
    is_told = patterns.is_exact(narrow) and not patterns.depends_on_subject(wide)
    return is_told and patterns.matches(wide, narrow)


@lru_cache(maxsize=4096)
def _are_apart(one: str, other: str) -> bool:
    """Whether surely no name is covered by both."""
    if not (one and other) or patterns.depends_on_subject(one) or patterns.depends_on_subject(other):
        return False
    for exact, wide in ((one, other), (other, one)):
        if patterns.is_exact(exact):
            return not patterns.matches(wide, exact)
    if any(patterns.is_regex(each) or "**" in each for each in (one, other)):
        return False
    segments = one.split("/"), other.split("/")
    return len(segments[0]) != len(segments[1]) or any(map(_begin_or_end_apart, *segments))


def _begin_or_end_apart(one: str, other: str) -> bool:
    """Whether two globs of a segment differ before the first wildcard or after the last."""
    beginnings = [re.match(r"[^*?]*", each)[0] for each in (one, other)]
    endings = [re.search(r"[^*?]*\Z", each)[0][::-1] for each in (one, other)]
    return any(not long.startswith(short) for short, long in (sorted(beginnings, key=len), sorted(endings, key=len)))


def _names(subjects: Sequence[str]) -> str:
    called = {ANONYMOUS: "anonymous clients", OTHERS: "everybody else"}
    names = [called.get(subject, subject) for subject in dict.fromkeys(subjects)]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "nobody"
