import itertools
import json
import random
import signal
import uuid
from base64 import b64encode

import pytest
import requests

from regadmin.app import USER_AGENT, App
from regadmin.services.tokens import OWN_SUBJECT
from regadmin.store.listing import Listing
from tests.conftest import ADMIN, ADMIN_PASSWORD
from tests.rigs import images, standin
from tests.rigs.client import Client
from tests.rigs.images import Image
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.standin import Reply, StandinRegistry, envelope

HOOK = "/api/v1/registry/events"
SETTLED = 5
"""Seconds after which a push is taken for what the registry says it is."""
EARLY, LATE = "2024-05-06T08:00:00Z", "2024-05-06T09:00:00Z"
EARLY_SECONDS, LATE_SECONDS = 1714982400, 1714986000
SOMEONE = "ci"
ACTIONS = ("push", "pull", "delete")
KINDS = [images.docker_image, images.docker_list, images.oci_image, images.oci_index]


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    return App(settings(registry__port=registry.port), clock)


@pytest.fixture
def notify(app, admin, clock):
    """Posts events in one envelope and applies them, some time later."""

    def notify(*events: dict) -> None:
        assert admin.post(HOOK, body=envelope(*events)).status == 200
        clock.pass_time(SETTLED)
        assert app.events.apply_waiting()

    return notify


@pytest.fixture
def push(registry, notify):
    """Puts an image into the registry, which tells of it as it does: the children first."""

    def push(repository: str, tag: str, image: Image, **fields: str) -> None:
        registry.put(repository, tag, image)
        notify(*told_of_push(repository, tag, image, **fields))

    return push


def seen(action: str, repository: str, image: Image | None = None, tag: str = "", **fields: str) -> dict:
    """An event with an id of its own, as 3.x writes it."""
    target = {"digest": image.digest, "media_type": image.media_type} if image else {}
    given = {"id": str(uuid.uuid4()), "actor": SOMEONE, "timestamp": EARLY, "tag": tag}
    return standin.event(action, repository, **given | target | fields)


def pushed(repository: str, tag: str, image: Image, **fields: str) -> dict:
    return seen("push", repository, image, tag, method="PUT", **fields)


def pulled(repository: str, tag: str, image: Image, **fields: str) -> dict:
    return seen("pull", repository, image, tag, **{"method": "GET"} | fields)


def told_of_push(repository: str, tag: str, image: Image, **fields: str) -> list[dict]:
    children = [event for child in image.children for event in told_of_push(repository, "", child, **fields)]
    return [*children, pushed(repository, tag, image, **fields)]


def remove(registry: StandinRegistry, repository: str, reference: str) -> None:
    """Delete a tag or a manifest in the registry."""
    answer = requests.delete(f"{registry.url}/v2/{repository}/manifests/{reference}", timeout=10)
    assert answer.status_code == 202


def index_of(*children: Image) -> Image:
    descriptors = [{"mediaType": c.media_type, "size": len(c.raw), "digest": c.digest} for c in children]
    document = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": descriptors}
    return Image(json.dumps(document).encode(), images.OCI_INDEX, {}, children)


def tags(app: App) -> dict:
    """What the index holds, by `repository:tag`."""
    rows = app.store.repositories.list_tags(Listing()).rows
    return {f"{tag.repository}:{tag.name}": tag for tag in rows}


def digests(app: App) -> dict[str, str]:
    return {name: tag.digest for name, tag in tags(app).items()}


def content(app: App) -> list[tuple]:
    """What the index says of the registry's content, without what only events tell."""
    found = [
        (tag.repository, tag.name, tag.digest, tag.config_digest, tag.media_type, tag.kind, tag.size)
        + (tag.platforms, tag.created_at)
        for tag in tags(app).values()
    ]
    repositories = app.store.repositories.list(Listing()).rows
    return sorted(found) + sorted((row.name, row.tag_count, row.size) for row in repositories)


def content_by_synchronisation(settings, clock, registry: StandinRegistry, tmp_path) -> list[tuple]:
    """What a new index finds in the registry."""
    path = tmp_path / "fresh.db"
    fresh = App(settings(registry__port=registry.port, store__embed__path=path), clock)
    assert fresh.synchronisation.run("test").state == "complete"
    return content(fresh)


def happened(registry: StandinRegistry, chance: random.Random) -> list[dict]:
    """Do something to the registry, and give what it tells of it."""
    name, tag = f"team/app{chance.randrange(5)}", f"v{chance.randrange(8)}"
    digest = registry.tags.get(name, {}).get(tag)
    if digest and chance.random() < 0.4:
        reference = chance.choice([tag, digest])
        remove(registry, name, reference)
        return [seen("delete", name, **{"digest" if ":" in reference else "tag": reference})]
    image = chance.choice([images.oci_image, images.oci_index])(f"image {chance.randrange(30)}")
    registry.put(name, tag, image)
    return told_of_push(name, tag, image)


def tagged(rows: list[tuple]) -> list[tuple]:
    """Without the repositories of which only manifests without a tag are known, and that only by events."""
    return [row for row in rows if row[1]]


def inbox(app: App) -> list[tuple[str, bytes]]:
    """Outcome and body of all that is kept."""
    return [tuple(row) for row in app.store.database.all("SELECT outcome, body FROM inbox ORDER BY id")]


def told(app: App) -> list[str]:
    """The activity, oldest first."""
    rows = app.store.activity.latest(1000)
    return [f"{row['event']} {row['object']} by {row['actor']}" for row in reversed(rows) if row["event"] in ACTIONS]


