"""The throttle: guessers wait, and those who know their password do not."""

import os
import threading

import pytest

from regadmin.errors import TooMany, Unauthenticated
from regadmin.services.throttle import (
    ADDRESS,
    FORGOTTEN_AFTER,
    LOGIN,
    SAME,
    SPARE,
    VERIFIED_FOR,
    Limit,
    Throttle,
    network_of,
)
from tests.rigs.server import wait_until

HOME, ELSEWHERE, OFFICE = "192.0.2.1", "198.51.100.7", "203.0.113.5"
RIGHT = "the right one"


@pytest.fixture
def throttle(clock) -> Throttle:
    return Throttle(clock)


@pytest.fixture
def guess(throttle):
    """Try a password: True, False, or the seconds to wait. Every login has the same right one."""

    def guess(password: str = RIGHT, login: str = "alice", address: str = ELSEWHERE) -> bool | int:
        try:
            with throttle.attempt(login, password, address):
                if password != RIGHT:
                    raise Unauthenticated("wrong")
        except Unauthenticated:
            return False
        except TooMany as error:
            return error.wait
        return True

    return guess


@pytest.fixture
def fail(guess):
    """So many different wrong passwords, each for a login of its own unless one is named."""

    def fail(times: int, login: str = "", address: str = ELSEWHERE) -> list[bool | int]:
        return [guess(f"wrong {number}", login or f"login {number}", address) for number in range(times)]

    return fail


def test_a_delay_begins_after_the_free_failures_and_doubles_up_to_the_longest():
    limit = Limit(free=3, first=5, longest=60)
    assert [limit.delay(failures) for failures in (0, 2, 3, 4, 5, 6, 7, 1000)] == [0, 0, 5, 10, 20, 40, 60, 60]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("a socket", "a socket"),
    ],
)
def test_an_address_stands_for_what_one_client_has(address, network):
    assert network_of(address) == network


class TestAnAddress:
    def test_waits_after_its_free_failures_whatever_the_login(self, guess, fail):
        assert fail(ADDRESS.free) == [False] * ADDRESS.free
        assert guess("another", "bob") == ADDRESS.first
        assert guess(RIGHT, "bob") == ADDRESS.first

    def test_does_not_wait_for_the_failures_of_another(self, guess, fail):
        fail(ADDRESS.free)
        assert guess(address=HOME) is True

    def test_of_version_6_shares_them_with_its_whole_network(self, guess, fail):
        fail(ADDRESS.free, address="2001:db8::1")
        assert guess(address="2001:db8::ffff:2") == ADDRESS.first
        assert guess(address="2001:db8:0:1::1") is True

    def test_waits_longer_each_time_but_never_longer_than_the_longest(self, guess, fail, clock):
        fail(ADDRESS.free)
        waits = []
        for number in range(12):
            waits.append(guess("early", f"bob {number}"))
            clock.pass_time(waits[-1])
            assert guess("late", f"carol {number}") is False
        assert waits[:4] == [5, 10, 20, 40]
        assert waits[-1] == max(waits) == ADDRESS.longest

    def test_gains_and_loses_nothing_by_asking_too_early(self, guess, fail, clock):
        fail(ADDRESS.free)
        clock.pass_time(1)
        for number in range(20):
            assert guess(f"early {number}", "bob") == ADDRESS.first - 1
        clock.pass_time(ADDRESS.first - 1)
        assert guess() is True

    def test_begins_anew_after_a_quiet_time(self, guess, fail, clock):
        fail(ADDRESS.free + 1)
        clock.pass_time(FORGOTTEN_AFTER + 1)
        assert fail(ADDRESS.free, "later") == [False] * LOGIN.free + [LOGIN.first] * (ADDRESS.free - LOGIN.free)

    def test_is_not_held_by_a_clock_that_was_set_back(self, guess, fail, clock):
        fail(ADDRESS.free)
        clock.pass_time(-10_000)
        assert guess() is True

    def test_waits_although_failures_are_told_in_another_order_than_they_happened(self, guess, fail, clock):
        for number in range(ADDRESS.free):
            guess(f"wrong {number}", login=f"login {number}")
            clock.pass_time(-0.001)
        assert guess("wrong again") >= ADDRESS.first

    def test_with_many_good_sign_ins_never_waits(self, guess):
        assert {guess(login=f"robot {number % 7}") for number in range(500)} == {True}

    def test_is_not_set_free_by_the_guessers_own_account(self, guess, fail):
        fail(ADDRESS.free - 1)
        assert guess(login="mallory") is True
        assert guess("one more", "bob") is False
        assert guess("too many", "bob") == ADDRESS.first

    def test_forgets_the_typing_errors_of_who_signs_in_well_then(self, guess, fail):
        for day in range(10):
            for number in range(LOGIN.free - 1):
                assert guess(f"mistyped {day} {number}") is False
            assert guess() is True


