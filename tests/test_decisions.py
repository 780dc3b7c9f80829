"""Who may do what."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.decisions import decide, grant
from regadmin.entities import AccessToken, Audience, Group, Reach, Role, Rule, User
from regadmin.scopes import ACTIONS, Scope

CREW, STAFF = Group(1, "crew"), Group(2, "staff")
ALICE = User(1, "alice", "Alice", Role.USER, (CREW,))
BOB = User(2, "bob", "Bob", Role.USER, (CREW, STAFF))
LONER = User(3, "crew", "Loner", Role.USER)
ROOT = User(4, "root", "Root", Role.ADMIN)
BOSS = User(5, "boss", "Boss", Role.MANAGER, (STAFF,))


def rule(resource_name="team/app", action="pull", resource_type="repository", **fields) -> Rule:
    owner = {} if {"user_id", "group_id", "audience"} & set(fields) else {"user_id": ALICE.id}
    return Rule(9, "a rule", resource_type, resource_name, action, **owner | fields)


def is_allowed(user, name, action, *rules, resource_type="repository") -> bool:
    return decide(user, resource_type, name, action, rules).is_allowed


def actions(user, name, rules) -> tuple[str, ...]:
    return tuple(action for action in ACTIONS if is_allowed(user, name, action, *rules))


# What owners mean


def test_without_a_rule_the_answer_is_no():
    assert not is_allowed(ALICE, "team/app", "pull")
    assert not is_allowed(None, "team/app", "pull")


def test_a_rule_of_a_user_is_for_that_user():
    mine = rule(user_id=ALICE.id)
    assert is_allowed(ALICE, "team/app", "pull", mine)
    assert not is_allowed(BOB, "team/app", "pull", mine)
    assert not is_allowed(None, "team/app", "pull", mine)


def test_a_rule_of_a_group_is_for_its_members_and_not_for_the_user_with_its_number():
    ours = rule(group_id=STAFF.id)
    assert is_allowed(BOB, "team/app", "pull", ours)
    assert not is_allowed(ALICE, "team/app", "pull", ours)
    assert not is_allowed(replace(ALICE, id=STAFF.id), "team/app", "pull", ours)
    assert not is_allowed(None, "team/app", "pull", ours)


def test_a_rule_of_a_user_is_not_for_the_group_with_his_number():
    assert not is_allowed(BOB, "team/app", "pull", rule(user_id=CREW.id))


def test_a_rule_for_the_registered_is_for_all_who_signed_in_and_for_nobody_else():
    shared = rule(audience=Audience.REGISTERED)
    assert all(is_allowed(user, "team/app", "pull", shared) for user in (ALICE, BOB, LONER, BOSS))
    assert not is_allowed(None, "team/app", "pull", shared)


def test_a_rule_for_everyone_is_for_the_anonymous_and_for_the_signed_in():
    public = rule(audience=Audience.EVERYONE)
    assert all(is_allowed(user, "team/app", "pull", public) for user in (None, ALICE, LONER, BOSS))


# What actions mean


@pytest.mark.parametrize(
    ("action", "allowed"),
    [("pull", {"pull"}), ("push", {"push", "pull"}), ("delete", {"delete"}), ("*", set(ACTIONS)), ("fly", set())],
)
def test_an_action_of_a_rule_includes_others(action, allowed):
    assert {a for a in ACTIONS if is_allowed(ALICE, "team/app", a, rule(action=action))} == allowed


def test_nobody_may_do_what_is_no_action_or_to_what_is_no_resource():
    everything = rule("**", "*")
    assert not is_allowed(ALICE, "team/app", "fly", everything)
    assert not is_allowed(ROOT, "team/app", "fly")
    assert not is_allowed(ROOT, "team/app", "pull", resource_type="plugin")


def test_rules_of_one_type_say_nothing_of_another():
    assert not is_allowed(ALICE, "catalog", "*", rule("catalog", "*"), resource_type="registry")
    assert is_allowed(ALICE, "catalog", "*", rule("catalog", "*", "registry"), resource_type="registry")
    assert not is_allowed(ALICE, "catalog", "pull", rule("catalog", "*", "registry"))


def test_a_disabled_rule_allows_nothing():
    assert not is_allowed(ALICE, "team/app", "pull", rule(is_disabled=True))


def test_rules_add_up():
    both = (rule(action="pull"), rule(action="delete"))
    assert actions(ALICE, "team/app", both) == ("pull", "delete")


def test_patterns_are_filled_in_for_the_one_who_asks():
    own = rule("${login}/**", "push", audience=Audience.EVERYONE)
    assert is_allowed(ALICE, "alice/app", "push", own)
    assert not is_allowed(ALICE, "bob/app", "push", own)
    assert not is_allowed(None, "/app", "push", own)
    groups = rule("${group}/**", audience=Audience.REGISTERED)
    assert is_allowed(BOB, "staff/app", "pull", groups)
    assert not is_allowed(ALICE, "staff/app", "pull", groups)
    assert not is_allowed(LONER, "crew/app", "pull", groups)


# Roles


def test_an_admin_may_do_everything_without_a_rule():
    assert actions(ROOT, "any/thing", []) == ACTIONS
    assert is_allowed(ROOT, "catalog", "*", resource_type="registry")


def test_the_role_of_a_manager_gives_no_right():
    assert actions(BOSS, "team/app", []) == ()


def test_who_is_blocked_may_do_nothing():
    everything = rule("**", "*", audience=Audience.EVERYONE)
    for user in (ALICE, BOSS, ROOT):
        assert actions(replace(user, is_blocked=True), "team/app", [everything]) == ()


# Reasons


def test_the_rule_that_decided_is_named():
    deciding = rule(action="push")
    decision = decide(ALICE, "repository", "team/app", "pull", [rule("other/app"), deciding])
    assert decision.rule is deciding
    assert decision.nearest is None


def test_a_denial_names_the_rule_that_came_closest():
    far = rule(user_id=BOB.id, action="delete")
    near = rule(is_disabled=True)
    unrelated = rule("other/app")
    for order in itertools.permutations([far, near, unrelated]):
        decision = decide(ALICE, "repository", "team/app", "pull", order)
        assert (decision.is_allowed, decision.rule, decision.nearest) == (False, None, near)


def test_a_denial_names_no_rule_of_another_repository():
    assert decide(ALICE, "repository", "team/app", "pull", [rule("other/app")]).nearest is None


def test_blocked_users_and_admins_have_a_reason_too():
    assert "blocked" in decide(replace(ALICE, is_blocked=True), "repository", "a", "pull", []).reason
    assert "admin" in decide(ROOT, "repository", "a", "pull", []).reason


# Grants


def test_a_grant_is_what_is_both_asked_and_allowed():
    asked = Scope("repository", "team/app", ("push", "pull", "fly", "delete"))
    assert grant(ALICE, asked, [rule(action="push")]) == Scope("repository", "team/app", ("pull", "push"))


def test_asking_for_everything_is_answered_with_all_that_is_allowed():
    asked = Scope("repository", "team/app", ("*",))
    assert grant(ALICE, asked, [rule(action="push")]).actions == ("pull", "push")
    assert grant(ALICE, asked, [rule(action="*")]).actions == ACTIONS
    assert grant(ALICE, asked, []).actions == ()


def test_the_catalog_is_granted_as_it_was_asked_for():
    asked = Scope("registry", "catalog", ("*",))
    assert grant(ALICE, asked, [rule("catalog", "*", "registry")]).actions == ("*",)
    assert grant(ALICE, asked, [rule("catalog", "pull", "registry")]).actions == ()
    assert grant(ROOT, asked, []).actions == ("*",)


# Against an oracle that knows nothing of the code

NAMES = ["app", "team/app", "team/sub/app", "alice/app", "bob", "crew/x", "catalog"]
PATTERNS = {
    **{name: lambda name, user, exact=name: name == exact for name in NAMES},
    "*": lambda name, user: "/" not in name,
    "**": lambda name, user: True,
    "team/*": lambda name, user: name.split("/")[:1] == ["team"] and len(name.split("/")) == 2,
    "team/**": lambda name, user: name.split("/")[0] == "team" and "/" in name,
    "**/app": lambda name, user: name.split("/")[-1] == "app" and "/" in name,
    "${login}/*": lambda name, user: user is not None and name.split("/")[0] == user.login and name.count("/") == 1,
    "${group}/*": lambda name, user: (
        user is not None and name.count("/") == 1 and name.split("/")[0] in [g.name for g in user.groups]
    ),
}

owners = st.one_of(
    st.sampled_from([1, 2, 3, 5]).map(lambda number: {"user_id": number}),
    st.sampled_from([1, 2]).map(lambda number: {"group_id": number}),
    st.sampled_from(list(Audience)).map(lambda audience: {"audience": audience}),
)
rules = st.lists(
    st.builds(
        lambda resource_type, name, action, owner, is_disabled: Rule(
            0, "", resource_type, name, action, is_disabled=is_disabled, **owner
        ),
        st.sampled_from(["repository", "registry"]),
        st.sampled_from(list(PATTERNS)),
        st.sampled_from(ACTIONS),
        owners,
        st.booleans(),
    ),
    max_size=6,
)
users = st.one_of(
    st.none(),
    st.builds(
        lambda user, is_blocked: replace(user, is_blocked=is_blocked),
        st.sampled_from([ALICE, BOB, LONER, BOSS, ROOT]),
        st.sampled_from([False, False, False, True]),
    ),
)
resources = st.tuples(st.sampled_from(["repository", "registry"]), st.sampled_from(NAMES))
scopes = st.lists(st.builds(Reach, st.sampled_from(list(PATTERNS)), st.sampled_from(ACTIONS)), max_size=3).map(tuple)
asked_actions = st.lists(st.sampled_from([*ACTIONS, "fly", "PULL"]), unique=True).map(tuple)


def oracle(user: User | None, resource_type: str, name: str, action: str, rules: list[Rule]) -> bool:
    """The rules of PRODUCT's "Who may what", spelled out one by one."""
    if user is not None and user.is_blocked:
        return False
    if user is not None and user.role == "admin":
        return True
    for one in rules:
        if one.is_disabled or one.resource_type != resource_type or not PATTERNS[one.resource_name](name, user):
            continue
        if one.user_id is not None and (user is None or user.id != one.user_id):
            continue
        if one.group_id is not None and (user is None or one.group_id not in [group.id for group in user.groups]):
            continue
        if one.audience == "registered" and user is None:
            continue
        if action == one.action or one.action == "*" or (action, one.action) == ("pull", "push"):
            return True
    return False


