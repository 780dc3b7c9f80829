"""The pages of the access rules, as a browser without JavaScript sees them, and what htmx asks for."""

import re
from html import unescape

import jwt
import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Descriptor, ImageConfig, Manifest, Rule
from regadmin.store.listing import Listing
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Answer, Client

HTMX = {"HX-Request": "true"}
PASSWORD = "long enough"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
READS = ("/access", "/access/check", "/access/check?user=&repo=team/app&action=pull")
WRITES = (
    ("GET", "/access/new"),
    ("POST", "/access/new"),
    ("GET", "/access/1"),
    ("POST", "/access/1"),
    ("POST", "/access/1/status"),
    ("GET", "/access/1/delete"),
    ("POST", "/access/1/delete"),
    ("GET", "/access/matches?resource_name=**"),
)


class Browser(Client):
    """A client that fills in the forms of pages, with their hidden fields."""

    def sign_in(self, login: str, password: str) -> "Browser":
        assert self.submit("/login", login=login, password=password).status == 303
        return self

    def submit(self, page: str, to: str = "", **fields: str) -> Answer:
        token = re.search(r'name="csrf" value="([^"]*)"', self.get(page).text)[1]
        return self.post(to or page, form={"csrf": unescape(token)} | fields)

    def rule(self, page: str = "/access/new", **fields: str) -> Answer:
        filled = {"kind": "user", "user": "alice", "type": "repository", "resource_name": "team/app", "action": "pull"}
        return self.submit(page, **filled | {"enabled": "1"} | fields)


@pytest.fixture(autouse=True)
def people(app, by) -> dict[str, int]:
    """Alice of the crew, Bob, Mara the manager, and Bert who is blocked; by login."""
    crew = app.groups.create(by, "crew")
    roles = {"alice": "user", "bob": "user", "bert": "user", "mara": "manager"}
    found = {login: app.users.create(by, login=login, password=PASSWORD, role=role).id for login, role in roles.items()}
    app.users.update(found["alice"], by, group_ids=[crew.id])
    app.users.update(found["bert"], by, is_blocked=True)
    return found | {"crew": crew.id}


@pytest.fixture(autouse=True)
def repositories(app):
    for name in ("team/app", "team/api", "team/tools/lint", "open/hello"):
        digest = "sha256:" + f"{abs(hash(name)):064x}"[-64:]
        config = Descriptor("sha256:" + "c" * 64, 100)
        manifest = Manifest(digest, "application/vnd.oci.image.manifest.v1+json", "image", b"{}", config)
        app.store.repositories.save_manifest(name, manifest, ImageConfig("linux/amd64", 1_700_000_000, b"{}"))


@pytest.fixture
def add(app, by, people):
    """`add("alice", "team/app", "push")`; the owner is a login, `crew` or a number of the contract."""

    def add(owner, resource_name: str = "team/app", action: str = "pull", **fields) -> Rule:
        number = people.get(owner, owner)
        fields = {"resource_name": resource_name, "action": action} | fields
        return app.rules.create(by, number, owner == "crew", **fields)

    return add


@pytest.fixture
def browser(app) -> Browser:
    return Browser(app.wsgi).sign_in("admin", ADMIN_PASSWORD)


@pytest.fixture
def manager(app) -> Browser:
    return Browser(app.wsgi).sign_in("mara", PASSWORD)


def rules(app) -> list[Rule]:
    return app.rules.list(Listing()).rows


def words(answer: Answer) -> str:
    """The text that is read, in one line."""
    main = answer.text.partition("<main")[2] or answer.text
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


