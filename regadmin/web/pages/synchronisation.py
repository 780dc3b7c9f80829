"""Synchronisations: starting one, watching it, and how the others went"""

from bottle import request, response

from regadmin.entities import SyncRun
from regadmin.errors import Conflict
from regadmin.messages import Message
from regadmin.services.synchronisation import Synchronisation
from regadmin.web import inputs
from regadmin.web.guards import identity
from regadmin.web.pages import forms
from regadmin.web.pages.queries import address_of, read_query
from regadmin.web.pages.surface import PageSurface, redirect
from regadmin.web.routes import Access, Route

PATH = "/sync"
_SORT = "-id"


class SynchronisationPages:
    def __init__(self, surface: PageSurface, synchronisation: Synchronisation):
        self._surface = surface
        self._synchronisation = synchronisation

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.list_runs, Access.MANAGER),
            Route("POST", PATH, self.start_run, Access.ADMIN),
            Route("GET", PATH + "/progress", self.show_progress, Access.MANAGER),
        ]

    def list_runs(self) -> str:
        """The whole page, or for htmx the history; when that asks by itself its address stays what it is."""
        url, context = self._history()
        if inputs.is_fragment() and request.environ.get("HTTP_HX_TRIGGER") == "list":
            return self._surface.render("sync/_list.html", **context)
        return self._surface.list_page("sync/list.html", "sync/_list.html", url, **context)

    def start_run(self) -> str:
        self._surface.check_csrf(inputs.form())
        try:
            self._synchronisation.start(identity().user.login)
        except Conflict:
            return self._surface.render("sync/list.html", 409, **self._history()[1] | {"is_refused": True})
        return redirect(PATH)

    def show_progress(self) -> str:
        """For htmx, which asks again while a run goes on; `watched` is the run that it asks about.

        Once that has ended, the list of runs on the same page hears of it.
        """
        run = self._synchronisation.latest()
        watched = forms.numbers(inputs.query(), "watched")
        if not inputs.is_fragment() or not run:
            return redirect(PATH)
        is_over = run.state != "running"
        if is_over:
            response.set_header("HX-Trigger", "synchronised")
        return self._surface.render("sync/_progress.html", run=run, is_over=is_over and run.id in watched)

    def _history(self) -> tuple[str, dict]:
        query = read_query(_SORT)
        url = address_of(query, _SORT)
        return url(), {
            "page": self._synchronisation.list(query.listing()),
            "run": self._synchronisation.latest(),
            "errors_of": errors_by_repository,
            "is_refused": False,
            "is_over": False,
            "query": query,
            "url": url,
        }


def errors_by_repository(run: SyncRun) -> dict[str, list[str]]:
    """The complaints of a run by the repository that they are about; '' stands for none."""
    grouped: dict[str, list[str]] = {}
    for error in run.errors:
        what = error.values["what"] if isinstance(error, Message) else ""
        grouped.setdefault("" if isinstance(what, Message) else what.partition(":")[0], []).append(error)
    return grouped
