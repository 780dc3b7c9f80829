"""The htpasswd file of basic mode: whole or not at all, enabled users only, as the registry reads it."""

import itertools
import os
import random
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import bcrypt
import pytest
import requests

from regadmin.app import App
from regadmin.errors import Error, Misconfigured
from tests.conftest import ADMIN, ADMIN_PASSWORD
from tests.rigs import images
from tests.rigs.client import Client
from tests.rigs.nginx import Nginx
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.tools import clean_environment, find_tool

PASSWORD = "a good password"
OWN = {"registry__login": "regadmin", "registry__password": "our own"}


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "auth").mkdir()
    return tmp_path / "auth" / ".htpasswd"


@pytest.fixture
def basic(settings, path):
    """Settings of basic mode."""
    return lambda **changes: settings(
        **{"registry__auth_type": "basic", "registry__htpasswd": path, **OWN, **changes}
    )


@pytest.fixture
def app(basic, clock) -> App:
    app = App(basic(), clock)
    app.prepare()
    app.begin()
    app.begin_background_work()
    yield app
    app.end()


@pytest.fixture
def alice(app, by):
    return app.users.create(by, PASSWORD, login="alice")


def admits(path: Path, login: str, password: str) -> bool:
    """As a registry reads it: the last line of a login counts."""
    found = dict(line.split(":", 1) for line in path.read_text().splitlines())
    return login in found and bcrypt.checkpw(password.encode(), found[login].encode())


def test_the_first_start_writes_the_admin_and_our_own_account(app, path):
    assert admits(path, "admin", ADMIN_PASSWORD)
    assert admits(path, "regadmin", "our own")
    assert len(path.read_text().splitlines()) == 2


