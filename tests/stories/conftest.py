"""One guarded registry for all stories of a session; each works in repositories of its own."""

import pytest

from tests.rigs.server import GuardedRegistry


@pytest.fixture(scope="session")
def guarded(tmp_path_factory):
    world = GuardedRegistry(tmp_path_factory.mktemp("guarded"), workers=2)
    yield world
    world.stop()
