"""Telling browsers to come by HTTPS only."""

from collections.abc import Callable


class StrictTransport:
    """WSGI middleware. HTTPS answers say so, for so many seconds (RFC 6797, section 6.1); 0 takes it back."""

    def __init__(self, app: Callable, seconds: int):
        self._app = app
        self._header = ("Strict-Transport-Security", f"max-age={seconds}")

    def __call__(self, environ: dict, start_response: Callable):
        if environ["wsgi.url_scheme"] != "https":
            return self._app(environ, start_response)

        def start(status, headers, exc_info=None):
            return start_response(status, [*headers, self._header], exc_info)

        return self._app(environ, start)
