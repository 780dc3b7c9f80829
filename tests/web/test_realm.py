"""The token realm, as registry clients see it (PROTOCOL: distribution, docs/spec/auth/token.md, oauth.md, jwt.md)."""

import base64
import re
from datetime import UTC, datetime
from pathlib import Path

import bcrypt
import jwt
import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Actor, Role
from regadmin.scopes import MAX_SCOPES
from regadmin.web.realm import PATHS
from tests.conftest import ADMIN
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD

REALM = "/api/v1/registry/auth"
ALICE = f"alice:{PASSWORD}"
UNAUTHORIZED = {"errors": [{"code": "UNAUTHORIZED", "message": "wrong login or password", "detail": None}]}


def ask(client: Client, *scopes: str, basic: str = "", **params) -> Answer:
    return client.get(REALM, params={"scope": scopes} | params, basic=basic)


def read(answer: Answer) -> tuple[dict, dict]:
    """Header and claims of the token, whose signature fits the certificate that it carries."""
    assert answer.status == 200, answer.text
    token = answer.json["token"]
    header = jwt.get_unverified_header(token)
    certificate = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0], validate=True))
    options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
    return header, jwt.decode(token, certificate.public_key(), [header["alg"]], options=options)


def granted(answer: Answer) -> dict[str, list[str]]:
    """What the token allows: the actions by `type:name`."""
    _, claims = read(answer)
    assert all(set(entry) == {"type", "name", "actions"} and entry["actions"] for entry in claims["access"])
    found = {f"{entry['type']}:{entry['name']}": entry["actions"] for entry in claims["access"]}
    assert len(found) == len(claims["access"])
    return found


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """An error as registry clients read it, and never HTML."""
    assert answer.status == status, answer.text
    assert answer.header("Content-Type") == "application/json"
    (error,) = answer.json["errors"]
    assert set(error) == {"code", "message", "detail"}
    assert error["code"] == code
    assert error["message"]
    challenge = answer.header("WWW-Authenticate")
    assert (challenge or "").startswith('Basic realm="') is (status == 401)


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.fixture
def team_app(alice, allow):
    """Alice may push to team/app."""
    return allow(alice, "team/app", "push")


# Requests: GET and POST, with and without credentials


def test_docker_login_gets_a_token_that_allows_nothing(client, team_app):
    login = {"account": "alice", "client_id": "docker", "offline_token": "true", "service": "container_registry"}
    answer = client.get(REALM, params=login, basic=ALICE)
    _, claims = read(answer)
    assert (claims["sub"], claims["access"]) == ("alice", [])
    assert "refresh_token" not in answer.json


def test_skopeo_and_podman_need_neither_account_nor_client_id(client, team_app):
    assert granted(ask(client, "repository:team/app:pull", basic=ALICE)) == {"repository:team/app": ["pull"]}


def test_without_credentials_the_client_is_anonymous(client, team_app, allow):
    allow(EVERYONE_ID, "open/app")
    allow(REGISTERED_ID, "staff/app")
    answer = ask(client, "repository:team/app:pull", "repository:open/app:pull,push", "repository:staff/app:pull")
    assert read(answer)[1]["sub"] == ""
    assert granted(answer) == {"repository:open/app": ["pull"]}


def test_an_oauth_client_posts_its_credentials(client, team_app):
    form = {
        "grant_type": "password",
        "service": "container_registry",
        "client_id": "containerd-client",
        "scope": "repository:team/app:pull repository:other/app:pull",
        "username": "alice",
        "password": PASSWORD,
        "access_type": "offline",
    }
    answer = client.post(REALM, form=form)
    assert read(answer)[1]["sub"] == "alice"
    assert granted(answer) == {"repository:team/app": ["pull"]}


def test_a_client_may_post_with_a_basic_header(client, team_app):
    answer = client.post(REALM, form={"scope": "repository:team/app:pull"}, basic=ALICE)
    assert granted(answer) == {"repository:team/app": ["pull"]}


