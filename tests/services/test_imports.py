"""What is imported decides as its source did; and all of it is imported, or nothing."""

import sqlite3
from pathlib import Path

import pytest

from regadmin.entities import Actor, Role
from regadmin.errors import Error
from regadmin.importing import own_yaml
from regadmin.importing.plan import Weight
from regadmin.passwords import Passwords
from regadmin.services.activities import Activities
from regadmin.services.exports import Exports
from regadmin.services.groups import Groups
from regadmin.services.imports import Imports, read
from regadmin.services.rules import Rules
from regadmin.services.users import Users
from regadmin.store import Store
from regadmin.store.listing import Listing

DATA = Path(__file__).parent.parent / "data" / "imports"
BY = Actor("command line")


class House:
    """A store with what an import needs."""

    def __init__(self, path: Path, clock):
        self.store, hasher = Store(path, clock), Passwords(cost=4)
        self.users, self.groups, self.rules = Users(self.store, hasher), Groups(self.store), Rules(self.store)
        self.changes = []
        self.imports = Imports(
            self.store, self.users, self.groups, self.rules, hasher, lambda: self.changes.append("users")
        )
        self.export = Exports(self.store)

    def take(self, source: str, path: Path, **options):
        return self.imports.run(read(source, path), BY, True, **options)

    def decides(self, table: list[tuple[str, str, str]], asked: tuple[list, list]) -> None:
        """The table names all that is allowed of what can be asked."""
        logins, names = asked
        for login in logins:
            for name in names:
                for action in ALL:
                    is_allowed = self.rules.check(login, name, action).decision.is_allowed
                    assert is_allowed is any((login, name) == row[:2] and action in row[2] for row in table), (
                        f"{login or 'anonymous'} {action} {name}: {is_allowed}"
                    )


@pytest.fixture
def house(tmp_path, clock) -> House:
    return House(tmp_path / "data.db", clock)


ALL = ["pull", "push", "delete", "*"]
PUSH = ["pull", "push"]
PULL = ["pull"]


def test_the_simple_configuration_of_docker_auth(house):
    house.take("docker_auth", DATA / "docker_auth_simple.yml")
    table = [("admin", name, ALL) for name in ("test/centos", "a")]
    house.decides(table, (["admin", "test", ""], ["test/centos", "a"]))
    assert house.users.authenticate("admin", "badmin").role is Role.USER
    assert house.users.authenticate("test", "123")


def test_four_users_of_docker_auth(house):
    house.take("docker_auth", DATA / "docker_auth_four_users.yml")
    table = [(who, name, what) for name in ("test/centos", "a") for who, what in
             (("admin", ALL), ("user", PULL), ("test2", PUSH))]  # fmt: skip
    house.decides(table, (["admin", "test", "user", "test2", ""], ["test/centos", "a"]))
    assert house.users.authenticate("test2", "test2-pass")


def test_globs_expressions_placeholders_and_denials_of_docker_auth(house):
    outcome = house.take("docker_auth", DATA / "docker_auth_patterns.yml")
    assert outcome.is_applied
    names = ["test-a", "alice/x", "alice/x/y", "bob/x", "base/a/b", "my/base/a", "app-1x", "app-x1", "hello-world"]
    table = [("admin", name, ALL) for name in names] + [
        ("test", "test-a", ALL),
        ("alice", "alice/x", ALL),
        ("bob@shop", "bob/x", PUSH),
        *((login, "base/a/b", PULL) for login in ("alice", "bob@shop")),
        *((login, "app-1x", PULL) for login in ("alice", "bob@shop")),
        *((login, "hello-world", PULL) for login in ("test", "alice", "bob@shop", "")),
    ]
    house.decides(table, (["admin", "test", "alice", "bob@shop", ""], names))


def test_the_configuration_of_registry_auth(house):
    house.take("registry-auth", DATA / "registry-auth.yml")
    names = ["usersrepo/test1", "usersrepo/test2", "team1repo/a"]
    table = [(login, name, PULL) for login in ("user1", "user2", "") for name in names]
    house.decides([*table, ("user1", "usersrepo/test1", PUSH)], (["user1", "user2", ""], names))
    assert house.users.authenticate("user1", "password1")
    assert house.users.authenticate("user2", "password2")


def test_a_secret_of_registry_auth(house):
    house.take("registry-auth", DATA / "registry-auth-secret.yml")
    house.decides([("user3", "userrepo3/a", PUSH)], (["user3", ""], ["userrepo3/a", "userrepo4/a"]))
    assert house.users.authenticate("user3", "password3")


def test_an_htpasswd_file_lets_everybody_in_it_do_everything(house, by):
    house.users.create(by, "his password", login="guest")
    house.take("htpasswd", DATA / "htpasswd")
    table = [(login, "team/app", ALL) for login in ("user1", "user3")]
    house.decides(table, (["user1", "user3", "guest", ""], ["team/app"]))
    assert house.users.authenticate("user1", "user1-pass")
    assert not house.store.users.find_login("user2")


