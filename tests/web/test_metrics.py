"""/metrics: who may read it, that Prometheus can, and that it says what happened."""

import re
import socket
import sqlite3
import threading

import pytest

from regadmin.app import App
from regadmin.entities import Role
from regadmin.lanes import THREADS
from regadmin.listener import Listener, bind
from regadmin.services.metrics import CONNECTIONS, HTTP_REQUESTS, METRICS, REQUESTS_WAITING, TOKEN_ANSWERS, Kind
from regadmin.version import __version__
from tests.conftest import ADMIN
from tests.rigs.client import Answer, Client
from tests.rigs.server import wait_until
from tests.rigs.standin import StandinRegistry, envelope, event
from tests.rigs.tls import HOST, write_certificate
from tests.web.conftest import PASSWORD
from tests.web.test_realm import ALICE, ask

TOKEN = "0123456789abcdef é"
SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="([^"\\\n]*)"\})? (-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)')
Series = dict[tuple[str, str], float]


def parse(text: str) -> Series:
    """Samples by name and label's value. Fails for anything that Prometheus' text format 0.0.4 does not allow."""
    found: Series = {}
    assert text.endswith("\n")
    blocks = re.split(r"(?=^# HELP )", text, flags=re.MULTILINE)
    assert blocks.pop(0) == ""
    names = []
    for block in blocks:
        help_line, type_line, *lines = block.splitlines()
        name = re.fullmatch(r"# HELP ([a-z_]+) [^\\]+", help_line)[1]
        kind = re.fullmatch(rf"# TYPE {name} (counter|gauge|histogram)", type_line)[1]
        assert name.endswith("_total") == (kind == "counter")
        names.append(name)
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        for line in lines:
            sample, label, value, number = SAMPLE.fullmatch(line).groups(default="")
            assert sample.removeprefix(name) in suffixes
            assert sample.startswith(name)
            assert (label == "le") == sample.endswith("_bucket")
            assert (sample, value) not in found
            found[sample, value] = float(number)
        if kind == "histogram":
            check_histogram(name, found)
    assert len(names) == len(set(names))
    return found


def check_histogram(name: str, found: Series) -> None:
    buckets = [(float(bound), number) for (sample, bound), number in found.items() if sample == f"{name}_bucket"]
    assert buckets == sorted(buckets)
    assert [number for _, number in buckets] == sorted(number for _, number in buckets)
    assert buckets[-1] == (float("inf"), found[f"{name}_count", ""])


def scrape(app: App) -> Series:
    answer = Client(app.wsgi, address="127.0.0.1").get("/metrics")
    assert (answer.status, answer.header("Content-Type")) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return parse(answer.text)


def of(found: Series, name: str) -> dict[str, float]:
    """What is not 0, by the label's value."""
    return {value: number for (each, value), number in found.items() if each == f"regadmin_{name}" and number}


def get(app: App, address: str, **headers: str) -> Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(app.wsgi, address=address).get("/metrics", headers=names)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1"])
def test_the_machine_itself_may_read_them_by_default(app, address):
    assert get(app, address).status == 200


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:127.0.0.1", "", "unix:", "127.0.0.1.example"])
def test_nobody_else_may_and_is_told_what_to_do(app, address):
    for answer in (get(app, address), get(app, address, Authorization="Bearer ")):
        assert (answer.status, answer.text) == (403, "your address is not in metrics.allow\n")
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"


def test_an_account_opens_nothing(app):
    assert Client(app.wsgi, basic=ADMIN).get("/metrics").status == 403


@pytest.fixture
def guarded(settings, clock) -> App:
    """With networks, a token and a proxy of its owner's choice."""
    networks = {"metrics__allow": "198.51.100.0/24,2001:db8::5", "trusted_proxies": "10.0.0.1"}
    return App(settings(metrics__token=TOKEN, **networks), clock)


def test_allowed_networks_open_them_and_the_default_is_gone(guarded):
    statuses = {each: get(guarded, each).status for each in ("198.51.100.7", "2001:db8::5", "2001:db8::6", "127.0.0.1")}
    assert list(statuses.values()) == [200, 200, 401, 401], statuses


