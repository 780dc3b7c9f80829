"""Resource names of rules: an exact name, a glob, or a regular expression between slashes.

A valid repository name holds none of `* ? $ { }` and neither begins nor ends with a slash, so a resource
name says by itself what it is. In a glob `*` stays within a path segment, `**` crosses segments, `?` is one
character; `${login}` and `${group}` are filled in, escaped, for the subject. Regular expressions
are anchored.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from re import _constants as op
from re import _parser as regex_parser
from typing import NamedTuple

from regadmin.errors import Malformed
from regadmin.messages import Message

MAX_LENGTH = 512
MAX_GROUPS = 100

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")
_GLOB_TOKEN = re.compile(r"\*\*|\*|\?|\$\{[a-z]+\}|[^*?$]+|.", re.DOTALL)
_REGEX_START = re.compile(r"/\^?((?:(?:[a-z0-9_-]|\\[/.-])(?![?*+{]))*+)(?!.*\|)", re.DOTALL)
"""What an expression without alternatives begins with, as it stands."""

_EXACT = re.compile(r"[a-z0-9][a-z0-9._:-]*(?:/[a-z0-9._:-]+)*", re.IGNORECASE | re.ASCII)
_WITH_PORT = re.compile(r"[^:/]+:[0-9]+/[^:]+\Z")
_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/:")
_ALPHABET = frozenset("".join(_NAMES).lower())
_UNKNOWN = "\ue000"
"""Stands for a placeholder's value while an expression is checked: it may be any text."""

_ESCAPES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
}

_LONGEST_NAME = 255
_MOST_WAYS = 2**18
"""A little more than _LONGEST_NAME squared, so that a few optional parts do no harm."""


def is_regex(text: str) -> bool:
    return len(text) >= 2 and text.startswith("/") and text.endswith("/")


def is_exact(text: str) -> bool:
    return not is_regex(text) and not any(character in text for character in "*?$")


def check(text: str) -> None:
    """Refuse what cannot compile, could run away or can never match a repository's name.

    Raises Malformed with a sentence for the person who typed it.
    """
    if not text or len(text) > MAX_LENGTH:
        raise Malformed(Message("must hold 1 to %(most)s characters", most=MAX_LENGTH))
    if is_regex(text):
        _check_regex(text)
    elif is_exact(text):
        if not _EXACT.fullmatch(text):
            raise Malformed(Message("is no repository name, no glob and no /regular expression/"))
        if ":" in text and not _WITH_PORT.match(text):
            raise Malformed(Message("holds a colon that begins no port: rules speak of repositories, not of tags"))
    else:
        _check_glob(text)


def matches(text: str, name: str, login: str = "", groups: Sequence[str] = ()) -> bool:
    """Tell whether the resource name `text` covers `name` for a subject with this login and these groups."""
    if is_exact(text):
        return text == name
    return any(pattern.fullmatch(name) for pattern in _compiled(text, login, groups))


@lru_cache(maxsize=16)
def matcher(texts: frozenset[str], login: str = "", groups: tuple[str, ...] = ()) -> Callable[[str], bool]:
    """A function that tells whether any of the resource names covers a name: `matches` for thousands of names."""
    exact = frozenset(filter(is_exact, texts))
    found = [pattern for text in texts - exact for pattern in _compiled(text, login, groups)]
    # Flags stand at the start of an expression and would count for all of them.
    alone = [pattern for pattern in found if pattern.pattern.startswith("(?")]
    joined = "|".join(f"(?:{pattern.pattern})" for pattern in found if pattern not in alone)
    tests = [re.compile(joined, re.ASCII).fullmatch] if joined else []
    tests += [pattern.fullmatch for pattern in alone]
    return lambda name: name in exact or any(test(name) for test in tests)


