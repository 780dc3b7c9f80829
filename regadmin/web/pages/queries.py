"""The state of a list, which lives in its address: search, order, page."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from bottle import request

from regadmin.errors import Malformed
from regadmin.messages import Message
from regadmin.store.listing import Listing
from regadmin.web import inputs

SIZES = (25, 50, 100)
_MAX_PAGE = 10**6


@dataclass(frozen=True, slots=True)
class Query:
    """`sort` is a column's name, with a minus before it for the order from the largest down."""

    q: str
    sort: str
    page: int = 1
    per: int = SIZES[0]

    def listing(self, **filters) -> Listing:
        return Listing(
            sort=self.sort.removeprefix("-"),
            descending=self.sort.startswith("-"),
            offset=(self.page - 1) * self.per,
            limit=self.per,
            filters={"q": self.q} | filters,
        )


def read_query(default_sort: str) -> Query:
    """Raises Malformed for a page or a page size that cannot be."""
    fields = {name: values[0] for name, values in inputs.query().items()}
    page, per = _number(fields, "page", 1), _number(fields, "per", SIZES[0])
    if not 1 <= page <= _MAX_PAGE or per not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        raise Malformed(Message("page must be 1 or more, and per one of %(sizes)s", sizes=sizes))
    return Query(fields.get("q", "").strip()[:255], fields.get("sort") or default_sort, page, per)


def address_of(query: Query, default_sort: str) -> Callable[..., str]:
    """A function that gives the address of the same list with some changes, without what is default."""
    default = Query("", default_sort)

    def url(**changes) -> str:
        wanted = replace(query, **changes)
        values = {name: getattr(wanted, name) for name in ("q", "sort", "page", "per")}
        changed = {name: value for name, value in values.items() if value != getattr(default, name)}
        return request.path + ("?" + urlencode(changed) if changed else "")

    return url


def _number(fields: dict[str, str], name: str, default: int) -> int:
    text = fields.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Malformed(Message("%(name)s must be a number", name=name))
    return int(text)
