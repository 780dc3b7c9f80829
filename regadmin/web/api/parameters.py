"""The parameters of lists, as react-admin's simple REST provider sends them, and the fields of bodies."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from bottle import response

from regadmin.entities import Page
from regadmin.errors import Invalid, Malformed
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.answers import json_answer

MAX_ROWS = 1000
_MAX_INTEGER = 2**53

Parser = Callable[[Any], Any]


def integer(value: Any) -> int:
    if isinstance(value, str) and value.lstrip("-").isascii() and value.lstrip("-").isdigit():
        value = int(value[:20])
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _MAX_INTEGER:
        raise ValueError("must be a whole number")
    return value


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be text")
    value.encode()
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def integers(value: Any) -> list[int]:
    if not isinstance(value, list) or len(value) > MAX_ROWS:
        raise ValueError(f"must be a list of at most {MAX_ROWS} whole numbers")
    return [integer(item) for item in value]


def fields(body: Mapping[str, Any], known: Mapping[str, tuple[str, Parser]], ignored: tuple[str, ...] = ()) -> dict:
    """The body's fields under the names that the service uses. Raises Invalid, naming each wrong field."""
    found, wrong = {}, {}
    for name, value in body.items():
        if name in ignored:
            continue
        if name not in known:
            wrong[name] = f"is not a field; there are {', '.join(known)}"
            continue
        try:
            found[known[name][0]] = known[name][1](value)
        except ValueError as error:
            wrong[name] = "must be text in UTF-8" if isinstance(error, UnicodeError) else str(error)
    if wrong:
        raise Invalid(wrong)
    return found


def listing(sorts: Mapping[str, str], filters: Mapping[str, tuple[str, Parser]]) -> Listing:
    """Read `range`, `sort` and `filter`. Raises Malformed.

    `sorts` maps the contract's columns to the store's; `filters` its filters to the store's, with their parsers.
    """
    query = inputs.query()
    offset, limit = _range(_json(query, "range"))
    column, descending = _sort(_json(query, "sort"), sorts)
    return Listing(column, descending, offset, limit, _filters(_json(query, "filter"), filters))


def list_answer(page: Page, name: str, row: Callable[[Any], dict]) -> str:
    """The list envelope with react-admin's `Content-Range: users 0-9/42`."""
    last = page.offset + len(page.rows) - 1
    span = f"{page.offset}-{last}" if page.rows else "*"
    response.set_header("Content-Range", f"{name} {span}/{page.total}")
    return json_answer({"total": page.total, "data": [row(entity) for entity in page.rows]})


def _json(query: dict[str, list[str]], name: str) -> Any:
    if name not in query:
        return None
    try:
        return json.loads(query[name][0])
    except (ValueError, RecursionError):
        raise Malformed(f"{name} is not JSON") from None


def _range(value: Any) -> tuple[int, int]:
    if value is None:
        return 0, MAX_ROWS
    try:
        first, last = integers(value)
    except ValueError:
        raise Malformed("range must be two whole numbers, as in [0,9]") from None
    if first < 0 or last < first:
        raise Malformed("range must not be negative or backwards")
    return first, min(last - first + 1, MAX_ROWS)


def _sort(value: Any, sorts: Mapping[str, str]) -> tuple[str, bool]:
    if value is None:
        return "", False
    is_pair = isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)
    if not is_pair or value[0] not in sorts or value[1].upper() not in ("ASC", "DESC"):
        raise Malformed(f'sort must be a column and an order, as in ["id","ASC"]; columns are {", ".join(sorts)}')
    return sorts[value[0]], value[1].upper() == "DESC"


def _filters(value: Any, filters: Mapping[str, tuple[str, Parser]]) -> dict:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed('filter must be an object, as in {"q":"text"}')
    known = {"q": ("q", text), "ids": ("ids", integers), "id": ("ids", _one_or_more)} | dict(filters)
    try:
        return fields(value, known)
    except Invalid as error:
        raise Malformed(f"filter: {error.message}") from None


def _one_or_more(value: Any) -> list[int]:
    return integers(value if isinstance(value, list) else [value])
