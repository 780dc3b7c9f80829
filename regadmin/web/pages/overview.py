"""The first page of those who run the registry: is all well, how much is there, what happens"""

from regadmin.errors import Malformed
from regadmin.messages import Message
from regadmin.services.activities import Activities
from regadmin.services.checks import Checks
from regadmin.services.health import Health
from regadmin.services.overview import Overview
from regadmin.services.synchronisation import Synchronisation
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.pages.charts import day_columns, storage_bars
from regadmin.web.pages.rendering import time_zone
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route

PATH = "/overview"
PERIODS = (30, 90)
"""Days that the chart of pulls and pushes can show."""

LATEST = 10


class OverviewPages:
    def __init__(
        self,
        surface: PageSurface,
        overview: Overview,
        activities: Activities,
        health: Health,
        synchronisation: Synchronisation,
        checks: Checks,
        address: str,
    ):
        self._surface = surface
        self._overview = overview
        self._activities = activities
        self._health = health
        self._synchronisation = synchronisation
        self._checks = checks
        self._address = address

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.show_overview, Access.MANAGER),
            Route("GET", PATH + "/registry", self.check_registry, Access.MANAGER),
        ]

    def show_overview(self) -> str:
        """The whole page, or for htmx the chart of another period."""
        days = _days()
        address = PATH if days == PERIODS[0] else f"{PATH}?days={days}"
        return self._surface.list_page("overview/show.html", "overview/_days.html", address, **self._all(days))

    def check_registry(self) -> str:
        """Ask the registry now; for htmx only what it says."""
        finding = self._health.check()
        if inputs.is_fragment():
            return self._surface.render("overview/_registry.html", finding=finding, registry_address=self._address)
        return self._surface.render("overview/show.html", **self._all(PERIODS[0]))

    def _all(self, days: int) -> dict:
        measured = self._overview.storage()
        return {
            "finding": self._health.latest,
            "registry_address": self._address,
            "setup": self._checks.known(),
            "counts": self._overview.counts(),
            "concerns": self._overview.concerns(),
            "run": self._synchronisation.latest(),
            "measured": measured,
            "bars": storage_bars(measured.storage),
            "page": self._activities.list(Listing(limit=LATEST)),
        } | self._traffic(days)

    def _traffic(self, days: int) -> dict:
        traffic = self._activities.days(time_zone(), days)
        return {
            "days": days,
            "periods": PERIODS,
            "traffic": traffic,
            "pulls": day_columns(traffic, "pulls"),
            "pushes": day_columns(traffic, "pushes"),
        }


def _days() -> int:
    text = inputs.query().get("days", [str(PERIODS[0])])[0]
    if text not in map(str, PERIODS):
        raise Malformed(Message("days must be one of %(choices)s", choices=", ".join(map(str, PERIODS))))
    return int(text)
