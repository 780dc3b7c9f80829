"""The registry's notifications: splitting envelopes and reading single events.

Anyone who may post to the hook can forge these, and the registry repeats what is refused for ever: an event
is read as far as it can be read. Source: distribution, docs/spec (notifications), notifications/event.go.
"""

import json
import re

from regadmin.entities import Event
from regadmin.errors import Malformed
from regadmin.registry.documents import mapping, read_object, seconds, text
from regadmin.registry.references import digest_of

MAX_ID_LENGTH = 255
_WITH_PORT = re.compile(r"\A(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:]*)):\d+\Z")


def parse_envelope(body: bytes) -> list[tuple[str, bytes]]:
    """Split an envelope into pairs of an event's id and its JSON. Raises Malformed.

    Entries that are no objects are left out. An event without a usable id gets the digest of its JSON,
    which is the same when the registry sends it again.
    """
    events = read_object(body, "the envelope").get("events")
    if not isinstance(events, list):
        raise Malformed("the envelope holds no list of events")
    return [_split(event) for event in events if isinstance(event, dict)]


def parse_event(raw: bytes) -> Event:
    """Read one event; what is missing or of a wrong type is '' or 0. Raises Malformed for no JSON object."""
    event = read_object(raw, "the event")
    target, request = mapping(event.get("target")), mapping(event.get("request"))
    return Event(
        id=_usable_id(event.get("id")) or digest_of(raw),
        action=text(event.get("action")),
        repository=text(target.get("repository")),
        digest=text(target.get("digest")),
        tag=text(target.get("tag")),
        media_type=text(target.get("mediaType")),
        actor=text(mapping(event.get("actor")).get("name")),
        method=text(request.get("method")),
        user_agent=text(request.get("useragent")),
        address=_host(text(request.get("addr"))),
        timestamp=seconds(event.get("timestamp")) or 0,
    )


def _host(address: str) -> str:
    """The address without the port that the client happened to have."""
    found = _WITH_PORT.match(address)
    return found["v6"] or found["host"] if found else address


def _split(event: dict) -> tuple[str, bytes]:
    try:
        raw = json.dumps(event).encode()
    except RecursionError:
        raise Malformed("an event is nested too deeply") from None
    return _usable_id(event.get("id")) or digest_of(raw), raw


def _usable_id(value: object) -> str:
    """The id if it can be a key, else ''."""
    is_usable = isinstance(value, str) and len(value) <= MAX_ID_LENGTH and value.isprintable()
    return value if is_usable else ""
