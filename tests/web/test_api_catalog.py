"""`/api/v1/registry`: the catalog, configurations, deletions, health and synchronisation"""

import base64
import json
import time

import pytest

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Role
from tests.conftest import ADMIN
from tests.rigs import images
from tests.rigs.client import Client
from tests.rigs.standin import Reply, StandinRegistry

CATALOG, BLOBS = "/api/v1/registry/catalog", "/api/v1/registry/catalog/blobs"
HEALTH, SYNC = "/api/v1/registry/health", "/api/v1/registry/sync"
NAME = "team/app"
IMAGE, INDEX = images.docker_image(), images.oci_index()


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        registry.put(NAME, "v1", IMAGE)
        registry.put(NAME, "v2", images.docker_image("a longer text"))
        registry.put("open/app", "latest", INDEX)
        yield registry


@pytest.fixture
def empty(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def app(empty) -> App:
    """Knows what the registry holds. Alice may pull team/app, and everybody open/app."""
    assert empty.synchronisation.run("test").state == "complete"
    return empty


@pytest.fixture
def admin_of_empty(empty) -> Client:
    return Client(empty.wsgi, basic=ADMIN)


@pytest.fixture
def script_of_alice(alice, allow, script) -> Client:
    allow(alice, NAME)
    allow(EVERYONE_ID, "open/*")
    return script("alice")


def asked(client: Client, **parameters):
    texts = {name: value if name == "group_by" else json.dumps(value) for name, value in parameters.items()}
    answer = client.get(CATALOG, params=texts)
    assert answer.status == 200, answer.text
    return answer


def rows(client: Client, **parameters) -> list[dict]:
    return asked(client, **parameters).json["data"]


def tags(client: Client, **parameters) -> list[str]:
    return [f"{row['repository_name']}:{row['tag']}" for row in rows(client, group_by="none", **parameters)]


# The catalog


def test_a_row_for_each_tag_has_the_fields_of_the_original(admin, clock):
    row = rows(admin, group_by="none", filter={"tag": "v1"})[0]
    config_digest = next(d for d in IMAGE.blobs if IMAGE.document["config"]["digest"] == d)
    known = {
        "id": row["id"],
        "repository_name": NAME,
        "tag": "v1",
        "digest": IMAGE.digest,
        "config_digest": config_digest,
        "size": IMAGE.size,
        "pull_counter": 0,
        "timestamp": int(clock.now),
        "raw": IMAGE.raw.decode(),
    }
    assert row == row | known
    assert isinstance(row["id"], int)


def test_an_index_is_a_row_with_its_own_digest_and_the_size_of_all_platforms(admin):
    row = rows(admin, group_by="none", filter={"repository_name": "open/app"})[0]
    assert (row["digest"], row["size"], row["config_digest"]) == (INDEX.digest, INDEX.size, "")
    assert row["platforms"] == list(images.PLATFORMS)


def test_without_grouping_parameters_there_is_a_row_for_each_repository(admin):
    answer = asked(admin)
    found = {row["repository_name"]: row["size"] for row in answer.json["data"]}
    assert found == {NAME: IMAGE.size + images.docker_image("a longer text").size, "open/app": INDEX.size}
    assert answer.header("Content-Range") == "catalog 0-1/2"
    assert rows(admin, group_by="repository_name") == answer.json["data"]


def test_a_person_sees_what_he_may_pull_and_the_total_counts_no_more(admin, script_of_alice, add_user, script):
    add_user("bob")
    add_user("boss", Role.MANAGER)
    assert tags(script("bob")) == ["open/app:latest"]
    answer = asked(script("bob"), range=[0, 9])
    assert (answer.json["total"], answer.header("Content-Range")) == (1, "catalog 0-0/1")
    assert sorted(tags(script_of_alice)) == ["open/app:latest", "team/app:v1", "team/app:v2"]
    assert len(tags(script("boss"))) == 3


def test_two_rules_for_a_repository_show_it_once_and_a_disabled_one_not_at_all(app, script_of_alice, alice, allow, by):
    allow(alice, "team/**", "*")
    assert sorted(row["repository_name"] for row in rows(script_of_alice)) == ["open/app", NAME]
    for rule in app.store.rules.list_for(alice):
        app.rules.update(rule.id, by, is_disabled=True)
    assert rows(script_of_alice) == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (["tag", "ASC"], ["open/app:latest", "team/app:v1", "team/app:v2"]),
        (["tag", "DESC"], ["team/app:v2", "team/app:v1", "open/app:latest"]),
        (["size", "ASC"], ["team/app:v1", "team/app:v2", "open/app:latest"]),
    ],
)
def test_tags_are_sorted(admin, sort, expected):
    assert tags(admin, sort=sort) == expected


