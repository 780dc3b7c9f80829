"""Access tokens and robots, at every door that takes them and at those that must not."""

import re
from base64 import b64encode
from pathlib import Path

import jwt
import pytest

from regadmin.app import App
from regadmin.entities import AccessToken, Actor, Descriptor, ImageConfig, Manifest, Reach, Role
from regadmin.services.access_tokens import MOST_TOKENS, PREFIX
from regadmin.services.imports import read
from regadmin.store.listing import Listing
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD
from tests.web.test_realm import REALM, ask, granted

TOKENS = "/api/v1/tokens"
DAY = 86_400
PULL, PUSH = "repository:team/app:pull", "repository:team/app:pull,push"
DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def alice(alice, allow):
    """She may push in `team` and pull `web/app`."""
    allow(alice, "team/*", "push")
    allow(alice, "web/app")
    return alice


@pytest.fixture
def make(app, by):
    """`make(alice, Reach("team/app", "pull"), days=7)`: the secret of a new token."""

    def make(owner, *scope: Reach, days: int | None = 30) -> str:
        expires_at = None if days is None else app.store.now() + days * DAY
        return app.access_tokens.create(owner, by, "ci", scope, expires_at)[1]

    return make


@pytest.fixture
def robot(app, by, allow):
    robot = app.users.create(by, "", login="robot_ci", is_robot=True)
    allow(robot, "team/*", "push")
    return robot


def login(client: Client, name: str, secret: str, *scopes: str) -> Answer:
    return ask(client, *scopes, basic=f"{name}:{secret}")


def expiry(answer: Answer) -> int:
    return jwt.decode(answer.json["token"], options={"verify_signature": False})["exp"]


def csrf(client: Client, path: str) -> str:
    return re.search(r'name="csrf" value="(\w+)"', client.get(path).text)[1]