def span(text: str, login: str = "") -> tuple[str, str]:
    """Where the names stand that the resource name can cover, among all names in order: from the first one to before
    the second. `login` is that of the subject, if there is only one.
    """
    if login and not is_regex(text):
        text = text.replace("${login}", login)
    if is_exact(text):
        return text, text + "!"
    found = _REGEX_START.match(text) if is_regex(text) else re.match(r"([^*?$]*)", text)
    start = found[1].replace("\\", "") if found else ""
    return (start, start[:-1] + chr(ord(start[-1]) + 1)) if start else ("", "\x7f")


def may_match(text: str, name: str) -> bool:
    """Tell whether the resource name covers `name` for somebody; a placeholder may stand for any text.

    Whom a regular expression with placeholders could be for is not looked into: it counts as one that may.
    """
    if not depends_on_subject(text):
        return matches(text, name)
    start, end = re.match(r"[^*?$]*", text)[0], re.search(r"[^*?}]*\Z", text)[0]
    return is_regex(text) or (name.startswith(start) and name.endswith(end))


def depends_on_subject(text: str) -> bool:
    return "${" in text


def _compiled(text: str, login: str, groups: Sequence[str]) -> list[re.Pattern]:
    """What stands for a pattern: one for each group if it speaks of them, none if the subject has no such thing."""
    if "${group}" in text:
        return [_compile(text, login, group) for group in groups]
    if "${login}" in text:
        return [_compile(text, login, "")] if login else []
    return [_compile(text, "", "")]


@lru_cache(maxsize=4096)
def _compile(text: str, login: str, group: str) -> re.Pattern:
    return re.compile(_expression(text, {"${login}": login, "${group}": group}), re.ASCII)


def _expression(text: str, values: dict[str, str]) -> str:
    """The regular expression that a regular expression or glob stands for, with these values filled in."""
    filled = {name: f"(?:{re.escape(value)})" for name, value in values.items()}
    if is_regex(text):
        return _PLACEHOLDER.sub(lambda found: filled[found[0]], text[1:-1])
    wildcards = {"**": ".*", "*": "[^/]*", "?": "[^/]"} | filled
    return "".join(wildcards.get(token) or re.escape(token) for token in _GLOB_TOKEN.findall(text))


def _check_placeholders(text: str) -> None:
    for found in _PLACEHOLDER.finditer(text):
        if found[0] not in ("${login}", "${group}"):
            raise Malformed(Message("%(found)s is no placeholder; there are ${login} and ${group}", found=found[0]))


def _check_glob(text: str) -> None:
    _check_placeholders(text)
    if not _EXACT.fullmatch(re.sub(r"\$\{[a-z]+\}|[*?]", "a", text)):
        raise Malformed(Message("matches no name that a repository can have"))
    if "***" in text:
        raise Malformed(Message("holds three stars in a row; there are * and **"))
    _refuse_runaway(text)


def _check_regex(text: str) -> None:
    _check_placeholders(text)
    # Deep nesting could compile here and yet exhaust the stack where it is matched.
    if text.count("(") > MAX_GROUPS:
        raise Malformed(Message("holds more than %(most)s groups", most=MAX_GROUPS))
    _refuse_runaway(text)


class _Item(NamedTuple):
    """A part of an expression in a row: the (folded) characters it can match and how often it must.

    `ways` tells in how many ways it can match, `inner_ways` in how many if it is known where it ends.
    """

    characters: frozenset
    least: int = 1
    ways: int = 1
    inner_ways: int = 1


def _refuse_runaway(text: str) -> None:
    """Refuse expressions whose matching time is worse than cubic in the length of the name.

    Backtracking explodes with a repeat inside a repeat, with a repeated choice whose branches begin alike,
    and with many repeats whose end is free because what follows can match the same characters.
    """
    expression = _expression(text, dict.fromkeys(("${login}", "${group}"), _UNKNOWN))
    try:
        re.compile(expression, re.ASCII)
        parsed = regex_parser.parse(expression, re.ASCII)
        ways = _inner_ways(_row(parsed, inside_repeat=False))
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise Malformed(Message("is no regular expression: %(reason)s", reason=error)) from None
    if ways > _MOST_WAYS:
        raise Malformed(Message("could run away: too many repeats that match the same characters"))


