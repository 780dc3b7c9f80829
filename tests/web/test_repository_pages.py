"""The lists of repositories and tags, and deleting many, as browsers without JavaScript see them."""

import csv
import re
from html import unescape
from io import StringIO

import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Role
from tests.conftest import ADMIN_PASSWORD
from tests.rigs import images
from tests.rigs.client import Answer, Client
from tests.rigs.standin import Reply, StandinRegistry
from tests.web.test_pages import HTMX, hidden

WEB = "/repos/web/nginx"
SIGNATURE = "sha256-" + "a" * 64 + ".sig"
ONE, TWO, SIGNED = (images.docker_image(text) for text in ("one", "two", "a signature"))
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "=cmd|' /C calc'!A0"]
READER_PAGES = [WEB]
STAFF_PAGES = [WEB + "/-/access", WEB + "/-/activity"]
ADMIN_PAGES = [WEB + "/-/delete", WEB + "/-/delete-tags?tag=1.9"]


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def put(app, registry):
    def put(name: str, *tags: str, image: images.Image = ONE) -> None:
        for tag in tags:
            registry.put(name, tag, image)
        assert app.synchronisation.run("test").state == "complete"

    return put


@pytest.fixture
def filled(put) -> None:
    put("web/nginx", "1.9", "1.10", "latest")
    put("web/nginx", SIGNATURE, image=SIGNED)
    put("web/nginx", "2.0", image=TWO)
    put("team/app", "1.10")
    put("tool", "v1")


@pytest.fixture
def admin(browser) -> Client:
    return browser("admin", ADMIN_PASSWORD)


@pytest.fixture
def manager(browser, add_user) -> Client:
    add_user("mary", Role.MANAGER)
    return browser("mary")


def listed(answer: Answer) -> list[str]:
    """The repositories in the list, in its order."""
    assert answer.status == 200, answer.text
    return re.findall(r'<th class="wide"[^>]*><a href="/repos/([^"]+)"', answer.text)


