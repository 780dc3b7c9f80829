"""The activity as a service: its days in somebody's time zone, what entries lead to, and how it is forgotten."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from regadmin.app import App
from regadmin.entities import ActivityEntry
from regadmin.services import activities
from regadmin.services.activities import EVENTS, event_name
from regadmin.store.listing import Listing
from tests.rigs import images
from tests.rigs.standin import StandinRegistry

DAY = 86_400
TOKYO, KATHMANDU, NEW_YORK = (ZoneInfo(name) for name in ("Asia/Tokyo", "Asia/Kathmandu", "America/New_York"))
IMAGE = images.docker_image()


def moment(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp())


class TestDays:
    def test_are_those_of_the_readers_calendar(self, app, clock):
        clock.now = moment(2026, 11, 22, 16, 0)
        for at in (moment(2026, 11, 22, 14, 59), moment(2026, 11, 22, 15, 0)):
            app.store.activity.count("pull", at)
        app.store.activity.count("push", moment(2026, 11, 21, 23, 59))
        shown = [(day.date.day, day.pulls, day.pushes) for day in app.activities.days(TOKYO, 2)]
        assert shown == [(22, 1, 1), (23, 1, 0)]
        shown = [(day.date.day, day.pulls, day.pushes) for day in app.activities.days(ZoneInfo("UTC"), 2)]
        assert shown == [(21, 0, 1), (22, 2, 0)]

    def test_may_begin_at_a_quarter_past_the_hour(self, app, clock):
        clock.now = moment(2026, 11, 22, 20, 0)
        app.store.activity.count("pull", moment(2026, 11, 22, 18, 14))
        app.store.activity.count("pull", moment(2026, 11, 22, 18, 15))
        assert [(day.date.day, day.pulls) for day in app.activities.days(KATHMANDU, 2)] == [(22, 1), (23, 1)]

    def test_of_23_and_of_25_hours_lose_nothing(self, app, clock):
        for spring in (moment(2026, 3, 8, 12), moment(2026, 11, 1, 12)):
            clock.now = spring + DAY
            for hour in range(-24, 24):
                app.store.activity.count("pull", spring + hour * 3600)
            shown = app.activities.days(NEW_YORK, 4)
            assert sum(day.pulls for day in shown) == 48
            assert len({day.date for day in shown}) == 4

    @pytest.mark.parametrize("number", [1, 30, 90])
    def test_are_as_many_as_asked_for_and_end_today(self, app, clock, number):
        clock.now = moment(2026, 11, 22, 16, 0)
        days = app.activities.days(TOKYO, number)
        assert (len(days), days[-1].date) == (number, date(2026, 11, 23))
        assert app.activities.since(TOKYO, number) == moment(2026, 11, 22, 15, 0) - (number - 1) * DAY


class TestForgetting:
    @pytest.fixture
    def old(self, app, clock, monkeypatch):
        monkeypatch.setattr(activities, "_FORGOTTEN_AT_ONCE", 2)
        for age in (400, 366, 365, 364, 300, 0):
            app.store.activity.add("pull", "robot", f"app:{age}", at=int(clock.now) - age * DAY)
        return app.activities

    @pytest.mark.parametrize(("days", "left"), [(365, [0, 300, 364, 365]), (1, [0]), (0, [0, 300, 364, 365, 366, 400])])
    def test_takes_what_is_older_than_so_many_days(self, old, days, left):
        old.forget_old(days)
        rows = old.list(Listing()).rows
        assert [int(entry.object.partition(":")[2]) for entry in rows if entry.event == "pull"] == left

    def test_happens_by_itself_for_the_days_of_the_settings(self, settings, clock):
        app = App(settings(activity_days=10), clock)
        app.store.activity.add("pull", "robot", "app:1", at=int(clock.now) - 11 * DAY)
        app.store.activity.add("pull", "robot", "app:2", at=int(clock.now) - 9 * DAY)
        app._clean_up()
        assert [entry.object for entry in app.activities.list(Listing(filters={"event": "pull"})).rows] == ["app:2"]


class TestTargets:
    @pytest.fixture
    def registry(self):
        with StandinRegistry() as registry:
            yield registry

    def test_lead_to_what_is_there_and_nowhere_else(self, settings, clock, registry):
        registry.put("team/app", "v1", IMAGE)
        app = App(settings(registry__port=registry.port), clock)
        app.synchronisation.run("test")
        objects = {
            "team/app:v1": ("tag", "team/app", "v1"),
            f"team/app@{IMAGE.digest}": ("manifest", "team/app", IMAGE.digest),
            "team/app:gone": ("repository", "team/app"),
            "team/gone:v1": (),
        }
        for object in objects:
            app.store.activity.add("push", "alice", object)
        shown = {entry.object: entry.target for entry in app.activities.list(Listing(filters={"event": "push"})).rows}
        assert shown == objects

    def test_lead_to_the_rule_as_long_as_there_is_one(self, app, by):
        kept = app.rules.create(by, -999, resource_name="a", action="pull")
        gone = app.rules.create(by, -999, resource_name="b", action="pull")
        app.rules.update(kept.id, by, action="push")
        app.rules.delete(gone.id, by)
        rows = app.activities.list(Listing(filters={"q": ""})).rows
        shown = [(entry.event, entry.target) for entry in rows if entry.event.startswith("rule ")]
        assert shown == [
            ("rule deleted", ()),
            ("rule changed", ("rule", kept.id)),
            ("rule created", ()),
            ("rule created", ("rule", kept.id)),
        ]


class TestChanges:
    def entry(self, app, event: str) -> ActivityEntry:
        return app.activities.list(Listing(filters={"event": event})).rows[0]

    def test_are_only_the_fields_that_changed(self, app, by):
        user = app.users.create(by, "a good password", login="bob", name="Bob")
        app.users.update(user.id, by, name="Robert", role="manager")
        assert self.entry(app, "user changed").changes == [("name", "Bob", "Robert"), ("role", "user", "manager")]

    def test_of_something_new_or_gone_are_all_its_fields(self, app, by):
        group = app.groups.create(by, "crew", "They ship")
        app.groups.delete(group.id, by)
        assert self.entry(app, "group created").changes == [("name", None, "crew"), ("description", None, "They ship")]
        assert self.entry(app, "group deleted").changes == [("name", "crew", None), ("description", "They ship", None)]

    def test_name_the_owner_of_a_rule_even_when_he_is_gone(self, app, by):
        bob = app.users.create(by, "a good password", login="bob")
        crew = app.groups.create(by, "crew")
        rule = app.rules.create(by, bob.id, name="n", resource_name="a", action="pull")
        app.rules.update(rule.id, by, owner_id=crew.id, is_group=True)
        app.groups.delete(crew.id, by)
        app.users.delete(bob.id, by)
        assert self.entry(app, "rule changed").changes == [("owner_kind", "user", "group"), ("owner", "bob", "crew")]


def test_everything_that_is_recorded_has_a_name(app, client, admin, by, alice_of_all_trades):
    recorded = {entry.event for entry in app.activities.list(Listing()).rows}
    assert recorded <= EVENTS.keys()
    assert len(recorded) > 10


def test_an_event_that_nobody_named_is_shown_as_it_is():
    assert event_name("mount") == "mount"


@pytest.fixture
def alice_of_all_trades(app, by):
    """Somebody to whom everything happens."""
    alice = app.users.create(by, "a good password", login="alice")
    group = app.groups.create(by, "crew")
    app.groups.update(group.id, by, description="x")
    app.users.update(alice.id, by, group_ids=[group.id])
    rule = app.rules.create(by, alice.id, resource_name="a", action="pull")
    app.rules.update(rule.id, by, action="push")
    app.rules.delete(rule.id, by)
    signed_in = app.sessions.start(alice, "192.0.2.1", "")
    app.sessions.note_failure("alice", "192.0.2.1")
    app.users.change_password(alice, "a good password", "another password", by)
    app.sessions.end(signed_in.session_id, by)
    app.groups.delete(group.id, by)
    app.users.delete(alice.id, by)
