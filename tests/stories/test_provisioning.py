"""A server whose users and rules stand in files: followed while several processes answer, reported by `check`."""

import os

import pytest

from regadmin.__main__ import main
from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer, wait_until

SECONDS = 15
USERS = "regadmin: 1\nusers:\n  alice: {password: a good password}\n"
RULES = "regadmin: 1\nrules:\n- {user: alice, resource_name: team/*, action: push}\n"


@pytest.fixture
def volume(tmp_path):
    volume = tmp_path / "provision"
    mount(volume, "1", **{"users.yaml": USERS, "rules.yaml": RULES})
    return volume


def mount(volume, version, **files):
    """As the kubelet does."""
    (volume / f"..{version}").mkdir(parents=True)
    for name, text in files.items():
        (volume / f"..{version}" / name).write_text(text)
        if not (volume / name).is_symlink():
            (volume / name).symlink_to(f"..data/{name}")
    (volume / "..data_tmp").symlink_to(f"..{version}")
    os.replace(volume / "..data_tmp", volume / "..data")


def test_a_secret_is_exchanged_and_then_broken_while_the_server_works(tmp_path, volume, capsys):
    server = RunningServer(tmp_path, free_port(), workers=2, provision=str(volume)).start()

    def is_let_in(password: str) -> bool:
        return server.call("GET", "/api/v1/registry/auth", ("alice", password)).status_code == 200

    try:
        assert is_let_in("a good password")
        mount(volume, "2", **{"users.yaml": USERS.replace("good", "better"), "rules.yaml": RULES})
        wait_until(lambda: is_let_in("a better password"), SECONDS)
        assert not is_let_in("a good password")
        mount(volume, "3", **{"users.yaml": "regadmin: 1\nusers: {}\n", "rules.yaml": RULES})
        mistake = f"{volume}/rules.yaml:3: a rule of user alice, and there is none"
        wait_until(lambda: mistake in server.log.read_text(), SECONDS)
        assert is_let_in("a better password")
        main(["check", "--config-file", str(server.config)])
        said = capsys.readouterr().out
        assert "bad   Users and rules from files: nothing of the files is applied" in said
        assert mistake in said
    finally:
        server.stop()