class TestAtTheRegistry:
    def test_it_is_a_password_with_at_most_the_rights_of_its_owner(self, app, client, alice, make, by):
        everything, narrow = make(alice), make(alice, Reach("team/app", "pull"), Reach("other/**", "*"))
        assert granted(login(client, "alice", everything, PUSH)) == {"repository:team/app": ["pull", "push"]}
        assert granted(login(client, "alice", narrow, PUSH)) == {"repository:team/app": ["pull"]}
        for scope in ("repository:web/app:pull", "repository:other/app:pull", "registry:catalog:*"):
            assert granted(login(client, "alice", narrow, scope)) == {}
        for rule in app.users.list_rules(alice):
            app.rules.delete(rule.id, by)
        assert granted(login(client, "alice", everything, PUSH)) == {}

    def test_one_of_an_admin_does_no_more_than_its_scope(self, app, client, make):
        admin = app.store.users.find_login("admin")[0]
        secret = make(admin, Reach("team/**", "push"))
        asked = login(client, "admin", secret, "repository:team/app:*", "repository:web/app:*", "registry:catalog:*")
        assert granted(asked) == {"repository:team/app": ["pull", "push"]}

    def test_tokens_of_one_owner_are_not_mixed_up(self, client, alice, make):
        wide, narrow = make(alice), make(alice, Reach("web/*", "pull"))
        for _ in range(2):
            assert granted(login(client, "alice", wide, PULL)) == {"repository:team/app": ["pull"]}
            assert granted(login(client, "alice", narrow, PULL)) == {}
            assert granted(login(client, "alice", PASSWORD, PULL)) == {"repository:team/app": ["pull"]}

    def test_a_form_and_a_proxy_take_it_too(self, client, alice, make):
        secret = make(alice, Reach("team/app", "pull"))
        form = {"grant_type": "password", "username": "alice", "password": secret, "service": "", "scope": PUSH}
        assert granted(client.post("/api/v1/registry/auth", form=form)) == {"repository:team/app": ["pull"]}

        def forward(method: str) -> int:
            headers = {"X-Original-Method": method, "X-Original-URI": "/v2/team/app/manifests/v1"}
            return client.get("/api/v1/forward", headers=headers, basic=f"alice:{secret}").status

        assert (forward("GET"), forward("PUT")) == (200, 403)

    @pytest.mark.parametrize("end", ["revoked", "blocked", "deleted"])
    def test_it_ends_at_once(self, app, client, alice, make, by, end):
        secret = make(alice)
        for _ in range(2):
            assert login(client, "alice", secret, PULL).status == 200
        if end == "revoked":
            app.access_tokens.revoke(alice, app.access_tokens.list_of(alice)[0].token.id, by)
        elif end == "blocked":
            app.users.update(alice.id, by, is_blocked=True)
        else:
            app.users.delete(alice.id, by)
        assert login(client, "alice", secret, PULL).status == 401

    def test_nothing_outlives_it(self, client, alice, make, clock):
        """Neither a signed token nor an answer that is remembered: of the realm, or for a proxy."""
        secret, start = make(alice, days=1), clock.now
        original = {"X-Original-Method": "GET", "X-Original-URI": "/v2/team/app/manifests/v1"}

        def forward() -> Answer:
            return client.get("/api/v1/forward", headers=original, basic=f"alice:{secret}")

        assert expiry(login(client, "alice", secret, PULL)) == start + 900
        clock.pass_time(DAY - 100)
        answer = login(client, "alice", secret, PULL)
        assert (expiry(answer), answer.json["expires_in"]) == (start + DAY, 100)
        assert forward().status == 200
        clock.pass_time(100)
        answer = login(client, "alice", secret, PULL)
        assert answer.status == 401
        assert "time of this access token is over" in answer.text
        assert forward().status == 401

    def test_it_belongs_to_one_login(self, client, alice, add_user, make):
        add_user("bob")
        secret = make(alice)
        for name in ("bob", "Alice", "nobody", ""):
            assert login(client, name, secret, PULL).status == 401
        assert login(client, "alice", secret[:-1] + "!", PULL).status == 401

    def test_a_password_of_its_form_still_is_a_password(self, app, client, by, alice):
        odd = PREFIX + "a" * 32
        app.users.update(alice.id, by, odd)
        assert login(client, "alice", odd, PULL).status == 200

    def test_the_last_use_is_noted_with_its_address(self, app, client, alice, make, clock):
        secret, start = make(alice), clock.now
        client.address = "198.51.100.7"
        login(client, "alice", secret, PULL)
        clock.pass_time(30)
        login(client, "alice", secret, PULL)
        (listed,) = app.access_tokens.list_of(alice)
        assert (listed.used_at, listed.used_from) == (start, "198.51.100.7")
        clock.pass_time(30)
        # Answered from memory, and noted all the same.
        login(client, "alice", secret, PULL)
        assert app.access_tokens.list_of(alice)[0].used_at == start + 60
        assert app.users.find_summary(alice.id).used_at == start + 60


class TestGuessing:
    def test_wrong_ones_are_slowed_down_as_passwords_are(self, client, alice):
        statuses = [login(client, "alice", f"{PREFIX}{number:032}").status for number in range(20)]
        assert statuses[0] == 401
        assert statuses[-1] == 429

    def test_a_good_one_does_not_clear_the_way_to_its_owners_password(self, client, alice, make):
        secret, statuses = make(alice), []
        for number in range(20):
            statuses.append(login(client, "alice", f"guess {number}").status)
            login(client, "alice", secret)
        assert 429 in statuses

    def test_a_good_one_costs_no_bcrypt(self, app, client, alice, make, monkeypatch):
        secret = make(alice)
        monkeypatch.setattr(app.users, "authenticate", lambda *credentials: pytest.fail("a password was looked at"))
        assert login(client, "alice", secret, PULL).status == 200

    def test_a_good_one_does_not_queue_with_passwords_not_even_the_first_time(self, app, alice, make):
        def is_costly(secret: str, login: str = "alice") -> bool:
            class Request:
                command, path = "GET", REALM
                headers = {"AUTHORIZATION": "Basic " + b64encode(f"{login}:{secret}".encode()).decode()}

            return app.reception.is_costly(Request)

        secret = make(alice)
        costs = [is_costly(each) for each in (secret, PASSWORD, secret[:-1], secret.swapcase(), PREFIX + "a" * 32)]
        assert costs == [False, True, True, True, True]
        # As a password of somebody else, whom another source of identity may have to be asked about.
        assert is_costly(secret, "bob")
        app.users.update(alice.id, Actor("admin"), is_blocked=True)
        assert is_costly(secret)
        app.users.update(alice.id, Actor("admin"), is_blocked=False)
        assert not is_costly(secret)
        app.access_tokens.revoke(alice, 1, Actor("alice"))
        assert is_costly(secret)


