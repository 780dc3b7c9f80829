"""Local accounts first, then each source in its order; what holds for a while; and that no failure lets anybody in."""

import logging
import threading
import time
from collections.abc import Callable

import pytest

from regadmin.entities import Actor, Role, Rule
from regadmin.errors import SourceUnavailable, Unauthenticated
from regadmin.identity.source import Person, Source, unavailable
from regadmin.messages import Message
from regadmin.passwords import Passwords
from regadmin.services.identities import MOST_AT_ONCE, PATIENCE, Identities
from regadmin.services.users import Users
from regadmin.store import Store
from tests.rigs.server import wait_until

BY = Actor("admin")


class Told(Source):
    """Answers as it is told, or raises it."""

    name, place = Message("Identity service"), "here"

    def __init__(self, answer=None):
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def authenticate(self, login: str, password: str) -> Person | None:
        self.asked.append((login, password))
        answer = self.answer() if isinstance(self.answer, Callable) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self) -> None: ...


@pytest.fixture
def store(tmp_path, clock) -> Store:
    return Store(tmp_path / "data.db", clock)


@pytest.fixture
def users(store) -> Users:
    users = Users(store, Passwords())
    users.create(BY, "local-pass", login="alice")
    return users


@pytest.fixture
def identities(store, users, clock):
    """`identities(source, ...)`; what they say holds for 60 seconds of the test's clock."""
    return lambda *sources: Identities(users, store, sources, 60, clock)


def test_a_local_login_is_never_asked_of_a_source(identities, users):
    source = Told(Person())
    found = identities(source)
    assert found.authenticate("alice", "local-pass").id
    users.update(users.create(BY, "local-pass", login="bob").id, BY, is_blocked=True)
    for login in ("alice", "ALICE", "bob"):
        with pytest.raises(Unauthenticated, match="^wrong login or password$"):
            found.authenticate(login, "other" if login != "bob" else "local-pass")
    assert source.asked == []


def test_whom_a_source_knows_is_a_user_without_an_account(identities, store):
    crew = store.groups.create("crew", "")
    rule = Rule(0, "", "repository", "his/own", "pull", user_id=0)
    user = identities(Told(Person(("crew", "Crew", "unknown"), (rule,)))).authenticate("carol", "secret")
    assert (user.id, user.login, user.role, user.groups, user.rules) == (0, "carol", Role.USER, (crew,), (rule,))
    assert user.is_external


def test_a_person_has_the_rules_of_his_groups_of_the_registered_and_those_that_came_with_him(identities, store):
    crew, other = store.groups.create("crew", ""), store.groups.create("other", "")
    for name, owner in (("crew", {"group_id": crew.id}), ("other", {"group_id": other.id})):
        store.rules.create(Rule(0, name, "repository", name, "pull", **owner))
    store.rules.create(Rule(0, "all", "repository", "all", "pull", audience="registered"))
    own = Rule(0, "own", "repository", "own", "push", user_id=0)
    user = identities(Told(Person(("crew",), (own,)))).authenticate("carol", "secret")
    assert [rule.name for rule in store.rules.list_for(user)] == ["crew", "all", "own"]


def test_sources_are_asked_in_order_until_one_knows_or_forbids(identities):
    nobody, second, third = Told(None), Told(Person(("b",))), Told(Person())
    identities(nobody, second, third).authenticate("carol", "secret")
    assert (len(nobody.asked), len(second.asked), len(third.asked)) == (1, 1, 0)
    for first in (Told(Unauthenticated("no")), Told(unavailable("it is away"))):
        with pytest.raises((Unauthenticated, SourceUnavailable)):
            identities(first, third).authenticate("carol", "secret")
    assert third.asked == []


def test_a_right_answer_holds_for_a_while_for_these_credentials_and_a_wrong_one_does_not(identities, clock):
    source = Told(Person())
    found = identities(source)
    found.authenticate("carol", "secret")
    assert found.are_known("carol", "secret") and not found.are_known("carol", "other")
    source.answer = None
    clock.pass_time(59)
    found.authenticate("carol", "secret")
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            found.authenticate("carol", "other")
    clock.pass_time(1)
    assert not found.are_known("carol", "secret")
    with pytest.raises(Unauthenticated):
        found.authenticate("carol", "secret")
    assert source.asked == [("carol", password) for password in ("secret", "other", "other", "secret")]


def test_an_account_that_is_made_later_counts_at_once(identities, users):
    found = identities(Told(Person()))
    found.authenticate("carol", "secret")
    users.create(BY, "other-pass", login="carol")
    with pytest.raises(Unauthenticated):
        found.authenticate("carol", "secret")
    assert not found.authenticate("carol", "other-pass").is_external