def _inner_ways(row: list[_Item]) -> int:
    return prod(item.ways if _has_free_end(row, at) else item.inner_ways for at, item in enumerate(row))


def _has_free_end(row: list[_Item], at: int) -> bool:
    """Whether what follows can match the same characters, so that nothing tells where the item ends."""
    for following in row[at + 1 :]:
        if following.characters & row[at].characters:
            return True
        if following.least:
            return False
    return False


def _row(parsed, inside_repeat: bool) -> list[_Item]:
    row = []
    for code, value in parsed:
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            row += _repeat(*value, inside_repeat)
        elif code is op.SUBPATTERN:
            row += _row(value[-1], inside_repeat)
        elif code is op.BRANCH:
            row.append(_branches(value[1], inside_repeat))
        elif code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            row.append(_Item(_characters(code, value)))
        elif code is not op.AT:
            raise Malformed(Message("uses a look-around, a back-reference or something else that is not allowed here"))
    return row


def _repeat(least: int, most: int, inner, inside_repeat: bool) -> list[_Item]:
    is_variable = least != most
    if is_variable and inside_repeat:
        raise Malformed(Message("could run away: a repeat inside a repeat"))
    row = _row(inner, inside_repeat or (is_variable and most > 1))
    if not is_variable:
        if most * len(row) > _LONGEST_NAME:
            raise Malformed(Message("repeats something more often than a name can hold"))
        return row * most
    if not row:
        return []
    times = min(most, _LONGEST_NAME) - min(least, _LONGEST_NAME) + 1
    ways = times * prod(item.ways for item in row)
    return [_Item(_union(row), least, min(ways, _MOST_WAYS + 1), _inner_ways(row))]


def _branches(branches, inside_repeat: bool) -> _Item:
    rows = [_row(branch, inside_repeat) for branch in branches]
    firsts = [_first(row) for row in rows]
    is_told_apart = sum(map(len, firsts)) == len(frozenset().union(*firsts))
    if inside_repeat and not is_told_apart:
        raise Malformed(Message("could run away: a repeated choice whose branches begin alike"))
    count = max if is_told_apart else sum
    ways = count(prod(item.ways for item in row) for row in rows)
    inner_ways = count(_inner_ways(row) for row in rows)
    return _Item(frozenset().union(*map(_union, rows)), 0, min(ways, _MOST_WAYS + 1), inner_ways)


def _union(row: list[_Item]) -> frozenset:
    return frozenset().union(*(item.characters for item in row))


def _first(row: list[_Item]) -> frozenset:
    """The characters that a row can begin with; all of them if it can be empty."""
    found: frozenset = frozenset()
    for item in row:
        found |= item.characters
        if item.least:
            return found
    return _ALPHABET


def _characters(code, value) -> frozenset:
    """The characters of names that one item can match, in lower case: it may be told to ignore case."""
    if code is op.LITERAL:
        return _ALPHABET if chr(value) == _UNKNOWN else frozenset(chr(value).lower())
    return frozenset(character.lower() for character in _NAMES if _fits(code, value, character))


def _fits(code, value, character: str) -> bool:
    if code is op.LITERAL or code is op.NOT_LITERAL:
        return (ord(character) == value) is (code is op.LITERAL)
    if code is op.RANGE:
        return value[0] <= ord(character) <= value[1]
    if code is op.CATEGORY:
        return re.match(_ESCAPES[value], character, re.ASCII) is not None
    if code is op.IN:
        return _is_in_set(value, character)
    return True


def _is_in_set(items, character: str) -> bool:
    if any(code is op.LITERAL and chr(value) == _UNKNOWN for code, value in items):
        raise Malformed(Message("holds a placeholder between brackets, where only single characters can stand"))
    is_negated = items[0][0] is op.NEGATE
    return any(_fits(*item, character) for item in items[is_negated:]) is not is_negated
