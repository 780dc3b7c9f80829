"""Forward authentication, as a proxy sees it."""

import base64

import jwt
import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Role
from regadmin.services.users import Users
from regadmin.web.forward import PATH
from tests.conftest import ADMIN
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD

ALICE = f"alice:{PASSWORD}"
MANIFEST = "/v2/team/app/manifests/v1"
UPLOADS = "/v2/team/app/blobs/uploads/"


@pytest.fixture
def team_app(alice, allow):
    """Alice may push to team/app, and everybody may pull open/app."""
    allow(EVERYONE_ID, "open/app")
    return allow(alice, "team/app", "push")


def ask(client: Client, method: str, address: str, basic: str = "", prefix: str = "X-Original", **options) -> Answer:
    headers = {f"{prefix}-Method": method, f"{prefix}-Uri": address} | options.pop("headers", {})
    return client.get(PATH, basic=basic, headers=headers, **options)


def granted(answer: Answer) -> tuple[str, list[str]]:
    """Subject and access of the token in the answer."""
    assert answer.status == 200, answer.text
    scheme, _, token = answer.header("Authorization").partition(" ")
    assert scheme == "Bearer"
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims["sub"], [f"{each['type']}:{each['name']}:{','.join(each['actions'])}" for each in claims["access"]]


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """The body is one that registry clients read, and stands in a header too, for nginx."""
    assert answer.status == status, answer.text
    assert answer.json["errors"][0]["code"] == code
    assert answer.header("X-Registry-Error") == answer.text
    assert answer.header("Authorization") is None
    assert (answer.header("WWW-Authenticate") or "").startswith('Basic realm="') is (status == 401)


@pytest.mark.parametrize("prefix", ["X-Original", "X-Forwarded"])
def test_the_token_is_for_the_request_and_for_nothing_else(client, team_app, prefix):
    assert granted(ask(client, "GET", MANIFEST, ALICE, prefix)) == ("alice", ["repository:team/app:pull"])
    assert granted(ask(client, "PUT", MANIFEST, ALICE, prefix)) == ("alice", ["repository:team/app:pull,push"])
    assert granted(ask(client, "GET", "/v2/_catalog", ADMIN, prefix)) == ("admin", ["registry:catalog:*"])


def test_a_request_is_read_as_traefik_documents_its_headers(client, team_app):
    around = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example.com", "X-Forwarded-For": "192.0.2.7"}
    address = "/v2/team/app/blobs/uploads/?mount=sha256%3A00&from=open%2Fapp"
    answer = ask(client, "POST", address, ALICE, "X-Forwarded", headers=around)
    assert granted(answer)[1] == ["repository:team/app:pull,push", "repository:open/app:pull"]
    assert_refused(ask(client, "POST", address, "", "X-Forwarded", headers=around), 401, "UNAUTHORIZED")
    assert_refused(ask(client, "DELETE", MANIFEST, ALICE, "X-Forwarded", headers=around), 403, "DENIED")


def test_signing_in_gives_a_token_that_allows_nothing(client, alice):
    assert granted(ask(client, "GET", "/v2/", ALICE)) == ("alice", [])


def test_without_credentials_there_is_a_challenge_at_the_base_and_access_to_what_is_open(client, team_app):
    assert_refused(ask(client, "GET", "/v2/"), 401, "UNAUTHORIZED")
    assert granted(ask(client, "GET", "/v2/open/app/manifests/v1")) == ("", ["repository:open/app:pull"])
    assert_refused(ask(client, "GET", MANIFEST), 401, "UNAUTHORIZED")
    assert_refused(ask(client, "PUT", "/v2/open/app/manifests/v1"), 401, "UNAUTHORIZED")


def test_empty_credentials_are_none(client, team_app):
    assert granted(ask(client, "GET", "/v2/open/app/manifests/v1", ":"))[0] == ""
    assert_refused(ask(client, "GET", "/v2/", ":"), 401, "UNAUTHORIZED")


@pytest.mark.parametrize("basic", ["alice:wrong password", "nobody:at all", "alice:", ":x"])
@pytest.mark.parametrize("address", ["/v2/", "/v2/open/app/manifests/v1", "/v2/../x"])
def test_wrong_credentials_are_refused_and_never_anonymous(client, team_app, basic, address):
    assert_refused(ask(client, "GET", address, basic), 401, "UNAUTHORIZED")


def test_another_kind_of_credentials_is_refused(client, team_app):
    token = ask(client, "GET", MANIFEST, ALICE).header("Authorization")
    for header in (token, "Basic !!!", "Digest x"):
        answer = ask(client, "GET", "/v2/open/app/manifests/v1", headers={"Authorization": header})
        assert_refused(answer, 401, "UNAUTHORIZED")


def test_a_session_is_no_credential_here(browser, team_app):
    assert_refused(ask(browser("alice"), "GET", MANIFEST), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("DELETE", MANIFEST),
        ("GET", "/v2/secret/app/manifests/v1"),
        ("POST", "/v2/secret/app/blobs/uploads/"),
        ("GET", "/v2/_catalog"),
        ("DELETE", f"{UPLOADS}0b5c"),
        ("POST", f"{UPLOADS}?mount=x&from=secret/app"),
        ("GET", f"{MANIFEST}?from=secret/app"),
        ("GET", "/v2/team/app/../../secret/app/manifests/v1"),
        ("OPTIONS", MANIFEST),
    ],
)
def test_more_than_the_rules_allow_is_denied_as_a_whole(client, team_app, method, address):
    assert_refused(ask(client, method, address, ALICE), 403, "DENIED")


