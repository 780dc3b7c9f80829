"""Behind a proxy: whose word about the client's address and scheme is believed."""

import pytest

from regadmin.app import App
from regadmin.web.proxies import TrustedProxies
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Client

NETWORKS = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]


def seen(peer: str, networks=NETWORKS, **headers: str) -> tuple[str, str]:
    """Address and scheme that the application sees."""
    found = {}

    def app(environ, start_response):
        found.update(environ)
        return []

    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    environ |= {"HTTP_X_FORWARDED_" + name.upper(): value for name, value in headers.items()}
    TrustedProxies(app, networks)(environ, None)
    return found["REMOTE_ADDR"], found["wsgi.url_scheme"]


def test_by_default_nobodys_word_counts():
    headers = {"for": "203.0.113.5", "proto": "https"}
    assert seen("127.0.0.1", [], **headers) == ("127.0.0.1", "http")


@pytest.mark.parametrize("peer", ["10.1.2.3", "192.0.2.7", "2001:db8::5"])
def test_the_word_of_a_trusted_proxy_counts(peer):
    headers = {"for": "203.0.113.5", "proto": "https"}
    assert seen(peer, **headers) == ("203.0.113.5", "https")


@pytest.mark.parametrize("peer", ["11.0.0.1", "192.0.2.8", "2001:db9::5", "::ffff:203.0.113.9", "", "unix:"])
def test_the_word_of_anybody_else_does_not(peer):
    headers = {"for": "203.0.113.5", "proto": "https"}
    assert seen(peer, **headers) == (peer, "http")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.5", "203.0.113.5"),
        (" 203.0.113.5 ", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.5, 10.0.0.2, 10.0.0.3", "203.0.113.5"),
        ("203.0.113.5,10.0.0.2", "203.0.113.5"),
        ("10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("2001:DB9:0::1", "2001:db9::1"),
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("203.0.113.5, unknown", "10.0.0.1"),
        ("203.0.113.5, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.5\r\nx", "10.0.0.1"),
        ("203.0.113.5 - admin", "10.0.0.1"),
        ("999.1.1.1", "10.0.0.1"),
        ("1" * 10_000, "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_that_no_trusted_proxy_is(forwarded, client):
    assert seen("10.0.0.1", **{"for": forwarded})[0] == client


@pytest.mark.parametrize(
    ("proto", "scheme"),
    [("https", "https"), ("HTTPS", "https"), ("http", "http"), ("ftp", "http"), ("", "http"), ("https,http", "http")],
)
def test_the_scheme_is_one_of_two(proto, scheme):
    assert seen("10.0.0.1", proto=proto)[1] == scheme


def test_the_address_is_noted_and_logged_as_the_proxy_tells_it(settings, clock, tmp_path):
    log = tmp_path / "access.log"
    options = {"trusted_proxies": "192.0.2.0/24", "logger__enabled": "true", "logger__file": log}
    app = App(settings(**options), clock)
    client = Client(app.wsgi, basic="mallory:a guess", address="192.0.2.1")
    client.get("/api/v1/users", headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.5"})
    assert app.store.activity.latest(1)[0]["address"] == "203.0.113.5"
    assert log.read_text().startswith("203.0.113.5 - mallory ")


def test_a_stranger_cannot_choose_his_address(app, client):
    client.get("/api/v1/users", basic="mallory:a guess", headers={"X-Forwarded-For": "203.0.113.5"})
    assert app.store.activity.latest(1)[0]["address"] == client.address


def test_cookies_are_for_https_only_where_the_browser_uses_https(settings, clock):
    app = App(settings(trusted_proxies="192.0.2.1"), clock)
    form = {"user": "admin", "passwd": ADMIN_PASSWORD}
    for proto, is_secure in (("https", True), ("http", False)):
        answer = Client(app.wsgi).post("/auth/local/login", form=form, headers={"X-Forwarded-Proto": proto})
        cookies = [value for name, value in answer.headers if name == "Set-Cookie"]
        assert len(cookies) == 2
        assert all(("Secure" in cookie) is is_secure for cookie in cookies)
