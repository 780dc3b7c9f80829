"""The scope grammar of the token protocol: `type[(class)]:name:action[,action...]`.

Source: distribution, docs/spec/auth/scope.md. The type ends at the first colon and the actions begin
after the last, so that a name may hold a colon itself (`host:5000/team/app`).
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from regadmin.errors import Malformed

ACTIONS = ("pull", "push", "delete", "*")
"""The only actions that are ever signed, in the order in which they are signed."""

MAX_SCOPES = 100
MAX_NAME_LENGTH = 255 + len("host.name:65535/") * 4

_TYPE = re.compile(r"([a-z0-9]+)(?:\(([a-z0-9]+)\))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*(?::[0-9]+(?:/[A-Za-z0-9._/-]+)?)?")
_ACTION = re.compile(r"[A-Za-z]+|\*")


class Scope(NamedTuple):
    """What a client asks for, and in a token's `access` claim what it was granted."""

    type: str
    name: str
    actions: tuple[str, ...]
    resource_class: str = ""

    def __str__(self) -> str:
        kind = f"{self.type}({self.resource_class})" if self.resource_class else self.type
        return f"{kind}:{self.name}:{','.join(self.actions)}"

    def claim(self) -> dict:
        """The entry of the `access` claim (distribution, docs/spec/auth/jwt.md)."""
        return {"type": self.type, "name": self.name, "actions": list(self.actions)}


def parse(text: str) -> Scope:
    """Read one scope. Raises Malformed."""
    kind, _, rest = text.partition(":")
    name, colon, actions = rest.rpartition(":")
    matched = _TYPE.fullmatch(kind)
    if not colon or not matched:
        raise Malformed(f"scope {_quote(text)} is not of the form type:name:actions")
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise Malformed(f"scope {_quote(text)} holds a name that no repository can have")
    wanted = tuple(dict.fromkeys(filter(None, actions.split(","))))
    if not all(_ACTION.fullmatch(action) for action in wanted):
        raise Malformed(f"scope {_quote(text)} holds an action that is not a word")
    return Scope(matched[1], name, wanted, matched[2] or "")


def parse_all(parameters: Iterable[str]) -> list[Scope]:
    """Read repeated `scope` parameters, each of which may hold several scopes separated by spaces.

    Scopes for the same resource are merged, in the order of their first appearance. Raises Malformed.
    """
    texts = [text for parameter in parameters for text in parameter.split(" ") if text]
    if len(texts) > MAX_SCOPES:
        raise Malformed(f"at most {MAX_SCOPES} scopes are answered in one request")
    merged: dict[tuple, Scope] = {}
    for scope in map(parse, texts):
        key = (scope.type, scope.resource_class, scope.name)
        known = merged.get(key)
        actions = known.actions + scope.actions if known else scope.actions
        merged[key] = scope._replace(actions=tuple(dict.fromkeys(actions)))
    return list(merged.values())


def _quote(text: str) -> str:
    return ascii(text if len(text) <= 80 else text[:77] + "...")
