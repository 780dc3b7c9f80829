import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from regadmin.app import App
from regadmin.errors import Conflict
from regadmin.registry.client import RegistryClient
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.sync_runs import MAX_ERRORS
from tests.conftest import ADMIN, ADMIN_PASSWORD
from tests.rigs import images, standin
from tests.rigs.client import Client
from tests.rigs.images import Image
from tests.rigs.registry import RealRegistry
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.standin import Reply, StandinRegistry
from tests.rigs.tools import clean_environment

SYNC = "/api/v1/registry/sync"
KINDS = [images.docker_image, images.docker_list, images.oci_image, images.oci_index]
GONE = Reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', {"Content-Type": "application/json"})
PATIENCE = 20


class Registry(StandinRegistry):
    """Can fail at certain requests, and can hold answers back after they were made."""

    def __init__(self):
        super().__init__()
        self.is_bad = lambda request: False
        self.is_held = lambda request: False
        self.held = 0
        self._permits = threading.Semaphore(0)
        self._is_open = False

    def fault_for(self, request):
        return Reply(500) if self.is_bad(request) else super().fault_for(request)

    def answer(self, request):
        reply = super().answer(request)
        if not self._is_open and self.is_held(request):
            self.held += 1
            self._permits.acquire(timeout=PATIENCE)
        return reply

    def let_one_go(self) -> None:
        self._permits.release()

    def let_all_go(self) -> None:
        self._is_open = True
        self._permits.release(1000)


class CountingRegistry(StandinRegistry):
    """Answers for manifests only once `goal` of them are asked for at the same time, or after a while."""

    def __init__(self, goal: int):
        super().__init__()
        self.goal, self.active, self.most = goal, 0, 0
        self._changed = threading.Condition()

    def answer(self, request):
        with self._changed:
            self.active += 1
            self.most = max(self.most, self.active)
            self._changed.notify_all()
            if "/manifests/" in request.path:
                self._changed.wait_for(lambda: self.most >= self.goal, timeout=5)
        reply = super().answer(request)
        with self._changed:
            self.active -= 1
        return reply


@pytest.fixture
def registry():
    with Registry() as registry:
        yield registry
        registry.let_all_go()


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def filled(app, registry) -> dict[str, Image]:
    """A registry with two repositories, known to the index."""
    made = {
        "team/app:v1": images.docker_image("one"),
        "team/app:v2": images.oci_index("two"),
        "other/app:v1": images.oci_image("three"),
    }
    for name, image in made.items():
        registry.put(*name.split(":"), image)
    assert app.synchronisation.run("test").state == "complete"
    registry.requests.clear()
    return made


def digests(app: App) -> dict[str, str]:
    rows = app.store.repositories.list_tags(Listing()).rows
    return {f"{tag.repository}:{tag.name}": tag.digest for tag in rows}


def sums(app: App) -> dict[str, tuple[int, int]]:
    return {row.name: (row.tag_count, row.size) for row in app.store.repositories.list(Listing()).rows}


def digests_of(made: dict[str, Image]) -> dict[str, str]:
    return {name: image.digest for name, image in made.items()}


def fill(registry: StandinRegistry, count: int) -> dict[str, str]:
    """So many repositories with an image each; returns what the index should hold."""
    image = images.oci_image()
    for number in range(count):
        registry.put(f"many/app{number:03}", "v1", image)
    return {f"many/app{number:03}:v1": image.digest for number in range(count)}


def without(held: dict, name: str) -> dict:
    return {key: value for key, value in held.items() if key != name}


def pushed(repository: str, tag: str, image: Image) -> dict:
    fields = {"digest": image.digest, "tag": tag, "media_type": image.media_type, "actor": "ci"}
    return standin.event("push", repository, id=str(uuid.uuid4()), **fields)


def post_push(app: App, repository: str, tag: str, image: Image) -> None:
    body = standin.envelope(pushed(repository, tag, image))
    assert Client(app.wsgi, ADMIN).post("/api/v1/registry/events", body=body).status == 200
    assert app.events.apply_waiting()


def until(condition):
    return wait_until(condition, PATIENCE)


def finished(app: App):
    """The run, once it is over."""
    return until(lambda: app.synchronisation.latest().state != "running" and app.synchronisation.latest())


def manifest_requests(registry: StandinRegistry) -> list:
    return [request for request in registry.requests if "/manifests/" in request.path]


