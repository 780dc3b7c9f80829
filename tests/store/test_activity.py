"""The activity as it is stored: narrowed, paged, counted and forgotten."""

import pytest

from regadmin.entities import User
from regadmin.store import activity
from regadmin.store.listing import Listing

ROWS = [
    ("push", "alice", "team/app:v1", "192.0.2.1"),
    ("pull", "Alice", "team/app@sha256:ab", "192.0.2.2"),
    ("pull", "robot", "team/app2:v1", "192.0.2.2"),
    ("pull", "robot", "team:v1", ""),
    ("rule created", "admin", "team/app", "192.0.2.9"),
    ("user created", "admin", "team/app", "192.0.2.9"),
    ("sign-in failed", "50%", "50%", "198.51.100.1"),
]
"""Oldest first, ten seconds apart."""


@pytest.fixture
def filled(store, clock):
    for event, actor, object, address in ROWS:
        clock.pass_time(10)
        store.activity.add(event, actor, object, address)
    return store.activity


def numbers(page) -> list[int]:
    """Which of ROWS are on the page."""
    return [entry.id - 1 for entry in page.rows]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [6, 5, 4, 3, 2, 1, 0]),
        ({"q": "", "actor": None, "event": "", "since": 0}, [6, 5, 4, 3, 2, 1, 0]),
        ({"q": "APP2"}, [2]),
        ({"q": "192.0.2.2"}, [2, 1]),
        ({"q": "%"}, [6]),
        ({"actor": "ALICE"}, [1, 0]),
        ({"event": "pull"}, [3, 2, 1]),
        ({"event": "pull", "actor": "alice"}, [1]),
        ({"repository": "team/app"}, [4, 1, 0]),
        ({"repository": "team"}, [3]),
        ({"repository": "team/app", "event": "push"}, [0]),
        ({"repository": "team/ap_"}, []),
        ({"q": "team", "event": "pull"}, [3, 2, 1]),
        ({"q": "nothing"}, []),
    ],
)
def test_it_is_narrowed_by_every_filter_newest_first(filled, filters, expected):
    page = filled.list(Listing(filters=filters))
    assert (numbers(page), page.total, page.is_more) == (expected, len(expected), False)
    assert [entry.id - 1 for entry in filled.each(Listing(filters=filters))] == expected


@pytest.mark.parametrize("more", [{}, {"q": "1"}, {"actor": "robot"}])
def test_a_period_has_its_first_second_and_not_its_last(filled, clock, more):
    newest = int(clock.now)
    whole = numbers(filled.list(Listing(filters=more)))
    period = {"since": newest - 40, "until": newest}
    assert numbers(filled.list(Listing(filters=more | period))) == [row for row in whole if 2 <= row < 6]
    assert numbers(filled.list(Listing(filters=more | {"since": newest + 1}))) == []


def test_what_happened_earlier_stands_lower_though_it_was_told_later(store, clock):
    store.activity.add("pull", "a", "x:1")
    store.activity.add("pull", "b", "x:1", at=int(clock.now) - 100)
    assert [entry.actor for entry in store.activity.list(Listing()).rows] == ["a", "b"]


def test_pages_fit_together(filled):
    pages = [filled.list(Listing(offset=offset, limit=3)) for offset in (0, 3, 6, 9)]
    assert [numbers(page) for page in pages] == [[6, 5, 4], [3, 2, 1], [0], []]
    assert {page.total for page in pages} == {7}


def test_many_rows_are_counted_only_so_far(filled, monkeypatch):
    monkeypatch.setattr(activity, "MOST_COUNTED", 4)
    pages = [filled.list(Listing(offset=offset, limit=2)) for offset in (0, 2, 4, 6)]
    assert [(page.total, page.is_more) for page in pages] == [(4, True), (4, True), (6, True), (7, False)]


