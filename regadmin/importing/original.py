"""The store of zebox/registry-admin: its rows as a plan. Places are the ids of rows."""

from dataclasses import replace

from regadmin import patterns
from regadmin.decisions import INCLUDES, RESOURCE_TYPES
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Audience, Group, Role, Rule
from regadmin.errors import Malformed
from regadmin.importing.plan import Place, Plan, PlannedGroup, PlannedRule, Weight

_AUDIENCES = {REGISTERED_ID: Audience.REGISTERED, EVERYONE_ID: Audience.EVERYONE}


def read(tables: dict[str, list[dict]], file: str) -> Plan:
    """`tables` maps users, groups and access to their rows."""
    plan = Plan()
    groups = {row["id"]: row["name"] for row in tables["groups"]}
    logins = {row["id"]: row["login"] for row in tables["users"]}
    for row in tables["groups"]:
        group = Group(0, row["name"], row["description"])
        plan.groups.append(PlannedGroup(Place(f"{file} groups", row["id"]), group))
    for row in tables["users"]:
        _add_user(plan, Place(f"{file} users", row["id"]), row, groups)
    for row in tables["access"]:
        _add_rule(plan, Place(f"{file} access", row["id"]), row, logins, groups)
    return plan


def _add_user(plan: Plan, place: Place, row: dict, groups: dict[int, str]) -> None:
    if row["role"] not in list(Role):
        plan.remark(place, Weight.ERROR, f"user {row['login']}: there is no role {row['role']}")
        return
    group = groups.get(row["user_group"])
    plan.add_user(
        place,
        row["login"],
        row["password"],
        (group,) if group else (),
        name=row["name"] or row["login"],
        role=Role(row["role"]),
        is_blocked=bool(row["disabled"]),
        description=row["description"],
    )


def _add_rule(plan: Plan, place: Place, row: dict, logins: dict[int, str], groups: dict[int, str]) -> None:
    audience = _AUDIENCES.get(row["owner_id"])
    is_group = bool(row["is_group"]) and not audience
    owner = "" if audience else (groups if is_group else logins).get(row["owner_id"], "")
    reason = _why_not(row, bool(audience or owner))
    if reason:
        plan.remark(place, Weight.LESS, f"rule {row['name']}: {reason}")
        return
    if is_group and not row["disabled"]:
        text = f"rule {row['name']} is the group's, whose members it allowed nothing: here it holds for all of {owner}"
        plan.remark(place, Weight.MORE, text)
    rule = Rule(0, row["name"], row["resource_type"], row["resource_name"], row["action"], audience=audience)
    rule = replace(rule, is_disabled=bool(row["disabled"]))
    plan.rules.append(PlannedRule(place, rule, "" if is_group else owner, owner if is_group else ""))


def _why_not(row: dict, has_owner: bool) -> str:
    """Why the row has no equal here, or ''."""
    if not has_owner:
        return f"its owner {row['owner_id']} is gone"
    if row["resource_type"] not in RESOURCE_TYPES or row["action"] not in INCLUDES:
        return f"{row['action']} of {row['resource_type']} is nothing that a registry asks for"
    if not patterns.is_exact(row["resource_name"]):
        return f"{row['resource_name']} would be a pattern here, there it was a name that no repository can have"
    try:
        patterns.check(row["resource_name"])
    except Malformed as error:
        return f"{row['resource_name']} {error.message}"
    return ""
