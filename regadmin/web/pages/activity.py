"""What was done, by whom, and when."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from bottle import response

from regadmin.entities import ActivityEntry
from regadmin.messages import Message
from regadmin.services.activities import EVENTS, MOST_NEWS, Activities
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.pages import forms
from regadmin.web.pages.exports import csv_answer
from regadmin.web.pages.queries import Query, address_of, read_query
from regadmin.web.pages.rendering import time_zone
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route

PATH = "/activity"
PERIODS = {
    "today": Message("Today"),
    "7": Message("7 days"),
    "": Message("30 days"),
    "90": Message("90 days"),
    "all": Message("All time"),
}
"""What a list can cover, as it is in the address. A search reads every row, so not all of them by itself."""

COLUMNS = ("time", "actor", "event", "object", "address", "details")
_DAYS = {"today": 1, "7": 7, "": 30, "90": 90, "all": 0}


class ActivityPages:
    """`days_kept` is shown; 0 is for ever."""

    def __init__(self, surface: PageSurface, activities: Activities, days_kept: int):
        self._surface = surface
        self._activities = activities
        self._days_kept = days_kept

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.list_activity, Access.MANAGER),
            Route("GET", PATH + "/news", self.show_news, Access.MANAGER),
            Route("GET", PATH + ".csv", self.export_activity, Access.MANAGER),
        ]

    def list_activity(self) -> str:
        query, chosen = _query(), _chosen()
        url = _address_of(query, chosen)
        latest_id = self._activities.latest_id()
        return self._surface.list_page(
            "activity/list.html",
            "activity/_list.html",
            url(),
            page=self._activities.list(self._listing(query, chosen)),
            query=query,
            chosen=chosen,
            url=url,
            latest_id=latest_id,
            events=EVENTS,
            periods=PERIODS,
            days_kept=self._days_kept,
            filter_query=_filter_query(query, chosen),
        )

    def show_news(self) -> str:
        """How much was recorded since the list was shown; nothing at all if the reader knows that already."""
        query, chosen = _query(), _chosen()
        seen, known = _number("after"), _number("known")
        count = self._activities.count_news(seen, self._listing(query, chosen))
        if count == known:
            response.status = 204
            return ""
        return self._surface.render(
            "activity/_news.html",
            count=count,
            most=MOST_NEWS,
            latest_id=seen,
            url=_address_of(query, chosen),
            filter_query=_filter_query(query, chosen),
        )

    def export_activity(self) -> Iterator[str]:
        """All that the list holds, with times in UTC and the changes as JSON."""
        entries = self._activities.each(self._listing(_query(), _chosen()))
        return csv_answer("activity.csv", COLUMNS, map(_row, entries))

    def _listing(self, query: Query, chosen: dict[str, str]) -> Listing:
        days = _DAYS[chosen["period"]]
        since = self._activities.since(time_zone(), days) if days else 0
        return query.listing(actor=chosen["actor"], event=chosen["event"], since=since)


def _row(entry: ActivityEntry) -> tuple:
    at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    details = json.dumps(entry.details, ensure_ascii=False) if entry.details else ""
    return at, entry.actor, entry.event, entry.object, entry.address, details


def _query() -> Query:
    """Always newest first, whatever order the address asks for."""
    return replace(read_query(""), sort="")


def _number(name: str) -> int:
    return next(iter(forms.numbers(inputs.query(), name)), 0)


def _chosen() -> dict[str, str]:
    """The filters in the address; what is none of them counts as not chosen."""
    given = {name: values[0].strip()[:255] for name, values in inputs.query().items()}
    event, period = given.get("event", ""), given.get("period", "")
    return {
        "actor": given.get("actor", ""),
        "event": event if event in EVENTS else "",
        "period": period if period in PERIODS else "",
    }


def _address_of(query: Query, chosen: dict[str, str]) -> Callable[..., str]:
    def url(**changes) -> str:
        filters = {name: changes.pop(name, value) for name, value in chosen.items()}
        return _joined(address_of(query, "")(**changes).partition("?")[2], filters)

    return url


def _filter_query(query: Query, chosen: dict[str, str]) -> str:
    """What narrows the list, as a part of an address."""
    return urlencode({name: value for name, value in {"q": query.q, **chosen}.items() if value})


def _joined(address: str, filters: dict[str, str]) -> str:
    pairs = "&".join(filter(None, [address, urlencode({name: text for name, text in filters.items() if text})]))
    return PATH + (f"?{pairs}" if pairs else "")