class TestPasses:
    def test_of_an_empty_registry_there_is_nothing_to_tell(self, app):
        run = app.synchronisation.run("test")
        assert (run.state, run.trigger, run.errors) == ("complete", "test", ())
        assert (run.repositories_total, run.tags, run.removed) == (0, 0, 0)
        assert app.store.repositories.is_empty()

    def test_the_first_pass_takes_everything_in(self, app, registry):
        made = {f"team/app{n}:{tag}": make(tag) for n, make in enumerate(KINDS) for tag in ("v1", "v2")}
        for name, image in made.items():
            registry.put(*name.split(":"), image)
        run = app.synchronisation.run("test")
        assert (run.state, run.errors) == ("complete", ())
        assert (run.repositories_total, run.repositories_done, run.tags) == (4, 4, 8)
        assert (run.added, run.updated, run.removed) == (8, 0, 0)
        assert digests(app) == digests_of(made)
        assert {tag.size for tag in app.store.repositories.list_tags(Listing()).rows} == {
            image.size for image in made.values()
        }
        assert sums(app)["team/app3"] == (2, made["team/app3:v1"].size + made["team/app3:v2"].size)

    def test_the_second_pass_asks_only_whether_anything_changed(self, app, filled, registry):
        run = app.synchronisation.run("test")
        assert (run.state, run.tags, run.added, run.updated, run.removed) == ("complete", 3, 0, 0, 0)
        assert {request.path for request in registry.requests if request not in manifest_requests(registry)} == {
            "/v2/_catalog",
            "/v2/other/app/tags/list",
            "/v2/team/app/tags/list",
        }
        asked = {request.path: request.headers["If-None-Match"] for request in manifest_requests(registry)}
        assert asked == {
            f"/v2/{name.replace(':', '/manifests/')}": f'"{image.digest}"' for name, image in filled.items()
        }
        assert len(registry.requests) == 6

    def test_a_tag_that_moved_is_followed(self, app, filled, registry):
        image = images.docker_list("new")
        registry.put("team/app", "v1", image)
        run = app.synchronisation.run("test")
        assert (run.added, run.updated, run.removed) == (0, 1, 0)
        assert digests(app) == digests_of(filled | {"team/app:v1": image})
        assert sums(app)["team/app"] == (2, image.size + filled["team/app:v2"].size)

    def test_a_tag_that_is_gone_is_removed(self, app, filled, registry):
        del registry.tags["team/app"]["v1"]
        assert app.synchronisation.run("test").removed == 1
        assert digests(app) == without(digests_of(filled), "team/app:v1")
        assert sums(app)["team/app"] == (1, filled["team/app:v2"].size)

    @pytest.mark.parametrize("is_in_catalog", [True, False])
    def test_a_repository_that_is_gone_is_removed(self, app, filled, registry, is_in_catalog):
        if is_in_catalog:
            registry.tags["other/app"] = {}
        else:
            del registry.tags["other/app"]
        assert app.synchronisation.run("test").removed == 1
        assert digests(app) == without(digests_of(filled), "other/app:v1")
        assert app.store.repositories.find("other/app") is None

    def test_manifests_without_a_tag_go_with_all_that_hangs_on_them(self, app, filled, registry):
        index = filled["team/app:v2"]
        kept = index.children[0]
        registry.put("team/app", "child", kept)
        del registry.tags["team/app"]["v2"]
        app.synchronisation.run("test")
        held = [app.store.repositories.has_manifest("team/app", image.digest) for image in (index, *index.children)]
        assert held == [False, True, False]
        assert app.store.repositories.document("team/app", kept.digest) == kept.raw

    def test_the_children_of_an_index_stay_with_it(self, app, filled):
        for _ in range(2):
            app.synchronisation.run("test")
        index = filled["team/app:v2"]
        assert all(app.store.repositories.has_manifest("team/app", child.digest) for child in index.children)

    def test_a_layer_that_images_share_stays_as_long_as_one_of_them_does(self, app, registry):
        first, second = (images.oci_image("the same", platform) for platform in images.PLATFORMS)
        assert set(first.blobs) & set(second.blobs)
        registry.put("a/app", "v1", first)
        registry.put("b/app", "v1", second)
        app.synchronisation.run("test")
        del registry.tags["a/app"]
        app.synchronisation.run("test")
        assert sums(app) == {"b/app": (1, second.size)}
        blobs = {row["digest"] for row in app.store.database.all("SELECT digest FROM blobs")}
        assert blobs == set(second.blobs)

    def test_a_repository_of_300_tags_is_read_over_all_its_pages(self, app, registry):
        expected = {}
        for number in range(300):
            image = images.oci_image(f"image {number}")
            registry.put("team/app", f"v{number}", image)
            expected[f"team/app:v{number}"] = image.digest
        run = app.synchronisation.run("test")
        assert (run.state, run.tags) == ("complete", 300)
        assert digests(app) == expected
        assert [request.path for request in registry.requests].count("/v2/team/app/tags/list") == 3

    def test_a_catalog_is_read_over_all_its_pages(self, app, registry):
        expected = fill(registry, 105)
        run = app.synchronisation.run("test")
        assert (run.repositories_total, run.repositories_done) == (105, 105)
        assert digests(app) == expected

    def test_rules_are_never_touched(self, app, filled, registry, admin):
        for name in ("team/app", "other/app", "not/yet", "/.*/"):
            rule = {"owner_id": -999, "type": "repository", "resource_name": name, "action": "pull"}
            assert admin.post("/api/v1/access", json=rule).status == 200
        before = app.store.rules.list(Listing()).rows
        registry.tags.clear()
        assert app.synchronisation.run("test").removed == 3
        assert app.store.rules.list(Listing()).rows == before
        assert len(before) == 4

    def test_requests_are_parallel_and_bounded_whoever_asks(self, settings, clock):
        """Synchronisation, events and pages together."""
        bound = inspect.signature(RegistryClient).parameters["max_connections"].default
        with CountingRegistry(goal=bound) as registry, ThreadPoolExecutor(bound) as pages:
            expected = fill(registry, 5 * bound)
            app = App(settings(registry__port=registry.port), clock)
            told = [pushed("many/app000", "v1", images.oci_image()) for _ in range(2 * bound)]
            app.events.record(standin.envelope(*told), app.users.find(1))
            app.synchronisation.start("test")
            asked = [pages.submit(app.registry.manifest, "many/app001", "v1") for _ in range(2 * bound)]
            until(app.events.apply_waiting)
            assert finished(app).state == "complete"
            assert {page.result().digest for page in asked} == set(expected.values())
        assert digests(app) == expected
        assert registry.most == bound

    def test_what_is_known_by_its_digest_is_not_fetched_again(self, app, registry):
        image, index = images.oci_image(), images.oci_index()
        for number in range(50):
            registry.put("team/app", f"v{number}", image)
            registry.put("team/app", f"w{number}", index)
        assert app.synchronisation.run("test").added == 100
        paths = [request.path for request in registry.requests]
        assert len([path for path in paths if "/blobs/" in path]) == 3
        assert all(paths.count(f"/v2/team/app/manifests/{child.digest}") == 1 for child in index.children)
        registry.requests.clear()
        registry.put("other/app", "v1", image)
        registry.put("team/app", "again", index)
        assert app.synchronisation.run("test").added == 2
        assert [request.path for request in registry.requests if "sha256:" in request.path] == []
        assert sums(app) == {"team/app": (101, 50 * image.size + 51 * index.size), "other/app": (1, image.size)}

    def test_tags_of_one_image_share_its_failure(self, app, registry):
        image = images.oci_image()
        for number in range(10):
            registry.put("team/app", f"v{number}", image)
        registry.fail(Reply(500), on="/blobs/")
        run = app.synchronisation.run("test")
        assert (run.state, run.added, len(run.errors)) == ("complete", 0, 10)
        registry.heal()
        assert app.synchronisation.run("test").added == 10


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            standin.GARBAGE,
            standin.WRONG_DIGEST,
            standin.WRONG_BYTES,
            standin.HANG_UP,
            standin.CUT,
            GONE,
            Reply(404, b"nothing here"),
            Reply(403, b'{"errors":[{"code":"DENIED"}]}'),
            Reply(429),
            Reply(500),
        ],
        ids=str,
    )
    def test_a_broken_manifest_is_reported_and_skipped_and_its_tag_kept(self, app, filled, registry, fault):
        registry.put("team/app", "v1", images.docker_image("moved"))
        registry.put("team/app", "new", images.docker_image("new"))
        del registry.tags["team/app"]["v2"]
        registry.fail(fault, on="/team/app/manifests/v1")
        run = app.synchronisation.run("test")
        assert (run.state, run.tags, run.added, run.removed) == ("complete", 2, 1, 1)
        [error] = run.errors
        assert error.startswith("team/app:v1: the registry ")
        kept = digests(app)
        assert kept["team/app:v1"] == filled["team/app:v1"].digest
        assert set(kept) == {"team/app:v1", "team/app:new", "other/app:v1"}
        registry.heal()
        assert app.synchronisation.run("test").errors == ()
        assert digests(app)["team/app:v1"] == images.docker_image("moved").digest

    @pytest.mark.parametrize("raw", [b"{}", b'{"schemaVersion":1}', b"\xff", b'{"schemaVersion":2,"layers":[7]}'])
    def test_a_document_that_is_no_manifest_is_reported_and_skipped(self, app, filled, registry, raw):
        registry.put_image("team/app", "v1", raw, images.DOCKER_MANIFEST)
        run = app.synchronisation.run("test")
        assert (run.state, run.tags) == ("complete", 2)
        [error] = run.errors
        assert error.startswith("team/app:v1: ")
        assert digests(app) == digests_of(filled)

    def test_a_broken_child_is_no_reason_to_miss_its_index(self, app, registry):
        image = images.oci_index()
        registry.put("team/app", "v1", image)
        registry.fail(GONE, on=image.children[0].digest)
        assert app.synchronisation.run("test").errors == ()
        assert digests(app) == {"team/app:v1": image.digest}
        assert sums(app) == {"team/app": (1, image.children[1].size)}

    def test_many_broken_manifests_in_a_row_do_not_end_the_pass(self, app, registry):
        for number in range(60):
            registry.put("a/broken", f"v{number}", images.oci_image(f"image {number}"))
        registry.put("z/app", "v1", images.oci_image())
        registry.fail(Reply(500), on="/v2/a/broken/manifests/")
        run = app.synchronisation.run("test")
        assert (run.state, len(run.errors)) == ("complete", 60)
        assert digests(app) == {"z/app:v1": images.oci_image().digest}

    def test_no_more_errors_are_kept_than_somebody_reads(self, app, registry):
        for number in range(MAX_ERRORS + 30):
            registry.put("team/app", f"v{number}", images.oci_image())
        registry.fail(Reply(500), on="/manifests/")
        assert len(app.synchronisation.run("test").errors) == MAX_ERRORS
        assert len(app.synchronisation.latest().errors) == MAX_ERRORS

    @pytest.mark.parametrize("fault", [Reply(500), Reply(403, b'{"errors":[{"code":"DENIED"}]}'), standin.GARBAGE])
    def test_when_the_tags_of_one_repository_cannot_be_listed_nothing_is_removed_anywhere(
        self, app, filled, registry, fault
    ):
        new = images.docker_image("new")
        registry.put("team/app", "new", new)
        del registry.tags["team/app"]["v1"]
        del registry.tags["team/app"]["v2"]
        registry.fail(fault, on="/other/app/tags/list")
        run = app.synchronisation.run("test")
        assert (run.state, run.removed, run.added) == ("failed", 0, 1)
        assert run.errors[0].startswith("other/app: the registry ")
        assert digests(app) == digests_of(filled | {"team/app:new": new})
        assert sums(app)["team/app"][0] == 3
        registry.heal()
        assert app.synchronisation.run("test").removed == 2
        assert digests(app) == digests_of({"team/app:new": new, "other/app:v1": filled["other/app:v1"]})

    def test_when_a_list_of_tags_breaks_off_in_the_middle_nothing_is_removed(self, app, registry):
        for number in range(105):
            registry.put("team/app", f"v{number:03}", images.oci_image())
        app.synchronisation.run("test")
        registry.is_bad = lambda request: request.query.get("last") == "v099"
        assert app.synchronisation.run("test").state == "failed"
        assert len(digests(app)) == 105

    @pytest.mark.parametrize("page", ["", "many/app099"])
    def test_when_the_catalog_breaks_off_in_the_middle_nothing_is_removed(self, app, registry, page):
        expected = fill(registry, 105)
        app.synchronisation.run("test")
        del registry.tags["many/app000"]["v1"]
        registry.is_bad = lambda request: request.path == "/v2/_catalog" and request.query.get("last", "") == page
        run = app.synchronisation.run("test")
        assert (run.state, run.removed) == ("failed", 0)
        assert run.errors[0].startswith("the catalog: the registry ")
        assert digests(app) == expected

    def test_a_name_that_cannot_be_is_reported_and_hinders_nothing(self, app, filled, registry):
        registry.tags["Team/.."] = {"v1": filled["team/app:v1"].digest}
        del registry.tags["team/app"]["v1"]
        run = app.synchronisation.run("test")
        assert (run.state, run.removed, len(run.errors)) == ("complete", 1, 1)
        assert "Team/.." in run.errors[0]

    def test_a_registry_that_refuses_us_is_told_with_what_to_compare(self, app, filled, registry):
        registry.authorization = "Bearer another"
        run = app.synchronisation.run("test")
        assert run.state == "failed"
        assert "rootcertbundle" in run.errors[0]
        assert digests(app) == digests_of(filled)

    def test_a_registry_that_is_down_fails_the_pass_and_removes_nothing(self, app, filled, registry):
        registry.stop()
        run = app.synchronisation.run("test")
        assert (run.state, run.tags, run.removed) == ("failed", 0, 0)
        assert "Connection refused" in run.errors[0]
        assert digests(app) == digests_of(filled)
        assert (app.synchronisation.latest().state, app.synchronisation.latest().errors) == ("failed", run.errors)

    @pytest.mark.parametrize("part", ["/manifests/", "/tags/list"])
    def test_a_registry_that_goes_away_ends_the_pass_early(self, app, registry, part):
        fill(registry, 200)
        seen = []
        registry.is_held = lambda request: part in request.path and (seen.append(request.path) or len(seen) == 30)
        app.synchronisation.start("test")
        until(lambda: registry.held)
        registry.stop()
        registry.let_all_go()
        run = finished(app)
        assert run.state == "failed"
        assert 0 < len(run.errors) < 100
        assert all(size for _, size in sums(app).values())

    def test_what_was_not_asked_for_before_the_registry_went_away_stays(self, app, registry):
        image = images.oci_image()
        for number in range(100):
            registry.put("team/app", f"v{number:03}", image)
        app.synchronisation.run("test")
        registry.is_held = lambda request: request.path.endswith("/manifests/v005")
        app.synchronisation.start("test")
        until(lambda: registry.held)
        registry.stop()
        registry.let_all_go()
        run = finished(app)
        assert (run.state, run.repositories_done, run.removed) == ("failed", 1, 0)
        assert run.tags + len(run.errors) < 100
        assert len(digests(app)) == 100

    def test_the_end_of_the_process_ends_a_run_early_and_removes_nothing(self, app, filled, registry):
        del registry.tags["team/app"]["v1"]
        fill(registry, 100)
        registry.is_held = lambda request: "/manifests/" in request.path
        app.synchronisation.start("test")
        wait_until(lambda: registry.held)
        app.end()
        registry.let_all_go()
        wait_until(lambda: app.synchronisation.latest().state == "failed", PATIENCE)
        assert digests(app).items() >= digests_of(filled).items()
        assert len(digests(app)) < 100

    def test_a_fault_of_our_own_is_told_too(self, app, registry, caplog):
        registry.put("team/app", "v1", images.oci_image())
        app.store.database.execute(
            """
            CREATE TRIGGER broken BEFORE INSERT ON repositories
            BEGIN SELECT RAISE(ABORT, 'as if by a fault of ours'); END
            """
        )
        run = app.synchronisation.run("test")
        assert (run.state, run.errors) == ("failed", ("synchronisation: broke off; the server's log says why",))
        assert "as if by a fault of ours" in caplog.text


