"""The access rules, and the question who may do what"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from urllib.parse import urlencode

from regadmin.entities import Rule
from regadmin.errors import Error, Forbidden, Invalid, Malformed
from regadmin.messages import Message
from regadmin.services.rules import AlreadySaid, Rules
from regadmin.services.sources import refuse_change, why_not_change
from regadmin.store.rules import OwnedRule
from regadmin.web import inputs
from regadmin.web.answers import status_of
from regadmin.web.guards import identity
from regadmin.web.pages.queries import Query, address_of, read_query
from regadmin.web.pages.rendering import flash
from regadmin.web.pages.surface import PageSurface, gone, local_address, redirect
from regadmin.web.routes import Access, Route

FILTERS = {
    "kind": ("user", "group", "registered", "everyone"),
    "action": ("pull", "push", "delete", "*"),
    "status": ("enabled", "disabled"),
}
"""What the list can be narrowed by, as it is in the address."""

_SORT = "resource_name"
_CATALOG = {"resource_type": "registry", "resource_name": "catalog", "action": "*"}
"""What the registry asks for when somebody lists its repositories."""


@dataclass(frozen=True, slots=True)
class RuleForm:
    """A rule as it is typed. What is left open has the value that is most often wanted."""

    kind: str = "user"
    user: str = ""
    group: str = ""
    type: str = "repository"
    resource_name: str = ""
    action: str = "pull"
    name: str = ""
    enabled: str = "1"
    confirmed: str = ""

    @property
    def owner(self) -> str:
        return {"user": self.user, "group": self.group}.get(self.kind, "")

    @property
    def rule(self) -> dict:
        """The fields of the entity Rule."""
        chosen = {"resource_type": self.type, "resource_name": self.resource_name, "action": self.action}
        return {"name": self.name, "is_disabled": not self.enabled} | (_CATALOG if self.is_catalog else chosen)

    @property
    def is_catalog(self) -> bool:
        return self.type == "registry"


class RulePages:
    """`rules_hold` is false where the registry asks nobody what somebody may do."""

    def __init__(self, surface: PageSurface, rules: Rules, rules_hold: bool):
        self._surface = surface
        self._rules = rules
        self._rules_hold = rules_hold

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/access", self.list_rules, Access.MANAGER),
            Route("GET", "/access/check", self.check_access, Access.MANAGER),
            Route("GET", "/access/matches", self.show_matches, Access.ADMIN),
            Route("GET", "/access/suggestions/<kind:re:user|group|repository>", self.suggest, Access.MANAGER),
            Route("GET", "/access/new", self.show_new, Access.ADMIN),
            Route("POST", "/access/new", self.save_rule, Access.ADMIN),
            Route("GET", "/access/<rule_id:int>", self.show_rule, Access.ADMIN),
            Route("POST", "/access/<rule_id:int>", self.save_rule, Access.ADMIN),
            Route("POST", "/access/<rule_id:int>/status", self.switch_rule, Access.ADMIN),
            Route("GET", "/access/<rule_id:int>/delete", self.confirm_deletion, Access.ADMIN),
            Route("POST", "/access/<rule_id:int>/delete", self.delete_rule, Access.ADMIN),
        ]

    def list_rules(self) -> str:
        query, chosen = read_query(_SORT), _filters()
        url = _address_of(query, chosen)
        page = self._rules.list_owned(query.listing(**_conditions(chosen)))
        return self._surface.list_page(
            "access/list.html",
            "access/_list.html",
            url(),
            page=page,
            counts=self._counts(page.rows),
            query=query,
            filters=chosen,
            url=url,
            rules_hold=self._rules_hold,
        )

    def check_access(self) -> str:
        asked = _texts(inputs.query())
        user, repo, action = (asked.get(name, "") for name in ("user", "repo", "action"))
        check, errors = None, {}
        try:
            check = self._rules.check(user, repo, action) if "repo" in asked else None
        except Invalid as error:
            errors = error.fields
        return self._surface.render(
            "access/check.html",
            422 if errors else 200,
            asked={"user": user, "repo": repo, "action": action or "pull"},
            check=check,
            errors=errors,
            choices=self._rules.choices(),
            rules_hold=self._rules_hold,
        )

    def show_matches(self) -> str:
        resource_name = _texts(inputs.query()).get("resource_name", "")
        suggestions = self._rules.suggest("repository", resource_name)
        return self._surface.render("access/_live.html", suggestions=suggestions, **self._matches(resource_name))

    def suggest(self, kind: str) -> str:
        """What a field of this kind offers; htmx sends what is typed there under the field's own name."""
        typed = next(iter(_texts(inputs.query()).values()), "")[:255]
        return self._surface.render("access/_suggestions.html", suggestions=self._rules.suggest(kind, typed))

    def show_new(self) -> str:
        asked = _texts(inputs.query())
        given = {field.name: asked[field.name] for field in fields(RuleForm) if field.name in asked}
        return self._show_form(replace(RuleForm(**given), confirmed=""))

    def show_rule(self, rule_id: int) -> str:
        owned = self._rules.find_owned(rule_id)
        if owned.rule.source:
            return self._surface.render("access/show.html", row=owned)
        return self._show_form(_form_of(owned), owned.rule)

    def save_rule(self, rule_id: int | None = None) -> str:
        """Create or change a rule, or only show what it would match."""
        posted = inputs.form()
        texts = _texts(posted)
        form = RuleForm(**{field.name: texts.get(field.name, "") for field in fields(RuleForm)})
        rule = self._rules.find(rule_id) if rule_id is not None else None
        try:
            self._surface.check_csrf(posted)
            if rule:
                refuse_change(rule, identity().actor)
            if "preview" in posted:
                return self._show_form(form, rule)
            prepared = self._rules.prepare(form.kind, form.owner, bool(form.confirmed), **form.rule)
            self._save(rule, prepared)
        except Invalid as error:
            return self._show_form(form, rule, 422, errors=error.fields)
        except AlreadySaid as error:
            return self._show_form(form, rule, 422, duplicate=error.rule)
        except Forbidden as error:
            return self._show_form(form, rule, 403, refusal=error.message)
        flash("rule-changed" if rule else "rule-created")
        return redirect("/access")

    def switch_rule(self, rule_id: int) -> str:
        posted = inputs.form()
        self._surface.check_csrf(posted)
        texts = _texts(posted)
        self._rules.update(rule_id, identity().actor, is_disabled=not texts.get("enabled"))
        back = local_address(texts.get("back", ""))
        if not inputs.is_fragment():
            flash("rule-enabled" if texts.get("enabled") else "rule-disabled")
            return redirect(back if back != "/" else "/access")
        row = self._rules.find_owned(rule_id)
        return self._surface.render("access/_row.html", row=row, counts=self._counts([row]), back=back)

    def confirm_deletion(self, rule_id: int) -> str:
        return self._ask(rule_id)

    def delete_rule(self, rule_id: int) -> str:
        try:
            self._surface.check_csrf(inputs.form())
            self._rules.delete(rule_id, identity().actor)
        except Forbidden as error:
            return self._ask(rule_id, error)
        flash("rule-deleted")
        return gone("/access")

    def _ask(self, rule_id: int, error: Error | None = None) -> str:
        row = self._rules.find_owned(rule_id)
        return self._surface.question(
            "access/delete.html",
            status_of(error) if error else 200,
            row=row,
            problem=error.message if error else "",
            refusal=why_not_change(row.rule),
        )

    def _save(self, rule: Rule | None, prepared: dict) -> None:
        by = identity().actor
        if rule:
            self._rules.update(rule.id, by, **prepared)
        else:
            self._rules.create(by, **prepared)

    def _counts(self, rows: list[OwnedRule]) -> dict[int, int]:
        return self._rules.count_matches(row.rule for row in rows)

    def _matches(self, resource_name: str) -> dict:
        """What is said below the field: the names that match, or why there cannot be any."""
        found = {"resource_name": resource_name, "names": None, "error": ""}
        try:
            return found | {"names": self._rules.matching(resource_name) if resource_name else None}
        except Malformed as error:
            return found | {"error": error.message}

    def _show_form(self, form: RuleForm, rule: Rule | None = None, status: int = 200, **trouble) -> str:
        return self._surface.render(
            "access/form.html",
            status,
            form=form,
            rule=rule,
            choices=self._rules.choices(),
            rules_hold=self._rules_hold,
            **self._matches(form.resource_name),
            **{"errors": {}, "duplicate": None, "refusal": ""} | trouble,
        )


