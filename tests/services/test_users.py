"""Accounts: what may be chosen, who is let in, and who cannot be locked out."""

from dataclasses import replace

import bcrypt
import pytest

from regadmin.entities import DEFAULT_GROUP_ID, Actor, Role, Rule, Session, User
from regadmin.errors import Conflict, Invalid, NotFound, Unauthenticated
from regadmin.passwords import Passwords
from regadmin.services.groups import Groups
from regadmin.services.users import MAX_LOGIN, Users
from regadmin.store import Store
from regadmin.store.listing import Listing

PASSWORD = "a good password"
ROOT = "correct horse"


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def users(store) -> Users:
    users = Users(store, Passwords())
    users.create_first_admin(ROOT)
    return users


@pytest.fixture
def groups(store) -> Groups:
    return Groups(store)


@pytest.fixture
def admin(users) -> User:
    return users.authenticate("admin", ROOT)


@pytest.fixture
def alice(users, by) -> User:
    return users.create(by, PASSWORD, login="alice")


@pytest.fixture
def session(store):
    """Start a session; tells afterwards whether it is alive."""

    def start(user: User, session_id: str):
        store.sessions.create(Session(session_id, user.id, store.now(), store.now() + 100), "", "")
        return lambda: store.sessions.find(session_id) is not None

    return start


# The first account


def test_the_first_admin_is_made_once(users, admin):
    assert (admin.login, admin.role, admin.must_change_password) == ("admin", Role.ADMIN, False)
    assert [group.id for group in admin.groups] == [DEFAULT_GROUP_ID]
    users.create_first_admin("another password")
    assert users.list(Listing()).total == 1
    assert users.authenticate("admin", ROOT)


@pytest.mark.parametrize("password", ["admin", "short", ""])
def test_a_password_that_nobody_may_choose_must_be_changed_first(store, password):
    users = Users(store, Passwords())
    users.create_first_admin(password)
    assert users.authenticate("admin", password).must_change_password


# Creating


def test_a_user_has_the_role_user_his_login_as_name_and_the_default_group(users, alice):
    assert (alice.name, alice.role, alice.is_blocked) == ("alice", Role.USER, False)
    assert [group.id for group in alice.groups] == [DEFAULT_GROUP_ID]
    assert users.find(alice.id) == alice


def test_a_user_is_in_the_groups_that_were_given_in_their_order(users, groups, by):
    crew, staff = groups.create(by, "crew"), groups.create(by, "staff")
    alice = users.create(by, PASSWORD, [staff.id, crew.id, staff.id], login="alice")
    assert alice.groups == (staff, crew)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("login", ""),
        ("login", "a" * (MAX_LOGIN + 1)),
        ("login", "with:colon"),
        ("login", " alice"),
        ("login", "alice "),
        ("login", "ali\nce"),
        ("login", "ali\x00ce"),
        ("login", "ali\u202ece"),
        ("name", ""),
        ("name", "a" * 256),
        ("name", "a\nb"),
        ("role", "root"),
        ("role", ""),
        ("description", "a" * 2551),
        ("password", "12345"),
        ("password", "a" * 73),
        ("group_ids", [99]),
    ],
)
def test_a_field_that_cannot_be_is_named(users, by, field, value):
    fields = {"login": "alice", "name": "Alice", "password": PASSWORD} | {field: value}
    with pytest.raises(Invalid) as caught:
        users.create(by, **fields)
    assert list(caught.value.fields) == ["group" if field == "group_ids" else field]
    assert users.list(Listing()).total == 1


def test_all_wrong_fields_are_named_at_once(users, by):
    with pytest.raises(Invalid) as caught:
        users.create(by, PASSWORD, login="", name="", role="root")
    assert set(caught.value.fields) == {"login", "name", "role"}


@pytest.mark.parametrize("login", ["alice", "ALICE"])
def test_a_login_is_taken_whatever_its_case(users, alice, by, login):
    with pytest.raises(Conflict) as caught:
        users.create(by, PASSWORD, login=login)
    assert "login" in caught.value.message
    assert users.list(Listing()).total == 2


@pytest.mark.parametrize("login", ["a", "1", "alice@example.org", "Älice", "DOMAIN\\alice", "a b", "a/b", "*"])
def test_logins_of_many_kinds_are_possible(users, by, login):
    created = users.create(by, PASSWORD, login=login)
    assert users.authenticate(login, PASSWORD) == created


# Authenticating