class TestTogetherWithEvents:
    def test_a_tag_that_is_pushed_during_the_run_survives_it(self, app, filled, registry):
        image = images.oci_index("during the run")
        registry.is_held = lambda request: request.path == "/v2/other/app/manifests/v1"
        app.synchronisation.start("test")
        until(lambda: registry.held)
        registry.put("another/app", "v1", image)
        post_push(app, "another/app", "v1", image)
        registry.let_all_go()
        assert finished(app).state == "complete"
        assert digests(app) == digests_of(filled | {"another/app:v1": image})
        assert app.store.repositories.has_manifest("another/app", image.children[0].digest)

    def test_a_child_that_is_pushed_during_the_run_survives_it(self, app, filled, registry):
        child = images.oci_image("a child without its index yet")
        registry.is_held = lambda request: request.path == "/v2/other/app/manifests/v1"
        app.synchronisation.start("test")
        until(lambda: registry.held)
        registry.put("team/app", "", child)
        post_push(app, "team/app", "", child)
        registry.let_all_go()
        assert finished(app).state == "complete"
        assert app.store.repositories.has_manifest("team/app", child.digest)

    def test_a_known_image_that_is_tagged_again_during_the_run_survives_it(self, app, filled, registry):
        """Its manifest was untagged, so only the event knows that it is needed."""
        index = filled["team/app:v2"]
        del registry.tags["team/app"]["v2"]
        registry.is_held = lambda request: request.path == "/v2/other/app/manifests/v1"
        app.synchronisation.start("test")
        until(lambda: registry.held and app.synchronisation.latest().repositories_total)
        registry.put("team/app", "again", index)
        post_push(app, "team/app", "again", index)
        registry.let_all_go()
        assert finished(app).state == "complete"
        assert digests(app)["team/app:again"] == index.digest
        assert all(app.store.repositories.has_manifest("team/app", child.digest) for child in index.children)

    @pytest.mark.parametrize("tag", ["v1", "new"])
    def test_a_tag_that_is_pushed_again_during_the_run_is_not_moved_back(self, app, filled, registry, tag):
        before, after = images.docker_image("before"), images.docker_image("after")
        registry.put("team/app", tag, before)
        registry.is_held = lambda request: request.path == f"/v2/team/app/manifests/{tag}" and not registry.held
        app.synchronisation.start("test")
        until(lambda: registry.held)
        registry.put("team/app", tag, after)
        post_push(app, "team/app", tag, after)
        registry.let_all_go()
        assert finished(app).state == "complete"
        assert digests(app)[f"team/app:{tag}"] == after.digest


