"""The plain HTTP port beside HTTPS."""

import pytest

from regadmin.web.redirect import CHALLENGES, Redirect


def ask(redirect: Redirect, uri: str = "/", method: str = "GET", host: str | None = None) -> tuple[str, dict, bytes]:
    environ = {"REQUEST_METHOD": method, "REQUEST_URI": uri, "PATH_INFO": uri.partition("?")[0]}
    if host is not None:
        environ["HTTP_HOST"] = host
    started = []
    body = redirect(environ, lambda status, headers: started.append((status, dict(headers))))
    return *started[0], b"".join(body)


def location(redirect: Redirect, *given, **options) -> str:
    return ask(redirect, *given, **options)[1]["Location"]


@pytest.fixture
def redirect():
    return Redirect(["admin.example.com", "www.example.com"], 443, {"token-1": "token-1.thumbprint"}.get)


def test_path_and_query_are_kept_as_they_were_sent(redirect):
    target = "/access/check?name=a%2Fb&x=%C3%A9&y=1+2;z"
    assert location(redirect, target) == f"https://admin.example.com{target}"


@pytest.mark.parametrize(
    ("method", "status"), [("GET", "301"), ("HEAD", "301"), ("POST", "308"), ("PUT", "308"), ("DELETE", "308")]
)
def test_a_method_with_a_body_is_kept(redirect, method, status):
    assert ask(redirect, "/api/v1/users", method)[0].startswith(status)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("www.example.com", "www.example.com"),
        ("WWW.example.com:80", "www.example.com"),
        ("admin.example.com", "admin.example.com"),
        ("evil.example", "admin.example.com"),
        ("www.example.com.evil.example", "admin.example.com"),
        ("www.example.com:80@evil.example", "www.example.com"),
        ("evil.example/www.example.com", "admin.example.com"),
        ("www.example.com\\@evil.example", "admin.example.com"),
        ("", "admin.example.com"),
        (None, "admin.example.com"),
    ],
)
def test_it_leads_to_our_names_only(redirect, host, name):
    assert location(redirect, "/x", host=host) == f"https://{name}/x"


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("//evil.example/x", "//evil.example/x"),
        ("http://evil.example/x", "/"),
        (".evil.example", "/"),
        ("@evil.example", "/"),
        ("*", "/"),
        ("", "/"),
        ('/\x00\xe9\\"<>', "/%00%E9%5C%22%3C%3E"),
    ],
)
def test_no_address_leads_elsewhere(redirect, uri, target):
    assert location(redirect, uri) == f"https://admin.example.com{target}"


def test_another_port_is_named():
    assert location(Redirect(["localhost"], 8443, {}.get), "/x") == "https://localhost:8443/x"


@pytest.mark.parametrize("host", ["admin.example.com", "www.example.com:5002", "127.0.0.1", None])
def test_challenges_are_answered_under_any_name(redirect, host):
    status, headers, body = ask(redirect, f"{CHALLENGES}token-1", host=host)
    assert (status, body) == ("200 OK", b"token-1.thumbprint")
    assert headers["Content-Type"] == "text/plain"
    assert ask(redirect, f"{CHALLENGES}../token-1", host=host)[0] == "404 Not Found"
