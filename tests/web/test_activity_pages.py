"""The pages of the activity: who may see them, how they are narrowed, and what they show of a change."""

import csv
import io
import json
import re
from html import unescape

import pytest

from regadmin.entities import Role
from regadmin.store import activity
from tests.rigs.client import Client

HTMX = {"HX-Request": "true"}
DAY = 86_400


@pytest.fixture
def boss(app, browser, add_user) -> Client:
    add_user("boss", Role.ADMIN)
    return browser("boss")


@pytest.fixture
def filled(app, clock):
    """Events of robots: one in each of the last 100 days, the oldest first."""
    for ago in range(99, -1, -1):
        event = "push" if ago % 10 == 0 else "pull"
        app.store.activity.add(event, f"robot-{ago}", f"team/app:{ago}", "192.0.2.7", at=int(clock.now) - ago * DAY)


def actors(text: str) -> list[str]:
    return re.findall(r'<td class="who"[^>]*>([^<]*)<', text)


def robots(text: str) -> list[int]:
    return [int(name.partition("-")[2]) for name in actors(text) if name.startswith("robot-")]


@pytest.mark.parametrize("path", ["/activity", "/activity.csv", "/activity/news?after=1"])
@pytest.mark.parametrize(("role", "status"), [(None, 303), (Role.USER, 403), (Role.MANAGER, 200), (Role.ADMIN, 200)])
def test_admins_and_managers_see_it(app, client, browser, add_user, path, role, status):
    if role:
        add_user("visitor", role)
    assert (browser("visitor") if role else client).get(path).status == status


class TestTheList:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("?per=100", list(range(30))),
            ("?period=today", [0]),
            ("?period=7", list(range(7))),
            ("?period=90&event=push", list(range(0, 90, 10))),
            ("?period=all&event=push", list(range(0, 100, 10))),
            ("?period=all&actor=ROBOT-77", [77]),
            ("?period=all&q=app:9", [9, *range(90, 100)]),
            ("?q=app:99", []),
            ("?period=nonsense&event=nonsense&sort=-nonsense&per=100", list(range(30))),
        ],
    )
    def test_is_narrowed_by_period_event_actor_and_text(self, boss, filled, query, expected):
        assert robots(boss.get(f"/activity{query}").text) == expected

    def test_is_of_the_last_30_days_and_says_how_to_see_more(self, app, boss, clock):
        clock.pass_time(31 * DAY)
        answer = Client(app.wsgi, basic="boss:a good password").get("/activity")
        assert "Nothing happened in this period." in answer.text
        assert 'href="/activity?period=all"' in answer.text

    def test_keeps_every_filter_in_its_links_and_in_the_address(self, boss, filled):
        answer = boss.get("/activity?q=app&actor=&event=pull&period=90&page=2", headers=HTMX)
        assert answer.header("HX-Push-Url") == "/activity?q=app&page=2&event=pull&period=90"
        assert "<html" not in answer.text
        links = {unescape(link) for link in re.findall(r'href="(/activity[^"]*)"', answer.text)}
        assert "/activity?q=app&page=3&event=pull&period=90" in links
        assert "/activity.csv?q=app&event=pull&period=90" in links

    def test_today_begins_at_midnight_of_the_reader(self, app, boss, clock):
        app.store.database.execute("UPDATE users SET time_zone = 'Asia/Tokyo' WHERE login = 'boss'")
        midnight = int(clock.now) - (int(clock.now) + 9 * 3600) % DAY
        app.store.activity.add("pull", "robot-1", "a:1", at=midnight - 1)
        app.store.activity.add("pull", "robot-2", "a:1", at=midnight)
        assert robots(boss.get("/activity?period=today").text) == [2]

    def test_asks_the_store_the_same_number_of_times_however_long_it_is(self, app, boss, clock, monkeypatch):
        asked = []
        database = app.store.database
        monkeypatch.setattr(database, "all", lambda *a, all=database.all: asked.append(a) or all(*a))
        boss.get("/activity")
        before = len(asked)
        for number in range(60):
            app.store.activity.add("pull", "robot", f"app:{number}")
        asked.clear()
        boss.get("/activity?per=50")
        assert len(asked) == before

    def test_a_page_beyond_the_end_says_so(self, boss, filled):
        assert "This page is empty" in boss.get("/activity?page=99").text

    @pytest.mark.parametrize("query", ["?page=0", "?per=7", "?page=x", "?q=%ff"])
    def test_what_cannot_be_is_a_clear_page(self, boss, query):
        assert boss.get(f"/activity{query}").status == 400

    def test_shows_what_strangers_wrote_as_text(self, app, boss):
        hostile = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
        app.store.activity.add("pull", hostile, hostile, hostile)
        app.store.activity.add("user changed", "a", "b", details={"before": {"name": hostile}, "after": {"name": "x"}})
        text = boss.get("/activity").text
        assert "<img" not in text and "<script>alert" not in text
        assert "&lt;script&gt;" in text


