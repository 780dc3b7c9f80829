import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from regadmin.store import Store
from tests.rigs.server import wait_until

WRITER = """
import sys
from regadmin.store import Store
from tests.rigs.server import wait_until
store = Store(sys.argv[1])
for number in range(1_000_000):
    store.inbox.add([(f"{number}-{part}", b"body") for part in range(3)], "events")
    print(number, flush=True)
"""


@pytest.fixture
def inbox(store):
    return store.inbox


def bodies(inbox, limit: int = 100) -> list[bytes]:
    return [notification.body for notification in inbox.waiting(limit)]


def test_what_arrives_waits_in_its_order(inbox, clock):
    assert inbox.add([("z", b"1"), ("a", b"2")], "events") == 2
    assert inbox.add([("m", b"3")], "events") == 1
    assert bodies(inbox) == [b"1", b"2", b"3"]
    assert bodies(inbox, 2) == [b"1", b"2"]
    assert (inbox.count_waiting(), inbox.oldest_waiting()) == (3, clock.now)
    first = inbox.waiting(1)[0]
    assert (first.attempts, first.received_at) == (0, clock.now)


def test_a_duplicate_is_passed_over_and_the_first_one_stays(inbox):
    assert inbox.add([("a", b"1"), ("a", b"2"), ("b", b"3")], "events") == 2
    assert inbox.add([("b", b"4"), ("c", b"5")], "events") == 1
    assert bodies(inbox) == [b"1", b"3", b"5"]


@pytest.mark.parametrize("mark", ["mark_applied", "mark_kept"])
def test_what_is_done_waits_no_more_and_its_duplicate_is_still_known(inbox, mark):
    inbox.add([("a", b"1"), ("b", b"2")], "events")
    getattr(inbox, mark)(inbox.waiting(1)[0].id, "done")
    assert bodies(inbox) == [b"2"]
    assert inbox.add([("a", b"1")], "events") == 0
    assert inbox.count_waiting() == 1


def test_the_body_of_what_was_applied_is_dropped_and_that_of_what_was_set_aside_is_not(store, inbox):
    inbox.add([("a", b"1"), ("b", b"2")], "events")
    applied, kept = inbox.waiting(2)
    inbox.mark_applied(applied.id, "pushed")
    inbox.mark_kept(kept.id, "no idea")
    rows = store.database.all("SELECT event_id, body, outcome, posted_by FROM inbox ORDER BY id")
    assert [tuple(row) for row in rows] == [("a", b"", "pushed", "events"), ("b", b"2", "no idea", "events")]


def test_failed_attempts_are_counted_and_it_goes_on_waiting_in_its_place(inbox):
    inbox.add([("a", b"1"), ("b", b"2")], "events")
    for _ in range(3):
        inbox.mark_failed(inbox.waiting(1)[0].id, "the registry is away")
    assert [notification.attempts for notification in inbox.waiting(2)] == [3, 0]
    assert bodies(inbox) == [b"1", b"2"]


def test_only_what_was_applied_before_is_forgotten(inbox, clock):
    inbox.add([("a", b"1"), ("b", b"2"), ("c", b"3")], "events")
    first, second, _ = inbox.waiting(3)
    inbox.mark_applied(first.id, "pushed")
    clock.pass_time(60)
    inbox.mark_kept(second.id, "no idea")
    inbox.forget(clock.now)
    assert inbox.add([("a", b"1"), ("b", b"2"), ("c", b"3")], "events") == 1
    assert bodies(inbox) == [b"3", b"1"]


def test_a_forgotten_events_place_is_never_taken_by_a_new_one(inbox, clock):
    inbox.add([("a", b"1")], "events")
    last = inbox.waiting(1)[0]
    inbox.mark_applied(last.id, "pushed")
    inbox.forget(clock.now + 1)
    inbox.add([("b", b"2")], "events")
    assert inbox.waiting(1)[0].id > last.id


def test_an_envelope_is_kept_whole_or_not_at_all(inbox):
    with pytest.raises(sqlite3.IntegrityError):
        inbox.add([("a", b"1"), ("b", None)], "events")
    assert inbox.count_waiting() == 0


def test_many_may_post_at_the_same_time(tmp_path, store, inbox):
    def post(writer: int) -> None:
        for number in range(20):
            inbox.add([(f"{writer}-{number}", b"x"), (f"everybody's {number}", b"x")], "events")

    threads = [threading.Thread(target=post, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inbox.count_waiting() == 4 * 20 + 20


class Posters:
    """Threads that post while another writer holds the store, and what they ran on it and got."""

    def __init__(self, store: Store):
        self.store, self.statements, self.errors = store, [], []
        self.other = Store(store.database.path)

    def post(self, *bodies: bytes | None) -> None:
        def add(number: int, body: bytes | None) -> None:
            self.store.database.connection.set_trace_callback(self.statements.append)
            try:
                self.store.inbox.add([(f"{number} {body}", body)], "events")
            except sqlite3.IntegrityError as error:
                self.errors.append(error)

        with self.other.transaction():
            threads = [threading.Thread(target=add, args=each) for each in enumerate(bodies)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(self.store.inbox._arrived) == len(bodies) - 1)
        for thread in threads:
            thread.join()


def test_what_arrives_during_a_commit_shares_the_next_one(store, inbox):
    posters = Posters(store)
    posters.post(*[b"x"] * 20)
    assert inbox.count_waiting() == 20
    assert posters.statements.count("COMMIT") == 2


def test_who_shares_a_commit_that_fails_is_told_so_and_may_post_again(store, inbox):
    posters = Posters(store)
    posters.post(*[None] * 3, b"1")
    assert len(posters.errors) in (3, 4)
    assert inbox.count_waiting() == 4 - len(posters.errors)
    assert inbox.add([("again", b"1")], "events") == 1


def test_what_was_answered_survives_kill_9(tmp_path):
    """The writer says each number once its envelope is kept."""
    path = tmp_path / "data.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
        for line in writer.stdout:
            if int(line) >= 200:
                break
        writer.send_signal(signal.SIGKILL)
        last = int((line + writer.stdout.read()).split()[-1])
    store = Store(path)
    waiting = store.inbox.count_waiting()
    assert waiting % 3 == 0
    assert last + 1 <= waiting // 3 <= last + 2
    assert store.database.one("PRAGMA integrity_check")[0] == "ok"


def test_the_latest_arrival_is_known_also_when_it_is_forgotten(store, clock):
    assert store.inbox.latest_arrival() is None
    store.activity.add("pull", "alice", "team/app:1", at=100)
    store.activity.add("push", "alice", "team/app:1", at=300)
    store.activity.add("delete", "admin", "team/app:1", at=900)
    assert store.inbox.latest_arrival() == 300
    store.inbox.add([("one", b"{}")], "events")
    assert store.inbox.latest_arrival() == clock.now


def test_what_another_process_was_first_to_apply_is_told_and_stays_as_it_is(store, inbox):
    inbox.add([("a", b"1")], "events")
    (notification,) = inbox.waiting(1)
    assert inbox.mark_applied(notification.id, "counted")
    assert not inbox.mark_applied(notification.id, "again")
    inbox.mark_kept(notification.id, "late")
    inbox.mark_failed(notification.id, "later")
    (row,) = store.database.all("SELECT outcome, attempts, body FROM inbox")
    assert tuple(row) == ("counted", 0, b"")
