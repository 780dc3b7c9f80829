"""Groups as they are stored."""

import sqlite3
from dataclasses import replace

import pytest

from regadmin.entities import DEFAULT_GROUP_ID, Group, Role, Rule, User
from regadmin.store.listing import Listing


def names(store, **listing) -> list[str]:
    return [group.name for group in store.groups.list(Listing(**listing)).rows]


def test_the_default_group_is_there_from_the_start(store):
    assert store.groups.find(DEFAULT_GROUP_ID).name == "default"


def test_a_group_is_found_as_it_was_stored(store):
    crew = store.groups.create("crew", "who does the work")
    assert crew == Group(2, "crew", "who does the work")
    assert store.groups.find(2) == crew
    assert store.groups.find(3) is None


def test_a_group_is_changed(store):
    crew = store.groups.create("crew", "")
    store.groups.update(replace(crew, name="staff", description="d"))
    assert store.groups.find(crew.id) == Group(crew.id, "staff", "d")


def test_names_that_differ_in_case_only_are_the_same_name(store):
    with pytest.raises(sqlite3.IntegrityError):
        store.groups.create("DEFAULT", "")


def test_a_group_that_goes_takes_its_rules_and_memberships_along_and_nothing_else(store):
    crew, staff = store.groups.create("crew", ""), store.groups.create("staff", "")
    alice = store.users.create(User(0, "alice", "Alice", Role.USER, (crew, staff)), "hash")
    rules = [
        store.rules.create(Rule(0, "", "repository", "app", "pull", **owner))
        for owner in ({"group_id": crew.id}, {"group_id": staff.id}, {"user_id": alice.id})
    ]
    store.groups.delete(crew.id)
    assert store.rules.list(Listing()).rows == rules[1:]
    assert store.users.find(alice.id).groups == (staff,)


def test_a_number_is_not_given_twice(store):
    crew = store.groups.create("crew", "")
    store.groups.delete(crew.id)
    assert store.groups.create("staff", "").id > crew.id


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"q": "REW"}, ["crew"]),
        ({"q": "50%"}, ["staff"]),
        ({"ids": [1, 3]}, ["default", "staff"]),
        ({"name": "crew"}, ["crew"]),
        ({"name": "cre"}, []),
    ],
)
def test_groups_are_filtered(store, filters, expected):
    store.groups.create("crew", "")
    store.groups.create("staff", "does 50% of it")
    assert names(store, filters=filters) == expected


def test_groups_are_sorted(store):
    store.groups.create("Crew", "")
    store.groups.create("actors", "")
    assert names(store, sort="name") == ["actors", "Crew", "default"]
    assert names(store, sort="name", descending=True, limit=1) == ["default"]
