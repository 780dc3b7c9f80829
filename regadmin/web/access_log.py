"""The access log in Apache's combined format, and its short form for standard output."""

import logging
import time
from collections.abc import Callable

_QUOTED = {ord('"'): '\\"', ord("\\"): "\\\\"} | {code: f"\\x{code:02x}" for code in [*range(32), 127]}
_BARE = _QUOTED | {ord(" "): "\\x20"}


class AccessLog:
    """WSGI middleware. The loggers get one line a request; either may be None."""

    def __init__(self, app: Callable, combined: logging.Logger | None, short: logging.Logger | None):
        self._app = app
        self._combined = combined
        self._short = short

    def __call__(self, environ: dict, start_response: Callable):
        status, size = "", 0

        def start(given_status, headers, exc_info=None):
            nonlocal status
            status = given_status[:3]
            return start_response(given_status, headers, exc_info)

        try:
            body = self._app(environ, start)
            size = sum(map(len, body)) if isinstance(body, list) else 0
            return body
        finally:
            self._write(environ, status, size)

    def _write(self, environ: dict, status: str, size: int) -> None:
        address = environ.get("REMOTE_ADDR", "-").translate(_BARE)
        login = environ.get("regadmin.login", "").translate(_BARE) or "-"
        moment = time.strftime("%d/%b/%Y:%H:%M:%S %z")
        target = environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")
        line = f"{environ.get('REQUEST_METHOD')} {target} {environ.get('SERVER_PROTOCOL')}".translate(_QUOTED)
        common = f'{address} - {login} [{moment}] "{line}" {status or 500} {size or "-"}'
        if self._short:
            self._short.info(common)
        if self._combined:
            referrer = environ.get("HTTP_REFERER", "-").translate(_QUOTED)
            agent = environ.get("HTTP_USER_AGENT", "-").translate(_QUOTED)
            self._combined.info('%s "%s" "%s"', common, referrer, agent)
