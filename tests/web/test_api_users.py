"""`/api/v1/users`, as react-admin and scripts use it."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regadmin.entities import DEFAULT_GROUP_ID, Role
from tests.conftest import ADMIN_PASSWORD
from tests.rigs.client import Answer, Client
from tests.web.conftest import PASSWORD

USERS = "/api/v1/users"
BOB = {"login": "bob", "password": PASSWORD}


def rows(client: Client, **parameters) -> list[dict]:
    answer = client.get(USERS, params={name: json.dumps(value) for name, value in parameters.items()})
    assert answer.status == 200, answer.text
    return answer.json["data"]


def logins(client: Client, **parameters) -> list[str]:
    return [row["login"] for row in rows(client, **parameters)]


def is_let_in(client: Client, login: str, password: str) -> bool:
    return client.get("/api/v1/registry/auth", basic=f"{login}:{password}").status == 200


def assert_failed(answer: Answer, status: int, *fields: str) -> None:
    assert answer.status == status, answer.text
    body = answer.json
    assert (body["error"], body["id"]) == (True, 0)
    assert body["message"]
    assert set(body["data"]["fields"] if body["data"] else {}) == set(fields)


@pytest.fixture
def people(add_user, app, by):
    """Besides the admin: alice (2), bob (3, of the crew, a manager) and carol (4, blocked)."""
    crew = app.groups.create(by, "crew")
    add_user("alice", description="Sings")
    add_user("bob", Role.MANAGER, [crew.id, DEFAULT_GROUP_ID], name="Bob the builder")
    add_user("carol", is_blocked=True)


# One user


def test_a_user_is_created_and_shown_as_the_original_did(admin):
    fields = {"role": "manager", "group": 1, "blocked": False, "description": "d", "name": "Bob B"}
    answer = admin.post(USERS, json=BOB | fields)
    row = {"id": 2, "login": "bob", "password": "", "groups": [1], "robot": False, "source": ""} | fields
    assert answer.json == {"error": False, "message": "user created", "id": 2, "data": row}
    assert admin.get(f"{USERS}/2").json["data"] == row
    assert rows(admin)[1] == row


def test_login_and_password_suffice(admin):
    assert admin.post(USERS, json=BOB).json["data"] == {
        "id": 2,
        "name": "bob",
        "login": "bob",
        "password": "",
        "role": "user",
        "group": DEFAULT_GROUP_ID,
        "groups": [DEFAULT_GROUP_ID],
        "blocked": False,
        "robot": False,
        "description": "",
        "source": "",
    }


def test_a_number_that_is_sent_along_is_not_taken(admin):
    assert admin.post(USERS, json=BOB | {"id": 77}).json["id"] == 2
    assert admin.put(f"{USERS}/2", json={"id": 77, "name": "B"}).json["id"] == 2
    assert admin.get(f"{USERS}/77").status == 404


def test_groups_are_given_as_one_or_as_many(admin, app, by):
    crew = app.groups.create(by, "crew").id
    assert admin.post(USERS, json=BOB | {"group": crew}).json["data"]["groups"] == [crew]
    both = admin.put(f"{USERS}/2", json={"groups": [1, crew]}).json["data"]
    assert (both["group"], both["groups"]) == (1, [1, crew])
    assert admin.put(f"{USERS}/2", json={"group": crew}).json["data"]["groups"] == [crew]


def test_a_row_whose_group_or_groups_changed_can_be_written_back(admin, app, by):
    crew, staff = app.groups.create(by, "crew").id, app.groups.create(by, "staff").id
    row = admin.post(USERS, json=BOB).json["data"]
    assert row["groups"] == [1]
    for change, expected in [
        ({"group": crew}, [crew]),
        ({"groups": [crew, staff]}, [crew, staff]),
        ({"group": 1}, [1, staff]),
        ({"group": staff}, [staff]),
        ({"groups": [1]}, [1]),
        ({"groups": []}, [1]),
        ({"group": crew, "groups": [crew, staff]}, [crew, staff]),
        ({}, [crew, staff]),
    ]:
        row = admin.put(f"{USERS}/2", json=row | change).json["data"]
        assert (row["group"], row["groups"]) == (expected[0], expected)


def test_a_group_that_is_none_of_the_groups_is_named(admin, app, by):
    crew, staff = app.groups.create(by, "crew").id, app.groups.create(by, "staff").id
    assert_failed(admin.post(USERS, json=BOB | {"group": crew, "groups": [1, staff]}), 422, "group")
    admin.post(USERS, json=BOB)
    assert_failed(admin.put(f"{USERS}/2", json={"group": crew, "groups": [1, staff]}), 422, "group")


def test_only_what_is_sent_changes(admin, people):
    before = rows(admin)[2]
    after = admin.put(f"{USERS}/3", json={"description": "Builds"}).json
    assert after["data"] == before | {"description": "Builds"}
    assert after["message"] == "user updated"
    assert admin.put(f"{USERS}/3", json={}).json["data"] == after["data"]


@pytest.mark.parametrize("change", [{"name": "A"}, {"name": "A", "password": ""}])
def test_a_change_without_a_password_keeps_the_old_one(admin, client, people, change):
    assert admin.put(f"{USERS}/2", json=change).status == 200
    assert is_let_in(client, "alice", PASSWORD)


def test_a_row_that_was_read_can_be_written_back(admin, client, people):
    for row in rows(admin):
        answer = admin.put(f"{USERS}/{row['id']}", json=row)
        assert answer.status == 200, answer.text
        assert answer.json["data"] == row
    assert is_let_in(client, "alice", PASSWORD)


def test_a_new_password_takes_the_place_of_the_old_one(admin, client, people):
    assert admin.put(f"{USERS}/2", json={"password": "another one"}).status == 200
    assert is_let_in(client, "alice", "another one")
    assert not is_let_in(client, "alice", PASSWORD)


def test_no_answer_holds_a_password_or_a_hash(app, admin, script, people):
    answers = [
        admin.post(USERS, json={"login": "dave", "password": "in the clear"}),
        admin.put(f"{USERS}/2", json={"password": "in the clear"}),
        admin.get(f"{USERS}/2"),
        admin.get(USERS),
        script("bob").get(USERS),
        admin.post(USERS, json={"login": "", "password": "in the clear"}),
        admin.delete(f"{USERS}/2"),
    ]
    for answer in answers:
        assert "in the clear" not in answer.text
        assert "$2" not in answer.text
    assert "in the clear" not in repr(app.store.activity.latest(100))


def test_the_stored_hash_is_no_password(app, client, people):
    assert not is_let_in(client, "alice", app.store.users.find_login("alice")[1])


def test_a_user_is_deleted_with_his_rules(admin, client, people, allow, app):
    allow(app.users.find(2), "team/app")
    assert admin.delete(f"{USERS}/2").json == {"error": False, "message": "user deleted", "id": 2, "data": None}
    assert admin.get("/api/v1/access").json["total"] == 0
    assert_failed(admin.get(f"{USERS}/2"), 404)
    assert_failed(admin.delete(f"{USERS}/2"), 404)
    assert not is_let_in(client, "alice", PASSWORD)


@pytest.mark.parametrize(
    "number", ["0", "-1", "99", "9" * 15, "9" * 20, "9" * 5000, "x", "1.5", "%D9%A3", "1%00", "%ff"]
)
def test_there_is_no_such_user(admin, number):
    for answer in (
        admin.get(f"{USERS}/{number}"),
        admin.put(f"{USERS}/{number}", json={"name": "A"}),
        admin.delete(f"{USERS}/{number}"),
    ):
        assert answer.status in (404, 405)
        assert answer.json["error"] is True


# What is refused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("login", ""),
        ("login", "a:b"),
        ("login", 7),
        ("login", None),
        ("login", "a\0b"),
        ("login", "\ud800"),
        ("login", "a" * 65),
        ("password", "short"),
        ("password", ""),
        ("password", "a" * 73),
        ("password", ["a good password"]),
        ("password", "abc\0defgh"),
        ("password", "\udc00\udc00\udc00"),
        ("name", ""),
        ("name", {}),
        ("role", "root"),
        ("role", None),
        ("role", ["admin"]),
        ("group", 99),
        ("group", "x"),
        ("group", True),
        ("group", 1.5),
        ("group", 10**30),
        ("group", -1),
        ("blocked", 1),
        ("blocked", "false"),
        ("description", 5),
        ("description", "a" * 5000),
        ("is_blocked", True),
        ("password_hash", "x"),
        ("must_change_password", False),
    ],
)
def test_a_field_that_cannot_be_is_named(admin, field, value):
    answer = admin.post(USERS, json=BOB | {"name": "Bob", field: value})
    assert_failed(answer, 422, field)
    assert field in answer.json["message"]
    assert logins(admin) == ["admin"]


def test_groups_that_cannot_be_are_named(admin):
    for value in ("1", [None], [[1]], [10**30], list(range(2000))):
        assert_failed(admin.post(USERS, json=BOB | {"groups": value}), 422, "groups")
    assert_failed(admin.post(USERS, json=BOB | {"groups": [1, 99]}), 422, "group")


def test_all_wrong_fields_are_named_at_once(admin):
    answer = admin.post(USERS, json={"login": 5, "blocked": "x", "nonsense": 1})
    assert_failed(answer, 422, "login", "blocked", "nonsense")


def test_missing_fields_are_named(admin):
    assert_failed(admin.post(USERS, json={"login": "bob"}), 422, "password")
    assert_failed(admin.post(USERS, json={"name": "Bob", "password": PASSWORD}), 422, "login")


def test_a_login_is_taken_whatever_its_case(admin, people):
    for login in ("alice", "ALICE"):
        answer = admin.post(USERS, json=BOB | {"login": login})
        assert_failed(answer, 409)
        assert "login" in answer.json["message"]
        assert_failed(admin.put(f"{USERS}/3", json={"login": login}), 409)


BODIES = {
    "nothing": b"",
    "no JSON": b"login=bob",
    "cut off": b'{"login":"bob"',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1" * 5000,
    "not UTF-8": b'{"login":"\xff\xfe"}',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep value": b'{"login":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a zero": b'{"login":"a\0b"}',
    "too long": b'{"description":"' + b"x" * 1024 * 1024 + b'"}',
}


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_cannot_be_read_is_malformed(admin, method, body):
    assert_failed(admin.request(method, USERS if method == "POST" else f"{USERS}/1", body=body), 400)


@pytest.mark.parametrize("body", [b'{"group":1e400}', b'{"group":NaN}', b'{"group":' + b"9" * 4000 + b"}"])
def test_a_number_out_of_bounds_is_an_invalid_field(admin, body):
    assert_failed(admin.post(USERS, body=body), 422, "group")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
filters = st.dictionaries(st.sampled_from(["q", "ids"]), values)
known = st.sampled_from(["id", "login", "password", "name", "role", "group", "groups", "blocked", "description"])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(known | st.text(max_size=5), values, max_size=4))
def test_whatever_is_sent_as_a_user_is_no_fault(admin, body):
    assert admin.post(USERS, json=body).status in (200, 409, 422)
    assert admin.put(f"{USERS}/1", json=body | {"login": "admin", "password": ""}).status in (200, 409, 422)


# Nobody is locked out


@pytest.mark.parametrize("change", [{"blocked": True}, {"role": "user"}, {"role": "manager"}])
def test_an_admin_cannot_take_his_own_rights(admin, add_user, change):
    add_user("second", Role.ADMIN)
    assert_failed(admin.put(f"{USERS}/1", json=change), 409)
    assert_failed(admin.delete(f"{USERS}/1"), 409)
    assert admin.get(USERS).status == 200


def test_an_admin_can_change_himself(admin):
    assert admin.put(f"{USERS}/1", json={"role": "admin", "blocked": False, "name": "Root"}).status == 200


def test_the_last_admin_can_go_only_when_there_is_another(admin, script, add_user):
    second = add_user("second", Role.ADMIN)
    assert script("second").put(f"{USERS}/1", json={"role": "user"}).status == 200
    assert_failed(script("second").delete(f"{USERS}/{second.id}"), 409)


def test_an_admin_with_a_new_password_must_use_it(admin, script):
    assert admin.put(f"{USERS}/1", json={"password": "another one"}).status == 200
    assert admin.get(USERS).status == 401
    assert script("admin", "another one").get(USERS).status == 200
    assert script("admin", ADMIN_PASSWORD).get(USERS).status == 401


# Lists, as react-admin's simple REST provider asks for them


def test_without_parameters_all_users_are_listed_by_their_numbers(admin, people):
    answer = admin.get(USERS)
    assert [row["id"] for row in answer.json["data"]] == [1, 2, 3, 4]
    assert answer.json["total"] == 4
    assert answer.header("Content-Range") == "users 0-3/4"


@pytest.mark.parametrize(
    ("asked", "expected", "content_range"),
    [
        ([0, 1], ["admin", "alice"], "users 0-1/4"),
        ([1, 1], ["alice"], "users 1-1/4"),
        ([2, 9], ["bob", "carol"], "users 2-3/4"),
        ([0, 3], ["admin", "alice", "bob", "carol"], "users 0-3/4"),
        ([0, 99999], ["admin", "alice", "bob", "carol"], "users 0-3/4"),
        ([4, 9], [], "users */4"),
        ([9007199254740991, 9007199254740992], [], "users */4"),
    ],
)
def test_a_range_is_inclusive_and_clamped(admin, people, asked, expected, content_range):
    answer = admin.get(USERS, params={"range": json.dumps(asked)})
    assert [row["login"] for row in answer.json["data"]] == expected
    assert answer.json["total"] == 4
    assert answer.header("Content-Range") == content_range


def test_a_filter_counts_in_the_total(admin, people):
    answer = admin.get(USERS, params={"filter": '{"role":"user"}', "range": "[0,0]"})
    assert answer.header("Content-Range") == "users 0-0/2"
    answer = admin.get(USERS, params={"filter": '{"q":"nobody"}'})
    assert (answer.json, answer.header("Content-Range")) == ({"total": 0, "data": []}, "users */0")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["login", "ASC"], ["admin", "alice", "bob", "carol"]),
        (["login", "DESC"], ["carol", "bob", "alice", "admin"]),
        (["login", "desc"], ["carol", "bob", "alice", "admin"]),
        (["id", "DESC"], ["carol", "bob", "alice", "admin"]),
        (["name", "ASC"], ["admin", "alice", "bob", "carol"]),
        (["role", "ASC"], ["admin", "bob", "alice", "carol"]),
        (["blocked", "DESC"], ["carol", "bob", "alice", "admin"]),
        (["description", "DESC"], ["alice", "carol", "bob", "admin"]),
    ],
)
def test_users_are_sorted(admin, people, asked, expected):
    assert logins(admin, sort=asked) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["admin", "alice", "bob", "carol"]),
        ({"q": ""}, ["admin", "alice", "bob", "carol"]),
        ({"q": "BUILD"}, ["bob"]),
        ({"q": "sing"}, ["alice"]),
        ({"q": "%"}, []),
        ({"q": "'"}, []),
        ({"ids": [4, 2, 99]}, ["alice", "carol"]),
        ({"ids": []}, []),
        ({"id": [3]}, ["bob"]),
        ({"id": 3}, ["bob"]),
        ({"role": "manager"}, ["bob"]),
        ({"role": "nonsense"}, []),
        ({"login": "alice"}, ["alice"]),
        ({"name": "Bob the builder"}, ["bob"]),
        ({"group": 2}, ["bob"]),
        ({"group": 1}, ["admin", "alice", "bob", "carol"]),
        ({"blocked": True}, ["carol"]),
        ({"robot": True}, []),
        ({"blocked": False, "q": "b"}, ["bob"]),
        ({"q": "a", "role": "user", "ids": [2, 3]}, ["alice"]),
    ],
)
def test_users_are_filtered(admin, people, asked, expected):
    assert sorted(logins(admin, filter=asked)) == expected


BAD_PARAMETERS = {
    "range": [
        "",
        "x",
        "0-9",
        "[0]",
        "[0,1,2]",
        "[-1,5]",
        "[-5,-1]",
        "[5,4]",
        "[0.5,9]",
        "[true,9]",
        "[null,9]",
        '["a","b"]',
        '"09"',
        '{"0":1,"9":2}',
        "[0,1e400]",
        "[0," + "9" * 400 + "]",
        "[0," + "9" * 5000 + "]",
        "[" * 20_000,
    ],
    "sort": [
        "id",
        "[]",
        '["id"]',
        '["id","UP"]',
        '["id","ASC","DESC"]',
        '["password","ASC"]',
        '["password_hash","ASC"]',
        '["u.id","ASC"]',
        '["id; DROP TABLE users","ASC"]',
        '["id","ASC; DROP TABLE users"]',
        '{"id":"ASC"}',
        "[1,2]",
        '[["id"],"ASC"]',
        '["\\ud800","ASC"]',
    ],
    "filter": [
        "q",
        "[]",
        "7",
        '"q"',
        '{"q":7}',
        '{"q":null}',
        '{"q":"a\\u0000b"}',
        '{"q":"\\ud800"}',
        '{"ids":1}',
        '{"ids":["x"]}',
        '{"ids":[1.5]}',
        '{"ids":[' + "9" * 30 + "]}",
        '{"ids":[' + ",".join(["1"] * 1001) + "]}",
        '{"blocked":1}',
        '{"group":"x"}',
        '{"nonsense":1}',
        '{"password_hash":"x"}',
        '{"1=1 OR login":"x"}',
        '{"login":["a"]}',
        '{"q":' * 5000,
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD_PARAMETERS.items() for value in values],
    ids=lambda value: value[:30],
)
def test_a_parameter_that_cannot_be_is_malformed(admin, name, value):
    answer = admin.get(USERS, params={name: value})
    assert_failed(answer, 400)
    assert name in answer.json["message"]


def test_a_null_parameter_is_none(admin, people):
    assert logins(admin, range=None, sort=None, filter=None) == ["admin", "alice", "bob", "carol"]


def test_parameters_that_nobody_knows_are_passed_over(admin):
    assert admin.get(USERS, params={"_": "1", "page": "2"}).status == 200


def test_text_that_is_not_utf_8_in_the_address_is_malformed(admin):
    assert_failed(admin.get(USERS + "?filter=%ff"), 400)


def test_no_more_than_a_thousand_rows_are_answered(admin, app):
    with app.store.transaction():
        for number in range(1005):
            app.store.database.execute(
                "INSERT INTO users (login, name, password_hash, role, created_at) VALUES (?, 'n', 'x', 'user', 0)",
                (f"user-{number}",),
            )
    answer = admin.get(USERS, params={"range": "[0,5000]"})
    assert (len(answer.json["data"]), answer.header("Content-Range")) == (1000, "users 0-999/1006")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["range", "sort", "filter"]),
    st.text(max_size=20) | values.map(json.dumps) | filters.map(json.dumps),
)
def test_whatever_is_asked_is_no_fault(admin, name, value):
    params = {name: value.encode("utf-8", "surrogatepass")}
    assert admin.get(USERS, params=params).status in (200, 400)
