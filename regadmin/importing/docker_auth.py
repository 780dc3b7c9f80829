"""The configuration of cesanta/docker_auth: its static users, and its ACL, where the first match decides."""

import re
from collections.abc import Iterator

from regadmin import go_patterns, patterns
from regadmin.decisions import RESOURCE_TYPES
from regadmin.errors import Malformed
from regadmin.importing import actions
from regadmin.importing.first_match import Entry, FirstMatch
from regadmin.importing.located_yaml import Value, sole_document
from regadmin.importing.plan import Plan, Weight

_SETTINGS = ("server", "token")
_ELSEWHERE = ("google_auth", "github_auth", "gitlab_auth", "oidc_auth", "ldap_auth", "mongo_auth", "xorm_auth")
_ELSEWHERE += ("ext_auth", "plugin_authn", "acl_mongo", "acl_xorm", "ext_authz", "plugin_authz", "casbin_authz")
_TOP = (*_SETTINGS, "users", "acl", *_ELSEWHERE)
_USER = ("password", "labels")
_UNKNOWN_HERE = ("ip", "service", "labels", "email", "team")
_MATCH = ("account", "type", "name", *_UNKNOWN_HERE)
_NOBODY_YET = re.compile("(?!)")
"""Only those who are in no file can match it."""

_CAPTURE = re.compile(r"\$\{account:([0-9]+)\}")
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")


def read(text: str, file: str) -> Plan:
    plan = Plan()
    for document in sole_document(text, plan, file):
        fields = document.fields(_TOP)
        for name, value in fields.items():
            if name in _ELSEWHERE:
                plan.remark(value.place, Weight.LESS, f"{name}: what it knows is not in this file")
        users = fields["users"].entries()
        for key, value in users:
            if key.text():
                _add_user(plan, key, value)
        logins = [key.text() for key, _ in users if key.text()]
        entries = [entry for element in fields["acl"].elements() for entry in _entries(plan, element, logins)]
        has_anonymous = any(not key.text() and _is_open(value) for key, value in users)
        logins += [e.account for e in entries if isinstance(e.account, str) and e.account]
        FirstMatch(entries, list(dict.fromkeys(logins)), has_anonymous).write(plan)
    return plan


def _is_open(user: Value) -> bool:
    """Whether any password will do."""
    return not user.is_null and user.fields(_USER)["password"].is_null


def _add_user(plan: Plan, key: Value, value: Value) -> None:
    login, secret = key.text(), value.fields(_USER)["password"].text()
    if _is_open(value):
        text = f"user {login}: anybody can sign in as him, with any password; create him by hand"
        plan.remark(key.place, Weight.LESS, text)
    elif not secret.startswith("$"):
        plan.remark(key.place, Weight.LESS, f"user {login}: nobody can sign in as him, who has no bcrypt hash")
    else:
        plan.add_user(key.place, login, secret)


def _entries(plan: Plan, item: Value, logins: list[str]) -> Iterator[Entry]:
    fields = item.fields(("match", "actions", "comment"))
    if fields["match"].is_null:
        item.error("has no match")
        return
    match = fields["match"].fields(_MATCH)
    granted = actions.read(fields["actions"], plan)
    unknown = [name for name in _UNKNOWN_HERE if name in match]
    unknown += ["placeholders"] if "${" in match["account"].text() + match["type"].text() else []
    if unknown:
        plan.remark(item.place, Weight.LESS, f"matches by {' and '.join(unknown)}, which rules here know nothing of")
    account, types, name = _account(match["account"]), _types(match["type"]), match["name"]
    if isinstance(account, re.Pattern) and _CAPTURE.search(name.text()):
        text = f"{name.text()} is filled in for the users of this file; who is created later needs a rule of his own"
        plan.remark(name.place, Weight.NOTE, text)
        for login in filter(account.fullmatch, logins):
            filled = _filled(name.text(), re.search(match["account"].text()[1:-1], login, re.ASCII))
            yield Entry(item.place, login, types, _resource_name(plan, name, filled), granted, bool(unknown))
        yield Entry(item.place, _NOBODY_YET, types, "", granted, is_conditional=True)
        return
    resource_name = "**" if name.is_null else _resource_name(plan, name, name.text())
    yield Entry(item.place, account, types, resource_name, granted, bool(unknown))


def _filled(name: str, found: re.Match) -> str:
    """The name with what the groups of the account's expression have found."""
    groups = {str(number): text or "" for number, text in enumerate(found.groups(), 1)}
    return _CAPTURE.sub(lambda capture: groups.get(capture[1], capture[0]), name)


def _account(value: Value) -> str | re.Pattern | None:
    """What Entry.account says. A placeholder may stand for anybody."""
    text = value.text()
    if value.is_null or "${" in text:
        return None
    try:
        if go_patterns.is_regex(text):
            return re.compile(go_patterns.from_regex(text[1:-1])[1:-1], re.ASCII)
        if re.search(r"[*?\[\\]", text):
            return re.compile(go_patterns.as_expression(text), re.ASCII)
    except (Malformed, re.error) as error:
        value.error(f"{text} {error}")
    return text


def _types(value: Value) -> frozenset[str]:
    text = value.text()
    if value.is_null or "${" in text:
        return frozenset(RESOURCE_TYPES)
    try:
        wanted = go_patterns.from_regex(text[1:-1]) if go_patterns.is_regex(text) else go_patterns.from_glob(text)
    except Malformed as error:
        value.error(f"{text} {error.message}")
        return frozenset()
    return frozenset(kind for kind in RESOURCE_TYPES if patterns.matches(wanted, kind))


def _resource_name(plan: Plan, value: Value, text: str) -> str:
    """'' if there is no equal, which the plan says."""
    is_regex = go_patterns.is_regex(text)
    try:
        others = [found[0] for found in _PLACEHOLDER.finditer(text) if found[0] != "${account}"]
        if others:
            raise Malformed(f"holds {others[0]}, which rules here know nothing of")
        text = text.replace("${account}", "${login}")
        found = go_patterns.from_regex(text[1:-1]) if is_regex else go_patterns.from_glob(text)
        patterns.check(found)
    except Malformed as error:
        is_error = is_regex and "${" not in text
        plan.remark(value.place, Weight.ERROR if is_error else Weight.LESS, f"{text} {error.message}")
        return ""
    return found