@pytest.mark.parametrize(
    ("login", "password"),
    [("", "x"), (" carol", "x"), ("a:b", "x"), ("a\0", "x"), ("x" * 65, "x"), ("carol", ""), ("carol", "x" * 1025)],
)
def test_no_source_is_asked_about_what_no_account_could_have(identities, login, password):
    source = Told(Person())
    with pytest.raises(Unauthenticated):
        identities(source).authenticate(login, password)
    assert source.asked == []


@pytest.mark.parametrize("fault", [unavailable("it is away"), ValueError("secret"), RecursionError(), TimeoutError()])
def test_a_source_that_fails_lets_nobody_in_and_the_next_answer_counts(identities, caplog, fault):
    source = Told(fault)
    found = identities(source)
    with pytest.raises(SourceUnavailable):
        found.authenticate("carol", "secret")
    source.answer = Person()
    assert found.authenticate("carol", "secret").is_external


@pytest.mark.parametrize("answer", [None, Unauthenticated("no")])
def test_the_owner_hears_of_a_failure_once_and_of_its_end(identities, caplog, answer):
    source = Told(unavailable("it is away"))
    found = identities(source)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            with pytest.raises(SourceUnavailable):
                found.authenticate("carol", "secret")
        source.answer = answer
        with pytest.raises(Unauthenticated):
            found.authenticate("carol", "secret")
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Identity service here: it is away", "Identity service here: it answers again"]


def test_an_unknown_login_takes_a_bcrypt_as_a_local_one_does(identities, monkeypatch):
    computed = []
    found = identities(Told(None))
    verify = Passwords.verify
    monkeypatch.setattr(Passwords, "verify", lambda *given: computed.append(given[1:]) or verify(*given))
    for login in ("alice", "carol", "a:b"):
        with pytest.raises(Unauthenticated):
            found.authenticate(login, "wrong")
    assert [password for password, _ in computed] == ["wrong"] * 3


def test_without_a_source_nothing_is_different(identities):
    found = identities()
    assert found.authenticate("alice", "local-pass").login == "alice"
    assert not found.are_known("alice", "local-pass")
    with pytest.raises(Unauthenticated):
        found.authenticate("carol", "secret")


def test_only_some_wait_for_one_that_hangs_and_from_then_on_nobody_waits(identities):
    """As many as there are places wait; who comes later is refused, at once after the patience, and locals pass."""
    healed = threading.Event()
    source = Told(lambda: healed.wait(30) and Person())
    found, outcomes = identities(source), []

    def sign_in(number: int) -> None:
        began = time.monotonic()
        try:
            with found.place(f"carol{number}", "secret"):
                outcome = found.authenticate(f"carol{number}", "secret").login
        except SourceUnavailable as error:
            outcome = str(error.reason)
        outcomes.append((outcome, time.monotonic() - began))

    def start(numbers) -> list[threading.Thread]:
        threads = [threading.Thread(target=sign_in, args=(number,)) for number in numbers]
        for thread in threads:
            thread.start()
        return threads

    first = start(range(MOST_AT_ONCE))
    wait_until(lambda: len(source.asked) == MOST_AT_ONCE)
    for thread in start(range(MOST_AT_ONCE, 3 * MOST_AT_ONCE)):
        thread.join()
    assert len(outcomes) == 2 * MOST_AT_ONCE
    assert {outcome for outcome, _ in outcomes} == {"too many wait for its answer"}
    [late] = start([99])
    late.join()
    assert outcomes[-1][1] < PATIENCE / 2
    with found.place("alice", "local-pass"):
        assert found.authenticate("alice", "local-pass").login == "alice"
    healed.set()
    for thread in first:
        thread.join()
    assert sorted(outcome for outcome, _ in outcomes[-MOST_AT_ONCE:]) == [f"carol{n}" for n in range(MOST_AT_ONCE)]
    with found.place("dave", "secret"):
        found.authenticate("dave", "secret")


def test_whoever_hangs_beyond_his_time_holds_a_thread_of_ours_no_longer(identities, monkeypatch):
    monkeypatch.setattr("regadmin.services.identities.TIMEOUT", -0.4)
    healed = threading.Event()
    source = Told(lambda: healed.wait(30) and Person())
    found = identities(source)
    for number in range(MOST_AT_ONCE + 1):
        with pytest.raises(SourceUnavailable):
            found.authenticate(f"carol{number}", "secret")
    assert len(source.asked) == MOST_AT_ONCE, "the last one finds all of them owing an answer"
    healed.set()
