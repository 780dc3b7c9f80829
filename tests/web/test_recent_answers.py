"""The realm answers again what it answered a moment ago, and never what has changed since."""

import pytest
from bottle import Bottle

from regadmin.app import App
from regadmin.entities import Role
from tests.rigs.client import Client
from tests.web.conftest import PASSWORD
from tests.web.test_realm import ALICE, ask, granted

PULL_APP = "repository:team/app:pull"


@pytest.fixture
def other(settings, clock, app, add_user, allow) -> Client:
    """Another process, as far as the store can tell, that has answered before."""
    allow(add_user("alice"), "team/app", "pull")
    client = Client(App(settings(), clock).wsgi)
    assert granted(ask(client, PULL_APP, basic=ALICE)) == {"repository:team/app": ["pull"]}
    return client


def found(app: App, login: str):
    return app.store.users.find_login(login)[0]


@pytest.fixture
def count_routed(monkeypatch):
    """How many requests reach the application behind the realm."""
    calls, original = [], Bottle.__call__

    def counting(self, environ, start_response):
        calls.append(environ["PATH_INFO"])
        return original(self, environ, start_response)

    monkeypatch.setattr(Bottle, "__call__", counting)
    return calls


def test_the_same_question_gets_the_same_token_without_more_work(other, count_routed):
    first = ask(other, PULL_APP, basic=ALICE)
    count_routed.clear()
    second = ask(other, PULL_APP, basic=ALICE)
    assert count_routed == []
    assert second.json == first.json
    assert dict(second.headers) == dict(first.headers)


def test_it_tells_how_long_the_token_still_lives(other, clock):
    ask(other, PULL_APP, basic=ALICE)
    clock.pass_time(100)
    assert ask(other, PULL_APP, basic=ALICE).json["expires_in"] == 800


def test_another_password_scope_or_nobody_is_another_question(other):
    assert ask(other, PULL_APP, basic="alice:wrong password").status == 401
    assert granted(ask(other, "repository:team/app:push", basic=ALICE)) == {}
    assert granted(ask(other, PULL_APP)) == {}


def test_a_deleted_rule_holds_with_the_next_request(app, other, by):
    (rule,) = app.users.list_rules(found(app, "alice"))
    app.rules.delete(rule.id, by)
    assert granted(ask(other, PULL_APP, basic=ALICE)) == {}


def test_a_new_rule_holds_with_the_next_request(app, other, allow):
    assert granted(ask(other, "repository:team/app:push", basic=ALICE)) == {}
    allow(found(app, "alice"), "team/app", "push")
    assert granted(ask(other, "repository:team/app:push", basic=ALICE)) == {"repository:team/app": ["push"]}


def test_a_changed_password_holds_with_the_next_request(app, other, by):
    app.users.update(found(app, "alice").id, by, password="another password")
    assert ask(other, PULL_APP, basic=ALICE).status == 401
    assert ask(other, PULL_APP, basic="alice:another password").status == 200


def test_a_block_holds_with_the_next_request(app, other, by):
    app.users.update(found(app, "alice").id, by, is_blocked=True)
    assert ask(other, PULL_APP, basic=ALICE).status == 401


def test_a_deleted_user_is_out_with_the_next_request(app, other, by):
    app.users.delete(found(app, "alice").id, by)
    assert ask(other, PULL_APP, basic=ALICE).status == 401


def test_a_revoked_access_token_is_out_with_the_next_request(app, other, by):
    alice = found(app, "alice")
    token, secret = app.access_tokens.create(alice, by, "ci", (), None)
    for _ in range(2):
        assert ask(other, PULL_APP, basic=f"alice:{secret}").status == 200
    app.access_tokens.revoke(alice, token.id, by)
    assert ask(other, PULL_APP, basic=f"alice:{secret}").status == 401


def test_an_access_token_that_is_over_is_not_answered_from_memory(app, other, by, clock, count_routed):
    _, secret = app.access_tokens.create(found(app, "alice"), by, "ci", (), clock.now + 100)
    ask(other, PULL_APP, basic=f"alice:{secret}")
    clock.pass_time(99)
    count_routed.clear()
    last = ask(other, PULL_APP, basic=f"alice:{secret}")
    assert (last.json["expires_in"], count_routed) == (1, [])
    clock.pass_time(1)
    assert ask(other, PULL_APP, basic=f"alice:{secret}").status == 401
    assert len(count_routed) == 1


def test_a_lost_role_holds_with_the_next_request(app, other, add_user, by):
    boss = add_user("boss", Role.ADMIN)
    credentials = f"boss:{PASSWORD}"
    assert granted(ask(other, "repository:any/thing:push", basic=credentials))
    app.users.update(boss.id, by, role=Role.USER)
    assert granted(ask(other, "repository:any/thing:push", basic=credentials)) == {}


def test_a_left_group_holds_with_the_next_request(app, other, by, allow):
    group = app.groups.create(by, "builders")
    app.users.join("alice", group.id, by)
    allow(group, "team/tools", "pull")
    assert granted(ask(other, "repository:team/tools:pull", basic=ALICE))
    app.users.leave(found(app, "alice").id, group.id, by)
    assert granted(ask(other, "repository:team/tools:pull", basic=ALICE)) == {}


def test_the_log_names_the_user_either_way(settings, clock, app, add_user, tmp_path):
    add_user("alice")
    path = tmp_path / "access.log"
    client = Client(App(settings(logger__enabled=True, logger__file=path), clock).wsgi)
    for _ in range(2):
        ask(client, PULL_APP, basic=ALICE)
    assert [line.split(" ")[2] for line in path.read_text().splitlines()] == ["alice", "alice"]
