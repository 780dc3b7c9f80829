"""Certificates from a real ACME authority: the first, the next, and what goes wrong on the way."""

import json
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509

from regadmin.certificates.acme import Authority, OrderFailed
from regadmin.certificates.renewal import FIRST_DELAY, INTERRUPTED, LAST_DELAY, LONGEST_WAIT, Renewal
from regadmin.certificates.served import ServedCertificate
from regadmin.errors import Misconfigured
from regadmin.listener import Listener, bind
from regadmin.web.redirect import Redirect
from tests.rigs.clock import Clock
from tests.rigs.pebble import LIFETIME, Pebble
from tests.rigs.registry import free_port
from tests.rigs.tls import HOST

NAMES = ["admin.example.com", "www.example.com"]
DAY = 24 * 60 * 60


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    """An authority that refuses every third nonce."""
    pebble = Pebble(tmp_path_factory.mktemp("pebble"), PEBBLE_WFE_NONCEREJECT="33", PEBBLE_AUTHZREUSE="0").start()
    yield pebble
    pebble.stop()


@pytest.fixture
def clock():
    # The authority's certificates begin at the real time.
    return Clock(int(time.time()))


class Site:
    """A server's side: the folder, and the port where the answers to challenges are looked for."""

    def __init__(self, location, pebble, clock):
        self.location = location
        self.pebble = pebble
        self.clock = clock

    def renewal(self, names=NAMES, url="") -> Renewal:
        """As after a start of the server."""
        url = url or self.pebble.url
        self.authority = Authority(url, self.location / "account.json", "admin@example.com", "regadmin/test")
        renewal = Renewal(self.location, names, self.authority, self.clock)
        renewal.prepare()
        return renewal

    def run(self, renewal: Renewal) -> None:
        """Let it do what is due, while challenges are answered."""
        with self.answering():
            assert renewal.run_if_due()

    @contextmanager
    def answering(self):
        listener = Listener()
        listener.listen(Redirect(NAMES, 443, self.authority.answer), bind(HOST, self.pebble.http_port)[0])
        thread = threading.Thread(target=listener.run, daemon=True)
        thread.start()
        yield
        listener.stop()
        thread.join(10)

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates((self.location / "certificate.pem").read_bytes())[0]

    def account(self) -> dict:
        return json.loads((self.location / "account.json").read_text())


@pytest.fixture
def site(tmp_path, pebble, clock, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pebble.authority))
    return Site(tmp_path / "acme", pebble, clock)


def names_of(certificate: x509.Certificate) -> list[str]:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def modes(directory) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in [directory, *directory.iterdir()]}


# With the real authority


def test_the_first_certificate_the_next_one_and_the_account(site, clock, pebble):
    renewal = site.renewal()
    served = ServedCertificate(renewal.certificate_path, renewal.certificate_path, clock)
    served.load()
    assert renewal.status().ends == 0
    assert renewal.status().next_try == 0

    site.run(renewal)
    status = renewal.status()
    first = site.certificate()
    assert sorted(names_of(first)) == NAMES
    assert (status.failure, status.last_success) == ("", int(clock()))
    assert status.ends == first.not_valid_after_utc.timestamp()
    assert abs(status.next_try - clock() - LIFETIME * 2 / 3) < 60
    assert modes(site.location) == {"acme": 0o700, "certificate.pem": 0o600, "account.json": 0o600, "tries.json": 0o600}
    served.refresh()
    assert served.ends == status.ends
    assert_is_trusted(served.context, pebble.root)

    clock.now = status.next_try - 1
    site.run(renewal)
    assert site.certificate() == first

    account = site.account()
    clock.now = status.next_try
    site.run(site.renewal())
    assert site.certificate() != first
    assert site.certificate().public_key() != first.public_key()
    assert site.account() == account


def assert_is_trusted(context: ssl.SSLContext, root: str) -> None:
    """By a client that knows the root only: the chain is whole."""
    client = ssl.create_default_context(cadata=root)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(incoming, outgoing, server_hostname="admin.example.com")
    theirs = context.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(3):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() == "TLSv1.3"


