"""The main job, seen from outside: skopeo, a real registry, our server as its realm and its listener."""

import json
import signal

import pytest
import requests

from regadmin.entities import EVERYONE_ID, REGISTERED_ID
from tests.rigs import images
from tests.rigs.server import ADMIN, wait_until

ADMIN_CREDS = ":".join(ADMIN)
ALICE, BOB = "alice:alice-pass", "bob:bob's pass"


@pytest.fixture(scope="module")
def people(guarded):
    """Two users without any rule."""
    return {
        creds: guarded.server.create("users", login=creds.split(":")[0], password=creds.split(":")[1], role="user")
        for creds in (ALICE, BOB)
    }


@pytest.fixture
def image(tmp_path):
    """An image in skopeo's `dir:` layout."""

    def write(built=None):
        return images.write_dir(built or images.docker_image(), tmp_path / "image")

    return write


def allow(guarded, owner_id, name, action="pull", **more):
    fields = {"owner_id": owner_id, "resource_name": name, "action": action, "type": "repository"}
    return guarded.server.create("access", **fields | more)


def tag_row(guarded, name, tag):
    rows = guarded.server.catalog(repository_name=name, tag=tag)
    return rows[0] if rows else None


def test_admin_pushes_and_a_pull_only_user_pulls_but_cannot_push(guarded, people, skopeo, image, tmp_path):
    target = guarded.docker("team/app:v1")
    assert skopeo.copy(image(), target, creds=ADMIN_CREDS).returncode == 0
    assert skopeo.copy(target, f"dir:{tmp_path}/a", src_creds=ALICE).returncode != 0
    allow(guarded, people[ALICE], "team/app")
    assert skopeo.copy(target, f"dir:{tmp_path}/b", src_creds=ALICE).returncode == 0
    refused = skopeo.copy(image(images.docker_image("other")), target, creds=ALICE)
    assert refused.returncode != 0
    assert "denied" in refused.stderr or "unauthorized" in refused.stderr


def test_a_rule_comes_before_the_first_push(guarded, people, skopeo, image):
    target = guarded.docker("fresh/first:v1")
    assert skopeo.copy(image(), target, creds=BOB).returncode != 0
    allow(guarded, people[BOB], "fresh/*", "push")
    assert skopeo.copy(image(), target, creds=BOB).returncode == 0
    row = wait_until(lambda: tag_row(guarded, "fresh/first", "v1"))
    assert row["pushed_by"] == "bob"


def test_sharing_with_the_registered_admits_users_but_no_strangers(guarded, people, skopeo, image, tmp_path):
    target = guarded.docker("shared/registered:v1")
    skopeo.copy(image(), target, creds=ADMIN_CREDS)
    rule = allow(guarded, REGISTERED_ID, "shared/registered")
    assert skopeo.copy(target, f"dir:{tmp_path}/a", src_creds=ALICE).returncode == 0
    assert skopeo.copy(target, f"dir:{tmp_path}/b").returncode != 0
    guarded.server.call("PUT", f"/api/v1/access/{rule}", json={"disabled": True})
    assert skopeo.copy(target, f"dir:{tmp_path}/c", src_creds=ALICE).returncode != 0


def test_sharing_with_everybody_admits_strangers_and_users_but_lets_neither_push(
    guarded, people, skopeo, image, tmp_path
):
    target = guarded.docker("shared/everybody:v1")
    skopeo.copy(image(), target, creds=ADMIN_CREDS)
    allow(guarded, EVERYONE_ID, "shared/everybody")
    assert skopeo.copy(target, f"dir:{tmp_path}/a").returncode == 0
    assert skopeo.copy(target, f"dir:{tmp_path}/b", src_creds=ALICE).returncode == 0
    other = image(images.docker_image("other"))
    assert skopeo.copy(other, target).returncode != 0
    assert skopeo.copy(other, target, creds=ALICE).returncode != 0


def test_a_group_rule_holds_for_its_members_only(guarded, people, skopeo, image, tmp_path):
    target = guarded.docker("crew/tool:v1")
    skopeo.copy(image(), target, creds=ADMIN_CREDS)
    crew = guarded.server.create("groups", name="crew")
    allow(guarded, crew, "${group}/**", is_group=True)
    assert skopeo.copy(target, f"dir:{tmp_path}/a", src_creds=BOB).returncode != 0
    guarded.server.call("PUT", f"/api/v1/users/{people[BOB]}", json={"groups": [1, crew]})
    assert skopeo.copy(target, f"dir:{tmp_path}/b", src_creds=BOB).returncode == 0


