"""What a person may see, told for many repositories: the answers are those of single decisions."""

from dataclasses import replace

import pytest
from hypothesis import given

from regadmin.decisions import decide
from regadmin.entities import AccessToken, Audience, Rule
from regadmin.scopes import ACTIONS
from regadmin.services.sight import Openness, Sight
from tests.test_decisions import BOSS, NAMES, ROOT, rule, rules, scopes, users


def owned(user, rules: list[Rule]) -> list[Rule]:
    """As the store gives them: those that are enabled and belong to the user."""
    groups = [group.id for group in user.groups] if user else []
    return [
        one
        for one in rules
        if not one.is_disabled
        and (
            one.audience is Audience.EVERYONE
            or (user and (one.audience or one.user_id == user.id or one.group_id in groups))
        )
    ]


@given(users, rules)
def test_everything_is_as_decisions_say(user, rules):
    sight = Sight(user, owned(user, rules))
    for name in NAMES:
        allowed = tuple(a for a in ACTIONS if decide(user, "repository", name, a, rules).is_allowed)
        assert sight.rights(name) == allowed
        if sight.visible:
            assert sight.visible(name) is ("pull" in allowed)


@given(users.filter(bool), rules, scopes)
def test_with_an_access_token_too(user, rules, scope):
    holder = replace(user, access_token=AccessToken(1, user.id, "ci", scope))
    sight = Sight(holder, owned(user, rules))
    for name in NAMES:
        allowed = tuple(a for a in ACTIONS if decide(holder, "repository", name, a, rules).is_allowed)
        assert sight.rights(name) == allowed
        assert sight.visible(name) is ("pull" in allowed)


def test_admins_and_managers_see_all_and_have_what_they_have():
    assert Sight(ROOT, []).visible is None
    assert Sight(BOSS, []).visible is None
    assert Sight(ROOT, []).rights("team/app") == ACTIONS
    assert Sight(BOSS, []).rights("team/app") == ()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        ([rule("**")], None),
        ([rule("team/*", audience=Audience.REGISTERED)], Audience.REGISTERED),
        ([rule("team/*", audience=Audience.EVERYONE)], Audience.EVERYONE),
        ([rule("/team.*/", audience=Audience.EVERYONE), rule("**", audience=Audience.REGISTERED)], Audience.EVERYONE),
        ([rule("team/app", "push", audience=Audience.REGISTERED)], Audience.REGISTERED),
        ([rule("team/app", "delete", audience=Audience.EVERYONE)], None),
        ([rule("team/app", audience=Audience.EVERYONE, is_disabled=True)], None),
        ([rule("team/app", resource_type="registry", audience=Audience.EVERYONE)], None),
        ([rule("${login}/app", audience=Audience.REGISTERED)], None),
        ([rule("other/*", audience=Audience.EVERYONE)], None),
    ],
)
def test_a_repository_is_as_open_as_the_widest_rule_for_pulling_makes_it(given, expected):
    assert Openness(given).of("team/app") is expected
