"""`/api/v1/access`: the access rules"""

import json

import pytest

from regadmin.entities import EVERYONE_ID, REGISTERED_ID

ACCESS = "/api/v1/access"
RULE = {"owner_id": 2, "type": "repository", "resource_name": "team/app", "action": "pull"}


@pytest.fixture
def crew(app, by):
    return app.groups.create(by, "crew")


@pytest.fixture
def rules(alice, crew, allow):
    """A rule for alice (1), for the crew (2), for the registered (3) and, disabled, for everyone (4)."""
    return [
        allow(alice, "team/app"),
        allow(crew, "crew/**", "push", name="the crew's"),
        allow(REGISTERED_ID, "staff/*", "*"),
        allow(EVERYONE_ID, "catalog", "*", resource_type="registry", is_disabled=True),
    ]


def numbers(client, **parameters) -> list[int]:
    answer = client.get(ACCESS, params={name: json.dumps(value) for name, value in parameters.items()})
    assert answer.status == 200, answer.text
    return [row["id"] for row in answer.json["data"]]


def assert_named(answer, *fields: str) -> None:
    assert answer.status == 422, answer.text
    assert set(answer.json["data"]["fields"]) == set(fields)


def test_a_rule_is_created_and_shown_as_the_original_did(admin, alice):
    answer = admin.post(ACCESS, json=RULE | {"name": "alice pulls app", "is_group": False, "disabled": True})
    row = {
        "id": 1,
        "owner_id": 2,
        "is_group": False,
        "name": "alice pulls app",
        "type": "repository",
        "resource_name": "team/app",
        "action": "pull",
        "disabled": True,
        "source": "",
    }
    assert answer.json == {"error": False, "message": "access created", "id": 1, "data": row}
    assert admin.get(f"{ACCESS}/1").json["data"] == row
    assert admin.get(ACCESS).json == {"total": 1, "data": [row]}


def test_owners_are_users_groups_the_registered_and_everybody(admin, rules):
    rows = admin.get(ACCESS).json["data"]
    owners = [(row["owner_id"], row["is_group"]) for row in rows]
    assert owners == [(2, False), (2, True), (REGISTERED_ID, False), (EVERYONE_ID, False)]


def test_a_rule_comes_before_its_repository(admin, alice):
    assert admin.post(ACCESS, json=RULE | {"resource_name": "not/there/yet"}).status == 200


def test_only_what_is_sent_changes(admin, rules):
    before = admin.get(f"{ACCESS}/1").json["data"]
    answer = admin.put(f"{ACCESS}/1", json={"disabled": True})
    assert answer.json == {
        "error": False, "message": "access updated", "id": 1, "data": before | {"disabled": True},
    }
    assert admin.put(f"{ACCESS}/1", json={}).json["data"] == before | {"disabled": True}


def test_a_row_that_was_read_can_be_written_back(admin, rules):
    for row in admin.get(ACCESS).json["data"]:
        assert admin.put(f"{ACCESS}/{row['id']}", json=row).json["data"] == row


def test_a_rule_changes_hands(admin, rules, crew):
    assert admin.put(f"{ACCESS}/1", json={"owner_id": EVERYONE_ID}).json["data"]["owner_id"] == EVERYONE_ID
    changed = admin.put(f"{ACCESS}/1", json={"owner_id": crew.id, "is_group": True}).json["data"]
    assert (changed["owner_id"], changed["is_group"]) == (crew.id, True)


def test_a_rule_is_deleted(admin, rules):
    assert admin.delete(f"{ACCESS}/1").json == {"error": False, "message": "access deleted", "id": 1, "data": None}
    assert admin.delete(f"{ACCESS}/1").status == 404
    assert numbers(admin) == [2, 3, 4]