def _form_of(owned: OwnedRule) -> RuleForm:
    rule = asdict(owned.rule)
    kind = owned.rule.audience or ("group" if owned.rule.is_group else "user")
    taken = {name: rule[name] for name in ("resource_name", "action", "name")}
    # A name that was made from the rest is made anew, so that it stays true.
    if taken["name"] == f"{taken['action']} {taken['resource_name']}":
        taken["name"] = ""
    owner = {kind: owned.owner} if kind in ("user", "group") else {}
    enabled = "" if owned.rule.is_disabled else "1"
    return RuleForm(kind=str(kind), type=rule["resource_type"], enabled=enabled, **owner, **taken)


def _texts(values: dict[str, list[str]]) -> dict[str, str]:
    return {name: texts[0].strip() for name, texts in values.items()}


def _filters() -> dict[str, str]:
    """Raises Malformed for a choice that is not offered."""
    asked = _texts(inputs.query())
    chosen = {name: asked.get(name, "") for name in FILTERS}
    for name, value in chosen.items():
        if value and value not in FILTERS[name]:
            raise Malformed(Message("%(name)s is none of those that are offered", name=name))
    return chosen


def _conditions(chosen: dict[str, str]) -> dict:
    is_disabled = {"enabled": False, "disabled": True}.get(chosen["status"])
    return {"kind": chosen["kind"] or None, "action": chosen["action"] or None, "is_disabled": is_disabled}


def _address_of(query: Query, chosen: dict[str, str]) -> Callable[..., str]:
    """Like `address_of`, with the filters."""
    url, narrowed = address_of(query, _SORT), urlencode({name: value for name, value in chosen.items() if value})

    def narrowed_url(**changes) -> str:
        address = url(**changes)
        return address + ("&" if "?" in address else "?") + narrowed if narrowed else address

    return narrowed_url
