"""Users, groups and rules as YAML of our own: docs/moving.md describes it. `read` takes what `write` gives."""

from dataclasses import replace

import yaml

from regadmin import passwords, patterns
from regadmin.decisions import INCLUDES, RESOURCE_TYPES
from regadmin.entities import Audience, Group, Role, Rule, User
from regadmin.errors import Malformed
from regadmin.importing.located_yaml import Value, sole_document
from regadmin.importing.plan import Place, Plan, PlannedGroup, PlannedRule, PlannedUser, Weight

VERSION = "1"
_TOP = ("regadmin", "groups", "users", "rules")
_TEXTS = ("name", "description", "language", "time_zone")
_FLAGS = {"blocked": "is_blocked", "must_change_password": "must_change_password", "robot": "is_robot"}
_USER = ("name", "password", "role", "groups", *_FLAGS, "description", "language", "time_zone")
_OWNERS = ("user", "group", "audience")
_RULE = (*_OWNERS, "name", "type", "resource_name", "action", "disabled")


def read(text: str, file: str) -> Plan:
    plan = Plan()
    found = sole_document(text, plan, file)
    if not found and not plan.remarks:
        # Perhaps it is being written: that must not be read as if it asked for nothing.
        plan.remark(Place(file), Weight.ERROR, f"is empty; must say `regadmin: {VERSION}`")
    for document in found:
        fields = document.fields(_TOP)
        if fields["regadmin"].is_null:
            document.error(f"must say `regadmin: {VERSION}`")
        elif fields["regadmin"].text() != VERSION:
            fields["regadmin"].error(f"is of another version; this one reads {VERSION}")
        for key, value in fields["groups"].entries():
            group = Group(0, key.text(), value.fields(("description",))["description"].text())
            plan.groups.append(PlannedGroup(key.place, group))
        for key, value in fields["users"].entries():
            _add_user(plan, key, value)
        for value in fields["rules"].elements():
            _add_rule(plan, value)
    return plan


def _add_user(plan: Plan, key: Value, value: Value) -> None:
    fields = value.fields(_USER)
    role = Role(fields["role"].one_of(Role, Role.USER))
    user = User(0, key.text(), key.text(), role)
    user = replace(user, **{name: fields[name].text() for name in _TEXTS if not fields[name].is_null})
    user = replace(user, **{_FLAGS[name]: fields[name].boolean() for name in _FLAGS})
    secret = fields["password"].text()
    is_hash = secret.startswith("$")
    if user.is_robot:
        reason = "must be empty: it is a robot" if secret else ""
    else:
        reason = passwords.why_no_hash(secret) if is_hash else passwords.why_no_password(secret)
    if reason:
        fields.get("password", key).error(f"the password of {user.login} {reason}")
    groups = tuple(fields["groups"].texts())
    plan.users.append(PlannedUser(key.place, user, secret * is_hash, secret * (not is_hash), groups))


def _add_rule(plan: Plan, value: Value) -> None:
    fields = value.fields(_RULE)
    owners = [name for name in _OWNERS if not fields[name].is_null]
    if len(owners) != 1:
        value.error(f"must have one of {', '.join(_OWNERS)}")
    missing = [name for name in ("resource_name", "action") if fields[name].is_null]
    if missing:
        value.error(f"has no {' and no '.join(missing)}")
    if len(owners) != 1 or missing:
        return
    rule = Rule(
        0,
        fields["name"].text(),
        fields["type"].one_of(RESOURCE_TYPES, "repository"),
        fields["resource_name"].text(),
        fields["action"].one_of(INCLUDES, "pull"),
        audience=Audience(fields["audience"].one_of(Audience, Audience.REGISTERED)) if "audience" in owners else None,
        is_disabled=fields["disabled"].boolean(),
    )
    try:
        patterns.check(rule.resource_name)
    except Malformed as error:
        fields["resource_name"].error(f"{rule.resource_name} {error.message}")
    owner = fields["user"].text(), fields["group"].text()
    plan.rules.append(PlannedRule(value.place, rule, *owner, must_have_owner=True))


def write(plan: Plan) -> str:
    """The plan as text; what has its default value is not written."""
    tree = {
        "regadmin": int(VERSION),
        "groups": {planned.group.name: _given(description=planned.group.description) for planned in plan.groups},
        "users": {planned.user.login: _user(planned) for planned in plan.users},
        "rules": [_rule(planned) for planned in plan.rules],
    }
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000)


def _user(planned: PlannedUser) -> dict:
    user = planned.user
    return _given(
        name=user.name,
        password=planned.password_hash,
        role=str(user.role),
        groups=list(planned.groups),
        description=user.description,
        language=user.language,
        time_zone=user.time_zone,
        **{name: getattr(user, attribute) for name, attribute in _FLAGS.items()},
    )


def _rule(planned: PlannedRule) -> dict:
    rule = planned.rule
    return _given(
        user=planned.user,
        group=planned.group,
        audience=str(rule.audience or ""),
        name=rule.name,
        type=rule.resource_type,
        resource_name=rule.resource_name,
        action=rule.action,
        disabled=rule.is_disabled,
    )


def _given(**fields) -> dict:
    return {name: value for name, value in fields.items() if value}
