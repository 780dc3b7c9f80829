"""Tokens for the registry: what they say, and to whom what is granted."""

from datetime import UTC, datetime

import pytest

from regadmin.entities import EVERYONE_ID, Actor, Role, Rule, User
from regadmin.errors import Malformed
from regadmin.scopes import parse_all
from regadmin.services.rules import Rules
from regadmin.services.tokens import OWN_SUBJECT, Tokens
from regadmin.store import Store

TTL = 900


class Notary:
    """Signs by keeping what it was given: the tests of `certificates` look at real signatures."""

    def __init__(self):
        self.signed: list[dict] = []

    def sign(self, claims: dict) -> str:
        self.signed.append(claims)
        return f"token {len(self.signed)}"


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def notary() -> Notary:
    return Notary()


@pytest.fixture
def tokens(store, notary) -> Tokens:
    return Tokens(store, notary, "an issuer", "a service", TTL)


@pytest.fixture
def alice(store) -> User:
    alice = store.users.create(User(0, "alice", "Alice", Role.USER), "hash")
    store.rules.create(Rule(0, "", "repository", "team/app", "push", user_id=alice.id))
    return alice


def access(notary: Notary) -> list[dict]:
    return notary.signed[-1]["access"]


def test_a_token_says_who_for_whom_and_how_long(tokens, notary, clock, alice):
    token = tokens.issue(alice, [])
    claims = notary.signed[-1]
    jti = claims.pop("jti")
    now = int(clock.now)
    assert claims == {
        "iss": "an issuer",
        "sub": "alice",
        "aud": "a service",
        "exp": now + TTL,
        "nbf": now - 10,
        "iat": now,
        "access": [],
    }
    assert all(type(claims[name]) is int for name in ("exp", "nbf", "iat"))
    assert isinstance(jti, str)
    assert (token.text, tokens.seconds_left(token)) == ("token 1", TTL)
    assert datetime.fromisoformat(token.issued_at) == datetime.fromtimestamp(now, UTC)


def test_every_token_has_another_number_of_128_bits(tokens, notary):
    for _ in range(3):
        tokens.issue(None, [])
    numbers = {claims["jti"] for claims in notary.signed}
    assert len(numbers) == 3
    assert min(map(len, numbers)) * 6 >= 128


def test_the_anonymous_have_an_empty_subject(tokens, notary):
    tokens.issue(None, parse_all(["repository:team/app:pull"]))
    assert (notary.signed[-1]["sub"], access(notary)) == ("", [])


def test_each_scope_is_answered_by_itself_and_empty_ones_are_left_out(tokens, notary, alice):
    tokens.issue(alice, parse_all(["repository:other:pull", "repository:team/app:pull,push,delete", "plugin:x:pull"]))
    assert access(notary) == [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]


def test_a_token_for_another_service_is_refused(tokens, notary, alice):
    with pytest.raises(Malformed):
        tokens.issue(alice, [], "another service")
    assert notary.signed == []
    tokens.issue(alice, [], "a service")
    tokens.issue(alice, [], "")
    assert [claims["aud"] for claims in notary.signed] == ["a service"] * 2


def test_rules_take_hold_with_the_next_token(tokens, notary, store, alice):
    rules, by, wanted = Rules(store), Actor("admin"), parse_all(["repository:open:pull"])
    tokens.issue(None, wanted)
    assert access(notary) == []
    rule = rules.create(by, EVERYONE_ID, resource_name="open", action="pull")
    tokens.issue(None, wanted)
    assert len(access(notary)) == 1
    rules.update(rule.id, by, is_disabled=True)
    tokens.issue(None, wanted)
    assert access(notary) == []


def test_our_own_requests_have_a_subject_that_no_login_can_have(tokens, notary):
    header = tokens.own_authorization(("repository:team/app:pull,delete", "registry:catalog:*"))
    assert header == "Bearer token 1"
    assert notary.signed[-1]["sub"] == OWN_SUBJECT
    assert ":" in OWN_SUBJECT
    assert access(notary) == [
        {"type": "repository", "name": "team/app", "actions": ["pull", "delete"]},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ]


def test_our_own_token_is_kept_for_a_while_and_renewed_long_before_it_ends(tokens, clock):
    wanted = ("repository:team/app:pull",)
    first = tokens.own_authorization(wanted)
    assert tokens.own_authorization(("repository:other:pull",)) != first
    clock.pass_time(TTL * 3 // 4 - 1)
    assert tokens.own_authorization(wanted) == first
    clock.pass_time(1)
    assert tokens.own_authorization(wanted) != first


def test_our_own_token_is_renewed_when_the_clock_was_set_back(tokens, clock):
    wanted = ("repository:team/app:pull",)
    first = tokens.own_authorization(wanted)
    clock.pass_time(-10_000)
    assert tokens.own_authorization(wanted) != first


class TestRecentTokens:
    PULL = parse_all(["repository:team/app:pull"])

    def test_one_is_given_again_while_three_quarters_of_its_life_remain(self, tokens, alice, clock):
        first = tokens.issue(alice, self.PULL, revision=tokens.revision())
        clock.pass_time(TTL // 4 - 1)
        again = tokens.issue(alice, self.PULL, revision=tokens.revision())
        assert again == first
        assert tokens.seconds_left(again) == TTL * 3 // 4 + 1
        clock.pass_time(1)
        assert tokens.issue(alice, self.PULL, revision=tokens.revision()) != first

    def test_never_to_somebody_else_or_for_something_else(self, tokens, alice):
        now = tokens.revision()
        asked = [(alice, self.PULL), (None, self.PULL), (alice, []), (alice, parse_all(["repository:team/app:push"]))]
        given = {tokens.issue(user, wanted, revision=now).text for user, wanted in asked}
        assert len(given) == len(asked)

    def test_not_after_a_change(self, tokens, alice, store):
        first = tokens.issue(alice, self.PULL, revision=tokens.revision())
        store.rules.delete(store.rules.list_for(alice)[0].id)
        assert tokens.issue(alice, self.PULL, revision=tokens.revision()) != first

    def test_a_change_while_the_user_is_looked_up_is_not_lost(self, tokens, alice, store, notary):
        """The revision belongs to the moment before the user was read."""
        before = tokens.revision()
        stale_admin = User(alice.id, "alice", "Alice", Role.ADMIN)
        store.users.update(alice)
        tokens.issue(stale_admin, parse_all(["repository:x/y:push"]), revision=before)
        tokens.issue(alice, parse_all(["repository:x/y:push"]), revision=tokens.revision())
        assert access(notary) == []

    def test_not_when_clients_would_take_it_for_good_after_its_end(self, store, notary, alice):
        tokens = Tokens(store, notary, "an issuer", "a service", 60)
        first = tokens.issue(alice, self.PULL, revision=tokens.revision())
        assert tokens.issue(alice, self.PULL, revision=tokens.revision()) != first
