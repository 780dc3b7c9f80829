"""What a request to the registry needs, against a plain copy of distribution's routes and access records, and against a
real registry."""

import http.client
import re
from contextlib import closing
from posixpath import normpath
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regadmin.errors import Forbidden
from regadmin.registry.routes import needed
from tests.rigs.fuzzing import examples
from tests.rigs.registry import RealRegistry
from tests.rigs.tls import write_certificate

DIGEST = "sha256:" + "0" * 64
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "CONNECT", "")

# distribution, reference/regexp.go and registry/api/v2/descriptors.go: in this order, the first that matches counts.
# Only that a separator cannot be empty differs: the language is the same, and Python's matcher comes to an end.
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
NAME = rf"(?P<name>(?:{_HOST}(?:\.{_HOST})*(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*)"
TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
ANY_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
ROUTES = {
    "base": "/v2/",
    "manifest": f"/v2/{NAME}/manifests/(?:{TAG}|{ANY_DIGEST})",
    "catalog": "/v2/_catalog",
    "tags": f"/v2/{NAME}/tags/list",
    "blob": f"/v2/{NAME}/blobs/{ANY_DIGEST}",
    "upload": f"/v2/{NAME}/blobs/uploads/",
    "upload chunk": f"/v2/{NAME}/blobs/uploads/[a-zA-Z0-9_.=-]+",
    # Not yet in distribution, which answers 404: a registry that had it would ask for pull.
    "referrers": f"/v2/{NAME}/referrers/{ANY_DIGEST}",
}
RECORDS = {
    "GET": {"pull"},
    "HEAD": {"pull"},
    "POST": {"pull", "push"},
    "PUT": {"pull", "push"},
    "PATCH": {"pull", "push"},
    "DELETE": {"delete"},
}


def registry_needs(method: str, address: str) -> set[tuple[str, str, str]] | None:
    """The access records of distribution; None if it redirects, finds nothing or knows no record."""
    path, _, query = address.partition("?")
    decoded = unquote(path)
    cleaned = normpath(decoded) + ("/" if decoded.endswith("/") and decoded != "/" else "")
    route = next((name for name, pattern in ROUTES.items() if re.fullmatch(pattern, decoded)), None)
    if not route or cleaned != decoded or method not in RECORDS:
        return None
    if route in ("base", "catalog"):
        return {("registry", "catalog", "*")} if route == "catalog" else set()
    # Stricter than distribution: a session of an upload is for those who push.
    actions = RECORDS[method] | ({"pull", "push"} if "upload" in route else set())
    repository, source = re.fullmatch(ROUTES[route], decoded)["name"], parse_qs(query).get("from", [""])[0]
    records = {("repository", repository, action) for action in actions}
    return records | ({("repository", source, "pull")} if source else set())


def ours(method: str, address: str) -> set[tuple[str, str, str]] | None:
    try:
        return records_of(" ".join(map(str, needed(method, address))))
    except Forbidden:
        return None


def records_of(scopes: str) -> set[tuple[str, str, str]]:
    """Type, name and action of all that a request is for. The name may hold colons, its ends do not."""
    found = (re.fullmatch(r"([^:]+):(.+):([^:]+)", scope).groups() for scope in scopes.split())
    return {(kind, name, action) for kind, name, actions in found for action in actions.split(",")}


PLAIN = st.sampled_from(["a", "team", "manifests", "blobs", "uploads", "tags", "list", "v2", "a__b", "host:5000"])
ODD = st.sampled_from(
    [
        *("", ".", "..", "%2e%2e", "a%2Fb", "A", "a..b", "-a", "a b", "é", "\0", "%00", "\n", "a;b", "a\\b", "_"),
        *("_catalog", "latest", "sha256:xyz", DIGEST, "0b5c-7.=", "x" * 129),
    ]
)
TAILS = ("tags/list", "manifests/v1", f"blobs/{DIGEST}", f"referrers/{DIGEST}", "blobs/uploads/", "blobs/uploads/0b_=")
ODD_TAILS = ("", "_catalog", "blobs/uploads/..", "blobs/uploads/.", "manifests/..", "tags/list/", "blobs/uploads")
ENDS = st.sampled_from([*TAILS, *TAILS, *ODD_TAILS])
QUERIES = st.sampled_from(["", "?", "?n=1&last=a", "?from=b", "?mount=x&from=team%2Fb", "?fr%6fm=b", "?from=b&from=c"])
NAMES = st.one_of(st.lists(PLAIN, max_size=4), st.lists(st.one_of(PLAIN, ODD), max_size=4))