class TestWhoMayCome:
    @pytest.fixture(autouse=True)
    def a_rule(self, add):
        add("bob")

    @pytest.mark.parametrize("page", READS)
    def test_managers_and_admins_read(self, app, browser, manager, page):
        assert browser.get(page).status == manager.get(page).status == 200
        assert Client(app.wsgi).get(page).header("Location").startswith("/login?next=%2Faccess")
        assert Browser(app.wsgi).sign_in("alice", PASSWORD).get(page).status == 403

    @pytest.mark.parametrize(("method", "page"), WRITES)
    def test_only_admins_write(self, app, manager, method, page):
        alice = Browser(app.wsgi).sign_in("alice", PASSWORD)
        assert Client(app.wsgi).request(method, page).status == 303
        for person in (alice, manager):
            answer = person.request(method, page, form={} if method == "POST" else None)
            assert answer.status == 403
            assert "this needs the role admin" in answer.text.lower()
            assert "Sign out" in person.get("/repos").text
        assert len(rules(app)) == 1

    def test_a_manager_is_offered_nothing_that_writes(self, manager):
        for page in (*READS, "/access?q=zzz"):
            shown = manager.get(page).text.partition("<main")[2].partition("</main")[0]
            assert 'method="post"' not in shown
            assert "/access/new" not in shown
            assert "/access/1" not in shown

    @pytest.mark.parametrize("page", [page for method, page in WRITES if method == "POST"])
    def test_a_change_needs_our_form(self, app, browser, page):
        before = rules(app)
        form = {"kind": "everyone", "resource_name": "kept/input", "action": "pull", "type": "repository"}
        answer = browser.post(page, form=form | {"csrf": "0" * 64})
        assert answer.status == 403
        assert rules(app) == before
        if page in ("/access/new", "/access/1"):
            assert 'value="kept/input"' in answer.text

    @pytest.mark.parametrize("page", ["/access/99", "/access/99/delete", "/access/-999", "/access/no"])
    def test_a_rule_that_is_not_there_is_a_clear_page(self, browser, page):
        assert browser.get(page).status == 404


class TestTheList:
    @pytest.fixture(autouse=True)
    def some_rules(self, add):
        add("alice", "team/app", "push", name="builds")
        add("crew", "team/**")
        add(REGISTERED_ID, "${login}/**", "*")
        add(EVERYONE_ID, "/open\\/.*/")
        add("bob", "not/yet", is_disabled=True)
        add("bob", "catalog", "*", resource_type="registry")

    def test_says_who_may_do_what_with_what(self, browser):
        shown = words(browser.get("/access"))
        for part in (
            "alice user team/ app Pull Push builds",
            "crew group team/** matches 3 Pull",
            "All signed-in users ${login}/** depends on who asks Everything",
            "Everyone, also anonymous /open\\/.*/ matches 1 Pull",
            "bob user not/ yet not pushed yet Pull",
            "bob user Catalog listing List",
        ):
            assert part in shown, part

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("kind=group", 1), ("kind=user", 3), ("kind=registered", 1), ("kind=everyone", 1),
            ("action=push", 1), ("action=*", 2), ("status=disabled", 1), ("status=enabled", 5),
            ("q=bob", 2), ("q=BUILDS", 1), ("q=team/", 2), ("kind=user&q=team", 1), ("kind=&action=&status=", 6),
        ],
    )  # fmt: skip
    def test_is_narrowed(self, browser, query, found):
        assert f"of {found}" in words(browser.get(f"/access?{query}"))

    @pytest.mark.parametrize("query", ["kind=x", "action=fly", "status=2", "sort=password", "page=0", "q=%ff"])
    def test_a_state_that_cannot_be_is_a_clear_page(self, browser, query):
        assert browser.get(f"/access?{query}").status == 400

    def test_htmx_gets_the_list_alone_and_the_address_to_show(self, browser):
        answer = browser.get("/access?q=&kind=user&action=&status=&sort=-owner&per=25", headers=HTMX)
        assert "<html" not in answer.text
        assert answer.header("HX-Push-Url") == "/access?sort=-owner&kind=user"
        assert "sort=name&amp;kind=user" in answer.text

    @pytest.mark.parametrize("sort", ["owner", "-owner", "resource_name", "-action", "name", "disabled"])
    def test_is_sorted(self, browser, sort):
        assert "1–6 of 6" in browser.get(f"/access?sort={sort}").text

    def test_nothing_found_offers_a_way_back(self, browser):
        assert "Show all rules" in browser.get("/access?q=zzz").text
        assert "This page is empty" in browser.get("/access?page=9").text

    def test_takes_as_many_queries_for_many_rules_as_for_few(self, app, add, browser):
        def count() -> int:
            seen = []
            app.store.database.connection.set_trace_callback(seen.append)
            browser.get("/access?per=100")
            app.store.database.connection.set_trace_callback(None)
            return len(seen)

        few = count()
        assert few > 1
        for number in range(40):
            add("bob", f"many/{number}")
            add("crew", f"many/{number}/**")
        assert count() == few


