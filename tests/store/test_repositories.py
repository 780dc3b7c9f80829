"""The index of repositories, tags and manifests as it is stored and read."""

import sqlite3

import pytest

from regadmin.errors import Malformed
from regadmin.registry.manifests import parse, parse_config
from regadmin.store import Store
from regadmin.store import repository_reading as reading
from regadmin.store.listing import Listing
from tests.rigs import images
from tests.rigs.images import Image

KINDS = [images.docker_image, images.oci_image, images.docker_list, images.oci_index]
ONE, TWO, THREE = (images.docker_image(text) for text in ("one", "two, longer", "three, the longest of all"))
UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture
def repositories(store):
    return store.repositories


@pytest.fixture
def put(store):
    """Saves an image as a synchronisation or an event does: the children first."""

    def put(repository: str, tag: str, image: Image) -> None:
        for child in image.children:
            put(repository, "", child)
        manifest = parse(image.raw, image.media_type)
        config = parse_config(image.blobs[manifest.config.digest]) if manifest.config else None
        store.repositories.save_manifest(repository, manifest, config)
        if tag:
            store.repositories.point_tag(repository, tag, image.digest)
        store.repositories.refresh([repository])

    return put


def begin_run(store: Store) -> int:
    """A new run; the one before is over."""
    store.database.execute("UPDATE sync_runs SET state = 'complete'")
    if latest := store.sync_runs.latest():
        store.sync_runs.release(latest.id)
    return store.sync_runs.start("test")


def names(page) -> list[str]:
    return [row.name for row in page.rows]


def only(repositories, name: str) -> bytes:
    """Nothing but this repository may be seen."""
    row_id = repositories.find(name).id
    return bytes(row_id) + b"\1"


def tags(store: Store, **filters) -> dict:
    rows = store.repositories.list_tags(Listing(filters=filters)).rows
    return {f"{tag.repository}:{tag.name}": tag for tag in rows}


