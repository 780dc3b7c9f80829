"""What the pages answer to htmx: dialogs, endings within a page, suggestions; and what app.js finds in their markup."""

import re
from html import unescape
from pathlib import Path

import pytest

from regadmin.entities import EVERYONE_ID, Descriptor, ImageConfig, Manifest, Role
from tests.rigs.client import Answer, Client
from tests.web.test_bad_input import filled, pages
from tests.web.test_pages import HTMX, hidden, sign_in, submit

DIGEST = "sha256:" + "d" * 64
TAG = "/repos/team/app/-/tags/v1"
QUESTIONS = ["/users/2/delete", "/groups/2/delete", "/access/1/delete", TAG + "/delete"]
DIALOG = HTMX | {"HX-Target": "dialogs"}
SCRIPT = (Path(__file__).parents[2] / "static" / "app.js").read_text()


@pytest.fixture
def alice(app, by):
    return app.users.create(by, "a good password", login="alice")


@pytest.fixture(autouse=True)
def things(app, by, alice):
    """User 2, group 2, rules 1 and 2, and a tag."""
    app.groups.create(by, "crew")
    app.rules.create(by, alice.id, resource_name="team/*", action="pull", name="alice pulls")
    app.rules.create(by, alice.id, resource_name="other/*", action="push", name="alice pushes")
    config = Descriptor("sha256:" + "c" * 64, 100)
    manifest = Manifest(DIGEST, "application/vnd.oci.image.manifest.v1+json", "image", b"{}", config)
    app.store.repositories.save_manifest("team/app", manifest, ImageConfig("linux/amd64", 1_700_000_000, b"{}"))
    app.store.repositories.point_tag("team/app", "v1", DIGEST)
    app.store.repositories.refresh(["team/app"])


@pytest.fixture
def boss(app) -> Client:
    browser = Client(app.wsgi)
    sign_in(browser)
    return browser


def seen_at(path: str) -> dict[str, str]:
    """The headers of htmx for a dialog over this page."""
    return DIALOG | {"HX-Current-URL": f"http://localhost{path}"}


def main_of(answer: Answer) -> str:
    return answer.text[answer.text.index("<main") : answer.text.index("</main>")]


def answered(browser: Client, question: str, seen: str, **fields: str) -> Answer:
    shown = browser.get(question, headers=seen_at(seen)).text
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown)
    form = {name: unescape(value) for name, value in found} | fields
    return browser.post(question, form=form, headers=seen_at(seen))


class TestQuestions:
    @pytest.mark.parametrize("question", QUESTIONS)
    def test_are_a_page_of_their_own_and_for_htmx_a_dialog(self, boss, question):
        page, dialog = boss.get(question), boss.get(question, headers=DIALOG)
        assert "<h1 id=\"question\">" in page.text
        assert "<dialog" not in page.text
        assert "hx-post" not in page.text[page.text.index("<main") : page.text.index("</main>")]
        assert dialog.text.startswith("<dialog aria-labelledby=\"question\">")
        assert dialog.text.rstrip().endswith("</dialog>")
        assert "<h2 id=\"question\">" in dialog.text
        assert f'hx-post="{question}"' in dialog.text
        assert "HX-Request" in dialog.header("Vary")

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_have_their_focus_on_the_way_back(self, boss, question):
        for headers in ({}, DIALOG):
            shown = boss.get(question, headers=headers).text
            focused = re.findall(r"<\w+ [^>]*autofocus[^>]*>", shown)
            assert len(focused) == 1
            assert "data-cancel" in focused[0]

    @pytest.mark.parametrize(
        ("page", "question"),
        [("/users/2",) * 2, ("/groups/2",) * 2, ("/access", "/access/1"), ("/access/1",) * 2, (TAG,) * 2],
    )
    def test_are_asked_in_place_by_the_links_that_lead_to_them(self, boss, page, question):
        link = f'href="{question}/delete" hx-get="{question}/delete" hx-target="#dialogs"'
        shown = boss.get(page).text
        assert link in shown
        assert 'id="dialogs"' in shown

    def test_that_are_answered_over_the_list_leave_it_to_be_read_anew(self, app, boss):
        answer = answered(boss, "/access/1/delete", "/access?q=team&page=1")
        assert (answer.status, answer.header("HX-Trigger")) == (204, "gone")
        assert answer.header("HX-Redirect") is None
        again = boss.get("/access?q=team", headers={"HX-Request": "false"}).text
        assert "The rule is deleted." in again
        assert "<main" in again

    @pytest.mark.parametrize(
        ("question", "seen", "goes_to"),
        [
            ("/access/1/delete", "/access/1", "/access"),
            ("/users/2/delete", "/users/2", "/users"),
            ("/groups/2/delete", "/groups/2", "/groups"),
            ("/groups/2/delete", "", "/groups"),
        ],
    )
    def test_that_are_answered_on_a_page_of_what_went_lead_to_the_list(self, boss, question, seen, goes_to):
        answer = answered(boss, question, seen)
        assert (answer.status, answer.header("HX-Redirect")) == (200, goes_to)

    def test_are_asked_again_with_a_fresh_token_if_the_form_was_too_old(self, app, boss):
        for question in QUESTIONS:
            for headers in ({}, DIALOG):
                answer = boss.post(question, form={"csrf": "0" * 64, "digest": DIGEST}, headers=headers)
                assert answer.status == 403, question
                assert "The form was too old" in answer.text
                assert "Nothing was deleted." in answer.text
                assert hidden(answer) == hidden(boss.get("/users"))
                assert ("<dialog" in answer.text) == bool(headers)
        assert all(boss.get(question).status == 200 for question in QUESTIONS)

    def test_that_cannot_be_followed_say_so_in_the_dialog(self, boss):
        for question in ("/users/1/delete", "/groups/1/delete"):
            answer = answered(boss, question, "/users", csrf=hidden(boss.get("/users")))
            assert answer.status == 409
            assert answer.text.startswith("<dialog")
            assert 'role="alert"' in answer.text
            assert "danger" not in answer.text

    def test_that_a_registry_cannot_follow_say_so_in_the_dialog(self, boss):
        answer = answered(boss, TAG + "/delete", "/repos/team/app")
        assert answer.status == 502
        assert answer.text.startswith("<dialog")
        assert "Nothing was deleted." in answer.text
        assert f'value="{DIGEST}"' in answer.text

    def test_about_what_is_gone_meanwhile_end_in_a_dialog_that_says_so(self, boss):
        answer = boss.get("/users/99/delete", headers=DIALOG)
        assert answer.status == 404
        assert answer.text.startswith("<dialog")
        assert answer.header("HX-Retarget") is None
        assert "data-cancel" in answer.text


