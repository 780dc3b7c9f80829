"""A registry that hangs during a synchronisation holds up neither the end of the server nor its next start."""

import signal
import time

import pytest

from tests.rigs import images
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.standin import SLOW, StandinRegistry

SYNC = "/api/v1/registry/sync"


def latest(server: RunningServer) -> dict:
    return server.call("GET", SYNC).json()["data"] or {}


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        registry.put("team/app", "v1", images.docker_image())
        yield registry


@pytest.fixture
def server(tmp_path, registry):
    server = RunningServer(tmp_path, registry.port).start()
    yield server
    server.stop()


def test_sigterm_ends_it_and_after_the_start_the_next_run_begins_at_once(server, registry):
    wait_until(lambda: latest(server).get("state") == "complete")
    asked = len(registry.requests)
    registry.fail(SLOW, on="/manifests/")
    assert server.call("POST", SYNC).status_code == 202
    wait_until(lambda: any("/manifests/" in request.path for request in registry.requests[asked:]))
    began = time.monotonic()
    assert server.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    registry.heal()
    server.start()
    cut_off = latest(server)
    assert (cut_off["id"], cut_off["state"]) == (2, "interrupted")
    assert server.call("POST", SYNC).status_code == 202
    wait_until(lambda: latest(server)["state"] == "complete")
