"""Passwords: what may be chosen, how they are kept and verified."""

import threading
import time

import bcrypt
import pytest

from regadmin.errors import Invalid
from regadmin.passwords import COST, Passwords, check, why_no_hash
from tests.rigs.clock import Clock


@pytest.fixture
def computed(monkeypatch) -> list[tuple[bytes, bytes]]:
    """Every computation of bcrypt, which still is one."""
    calls, compute = [], bcrypt.checkpw

    def counting(password: bytes, stored: bytes) -> bool:
        calls.append((password, stored))
        return compute(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return calls


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passwords(clock) -> Passwords:
    return Passwords(ttl=300, clock=clock)


@pytest.mark.parametrize("password", ["123456", "a" * 72, "é" * 36, "with: colon", "  spaces  "])
def test_a_password_of_6_to_72_bytes_may_be_chosen(passwords, password):
    check(password)
    assert passwords.verify(password, passwords.hash(password))


@pytest.mark.parametrize("password", ["", "12345", "a" * 73, "é" * 37, "abc\0defg"])
def test_any_other_password_is_refused_with_the_name_of_its_field(password):
    with pytest.raises(Invalid) as caught:
        check(password, "new")
    assert list(caught.value.fields) == ["new"]


def test_hashing_costs_what_it_must_in_production(cheap_bcrypt, monkeypatch):
    monkeypatch.setattr(Passwords.__init__, "__defaults__", cheap_bcrypt)
    assert COST >= 10
    assert Passwords().hash("secret").split("$")[2] == str(COST)


def test_a_hash_is_of_bcrypt_and_never_the_same_twice(passwords):
    first, second = passwords.hash("secret"), passwords.hash("secret")
    assert first != second
    assert first.startswith("$2b$")
    assert len(first) == 60


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
def test_hashes_of_other_programs_are_verified(passwords, prefix):
    stored = bcrypt.hashpw(b"secret", bcrypt.gensalt(4, prefix)).decode()
    assert passwords.verify("secret", stored)
    assert not passwords.verify("Secret", stored)


def test_hashes_of_htpasswd_are_verified(passwords):
    assert passwords.verify("secret", passwords.hash("secret").replace("$2b$", "$2y$"))


@pytest.mark.parametrize("given", ["Secret", "secret ", "secret\0", "secret\0x", "", "secre", "secret" + "x" * 100])
def test_another_password_is_wrong(passwords, given):
    assert not passwords.verify(given, passwords.hash("secret"))


def test_bytes_beyond_the_72nd_are_not_cut_off(passwords):
    stored = passwords.hash("a" * 72)
    assert passwords.verify("a" * 72, stored)
    assert not passwords.verify("a" * 73, stored)
    assert not passwords.verify("a" * 72 + "\0", stored)


def test_the_stored_hash_is_no_password(passwords):
    stored = passwords.hash("secret")
    assert not passwords.verify(stored, stored)


def test_no_password_belongs_to_an_unknown_login(passwords):
    assert not passwords.verify("", None)
    assert not passwords.verify("secret", None)


def test_an_unknown_login_costs_as_much_as_a_wrong_password(passwords, computed):
    stored = passwords.hash("secret")
    passwords.verify("wrong", stored)
    passwords.verify("wrong", None)
    passwords.verify("wrong\0", stored)
    passwords.verify("w" * 1000, None)
    costs = [hashed.split(b"$")[2] for _, hashed in computed]
    assert costs == [b"04"] * 4


def test_verified_credentials_are_remembered_for_a_while(passwords, clock, computed):
    stored = passwords.hash("secret")
    assert passwords.verify("secret", stored)
    assert passwords.verify("secret", stored)
    assert len(computed) == 1
    clock.pass_time(299)
    assert passwords.verify("secret", stored)
    assert len(computed) == 1
    clock.pass_time(1)
    assert passwords.verify("secret", stored)
    assert len(computed) == 2


def test_wrong_credentials_are_computed_each_time(passwords, computed):
    stored = passwords.hash("secret")
    assert not passwords.verify("wrong", stored)
    assert not passwords.verify("wrong", stored)
    assert len(computed) == 2


def test_a_changed_hash_is_not_remembered(passwords):
    stored = passwords.hash("secret")
    assert passwords.verify("secret", stored)
    assert not passwords.verify("secret", passwords.hash("changed"))


def test_what_was_verified_for_one_hash_is_not_so_for_another(passwords):
    assert passwords.verify("secret", passwords.hash("secret"))
    assert not passwords.verify("secret", None)


def test_a_cheap_hash_from_elsewhere_does_not_answer_quicker_than_an_unknown_login():
    passwords, cheap = Passwords(cost=8), Passwords(cost=4).hash("secret")

    def seconds(stored: str | None) -> float:
        started = time.thread_time()
        assert not passwords.verify("wrong", stored)
        return time.thread_time() - started

    assert min(seconds(cheap) for _ in range(3)) > 0.7 * min(seconds(None) for _ in range(3))


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_bcrypt_hashes_of_all_programs_are_understood(passwords, prefix):
    stored = passwords.hash("secret").replace("$2b$", prefix)
    assert not why_no_hash(stored)
    assert passwords.verify("secret", stored)


@pytest.mark.parametrize(
    "text", ["secret", "$apr1$abcdefgh$1KKLQXDDsuSUqv22XsVoA/", "$2b$10$x", "$2x$04$" + "." * 53, "$2b$04$" + "a" * 53]
)
def test_what_bcrypt_could_not_verify_is_no_hash(text):
    assert "bcrypt" in why_no_hash(text)


def test_the_memory_is_bounded(clock, computed):
    passwords = Passwords(ttl=300, size=2, clock=clock)
    stored = [passwords.hash(f"secret {number}") for number in range(3)]
    for number in range(3):
        assert passwords.verify(f"secret {number}", stored[number])
    assert passwords.verify("secret 2", stored[2])
    assert len(computed) == 3
    assert passwords.verify("secret 0", stored[0])
    assert len(computed) == 4


def test_a_burst_of_the_same_credentials_is_computed_once(passwords, computed):
    stored = passwords.hash("secret")
    start, answers = threading.Barrier(8), []

    def verify():
        start.wait(10)
        answers.append(passwords.verify("secret", stored))

    threads = [threading.Thread(target=verify) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 8
    assert len(computed) == 1