def counted(app: App) -> dict[str, int]:
    """How often each event was counted for the charts."""
    rows = app.store.database.all("SELECT event, sum(count) FROM activity_counts GROUP BY event")
    return dict(rows)


class TestInbox:
    @pytest.mark.parametrize(
        "content_type",
        [
            "application/vnd.docker.distribution.events.v1+json",
            "application/vnd.docker.distribution.events.v2+json",
            "application/json; charset=utf-8",
            "",
        ],
    )
    def test_envelopes_of_2_8_and_of_3_x_are_taken(self, app, clock, registry, content_type):
        image = images.oci_image()
        registry.put("team/app", "v1", image)
        client = Client(lambda environ, answer: app.wsgi(environ | {"CONTENT_TYPE": content_type}, answer), ADMIN)
        answer = client.post(HOOK, body=envelope(pushed("team/app", "v1", image)))
        assert (answer.status, answer.json["error"], answer.json["message"]) == (200, False, "ok")
        assert app.events.apply_waiting()
        assert digests(app) == {"team/app:v1": image.digest}

    def test_an_event_without_the_fields_that_2_8_leaves_out_is_applied(self, push, notify, app, registry):
        image = images.docker_image()
        push("team/app", "v1", image)
        del registry.tags["team/app"]["v1"]
        event = seen("delete", "team/app", tag="v1")
        del event["target"]["digest"], event["target"]["mediaType"], event["request"]["useragent"]
        notify(event)
        assert digests(app) == {}

    def test_nobody_may_post_without_an_enabled_account(self, app, client, admin):
        alice = admin.post("/api/v1/users", json={"login": "alice", "password": "alice-pass", "role": "user"})
        admin.put(f"/api/v1/users/{alice.json['id']}", json={"blocked": True})
        for credentials in ("", "admin:wrong", "alice:alice-pass", "nobody:alice-pass"):
            answer = client.post(HOOK, body=envelope(seen("push", "team/app")), basic=credentials)
            assert answer.status == 401
        assert inbox(app) == []

    def test_any_enabled_account_may_post(self, app, client, admin):
        admin.post("/api/v1/users", json={"login": "events", "password": "events-pass", "role": "user"})
        assert client.post(HOOK, body=envelope(seen("push", "a/b")), basic="events:events-pass").status == 200
        assert app.store.inbox.count_waiting() == 1

    def test_what_is_no_envelope_is_refused_and_leaves_nothing(self, app, admin):
        assert admin.post(HOOK, body=b"<html>").status == 400
        assert inbox(app) == []

    def test_the_answer_does_not_wait_for_the_registry(self, app, admin, registry):
        registry.fail(standin.SLOW)
        assert admin.post(HOOK, body=envelope(pushed("team/app", "v1", images.oci_image()))).status == 200
        assert registry.requests == []
        assert app.store.inbox.count_waiting() == 1

    def test_all_events_of_an_envelope_are_applied(self, app, registry, notify):
        made = {f"team/app{n}": images.oci_image(f"image {n}") for n in range(5)}
        for name, image in made.items():
            registry.put(name, "v1", image)
        notify(*(pushed(name, "v1", image) for name, image in made.items()))
        assert digests(app) == {f"{name}:v1": image.digest for name, image in made.items()}

    def test_more_events_than_a_batch_are_applied(self, app, notify, push):
        image = images.oci_image()
        push("team/app", "v1", image)
        notify(*(pulled("team/app", "v1", image) for _ in range(250)))
        assert tags(app)["team/app:v1"].pull_count == 250

    def test_a_duplicate_counts_once_in_one_envelope_and_later(self, app, notify, push):
        image = images.oci_image()
        push("team/app", "v1", image)
        pull = pulled("team/app", "v1", image)
        notify(pull, pull)
        notify(pull)
        assert tags(app)["team/app:v1"].pull_count == 1

    def test_a_duplicate_is_known_after_a_restart_and_while_it_still_waits(
        self, app, admin, push, settings, clock, registry
    ):
        image = images.oci_image()
        push("team/app", "v1", image)
        pull = pulled("team/app", "v1", image)
        assert admin.post(HOOK, body=envelope(pull)).status == 200
        for _ in range(2):
            restarted = App(settings(registry__port=registry.port), clock)
            assert Client(restarted.wsgi, ADMIN).post(HOOK, body=envelope(pull)).status == 200
            assert restarted.events.apply_waiting()
        assert tags(restarted)["team/app:v1"].pull_count == 1

    def test_a_duplicate_is_known_for_a_week(self, app, admin, push, clock):
        image = images.oci_image()
        push("team/app", "v1", image)
        pull = pulled("team/app", "v1", image)
        for days, counted in ((0, 1), (6, 1), (2, 2)):
            clock.pass_time(days * 86400)
            app.events.forget_old()
            assert admin.post(HOOK, body=envelope(pull)).status == 200
            assert app.events.apply_waiting()
            assert tags(app)["team/app:v1"].pull_count == counted

    def test_what_waits_is_not_forgotten(self, app, admin, clock):
        admin.post(HOOK, body=envelope(seen("push", "team/app")))
        clock.pass_time(30 * 86400)
        app.events.forget_old()
        assert app.store.inbox.count_waiting() == 1

    def test_an_unknown_action_is_kept_whole_and_holds_up_nothing(self, app, registry, notify):
        image = images.oci_image()
        registry.put("team/app", "v1", image)
        strange = seen("shred", "team/app", image, "v1")
        notify(strange, pushed("team/app", "v1", image))
        outcome, body = inbox(app)[0]
        assert (outcome, json.loads(body)) == ("nothing to do", strange)
        assert digests(app) == {"team/app:v1": image.digest}

    def test_a_mount_is_kept_and_holds_up_nothing(self, app, registry, notify):
        image = images.oci_image()
        registry.put("team/app", "v1", image)
        mount = seen("mount", "team/app", digest=next(iter(image.blobs)), media_type="application/octet-stream")
        mount["target"]["fromRepository"] = "other/app"
        notify(mount, pushed("team/app", "v1", image))
        assert json.loads(inbox(app)[0][1]) == mount
        assert digests(app) == {"team/app:v1": image.digest}

    @pytest.mark.parametrize("action", ["push", "pull"])
    def test_an_event_about_a_blob_changes_nothing_and_is_not_kept(self, app, push, notify, registry, action):
        image = images.oci_image()
        push("team/app", "v1", image)
        before, asked = content(app), len(registry.requests)
        blob = seen(action, "team/app", digest=next(iter(image.blobs)), media_type="application/octet-stream")
        notify(blob)
        assert content(app) == before
        assert app.store.repositories.find("team/app").pull_count == 0
        assert len(registry.requests) == asked
        assert inbox(app)[-1] == ("about no manifest", b"")

    @pytest.mark.parametrize("target", [{}, None, "x", {"repository": "Team/../app", "tag": "v1"}, {"repository": 7}])
    def test_an_event_that_names_no_repository_is_kept_and_holds_up_nothing(self, app, registry, notify, target):
        image = images.oci_image()
        registry.put("team/app", "v1", image)
        strange = [seen(action, "") | {"target": target} for action in ACTIONS]
        notify(*strange, pushed("team/app", "v1", image))
        assert [outcome for outcome, _ in inbox(app)] == ["nothing to do"] * 3 + ["pushed"]
        assert digests(app) == {"team/app:v1": image.digest}
        assert told(app) == ["push team/app:v1 by ci"]

    @pytest.mark.parametrize("fields", [{"tag": "../x"}, {"digest": "sha256:x"}, {"digest": "x", "tag": "v1"}])
    def test_an_event_with_an_impossible_reference_is_set_aside(self, app, registry, notify, fields):
        image = images.oci_image()
        registry.put("team/app", "v1", image)
        for action in ("delete", "push"):
            notify(seen(action, "team/app", **fields), pushed("team/app", "v1", image))
            assert digests(app) == {"team/app:v1": image.digest}


