import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.entities import Event
from regadmin.errors import Malformed
from regadmin.registry import events
from regadmin.registry.references import digest_of
from tests.registry.test_manifests import ANY_JSON
from tests.rigs import images, standin
from tests.rigs.listener import Listener
from tests.rigs.registry import RealRegistry

EVENT_KEYS = ("id", "timestamp", "action", "target", "request", "actor")
MEMBERS = st.dictionaries(
    st.sampled_from(("repository", "digest", "tag", "mediaType", "name", "method", "useragent", "addr")), ANY_JSON
)


@pytest.fixture(scope="module")
def pushed():
    """What a real registry tells of the push of an image with one layer, in its order."""
    image = images.oci_image()
    credentials = "Basic " + b64encode(b"events:secret").decode()
    with Listener() as listener:
        with RealRegistry(notifications=(listener.url, {"Authorization": credentials})) as registry:
            images.push(registry.url, "team/app", "v1", image)
            received = [listener.next() for _ in range(3)]
    assert all(headers["Authorization"] == credentials for headers, _ in received)
    return image, [events.parse_envelope(body) for _, body in received]


def test_the_events_of_a_real_push_are_read(pushed):
    image, envelopes = pushed
    read = [events.parse_event(raw) for envelope in envelopes for _, raw in envelope]
    assert {event.digest for event in read} == {image.digest, *image.blobs}
    manifest = read[-1]
    assert (manifest.action, manifest.repository, manifest.tag) == ("push", "team/app", "v1")
    assert (manifest.media_type, manifest.method) == (image.media_type, "PUT")
    assert manifest.user_agent.startswith("python-requests/")
    assert manifest.address == "127.0.0.1"
    assert manifest.timestamp > 1_700_000_000


def test_the_ids_of_real_events_are_theirs_and_differ(pushed):
    ids = [(id, events.parse_event(raw).id) for envelope in pushed[1] for id, raw in envelope]
    assert all(outer == inner for outer, inner in ids)
    assert len(set(ids)) == 3


def test_all_events_of_an_envelope_are_taken():
    body = standin.envelope(*(standin.event("push", "team/app", id=f"event-{n}") for n in range(5)))
    assert [id for id, _ in events.parse_envelope(body)] == [f"event-{n}" for n in range(5)]


def test_a_delete_event_of_3_x_with_empty_strings_is_read():
    raw = json.dumps(standin.event("delete", "team/app", tag="v1", actor="alice")).encode()
    assert events.parse_event(raw) == Event(
        id="b3b4ee5b-3ac0-4f4b-9d8c-6a0f3b7c9f10",
        action="delete",
        repository="team/app",
        digest="",
        tag="v1",
        media_type="",
        actor="alice",
        method="",
        user_agent="",
        address="",
        timestamp=1714979289,
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("192.0.2.7:53440", "192.0.2.7"),
        ("[2001:db8::7]:53440", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("192.0.2.7", "192.0.2.7"),
        ("client.example.com:1", "client.example.com"),
        ("a:b:1", "a:b:1"),
    ],
)
def test_the_address_is_told_without_the_port(given, read):
    assert events.parse_event(json.dumps({"request": {"addr": given}}).encode()).address == read


def test_an_unknown_action_is_read_like_any_other():
    assert events.parse_event(b'{"id":"1","action":"shred"}').action == "shred"


@pytest.mark.parametrize("id", [None, "", 7, [], "x" * 300, "a\nb", "\ud800"])
def test_an_event_without_a_usable_id_gets_a_stable_one(id):
    body = json.dumps({"events": [{"id": id, "action": "push"}, {"id": id, "action": "pull"}]}).encode()
    first, again = events.parse_envelope(body), events.parse_envelope(body)
    assert first == again
    assert [key for key, _ in first] == [digest_of(raw) for _, raw in first]
    assert [events.parse_event(raw).id for _, raw in first] == [key for key, _ in first]


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"events":null}', b'{"events":{}}', b'{"events":' + b"[" * 100_000]
)
def test_an_envelope_without_a_list_of_events_is_malformed(body):
    with pytest.raises(Malformed):
        events.parse_envelope(body)


def test_what_is_no_object_in_an_envelope_is_left_out():
    assert [id for id, _ in events.parse_envelope(b'{"events":[1,null,"x",[],{"id":"a"}]}')] == ["a"]


def test_an_event_of_wrong_types_is_empty():
    raw = b'{"id":1,"action":[],"timestamp":5,"target":"x","request":null,"actor":{"name":{}}}'
    assert events.parse_event(raw) == Event(digest_of(raw), *[""] * 9, 0)


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"\xff"])
def test_what_is_no_event_is_malformed(raw):
    with pytest.raises(Malformed):
        events.parse_event(raw)


@given(
    st.dictionaries(st.text(), ANY_JSON)
    | st.fixed_dictionaries({}, optional=dict.fromkeys(EVENT_KEYS, ANY_JSON | MEMBERS))
)
def test_any_object_is_read_as_an_event_and_all_its_texts_can_be_stored(document):
    [(id, raw)] = events.parse_envelope(json.dumps({"events": [document]}).encode())
    event = events.parse_event(raw)
    assert event.id == id
    assert event.timestamp >= 0
    "".join((event.id, event.action, event.repository, event.digest, event.tag, event.actor)).encode()


@given(st.binary() | ANY_JSON.map(lambda document: json.dumps(document).encode()))
def test_any_body_is_an_envelope_or_malformed(body):
    try:
        assert isinstance(events.parse_envelope(body), list)
    except Malformed:
        return
