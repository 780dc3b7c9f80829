"""Strict-Transport-Security: said by HTTPS only, and only if the owner wants it."""

import pytest

from regadmin.app import App
from tests.rigs.client import Client


def header(settings, clock, scheme: str, **changes) -> str | None:
    wsgi = App(settings(**changes), clock).wsgi
    return (
        Client(lambda environ, start: wsgi(environ | {"wsgi.url_scheme": scheme}, start))
        .get("/ping")
        .header("Strict-Transport-Security")
    )


def test_nothing_is_said_by_default(settings, clock):
    assert not header(settings, clock, "https")


@pytest.mark.parametrize(("given", "seconds"), [("3600", 3600), ("365d", 31536000), ("0", 0)])
def test_https_says_for_how_long(settings, clock, given, seconds):
    assert header(settings, clock, "https", ssl__hsts=given) == f"max-age={seconds}"


def test_plain_http_does_not_say_it(settings, clock):
    assert not header(settings, clock, "http", ssl__hsts="1d")


def test_an_error_says_it_too(settings, clock):
    wsgi = App(settings(ssl__hsts="1d"), clock).wsgi
    client = Client(lambda environ, start: wsgi(environ | {"wsgi.url_scheme": "https"}, start))
    assert client.get("/nowhere").header("Strict-Transport-Security") == "max-age=86400"