def test_the_right_token_opens_them_from_everywhere(guarded):
    sent = TOKEN.encode().decode("latin-1")
    assert get(guarded, "192.0.2.1", Authorization=f"Bearer {sent}").status == 200
    assert get(guarded, "192.0.2.1", Authorization=f"bearer  {sent} ").status == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer \xff", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer x" * 99]
)
def test_any_other_header_is_refused(guarded, header):
    answer = get(guarded, "192.0.2.1", Authorization=header)
    assert answer.status == 401
    assert answer.header("WWW-Authenticate") == 'Bearer realm="metrics"'
    assert answer.text == "this needs the token of metrics.token, or an address in metrics.allow\n"


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("10.0.0.1", "198.51.100.7", 200),
        ("10.0.0.1", "198.51.100.7, 192.0.2.1", 401),
        ("10.0.0.1", "192.0.2.1", 401),
        ("10.0.0.1", "", 401),
        ("192.0.2.1", "198.51.100.7", 401),
        # A proxy that nobody named: it is allowed, but who is behind it?
        ("198.51.100.7", "192.0.2.1", 401),
        ("198.51.100.7", "198.51.100.7", 401),
    ],
)
def test_the_address_is_that_of_the_client_or_counts_for_nothing(guarded, peer, forwarded, status):
    assert get(guarded, peer, X_Forwarded_For=forwarded).status == status


def test_all_that_happens_is_counted(settings, clock, by):
    with StandinRegistry() as registry:
        app = App(settings(registry__port=registry.port), clock)
        started = int(clock.now)
        alice = app.users.create(by, PASSWORD, login="alice", role=Role.USER)
        app.rules.create(by, alice.id, False, resource_name="team/app", action="pull")
        for end in (None, started + 1):
            app.access_tokens.create(alice, by, "ci", (), end)
        client, admin = Client(app.wsgi), Client(app.wsgi, basic=ADMIN)

        for _ in range(2):  # The second is answered again.
            ask(client, "repository:team/app:push,pull", basic=ADMIN)
        ask(client, basic=ALICE)
        ask(client, "repository:team/app:push,pull", basic=ALICE)
        ask(client, "repository:team/app:pull", "repository:team/other:pull", basic=ALICE)
        ask(client, "repository:team/app:pull")
        assert [ask(client, basic="alice:wrong one").status for _ in range(4)] == [401, 401, 401, 429]
        ask(client, "nonsense")

        gone = event("delete", "team/app", id="2", digest="sha256:" + "d" * 64)
        about_nothing = event("pull", "team/app", id="3", media_type="application/octet-stream")
        for events in ([event("mount", "team/app", id="1"), gone], [gone, about_nothing]):
            assert admin.post("/api/v1/registry/events", body=envelope(*events)).status == 200
        clock.pass_time(90)
        waiting = scrape(app)
        app.events.apply_waiting()
        app.synchronisation.run("test")
        found = scrape(app)

    assert {name for name, _ in found} >= {metric.name for metric in METRICS if metric.kind is not Kind.HISTOGRAM}
    answers = {"full": 3, "part": 2, "nothing": 1, "refused": 3, "throttled": 1, "error": 1}
    assert of(found, "token_answers_total") == answers
    assert of(found, "token_answer_seconds_count") == {"": sum(answers.values())}
    assert 0 < of(found, "token_answer_seconds_sum")[""] < 60
    # Beside tokens: two envelopes, and the first time that this was read.
    assert of(found, "http_requests_total") == {"2xx": 6 + 3, "4xx": 5}
    assert of(found, "sign_ins_refused_total") == {"credentials": 3, "throttled": 1}

    assert of(found, "events_received_total") == {"other": 1, "delete": 2, "pull": 1}
    assert of(waiting, "events_waiting") == {"": 3}
    assert of(waiting, "events_oldest_seconds") == {"": 90}
    assert of(waiting, "events_applied_total") == {}
    applied = {"nothing to do": 1, "removed": 1, "about no manifest": 1}
    assert of(found, "events_applied_total") == applied
    assert (of(found, "events_waiting"), of(found, "events_oldest_seconds"), of(found, "events_set_aside")) == ({},) * 3

    assert of(waiting, "sync_state") == of(waiting, "sync_complete_timestamp_seconds") == {}
    assert of(found, "sync_state") == {"complete": 1}
    assert of(found, "sync_start_timestamp_seconds") == of(found, "sync_complete_timestamp_seconds")
    assert of(found, "sync_complete_timestamp_seconds") == {"": started + 90}
    assert of(found, "registry_up") == {"": 1}
    assert of(found, "certificate_end_timestamp_seconds") == {"tokens": app.signing_key.not_after}
    assert (of(waiting, "access_tokens"), of(found, "access_tokens")) == ({"": 1},) * 2
    assert (of(found, "users"), of(found, "tags"), of(found, "repositories")) == ({"": 2}, {}, {})
    assert of(found, "workers_configured") == of(found, "workers_alive") == {"": 1}
    assert of(found, "build_info") == {__version__: 1}
    assert 10_000_000 < of(found, "resident_memory_bytes")[""] < 10_000_000_000
    assert of(found, "start_timestamp_seconds") == {"": started}


