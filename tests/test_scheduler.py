import logging
import os
import resource
import threading
import time

import pytest

from regadmin.scheduler import Baton, Timer, Worker
from tests.rigs.server import wait_until

OFTEN = 0.02 / 60
"""An interval in minutes."""


@pytest.fixture
def started():
    """Starts threads, and ends them after the test."""
    threads = []

    def start(thread):
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.stop()
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)


class Work:
    """Answers what it is told to, one after the other, and then True; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.times: list[float] = []

    @property
    def calls(self) -> int:
        return len(self.times)

    def __call__(self):
        self.times.append(time.monotonic())
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return answer


class TestTimer:
    def test_a_job_runs_again_and_again_in_a_thread_of_its_own(self, started):
        threads = []
        timer = Timer(tick=0.005)
        timer.every(OFTEN, lambda: threads.append(threading.current_thread()))
        started(timer)
        wait_until(lambda: len(threads) >= 3)
        assert set(threads) == {timer}
        assert timer.daemon

    def test_a_job_does_not_run_before_its_interval_is_over(self, started):
        soon, late = Work(), Work()
        timer = Timer(tick=0.005)
        timer.every(OFTEN, soon)
        timer.every(60, late)
        started(timer)
        wait_until(lambda: soon.calls >= 3)
        assert late.calls == 0

    def test_a_job_that_fails_is_logged_and_runs_again_as_do_the_others(self, started, caplog):
        bad, good = Work(*[ValueError("as it happens")] * 3), Work()
        timer = Timer(tick=0.005)
        timer.every(OFTEN, bad)
        timer.every(OFTEN, good)
        started(timer)
        wait_until(lambda: bad.calls >= 4 and good.calls >= 3)
        assert "as it happens" in caplog.text

    def test_a_stopped_timer_ends(self, started):
        timer = started(Timer())
        timer.stop()
        timer.join(5)
        assert not timer.is_alive()


class TestWorker:
    def test_it_works_once_at_the_start_and_then_when_woken(self, started):
        work = Work()
        worker = started(Worker("test", work))
        wait_until(lambda: work.calls == 1)
        worker.wake()
        wait_until(lambda: work.calls == 2)
        assert (worker.name, worker.daemon) == ("test", True)

    def test_what_arrives_while_it_works_is_worked_on_next(self, started):
        begun, go_on, calls = threading.Event(), threading.Event(), []

        def work():
            calls.append(1)
            begun.set()
            return go_on.wait(5)

        worker = started(Worker("test", work))
        assert begun.wait(5)
        worker.wake()
        go_on.set()
        wait_until(lambda: len(calls) == 2)

    def test_work_that_could_not_be_done_is_tried_again_after_longer_and_longer_pauses(self, started):
        work = Work(False, False, False, True)
        started(Worker("test", work))
        wait_until(lambda: work.calls == 4)
        pauses = [later - earlier for earlier, later in zip(work.times, work.times[1:], strict=False)]
        assert all(pause >= least for pause, least in zip(pauses, (0.04, 0.09, 0.19), strict=True))

    def test_what_arrives_does_not_hasten_the_next_attempt(self, started):
        work = Work(*[False] * 3)
        worker = started(Worker("test", work))

        def wake():
            worker.wake()
            return work.calls == 4

        wait_until(wake)
        assert work.times[3] - work.times[0] >= 0.3

    def test_work_that_breaks_is_logged_and_tried_again(self, started, caplog):
        caplog.set_level(logging.ERROR)
        work = Work(ValueError("as it happens"))
        started(Worker("test", work))
        wait_until(lambda: work.calls == 2)
        assert "as it happens" in caplog.text

    @pytest.mark.parametrize("answer", [True, False])
    def test_a_stopped_worker_ends_whether_it_waits_for_work_or_for_another_attempt(self, started, answer):
        work = Work(*[answer] * 100)
        worker = started(Worker("test", work))
        wait_until(lambda: work.calls)
        worker.stop()
        worker.join(5)
        assert not worker.is_alive()


def test_a_file_that_a_process_hands_over_waits_for_the_one_that_takes_it_and_is_good_after_its_giver(fork):
    baton, (out, into) = Baton(), os.pipe()
    giver = fork(lambda: (baton.give(7, into), os.close(into)))
    fork.end(giver)
    os.close(into)
    taken = []
    baton.take(lambda number, file: taken.append((number, file)))
    wait_until(lambda: taken)
    ((number, file),) = taken
    assert number == 7
    os.write(file, b"here")
    assert os.read(out, 4) == b"here"
    os.close(file)
    os.close(out)


def test_who_takes_goes_on_after_a_time_with_too_many_open_files(caplog):
    baton, taken, limits = Baton(), [], resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        baton.take(lambda number, file: taken.append((number, os.close(file))))
        baton.give(1, 0)
        wait_until(lambda: "too many files are open" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    baton.give(2, 0)
    wait_until(lambda: taken == [(2, None)])


def test_who_takes_goes_on_after_an_error():
    baton, taken = Baton(), []

    def take(number: int, file: int) -> None:
        os.close(file)
        taken.append(number)
        raise RuntimeError("the disk is full")

    baton.take(take)
    for number in (1, 2):
        baton.give(number, 0)
    wait_until(lambda: taken == [1, 2])
