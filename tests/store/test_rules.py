"""Access rules as they are stored."""

import sqlite3
from dataclasses import replace

import pytest

from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Audience, Role, Rule, User
from regadmin.store.listing import Listing


@pytest.fixture
def crew(store):
    return store.groups.create("crew", "")


@pytest.fixture
def alice(store, crew) -> User:
    return store.users.create(User(0, "alice", "Alice", Role.USER, (crew,)), "hash")


@pytest.fixture
def bob(store) -> User:
    return store.users.create(User(0, "bob", "Bob", Role.USER), "hash")


@pytest.fixture
def add(store):
    def add(name: str = "a rule", **fields) -> Rule:
        defaults = {"id": 0, "name": name, "resource_type": "repository", "resource_name": "app", "action": "pull"}
        return store.rules.create(Rule(**defaults | fields))

    return add


@pytest.fixture
def one_of_each(add, alice, bob, crew) -> list[Rule]:
    return [
        add("of alice", user_id=alice.id),
        add("of bob", user_id=bob.id),
        add("of the crew", group_id=crew.id),
        add("of the registered", audience=Audience.REGISTERED),
        add("of everyone", audience=Audience.EVERYONE),
    ]


def names(rules) -> list[str]:
    return [rule.name for rule in rules]


def test_a_rule_is_found_as_it_was_stored(store, one_of_each):
    for rule in one_of_each:
        assert store.rules.find(rule.id) == rule
    assert store.rules.find(99) is None


def test_owners_have_the_numbers_of_the_contract(one_of_each, alice, bob, crew):
    owners = [(rule.owner_id, rule.is_group) for rule in one_of_each]
    assert owners == [
        (alice.id, False), (bob.id, False), (crew.id, True), (REGISTERED_ID, False), (EVERYONE_ID, False),
    ]


def test_a_rule_has_exactly_one_owner(add, alice, crew):
    for owner in ({}, {"user_id": alice.id, "group_id": crew.id}, {"user_id": alice.id, "audience": "everyone"}):
        with pytest.raises(sqlite3.IntegrityError):
            add(**owner)


def test_an_owner_exists(add):
    for owner in ({"user_id": 99}, {"group_id": 99}):
        with pytest.raises(sqlite3.IntegrityError):
            add(**owner)


@pytest.mark.parametrize("at", range(5))
def test_the_same_rule_is_stored_once_whoever_owns_it(store, one_of_each, at):
    twin = replace(one_of_each[at], name="another", is_disabled=True)
    with pytest.raises(sqlite3.IntegrityError):
        store.rules.create(twin)
    assert store.rules.find_equal(replace(twin, id=0)) == one_of_each[at]


def test_rules_that_differ_in_owner_resource_or_action_are_different(add, one_of_each, alice):
    add(user_id=alice.id, action="push")
    add(user_id=alice.id, resource_name="app2")
    add(user_id=alice.id, resource_type="registry")


def test_a_rule_is_not_its_own_equal(store, one_of_each):
    assert store.rules.find_equal(one_of_each[0]) is None


def test_a_change_into_an_existing_rule_is_refused(store, one_of_each):
    with pytest.raises(sqlite3.IntegrityError):
        store.rules.update(replace(one_of_each[0], user_id=None, audience=Audience.EVERYONE))


def test_every_field_of_a_rule_can_be_changed(store, one_of_each, crew):
    changed = Rule(
        one_of_each[0].id, "n", "registry", "catalog", "*", user_id=None, group_id=crew.id, is_disabled=True
    )
    store.rules.update(changed)
    assert store.rules.find(changed.id) == changed


def test_the_anonymous_have_the_rules_of_everyone(store, one_of_each):
    assert names(store.rules.list_for(None)) == ["of everyone"]


def test_a_user_has_his_rules_and_those_of_his_groups_and_audiences(store, one_of_each, alice, bob):
    assert names(store.rules.list_for(alice)) == ["of alice", "of the crew", "of the registered", "of everyone"]
    assert names(store.rules.list_for(bob)) == ["of bob", "of the registered", "of everyone"]


def test_disabled_rules_are_nobodys(store, one_of_each, alice):
    for rule in one_of_each:
        store.rules.update(replace(rule, is_disabled=True))
    assert store.rules.list_for(alice) == store.rules.list_for(None) == []


def test_memberships_count_as_they_are_stored_now(store, one_of_each, alice):
    store.users.update(replace(alice, groups=()))
    assert names(store.rules.list_for(alice)) == ["of alice", "of the registered", "of everyone"]


def test_a_user_who_goes_takes_his_rules_along(store, one_of_each, alice):
    store.users.delete(alice.id)
    assert names(store.rules.list(Listing()).rows) == names(one_of_each[1:])


def test_a_rule_is_deleted(store, one_of_each):
    store.rules.delete(one_of_each[0].id)
    assert names(store.rules.list(Listing()).rows) == names(one_of_each[1:])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"q": "BOB"}, ["of bob"]),
        ({"q": "app"}, ["of alice", "of bob", "of the crew", "of the registered", "of everyone"]),
        ({"ids": [2]}, ["of bob"]),
        ({"owner_id": EVERYONE_ID}, ["of everyone"]),
        ({"owner_id": REGISTERED_ID}, ["of the registered"]),
        ({"owner_id": 2}, ["of bob", "of the crew"]),
        ({"owner_id": 2, "is_group": True}, ["of the crew"]),
        ({"owner_id": 2, "is_group": False}, ["of bob"]),
        ({"is_group": True}, ["of the crew"]),
        ({"resource_name": "ap"}, []),
        ({"resource_type": "registry"}, []),
        ({"action": "push"}, []),
        ({"is_disabled": True}, []),
        ({"name": "of bob"}, ["of bob"]),
    ],
)
def test_rules_are_filtered(store, one_of_each, filters, expected):
    assert names(store.rules.list(Listing(filters=filters)).rows) == expected


@pytest.mark.parametrize(
    "sort", ["id", "name", "owner_id", "is_group", "type", "resource_name", "action", "disabled"]
)
def test_rules_are_sorted_by_each_column_of_the_contract(store, one_of_each, sort):
    assert store.rules.list(Listing(sort=sort)).total == 5


def test_rules_are_sorted_by_owner(store, one_of_each):
    found = names(store.rules.list(Listing(sort="owner_id")).rows)
    assert found == ["of everyone", "of the registered", "of alice", "of bob", "of the crew"]
