"""What forked processes tell each other arrives whole, in one order, whatever becomes of one of them."""

import fcntl
import os
import signal

import pytest

from regadmin.ring import Ring


@pytest.fixture
def ring() -> Ring:
    return Ring(size=5, width=2)


def test_news_are_told_once_and_in_order(ring):
    assert ring.news() == []
    for record in (b"aa", b"bb"):
        ring.append(record)
    assert ring.news() == [b"aa", b"bb"]
    assert ring.news() == []
    ring.append(b"cc")
    assert ring.news() == [b"cc"]


def test_who_was_away_for_long_sees_the_latest_only(ring):
    for number in range(12):
        ring.append(b"%02d" % number)
    assert ring.news() == [b"07", b"08", b"09", b"10", b"11"]


def test_a_process_sees_what_was_told_before_it_was_forked_and_by_others(ring, fork):
    ring.append(b"aa")
    fork(lambda: ring.append(b"bb" if ring.news() == [b"aa"] else b"??"))
    assert ring.news() == [b"aa", b"bb"]


def test_many_processes_overwrite_nothing_of_each_other():
    ring = Ring(size=4000, width=2)
    children = []
    for name in b"abcd":
        pid = os.fork()
        if not pid:
            for number in range(250):
                ring.append(bytes((name, number)))
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    news = ring.news()
    assert len(news) == 1000
    assert all([each[1] for each in news if each[0] == name] == list(range(250)) for name in b"abcd")


def test_a_process_that_is_killed_while_it_writes_leaves_no_lock_and_no_record(ring, fork):
    def begin_to_write() -> None:
        fcntl.lockf(ring._file, fcntl.LOCK_EX)
        ring._memory[ring._place(0)] = b"??"

    child = fork(begin_to_write)
    fork.end(child)
    signal.alarm(20)
    ring.append(b"aa")
    signal.alarm(0)
    assert ring.news() == [b"aa"]