def test_a_mount_needs_both_repositories(client, team_app, alice, allow):
    allow(alice, "base/image")
    answer = ask(client, "POST", f"{UPLOADS}?mount=x&from=base%2Fimage", ALICE)
    assert granted(answer)[1] == ["repository:team/app:pull,push", "repository:base/image:pull"]


@pytest.mark.parametrize("headers", [{}, {"X-Original-Method": "GET"}, {"X-Original-URI": "/v2/"}])
def test_a_proxy_that_names_no_request_is_told_so(client, alice, headers):
    answer = client.get(PATH, basic=ALICE, headers=headers)
    assert_refused(answer, 400, "UNSUPPORTED")
    assert "X-Original-URI" in answer.text


def test_a_client_that_names_another_request_than_its_proxy_is_denied(client, team_app):
    for proxys, clients in (("X-Original", "X-Forwarded"), ("X-Forwarded", "X-Original")):
        lie = {f"{clients}-Method": "GET", f"{clients}-Uri": MANIFEST}
        assert_refused(ask(client, "GET", "/v2/secret/app/tags/list", ALICE, proxys, headers=lie), 403, "DENIED")
        assert_refused(ask(client, "DELETE", MANIFEST, ALICE, proxys, headers=lie), 403, "DENIED")
        assert granted(ask(client, "GET", MANIFEST, ALICE, proxys, headers=lie))[0] == "alice"
        # Half a name is none.
        lie.popitem()
        assert granted(ask(client, "PUT", MANIFEST, ALICE, proxys, headers=lie))[0] == "alice"


def test_the_default_password_opens_nothing(settings, clock):
    client = Client(App(settings(store__admin_password="admin"), clock).wsgi)
    answer = ask(client, "GET", "/v2/", "admin:admin")
    assert_refused(answer, 403, "DENIED")
    assert "default password" in answer.text


def test_who_guesses_is_told_to_wait(client, team_app):
    for number in range(10):
        assert ask(client, "GET", "/v2/", f"nobody{number}:x").status == 401
    answer = ask(client, "GET", "/v2/", "nobody:x")
    assert_refused(answer, 429, "TOOMANYREQUESTS")
    assert int(answer.header("Retry-After")) > 0


# A push asks a dozen times


def test_credentials_are_looked_at_once_until_something_changes(client, app, team_app, by, monkeypatch):
    looked, authenticate = [], Users.authenticate

    def counting(self, login, password):
        looked.append(login)
        return authenticate(self, login, password)

    monkeypatch.setattr(Users, "authenticate", counting)
    for method, address in (("GET", "/v2/"), ("POST", UPLOADS), ("PUT", MANIFEST)):
        assert ask(client, method, address, ALICE).status == 200
    assert looked == ["alice"]
    app.rules.delete(team_app.id, by)
    assert_refused(ask(client, "PUT", MANIFEST, ALICE), 403, "DENIED")
    assert looked == ["alice"] * 2


def test_what_changes_about_a_user_holds_with_the_next_request(client, app, alice, team_app, by):
    assert ask(client, "GET", MANIFEST, ALICE).status == 200
    app.users.update(alice.id, by, password="another password")
    assert_refused(ask(client, "GET", MANIFEST, ALICE), 401, "UNAUTHORIZED")
    assert ask(client, "GET", MANIFEST, "alice:another password").status == 200
    app.users.update(alice.id, by, is_blocked=True)
    assert_refused(ask(client, "GET", MANIFEST, "alice:another password"), 401, "UNAUTHORIZED")
    app.users.update(alice.id, by, is_blocked=False, role=Role.ADMIN)
    assert ask(client, "DELETE", MANIFEST, "alice:another password").status == 200
    app.users.delete(alice.id, by)
    assert_refused(ask(client, "GET", MANIFEST, "alice:another password"), 401, "UNAUTHORIZED")


def test_the_same_token_serves_again_and_each_user_has_his_own(client, team_app):
    first, second, other = (ask(client, "GET", MANIFEST, basic) for basic in (ALICE, ALICE, ADMIN))
    assert first.header("Authorization") == second.header("Authorization")
    assert granted(other)[0] == "admin"


def test_the_log_names_the_user_also_when_he_is_known(settings, clock, app, add_user, tmp_path):
    add_user("alice")
    path = tmp_path / "access.log"
    client = Client(App(settings(logger__enabled=True, logger__file=path), clock).wsgi)
    for basic in (ALICE, ALICE, "", ":"):
        ask(client, "GET", "/v2/", basic)
    assert [line.split(" ")[2] for line in path.read_text().splitlines()] == ["alice", "alice", "-", "-"]


def test_the_header_is_read_as_it_was_sent(client, add_user, app, by):
    user = add_user("Jürgen")
    app.users.update(user.id, by, password="pass:wörd")
    sent = base64.b64encode("Jürgen:pass:wörd".encode()).decode()
    assert granted(ask(client, "GET", "/v2/", headers={"Authorization": f"bAsIc {sent}"}))[0] == "Jürgen"
