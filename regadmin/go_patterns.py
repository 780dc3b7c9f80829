"""Patterns of programs written in Go, as resource names of rules.

Their globs are those of Go's `path.Match`: `*` and `?` stay within a segment, `[...]` is a set, `\\` takes away a
meaning. Their regular expressions (RE2) are looked for anywhere in the name, where ours must match all of it. What
Python would read differently is refused.
"""

import re

from regadmin import patterns
from regadmin.errors import Malformed

EVERYTHING = frozenset({"**", "/.*/", "/.+/"})
"""The resource names that cover every repository."""

_GLOB_TOKEN = re.compile(r"\\(?P<escaped>.)|\[(?P<set>\^?(?:\\.|[^\]\\])+)\]|\*+|\?|\$\{[a-z]+\}|.", re.DOTALL)
_SET_PART = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)
_SET = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_READ_DIFFERENTLY = re.compile(r"\[:|\{,|\\[zQE]|(?<!\\)[*+?}]\+|\(\?#")
_FLAGS = re.compile(r"\(\?([a-zA-Z]+)\)")


def is_regex(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def from_glob(text: str) -> str:
    """The glob as a glob of ours, or if it holds a set or a backslash as a regular expression. Raises Malformed."""
    if not re.search(r"[\[\\]", text):
        return re.sub(r"\*+", "*", text)
    return f"/{as_expression(text)}/"


def as_expression(glob: str) -> str:
    """The anchored regular expression that a glob stands for. Raises Malformed."""
    return "".join(map(_token, _GLOB_TOKEN.finditer(glob)))


def _token(found: re.Match) -> str:
    token = found[0]
    if found["escaped"]:
        return re.escape(found["escaped"])
    if found["set"]:
        return _set(found["set"])
    if token in "[\\":
        raise Malformed(f"a {token} that begins nothing")
    if token.startswith("*"):
        return "[^/]*"
    if token.startswith("${"):
        return token
    return "[^/]" if token == "?" else re.escape(token)


def _set(text: str) -> str:
    is_negated = text.startswith("^")
    ranges = [[re.escape(end) for end in filter(None, part)] for part in _SET_PART.findall(text[is_negated:])]
    return f"[{'^/' if is_negated else ''}{''.join('-'.join(ends) for ends in ranges)}]"


def from_regex(expression: str) -> str:
    """The resource name for an expression that is looked for anywhere. Raises Malformed."""
    found = _READ_DIFFERENTLY.search(expression)
    if found:
        raise Malformed(f"holds {found[0]}, which is read differently here")
    flags = _FLAGS.match(expression)
    if flags and not set(flags[1]) <= set("is"):
        raise Malformed(f"holds {flags[0]}, which is read differently here")
    anchored = _anchored(expression[flags.end() :] if flags else expression)
    name = f"/(?{flags[1]}:{anchored})/" if flags else f"/{anchored}/"
    patterns.check(name)
    return name


def _anchored(expression: str) -> str:
    if _has_alternatives(expression):
        return f".*(?:{expression}).*"
    core, is_end = re.subn(r"(?<!\\)\$\Z", "", expression)
    core, is_start = re.subn(r"\A\^", "", core)
    start = "" if is_start or core.startswith((".*", ".+")) else ".*"
    end = "" if is_end or re.search(r"(?<!\\)\.[*+]\Z", core) else ".*"
    return f"{start}{core}{end}"


def _has_alternatives(expression: str) -> bool:
    """Whether it is a choice as a whole, so that an anchor at its end belongs to one branch only."""
    bare = re.sub(r"\\.", "", _SET.sub("", expression))
    while (inner := re.sub(r"\([^()]*\)", "", bare)) != bare:
        bare = inner
    return "|" in bare