class TestListing:
    @pytest.fixture(autouse=True)
    def three(self, put, repositories):
        put("team/app", "v1", ONE)
        put("team/app", "v2", TWO)
        put("other/100%_app", "v1", THREE)
        for _ in range(3):
            repositories.record_pull("team/app", "v2", TWO.digest, 100)
        repositories.record_push("other/100%_app", "v1", THREE.digest, 100, "alice")
        repositories.record_push("team/app", "v1", ONE.digest, 200, "bob")

    def test_repositories_come_with_their_sums(self, repositories):
        page = repositories.list(Listing())
        assert (names(page), page.total) == (["other/100%_app", "team/app"], 2)
        row = page.rows[1]
        assert (row.tag_count, row.size, row.pull_count) == (2, ONE.size + TWO.size, 3)
        assert (row.last_pulled_at, row.last_pushed_at, row.last_pushed_by) == (100, 200, "bob")
        assert repositories.find("team/app") == row
        assert repositories.find("team") is None

    def test_a_page_tells_how_many_there_are_in_all(self, repositories):
        page = repositories.list_tags(Listing(sort="size", offset=1, limit=1))
        assert ([tag.digest for tag in page.rows], page.total, page.offset) == ([TWO.digest], 3, 1)

    @pytest.mark.parametrize("sort", ["name", "tags", "size", "pulls", "pushed"])
    def test_repositories_are_sorted_both_ways(self, repositories, sort):
        expected = ["other/100%_app", "team/app"]
        assert names(repositories.list(Listing(sort=sort))) == expected
        assert names(repositories.list(Listing(sort=sort, descending=True))) == expected[::-1]

    def test_repositories_are_sorted_by_age(self, repositories):
        assert names(repositories.list(Listing(sort="id"))) == ["team/app", "other/100%_app"]

    @pytest.mark.parametrize(
        ("sort", "expected"),
        [
            ("id", [ONE, TWO, THREE]),
            ("size", [ONE, TWO, THREE]),
            ("repository_name", [THREE, ONE, TWO]),
            ("pushed", [TWO, THREE, ONE]),
            ("digest", sorted((ONE, TWO, THREE), key=lambda image: image.digest)),
            ("timestamp", [THREE, ONE, TWO]),
        ],
    )
    def test_tags_are_sorted(self, repositories, sort, expected):
        found = repositories.list_tags(Listing(sort=sort)).rows
        assert [tag.digest for tag in found] == [image.digest for image in expected]

    @pytest.mark.parametrize("sort", ["name", "pulls", "created"])
    def test_tags_that_are_alike_keep_the_order_in_which_they_came(self, repositories, sort):
        found = repositories.list_tags(Listing(sort=sort)).rows
        assert [tag.digest for tag in found if tag.name == "v1"] == [ONE.digest, THREE.digest]
        assert sort == "created" or found[-1].digest == TWO.digest

    @pytest.mark.parametrize("sort", ["raw", "r.name", "name; DROP TABLE tags", "name DESC"])
    def test_nobody_sorts_by_what_is_no_column(self, repositories, sort):
        for search in (repositories.list, repositories.list_tags):
            with pytest.raises(Malformed, match="cannot sort by"):
                search(Listing(sort=sort))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("app", ["other/100%_app", "team/app"]),
            ("TEAM", ["team/app"]),
            ("%", ["other/100%_app"]),
            ("_", ["other/100%_app"]),
            ("100%_", ["other/100%_app"]),
            ("t%m", []),
            ("\\", []),
            ("' OR 1=1 --", []),
        ],
    )
    def test_a_search_takes_every_character_for_itself(self, repositories, text, expected):
        assert names(repositories.list(Listing(filters={"q": text}))) == expected

    def test_tags_are_searched_by_their_name_and_by_that_of_the_repository(self, store):
        assert set(tags(store, q="team")) == {"team/app:v1", "team/app:v2"}
        assert set(tags(store, q="v1")) == {"team/app:v1", "other/100%_app:v1"}
        assert set(tags(store, q="team", repository="team/app")) == set()

    def test_filters_are_exact(self, store, repositories):
        assert set(tags(store, repository="team/app")) == {"team/app:v1", "team/app:v2"}
        assert set(tags(store, repository="team/ap")) == set()
        assert set(tags(store, name="v1", repository="team/app")) == {"team/app:v1"}
        assert set(tags(store, digest=TWO.digest)) == {"team/app:v2"}
        assert set(tags(store, ids=[2, 99])) == {"team/app:v2"}
        found = repositories.find("team/app")
        assert names(repositories.list(Listing(filters={"ids": [found.id, 99]}))) == ["team/app"]
        assert names(repositories.list(Listing(filters={"ids": []}))) == []
        assert names(repositories.list(Listing(filters={"name": "team/app"}))) == ["team/app"]

    def test_only_what_is_visible_is_listed_and_counted(self, repositories):
        visible = only(repositories, "team/app")
        assert names(repositories.list(Listing(), visible)) == ["team/app"]
        page = repositories.list_tags(Listing(offset=1, limit=1), visible)
        assert (page.total, [(tag.repository, tag.name) for tag in page.rows]) == (2, [("team/app", "v2")])
        assert repositories.list(Listing(), b"").total == 0
        assert repositories.list(Listing()).total == 2


class TestReading:
    @pytest.mark.parametrize("make", KINDS)
    def test_a_tag_comes_with_what_it_points_to(self, store, clock, put, make):
        image = make()
        put("team/app", "v1", image)
        tag = tags(store)["team/app:v1"]
        assert (tag.repository, tag.name, tag.digest, tag.size) == ("team/app", "v1", image.digest, image.size)
        assert (tag.media_type, tag.kind) == (image.media_type, "index" if image.children else "image")
        assert tag.platforms == (images.PLATFORMS if image.children else images.PLATFORMS[:1])
        assert tag.config_digest == ("" if image.children else image.document["config"]["digest"])
        assert (tag.created_at, tag.updated_at) == (1714979289, clock.now)
        assert (tag.pull_count, tag.last_pulled_at, tag.pushed_at, tag.pushed_by) == (0, None, None, "")

    def test_what_a_tag_points_to_and_what_points_to_it(self, put, repositories):
        for tag in ("v1", "same"):
            put("team/app", tag, ONE)
        put("other/app", "v1", ONE)
        assert repositories.tag_digest("team/app", "v1") == ONE.digest
        assert repositories.tag_digest("team/app", "v2") == repositories.tag_digest("nobody/app", "v1") == ""
        assert repositories.tags_of("team/app", ONE.digest) == ["same", "v1"]
        assert repositories.tags_of("team/app", UNKNOWN) == []

    def test_documents_are_those_of_the_repository_that_holds_them(self, put, repositories):
        put("team/app", "v1", ONE)
        config = ONE.document["config"]["digest"]
        assert repositories.document("team/app", ONE.digest) == ONE.raw
        assert repositories.config("team/app", config) == ONE.blobs[config]
        assert repositories.document("other/app", ONE.digest) is None
        assert repositories.config("other/app", config) is None
        assert repositories.config("team/app", UNKNOWN) is None

    def test_an_index_is_empty_until_something_is_saved(self, put, repositories):
        assert repositories.is_empty()
        put("team/app", "", ONE)
        assert not repositories.is_empty()