class TestOneAtATime:
    def test_progress_can_be_read_elsewhere_while_it_runs(self, app, registry, admin):
        fill(registry, 100)
        registry.is_held = lambda request: "/manifests/" in request.path
        started = app.synchronisation.start("button")
        elsewhere = Store(app.store.database.path)

        def progress():
            registry.let_one_go()
            run = elsewhere.sync_runs.latest()
            return run.tags and run

        run = until(progress)
        assert (run.id, run.state, run.trigger) == (started.id, "running", "button")
        assert 0 < run.tags < run.repositories_total == 100
        row = admin.get(SYNC).json["data"]
        assert (row["state"], row["repositories_total"], row["finished_at"]) == ("running", 100, None)
        registry.let_all_go()
        assert finished(app).tags == 100

    def test_while_one_runs_another_is_told_since_when_and_by_whom(self, app, registry, admin, clock, settings):
        registry.put("team/app", "v1", images.oci_image())
        registry.is_held = lambda request: "/manifests/" in request.path
        answer = admin.post(SYNC)
        assert (answer.status, answer.json["data"]["state"]) == (202, "running")
        until(lambda: registry.held)
        clock.pass_time(60)
        since = time.strftime("%H:%M", time.gmtime(clock.now - 60))
        message = f"already running since {since} UTC, by admin"
        elsewhere = App(settings(registry__port=registry.port), clock)
        for synchronisation in (app.synchronisation, elsewhere.synchronisation):
            for begin in (synchronisation.run, synchronisation.start):
                with pytest.raises(Conflict, match=message):
                    begin("another")
        refused = admin.post(SYNC)
        assert (refused.status, refused.json["message"]) == (409, message)
        assert not elsewhere.synchronisation.start_by_timer()
        registry.let_all_go()
        assert finished(app).state == "complete"
        assert app.synchronisation.run("another").state == "complete"

    def test_only_an_admin_may_start_one(self, app, admin, client):
        admin.post("/api/v1/users", json={"login": "alice", "password": "alice-pass", "role": "manager"})
        assert client.post(SYNC).status == 401
        assert client.post(SYNC, basic="alice:alice-pass").status == 403
        assert app.synchronisation.latest() is None

    @pytest.mark.parametrize("passed", [0, 86400, -86400])
    def test_a_run_is_alive_as_long_as_its_process_whatever_the_clock_does(self, app, clock, passed):
        runs = Store(app.store.database.path).sync_runs
        dead = runs.start("timer")
        clock.pass_time(passed)
        with pytest.raises(Conflict):
            app.synchronisation.run("test")
        runs.release(dead)
        assert app.synchronisation.run("test").state == "complete"
        assert app.store.sync_runs.find(dead).state == "interrupted"

    def test_a_run_that_ends_does_not_unlock_the_next_one(self, app, monkeypatch):
        runs = app.store.sync_runs
        finish = runs.finish
        monkeypatch.setattr(runs, "finish", lambda run: (finish(run), runs.start("next")))
        app.synchronisation.run("test")
        with pytest.raises(Conflict):
            app.synchronisation.run("third")

    def test_a_run_that_cannot_be_taken_over_or_handed_over_stands_in_nobodys_way(self, app, monkeypatch):
        synchronisation, given = app.synchronisation, []
        synchronisation.hand_over = lambda run_id, lock: given.append((run_id, os.dup(lock)))
        synchronisation.start("test")
        ((run_id, lock),) = given
        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(app.store.sync_runs, "find", lambda run_id: os.fstat(-1))
            synchronisation.take_over(run_id, lock)
        synchronisation.hand_over = lambda run_id, lock: os.fstat(-1)
        for _ in range(2):
            with pytest.raises(OSError):
                synchronisation.start("test")
        assert synchronisation.run("test").state == "complete"

    @pytest.mark.parametrize("jump", [-86400, 86400])
    def test_a_clock_that_jumps_during_a_run_does_no_harm(self, app, filled, registry, clock, jump):
        image = images.docker_image("new")
        registry.put("team/app", "new", image)
        del registry.tags["team/app"]["v1"]
        registry.is_held = lambda request: request.path == "/v2/other/app/manifests/v1"
        app.synchronisation.start("test")
        until(lambda: registry.held)
        clock.pass_time(jump)
        registry.let_all_go()
        run = finished(app)
        assert (run.state, run.added, run.removed, run.finished_at) == ("complete", 1, 1, clock.now)
        assert digests(app) == digests_of(without(filled, "team/app:v1") | {"team/app:new": image})
        assert app.synchronisation.run("test").removed == 0

    def test_two_runs_that_overlap_after_all_do_no_harm(self, app, filled, registry, clock, settings):
        """As on a file system whose locks are not shared."""
        del registry.tags["team/app"]["v1"]
        registry.is_held = lambda request: request.path == "/v2/other/app/manifests/v1" and not registry.held
        app.synchronisation.start("slow")
        until(lambda: registry.held)
        app.store.sync_runs.release(2)
        elsewhere = App(settings(registry__port=registry.port), clock)
        assert elsewhere.synchronisation.run("second").state == "complete"
        registry.let_all_go()
        until(lambda: app.store.sync_runs.find(2).state == "complete")
        assert digests(app) == without(digests_of(filled), "team/app:v1")