def tags_of(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    return re.findall(r'<th class="wide"[^>]*><a href="[^"]+/-/tags/([^"]+)"', answer.text)


def row(answer: Answer, name: str) -> str:
    return next(part for part in answer.text.split("<tr ") if f'href="/repos/{name}"' in part)


def exported(answer: Answer) -> list[list[str]]:
    return list(csv.reader(StringIO(answer.text, newline="")))


def chosen(answer: Answer) -> list[str]:
    return [unescape(value) for value in re.findall(r'name="tag" value="([^"]*)"', answer.text)]


def confirm(client: Client, *tags: str, **fields) -> Answer:
    """Choose tags, and say yes on the page that asks."""
    asked = client.get(WEB + "/-/delete-tags", params={"tag": tags})
    form = {"csrf": hidden(asked), "tag": chosen(asked), "what": "images"} | fields
    return client.post(WEB + "/-/delete-tags", form=form)


class TestRepositories:
    @pytest.fixture(autouse=True)
    def some(self, filled):
        pass

    def test_a_row_tells_who_may_pull_and_what_the_reader_may_do(self, app, admin, browser, alice, allow):
        allow(EVERYONE_ID, "tool")
        allow(REGISTERED_ID, "team/*", "push")
        allow(alice, "web/nginx")
        answer = admin.get("/repos")
        assert ">Everyone<" in row(answer, "tool")
        assert ">Signed-in<" in row(answer, "team/app")
        assert "Restricted" in row(answer, "web/nginx")
        hers = browser("alice").get("/repos")
        assert listed(hers) == ["team/app", "tool", "web/nginx"]
        assert "Push" in row(hers, "team/app")
        assert "Push" not in row(hers, "web/nginx")

    def test_signatures_are_no_tags(self, admin):
        assert re.search(r'data-label="Tags">4<', row(admin.get("/repos"), "web/nginx"))

    def test_a_changed_rule_holds_with_the_next_request(self, app, browser, alice, allow, by):
        hers = browser("alice")
        assert listed(hers.get("/repos")) == []
        rule = allow(alice, "web/**")
        assert listed(hers.get("/repos")) == ["web/nginx"]
        app.rules.update(rule.id, by, resource_name="/team\\/.*/")
        assert listed(hers.get("/repos")) == ["team/app"]
        app.rules.update(rule.id, by, is_disabled=True)
        assert listed(hers.get("/repos")) == []

    def test_anonymous_visitors_see_what_is_public_and_nothing_else(self, client, allow):
        allow(EVERYONE_ID, "tool")
        allow(REGISTERED_ID, "team/app")
        answer = client.get("/repos")
        assert listed(answer) == ["tool"]
        assert "Visibility" not in answer.text
        assert "team" not in answer.text
        assert [line[0] for line in exported(client.get("/repos.csv"))] == ["name", "tool"]
        assert "team" not in client.get("/repos/-/namespaces").text

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("q=APP", ["team/app"]),
            ("q=web:1", ["web/nginx"]),
            ("q=:1.10", ["team/app", "web/nginx"]),
            ("q=:nothing", []),
            ("q=web:", ["web/nginx"]),
            ("q=host:5000/team", []),
            ("q=:" + SIGNATURE, []),
            ("namespace=web", ["web/nginx"]),
            ("namespace=web/", ["web/nginx"]),
            ("namespace=tool", []),
            ("visibility=everyone", ["tool"]),
            ("visibility=registered", ["team/app"]),
            ("visibility=restricted", ["web/nginx"]),
            ("idle=90", ["team/app", "tool"]),
            ("idle=90&namespace=team&q=a", ["team/app"]),
            ("sort=-tags", ["web/nginx", "tool", "team/app"]),
        ],
    )
    def test_searches_and_filters(self, app, admin, allow, clock, query, expected):
        allow(EVERYONE_ID, "tool")
        allow(REGISTERED_ID, "t*/app")
        app.store.repositories.record_pull("web/nginx", "1.9", ONE.digest, int(clock.now) - 89 * 86_400)
        app.store.repositories.record_pull("tool", "v1", ONE.digest, int(clock.now) - 91 * 86_400)
        answer = admin.get("/repos?" + query)
        assert listed(answer) == expected
        if not expected:
            assert "No repository matches" in answer.text
        exported_names = [line[0] for line in exported(admin.get("/repos.csv?" + query))[1:]]
        assert exported_names == expected

    def test_the_tags_that_were_searched_for_are_linked_newest_version_first(self, admin):
        found = row(admin.get("/repos?q=web:1."), "web/nginx")
        assert re.findall(r'href="[^"]+/-/tags/([^"]+)"', found) == ["1.10", "1.9"]

    def test_the_state_is_in_the_address_and_in_the_form(self, admin):
        answer = admin.get("/repos?namespace=web&visibility=restricted&q=n&per=25&idle=", headers=HTMX)
        assert answer.header("HX-Push-Url") == "/repos?q=n&namespace=web&visibility=restricted"
        assert 'href="/repos.csv?q=n&amp;namespace=web&amp;visibility=restricted"' in answer.text
        page = admin.get("/repos?namespace=web&visibility=restricted").text
        assert 'name="namespace" type="text" value="web"' in page
        assert '<option value="restricted" selected>' in page
        assert '<details id="filters" open>' in page
        assert '<details id="filters">' in admin.get("/repos").text

    @pytest.mark.parametrize("query", ["sort=password", "visibility=secret", "idle=7", "page=0", "per=7", "q=%ff"])
    def test_a_state_that_cannot_be_is_a_clear_page(self, admin, query):
        for address in ("/repos", "/repos.csv"):
            answer = admin.get(f"{address}?{query}")
            assert answer.status == 400
            assert answer.header("Content-Disposition") is None

    def test_a_page_beyond_the_end_leads_back(self, admin):
        assert "Back to the first page" in admin.get("/repos?page=99").text

    @pytest.mark.parametrize(("text", "expected"), [("", ["team", "web"]), ("E", ["team", "web"]), ("ea", ["team"])])
    def test_namespaces_are_suggested(self, admin, text, expected):
        answer = admin.get("/repos/-/namespaces", params={"namespace": text})
        assert re.findall(r'<option value="(\w+)">', answer.text) == expected

    def test_the_export_is_a_file_for_a_spreadsheet(self, app, admin, allow):
        app.store.repositories.record_push("tool", "v1", ONE.digest, 1_700_000_000, HOSTILE[2])
        allow(EVERYONE_ID, "tool")
        answer = admin.get("/repos.csv?q=tool")
        assert answer.header("Content-Type") == "text/csv; charset=UTF-8; header=present"
        assert 'filename="repositories.csv"' in answer.header("Content-Disposition")
        header, line = exported(answer)
        told = dict(zip(header, line, strict=True))
        assert (told["name"], told["tags"], told["bytes"]) == ("tool", "1", str(ONE.size))
        assert told["last_pushed_at"] == "2023-11-14T22:13:20+00:00"
        assert told["last_pushed_by"] == "'" + HOSTILE[2]
        assert (told["visibility"], told["you_may"]) == ("everyone", "pull push delete *")

    def test_only_an_admin_can_start_a_synchronisation(self, admin, manager, client):
        assert 'action="/sync"' in admin.get("/repos").text
        for other in (manager, client):
            assert 'action="/sync"' not in other.get("/repos").text


