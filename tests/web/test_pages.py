"""The first pages, as a browser without JavaScript sees them, and the fragments that htmx asks for."""

import re
from html import unescape

import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Descriptor, ImageConfig, Manifest
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Answer, Client

HTMX = {"HX-Request": "true"}


@pytest.fixture
def browser(app) -> Client:
    return Client(app.wsgi)


@pytest.fixture
def images(app):
    """Two repositories in the index, one tag each."""

    def put(name: str, tag: str) -> None:
        digest = "sha256:" + f"{abs(hash((name, tag))):064x}"[-64:]
        config = Descriptor("sha256:" + "c" * 64, 100)
        manifest = Manifest(digest, "application/vnd.oci.image.manifest.v1+json", "image", b"{}", config)
        app.store.repositories.save_manifest(name, manifest, ImageConfig("linux/amd64", 1_700_000_000, b"{}"))
        app.store.repositories.point_tag(name, tag, digest)
        app.store.repositories.refresh([name])

    put("team/app", "v1")
    put("open/tool", "v2")
    return put


def hidden(answer: Answer, name: str = "csrf") -> str:
    return unescape(re.search(rf'name="{name}" value="([^"]*)"', answer.text)[1])


def submit(browser: Client, page: str, to: str, **fields: str) -> Answer:
    """Fill in the form of a page as a browser would, with its hidden fields."""
    shown = browser.get(page)
    return browser.post(to, form={"csrf": hidden(shown)} | fields)


def sign_in(browser: Client, login: str = "admin", password: str = ADMIN_PASSWORD, **fields: str) -> Answer:
    return submit(browser, "/login", "/login", login=login, password=password, **fields)


def user(admin: Client, **fields) -> int:
    body = {"login": "alice", "password": "alice-pass", "role": "user"} | fields
    return admin.post("/api/v1/users", json=body).json["id"]


def test_signing_in_leads_to_the_page_that_was_wanted(browser):
    answer = sign_in(browser, next="/repos?q=team")
    assert (answer.status, answer.header("Location")) == (303, "/repos?q=team")
    assert "Sign out" in browser.get("/repos").text


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "/\r\nX: y"]
)
def test_signing_in_never_leads_to_another_site(browser, target):
    assert sign_in(browser, next=target).header("Location") == "/"


@pytest.mark.parametrize(("login", "password"), [("admin", "a guess"), ("nobody", "a guess"), ("alice", "alice-pass")])
def test_every_failure_to_sign_in_looks_the_same_and_keeps_the_login(browser, admin, login, password):
    user(admin, blocked=True)
    answer = sign_in(browser, login, password)
    assert answer.status == 401
    assert "Login or password is wrong, or the account is blocked." in answer.text
    assert f'value="{login}"' in answer.text
    assert password not in answer.text
    assert "JWT" not in browser.cookies


def test_a_form_from_elsewhere_signs_nobody_in_and_keeps_the_login(browser):
    browser.get("/login")
    answer = browser.post("/login", form={"login": "admin", "password": ADMIN_PASSWORD, "csrf": "0" * 64})
    assert answer.status == 403
    assert 'value="admin"' in answer.text
    assert "JWT" not in browser.cookies


def test_a_form_of_one_visitor_is_worth_nothing_to_another(app):
    one, other = Client(app.wsgi), Client(app.wsgi)
    stolen = hidden(one.get("/login"))
    other.get("/login")
    form = {"login": "admin", "password": ADMIN_PASSWORD, "csrf": stolen}
    assert other.post("/login", form=form).status == 403


def test_signing_out_ends_the_session_and_says_so(browser):
    sign_in(browser)
    kept = dict(browser.cookies)
    answer = submit(browser, "/repos", "/logout")
    assert answer.header("Location") == "/login"
    assert "You are signed out." in browser.get("/login").text
    browser.cookies = kept
    assert "Sign out" not in browser.get("/repos").text


def test_signing_out_needs_the_form(browser):
    sign_in(browser)
    assert browser.post("/logout", form={}).status == 403
    assert "Sign out" in browser.get("/repos").text


