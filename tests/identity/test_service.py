"""The HTTP service that knows people: what it is asked, and that no answer but a right one lets anybody in."""

import json
import logging
import time

import pytest

from regadmin import patterns
from regadmin.errors import Misconfigured, SourceUnavailable
from regadmin.identity.service import MOST_BYTES, HttpService
from regadmin.identity.source import TIMEOUT
from tests.rigs.identity import HANG, HANG_UP, TRICKLE, IdentityService
from tests.rigs.tls import write_certificate

SOON = 0.3


@pytest.fixture(scope="module")
def server():
    with IdentityService() as server:
        yield server


@pytest.fixture
def service(server) -> HttpService:
    server.fault, server.people = None, {}
    server.asked.clear()
    server._healed.clear()
    yield HttpService(server.url, "", "test")
    server.heal()


def rules(service: HttpService) -> list[tuple[str, str, str]]:
    return [
        (rule.resource_type, rule.resource_name, rule.action)
        for rule in service.authenticate("alice", "secret").rules
    ]


def refusal(service: HttpService, ask="authenticate") -> str:
    with pytest.raises(SourceUnavailable) as refused:
        service.authenticate("alice", "secret") if ask == "authenticate" else service.check()
    assert refused.value.message == "your login cannot be checked now; try again later"
    return str(refused.value.reason)


def test_it_gets_basic_credentials_by_post_and_says_who_is_right(server, service):
    server.people = {"älice:pässwörd:1": [], "bob:x": None}
    assert service.authenticate("älice", "pässwörd:1").rules == ()
    assert service.authenticate("bob", "x").rules == ()
    assert service.authenticate("bob", "y") is None
    assert server.asked[0] == ("POST", "/login?by=us", "älice", "pässwörd:1")


def test_its_rules_are_rules_here(server, service):
    server.people["alice:secret"] = [
        {"target": "team/app", "actions": ["pull", "push"]},
        {"target": "^base/.*", "useRegexp": True, "actions": ["pull", "read"]},
        {"target": "catalog", "type": "registry", "useRegexp": False, "actions": ["*"]},
        {"target": "nothing", "actions": None},
        {"target": "elsewhere", "type": "plugin", "actions": ["pull"]},
    ]
    found = rules(service)
    assert found[:2] == [("repository", "team/app", "pull"), ("repository", "team/app", "push")]
    assert found[2:] == [("repository", "/base/.*/", "pull"), ("registry", "catalog", "*")]
    assert patterns.matches("/base/.*/", "base/image")


@pytest.mark.parametrize(
    ("target", "is_regex"),
    [("(a+)+b", True), ("(?=x)", True), ("(", True), ("team/*", False), ("/.*/", False), ("", False)],
)
def test_a_rule_that_is_refused_here_is_left_out_and_the_others_hold(server, service, caplog, target, is_regex):
    given = {"target": target, "useRegexp": is_regex, "actions": ["pull"]}
    server.people["alice:secret"] = [given, {"target": "team/app", "actions": ["pull"]}]
    with caplog.at_level(logging.WARNING):
        assert rules(service) == [("repository", "team/app", "pull")]
    assert "a rule of the identity service is left out" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ((500, b"[]", {}), "it answered with status 500"),
        ((404, b"[]", {}), "it answered with status 404"),
        ((204, b"", {}), "it answered with status 204"),
        ((200, b"<html>", {}), "no JSON"),
        ((200, b"", {}), "no JSON"),
        ((200, b"[" * 100_000, {}), "no JSON"),
        ((200, b"{}", {}), "something else than a list"),
        ((200, json.dumps([{}] * 1001).encode(), {}), "something else than a list of up to 1000"),
        ((200, b"[1]", {}), "something else than rules"),
        ((200, b'[{"target": 1, "actions": []}]', {}), "something else than rules"),
        ((200, b'[{"target": "a", "actions": "pull"}]', {}), "something else than rules"),
        ((200, b'[{"target": "a", "actions": [1]}]', {}), "something else than rules"),
        ((200, b'[{"target": "a", "useRegexp": "no", "actions": []}]', {}), "something else than rules"),
        ((200, b" " * (MOST_BYTES + 1), {}), "more than 1048576 bytes"),
        (HANG_UP, "it cannot be asked"),
    ],
)
def test_any_other_answer_lets_nobody_in_and_says_why(server, service, fault, says):
    server.fault = fault
    assert says in refusal(service)


@pytest.mark.parametrize("fault", [HANG, TRICKLE])
def test_it_is_not_waited_for_longer_than_allowed_however_it_hangs(server, service, fault):
    server.fault = fault
    began = time.monotonic()
    assert refusal(HttpService(server.url, "", "test", SOON)) == "it did not answer in time"
    assert time.monotonic() - began < TIMEOUT - 1


def test_no_redirection_is_followed(server, service):
    server.fault = (307, b"", {"Location": server.url})
    assert refusal(service) == "it answered with status 307"
    assert len(server.asked) == 1


def test_no_proxy_and_no_netrc_file_of_the_owner_comes_between(server, service, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other")
    for name, value in {"HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:1", "no_proxy": ""}.items():
        monkeypatch.setenv(name, value)
    server.people["alice:secret"] = []
    assert service.authenticate("alice", "secret")


def test_whoever_is_not_there_cannot_be_asked():
    assert refusal(HttpService("http://127.0.0.1:1/", "", "test")) == "it cannot be asked: Connection refused"


def test_only_a_certificate_that_is_trusted_gets_credentials(tmp_path):
    paths, others = write_certificate(tmp_path / "a", "auth.example"), write_certificate(tmp_path / "b")
    with IdentityService(paths) as server:
        server.people["alice:secret"] = []
        assert HttpService(server.url, str(paths[0]), "test").authenticate("alice", "secret")
        assert "is not accepted" in refusal(HttpService(server.url, str(others[0]), "test"))
        another_name = server.url.replace("127.0.0.1", "localhost")
        assert "is not accepted" in refusal(HttpService(another_name, str(paths[0]), "test"))
        assert len(server.asked) == 1


def test_certificates_that_cannot_be_read_are_told_at_the_start(tmp_path):
    (tmp_path / "empty").write_text("")
    for name in ("missing", "empty"):
        with pytest.raises(Misconfigured, match=f"certificates .*{name} cannot be read"):
            HttpService("https://auth.example/", str(tmp_path / name), "test")


def test_a_check_sends_no_credentials(server, service):
    service.check()
    assert server.asked == [("POST", "/login?by=us", "", "")]
    server.fault = (503, b"", {})
    assert refusal(service, "check") == "it answered with status 503"
    server.fault = (200, b"[]", {})
    assert "lets in whoever sends no credentials" in refusal(service, "check")