class TestCredentialsThatWereRight:
    def test_pass_from_the_same_address_while_it_must_wait(self, guess, fail):
        assert guess() is True
        fail(ADDRESS.free)
        assert guess("wrong", "bob") == ADDRESS.first
        assert guess() is True
        assert guess(login="bob") == ADDRESS.first

    def test_do_not_pass_from_another_that_must_wait(self, guess, fail):
        guess(address=HOME)
        fail(ADDRESS.free)
        assert guess() == ADDRESS.first

    def test_do_not_pass_for_ever(self, guess, fail, clock):
        guess()
        clock.pass_time(VERIFIED_FOR)
        fail(ADDRESS.free)
        assert guess() == ADDRESS.first

    def test_cannot_be_found_by_trying_what_passes(self, guess, fail):
        guess()
        fail(ADDRESS.free)
        for number in range(SPARE):
            assert guess(f"trial {number}") == ADDRESS.first
        assert guess() == ADDRESS.first

    def test_are_not_shut_out_by_a_job_that_repeats_an_old_password(self, guess, fail):
        guess()
        fail(ADDRESS.free)
        for _ in range(10 * SPARE):
            assert guess("the old one") == ADDRESS.first
        assert guess() is True

    def test_count_like_others_once_they_are_wrong(self, throttle, guess):
        guess()
        for _ in range(SAME.free):
            with pytest.raises(Unauthenticated), throttle.attempt("alice", RIGHT, ELSEWHERE):
                raise Unauthenticated("changed")
        assert guess() == SAME.first


class TestTheSameCredentialsAgain:
    def test_cost_the_address_one_failure_only(self, guess, clock):
        for _ in range(5 * ADDRESS.free):
            guess("the old one", "robot")
            clock.pass_time(SAME.longest)
        assert guess() is True
        assert guess(login="robot") is True

    def test_wait_by_themselves_but_not_long(self, guess, clock):
        assert [guess("the old one") for _ in range(SAME.free)] == [False] * SAME.free
        assert guess("the old one") == SAME.first
        assert guess("another one") is False
        for _ in range(20):
            clock.pass_time(SAME.longest)
            assert guess("the old one") is False
        assert guess("the old one") == SAME.longest

    def test_are_let_in_once_they_are_right(self, throttle, guess, clock):
        """The registry posts its events again and again, from before its account exists."""
        for _ in range(50):
            guess("soon right", "events")
            clock.pass_time(1)
        clock.pass_time(SAME.longest)
        with throttle.attempt("events", "soon right", ELSEWHERE):
            pass

    def test_are_not_made_free_by_refused_attempts(self, guess, fail, clock):
        """A password that was tried too early is a new one when it is looked at."""
        fail(ADDRESS.free)
        early = [f"early {number}" for number in range(5)]
        assert [guess(password, password) for password in early] == [ADDRESS.first] * 5
        for password in early:
            wait = guess(password, password)
            assert wait >= ADDRESS.first
            clock.pass_time(wait)
            assert guess(password, password) is False
        assert guess("next", "next") == ADDRESS.first * 2 ** len(early)


class TestALogin:
    @pytest.fixture
    def attack(self, guess):
        def attack(guesses: int, login: str = "alice") -> None:
            for number in range(guesses):
                guess(f"attack {number}", login, f"10.0.{number // 250}.{number % 250}")

        return attack

    def test_that_is_guessed_at_makes_strangers_wait_a_little(self, guess, attack, clock):
        attack(LOGIN.free)
        assert guess() == LOGIN.first
        assert guess(login="bob") is True
        clock.pass_time(LOGIN.first)
        assert guess() is True

    def test_is_open_where_it_signed_in_well_lately(self, guess, attack):
        guess(address=HOME)
        attack(200)
        assert guess(address=HOME) is True
        assert guess("mistyped", address=HOME) is False

    def test_lets_its_owner_in_from_anywhere_however_many_guess(self, guess, attack, clock):
        attack(200)
        wait = guess(address=OFFICE)
        assert 0 < wait <= LOGIN.longest
        for _ in range(int(wait)):
            attack(200)
            clock.pass_time(1)
        assert guess(address=OFFICE) is True

    def test_waits_the_longest_delay_at_most(self, guess, attack, clock):
        for _ in range(50):
            attack(100)
            clock.pass_time(LOGIN.longest)
        assert guess(address=OFFICE) == LOGIN.longest

    def test_that_is_unknown_is_treated_like_any_other(self, guess, attack):
        attack(LOGIN.free, "nobody at all")
        assert guess("wrong", "nobody at all") == LOGIN.first

    def test_lets_a_stranger_try_once_for_each_wait(self, guess, attack, clock):
        attack(LOGIN.free)
        clock.pass_time(guess("first"))
        assert guess("second") is False
        assert guess("third") > 0