class TestASessionThatIsOver:
    @pytest.mark.parametrize(
        ("current", "target"),
        [
            ("http://localhost/access?q=team&page=2", "/access?q=team&page=2"),
            ("https://elsewhere.example/users", "/users"),
            ("http://localhost//evil.example", "/"),
            ("http://[broken", "/access"),
            ("", "/access"),
        ],
    )
    def test_within_a_page_leads_to_the_sign_in_and_back_to_that_page(self, client, current, target):
        answer = client.get("/access?q=", headers=HTMX | {"HX-Current-URL": current})
        assert answer.status == 401
        assert unescape(answer.header("HX-Redirect")).startswith("/login?next=")
        assert hidden(client.get(answer.header("HX-Redirect")), "next").removesuffix("?q=") == target

    def test_on_a_page_leads_back_to_the_same_search(self, client):
        answer = client.get("/access?q=team")
        assert hidden(client.get(answer.header("Location")), "next") == "/access?q=team"

    def test_on_a_form_leads_back_to_the_page_of_the_form(self, client):
        answer = client.post("/users/2/edit", form={}, headers={"Referer": "http://localhost/users/2/edit"})
        assert hidden(client.get(answer.header("Location")), "next") == "/users/2/edit"
        assert client.post("/users/2/edit", form={}).header("Location") == "/login?next=%2F"


def test_a_role_that_is_lacking_is_named_and_nobody_is_signed_out(app, by):
    app.users.create(by, "a password", login="mary", role=Role.MANAGER)
    mary = Client(app.wsgi)
    sign_in(mary, "mary", "a password")
    for headers in ({}, HTMX, DIALOG):
        answer = mary.get("/users/2/delete", headers=headers)
        assert answer.status == 403
        assert "his needs the role admin; yours is manager" in answer.text
    assert "Sign out" in mary.get("/access").text