def test_without_rules_the_list_says_what_rules_are_for(browser, manager):
    assert "Create the first rule" in browser.get("/access").text
    assert "Create the first rule" not in manager.get("/access").text


class TestTheSwitch:
    def test_disables_and_enables_without_javascript_and_leads_back(self, app, add, browser):
        rule = add("bob")
        answer = browser.submit("/access", f"/access/{rule.id}/status", back="/access?q=team")
        assert (answer.status, answer.header("Location")) == (303, "/access?q=team")
        assert rules(app)[0].is_disabled
        assert "The rule is disabled." in browser.get("/access").text
        browser.submit("/access", f"/access/{rule.id}/status", enabled="1", back="https://evil.example")
        assert not rules(app)[0].is_disabled

    def test_answers_htmx_with_the_row(self, add, browser):
        rule = add("bob")
        csrf = re.search(r'name="csrf" value="([^"]*)"', browser.get("/access").text)[1]
        form = {"csrf": csrf, "back": "/access?q=b"}
        answer = browser.post(f"/access/{rule.id}/status", form=form, headers=HTMX)
        assert answer.status == 200
        assert answer.text.strip().startswith("<tr")
        assert 'aria-checked="false"' in answer.text
        assert 'value="/access?q=b"' in answer.text


class TestCreating:
    @pytest.mark.parametrize(
        ("fields", "owner"),
        [
            ({"kind": "user", "user": "alice"}, "alice"),
            ({"kind": "group", "group": "crew"}, "crew"),
            ({"kind": "registered"}, REGISTERED_ID),
            ({"kind": "everyone", "user": "ignored"}, EVERYONE_ID),
        ],
    )
    def test_a_rule_for_everyone_that_can_own_one(self, app, browser, people, fields, owner):
        answer = browser.rule(**fields)
        assert (answer.status, answer.header("Location")) == (303, "/access")
        assert "The rule is created." in browser.get("/access").text
        (rule,) = rules(app)
        assert (rule.owner_id, rule.is_group) == (people.get(owner, owner), owner == "crew")
        assert (rule.resource_name, rule.action, rule.name) == ("team/app", "pull", "pull team/app")

    def test_a_rule_that_is_disabled_and_named_and_comes_before_its_repository(self, app, browser):
        browser.rule(resource_name=" new/thing ", name="the first push", action="push", enabled="")
        (rule,) = rules(app)
        assert (rule.resource_name, rule.name, rule.is_disabled) == ("new/thing", "the first push", True)

    def test_a_rule_for_the_catalog(self, app, browser):
        assert browser.rule(type="registry", resource_name="", action="pull").status == 303
        (rule,) = rules(app)
        assert (rule.resource_type, rule.resource_name, rule.action) == ("registry", "catalog", "*")

    @pytest.mark.parametrize(
        ("fields", "field", "sentence"),
        [
            ({"user": "nobody"}, "user", "there is no user nobody"),
            ({"user": "ALICE"}, "user", "there is no user ALICE"),
            ({"user": ""}, "user", "is missing"),
            ({"kind": "group", "group": "x"}, "group", "there is no group x"),
            ({"kind": "x"}, "kind", "choose one of these"),
            ({"kind": ""}, "kind", "choose one of these"),
            ({"action": "fly"}, "action", "must be one of"),
            ({"type": "planet"}, "type", "must be one of"),
            ({"resource_name": ""}, "resource_name", "must hold 1 to 512 characters"),
            ({"resource_name": "Not A Name"}, "resource_name", "is no repository name"),
            ({"resource_name": "/(a+)+/"}, "resource_name", "could run away"),
            ({"name": "x" * 256}, "name", "at most 255 characters"),
        ],
    )
    def test_what_cannot_be_comes_back_with_everything_typed(self, app, browser, fields, field, sentence):
        answer = browser.rule(**{"name": "what was typed", "resource_name": "team/*"} | fields)
        assert answer.status == 422
        assert rules(app) == []
        assert f'<a href="#{field}">' in answer.text
        assert f'id="{field}"' in answer.text
        assert 'aria-invalid="true"' in answer.text
        assert sentence in unescape(answer.text)
        for value in (fields.get("name", "what was typed"), fields.get("resource_name", "team/*")):
            assert f'value="{value}"' in answer.text

    def test_all_errors_are_told_at_once(self, browser):
        answer = browser.rule(user="nobody", resource_name="No!", action="fly")
        assert all(f'<a href="#{field}">' in answer.text for field in ("user", "resource_name", "action"))

    def test_a_duplicate_names_and_links_the_existing_rule(self, app, add, browser):
        twin = add("alice", name="the elder")
        answer = browser.rule(name="the younger")
        assert answer.status == 422
        assert f'<a href="/access/{twin.id}">the elder</a>' in answer.text
        assert 'value="the younger"' in answer.text
        assert len(rules(app)) == 1

    @pytest.mark.parametrize("action", ["push", "delete", "*"])
    def test_opening_the_registry_to_strangers_needs_an_extra_tick(self, app, browser, action):
        assert 'name="confirmed"' not in browser.get("/access/new").text
        asked = browser.rule(kind="everyone", action=action)
        assert asked.status == 422
        assert 'name="confirmed"' in asked.text
        assert "anybody who can reach the registry can change what is in it" in asked.text
        assert rules(app) == []
        assert browser.rule(kind="everyone", action=action, confirmed="1").status == 303
        assert rules(app)[0].action == action

    def test_showing_all_names_to_strangers_needs_it_too(self, browser):
        asked = browser.rule(kind="everyone", type="registry")
        assert asked.status == 422
        assert "the names of all repositories, private ones too" in asked.text
        assert browser.rule(kind="everyone", type="registry", confirmed="1").status == 303

    def test_pulling_does_not_need_it_and_neither_do_the_signed_in(self, browser):
        assert browser.rule(kind="everyone", action="pull").status == 303
        assert browser.rule(kind="registered", action="*").status == 303

    def test_the_address_can_fill_in_the_form_but_never_the_tick(self, browser):
        shown = browser.get("/access/new?kind=everyone&resource_name=team/**&action=push&confirmed=1&user=bob").text
        assert 'value="team/**"' in shown
        assert re.search(r'value="everyone" checked', shown)
        assert re.search(r'value="push" checked', shown)
        assert not re.search(r'name="confirmed" value="1" checked', shown)

    def test_names_are_suggested_without_javascript(self, browser):
        shown = browser.get("/access/new").text
        for name in ("alice", "crew", "team/tools/lint"):
            assert f'<option value="{name}">' in shown

    @pytest.mark.parametrize(
        ("resource_name", "sentence"),
        [
            ("team/*", "Matches 2 repositories: team/api, team/app"),
            ("team/**", "Matches 3 repositories"),
            ("team/app", "Matches 1 repository: team/app"),
            ("new/thing", "Matches no repository yet"),
            ("${login}/**", "depends on who asks"),
            ("/(a+)+/", "Could run away"),
            ("", "full name of a repository"),
        ],
    )
    def test_what_matches_is_shown_while_typing_and_without_javascript(self, app, browser, resource_name, sentence):
        live = browser.get("/access/matches", params={"resource_name": resource_name}, headers=HTMX)
        assert live.status == 200
        assert "<html" not in live.text
        assert sentence in live.text
        assert sentence in browser.rule(resource_name=resource_name, preview="1").text
        assert rules(app) == []


