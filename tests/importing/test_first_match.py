"""An ACL of which the first match decides never allows less, and more only when the plan says so."""

import re

from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from regadmin.decisions import decide
from regadmin.entities import Role, Rule, User
from regadmin.importing import docker_auth
from regadmin.importing.plan import Plan, Weight
from regadmin.scopes import ACTIONS

LOGINS = ("ann", "ben", "bea")
NEW = "new"
"""Somebody who is created after the import."""

NAMES = ("app", "lib", "ann/app", "ben/lib", "ann/app/x", "new/app")
HASH = "$2y$04$/S37LqYxuA5o3TAisnssmuSLIUIbvu3oWU7qhoE.6OeqjEmwd6VV6"

accounts = st.sampled_from([None, "", "ann", "ben", "b*", "*", "/.+/", "/.*/", "/^b/", "/n/", "gone"])
globs = [None, "app", "a*", "*", "*/app", "ann/*", "${account}/*"]
names = st.sampled_from([*globs, "/.*/", "/ap+/", "/^ann/", "/lib$|x/"])
types = st.sampled_from([None, None, "repository", "registry"])
granted = st.sampled_from([[], ["pull"], ["push"], ["pull", "push"], ["delete"], ["*"], ["pull", "*"]])
entries = st.tuples(accounts, names, granted, st.sampled_from([False, False, False, True]), types)


def document(acl, has_anonymous: bool) -> str:
    users = "".join(f"  {login}: {{password: '{HASH}'}}\n" for login in LOGINS)
    users += '  "": {}\n' if has_anonymous else ""
    lines = []
    for account, name, actions, is_local, kind in acl:
        match = {"account": account, "name": name, "ip": "127.0.0.1" if is_local else None, "type": kind}
        given = ", ".join(f"{key}: '{value}'" for key, value in match.items() if value is not None)
        quoted = ", ".join(f"'{action}'" for action in actions)
        lines.append(f"  - match: {{{given}}}\n    actions: [{quoted}]\n")
    return f"users:\n{users}acl:{'' if lines else ' []'}\n{''.join(lines)}"


def fits(pattern: str | None, text: str, login: str) -> bool:
    """As docker_auth matches it."""
    if pattern is None:
        return True
    pattern = pattern.replace("${account}", login)
    if len(pattern) > 2 and pattern.startswith("/") and pattern.endswith("/"):
        return re.search(pattern[1:-1], text) is not None
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), text) is not None


def source(acl, login: str, kind: str, name: str, is_local: bool) -> set[str]:
    for account, wanted, actions, needs_local, wanted_kind in acl:
        is_meant = fits(account, login, login) and fits(wanted, name, login) and wanted_kind in (None, kind)
        if is_meant and (is_local or not needs_local):
            found = set(ACTIONS) if "*" in actions else set(actions)
            return found if kind == "repository" else found & {"*"}
    return set()


def ours(plan: Plan, login: str, kind: str, name: str) -> set[str]:
    user = User(1 + [*LOGINS, NEW].index(login), login, login, Role.USER) if login else None
    rules = [owned(rule, planned.user) for planned in plan.rules if (rule := planned.rule)]
    asked = ACTIONS if kind == "repository" else ("*",)
    return {action for action in asked if decide(user, kind, name, action, rules).is_allowed}


def owned(rule: Rule, login: str) -> Rule:
    if rule.audience:
        return rule
    number = 1 + LOGINS.index(login) if login in LOGINS else 99
    return Rule(0, "", rule.resource_type, rule.resource_name, rule.action, user_id=number)


@hypothesis_settings(max_examples=150)
@given(st.lists(entries, max_size=5), st.booleans())
@example([("", "${account}/*", ["pull"], False, None)], True)
@example([("b*", "app", [], False, None), ("/.+/", None, ["pull"], False, None)], False)
def test_nobody_is_allowed_more_unless_the_plan_says_so(acl, has_anonymous):
    plan = docker_auth.read(document(acl, has_anonymous), "acl.yml")
    assert not plan.has(Weight.ERROR), plan.remarks
    subjects = [*LOGINS, NEW, *([""] if has_anonymous else [])]
    for kind, name in [*(("repository", name) for name in NAMES), ("registry", "catalog")]:
        signed_out = source(acl, "", kind, name, False) & source(acl, "", kind, name, True) if has_anonymous else set()
        for login in subjects:
            here, elsewhere = (source(acl, login, kind, name, is_local) for is_local in (True, False))
            allowed = ours(plan, login, kind, name)
            if not plan.has(Weight.MORE):
                assert allowed <= (here & elsewhere) | signed_out, (login, kind, name)
            if not plan.has(Weight.LESS) and login != NEW:
                assert allowed >= elsewhere, (login, kind, name)


def test_a_deny_for_one_user_is_kept_by_leaving_him_out():
    acl = [("ann", None, [], False, None), ("/.+/", None, ["pull"], False, None)]
    plan = docker_auth.read(document(acl, False), "acl.yml")
    assert [planned.owner for planned in plan.rules] == ["user ben", "user bea"]
    assert not plan.has(Weight.MORE)


def test_a_deny_for_some_names_grants_more_and_says_for_whom_and_where():
    acl = [("ben", "ann/*", [], False, None), ("/.+/", None, ["pull"], False, None)]
    plan = docker_auth.read(document(acl, False), "acl.yml")
    (more,) = [remark for remark in plan.remarks if remark.weight is Weight.MORE]
    assert str(more.place) == "acl.yml:6"
    assert "line 8" in more.text
    assert "ben could also pull" in more.text


def test_all_registered_and_everybody_stay_what_they_are():
    acl = [("/.+/", "app", ["pull"], False, None), (None, "lib", ["pull"], False, None)]
    assert [p.owner for p in docker_auth.read(document(acl, True), "f").rules] == ["all registered", "everybody"]
    assert [p.owner for p in docker_auth.read(document(acl, False), "f").rules] == ["all registered"] * 2


def test_an_entry_that_holds_at_some_addresses_only_is_left_out_and_hides_nothing():
    acl = [("ann", None, ["pull", "push"], True, None), ("ann", None, ["pull"], False, None)]
    plan = docker_auth.read(document(acl, False), "acl.yml")
    assert [(planned.owner, planned.rule.action) for planned in plan.rules] == [("user ann", "pull")]
    assert [str(remark) for remark in plan.remarks if remark.weight is Weight.MORE] == []
    assert "ip" in next(remark.text for remark in plan.remarks if remark.weight is Weight.LESS)
