"""The access log in Apache's combined format, and its short form for standard output."""

import time
from collections.abc import Callable

MAX_LOGIN, MAX_FIELD = 64, 4096
"""Characters that are logged: what a stranger sends must not fill the log."""


class AccessLog:
    """WSGI middleware. Both are called with one line a request; either may be None."""

    def __init__(self, app: Callable, combined: Callable[[str], None] | None, short: Callable[[str], None] | None):
        self._app = app
        self._combined = combined
        self._short = short
        self._second = 0, ""

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
        moment = self._moment()
        target = environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")
        line = f"{environ.get('REQUEST_METHOD')} {target[:MAX_FIELD]} {environ.get('SERVER_PROTOCOL')}"
        common = f'{address} - {login} [{moment}] "{_quotable(line)}" {status or 500} {size or "-"}'
        if self._short:
            self._short(common)
        if self._combined:
            referrer = _quotable(environ.get("HTTP_REFERER", "-")[:MAX_FIELD])
            agent = _quotable(environ.get("HTTP_USER_AGENT", "-")[:MAX_FIELD])
            self._combined(f'{common} "{referrer}" "{agent}"')


    def _moment(self) -> str:
        """The present second; whoever asks again within it is told the same."""
        second = int(time.time())
        known, text = self._second
        if second != known:
            text = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))
            self._second = second, text
        return text


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