def test_a_new_file_is_for_its_owner_only(app, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_default_password_opens_nothing_until_it_is_changed(basic, clock, path, by):
    app = App(basic(store__admin_password="admin"), clock)
    app.prepare()
    app.begin()
    app.begin_background_work()
    try:
        assert path.read_text().startswith("regadmin:")
        admin = app.users.authenticate("admin", "admin")
        app.users.change_password(admin, "", "correct horse", by)
        assert admits(path, "admin", "correct horse")
    finally:
        app.end()


def test_the_file_follows_every_change_of_a_user(app, path, by, alice):
    assert admits(path, "alice", PASSWORD)
    app.users.update(alice.id, by, "another one")
    assert admits(path, "alice", "another one")
    assert not admits(path, "alice", PASSWORD)
    app.users.update(alice.id, by, login="alina")
    assert admits(path, "alina", "another one")
    assert "alice" not in path.read_text()
    app.users.update(alice.id, by, is_blocked=True)
    assert "alina" not in path.read_text()
    app.users.update(alice.id, by, is_blocked=False)
    assert admits(path, "alina", "another one")
    app.users.change_password(app.users.find(alice.id), "another one", "his own choice", by)
    assert admits(path, "alina", "his own choice")
    app.users.delete(alice.id, by)
    assert "alina" not in path.read_text()


def test_the_file_follows_the_rest_api_and_the_pages(app, path):
    admin = Client(app.wsgi, basic=ADMIN)
    created = admin.post("/api/v1/users", json={"login": "bob", "password": PASSWORD, "role": "user"})
    assert admits(path, "bob", PASSWORD)
    admin.put(f"/api/v1/users/{created.json['id']}", json={"blocked": True})
    assert "bob" not in path.read_text()
    admin.put(f"/api/v1/users/{created.json['id']}", json={"blocked": False})
    admin.delete(f"/api/v1/users/{created.json['id']}")
    assert "bob" not in path.read_text()


def test_a_change_that_is_refused_changes_no_file(app, path, by, alice):
    before = path.stat()
    with pytest.raises(Error):
        app.users.create(by, PASSWORD, login="alice")
    app.groups.create(by, "crew")
    app.users.update(alice.id, by, description="nothing that the registry cares for")
    assert path.stat().st_ino == before.st_ino


def test_our_own_account_takes_the_place_of_a_user_of_that_name(basic, clock, path, by):
    app = App(basic(registry__login="admin"), clock)
    app.prepare()
    app.begin()
    app.begin_background_work()
    app.end()
    assert admits(path, "admin", "our own")
    assert path.read_text().count("admin:") == 1


@pytest.mark.parametrize("mode", [0o640, 0o444])
def test_an_existing_file_keeps_its_owner_and_mode(basic, clock, path, mode):
    path.write_text("docker:old\n")
    owner = (12345, 54321) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(path, *owner)
    path.chmod(mode)
    App(basic(), clock).htpasswd.write(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid) == owner
    assert stat.S_IMODE(found.st_mode) == mode
    assert "docker" not in path.read_text()


def test_a_link_stays_a_link(basic, clock, path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    App(basic(), clock).htpasswd.write(path)
    assert path.is_symlink()
    assert admits(tmp_path / "elsewhere", "admin", ADMIN_PASSWORD)


def test_the_time_of_change_differs_on_file_systems_that_keep_seconds(app, path, by):
    seconds = [int(path.stat().st_mtime)]
    for number in range(4):
        app.users.create(by, PASSWORD, login=f"user{number}")
        seconds.append(int(path.stat().st_mtime))
    assert len(set(seconds)) == 5


def test_who_makes_a_change_that_cannot_be_written_is_told_and_it_is_made_up_for(app, path, caplog):
    admin = Client(app.wsgi, basic=ADMIN)
    before = path.read_text()
    path.unlink()
    path.mkdir()
    answer = admin.post("/api/v1/users", json={"login": "bob", "password": PASSWORD, "role": "user"})
    assert answer.status == 500
    assert "saved" in answer.json["message"]
    assert f"{path} cannot be written" in answer.json["message"]
    assert str(path) in caplog.text
    assert app.users.authenticate("bob", PASSWORD)
    path.rmdir()
    path.write_text(before)
    app._htpasswd_keeper.repair()
    assert admits(path, "bob", PASSWORD)


def test_a_failure_leaves_the_old_file_and_no_draft(app, path, by, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    before = path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Error, match="No space left on device"):
        app.htpasswd.write(path.with_name("other"))
    with pytest.raises(Error, match="No space left on device"):
        app.users.create(by, PASSWORD, login="bob")
    assert path.read_text() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_file_that_is_a_mount_point_is_told_to_be_one(app, path, by, monkeypatch):
    def busy(*_):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(Error, match="mount its directory"):
        app.users.create(by, PASSWORD, login="bob")


def test_a_place_that_cannot_be_written_is_a_misconfiguration(basic, clock, tmp_path):
    app = App(basic(registry__htpasswd=tmp_path / "missing" / ".htpasswd"), clock)
    with pytest.raises(Misconfigured, match="registry.htpasswd .*missing"):
        app.prepare()
        app.begin()
        app.begin_background_work()


def test_changes_of_many_at_once_are_all_in_the_file(app, path, by):
    logins = [f"user{number}" for number in range(12)]
    makers = [
        threading.Thread(target=app.users.create, args=(by, PASSWORD), kwargs={"login": login}) for login in logins
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert {line.split(":")[0] for line in path.read_text().splitlines()} == {"admin", "regadmin", *logins}


def test_token_mode_writes_no_file(settings, clock, path):
    app = App(settings(registry__htpasswd=path, **OWN), clock)
    app.prepare()
    app.begin()
    app.begin_background_work()
    app.end()
    assert not path.exists()


def test_basic_mode_needs_a_login_a_password_and_a_file(settings):
    with pytest.raises(Misconfigured) as caught:
        settings(registry__auth_type="basic")
    for name in ("registry.login", "registry.password", "registry.htpasswd"):
        assert name in caught.value.message


def test_a_password_of_ours_that_bcrypt_would_cut_is_refused(basic):
    with pytest.raises(Misconfigured, match="registry.password must be at most 72 bytes"):
        basic(registry__password="x" * 73)


# The command


def regadmin(server: RunningServer, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "regadmin", "--config-file", server.config, *arguments]
    environment = clean_environment(server.directory)
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)


@pytest.fixture
def prepared(tmp_path) -> RunningServer:
    """A server in token mode that never started."""
    return RunningServer(tmp_path, registry_port=free_port())


def test_the_command_prints_what_nginx_and_apache_understand(prepared, tmp_path):
    printed = regadmin(prepared, "htpasswd")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("admin:$2b$10$")
    (tmp_path / "printed").write_text(printed.stdout)
    verify = [find_tool("htpasswd", "apache2-utils"), "-vbB", tmp_path / "printed", "admin"]
    assert subprocess.run([*verify, ADMIN_PASSWORD], capture_output=True).returncode == 0
    assert subprocess.run([*verify, "a guess"], capture_output=True).returncode != 0


def test_the_command_writes_the_file_that_it_is_given(prepared, tmp_path):
    target = tmp_path / "nginx.htpasswd"
    written = regadmin(prepared, "htpasswd", target)
    assert (written.returncode, written.stdout) == (0, ""), written.stderr
    assert admits(target, "admin", ADMIN_PASSWORD)
    refused = regadmin(prepared, "htpasswd", "/proc/htpasswd")
    assert refused.returncode == 1
    assert "/proc/htpasswd cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr


# A real registry


def basic_server(directory: Path, path: Path, port: int) -> RunningServer:
    own = {"login": "regadmin", "password": "our own"}
    registry = {"host": "http://127.0.0.1", "port": port, "auth_type": "basic", "htpasswd": str(path), **own}
    registry["certs"] = {"path": str(directory / "certs")}
    return RunningServer(directory, port, registry=registry)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server in basic mode and a registry that goes by its file."""
    directory = tmp_path_factory.mktemp("basic")
    port, path = free_port(), directory / "auth" / ".htpasswd"
    path.parent.mkdir()
    server = basic_server(directory, path, port).start()
    real = RealRegistry(directory / "registry", auth=path, port=port).start()
    yield server, real
    real.stop()
    server.stop()


def test_users_come_and_go_at_a_real_registry_without_its_restart(world, skopeo, tmp_path):
    server, registry = world
    image = images.write_dir(images.docker_image(), tmp_path / "image")
    target = f"docker://{registry.host}/team/app:v1"
    creds = "alice:alice-pass"
    assert skopeo.copy(image, target, creds=creds).returncode != 0
    alice = server.create("users", login="alice", password="alice-pass", role="user")
    assert skopeo.login(registry.host, "alice", "alice-pass").returncode == 0
    assert skopeo.copy(image, target, creds=creds).returncode == 0
    server.call("PUT", f"/api/v1/users/{alice}", json={"blocked": True})
    assert skopeo.inspect(target, creds=creds).returncode != 0
    server.call("PUT", f"/api/v1/users/{alice}", json={"blocked": False, "password": "new-pass"})
    assert skopeo.inspect(target, creds=creds).returncode != 0
    assert skopeo.inspect(target, creds="alice:new-pass").returncode == 0
    server.call("DELETE", f"/api/v1/users/{alice}")
    assert skopeo.inspect(target, creds="alice:new-pass").returncode != 0


def test_nginx_asks_for_the_same_accounts_before_a_registry_that_asks_for_nothing(world, skopeo, tmp_path):
    server, _ = world
    server.create("users", login="nora", password="nora-pass", role="user")
    files = {"/srv/registry-auth/.htpasswd": server.directory / "auth" / ".htpasswd"}
    (tmp_path / "nginx").mkdir()
    with (
        RealRegistry(tmp_path / "registry") as bare,
        Nginx(tmp_path / "nginx", "htpasswd.conf", server, bare.port, files) as nginx,
    ):
        image = images.write_dir(images.docker_image(), tmp_path / "image")
        target = nginx.docker("team/app:v1")
        assert skopeo.copy(image, target).returncode != 0
        assert skopeo.login(nginx.host, "nora", "wrong").returncode != 0
        assert skopeo.login(nginx.host, "nora", "nora-pass").returncode == 0
        copied = skopeo.copy(image, target)
        assert copied.returncode == 0, copied.stderr
        assert skopeo.inspect(target).returncode == 0


def test_our_own_client_works_in_basic_mode(world, skopeo, tmp_path):
    server, registry = world
    image = images.write_dir(images.docker_image(), tmp_path / "image")
    pushed = skopeo.copy(image, f"docker://{registry.host}/own/app:v1", creds=ADMIN)
    assert pushed.returncode == 0, pushed.stderr
    assert server.call("GET", "/api/v1/registry/health").status_code == 200
    synchronised = regadmin(server, "sync")
    assert synchronised.returncode == 0, synchronised.stderr
    assert [row["tag"] for row in server.catalog(repository_name="own/app")] == ["v1"]


def test_a_server_that_is_killed_leaves_a_whole_file_and_makes_up_for_the_rest_at_its_next_start(tmp_path, path):
    server, answered = basic_server(tmp_path, path, free_port()), ["admin", "regadmin"]

    def create_until_it_dies(prefix: str) -> None:
        for number in itertools.count():
            try:
                server.create("users", login=f"{prefix}{number}", password=PASSWORD, role="user")
            except requests.ConnectionError:
                return
            answered.append(f"{prefix}{number}")

    for kill in range(3):
        known = len(answered)
        server.start()
        makers = [threading.Thread(target=create_until_it_dies, args=(f"user{kill}{maker}x",)) for maker in "ab"]
        for maker in makers:
            maker.start()
        wait_until(lambda known=known: len(answered) > known, 10)
        threading.Event().wait(random.random() / 5)
        server.stop(signal.SIGKILL)
        for maker in makers:
            maker.join()
        assert all(re.fullmatch(r"\w+:\$2b\$10\$[./\w]{53}", line) for line in path.read_text().splitlines())
    server.start()
    try:
        assert {line.split(":")[0] for line in path.read_text().splitlines()} >= set(answered)
        assert [name for name in os.listdir(path.parent) if name != path.name] == []
    finally:
        server.stop()