class TestPushes:
    @pytest.mark.parametrize("make", KINDS)
    def test_a_push_of_every_kind_enters_the_index(self, app, push, make):
        image = make()
        push("team/app", "v1", image)
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.media_type, tag.size) == (image.digest, image.media_type, image.size)
        assert tag.kind == ("index" if image.children else "image")
        assert tag.platforms == (images.PLATFORMS if image.children else images.PLATFORMS[:1])
        assert (tag.pushed_at, tag.pushed_by, tag.updated_at) == (EARLY_SECONDS, SOMEONE, EARLY_SECONDS)
        assert tag.created_at == 1714979289
        repository = app.store.repositories.find("team/app")
        assert (repository.tag_count, repository.size) == (1, image.size)
        assert (repository.last_pushed_at, repository.last_pushed_by) == (EARLY_SECONDS, SOMEONE)
        assert app.store.repositories.document("team/app", image.digest) == image.raw

    @pytest.mark.parametrize("make", KINDS)
    def test_event_and_synchronisation_find_the_same(self, app, push, make, settings, clock, registry, tmp_path):
        push("team/app", "v1", make())
        push("team/app", "v2", make("something longer"))
        assert content(app) == content_by_synchronisation(settings, clock, registry, tmp_path)

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
    def test_an_index_and_its_children_may_be_told_in_any_order(
        self, app, notify, order, settings, clock, registry, tmp_path
    ):
        image = images.oci_index()
        registry.put("team/app", "v1", image)
        events = told_of_push("team/app", "v1", image)
        for number in order:
            notify(events[number])
        assert tags(app)["team/app:v1"].size == image.size
        assert content(app) == content_by_synchronisation(settings, clock, registry, tmp_path)

    def test_children_of_which_nothing_was_told_are_looked_up(self, app, notify, registry):
        image = images.docker_list()
        registry.put("team/app", "v1", image)
        notify(pushed("team/app", "v1", image))
        assert tags(app)["team/app:v1"].size == image.size
        assert all(app.store.repositories.has_manifest("team/app", child.digest) for child in image.children)

    def test_a_child_alone_makes_no_tag(self, app, notify, registry):
        image = images.oci_image()
        registry.put("team/app", "", image)
        notify(pushed("team/app", "", image))
        assert tags(app) == {}
        assert app.store.repositories.find("team/app").tag_count == 0

    def test_what_the_platforms_share_is_counted_once(self, app, push):
        children = [images.oci_image("the same", platform) for platform in images.PLATFORMS]
        configs = sum(len(blob) for child in children for blob in list(child.blobs.values())[:1])
        layer = list(children[0].blobs.values())[1]
        assert layer == list(children[1].blobs.values())[1]
        push("team/app", "v1", index_of(*children))
        assert tags(app)["team/app:v1"].size == configs + len(layer)

    def test_an_index_of_indexes_has_the_size_of_all_below_it(
        self, app, push, settings, clock, registry, tmp_path
    ):
        image = index_of(images.oci_index("one"), index_of(images.oci_index("two")), images.oci_image())
        push("team/app", "v1", image)
        assert tags(app)["team/app:v1"].size == image.size
        assert tags(app)["team/app:v1"].created_at == 1714979289
        assert content(app) == content_by_synchronisation(settings, clock, registry, tmp_path)

    def test_an_index_grows_with_a_child_that_comes_later(self, app, push, notify, settings, clock, registry, tmp_path):
        present, late = images.oci_image("one"), images.oci_image("two")
        image = index_of(present, late)
        registry.put("team/app", "", present)
        registry.put_image("team/app", "v1", image.raw, image.media_type)
        notify(*told_of_push("team/app", "v1", image)[::2])
        assert tags(app)["team/app:v1"].size == present.size
        push("team/app", "", late)
        assert tags(app)["team/app:v1"].size == app.store.repositories.find("team/app").size == image.size
        assert content(app) == content_by_synchronisation(settings, clock, registry, tmp_path)

    def test_a_child_is_asked_for_once_however_often_it_is_named(self, app, notify, registry):
        child = images.oci_image()
        inner = index_of(*[child] * 20)
        image = index_of(*[inner] * 20, *[child] * 20)
        registry.put("team/app", "v1", image)
        notify(pushed("team/app", "v1", image))
        assert tags(app)["team/app:v1"].size == child.size
        assert [request.path for request in registry.requests].count(f"/v2/team/app/manifests/{child.digest}") == 1

    def test_an_image_without_its_configuration_is_taken_all_the_same(self, app, push, registry):
        image = images.oci_image()
        registry.fail(Reply(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'), on="/blobs/")
        push("team/app", "v1", image)
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.size, tag.platforms, tag.created_at) == (image.digest, image.size, (), None)

    def test_a_configuration_that_was_read_is_not_forgotten(self, app, push, registry):
        image = images.oci_image()
        push("team/app", "v1", image)
        registry.fail(Reply(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}'), on="/blobs/")
        registry.put("team/app", "v2", image)
        assert app.synchronisation.run("test").added == 1
        assert tags(app)["team/app:v1"].platforms == tags(app)["team/app:v2"].platforms == ("linux/amd64",)
        assert tags(app)["team/app:v1"].created_at == 1714979289

    def test_a_huge_configuration_is_left_where_it_is(self, app, push, registry):
        document = images.oci_image().document
        document["config"]["size"] = 1 << 30
        raw = json.dumps(document).encode()
        registry.fail(standin.ENDLESS, on="/blobs/")
        push("team/app", "v1", Image(raw, images.OCI_MANIFEST))
        assert tags(app)["team/app:v1"].digest == images.digest_of(raw)

    def test_a_tag_that_is_pushed_again_moves(self, app, push, clock):
        first, second = images.docker_image("one"), images.oci_index("another, of two platforms")
        push("team/app", "v1", first)
        push("team/app", "v1", second, timestamp=LATE, actor="bob")
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.size, tag.kind) == (second.digest, second.size, "index")
        assert (tag.pushed_at, tag.pushed_by) == (LATE_SECONDS, "bob")
        assert app.store.repositories.find("team/app").size == second.size

    def test_a_synchronisation_does_not_change_who_pushed_and_when(self, app, push, clock):
        push("team/app", "v1", images.docker_image())
        before = tags(app), app.store.repositories.find("team/app")
        clock.pass_time(3600)
        assert app.synchronisation.run("test").state == "complete"
        assert (tags(app), app.store.repositories.find("team/app")) == before

    def test_a_tag_that_a_synchronisation_found_moved_was_pushed_by_nobody_we_know(self, app, push, registry, clock):
        push("team/app", "v1", images.docker_image("one"))
        second = images.docker_image("two")
        registry.put("team/app", "v1", second)
        app.synchronisation.run("test")
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.pushed_at, tag.pushed_by, tag.updated_at) == (second.digest, None, "", clock.now)

    def test_a_push_that_was_overtaken_by_a_synchronisation_is_told_all_the_same(self, app, push, registry, notify):
        push("team/app", "v1", images.docker_image("one"))
        second = images.docker_image("two")
        registry.put("team/app", "v1", second)
        app.synchronisation.run("test")
        notify(pushed("team/app", "v1", second, timestamp=LATE, actor="bob"))
        assert (tags(app)["team/app:v1"].pushed_at, tags(app)["team/app:v1"].pushed_by) == (LATE_SECONDS, "bob")

    def test_pushes_of_a_tag_that_are_told_in_the_wrong_order_end_where_the_registry_is(self, app, registry, notify):
        first, second = images.docker_image("one"), images.docker_image("two")
        for image in (first, second):
            registry.put("team/app", "v1", image)
        notify(pushed("team/app", "v1", second, timestamp=LATE, actor="bob"))
        notify(pushed("team/app", "v1", first, timestamp=EARLY, actor="alice"))
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.pushed_at, tag.pushed_by) == (second.digest, LATE_SECONDS, "bob")

    def test_the_later_push_stays_the_last_one_in_whatever_order_they_are_told(self, app, registry, notify):
        image = images.docker_image()
        for tag in ("v1", "v2"):
            registry.put("team/app", tag, image)
        notify(pushed("team/app", "v1", image, timestamp=LATE, actor="bob"))
        notify(pushed("team/app", "v1", image, timestamp=EARLY, actor="alice"))
        notify(pushed("team/app", "v2", image, timestamp=EARLY, actor="alice"))
        repository = app.store.repositories.find("team/app")
        assert (repository.last_pushed_at, repository.last_pushed_by) == (LATE_SECONDS, "bob")
        pushes = {name: (tag.pushed_at, tag.pushed_by) for name, tag in tags(app).items()}
        assert pushes == {"team/app:v1": (LATE_SECONDS, "bob"), "team/app:v2": (EARLY_SECONDS, "alice")}

    @pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59Z", "", "yesterday"])
    def test_a_push_without_a_possible_time_happened_now(self, app, push, clock, timestamp):
        push("team/app", "v1", images.docker_image(), timestamp=timestamp)
        assert tags(app)["team/app:v1"].pushed_at == clock.now

    def test_a_forged_push_does_not_move_a_tag_to_a_known_image(self, app, push, notify):
        real, other = images.docker_image("real"), images.docker_image("other")
        push("team/app", "v1", real)
        push("team/app", "v2", other)
        before = tags(app), app.store.repositories.find("team/app")
        notify(pushed("team/app", "v1", other, actor="mallory", timestamp=LATE))
        assert (tags(app), app.store.repositories.find("team/app")) == before

    def test_a_forged_push_of_what_does_not_exist_leaves_nothing(self, app, notify):
        image = images.docker_image()
        notify(pushed("team/app", "v1", image), pushed("team/app", "", image))
        assert content(app) == []

    def test_a_push_is_waited_for_until_the_registry_has_done_it(self, app, admin, registry, push):
        first, second = images.docker_image("one"), images.docker_image("two")
        push("team/app", "v1", first)
        registry.put("team/app", "", second)
        admin.post(HOOK, body=envelope(pushed("team/app", "v1", second, timestamp=LATE, actor="bob")))
        assert not app.events.apply_waiting()
        assert digests(app) == {"team/app:v1": first.digest}
        registry.put("team/app", "v1", second)
        assert app.events.apply_waiting()
        tag = tags(app)["team/app:v1"]
        assert (tag.digest, tag.pushed_by) == (second.digest, "bob")

    @pytest.mark.parametrize("jump", [SETTLED, -3600])
    def test_a_push_that_never_happened_is_not_waited_for_long_whatever_the_clock_does(
        self, app, admin, push, clock, jump
    ):
        image = images.docker_image("one")
        push("team/app", "v1", image)
        admin.post(HOOK, body=envelope(pushed("team/app", "v1", images.docker_image("two"))))
        clock.pass_time(jump)
        assert app.events.apply_waiting()
        assert digests(app) == {"team/app:v1": image.digest}

    def test_what_we_push_ourselves_to_untag_is_nobodys_push(self, app, push, notify):
        push("team/app", "v1", images.docker_image())
        before = tags(app), app.store.repositories.find("team/app"), told(app)
        notify(pushed("team/app", "v1", images.docker_image(), timestamp=LATE, actor=OWN_SUBJECT))
        assert (tags(app), app.store.repositories.find("team/app"), told(app)) == before

    def test_what_we_push_ourselves_is_not_waited_for(self, app, push, admin):
        push("team/app", "v1", images.docker_image())
        decoy = images.docker_image("decoy")
        admin.post(HOOK, body=envelope(pushed("team/app", "v1", decoy, actor=OWN_SUBJECT)))
        assert app.events.apply_waiting()
        assert digests(app) == {"team/app:v1": images.docker_image().digest}

    def test_a_push_is_told_in_the_activity(self, app, push):
        push("team/app", "v1", images.docker_image(), actor="bob")
        assert told(app) == ["push team/app:v1 by bob"]
        assert counted(app) == {"push": 1}


