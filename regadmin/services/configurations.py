"""Reading an image's configuration for people: what runs, as whom, and with what around it.

Whoever may push writes it, so that any value may be of any type.
"""

import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from regadmin.errors import Malformed
from regadmin.registry.documents import mapping, read_object, seconds, text
from regadmin.services.history import looks_secret

STANDARD_LABELS = "org.opencontainers.image."
_NANOSECONDS = 10**9


@dataclass(frozen=True, slots=True)
class Label:
    """`link` is the value if that is an address of the web, else ''."""

    name: str
    value: str
    link: str


@dataclass(frozen=True, slots=True)
class Configuration:
    entrypoint: str
    command: str
    working_directory: str
    user: str
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    stop_signal: str
    healthcheck: str
    author: str
    created_at: int | None
    variables: tuple[tuple[str, str], ...]
    secrets: tuple[tuple[str, str], ...]
    """Variables that are named like secrets."""
    labels: tuple[Label, ...]
    history: object
    """As it stands there: see services.history."""


def read_configuration(raw: bytes) -> Configuration | None:
    """None if it is no configuration that can be read."""
    try:
        document = read_object(raw, "the configuration")
    except Malformed:
        return None
    config = mapping(document.get("config"))
    variables = _variables(config.get("Env"))
    return Configuration(
        entrypoint=_command(config.get("Entrypoint")),
        command=_command(config.get("Cmd")),
        working_directory=text(config.get("WorkingDir")),
        user=text(config.get("User")),
        ports=_keys(config.get("ExposedPorts")),
        volumes=_keys(config.get("Volumes")),
        stop_signal=text(config.get("StopSignal")),
        healthcheck=_healthcheck(mapping(config.get("Healthcheck"))),
        author=text(document.get("author")),
        created_at=seconds(document.get("created")),
        variables=tuple(pair for pair in variables if not looks_secret(pair[0])),
        secrets=tuple(pair for pair in variables if looks_secret(pair[0])),
        labels=read_labels(config.get("Labels")),
        history=document.get("history"),
    )


def read_labels(value: object) -> tuple[Label, ...]:
    """Those that the image specification names come first."""
    pairs = [(text(name), text(content)) for name, content in mapping(value).items()]
    pairs.sort(key=lambda pair: (not pair[0].startswith(STANDARD_LABELS), pair[0]))
    return tuple(Label(name, content, _link(content)) for name, content in pairs)


def _link(value: str) -> str:
    """Only what certainly leads to the web: a label may hold `javascript:` as well."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return ""
    is_plain = value.isprintable() and not any(c.isspace() or c in "\\@" for c in value)
    return value if is_plain and parts.scheme in ("http", "https") and parts.hostname else ""


def _command(value: object) -> str:
    """In the form that a Dockerfile has for it."""
    if isinstance(value, list):
        return text(json.dumps([text(word) for word in value], ensure_ascii=False)) if value else ""
    return text(value)


def _variables(value: object) -> list[tuple[str, str]]:
    entries = [text(entry) for entry in value] if isinstance(value, list) else []
    return [(name, content) for name, _, content in (entry.partition("=") for entry in entries) if name]


def _keys(value: object) -> tuple[str, ...]:
    return tuple(sorted(text(name) for name in mapping(value)))


def _healthcheck(check: dict) -> str:
    test = check.get("Test")
    words = [text(word) for word in test] if isinstance(test, list) else []
    if words[:1] == ["NONE"]:
        return "NONE"
    times = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
    options = [f"--{name}={_duration(check[key])}" for name, key in times.items() if _is_count(check.get(key))]
    if _is_count(check.get("Retries")):
        options.append(f"--retries={check['Retries']}")
    if not words:
        return ""
    command = " ".join(words[1:]) if words[0] == "CMD-SHELL" else _command(words[1:])
    return " ".join([*options, "CMD", command])


def _is_count(value: object) -> bool:
    return type(value) is int and 0 < value < 10**18


def _duration(nanoseconds: int) -> str:
    return f"{nanoseconds / _NANOSECONDS:g}s"
