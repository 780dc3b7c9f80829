"""`/api/v1/openapi.json`: the description of the API, made from its routes and the shapes below."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from regadmin.version import __version__
from regadmin.web.answers import json_answer
from regadmin.web.forward import PATH as FORWARD_PATH
from regadmin.web.routes import Access, Route

PATH = "/api/v1/openapi.json"

_PARAMETER = re.compile(r"<(\w+):(\w+)>")
_INTEGER, _TEXT, _BOOLEAN = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}


def _object(properties: dict, required: Iterable[str] | None = None) -> dict:
    """All properties are required if nothing else is said."""
    needed = sorted(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": needed}


_SOURCE = {"source": _TEXT | {"description": "the file that decides about it, where it is changed; empty if none does"}}
_USER = {
    "name": _TEXT,
    "login": _TEXT,
    "password": _TEXT | {"description": "6 to 72 bytes; always empty in answers; empty keeps the old one"},
    "role": {"type": "string", "enum": ["admin", "manager", "user"]},
    "group": _INTEGER | {"description": "the first of the groups"},
    "groups": {"type": "array", "items": _INTEGER},
    "blocked": _BOOLEAN,
    "robot": _BOOLEAN | {"description": "has no password and the role user; chosen when it is created"},
    "description": _TEXT,
    **_SOURCE,
}
_GROUP = {"name": _TEXT, "description": _TEXT, **_SOURCE}
_RULE = {
    "owner_id": _INTEGER | {"description": "a user or group; -999: all registered; -1000: everybody, anonymous too"},
    "is_group": _BOOLEAN,
    "name": _TEXT,
    "type": {"type": "string", "enum": ["repository", "registry"]},
    "resource_name": _TEXT | {"description": "exact, a glob, or a regular expression between slashes"},
    "action": {"type": "string", "enum": ["pull", "push", "delete", "*"]},
    "disabled": _BOOLEAN,
    **_SOURCE,
}
_CATALOG = {
    "repository_name": _TEXT,
    "tag": _TEXT,
    "digest": _TEXT,
    "config_digest": _TEXT,
    "size": _INTEGER | {"description": "bytes"},
    "pull_counter": _INTEGER,
    "timestamp": _INTEGER | {"description": "seconds since 1970, UTC"},
    "raw": _TEXT | {"description": "the manifest"},
    "media_type": _TEXT,
    "platforms": {"type": "array", "items": _TEXT},
    "pushed_by": _TEXT,
    "tags": _INTEGER | {"description": "how many; only when grouped by repository"},
}
_REACH = {
    "repository": _TEXT | {"description": "a name or a pattern, as in an access rule"},
    "action": {"type": "string", "enum": ["pull", "push", "delete", "*"]},
}
_WANTED_TOKEN = {
    "name": _TEXT,
    "scope": {"type": "array", "items": _object(_REACH), "description": "empty: all that the owner may do"},
    "expires_at": {"type": ["integer", "null"], "description": "seconds since 1970, UTC; null: never"},
}
_ACCESS_TOKEN = _WANTED_TOKEN | {
    "created_at": _INTEGER,
    "used_at": {"type": ["integer", "null"]},
    "used_from": _TEXT | {"description": "the address"},
}
_SYNC = {
    "trigger": _TEXT,
    "state": {"type": "string", "enum": ["running", "complete", "failed", "interrupted"]},
    "started_at": _INTEGER,
    "finished_at": {"type": ["integer", "null"]},
    "repositories_total": _INTEGER,
    "repositories_done": _INTEGER,
    "tags": _INTEGER,
    "added": _INTEGER,
    "updated": _INTEGER,
    "removed": _INTEGER,
    "errors": {"type": "array", "items": _TEXT},
}
_SIGN_IN = {"user": _TEXT, "passwd": _TEXT}
_SIGNED_IN = {
    "name": _TEXT,
    "id": _TEXT,
    "picture": _TEXT,
    "attrs": {"type": "object", "properties": {"disabled": _BOOLEAN, "uid": _TEXT}},
    "role": _TEXT,
}
_ASKED = dict.fromkeys(("service", "scope", "account", "client_id"), _TEXT)
_TOKEN = {
    "token": _TEXT,
    "access_token": _TEXT | {"description": "the same"},
    "expires_in": _INTEGER | {"description": "seconds"},
    "issued_at": _TEXT | {"format": "date-time"},
}

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


def _envelope(data: dict, is_error: bool = False) -> dict:
    error = _BOOLEAN | {"const": is_error}
    return _object({"error": error, "message": _TEXT, "id": _INTEGER, "data": data})


def _one(row: dict) -> dict:
    return _envelope(_object({"id": _INTEGER} | row))


def _list(row: dict, required: Iterable[str] | None = None) -> dict:
    rows = {"type": "array", "items": _object({"id": _INTEGER} | row, required)}
    return _object({"total": _INTEGER, "data": rows})


def _body(row: dict, kind: str = _JSON, is_closed: bool = True) -> dict:
    schema = _object(row, required=()) | ({"additionalProperties": False} if is_closed else {})
    return {"required": True, "content": {kind: {"schema": schema}}}


def _row_body(row: dict) -> dict:
    """A client may send a whole row back, with what it cannot change."""
    return _body(row | dict.fromkeys(("id", "source"), {"description": "ignored"}))


def _in_json(schema: dict, example: object) -> dict:
    """A parameter that is JSON in the address."""
    return {"content": {_JSON: {"schema": schema, "example": example}}}


class _Operation(NamedTuple):
    """What it does, what a good answer holds, its query parameters and its body."""

    summary: str
    answer: dict
    query: dict[str, dict] = {}
    body: dict | None = None


_DONE = _envelope({"type": "null"})
_SYNC_RUN = _envelope(_object({"id": _INTEGER} | _SYNC) | {"type": ["object", "null"]})
_PAIR = {"type": "array", "minItems": 2, "maxItems": 2}
_LIST = {
    "range": _in_json(_PAIR | {"items": _INTEGER | {"minimum": 0}}, [0, 9]),
    "sort": _in_json(_PAIR | {"items": _TEXT}, ["id", "ASC"]),
    "filter": _in_json({"type": "object"}, {"q": "text", "ids": [1, 2]}),
}
_TEXTS = {"schema": _TEXT}
_GROUPING = {"schema": {"type": "string", "enum": ["repository", "repository_name", "none"]}}
_ASKED_IN_ADDRESS = dict.fromkeys((*_ASKED, "offline_token"), _TEXTS)
_PASSWORD = _ASKED | {"grant_type": _TEXT | {"enum": ["password", ""]}, "username": _TEXT, "password": _TEXT}

_OPERATIONS: dict[tuple[str, str], _Operation] = {
    ("POST", "/auth/local/login"): _Operation(
        "Sign in; sets the session cookie",
        _object(_SIGNED_IN),
        body={"required": True, "content": _body(_SIGN_IN)["content"] | _body(_SIGN_IN, _FORM)["content"]},
    ),
    ("GET", "/auth/user"): _Operation("Who is signed in", _object(_SIGNED_IN)),
    ("GET", "/auth/status"): _Operation(
        "Whether somebody is signed in", _object({"status": _TEXT, "user": _TEXT}, required=["status"])
    ),
    ("GET", "/auth/list"): _Operation("The ways to sign in", {"type": "array", "items": _TEXT}),
    ("GET", "/auth/logout"): _Operation("Sign out", _DONE),
    ("POST", "/auth/logout"): _Operation("Sign out", _DONE),
    ("GET", "/auth/local/logout"): _Operation("Sign out", _DONE),
    ("POST", "/auth/local/logout"): _Operation("Sign out", _DONE),
    ("GET", "/api/v1/users"): _Operation("List users", _list(_USER), _LIST),
    ("GET", "/api/v1/users/{user_id}"): _Operation("Show a user", _one(_USER)),
    ("POST", "/api/v1/users"): _Operation("Create a user", _one(_USER), body=_row_body(_USER)),
    ("PUT", "/api/v1/users/{user_id}"): _Operation(
        "Change the given fields of a user", _one(_USER), body=_row_body(_USER)
    ),
    ("DELETE", "/api/v1/users/{user_id}"): _Operation("Delete a user and his rules", _DONE),
    ("GET", "/api/v1/groups"): _Operation("List groups", _list(_GROUP), _LIST),
    ("GET", "/api/v1/groups/{group_id}"): _Operation("Show a group", _one(_GROUP)),
    ("POST", "/api/v1/groups"): _Operation("Create a group", _one(_GROUP), body=_row_body(_GROUP)),
    ("PUT", "/api/v1/groups/{group_id}"): _Operation(
        "Change the given fields of a group", _one(_GROUP), body=_row_body(_GROUP)
    ),
    ("DELETE", "/api/v1/groups/{group_id}"): _Operation("Delete a group and its rules", _DONE),
    ("GET", "/api/v1/access"): _Operation("List access rules", _list(_RULE), _LIST),
    ("GET", "/api/v1/access/{rule_id}"): _Operation("Show an access rule", _one(_RULE)),
    ("POST", "/api/v1/access"): _Operation("Create an access rule", _one(_RULE), body=_row_body(_RULE)),
    ("PUT", "/api/v1/access/{rule_id}"): _Operation(
        "Change the given fields of an access rule", _one(_RULE), body=_row_body(_RULE)
    ),
    ("DELETE", "/api/v1/access/{rule_id}"): _Operation("Delete an access rule", _DONE),
    ("GET", "/api/v1/tokens"): _Operation("List the access tokens of the caller", _list(_ACCESS_TOKEN)),
    ("POST", "/api/v1/tokens"): _Operation(
        "Make an access token for the caller; its secret is in this answer only",
        _one(_ACCESS_TOKEN | {"secret": _TEXT}),
        body=_row_body(_WANTED_TOKEN),
    ),
    ("DELETE", "/api/v1/tokens/{token_id}"): _Operation("Revoke an access token of the caller", _DONE),
    ("GET", "/api/v1/registry/catalog"): _Operation(
        "List repositories, or with group_by=none their tags, that the caller may pull",
        _list(_CATALOG, required=["id", *(_CATALOG.keys() - {"media_type", "platforms", "pushed_by", "tags"})]),
        _LIST | {"group_by": _GROUPING},
    ),
    ("GET", "/api/v1/registry/catalog/blobs"): _Operation(
        "An image configuration in base64", _one({"value": _TEXT}), {"name": _TEXTS, "digest": _TEXTS}
    ),
    ("DELETE", "/api/v1/registry/catalog/{path}"): _Operation(
        "Delete the manifest with this digest and its tags, or only the given tag",
        _DONE,
        {"name": _TEXTS, "digest": _TEXTS, "tag": _TEXTS},
    ),
    ("GET", "/api/v1/registry/health"): _Operation("Whether the registry answers", _DONE),
    ("GET", "/api/v1/registry/sync"): _Operation("The running synchronisation, or the last one", _SYNC_RUN),
    ("POST", "/api/v1/registry/sync"): _Operation("Start a synchronisation", _SYNC_RUN),
    ("POST", "/api/v1/registry/events"): _Operation(
        "Take notifications of the registry", _DONE, body=_body({"events": {"type": "array"}}, is_closed=False)
    ),
}
_FORWARD = _Operation(
    "For proxies: in the header Authorization the token for the request that X-Original-Method and -URI name",
    _object({}),
)
_TOKEN_OPERATIONS = {
    "GET": _Operation("A token for the registry", _object(_TOKEN), _ASKED_IN_ADDRESS),
    "POST": _Operation(
        "A token for the registry",
        _object(_TOKEN),
        _ASKED_IN_ADDRESS,
        _body(_ASKED | _PASSWORD, _FORM, is_closed=False),
    ),
}

_ERRORS = {
    "400": "malformed",
    "401": "not signed in, or wrong credentials",
    "403": "not allowed",
    "404": "no such thing",
    "409": "conflict",
    "422": "a field, named, holds what it cannot hold",
    "429": "too many failed attempts to sign in; Retry-After says when the next may come",
    "502": "the registry does not do what it was asked",
    "503": "the credentials cannot be checked now, or the store cannot be written",
}
_FIELDS = {"type": "object", "additionalProperties": _TEXT}
_FAILURES = {
    "Failure": _envelope({"type": ["object", "null"], "properties": {"fields": _FIELDS}}, is_error=True),
    "RegistryFailure": _object(
        {"errors": {"type": "array", "items": _object({"code": _TEXT, "message": _TEXT, "detail": {}})}}
    ),
}


class OpenApi:
    def __init__(self, documented: Iterable[Route]):
        self._documented = list(documented)

    def routes(self) -> list[Route]:
        return [Route("GET", PATH, self.show_description, Access.PUBLIC)]

    def show_description(self) -> str:
        return json_answer(self.description())

    def description(self) -> dict:
        """The document (OpenAPI 3.1)."""
        paths: dict[str, dict] = {}
        for route in self._documented:
            path = _PARAMETER.sub(r"{\1}", route.path)
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path)
        schemes = {
            "basic": {"type": "http", "scheme": "basic"},
            "session": {"type": "apiKey", "in": "cookie", "name": "JWT"},
            "header": {"type": "apiKey", "in": "header", "name": "X-JWT"},
        }
        return {
            "openapi": "3.1.0",
            "info": {"title": "RegistryAdmin", "version": __version__},
            "paths": paths,
            "components": {"securitySchemes": schemes, "schemas": _FAILURES},
        }


def _operation(route: Route, path: str) -> dict:
    known = _OPERATIONS.get((route.method, path))
    wanted = known or (_FORWARD if path == FORWARD_PATH else _TOKEN_OPERATIONS[route.method])
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _INTEGER if kind == "int" else _TEXT}
        for name, kind in _PARAMETER.findall(route.path)
    ]
    parameters += [{"name": name, "in": "query"} | shape for name, shape in wanted.query.items()]
    operation = {
        "summary": wanted.summary,
        "description": f"For: {route.access}",
        "parameters": parameters,
        "responses": _responses(route, wanted.answer, "Failure" if known else "RegistryFailure"),
    }
    if route.access is not Access.PUBLIC:
        operation["security"] = [{"basic": []}, {"session": []}, {"header": []}]
    if wanted.body:
        operation["requestBody"] = wanted.body
    return operation


def _responses(route: Route, answer: dict, failure: str) -> dict:
    def response(text: str, schema: dict) -> dict:
        return {"description": text, "content": {_JSON: {"schema": schema}}}

    status = "202" if (route.method, route.path) == ("POST", "/api/v1/registry/sync") else "200"
    refused = {"$ref": f"#/components/schemas/{failure}"}
    return {status: response("done", answer)} | {code: response(text, refused) for code, text in _ERRORS.items()}