def test_a_client_may_post_without_credentials(client, allow):
    allow(EVERYONE_ID, "open/app")
    answer = client.post(REALM, form={"scope": "repository:open/app:pull", "client_id": "containerd-client"})
    assert read(answer)[1]["sub"] == ""
    assert granted(answer) == {"repository:open/app": ["pull"]}


def test_scopes_in_the_address_of_a_post_count_too(client, team_app, allow, alice):
    allow(alice, "team/other")
    url = REALM + "?scope=repository:team/other:pull"
    answer = client.post(url, form={"scope": "repository:team/app:pull"}, basic=ALICE)
    assert set(granted(answer)) == {"repository:team/app", "repository:team/other"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_realm_answers_at_each_of_its_addresses(client, team_app, path, method):
    answer = client.request(method, path + "?scope=repository:team/app:pull", basic=ALICE)
    assert granted(answer) == {"repository:team/app": ["pull"]}


def test_logins_and_passwords_may_hold_any_character(client, add_user, app, by):
    user = add_user("Jürgen Ö")
    app.users.update(user.id, by, password="pass:wörd & more=1")
    assert read(client.get(REALM, basic="Jürgen Ö:pass:wörd & more=1"))[1]["sub"] == "Jürgen Ö"
    posted = {"grant_type": "password", "username": "Jürgen Ö", "password": "pass:wörd & more=1"}
    assert read(client.post(REALM, form=posted))[1]["sub"] == "Jürgen Ö"
    raw = "grant_type=password&username=Jürgen+Ö&password=pass:wörd+%26+more=1".encode()
    assert read(client.post(REALM, body=raw))[1]["sub"] == "Jürgen Ö"


def test_a_session_cookie_is_no_credential_here(browser, team_app):
    answer = ask(browser("alice"), "repository:team/app:pull")
    assert read(answer)[1]["sub"] == ""
    assert granted(answer) == {}


def test_credentials_in_the_address_are_not_taken(client, team_app):
    answer = ask(client, "repository:team/app:pull", username="alice", password=PASSWORD, grant_type="password")
    assert read(answer)[1]["sub"] == ""


# Scopes


def test_repeated_and_space_separated_scopes_are_all_answered(client, alice, allow):
    allow(alice, "**")
    answer = ask(client, "repository:a:pull repository:b:pull", "repository:c:pull", basic=ALICE)
    assert set(granted(answer)) == {"repository:a", "repository:b", "repository:c"}


def test_scopes_for_one_repository_are_merged(client, team_app):
    answer = ask(client, "repository:team/app:pull", "repository:team/app:push,pull", basic=ALICE)
    assert granted(answer) == {"repository:team/app": ["pull", "push"]}


def test_a_mount_from_another_repository_asks_for_both(client, team_app, alice, allow):
    allow(alice, "base/image")
    answer = ask(client, "repository:team/app:push,pull", "repository:base/image:pull", basic=ALICE)
    assert granted(answer) == {"repository:team/app": ["pull", "push"], "repository:base/image": ["pull"]}


def test_a_name_may_hold_a_host_with_a_port(client, alice, allow):
    allow(alice, "mirror.example:5000/team/app")
    answer = ask(client, "repository:mirror.example:5000/team/app:pull", basic=ALICE)
    assert granted(answer) == {"repository:mirror.example:5000/team/app": ["pull"]}


def test_each_scope_is_cut_to_what_is_allowed_and_none_fails_the_request(client, team_app):
    answer = ask(client, "repository:other/app:pull", "repository:team/app:pull,push,delete", basic=ALICE)
    assert granted(answer) == {"repository:team/app": ["pull", "push"]}


def test_nothing_allowed_is_an_answer_too(client, alice):
    assert granted(ask(client, "repository:team/app:pull", basic=ALICE)) == {}


@pytest.mark.parametrize(
    ("action", "asked", "signed"),
    [
        ("pull", "pull,push,delete,*", ["pull"]),
        ("pull", "*", ["pull"]),
        ("push", "pull", ["pull"]),
        ("push", "push", ["push"]),
        ("push", "*", ["pull", "push"]),
        ("delete", "*", ["delete"]),
        ("*", "*", ["pull", "push", "delete", "*"]),
        ("*", "delete", ["delete"]),
        ("*", "fly,pull,PULL", ["pull"]),
    ],
)
def test_what_is_asked_is_signed_as_far_as_the_rule_allows(client, alice, allow, action, asked, signed):
    allow(alice, "team/app", action)
    assert granted(ask(client, f"repository:team/app:{asked}", basic=ALICE)) == {"repository:team/app": signed}


@pytest.mark.parametrize("scope", ["repository:team/app:fly", "repository:team/app:", "plugin:team/app:pull"])
def test_unknown_actions_and_types_are_never_signed(client, admin, scope):
    assert granted(ask(client, scope, basic=ADMIN)) == {}


def test_a_plugin_is_a_repository(client, alice, allow):
    allow(alice, "team/plugin", "pull")
    answer = ask(client, "repository(plugin):team/plugin:pull,push", basic=ALICE)
    assert granted(answer) == {"repository:team/plugin": ["pull"]}


def test_the_catalog_is_for_those_with_a_rule_and_for_admins(client, alice, allow, add_user):
    add_user("boss", Role.MANAGER)
    allow(REGISTERED_ID, "**", "*")
    for caller in (ALICE, f"boss:{PASSWORD}"):
        assert granted(ask(client, "registry:catalog:*", basic=caller)) == {}
    allow(alice, "catalog", "*", resource_type="registry")
    for caller in (ALICE, ADMIN):
        assert granted(ask(client, "registry:catalog:*", basic=caller)) == {"registry:catalog": ["*"]}
    assert granted(ask(client, "registry:catalog:*")) == {}


def test_an_admin_is_granted_all_and_a_manager_nothing_by_his_role(client, admin, add_user):
    add_user("boss", Role.MANAGER)
    asked = "repository:any/thing:*"
    assert granted(ask(client, asked, basic=ADMIN)) == {"repository:any/thing": ["pull", "push", "delete", "*"]}
    assert granted(ask(client, asked, basic=f"boss:{PASSWORD}")) == {}


# The answer


def test_the_answer_holds_all_that_clients_look_for(client, clock, team_app):
    answer = ask(client, "repository:team/app:pull", basic=ALICE)
    body = answer.json
    assert set(body) == {"token", "access_token", "expires_in", "issued_at"}
    assert body["token"] == body["access_token"]
    assert body["expires_in"] == 900
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["issued_at"])
    assert datetime.fromisoformat(body["issued_at"]) == datetime.fromtimestamp(clock.now, UTC)
    assert answer.header("Content-Type") == "application/json"
    assert answer.header("Cache-Control") == "no-store"


