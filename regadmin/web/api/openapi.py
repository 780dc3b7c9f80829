"""`/api/v1/openapi.json`: the description of the API, made from its routes and the shapes below."""

import re
from collections.abc import Iterable

from regadmin.version import __version__
from regadmin.web.answers import json_answer
from regadmin.web.routes import Access, Route

PATH = "/api/v1/openapi.json"

_PARAMETER = re.compile(r"<(\w+):(\w+)>")
_INTEGER, _TEXT, _BOOLEAN = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}

_USER = {
    "name": _TEXT,
    "login": _TEXT,
    "password": _TEXT | {"description": "6 to 72 bytes; always empty in answers; empty keeps the old one"},
    "role": {"type": "string", "enum": ["admin", "manager", "user"]},
    "group": _INTEGER | {"description": "the first of the groups"},
    "groups": {"type": "array", "items": _INTEGER},
    "blocked": _BOOLEAN,
    "description": _TEXT,
}
_GROUP = {"name": _TEXT, "description": _TEXT}
_RULE = {
    "owner_id": _INTEGER | {"description": "a user or group; -999: all registered; -1000: everybody, anonymous too"},
    "is_group": _BOOLEAN,
    "name": _TEXT,
    "type": {"type": "string", "enum": ["repository", "registry"]},
    "resource_name": _TEXT | {"description": "exact, a glob, or a regular expression between slashes"},
    "action": {"type": "string", "enum": ["pull", "push", "delete", "*"]},
    "disabled": _BOOLEAN,
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
_LIST = ("range", "sort", "filter")

# What each operation does, its query parameters, and the row that it takes or gives.
_OPERATIONS: dict[tuple[str, str], tuple[str, tuple[str, ...], dict | None]] = {
    ("POST", "/auth/local/login"): ("Sign in; sets the session cookie", (), _SIGN_IN),
    ("GET", "/auth/user"): ("Who is signed in", (), None),
    ("GET", "/auth/status"): ("Whether somebody is signed in", (), None),
    ("GET", "/auth/list"): ("The ways to sign in", (), None),
    ("GET", "/auth/logout"): ("Sign out", (), None),
    ("POST", "/auth/logout"): ("Sign out", (), None),
    ("GET", "/auth/local/logout"): ("Sign out", (), None),
    ("POST", "/auth/local/logout"): ("Sign out", (), None),
    ("GET", "/api/v1/users"): ("List users", _LIST, _USER),
    ("GET", "/api/v1/users/{user_id}"): ("Show a user", (), _USER),
    ("POST", "/api/v1/users"): ("Create a user", (), _USER),
    ("PUT", "/api/v1/users/{user_id}"): ("Change the given fields of a user", (), _USER),
    ("DELETE", "/api/v1/users/{user_id}"): ("Delete a user and his rules", (), None),
    ("GET", "/api/v1/groups"): ("List groups", _LIST, _GROUP),
    ("GET", "/api/v1/groups/{group_id}"): ("Show a group", (), _GROUP),
    ("POST", "/api/v1/groups"): ("Create a group", (), _GROUP),
    ("PUT", "/api/v1/groups/{group_id}"): ("Change the given fields of a group", (), _GROUP),
    ("DELETE", "/api/v1/groups/{group_id}"): ("Delete a group and its rules", (), None),
    ("GET", "/api/v1/access"): ("List access rules", _LIST, _RULE),
    ("GET", "/api/v1/access/{rule_id}"): ("Show an access rule", (), _RULE),
    ("POST", "/api/v1/access"): ("Create an access rule", (), _RULE),
    ("PUT", "/api/v1/access/{rule_id}"): ("Change the given fields of an access rule", (), _RULE),
    ("DELETE", "/api/v1/access/{rule_id}"): ("Delete an access rule", (), None),
    ("GET", "/api/v1/registry/catalog"): (
        "List repositories, or with group_by=none their tags, that the caller may pull",
        (*_LIST, "group_by"),
        _CATALOG,
    ),
    ("GET", "/api/v1/registry/catalog/blobs"): ("An image configuration in base64", ("name", "digest"), None),
    ("DELETE", "/api/v1/registry/catalog/{path}"): (
        "Delete the manifest with this digest and its tags, or only the given tag",
        ("name", "digest", "tag"),
        None,
    ),
    ("GET", "/api/v1/registry/health"): ("Whether the registry answers", (), None),
    ("GET", "/api/v1/registry/sync"): ("The running synchronisation, or the last one", (), _SYNC),
    ("POST", "/api/v1/registry/sync"): ("Start a synchronisation", (), None),
    ("POST", "/api/v1/registry/events"): ("Take notifications of the registry", (), {"events": {"type": "array"}}),
}
_TOKEN = ("A token for the registry", ("service", "scope", "account", "client_id", "offline_token"), None)

_ERRORS = {
    "400": "malformed",
    "401": "not signed in, or wrong credentials",
    "403": "not allowed",
    "404": "no such thing",
    "409": "conflict",
    "422": "a field, named, holds what it cannot hold",
    "502": "the registry does not do what it was asked",
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
            "components": {"securitySchemes": schemes, "schemas": {"Envelope": _envelope({})}},
        }


def _operation(route: Route, path: str) -> dict:
    summary, query, row = _OPERATIONS.get((route.method, path), _TOKEN)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _INTEGER if kind == "int" else _TEXT}
        for name, kind in _PARAMETER.findall(route.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": _TEXT} for name in query]
    operation = {
        "summary": summary,
        "description": f"For: {route.access}",
        "parameters": parameters,
        "responses": _responses(route, query, row),
    }
    if route.access is not Access.PUBLIC:
        operation["security"] = [{"basic": []}, {"session": []}, {"header": []}]
    if row and route.method in ("POST", "PUT"):
        content = {"application/json": {"schema": {"type": "object", "properties": row}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(route: Route, query: tuple[str, ...], row: dict | None) -> dict:
    data = {"type": "object", "properties": {"id": _INTEGER} | (row or {})}
    schema = _envelope(data)
    if "range" in query:
        schema = {"type": "object", "properties": {"total": _INTEGER, "data": {"type": "array", "items": data}}}
    status = "202" if (route.method, route.path) == ("POST", "/api/v1/registry/sync") else "200"
    done = {status: {"description": "done", "content": {"application/json": {"schema": schema}}}}
    return done | {code: {"description": text} for code, text in _ERRORS.items()}


def _envelope(data: dict) -> dict:
    properties = {"error": _BOOLEAN, "message": _TEXT, "id": _INTEGER, "data": data}
    return {"type": "object", "properties": properties}