class TestTheDefaultPassword:
    @pytest.fixture
    def app(self, settings, clock) -> App:
        return App(settings(store__admin_password="admin"), clock)

    def test_leads_only_to_its_change(self, browser):
        assert sign_in(browser, password="admin").header("Location") == "/password"
        for page in ("/", "/repos", "/repos/team/app"):
            assert browser.get(page).header("Location") == "/password"
        assert "Until you choose your own" in browser.get("/password").text

    def test_is_changed_once_and_for_all(self, app, browser):
        sign_in(browser, password="admin")
        answer = submit(browser, "/password", "/password", new="a better one", repeat="a better one")
        assert answer.header("Location") == "/"
        assert "Your password is changed." in browser.get("/repos").text
        assert sign_in(Client(app.wsgi), password="admin").status == 401
        assert sign_in(Client(app.wsgi), password="a better one").status == 303

    @pytest.mark.parametrize(
        ("new", "repeat", "words"),
        [
            ("short", "short", "6 to 72 bytes"),
            ("long enough", "different", "must be the same"),
            ("x" * 73, "x" * 73, "6 to 72 bytes"),
        ],
    )
    def test_is_not_changed_to_just_anything(self, browser, new, repeat, words):
        sign_in(browser, password="admin")
        answer = submit(browser, "/password", "/password", new=new, repeat=repeat)
        assert answer.status == 422
        assert words in answer.text
        assert 'aria-invalid="true"' in answer.text
        assert new not in answer.text


def test_changing_the_password_needs_the_old_one_and_ends_other_sessions(app, browser):
    other = Client(app.wsgi)
    sign_in(browser)
    sign_in(other)
    wrong = submit(browser, "/password", "/password", old="wrong", new="a new one", repeat="a new one")
    assert wrong.status == 422
    right = submit(browser, "/password", "/password", old=ADMIN_PASSWORD, new="a new one", repeat="a new one")
    assert right.status == 303
    assert "Sign out" in browser.get("/repos").text
    assert "Sign out" not in other.get("/repos").text


def test_a_stranger_sees_what_is_shared_with_everybody_and_nothing_else(client, admin, images):
    assert client.get("/").header("Location") == "/login"
    rule = {"owner_id": EVERYONE_ID, "type": "repository", "resource_name": "open/*", "action": "pull"}
    admin.post("/api/v1/access", json=rule)
    assert client.get("/").header("Location") == "/repos"
    shown = client.get("/repos").text
    assert "tool" in shown
    assert "team/" not in shown
    assert client.get("/repos/open/tool").status == 200
    private, missing = client.get("/repos/team/app"), client.get("/repos/no/such")
    assert (private.status, missing.status) == (404, 404)


def test_a_user_sees_what_he_may_pull_with_his_rights(app, admin, images, browser):
    owner = user(admin)
    rule = {"owner_id": owner, "type": "repository", "resource_name": "team/app", "action": "push"}
    admin.post("/api/v1/access", json=rule)
    sign_in(browser, "alice", "alice-pass")
    shown = browser.get("/repos").text
    assert "/repos/team/app" in shown
    assert "open/" not in shown
    assert "Pull" in shown
    assert "Push" in shown


def test_a_page_for_the_signed_in_leads_a_stranger_to_the_sign_in_and_back(client):
    assert client.get("/password").header("Location") == "/login?next=%2Fpassword"


def test_the_tags_of_a_repository_are_listed_with_a_pull_command(images, browser):
    sign_in(browser)
    shown = browser.get("/repos/team/app")
    assert "docker pull 127.0.0.1:1/team/app:v1" in shown.text
    assert "linux/amd64" in shown.text


def test_htmx_gets_the_list_alone_and_the_address_to_show(images, browser):
    sign_in(browser)
    answer = browser.get("/repos?q=team&sort=name&page=1&per=25", headers=HTMX)
    assert "<html" not in answer.text
    assert 'id="list"' in answer.text
    assert answer.header("HX-Push-Url") == "/repos?q=team"
    assert "HX-Request" in answer.header("Vary")
    restored = browser.get("/repos?q=team", headers=HTMX | {"HX-History-Restore-Request": "true"})
    assert "<html" in restored.text