class TestWriting:
    def test_saving_again_changes_nothing(self, store, put):
        image = images.oci_index()
        put("team/app", "v1", image)
        before = list(store.database.connection.iterdump())
        put("team/app", "v1", image)
        assert list(store.database.connection.iterdump()) == before

    def test_an_image_may_be_in_several_repositories(self, store, put, repositories):
        put("team/app", "v1", ONE)
        put("other/app", "v1", ONE)
        repositories.remove_manifest("team/app", ONE.digest)
        assert set(tags(store)) == {"other/app:v1"}
        assert tags(store)["other/app:v1"].size == ONE.size

    def test_a_tag_does_not_point_to_what_was_not_saved(self, store, put, repositories):
        put("team/app", "v1", ONE)
        repositories.point_tag("team/app", "v2", TWO.digest)
        repositories.point_tag("nobody/app", "v1", ONE.digest)
        assert set(tags(store)) == {"team/app:v1"}

    def test_a_tag_that_is_pointed_where_it_was_is_not_news(self, store, put, repositories, clock):
        put("team/app", "v1", ONE)
        repositories.record_push("team/app", "v1", ONE.digest, 100, "alice")
        before = tags(store)
        clock.pass_time(60)
        repositories.point_tag("team/app", "v1", ONE.digest)
        assert tags(store) == before

    def test_a_tag_that_moves_is_new_and_pushed_by_nobody_we_know(self, store, put, repositories, clock):
        put("team/app", "v1", ONE)
        repositories.record_push("team/app", "v1", ONE.digest, 100, "alice")
        repositories.record_pull("team/app", "v1", ONE.digest, 100)
        clock.pass_time(60)
        put("team/app", "v1", TWO)
        tag = tags(store)["team/app:v1"]
        assert (tag.digest, tag.size, tag.updated_at) == (TWO.digest, TWO.size, clock.now)
        assert (tag.pushed_at, tag.pushed_by, tag.pull_count) == (None, "", 1)

    def test_an_index_may_be_saved_before_its_children(self, store, put):
        image = images.oci_index()
        alone = Image(image.raw, image.media_type)
        put("team/app", "v1", alone)
        assert (tags(store)["team/app:v1"].size, tags(store)["team/app:v1"].created_at) == (0, None)
        for number, child in enumerate(image.children, start=1):
            put("team/app", "", child)
            assert tags(store)["team/app:v1"].size == sum(child.size for child in image.children[:number])
        assert tags(store)["team/app:v1"].created_at == 1714979289
        assert store.repositories.find("team/app").size == image.size

    def test_an_index_has_only_the_children_of_its_own_repository(self, store, put):
        image = images.oci_index()
        put("team/app", "v1", Image(image.raw, image.media_type))
        put("other/app", "v1", image)
        assert tags(store)["team/app:v1"].size == 0
        assert tags(store)["other/app:v1"].size == image.size

    def test_removing_tells_how_much_it_was(self, store, put, repositories):
        for tag in ("v1", "v2"):
            put("team/app", tag, ONE)
        put("team/app", "other", TWO)
        assert not repositories.remove_tag("team/app", "v3")
        assert not repositories.remove_tag("nobody/app", "v1")
        assert repositories.remove_tag("team/app", "v1")
        assert repositories.remove_manifest("team/app", UNKNOWN) == 0
        assert repositories.remove_manifest("team/app", ONE.digest) == 1
        assert set(tags(store)) == {"team/app:other"}
        assert repositories.find("team/app").tag_count == 1

    def test_a_repository_that_lost_its_tags_stays_as_long_as_it_holds_an_image(self, put, repositories):
        put("team/app", "v1", ONE)
        repositories.remove_tag("team/app", "v1")
        assert (repositories.find("team/app").tag_count, repositories.find("team/app").size) == (0, 0)
        repositories.remove_manifest("team/app", ONE.digest)
        assert repositories.find("team/app") is None

    def test_what_fails_in_the_middle_leaves_nothing(self, store, put, repositories):
        with pytest.raises(sqlite3.IntegrityError), store.transaction():
            put("team/app", "v1", ONE)
            store.database.execute("INSERT INTO documents VALUES (999, x'', NULL)")
        assert repositories.is_empty()
        assert store.database.one("SELECT count(*) FROM blobs")[0] == 0


