"""Every page and every form, given what no browser of ours would send: a clear page, never a fault."""

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from bottle import Bottle, Route

from regadmin.app import App
from regadmin.entities import Descriptor, ImageConfig, Manifest
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Answer, Client

NOT_PAGES = ("/api", "/auth", "/ping", "/healthz", "/readyz", "/metrics", "/static")
HTMX = {"HX-Request": "true", "HX-Target": "list", "HX-Current-URL": "http://[broken/\x7f?q=%ff"}
DIGEST = "sha256:" + "d" * 64
KNOWN = {"name": "team/app", "tag": "v1", "digest": quote(DIGEST), "kind": "user"}
BAD_QUERIES = {
    "broken UTF-8": "q=%ff%fe&page=%ff&platform=%c3%28",
    "zero bytes": "q=%00&sort=%00&platform=%00&user=%00&repo=a%00b&view=%00&next=%00&resource_name=%00",
    "unknown sort": "sort=password_hash",
    "a sort that is SQL": "sort=name;DROP%20TABLE%20users",
    "unknown filters": "role=king&status=asleep&group=x&kind=x&action=fly&event=x&period=x&visibility=x&days=x",
    "a page beyond the end": "page=999999",
    "a page that is too far": "page=" + "9" * 30,
    "pages that cannot be": "page=-1&per=0",
    "numbers of other scripts": "page=%D9%A1&per=%C2%B2&group=%C2%B2",
    "huge ids": f"group={'9' * 30}&since={'9' * 30}&until={'9' * 30}&after={'9' * 30}",
    "a search of 60 kB": "q=" + "x" * 60_000,
    "patterns": "q=%25_%5C%5B&resource_name=/(a%2B)%2B/&repo=/(((/&user=/(/",
    "too many fields": "&".join(["q=1"] * 1001),
    "no fields": "&&&===&=&;",
    "lines": "q=a%0d%0aSet-Cookie:%20x=y&next=/%0d%0aX:%20y&sort=%0a",
}
BAD_PIECES = ["9" * 15, "9" * 40, "-1", "%00", "%ff", "%0d%0aX:%20y", "..%2f..", "%E2%80%AE", "x" * 3000]
BAD_BODIES = {
    "a form of 1 MB": b"csrf=x&name=" + b"a" * 1_000_000,
    "broken UTF-8": b"csrf=%ff&login=%ff&name=\xff\xfe",
    "too many fields": b"&".join([b"a=1"] * 1001),
    "nothing": b"",
    "JSON": b'{"csrf": 1}',
    "another file": b"--x\r\nContent-Disposition: form-data; name=csrf\r\n\r\nx\r\n--x--",
    "a token that is no token": b"csrf=%00%E2%82%AC",
}
BAD_VALUES = {
    "zero bytes": "\0",
    "a number that is too large": "9" * 40,
    "a negative number": "-1",
    "lines": "a\r\nSet-Cookie: x=y",
    "text that is too long": "x" * 9000,
    "control characters": "\x1b[31m\u202e\u2028\x7f",
    "markup": "\"'><script>alert(1)</script>{{ 7*7 }}%(login)s",
    "patterns": "/(a+)+((/${login}",
    "nothing": "",
}


@pytest.fixture
def app(app: App, by) -> App:
    """With a thing of each kind that has the number 2, so that every page has something to show."""
    alice = app.users.create(by, "a good password", login="alice")
    app.groups.create(by, "crew")
    for action in ("pull", "push"):
        app.rules.create(by, alice.id, resource_name="team/*", action=action)
    config = Descriptor("sha256:" + "c" * 64, 100)
    manifest = Manifest(DIGEST, "application/vnd.oci.image.manifest.v1+json", "image", b"{}", config)
    app.store.repositories.save_manifest("team/app", manifest, ImageConfig("linux/amd64", 1_700_000_000, b"{}"))
    app.store.repositories.point_tag("team/app", "v1", DIGEST)
    app.store.repositories.refresh(["team/app"])
    return app


@pytest.fixture
def browser(app) -> Client:
    """An admin's, who may send everything."""
    browser = Client(app.wsgi)
    form = {"login": "admin", "password": ADMIN_PASSWORD, "csrf": token(browser.get("/login"))}
    assert browser.post("/login", form=form).status == 303
    return browser


def token(shown: Answer) -> str:
    return unescape(re.search(r'name="csrf" value="([^"]*)"', shown.text)[1])


def pages(app: App, method: str) -> Iterator[Route]:
    """The routes of the pages; signing out, which ends all, comes last."""
    part = app.wsgi
    while not isinstance(part, Bottle):
        part = part._app
    found = [route for route in part.routes if route.method == method and not route.rule.startswith(NOT_PAGES)]
    yield from sorted(found, key=lambda route: route.rule == "/logout")


def filled(rule: str, piece: str = "") -> str:
    """The address of a route, of something that is there or with this piece in place of each part."""
    return re.sub(r"<(\w+)[^>]*>", lambda part: piece or KNOWN.get(part[1], "2"), rule)


def check(answer: Answer, what: str) -> None:
    """502: the registry, which is away in these tests, was asked."""
    assert answer.status < 500 or answer.status == 502, (what, answer.status)
    assert "Traceback" not in answer.text, what
    assert "<script>alert" not in answer.text, what
    for name, value in answer.headers:
        assert "\n" not in value, (what, name)
        assert not value.startswith("x=y"), (what, name)
    if answer.status >= 400:
        assert "<h1" in answer.text or "toast" in answer.text or "<h2" in answer.text, (what, answer.text[:200])


def test_there_are_pages_and_forms_to_try(app):
    assert len(list(pages(app, "GET"))) > 20
    assert len(list(pages(app, "POST"))) > 10


@pytest.mark.parametrize("query", BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_every_page_bears_an_address_like_this(app, browser, query):
    for route in pages(app, "GET"):
        address = filled(route.rule) + "?" + query
        check(browser.get(address), route.rule)
        check(browser.get(address, headers=HTMX), route.rule)
        check(Client(app.wsgi).get(address), route.rule)


@pytest.mark.parametrize("piece", BAD_PIECES, ids=range(len(BAD_PIECES)))
def test_every_page_bears_a_path_like_this(app, browser, piece):
    for route in [*pages(app, "GET"), *pages(app, "POST")]:
        if "<" in route.rule:
            for headers in ({}, HTMX):
                answer = browser.request(route.method, filled(route.rule, piece), headers=headers)
                check(answer, f"{route.method} {route.rule}")


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_every_form_bears_a_body_like_this(app, browser, body):
    for route in pages(app, "POST"):
        for caller in (browser, Client(app.wsgi)):
            answer = caller.post(filled(route.rule), body=body)
            check(answer, route.rule)
            assert answer.status != 200, route.rule
        assert browser.get("/users").status == 200, f"{route.rule} signed out"


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_every_form_bears_fields_like_this(app, browser, value):
    for route in pages(app, "POST"):
        address = filled(route.rule)
        shown = browser.get(address)
        main = shown.text.partition("<main")[2] if shown.status == 200 else ""
        names = set(re.findall(r'name="([^"]+)"', main)) | {"id", "tag", "next", "back", "remove"}
        form = dict.fromkeys(names - {"csrf", "generate", "preview"}, value)
        check(browser.post(address, form=form | {"csrf": token(browser.get("/users"))}), route.rule)