class TestChanging:
    def test_the_form_holds_the_rule_as_it_is(self, add, browser):
        rule = add("crew", "team/**", "push", name="of the crew", is_disabled=True)
        shown = browser.get(f"/access/{rule.id}").text
        for part in ('value="group" checked', 'value="crew"', 'value="team/**"', 'value="push" checked'):
            assert part in shown
        assert 'value="of the crew"' in shown
        assert not re.search(r'name="enabled" value="1" checked', shown)

    def test_every_field_changes(self, app, add, browser, people):
        rule = add("crew", "team/**", "push", name="of the crew", is_disabled=True)
        fields = {"user": "bob", "resource_name": "open/*", "action": "*", "name": "another"}
        assert browser.rule(f"/access/{rule.id}", **fields).status == 303
        assert "The rule is changed." in browser.get("/access").text
        changed = rules(app)[0]
        assert (changed.user_id, changed.group_id, changed.resource_name) == (people["bob"], None, "open/*")
        assert (changed.action, changed.name, changed.is_disabled) == ("*", "another", False)

    def test_a_name_that_nobody_chose_stays_true(self, app, add, browser):
        rule = add("alice")
        assert 'value="pull team/app"' not in browser.get(f"/access/{rule.id}").text
        browser.rule(f"/access/{rule.id}", action="push")
        assert rules(app)[0].name == "push team/app"

    def test_a_change_into_another_rule_names_it(self, add, browser):
        elder, rule = add("alice", name="the elder"), add("bob")
        answer = browser.rule(f"/access/{rule.id}")
        assert answer.status == 422
        assert f'href="/access/{elder.id}">the elder' in answer.text

    def test_opening_an_old_rule_to_strangers_needs_the_tick(self, app, add, browser):
        rule = add(EVERYONE_ID)
        assert browser.rule(f"/access/{rule.id}", kind="everyone", action="push").status == 422
        assert rules(app)[0].action == "pull"

    def test_a_rule_that_went_away_meanwhile_is_not_made_anew(self, app, add, browser, by):
        rule = add("bob")
        token = re.search(r'name="csrf" value="([^"]*)"', browser.get(f"/access/{rule.id}").text)[1]
        app.rules.delete(rule.id, by)
        assert browser.post(f"/access/{rule.id}", form={"csrf": token}).status == 404