class TestByItself:
    def test_an_empty_index_is_filled_at_the_start(self, app, registry):
        expected = fill(registry, 3)
        app.prepare()
        app.begin()
        app.begin_background_work()
        try:
            until(lambda: digests(app) == expected)
            assert finished(app).trigger == "start"
        finally:
            app.end()

    def test_an_index_that_was_read_is_not_read_again_at_the_start(self, app, filled, registry):
        assert app.synchronisation.run_if_empty()
        assert registry.requests == []

    def test_an_index_that_was_emptied_is_read_again_at_the_start(self, app, filled, registry):
        held, registry.tags = registry.tags, {}
        assert app.synchronisation.run("test").removed == 3
        registry.tags = held
        assert app.synchronisation.run_if_empty()
        assert digests(app) == digests_of(filled)

    def test_an_index_that_was_never_read_to_its_end_is_read_at_the_start(self, app, registry):
        expected = fill(registry, 3)
        registry.fail(Reply(500), on="/v2/many/app001/tags/list")
        app.synchronisation.run("test")
        assert not app.store.repositories.is_empty()
        registry.heal()
        assert app.synchronisation.run_if_empty()
        assert digests(app) == expected

    def test_while_the_registry_is_away_the_start_is_put_off(self, app, registry):
        expected = fill(registry, 3)
        registry.stop()
        assert not app.synchronisation.run_if_empty()
        assert app.synchronisation.latest() is None
        registry.start()
        assert app.synchronisation.run_if_empty()
        assert digests(app) == expected

    def test_while_another_run_is_going_on_the_start_is_put_off(self, app):
        runs = Store(app.store.database.path).sync_runs
        run_id = runs.start("command line")
        assert not app.synchronisation.run_if_empty()
        runs.release(run_id)
        assert app.synchronisation.run_if_empty()

    def test_the_timer_synchronises_at_the_interval_of_the_settings(self, settings, clock, registry):
        expected = fill(registry, 3)
        app = App({**settings(registry__port=registry.port), "registry.gc-interval": 0.001}, clock)
        app.synchronisation.run("test")
        del registry.tags["many/app001"]["v1"]
        app.prepare()
        app.begin()
        app.begin_background_work()
        try:
            until(lambda: digests(app) == without(expected, "many/app001:v1"))
            assert finished(app).trigger == "timer"
        finally:
            app.end()


