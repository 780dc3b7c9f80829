"""The page that connects the registry: who sees it, what it says, and that it keeps nobody waiting."""

import pytest
import yaml

from regadmin.app import App
from regadmin.entities import Role
from tests.rigs import standin
from tests.rigs.client import Client
from tests.rigs.standin import StandinRegistry
from tests.web.conftest import PASSWORD
from tests.web.test_pages import HTMX, sign_in

PAGES = ["/setup", "/setup/certificate.crt"]


@pytest.fixture
def boss(app) -> Client:
    client = Client(app.wsgi)
    sign_in(client)
    return client


@pytest.mark.parametrize("page", PAGES)
def test_only_an_admin_sees_it(app, add_user, page):
    assert Client(app.wsgi).get(page).status == 303
    for role in (Role.USER, Role.MANAGER):
        add_user(str(role), role)
        client = Client(app.wsgi)
        sign_in(client, str(role), PASSWORD)
        assert client.get(page).status == 403


def test_it_says_what_is_done_and_what_is_not(boss, app):
    answer = boss.get("/setup")
    assert answer.status == 200
    assert "3 of 11 steps are done" in answer.text
    assert "cannot be reached: Connection refused" in answer.text
    assert app.signing_key.fingerprint in answer.text


def test_checking_again_is_a_link_and_for_htmx_a_fragment(boss):
    assert '<a class="button" id="recheck" href="/setup" hx-get="/setup"' in boss.get("/setup").text
    answer = boss.get("/setup", headers=HTMX)
    assert answer.text.lstrip().startswith('<section class="card checks" id="checks"')
    assert "config.yml" not in answer.text


def test_the_block_names_the_address_in_the_browser(settings, clock):
    app = App(settings(trusted_proxies="192.0.2.1"), clock)
    client = Client(app.wsgi)
    sign_in(client)
    headers = {"Host": "admin.example:8443", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.1"}
    shown = client.get("/setup", headers=headers).text
    assert "realm: https://admin.example:8443/api/v1/registry/auth\n" in shown
    assert "REGISTRY_AUTH_TOKEN_REALM=https://admin.example:8443/api/v1/registry/auth\n" in shown
    assert f"rootcertbundle: {app.registry_settings.certificate}\n" in shown


def test_the_block_is_what_is_copied(boss):
    text = boss.get("/setup").text
    copied = text.partition('data-copy="')[2].partition('"')[0]
    assert yaml.safe_load(copied)["storage"] == {"delete": {"enabled": True}}


def test_a_hostile_host_is_shown_as_text(boss):
    shown = boss.get("/setup", headers={"Host": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in shown


def test_the_certificate_can_be_downloaded_but_not_the_key(app, boss):
    answer = boss.get("/setup/certificate.crt")
    assert answer.status == 200
    assert answer.header("Content-Disposition") == 'attachment; filename="registry_auth_ca.crt"'
    assert answer.text == app.signing_key.certificate_pem
    assert "PRIVATE" not in answer.text


def test_the_page_comes_although_the_registry_hangs(settings, clock, monkeypatch):
    monkeypatch.setattr(standin, "SLOW_SECONDS", 60)
    with StandinRegistry() as silent:
        silent.fail(standin.SLOW)
        app = App(settings(registry__port=silent.port), clock)
        client = Client(app.wsgi)
        sign_in(client)
        answer = client.get("/setup")
        silent.heal()
    assert answer.status == 200
    assert "did not answer within 3 seconds" in answer.text


def test_the_basic_mode_says_that_rules_do_not_hold(settings, clock, tmp_path):
    options = {"auth_type": "basic", "login": "robot", "password": "x", "htpasswd": tmp_path / ".htpasswd"}
    app = App(settings(**{f"registry__{name}": value for name, value in options.items()}), clock)
    client = Client(app.wsgi)
    sign_in(client)
    shown = client.get("/setup").text
    assert "access rules do not hold there" in shown
    assert f"REGISTRY_AUTH_HTPASSWD_PATH={tmp_path / '.htpasswd'}" in shown
    assert "rootcertbundle" not in shown
    assert "Signing certificate" not in shown


class TestTheCardOfTheOverview:
    def test_counts_what_is_done_without_asking_the_registry(self, settings, clock):
        with StandinRegistry() as registry:
            app = App(settings(registry__port=registry.port), clock)
            client = Client(app.wsgi)
            sign_in(client)
            assert "Setup: 3 of 11 done" in client.get("/overview").text
            assert registry.requests == []

    def test_leads_an_admin_to_the_setup_and_nobody_else(self, app, boss, add_user):
        add_user("mike", Role.MANAGER)
        manager = Client(app.wsgi)
        sign_in(manager, "mike", PASSWORD)
        links = [client.get("/overview").text.count('<a class="button" href="/setup">') for client in (boss, manager)]
        assert links == [1, 0]

    def test_goes_when_all_is_done(self, app, boss, monkeypatch):
        done = [result for result in app.checks.known() if result.is_done]
        monkeypatch.setattr(app.checks, "known", lambda: done)
        assert "Setup:" not in boss.get("/overview").text