def test_the_right_password_lets_in(users, alice):
    assert users.authenticate("alice", PASSWORD) == alice


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("alice", "wrong password"),
        ("alice", ""),
        ("ALICE", PASSWORD),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("2", PASSWORD),
        ("alice\0", PASSWORD),
        ("alice' OR 1=1 --", PASSWORD),
        ("carol", PASSWORD),
    ],
)
def test_everybody_else_is_told_the_same(users, alice, by, login, password):
    users.create(by, PASSWORD, login="carol", is_blocked=True)
    with pytest.raises(Unauthenticated) as caught:
        users.authenticate(login, password)
    assert caught.value.message == "wrong login or password"


def test_bcrypt_is_computed_at_the_same_cost_for_unknown_wrong_and_blocked(users, alice, by, monkeypatch):
    users.create(by, PASSWORD, login="carol", is_blocked=True)
    costs, compute = [], bcrypt.checkpw

    def counting(password, stored):
        costs.append(stored.split(b"$")[2])
        return compute(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    for login, password in [("alice", "wrong"), ("nobody", "wrong"), ("carol", PASSWORD), ("carol", "wrong")]:
        with pytest.raises(Unauthenticated):
            users.authenticate(login, password)
    assert costs == [b"04"] * 4


def test_the_stored_hash_is_no_password(store, users, alice):
    with pytest.raises(Unauthenticated):
        users.authenticate("alice", store.users.find_login("alice")[1])


# Changing


def test_only_the_given_fields_change(users, alice, by):
    changed = users.update(alice.id, by, name="Alice A", description="d")
    assert changed == replace(alice, name="Alice A", description="d")
    assert users.authenticate("alice", PASSWORD) == changed


def test_an_empty_password_keeps_the_old_one(users, alice, by):
    users.update(alice.id, by, password="")
    assert users.authenticate("alice", PASSWORD)


def test_a_new_password_takes_the_place_of_the_old_one(users, alice, by):
    users.update(alice.id, by, password="another one")
    assert users.authenticate("alice", "another one")
    with pytest.raises(Unauthenticated):
        users.authenticate("alice", PASSWORD)


def test_a_changed_login_keeps_the_password(users, alice, by):
    users.update(alice.id, by, login="alicia")
    assert users.authenticate("alicia", PASSWORD).id == alice.id


@pytest.mark.parametrize(
    "fields", [{"login": ""}, {"password": "short"}, {"role": "root"}, {"name": ""}, {"group_ids": [99]}]
)
def test_a_change_with_a_wrong_field_changes_nothing(users, alice, by, fields):
    with pytest.raises(Invalid):
        users.update(alice.id, by, **{"description": "changed"} | fields)
    assert users.find(alice.id) == alice
    assert users.authenticate("alice", PASSWORD)


def test_a_login_that_is_taken_cannot_be_changed_to(users, alice, by):
    with pytest.raises(Conflict):
        users.update(alice.id, by, login="Admin", password="another one")
    assert users.authenticate("alice", PASSWORD) == alice


def test_what_does_not_exist_is_not_found(users, by):
    for attempt in (users.find, lambda number: users.update(number, by), lambda number: users.delete(number, by)):
        with pytest.raises(NotFound):
            attempt(99)


def test_a_change_without_groups_keeps_them_and_an_empty_list_means_the_default(users, groups, alice, by):
    crew = groups.create(by, "crew")
    assert users.update(alice.id, by, group_ids=[crew.id]).groups == (crew,)
    assert users.update(alice.id, by, name="A").groups == (crew,)
    assert [group.id for group in users.update(alice.id, by, group_ids=[]).groups] == [DEFAULT_GROUP_ID]


# Sessions


@pytest.mark.parametrize("fields", [{"password": "another one"}, {"is_blocked": True}])
def test_a_new_password_and_a_block_end_his_sessions(users, alice, by, session, fields):
    is_alive, of_another = session(alice, "one"), session(users.find(1), "two")
    users.update(alice.id, by, **fields)
    assert not is_alive()
    assert of_another()


def test_other_changes_leave_his_sessions(users, alice, by, session):
    is_alive = session(alice, "one")
    users.update(alice.id, by, name="A", role=Role.MANAGER, password="")
    assert is_alive()


def test_an_admin_who_changes_his_own_password_keeps_the_session_he_does_it_in(users, admin, session):
    here, there = session(admin, "here"), session(admin, "there")
    users.update(admin.id, Actor("admin", session_id="here"), password="another one")
    assert here()
    assert not there()


# One's own password


def test_ones_own_password_is_changed_with_the_old_one(users, alice, session):
    here, there = session(alice, "here"), session(alice, "there")
    users.change_password(alice, PASSWORD, "another one", Actor("alice", session_id="here"))
    assert users.authenticate("alice", "another one")
    assert here()
    assert not there()


def test_without_the_old_password_there_is_no_new_one(users, alice, by):
    with pytest.raises(Invalid) as caught:
        users.change_password(alice, "wrong password", "another one", by)
    assert list(caught.value.fields) == ["old"]
    assert users.authenticate("alice", PASSWORD)


@pytest.mark.parametrize("new", ["short", "a" * 73, PASSWORD, ""])
def test_a_new_password_must_be_one_and_be_new(users, alice, by, new):
    with pytest.raises(Invalid) as caught:
        users.change_password(alice, PASSWORD, new, by)
    assert list(caught.value.fields) == ["new"]


def test_the_login_is_no_password(users, by):
    user = users.create(by, PASSWORD, login="administrator")
    with pytest.raises(Invalid):
        users.change_password(user, PASSWORD, "administrator", by)


def test_the_default_password_is_replaced_without_being_given_again(store, by):
    users = Users(store, Passwords())
    users.create_first_admin("admin")
    admin = users.authenticate("admin", "admin")
    with pytest.raises(Invalid):
        users.change_password(admin, "", "admin", by)
    users.change_password(admin, "", "another one", by)
    assert not users.authenticate("admin", "another one").must_change_password


# Nobody is locked out


@pytest.mark.parametrize("fields", [{"is_blocked": True}, {"role": Role.USER}, {"role": "manager"}])
def test_nobody_takes_his_own_rights(users, by, fields):
    users.create(by, PASSWORD, login="alice", role=Role.ADMIN)
    with pytest.raises(Conflict):
        users.update(1, by, **fields)
    with pytest.raises(Conflict):
        users.delete(1, by)
    assert users.find(1).is_admin


@pytest.mark.parametrize("role", [Role.ADMIN, "admin"])
def test_an_admin_may_change_himself_and_stay_one(users, by, role):
    assert users.update(1, by, name="Root", role=role, is_blocked=False).name == "Root"


@pytest.mark.parametrize("fields", [{"is_blocked": True}, {"role": Role.USER}])
def test_the_last_admin_stays_whoever_asks(users, by, fields):
    users.create(by, PASSWORD, login="alice", role=Role.ADMIN, is_blocked=True)
    other = Actor("the command line")
    with pytest.raises(Conflict):
        users.update(1, other, **fields)
    with pytest.raises(Conflict):
        users.delete(1, other)


def test_an_admin_who_is_not_the_last_one_can_go(users, by):
    alice = users.create(by, PASSWORD, login="alice", role="admin")
    users.update(alice.id, by, role=Role.USER)
    users.update(alice.id, by, role="admin")
    users.delete(alice.id, by)
    assert users.list(Listing()).total == 1


def test_a_blocked_admin_can_be_deleted_and_demoted(users, by):
    for login in ("alice", "carol"):
        users.create(by, PASSWORD, login=login, role=Role.ADMIN, is_blocked=True)
    users.update(2, by, role=Role.USER)
    users.delete(3, by)


# Deleting


def test_a_deleted_user_takes_his_rules_and_sessions_along(store, users, alice, by, session):
    is_alive = session(alice, "one")
    store.rules.create(Rule(0, "", "repository", "app", "pull", user_id=alice.id))
    assert users.delete(alice.id, by) == alice
    assert not is_alive()
    assert store.rules.list(Listing()).total == 0
    with pytest.raises(Unauthenticated):
        users.authenticate("alice", PASSWORD)


# What is noted


def test_changes_are_noted_with_who_made_them_and_without_secrets(store, users, by):
    alice = users.create(by, PASSWORD, login="alice")
    users.update(alice.id, by, password="another one", name="A")
    users.change_password(alice, "another one", "and another", by)
    users.delete(alice.id, by)
    activity = store.activity.latest(10)
    assert [row["event"] for row in activity] == ["user deleted", "password changed", "user changed", "user created"]
    assert {(row["actor"], row["object"], row["address"]) for row in activity} == {("admin", "alice", "192.0.2.9")}
    changed = activity[2]["details"]
    assert (changed["before"]["name"], changed["after"]["name"]) == ("alice", "A")
    assert changed["password changed"] is True
    for secret in (PASSWORD, "another one", "and another", "$2b$"):
        assert secret not in repr(activity)


def test_what_fails_is_not_noted(store, users, alice, by):
    before = store.activity.latest(10)
    for attempt in ({"login": "admin"}, {"role": "root"}):
        with pytest.raises((Conflict, Invalid)):
            users.update(alice.id, by, **attempt)
    assert store.activity.latest(10) == before