class TestPulls:
    def test_a_pull_by_tag_counts_for_the_tag_and_its_repository(self, app, push, notify):
        image = images.docker_image()
        push("team/app", "v1", image)
        push("team/app", "same", image)
        notify(pulled("team/app", "v1", image, timestamp=LATE))
        counts = {name: (tag.pull_count, tag.last_pulled_at) for name, tag in tags(app).items()}
        assert counts == {"team/app:v1": (1, LATE_SECONDS), "team/app:same": (0, None)}
        repository = app.store.repositories.find("team/app")
        assert (repository.pull_count, repository.last_pulled_at) == (1, LATE_SECONDS)

    def test_a_pull_by_digest_counts_for_every_tag_that_points_there(self, app, push, notify):
        image = images.docker_image()
        push("team/app", "v1", image)
        push("team/app", "same", image)
        push("team/app", "other", images.docker_image("other"))
        notify(pulled("team/app", "", image))
        counts = {name: tag.pull_count for name, tag in tags(app).items()}
        assert counts == {"team/app:v1": 1, "team/app:same": 1, "team/app:other": 0}
        assert app.store.repositories.find("team/app").pull_count == 1

    @pytest.mark.parametrize("first", ["v1", ""])
    def test_the_pull_of_an_index_and_then_of_its_child_is_one_pull(self, app, push, notify, first):
        image = images.oci_index()
        push("team/app", "v1", image)
        notify(pulled("team/app", first, image), pulled("team/app", "", image.children[1]))
        assert tags(app)["team/app:v1"].pull_count == 1
        assert app.store.repositories.find("team/app").pull_count == 1

    @pytest.mark.parametrize("first", ["v1", ""])
    def test_a_pull_is_told_once_in_the_activity_and_counted_once(self, app, push, notify, first):
        image = images.oci_index()
        push("team/app", "v1", image)
        notify(pulled("team/app", first, image), pulled("team/app", "", image.children[1]))
        reference = f":{first}" if first else f"@{image.digest}"
        assert [line for line in told(app) if line.startswith("pull")] == [f"pull team/app{reference} by ci"]
        assert counted(app) == {"pull": 1, "push": 1}

    def test_a_child_that_has_a_tag_of_its_own_is_pulled_by_it_for_itself(self, app, push, notify):
        image = images.oci_index()
        push("team/app", "v1", image)
        push("team/app", "child", image.children[0])
        notify(pulled("team/app", "child", image.children[0]))
        counts = {name: tag.pull_count for name, tag in tags(app).items()}
        assert counts == {"team/app:v1": 0, "team/app:child": 1}
        assert app.store.repositories.find("team/app").pull_count == 1

    @pytest.mark.parametrize("fields", [{"method": "HEAD"}, {"actor": OWN_SUBJECT}])
    def test_a_look_and_our_own_requests_are_no_pulls(self, app, push, notify, fields):
        image = images.docker_image()
        push("team/app", "v1", image)
        notify(pulled("team/app", "v1", image, **fields))
        assert tags(app)["team/app:v1"].pull_count == app.store.repositories.find("team/app").pull_count == 0
        assert told(app) == ["push team/app:v1 by ci"]
        assert counted(app) == {"push": 1}

    def test_with_htpasswd_our_own_requests_are_told_by_login_and_program(
        self, settings, clock, registry, tmp_path
    ):
        basic = {"registry__auth_type": "basic", "registry__login": "index", "registry__password": "secret"}
        app = App(settings(registry__port=registry.port, registry__htpasswd=tmp_path / "htpasswd", **basic), clock)
        image = images.docker_image()
        registry.put("team/app", "v1", image)
        app.synchronisation.run("test")
        agents = ((USER_AGENT, "index"), (USER_AGENT, "bob"), ("docker/27", "index"))
        pulls = [pulled("team/app", "v1", image, user_agent=agent, actor=actor) for agent, actor in agents]
        Client(app.wsgi, ADMIN).post(HOOK, body=envelope(*pulls))
        assert app.events.apply_waiting()
        assert tags(app)["team/app:v1"].pull_count == 2

    def test_the_last_pull_is_the_latest_in_whatever_order_they_are_told(self, app, push, notify):
        image = images.docker_image()
        push("team/app", "v1", image)
        notify(pulled("team/app", "v1", image, timestamp=LATE), pulled("team/app", "v1", image, timestamp=EARLY))
        assert tags(app)["team/app:v1"].last_pulled_at == LATE_SECONDS
        assert app.store.repositories.find("team/app").last_pulled_at == LATE_SECONDS

    def test_a_pull_of_what_is_not_in_the_index_changes_nothing(self, app, notify):
        notify(pulled("team/app", "v1", images.docker_image()))
        assert content(app) == []

    def test_pulls_survive_a_synchronisation_and_a_new_push(self, app, push, notify):
        image = images.docker_image()
        push("team/app", "v1", image)
        notify(pulled("team/app", "v1", image))
        app.synchronisation.run("test")
        push("team/app", "v1", images.docker_image("two"))
        assert tags(app)["team/app:v1"].pull_count == app.store.repositories.find("team/app").pull_count == 1