class TestCommandLine:
    @pytest.fixture
    def sync(self, tmp_path, registry):
        def sync(meanwhile=lambda process: None) -> subprocess.CompletedProcess:
            given = [
                "--registry.host=http://127.0.0.1",
                f"--registry.port={registry.port}",
                f"--store.embed.path={tmp_path}/data.db",
                f"--store.admin-password={ADMIN_PASSWORD}",
                f"--registry.certs.path={tmp_path}/certs",
            ]
            command = [sys.executable, "-m", "regadmin", "sync", *given]
            options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": clean_environment(tmp_path)}
            # A suite that runs in the background may have been told to ignore Ctrl-C.
            options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            with subprocess.Popen(command, text=True, **options) as process:
                meanwhile(process)
                out, err = process.communicate(timeout=30)
            return subprocess.CompletedProcess(command, process.returncode, out, err)

        return sync

    def test_ctrl_c_ends_it_and_the_next_run_may_begin_at_once(self, app, registry, sync):
        fill(registry, 100)
        registry.is_held = lambda request: "/manifests/" in request.path

        def interrupt(process: subprocess.Popen) -> None:
            until(lambda: registry.held)
            process.send_signal(signal.SIGINT)
            registry.let_all_go()

        ended = sync(interrupt)
        assert ended.returncode == 130
        assert "Traceback" not in ended.stderr
        assert app.synchronisation.latest().state == "failed"
        assert sync().returncode == 0

    def test_it_synchronises_and_prints_what_it_did(self, app, registry, sync):
        expected = fill(registry, 3)
        ended = sync()
        assert (ended.returncode, ended.stdout) == (
            0,
            "complete: 3 repositories, 3 tags; 3 added, 0 updated, 0 removed\n",
        )
        assert digests(app) == expected
        assert app.synchronisation.latest().trigger == "command line"

    def test_when_the_registry_is_down_it_says_so_with_exit_status_1(self, registry, sync):
        registry.stop()
        ended = sync()
        assert ended.returncode == 1
        assert ended.stdout.startswith("failed: 0 repositories")
        assert "Connection refused" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_while_another_runs_it_says_so_with_exit_status_1(self, registry, sync, tmp_path):
        store = Store(tmp_path / "data.db")
        run_id = store.sync_runs.start("the timer")
        ended = sync()
        store.sync_runs.release(run_id)
        assert ended.returncode == 1
        assert "by the timer" in ended.stderr
        assert ended.stdout == ""


