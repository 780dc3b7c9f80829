"""What the files say now is what holds: all of it or nothing, and nothing that was made here is touched."""

import logging
import os
import re
from pathlib import Path

import pytest
import yaml

from regadmin.entities import DEFAULT_GROUP_ID, REGISTERED_ID, Actor, Role
from regadmin.errors import Error, Forbidden, Unauthenticated
from regadmin.passwords import Passwords
from regadmin.services.access_tokens import AccessTokens
from regadmin.services.exports import Exports
from regadmin.services.findings import State
from regadmin.services.groups import Groups
from regadmin.services.provision_report import check_provision, find_report
from regadmin.services.provisioning import Provisioning, release
from regadmin.services.rules import Rules
from regadmin.services.users import Users
from regadmin.services.uses import Uses
from regadmin.store import Store
from regadmin.store.listing import Listing

PASSWORD = "a good password"
ADMIN = Actor("admin")

TEAM = f"""\
regadmin: 1
groups:
  crew: {{description: Those who build}}
users:
  alice:
    password: {PASSWORD}
    groups: [crew]
rules:
- group: crew
  resource_name: team/**
  action: push
- audience: everyone
  resource_name: public/*
  action: pull
"""


class House:
    """A store with its first admin, and a directory that it follows."""

    def __init__(self, directory: Path, clock):
        self.files = directory / "provision"
        self.files.mkdir()
        self.store, hasher = Store(directory / "data.db", clock), Passwords(cost=4)
        self.users, self.groups, self.rules = Users(self.store, hasher), Groups(self.store), Rules(self.store)
        self.users.create_first_admin("correct horse")
        self.tokens = AccessTokens(self.store, Uses(self.store))
        self.changes = []
        self.provisioning = Provisioning(
            self.store, self.users, self.groups, self.rules, hasher, self.files, lambda: self.changes.append("users")
        )

    def say(self, name: str, text: str) -> None:
        path = self.files / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def follow(self) -> list[str]:
        """Look until the files have settled; the errors, with places below the directory."""
        self.provisioning.begin()
        errors = find_report(self.store).errors
        return [f"{place.removeprefix(str(self.files)).removeprefix('/')}: {reason}" for place, reason in errors]

    def logins(self) -> dict[str, str]:
        return {user.login: user.source for user in self.users.list(Listing()).rows}

    def rows(self) -> list[str]:
        """All that is kept, but for the report."""
        return [line for line in self.store.database.connection.iterdump() if '"findings"' not in line]

    def may(self, login: str, name: str, action: str) -> bool:
        return self.rules.check(login, name, action).decision.is_allowed

    @property
    def verdict(self):
        return check_provision(self.store, self.files)


@pytest.fixture
def house(tmp_path, clock) -> House:
    return House(tmp_path, clock)


@pytest.fixture
def team(house) -> House:
    house.say("team.yml", TEAM)
    assert house.follow() == []
    return house


def test_what_a_file_says_holds_and_is_marked_with_its_name(team):
    assert team.logins() == {"admin": "", "alice": "team.yml"}
    assert team.users.authenticate("alice", PASSWORD).groups[0].source == "team.yml"
    assert team.may("alice", "team/a/b", "push")
    assert team.may("", "public/x", "pull")
    assert not team.may("alice", "other", "pull")
    assert {row.source for row in team.rules.list(Listing()).rows} == {"team.yml"}
    assert team.changes == ["users"]
    actors = {row["actor"] for row in team.store.database.all("SELECT actor FROM activity")}
    assert actors == {"team.yml"}
    assert team.verdict.state is State.OK


def test_nothing_is_written_while_nothing_changes(team):
    total, revision = team.store.database.connection.total_changes, team.store.revision()
    (team.files / "team.yml").touch()
    team.follow()
    # Another process, which has seen nothing yet.
    Provisioning(team.store, team.users, team.groups, team.rules, Passwords(cost=4), team.files).begin()
    assert (team.store.database.connection.total_changes, team.store.revision()) == (total, revision)
    assert team.changes == ["users"]


def test_what_leaves_the_files_goes_and_what_changes_is_followed(team):
    bob = team.users.create(ADMIN, PASSWORD, login="bob")
    crew = team.users.authenticate("alice", PASSWORD).groups[0]
    team.users.join("bob", crew.id, ADMIN)
    changed = TEAM.replace(PASSWORD, "another password").replace("groups: [crew]", "role: manager")
    team.say("team.yml", changed.replace("audience: everyone", "audience: registered"))
    assert team.follow() == []
    alice = team.users.authenticate("alice", "another password")
    assert (alice.role, [group.id for group in alice.groups]) == (Role.MANAGER, [DEFAULT_GROUP_ID])
    assert not team.may("", "public/x", "pull")
    assert team.may("bob", "team/a", "push")
    team.say("team.yml", "regadmin: 1\n")
    assert team.follow() == []
    assert team.logins() == {"admin": "", "bob": ""}
    assert [group.name for group in team.users.find(bob.id).groups] == ["default"]
    assert team.rules.list(Listing()).total == 0
    with pytest.raises(Unauthenticated):
        team.users.authenticate("alice", "another password")


