import pytest

from regadmin.errors import Malformed
from regadmin.registry import references

GOOD_REPOSITORIES = ["app", "team/app", "a/b/c/d", "a-b__c.d/e--f", "host.example:5000/team/app", "Team/app"]
BAD_REPOSITORIES = [
    "", "/", "app/", "/app", "a//b", "..", "../app", "a/../b", "team/App", "a b", "a?b", "a#b", "a%2fb", "app\n",
    "a@b", "a:b", "-a", "a-", "a_-b", "a___b", "é", "a" * 256, "a\\b", "_catalog", "\ud800", None, 7,
]  # fmt: skip


@pytest.mark.parametrize("name", GOOD_REPOSITORIES)
def test_repository_names_of_the_distribution_grammar_pass(name):
    assert references.check_repository(name) == name


@pytest.mark.parametrize("name", BAD_REPOSITORIES)
def test_other_repository_names_are_refused(name):
    with pytest.raises(Malformed):
        references.check_repository(name)


def test_a_reference_is_a_tag_or_a_digest():
    for reference in ("v1", "_x", "1.0-rc.1", "A" * 128, "sha256:" + "0" * 64, "sha512:" + "a" * 128):
        assert references.check_reference(reference) == reference
    for reference in ("", ".", "..", "-a", "a/b", "a:b", "A" * 129, "sha256:" + "A" * 64, "md5:" + "0" * 32):
        with pytest.raises(Malformed):
            references.check_reference(reference)


def test_bytes_fit_their_digest_in_any_known_algorithm_and_no_other():
    for algorithm in ("sha256", "sha384", "sha512"):
        digest = references.digest_of(b"content", algorithm)
        assert references.fits(b"content", digest)
        assert not references.fits(b"other", digest)
    assert not references.fits(b"content", "nonsense")


def test_a_long_name_that_almost_fits_is_refused_at_once():
    assert not references.is_repository("a" * 127 + "." * 128)
    assert not references.is_repository("a." * 127 + "/")
    assert not references.is_repository("a-" * 127 + "!")