@pytest.mark.parametrize("column", ["id", "repository_name", "tag", "digest", "size", "pull_counter", "timestamp"])
def test_every_column_sorts_tags(admin, column):
    assert len(tags(admin, sort=[column, "ASC"])) == 3


@pytest.mark.parametrize("column", ["id", "repository_name", "size", "pull_counter", "timestamp"])
def test_every_column_sorts_repositories(admin, column):
    assert len(rows(admin, sort=[column, "DESC"])) == 2


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"q": "TEAM"}, ["team/app:v1", "team/app:v2"]),
        ({"q": "latest"}, ["open/app:latest"]),
        ({"q": "%"}, []),
        ({"repository_name": NAME}, ["team/app:v1", "team/app:v2"]),
        ({"repository_name": NAME, "tag": "v2"}, ["team/app:v2"]),
        ({"digest": IMAGE.digest}, ["team/app:v1"]),
        ({"digest": "sha256:0"}, []),
    ],
)
def test_tags_are_filtered(admin, wanted, expected):
    assert sorted(tags(admin, filter=wanted)) == expected


def test_a_page_of_tags_is_cut_from_all(admin):
    answer = asked(admin, group_by="none", range=[1, 1], sort=["tag", "ASC"])
    assert [row["tag"] for row in answer.json["data"]] == ["v1"]
    assert answer.header("Content-Range") == "catalog 1-1/3"


@pytest.mark.parametrize(
    "params",
    [
        {"group_by": "tag"},
        {"group_by": "repository_name; DROP TABLE tags"},
        {"sort": '["tag","ASC"]'},
        {"sort": '["raw","ASC"]', "group_by": "none"},
        {"filter": '{"tag":"v1"}'},
        {"filter": '{"raw":"x"}', "group_by": "none"},
        {"filter": '{"tag":1}', "group_by": "none"},
        {"range": "[-1,0]"},
    ],
)
def test_a_parameter_that_cannot_be_is_malformed(admin, params):
    assert admin.get(CATALOG, params=params).status == 400


# Blobs


def test_a_configuration_comes_in_base64(script_of_alice):
    digest = IMAGE.document["config"]["digest"]
    answer = script_of_alice.get(BLOBS, params={"name": NAME, "digest": digest})
    assert answer.json["message"] == "ok"
    assert answer.json["data"]["id"] == 0
    assert base64.b64decode(answer.json["data"]["value"]) == IMAGE.blobs[digest]


def test_a_configuration_of_what_one_may_not_pull_is_not_found_as_is_one_that_does_not_exist(
    script, add_user, registry, app
):
    add_user("bob")
    asked_before = len(registry.requests)
    digest = IMAGE.document["config"]["digest"]
    answers = [script("bob").get(BLOBS, params={"name": name, "digest": digest}) for name in (NAME, "no/thing")]
    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].text.replace(NAME, "") == answers[1].text.replace("no/thing", "")
    assert len(registry.requests) == asked_before


@pytest.mark.parametrize("params", [{}, {"name": NAME}, {"digest": IMAGE.digest}, {"name": NAME, "digest": "x"}])
def test_a_blob_needs_a_name_and_a_digest(admin, params):
    assert admin.get(BLOBS, params=params).status == 400


def test_a_blob_that_the_registry_does_not_have_is_not_found(admin):
    assert admin.get(BLOBS, params={"name": NAME, "digest": "sha256:" + "0" * 64}).status == 404


# Deleting


def test_a_manifest_is_deleted_with_its_tags(admin, registry):
    answer = admin.delete(f"{CATALOG}/{NAME}", params={"digest": IMAGE.digest})
    assert answer.json == {"error": False, "message": "manifest deleted", "id": 0, "data": None}
    assert registry.tags[NAME].keys() == {"v2"}
    assert "team/app:v1" not in tags(admin)


def test_only_a_tag_is_removed(admin, registry):
    registry.put(NAME, "again", IMAGE)
    assert admin.delete(f"{CATALOG}/{NAME}", params={"tag": "again"}).json["message"] == "tag deleted"
    assert registry.tags[NAME].keys() == {"v1", "v2"}
    assert "team/app:v1" in tags(admin)


