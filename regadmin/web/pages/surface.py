"""Putting pages on the application: who may see them, and what their errors look like."""

from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit, urlunsplit

from bottle import Bottle, HTTPResponse, request, response

from regadmin.errors import Error, Unauthenticated, Unforeseen
from regadmin.messages import Message
from regadmin.web.answers import as_error, status_of, tell_when
from regadmin.web.guards import Guards, Identity, identity, refuse_external
from regadmin.web.inputs import is_fragment
from regadmin.web.pages.rendering import Renderer
from regadmin.web.routes import Route

PASSWORD_PATH = "/password"
_FREE_BEFORE_CHANGE = (PASSWORD_PATH, "/logout", "/theme", "/language", "/help", "/about")
_TITLES = {
    400: Message("This request cannot be read"),
    401: Message("Sign in first"),
    403: Message("You may not do this"),
    404: Message("There is nothing here"),
    409: Message("This cannot be done now"),
    429: Message("Wait a little"),
    502: Message("The registry does not answer as it should"),
    503: Message("Try again later"),
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

    def question(self, template: str, http_status: int = 200, /, **context) -> str:
        """What is asked before something goes, or why it cannot go: a page, or for htmx a dialog.

        The templates extend confirm.html, which says what they need.
        """
        common = {"is_dialog": is_fragment(), "problem": "", "refusal": ""}
        return self.render(template, http_status, **common | context)

    def check_csrf(self, form: dict[str, list[str]]) -> None:
        """Raises Forbidden if the form is not one that we gave to this caller."""
        self._guards.check_csrf(identity(), form.get("csrf", [""])[0])

    def show_error(self, error: Error, status: int = 0) -> str:
        """A page that says what went wrong and what to do next; within a page a toast, for a dialog another one."""
        if "regadmin.identity" not in request.environ:
            # Bottle answers by itself, before anybody asked who calls.
            try:
                self._guards.identify_visitor()
            except Exception as exception:
                error, status = as_error(exception), 0
        status = status or status_of(error)
        tell_when(error)
        caller = identity()
        in_dialog = is_fragment() and request.environ.get("HTTP_HX_TARGET") == "dialogs"
        if is_fragment() and not in_dialog:
            response.set_header("HX-Retarget", "#toasts")
            response.set_header("HX-Reswap", "beforeend")
            return self.render("_toast.html", status, kind="bad", text=error.message)
        link = (Message("Go to the repositories"), "/repos") if caller.user else (Message("Sign in"), "/login")
        return self.render(
            "error.html",
            status,
            status=status,
            title=_TITLES.get(status, Message("Something went wrong")),
            message=error.message,
            reference=error.reference if isinstance(error, Unforeseen) else None,
            link=link,
            is_dialog=in_dialog,
        )

    def _wrap(self, route: Route) -> Callable:
        def call(**values):
            try:
                caller = self._guards.identify_visitor()
                refuse_external(caller.user)
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
            return "/login?" + urlencode({"next": _way_back(route.method)})
        return ""


def gone(list_address: str) -> str:
    """Go on to the list after something was deleted. A page that shows that list reads it anew by itself."""
    if is_fragment() and unquote(_shown().path) == unquote(list_address):
        response.status = 204
        response.set_header("HX-Trigger", "gone")
        return ""
    return redirect(list_address)


def redirect(address: str, fragment_status: int = 200) -> str:
    """Send the browser on, by GET; cookies that were set stay.

    htmx would follow a Location by itself and put that page where a part of this one belongs.
    """
    response.status, header = (fragment_status, "HX-Redirect") if is_fragment() else (303, "Location")
    response.set_header(header, address)
    return ""


def password_address(target: str) -> str:
    """The page on which a password is chosen, before going on to the target."""
    return PASSWORD_PATH + ("?" + urlencode({"next": target}) if target != "/" else "")


def _way_back(method: str) -> str:
    """Where to return after signing in: to the page that was asked for, or that the request was sent from."""
    if method == "GET" and not (is_fragment() and _shown().path):
        return local_address(urlunsplit(("", "", quote(request.path), request.query_string, "")))
    return local_address(urlunsplit(_shown()._replace(scheme="", netloc="", fragment="")))


def _shown() -> SplitResult:
    """The address of the page that the browser shows; empty if it does not say."""
    environ = request.environ
    try:
        return urlsplit(environ.get("HTTP_HX_CURRENT_URL") or environ.get("HTTP_REFERER", ""))
    except ValueError:
        return urlsplit("")


def local_address(text: str) -> str:
    """Where to go next, if that is on this server, else the start page."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_local and text.isprintable() and text.isascii() and len(text) < 2000 else "/"