class TestTags:
    @pytest.fixture(autouse=True)
    def some(self, filled):
        pass

    def test_versions_are_in_their_natural_order(self, admin):
        assert tags_of(admin.get(WEB + "?sort=name")) == ["1.9", "1.10", "2.0", "latest"]
        assert tags_of(admin.get(WEB + "?sort=-name")) == ["latest", "2.0", "1.10", "1.9"]

    def test_the_last_push_comes_first(self, app, admin):
        for at, (tag, image) in enumerate([("1.10", ONE), ("2.0", TWO), ("1.9", ONE)], start=1_700_000_000):
            app.store.repositories.record_push("web/nginx", tag, image.digest, at, "alice")
        assert tags_of(admin.get(WEB))[:3] == ["1.9", "2.0", "1.10"]

    def test_tags_of_the_same_image_are_named(self, admin):
        parts = admin.get(WEB + "?sort=name").text.split("<tr ")
        first, other = (next(p for p in parts if f'href="{WEB}/-/tags/{tag}"' in p) for tag in ("1.9", "2.0"))
        assert "same image as" in first
        assert f'<a href="{WEB}/-/tags/latest">latest</a>' in first
        assert "same image as" not in other

    def test_signatures_are_folded_away(self, admin):
        answer = admin.get(WEB)
        assert SIGNATURE not in answer.text
        assert "<span>4 tags</span>" in answer.text
        assert f'href="{WEB}?attached=1"' in answer.text
        assert "1 signature or attestation" in answer.text
        shown = admin.get(WEB + "?attached=1")
        assert tags_of(shown) == [SIGNATURE]
        assert f"{WEB}/-/manifests/sha256%3A{'a' * 64}" in shown.text
        assert 'name="attached" value="1" form="search"' in shown.text

    def test_an_index_tells_its_platforms(self, admin, put):
        put("web/multi", "1", image=images.oci_index())
        answer = admin.get("/repos/web/multi")
        assert "of 2 platforms" in answer.text
        assert "linux/amd64" in answer.text

    @pytest.mark.parametrize("query", ["sort=repository", "attached=yes", "sort=digest;", "page=-1"])
    def test_a_state_that_cannot_be_is_a_clear_page(self, admin, query):
        assert admin.get(f"{WEB}?{query}").status == 400

    def test_a_page_beyond_the_end_and_a_search_for_nothing_lead_back(self, admin):
        assert "Back to the first page" in admin.get(WEB + "?page=99").text
        assert "No tag matches" in admin.get(WEB + "?q=zzz").text

    @pytest.mark.parametrize("hostile", HOSTILE)
    def test_text_of_strangers_is_shown_as_text(self, app, admin, hostile):
        app.store.repositories.record_push("web/nginx", "1.9", ONE.digest, 1_700_000_000, hostile)
        app.store.activity.add("push", hostile, "web/nginx:1.9", hostile)
        for page in ("/repos", WEB, WEB + "/-/activity", WEB + "?q=" + hostile.replace("=", "%3D")):
            shown = admin.get(page).text
            assert "<script>alert" not in shown
            assert "<img src=x" not in shown

    def test_who_sees_which_page(self, admin, manager, client, browser, alice, allow):
        allow(alice, "web/*")
        hers = browser("alice")
        for page in READER_PAGES + STAFF_PAGES:
            assert admin.get(page).status == manager.get(page).status == 200
        for page in STAFF_PAGES + ADMIN_PAGES:
            assert hers.get(page).status == 403
            assert client.get(page).status == 303
        for page in ADMIN_PAGES:
            assert (admin.get(page).status, manager.get(page).status) == (200, 403)
        assert (hers.get(WEB).status, client.get(WEB).status) == (200, 404)

    def test_only_an_admin_is_offered_to_delete_and_only_staff_the_tabs(self, admin, manager, browser, alice, allow):
        allow(alice, "web/*")
        hers = browser("alice")
        assert "/-/delete" in admin.get(WEB).text
        for other in (manager, hers):
            shown = other.get(WEB).text
            assert "/delete" not in shown
            assert "checkbox" not in shown
        assert "/-/access" in manager.get(WEB).text
        assert "/-/access" not in hers.get(WEB).text

    def test_the_rules_that_reach_a_repository(self, admin, manager, alice, allow):
        rules = [
            allow(alice, "web/nginx", "push", name="exact"),
            allow(REGISTERED_ID, "web/*", name="glob", is_disabled=True),
            allow(REGISTERED_ID, "${login}/nginx", name="whoever"),
        ]
        allow(alice, "team/*", name="elsewhere")
        shown = admin.get(WEB + "/-/access").text
        for rule in rules:
            assert f'href="/access/{rule.id}"' in shown
        assert "elsewhere" not in shown
        assert "depends on who asks" in shown
        assert "Disabled" in shown
        assert 'href="/access/new?resource_name=web' in shown
        assert "Only admins, and those whom a rule names" in shown
        assert "/access/new" not in manager.get(WEB + "/-/access").text
        allow(EVERYONE_ID, "web/*")
        assert "also without signing in" in admin.get(WEB + "/-/access").text

    def test_the_activity_of_one_repository(self, app, admin):
        app.store.activity.add("push", "carol", "web/nginx:1.9", "192.0.2.7")
        app.store.activity.add("push", "dave", "team/app:1.10", "192.0.2.8")
        shown = admin.get(WEB + "/-/activity").text
        assert "carol" in shown
        assert "dave" not in shown


