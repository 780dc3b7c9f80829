"""The geometry of charts."""

from datetime import date

import pytest

from regadmin.entities import RepositoryStorage, Storage
from regadmin.services.activities import Day
from regadmin.web.pages.charts import day_columns, round_limit, storage_bars

DAYS = [Day(date(2026, 11, day), day, 0) for day in range(1, 6)]


def test_bars_share_one_scale_and_the_others_come_last():
    rows = (RepositoryStorage("big", 200, 50, 0), RepositoryStorage("small", 20, 0, 0))
    others = RepositoryStorage("", 100, 100, 0)
    bars = storage_bars(Storage(300, 100, 0, rows, 7, others))
    assert [(bar.row.name, bar.own, bar.shared) for bar in bars] == [("big", 75, 25), ("small", 10, 0), ("", 0, 50)]
    assert [bar.row.name for bar in storage_bars(Storage(300, 100, 0, rows, 0, others))] == ["big", "small"]


def test_nothing_is_drawn_of_nothing():
    assert storage_bars(Storage(0, 0, 0, (), 0, RepositoryStorage("", 0, 0, 0))) == ()
    empty = storage_bars(Storage(0, 0, 0, (RepositoryStorage("a", 0, 0, 0),), 0, RepositoryStorage("", 0, 0, 0)))
    assert [(bar.own, bar.shared) for bar in empty] == [(0, 0)]


def test_columns_stand_side_by_side_on_the_ground():
    chart = day_columns(DAYS, "pulls")
    assert (chart.limit, chart.total, chart.highest.date.day) == (6, 15, 5)
    assert [column.slot for column in chart.columns] == [(0, 20), (20, 20), (40, 20), (60, 20), (80, 20)]
    for column in chart.columns:
        assert column.top + column.height == pytest.approx(100, abs=0.01)
        assert column.slot[0] < column.left
        assert column.left + column.width < sum(column.slot)
    assert chart.columns[2].height == 50


def test_days_without_anything_have_no_height():
    chart = day_columns(DAYS, "pushes")
    assert (chart.total, {column.height for column in chart.columns}) == (0, {0})


@pytest.mark.parametrize(
    ("value", "limit"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (5, 6), (6, 6), (7, 10), (10, 10), (11, 20), (61, 100), (4001, 6000)],
)
def test_the_scale_ends_at_a_round_number_with_a_whole_half(value, limit):
    assert round_limit(value) == limit