class TestSweeping:
    def test_what_a_run_did_not_see_goes(self, store, put, repositories):
        put("team/app", "v1", ONE)
        put("team/app", "v2", TWO)
        put("other/app", "v1", THREE)
        run = begin_run(store)
        repositories.confirm_tags("team/app", ["v1"])
        assert repositories.sweep(run) == 2
        assert set(tags(store)) == {"team/app:v1"}
        assert repositories.find("other/app") is None
        assert (repositories.find("team/app").tag_count, repositories.find("team/app").size) == (1, ONE.size)
        assert {row["digest"] for row in store.database.all("SELECT digest FROM blobs")} == set(ONE.blobs)

    def test_what_came_during_the_run_stays(self, store, put, repositories):
        run = begin_run(store)
        put("team/app", "v1", ONE)
        put("team/app", "", TWO)
        assert repositories.sweep(run) == 0
        assert set(tags(store)) == {"team/app:v1"}
        assert repositories.has_manifest("team/app", TWO.digest)

    def test_what_came_between_two_runs_is_no_safer_than_the_rest(self, store, put, repositories):
        begin_run(store)
        put("team/app", "v1", ONE)
        assert repositories.sweep(begin_run(store)) == 1

    def test_what_a_tag_needs_stays_even_unseen(self, store, put, repositories):
        index = images.oci_index()
        put("team/app", "v1", index)
        run = begin_run(store)
        repositories.confirm_tags("team/app", ["v1"])
        assert repositories.sweep(run) == 0
        assert all(repositories.has_manifest("team/app", image.digest) for image in (index, *index.children))

    def test_an_index_goes_with_its_children_but_not_with_those_of_another(self, store, put, repositories):
        both, one = images.oci_index(), images.oci_index(platforms=images.PLATFORMS[:1])
        shared, own = both.children
        assert one.children == (shared,)
        put("team/app", "", both)
        put("team/app", "v1", one)
        run = begin_run(store)
        repositories.confirm_tags("team/app", ["v1"])
        repositories.sweep(run)
        held = [repositories.has_manifest("team/app", image.digest) for image in (both, one, shared, own)]
        assert held == [False, True, True, False]

    def test_an_index_keeps_its_children_in_its_own_repository_only(self, store, put, repositories):
        image = images.oci_index()
        put("team/app", "v1", image)
        for child in image.children:
            put("other/app", "", child)
        run = begin_run(store)
        repositories.confirm_tags("team/app", ["v1"])
        repositories.sweep(run)
        for child in image.children:
            assert repositories.has_manifest("team/app", child.digest)
            assert not repositories.has_manifest("other/app", child.digest)

    def test_the_children_of_an_index_that_came_during_the_run_stay(self, store, put, repositories):
        image = images.oci_index()
        for child in image.children:
            put("team/app", "", child)
        run = begin_run(store)
        put("team/app", "", Image(image.raw, image.media_type))
        repositories.sweep(run)
        assert all(repositories.has_manifest("team/app", part.digest) for part in (image, *image.children))

    def test_what_is_saved_again_during_the_run_stays(self, store, put, repositories):
        put("team/app", "", ONE)
        run = begin_run(store)
        put("team/app", "", ONE)
        repositories.sweep(run)
        assert repositories.has_manifest("team/app", ONE.digest)

    def test_the_counters_of_what_stays_are_kept(self, store, put, repositories):
        put("team/app", "v1", ONE)
        repositories.record_pull("team/app", "v1", ONE.digest, 100)
        run = begin_run(store)
        repositories.point_tag("team/app", "v1", ONE.digest)
        repositories.sweep(run)
        assert tags(store)["team/app:v1"].pull_count == repositories.find("team/app").pull_count == 1