@pytest.mark.parametrize("headers", [HTMX, DIALOG])
def test_a_fault_of_ours_within_a_page_has_a_reference_and_no_traceback(app, boss, monkeypatch, headers):
    def break_down(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(app.store.users, "list_summaries", break_down)
    answer = boss.get("/users", headers=headers)
    assert answer.status == 500
    assert "secret detail" not in answer.text
    assert re.search(r"\b[0-9a-f]{8}\b", answer.text)
    assert answer.header("HX-Retarget") == ("#toasts" if headers is HTMX else None)


class TestSuggestions:
    @pytest.mark.parametrize(
        ("address", "found"),
        [
            ("user?user=ALI", ["alice"]),
            ("user?login=ali", ["alice"]),
            ("user", ["admin", "alice"]),
            ("group?group=cre", ["crew"]),
            ("repository?repo=APP", ["team/app"]),
            ("repository?repo=zzz", []),
        ],
    )
    def test_are_the_names_that_hold_what_is_typed(self, boss, address, found):
        answer = boss.get(f"/access/suggestions/{address}", headers=HTMX)
        assert answer.status == 200
        assert re.findall(r'<option value="([^"]*)">', answer.text) == found

    def test_of_a_kind_that_does_not_exist_are_not_found(self, boss):
        assert boss.get("/access/suggestions/planet").status == 404

    def test_come_with_what_a_pattern_matches(self, boss):
        shown = boss.get("/access/matches?resource_name=team", headers=HTMX).text
        assert "Matches no repository yet" in shown
        assert re.search(r'<datalist id="resource_name-list" hx-swap-oob="innerHTML"><option value="team/app">', shown)

    def test_are_asked_for_by_fields_that_also_know_some_by_themselves(self, boss):
        for page, field, address in (
            ("/access/new", "user", "/access/suggestions/user"),
            ("/access/new", "group", "/access/suggestions/group"),
            ("/access/new", "resource_name", "/access/matches"),
            ("/access/check", "repo", "/access/suggestions/repository"),
            ("/groups/2", "login", "/access/suggestions/user"),
        ):
            shown = boss.get(page).text
            assert re.search(rf'<input id="{field}"[^>]*list="{field}-list"[^>]*hx-get="{address}"', shown, re.S), page
            assert re.search(rf'<datalist id="{field}-list"><option', shown), page

    def test_are_for_those_who_may_read_rules(self, app, boss, by):
        app.users.create(by, "a password", login="ulla")
        app.rules.create(by, EVERYONE_ID, resource_name="open/*", action="pull")
        ulla = Client(app.wsgi)
        sign_in(ulla, "ulla", "a password")
        assert ulla.get("/access/suggestions/user").status == 403
        assert Client(app.wsgi).get("/access/suggestions/user").status == 303


class TestKeys:
    def keys(self, answer: Answer) -> dict[str, str]:
        """What has a key, by the key: an address or a field's name."""
        found = {}
        for element in re.findall(r"<(?:a|input) [^>]*data-key=[^>]*>", answer.text):
            key = unescape(re.search(r'data-key="([^"]*)"', element)[1])
            found[key] = re.search(r'(?:href|name)="([^"]*)"', element)[1]
        return found

    def test_lead_where_the_menu_of_the_reader_leads(self, app, boss, by):
        keys = self.keys(boss.get("/users"))
        expected = {"g r": "/repos", "g a": "/access", "g u": "/users", "g p": "/groups", "n": "/users/new", "/": "q"}
        assert keys.items() >= expected.items()
        app.users.create(by, "a password", login="ulla")
        ulla = Client(app.wsgi)
        sign_in(ulla, "ulla", "a password")
        keys = self.keys(ulla.get("/repos"))
        assert keys["g r"] == "/repos"
        assert keys.keys().isdisjoint({"g a", "g u", "g p", "n"})

    def test_can_be_switched_off(self, boss):
        assert "data-shortcuts" not in boss.get("/users").text
        boss.cookies["shortcuts"] = "off"
        assert 'data-shortcuts="off"' in boss.get("/users").text
        assert "dataset.shortcuts" in SCRIPT


def test_forms_that_htmx_sends_drop_a_second_press(boss):
    for page in ("/access", *QUESTIONS):
        shown = boss.get(page, headers=DIALOG if page in QUESTIONS else None).text
        for form in re.findall(r"<form [^>]*hx-post[^>]*>", shown):
            assert 'hx-sync="this:drop"' in form


def test_every_form_comes_back_with_its_input_and_a_fresh_token_if_it_was_too_old(app, boss):
    shown, tried = {filled(route.rule) for route in pages(app, "GET")}, set()
    for address in sorted(shown & {filled(route.rule) for route in pages(app, "POST")}):
        # The other pages of this path only show; the form is on the page of the same address.
        form = main_of(Client(app.wsgi).get(address) if address == "/login" else boss.get(address))
        texts = re.findall(r'<(?:textarea|input)(?![^>]*type="(?!text|search))[^>]* name="(\w+)"', form)
        texts = set(texts) - {"q", "username"}
        if not texts:
            continue
        caller = Client(app.wsgi) if address == "/login" else boss
        answer = caller.post(address, form=dict.fromkeys(texts, "kept") | {"csrf": "0" * 64})
        assert answer.status == 403, address
        again = main_of(answer)
        assert "The form was too old" in again, address
        assert 'name="csrf"' in again, address
        assert 'name="csrf" value="0000' not in again, address
        assert "kept" in again or texts == {"typed"}, address
        tried.add(address)
    assert tried >= {"/login", "/account", "/users/new", "/users/2/edit", "/groups/2", "/access/new", "/access/2"}


def test_a_form_that_was_too_old_is_accepted_the_second_time(app, boss):
    boss.post("/groups/new", form={"name": "late", "csrf": "0" * 64})
    assert submit(boss, "/groups/new", "/groups/new", name="late").status == 303
