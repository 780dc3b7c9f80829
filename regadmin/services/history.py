"""How an image was built, as far as its history tells: a list that reads like a Dockerfile.

Builders write a line for each step (`created_by`), each in a form of its own; nobody promised any of them.
Source of the pairing with layers: OCI image specification, config.md, `history`.
"""

import re
from dataclasses import dataclass

from regadmin.entities import Descriptor
from regadmin.registry.documents import mapping, text

# Lines of megabytes may come from anybody: each of these looks only once at a run of blanks or letters.
_INSTRUCTION = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER|"
    "VOLUME|WORKDIR"
)
_NO_OPERATION = re.compile(r"\A(?:/bin/sh -c\s*|cmd /S /C\s*|powershell -Command [^#]*)#\(nop\)\s*")
_SHELL_NAME = r"/(?:usr/)?bin/(?:ba|da|a|k|z)?sh"
_SHELL = re.compile(rf"\A(?:{_SHELL_NAME}(?:\s+-[a-zA-Z]*o\s+\w+|\s+-[abd-zA-Z]+)*\s+-[a-zA-Z]*c|cmd /S /C)\s+")
_ARGUMENTS = re.compile(rf"\A\|\d+\s(?P<arguments>.*?)(?<!\S)(?={_SHELL_NAME}\s)", re.DOTALL)
_NEXT_ARGUMENT = re.compile(r"(?<=\S)\s+(?=[A-Za-z_]\w*=)")
_PORT = re.compile(r"(?<![^\s\[\]:])([^\s\[\]:]+):\{\}")
_BETWEEN_COMMANDS = re.compile(r"(?<=[^ \t])[ \t]+(?=&& )|(?<=;)[ \t]{2,}")
_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|CREDENTIAL|KEYS?(?:_|\Z)", re.IGNORECASE)
_NAME_AND_VALUE = re.compile(r"(?<!\w)([A-Za-z_]\w*)=")


@dataclass(frozen=True, slots=True)
class Step:
    """`instruction` is '' when the line is not one of a Dockerfile."""

    instruction: str
    text: str
    arguments: tuple[str, ...] = ()
    """Build arguments, `NAME=value` each."""
    layer: Descriptor | None = None

    @property
    def is_secret(self) -> bool:
        """Whether it sets something that is named like a secret."""
        is_setting = self.instruction in ("ENV", "ARG")
        return any(map(looks_secret, _NAME_AND_VALUE.findall(self.text if is_setting else "")))

    @property
    def line(self) -> str:
        return f"{self.instruction} {self.text}" if self.instruction else "# " + self.text.replace("\n", "\n# ")


@dataclass(frozen=True, slots=True)
class History:
    """When the steps that made layers are not as many as the layers, no step has one."""

    steps: tuple[Step, ...]
    layers: tuple[Descriptor, ...]
    is_paired: bool

    @property
    def dockerfile(self) -> str:
        return "\n".join(step.line for step in self.steps)

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


def read_history(entries: object, layers: tuple[Descriptor, ...]) -> History:
    """Pair the `history` of a configuration, whatever it holds, with the layers of the manifest."""
    listed = [mapping(entry) for entry in entries] if isinstance(entries, list) else []
    makers = [entry for entry in listed if entry.get("empty_layer") is not True]
    is_paired = len(makers) == len(layers)
    waiting = iter(layers if is_paired else ())
    steps = (_step(entry, None if entry.get("empty_layer") is True else next(waiting, None)) for entry in listed)
    return History(tuple(steps), layers, is_paired)


def looks_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def _step(entry: dict, layer: Descriptor | None) -> Step:
    created_by = text(entry.get("created_by")) or text(entry.get("comment"))
    instruction, words, arguments = read_line(created_by)
    return Step(instruction, words, arguments, layer)


def read_line(created_by: str) -> tuple[str, str, tuple[str, ...]]:
    """Instruction, text and build arguments of one line."""
    line = _NO_OPERATION.sub("", created_by.strip().removesuffix("# buildkit").rstrip())
    instruction, _, words = line.partition(" ")
    if not _INSTRUCTION.fullmatch(instruction):
        instruction, words = "", line
    if instruction in ("", "RUN"):
        return _command(instruction, words.strip())
    return instruction, _tidy(instruction, words.strip()), ()


def _command(instruction: str, words: str) -> tuple[str, str, tuple[str, ...]]:
    """What a shell ran; a line that names no shell and no instruction is left as it is."""
    found = _ARGUMENTS.match(words)
    arguments = _NEXT_ARGUMENT.split(found["arguments"].strip()) if found else []
    ran = words[found.end() :] if found else words
    command = _SHELL.sub("", ran)
    if not instruction and not found and command == ran:
        return "", words, ()
    return "RUN", _broken(command), tuple(filter(None, arguments))


def _broken(command: str) -> str:
    """On several lines, as it was before the builder joined them."""
    return command if "\n" in command else _BETWEEN_COMMANDS.sub(" \\\\\n    ", command)


def _tidy(instruction: str, words: str) -> str:
    """Builders print some values as Go does: `map[80/tcp:{}]`, `["a" "b"]`."""
    if instruction == "EXPOSE" and words.startswith("map["):
        return " ".join(_PORT.findall(words)) or words
    if instruction in ("CMD", "ENTRYPOINT", "SHELL") and words.startswith('["'):
        return re.sub(r'(?<!\\)" "', '", "', words)
    return words

