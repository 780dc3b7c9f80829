"""YAML whose values know their lines, and a walk through it that collects everything that is wrong with it.

Scalars are the text that was typed, null apart: `0123` and `yes` may be logins. A value of the wrong shape is noted in
the plan as an error and read as an empty one, so that all errors are told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import chain

import yaml
from yaml.scanner import ScannerError

from regadmin.importing.plan import Place, Plan, Weight

_SHAPES = {yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list", yaml.ScalarNode: "text"}
_NULL = "tag:yaml.org,2002:null"
MOST_CHARACTERS = 8 << 20
"""Of a document, with what each alias stands for: a few lines of aliases to aliases could be read for years."""

_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Value:
    """A node of the file. `line` is where it begins."""

    def __init__(self, node: yaml.Node, plan: Plan, file: str, first_line: int = 1):
        self._node, self._plan, self._file = node, plan, file
        self._first_line = first_line

    @property
    def line(self) -> int:
        return self._node.start_mark.line + self._first_line

    @property
    def place(self) -> Place:
        return Place(self._file, self.line)

    @property
    def is_null(self) -> bool:
        return self._node.tag == _NULL

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    @property
    def is_block(self) -> bool:
        """Whether it is text whose lines stand below its key, as they are."""
        return getattr(self._node, "style", None) == "|"

    def error(self, text: str) -> None:
        self._plan.remark(self.place, Weight.ERROR, text)

    def entries(self) -> list[tuple[Value, Value]]:
        """The keys and values of a mapping; a key that stands twice is an error."""
        if not self._is(yaml.MappingNode):
            return []
        found: dict[str, tuple[Value, Value]] = {}
        for key, value in ((self._child(key), self._child(value)) for key, value in self._node.value):
            if key.text() in found:
                key.error(f"{_shown(key)} stands twice, first in line {found[key.text()][0].line}")
            found.setdefault(key.text(), (key, value))
        return list(found.values())

    def fields(self, known: Iterable[str]) -> Fields:
        """The values of a mapping by their keys; one that is not known is an error."""
        known, found = list(known), Fields(self._child(yaml.ScalarNode(_NULL, "", self._node.start_mark)))
        for key, value in self.entries():
            if key.text() in known:
                found[key.text()] = value
            else:
                nearest = get_close_matches(key.text(), known, n=1, cutoff=0)[0]
                key.error(f"unknown key {_shown(key)}, the nearest known one is {nearest}")
        return found

    def elements(self) -> list[Value]:
        """The values of a list."""
        return [self._child(node) for node in self._node.value] if self._is(yaml.SequenceNode) else []

    def texts(self) -> list[str]:
        return [element.text() for element in self.elements()]

    def text(self) -> str:
        return self._node.value if self._is(yaml.ScalarNode) and not self.is_null else ""

    def boolean(self) -> bool:
        text = self.text().lower()
        if text not in _TRUTH and not self.is_null:
            self.error("must be true or false")
        return _TRUTH.get(text, False)

    def one_of(self, choices: Iterable[str], default: str) -> str:
        choices = list(choices)
        if self.text() in choices:
            return self.text()
        if not self.is_null:
            self.error(f"must be one of {', '.join(choices)}")
        return default

    def _is(self, kind: type) -> bool:
        if isinstance(self._node, kind):
            return True
        if not self.is_null:
            self.error(f"must be {_SHAPES[kind]}")
        return False

    def _child(self, node: yaml.Node) -> Value:
        return Value(node, self._plan, self._file, self._first_line)


class Fields(dict[str, Value]):
    """Values by their keys. A key that is not there is read like one without a value."""

    def __init__(self, nothing: Value):
        super().__init__()
        self._nothing = nothing

    def __missing__(self, key: str) -> Value:
        return self._nothing


class _Loader(yaml.SafeLoader):
    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            text = "".join(super().scan_flow_scalar_non_spaces(double, start_mark))
            # JSON writes what is beyond 16 bits as two halves, which are no text by themselves.
            return [text.encode("utf-16", "surrogatepass").decode("utf-16")]
        except (ValueError, OverflowError):
            problem = "found an escape that is no character"
            raise ScannerError("while scanning a double-quoted scalar", start_mark, problem, self.get_mark()) from None


def documents(text: str, plan: Plan, file: str, first_line: int = 1) -> list[Value]:
    """The documents of a YAML file, none of them if it cannot be read. JSON is YAML, too."""
    try:
        nodes = list(yaml.compose_all(text, _Loader))
        is_too_long = any(_length(node, {}) > MOST_CHARACTERS for node in nodes)
    except yaml.MarkedYAMLError as error:
        place, reason = Place(file, error.problem_mark.line + first_line), _plainly(error)
    except yaml.YAMLError as error:
        place, reason = Place(file), str(error).splitlines()[0]
    except RecursionError:
        place, reason = Place(file), "it is nested too deeply"
    else:
        if not is_too_long:
            return [Value(node, plan, file, first_line) for node in nodes]
        place, reason = Place(file), f"it holds more than {MOST_CHARACTERS >> 20} MiB, aliases included"
    plan.remark(place, Weight.ERROR, f"cannot be read as YAML: {reason.strip()}")
    return []


def _length(node: yaml.Node, known: dict[int, int]) -> int:
    """The characters of all that it holds, and a little for itself. What holds itself is too long."""
    if id(node) not in known:
        known[id(node)] = MOST_CHARACTERS + 1
        if isinstance(node, yaml.ScalarNode):
            length = len(node.value)
        else:
            parts = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
            length = sum(_length(part, known) for part in parts)
        known[id(node)] = 1 + length
    return known[id(node)]


def _plainly(error: yaml.MarkedYAMLError) -> str:
    """Without names out of the file: `password: *secret` speaks of an alias `secret`."""
    return re.sub(r"(alias|anchor|handle) '[^']*'", r"\1", f"{error.problem} {error.context or ''}")


def _shown(key: Value) -> str:
    """The first word: behind `password:secret` a space was forgotten."""
    return re.split(r"[:\s]", key.text())[0]


def sole_document(text: str, plan: Plan, file: str) -> list[Value]:
    """The document of a file that holds one, if it can be read."""
    first, *others = documents(text, plan, file) or [None]
    for other in others:
        other.error("only the first document is read")
    return [first] if first else []
