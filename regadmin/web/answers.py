"""Turning values and errors into answers. The one place that knows which status an error has."""

import json
import logging
import secrets
import sqlite3

from bottle import response

from regadmin import errors
from regadmin.messages import Message

log = logging.getLogger(__name__)

_STATUS = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Invalid: 422,
    errors.TooMany: 429,
    errors.RegistryError: 502,
    errors.SourceUnavailable: 503,
    errors.StoreUnavailable: 503,
}
_REGISTRY_CODES = {
    400: "UNSUPPORTED",
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "NAME_UNKNOWN",
    429: "TOOMANYREQUESTS",
    503: "UNAVAILABLE",
}


def status_of(error: errors.Error) -> int:
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


_NO_FAULT_OF_OURS = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN")


def as_error(exception: Exception) -> errors.Error:
    """An error that can be shown. Anything unforeseen gets a reference number, and its traceback the log."""
    if isinstance(exception, errors.Error):
        return exception
    if isinstance(exception, sqlite3.OperationalError) and exception.sqlite_errorname.startswith(_NO_FAULT_OF_OURS):
        log.error("the store cannot be used: %s", exception)
        why = str(exception)
        return errors.StoreUnavailable(
            Message("the store cannot be written now (%(reason)s); nothing was changed, try again", reason=why)
        )
    reference = secrets.token_hex(4)
    log.error("unforeseen error, reference %s", reference, exc_info=exception)
    return errors.Unforeseen(reference)


_POLICY = "; ".join(
    [
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect", "font")),
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


SECURE_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
)
"""For every answer: nothing is run, framed or guessed that is not ours."""

JSON_HEADERS = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))


TEXT_HEADERS = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"))


def secure_headers() -> None:
    _set_headers(SECURE_HEADERS)


def tell_when(error: errors.Error) -> None:
    """For whom it is too early: when to come back (RFC 9110, section 10.2.3)."""
    if isinstance(error, errors.TooMany):
        response.set_header("Retry-After", str(error.wait))


def json_answer(value: object, status: int = 200) -> str:
    return json_text(json.dumps(value), status)


def json_text(text: str, status: int = 200) -> str:
    response.status = status
    _set_headers(JSON_HEADERS)
    return text


def text_answer(text: str, status: int = 200) -> str:
    response.status = status
    _set_headers(TEXT_HEADERS)
    return text


def _set_headers(headers: tuple[tuple[str, str], ...]) -> None:
    for name, value in headers:
        response.set_header(name, value)


def done(message: str, entity_id: int = 0, data: object = None, status: int = 200) -> str:
    """The envelope of the REST API for a single thing."""
    return json_answer({"error": False, "message": message, "id": entity_id, "data": data}, status)


def failed(error: errors.Error) -> str:
    """The envelope of the REST API for a failure."""
    status = status_of(error)
    tell_when(error)
    if status == 401:
        response.set_header("WWW-Authenticate", 'Basic realm="RegistryAdmin", charset="UTF-8"')
    data = {"fields": error.fields} if isinstance(error, errors.Invalid) else None
    return json_answer({"error": True, "message": error.message, "id": 0, "data": data}, status)


def registry_failed(error: errors.Error) -> str:
    """The error body that registry clients understand (distribution, docs/spec/api.md, Errors)."""
    status = status_of(error)
    tell_when(error)
    if status == 401:
        response.set_header("WWW-Authenticate", 'Basic realm="RegistryAdmin", charset="UTF-8"')
    code = _REGISTRY_CODES.get(status, "UNKNOWN")
    return json_answer({"errors": [{"code": code, "message": error.message, "detail": None}]}, status)