class TestDeletingTags:
    @pytest.fixture(autouse=True)
    def some(self, filled):
        pass

    def test_the_page_that_asks_lists_what_goes(self, admin):
        shown = admin.get(WEB + "/-/delete-tags?tag=1.9&tag=2.0&tag=gone")
        assert chosen(shown) == [f"1.9@{ONE.digest}", f"2.0@{TWO.digest}"]
        assert "The same image is also tagged" in shown.text
        assert f'<a href="{WEB}/-/tags/latest">latest</a>' in shown.text
        assert "These tags are gone already: gone" in shown.text
        assert 'name="typed"' not in shown.text

    def test_images_go_with_their_tags_and_the_page_says_so(self, app, admin, registry):
        answer = confirm(admin, "1.9")
        assert answer.status == 200
        assert re.search(r'<h1 tabindex="-1" autofocus>\s*1 image is deleted', answer.text)
        assert tags_of(admin.get(WEB)) == ["2.0"]
        assert ("web/nginx", ONE.digest) not in registry.manifests

    def test_tags_alone_can_go(self, admin, registry):
        answer = confirm(admin, "1.9", "2.0", what="tags")
        assert "2 tags are removed" in answer.text
        assert sorted(tags_of(admin.get(WEB))) == ["1.10", "latest"]
        assert ("web/nginx", TWO.digest) in registry.manifests

    def test_what_failed_is_told_with_its_reason(self, admin, registry):
        registry.fail(Reply(403), on=TWO.digest)
        answer = confirm(admin, "1.9", "2.0")
        assert "1 image is deleted" in answer.text
        assert "Not deleted" in answer.text
        assert tags_of(admin.get(WEB)) == ["2.0"]

    def test_a_registry_that_allows_no_deletions_is_explained(self, admin, registry):
        registry.delete_enabled = False
        answer = confirm(admin, "1.9", "2.0")
        assert answer.status == 409
        assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in answer.text
        assert "Not tried" in answer.text
        assert len(tags_of(admin.get(WEB))) == 4

    def test_a_form_that_is_not_ours_deletes_nothing_and_keeps_the_answer(self, admin):
        answer = confirm(admin, "1.9", csrf="wrong", what="tags")
        assert answer.status == 403
        assert re.search(r'value="tags" checked', answer.text)
        assert "Nothing was deleted." in answer.text
        assert len(tags_of(admin.get(WEB))) == 4

    def test_nothing_is_deleted_without_a_choice(self, admin):
        assert admin.get(WEB + "/-/delete-tags").status == 400
        assert confirm(admin, "1.9", tag=[]).status == 400
        gone = admin.get(WEB + "/-/delete-tags?tag=gone")
        assert "These tags are gone already." in gone.text
        assert 'class="button danger"' not in gone.text

    def test_many_images_need_the_name_typed(self, admin, put, registry):
        many = [f"n{number}" for number in range(11)]
        for tag in many:
            registry.put("web/nginx", tag, images.docker_image(tag))
        put("web/nginx")
        assert 'name="typed"' in admin.get(WEB + "/-/delete-tags", params={"tag": many}).text
        for typed in ("", "web"):
            answer = confirm(admin, *many, typed=typed)
            assert answer.status == 422
            assert 'aria-invalid="true"' in answer.text
        assert "11 images are deleted" in confirm(admin, *many, typed="web/nginx").text

    def test_the_last_image_takes_the_repository_along(self, admin):
        answer = confirm(admin, "1.9", "2.0", SIGNATURE)
        assert f'href="{WEB}"' not in answer.text
        assert admin.get(WEB).status == 404


