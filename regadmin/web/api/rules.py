"""`/api/v1/access`: the access rules"""

from regadmin.entities import Rule
from regadmin.errors import Invalid
from regadmin.services.rules import Rules
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.api.parameters import boolean, fields, integer, list_answer, listing, text
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route

_FIELDS = {
    "owner_id": ("owner_id", integer),
    "is_group": ("is_group", boolean),
    "name": ("name", text),
    "type": ("resource_type", text),
    "resource_name": ("resource_name", text),
    "action": ("action", text),
    "disabled": ("is_disabled", boolean),
}
_SORTS = {name: name for name in ("id", *_FIELDS)}
_FILTERS = _FIELDS


class RulesApi:
    def __init__(self, rules: Rules):
        self._rules = rules

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/access", self.list_rules, Access.MANAGER),
            Route("GET", "/api/v1/access/<rule_id:int>", self.show_rule, Access.MANAGER),
            Route("POST", "/api/v1/access", self.create_rule, Access.ADMIN),
            Route("PUT", "/api/v1/access/<rule_id:int>", self.update_rule, Access.ADMIN),
            Route("DELETE", "/api/v1/access/<rule_id:int>", self.delete_rule, Access.ADMIN),
        ]

    def list_rules(self) -> str:
        return list_answer(self._rules.list(listing(_SORTS, _FILTERS)), "access", _row)

    def show_rule(self, rule_id: int) -> str:
        return done("ok", rule_id, _row(self._rules.find(rule_id)))

    def create_rule(self) -> str:
        changes = _changes()
        if "owner_id" not in changes:
            raise Invalid({"owner_id": "is missing"})
        rule = self._rules.create(identity().actor, **changes)
        return done("access created", rule.id, _row(rule))

    def update_rule(self, rule_id: int) -> str:
        rule = self._rules.update(rule_id, identity().actor, **_changes())
        return done("access updated", rule.id, _row(rule))

    def delete_rule(self, rule_id: int) -> str:
        rule = self._rules.delete(rule_id, identity().actor)
        return done("access deleted", rule.id)


def _changes() -> dict:
    return fields(inputs.json_body(), _FIELDS, ignored=("id", "source"))


def _row(rule: Rule) -> dict:
    return {
        "id": rule.id,
        "owner_id": rule.owner_id,
        "is_group": rule.is_group,
        "name": rule.name,
        "type": rule.resource_type,
        "resource_name": rule.resource_name,
        "action": rule.action,
        "disabled": rule.is_disabled,
        "source": rule.source,
    }
