"""An identity service that hangs, seen by a real server: local users sign in as ever, and it is told what is wrong."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.rigs.identity import HANG, IdentityService
from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until

REALM = "/api/v1/registry/auth?service=container_registry"
CROWD = 40
"""Many times the threads that there are for passwords."""

LOCAL_USERS = 12


@pytest.fixture
def service():
    with IdentityService() as service:
        service.people["carol:carol-pass"] = []
        yield service


@pytest.fixture
def server(tmp_path, service):
    server = RunningServer(tmp_path, free_port(), identity={"service": {"url": service.url}}).start()
    for number in range(LOCAL_USERS):
        server.create("users", login=f"local{number}", password="local-pass", role="user")
    yield server
    server.stop()


def test_while_it_hangs_local_users_sign_in_and_the_others_are_told(server, service):
    assert server.call("GET", REALM, ("carol", "carol-pass")).status_code == 200
    service.fault = HANG
    with ThreadPoolExecutor(CROWD + LOCAL_USERS) as pool:
        crowd = [pool.submit(server.call, "GET", REALM, ("erin", "erin-pass")) for _ in range(CROWD)]
        wait_until(lambda: len(service.asked) > 2)
        began = time.monotonic()
        credentials = [(f"local{number}", "local-pass") for number in range(LOCAL_USERS)]
        answers = pool.map(lambda each: server.call("GET", REALM, each).status_code, credentials)
        assert set(answers) == {200}
        took = time.monotonic() - began
        assert took < 4, "they need not wait for the end of those that hang"
        assert any(not each.done() for each in crowd), "some of them still hang"
        assert server.call("GET", REALM, ("carol", "carol-pass")).status_code == 200, "who is known passes"
        assert server.call("GET", "/api/v1/users", ADMIN).status_code == 200
        service.heal()
        assert {each.result().status_code for each in crowd} <= {401, 429, 503}
    assert 503 in {each.result().status_code for each in crowd}
    assert server.call("GET", REALM, ("carol", "carol-pass")).status_code == 200