class TestLists:
    SIGNATURE = "sha256-" + "a" * 64

    def test_tags_are_in_the_order_of_versions(self, store, put):
        for tag in ("1.10", "latest", "1.9", "2", "1.9-alpine"):
            put("team/app", tag, ONE)
        found = store.repositories.list_tags(Listing(sort="name", filters={"repository": "team/app"})).rows
        assert [tag.name for tag in found] == ["1.9", "1.9-alpine", "1.10", "2", "latest"]

    @pytest.mark.parametrize(
        ("tag", "is_attached"),
        [
            (SIGNATURE, True),
            (SIGNATURE + ".sig", True),
            (SIGNATURE + ".att", True),
            (SIGNATURE + "b", False),
            (SIGNATURE[:-1], False),
            (SIGNATURE.replace("a", "A"), False),
            (SIGNATURE.replace("a", "g"), False),
            ("sha512-" + "a" * 64, False),
            ("v1-" + SIGNATURE, False),
        ],
    )
    def test_signatures_are_told_by_their_tags_and_counted_apart(self, store, put, repositories, tag, is_attached):
        put("team/app", "v1", ONE)
        put("team/app", tag, TWO)
        found = repositories.find("team/app")
        assert (found.tag_count, found.attached_count) == ((1, 1) if is_attached else (2, 0))
        assert set(tags(store, repository="team/app", attached=True)) == ({f"team/app:{tag}"} if is_attached else set())
        assert ("team/app:v1" in tags(store, repository="team/app", attached=False)) is True

    def test_repositories_are_found_by_a_tag(self, put, repositories):
        put("team/app", "1.10-alpine", ONE)
        put("team/app", "1.9-alpine", ONE)
        put("team/app", "latest", ONE)
        put("other/app", "2", ONE)
        put("other/app", self.SIGNATURE, ONE)
        assert names(repositories.list(Listing(filters={"tag": "ALP"}))) == ["team/app"]
        assert names(repositories.list(Listing(filters={"tag": "%"}))) == []
        assert names(repositories.list(Listing(filters={"tag": "aaaa"}))) == []
        ids = [row.id for row in repositories.list(Listing()).rows]
        found = repositories.tags_holding("alpine", ids, 1)
        assert [(row.names, row.total) for row in found.values()] == [(("1.10-alpine",), 2)]
        assert repositories.tags_holding("alpine", [], 1) == {}

    def test_a_namespace_is_the_first_segment_and_no_other(self, put, repositories):
        for name in ("team/app", "team/sub/app", "team", "team-b/app", "teams/app", "a/team/app"):
            put(name, "v1", ONE)
        assert names(repositories.list(Listing(filters={"namespace": "team"}))) == ["team/app", "team/sub/app"]
        assert repositories.namespaces("", 10) == ["a", "team", "team-b", "teams"]
        assert repositories.namespaces("TEAM", 2) == ["team", "team-b"]
        assert repositories.namespaces("", 10, only(repositories, "a/team/app")) == ["a"]
        assert repositories.namespaces("app", 10) == []

    def test_what_was_never_pulled_was_not_pulled_lately(self, put, repositories):
        for name, at in (("old/app", 100), ("new/app", 200)):
            put(name, "v1", ONE)
            repositories.record_pull(name, "v1", ONE.digest, at)
        put("never/app", "v1", ONE)
        assert names(repositories.list(Listing(filters={"not_pulled_since": 200}))) == ["never/app", "old/app"]

    def test_tags_of_the_same_image_know_each_other(self, put, repositories):
        for tag in ("v10", "v9", "v8"):
            put("team/app", tag, ONE)
        put("team/app", "other", TWO)
        put("other/app", "v7", ONE)
        found = repositories.tags_by_digest("team/app", [ONE.digest, TWO.digest, UNKNOWN], 2)
        assert {digest: (row.names, row.total) for digest, row in found.items()} == {
            ONE.digest: (("v8", "v9"), 3),
            TWO.digest: (("other",), 1),
        }

    def test_all_rows_can_be_read_in_the_order_of_the_list(self, put, repositories, monkeypatch):
        monkeypatch.setattr("regadmin.store.repository_reading._BATCH", 2)
        for number in range(5):
            put(f"team/app-{number}", "v1", ONE)
        found = [row.name for row in repositories.each(Listing(sort="name", descending=True, filters={"q": "app"}))]
        assert found == [f"team/app-{number}" for number in (4, 3, 2, 1, 0)]
        with pytest.raises(Malformed):
            repositories.each(Listing(sort="bogus"))

    def test_an_index_comes_before_its_parts(self, put, repositories):
        image = images.oci_index()
        put("team/app", "v1", image)
        found = repositories.digests("team/app")
        assert found[0] == image.digest
        assert set(found[1:]) == {child.digest for child in image.children}
        assert repositories.digests("nobody/app") == []


