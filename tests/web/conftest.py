"""What tests of the doors share: accounts, rules, and callers who sign in."""

from collections.abc import Callable

import pytest

from regadmin.app import App
from regadmin.entities import Group, Role, Rule, User
from tests.rigs.client import Client

PASSWORD = "a good password"


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
