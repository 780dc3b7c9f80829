"""The API, given anything that fits its description and much that does not: what it answers is what it describes."""

import re

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Role
from regadmin.registry import manifests
from regadmin.web.api.openapi import _OPERATIONS, PATH
from regadmin.web.realm import PATHS as REALM_PATHS
from tests.rigs import images
from tests.rigs.client import Client
from tests.rigs.fuzzing import examples

OPERATIONS = [*_OPERATIONS, *((method, REALM_PATHS[0]) for method in ("GET", "POST"))]
CALLERS = ("anonymous", "blocked", "user", "manager", "admin")
WITHOUT_BODY = {("POST", "/auth/logout"), ("POST", "/auth/local/logout"), ("POST", "/api/v1/registry/sync")}
WITHOUT_BODY |= {("POST", "/api/v1/registry/events")}  # Its types change with the registry's versions.
# Our callers bring their own credentials.
CONFIG = {"generation": {"with-security-parameters": False}}
AS_DESCRIBED = (
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
)


@pytest.fixture
def app(app: App, by, allow) -> App:
    """There is something of each kind, so that small numbers mean something."""
    app.groups.create(by, "crew")
    allow(EVERYONE_ID, "team/*")
    image = images.oci_image()
    app.store.repositories.save_manifest("team/app", manifests.parse(image.raw, image.media_type), None)
    app.store.repositories.point_tag("team/app", "v1", image.digest)
    app.store.repositories.refresh(["team/app"])
    return app


@pytest.fixture
def callers(app, add_user, by) -> dict[str, dict[str, str]]:
    """The headers of each: a session, that may have ended."""
    found = {"anonymous": {}}
    for name in CALLERS[1:]:
        user = add_user(f"the {name}", Role.USER if name == "blocked" else Role(name))
        found[name] = {"X-JWT": app.sessions.start(user, "192.0.2.1", "").token}
        if name == "blocked":
            app.users.update(user.id, by, is_blocked=True)
    return found


@pytest.fixture
def schema(app) -> BaseSchema:
    load_all_checks()
    return schemathesis.openapi.from_wsgi(PATH, app.wsgi, config=SchemathesisConfig.from_dict(CONFIG))


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=map(" ".join, OPERATIONS))
@examples(4)
@given(data=st.data())
def test_everybody_gets_an_answer_as_it_is_described(schema, callers, method, path, data):
    mode = data.draw(st.sampled_from(GenerationMode))
    case = data.draw(schema[path][method].as_strategy(generation_mode=mode))
    if number := next((name for name in case.path_parameters or {} if name.endswith("_id")), None):
        case.path_parameters[number] = data.draw(st.just(case.path_parameters[number]) | st.integers(0, 7))
    for headers in callers.values():
        answer = case.call(headers=headers)
        case.validate_response(answer, checks=AS_DESCRIBED)
        # The registry is away.
        assert answer.status_code < 500 or path.startswith("/api/v1/registry/")


@pytest.mark.parametrize("path", sorted({path for _, path in OPERATIONS}))
def test_no_other_method_is_answered(client, admin, path):
    known = {method for method, described in OPERATIONS if described == path}
    # What can be deleted below the catalog are repositories of any name.
    known |= {"DELETE"} if path.startswith("/api/v1/registry/catalog/") else set()
    address = re.sub("{.*}", "2", path)
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"} - known:
        for caller in (client, admin):
            answer = caller.request(method, address)
            assert answer.status in (404, 405), method
            assert answer.json["error"] is True
    if "GET" in known:
        head = admin.request("HEAD", address)
        assert (head.status, head.body) == (admin.get(address).status, b"")


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "text/xml", "*/*"])
def test_what_is_sent_as_something_else_is_refused(app, admin, kind):
    sender = Client(lambda environ, start: app.wsgi(environ | {"CONTENT_TYPE": kind}, start), basic=admin.basic)
    asked = sorted({(method, path) for method, path in OPERATIONS if method in ("POST", "PUT")} - WITHOUT_BODY)
    assert len(asked) > 6
    for method, path in asked:
        answer = sender.request(method, re.sub("{.*}", "1", path), body=b'{"name": "x", "user": "admin"}')
        assert answer.status == 400, (method, path, answer.text)
        assert "application/" in answer.text


def test_credentials_in_an_unknown_shape_make_nobody_anonymous(app):
    sender = Client(lambda environ, start: app.wsgi(environ | {"CONTENT_TYPE": "application/json"}, start))
    answer = sender.post(REALM_PATHS[0], body=b'{"username": "admin", "password": "x"}')
    assert answer.status == 400