def test_the_shortest_life_of_a_token_is_a_minute(settings, clock):
    app = App(settings(registry__token_ttl=60), clock)
    answer = ask(Client(app.wsgi))
    _, claims = read(answer)
    assert answer.json["expires_in"] == claims["exp"] - claims["iat"] == 60


def test_the_claims_have_the_types_that_registries_insist_on(client, clock, team_app):
    _, claims = read(ask(client, "repository:team/app:pull", basic=ALICE))
    now = int(clock.now)
    number = claims.pop("jti")
    assert isinstance(number, str)
    assert len(base64.urlsafe_b64decode(number + "==")) == 16
    assert claims == {
        "iss": "registry_token_issuer",
        "sub": "alice",
        "aud": "container_registry",
        "exp": now + 900,
        "nbf": now - 10,
        "iat": now,
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}],
    }
    assert all(type(claims[name]) is int for name in ("exp", "nbf", "iat"))


def test_every_token_has_a_number_of_its_own(client):
    asked = [f"repository:team/{name}:pull" for name in ("a", "b", "c")]
    assert len({read(ask(client, scope))[1]["jti"] for scope in asked}) == 3


def test_the_header_carries_the_certificate_that_the_registry_trusts(client, tmp_path):
    answer = ask(client)
    header, _ = read(answer)
    trusted = x509.load_pem_x509_certificate(Path(tmp_path / "certs" / "registry_auth_ca.crt").read_bytes())
    assert set(header) == {"typ", "alg", "x5c"}
    assert (header["typ"], header["alg"]) == ("JWT", "ES256")
    assert x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0])) == trusted
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", answer.json["token"], re.ASCII)