@settings(max_examples=400)
@given(st.sampled_from(METHODS), NAMES, ENDS, QUERIES)
def test_what_is_let_through_is_what_the_registry_understands(method, segments, end, query):
    address = "/".join(["/v2", *segments, end]) + query
    mine = ours(method, address)
    assert mine is None or mine == registry_needs(method, address)


@given(st.sampled_from(list(RECORDS)), st.lists(PLAIN, min_size=1, max_size=4), st.sampled_from(TAILS))
def test_every_plain_address_of_the_registry_is_let_through(method, segments, tail):
    address = "/".join(["/v2", *segments, tail])
    assert (ours(method, address) is None) is (registry_needs(method, address) is None)


@pytest.mark.parametrize(
    ("method", "address", "expected"),
    [
        ("GET", "/v2/", ""),
        ("GET", "/v2/_catalog?n=5", "registry:catalog:*"),
        ("GET", "/v2/team/app/tags/list", "repository:team/app:pull"),
        ("HEAD", "/v2/app/manifests/latest", "repository:app:pull"),
        ("PUT", f"/v2/app/manifests/{DIGEST}", "repository:app:pull,push"),
        ("DELETE", f"/v2/app/manifests/{DIGEST}", "repository:app:delete"),
        ("GET", f"/v2/app/blobs/{DIGEST}?ns=docker.io", "repository:app:pull"),
        ("GET", f"/v2/app/referrers/{DIGEST}", "repository:app:pull"),
        ("POST", "/v2/app/blobs/uploads/", "repository:app:pull,push"),
        ("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}", "repository:app:pull,push"),
        ("POST", f"/v2/app/blobs/uploads/?mount={DIGEST}&from=a%2Fb", "repository:app:pull,push repository:a/b:pull"),
        ("PATCH", "/v2/app/blobs/uploads/0b5c?_state=x%3D", "repository:app:pull,push"),
        ("GET", "/v2/app/blobs/uploads/0b5c", "repository:app:pull,push"),
        ("DELETE", "/v2/app/blobs/uploads/0b5c", "repository:app:pull,push,delete"),
        ("GET", "/v2/a/manifests/b/manifests/c", "repository:a/manifests/b:pull"),
        ("GET", "/v2/a/blobs/uploads/manifests/c", "repository:a/blobs/uploads:pull"),
        ("GET", "/v2/a/tags/list/tags/list", "repository:a/tags/list:pull"),
        ("POST", "/v2/manifests/blobs/uploads/", "repository:manifests:pull,push"),
        ("GET", "/v2/mirror.example:5000/app/manifests/c", "repository:mirror.example:5000/app:pull"),
    ],
)
def test_method_and_path_say_what_is_needed(method, address, expected):
    assert " ".join(map(str, needed(method, address))) == expected


@pytest.mark.parametrize(
    "address",
    [
        *("", "/", "/v2", "/v1/", "/v2//", "//v2/", "v2/", "/v2/_catalog/", "/v2/.", "/V2/", "http://x/v2/", "/v2/#"),
        *("/v2/tags/list", "/v2/manifests/v1", "/v2/app", "/v2/app/", "/v2/app/manifests/", "/v2/app/manifests/v1/"),
        *("/v2/app//manifests/v1", "/v2/app/./manifests/v1", "/v2/app/../secret/manifests/v1", "/v2/app/manifests/.."),
        *("/v2/%61pp/manifests/v1", "/v2/app%2Fmanifests/v1", "/v2/app/manifests/v1%00", "/v2/app/manifests/v1\0"),
        *("/v2/app/manifests/v1\n", "/v2/app/manifests/v1;x", "/v2/app/manifests/a:b", "/v2/app/blobs/v1"),
        *("/v2/app/blobs/uploads", "/v2/app/blobs/uploads/a/b", "/v2/app/blobs/uploads/..", "/v2/app/tags/v1"),
        *("/v2/App/manifests/v1", "/v2/a..b/manifests/v1", f"/v2/{'a' * 256}/manifests/v1", "/v2/app/manifests/é"),
        *("/v2/app/manifests/v1?from=../secret", "/v2/app/blobs/uploads/?from=a&from=b"),
        "/v2/app/manifests/v1?from=%ff",
        "/v2/app/manifests/v1?" + "a=1&" * 1000,
    ],
)
def test_what_is_not_plainly_an_address_of_the_registry_is_refused(address):
    with pytest.raises(Forbidden):
        needed("GET", address)


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", "", "GET "])
@pytest.mark.parametrize("address", ["/v2/", "/v2/_catalog", "/v2/app/manifests/v1"])
def test_a_method_that_the_registry_has_no_use_for_is_refused(method, address):
    with pytest.raises(Forbidden):
        needed(method, address)