@given(users, resources, rules)
def test_decisions_agree_with_a_naive_reading_of_the_rules(user, resource, rules):
    for action in ACTIONS:
        assert is_allowed(user, resource[1], action, *rules, resource_type=resource[0]) is oracle(
            user, *resource, action, rules
        )


@given(users, resources, asked_actions, rules)
def test_a_grant_is_exactly_what_is_asked_and_allowed(user, resource, asked, rules):
    granted = grant(user, Scope(*resource, asked), rules)
    wanted = set(ACTIONS) if "*" in asked and resource[0] == "repository" else set(asked) & set(ACTIONS)
    assert set(granted.actions) == {action for action in wanted if oracle(user, *resource, action, rules)}
    assert (granted.type, granted.name) == resource


@given(users, resources, asked_actions, rules, st.randoms())
def test_the_order_of_rules_does_not_matter(user, resource, asked, rules, random):
    scope = Scope(*resource, asked)
    before = grant(user, scope, rules)
    random.shuffle(rules)
    assert grant(user, scope, rules) == before


@given(users, resources, rules, rules)
def test_another_rule_never_takes_a_right_away(user, resource, rules, more):
    scope = Scope(*resource, ("*",))
    assert set(grant(user, scope, rules).actions) <= set(grant(user, scope, rules + more).actions)


@given(users, resources, asked_actions, rules)
def test_disabled_rules_never_grant(user, resource, asked, rules):
    disabled = [replace(one, is_disabled=True) for one in rules]
    assert grant(user, Scope(*resource, asked), disabled) == grant(user, Scope(*resource, asked), [])


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.text(max_size=6)).map(tuple), rules)
def test_no_strange_scope_grants_what_no_rule_names(resource_type, name, asked, rules):
    granted = grant(None, Scope(resource_type, name, asked), rules)
    if resource_type not in ("repository", "registry"):
        assert granted.actions == ()
    assert set(granted.actions) <= set(ACTIONS)


@given(users.filter(bool), resources, st.sampled_from(ACTIONS), rules, scopes)
def test_an_access_token_allows_what_both_its_owner_and_its_scope_do(user, resource, action, rules, scope):
    holder = replace(user, access_token=AccessToken(1, user.id, "ci", scope))
    scope_alone = [rule(reach.resource_name, reach.action, user_id=user.id) for reach in scope]
    reached = not scope or oracle(replace(user, role=Role.USER), *resource, action, scope_alone)
    assert decide(holder, *resource, action, rules).is_allowed is (
        decide(user, *resource, action, rules).is_allowed and reached
    )
