"""Reading the JSON that others wrote: bounded, and never with another error than Malformed."""

import json
from datetime import UTC, datetime

from regadmin.errors import Malformed


def read_object(raw: bytes, what: str, limit: int | None = None) -> dict:
    """The JSON object in `raw`, which may hold `limit` bytes. Raises Malformed; `what` names it there."""
    if limit is not None and len(raw) > limit:
        raise Malformed(f"{what} is larger than {limit} bytes")
    try:
        document = json.loads(raw.decode())
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON") from None
    if not isinstance(document, dict):
        raise Malformed(f"{what} is not a JSON object")
    return document


def text(value: object) -> str:
    """The text itself, or '' for anything that is no text.

    JSON can escape halves of surrogate pairs, which no encoding and no database takes: they become `?`.
    """
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def mapping(value: object) -> dict:
    """The object itself, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def seconds(value: object) -> int | None:
    """An RFC 3339 time in whole seconds since 1970, or None if it is none, or before 1970.

    A time without a zone is UTC. The year 1 is what a Go program writes when it knows no time.
    """
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = int(moment.timestamp())
    return since if since >= 0 else None
