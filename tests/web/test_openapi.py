"""`/api/v1/openapi.json` describes what there is, and nothing else."""

import re

import pytest

from regadmin.entities import EVERYONE_ID
from regadmin.registry import manifests
from regadmin.web.api.openapi import _OPERATIONS, PATH
from regadmin.web.forward import PATH as FORWARD_PATH
from regadmin.web.realm import PATHS as REALM_PATHS
from regadmin.web.routes import Access, Route
from tests.rigs import images

HTTP_METHODS = {"get", "post", "put", "delete"}


@pytest.fixture
def document(client) -> dict:
    answer = client.get(PATH)
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
    return answer.json


@pytest.fixture
def routes(app) -> list[Route]:
    """All that the document is about: itself it does not describe."""
    return [route for route in app.api_routes if route.path != PATH]


def described(path: str) -> str:
    return re.sub(r"<(\w+):\w+>", r"{\1}", path)


def operations(document: dict) -> dict[tuple[str, str], dict]:
    found = {}
    for path, item in document["paths"].items():
        found |= {(method.upper(), path): operation for method, operation in item.items()}
    return found


def test_it_names_its_version(document):
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "RegistryAdmin"
    assert document["info"]["version"]


def test_it_describes_every_route_and_no_other(document, routes):
    assert set(operations(document)) == {(route.method, described(route.path)) for route in routes}


def test_every_route_has_a_description_of_its_own(routes):
    """A route without one would be described as a token endpoint."""
    for route in routes:
        is_for_clients = route.path in (*REALM_PATHS, FORWARD_PATH)
        assert ((route.method, described(route.path)) in _OPERATIONS) is not is_for_clients
    assert len(_OPERATIONS) == len(routes) - 2 * len(REALM_PATHS) - 1


def test_every_operation_says_what_it_does_and_answers(document):
    for operation in operations(document).values():
        assert operation["summary"]
        assert any(status.startswith("2") for status in operation["responses"])
        assert {"400", "401", "403", "404", "409", "422", "429", "502"} <= set(operation["responses"])


def test_every_parameter_of_a_path_is_described(document):
    for (_, path), operation in operations(document).items():
        named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))
        assert all(p["required"] for p in operation["parameters"] if p["in"] == "path")


def test_what_needs_credentials_says_so(document, routes):
    for route in routes:
        operation = operations(document)[route.method, described(route.path)]
        assert ("security" in operation) is (route.access is not Access.PUBLIC)
        assert route.access in operation["description"]
    assert set(document["components"]["securitySchemes"]) == {"basic", "session", "header"}


@pytest.fixture
def full(app, allow) -> None:
    """There is at least one row in every list."""
    allow(EVERYONE_ID, "open/app")
    image = images.oci_image()
    app.store.repositories.save_manifest("open/app", manifests.parse(image.raw, image.media_type), None)
    app.store.repositories.point_tag("open/app", "v1", image.digest)
    app.synchronisation.run("test")


@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/users",
        "/api/v1/groups",
        "/api/v1/access",
        "/api/v1/registry/catalog",
        "/api/v1/registry/catalog?group_by=none",
    ],
)
def test_lists_take_and_give_what_is_described(admin, document, full, url):
    operation = operations(document)["GET", url.partition("?")[0]]
    assert {"range", "sort", "filter"} <= {parameter["name"] for parameter in operation["parameters"]}
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = admin.get(url).json
    assert set(answer) == set(schema["properties"])
    assert answer["data"]
    for row in answer["data"]:
        assert set(row) <= set(schema["properties"]["data"]["items"]["properties"])


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/api/v1/users/{user_id}", "/api/v1/users/1"),
        ("/api/v1/groups/{group_id}", "/api/v1/groups/1"),
        ("/api/v1/access/{rule_id}", "/api/v1/access/1"),
        ("/api/v1/registry/sync", "/api/v1/registry/sync"),
    ],
)
def test_single_things_are_given_as_described(admin, document, full, path, url):
    content = operations(document)["GET", path]["responses"]["200"]["content"]
    schema = content["application/json"]["schema"]["properties"]
    answer = admin.get(url).json
    assert set(answer) == set(schema)
    assert set(answer["data"]) == set(schema["data"]["properties"])


@pytest.mark.parametrize("noun", ["users", "groups", "access"])
def test_bodies_are_described_by_the_fields_that_are_taken(admin, document, noun):
    body = operations(document)["POST", f"/api/v1/{noun}"]["requestBody"]
    fields = body["content"]["application/json"]["schema"]["properties"]
    refused = admin.post(f"/api/v1/{noun}", json=dict.fromkeys([*fields, "nonsense"])).json["data"]["fields"]
    assert set(refused) == {*fields, "nonsense"} - {"id", "source"}
    assert "is not a field" in refused["nonsense"]
    assert not any("is not a field" in text for name, text in refused.items() if name != "nonsense")


def test_methods_are_those_of_http(document):
    assert all(set(item) <= HTTP_METHODS for item in document["paths"].values())


def test_everybody_may_read_it(client, script, alice):
    assert client.get(PATH).json == script("alice").get(PATH).json
