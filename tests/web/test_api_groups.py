"""`/api/v1/groups`"""

import json

import pytest

from regadmin.entities import DEFAULT_GROUP_ID

GROUPS = "/api/v1/groups"
CREW = {"name": "crew", "description": "who does the work"}


@pytest.fixture
def crew(app, by):
    return app.groups.create(by, **CREW)


def names(client, **parameters) -> list[str]:
    answer = client.get(GROUPS, params={name: json.dumps(value) for name, value in parameters.items()})
    assert answer.status == 200, answer.text
    return [row["name"] for row in answer.json["data"]]


def test_the_default_group_exists_from_the_start(admin):
    row = admin.get(f"{GROUPS}/{DEFAULT_GROUP_ID}").json["data"]
    assert (row["id"], row["name"]) == (1, "default")
    assert set(row) == {"id", "name", "description", "source"}


def test_a_group_is_created_changed_and_deleted(admin):
    row = {"id": 2, "source": ""} | CREW
    assert admin.post(GROUPS, json=CREW).json == {"error": False, "message": "group created", "id": 2, "data": row}
    changed = admin.put(f"{GROUPS}/2", json={"name": "staff"}).json
    assert (changed["message"], changed["data"]) == ("group updated", row | {"name": "staff"})
    assert admin.get(f"{GROUPS}/2").json["data"] == changed["data"]
    deleted = admin.delete(f"{GROUPS}/2").json
    assert deleted == {"error": False, "message": "group deleted", "id": 2, "data": None}
    assert admin.get(f"{GROUPS}/2").status == 404


def test_a_row_that_was_read_can_be_written_back(admin, crew):
    for row in admin.get(GROUPS).json["data"]:
        assert admin.put(f"{GROUPS}/{row['id']}", json=row).json["data"] == row


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " crew"),
        ("name", None),
        ("name", 7),
        ("name", "a\nb"),
        ("name", "\ud800"),
        ("name", "a" * 256),
        ("description", []),
        ("description", "a" * 5000),
        ("users", [1]),
    ],
)
def test_a_field_that_cannot_be_is_named(admin, crew, field, value):
    for answer in (admin.post(GROUPS, json=CREW | {field: value}), admin.put(f"{GROUPS}/2", json={field: value})):
        assert answer.status == 422
        assert list(answer.json["data"]["fields"]) == [field]
    assert names(admin) == ["default", "crew"]


def test_a_name_is_needed(admin):
    assert list(admin.post(GROUPS, json={}).json["data"]["fields"]) == ["name"]


def test_a_name_is_taken_whatever_its_case(admin, crew):
    for answer in (admin.post(GROUPS, json={"name": "CREW"}), admin.put(f"{GROUPS}/2", json={"name": "Default"})):
        assert answer.status == 409
        assert "name" in answer.json["message"]


def test_the_default_group_stays(admin):
    answer = admin.delete(f"{GROUPS}/1")
    assert (answer.status, answer.json["error"]) == (409, True)
    assert names(admin) == ["default"]


def test_a_deleted_group_takes_its_rules_along_and_leaves_its_members(admin, app, crew, add_user, allow):
    alice = add_user("alice", group_ids=[crew.id, DEFAULT_GROUP_ID])
    allow(crew, "crew/app")
    kept = allow(alice, "team/app")
    assert admin.delete(f"{GROUPS}/{crew.id}").status == 200
    assert [row["id"] for row in admin.get("/api/v1/access").json["data"]] == [kept.id]
    assert admin.get(f"/api/v1/users/{alice.id}").json["data"]["groups"] == [DEFAULT_GROUP_ID]


def test_there_is_no_such_group(admin):
    for number in ("0", "-1", "99", "9" * 20):
        assert admin.get(f"{GROUPS}/{number}").status == 404
        assert admin.put(f"{GROUPS}/{number}", json={"name": "x"}).status == 404
        assert admin.delete(f"{GROUPS}/{number}").status == 404


def test_groups_are_listed_in_pages(admin, crew):
    answer = admin.get(GROUPS, params={"range": "[1,1]", "sort": '["name","ASC"]'})
    assert [row["name"] for row in answer.json["data"]] == ["default"]
    assert (answer.json["total"], answer.header("Content-Range")) == (2, "groups 1-1/2")


def test_groups_are_sorted_and_filtered(admin, crew):
    assert names(admin, sort=["id", "DESC"]) == ["crew", "default"]
    assert names(admin, sort=["description", "DESC"]) == ["crew", "default"]
    assert names(admin, filter={"q": "WORK"}) == ["crew"]
    assert names(admin, filter={"name": "crew"}) == ["crew"]
    assert names(admin, filter={"ids": [1]}) == ["default"]


@pytest.mark.parametrize(
    "params", [{"sort": '["users","ASC"]'}, {"filter": '{"description":"x"}'}, {"range": "[1]"}, {"filter": "x"}]
)
def test_a_parameter_that_cannot_be_is_malformed(admin, params):
    assert admin.get(GROUPS, params=params).status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name":"\xff"}', b"[" * 100_000, b"x" * (1024 * 1024 + 1)])
def test_a_body_that_cannot_be_read_is_malformed(admin, body):
    assert admin.post(GROUPS, body=body).status == 400
    assert admin.put(f"{GROUPS}/1", body=body).status == 400
