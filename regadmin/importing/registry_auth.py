"""The configuration of alauda/registry-auth: a file, or Kubernetes Secrets that hold the same.

Secrets count before the file: what they say of a user takes the place of what the file says.
"""

import base64
import re

from regadmin import go_patterns, patterns
from regadmin.decisions import RESOURCE_TYPES
from regadmin.entities import Audience
from regadmin.errors import Malformed
from regadmin.importing import actions
from regadmin.importing.located_yaml import Fields, Value, documents
from regadmin.importing.plan import Plan, Weight

ANONYMOUS = "_anonymous"
_LABEL = "registry-auth-config"
_CONFIGURATION = ("users", "auths")
_SECRET = ("apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable")
_SECRETS = ("apiVersion", "kind", "metadata", "items")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def read(text: str, file: str) -> Plan:
    plan = Plan()
    manifests = [each for document in documents(text, plan, file) for each in _manifests(document)]
    secrets = [content for each in manifests if _is_manifest(each) for content in _contents(each, plan, file)]
    plain = [each for each in manifests if not _is_manifest(each)]
    parts = [(each.fields(_CONFIGURATION), True) for each in secrets]
    parts += [(each.fields(_CONFIGURATION), False) for each in plain]
    for login, (key, secret) in _merged("users", parts, plan).items():
        plan.add_user(key.place, login, secret.text())
    for login, (_, rules) in _merged("auths", parts, plan).items():
        owner = {"audience": Audience.EVERYONE} if login == ANONYMOUS else {"user": login}
        for rule in rules.elements():
            _add_rules(plan, rule, owner)
    return plan


def _manifests(document: Value) -> list[Value]:
    """The document, or the Secrets in it if it is a list as kubectl prints it."""
    if not _is_manifest(document) or "items" not in _keys(document):
        return [document]
    return document.fields(_SECRETS)["items"].elements()


def _is_manifest(value: Value) -> bool:
    return value.is_mapping and "kind" in _keys(value)


def _keys(value: Value) -> list[str]:
    return [key.text() for key, _ in value.entries()]


def _contents(secret: Value, plan: Plan, file: str) -> list[Value]:
    """The configuration in a Secret; nothing if registry-auth would not read it."""
    fields = secret.fields(_SECRET)
    fields["kind"].one_of(["Secret"], "Secret")
    labels = [each for key, each in fields["metadata"].entries() if key.text() == "labels"]
    if not any(key.text() == _LABEL and each.text() == "true" for label in labels for key, each in label.entries()):
        text = f'this Secret has no label {_LABEL}: "true", by which registry-auth finds what it reads'
        plan.remark(secret.place, Weight.LESS, text)
        return []
    given = fields["data"].entries() + fields["stringData"].entries()
    return [content for key, each in given if key.text() == "config" for content in _decoded(each, plan, file)]


def _decoded(value: Value, plan: Plan, file: str) -> list[Value]:
    compact = "".join(value.text().split())
    if not _BASE64.fullmatch(compact):
        return documents(value.text(), plan, file, value.line + value.is_block)
    text = base64.b64decode(compact).decode("utf-8", "replace")
    return documents(text, plan, f"{file}:{value.line} decoded")


def _merged(part: str, parts: list[tuple[Fields, bool]], plan: Plan) -> dict[str, tuple[Value, Value]]:
    """What stands first counts. That a Secret counts before the file is its meaning; else nobody stands twice."""
    found: dict[str, tuple[Value, Value]] = {}
    in_secrets = set()
    for fields, is_secret in parts:
        for key, value in fields[part].entries():
            login = key.text()
            if login not in found:
                found[login] = key, value
                in_secrets |= {login} if is_secret else set()
            elif login in in_secrets and not is_secret:
                text = f"{part}: {login} is as the Secret at {found[login][0].place} says, not as here"
                plan.remark(key.place, Weight.NOTE, text)
            else:
                key.error(f"{part}: {login} stands twice, first at {found[login][0].place}")
    return found


def _add_rules(plan: Plan, rule: Value, owner: dict) -> None:
    fields = rule.fields(("type", "target", "useRegexp", "actions"))
    kind = fields["type"].one_of(RESOURCE_TYPES, "repository")
    given = actions.read(fields["actions"], plan)
    if fields["target"].is_null:
        rule.error("has no target")
        return
    resource_name = _resource_name(plan, fields["target"], fields["useRegexp"].boolean())
    if not resource_name:
        return
    if not given:
        plan.remark(rule.place, Weight.LESS, "this rule allows nothing")
    if "push" in given and "pull" not in given:
        plan.remark(rule.place, Weight.MORE, f"push without pull of {resource_name}: push includes pull here")
    for action in actions.needed(given):
        plan.add_rule(rule.place, resource_name, action, kind, **owner)


def _resource_name(plan: Plan, target: Value, is_regex: bool) -> str:
    """'' if there is no equal, which the plan says."""
    text = target.text()
    try:
        if not is_regex:
            return _exact(text)
        found = go_patterns.from_regex(text)
    except Malformed as error:
        plan.remark(target.place, Weight.ERROR if is_regex else Weight.LESS, f"{text} {error.message}")
        return ""
    if found != f"/{text}/":
        text = f"{text} is looked for anywhere in a name, as registry-auth does: here it is {found}"
        plan.remark(target.place, Weight.NOTE, text)
    return found


def _exact(text: str) -> str:
    if not patterns.is_exact(text) or patterns.is_regex(text):
        raise Malformed("is no name that a repository can have, and useRegexp is not set")
    patterns.check(text)
    return text
