"""Groups of users."""

from dataclasses import replace

import pytest

from regadmin.entities import DEFAULT_GROUP_ID, Role, Rule, User
from regadmin.errors import Conflict, Invalid, NotFound
from regadmin.services.groups import Groups
from regadmin.store import Store
from regadmin.store.listing import Listing


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def groups(store) -> Groups:
    return Groups(store)


def test_a_group_is_created_changed_and_found(groups, by):
    crew = groups.create(by, "crew", "the crew")
    assert groups.find(crew.id) == crew
    assert groups.update(crew.id, by, name="staff") == replace(crew, name="staff")
    assert groups.find(crew.id) == replace(crew, name="staff")
    assert groups.update(crew.id, by) == replace(crew, name="staff")


@pytest.mark.parametrize("name", ["", " crew", "crew ", "cr\new", "a" * 256, "\u200b"])
def test_a_name_that_cannot_be_is_named(groups, by, name):
    crew = groups.create(by, "crew")
    for attempt in (lambda: groups.create(by, name), lambda: groups.update(crew.id, by, name=name)):
        with pytest.raises(Invalid) as caught:
            attempt()
        assert list(caught.value.fields) == ["name"]


def test_a_description_has_a_bound(groups, by):
    with pytest.raises(Invalid) as caught:
        groups.create(by, "crew", "a" * 2551)
    assert list(caught.value.fields) == ["description"]


def test_a_name_is_taken_whatever_its_case(groups, by):
    crew = groups.create(by, "crew")
    for attempt in (lambda: groups.create(by, "DEFAULT"), lambda: groups.update(crew.id, by, name="Default")):
        with pytest.raises(Conflict) as caught:
            attempt()
        assert "name" in caught.value.message
    assert groups.find(crew.id) == crew


def test_what_does_not_exist_is_not_found(groups, by):
    for attempt in (groups.find, lambda number: groups.update(number, by), lambda number: groups.delete(number, by)):
        with pytest.raises(NotFound):
            attempt(99)


def test_the_default_group_can_be_renamed_but_not_deleted(groups, by):
    assert groups.update(DEFAULT_GROUP_ID, by, name="all").name == "all"
    with pytest.raises(Conflict):
        groups.delete(DEFAULT_GROUP_ID, by)


def test_a_deleted_group_takes_its_rules_along_and_leaves_its_members(store, groups, by):
    crew = groups.create(by, "crew")
    alice = store.users.create(User(0, "alice", "Alice", Role.USER, (crew, groups.find(DEFAULT_GROUP_ID))), "hash")
    store.rules.create(Rule(0, "", "repository", "app", "pull", group_id=crew.id))
    groups.delete(crew.id, by)
    assert store.rules.list(Listing()).total == 0
    assert [group.id for group in store.users.find(alice.id).groups] == [DEFAULT_GROUP_ID]


def test_who_was_in_no_other_group_is_in_the_default_one_from_now_on(store, groups, by):
    crew, staff = groups.create(by, "crew"), groups.create(by, "staff")
    alice = store.users.create(User(0, "alice", "Alice", Role.USER, (crew,)), "hash")
    bob = store.users.create(User(0, "bob", "Bob", Role.USER, (crew, staff)), "hash")
    groups.delete(crew.id, by)
    assert [group.id for group in store.users.find(alice.id).groups] == [DEFAULT_GROUP_ID]
    assert [group.id for group in store.users.find(bob.id).groups] == [staff.id]


def test_changes_are_noted(store, groups, by):
    crew = groups.create(by, "crew")
    groups.update(crew.id, by, name="staff")
    groups.delete(crew.id, by)
    noted = [(row["event"], row["object"], row["actor"]) for row in store.activity.latest(10)]
    assert noted == [
        ("group deleted", "staff", "admin"),
        ("group changed", "staff", "admin"),
        ("group created", "crew", "admin"),
    ]
