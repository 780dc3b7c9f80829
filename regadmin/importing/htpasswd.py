"""An htpasswd file, as a registry in basic mode or nginx reads it.

It knows no rules: who is in it may do everything. So they become a group that may do everything, too.
"""

from regadmin.entities import Group
from regadmin.importing.plan import Place, Plan, PlannedGroup, Weight

GROUP = "htpasswd"
_CLEAR = "{PLAIN}"


def read(text: str, file: str) -> Plan:
    plan = Plan()
    first: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            _read_line(plan, Place(file, number), line, first)
    if plan.users:
        _allow_everything(plan, Place(file))
    return plan


def _read_line(plan: Plan, place: Place, line: str, first: dict[str, int]) -> None:
    login, *found = line.strip().split(":")
    secret = found[0] if found else ""
    if not login or not secret:
        plan.remark(place, Weight.ERROR, "must be login:hash")
    elif first.setdefault(login, place.line) != place.line:
        plan.remark(place, Weight.ERROR, f"{login} stands twice, first in line {first[login]}")
    elif secret.startswith(("$", _CLEAR)):
        plan.add_user(place, login, secret.removeprefix(_CLEAR), (GROUP,))
    else:
        # What has no prefix is a hash of crypt(3), not a password.
        plan.add_user(place, login, f"$crypt${secret}", (GROUP,))


def _allow_everything(plan: Plan, place: Place) -> None:
    plan.groups.append(PlannedGroup(place, Group(0, GROUP, "Who was in the htpasswd file, and may do everything")))
    plan.add_rule(place, "**", "*", group=GROUP)
    plan.add_rule(place, "catalog", "*", "registry", group=GROUP)
    text = f"with an htpasswd file everybody in it may do everything: group {GROUP} may, until you change its rules"
    plan.remark(place, Weight.NOTE, text)
