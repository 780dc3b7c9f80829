"""Actions of other programs, and what rules with them allow here."""

from collections.abc import Iterable

from regadmin.decisions import INCLUDES
from regadmin.importing.located_yaml import Value
from regadmin.importing.plan import Plan, Weight
from regadmin.scopes import ACTIONS


def read(value: Value, plan: Plan) -> frozenset[str]:
    """The actions of a list, `*` standing for all of them, as the registry takes it. Without a list there are none."""
    given = value.elements()
    for action in given:
        if action.text() not in ACTIONS:
            plan.remark(action.place, Weight.LESS, f"action {action.text()}: no registry asks for it")
    known = frozenset(action.text() for action in given) & frozenset(ACTIONS)
    return frozenset(ACTIONS) if "*" in known else known


def allowed(actions: Iterable[str]) -> frozenset[str]:
    """What rules with these actions allow."""
    return frozenset().union(*(INCLUDES[action] for action in actions))


def needed(actions: frozenset[str]) -> list[str]:
    """The fewest actions that allow all of these."""
    wanted = [action for action in ACTIONS if action in actions]
    return [a for a in wanted if not any(a in INCLUDES[other] for other in wanted if other != a)]
