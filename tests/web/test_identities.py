"""People whom another source of identity knows, at every door: what they may do, and what a source that fails does."""

import jwt
import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, REGISTERED_ID
from regadmin.services.findings import State
from regadmin.store.listing import Listing
from tests.conftest import ADMIN
from tests.rigs import images
from tests.rigs.client import Answer, Client
from tests.rigs.identity import HANG_UP, IdentityService, write_program
from tests.rigs.standin import StandinRegistry
from tests.rigs.tls import write_certificate
from tests.web.conftest import PASSWORD

REALM = "/api/v1/registry/auth"
CAROL, ERIN = "carol:carol-pass", "erin:erin-pass"
NOT_NOW = "your login cannot be checked now; try again later"
PROGRAM = """
[ "$login" = erin ] || exit 2
[ "$password" = erin-pass ] && echo '{"labels": {"groups": ["crew"]}}'
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return write_certificate(tmp_path_factory.mktemp("identity"))


@pytest.fixture(scope="module")
def registry():
    with StandinRegistry() as registry:
        for name in ("team/app", "other/app"):
            registry.put(name, "v1", images.docker_image())
        yield registry


@pytest.fixture
def service(certificate):
    with IdentityService(certificate) as service:
        service.people["carol:carol-pass"] = [
            {"target": "^team/.*", "useRegexp": True, "actions": ["pull", "push"]},
            {"target": "(x+)+y", "useRegexp": True, "actions": ["pull"]},
        ]
        service.people["mallory:pass-word"] = [{"target": ".*", "useRegexp": True, "actions": ["*"]}]
        yield service


@pytest.fixture
def app(settings, clock, tmp_path, registry, service, certificate) -> App:
    """Erin is known to the program, Carol and Mallory to the service."""
    program = write_program(tmp_path, PROGRAM)
    changes = {"identity__service__url": service.url, "identity__service__ca": certificate[0]}
    changes |= {"identity__program__command": program, "registry__port": registry.port}
    return App(settings(**changes), clock)


def ask(client: Client, basic: str, *scopes: str) -> Answer:
    return client.get(REALM, basic=basic, params={"service": "container_registry", "scope": scopes})


def granted(answer: Answer) -> tuple[str, dict[str, list[str]]]:
    """Subject and access of the token."""
    assert answer.status == 200, answer.text
    claims = jwt.decode(answer.json["token"], options={"verify_signature": False})
    return claims["sub"], {each["name"]: each["actions"] for each in claims["access"]}


def forwarded(client: Client, basic: str, address: str) -> Answer:
    headers = {"X-Original-Method": "GET", "X-Original-URI": address}
    return client.get("/api/v1/forward", basic=basic, headers=headers)


def test_the_realm_grants_what_the_source_the_groups_and_the_open_rules_allow(app, client, service, allow, by):
    crew = app.groups.create(by, "crew")
    allow(crew, "crew/app", "push")
    allow(REGISTERED_ID, "shared/app")
    wanted = [f"repository:{name}:pull,push" for name in ("team/app", "crew/app", "shared/app", "xxy", "my/team/x")]
    shared = {"shared/app": ["pull"]}
    assert granted(ask(client, CAROL, *wanted)) == ("carol", {"team/app": ["pull", "push"]} | shared)
    assert granted(ask(client, ERIN, *wanted)) == ("erin", {"crew/app": ["pull", "push"]} | shared)
    assert granted(ask(client, "mallory:pass-word", *wanted))[1]["xxy"] == ["pull", "push"]
    assert granted(ask(client, CAROL, *wanted))[0] == "carol", "nobody gets the token of another"
    assert [asked.login for asked in service.asked] == ["carol", "mallory"]
    post = {"grant_type": "password", "username": "carol", "password": "carol-pass", "service": "container_registry"}
    assert granted(client.post(REALM, form=post)) == ("carol", {})


def test_a_token_answer_is_forgotten_as_soon_as_the_source_is_asked_again(app, client, service, clock):
    scope = "repository:team/app:pull"
    assert granted(ask(client, CAROL, scope))[1]
    assert forwarded(client, CAROL, "/v2/team/app/manifests/v1").status == 200
    service.people["carol:carol-pass"] = []
    clock.pass_time(60)
    assert granted(ask(client, CAROL, scope)) == ("carol", {})
    assert forwarded(client, CAROL, "/v2/team/app/manifests/v1").status == 403
    del service.people["carol:carol-pass"]
    clock.pass_time(60)
    assert ask(client, CAROL, scope).status == 401
    assert forwarded(client, CAROL, "/v2/team/app/manifests/v1").status == 401


def test_what_changes_here_holds_for_them_with_the_next_request(app, client, allow, by):
    crew = app.groups.create(by, "crew")
    rule = allow(crew, "crew/app")
    assert granted(ask(client, ERIN, "repository:crew/app:pull"))[1]
    app.rules.update(rule.id, by, is_disabled=True)
    assert not granted(ask(client, ERIN, "repository:crew/app:pull"))[1]
    app.rules.update(rule.id, by, is_disabled=False)
    app.groups.delete(crew.id, by)
    assert not granted(ask(client, ERIN, "repository:crew/app:pull"))[1]


def test_the_api_can_be_read_as_a_plain_user_and_nothing_else(app, client, service):
    app.synchronisation.run("test")
    rows = client.get("/api/v1/registry/catalog", basic=CAROL).json["data"]
    assert [row["repository_name"] for row in rows] == ["team/app"]
    assert client.get("/auth/user", basic=CAROL).json["id"] == "external_carol"
    assert client.get("/api/v1/users", basic="mallory:pass-word").status == 403
    posted = client.post("/api/v1/registry/events", basic=CAROL, body=b'{"events": []}')
    assert (posted.status, "accounts of this server" in posted.json["message"]) == (403, True)
    token = client.post("/api/v1/tokens", basic=CAROL, json={"name": "ci", "expires_at": None})
    assert (token.status, "accounts of this server" in token.json["message"]) == (403, True)
    assert client.get("/api/v1/tokens", basic=CAROL).json["data"] == []


def test_an_access_token_of_a_local_account_works_while_sources_fail_and_is_shown_to_none(
    app, client, service, alice, by
):
    secret = app.access_tokens.create(alice, by, "ci", (), None)[1]
    service.fault = HANG_UP
    assert ask(client, f"alice:{secret}").status == 200
    assert ask(client, f"alice:{secret[:-4]}0000").status == 401
    assert service.asked == []


def test_the_pages_are_for_local_accounts_and_say_so(app, client):
    client.get("/login")
    visitor = {"csrf": csrf(client), "login": "carol", "password": "carol-pass"}
    answer = client.post("/login", form=visitor)
    assert (answer.status, "JWT" in client.cookies) == (403, False)
    assert "this is for accounts of this server; yours comes from elsewhere" in answer.text.replace("This", "this")
    answer = client.post("/auth/local/login", form={"user": "carol", "passwd": "carol-pass"})
    assert (answer.status, "JWT" in client.cookies) == (403, False)
    for page in ("/", "/repos", "/account", "/help"):
        assert client.get(page, basic=CAROL).status == 403


def csrf(client: Client) -> str:
    return client.get("/login").text.partition('name="csrf" value="')[2].partition('"')[0]


def test_wrong_credentials_are_refused_counted_and_noted_as_local_ones_are(app, client, alice):
    assert ask(client, "erin:wrong").json == ask(client, "carol:wrong").json == ask(client, "alice:wrong").json
    assert [ask(client, "carol:wrong").status for _ in range(3)] == [401, 401, 429]
    noted = app.activities.list(Listing(filters={"event": "sign-in failed"})).rows
    assert {entry.actor for entry in noted} == {"alice", "carol", "erin"}


@pytest.mark.parametrize("fault", [(500, b"oops", {}), (200, b"<html>", {}), HANG_UP])
def test_a_service_that_fails_lets_nobody_in_is_told_and_is_no_guess(app, client, service, alice, allow, fault):
    allow(EVERYONE_ID, "open/app")
    service.fault = fault
    for _ in range(12):
        refused = ask(client, CAROL, "repository:open/app:pull")
        assert (refused.status, refused.header("WWW-Authenticate")) == (503, None)
    assert refused.json == {"errors": [{"code": "UNAVAILABLE", "message": NOT_NOW, "detail": None}]}
    assert forwarded(client, CAROL, "/v2/").status == 503
    assert client.get("/api/v1/registry/catalog", basic=CAROL).json["message"] == NOT_NOW
    page = client.post("/login", form={"csrf": csrf(client), "login": "carol", "password": "carol-pass"})
    assert (page.status, NOT_NOW[5:] in page.text) == (503, True)
    for local in (f"alice:{PASSWORD}", ADMIN, ERIN):
        assert ask(client, local).status == 200
    assert ask(client, "alice:wrong").status == 401
    service.heal()
    assert ask(client, CAROL).status == 200, "nothing of that counts as a failure of hers"


def test_what_is_known_by_the_source_takes_no_computing_to_sort(app, client, clock):
    def is_costly() -> bool:
        class Request:
            command, path, headers = "GET", REALM, {"AUTHORIZATION": "Basic Y2Fyb2w6Y2Fyb2wtcGFzcw=="}

        return app.reception.is_costly(Request)

    assert is_costly()
    ask(client, CAROL)
    assert not is_costly()
    clock.pass_time(60)
    assert is_costly()


def test_the_setup_asks_each_source_without_credentials(app, service, tmp_path):
    def found():
        return next(result for result in app.checks.run() if result.name == "identity")

    assert found().state is State.OK
    assert [(fact.label, fact.text) for fact in found().facts] == [
        ("Identity program", f"{tmp_path}/identity.sh"),
        ("Identity service", service.url),
    ]
    assert {asked.login for asked in service.asked} == {""}
    service.fault = (500, b"", {})
    assert (found().state, found().says) == (State.BAD, "Identity service: it answered with status 500")
    (tmp_path / "identity.sh").chmod(0o644)
    assert found().says == "Identity program: it is no file that this server may run"