class TestDeletingARepository:
    @pytest.fixture(autouse=True)
    def some(self, filled):
        pass

    @pytest.mark.parametrize("typed", ["", "web", "web/Nginx"])
    def test_its_name_must_be_typed(self, admin, registry, typed):
        asked = admin.get(WEB + "/-/delete")
        answer = admin.post(WEB + "/-/delete", form={"csrf": hidden(asked), "typed": typed})
        assert answer.status == 422
        assert "must be the name of the repository" in answer.text.lower()
        assert ("web/nginx", ONE.digest) in registry.manifests

    def test_all_its_images_go(self, admin, registry):
        asked = admin.get(WEB + "/-/delete")
        assert "catalog keeps an empty repository" in asked.text
        answer = admin.post(WEB + "/-/delete", form={"csrf": hidden(asked), "typed": "web/nginx"})
        assert "web/nginx is deleted" in answer.text
        assert "3 images are deleted." in answer.text
        assert listed(admin.get("/repos")) == ["team/app", "tool"]
        assert not any(name == "web/nginx" for name, _ in registry.manifests)

    def test_what_is_left_can_be_tried_again(self, admin, registry):
        registry.fail(Reply(403), on=TWO.digest)
        asked = admin.get(WEB + "/-/delete")
        answer = admin.post(WEB + "/-/delete", form={"csrf": hidden(asked), "typed": "web/nginx"})
        assert "is not deleted completely" in answer.text
        registry.heal()
        again = admin.post(WEB + "/-/delete", form={"csrf": hidden(answer), "typed": hidden(answer, "typed")})
        assert "web/nginx is deleted" in again.text

    def test_a_form_that_is_not_ours_deletes_nothing(self, admin, registry):
        answer = admin.post(WEB + "/-/delete", form={"csrf": "wrong", "typed": "web/nginx"})
        assert answer.status == 403
        assert ("web/nginx", ONE.digest) in registry.manifests
