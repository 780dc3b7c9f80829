"""Resource names of rules: exact names, globs and regular expressions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.errors import Malformed
from regadmin.patterns import MAX_LENGTH, check, is_exact, is_regex, matcher, matches, may_match

ACCEPTED = [
    "app",
    "team/app",
    "host.example:5000/team/app",
    "Team/App",
    "catalog",
    "*",
    "**",
    "team/*",
    "team/**",
    "*/app",
    "**/*-dev/**",
    "**/*/*",
    "*-*/*-*",
    "v?/app-*",
    "${login}/**",
    "team-${group}/*",
    "${group}/${login}",
    "/team/[a-z]+/",
    "/team-(dev|prod)/[a-z0-9-]+/",
    "/app(-[a-z]+)?(-[0-9]+)?/",
    "/(?:dev|test|prod)/(?:api|web|db)/v[0-9]{1,3}/",
    "/[a-z]+/[a-z]+/[a-z]+/[a-z]+/[a-z]+/",
    "/${login}(-.*)?/",
    "/(?i)team/.*/",
    "/a{255}/",
    "/^team/.+$/",
]

BACKWARDS = [
    "",
    "a" * (MAX_LENGTH + 1),
    " app",
    "app ",
    "team app",
    "/team",
    "team/",
    "team//app",
    "-app",
    "äpp",
    "team/\u212aelvin",
    "app\n",
    "app\0",
    "../app",
    "team/app:v1",
    "app:latest",
    "host:port/app",
    "host:5000",
    "host:5000/app:v1",
    "team//*",
    "team/*/",
    "tëam/*",
    "team/***",
    "${user}/*",
    "${login",
    "$login/*",
    "${}/*",
    "/[/",
    "/(/",
    "/a{2,1}/",
    "/*a/",
    "/(?P<x>a)(?P=x)/",
    r"/(a)\1/",
    "/(?=team).*/",
    "/(?!secret).*/",
    "/(?<!x)a/",
    "/(a)?(?(1)b|c)/",
    "/a{99999999999999}/",
    "/" + "(" * 400 + ")" * 100 + "/",
    "/" + "(" * 101 + ")" * 101 + "/",
    "/${user}/",
    "/[${login}]/",
    "/[a-${login}]/",
    "/[${login}-z]/",
    r"/\${login}/",
    "/(?P<${login}>a)/",
]

RUNAWAYS = [
    "/(a+)+/",
    "/(a*)*b/",
    "/(a+)+$/",
    "/([a-z]+)*/",
    "/(a|a)*/",
    "/(a|ab)*c/",
    "/(.*)*/",
    "/(.|a)+/",
    "/(a|b|ab)*/",
    "/(?:ab|ab)+/",
    "/(a?){50}(a){50}/",
    "/(a|)*b/",
    "/(?:a?b?)*c/",
    "/(a{1,20}){1,20}/",
    "/(?:a|aa){30}b/",
    "/((a{100}){100}){100}/",
    "/a*a*a*a*a*b/",
    "/.*.*.*.*x/",
    "/.*a.*a.*b/",
    "/.+.+.+[bc]/",
    "/[ab]*[bc]*[cd]*[de]*[ef]*x/",
    "/b*b*xb*b*xb*b*xb*b*y/",
    "/b*(?:)+b*(?:)+b*(?:)+b*c/",
    "/(?:.*.*.*|x)y/",
    "/(?:.*.*.*)?y/",
    "/(?:[^/]*a[^/]*a[^/]*a[^/]*|x)/",
    "/(?i)(?:ab|AB)+x/",
    "/(?i:(?:ab|AB)+)x/",
    "/[A-Z]*[A-Z]*[A-Z]*[A-Z]*x/",
    "/(?:AB|[A-Z]B)+x/",
    "/(?:${login}|b)+x/",
    "/${login}*${group}*${login}*${group}*x/",
    "/" + "a*" * 200 + "b/",
    "*-*/*-*/*-*",
    "/".join(["*-*"] * 6),
    "**a**a**b",
    "**${login}**${login}**x",
    "*-" * 100,
]

name_texts = st.text("ab/-:.", max_size=12)


def test_a_resource_name_says_by_itself_what_it_is():
    assert is_exact("team/app")
    assert not is_exact("team/*")
    assert not is_exact("team/ap?")
    assert not is_exact("${login}/app")
    assert is_regex("/team/")
    assert not is_exact("/team/")
    assert not is_regex("team/app")
    assert not is_regex("/")


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_resource_name_is_accepted(text):
    check(text)


@pytest.mark.parametrize("text", BACKWARDS)
def test_what_can_never_match_or_cannot_be_compiled_is_refused(text):
    with pytest.raises(Malformed) as caught:
        check(text)
    assert caught.value.message


@pytest.mark.parametrize("text", RUNAWAYS, ids=lambda text: text[:40])
def test_what_could_run_away_is_refused(text):
    with pytest.raises(Malformed):
        check(text)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("team/app", "team/app", True),
        ("team/app", "team/App", False),
        ("team/app", "team/app2", False),
        ("team/app", "xteam/app", False),
        ("team/app", "team/unionapp", False),
        ("team.app", "teamxapp", False),
        ("team/*", "team/app", True),
        ("team/*", "team/", True),
        ("team/*", "team/sub/app", False),
        ("team/*", "team", False),
        ("team/*", "xteam/app", False),
        ("team/**", "team/app", True),
        ("team/**", "team/sub/app", True),
        ("team/**", "team", False),
        ("team**", "team", True),
        ("team**", "team/a/b", True),
        ("*", "app", True),
        ("*", "team/app", False),
        ("**", "a/b/c", True),
        ("**/app", "a/b/app", True),
        ("**/app", "app", False),
        ("v?", "v1", True),
        ("v?", "v", False),
        ("v?", "v12", False),
        ("v?app", "v/app", False),
        ("team.x/*", "teamyx/app", False),
        ("a+b*", "aab", False),
        ("/team/", "team", True),
        ("/team/", "team/", False),
        ("/team/", "ateam", False),
        ("/team/", "teama", False),
        ("/a|b/", "b", True),
        ("/a|b/", "ab", False),
        ("/a|b/", "bx", False),
        ("/^team$/", "team", True),
        ("/team/app.*/", "team/app-1", True),
        (r"/\w+/", "äpp", False),
        ("/(?i)TEAM/", "team", True),
        ("//", "", True),
    ],
)
def test_an_expression_covers_the_whole_name_or_nothing(text, name, expected):
    assert matches(text, name) is expected


def test_the_login_stands_for_itself_and_for_nothing_else():
    assert matches("${login}/*", "alice/app", login="alice")
    assert not matches("${login}/*", "bob/app", login="alice")
    assert matches("/${login}-.*/", "alice-app", login="alice")


@pytest.mark.parametrize("login", [".*", "*", "**", "a|b", "[a-z]+", "${group}", "a.c", "(", "\\", "a/b"])
def test_characters_of_a_login_have_no_meaning_in_a_pattern(login):
    for text in ("${login}/*", "/${login}/.*/"):
        assert matches(text, f"{login}/app", login=login)
        assert not matches(text, "abc/app", login=login)


def test_a_repeated_login_is_repeated_as_a_whole():
    assert matches("/(?:x-)?${login}{2}/", "bobbob", login="bob")
    assert not matches("/${login}{2}/", "bobb", login="bob")


def test_nobody_without_a_login_is_covered_by_a_pattern_with_a_login():
    assert not matches("${login}", "")
    assert not matches("${login}/*", "/app")
    assert not matches("${login}**", "app")
    assert not matches("/${login}.*/", "app")


def test_each_group_stands_for_itself():
    assert matches("${group}/*", "crew/app", "alice", ["default", "crew"])
    assert not matches("${group}/*", "staff/app", "alice", ["default", "crew"])
    assert not matches("${group}/*", "crew/app", "alice", [])
    assert matches("${group}/${login}", "crew/alice", "alice", ["crew"])
    assert not matches("${group}/${login}", "crew/bob", "alice", ["crew"])


def test_a_group_with_spaces_and_stars_matches_only_itself():
    assert matches("${group}/*", "the *crew/app", "alice", ["the *crew"])
    assert not matches("${group}/*", "the best crew/app", "alice", ["the *crew"])


def glob_covers(glob: str, name: str) -> bool:
    """The meaning of a glob, written without regular expressions."""
    if not glob:
        return not name
    if glob.startswith("**"):
        return any(glob_covers(glob[2:], name[cut:]) for cut in range(len(name) + 1))
    if glob[0] == "*":
        segment = name.split("/")[0]
        return any(glob_covers(glob[1:], name[cut:]) for cut in range(len(segment) + 1))
    if glob[0] == "?":
        return name[:1] not in ("", "/") and glob_covers(glob[1:], name[1:])
    return name[:1] == glob[0] and glob_covers(glob[1:], name[1:])


@given(st.text("ab/-.*?", min_size=1, max_size=10).filter(lambda text: "***" not in text), name_texts)
def test_globs_mean_what_the_naive_reading_says(glob, name):
    if not is_regex(glob) and not is_exact(glob):
        assert matches(glob, name) is glob_covers(glob, name)


@given(st.text("ab/-:.", min_size=1, max_size=10).filter(is_exact), name_texts)
def test_an_exact_name_covers_itself_alone(text, name):
    assert matches(text, text)
    assert matches(text, name) is (text == name)


parts = st.sampled_from(
    [*"abz/-|*+?.()[]^$\\{}", "${login}", "${group}", "(?:", "(?i)", "a{2}", "{1,3}", "[a-z]", "[^/]", r"\w", ".*", "é"]
)
expressions = st.lists(parts, min_size=1, max_size=12).map(lambda found: "/" + "".join(found) + "/")


@pytest.mark.filterwarnings("ignore:Possible nested set")
@given(st.text() | expressions | st.lists(parts, max_size=8).map("".join), name_texts)
def test_whatever_is_typed_is_refused_with_a_sentence_or_can_be_matched(text, name):
    try:
        check(text)
    except Malformed as error:
        assert error.message
        return
    for login in ("", "alice", "a.*", "\\", "1,9"):
        assert matches(text, name, login, ["crew", "(", "9"]) in (True, False)


@given(st.frozensets(st.sampled_from(ACCEPTED)), st.sampled_from(["", "alice", "(?i)team"]))
def test_many_patterns_at_once_cover_what_one_of_them_covers(texts, login):
    groups = ("crew", "team")
    covers = matcher(texts, login, groups)
    for name in ("app", "team/app", "Team/App", "alice/app", "team-crew/x", "crew/alice", "v1/app-2", "a" * 255, "no"):
        assert covers(name) is any(matches(text, name, login, groups) for text in texts)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("team/*", "team/app", True),
        ("team/*", "other/app", False),
        ("${login}/**", "alice/app", True),
        ("team-${group}/app", "team-crew/app", True),
        ("team-${group}/app", "crew/app", False),
        ("team-${group}/app", "team-crew/web", False),
        ("home/${login}", "home/alice", True),
        ("/home-${login}/", "anything", True),
    ],
)
def test_a_placeholder_may_stand_for_anybody(text, name, expected):
    assert may_match(text, name) is expected
