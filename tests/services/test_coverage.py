"""Which of all repositories resource names cover: always what looking at each of them by itself tells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin import patterns
from regadmin.entities import Manifest
from regadmin.errors import Malformed
from regadmin.services.coverage import Coverage
from regadmin.store import Store
from tests.rigs.fuzzing import examples

NAMES = ["team/app", "team/app-2", "team/app/deep", "teams", "team", "other/app", "a.b/c", "a-b/c", "alice/app", "z"]
IMAGE = Manifest(f"sha256:{1:064}", "application/vnd.oci.image.manifest.v1+json", "image", b"{}")
PARTS = ["team", "app", "alice", "a", "-", "/", ".", "*", "**", "?", "${login}", "${group}", "2"]
REGEX_PARTS = ["te", "am", r"\/", "/", r"\.", "-", "app", "[a-z]", ".", "(?:team|other)", "^", "$"]
REGEX_PARTS += ["+", "?", "*", "{0,2}", "|", "(", ")", "(?i)", r"\w", r"\d", "A", "${login}"]
globs = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
regexes = st.lists(st.sampled_from(REGEX_PARTS), min_size=1, max_size=7).map(lambda parts: f"/{''.join(parts)}/")
texts = globs | regexes | st.sampled_from(NAMES)
NAME = r"[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+(-[a-z0-9]+)?){0,2}"
names = st.sampled_from(NAMES) | st.from_regex(NAME, fullmatch=True)


def is_valid(text: str) -> bool:
    try:
        patterns.check(text)
    except Malformed:
        return False
    return True


@examples(150)
@given(texts.filter(is_valid), names, st.sampled_from(["", "alice", "a"]))
def test_what_a_resource_name_covers_stands_in_its_span(text, name, login):
    if patterns.matches(text, name, login, ["team", "app"]):
        first, end = patterns.span(text, login)
        assert first <= name < end


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("team/app", "team/app", "team/app!"),
        ("team/*", "team/", "team0"),
        ("${login}/**", "alice/", "alice0"),
        (r"/team\/app-[0-9]+/", "team/app-", "team/app."),
        ("/teams?/", "team", "tean"),
        ("/team|other/", "", "\x7f"),
        ("/(?i)team/", "", "\x7f"),
        ("**", "", "\x7f"),
    ],
)
def test_a_span_is_as_narrow_as_what_the_name_begins_with(text, first, end):
    assert patterns.span(text, "alice") == (first, end)


@pytest.fixture
def store(tmp_path) -> Store:
    store = Store(tmp_path / "data.db")
    yield store
    store.close()


class TestOfAStore:
    ASKED = frozenset({"team/*", "other/app", r"/a\.b\/.*/", "${login}/**", "${group}-x/**"})

    def covered(self, coverage, store) -> list[str]:
        ids = coverage.ids(self.ASKED, "alice", ("crew",))
        found = store.repositories.between([patterns.span("**")])
        return [name for name, row_id in found if row_id < len(ids) and ids[row_id]]

    def expected(self, store) -> list[str]:
        found = store.repositories.between([patterns.span("**")])
        return [name for name, _ in found if any(patterns.matches(t, name, "alice", ["crew"]) for t in self.ASKED)]

    def put(self, store, *names: str) -> None:
        for name in names:
            store.repositories.save_manifest(name, IMAGE, None)

    def lose(self, store, name: str) -> None:
        store.repositories.remove_manifest(name, IMAGE.digest)

    def test_it_follows_what_comes_and_goes_though_ids_are_used_again(self, store):
        coverage = Coverage(store)
        assert self.covered(coverage, store) == []
        for name in NAMES:
            self.put(store, name)
            assert self.covered(coverage, store) == self.expected(store)
        for gone, new in (("z", "secret/z"), ("secret/z", "team/new"), ("team/new", "zz")):
            self.lose(store, gone)
            self.put(store, new)
            assert self.covered(coverage, store) == self.expected(store)
        assert "team/app" in self.covered(coverage, store)

    def test_counts_follow_too(self, store):
        coverage, asked = Coverage(store), ["team/*", "**", "other/app", r"/team.*/"]
        self.put(store, *NAMES[:4])
        assert coverage.counts(asked) == {"team/*": 2, "**": 4, "other/app": 0, r"/team.*/": 4}
        self.put(store, *NAMES[4:])
        assert coverage.counts(asked) == {"team/*": 2, "**": 10, "other/app": 1, r"/team.*/": 5}
        self.lose(store, "team/app")
        assert coverage.counts(asked)["team/*"] == 1

    def test_only_so_many_sets_are_remembered(self, store):
        coverage = Coverage(store)
        self.put(store, "team/app")
        for number in range(100):
            coverage.ids(frozenset({f"team-{number}/*"}))
            coverage.counts([f"team-{count}/*" for count in range(number, number + 10)])
        assert len(coverage._sets) == 32
        assert len(coverage._counts) <= 500