def test_another_name_or_another_authority_is_asked_for_at_once_and_a_lost_account_is_found_again(site, clock):
    site.run(site.renewal())
    more = site.renewal([*NAMES, "new.example.com"])
    assert more.status().next_try <= clock()
    assert more.status().ends > clock(), "the old one is served until then"
    elsewhere = site.renewal(url=site.pebble.url.replace("localhost", HOST))
    assert elsewhere.status().next_try <= clock()
    assert site.renewal().status().next_try > clock()

    account = site.account()
    (site.location / "account.json").write_text(json.dumps(account | {"uri": ""}))
    fewer = site.renewal(["admin.example.com"])
    site.run(fewer)
    assert fewer.status().failure == ""
    assert site.account() == account


def test_a_challenge_that_fails_is_told_and_the_next_try_is_later_each_time(site, clock, caplog):
    renewal = site.renewal()
    delays = []
    for _ in range(2):
        # Nobody answers at the port of the challenges.
        renewal.run_if_due()
        status = renewal.status()
        delays.append(status.next_try - clock())
        assert "admin.example.com: " in status.failure
        assert "refused" in status.failure
        assert status.last_failure == int(clock())
        clock.now = status.next_try
    assert [round(delay) for delay in delays] == [FIRST_DELAY, 2 * FIRST_DELAY]
    assert "self-signed" in caplog.text
    assert "PRIVATE" not in caplog.text
    site.run(renewal)
    assert renewal.status().failure == ""


def test_an_authority_that_is_down_comes_back_and_has_forgotten_the_account(site, clock, caplog, pebble):
    renewal = site.renewal()
    site.run(renewal)
    account, first = site.account(), site.certificate()
    clock.now = renewal.status().next_try
    pebble.stop()
    renewal.run_if_due()
    assert "cannot be reached: Connection refused" in renewal.status().failure
    assert f"the old one, which ends on {first.not_valid_after_utc:%Y-%m-%d}" in caplog.text
    assert site.certificate() == first

    pebble.start()
    renewal.run_if_due()
    assert site.certificate() == first, "it is not time yet"
    clock.now = renewal.status().next_try
    site.run(renewal)
    assert renewal.status().failure == ""
    assert site.certificate() != first
    assert site.account()["key"] == account["key"]
    assert site.account()["uri"] != account["uri"]


# With an authority that says what the real one seldom does


class Refusing(BaseHTTPRequestHandler):
    answer = 503, {}, b""

    def do_GET(self):
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def refusing():
    """`refusing(status, headers, body)`: the URL of an authority that always answers this."""
    server = ThreadingHTTPServer((HOST, 0), type("Handler", (Refusing,), {}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(*given) -> str:
        server.RequestHandlerClass.answer = given
        return f"http://{HOST}:{server.server_port}/dir"

    yield answer
    server.shutdown()
    server.server_close()


@pytest.fixture
def away(tmp_path, clock):
    """A site whose authority is not there."""
    return Site(tmp_path / "acme", type("Nowhere", (), {"url": f"http://{HOST}:{free_port()}/dir"}), clock)


RATE_LIMITED = b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}'


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [("7200", 7200), ("1", FIRST_DELAY), ("soon", FIRST_DELAY), (str(10**9), LONGEST_WAIT), ("", FIRST_DELAY)],
)
def test_a_rate_limit_is_respected(away, refusing, clock, retry_after, wait):
    renewal = away.renewal(url=refusing(429, {"Retry-After": retry_after}, RATE_LIMITED))
    renewal.run_if_due()
    assert renewal.status().failure == "the authority refuses: too many certificates"
    assert renewal.status().next_try == int(clock()) + wait


