"""Putting pages on the application: who may see them, and what their errors look like."""

from collections.abc import Callable, Iterable
from urllib.parse import urlencode

from bottle import Bottle, HTTPResponse, request, response

from regadmin.errors import Error, Unauthenticated, Unforeseen
from regadmin.web.answers import as_error, status_of
from regadmin.web.guards import Guards, Identity, identity
from regadmin.web.inputs import is_fragment
from regadmin.web.pages.rendering import Renderer
from regadmin.web.routes import Route

PASSWORD_PATH = "/password"
_FREE_BEFORE_CHANGE = (PASSWORD_PATH, "/logout", "/theme")
_TITLES = {
    400: "This request cannot be read",
    401: "Sign in first",
    403: "You may not do this",
    404: "There is nothing here",
    409: "This cannot be done now",
    502: "The registry does not answer as it should",
}


class PageSurface:
    def __init__(self, guards: Guards, renderer: Renderer):
        self._guards = guards
        self.render = renderer.page

    def install(self, app: Bottle, routes: Iterable[Route]) -> None:
        for route in routes:
            app.route(route.path, route.method, self._wrap(route))

    def list_page(self, template: str, fragment: str, url: str, /, **context) -> str:
        """The whole page, or for htmx only its list; `url` is the address of what is shown."""
        if not is_fragment():
            return self.render(template, **context)
        response.set_header("HX-Push-Url", url)
        return self.render(fragment, **context)

    def check_csrf(self, form: dict[str, list[str]]) -> None:
        """Raises Forbidden if the form is not one that we gave to this caller."""
        self._guards.check_csrf(identity(), form.get("csrf", [""])[0])

    def show_error(self, error: Error, status: int = 0) -> str:
        """A page that says what went wrong and what to do next; within a page, a toast."""
        status = status or status_of(error)
        if is_fragment():
            response.set_header("HX-Retarget", "#toasts")
            response.set_header("HX-Reswap", "beforeend")
            return self.render("_toast.html", status, kind="bad", text=error.message)
        caller = request.environ.get("regadmin.identity") or self._guards.identify_visitor()
        link = ("Go to the repositories", "/repos") if caller.user else ("Sign in", "/login")
        return self.render(
            "error.html",
            status,
            status=status,
            title=_TITLES.get(status, "Something went wrong"),
            message=error.message,
            reference=error.reference if isinstance(error, Unforeseen) else None,
            link=link,
        )

    def _wrap(self, route: Route) -> Callable:
        def call(**values):
            try:
                caller = self._guards.identify_visitor()
                address = self._elsewhere(caller, route)
                return redirect(address, 401) if address else route.handler(**values)
            except HTTPResponse:
                raise
            except Exception as exception:
                return self.show_error(as_error(exception))

        return call

    def _elsewhere(self, caller: Identity, route: Route) -> str:
        """Where the caller must go first, if anywhere: to choose a password, or to sign in. Raises Forbidden."""
        if caller.user and caller.user.must_change_password:
            return "" if request.path in _FREE_BEFORE_CHANGE else PASSWORD_PATH
        try:
            self._guards.allow(caller, route.access)
        except Unauthenticated:
            return "/login?" + urlencode({"next": request.path if route.method == "GET" else "/"})
        return ""


def redirect(address: str, fragment_status: int = 200) -> str:
    """Send the browser on, by GET; cookies that were set stay.

    htmx would follow a Location by itself and put that page where a part of this one belongs.
    """
    response.status, header = (fragment_status, "HX-Redirect") if is_fragment() else (303, "Location")
    response.set_header(header, address)
    return ""


def local_address(text: str) -> str:
    """Where to go next, if that is on this server, else the start page."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_local and text.isprintable() and text.isascii() and len(text) < 2000 else "/"
