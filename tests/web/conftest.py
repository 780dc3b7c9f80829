"""What tests of the doors share: accounts, rules, and callers who sign in."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from regadmin.app import App
from regadmin.entities import Group, Role, Rule, User
from tests.rigs.client import Client

PASSWORD = "a good password"


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """Where the files of a server that was just installed are kept, once the first test has made one."""
    return tmp_path_factory.mktemp("installed")


@pytest.fixture
def app(settings, clock, tmp_path: Path, installed: Path) -> App:
    """A server on files of its own, which are copied: making keys and tables takes most of a test's time."""
    if any(installed.iterdir()):
        shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
        return App(settings(), clock)
    app = App(settings(), clock)
    app.store.close()
    shutil.copytree(tmp_path, installed, dirs_exist_ok=True)
    return app


@pytest.fixture
def add_user(app: App, by) -> Callable[..., User]:
    """`add_user("alice", Role.MANAGER, [group.id])`; the password is always the same."""

    def add(login: str, role: Role = Role.USER, group_ids=(), **fields) -> User:
        return app.users.create(by, PASSWORD, group_ids, login=login, role=role, **fields)

    return add


@pytest.fixture
def alice(add_user) -> User:
    return add_user("alice")


@pytest.fixture
def allow(app: App, by) -> Callable[..., Rule]:
    """`allow(alice, "team/app", "push")`; the owner is a user, a group or one of the contract's numbers."""

    def allow(owner: User | Group | int, resource_name: str, action: str = "pull", **fields) -> Rule:
        owner_id = owner if isinstance(owner, int) else owner.id
        fields |= {"resource_name": resource_name, "action": action}
        return app.rules.create(by, owner_id, isinstance(owner, Group), **fields)

    return allow


@pytest.fixture
def script(app: App) -> Callable[..., Client]:
    """Somebody who sends Basic credentials with every request."""
    return lambda login, password=PASSWORD: Client(app.wsgi, basic=f"{login}:{password}")


@pytest.fixture
def browser(app: App) -> Callable[..., Client]:
    """Somebody who signed in and holds the cookies."""

    def sign_in(login: str, password: str = PASSWORD) -> Client:
        client = Client(app.wsgi)
        answer = client.post("/auth/local/login", form={"user": login, "passwd": password})
        assert answer.status == 200, answer.text
        return client

    return sign_in
