"""Repositories as one person may see and delete them."""

import pytest

from regadmin import patterns
from regadmin.app import App
from regadmin.entities import EVERYONE_ID, Manifest, Role, User
from regadmin.errors import NotFound, RegistryError, RegistryRefused, RegistryUnavailable
from regadmin.services.repositories import Repositories
from regadmin.store import Store
from regadmin.store.listing import Listing
from tests.rigs import images
from tests.rigs.standin import Reply, StandinRegistry

NAME = "team/app"
IMAGE = images.docker_image()
DIGEST = IMAGE.digest


@pytest.fixture
def registry():
    with StandinRegistry() as registry:
        yield registry


@pytest.fixture
def app(settings, clock, registry) -> App:
    app = App(settings(registry__port=registry.port), clock)
    registry.put(NAME, "v1", IMAGE)
    registry.put(NAME, "latest", IMAGE)
    registry.put("open/app", "v1", images.oci_index())
    assert app.synchronisation.run("test").state == "complete"
    return app


@pytest.fixture
def repositories(app) -> Repositories:
    return app.repositories


@pytest.fixture
def alice(app, by) -> User:
    alice = app.users.create(by, "a good password", login="alice")
    app.rules.create(by, alice.id, resource_name=NAME, action="pull")
    app.rules.create(by, EVERYONE_ID, resource_name="open/**", action="pull")
    return alice


@pytest.fixture
def bob(app, by) -> User:
    return app.users.create(by, "a good password", login="bob")


@pytest.fixture
def boss(app, by) -> User:
    return app.users.create(by, "a good password", login="boss", role=Role.MANAGER)


def names(repositories: Repositories, user: User | None) -> list[str]:
    return [repository.name for repository in repositories.list(user, Listing()).rows]


def tags(repositories: Repositories, user: User | None = None) -> list[str]:
    return sorted(f"{tag.repository}:{tag.name}" for tag in repositories.list_tags(user, Listing()).rows)


def config_digest(repositories: Repositories, user: User) -> str:
    page = repositories.list_tags(user, Listing(filters={"repository": NAME}))
    return page.rows[0].config_digest


def test_everybody_sees_what_he_may_pull(repositories, alice, bob, boss):
    assert names(repositories, alice) == ["open/app", NAME]
    assert names(repositories, bob) == ["open/app"]
    assert names(repositories, None) == ["open/app"]
    assert names(repositories, boss) == ["open/app", NAME]
    assert tags(repositories, bob) == ["open/app:v1"]
    assert tags(repositories, alice) == ["open/app:v1", "team/app:latest", "team/app:v1"]


def test_two_rules_for_a_repository_list_it_once(app, repositories, alice, by):
    app.rules.create(by, alice.id, resource_name="team/**", action="*")
    assert names(repositories, alice) == ["open/app", NAME]
    assert repositories.find(alice, NAME).size == 2 * IMAGE.size


def test_what_one_may_not_see_is_told_in_the_words_of_what_does_not_exist(repositories, alice, bob):
    assert repositories.find(alice, NAME).tag_count == 2
    messages = []
    for name in (NAME, "no/app"):
        with pytest.raises(NotFound) as caught:
            repositories.find(bob, name)
        messages.append(caught.value.message.replace(name, "..."))
    assert messages[0] == messages[1]


def test_a_manifest_is_given_byte_by_byte(repositories):
    assert repositories.document(NAME, DIGEST) == IMAGE.raw
    with pytest.raises(NotFound):
        repositories.document("open/app", DIGEST)


def test_a_configuration_comes_from_the_index_without_asking_the_registry(repositories, registry, alice):
    digest = config_digest(repositories, alice)
    registry.stop()
    assert repositories.blob(alice, NAME, digest) == IMAGE.blobs[digest]


def test_another_blob_comes_from_the_registry(repositories, registry, alice):
    layer = next(digest for digest in IMAGE.blobs if digest != config_digest(repositories, alice))
    assert repositories.blob(alice, NAME, layer) == IMAGE.blobs[layer]


def test_nobody_gets_a_blob_of_what_he_may_not_pull(repositories, registry, alice, bob):
    asked = len(registry.requests)
    with pytest.raises(NotFound):
        repositories.blob(bob, NAME, config_digest(repositories, alice))
    assert len(registry.requests) == asked