def test_deleting_asks_first_and_then_says_that_it_is_done(app, add, browser):
    rule = add("alice", name="doomed")
    asked = browser.get(f"/access/{rule.id}/delete")
    assert "Name doomed Who alice user" in words(asked)
    assert len(rules(app)) == 1
    answer = browser.submit(f"/access/{rule.id}/delete")
    assert (answer.status, answer.header("Location")) == (303, "/access")
    assert rules(app) == []
    assert "The rule is deleted." in browser.get("/access").text


class TestTheCheck:
    @pytest.fixture(autouse=True)
    def some_rules(self, add):
        add("alice", "team/app", "push", name="alice pushes")
        add("crew", "team/tools/**", name="crew pulls tools")
        add(REGISTERED_ID, "${login}/**", "*", name="own places")
        add(EVERYONE_ID, "open/*", name="public")
        add("bob", "team/api", "delete", name="bob cleans", is_disabled=True)
        add("bert", "team/app", name="bert pulls")

    def ask(self, browser, user="", repo="team/app", action="pull") -> Answer:
        return browser.get("/access/check", params={"user": user, "repo": repo, "action": action})

    @pytest.mark.parametrize("login", ["", "alice", "bob", "mara", "admin"])
    def test_agrees_with_a_token(self, app, browser, login):
        password = {"": "", "admin": ADMIN_PASSWORD}.get(login, PASSWORD)
        client = Client(app.wsgi, basic=f"{login}:{password}" if login else "")
        for repo in ("team/app", "team/api", "team/tools/lint", "open/hello", "bob/x", "no/such"):
            scope = {"scope": f"repository:{repo}:pull,push,delete,*"}
            token = client.get("/api/v1/registry/auth", params=scope).json["token"]
            granted = jwt.decode(token, options={"verify_signature": False})["access"]
            allowed = granted[0]["actions"] if granted else []
            for action in ("pull", "push", "delete", "*"):
                shown = words(self.ask(browser, login, repo, action))
                verdict = "Allowed" if "Allowed Who" in shown else "Denied" if "Denied Who" in shown else "none"
                assert verdict == ("Allowed" if action in allowed else "Denied"), (repo, action)

    def test_names_the_rule_that_decided(self, browser, manager):
        assert ">alice pushes</a>" in self.ask(browser, "alice").text
        assert 'href="/access/1"' in self.ask(browser, "alice").text
        assert 'href="/access?q=alice+pushes"' in self.ask(manager, "alice").text.replace("%20", "+")

    @pytest.mark.parametrize(
        ("asked", "parts"),
        [
            (("alice", "team/app", "delete"), ("alice pushes", "It allows push and pull only.")),
            (("bob", "team/app", "push"), ("alice pushes", "It is not for bob.")),
            (("", "team/tools/lint", "pull"), ("crew pulls tools", "It is not for anonymous clients.")),
            (("bob", "team/api", "delete"), ("bob cleans", "It is disabled.")),
            (("", "open/hello", "push"), ("public", "It allows only pull.")),
        ],
    )
    def test_names_the_nearest_rule_and_why_it_does_not_allow_it(self, browser, asked, parts):
        shown = words(self.ask(browser, *asked))
        assert "Denied" in shown
        assert "Nearest rule" in shown
        assert all(part in shown for part in parts)

    def test_offers_to_create_the_rule_that_is_missing(self, browser, manager):
        shown = self.ask(browser, "bob", "no/such", "push").text
        link = unescape(re.search(r'href="(/access/new[^"]*)"', shown)[1])
        form = browser.get(link).text
        assert all(part in form for part in ('value="bob"', 'value="no/such"', 'value="push" checked'))
        anonymous = self.ask(browser, "", "no/such").text
        assert "/access/new?kind=everyone&amp;" in anonymous
        assert "/access/new" not in self.ask(manager, "bob", "no/such").text
        assert "not pushed yet" in words(self.ask(browser, "bob", "no/such"))

    def test_a_blocked_user_may_nothing_and_no_rule_would_help(self, browser):
        shown = self.ask(browser, "bert")
        assert "The user is blocked." in words(shown)
        assert "/access/new" not in shown.text

    @pytest.mark.parametrize(
        ("asked", "field", "sentence"),
        [
            (("nobody", "team/app", "pull"), "user", "there is no user nobody"),
            (("", "team/*", "pull"), "repo", "must be the name of one repository"),
            (("", "", "pull"), "repo", "must be the name of one repository"),
            (("", "a b", "pull"), "repo", "must be the name of one repository"),
            (("", "team/app", "fly"), "action", "must be one of"),
        ],
    )
    def test_a_question_that_cannot_be_asked_comes_back(self, browser, asked, field, sentence):
        answer = self.ask(browser, *asked)
        assert answer.status == 422
        assert sentence in answer.text
        assert f'href="#{field}"' in answer.text