class TestDeletes:
    def test_a_deletion_by_digest_removes_all_tags_of_it(self, app, push, notify, registry):
        image, other = images.docker_image(), images.docker_image("other")
        push("team/app", "v1", image)
        push("team/app", "same", image)
        push("team/app", "other", other)
        remove(registry, "team/app", image.digest)
        notify(seen("delete", "team/app", digest=image.digest))
        assert digests(app) == {"team/app:other": other.digest}
        repository = app.store.repositories.find("team/app")
        assert (repository.tag_count, repository.size) == (1, other.size)
        assert not app.store.repositories.has_manifest("team/app", image.digest)

    def test_the_deletion_of_a_tag_leaves_its_siblings(self, app, push, notify, registry):
        image = images.oci_index()
        push("team/app", "v1", image)
        push("team/app", "same", image)
        remove(registry, "team/app", "v1")
        notify(seen("delete", "team/app", tag="v1"))
        assert digests(app) == {"team/app:same": image.digest}
        assert tags(app)["team/app:same"].size == app.store.repositories.find("team/app").size == image.size

    def test_what_2_8_tells_of_a_deletion_ends_right(self, app, push, notify, registry):
        image = images.docker_image()
        push("team/app", "v1", image)
        push("team/app", "same", image)
        remove(registry, "team/app", image.digest)
        notify(*(seen("delete", "team/app", tag=tag) for tag in ("v1", "same")))
        notify(seen("delete", "team/app", digest=image.digest))
        assert content(app) == []

    def test_a_repository_goes_with_its_last_image(self, app, push, notify, registry):
        image = images.docker_image()
        push("team/app", "v1", image)
        remove(registry, "team/app", image.digest)
        notify(seen("delete", "team/app", digest=image.digest))
        assert app.store.repositories.find("team/app") is None

    @pytest.mark.parametrize("by", ["tag", "digest"])
    def test_a_forged_deletion_removes_nothing_that_the_registry_has(self, app, push, notify, by):
        image = images.docker_image()
        push("team/app", "v1", image)
        push("team/app", "same", image)
        before = content(app)
        notify(seen("delete", "team/app", **{by: {"tag": "v1", "digest": image.digest}[by]}, actor="mallory"))
        assert content(app) == before
        assert not any("mallory" in line for line in told(app))

    def test_a_tag_that_was_deleted_and_pushed_again_stays(self, app, push, notify, registry):
        image = images.docker_image()
        push("team/app", "v1", image)
        remove(registry, "team/app", "v1")
        registry.put("team/app", "v1", image)
        notify(seen("delete", "team/app", tag="v1"), pushed("team/app", "v1", image))
        assert digests(app) == {"team/app:v1": image.digest}

    def test_an_index_shrinks_with_a_child_that_goes(self, app, push, notify, settings, clock, registry, tmp_path):
        image = images.oci_index()
        push("team/app", "v1", image)
        gone, stays = image.children
        remove(registry, "team/app", gone.digest)
        notify(seen("delete", "team/app", digest=gone.digest))
        assert tags(app)["team/app:v1"].size == app.store.repositories.find("team/app").size == stays.size
        assert content(app) == content_by_synchronisation(settings, clock, registry, tmp_path)

    def test_nothing_is_removed_on_the_word_of_a_server_that_is_no_registry(self, app, push, admin, registry):
        image = images.docker_image()
        push("team/app", "v1", image)
        registry.fail(Reply(404, b"nothing here", {"Content-Type": "text/plain"}))
        admin.post(HOOK, body=envelope(seen("delete", "team/app", digest=image.digest)))
        assert not app.events.apply_waiting()
        assert digests(app) == {"team/app:v1": image.digest}

    def test_a_deletion_is_told_in_the_activity(self, app, push, notify, registry):
        push("team/app", "v1", images.docker_image())
        remove(registry, "team/app", "v1")
        notify(seen("delete", "team/app", tag="v1", actor="bob"))
        assert told(app) == ["push team/app:v1 by ci", "delete team/app:v1 by bob"]


