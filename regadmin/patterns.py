"""Resource names of rules: an exact name, a glob, or a regular expression between slashes.

A valid repository name holds none of `* ? $ { }` and neither begins nor ends with a slash, so a resource
name says by itself what it is. In a glob `*` stays within a path segment, `**` crosses segments, `?` is one
character; `${login}` and `${group}` are filled in, escaped, for the subject. Regular expressions
are anchored.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from re import _constants as op
from re import _parser as regex_parser
from typing import NamedTuple

from regadmin.errors import Malformed

MAX_LENGTH = 512
PLACEHOLDERS = ("login", "group")

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")
_GLOB_TOKEN = re.compile(r"\*\*|\*|\?|\$\{[a-z]+\}|[^*?$]+|.", re.DOTALL)
_EXACT = re.compile(r"[a-z0-9][a-z0-9._:/-]*", re.IGNORECASE)
_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-/:")
_LONGEST_NAME = 255
_MOST_WAYS = _LONGEST_NAME**3


def is_regex(text: str) -> bool:
    return len(text) >= 2 and text.startswith("/") and text.endswith("/")


def is_exact(text: str) -> bool:
    return not is_regex(text) and not any(character in text for character in "*?$")


def check(text: str) -> None:
    """Refuse what cannot compile, could run away or can never match a repository's name.

    Raises Malformed with a sentence for the person who typed it.
    """
    if not text or len(text) > MAX_LENGTH:
        raise Malformed(f"must hold 1 to {MAX_LENGTH} characters")
    if is_regex(text):
        _check_regex(text[1:-1])
    elif is_exact(text):
        if not _EXACT.fullmatch(text) or text.endswith("/") or "//" in text:
            raise Malformed("is no repository name, no glob and no /regular expression/")
    else:
        _check_glob(text)


def matches(text: str, name: str, login: str = "", groups: Sequence[str] = ()) -> bool:
    """Tell whether the resource name `text` covers `name` for a subject with this login and these groups."""
    if "${group}" in text:
        return any(_compile(text, login, group).fullmatch(name) for group in groups)
    if is_exact(text):
        return text == name
    if "${login}" in text and not login:
        return False
    return _compile(text, login if "${login}" in text else "", "").fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _compile(text: str, login: str, group: str) -> re.Pattern:
    values = {"${login}": login, "${group}": group}
    if is_regex(text):
        body = _PLACEHOLDER.sub(lambda found: re.escape(values[found[0]]), text[1:-1])
    else:
        body = _glob_body(text, values)
    return re.compile(body, re.ASCII)


def _glob_body(text: str, values: dict[str, str]) -> str:
    wildcards = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = _GLOB_TOKEN.findall(text)
    return "".join(wildcards.get(token) or re.escape(values.get(token, token)) for token in tokens)


def _check_placeholders(text: str) -> None:
    for found in _PLACEHOLDER.finditer(text):
        if found[0] not in ("${login}", "${group}"):
            raise Malformed(f"{found[0]} is no placeholder; there are ${{login}} and ${{group}}")


def _check_glob(text: str) -> None:
    _check_placeholders(text)
    if not _EXACT.fullmatch(re.sub(r"\$\{[a-z]+\}|[*?]", "a", text)):
        raise Malformed("holds a character that no repository name can hold")
    if "***" in text:
        raise Malformed("holds three stars in a row; there are * and **")
    _refuse_runaway(regex_parser.parse(_glob_body(text, {}), re.ASCII))


def _check_regex(body: str) -> None:
    _check_placeholders(body)
    try:
        parsed = regex_parser.parse(_PLACEHOLDER.sub("a", body), re.ASCII)
        re.compile(_PLACEHOLDER.sub("a", body), re.ASCII)
    except (re.error, RecursionError, OverflowError, ValueError) as error:
        raise Malformed(f"is no regular expression: {error}") from None
    _refuse_runaway(parsed)


class _Item(NamedTuple):
    """A part of an expression, in a row: the characters it can match, how often it must, in how many ways."""

    characters: frozenset
    least: int = 1
    ways: int = 1


def _refuse_runaway(parsed) -> None:
    """Refuse expressions whose matching time is worse than cubic in the length of the name.

    Backtracking explodes with a repeat inside a repeat, with a repeated choice whose branches begin alike,
    and with a row of repeats that can trade characters because nothing between them tells them apart.
    """
    trading: list[_Item] = []
    for item in _row(parsed, inside_repeat=False):
        if item.least:
            trading = [other for other in trading if other.characters & item.characters]
        if item.ways > 1:
            trading.append(item)
            if prod(other.ways for other in trading if other.characters & item.characters) > _MOST_WAYS:
                raise Malformed("could run away: too many repeats that match the same characters")


def _row(parsed, inside_repeat: bool) -> list[_Item]:
    row = []
    for code, value in parsed:
        if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            row += _repeat(*value, inside_repeat)
        elif code is op.SUBPATTERN:
            row += _row(value[-1], inside_repeat)
        elif code is op.BRANCH:
            row += _branches(value[1], inside_repeat)
        elif code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN):
            row.append(_Item(_characters(code, value)))
        elif code is not op.AT:
            raise Malformed("uses a look-around, a back-reference or something else that is not allowed here")
    return row


def _repeat(least: int, most: int, inner, inside_repeat: bool) -> list[_Item]:
    if least == most:
        row = _row(inner, inside_repeat)
        if most * len(row) > _LONGEST_NAME:
            raise Malformed("repeats something more often than a name can hold")
        return row * most
    if inside_repeat:
        raise Malformed("could run away: a repeat inside a repeat")
    row = _row(inner, inside_repeat=most > 1)
    ways = min(most, _LONGEST_NAME) - min(least, _LONGEST_NAME) + 1
    inner_ways = prod(item.ways for item in row)
    return [_Item(frozenset().union(*(item.characters for item in row)), least, ways * inner_ways)]


def _branches(branches, inside_repeat: bool) -> list[_Item]:
    rows = [_row(branch, inside_repeat) for branch in branches]
    firsts = [_first(row) for row in rows]
    if inside_repeat and sum(map(len, firsts)) > len(frozenset().union(*firsts)):
        raise Malformed("could run away: a repeated choice whose branches begin alike")
    ways = sum(prod(item.ways for item in row) for row in rows)
    return [_Item(frozenset().union(*(item.characters for row in rows for item in row)), 0, ways)]


def _first(row: list[_Item]) -> frozenset:
    """The characters that a row can begin with; all of them if it can be empty."""
    found: frozenset = frozenset()
    for item in row:
        found |= item.characters
        if item.least:
            return found
    return _ALPHABET


def _characters(code, value) -> frozenset:
    """The characters of repository names that one item of an expression can match."""
    if code is op.LITERAL:
        return frozenset(chr(value))
    if code is op.NOT_LITERAL:
        return _ALPHABET - {chr(value)}
    if code is op.RANGE:
        return frozenset(c for c in _ALPHABET if value[0] <= ord(c) <= value[1])
    if code is op.IN:
        return _set_characters(value)
    if code is op.CATEGORY:
        return _category_characters(value)
    return _ALPHABET


def _set_characters(items) -> frozenset:
    negated = bool(items) and items[0][0] is op.NEGATE
    found = frozenset().union(*(_characters(*item) for item in items[negated:]))
    return _ALPHABET - found if negated else found


def _category_characters(category) -> frozenset:
    escapes = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_WORD: r"\w", op.CATEGORY_SPACE: r"\s"}
    escapes |= {op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_NOT_WORD: r"\W", op.CATEGORY_NOT_SPACE: r"\S"}
    return frozenset(c for c in _ALPHABET if re.match(escapes[category], c))