@pytest.mark.parametrize(
    ("name", "build", "platforms"),
    [
        ("kinds/docker", images.docker_image, ["linux/amd64"]),
        ("kinds/oci", images.oci_image, ["linux/amd64"]),
        ("kinds/index", images.oci_index, ["linux/amd64", "linux/arm64/v8"]),
        ("kinds/list", images.docker_list, ["linux/amd64", "linux/arm64/v8"]),
    ],
)
def test_every_kind_of_image_is_listed_within_five_seconds(guarded, skopeo, image, name, build, platforms):
    built = build()
    copied = skopeo.copy(image(built), guarded.docker(f"{name}:v1"), creds=ADMIN_CREDS, all=True)
    assert copied.returncode == 0, copied.stderr
    row = wait_until(lambda: tag_row(guarded, name, "v1"), seconds=5)
    assert row["digest"] == built.digest
    assert row["size"] == built.size
    assert row["platforms"] == platforms
    assert row["raw"].encode() == built.raw
    assert row["pushed_by"] == "admin"


def test_a_tag_that_is_pushed_again_moves(guarded, skopeo, image):
    first, second = images.docker_image("first"), images.docker_image("the second one, which is longer")
    target = guarded.docker("moving/app:latest")
    skopeo.copy(image(first), target, creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "moving/app", "latest"))
    skopeo.copy(image(second), target, creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "moving/app", "latest")["digest"] == second.digest)
    assert tag_row(guarded, "moving/app", "latest")["size"] == second.size


def test_pulls_are_counted_and_our_own_requests_are_not(guarded, skopeo, image, tmp_path):
    target = guarded.docker("counted/app:v1")
    skopeo.copy(image(images.docker_image("counted")), target, creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "counted/app", "v1"))
    assert tag_row(guarded, "counted/app", "v1")["pull_counter"] == 0
    skopeo.copy(target, f"dir:{tmp_path}/pulled", src_creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "counted/app", "v1")["pull_counter"] == 1)
    assert guarded.server.call("POST", "/api/v1/registry/sync").status_code == 202
    wait_until(lambda: guarded.server.call("GET", "/api/v1/registry/sync").json()["data"]["state"] == "complete", 20)
    assert tag_row(guarded, "counted/app", "v1")["pull_counter"] == 1


def test_deleting_with_skopeo_takes_the_tags_of_the_digest_from_the_index(guarded, people, skopeo, image):
    target = guarded.docker("doomed/app:v1")
    skopeo.copy(image(images.docker_image("doomed")), target, creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "doomed/app", "v1"))
    allow(guarded, people[ALICE], "doomed/*", "push")
    assert skopeo.delete(target, creds=ALICE).returncode != 0
    assert skopeo.delete(target, creds=ADMIN_CREDS).returncode == 0
    wait_until(lambda: not tag_row(guarded, "doomed/app", "v1"))


def test_deleting_through_the_api_deletes_in_the_registry(guarded, skopeo, image):
    target = guarded.docker("doomed/api:v1")
    built = images.docker_image("doomed by api")
    skopeo.copy(image(built), target, creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "doomed/api", "v1"))
    params = {"name": "doomed/api", "digest": built.digest}
    answer = guarded.server.call("DELETE", "/api/v1/registry/catalog/doomed/api", params=params)
    assert answer.status_code == 200, answer.text
    assert not tag_row(guarded, "doomed/api", "v1")
    assert skopeo.inspect(target, creds=ADMIN_CREDS).returncode != 0


def test_untagging_leaves_the_sibling_alone(guarded, skopeo, image):
    built = images.docker_image("siblings")
    for tag in ("a", "b"):
        skopeo.copy(image(built), guarded.docker(f"sibling/app:{tag}"), creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "sibling/app", "b"))
    answer = guarded.server.call(
        "DELETE", "/api/v1/registry/catalog/sibling/app", params={"name": "sibling/app", "tag": "a"}
    )
    assert answer.status_code == 200, answer.text
    assert not tag_row(guarded, "sibling/app", "a")
    assert skopeo.inspect(guarded.docker("sibling/app:b"), creds=ADMIN_CREDS).returncode == 0
    assert skopeo.inspect(guarded.docker("sibling/app:a"), creds=ADMIN_CREDS).returncode != 0