class TestTrouble:
    def test_while_the_registry_is_away_events_wait_and_then_come_in_order(self, app, admin, clock, registry):
        first, second = images.docker_image("one"), images.docker_image("two")
        for repository in ("team/app", "team/other"):
            registry.put(repository, "v1", first)
            registry.put(repository, "v2", second)
        registry.stop()
        sent = [
            pushed("team/app", "v1", first),
            pulled("team/app", "v1", first),
            pushed("team/other", "v2", second),
            seen("delete", "team/app", tag="v3"),
            pulled("team/other", "v2", second),
        ]
        for event in sent:
            assert admin.post(HOOK, body=envelope(event)).status == 200
        clock.pass_time(SETTLED)
        for _ in range(30):
            assert not app.events.apply_waiting()
        assert (content(app), app.store.inbox.count_waiting()) == ([], len(sent))
        registry.start()
        assert app.events.apply_waiting()
        assert told(app) == [
            "push team/app:v1 by ci",
            "pull team/app:v1 by ci",
            "push team/other:v2 by ci",
            "delete team/app:v3 by ci",
            "pull team/other:v2 by ci",
        ]
        assert {name: tag.pull_count for name, tag in tags(app).items()} == {"team/app:v1": 1, "team/other:v2": 1}

    def test_an_event_that_can_never_be_applied_is_set_aside_and_the_next_are_applied(
        self, app, admin, clock, registry
    ):
        bad, good = images.docker_image("bad"), images.docker_image("good")
        registry.put("bad/app", "v1", bad)
        registry.put("good/app", "v1", good)
        registry.fail(Reply(500), on="/v2/bad/app/")
        admin.post(HOOK, body=envelope(pushed("bad/app", "v1", bad), pushed("good/app", "v1", good)))
        clock.pass_time(SETTLED)
        attempts = 1
        while not app.events.apply_waiting():
            assert digests(app) == {}
            attempts += 1
            assert attempts < 50
        assert attempts >= 5
        assert digests(app) == {"good/app:v1": good.digest}
        outcome, body = inbox(app)[0]
        assert "500" in outcome
        assert json.loads(body)["target"]["repository"] == "bad/app"
        registry.heal()
        app.synchronisation.run("test")
        assert digests(app) == {"good/app:v1": good.digest, "bad/app:v1": bad.digest}

    def test_a_failure_that_passes_costs_no_event(self, app, admin, clock, registry):
        image = images.docker_image()
        registry.put("team/app", "v1", image)
        admin.post(HOOK, body=envelope(pushed("team/app", "v1", image)))
        for fault in (standin.HANG_UP, standin.CUT, standin.WRONG_BYTES, Reply(503)):
            registry.fail(fault, on="/manifests/")
            assert not app.events.apply_waiting()
        registry.heal()
        assert app.events.apply_waiting()
        assert tags(app)["team/app:v1"].pushed_by == SOMEONE

    @pytest.mark.parametrize("fault", [standin.GARBAGE, Reply(400, b'{"errors":[{"code":"NAME_INVALID"}]}')])
    def test_a_broken_manifest_holds_up_nothing_for_long(self, app, admin, clock, registry, fault):
        bad, good = images.docker_image("bad"), images.docker_image("good")
        registry.put("good/app", "v1", good)
        registry.fail(fault, on="/v2/bad/app/")
        admin.post(HOOK, body=envelope(pushed("bad/app", "v1", bad), pushed("good/app", "v1", good)))
        clock.pass_time(SETTLED)
        assert any(app.events.apply_waiting() for _ in range(20))
        assert digests(app) == {"good/app:v1": good.digest}

    def test_an_event_that_breaks_our_own_code_holds_up_nothing_for_long(self, app, admin, clock, registry, caplog):
        app.store.database.execute(
            """
            CREATE TRIGGER broken BEFORE INSERT ON repositories WHEN NEW.name = 'bad/app'
            BEGIN SELECT RAISE(ABORT, 'as if by a fault of ours'); END
            """
        )
        image = images.docker_image()
        registry.put("bad/app", "v1", image)
        registry.put("good/app", "v1", image)
        admin.post(HOOK, body=envelope(pushed("bad/app", "v1", image), pushed("good/app", "v1", image)))
        clock.pass_time(SETTLED)
        assert not app.events.apply_waiting()
        assert any(app.events.apply_waiting() for _ in range(20))
        assert digests(app) == {"good/app:v1": image.digest}
        assert "as if by a fault of ours" in caplog.text

    @pytest.mark.parametrize("is_own_fault", [True, False])
    def test_one_that_fails_costs_its_neighbours_nothing(self, app, admin, clock, registry, is_own_fault):
        image = images.docker_image()
        for name in ("first/app", "bad/app", "last/app"):
            registry.put(name, "v1", image)
        if is_own_fault:
            app.store.database.execute(
                """
                CREATE TRIGGER broken BEFORE INSERT ON repositories WHEN NEW.name = 'bad/app'
                BEGIN SELECT RAISE(ABORT, 'as if by a fault of ours'); END
                """
            )
        else:
            registry.fail(Reply(500), on="/v2/bad/app/")
        names = ("first/app", "bad/app", "last/app")
        sent = [event for name in names for event in (pushed(name, "v1", image), pulled(name, "v1", image))]
        admin.post(HOOK, body=envelope(*sent))
        clock.pass_time(SETTLED)
        assert not app.events.apply_waiting()
        assert digests(app) == {"first/app:v1": image.digest}
        assert any(app.events.apply_waiting() for _ in range(20))
        assert {name: tag.pull_count for name, tag in tags(app).items()} == {"first/app:v1": 1, "last/app:v1": 1}

    def test_what_a_synchronisation_removed_since_it_was_looked_up_is_looked_up_again(
        self, app, admin, push, clock, registry
    ):
        image = images.docker_image()
        push("team/app", "v1", image)
        answer, is_first = registry.answer, []

        def answer_late(request):
            reply = answer(request)
            if request.path.endswith("/manifests/v2") and not is_first:
                is_first.append(request)
                app.store.repositories.remove_manifest("team/app", image.digest)
            return reply

        registry.answer = answer_late
        registry.put("team/app", "v2", image)
        admin.post(HOOK, body=envelope(pushed("team/app", "v2", image)))
        clock.pass_time(SETTLED)
        assert not app.events.apply_waiting()
        assert app.events.apply_waiting()
        assert digests(app) == {"team/app:v2": image.digest}

    def test_thousands_with_duplicates_and_in_any_order_end_where_the_registry_is(
        self, app, clock, registry, settings, tmp_path
    ):
        chance = random.Random(3)
        told = list(itertools.chain.from_iterable(happened(registry, chance) for _ in range(400)))
        image = images.oci_image("pulled")
        told += [pulled(f"team/app{chance.randrange(5)}", f"v{chance.randrange(8)}", image) for _ in range(4_000)]
        sent = told + chance.choices(told, k=10_000 - len(told))
        chance.shuffle(sent)
        poster = app.users.find(1)
        assert sum(app.events.record(envelope(*sent[n : n + 250]), poster) for n in range(0, 10_000, 250)) == len(told)
        clock.pass_time(SETTLED)
        assert app.events.apply_waiting()
        assert tagged(content(app)) == tagged(content_by_synchronisation(settings, clock, registry, tmp_path))
        assert [outcome for outcome, _ in inbox(app)].count("counted") == 4_000
        assert counted(app)["pull"] == 4_000

    def test_the_background_worker_applies_what_arrives(self, app, admin, registry):
        image = images.docker_image()
        registry.put("team/app", "v1", image)
        app.prepare()
        app.begin()
        app.begin_background_work()
        try:
            admin.post(HOOK, body=envelope(pushed("team/app", "v1", image)))
            wait_until(lambda: "team/app:v1" in tags(app) and tags(app)["team/app:v1"].pushed_by == SOMEONE, 20)
        finally:
            app.end()


