"""The scope grammar of the token protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.errors import Malformed
from regadmin.scopes import ACTIONS, MAX_NAME_LENGTH, MAX_SCOPES, Scope, parse, parse_all

DIGITS, LOWER = "0123456789", "abcdefghijklmnopqrstuvwxyz"
LETTERS = LOWER + LOWER.upper()

types = st.text(LOWER + DIGITS, min_size=1, max_size=12)
components = st.text(LETTERS + DIGITS + "._-", max_size=12)
plain_names = st.builds(
    lambda first, rest, parts: "/".join([first + rest, *parts]),
    st.sampled_from(LETTERS + DIGITS),
    components,
    st.lists(components, max_size=3),
)
hosts_with_port = st.builds(
    lambda host, port, name: f"{host}:{port}/{name}",
    st.text(LETTERS + DIGITS + ".-", min_size=1, max_size=12).filter(lambda host: host[0] not in ".-"),
    st.integers(1, 65535),
    plain_names,
)
actions = st.lists(st.one_of(st.sampled_from(ACTIONS), st.text(LETTERS, min_size=1, max_size=6)), unique=True)
scopes = st.builds(Scope, types, plain_names | hosts_with_port, actions.map(tuple), st.just("") | types)

nearly = st.text(alphabet="repositoy:/*,()pul \t\n\0é٣.-_A1", max_size=60)


def wanted(found: list[Scope]) -> set[tuple[str, str, str, str]]:
    """Every single thing that is asked for."""
    return {(s.type, s.resource_class, s.name, action) for s in found for action in s.actions}


def test_a_scope_is_a_type_a_name_and_actions():
    assert parse("repository:team/app:pull,push") == Scope("repository", "team/app", ("pull", "push"))


def test_the_catalog_is_a_scope():
    assert parse("registry:catalog:*") == Scope("registry", "catalog", ("*",))


def test_the_class_of_a_resource_stands_beside_its_type():
    assert parse("repository(plugin):team/app:pull") == Scope("repository", "team/app", ("pull",), "plugin")


@pytest.mark.parametrize("name", ["host.example:5000/team/app", "localhost:5000/app", "10.0.0.1:80/a/b/c"])
def test_a_name_may_hold_a_host_with_a_port(name):
    assert parse(f"repository:{name}:pull,push") == Scope("repository", name, ("pull", "push"))


def test_an_action_that_is_asked_for_twice_is_asked_for_once():
    assert parse("repository:app:pull,push,pull").actions == ("pull", "push")


@pytest.mark.parametrize("actions", ["", ",", ",,"])
def test_no_actions_are_no_actions(actions):
    assert parse(f"repository:app:{actions}").actions == ()


def test_an_unknown_action_is_read_so_that_it_can_be_left_out_of_the_grant():
    assert parse("repository:app:pull,Fly").actions == ("pull", "Fly")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "::",
        "repository",
        "repository:app",
        "repository::pull",
        ":app:pull",
        "Repository:app:pull",
        "repository():app:pull",
        "repository(plugin:app:pull",
        "repository(a)(b):app:pull",
        "repository:/app:pull",
        "repository:app app:pull",
        "repository:app\n:pull",
        "repository:app:pull\n",
        "repository:-app:pull",
        "repository:app*:pull",
        "repository:äpp:pull",
        "repository:a:b:c:pull",
        "repository:host:port/app:pull",
        "repository:host:٣/app:pull",
        "repository:app:pull push",
        "repository:app:pull;push",
        "repository:app:**",
        "repository:app:pull*",
        "repository:app\0:pull",
        "repository:" + "a" * (MAX_NAME_LENGTH + 1) + ":pull",
    ],
)
def test_what_is_no_scope_is_malformed(text):
    with pytest.raises(Malformed):
        parse(text)


def test_the_message_quotes_a_bounded_part_of_the_scope_in_plain_characters():
    with pytest.raises(Malformed) as caught:
        parse("repository:\n\x1b\u202e" + "x" * 10_000 + ":pull")
    assert len(caught.value.message) < 200
    assert caught.value.message.isascii()
    assert caught.value.message.isprintable()


@given(st.text() | nearly)
def test_any_text_is_a_scope_or_malformed(text):
    try:
        scope = parse(text)
    except Malformed:
        return
    assert parse(str(scope)) == scope


@given(scopes)
def test_what_is_written_is_read_back(scope):
    assert parse(str(scope)) == scope


@given(scopes)
def test_a_claim_holds_type_name_and_actions_and_nothing_else(scope):
    assert scope.claim() == {"type": scope.type, "name": scope.name, "actions": list(scope.actions)}


def test_repeated_parameters_and_spaces_both_separate_scopes():
    assert parse_all(["repository:a:pull repository:b:pull", "repository:c:pull"]) == [
        Scope("repository", "a", ("pull",)),
        Scope("repository", "b", ("pull",)),
        Scope("repository", "c", ("pull",)),
    ]


def test_empty_parameters_and_double_spaces_ask_for_nothing():
    assert parse_all(["", "  ", " repository:a:pull  "]) == [Scope("repository", "a", ("pull",))]
    assert parse_all([]) == []


def test_scopes_for_one_resource_become_one_with_all_their_actions():
    found = parse_all(["repository:b:pull", "repository:a:push,pull", "repository:b:delete,pull"])
    assert found == [Scope("repository", "b", ("pull", "delete")), Scope("repository", "a", ("push", "pull"))]


def test_resources_of_another_type_or_class_stay_apart():
    found = parse_all(["registry:catalog:*", "repository:catalog:pull", "repository(plugin):catalog:pull"])
    assert len(found) == 3


def test_more_scopes_than_anybody_needs_are_malformed():
    many = [f"repository:app{number}:pull" for number in range(MAX_SCOPES + 1)]
    assert len(parse_all(many[:MAX_SCOPES])) == MAX_SCOPES
    for asked in (many, [" ".join(many)]):
        with pytest.raises(Malformed):
            parse_all(asked)


def test_one_malformed_scope_makes_the_request_malformed():
    with pytest.raises(Malformed):
        parse_all(["repository:a:pull", "repository:b"])


@given(st.lists(st.text() | nearly, max_size=5))
def test_any_parameters_are_scopes_or_malformed(parameters):
    try:
        found = parse_all(parameters)
    except Malformed:
        return
    assert all(isinstance(scope, Scope) for scope in found)


@given(st.lists(scopes, max_size=20))
def test_merging_loses_nothing_and_invents_nothing(asked):
    found = parse_all(map(str, asked))
    assert wanted(found) == wanted(asked)
    keys = [(scope.type, scope.resource_class, scope.name) for scope in found]
    assert len(keys) == len(set(keys))
    assert all(len(scope.actions) == len(set(scope.actions)) for scope in found)


@given(st.lists(scopes, max_size=20))
def test_it_does_not_matter_how_scopes_are_spread_over_parameters(asked):
    texts = list(map(str, asked))
    assert parse_all(texts) == parse_all([" ".join(texts)])


@given(st.lists(scopes, max_size=20))
def test_merging_what_is_merged_changes_nothing(asked):
    merged = parse_all(map(str, asked))
    assert parse_all(map(str, merged)) == merged
