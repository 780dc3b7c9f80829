"""Every page and form, given random addresses, fields and headers by everybody: an answer of ours, never a fault."""

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from bottle import Bottle
from hypothesis import given
from hypothesis import strategies as st

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Role
from regadmin.registry import manifests
from regadmin.web import pages
from regadmin.web.answers import SECURE_HEADERS
from regadmin.web.inputs import FORM
from tests.rigs import images
from tests.rigs.client import Answer, Client
from tests.rigs.fuzzing import examples
from tests.web.conftest import PASSWORD

CALLERS = ("anonymous", "blocked", "user", "manager", "admin")
IMAGE = images.oci_image()
KINDS = ("text/html; charset=UTF-8", "text/csv; charset=UTF-8; header=present", "application/x-x509-ca-cert")

nasty = st.sampled_from(
    ["\0", "..", "../..", "/", "//", "\\", "%", "%2e", "\r\nX: y", "\u202e", "\ud800", "'", '"><b>', "{{7*7}}", "%s"]
    + ["/(a+)+/", "-1", "0", "9" * 15, "9" * 40, "x" * 5000, "-", "*", "=", ";", "&"]
)
fitting = st.sampled_from(
    ["1", "2", "team/app", "v1", IMAGE.digest, "the user", "crew", "user", "pull", "name", "-name", "${login}/*", "all"]
    + ["login", "-id", "repository", "25", "en", "dark", "UTC", "team/*", "tags", "image", "others", PASSWORD, "/repos"]
)
pieces = fitting | nasty | st.text(max_size=20) | st.lists(nasty | st.text(max_size=3), max_size=4).map("".join)
raw = pieces.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=20)
targets = st.lists(raw, max_size=5).map(lambda parts: (b"/" + b"/".join(parts)).decode("latin-1"))
HEADERS = ["Accept-Language", "Authorization", "Host", "Origin", "Referer", "Sec-Fetch-Site", "User-Agent", "X-JWT"]
HEADERS += ["HX-Request", "HX-Target", "HX-Trigger", "HX-Current-URL", "HX-History-Restore-Request"]
HEADER_VALUES = ["true", "list", "dialogs", "http://[x/", "ja;q=x,ru;q=1e999,*;q=nan", "Basic Og==", "cross-site"]
COOKIES = ["JWT", "XSRF-TOKEN", "visitor", "language", "theme", "flash", "shortcuts", ""]
COOKIE_VALUES = ["a.b.c", "ru", "light", "user-created", "off", '"', "=;="]
native = raw.map(lambda value: value.decode("latin-1"))
headers = st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(HEADER_VALUES) | native, max_size=4)
cookies = st.dictionaries(st.sampled_from(COOKIES), st.sampled_from(COOKIE_VALUES) | native, max_size=3)


def fields_of(names: list[str]) -> st.SearchStrategy[str]:
    """A query or a form in which some fields have such names."""
    fields = st.tuples(st.sampled_from(names) | pieces.map(lambda text: text.encode(errors="replace").decode()), raw)
    return st.lists(fields, max_size=6).map(urlencode) | native


@pytest.fixture
def app(app: App, by, add_user, allow) -> App:
    """There is something of each kind, so that what fits is found."""
    group = app.groups.create(by, "crew")
    for name in CALLERS[1:]:
        role = Role.USER if name == "blocked" else Role(name)
        add_user(f"the {name}", role, [group.id], is_blocked=name == "blocked")
    allow(group, "team/*", "push")
    allow(EVERYONE_ID, "team/*")
    manifest = manifests.parse(IMAGE.raw, IMAGE.media_type)
    app.store.repositories.save_manifest("team/app", manifest, manifests.parse_config(b"{}"))
    app.store.repositories.point_tag("team/app", "v1", IMAGE.digest)
    app.store.repositories.refresh(["team/app"])
    return app