def test_a_tag_wins_over_a_digest_so_that_never_more_goes_than_was_named(admin, registry):
    registry.put(NAME, "again", IMAGE)
    admin.delete(f"{CATALOG}/{NAME}", params={"tag": "again", "digest": IMAGE.digest})
    assert registry.tags[NAME].keys() == {"v1", "v2"}


@pytest.mark.parametrize("path", [NAME, "1", "team%2Fapp", "anything"])
def test_the_parameter_name_wins_over_the_path(admin, registry, path):
    answer = admin.delete(f"{CATALOG}/{path}", params={"name": NAME, "digest": IMAGE.digest})
    assert answer.status == 200, answer.text
    assert registry.tags[NAME].keys() == {"v2"}


def test_what_does_not_exist_is_not_found(admin):
    assert admin.delete(f"{CATALOG}/{NAME}", params={"digest": "sha256:" + "0" * 64}).status == 404
    assert admin.delete(f"{CATALOG}/{NAME}", params={"tag": "v9"}).status == 404
    assert admin.delete(f"{CATALOG}/no/thing", params={"digest": IMAGE.digest}).status == 404


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (NAME, {}),
        (NAME, {"digest": ""}),
        (NAME, {"digest": "v1"}),
        (NAME, {"tag": ""}),
        (NAME, {"tag": "", "digest": IMAGE.digest}),
        (NAME, {"tag": "a/b"}),
        (NAME, {"tag": "../../_catalog"}),
        ("team/../app", {"digest": IMAGE.digest}),
        ("TEAM/APP?", {"digest": IMAGE.digest}),
        ("a%00b", {"digest": IMAGE.digest}),
        ("a" * 300, {"digest": IMAGE.digest}),
    ],
)
def test_what_cannot_be_a_name_or_reference_is_malformed(admin, registry, path, params):
    before = len(registry.requests)
    assert admin.delete(f"{CATALOG}/{path}", params=params).status == 400
    assert len(registry.requests) == before


def test_the_registrys_refusal_is_passed_on_and_nothing_disappears(admin, registry):
    before = tags(admin)
    registry.delete_enabled = False
    answer = admin.delete(f"{CATALOG}/{NAME}", params={"digest": IMAGE.digest})
    assert (answer.status, answer.json["error"]) == (502, True)
    registry.stop()
    assert admin.delete(f"{CATALOG}/{NAME}", params={"digest": IMAGE.digest}).status == 502
    assert tags(admin) == before


# Health and synchronisation


def test_a_registry_that_answers_is_healthy(admin):
    assert admin.get(HEALTH).json == {"error": False, "message": "ok", "id": 0, "data": None}


def test_a_registry_that_is_away_or_is_none_is_not(admin, registry):
    for fault in (Reply(500), Reply(404), Reply(404, b'{"errors":[]}', {"Content-Type": "application/json"})):
        registry.fail(fault)
        assert admin.get(HEALTH).status == 502
    registry.stop()
    answer = admin.get(HEALTH)
    assert (answer.status, answer.json["error"], answer.json["data"]) == (502, True, None)
    assert answer.json["message"]


def wait_for_sync(client: Client) -> dict:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        run = client.get(SYNC).json["data"]
        if run["state"] != "running":
            return run
    raise AssertionError("the synchronisation does not end")


def test_before_the_first_synchronisation_there_is_none(admin_of_empty):
    assert admin_of_empty.get(SYNC).json == {"error": False, "message": "never run", "id": 0, "data": None}


def test_a_synchronisation_is_started_and_shows_its_progress(admin_of_empty):
    started = admin_of_empty.post(SYNC)
    assert (started.status, started.json["error"]) == (202, False)
    assert started.json["data"]["trigger"] == "admin"
    run = wait_for_sync(admin_of_empty)
    assert run["id"] == started.json["id"]
    assert (run["state"], run["repositories_total"], run["repositories_done"], run["tags"]) == ("complete", 2, 2, 3)
    assert len(tags(admin_of_empty)) == 3


def test_there_is_one_synchronisation_at_a_time(app, admin):
    assert app.store.sync_runs.start("somebody")
    answer = admin.post(SYNC)
    assert (answer.status, answer.json["error"]) == (409, True)
    assert "running" in answer.json["message"]
    assert admin.get(SYNC).json["data"]["state"] == "running"