class TestSearchesOfMuch:
    """Whether a text is found by an index, by reading all or by reading until a page is full: the rows are the same."""

    NAMES = {"a/one": ("1.0", "v1-beta"), "b/two": ("1.0", "zz"), "c/beta": ("2.0",), "d/four": ("1.0.1", "rc")}
    TEXTS = ("1.0", "1.", "beta", "z", "zz", "zzz", "one", "a")

    @pytest.fixture(params=["rare", "common", "many", "without an index"], autouse=True)
    def way(self, request, put, repositories, store, monkeypatch):
        monkeypatch.setattr(reading, "_RARE", 1 if request.param in ("common", "many") else 100)
        monkeypatch.setattr(reading, "MOST_COUNTED", 1 if request.param == "many" else 100)
        if request.param == "without an index":
            monkeypatch.setattr(store.database, "phrase", lambda text: None)
        for number, (name, tags) in enumerate(self.NAMES.items()):
            for tag in tags:
                put(name, tag, images.docker_image(f"{number}{tag}"))
        repositories.refresh_all()

    @pytest.mark.parametrize("sort", ["name", "size", "id"])
    def test_of_repositories_by_their_tags(self, repositories, sort):
        for text in self.TEXTS:
            expected = {name for name, tags in self.NAMES.items() if any(text in tag for tag in tags)}
            page = repositories.list(Listing(sort=sort, limit=10, filters={"tag": text}))
            assert (set(names(page)), page.total, page.is_more) == (expected, len(expected), False), text

    @pytest.mark.parametrize("sort", ["name", "repository_name", "digest", "size"])
    def test_of_all_tags(self, repositories, sort):
        for text in self.TEXTS:
            expected = {(name, tag) for name, tags in self.NAMES.items() for tag in tags if text in name or text in tag}
            page = repositories.list_tags(Listing(sort=sort, limit=10, filters={"q": text}))
            assert {(tag.repository, tag.name) for tag in page.rows} == expected
            assert (page.total, page.is_more) == (len(expected), False)

    def test_pages_fit_together(self, repositories):
        whole = repositories.list_tags(Listing(limit=10, filters={"q": "1."})).rows
        pages = [repositories.list_tags(Listing(limit=2, offset=at, filters={"q": "1."})) for at in (0, 2, 4)]
        assert [tag.id for page in pages for tag in page.rows] == [tag.id for tag in whole]
        assert all(page.total == 3 or page.is_more for page in pages)


def test_tags_are_in_the_order_of_their_digests(put, repositories):
    for number in range(12):
        put(f"team/app-{number % 3}", f"v{number}", images.docker_image(str(number)))
    digests = [tag.digest for tag in repositories.list_tags(Listing(sort="digest", limit=20)).rows]
    assert digests == sorted(digests)
    assert len(digests) == 12
