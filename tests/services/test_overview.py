"""The state of the whole: counts, storage and what needs attention."""

import json
from random import Random

import pytest

from regadmin.app import App
from regadmin.entities import Descriptor, Manifest, RepositoryStorage, Storage
from regadmin.registry.references import digest_of
from regadmin.services import overview
from regadmin.services.overview import Concern, Kind, Overview
from regadmin.store import Store


@pytest.fixture
def put(app):
    """`put("team/app", "v1", {"a": 10})` stores an image of layers by their names and sizes."""

    def put(repository: str, tag: str, layers: dict[str, int]) -> None:
        blobs = tuple(Descriptor(f"sha256:{name:0>64}", size) for name, size in layers.items())
        raw = json.dumps([repository, tag, *layers]).encode()
        manifest = Manifest(digest_of(raw), "type", "image", raw, layers=blobs)
        app.store.repositories.save_manifest(repository, manifest, None)
        app.store.repositories.point_tag(repository, tag, manifest.digest)
        app.store.repositories.refresh([repository])

    return put


def test_everything_is_counted(app, by, put):
    put("team/app", "v1", {"a": 1})
    put("team/app", "v2", {"a": 1, "b": 2})
    app.users.create(by, "a good password", login="alice")
    app.rules.create(by, -999, resource_name="a", action="pull")
    counts = app.overview.counts()
    assert (counts.repositories, counts.tags, counts.manifests) == (1, 2, 2)
    assert (counts.users, counts.groups, counts.rules) == (2, 1, 1)


class TestStorage:
    def test_of_nothing_is_nothing(self, app):
        storage = app.overview.storage().storage
        assert (storage.stored, storage.largest, storage.other_count) == (0, (), 0)

    def test_counts_each_blob_once_and_tells_what_is_shared(self, app, put):
        put("team/app", "v1", {"base": 100, "a": 10})
        put("team/app", "v2", {"base": 100, "b": 20})
        put("team/web", "v1", {"base": 100, "c": 1})
        storage = app.overview.storage().storage
        assert (storage.stored, storage.shared, storage.sum) == (131, 100, 331)
        assert storage.largest == (
            RepositoryStorage("team/app", 130, 100, 230),
            RepositoryStorage("team/web", 101, 100, 101),
        )

    def test_names_the_largest_and_adds_up_the_others(self, app, put, monkeypatch):
        monkeypatch.setattr(overview, "LARGEST", 1)
        put("big", "v1", {"base": 100, "a": 50})
        put("small", "v1", {"base": 100, "b": 5})
        put("tiny", "v1", {"b": 5, "c": 1})
        storage = app.overview.storage().storage
        assert [row.name for row in storage.largest] == ["big"]
        assert storage.other_count == 2
        assert storage.others == RepositoryStorage("", stored=106, shared=100, sum=111)
        assert storage.stored == 156

    def test_is_measured_anew_while_that_costs_nothing(self, app, put):
        app.overview.storage()
        put("app", "v1", {"a": 1})
        assert app.overview.storage().storage.stored == 1

    def test_of_much_is_that_of_the_background_work(self, app, put, clock, settings, monkeypatch):
        monkeypatch.setattr(overview, "_SMALL", 0)
        put("team/app", "v1", {"base": 100, "a": 1})
        put("team/web", "v1", {"base": 100})
        app.overview.measure()
        put("team/app", "v2", {"b": 1000})
        clock.pass_time(300)
        measured = App(settings(), clock).overview.storage()
        assert measured.at == clock.now - 300
        assert measured.storage == Storage(
            101,
            100,
            201,
            (RepositoryStorage("team/app", 101, 100, 101), RepositoryStorage("team/web", 100, 100, 100)),
            0,
            RepositoryStorage("", 0, 0, 0),
        )

    def test_follows_whatever_comes_and_goes(self, app, put):
        """The sums that are kept are those that counting everything finds."""
        repositories, chance = app.store.repositories, Random(3)
        for step in range(120):
            name, tag = f"team/{chance.randrange(4)}", f"v{chance.randrange(3)}"
            digest = repositories.tag_digest(name, tag)
            if digest and chance.random() < 0.4:
                repositories.remove_manifest(name, digest)
            else:
                put(name, tag, {layer: ord(layer) for layer in chance.sample("abcdefgh", 3)})
            assert sums_kept(app.store) == sums_counted(app.store), step


def sums_kept(store: Store) -> list[tuple]:
    return [tuple(row) for row in store.database.all("SELECT name, stored, shared FROM repositories ORDER BY name")]


def sums_counted(store: Store) -> list[tuple]:
    rows = store.database.all(
        """
        WITH content AS (
          SELECT DISTINCT m.repository_id, b.blob_id FROM manifest_blobs b JOIN manifests m ON m.id = b.manifest_id),
        users AS (SELECT blob_id, count(*) AS number FROM content GROUP BY blob_id)
        SELECT r.name, sum(b.size), sum(CASE WHEN users.number > 1 THEN b.size ELSE 0 END)
        FROM content c JOIN users ON users.blob_id = c.blob_id JOIN blobs b ON b.id = c.blob_id
        JOIN repositories r ON r.id = c.repository_id GROUP BY r.id ORDER BY r.name
        """
    )
    return [tuple(row) for row in rows]


class TestConcerns:
    def test_are_none_when_all_is_well(self, app):
        assert app.overview.concerns() == []

    @pytest.mark.parametrize(
        ("days", "expected"),
        [(None, []), (90, []), (89, [Concern(Kind.CERTIFICATE, 89)]), (-1, [Concern(Kind.CERTIFICATE, -1)])],
    )
    def test_tell_of_a_certificate_that_ends(self, app, days, expected):
        assert Overview(app.store, lambda: days).concerns() == expected

    def test_know_the_certificate_of_this_server(self, app, clock):
        clock.pass_time(app.signing_key.not_after - clock.now - 3 * 86_400)
        assert app.overview.concerns() == [Concern(Kind.CERTIFICATE, 3)]

    def test_leave_out_a_certificate_that_nobody_needs(self, settings, clock, tmp_path):
        basic = {"registry__auth_type": "basic", "registry__login": "a", "registry__password": "b"}
        app = App(settings(**basic, registry__htpasswd=tmp_path / "htpasswd"), clock)
        clock.pass_time(app.signing_key.not_after - clock.now)
        assert app.overview.concerns() == []

    def test_tell_of_events_that_were_set_aside(self, app):
        inbox = app.store.inbox
        inbox.add([(str(number), b"{}") for number in range(4)], "events")
        first, second, third, _ = inbox.waiting(10)
        inbox.mark_kept(first.id, "broken")
        inbox.mark_kept(second.id, "nothing to do")
        inbox.mark_applied(third.id, "pushed")
        assert app.overview.concerns() == [Concern(Kind.EVENTS, 1)]

    def test_tell_of_a_synchronisation_that_failed_until_one_did_not(self, app):
        assert app.synchronisation.run("test").state == "failed"
        assert app.overview.concerns() == [Concern(Kind.SYNCHRONISATION)]
        app.store.database.execute("UPDATE sync_runs SET state = 'complete'")
        assert app.overview.concerns() == []
