"""kill -9 at random moments, under writes of everything and while it starts: no answer was a lie, nothing is half done.

Each file's own tests kill at the steps of its writing; here it is all at once, by a real server.
"""

import itertools
import random
import re
import signal
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from pathlib import Path

import pytest
import requests

from regadmin.certificates import keys
from regadmin.certificates.signing import SigningKey
from tests.rigs import images
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.standin import StandinRegistry, envelope, event

ROUNDS = 12
EACH_ROUND = 3
"""Of so many rounds one kills the start, for which the signing key is taken away, the others kill while it serves."""

STARTING, WRITING = (0.2, 0.8), (0, 0.3)
"""Seconds within which the kill comes, after the start or the round's first answers."""

OWN = "regadmin"
HASH = r"\$2b\$\d\d\$[./\w]{53}"
IN_ENVELOPE = 3


class Answered:
    """What was answered with success, by the threads that write."""

    def __init__(self):
        self.users: dict[str, str] = {}
        """What the last answer made of each: open, blocked or deleted."""
        self.unsure: set[str] = set()
        """Those whose last change was not answered."""
        self.rules: set[str] = set()
        self.tokens: dict[int, bool] = {}
        """Whether each is good, by its id; those that are being revoked are left out."""
        self.envelopes: set[str] = set()


class World:
    """A server in basic mode over one store, the threads that write to it, and what it leaves behind."""

    def __init__(self, directory: Path, registry: StandinRegistry):
        self.store, self.auth, self.certs = directory / "data.db", directory / "auth", directory / "certs"
        self.auth.mkdir()
        self.answered, self.digest = Answered(), registry.tags["team/app"]["v1"]
        self.faults: list[Exception] = []
        self.server = RunningServer(
            directory,
            registry.port,
            workers=2,
            registry={
                "host": "http://127.0.0.1",
                "port": registry.port,
                "auth_type": "basic",
                "login": OWN,
                "password": "our own",
                "htpasswd": str(self.auth / ".htpasswd"),
                "certs": {"path": str(self.certs), "fqdns": ["localhost"]},
            },
        )

    def kill_start(self, after: float) -> None:
        for path in self.certs.glob("registry_auth*"):
            path.unlink()
        self.server.launch()
        threading.Event().wait(after)
        self.server.stop(signal.SIGKILL)

    def kill_service(self, after: float, prefix: str) -> None:
        writers = [
            threading.Thread(target=self._until_it_dies, args=(write, f"{prefix}-{number}"))
            for number, write in enumerate(
                [self._write_user, self._write_user, self._write_rule, self._write_token, self._write_events]
            )
        ]
        known = self._counts()
        for writer in writers:
            writer.start()
        wait_until(lambda: self.faults or all(map(int.__gt__, self._counts(), known)), 20)
        threading.Event().wait(after)
        self.server.stop(signal.SIGKILL)
        for writer in writers:
            writer.join()

    def is_made(self) -> bool:
        """Not if the first start was killed before it had made the tables; the next one makes them."""
        return self.store.exists() and self.rows("PRAGMA user_version") != [(0,)]

    def rows(self, sql: str) -> list[tuple]:
        with closing(sqlite3.connect(self.store)) as database:
            return database.execute(sql).fetchall()

    def accounts(self) -> set[str]:
        """The logins of a whole htpasswd file."""
        lines = (self.auth / ".htpasswd").read_text().splitlines()
        assert all(re.fullmatch(rf"[\w-]+:{HASH}", line) for line in lines)
        assert len({line.split(":")[0] for line in lines}) == len(lines)
        return {line.split(":")[0] for line in lines}

    def signing_key(self) -> SigningKey:
        names = "registry_auth.key", "registry_auth.pub", "registry_auth_ca.crt"
        return keys.load_or_build(*(self.certs / name for name in names), ["localhost"], [], time.time)

    def sign_in(self) -> None:
        """Once: the session outlives the kills too, and saves the time of a password check at each request."""
        posted = {"user": ADMIN[0], "passwd": ADMIN[1]}
        self._session = self.server.call("POST", "/auth/local/login", None, json=posted).cookies["JWT"]

    def _counts(self) -> tuple[int, ...]:
        answered = self.answered
        return len(answered.users), len(answered.rules), len(answered.tokens), len(answered.envelopes)

    def _until_it_dies(self, write, prefix: str) -> None:
        for number in itertools.count():
            try:
                write(f"{prefix}-{number}")
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return
            except Exception as error:
                self.faults.append(error)
                return

    def _write_user(self, login: str) -> None:
        users = "/api/v1/users"
        fields = {"login": login, "password": "a good password", "role": "user"}
        user_id = self._change(login, "open", "POST", users, fields)
        fate = int(login.rpartition("-")[2]) % 3
        if fate < 2:
            self._change(login, "blocked", "PUT", f"{users}/{user_id}", {"blocked": True})
        if fate == 0:
            self._change(login, "deleted", "DELETE", f"{users}/{user_id}", {})

    def _change(self, login: str, state: str, method: str, path: str, fields: dict) -> int:
        self.answered.unsure.add(login)
        answer = self._call(method, path, json=fields)
        self.answered.users[login] = state
        self.answered.unsure.discard(login)
        return answer.json()["id"]

    def _write_rule(self, name: str) -> None:
        fields = {"owner_id": -999, "resource_name": f"{name}/*", "action": "pull", "type": "repository"}
        self._call("POST", "/api/v1/access", json=fields)
        self.answered.rules.add(f"{name}/*")

    def _write_token(self, name: str) -> None:
        """And revoke the one before it, however long ago that was made."""
        tokens, fields = "/api/v1/tokens", {"name": name, "expires_at": None}
        made = self._call("POST", tokens, json=fields).json()["id"]
        good = [token for token, is_good in self.answered.tokens.items() if is_good]
        self.answered.tokens[made] = True
        for token in good:
            del self.answered.tokens[token]
            self._call("DELETE", f"{tokens}/{token}")
            self.answered.tokens[token] = False

    def _write_events(self, name: str) -> None:
        pulls = [
            event("pull", "team/app", id=f"{name}/{part}/{uuid.uuid4()}", tag="v1", digest=self.digest, method="GET")
            for part in range(IN_ENVELOPE)
        ]
        self._call("POST", "/api/v1/registry/events", data=envelope(*pulls))
        self.answered.envelopes.add(name)

    def _call(self, method: str, path: str, **options) -> requests.Response:
        answer = self.server.call(method, path, None, headers={"X-JWT": self._session}, **options)
        assert answer.status_code == 200, answer.text
        return answer


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        registry.put("team/app", "v1", images.docker_image())
        yield registry


