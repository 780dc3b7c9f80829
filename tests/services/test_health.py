"""Whether the registry is known to be there, without asking it for every page."""

from contextlib import suppress

import pytest

from regadmin.app import App
from regadmin.errors import RegistryError
from tests.rigs.standin import HANG_UP, Reply, StandinRegistry


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


def ask(app: App) -> None:
    """Any request, whatever becomes of it."""
    with suppress(RegistryError):
        list(app.registry.repositories())


def test_nothing_is_known_before_anybody_asked(app):
    assert (app.health.down_since, app.health.latest) == (None, None)


@pytest.mark.parametrize("fault", [HANG_UP, Reply(502), Reply(503), Reply(504)])
def test_any_request_tells_that_the_registry_is_away_and_since_when(app, registry, clock, fault):
    registry.fail(fault)
    ask(app)
    away = int(clock.now)
    clock.pass_time(60)
    ask(app)
    assert app.health.down_since == away
    registry.heal()
    ask(app)
    assert app.health.down_since is None


@pytest.mark.parametrize("fault", [Reply(500), Reply(403), Reply(404, b"404 page not found")])
def test_a_registry_that_fails_at_something_is_there(app, registry, fault):
    registry.fail(fault)
    ask(app)
    assert app.health.down_since is None


def test_a_registry_that_nobody_listens_for_is_away(app, registry):
    registry.stop()
    ask(app)
    assert app.health.down_since is not None


def test_a_check_finds_how_the_registry_answers(app, registry, clock):
    finding = app.health.check()
    assert finding == app.health.latest
    assert (finding.at, finding.error, finding.ping.status) == (int(clock.now), "", 200)
    assert 0 < finding.ping.seconds < 5


def test_a_check_finds_that_it_does_not_and_later_that_it_does(app, registry, clock):
    registry.stop()
    finding = app.health.check()
    assert finding.ping is None
    assert "Connection refused" in finding.error
    assert app.health.down_since == int(clock.now)
    registry.start()
    assert app.health.check().ping
    assert app.health.down_since is None


def test_a_check_does_not_wait_for_the_connections_of_others(app, registry):
    connections = app.registry._transport._connections.pool
    taken = [connections.get() for _ in range(connections.qsize())]
    assert taken and app.health.check().ping
