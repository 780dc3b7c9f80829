"""Things that are remembered for a while: bounded in number and in time, for many threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """At most `size` values, each for its own time by `clock`; what was put first goes first.

    A clock that was set back forgets what was put after that moment.
    """

    def __init__(self, size: int, clock: Callable[[], float]):
        self._size = size
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        found = self._kept.get(key)
        if found is None:
            return None
        since, until, value = found
        return value if since <= self._clock() < until else None

    def put(self, key: Hashable, value: Value, seconds: float) -> None:
        now = self._clock()
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = (now, now + seconds, value)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
