"""`regadmin import` and `regadmin export`, as docs/moving.md has them."""

import re
import shlex
import shutil
import stat
from pathlib import Path

import pytest

from regadmin.__main__ import main
from tests.conftest import ADMIN_PASSWORD
from tests.services.test_imports import original_store

DATA = Path(__file__).parent / "data" / "imports"
GUIDE = Path(__file__).parent.parent / "docs" / "moving.md"


@pytest.fixture
def directory(tmp_path, monkeypatch) -> Path:
    """A directory with a configuration in basic mode and the files that the guide speaks of."""
    (tmp_path / "regadmin.yml").write_text(
        f"""
        registry: {{host: http://127.0.0.1, auth_type: basic, login: own, password: our own, htpasswd: .htpasswd,
                    certs: {{path: certs}}}}
        store: {{admin_password: {ADMIN_PASSWORD}, embed: {{path: store.db}}}}
        """
    )
    original_store(tmp_path / "data.db")
    shutil.copy(DATA / "docker_auth_patterns.yml", tmp_path / "auth_config.yml")
    together = "\n---\n".join((DATA / f"{name}.yml").read_text() for name in ("registry-auth", "registry-auth-secret"))
    (tmp_path / "registry-auth.yml").write_text(together)
    shutil.copy(DATA / "htpasswd", tmp_path / "docker-registry-htpasswd")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(directory, capsys):
    def run(*arguments: str) -> tuple[int, str]:
        status = main([*arguments, "--config-file", "regadmin.yml"])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def test_every_command_of_the_guide_does_what_it_says(directory, capsys):
    written = re.findall(r"^ *regadmin ((?:import|export) .*)$", GUIDE.read_text(), re.MULTILINE)
    assert len(written) >= 8
    for command in written:
        assert main(shlex.split(command)) == 0, command + capsys.readouterr().out
    listed = (directory / ".htpasswd").read_text()
    assert all(f"{login}:" in listed for login in ("alice", "bob", "user1", "user2", "user3", "test", "bob@shop"))
    assert stat.S_IMODE((directory / "everything.yml").stat().st_mode) == 0o600


def test_the_example_of_the_guide_can_be_imported(run, directory):
    (example,) = re.findall(r"```yaml\n(regadmin: 1.*?)```", GUIDE.read_text(), re.DOTALL)
    (directory / "example.yml").write_text(example)
    assert "created users: 1, groups: 1, rules: 2" in run("import", "regadmin", "example.yml", "--apply")[1]


def test_it_first_shows_what_it_would_do_then_does_it_then_has_nothing_to_do(run):
    status, told = run("import", "docker_auth", "auth_config.yml")
    assert status == 0
    assert "here already, stays as it is: user admin" in told
    assert "auth_config.yml:4: new user alice" in told
    assert "auth_config.yml:10: new rule: user test: * repository test-*" in told
    assert "auth_config.yml:12: note: this denies" in told
    assert "nothing was changed. With --apply: users: 3, groups: 0, rules:" in told
    assert "alice" not in run("export")[1]
    assert "created users: 3," in run("import", "docker_auth", "auth_config.yml", "--apply")[1]
    assert "alice" in run("export")[1]
    assert "created users: 0, groups: 0, rules: 0" in run("import", "docker_auth", "auth_config.yml", "--apply")[1]


def test_what_grants_more_is_refused_without_the_word_for_it(run):
    status, told = run("import", "registry-admin", "data.db", "--apply")
    assert status == 1
    assert "data.db access:6: grants more: rule of the crew" in told
    assert "--grant-more" in told
    assert run("import", "registry-admin", "data.db", "--apply", "--grant-more")[0] == 0


def test_bad_input_is_told_without_a_traceback(run, directory):
    (directory / "bad.yml").write_text("users:\n\tx: y")
    status, told = run("import", "docker_auth", "bad.yml", "--apply")
    assert status == 1
    assert "bad.yml:2: error: cannot be read as YAML" in told
    assert "Mend the errors" in told
    (directory / "bell").write_text("\a\x1b[2J:x")
    assert "\\x07\\x1b[2J" in run("import", "htpasswd", "bell")[1]
    assert run("import", "htpasswd", "nowhere") == (1, "regadmin: nowhere cannot be read: No such file or directory\n")
    assert run("export", "nowhere/file")[0] == 1
    with pytest.raises(SystemExit):
        run("import", "docker", "bad.yml")