def test_the_run_of_a_killed_server_is_taken_over_at_once_and_goes_on_where_it_was(tmp_path, settings):
    with Registry() as registry:
        expected = fill(registry, 250)
        registry.is_held = lambda request: request.path == "/v2/many/app200/manifests/v1"
        server = RunningServer(tmp_path, registry.port).start()
        app = App(settings(registry__port=registry.port), time.time)
        try:
            until(lambda: registry.held)
            dead = app.synchronisation.latest()
            assert (dead.state, dead.trigger) == ("running", "start")
            assert not app.synchronisation.run_if_empty()
            # Of the 200 before the one that hangs, those in the last batch and under way are not kept yet.
            until(lambda: len(digests(app)) >= 30)
        finally:
            server.stop(by=signal.SIGKILL)
        kept = len(digests(app))
        registry.let_all_go()
        registry.requests.clear()
        assert app.synchronisation.run_if_empty()
        assert digests(app) == expected
        assert sum("If-None-Match" in request.headers for request in registry.requests) >= kept
        assert app.store.sync_runs.find(dead.id).state == "interrupted"


def test_a_real_registry_is_followed(tmp_path: Path, settings, clock):
    with RealRegistry(tmp_path / "registry") as registry:
        app = App(settings(registry__port=registry.port), clock)
        made = {f"team/app{number}:v1": make() for number, make in enumerate(KINDS)}
        for name, image in made.items():
            images.push(registry.url, *name.split(":"), image)
        run = app.synchronisation.run("test")
        assert (run.state, run.errors, run.added) == ("complete", (), 4)
        assert digests(app) == digests_of(made)
        assert {tag.size for tag in app.store.repositories.list_tags(Listing()).rows} == {
            image.size for image in made.values()
        }

        moved, more = images.oci_index("moved"), images.docker_image("more")
        images.push(registry.url, "team/app0", "v1", moved)
        images.push(registry.url, "team/app1", "v2", more)
        app.registry.delete_manifest("team/app2", made["team/app2:v1"].digest)
        run = app.synchronisation.run("test")
        assert (run.state, run.errors) == ("complete", ())
        assert (run.added, run.updated, run.removed) == (1, 1, 1)
        expected = without(made, "team/app2:v1") | {"team/app0:v1": moved, "team/app1:v2": more}
        assert digests(app) == digests_of(expected)

        run = app.synchronisation.run("test")
        assert (run.tags, run.added, run.updated, run.removed) == (4, 0, 0, 0)
        # Two were as we knew them in the second pass, all four in the third.
        assert registry.log.read_text().count('HTTP/1.1" 304 ') == 6
