"""Users as they are stored."""

import sqlite3
from dataclasses import replace

import pytest

from regadmin.entities import Group, Role, User
from regadmin.errors import Malformed
from regadmin.store.listing import Listing


@pytest.fixture
def add(store):
    def add(login: str, *groups: Group, **fields) -> User:
        defaults = {"id": 0, "login": login, "name": login.title(), "role": Role.USER, "groups": groups}
        return store.users.create(User(**defaults | fields), f"hash of {login}")

    return add


def logins(store, **listing) -> list[str]:
    return [user.login for user in store.users.list(Listing(**listing)).rows]


def test_a_user_is_found_as_he_was_stored(store, clock, add):
    crew = store.groups.create("crew", "")
    stored = add("alice", crew, role=Role.MANAGER, is_blocked=True, must_change_password=True, description="d")
    assert store.users.find(stored.id) == stored
    assert stored == User(1, "alice", "Alice", Role.MANAGER, (crew,), True, True, "d", int(clock.now))


def test_a_user_does_not_carry_his_hash(add):
    assert "hash of alice" not in repr(add("alice"))


def test_a_login_is_found_with_its_hash_and_only_as_it_is_written(store, add):
    alice = add("alice")
    assert store.users.find_login("alice") == (alice, "hash of alice")
    for login in ("Alice", "ALICE", "alice ", "1", "", "%", "alice\0"):
        assert store.users.find_login(login) is None


def test_logins_that_differ_in_case_only_are_the_same_login(add):
    add("alice")
    with pytest.raises(sqlite3.IntegrityError):
        add("ALICE")


def test_a_login_of_another_case_cannot_be_taken_over_by_a_change(store, add):
    add("alice")
    bob = add("bob")
    with pytest.raises(sqlite3.IntegrityError):
        store.users.update(replace(bob, login="Alice"))


def test_the_order_of_groups_is_kept(store, add):
    crew, staff = store.groups.create("crew", ""), store.groups.create("staff", "")
    alice = add("alice", staff, crew)
    assert store.users.find(alice.id).groups == (staff, crew)
    assert store.users.update(replace(alice, groups=(crew,))).groups == (crew,)


def test_a_user_without_groups_has_none(store, add):
    assert store.users.find(add("alice").id).groups == ()


def test_a_change_touches_neither_hash_nor_date(store, clock, add):
    alice = add("alice")
    clock.pass_time(100)
    changed = store.users.update(replace(alice, name="A", role=Role.ADMIN, is_blocked=True, description="x"))
    assert changed == replace(alice, name="A", role=Role.ADMIN, is_blocked=True, description="x")
    assert store.users.find_login("alice")[1] == "hash of alice"


def test_a_password_that_is_set_need_not_be_changed_any_more(store, add):
    alice = add("alice", must_change_password=True)
    store.users.set_password(alice.id, "another")
    found, hashed = store.users.find_login("alice")
    assert (found.must_change_password, hashed) == (False, "another")


def test_a_number_is_not_given_twice(store, add):
    first = add("alice")
    store.users.delete(first.id)
    assert add("bob").id > first.id


def test_blocked_admins_do_not_count(store, add):
    add("alice", role=Role.ADMIN)
    add("bob", role=Role.ADMIN, is_blocked=True)
    add("carol", role=Role.MANAGER)
    assert store.users.count_active_admins() == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["alice", "bob", "carol"]),
        ({"q": "AL"}, ["alice"]),
        ({"q": "described"}, ["carol"]),
        ({"q": "Bob"}, ["bob"]),
        ({"q": "%"}, []),
        ({"q": "_"}, []),
        ({"ids": [3, 1, 99]}, ["alice", "carol"]),
        ({"ids": []}, []),
        ({"role": "admin"}, ["bob"]),
        ({"role": "nobody"}, []),
        ({"login": "BOB"}, ["bob"]),
        ({"name": "Bob"}, ["bob"]),
        ({"is_blocked": True}, ["carol"]),
        ({"is_blocked": False}, ["alice", "bob"]),
        ({"group_id": 2}, ["alice"]),
        ({"group_id": 2, "q": "bob"}, []),
    ],
)
def test_users_are_filtered(store, add, filters, expected):
    add("alice", store.groups.create("crew", ""))
    add("bob", role=Role.ADMIN)
    add("carol", description="Is described", is_blocked=True)
    assert logins(store, filters=filters) == expected


def test_pages_are_cut_from_the_sorted_list_and_the_total_is_of_all(store, add):
    for login in ("bob", "dave", "alice", "carol"):
        add(login)
    page = store.users.list(Listing(sort="login", offset=1, limit=2))
    assert [user.login for user in page.rows] == ["bob", "carol"]
    assert (page.total, page.offset) == (4, 1)
    assert logins(store, sort="login", descending=True) == ["dave", "carol", "bob", "alice"]
    assert logins(store) == ["bob", "dave", "alice", "carol"]
    assert logins(store, offset=9) == []


def test_equal_rows_keep_one_order_over_pages(store, add):
    for login in ("alice", "bob", "carol", "dave"):
        add(login, name="Same")
    pages = [logins(store, sort="name", offset=offset, limit=1) for offset in range(4)]
    assert sorted(login for page in pages for login in page) == ["alice", "bob", "carol", "dave"]


@pytest.mark.parametrize("sort", ["password_hash", "u.id", "id; DROP TABLE users", "login DESC --", "nothing"])
def test_only_known_columns_sort(store, add, sort):
    with pytest.raises(Malformed):
        store.users.list(Listing(sort=sort))
    assert logins(store) == []