def test_issuer_and_service_are_those_of_the_settings_byte_for_byte(settings, clock):
    app = App(settings(registry__issuer="Îssuer of tokens", registry__service="My Service/1"), clock)
    _, claims = read(ask(Client(app.wsgi), service="My Service/1"))
    assert (claims["iss"], claims["aud"]) == ("Îssuer of tokens", "My Service/1")


# Who is refused


@pytest.fixture
def people(alice, add_user, allow):
    """Alice, and Carol who is blocked; everybody could pull open/app."""
    add_user("carol", is_blocked=True)
    allow(EVERYONE_ID, "open/app")


REFUSED = {
    "wrong": "alice:wrong password",
    "unknown": f"nobody:{PASSWORD}",
    "blocked": f"carol:{PASSWORD}",
    "blocked-wrong": "carol:wrong password",
    "empty": "alice:",
    "nobody": ":",
    "number": f"2:{PASSWORD}",
    "case": f"Alice:{PASSWORD}",
    "zero": f"alice:{PASSWORD}\0",
    "long": f"alice:{PASSWORD}{'x' * 1000}",
}


@pytest.mark.parametrize("credentials", REFUSED.values(), ids=REFUSED)
def test_wrong_credentials_are_refused_and_never_anonymous(client, people, credentials):
    answer = ask(client, "repository:open/app:pull", basic=credentials)
    assert_refused(answer, 401, "UNAUTHORIZED")
    assert answer.json == UNAUTHORIZED


def test_unknown_wrong_and_blocked_get_the_same_answer(client, people):
    answers = [ask(client, basic=REFUSED[who]) for who in ("wrong", "unknown", "blocked")]
    assert len({(answer.status, answer.body, tuple(answer.headers)) for answer in answers}) == 1


def test_unknown_wrong_and_blocked_get_the_same_answer_to_a_post(client, people):
    answers = []
    for credentials in (REFUSED[who] for who in ("wrong", "unknown", "blocked")):
        login, _, password = credentials.partition(":")
        answers.append(client.post(REALM, form={"grant_type": "password", "username": login, "password": password}))
    assert {answer.status for answer in answers} == {401}
    assert all(answer.json == UNAUTHORIZED for answer in answers)


def test_unknown_wrong_and_blocked_cost_one_bcrypt_each(client, people, monkeypatch):
    costs, compute = [], bcrypt.checkpw

    def counting(password, stored):
        costs.append(stored.split(b"$")[2])
        return compute(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    for who in ("wrong", "unknown", "blocked"):
        ask(client, basic=REFUSED[who])
    assert costs == [b"04"] * 3


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + encoded("no colon"),
        "Basic " + encoded(b"alice:\xff\xfe"),
        "Basic " + encoded(ALICE)[:-3],
        "Basic " + encoded(ALICE) + " " + encoded(ALICE),
        "Basic \xe9",
        "Bearer abc",
        "Bearer " + encoded(ALICE),
        "Digest username=alice",
        encoded(ALICE),
        "basic:" + encoded(ALICE),
        "null",
    ],
)
def test_a_header_that_holds_no_credentials_is_refused_and_never_anonymous(client, people, header):
    answer = client.get(
        REALM, params={"scope": "repository:open/app:pull"}, headers={"Authorization": header}
    )
    assert_refused(answer, 401, "UNAUTHORIZED")


def test_the_scheme_of_the_header_has_no_case(client, alice):
    answer = client.get(REALM, headers={"Authorization": "bAsIc  " + encoded(ALICE)})
    assert read(answer)[1]["sub"] == "alice"


