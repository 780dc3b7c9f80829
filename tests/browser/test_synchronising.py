"""Synchronising by hand, and a registry that is away."""

import re

import pytest
from playwright.sync_api import expect

from tests.rigs import images
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.standin import SLOW, StandinRegistry


@pytest.fixture
def registry():
    """It holds good images, and one manifest that is none."""
    with StandinRegistry() as registry:
        for number in range(5):
            registry.put(f"good/app{number}", "1", images.docker_image(str(number)))
        registry.put_image("odd/app", "broken", b'{"schemaVersion": 1}', images.DOCKER_MANIFEST)
        registry.put("slow/app", "1", images.docker_image("slow"))
        yield registry


@pytest.fixture
def server(tmp_path, registry):
    server = RunningServer(tmp_path, registry.port).start()
    wait_until(lambda: server.call("GET", "/api/v1/registry/sync").json()["data"]["state"] != "running", 20)
    yield server
    registry.heal()
    server.stop()


def test_progress_is_shown_a_second_start_is_refused_and_polling_ends(visit, server, registry):
    page = visit(server.url, login=ADMIN[0]).page
    polls = []
    page.on("request", lambda request: polls.append(request.url) if "/sync/progress" in request.url else None)
    registry.put("slow/app", "2", images.docker_image("slow again"))
    registry.fail(SLOW, on="/v2/slow/app/manifests/2")
    page.goto("/sync")
    page.get_by_role("button", name="Synchronise now").click()
    expect(page.get_by_role("progressbar", name="Repositories done")).to_be_visible()
    expect(page.locator("#progress")).to_contain_text(re.compile(r"\d+ of 7 repositories"))
    page.get_by_role("button", name="Synchronise now").click()
    expect(page.get_by_role("alert")).to_contain_text("already running")
    registry.heal()
    expect(page.get_by_role("progressbar", name="Repositories done")).to_have_count(0)
    latest = page.get_by_role("table", name="Synchronisations").locator("tbody tr").first
    expect(latest).to_contain_text("Complete, with errors")
    latest.locator("summary").click()
    expect(latest).to_contain_text("odd/app")
    page.clock.install()
    polls.clear()
    page.clock.run_for(10_000)
    assert polls == []
    page.goto("/repos/slow/app")
    expect(page.locator("#list tbody th[scope=row]")).to_have_count(2)


@pytest.mark.parametrize("has_javascript", [True, False])
def test_lists_work_while_the_registry_is_away_and_it_recovers_by_itself(visit, tmp_path, has_javascript):
    port = free_port()
    with RealRegistry(tmp_path / "registry", port=port) as registry:
        images.push(registry.url, "web/app", "1", images.docker_image())
        server = RunningServer(tmp_path, port).start()
        try:
            wait_until(server.catalog, 20)
            page = visit(server.url, login=ADMIN[0], has_javascript=has_javascript).page
            registry.stop()
            assert server.call("GET", "/api/v1/registry/health").status_code == 502
            page.goto("/repos")
            expect(page.locator(".banner")).to_contain_text("The registry does not answer since")
            expect(page.locator("#list tbody th[scope=row]")).to_have_text(["web/app"])
            assert page.goto("/repos/web/app/-/tags/1").status == 200
            registry.start()
            assert server.call("GET", "/api/v1/registry/health").status_code == 200
            page.goto("/repos")
            expect(page.locator(".banner")).to_have_count(0)
        finally:
            server.stop()