def test_a_robot_comes_from_a_file_and_keeps_its_tokens_while_it_stands_there(team):
    by_file = "  ci: {robot: true, groups: [crew]}\n"
    team.say("team.yml", TEAM.replace("users:\n", f"users:\n{by_file}"))
    assert team.follow() == []
    robot = team.store.users.find_login("ci")[0]
    assert (robot.is_robot, robot.source, team.may("ci", "team/x", "push")) == (True, "team.yml", True)
    secret = team.tokens.create(robot, ADMIN, "pipeline", (), None)[1]
    revision = team.store.revision()
    team.say("team.yml", TEAM.replace("users:\n", f"# The same.\nusers:\n{by_file}"))
    assert team.follow() == []
    assert team.store.revision() == revision
    assert team.tokens.authenticate("ci", secret, "").id == robot.id
    team.say("team.yml", TEAM.replace("users:\n", f"users:\n  ci: {{password: {PASSWORD}}}\n"))
    assert team.follow() == ["team.yml:5: user ci: is_robot: cannot be changed; make another account"]
    team.say("team.yml", TEAM)
    assert team.follow() == []
    assert team.tokens.authenticate("ci", secret, "") is None


BROKEN = {
    "unparsable": ("regadmin: 1\nusers: [", "b.yml:2: cannot be read as YAML"),
    "an unknown key": ("regadmin: 1\nuser: {}\n", "b.yml:2: unknown key user, the nearest known one is users"),
    "a user who stands twice": (TEAM, "team.yml:5: user alice stands twice, first at "),
    "an unknown group": (
        "regadmin: 1\nrules:\n- {group: nobody, resource_name: x, action: pull}\n",
        "b.yml:3: a rule of group nobody, and there is none",
    ),
    "a user of an unknown group": (
        "regadmin: 1\nusers:\n  x: {password: 123456, groups: [nobody]}\n",
        "b.yml:3: user x: there is no group nobody",
    ),
    "a user of a group in other letters": (
        "regadmin: 1\nusers:\n  x: {password: 123456, groups: [crew, Crew]}\n",
        "b.yml:3: user x: there is no group Crew",
    ),
    "a group in other letters": (
        "regadmin: 1\nrules:\n- {group: CREW, resource_name: x, action: pull}\n",
        "b.yml:3: a rule of group CREW, and there is none",
    ),
    "an escape that is no character": (
        'regadmin: 1\ngroups:\n  x: {description: "\\UFFFFFFFF"}\n',
        "b.yml:3: cannot be read as YAML: found an escape that is no character",
    ),
    "aliases without end": ("&a\nregadmin: 1\nusers: *a\n", "b.yml: cannot be read as YAML: it holds more than 8 MiB"),
    "an expression that does not compile": (
        "regadmin: 1\nrules:\n- {audience: registered, resource_name: '/(/', action: pull}\n",
        "b.yml:3: /(/ ",
    ),
    "an expression that runs away": (
        "regadmin: 1\nrules:\n- {audience: registered, resource_name: '/(a+)+b/', action: pull}\n",
        "b.yml:3: /(a+)+b/ ",
    ),
    "an empty file": ("", "b.yml: is empty; must say `regadmin: 1`"),
    "no text": (b"\xff\xfe\x00", "b.yml: cannot be read: it is not UTF-8 text"),
    "a password to be changed": (
        "regadmin: 1\nusers:\n  x: {password: 123456, must_change_password: true}\n",
        "b.yml:3: user x: must_change_password: ",
    ),
    "a user who was made here": (
        "regadmin: 1\nusers:\n  admin: {password: correct horse, role: admin}\n",
        "b.yml:3: user admin: is here already, and not from a file",
    ),
    "the admin as he is here": (
        "regadmin: 1\nusers:\n  admin: {password: correct horse, role: admin, name: Administrator}\n",
        ": an admin must be left who is in no file",
    ),
    "a robot with a password": (
        "regadmin: 1\nusers:\n  ci: {robot: true, password: 123456}\n",
        "b.yml:3: the password of ci must be empty",
    ),
    "a robot with a role": (
        "regadmin: 1\nusers:\n  ci: {robot: true, role: admin}\n",
        "b.yml:3: user ci: role: must be user",
    ),
    "a login that only differs in case": (
        "regadmin: 1\nusers:\n  Admin: {password: 123456}\n",
        "b.yml:3: user Admin: login: is taken by another user",
    ),
    "more than registry-auth would grant": (
        "auths: {_anonymous: [{target: x, actions: [push]}]}\n",
        "b.yml:1: push without pull of x",
    ),
}