def test_what_was_answered_with_200_survives_kill_9(tmp_path):
    """Twice: killed while the registry is down, and killed in the middle of applying."""
    registry = StandinRegistry().start()
    registry.stop()
    made = {f"v{n}": images.oci_index(f"image {n}") for n in range(8)}
    for tag, image in made.items():
        registry.put("team/app", tag, image)
    pushes = [pushed("team/app", tag, image) for tag, image in made.items()]
    pulls = [pulled("team/app", tag, image) for tag, image in made.items()]
    headers = {"Authorization": "Basic " + b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()}
    server = RunningServer(tmp_path, registry.port)
    try:
        server.start()
        for event in pushes + pulls[:4]:
            assert standin.notify(server.url + HOOK, headers, event) == 200
        server.stop(by=signal.SIGKILL)
        registry.fail(standin.SLOW, on="/manifests/")
        registry.start()
        server.start()
        wait_until(lambda: any("/manifests/" in request.path for request in registry.requests), 20)
        assert standin.notify(server.url + HOOK, headers, *pulls[4:]) == 200
        server.stop(by=signal.SIGKILL)
        registry.heal()
        server.start()
        expected = {tag: (image.digest, image.size, SOMEONE, 1) for tag, image in made.items()}
        wait_until(lambda: rows_of(server) == expected, 20, lambda: rows_of(server))
    finally:
        server.stop(by=signal.SIGKILL)
        registry.stop()


def rows_of(server: RunningServer) -> dict[str, tuple]:
    keys = ("digest", "size", "pushed_by", "pull_counter")
    return {row["tag"]: tuple(row[key] for key in keys) for row in server.catalog()}
