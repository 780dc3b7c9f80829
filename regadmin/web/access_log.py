"""The access log in Apache's combined format, and its short form for standard output."""

import logging
import time
from collections.abc import Callable

MAX_LOGIN, MAX_FIELD = 64, 4096
"""Characters that are logged: what a stranger sends must not fill the log."""


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
        address = _bare(environ.get("REMOTE_ADDR", "")) or "-"
        login = _bare(environ.get("regadmin.login", "")[:MAX_LOGIN]) or "-"
        moment = time.strftime("%d/%b/%Y:%H:%M:%S %z")
        target = environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")
        line = f"{environ.get('REQUEST_METHOD')} {target[:MAX_FIELD]} {environ.get('SERVER_PROTOCOL')}"
        common = f'{address} - {login} [{moment}] "{_quotable(line)}" {status or 500} {size or "-"}'
        if self._short:
            self._short.info(common)
        if self._combined:
            referrer = _quotable(environ.get("HTTP_REFERER", "-")[:MAX_FIELD])
            agent = _quotable(environ.get("HTTP_USER_AGENT", "-")[:MAX_FIELD])
            self._combined.info('%s "%s" "%s"', common, referrer, agent)


def _quotable(text: str) -> str:
    """Text that can stand between quotes, in one line: whatever is not printable in any language is escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character == '"':
        return '\\"'
    is_plain = character.isprintable() and character != "\\"
    return character if is_plain else character.encode("unicode_escape").decode()


def _bare(text: str) -> str:
    """Text that can stand without quotes; `-` would say that there is none."""
    return _quotable(text).replace(" ", "\\x20") if text != "-" else "\\x2d"