def original_store(path: Path) -> Path:
    """As zebox/registry-admin makes it."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, login TEXT UNIQUE, name TEXT,
              password TEXT, role TEXT, user_group INTEGER, disabled INTEGER, description TEXT);
            CREATE TABLE groups (id INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, name TEXT UNIQUE, description TEXT);
            CREATE TABLE access (id INTEGER PRIMARY KEY AUTOINCREMENT, owner_id INTEGER NOT NULL, is_group INTEGER,
              name TEXT, resource_type TEXT, resource_name TEXT, action TEXT, disabled INTEGER,
              UNIQUE (owner_id, resource_type, resource_name, action));
            INSERT INTO groups (name, description) VALUES ('default', 'Default'), ('crew', 'The crew');
            INSERT INTO access (owner_id, is_group, name, resource_type, resource_name, action, disabled) VALUES
              (2, 0, 'alice pushes', 'repository', 'team/app', 'push', 0),
              (3, 0, 'bob pulls', 'repository', 'team/app', 'pull', 0),
              (2, 0, 'no more', 'repository', 'team/old', 'pull', 1),
              (-999, 0, 'for all of us', 'repository', 'shared/base', 'pull', 0),
              (-1000, 0, 'for all', 'repository', 'public/hello', 'pull', 0),
              (2, 1, 'of the crew', 'repository', 'crew/app', 'pull', 0),
              (2, NULL, NULL, 'repository', NULL, 'pull', NULL),
              (2, NULL, NULL, 'repository', 'team/tool', 'pull', NULL);
            """
        )
        hashed = Passwords(cost=4).hash("good password").replace("$2b$", "$2a$")
        connection.executemany(
            "INSERT INTO users (login, name, password, role, user_group, disabled, description)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                ("admin", "Admin", hashed, "admin", 1, 0, "The admin"),
                ("alice", "Alice A", hashed, "manager", 2, 0, ""),
                ("bob", "Bob B", hashed, "user", None, 0, None),
                ("carol", "Carol C", hashed, "user", 1, 1, ""),
            ],
        )
    return path


def test_the_store_of_the_original(house, tmp_path):
    path = original_store(tmp_path / "original.db")
    before = path.read_bytes()
    assert not house.take("registry-admin", path).is_applied
    assert house.take("registry-admin", path, may_grant_more=True).is_applied
    assert path.read_bytes() == before
    names = ["team/app", "team/tool", "team/old", "shared/base", "public/hello", "crew/app"]
    table = [("admin", name, ALL) for name in names]
    table += [("alice", "team/app", PUSH), ("bob", "team/app", PULL)]
    table += [("alice", name, PULL) for name in ("team/tool", "crew/app")]
    table += [(login, "shared/base", PULL) for login in ("alice", "bob")]
    table += [(login, "public/hello", PULL) for login in ("alice", "bob", "")]
    house.decides(table, (["admin", "alice", "bob", "carol", ""], names))
    alice = house.users.authenticate("alice", "good password")
    assert (alice.name, alice.role, [group.name for group in alice.groups]) == ("Alice A", Role.MANAGER, ["crew"])
    assert house.store.users.find_login("carol")[0].is_blocked


def test_what_is_no_store_of_the_original_is_refused(tmp_path):
    for content in (b"", b"no database at all, but text"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(Error, match="cannot be read as a store of zebox/registry-admin"):
            read("registry-admin", tmp_path / "file")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("users SET password", "X'00ff'"),
        ("access SET resource_name", "X'00ff'"),
        ("users SET login", "CAST(X'00ff' AS TEXT)"),
    ],
)
def test_a_store_of_the_original_that_holds_no_text_is_refused(tmp_path, place, value):
    path = original_store(tmp_path / "original.db")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE {place} = {value} WHERE id = 1")
    with pytest.raises(Error, match="cannot be read as a store of zebox/registry-admin"):
        read("registry-admin", path)


def state(house: House) -> tuple:
    return house.store.revision(), house.export.text(), Activities(house.store).latest_id()


def test_a_trial_changes_nothing_and_tells_what_an_import_does(house, tmp_path):
    before = state(house)
    plan = read("docker_auth", DATA / "docker_auth_four_users.yml")
    trial = house.imports.run(plan, BY, False)
    assert not trial.is_applied
    assert state(house) == before
    done = house.take("docker_auth", DATA / "docker_auth_four_users.yml")
    assert (trial.users, trial.groups, trial.rules) == (done.users, done.groups, done.rules)
    assert house.changes == ["users"]
    rows = Activities(house.store).list(Listing(filters={"actor": "command line"})).rows
    assert len(rows) == len(done.users) + len(done.rules)