@pytest.fixture
def sign_in(app) -> Callable[[str], tuple[dict[str, str], str]]:
    """Cookies of a caller with a session that nobody has ended yet, and what his forms must send along."""

    def sign_in(name: str) -> tuple[dict[str, str], str]:
        known = app.store.users.find_login(f"the {name}")
        if not known:
            return {"visitor": "v"}, app.sessions.csrf("v")
        session = app.sessions.start(known[0], "192.0.2.1", "")
        return {"JWT": session.token}, app.sessions.csrf(session.session_id)

    return sign_in


@pytest.fixture
def rules(app) -> list[tuple[str, str]]:
    """Method and path of each page."""
    part = app.wsgi
    while not isinstance(part, Bottle):
        part = part._app
    not_pages = ("/api", "/auth", "/ping", "/static", "/metrics", "/healthz", "/readyz")
    return [(route.method, route.rule) for route in part.routes if not route.rule.startswith(not_pages)]


@pytest.fixture(scope="session")
def names() -> list[str]:
    """Of all fields and parameters that the pages read, and some words more: what their sources hold between quotes."""
    sources = Path(pages.__file__).parent.glob("*.py")
    return sorted({name for path in sources for name in re.findall(r'"([a-z_]{1,20})"', path.read_text())})


def check(answer: Answer, caplog) -> None:
    """502: the registry, which is away, was asked."""
    assert answer.status < 500 or answer.status == 502, answer.text
    assert not [record for record in caplog.records if record.exc_info]
    assert set(SECURE_HEADERS) <= set(answer.headers)
    for name, value in answer.headers:
        assert value.encode("latin-1").isascii() and value.isprintable(), name
    if answer.body:
        assert answer.header("Content-Type") in KINDS
        assert answer.status < 400 or re.search("<h1|<h2|toast", answer.text)


@examples(150)
@given(data=st.data())
def test_every_address_is_answered_by_a_page(app, sign_in, rules, names, caplog, data):
    own, _ = sign_in(data.draw(st.sampled_from(CALLERS)))
    method, rule = data.draw(st.sampled_from(rules))
    target = data.draw(st.just(rule) | targets)
    given = {
        "REQUEST_METHOD": data.draw(
            st.just(method) | st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "get"])
        ),
        "PATH_INFO": re.sub(r"<[^>]*>", lambda _: data.draw(raw).decode("latin-1"), target),
        "QUERY_STRING": data.draw(fields_of(names)),
    }
    check(send(app, given, own | data.draw(cookies), data.draw(headers)), caplog)


@examples(150)
@given(data=st.data())
def test_every_form_is_answered_by_a_page(app, sign_in, rules, names, caplog, data):
    own, csrf = sign_in(data.draw(st.sampled_from(CALLERS)))
    rule = data.draw(st.sampled_from([rule for method, rule in rules if method == "POST"]))
    token = data.draw(st.sampled_from([csrf, csrf, csrf, "", "x", "\0é"]))
    given = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": re.sub(r"<[^>]*>", lambda _: data.draw(native), rule),
        "CONTENT_TYPE": data.draw(st.sampled_from(["", FORM, FORM, "multipart/form-data; boundary=x", ";;\x7f"])),
    }
    body = (urlencode({"csrf": token}) + "&" + data.draw(fields_of(names))).encode("latin-1")
    answer = send(app, given, own | data.draw(cookies), data.draw(headers), body)
    check(answer, caplog)
    if token != csrf:
        assert answer.status not in (200, 204)


def send(app: App, given: dict, cookies: dict, headers: dict, body: bytes = b"") -> Answer:
    """A request with these values in its WSGI environment, however strange they are."""
    client = Client(lambda environ, start: app.wsgi(environ | given, start), cookies=cookies)
    return client.request("GET", "/", body=body, headers=headers)


def test_wrong_credentials_for_a_page_that_is_not_there_are_wrong_credentials(client, caplog):
    for address in ("/nothing", "/access/x/y/z", "/users/x"):
        for basic in ("nobody:a guess", "x"):
            answer = client.get(address, basic=basic)
            assert answer.status == 401
            check(answer, caplog)