class TestWhatItDoesNotOpen:
    def test_it_signs_nobody_in(self, app, client, alice, make):
        secret = make(alice)
        form = {"user": "alice", "passwd": secret}
        assert client.post("/auth/local/login", form=form).status == 403
        answer = client.post("/login", form={"login": "alice", "password": secret, "csrf": csrf(client, "/login")})
        assert answer.status == 403
        assert "access token" in answer.text
        assert "JWT" not in client.cookies

    def test_it_reads_the_catalog_as_far_as_it_reaches(self, app, script, allow, alice, make, add_user):
        for name in ("team/app", "web/app", "hidden/app"):
            media_type = "application/vnd.oci.image.manifest.v1+json"
            manifest = Manifest(DIGEST, media_type, "image", b"{}", config=Descriptor(DIGEST, 1))
            app.store.repositories.save_manifest(name, manifest, ImageConfig("linux/amd64", 1, b"{}"))
            app.store.repositories.point_tag(name, "v1", DIGEST)

        def seen(login: str, secret: str) -> list[str]:
            answer = script(login, secret).get("/api/v1/registry/catalog")
            assert answer.status == 200, answer.text
            return sorted(row["repository_name"] for row in answer.json["data"])

        boss = add_user("boss", Role.MANAGER)
        admin = app.store.users.find_login("admin")[0]
        assert seen("alice", make(alice)) == ["team/app", "web/app"]
        assert seen("alice", make(alice, Reach("web/*", "pull"), Reach("hidden/*", "pull"))) == ["web/app"]
        assert seen("boss", make(boss)) == []
        assert seen("admin", make(admin)) == ["hidden/app", "team/app", "web/app"]
        assert seen("admin", make(admin, Reach("hidden/*", "push"))) == ["hidden/app"]


class TestRobots:
    def test_one_has_rules_and_tokens_and_no_password(self, app, client, robot, make):
        secret = make(robot)
        assert granted(login(client, "robot_ci", secret, PUSH)) == {"repository:team/app": ["pull", "push"]}
        for password in ("", "x", PASSWORD):
            assert login(client, "robot_ci", password, PULL).status == 401
        assert "robot_ci" not in app.htpasswd.text()

    def test_nobody_gives_it_a_password_a_role_or_another_nature(self, admin, alice, robot):
        changes = ({"password": PASSWORD}, {"role": "admin"}, {"robot": False})
        assert [admin.put(f"/api/v1/users/{robot.id}", json=change).status for change in changes] == [422, 422, 422]
        assert admin.put(f"/api/v1/users/{alice.id}", json={"robot": True}).status == 422
        row = admin.get(f"/api/v1/users/{robot.id}").json["data"]
        assert admin.put(f"/api/v1/users/{robot.id}", json=row | {"name": "CI"}).json["data"]["name"] == "CI"

    @pytest.mark.parametrize("name", ["robot$ci", "robot ci", "-ci", "ci;rm", ".", "é"])
    def test_its_login_is_safe_for_shells(self, admin, name):
        answer = admin.post("/api/v1/users", json={"login": name, "robot": True})
        assert (answer.status, list(answer.json["data"]["fields"])) == (422, ["login"])
        assert admin.post("/api/v1/users", json={"login": "robot_ci-1.0", "robot": True}).status == 200

    def test_an_admin_makes_it_and_its_tokens_on_its_page(self, app, browser, add_user, client):
        add_user("root", Role.ADMIN)
        root = browser("root")
        form = {"login": "robot_ci", "role": "robot", "csrf": csrf(root, "/users/new")}
        refused = root.post("/users/new", form=form | {"password": PASSWORD})
        assert (refused.status, "robot_ci" in root.get("/users").text) == (422, False)
        page = root.post("/users/new", form=form).header("Location")
        assert re.search(r"robot_ci</a>.*?Robot", root.get("/users").text, re.DOTALL)
        assert 'name="password"' not in root.get(f"{page}/edit").text
        form = {"csrf": csrf(root, page), "name": "GitLab", "action": "all", "lifetime": "30"}
        shown = root.post(f"{page}/tokens/new", form=form).text
        secret = re.search(rf"{PREFIX}\w+", shown)[0]
        assert login(client, "robot_ci", secret).status == 200
        edit = {"csrf": form["csrf"], "name": "Build", "is_blocked": "1"}
        assert root.post(f"{page}/edit", form=edit).status == 303
        assert login(client, "robot_ci", secret).status == 401

    def test_an_admin_makes_no_tokens_of_people_but_revokes_them(self, app, browser, add_user, alice, make, client):
        add_user("root", Role.ADMIN)
        secret, root, page = make(alice), browser("root"), f"/users/{alice.id}"
        form = {"csrf": csrf(root, page), "name": "mine now", "action": "all", "lifetime": "never"}
        assert root.post(f"{page}/tokens/new", form=form).status == 403
        assert f"{page}/tokens/new" not in root.get(page).text
        assert root.post(f"{page}/tokens/1/revoke", form=form).status == 303
        assert login(client, "alice", secret).status == 401
        latest = app.store.activity.list(Listing(filters={"event": "access token revoked"})).rows[0]
        assert (latest.actor, latest.object, latest.target) == ("root", "alice", ("user", alice.id))
        assert "Access token revoked" in root.get(page).text