# What a real registry makes of it: without a token it says in its challenge what it would want for the request.

PIECES = st.sampled_from(
    [
        *("/", "//", "/.", "/..", "/./", "/../", ".", "..", "%2f", "%2F", "%2e", "%2e%2e", "/%2e%2e/", "%00", "%0a"),
        *("%", "%zz", "%20", "%25", "%252f", "%5c", "%c3%a9", "%C3%28", "é", "\\", "#", ";", "+", "@", ":", "=", "~"),
        *("*", "_", "A", "secret/app", "/secret/app", "/manifests/", "/blobs/", "/blobs/uploads/", "/tags/list"),
        *("/tags", "/v2/", "v2", "_catalog", "latest", DIGEST, DIGEST.upper(), "sha512:" + "a" * 32, "/referrers/"),
        *("?", "&", "?from=", "?from=secret/app", "&from=secret/app", "?from=a;from=secret/app"),
        *("?from=%zz&from=secret/app", "?fr%6fm=secret%2fapp"),
    ]
)
WHERE = st.integers(0, 80)


def spliced(address: str, splices: list[tuple[int, int, str]]) -> str:
    """With these pieces at these places, each instead of some characters."""
    for at, gone, piece in splices:
        address = address[:at] + piece + address[at + gone :]
    return address if address.startswith("/") else "/" + address


@pytest.fixture(scope="module")
def ask_registry(tmp_path_factory):
    """Sends a request whose target is sent as it is, without a token: the status, and the scopes of a challenge."""
    root = tmp_path_factory.mktemp("routes")
    certificate, _ = write_certificate(root / "tls")
    auth = {"realm": "http://nowhere.example", "service": "s", "issuer": "i", "rootcertbundle": str(certificate)}
    with (
        RealRegistry(root / "registry", auth=auth) as registry,
        closing(http.client.HTTPConnection("127.0.0.1", registry.port, timeout=10)) as connection,
    ):
        # The client of the standard library would refuse what an attacker sends.
        connection._validate_path = lambda url: None
        connection._encode_request = lambda request: request.encode("latin-1")

        def ask(method: str, target: str) -> tuple[int, str]:
            connection.putrequest(method, target)
            connection.putheader("Content-Length", "0")
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            scopes = re.search(r'scope="([^"]*)"', answer.headers.get("WWW-Authenticate") or "")
            return answer.status, scopes[1] if scopes else ""

        yield ask


@examples(400)
@given(
    st.sampled_from(list(RECORDS)),
    st.lists(st.one_of(PLAIN, ODD.filter(lambda text: not re.search(r"[\s\0]", text))), min_size=1, max_size=4),
    ENDS,
    QUERIES,
    st.lists(st.tuples(WHERE, st.integers(0, 3), PIECES), max_size=2),
)
def test_a_real_registry_wants_for_a_request_no_more_than_what_we_judge_it_by(
    ask_registry, method, segments, end, query, splices
):
    address = spliced("/".join(["/v2", *segments, end]) + query, splices)
    mine = ours(method, address)
    status, scopes = ask_registry(method, address)
    if mine is None:
        return
    # It never serves without a token, so what it wants is what counts; all else it does not have.
    assert status in (401, 404, 405)
    assert status != 401 or records_of(scopes) <= mine
    assert {record[:2] for record in records_of(scopes)} in (set(), {record[:2] for record in mine})
