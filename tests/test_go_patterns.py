"""Patterns of Go programs match the same names here, or are refused."""

import pytest

from regadmin import go_patterns, patterns
from regadmin.errors import Malformed

# What it is here, names that it matches, names that it does not.
REGEXES = [
    ("team/.*", "/.*team/.*/", ["team/app", "x/team/app", "myteam/"], ["team", "tea/m"]),
    ("^team/.*$", "/team/.*/", ["team/app", "team/a/b"], ["x/team/app"]),
    ("^team", "/team.*/", ["team", "team/app", "teams"], ["my/team"]),
    ("app$", "/.*app/", ["app", "team/app"], ["app/x"]),
    ("^a|b$", "/.*(?:^a|b$).*/", ["ax", "xb"], ["xax", "bx"]),
    ("^(base|tools)/.*", "/(base|tools)/.*/", ["base/x", "tools/y/z"], ["x/base/y"]),
    ("[a|b]c", "/.*[a|b]c.*/", ["xacx", "bc"], ["a", "dc"]),
    (".+", "/.+/", ["a", "a/b"], []),
    ("(?i)^TEAM/", "/(?i:TEAM/.*)/", ["team/app"], ["x/team/app"]),
    (r"^v\d\.x\$", r"/v\d\.x\$.*/", [], ["v1.x", "v1xx"]),
]


@pytest.mark.parametrize(("expression", "here", "matched", "others"), REGEXES, ids=lambda value: str(value)[:20])
def test_an_expression_is_looked_for_anywhere(expression, here, matched, others):
    assert go_patterns.from_regex(expression) == here
    assert all(patterns.matches(here, name) for name in matched)
    assert not any(patterns.matches(here, name) for name in others)


GLOBS = [
    ("team/*", "team/*", ["team/app"], ["team/a/b", "team"]),
    ("**", "*", ["team"], ["team/app"]),
    ("team/a?p", "team/a?p", ["team/app"], ["team/ap"]),
    ("app-[0-9]?", "/app\\-[0-9][^/]/", ["app-1x"], ["app-x1", "app-1", "app-1/"]),
    ("[^a-c]x", "/[^/a-c]x/", ["dx"], ["ax", "/x"]),
    (r"a\*b", r"/a\*b/", [], ["a*", "axb"]),
    ("${login}/x[1-3]", "/${login}/x[1-3]/", ["ann/x2"], ["bob/x2", "ann/x4"]),
]


@pytest.mark.parametrize(("glob", "here", "matched", "others"), GLOBS, ids=lambda value: str(value)[:20])
def test_a_star_of_a_glob_stays_within_its_segment(glob, here, matched, others):
    assert go_patterns.from_glob(glob) == here
    assert all(patterns.matches(here, name, "ann") for name in matched)
    assert not any(patterns.matches(here, name, "ann") for name in others)


REFUSED = ["(a+)+", "(", "*", "(?=a)", r"(a)\1", "a++", "a(?#x)", "[[:alpha:]]x", "a{,3}", r"a\z", r"\Qa\E"]
REFUSED += ["(?U)a", "a(?i)b"]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_runs_away_or_reads_differently_in_python_is_refused(expression):
    with pytest.raises(Malformed):
        go_patterns.from_regex(expression)


@pytest.mark.parametrize("glob", ["a[", "a\\"])
def test_a_glob_that_go_would_not_take_is_refused(glob):
    with pytest.raises(Malformed):
        go_patterns.from_glob(glob)