def test_text_of_strangers_is_shown_as_text(app, add, browser):
    rule = add("alice", name=HOSTILE)
    pages = [
        browser.get(page)
        for page in (
            "/access",
            f"/access/{rule.id}",
            f"/access/{rule.id}/delete",
            "/access/check?user=alice&repo=team/app&action=pull",
        )
    ]
    hostile = {"user": HOSTILE, "repo": HOSTILE, "action": HOSTILE}
    pages.append(browser.get("/access/check", params=hostile))
    pages.append(browser.get("/access/new", params={"resource_name": HOSTILE, "kind": HOSTILE, "user": HOSTILE}))
    pages.append(browser.get("/access/matches", params={"resource_name": HOSTILE}))
    pages.append(browser.get("/access", params={"q": HOSTILE}))
    pages.append(browser.rule(name=HOSTILE, user=HOSTILE, resource_name=HOSTILE))
    pages.append(browser.rule(name="twin"))
    for shown in pages:
        assert "<script>alert" not in shown.text
        assert "<img src=x" not in shown.text
        assert shown.status < 500


def test_in_basic_mode_every_page_says_that_rules_do_not_hold(settings, clock, tmp_path, browser):
    basic = {"auth_type": "basic", "login": "robot", "password": "x", "htpasswd": tmp_path / ".htpasswd"}
    app = App(settings(**{f"registry__{name}": value for name, value in basic.items()}), clock)
    owner = Browser(app.wsgi).sign_in("admin", ADMIN_PASSWORD)
    for page in ("/access", "/access/new", "/access/check"):
        assert "access rules do not hold there" in owner.get(page).text
        assert "access rules do not hold there" not in browser.get(page).text