@pytest.mark.parametrize("owner", [{"owner_id": 99}, {"owner_id": 99, "is_group": True}, {"owner_id": 0}])
def test_an_owner_that_does_not_exist_is_named(admin, rules, owner):
    assert_named(admin.post(ACCESS, json=RULE | {"action": "push"} | owner), "owner_id")
    assert_named(admin.put(f"{ACCESS}/1", json=owner), "owner_id")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner_id", None),
        ("owner_id", "alice"),
        ("owner_id", 10**30),
        ("owner_id", 2.5),
        ("owner_id", True),
        ("is_group", 1),
        ("name", 5),
        ("name", "a" * 256),
        ("type", "plugin"),
        ("type", 1),
        ("resource_name", ""),
        ("resource_name", "team app"),
        ("resource_name", "/(a+)+/"),
        ("resource_name", "/[/"),
        ("resource_name", "*-*/*-*/*-*/*-*"),
        ("resource_name", "${nobody}/*"),
        ("resource_name", "a\0"),
        ("resource_name", "a" * 513),
        ("resource_name", {}),
        ("action", "fly"),
        ("action", "PULL"),
        ("action", "pull,push"),
        ("action", "pull' OR '1'='1"),
        ("action", None),
        ("disabled", "no"),
        ("nonsense", 1),
    ],
)
def test_a_field_that_cannot_be_is_named(admin, rules, field, value):
    before = admin.get(ACCESS).json
    assert_named(admin.post(ACCESS, json=RULE | {"action": "push", field: value}), field)
    assert_named(admin.put(f"{ACCESS}/1", json={field: value}), field)
    assert admin.get(ACCESS).json == before


def test_missing_fields_are_named(admin, alice):
    assert_named(admin.post(ACCESS, json={}), "owner_id")
    assert_named(admin.post(ACCESS, json={"owner_id": 2}), "resource_name", "action")


def test_the_same_rule_twice_is_a_conflict_that_names_the_first(admin, rules):
    answer = admin.post(ACCESS, json=RULE | {"name": "again", "disabled": True})
    assert (answer.status, answer.json["error"]) == (409, True)
    assert "rule 1" in answer.json["message"]
    admin.post(ACCESS, json=RULE | {"action": "push"})
    assert admin.put(f"{ACCESS}/5", json={"action": "pull"}).status == 409


def test_there_is_no_such_rule(admin):
    for number in ("0", "-1000", "99", "9" * 20):
        assert admin.get(f"{ACCESS}/{number}").status == 404
        assert admin.put(f"{ACCESS}/{number}", json={"action": "pull"}).status == 404
        assert admin.delete(f"{ACCESS}/{number}").status == 404


def test_rules_are_listed_in_pages(admin, rules):
    answer = admin.get(ACCESS, params={"range": "[1,2]"})
    assert [row["id"] for row in answer.json["data"]] == [2, 3]
    assert (answer.json["total"], answer.header("Content-Range")) == (4, "access 1-2/4")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["id", "DESC"], [4, 3, 2, 1]),
        (["owner_id", "ASC"], [4, 3, 1, 2]),
        (["is_group", "DESC"], [2, 4, 3, 1]),
        (["resource_name", "ASC"], [4, 2, 3, 1]),
        (["type", "DESC"], [3, 2, 1, 4]),
        (["action", "ASC"], [3, 4, 1, 2]),
        (["disabled", "DESC"], [4, 3, 2, 1]),
        (["name", "ASC"], [4, 3, 1, 2]),
    ],
)
def test_rules_are_sorted(admin, rules, asked, expected):
    assert numbers(admin, sort=asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"q": "CREW"}, [2]),
        ({"owner_id": 2}, [1, 2]),
        ({"owner_id": 2, "is_group": False}, [1]),
        ({"owner_id": EVERYONE_ID}, [4]),
        ({"type": "registry"}, [4]),
        ({"resource_name": "team/app"}, [1]),
        ({"action": "*"}, [3, 4]),
        ({"disabled": False}, [1, 2, 3]),
        ({"name": "the crew's"}, [2]),
        ({"ids": [4, 1]}, [1, 4]),
    ],
)
def test_rules_are_filtered(admin, rules, asked, expected):
    assert numbers(admin, filter=asked) == expected


@pytest.mark.parametrize(
    "params",
    [{"sort": '["user_id","ASC"]'}, {"filter": '{"user_id":1}'}, {"filter": '{"disabled":0}'}, {"range": "[2,1]"}],
)
def test_a_parameter_that_cannot_be_is_malformed(admin, params):
    assert admin.get(ACCESS, params=params).status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b'{"name":"\xff"}', b'{"a":' * 100_000, b"x" * (1024 * 1024 + 1)])
def test_a_body_that_cannot_be_read_is_malformed(admin, rules, body):
    assert admin.post(ACCESS, body=body).status == 400
    assert admin.put(f"{ACCESS}/1", body=body).status == 400
