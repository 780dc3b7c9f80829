"""Which of all repositories resource names cover: worked out once, and kept up as repositories come."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from regadmin import patterns
from regadmin.store import Store

_MOST_SETS, _MOST_COUNTS = 32, 500
"""What is remembered. A set takes a byte for each repository."""

_MOST_ARRIVALS = 100
"""Counts are kept up for so many repositories that came; after more of them they are worked out anew."""


class _Known(NamedTuple):
    """Ids that are covered, as of these numbers of the store."""

    arrivals: int
    departures: int
    ids: bytes


class Coverage:
    def __init__(self, store: Store):
        self._store = store
        self._lock = threading.Lock()
        self._sets: OrderedDict[tuple, _Known] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._counted_at = (0, 0)

    def ids(self, texts: frozenset[str], login: str = "", groups: tuple[str, ...] = ()) -> bytes:
        """1 at the id of each repository that one of the resource names covers for this subject."""
        key, now = (texts, login, groups), self._store.repositories.arrivals()
        with self._lock:
            known = self._sets.get(key)
        if known is None or known.departures != now[1]:
            known = _Known(0, now[1], b"")
        if known.arrivals < now[0]:
            spans = _joined(patterns.span(text, login) for text in texts)
            found = self._store.repositories.between(spans, known.arrivals)
            covers = patterns.matcher(texts, login, groups)
            known = _Known(*now, _marked(known.ids, [row_id for name, row_id in found if covers(name)]))
        with self._lock:
            self._sets[key] = known
            _forget(self._sets, key, _MOST_SETS)
        return known.ids

    def counts(self, texts: Iterable[str]) -> dict[str, int]:
        """How many repositories each of the resource names covers, for whomever. None may depend on who asks."""
        texts = list(dict.fromkeys(texts))
        now = self._store.repositories.arrivals()
        with self._lock:
            self._keep_up(now)
            unknown = [text for text in texts if text not in self._counts]
            self._counts.update(self._counted(unknown))
            found = {text: self._counts[text] for text in texts}
            for text in texts:
                _forget(self._counts, text, max(_MOST_COUNTS, len(texts)))
        return found

    def _keep_up(self, now: tuple[int, int]) -> None:
        """Add those that came since to the counts that are remembered."""
        if now == self._counted_at:
            return
        arrivals, departures = self._counted_at
        if departures == now[1] and now[0] - arrivals <= _MOST_ARRIVALS:
            for name, _ in self._store.repositories.between([patterns.span("**")], arrivals):
                for text in self._counts:
                    self._counts[text] += patterns.matches(text, name)
        else:
            self._counts.clear()
        self._counted_at = now

    def _counted(self, texts: list[str]) -> dict[str, int]:
        if not texts:
            return {}
        names = [name for name, _ in self._store.repositories.between(_joined(map(patterns.span, texts)))]
        return {text: sum(map(patterns.matcher(frozenset([text])), _within(names, text))) for text in texts}


def _within(names: list[str], text: str) -> list[str]:
    """Those of the names, which are in order, that the resource name can cover."""
    first, end = patterns.span(text)
    return names[bisect_left(names, first) : bisect_left(names, end)]


def _joined(spans: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same without overlaps."""
    joined: list[tuple[str, str]] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((first, end))
    return joined


def _marked(ids: bytes, more: list[int]) -> bytes:
    if not more:
        return ids
    marked = bytearray(ids) + bytes(max(max(more) + 1 - len(ids), 0))
    for row_id in more:
        marked[row_id] = 1
    return bytes(marked)


def _forget(remembered: OrderedDict, latest: object, most: int) -> None:
    """What was asked for longest ago goes first."""
    remembered.move_to_end(latest)
    while len(remembered) > most:
        remembered.popitem(last=False)
