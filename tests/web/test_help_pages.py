"""Help and about: for everybody, in the words that fit the reader."""

import pytest

from regadmin.entities import Role
from regadmin.web.pages.help import COMPONENTS
from tests.conftest import ADMIN
from tests.rigs.client import Client


@pytest.fixture
def people(app, add_user, browser):
    add_user("mike", Role.MANAGER)
    add_user("alice")
    add_user("boss", Role.ADMIN)
    return {"anonymous": Client(app.wsgi), **{login: browser(login) for login in ("alice", "mike", "boss")}}


@pytest.mark.parametrize("who", ["anonymous", "alice", "mike", "boss"])
@pytest.mark.parametrize("path", ["/help", "/about"])
def test_everybody_may_read_them(people, who, path):
    assert people[who].get(path).status == 200


def test_help_shows_commands_with_the_name_of_this_registry_and_of_the_reader(people):
    assert "docker login -u mike 127.0.0.1:1" in people["mike"].get("/help").text


def test_help_speaks_of_the_account_only_to_those_who_have_one(people):
    assert 'href="/account"' in people["alice"].get("/help").text
    assert 'href="/account"' not in people["anonymous"].get("/help").text


def test_about_names_every_component_with_its_licence(people):
    text = people["anonymous"].get("/about").text
    for component in COMPONENTS:
        assert component.name in text
        assert component.licence in text


def test_only_an_admin_is_told_what_runs_here_in_which_version(people):
    shown = {who: "SQLite" in client.get("/about").text for who, client in people.items()}
    assert shown == {"anonymous": False, "alice": False, "mike": False, "boss": True}


def test_only_an_admin_is_told_where_the_store_is_and_since_when_the_server_runs(people, app, clock):
    clock.pass_time(3 * 86_400)
    shown = people["boss"].get("/about", basic=ADMIN).text
    assert str(app.store.database.path) in shown
    assert "(3 days)" in shown
    assert str(app.store.database.path) not in people["mike"].get("/about").text
    assert str(app.store.database.path) not in people["anonymous"].get("/about").text
