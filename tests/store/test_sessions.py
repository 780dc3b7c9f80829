"""Sessions and the activity as they are stored."""

import pytest

from regadmin.entities import Role, Session, User


@pytest.fixture
def add(store, clock):
    def add(session_id: str, login: str = "alice", ttl: int = 100) -> Session:
        found = store.users.find_login(login)
        user = found[0] if found else store.users.create(User(0, login, login, Role.USER), "hash")
        session = Session(session_id, user.id, int(clock.now), int(clock.now) + ttl)
        store.sessions.create(session, "192.0.2.1", "a browser")
        return session

    return add


def alive(store, *session_ids: str) -> list[str]:
    return [session_id for session_id in session_ids if store.sessions.find(session_id)]


def test_a_session_is_found_as_it_was_stored(store, add):
    session = add("one")
    assert store.sessions.find("one") == session
    assert store.sessions.find("two") is None


def test_a_session_ends_with_its_time(store, clock, add):
    add("one", ttl=100)
    clock.pass_time(99)
    assert store.sessions.find("one")
    clock.pass_time(1)
    assert store.sessions.find("one") is None


def test_a_session_is_deleted_alone(store, add):
    add("one"), add("two")
    store.sessions.delete("one")
    assert alive(store, "one", "two") == ["two"]


def test_all_sessions_of_a_user_but_one_are_deleted(store, add):
    user_id = add("one").user_id
    add("two"), add("three"), add("of bob", "bob")
    store.sessions.delete_of(user_id, keep="two")
    assert alive(store, "one", "two", "three", "of bob") == ["two", "of bob"]
    store.sessions.delete_of(user_id)
    assert alive(store, "one", "two", "three", "of bob") == ["of bob"]


def test_a_user_who_goes_takes_his_sessions_along(store, add):
    user_id = add("one").user_id
    add("of bob", "bob")
    store.users.delete(user_id)
    assert alive(store, "one", "of bob") == ["of bob"]


def test_ended_sessions_are_swept(store, clock, add):
    add("short", ttl=10), add("long", ttl=100)
    clock.pass_time(10)
    store.sessions.delete_expired()
    assert store.database.one("SELECT count(*) FROM sessions")[0] == 1
    assert alive(store, "long") == ["long"]


def test_the_sessions_of_a_user_are_listed_the_last_used_first(store, clock, add):
    user_id = add("one").user_id
    clock.pass_time(10)
    add("two"), add("of bob", "bob"), add("short", ttl=5)
    clock.pass_time(10)
    store.sessions.note_use("one", interval=20)
    listed = store.sessions.list_of(user_id, 10)
    assert [(row.session.id, row.seen_at) for row in listed] == [("one", clock.now), ("two", clock.now - 10)]
    assert (listed[0].address, listed[0].user_agent) == ("192.0.2.1", "a browser")
    assert len(store.sessions.list_of(user_id, 1)) == 1


def test_the_use_of_a_session_is_noted_once_in_an_interval(store, clock, add):
    user_id = add("one").user_id
    clock.pass_time(19)
    store.sessions.note_use("one", interval=20)
    assert store.sessions.list_of(user_id, 1)[0].seen_at == clock.now - 19


def test_the_activity_is_kept_in_order_with_its_details(store, clock):
    store.activity.add("signed in", "alice", "alice", "192.0.2.1")
    clock.pass_time(5)
    store.activity.add("user changed", "admin", "bob", details={"before": {"name": "é"}}, at=7)
    latest, first = store.activity.latest(10)
    assert latest == {
        "at": 7, "actor": "admin", "event": "user changed", "object": "bob", "address": "",
        "details": {"before": {"name": "é"}},
    }
    assert (first["event"], first["at"]) == ("signed in", clock.now - 5)
    assert store.activity.latest(1) == [latest]