class TestChanges:
    def test_are_shown_before_and_after_without_what_stayed(self, app, boss, by, add_user):
        user = add_user("bob", name="Bob")
        app.users.update(user.id, by, "another password", name="Robert")
        row = re.search(r"What changed.*?</details>", boss.get("/activity?event=user+changed").text, re.S)[0]
        assert "<del>Bob</del>" in row and "<ins>Robert</ins>" in row
        assert "<dt>Password</dt><dd>changed</dd>" in row
        assert re.findall(r"<dt>([^<]*)</dt>", row) == ["Name", "Password"]

    def test_never_show_a_password_or_a_hash(self, app, boss, by, add_user):
        user = add_user("bob")
        app.users.update(user.id, by, "another password")
        shown = boss.get("/activity?period=all&per=100").text + boss.get("/activity.csv?period=all").text
        assert "another password" not in shown and "$2b$" not in shown

    def test_lead_an_admin_to_the_user_and_a_manager_nowhere(self, app, boss, browser, add_user):
        user = add_user("bob", Role.MANAGER)
        address = f'href="/users/{user.id}"'
        assert address in boss.get("/activity?q=bob").text
        assert address not in browser("bob").get("/activity?q=bob").text


class TestRecording:
    """What the owner wants to know is in it, whichever door it came by."""

    @pytest.mark.parametrize(
        ("path", "basic"),
        [("/api/v1/registry/auth?service=container_registry", "alice:wrong"), ("/api/v1/users", "nobody:wrong")],
    )
    def test_wrong_credentials_are_recorded_at_the_realm_and_at_the_api(self, app, boss, alice, path, basic):
        assert Client(app.wsgi, basic=basic, address="198.51.100.5").get(path).status == 401
        shown = boss.get("/activity?event=sign-in+failed").text
        assert actors(shown) == [basic.partition(":")[0]]
        assert "198.51.100.5" in shown


class TestNews:
    def news(self, app, boss) -> str:
        """Where the page asks for them."""
        return unescape(re.search(r'id="news" hx-get="([^"]*)"', boss.get("/activity?event=pull").text)[1])

    def test_are_nothing_until_something_that_fits_happens(self, app, boss):
        address = self.news(app, boss)
        app.store.activity.add("push", "robot", "a:1")
        answer = boss.get(address, headers=HTMX)
        assert (answer.status, answer.body) == (204, b"")

    def test_are_a_link_to_the_list_and_are_told_once(self, app, boss):
        address = self.news(app, boss)
        for _ in range(2):
            app.store.activity.add("pull", "robot", "a:1")
        answer = boss.get(address, headers=HTMX)
        assert "2 new events" in answer.text
        assert 'href="/activity?event=pull"' in answer.text
        assert not answer.header("HX-Push-Url")
        again = unescape(re.search(r'id="news" hx-get="([^"]*)"', answer.text)[1])
        assert boss.get(again, headers=HTMX).status == 204
        app.store.activity.add("pull", "robot", "a:1")
        assert "3 new events" in boss.get(again, headers=HTMX).text

    def test_beyond_a_hundred_are_not_counted(self, app, boss):
        address = self.news(app, boss)
        for _ in range(101):
            app.store.activity.add("pull", "robot", "a:1")
        assert "More than 100 new events" in boss.get(address, headers=HTMX).text


class TestExport:
    def rows(self, boss, query: str = "") -> list[dict]:
        answer = boss.get(f"/activity.csv{query}")
        assert answer.header("Content-Disposition") == 'attachment; filename="activity.csv"'
        return list(csv.DictReader(io.StringIO(answer.text)))

    def test_holds_all_that_the_list_does(self, boss, filled):
        rows = self.rows(boss, "?period=90&event=push&page=2")
        assert [row["actor"] for row in rows] == [f"robot-{ago}" for ago in range(0, 90, 10)]
        assert rows[0] == {
            "time": "2026-11-18T11:06:40Z", "actor": "robot-0", "event": "push", "object": "team/app:0",
            "address": "192.0.2.7", "details": "",
        }  # fmt: skip

    def test_has_the_changes_and_no_formula(self, app, boss, by, add_user):
        user = add_user("=1+1")
        app.users.update(user.id, by, name="Ann")
        row = next(row for row in self.rows(boss) if row["event"] == "user changed")
        assert row["object"] == "'=1+1"
        assert json.loads(row["details"])["after"]["name"] == "Ann"


def test_a_search_that_reads_only_the_newest_says_so(boss, filled, monkeypatch):
    assert "were searched" not in boss.get("/activity?period=all&q=ro").text
    monkeypatch.setattr(activity, "MOST_READ", 20)
    assert "Only the latest 20 entries were searched" in boss.get("/activity?period=all&q=ro").text
    assert "were searched" not in boss.get("/activity?period=all&q=robot").text
