"""The geometry of charts: everything in hundredths of the room that a page has for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from regadmin.entities import RepositoryStorage, Storage
from regadmin.services.activities import Day

_GAP = 0.2
"""The part of a day's room that is left free between two columns."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of a bar chart: what only this repository holds, and what it shares."""

    row: RepositoryStorage
    own: float
    shared: float


@dataclass(frozen=True, slots=True)
class Column:
    """One day: `left` and `width` across, `top` and `height` down; `slot` is the room of the whole day."""

    date: date
    value: int
    slot: tuple[float, float]
    left: float
    width: float
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Columns:
    """`limit` is what the whole height stands for, a round number."""

    columns: tuple[Column, ...]
    limit: int
    total: int

    @property
    def highest(self) -> Column:
        return max(self.columns, key=lambda column: column.value)


def storage_bars(storage: Storage) -> tuple[Bar, ...]:
    """The largest repositories, then all others in one, if there are any."""
    rows = [*storage.largest, *([storage.others] if storage.other_count else [])]
    longest = max((row.stored for row in rows), default=0)
    return tuple(Bar(row, _share(row.stored - row.shared, longest), _share(row.shared, longest)) for row in rows)


def day_columns(days: Sequence[Day], name: str) -> Columns:
    """`name` is `pulls` or `pushes`."""
    values = [getattr(day, name) for day in days]
    limit, room = round_limit(max(values)), 100 / len(days)
    return Columns(
        tuple(
            Column(
                day.date,
                value,
                slot=(round(position * room, 3), round(room, 3)),
                left=round((position + _GAP / 2) * room, 3),
                width=round((1 - _GAP) * room, 3),
                top=round(100 - _share(value, limit), 3),
                height=_share(value, limit),
            )
            for position, (day, value) in enumerate(zip(days, values, strict=True))
        ),
        limit,
        sum(values),
    )


def round_limit(value: int) -> int:
    """The least of 2, 4, 6, 10, 20, 40, 60 ... that is not less: its half is a whole number too."""
    power = 1
    while True:
        for step in (2, 4, 6, 10):
            if value <= step * power:
                return step * power
        power *= 10


def _share(part: int, whole: int) -> float:
    return round(100 * part / whole, 3) if whole else 0