@pytest.mark.parametrize(
    ("source", "name"),
    [("docker_auth", "docker_auth_patterns.yml"), ("registry-auth", "registry-auth.yml"), ("htpasswd", "htpasswd")],
)
def test_a_second_import_changes_nothing(house, source, name):
    house.take(source, DATA / name)
    before = state(house)
    again = house.take(source, DATA / name)
    assert state(house) == before
    assert not (again.users or again.groups or again.rules)


def test_what_is_here_stays_as_it_is(house, by):
    house.users.create(by, "his own password", login="user1")
    outcome = house.take("registry-auth", DATA / "registry-auth.yml")
    assert "user user1" in outcome.kept
    assert house.users.authenticate("user1", "his own password")


def test_what_grants_more_needs_the_owners_word(house, tmp_path):
    (tmp_path / "acl.yml").write_text("acl:\n- match: {account: ''}\n  actions: [push]\nusers: {'': {}}\n")
    before = state(house)
    assert not house.take("docker_auth", tmp_path / "acl.yml").is_applied
    assert state(house) == before
    assert house.take("docker_auth", tmp_path / "acl.yml", may_grant_more=True).is_applied
    house.decides([("", "a", PUSH)], ([""], ["a"]))


OWN = """
regadmin: 1
groups: {crew: {description: The crew}}
users:
  ann: {password: good password, groups: [crew], role: manager}
  ben: {password: good password, name: "Ben", blocked: yes}
rules:
  - {group: crew, resource_name: "team/**", action: push}
  - {user: ann, resource_name: "${login}/*", action: "*", disabled: true}
  - {audience: everyone, resource_name: /open-.*/, action: pull, name: Open}
"""


def own(tmp_path, text: str) -> Path:
    (tmp_path / "own.yml").write_text(text)
    return tmp_path / "own.yml"


@pytest.mark.parametrize(
    ("addition", "told"),
    [
        ("  - {group: nobody, resource_name: a, action: pull}", "10: a rule of group nobody, and there is none"),
        ("  - {user: nobody, resource_name: a, action: pull}", "10: a rule of user nobody, and there is none"),
        ("  - {user: ann, resource_name: /(a+)+/, action: pull}", "10: /(a+)+/ could run away"),
        ("users: {}", "10: users stands twice"),
    ],
)
def test_with_an_error_nothing_is_half_applied(house, tmp_path, addition, told):
    before = state(house)
    outcome = house.take("regadmin", own(tmp_path, OWN.strip() + "\n" + addition), may_grant_more=True)
    assert not outcome.is_applied
    assert state(house) == before
    assert any(f"{r.place.line}: {r.text}".startswith(told) for r in outcome.plan.remarks if r.weight is Weight.ERROR)


def test_a_user_whom_nobody_could_be_and_an_unknown_group_are_errors(house, tmp_path):
    text = "regadmin: 1\nusers:\n  'a:b': {password: good password}\n  Ann: {password: good password, groups: [x]}\n"
    outcome = house.take("regadmin", own(tmp_path, text + "  ann: {password: good password}\n"))
    told = [f"{remark.place.line}: {remark.text}" for remark in outcome.plan.remarks]
    assert [line[:2] for line in told] == ["3:", "4:", "5:"]
    assert "must not hold a colon" in told[0]
    assert "there is no group x" in told[1]
    assert "taken by another user" in told[2]
    assert house.store.users.count() == 0


def test_what_is_exported_imports_as_the_same(house, tmp_path, clock):
    house.users.create_first_admin("admin")
    house.take("regadmin", own(tmp_path, OWN))
    house.take("docker_auth", DATA / "docker_auth_patterns.yml")
    ann = house.store.users.find_login("ann")[0]
    house.users.change_preferences(ann, BY, "Ann: 'yes'", "ja", "Asia/Tokyo")
    house.groups.update(1, BY, description="# 할머니\n no: ")
    (tmp_path / "other").mkdir()
    house.export.write(tmp_path / "other" / "export.yml")
    assert (tmp_path / "other" / "export.yml").stat().st_mode & 0o777 == 0o600
    other = House(tmp_path / "other" / "data.db", clock)
    other.groups.update(1, BY, description="# 할머니\n no: ")
    outcome = other.take("regadmin", tmp_path / "other" / "export.yml")
    assert outcome.plan.remarks == []
    assert other.export.text() == house.export.text()
    assert own_yaml.read(other.export.text(), "f").users[0].user.must_change_password
    names = ["team/a/b", "ann/x", "open-1", "alice/x", "test-a", "hello-world", "base/x"]
    for login in ("admin", "ann", "ben", "alice", "test", "bob@shop", ""):
        for name in names:
            assert other.rules.check(login, name, "pull").decision.is_allowed is (
                house.rules.check(login, name, "pull").decision.is_allowed
            ), (login, name)


def test_a_file_that_cannot_be_written_is_told_and_leaves_no_draft(house, tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(Error, match="taken cannot be written"):
        house.export.write(tmp_path / "taken")
    assert not list(tmp_path.glob("*.part"))
