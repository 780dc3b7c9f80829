"""The number that moves when the answer to "who may do what?" may have changed."""

from dataclasses import replace

import pytest

from regadmin.entities import AccessToken, Group, Role, Rule, User
from regadmin.store import Store


@pytest.fixture
def alice(store: Store) -> User:
    builders = store.groups.create("builders", "")
    alice = store.users.create(User(0, "alice", "Alice", Role.USER, (builders,)), "hash")
    keep_token(store, alice)
    return alice


@pytest.fixture
def rule(store: Store, alice: User) -> Rule:
    return store.rules.create(Rule(0, "", "repository", "team/app", "pull", user_id=alice.id))


def keep_token(store: Store, owner: User, digest: bytes = b"digest") -> AccessToken:
    return store.access_tokens.create(AccessToken(0, owner.id, "ci"), digest)


CHANGES = {
    "a new user": lambda store, alice, rule: store.users.create(User(0, "bob", "Bob", Role.USER), "hash"),
    "a changed role": lambda store, alice, rule: store.users.update(replace(alice, role=Role.ADMIN)),
    "a changed login": lambda store, alice, rule: store.users.update(replace(alice, login="al")),
    "a block": lambda store, alice, rule: store.users.update(replace(alice, is_blocked=True)),
    "a new password": lambda store, alice, rule: store.users.set_password(alice.id, "other"),
    "a lost user": lambda store, alice, rule: store.users.delete(alice.id),
    "a left group": lambda store, alice, rule: store.users.update(replace(alice, groups=())),
    "a renamed group": lambda store, alice, rule: store.groups.update(Group(alice.groups[0].id, "others")),
    "a lost group": lambda store, alice, rule: store.groups.delete(alice.groups[0].id),
    "a new rule": lambda store, alice, rule: store.rules.create(replace(rule, action="push")),
    "a changed rule": lambda store, alice, rule: store.rules.update(replace(rule, action="push")),
    "a disabled rule": lambda store, alice, rule: store.rules.update(replace(rule, is_disabled=True)),
    "a new access token": lambda store, alice, rule: keep_token(store, alice, b"new"),
    "a revoked access token": lambda store, alice, rule: store.access_tokens.delete(1),
    "a lost rule": lambda store, alice, rule: store.rules.delete(rule.id),
}
NOTHING = {
    "a sign-in": lambda store, alice: store.users.note_sign_in(alice.id),
    "a use": lambda store, alice: store.users.note_uses([alice.id]),
    "a use of an access token": lambda store, alice: store.access_tokens.note_uses([(1, "192.0.2.1")]),
    "preferences": lambda store, alice: store.users.set_preferences(alice.id, "ko", "Asia/Seoul"),
    "activity": lambda store, alice: store.activity.add("signed in", "alice", "alice"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_moves_with(store, alice, rule, name):
    before = store.revision()
    CHANGES[name](store, alice, rule)
    assert store.revision() > before


@pytest.mark.parametrize("name", NOTHING)
def test_it_stays_with(store, alice, name):
    before = store.revision()
    NOTHING[name](store, alice)
    assert store.revision() == before


def test_a_change_that_is_rolled_back_does_not_move_it(store, alice):
    before = store.revision()
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.users.delete(alice.id)
        raise ZeroDivisionError
    assert store.revision() == before


def test_another_connection_sees_it_at_once(store, alice):
    other = Store(store.database.path)
    before = other.revision()
    store.users.delete(alice.id)
    assert other.revision() > before
