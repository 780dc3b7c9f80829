"""What lists have in common: a page of rows, in an allowed order, and how many there are in all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from regadmin.entities import Page
from regadmin.errors import Malformed
from regadmin.messages import Message
from regadmin.store.database import Database

LIMIT = " LIMIT :limit OFFSET :offset"


@dataclass(frozen=True, slots=True)
class Listing:
    """Which rows are wanted: `sort` is a column's public name, `limit` None means all."""

    sort: str = ""
    descending: bool = False
    offset: int = 0
    limit: int | None = None
    filters: Mapping = field(default_factory=dict)


def fetch(
    database: Database,
    select: str,
    where: str,
    orders: Mapping[str, str],
    listing: Listing,
    parameters: dict,
    entity: Callable,
) -> Page:
    """Run a list query made of constants. `orders` is the allow-list of columns; its first is the default.

    Raises Malformed for a column that is not in it.
    """
    order = order_by(orders, listing)
    total = database.one("SELECT count(*) " + where, parameters)[0]
    rows = database.all(select + where + order + LIMIT, parameters | bounds(listing))
    return Page([entity(row) for row in rows], total, listing.offset)


def order_by(orders: Mapping[str, str | tuple[str, ...]], listing: Listing) -> str:
    """The clause for the wanted order. Raises Malformed for one that is not allowed.

    What is alike goes by the first column of the list, in the same direction: an index serves both directions then.
    """
    if listing.sort and listing.sort not in orders:
        raise Malformed(
            Message(
                "cannot sort by %(sort)s; there are %(choices)s", sort=repr(listing.sort), choices=", ".join(orders)
            )
        )
    direction = " DESC" if listing.descending else " ASC"
    column = orders[listing.sort or next(iter(orders))]
    columns = (*(column if isinstance(column, tuple) else (column,)), "1")
    return " ORDER BY " + ", ".join(each + direction for each in columns)


def from_nearer_end(listing: Listing, total: int) -> Listing:
    """The same rows backwards if the end is nearer: what is passed over has to be read, too."""
    if listing.limit is None or 2 * listing.offset < total:
        return listing
    count = max(min(listing.limit, total - listing.offset), 0)
    offset = total - listing.offset - count
    return replace(listing, descending=not listing.descending, offset=max(offset, 0), limit=count)


def bounds(listing: Listing) -> dict:
    """The parameters of LIMIT."""
    return {"limit": -1 if listing.limit is None else listing.limit, "offset": listing.offset}
