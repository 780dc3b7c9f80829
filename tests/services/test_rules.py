"""Access rules: what can be saved, and what they let people see."""

import pytest

from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Audience, Role, Rule, User
from regadmin.errors import Conflict, Invalid, NotFound
from regadmin.services.rules import Rules
from regadmin.store import Store
from regadmin.store.listing import Listing


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def rules(store) -> Rules:
    return Rules(store)


@pytest.fixture
def crew(store):
    return store.groups.create("crew", "")


@pytest.fixture
def add_user(store):
    def add(login: str, role: Role = Role.USER, groups=()) -> User:
        return store.users.create(User(0, login, login, role, tuple(groups)), "hash")

    return add


@pytest.fixture
def alice(add_user, crew) -> User:
    return add_user("alice", groups=[crew])


def app(**fields) -> dict:
    return {"resource_name": "team/app", "action": "pull"} | fields


def test_a_rule_of_a_user_a_group_or_an_audience_is_created(rules, by, alice, crew):
    assert rules.create(by, alice.id, **app()).user_id == alice.id
    assert rules.create(by, crew.id, True, **app()).group_id == crew.id
    assert rules.create(by, REGISTERED_ID, **app()).audience is Audience.REGISTERED
    assert rules.create(by, EVERYONE_ID, True, **app()).audience is Audience.EVERYONE


def test_a_rule_without_a_name_is_called_by_what_it_says(rules, by):
    assert rules.create(by, EVERYONE_ID, **app()).name == "pull team/app"
    assert rules.create(by, EVERYONE_ID, **app(action="push", name="mine")).name == "mine"
    assert len(rules.create(by, EVERYONE_ID, **app(resource_name="a" * 400)).name) <= 255


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("owner_id", {"owner_id": 99}),
        ("owner_id", {"owner_id": 99, "is_group": True}),
        ("owner_id", {"owner_id": 0}),
        ("owner_id", {"owner_id": -1}),
        ("owner_id", {"owner_id": -998}),
        ("type", {"resource_type": "plugin"}),
        ("type", {"resource_type": ""}),
        ("action", {"action": "PULL"}),
        ("action", {"action": "pull,push"}),
        ("action", {"action": ""}),
        ("resource_name", {"resource_name": ""}),
        ("resource_name", {"resource_name": "/(a+)+/"}),
        ("resource_name", {"resource_name": "/[/"}),
        ("resource_name", {"resource_name": "team app"}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "a" * 256}),
    ],
)
def test_a_field_that_cannot_be_is_named(rules, by, alice, field, fields):
    given = {"owner_id": alice.id} | app() | fields
    with pytest.raises(Invalid) as caught:
        rules.create(by, **given)
    assert list(caught.value.fields) == [field]
    assert caught.value.fields[field]
    assert rules.list(Listing()).total == 0


def test_all_wrong_fields_are_named_at_once(rules, by):
    with pytest.raises(Invalid) as caught:
        rules.create(by, EVERYONE_ID)
    assert set(caught.value.fields) == {"resource_name", "action"}


def test_the_same_rule_twice_is_a_conflict_that_names_the_first(rules, by, alice):
    first = rules.create(by, alice.id, **app(name="the first"))
    with pytest.raises(Conflict) as caught:
        rules.create(by, alice.id, **app(name="the second", is_disabled=True))
    assert "the first" in caught.value.message
    assert str(first.id) in caught.value.message


def test_only_the_given_fields_change(rules, by, alice):
    rule = rules.create(by, alice.id, **app(name="mine"))
    assert rules.update(rule.id, by, is_disabled=True) == Rule(
        rule.id, "mine", "repository", "team/app", "pull", user_id=alice.id, is_disabled=True
    )


def test_a_rule_can_change_hands(rules, by, alice, crew):
    rule = rules.create(by, alice.id, **app())
    assert rules.update(rule.id, by, EVERYONE_ID).owner_id == EVERYONE_ID
    assert rules.update(rule.id, by, action="push").audience is Audience.EVERYONE
    assert rules.update(rule.id, by, crew.id, is_group=True).group_id == crew.id
    assert rules.find(rule.id).is_group
    assert rules.update(rule.id, by, alice.id, is_group=False).user_id == alice.id


@pytest.mark.parametrize("fields", [{"owner_id": 99}, {"action": "fly"}, {"resource_name": "/(a+)+/"}])
def test_a_change_with_a_wrong_field_changes_nothing(rules, by, alice, fields):
    rule = rules.create(by, alice.id, **app())
    with pytest.raises(Invalid):
        rules.update(rule.id, by, name="changed", **fields)
    assert rules.find(rule.id) == rule


def test_a_change_into_an_existing_rule_is_a_conflict(rules, by, alice):
    rules.create(by, alice.id, **app())
    other = rules.create(by, alice.id, **app(action="push"))
    with pytest.raises(Conflict):
        rules.update(other.id, by, action="pull")
    assert rules.find(other.id).action == "push"


def test_what_does_not_exist_is_not_found(rules, by):
    for attempt in (rules.find, lambda number: rules.update(number, by), lambda number: rules.delete(number, by)):
        with pytest.raises(NotFound):
            attempt(99)


def test_admins_and_managers_see_all_repositories(rules, add_user):
    assert rules.visible(add_user("root", Role.ADMIN)) is None
    assert rules.visible(add_user("boss", Role.MANAGER)) is None


def test_users_and_the_anonymous_see_what_they_may_pull(rules, by, alice, crew):
    rules.create(by, alice.id, **app(resource_name="${login}/**", action="push"))
    rules.create(by, crew.id, True, **app(resource_name="crew/*"))
    rules.create(by, EVERYONE_ID, **app(resource_name="open"))
    rules.create(by, EVERYONE_ID, **app(resource_name="deletable", action="delete"))
    rules.create(by, alice.id, **app(resource_name="gone", is_disabled=True))
    names = ["alice/app", "crew/app", "crew/a/b", "open", "deletable", "gone", "bob/app"]
    assert [name for name in names if rules.visible(alice)(name)] == ["alice/app", "crew/app", "open"]
    assert [name for name in names if rules.visible(None)(name)] == ["open"]


def test_a_blocked_user_sees_nothing(rules, by, store, add_user):
    rules.create(by, EVERYONE_ID, **app(resource_name="open"))
    carol = store.users.create(User(0, "carol", "Carol", Role.USER, is_blocked=True), "hash")
    assert not rules.visible(carol)("open")


def test_rights_tell_all_that_one_may_do(rules, by, alice, add_user):
    rules.create(by, alice.id, **app(action="push"))
    assert rules.rights(alice, ["team/app", "other"]) == {"team/app": ("pull", "push"), "other": ()}
    assert rules.rights(add_user("root", Role.ADMIN), ["other"]) == {"other": ("pull", "push", "delete", "*")}


def test_changes_are_noted(store, rules, by):
    rule = rules.create(by, EVERYONE_ID, **app())
    rules.update(rule.id, by, action="push")
    rules.delete(rule.id, by)
    noted = store.activity.latest(10)
    assert [row["event"] for row in noted] == ["rule deleted", "rule changed", "rule created"]
    assert {(row["object"], row["actor"]) for row in noted} == {("team/app", "admin")}
    assert noted[1]["details"]["before"]["action"] == "pull"
    assert noted[1]["details"]["after"]["action"] == "push"