def assert_whole(world: World) -> None:
    """What holds right after a kill, before anybody mends anything."""
    assert world.rows("PRAGMA integrity_check") == [("ok",)]
    assert world.rows("PRAGMA foreign_key_check") == []
    states = {True: "blocked", False: "open"}
    found = {login: states[is_blocked] for login, is_blocked in world.rows("SELECT login, is_blocked <> 0 FROM users")}
    for login, state in world.answered.users.items():
        if login not in world.answered.unsure:
            assert found.get(login, "deleted") == state
    rules = {name for (name,) in world.rows("SELECT resource_name FROM rules")}
    assert rules >= world.answered.rules
    tokens = {token for (token,) in world.rows("SELECT id FROM access_tokens")}
    assert all((token in tokens) is is_good for token, is_good in world.answered.tokens.items())
    # Of an envelope all events are there or none, and a change and its entry in the activity are one.
    kept = dict(world.rows("SELECT substr(event_id, 1, instr(event_id, '/') - 1), count(*) FROM inbox GROUP BY 1"))
    assert set(kept.values()) <= {IN_ENVELOPE}
    assert set(kept) >= world.answered.envelopes
    made = {name for (name,) in world.rows("SELECT object FROM activity WHERE event = 'user created'")}
    assert set(found) - {"admin"} <= made
    assert world.rows("SELECT (SELECT sum(pull_count) FROM tags) - count(*) FROM inbox WHERE outcome = 'counted'") in (
        [(0,)],
        [(None,)],
    )
    if (world.auth / ".htpasswd").exists():
        world.accounts()


def assert_mended(world: World) -> None:
    """What holds once it answers again."""
    enabled = {login for (login,) in world.rows("SELECT login FROM users WHERE is_blocked = 0")}
    assert world.accounts() == enabled | {OWN}
    assert [path.name for path in world.auth.iterdir()] == [".htpasswd"]
    before = sorted(world.certs.iterdir())
    assert world.signing_key().days_left(int(time.time())) > 300
    assert sorted(world.certs.iterdir()) == before
    assert not [path for path in before if path.suffix not in (".key", ".pub", ".crt", ".lock")]


def test_what_was_answered_outlives_every_kill(tmp_path, registry):
    world, chance = World(tmp_path, registry), random.Random(4)
    for number in range(ROUNDS):
        if number % EACH_ROUND == 0:
            world.kill_start(chance.uniform(*STARTING))
        else:
            world.server.start()
            assert_mended(world)
            if number == 1:
                world.sign_in()
            world.kill_service(chance.uniform(*WRITING), f"round{number}")
        if world.is_made():
            assert_whole(world)
    world.server.start()
    try:
        assert_mended(world)
        assert world.server.call("GET", "/api/v1/registry/health").status_code == 200
        wait_until(lambda: world.rows("SELECT count(*) FROM inbox WHERE applied_at IS NULL") == [(0,)], 20)
        assert_whole(world)
    finally:
        world.server.stop()
    assert world.faults == []