class TestManyAtOnce:
    def run(self, throttle, attempts) -> list[bool | int]:
        """All of them at once: the first ones verify until all are started."""
        results, inside, gate = [], [], threading.Event()
        most = []

        def attempt(login, password):
            try:
                with throttle.attempt(login, password, ELSEWHERE):
                    inside.append(1)
                    most.append(len(inside))
                    gate.wait(10)
                    inside.pop()
                    if password != RIGHT:
                        raise Unauthenticated("wrong")
                results.append(True)
            except Unauthenticated:
                results.append(False)
            except TooMany as error:
                results.append(error.wait)

        threads = [threading.Thread(target=attempt, args=each) for each in attempts]
        for thread in threads:
            thread.start()
        wait_until(lambda: inside)
        gate.set()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        self.most = max(most)
        return results

    def test_guesses_are_no_more_than_those_in_a_row(self, throttle):
        guesses = [(f"login {number}", f"guess {number}") for number in range(40)]
        results = self.run(throttle, guesses)
        assert results.count(False) == ADDRESS.free
        assert results.count(ADDRESS.first) == 40 - ADDRESS.free
        assert self.most <= ADDRESS.free

    def test_guesses_at_one_login_neither(self, throttle):
        results = self.run(throttle, [("alice", f"guess {number}") for number in range(20)])
        assert results.count(False) == LOGIN.free
        assert self.most <= LOGIN.free

    def test_good_sign_ins_all_pass_even_from_an_address_near_its_limit(self, throttle, fail):
        fail(ADDRESS.free - 1)
        good = [(f"robot {number}", RIGHT) for number in range(30)]
        assert self.run(throttle, good) == [True] * 30


class TestProcesses:
    """Each that is forked knows what happened in the others."""

    def test_failures_in_one_make_the_address_wait_in_all(self, guess, fail, fork):
        half = ADDRESS.free // 2
        fork(lambda: fail(half))
        assert fail(ADDRESS.free - half, login="others") == [False] * LOGIN.free
        assert guess() == ADDRESS.first
        fork(lambda: exit_unless(guess() == ADDRESS.first))

    def test_the_same_wrong_credentials_are_the_same_in_all(self, guess, fork):
        for _ in range(SAME.free - 1):
            fork(lambda: guess("an old one"))
        assert guess("an old one") is False
        assert guess("an old one") == SAME.first

    def test_credentials_that_were_right_in_one_pass_in_all(self, guess, fail, fork):
        fork(guess)
        fail(ADDRESS.free)
        assert guess("wrong again") > 0
        assert guess() is True

    def test_a_typing_error_is_forgiven_wherever_it_was_made(self, guess, fail, fork):
        fork(lambda: fail(3, login="alice"))
        assert guess() is True
        assert fail(ADDRESS.free) == [False] * ADDRESS.free

    def test_what_was_long_ago_in_another_is_forgotten(self, guess, fail, fork, clock):
        fork(lambda: fail(ADDRESS.free - 1))
        clock.now += FORGOTTEN_AFTER + 1
        assert fail(ADDRESS.free) == [False] * ADDRESS.free
        assert guess() == ADDRESS.first

    def test_good_credentials_that_are_used_often_are_told_once(self, throttle, guess):
        assert [guess() for _ in range(50)] == [True] * 50
        assert throttle._outcomes._head() == 1


def exit_unless(is_so: bool) -> None:
    if not is_so:
        os._exit(1)


def test_a_fault_of_ours_counts_for_nothing(throttle, guess):
    for number in range(2 * ADDRESS.free):
        with pytest.raises(RuntimeError), throttle.attempt("alice", f"{number}", ELSEWHERE):
            raise RuntimeError("the disk is full")
    assert guess() is True


def test_the_message_says_when_and_never_too_early(throttle, fail, clock):
    clock.now = 1_795_000_000  # 11:06:40 UTC
    fail(ADDRESS.free)
    with pytest.raises(TooMany) as caught, throttle.attempt("alice", RIGHT, ELSEWHERE):
        pass
    assert caught.value.message == "too many failed attempts; try again at 11:07 UTC"
    assert (caught.value.retry_at, caught.value.wait) == (clock.now + ADDRESS.first, ADDRESS.first)


def test_what_is_kept_has_a_bound_and_those_who_signed_in_are_not_pushed_out(clock):
    throttle = Throttle(clock, size=50)

    def attempt(login, password, address):
        with pytest.raises(Unauthenticated), throttle.attempt(login, password, address):
            raise Unauthenticated("wrong")

    with throttle.attempt("alice", RIGHT, HOME):
        pass
    for number in range(500):
        attempt(f"login {number}", "x" * 10_000, f"10.1.{number // 250}.{number % 250}")
    memories = [value for value in vars(throttle).values() if type(value).__name__ == "_Memory"]
    assert len(memories) == 7
    assert max(map(len, memories)) == 50
    for number in range(LOGIN.free):
        attempt("alice", f"guess {number}", f"10.2.0.{number}")
    with throttle.attempt("alice", "mistyped once", HOME):
        pass


def test_a_password_is_not_kept(clock):
    throttle = Throttle(clock)
    with throttle.attempt("a login to look for", "a password to look for", HOME):
        pass
    kept = repr([vars(value) for value in vars(throttle).values() if hasattr(value, "__dict__")])
    assert "to look for" not in kept
