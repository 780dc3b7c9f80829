"""Processes that were forked count together, whatever becomes of one of them."""

import os
import sys
import threading
from collections.abc import Callable

import pytest

from regadmin.counters import Counters, SharedNumber

ANSWERS, FULL, NOTHING = "answers", ("answers", "full"), ("answers", "nothing")
OPEN = ("open", "")


@pytest.fixture
def counters() -> Counters:
    return Counters([FULL, NOTHING], [OPEN], processes=3)


def test_a_single_process_counts_without_more_ado(counters):
    counters.add(*FULL)
    counters.add_at((counters.cell(*FULL), 1), (counters.cell(*NOTHING), 5))
    counters.set("open", 7)
    assert (counters.total(*FULL), counters.total(*NOTHING), counters.level("open")) == (2, 5, 7)
    assert counters.living() == [os.getpid()]


def test_what_was_never_declared_cannot_be_counted(counters):
    with pytest.raises(KeyError):
        counters.add(ANSWERS, "half")


def test_processes_count_together_and_one_that_ends_leaves_its_totals_but_not_its_levels(counters, fork):
    def work(row: int, level: int) -> Callable[[], None]:
        def run() -> None:
            counters.use_row(row)
            counters.add(*FULL)
            counters.set("open", level)

        return run

    children = [fork(work(row, 10 * row)) for row in (1, 2)]
    assert counters.living() == [os.getpid(), *children]
    assert (counters.total(*FULL), counters.level("open")) == (2, 30)

    fork.end(children[0])
    assert counters.living() == [os.getpid(), children[1]]
    assert (counters.total(*FULL), counters.level("open")) == (2, 20)

    # The one that takes its place counts on, and begins with no connection open.
    successor = fork(lambda: (counters.use_row(1), counters.add(*FULL)))
    assert counters.living() == [os.getpid(), successor, children[1]]
    assert (counters.total(*FULL), counters.level("open")) == (3, 20)


def test_a_fork_while_another_thread_counts_does_not_stop_the_child(counters, fork):
    with counters._lock:
        fork(lambda: (counters.use_row(1), counters.add(*FULL)))
    assert counters.total(*FULL) == 1


def test_threads_lose_nothing(counters):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [counters.add(*FULL) for _ in range(2000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert counters.total(*FULL) == 16_000


def test_a_shared_number_is_what_any_process_wrote_last(fork):
    number = SharedNumber()
    assert number.value == 0
    number.value = 5
    fork(lambda: setattr(number, "value", number.value + 1))
    assert number.value == 6
