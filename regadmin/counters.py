"""Numbers that all processes of one server count together, in memory that they share since before they were forked.

Each process writes into a row of its own, so that none waits for another; a reader adds the rows up.
"""

import mmap
import os
import threading
from collections.abc import Iterable

Name = tuple[str, str]
"""What is counted, and which kind of it; '' where there are no kinds."""

_BYTES = 8
_PID = 0
"""The first cell of a row: who writes it."""


class Counters:
    """`totals` never go back. `levels` are how a process stands at this moment, and go with it.

    To be made before the processes are forked. The one that makes it has the first row until another uses that.
    """

    def __init__(self, totals: Iterable[Name], levels: Iterable[Name] = (), processes: int = 1):
        names = [*totals, *levels]
        self._cells = {name: cell for cell, name in enumerate(names, _PID + 1)}
        self._levels = [self._cells[name] for name in levels]
        width = len(names) + 1
        memory = memoryview(mmap.mmap(-1, _BYTES * width * processes)).cast("Q")
        self._rows = [memory[start : start + width] for start in range(0, width * processes, width)]
        self.use_row(0)

    def use_row(self, number: int) -> None:
        """To be called first in a process that was forked. It counts on from where the row's last process ended."""
        # The old lock may have been held by a thread that was not forked.
        self._lock = threading.Lock()
        self._row = self._rows[number]
        self._row[_PID] = os.getpid()
        for cell in self._levels:
            self._row[cell] = 0

    def cell(self, name: str, kind: str = "") -> int:
        """Where it is counted, for `add_at`."""
        return self._cells[name, kind]

    def add(self, name: str, kind: str = "") -> None:
        self.add_at((self.cell(name, kind), 1))

    def add_at(self, *amounts: tuple[int, int]) -> None:
        """Pairs of a cell and what is added there. For those in a hurry: it is the lock that takes time."""
        with self._lock:
            for cell, amount in amounts:
                self._row[cell] += amount

    def set(self, name: str, level: int) -> None:
        self._row[self.cell(name)] = level

    def total(self, name: str, kind: str = "") -> int:
        """What all processes have counted, those that ended too."""
        cell = self.cell(name, kind)
        return sum(row[cell] for row in self._rows)

    def level(self, name: str) -> int:
        """The sum over the processes that live."""
        cell = self.cell(name)
        return sum(row[cell] for row in self._rows if _lives(row[_PID]))

    def living(self, rows: int | None = None) -> list[int]:
        """The processes that have a row, one of the first so many, and live, by their ids."""
        return [row[_PID] for row in self._rows[:rows] if _lives(row[_PID])]


class SharedNumber:
    """One number that all processes see as it was written last. To be made before they are forked."""

    def __init__(self) -> None:
        self._cell = memoryview(mmap.mmap(-1, _BYTES)).cast("Q")

    @property
    def value(self) -> int:
        return self._cell[0]

    @value.setter
    def value(self, number: int) -> None:
        self._cell[0] = number


def _lives(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