class TestTheAccountPage:
    FORM = {"name": "laptop", "action": "pull", "repositories": "team/app\r\nweb/**", "lifetime": "date"}

    def test_a_token_is_made_shown_once_listed_and_revoked(self, app, client, alice, browser, clock):
        clock.now = 1_795_000_000
        page = browser("alice")
        form = self.FORM | {"csrf": csrf(page, "/account/tokens/new"), "date": "2026-12-31"}
        answer = page.post("/account/tokens/new", form=form)
        assert (answer.status, answer.header("Cache-Control")) == (200, "no-store")
        secret = re.search(rf"{PREFIX}\w+", answer.text)[0]
        assert "docker login --username alice 127.0.0.1:1" in answer.text
        assert secret not in page.get("/account").text
        assert "laptop" in page.get("/account").text
        assert granted(login(client, "alice", secret, PUSH)) == {"repository:team/app": ["pull"]}
        (listed,) = app.access_tokens.list_of(alice)
        assert listed.token.expires_at == 1_798_761_600  # the first second of 2027, UTC
        assert listed.token.scope == (Reach("team/app", "pull"), Reach("web/**", "pull"))
        revoke = f"/account/tokens/{listed.token.id}/revoke"
        assert "laptop" in page.get(revoke).text
        assert page.post(revoke, form={"csrf": "wrong"}).status == 403
        assert page.post(revoke, form=form).header("Location") == "/account"
        assert login(client, "alice", secret, PULL).status == 401

    def test_the_secret_is_kept_nowhere(self, app, alice, browser, tmp_path: Path):
        page = browser("alice")
        form = self.FORM | {"csrf": csrf(page, "/account/tokens/new"), "lifetime": "7"}
        secret = re.search(rf"{PREFIX}\w+", page.post("/account/tokens/new", form=form).text)[0]
        app.store.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
        entry = app.store.activity.list(Listing(filters={"event": "access token created"})).rows[0]
        assert (entry.actor, entry.object) == ("alice", "alice")
        assert entry.details["scope"] == ["team/app (pull)", "web/** (pull)"]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "x" * 65}, "name"),
            ({"action": "fly"}, "action"),
            ({"repositories": "Team App!"}, "repositories"),
            ({"repositories": "/(a+)+/"}, "repositories"),
            ({"repositories": " ".join(["a"] * 51)}, "repositories"),
            ({"lifetime": "1000", "date": ""}, "lifetime"),
            ({"date": "2001-01-01"}, "date"),
            ({"date": "9999-12-31"}, "date"),
            ({"date": "soon"}, "date"),
            ({"lifetime": "never"}, "date"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field(self, app, alice, browser, change, field):
        page = browser("alice")
        form = self.FORM | {"csrf": csrf(page, "/account/tokens/new"), "date": "2100-01-01"} | change
        answer = page.post("/account/tokens/new", form=form)
        assert answer.status == 422
        assert f'href="#{field}"' in answer.text
        assert app.access_tokens.list_of(alice) == []

    def test_others_cannot_revoke_it_and_a_foreign_form_makes_none(self, app, alice, add_user, browser, make):
        make(alice)
        add_user("bob")
        bob = browser("bob")
        form = self.FORM | {"csrf": csrf(bob, "/account"), "lifetime": "never"}
        assert bob.get("/account/tokens/1/revoke").status == 404
        assert bob.post("/account/tokens/1/revoke", form=form).status == 404
        assert browser("alice").post("/account/tokens/new", form=form).status == 403
        assert len(app.access_tokens.list_of(alice)) == 1

    def test_in_basic_mode_it_says_that_the_registry_does_not_take_them(self, settings, clock, tmp_path):
        basic = {"registry__auth_type": "basic", "registry__login": "own", "registry__password": "own-password"}
        app = App(settings(**basic, registry__htpasswd=tmp_path / "htpasswd"), clock)
        client = Client(app.wsgi, basic="admin:correct horse")
        assert "access tokens and robots do not work there" in client.get("/account/tokens/new").text


class TestTheApi:
    def test_a_token_is_made_listed_and_revoked(self, client, script, alice, clock):
        me, scope = script("alice"), [{"repository": "team/*", "action": "push"}]
        made = me.post(TOKENS, json={"name": "ci", "scope": scope, "expires_at": clock.now + DAY}).json["data"]
        assert granted(login(client, "alice", made["secret"], PUSH)) == {"repository:team/app": ["pull", "push"]}
        answer = me.get(TOKENS)
        assert answer.header("Content-Range") == "tokens 0-0/1"
        (row,) = answer.json["data"]
        assert row == {key: value for key, value in made.items() if key != "secret"} | {
            "used_at": clock.now,
            "used_from": "192.0.2.1",
        }
        assert me.delete(f"{TOKENS}/{row['id']}").status == 200
        assert me.delete(f"{TOKENS}/{row['id']}").status == 404
        assert login(client, "alice", made["secret"]).status == 401

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": "ci"}, "expires_at"),
            ({"name": "ci", "expires_at": 1}, "expires_at"),
            ({"name": "ci", "expires_at": 2**53}, "expires_at"),
            ({"name": "", "expires_at": None}, "name"),
            ({"name": "ci", "expires_at": None, "scope": "all"}, "scope"),
            ({"name": "ci", "expires_at": None, "scope": [{"repository": "a"}]}, "scope"),
            ({"name": "ci", "expires_at": None, "scope": [{"repository": "a", "action": "fly"}]}, "scope"),
        ],
    )
    def test_what_is_wrong_is_named(self, script, alice, body, field):
        answer = script("alice").post(TOKENS, json=body)
        assert (answer.status, list(answer.json["data"]["fields"])) == (422, [field])

    def test_nobody_keeps_more_than_a_person_can_look_after(self, app, script, alice, make):
        for number in range(MOST_TOKENS):
            app.store.access_tokens.create(AccessToken(0, alice.id, f"ci {number}"), bytes([number]))
        answer = script("alice").post(TOKENS, json={"name": "ci", "expires_at": None})
        assert answer.status == 409


def test_a_robot_moves_to_another_server_without_its_tokens(app, robot, make, settings, clock, tmp_path):
    make(robot)
    file = tmp_path / "export.yml"
    app.exports.write(file)
    other = App(settings(store__embed__path=tmp_path / "other.db"), clock)
    other.imports.run(read("regadmin", file), Actor("command line"), is_applied=True)
    moved = other.store.users.find_login("robot_ci")[0]
    assert (moved.is_robot, moved.role) == (True, Role.USER)
    assert other.access_tokens.list_of(moved) == []