def test_what_goes_wrong_is_counted_too(settings, clock, tmp_path):
    certificate, key = write_certificate(tmp_path / "tls")
    app = App(settings(ssl__type="static", ssl__cert=certificate, ssl__key=key), clock)
    app.prepare()
    app.synchronisation.run("test")
    clock.pass_time(30)
    app.store.sync_runs.start("another")
    app.store.inbox.add([("1", b"no event")], "events")
    app.events.apply_waiting()
    found = scrape(app)
    assert of(found, "registry_up") == {}
    assert (of(found, "events_applied_total"), of(found, "events_set_aside")) == ({"set aside": 1}, {"": 1})
    assert (of(found, "sync_state"), of(found, "sync_running")) == ({"failed": 1}, {"": 1})
    assert of(found, "sync_start_timestamp_seconds") == {"": clock.now - 30}
    assert of(found, "certificate_end_timestamp_seconds")["https"] == app.certificate.ends

    app.store.database.execute("DROP TABLE sync_runs")
    broken = get(app, "127.0.0.1")
    assert (broken.status, broken.header("Content-Type")) == (500, "text/plain; charset=utf-8")
    assert re.fullmatch(r"something went wrong on the server; .* [0-9a-f]{8}\n", broken.text)

    app.store.database.execute("DROP TABLE revision")
    with pytest.raises(sqlite3.OperationalError):  # Which Waitress answers with 500.
        ask(Client(app.wsgi))
    assert (app.counters.total(TOKEN_ANSWERS, "error"), app.counters.total(HTTP_REQUESTS, "5xx")) == (1, 2)


def test_in_basic_mode_no_certificate_signs_tokens(settings, clock, tmp_path):
    basic = {"registry__login": "regadmin", "registry__password": "secret", "registry__htpasswd": tmp_path / "htpasswd"}
    app = App(settings(registry__auth_type="basic", **basic), clock)
    assert of(scrape(app), "certificate_end_timestamp_seconds") == {}


def test_requests_that_wait_for_a_thread_and_connections_are_seen(app):
    """Each request keeps its thread until it may go on, and there are two more than threads."""
    gate = threading.Event()

    def slow(environ, start_response):
        gate.wait(20)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    [sockets] = bind(HOST, 0)
    listener = Listener(on_load=app.metrics.note_load)
    listener.listen(slow, sockets)
    thread = threading.Thread(target=listener.run, daemon=True)
    thread.start()
    try:
        clients = [socket.create_connection(sockets[0].getsockname(), timeout=20) for _ in range(THREADS + 2)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: app.counters.level(REQUESTS_WAITING) == 2)
        assert app.counters.level(CONNECTIONS) == THREADS + 2
        gate.set()
        for client in clients:
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        wait_until(lambda: app.counters.level(REQUESTS_WAITING) == 0)
        for client in clients:
            client.close()
        wait_until(lambda: app.counters.level(CONNECTIONS) == 0)
    finally:
        gate.set()
        listener.stop()
        thread.join(10)