@pytest.mark.parametrize(("text", "error"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_changes_nothing_and_is_reported(team, caplog, text, error):
    before = team.rows()
    team.say("c.yml", "regadmin: 1\nusers:\n  eve: {password: 123456}\n")
    (team.files / "b.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with caplog.at_level(logging.ERROR):
        errors = team.follow()
    assert error in "\n".join(errors)
    assert team.rows() == before
    assert error in caplog.text.replace(f"{team.files}/", "").replace(str(team.files), "")
    assert PASSWORD not in caplog.text
    assert team.verdict.state is State.BAD
    assert all(any(fact.text in line for line in errors) for fact in team.verdict.facts)
    (team.files / "b.yml").unlink()
    assert team.follow() == []
    assert team.logins() == {"admin": "", "alice": "team.yml", "eve": "c.yml"}


def test_an_error_is_told_once_and_a_visitor_sees_it_before_the_server_does(team, caplog):
    team.say("team.yml", "regadmin: 2\n")
    assert team.verdict.state is State.BAD
    for _ in range(3):
        team.follow()
    assert caplog.text.count("is of another version") == 1
    team.say("team.yml", TEAM + "  disabled: true\n")
    assert team.verdict.state is State.OPEN


def test_a_file_that_vanishes_takes_its_users_along_and_brings_them_back(team):
    team.say("secret/b.yml", "regadmin: 1\nusers:\n  bob: {password: 123456}\n")
    team.say("secret/c.json", '{"regadmin": 1, "users": {"carol": {"password": "123456"}}}')
    team.follow()
    assert team.logins() == {"admin": "", "alice": "team.yml", "bob": "secret/b.yml", "carol": "secret/c.json"}
    text = (team.files / "secret/b.yml").read_text()
    (team.files / "secret/b.yml").unlink()
    assert team.follow() == []
    with pytest.raises(Unauthenticated):
        team.users.authenticate("bob", "123456")
    # A volume that is not mounted is an empty directory.
    (team.files / "secret/c.json").rename(team.files / "kept")
    assert "secret: holds no file *.yaml, *.yml or *.json" in team.follow()[0]
    assert team.users.authenticate("carol", "123456")
    (team.files / "kept").rename(team.files / "secret/c.json")
    team.say("secret/b.yml", text)
    assert team.follow() == []
    assert team.users.authenticate("bob", "123456")


def test_a_directory_that_is_empty_or_gone_takes_nobody_away(team):
    (team.files / "team.yml").rename(team.files / ".team.yml")
    assert ": holds no file" in team.follow()[0]
    team.files.rename(team.files.with_name("elsewhere"))
    assert team.follow() == [": cannot be read: No such file or directory"]
    assert team.users.authenticate("alice", PASSWORD)
    team.files.symlink_to("elsewhere")
    (team.files / "x.yml").symlink_to("nowhere")
    assert team.follow() == ["x.yml: cannot be read: No such file or directory"]
    (team.files / "x.yml").unlink()
    os.mkfifo(team.files / "x.yml")
    assert team.follow() == ["x.yml: is no file"]
    assert team.users.authenticate("alice", PASSWORD)


def mount(volume: Path, version: str, **files: str) -> None:
    """As the kubelet does: a new directory, and one link that is exchanged in one step."""
    content = volume / f"..{version}"
    content.mkdir(parents=True)
    for name, text in files.items():
        (content / f"{name}.yaml").write_text(text)
        link = volume / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}.yaml")
    (volume / "..data_tmp").symlink_to(content.name)
    (volume / "..data_tmp").rename(volume / "..data")


def test_a_volume_of_kubernetes_is_followed_when_its_link_is_exchanged(house):
    mount(house.files, "2026_01", users=TEAM, rules="regadmin: 1\n")
    assert house.follow() == []
    mount(house.files, "2026_02", users=TEAM.replace("alice", "anna"), rules="regadmin: 1\n")
    # Looked at while it was being exchanged: that counts for nothing.
    house.provisioning.look()
    assert set(house.logins()) == {"admin", "alice"}
    house.provisioning.look()
    assert house.logins() == {"admin": "", "anna": "users.yaml"}


def test_the_examples_of_the_page_are_taken_as_they_stand(house):
    page = (Path(__file__).parents[2] / "docs" / "provisioning.md").read_text()
    blocks = re.findall(r"^```yaml\n(.+?)^```", page, re.MULTILINE | re.DOTALL)
    team = next(block for block in blocks if "regadmin: 1" in block)
    house.say("team.yml", team)
    (house.files / ".git").mkdir()
    assert house.follow() == []
    assert house.users.authenticate("alice", PASSWORD)
    (house.files / "team.yml").unlink()
    manifests = next(block for block in blocks if "kind: ConfigMap" in block)
    secret, rules = yaml.safe_load_all(manifests)
    mount(house.files / "users", "1", users=secret["stringData"]["users.yaml"])
    mount(house.files / "rules", "1", rules=rules["data"]["rules.yaml"])
    assert house.follow() == []
    assert house.logins()["alice"] == "users/users.yaml"
    assert house.may("alice", "team/a/b", "push")


def test_a_secret_of_registry_auth_is_taken_and_what_has_no_equal_is_told(house):
    data = Path(__file__).parent.parent / "data" / "imports"
    house.say("auth.yml", (data / "registry-auth-secret.yml").read_text() + "---\nusers: {old: $apr1$x}\nauths: {}\n")
    assert house.follow() == []
    assert {*house.logins().values()} == {"", "auth.yml"}
    assert house.verdict.state is State.WARN
    assert "user old: his password is no bcrypt hash" in house.verdict.facts[0].text


def test_what_comes_from_a_file_cannot_be_changed_here(team):
    alice, rule = team.users.authenticate("alice", PASSWORD), team.rules.list(Listing()).rows[0]
    crew = alice.groups[0]
    for change in (
        lambda: team.users.update(alice.id, ADMIN, "another password"),
        lambda: team.users.delete(alice.id, ADMIN),
        lambda: team.users.leave(alice.id, crew.id, ADMIN),
        lambda: team.users.join("alice", DEFAULT_GROUP_ID, ADMIN),
        lambda: team.users.change_password(alice, PASSWORD, "another password", Actor("alice")),
        lambda: team.users.change_preferences(alice, Actor("alice"), "Alice A", "", ""),
        lambda: team.groups.update(crew.id, ADMIN, description="x"),
        lambda: team.groups.delete(crew.id, ADMIN),
        lambda: team.rules.update(rule.id, ADMIN, is_disabled=True),
        lambda: team.rules.delete(rule.id, ADMIN),
    ):
        with pytest.raises(Forbidden, match=r"comes from the file team\.yml"):
            change()
    # His language is his own, and stays so.
    team.users.change_preferences(alice, Actor("alice"), "alice", "ko", "Asia/Seoul")
    team.follow()
    assert team.users.find(alice.id).language == "ko"


def test_what_was_made_here_and_is_the_same_becomes_the_files(house):
    crew = house.groups.create(ADMIN, "crew")
    house.users.create(ADMIN, PASSWORD, [crew.id], login="alice")
    house.rules.create(ADMIN, REGISTERED_ID, resource_name="x", action="pull")
    text = Exports(house.store).text()
    admin = text[text.index("  admin:\n") : text.index("  alice:\n")]
    house.say("all.yml", text.replace(admin, "").replace("action: pull", "action: pull\n  disabled: true"))
    assert "is here already, and not from a file" in house.follow()[0]
    house.say("all.yml", text.replace(admin, ""))
    assert house.follow() == []
    assert house.logins() == {"admin": "", "alice": "all.yml"}
    assert [group.source for group in house.groups.list(Listing(sort="name")).rows] == ["all.yml", ""]
    # Without the option all of it belongs to this server again.
    release(house.store)
    assert set(house.logins().values()) == {""}
    house.users.delete(house.users.authenticate("alice", PASSWORD).id, ADMIN)


def test_files_may_exchange_their_admins_but_not_leave_none(house):
    house.say("a.yml", "regadmin: 1\nusers:\n  one: {password: 123456, role: admin}\n")
    house.follow()
    house.users.delete(house.users.authenticate("admin", "correct horse").id, Actor("one"))
    house.say("a.yml", "regadmin: 1\nusers:\n  two: {password: 123456, role: admin}\n")
    assert house.follow() == []
    house.say("a.yml", "regadmin: 1\n")
    assert house.follow() == [": no admin would be left: make one first"]
    assert house.logins() == {"two": "a.yml"}


def test_what_was_made_here_and_goes_is_missed_by_the_files_that_speak_of_it(house):
    crew = house.groups.create(ADMIN, "crew")
    house.say("a.yml", "regadmin: 1\nrules:\n- {group: crew, resource_name: x, action: pull}\n")
    assert house.follow() == []
    house.groups.delete(crew.id, ADMIN)
    assert house.follow() == ["a.yml:3: a rule of group crew, and there is none"]


def test_what_a_registry_in_basic_mode_is_told_may_fail(house, caplog):
    def fail() -> None:
        raise Error("the registry does not follow")

    house.provisioning._on_change = fail
    house.say("team.yml", TEAM)
    assert house.follow() == []
    assert "the registry does not follow" in caplog.text
