"""A bound on how many ask others at once, so that a source that hangs never holds all threads."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from regadmin.identity.source import unavailable


class Places:
    """`count` of them. Who finds all taken waits, but only until one has been taken for as long as his patience is.

    So while all is quick nobody is refused, and from the moment that something hangs nobody waits.
    """

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic):
        self._count = count
        self._clock = clock
        self._taken_at: list[float] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(self, patience: float) -> Iterator[None]:
        """Raises SourceUnavailable if there is none. The patience is in seconds."""
        began = self._enter(patience)
        try:
            yield
        finally:
            with self._changed:
                self._taken_at.remove(began)
                self._changed.notify_all()

    def _enter(self, patience: float) -> float:
        with self._changed:
            while len(self._taken_at) >= self._count:
                left = self._taken_at[0] + patience - self._clock()
                if left <= 0:
                    raise unavailable("too many wait for its answer")
                self._changed.wait(left)
            self._taken_at.append(self._clock())
            return self._taken_at[-1]
