"""Sessions: how long they last, and what ends them."""

from dataclasses import replace

import jwt
import pytest

from regadmin.entities import Actor, Role, User
from regadmin.errors import Unauthenticated
from regadmin.services.sessions import Sessions
from regadmin.store import Store

SECRET, OTHER_SECRET = "s" * 64, "o" * 64
JWT_TTL, COOKIE_TTL = 100, 1000


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def alice(store) -> User:
    return store.users.create(User(0, "alice", "Alice", Role.USER), "hash")


@pytest.fixture
def sessions(store) -> Sessions:
    return Sessions(store, SECRET, "an issuer", JWT_TTL, COOKIE_TTL)


def claims(token: str) -> dict:
    return jwt.decode(token, SECRET, ["HS256"], options={"verify_exp": False, "verify_iat": False})


def is_over(sessions: Sessions, token: str, **options) -> bool:
    try:
        sessions.identify(token, **options)
    except Unauthenticated:
        return True
    return False


def test_who_holds_the_token_is_known(sessions, alice):
    started = sessions.start(alice, "192.0.2.1", "a browser")
    found = sessions.identify(started.token)
    assert (found.user, found.session_id, found.token) == (alice, started.session_id, "")


def test_the_token_holds_nothing_but_numbers_and_its_session(sessions, clock, alice):
    started = sessions.start(alice, "", "")
    assert claims(started.token) == {
        "iss": "an issuer",
        "sub": str(alice.id),
        "jti": started.session_id,
        "iat": clock.now,
        "exp": clock.now + JWT_TTL,
    }


def test_every_session_is_another(sessions, alice):
    started = [sessions.start(alice, "", "").session_id for _ in range(3)]
    assert len(set(started)) == 3
    assert min(map(len, started)) >= 32


def test_a_token_ends_with_its_time(sessions, clock, alice):
    token = sessions.start(alice, "", "").token
    clock.pass_time(JWT_TTL - 1)
    assert not is_over(sessions, token)
    clock.pass_time(1)
    assert is_over(sessions, token)


def test_a_token_that_ended_is_renewed_while_the_session_lasts(sessions, clock, alice):
    first = sessions.start(alice, "", "")
    clock.pass_time(JWT_TTL)
    second = sessions.identify(first.token, is_renewed=True)
    assert (second.user, second.session_id) == (alice, first.session_id)
    assert claims(second.token)["exp"] == clock.now + JWT_TTL
    assert not is_over(sessions, second.token)


def test_a_token_that_is_still_good_is_not_renewed(sessions, clock, alice):
    token = sessions.start(alice, "", "").token
    clock.pass_time(JWT_TTL - 1)
    assert sessions.identify(token, is_renewed=True).token == ""


def test_renewing_never_outlives_the_session(sessions, clock, alice):
    token = sessions.start(alice, "", "").token
    end = clock.now + COOKIE_TTL
    clock.pass_time(COOKIE_TTL - 1)
    renewed = sessions.identify(token, is_renewed=True).token
    assert claims(renewed)["exp"] == end
    clock.pass_time(1)
    assert is_over(sessions, token, is_renewed=True)
    assert is_over(sessions, renewed, is_renewed=True)


def test_signing_out_ends_the_session_at_once_and_no_other(sessions, alice):
    here, there = sessions.start(alice, "", ""), sessions.start(alice, "", "")
    sessions.end(here.session_id, Actor("alice"))
    assert is_over(sessions, here.token)
    assert is_over(sessions, here.token, is_renewed=True)
    assert not is_over(sessions, there.token)


def test_a_user_who_is_blocked_or_gone_has_no_session(sessions, store, alice):
    token = sessions.start(alice, "", "").token
    store.users.update(replace(alice, is_blocked=True))
    assert is_over(sessions, token)
    store.users.update(alice)
    assert not is_over(sessions, token)
    store.users.delete(alice.id)
    assert is_over(sessions, token)


def test_a_changed_role_holds_for_the_session_at_once(sessions, store, alice):
    token = sessions.start(alice, "", "").token
    store.users.update(replace(alice, role=Role.ADMIN))
    assert sessions.identify(token).user.role is Role.ADMIN


def forged(secret: str = SECRET, algorithm: str = "HS256", **changes) -> str:
    fields = {"iss": "an issuer", "sub": "1", "jti": "unknown", "iat": 1, "exp": 9_999_999_999} | changes
    return jwt.encode({name: value for name, value in fields.items() if value is not None}, secret, algorithm)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "é.ü.ß",
        forged(),
        forged(OTHER_SECRET),
        forged("", "none"),
        forged(iss="another"),
        forged(jti=None),
        forged(exp=None),
    ],
)
def test_a_token_that_is_not_ours_is_nobodys(sessions, token):
    assert is_over(sessions, token)
    assert is_over(sessions, token, is_renewed=True)


def test_a_token_for_an_existing_session_must_be_signed_by_us(sessions, alice):
    session_id = sessions.start(alice, "", "").session_id
    assert not is_over(sessions, forged(jti=session_id))
    for token in (
        forged(OTHER_SECRET, jti=session_id),
        forged("", "none", jti=session_id),
        forged(algorithm="HS512", jti=session_id),
        forged(jti=session_id, iss="another"),
        forged(jti=session_id, exp=None),
    ):
        assert is_over(sessions, token)


def test_sessions_of_another_server_with_another_secret_are_nobodys(sessions, store, alice):
    other = Sessions(store, OTHER_SECRET, "an issuer", JWT_TTL, COOKIE_TTL)
    assert is_over(other, sessions.start(alice, "", "").token)


def test_csrf_tokens_belong_to_one_session_and_one_server(sessions, store):
    other = Sessions(store, OTHER_SECRET, "an issuer", JWT_TTL, COOKIE_TTL)
    found = {sessions.csrf("one"), sessions.csrf("two"), other.csrf("one")}
    assert len(found) == 3
    assert sessions.csrf("one") == sessions.csrf("one")
    assert min(map(len, found)) >= 32


def test_signing_in_and_out_and_failing_to_is_noted(sessions, store, alice):
    sessions.note_failure("x" * 1000, "192.0.2.7")
    started = sessions.start(alice, "192.0.2.1", "b" * 1000)
    sessions.end(started.session_id, Actor("alice", "192.0.2.1"))
    noted = [(row["event"], row["actor"], row["address"]) for row in store.activity.latest(10)]
    assert noted == [
        ("signed out", "alice", "192.0.2.1"),
        ("signed in", "alice", "192.0.2.1"),
        ("sign-in failed", "x" * 64, "192.0.2.7"),
    ]