def test_htmx_gets_an_error_as_a_toast_and_the_list_stays(browser):
    sign_in(browser)
    answer = browser.get("/repos?sort=bogus", headers=HTMX)
    assert answer.status == 400
    assert answer.header("HX-Retarget") == "#toasts"
    assert "<html" not in answer.text
    assert "cannot sort by" in answer.text


def test_a_session_that_is_over_within_a_page_leads_to_the_sign_in(browser):
    answer = browser.get("/password", headers=HTMX)
    assert (answer.status, answer.header("HX-Redirect")) == (401, "/login?next=%2Fpassword")


def test_a_fragment_leaves_the_message_for_the_next_page(app, browser):
    sign_in(browser)
    submit(browser, "/password", "/password", old=ADMIN_PASSWORD, new="a new one", repeat="a new one")
    browser.get("/repos", headers=HTMX)
    assert "Your password is changed." in browser.get("/repos").text


def test_choosing_a_theme_leads_back_to_the_same_search(browser):
    sign_in(browser)
    assert hidden(browser.get("/repos?q=team&page=1"), "next") == "/repos?q=team&page=1"


def test_searching_and_sorting_are_in_the_address(images, browser):
    images("team/web", "v1")
    sign_in(browser)
    found = browser.get("/repos?q=TEAM&sort=-name").text
    assert found.index("/repos/team/web") < found.index("/repos/team/app")
    assert "/repos/open/tool" not in found
    assert "No repository matches" in browser.get("/repos?q=zzz").text
    assert "This page is empty" in browser.get("/repos?page=99").text


@pytest.mark.parametrize("query", ["page=0", "page=x", "page=99999999999999", "per=7", "sort=password_hash", "q=%ff"])
def test_a_state_that_cannot_be_is_a_clear_page(browser, query):
    sign_in(browser)
    answer = browser.get(f"/repos?{query}")
    assert answer.status == 400
    assert "This request cannot be read" in answer.text


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\u202egnp.exe"])
def test_text_of_strangers_is_shown_as_text(app, images, browser, hostile):
    digest = app.store.repositories.tag_digest("team/app", "v1")
    app.store.repositories.record_push("team/app", "v1", digest, 1_700_000_000, hostile)
    sign_in(browser)
    for page in ("/repos", "/repos/team/app", "/repos?" + "q=%3Cscript%3E"):
        shown = browser.get(page).text
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown


def test_every_answer_has_the_headers_that_keep_it_safe(app, browser):
    sign_in(browser)
    css = re.search(r'href="(/static/[^"]+css)"', browser.get("/repos").text)[1]
    for page in ("/repos", "/nowhere", "/api/v1/users", "/api/nowhere", "/ping", css, "/static/none", "/password"):
        answer = browser.get(page)
        policy = answer.header("Content-Security-Policy")
        assert "default-src 'none'" in policy, page
        assert "unsafe" not in policy
        assert answer.header("X-Content-Type-Options") == "nosniff", page
    assert browser.get("/repos").header("Cache-Control") == "no-store"
    assert "immutable" in browser.get(css).header("Cache-Control")


@pytest.mark.parametrize("path", ["/static/../setup.cfg", "/static/%2e%2e/setup.cfg", "/static/app.css", "/static/"])
def test_only_static_files_under_their_hashed_names_are_sent(client, path):
    assert client.get(path).status == 404


def test_the_theme_is_kept_in_a_cookie(browser):
    assert 'data-theme="system"' in browser.get("/login").text
    answer = submit(browser, "/login", "/theme", theme="dark", next="/login")
    assert answer.header("Location") == "/login"
    assert 'data-theme="dark"' in browser.get("/login").text
    submit(browser, "/login", "/theme", theme="<x>", next="/login")
    assert 'data-theme="dark"' in browser.get("/login").text


def test_a_fault_of_ours_is_a_page_with_a_reference_and_no_traceback(app, browser, monkeypatch):
    sign_in(browser)

    def break_down(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(app.store.repositories, "list", break_down)
    answer = browser.get("/repos")
    assert answer.status == 500
    assert "secret detail" not in answer.text
    assert re.search(r"<code>[0-9a-f]{8}</code>", answer.text)


def test_a_form_that_is_too_long_is_refused(browser):
    assert browser.post("/login", body=b"login=" + b"a" * 1_000_000).status == 400
