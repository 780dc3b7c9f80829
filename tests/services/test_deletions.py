"""Deleting many images at once."""

import pytest

from regadmin.app import App
from regadmin.entities import Role, User
from regadmin.errors import Malformed, NotFound
from regadmin.services.deletions import MOST_TAGS, Deletions
from regadmin.store.listing import Listing
from tests.rigs import images
from tests.rigs.standin import Reply, StandinRegistry

NAME = "team/app"
ONE, TWO, THREE = (images.docker_image(text) for text in ("one", "two", "three"))
INDEX = images.oci_index()


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    app = App(settings(registry__port=registry.port), clock)
    for tag, image in (("v1", ONE), ("latest", ONE), ("v2", TWO), ("v3", THREE), ("multi", INDEX)):
        registry.put(NAME, tag, image)
    assert app.synchronisation.run("test").state == "complete"
    return app


@pytest.fixture
def deletions(app) -> Deletions:
    return Deletions(app.store, app.repositories)


@pytest.fixture
def root(app, by) -> User:
    return app.users.create(by, "a good password", login="root", role=Role.ADMIN)


def tags(app: App) -> set[str]:
    return {tag.name for tag in app.store.repositories.list_tags(Listing(filters={"repository": NAME})).rows}


def decided(plan) -> dict[str, str]:
    return {tag: image.manifest.digest for image in plan.images for tag in image.tags}


def test_a_plan_shows_each_image_once_with_the_tags_that_go_with_it(deletions, root):
    plan = deletions.plan(root, NAME, ["v1", "v2", "v1", "gone"])
    assert [(image.manifest.digest, image.tags, image.others) for image in plan.images] == [
        (ONE.digest, ("v1",), ("latest",)),
        (TWO.digest, ("v2",), ()),
    ]
    assert plan.missing == ("gone",)
    assert not plan.has_index
    assert deletions.plan(root, NAME, ["multi"]).has_index


def test_a_plan_needs_tags_but_not_too_many(deletions, root):
    for chosen in ([], [f"v{number}" for number in range(MOST_TAGS + 1)]):
        with pytest.raises(Malformed, match="choose 1 to 200 tags"):
            deletions.plan(root, NAME, chosen)
    with pytest.raises(NotFound):
        deletions.plan(root, "no/app", ["v1"])


def test_typing_is_asked_for_many_images_and_not_for_many_tags_of_one(app, registry, deletions, root):
    for number in range(11):
        registry.put(NAME, f"same-{number}", ONE)
        registry.put(NAME, f"own-{number}", images.docker_image(f"own {number}"))
    app.synchronisation.run("test")
    assert not deletions.plan(root, NAME, [f"same-{number}" for number in range(11)]).needs_typing
    assert not deletions.plan(root, NAME, [f"own-{number}" for number in range(10)]).needs_typing
    assert deletions.plan(root, NAME, [f"own-{number}" for number in range(11)]).needs_typing


def test_images_go_with_all_their_tags(app, registry, deletions, root, by):
    outcome = deletions.delete_images(NAME, decided(deletions.plan(root, NAME, ["v1", "v2"])), by)
    assert (outcome.deleted, outcome.failed, outcome.untried) == (("v1", "v2"), (), ())
    assert tags(app) == {"v3", "multi"}
    assert (NAME, ONE.digest) not in registry.manifests
    assert (NAME, THREE.digest) in registry.manifests


def test_two_tags_of_an_image_are_one_deletion(app, deletions, root, by):
    outcome = deletions.delete_images(NAME, decided(deletions.plan(root, NAME, ["v1", "latest"])), by)
    assert outcome.deleted == ("v1, latest",) or outcome.deleted == ("latest, v1",)
    assert outcome.failed == ()
    assert tags(app) == {"v2", "v3", "multi"}


def test_the_parts_of_an_index_go_when_that_is_wanted(registry, deletions, root, by):
    chosen = decided(deletions.plan(root, NAME, ["multi"]))
    deletions.delete_images(NAME, chosen, by, with_children=True)
    assert not any((NAME, image.digest) in registry.manifests for image in (INDEX, *INDEX.children))


def test_only_tags_can_go(app, registry, deletions, root, by):
    outcome = deletions.delete_tags(NAME, decided(deletions.plan(root, NAME, ["v1", "v2"])), by)
    assert outcome.deleted == ("v1", "v2")
    assert tags(app) == {"latest", "v3", "multi"}
    assert (NAME, ONE.digest) in registry.manifests
    assert (NAME, TWO.digest) in registry.manifests


@pytest.mark.parametrize("delete", ["delete_images", "delete_tags"])
def test_what_points_elsewhere_by_now_dooms_nothing(app, registry, deletions, root, by, delete):
    chosen = decided(deletions.plan(root, NAME, ["v2", "v3"]))
    registry.put(NAME, "v2", images.docker_image("new"))
    app.synchronisation.run("test")
    outcome = getattr(deletions, delete)(NAME, chosen, by)
    assert outcome.deleted == ("v3",)
    assert [(what, "another image" in reason) for what, reason in outcome.failed] == [("v2", True)]
    assert "v2" in registry.tags[NAME]


def test_one_that_fails_does_not_keep_the_others(app, registry, deletions, root, by):
    chosen = decided(deletions.plan(root, NAME, ["v2", "v3"]))
    registry.fail(Reply(403), on=TWO.digest)
    outcome = deletions.delete_images(NAME, chosen, by)
    assert outcome.deleted == ("v3",)
    assert [what for what, _ in outcome.failed] == ["v2"]
    assert tags(app) == {"v1", "latest", "v2", "multi"}


def test_a_registry_that_is_away_is_not_asked_again_and_again(app, registry, deletions, root, by):
    chosen = decided(deletions.plan(root, NAME, ["v1", "v2", "v3"]))
    registry.stop()
    outcome = deletions.delete_images(NAME, chosen, by)
    assert outcome.deleted == ()
    assert ([what for what, _ in outcome.failed], outcome.untried) == (["v1"], ("v2", "v3"))
    assert not outcome.is_refused
    assert tags(app) == {"v1", "latest", "v2", "v3", "multi"}


def test_a_registry_that_allows_no_deletions_is_told_apart(app, registry, deletions, root, by):
    registry.delete_enabled = False
    outcome = deletions.delete_images(NAME, decided(deletions.plan(root, NAME, ["v1", "v2"])), by)
    assert outcome.is_refused
    assert outcome.untried == ("v2",)
    assert tags(app) == {"v1", "latest", "v2", "v3", "multi"}


def test_a_whole_repository_goes_with_what_has_no_tag(app, registry, deletions, root, by):
    assert deletions.count_images(NAME) == 4 + len(INDEX.children)
    outcome = deletions.delete_repository(NAME, by)
    assert len(outcome.deleted) == 4 + len(INDEX.children)
    assert (outcome.failed, outcome.untried) == ((), ())
    assert app.store.repositories.find(NAME) is None
    assert not any(name == NAME for name, _ in registry.manifests)


def test_a_repository_that_takes_long_is_deleted_in_several_calls(app, by):
    seconds = iter(range(1000))
    deletions = Deletions(app.store, app.repositories, clock=lambda: next(seconds))
    in_all = deletions.count_images(NAME)
    outcome = deletions.delete_repository(NAME, by, seconds=2)
    assert len(outcome.deleted) == 2
    assert len(outcome.untried) == in_all - 2
    assert app.store.repositories.find(NAME)
    assert deletions.delete_repository(NAME, by, seconds=100).untried == ()
    assert app.store.repositories.find(NAME) is None