def test_a_date_to_retry_after_is_understood(away, refusing, clock):
    moment = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 7200))
    renewal = away.renewal(url=refusing(503, {"Retry-After": moment}, b""))
    renewal.run_if_due()
    assert renewal.status().failure == "the authority answered with status 503"
    assert abs(renewal.status().next_try - clock() - 7200) < 30


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"newNonce": 1}', b"\xff\xfe"])
def test_an_authority_that_talks_nonsense_is_told_in_one_line(away, refusing, caplog, body):
    renewal = away.renewal(url=refusing(200, {"Content-Type": "application/json"}, body))
    assert renewal.run_if_due()
    assert renewal.status().failure
    assert renewal.status().failure.isprintable()
    assert "Traceback" not in caplog.text


def test_the_delay_grows_to_a_day(away, clock):
    renewal = away.renewal()
    delays = []
    for _ in range(14):
        renewal.run_if_due()
        delays.append(renewal.status().next_try - int(clock()))
        clock.now = renewal.status().next_try
    assert delays[:3] == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY]
    assert delays == sorted(delays)
    assert delays[-1] == LAST_DELAY == DAY


def test_a_server_that_crashes_again_and_again_spares_the_authority(away, clock, monkeypatch):
    asked = []

    def crash(self, names):
        asked.append(names)
        raise SystemExit

    monkeypatch.setattr(Authority, "issue", crash)
    for _ in range(5):
        try:
            away.renewal().run_if_due()
        except SystemExit:
            clock.pass_time(1)
    assert len(asked) == 1
    status = away.renewal().status()
    assert status.failure == INTERRUPTED
    assert abs(status.next_try - clock() - FIRST_DELAY) < 10


def test_a_certificate_for_other_names_is_not_taken(away, monkeypatch):
    renewal = away.renewal()
    before = renewal.certificate_path.read_bytes()
    other = away.renewal(["other.example.com"])._self_signed()
    for sent in (other, b"", other[:200]):
        monkeypatch.setattr(Authority, "issue", lambda self, names, sent=sent: sent)
        renewal.run_if_due()
        assert "the authority sent" in renewal.status().failure
        away.clock.now = renewal.status().next_try
    assert renewal.certificate_path.read_bytes() == before


# The folder


def test_a_self_signed_certificate_is_there_before_the_first(away, clock):
    renewal = away.renewal()
    served = ServedCertificate(renewal.certificate_path, renewal.certificate_path, clock)
    served.load()
    first = away.certificate()
    assert names_of(first) == NAMES
    away.renewal()
    assert away.certificate() == first, "a second start keeps it"


@pytest.mark.parametrize("damage", [b"", b"notes", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_certificate_is_made_anew(away, damage):
    renewal = away.renewal()
    renewal.certificate_path.write_bytes(damage)
    renewal = away.renewal()
    assert names_of(away.certificate()) == NAMES
    assert renewal.status().next_try == 0


def test_a_damaged_account_is_named(away, pebble):
    renewal = away.renewal(url=pebble.url)
    for damage in (b"", b"{", b"{}", b'{"key": {}, "uri": ""}', b"[]"):
        (away.location / "account.json").write_bytes(damage)
        with pytest.raises(OrderFailed, match=r"account\.json is damaged"):
            away.authority.issue(NAMES)
    assert renewal.status().ends == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"subject": 1, "more": 2}'])
def test_damaged_notes_of_tries_are_forgotten(away, clock, damage):
    renewal = away.renewal()
    (away.location / "tries.json").write_bytes(damage)
    assert renewal.status().next_try == 0


def test_a_folder_that_cannot_be_made_is_named(clock):
    authority = Authority("https://acme.example", Path("/proc/acme/account.json"), "", "regadmin/test")
    with pytest.raises(Misconfigured, match="/proc/acme"):
        Renewal(Path("/proc/acme"), NAMES, authority, clock).prepare()


def test_without_a_place_to_note_the_try_nobody_is_asked(away, caplog, monkeypatch):
    renewal = away.renewal()
    monkeypatch.setattr(Authority, "issue", lambda *_: pytest.fail("it was asked"))
    (away.location / "tries.json.new").mkdir()
    assert renewal.run_if_due()
    assert "tries.json.new cannot be written" in caplog.text
