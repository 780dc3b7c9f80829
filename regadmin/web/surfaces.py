"""Putting routes on the application: who may call them, and what their errors look like."""

from collections.abc import Callable, Iterable

from bottle import Bottle, HTTPError, HTTPResponse, request, response

from regadmin.errors import Error, Forbidden, NotFound
from regadmin.messages import Message
from regadmin.web.answers import as_error, failed, secure_headers
from regadmin.web.guards import CSRF_HEADER, Guards, refuse_external
from regadmin.web.routes import Access, Route

_SAFE = ("GET", "HEAD", "OPTIONS")
_ALLOWED_HEADERS = f"Content-Type, Authorization, X-JWT, {CSRF_HEADER}"


class ApiSurface:
    """JSON in, JSON out. `origins` are those whose scripts may call it with credentials, beside our own."""

    PREFIXES = ("/api/", "/auth/")

    def __init__(self, guards: Guards, origins: Iterable[str]):
        self._guards = guards
        self._origins = frozenset(origins)

    def install(self, app: Bottle, routes: Iterable[Route]) -> None:
        for route in routes:
            app.route(route.path, route.method, self._wrap(route))

    def _wrap(self, route: Route) -> Callable:
        def call(**values):
            self._share_with_origin()
            try:
                self._admit(route)
                return route.handler(**values)
            except HTTPResponse:
                raise
            except Exception as exception:
                return failed(as_error(exception))

        return call

    def _admit(self, route: Route) -> None:
        if self._is_foreign() and (route.access is Access.PUBLIC or route.method not in _SAFE):
            raise Forbidden("another site may not call this")
        if route.access is Access.PUBLIC:
            self._guards.identify_visitor()
            return
        caller = self._guards.identify(takes_tokens=route.access is Access.CLIENT)
        self._guards.allow(caller, route.access)
        if route.method not in _SAFE:
            refuse_external(caller.user)
        if caller.by_cookie and route.method not in _SAFE:
            self._guards.check_csrf(caller, request.environ.get("HTTP_X_XSRF_TOKEN", ""))

    def _is_foreign(self) -> bool:
        """A form or link on another site can call what needs no credentials, or those that a browser keeps."""
        is_cross_site = request.environ.get("HTTP_SEC_FETCH_SITE") == "cross-site"
        return is_cross_site and request.environ.get("HTTP_ORIGIN") not in self._origins

    def _share_with_origin(self) -> None:
        origin = request.environ.get("HTTP_ORIGIN")
        response.add_header("Vary", "Origin")
        if origin in self._origins:
            response.set_header("Access-Control-Allow-Origin", origin)
            response.set_header("Access-Control-Allow-Credentials", "true")
            response.set_header("Access-Control-Expose-Headers", "Content-Range")

    def preflight(self) -> str:
        """Tell a browser what scripts of other origins may send."""
        self._share_with_origin()
        response.set_header("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
        response.set_header("Access-Control-Allow-Headers", _ALLOWED_HEADERS)
        response.status = 204
        return ""


def error_handler(api: ApiSurface, show_page: Callable[[Error, int], str]) -> Callable[[HTTPError], str]:
    """What Bottle itself refuses (no such route, no such method), as JSON or as a page."""

    def handle(error: HTTPError) -> str:
        secure_headers()
        is_api = request.path.startswith(api.PREFIXES)
        if is_api and request.method == "OPTIONS" and error.status_code == 405:
            return api.preflight()
        shown, status = _shown(error), error.status_code
        if not is_api:
            return show_page(shown, status)
        answer = failed(shown)
        response.status = status
        return answer

    return handle


def _shown(error: HTTPError) -> Error:
    if error.exception:
        return as_error(error.exception)
    if error.status_code == 404:
        return NotFound(Message("there is nothing at this address"))
    if error.status_code == 405:
        return Error(Message("this address does not answer to %(method)s", method=request.method))
    return Error(Message("the request cannot be answered (%(status)s)", status=error.status_code))
