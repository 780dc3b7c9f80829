"""Things that are remembered for a while."""

import threading

import pytest

from regadmin.memory import Memory


@pytest.fixture
def memory(clock) -> Memory[str]:
    return Memory(3, clock)


def test_a_value_is_there_until_its_time_is_over(memory, clock):
    memory.put("a", "first", 10)
    clock.pass_time(9)
    assert memory.get("a") == "first"
    clock.pass_time(1)
    assert memory.get("a") is None


def test_what_was_never_put_is_not_there(memory):
    assert memory.get("a") is None


def test_the_oldest_goes_when_there_are_too_many(memory):
    for name in "abcd":
        memory.put(name, name, 10)
    assert [memory.get(name) for name in "abcd"] == [None, "b", "c", "d"]


def test_what_is_put_again_is_young_again(memory):
    for name in "abcad":
        memory.put(name, name, 10)
    assert [memory.get(name) for name in "abcd"] == ["a", None, "c", "d"]


def test_a_clock_that_was_set_back_forgets(memory, clock):
    memory.put("a", "first", 10)
    clock.pass_time(-1)
    assert memory.get("a") is None


def test_many_threads_may_use_it(memory):
    def work(number: int) -> None:
        for turn in range(2000):
            memory.put((number, turn % 5), "x", 10)
            memory.get((number, (turn + 1) % 5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory._kept) <= 3
