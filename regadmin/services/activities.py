"""The activity: what was done, by whom, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from regadmin.entities import ActivityEntry, Page
from regadmin.messages import Message
from regadmin.store import Store
from regadmin.store.listing import Listing

EVENTS = {
    "push": Message("Push"),
    "pull": Message("Pull"),
    "delete": Message("Deletion"),
    "signed in": Message("Signed in"),
    "sign-in failed": Message("Sign-in failed"),
    "signed out": Message("Signed out"),
    "password changed": Message("Password changed"),
    "user created": Message("User created"),
    "user changed": Message("User changed"),
    "user deleted": Message("User deleted"),
    "group created": Message("Group created"),
    "group changed": Message("Group changed"),
    "group deleted": Message("Group deleted"),
    "rule created": Message("Rule created"),
    "rule changed": Message("Rule changed"),
    "rule deleted": Message("Rule deleted"),
    "access token created": Message("Access token created"),
    "access token revoked": Message("Access token revoked"),
}
"""Everything that is recorded, and what people call it."""

MOST_NEWS = 100
_FORGOTTEN_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Day:
    """How often was pulled and pushed on one day of somebody's calendar."""

    date: date
    pulls: int
    pushes: int


def event_name(event: str) -> str:
    return EVENTS.get(event, event)


class Activities:
    def __init__(self, store: Store):
        self._store = store

    def list(self, listing: Listing) -> Page:
        """ActivityEntry rows, newest first. The filters are q, actor, event, repository, since and until.

        `q` is looked for in actor, object and address; `repository` finds its tags and digests too; the times
        are in seconds, `until` not included. With `is_more` in the answer there are more rows than `total`,
        with `searched` only so many of the newest were looked at.
        """
        return self._store.activity.list(listing)

    def each(self, listing: Listing) -> Iterator[ActivityEntry]:
        """All rows of the list, read as they are asked for."""
        return self._store.activity.each(listing)

    def latest_id(self) -> int:
        """The id of what was recorded last, 0 for nothing."""
        return self._store.activity.latest_id()

    def count_news(self, since_id: int, listing: Listing) -> int:
        """How many rows of the list were recorded after that one; MOST_NEWS stands for many."""
        return self._store.activity.count_after(since_id, listing, MOST_NEWS)

    def days(self, zone: ZoneInfo, number: int) -> list[Day]:
        """The last days in that time zone, today the last of them."""
        dates = self._dates(zone, number)
        bounds = [_midnight(day, zone) for day in (*dates, dates[-1] + timedelta(1))]
        counts = self._store.activity.counts(bounds)
        return [
            Day(day, counts.get(("pull", position), 0), counts.get(("push", position), 0))
            for position, day in enumerate(dates)
        ]

    def since(self, zone: ZoneInfo, days: int) -> int:
        """When the first of the last days began in that time zone; 1 stands for today."""
        return _midnight(self._dates(zone, days)[0], zone)

    def forget_old(self, days: int) -> None:
        """Remove what is older, a little at a time, so that nobody waits long for the store; 0 keeps all."""
        if not days:
            return
        before = self._store.now() - days * 86_400
        while self._store.activity.forget(before, _FORGOTTEN_AT_ONCE) == _FORGOTTEN_AT_ONCE:
            continue

    def _dates(self, zone: ZoneInfo, number: int) -> list[date]:
        today = datetime.fromtimestamp(self._store.now(), zone).date()
        return [today - timedelta(ago) for ago in range(number - 1, -1, -1)]


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time.min, zone).timestamp())