def test_deleting_an_image_takes_all_its_tags(repositories, registry, boss, by):
    repositories.delete_manifest(NAME, DIGEST, by)
    assert tags(repositories, boss) == ["open/app:v1"]
    assert (NAME, DIGEST) not in registry.manifests


def test_removing_a_tag_leaves_the_image_and_its_other_tags(repositories, registry, boss, by):
    repositories.delete_tag(NAME, "latest", by)
    assert tags(repositories, boss) == ["open/app:v1", "team/app:v1"]
    assert registry.tags[NAME] == {"v1": DIGEST}


def test_what_the_registry_has_lost_already_leaves_the_index(repositories, registry, boss, by):
    registry.tags[NAME].clear()
    del registry.manifests[NAME, DIGEST]
    repositories.delete_tag(NAME, "latest", by)
    repositories.delete_manifest(NAME, DIGEST, by)
    assert tags(repositories, boss) == ["open/app:v1"]


def test_what_nobody_knows_is_not_found(repositories, by):
    with pytest.raises(NotFound):
        repositories.delete_manifest(NAME, images.docker_image("other").digest, by)
    with pytest.raises(NotFound):
        repositories.delete_tag(NAME, "v9", by)


def test_nothing_leaves_the_index_that_the_registry_did_not_delete(repositories, registry, boss, by):
    before = tags(repositories, boss)
    for fault, error in ((Reply(405), RegistryRefused), (Reply(500), RegistryUnavailable)):
        registry.fail(fault)
        with pytest.raises(error):
            repositories.delete_manifest(NAME, DIGEST, by)
        with pytest.raises(error):
            repositories.delete_tag(NAME, "v1", by)
    registry.stop()
    with pytest.raises(RegistryUnavailable):
        repositories.delete_manifest(NAME, DIGEST, by)
    assert tags(repositories, boss) == before


def test_deletions_are_noted(app, repositories, by):
    repositories.delete_tag(NAME, "latest", by)
    repositories.delete_manifest(NAME, DIGEST, by)
    noted = [(row["event"], row["actor"], row["object"]) for row in app.store.activity.latest(2)]
    assert noted == [("delete", "admin", f"{NAME}@{DIGEST}"), ("delete", "admin", f"{NAME}:latest")]


def test_a_registry_that_asks_for_credentials_is_healthy(repositories, registry):
    repositories.check_registry()
    registry.authorization = "Bearer something"
    repositories.check_registry()


def test_a_registry_that_is_away_or_answers_nonsense_is_not(repositories, registry):
    for fault in (Reply(500), Reply(404), Reply(403)):
        registry.fail(fault)
        with pytest.raises(RegistryError):
            repositories.check_registry()
    registry.stop()
    with pytest.raises(RegistryUnavailable):
        repositories.check_registry()


@pytest.mark.parametrize("way", ["list", "browse", "each", "list_tags", "list_manifests", "namespaces"])
def test_a_repository_with_the_id_of_another_is_not_shown_to_who_saw_that_one(app, repositories, alice, by, way):
    """While a list is being made, what he sees goes, and what he must not see comes in its place."""
    app.rules.create(by, alice.id, resource_name="team/last", action="pull")
    manifest = Manifest(f"sha256:{1:064}", "application/vnd.oci.image.manifest.v1+json", "image", b"{}")
    put(app.store, "team/last", manifest)

    def exchange() -> None:
        other = Store(app.store.database.path)
        before = dict(other.repositories.between([patterns.span("**")]))
        other.repositories.remove_manifest("team/last", manifest.digest)
        put(other, "secret/app", manifest)
        assert other.repositories.find("secret/app").id == before["team/last"]
        other.close()

    seen = app.rules.seen

    def seen_and_exchanged(*arguments):
        found = seen(*arguments)
        exchange()
        return found

    app.rules.seen = seen_and_exchanged
    arguments = [alice] if way == "namespaces" else [alice, Listing(limit=10)]
    found = getattr(repositories, way)(*arguments)
    shown = list(found) if way == "each" else found
    assert "secret" not in str(shown)
    assert app.store.repositories.find("secret/app")


def put(store: Store, name: str, manifest: Manifest) -> None:
    store.repositories.save_manifest(name, manifest, None)
    store.repositories.point_tag(name, "v1", manifest.digest)
    store.repositories.refresh([name])