def test_all_rows_are_read_in_batches_without_a_gap(store, clock, monkeypatch):
    monkeypatch.setattr(activity, "_BATCH", 4)
    for number in range(10):
        store.activity.add("pull", f"robot-{number}", "team/app:v1", at=int(clock.now) - number // 3)
    read = [entry.id for entry in store.activity.each(Listing())]
    assert read == [entry.id for entry in store.activity.list(Listing()).rows]
    assert sorted(read) == list(range(1, 11))


def test_news_are_what_was_recorded_after_and_fits(filled):
    assert filled.latest_id() == 7
    assert filled.count_after(3, Listing(), 100) == 4
    assert filled.count_after(3, Listing(), 2) == 2
    assert filled.count_after(0, Listing(filters={"q": "team", "actor": "robot"}), 100) == 2
    assert filled.count_after(7, Listing(), 100) == 0


def test_an_empty_activity_has_no_latest_row(store):
    assert store.activity.latest_id() == 0
    assert store.activity.list(Listing(limit=25)).total == 0


def test_the_account_and_the_group_that_are_still_there_are_named(store):
    ann = store.users.create(User(0, "ann", "Ann", "user", (store.groups.find(1),)), "hash")
    crew = store.groups.create("crew", "")
    for event, object in (("signed in", "ann"), ("user changed", "gone"), ("group created", "crew"), ("push", "ann:1")):
        store.activity.add(event, "admin", object)
    targets = [entry.target for entry in store.activity.list(Listing()).rows]
    assert targets == [(), ("group", crew.id), (), ("user", ann.id)]


def test_counts_are_of_whole_spans(store, clock):
    start = 1_795_000_500 - 1_795_000_500 % 900
    for at in (start - 1, start, start + 899, start + 900, start + 1800):
        store.activity.count("pull", at)
    store.activity.count("push", start + 10)
    assert store.activity.counts([start, start + 900, start + 1800]) == {
        ("pull", 0): 2, ("push", 0): 1, ("pull", 1): 1,
    }


def test_old_rows_go_a_few_at_a_time_with_their_counts(filled, store, clock):
    filled.count("pull", int(clock.now) - 10_000)
    filled.count("pull", int(clock.now))
    before = int(clock.now) - 20
    assert [filled.forget(before, 3) for _ in range(3)] == [3, 1, 0]
    assert numbers(filled.list(Listing())) == [6, 5, 4]
    assert store.database.one("SELECT sum(count) FROM activity_counts")[0] == 1


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"since": 5},
        {"event": "pull"},
        {"actor": "a"},
        {"repository": "x"},
        {"actor": "a", "event": "pull", "since": 5},
    ],
)
def test_lists_are_read_by_an_index_in_their_order(store, filters):
    """Sorting a million rows, or reading all of them, takes seconds."""
    where, values = activity._narrowed(filters)
    sql = f"EXPLAIN QUERY PLAN SELECT id {where} ORDER BY at DESC, id DESC LIMIT 25"
    plan = " ".join(row["detail"] for row in store.database.all(sql, values))
    assert "USING" in plan and "INDEX" in plan
    assert "TEMP B-TREE FOR ORDER BY" not in plan


class TestSearchesThatReadOnlyTheNewest:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(activity, "MOST_READ", 2)
        monkeypatch.setattr(activity, "_RARE", 2)

    @pytest.mark.parametrize(
        ("filters", "expected", "searched"),
        [
            ({"q": "te"}, [5, 4], 2),
            ({"q": "team"}, [5, 4, 3, 2, 1, 0], 0),
            ({"q": "APP2", "event": "pull"}, [2], 0),
            ({"q": "team", "event": "pull"}, [3, 2, 1], 2),
            ({"q": "te", "actor": "alice"}, [1, 0], 0),
            ({"q": "%"}, [6], 2),
        ],
    )
    def test_say_so(self, filled, filters, expected, searched):
        page = filled.list(Listing(filters=filters, limit=10))
        assert (numbers(page), page.total, page.searched) == (expected, len(expected), searched)

    def test_leave_nothing_out_of_the_file(self, filled):
        assert len(list(filled.each(Listing(filters={"q": "te"})))) == 6