def test_login_succeeds_with_the_password_and_fails_without(guarded, people, skopeo):
    assert skopeo.login(guarded.registry.host, "alice", "alice-pass").returncode == 0
    assert skopeo.login(guarded.registry.host, "alice", "wrong").returncode != 0


def test_a_changed_password_and_a_block_hold_with_the_next_request(guarded, skopeo, image, tmp_path):
    carol = guarded.server.create("users", login="carol", password="carol-1", role="user")
    target = guarded.docker("carols/app:v1")
    skopeo.copy(image(), target, creds=ADMIN_CREDS)
    allow(guarded, carol, "carols/app")
    assert skopeo.copy(target, f"dir:{tmp_path}/a", src_creds="carol:carol-1").returncode == 0
    guarded.server.call("PUT", f"/api/v1/users/{carol}", json={"password": "carol-2"})
    assert skopeo.copy(target, f"dir:{tmp_path}/b", src_creds="carol:carol-1").returncode != 0
    assert skopeo.copy(target, f"dir:{tmp_path}/c", src_creds="carol:carol-2").returncode == 0
    guarded.server.call("PUT", f"/api/v1/users/{carol}", json={"blocked": True})
    assert skopeo.copy(target, f"dir:{tmp_path}/d", src_creds="carol:carol-2").returncode != 0


def test_the_catalog_is_for_those_whom_a_rule_lets_list_it(guarded, people):
    def catalog(creds):
        params = {"service": "container_registry", "scope": "registry:catalog:*"}
        answer = guarded.server.call("GET", "/api/v1/registry/auth", tuple(creds.split(":")), params=params)
        bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
        return requests.get(guarded.registry.url + "/v2/_catalog", headers=bearer, timeout=10).status_code

    assert catalog(ADMIN_CREDS) == 200
    assert catalog(ALICE) == 401
    allow(guarded, people[ALICE], "catalog", "*", type="registry")
    assert catalog(ALICE) == 200


def test_a_user_lists_only_what_he_may_pull(guarded, people, skopeo, image):
    skopeo.copy(image(), guarded.docker("visible/yes:v1"), creds=ADMIN_CREDS)
    skopeo.copy(image(), guarded.docker("visible/no:v1"), creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "visible/no", "v1"))
    allow(guarded, people[BOB], "visible/y*")
    rows = guarded.server.call(
        "GET", "/api/v1/registry/catalog", tuple(BOB.split(":")), params={"filter": json.dumps({"q": "visible"})}
    ).json()
    assert [row["repository_name"] for row in rows["data"]] == ["visible/yes"]
    assert rows["total"] == 1


def test_a_restart_loses_nothing_and_sigterm_ends_with_status_zero(guarded, skopeo, image):
    skopeo.copy(image(), guarded.docker("kept/app:v1"), creds=ADMIN_CREDS)
    wait_until(lambda: tag_row(guarded, "kept/app", "v1"))
    before = guarded.server.catalog()
    assert guarded.server.stop(signal.SIGTERM) == 0
    guarded.server.start()
    assert guarded.server.catalog() == before
    assert skopeo.inspect(guarded.docker("kept/app:v1"), creds=ADMIN_CREDS).returncode == 0


def test_what_is_pushed_while_the_server_is_away_arrives_by_itself(guarded, skopeo, image):
    """The registry keeps the events and sends them again; the token was fetched before."""
    target = guarded.docker("late/app:v1")
    built = images.docker_image("late")
    params = {"service": "container_registry", "scope": "repository:late/app:pull,push"}
    token = guarded.server.call("GET", "/api/v1/registry/auth", params=params).json()["token"]
    guarded.server.stop()
    images.push(guarded.registry.url, "late/app", "v1", built, f"Bearer {token}")
    guarded.server.start()
    row = wait_until(lambda: tag_row(guarded, "late/app", "v1"), 15)
    assert row["digest"] == built.digest
    assert skopeo.inspect(target, creds=ADMIN_CREDS).returncode == 0
