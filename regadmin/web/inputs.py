"""Reading what a request brings, within bounds. Everything raises Malformed with a sentence."""

import base64
import binascii
import json
from urllib.parse import parse_qs

from bottle import request

from regadmin.errors import Malformed, Unauthenticated
from regadmin.messages import Message

MAX_FORM = 64 * 1024
MAX_JSON = 1024 * 1024
MAX_ENVELOPE = 8 * 1024 * 1024
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
_MAX_FIELDS = 1000


def query() -> dict[str, list[str]]:
    """The parameters in the address."""
    return _fields(request.environ.get("QUERY_STRING", "").encode("latin-1"), Message("the address"))


def form() -> dict[str, list[str]]:
    """The fields of a form that was posted."""
    _expect(FORM)
    return _fields(body(MAX_FORM), Message("the form"))


def json_body() -> dict:
    """The JSON object that was posted."""
    _expect(JSON)
    try:
        value = json.loads(body(MAX_JSON))
    except (ValueError, RecursionError):
        raise Malformed("the body is not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    return value


def cookie(name: str) -> str:
    """The cookie's value, or ''. Read leniently: other applications on this host may have set strange ones."""
    pairs = (pair.partition("=") for pair in request.environ.get("HTTP_COOKIE", "").split(";"))
    return next((value.strip().strip('"') for key, _, value in pairs if key.strip() == name), "")


def is_json() -> bool:
    return _content_type() == JSON


def is_fragment() -> bool:
    """Whether htmx asks for a part of the page; after a cache miss in its history it wants all of it."""
    environ = request.environ
    return environ.get("HTTP_HX_REQUEST") == "true" and environ.get("HTTP_HX_HISTORY_RESTORE_REQUEST") != "true"


def body(limit: int) -> bytes:
    content = request.environ["wsgi.input"].read(limit + 1)
    if len(content) > limit:
        raise Malformed(Message("the body is longer than %(most)s bytes", most=limit))
    return content


def basic_credentials(header: str) -> tuple[str, str]:
    """Login and password of an Authorization header (RFC 7617). Raises Unauthenticated if it holds none."""
    scheme, _, encoded = header.partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        decoded = ""
    login, colon, password = decoded.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise Unauthenticated("the Authorization header holds no Basic credentials")
    return login, password


def _expect(content_type: str) -> None:
    """Many clients do not say what they send. What says that it is something else would be read as an empty form."""
    if _content_type() not in ("", content_type):
        raise Malformed(Message("the body must be sent as %(type)s", type=content_type))


def _content_type() -> str:
    return request.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()


def _fields(raw: bytes, where: str) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except UnicodeDecodeError:
        raise Malformed(Message("%(where)s holds text that is not UTF-8", where=where)) from None
    except ValueError:
        raise Malformed(Message("%(where)s holds too many fields", where=where)) from None