@pytest.mark.parametrize("form", [{"grant_type": "password"}, {"username": "alice"}, {"username": ""}])
def test_incomplete_credentials_in_a_form_are_refused_and_never_anonymous(client, people, form):
    assert_refused(client.post(REALM, form={"scope": "repository:open/app:pull"} | form), 401, "UNAUTHORIZED")


def test_a_refresh_token_is_refused_because_none_is_issued(client, alice):
    form = {"grant_type": "refresh_token", "refresh_token": "x", "service": "container_registry", "client_id": "docker"}
    assert_refused(client.post(REALM, form=form), 401, "UNAUTHORIZED")


def test_failures_are_noted_with_login_and_address(app, client, people):
    client.address = "192.0.2.77"
    ask(client, basic="mallory:guess")
    noted = app.store.activity.latest(1)[0]
    assert (noted["event"], noted["actor"], noted["address"]) == ("sign-in failed", "mallory", "192.0.2.77")
    assert "guess" not in repr(noted)


# Malformed requests


def test_an_account_that_is_not_the_login_is_malformed(client, people):
    assert_refused(ask(client, basic=ALICE, account="carol"), 400, "UNSUPPORTED")


def test_an_account_without_credentials_is_refused(client, people):
    assert_refused(ask(client, "repository:open/app:pull", account="alice"), 401, "UNAUTHORIZED")


def test_an_empty_account_is_none(client, people):
    assert granted(ask(client, "repository:open/app:pull", account="")) == {"repository:open/app": ["pull"]}


def test_another_service_is_malformed(client, alice):
    answer = ask(client, basic=ALICE, service="another")
    assert_refused(answer, 400, "UNSUPPORTED")
    assert "container_registry" in answer.json["errors"][0]["message"]


def test_another_grant_type_is_malformed(client, alice):
    assert_refused(client.post(REALM, form={"grant_type": "client_credentials"}), 400, "UNSUPPORTED")


@pytest.mark.parametrize("scope", ["repository", "repository:app", "repository:a b:pull", "x:y:\0", "a:ü:pull"])
def test_a_malformed_scope_is_malformed(client, scope):
    assert_refused(client.get(REALM, params={"scope": scope.replace(" ", "\t")}), 400, "UNSUPPORTED")


@pytest.mark.parametrize("query", ["scope=%ff", "service=%c3%28", "&".join(["a=1"] * 1001)])
def test_a_malformed_address_is_malformed(client, query):
    assert_refused(client.get(f"{REALM}?{query}"), 400, "UNSUPPORTED")


@pytest.mark.parametrize(
    "body",
    [
        b"username=\xff&password=x",
        b"username=%ff&password=x",
        b"a=1&" * 1001,
        b"scope=" + b"x" * 1024 * 1024,
        b"scope=repository:a:" + b"pull," * 1000 + b"\0",
    ],
    ids=["raw bytes", "encoded bytes", "fields", "a megabyte", "a zero"],
)
def test_a_malformed_form_is_malformed(client, body):
    assert_refused(client.post(REALM, body=body), 400, "UNSUPPORTED")


def test_too_many_scopes_are_malformed(client):
    scopes = [f"repository:app{number}:pull" for number in range(MAX_SCOPES + 1)]
    assert_refused(client.post(REALM, form={"scope": scopes}), 400, "UNSUPPORTED")
    assert client.post(REALM, form={"scope": scopes[1:]}).status == 200


def test_wrong_credentials_come_before_a_wrong_service(client, alice):
    assert_refused(ask(client, basic="alice:wrong", service="another"), 401, "UNAUTHORIZED")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.text(st.characters(max_codepoint=255), max_size=30))
def test_whatever_is_sent_is_answered_in_json_and_is_no_fault(client, body, header):
    answers = [client.post(REALM, body=body)]
    answers.append(client.get(REALM, params={"scope": body, "account": body}, headers={"Authorization": header}))
    for answer in answers:
        assert answer.status in (200, 400, 401)
        assert answer.header("Content-Type") == "application/json"


def test_another_method_is_answered_in_json(client):
    answer = client.put(REALM)
    assert answer.status == 405
    assert answer.header("Content-Type") == "application/json"


# Changes take hold with the next request


def test_a_rule_holds_from_the_next_request_on(client, app, alice, allow, by):
    def current():
        return granted(ask(client, "repository:team/app:*", basic=ALICE)).get("repository:team/app", [])

    assert current() == []
    rule = allow(alice, "team/app")
    assert current() == ["pull"]
    app.rules.update(rule.id, by, action="push")
    assert current() == ["pull", "push"]
    app.rules.update(rule.id, by, is_disabled=True)
    assert current() == []
    app.rules.update(rule.id, by, is_disabled=False)
    assert current() == ["pull", "push"]
    app.rules.delete(rule.id, by)
    assert current() == []


def test_a_membership_holds_from_the_next_request_on(client, app, alice, allow, by):
    crew = app.groups.create(by, "crew")
    allow(crew, "crew/app")
    scope = "repository:crew/app:pull"
    assert granted(ask(client, scope, basic=ALICE)) == {}
    app.users.update(alice.id, by, group_ids=[crew.id])
    assert granted(ask(client, scope, basic=ALICE)) == {"repository:crew/app": ["pull"]}
    app.groups.delete(crew.id, by)
    assert granted(ask(client, scope, basic=ALICE)) == {}


def test_a_role_holds_from_the_next_request_on(client, app, alice, by):
    scope = "repository:any/thing:delete"
    app.users.update(alice.id, by, role=Role.ADMIN)
    assert granted(ask(client, scope, basic=ALICE)) == {"repository:any/thing": ["delete"]}
    app.users.update(alice.id, by, role=Role.USER)
    assert granted(ask(client, scope, basic=ALICE)) == {}


def test_a_password_holds_from_the_next_request_on(client, app, alice, by):
    assert ask(client, basic=ALICE).status == 200
    app.users.update(alice.id, by, password="another password")
    assert ask(client, basic=ALICE).status == 401
    assert ask(client, basic="alice:another password").status == 200
    app.users.change_password(alice, "another password", "a third password", Actor("alice"))
    assert ask(client, basic="alice:another password").status == 401
    assert ask(client, basic="alice:a third password").status == 200


def test_a_block_and_a_deletion_hold_from_the_next_request_on(client, app, alice, by):
    assert ask(client, basic=ALICE).status == 200
    app.users.update(alice.id, by, is_blocked=True)
    assert ask(client, basic=ALICE).status == 401
    app.users.update(alice.id, by, is_blocked=False)
    assert ask(client, basic=ALICE).status == 200
    app.users.delete(alice.id, by)
    assert ask(client, basic=ALICE).status == 401


def test_a_new_user_with_an_old_login_has_none_of_the_old_rules(client, app, alice, allow, by, add_user):
    allow(alice, "team/app")
    app.users.delete(alice.id, by)
    add_user("alice")
    assert granted(ask(client, "repository:team/app:pull", basic=ALICE)) == {}


# The default password


def test_the_default_password_opens_nothing_until_it_is_changed(settings, clock, by):
    app = App(settings(store__admin_password="admin"), clock)
    client = Client(app.wsgi)
    posted = {"grant_type": "password", "username": "admin", "password": "admin"}
    for answer in (ask(client, "repository:a:pull", basic="admin:admin"), client.post(REALM, form=posted)):
        assert_refused(answer, 403, "DENIED")
        assert "default password" in answer.json["errors"][0]["message"]
    assert ask(client, basic="admin:wrong").json == UNAUTHORIZED
    admin = app.users.authenticate("admin", "admin")
    app.users.change_password(admin, "", "a new password", by)
    assert granted(ask(client, "repository:a:pull", basic="admin:a new password")) == {"repository:a": ["pull"]}
