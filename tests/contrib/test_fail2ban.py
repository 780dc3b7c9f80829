"""contrib/fail2ban on lines that a real server wrote: who guesses passwords is banned, and nobody else."""

import http.client
import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from regadmin.web.access_log import AccessLog
from regadmin.web.log_files import LogFile
from tests.contrib import CONTRIB
from tests.rigs.client import Client
from tests.rigs.fuzzing import examples
from tests.rigs.registry import free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.tools import find_tool

FAIL2BAN = CONTRIB / "fail2ban"
FILTER = FAIL2BAN / "filter.d" / "regadmin.conf"
BOB = ("bob", "bob-pass")
VICTIM = "198.51.100.9"
FORGED_LINE = f'{VICTIM} - alice [01/Jan/2026:00:00:00 +0000] "GET /login HTTP/1.1" 401 5 "-" "-"'


class Visitor:
    """Somebody with an address of his own, as a trusted proxy reports it.

    Each guesses at a login of his own: the server makes those wait who guess at one that others guessed at.
    """

    def __init__(self, server: RunningServer, address: str):
        self._server = server
        self.guess = (f"guest-{re.sub('[^0-9]', '-', address)}", "a guess")
        self._headers = {"X-Forwarded-For": address}

    def call(self, method: str, path: str, auth=None, headers=None, **options) -> int:
        """The status of the answer."""
        return self._request(method, path, auth, headers, **options).status_code

    def sign_in_at_the_page(self, login: str, password: str) -> int:
        page = self._request("GET", "/login")
        token = re.search(r'name="csrf" value="(\w+)"', page.text)[1]
        form = {"csrf": token, "login": login, "password": password}
        return self.call("POST", "/login", data=form, cookies=page.cookies)

    def send(self, target: str, login: str, password: str) -> int:
        """A request whose target is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=10)
        connection.putrequest("GET", target, skip_host=True)
        authorization = requests.auth._basic_auth_str(login.encode(), password)
        for name, value in ({"Host": "localhost", "Authorization": authorization} | self._headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status

    def _request(self, method, path, auth=None, headers=None, **options) -> requests.Response:
        with requests.Session() as session:
            session.auth = auth
            session.trust_env = False
            url = self._server.url + path
            sent = self._headers | (headers or {})
            return session.request(method, url, headers=sent, timeout=30, allow_redirects=False, **options)


def utf8(login: str) -> tuple[bytes, bytes]:
    return login.encode(), b"a guess"


V2 = {"X-Original-Method": "GET", "X-Original-URI": "/v2/"}
REALMS = ("/api/v1/registry/auth", "/api/v1/auth", "/auth/token")
FAILURES = {
    "page": lambda v: v.sign_in_at_the_page(*v.guess),
    "page, unknown login": lambda v: v.sign_in_at_the_page("mallory", "x"),
    "form": lambda v: v.call("POST", "/auth/local/login", data={"user": v.guess[0], "passwd": "x"}),
    "JSON": lambda v: v.call("POST", "/auth/local/login", json={"user": v.guess[0], "passwd": "x"}),
    "API": lambda v: v.call("GET", "/api/v1/users", v.guess),
    "API, delete": lambda v: v.call("DELETE", "/api/v1/users/1", v.guess),
    "API, head": lambda v: v.call("HEAD", "/api/v1/registry/catalog", v.guess),
    "account": lambda v: v.call("GET", "/auth/user", v.guess),
    "events": lambda v: v.call("POST", "/api/v1/registry/events", v.guess, json={"events": []}),
    "blocked user": lambda v: v.call("GET", "/api/v1/registry/auth", ("blocked", "blocked-pass")),
    **{f"realm {path}": lambda v, path=path: v.call("GET", f"{path}?service=x", v.guess) for path in REALMS},
    "realm, form": lambda v: v.call(
        "POST", REALMS[0], data={"grant_type": "password", "username": v.guess[0], "password": "x"}
    ),
    "forward": lambda v: v.call("GET", "/api/v1/forward", v.guess, V2),
    "hostile agent": lambda v: v.call("GET", "/api/v1/users", v.guess, {"User-Agent": 'x" 200 5 "-" "\\'}),
    "no agent": lambda v: v.call("GET", "/api/v1/users", v.guess, {"User-Agent": None}),
    "quote in the address": lambda v: v.send('/api/v1/users?a="x\\', *v.guess),
    "absolute address": lambda v: v.send("http://localhost/api/v1/users", *v.guess),
    "login of spaces and quotes": lambda v: v.call("GET", "/api/v1/users", ('a " 200 5 - [x]', "x")),
    "login with a date": lambda v: v.call("GET", "/api/v1/users", ("[01/Jan/2026:00:00:00 +0000]", "x")),
    "login in Japanese": lambda v: v.call("GET", "/api/v1/users", utf8("\u732b")),
    "login with a strange space": lambda v: v.call("GET", "/api/v1/users", utf8("a\u2003b")),
    "login that is a hyphen": lambda v: v.call("GET", "/api/v1/users", ("-", "x")),
    "endless login": lambda v: v.call("GET", "/api/v1/users", ("x" * 5000, "x")),
}
INNOCENT = {
    "no credentials": lambda v: v.call("GET", "/api/v1/users"),
    "no session": lambda v: v.call("GET", "/auth/user"),
    "old session": lambda v: v.call("GET", "/api/v1/users", cookies={"JWT": "long.gone.now"}),
    "old token": lambda v: v.call("GET", "/api/v1/users", headers={"X-JWT": "long.gone.now"}),
    "not Basic": lambda v: v.call("GET", "/api/v1/users", headers={"Authorization": "Bearer x"}),
    "account without password": lambda v: v.call("GET", f"{REALMS[0]}?account=bob"),
    "refresh token": lambda v: v.call("POST", REALMS[0], data={"grant_type": "refresh_token"}),
    "page that needs a session": lambda v: v.call("GET", "/users"),
    "missing page": lambda v: v.call("GET", "/api/v1/nothing", BOB),
    "missing page without account": lambda v: v.call("GET", "/login/401/5"),
    "what only an admin may": lambda v: v.call("POST", "/api/v1/users", BOB, json={}),
    "more than the rules allow": lambda v: v.call(
        "GET", f"{REALMS[0]}?service=container_registry&scope=repository:secret/x:push", BOB
    ),
    "forward without credentials": lambda v: v.call("GET", "/api/v1/forward", headers=V2),
    "forward with empty credentials": lambda v: v.call("GET", "/api/v1/forward", ("", ""), V2),
    "forward, more than the rules allow": lambda v: v.call(
        "GET", "/api/v1/forward", BOB, V2 | {"X-Original-URI": "/v2/_catalog"}
    ),
    "anonymous token": lambda v: v.call("GET", f"{REALMS[0]}?service=container_registry"),
    "sign in": lambda v: v.sign_in_at_the_page(*BOB),
    "form of another site": lambda v: v.call("POST", "/login", data={"login": "bob", "password": "x"}),
    "bad request": lambda v: v.call("GET", "/api/v1/users?range=x", ADMIN),
    "agent that looks like a failure": lambda v: v.call("GET", "/", headers={"User-Agent": '" 401 1 "-" "x'}),
    "agent that looks like a line": lambda v: v.call("GET", "/", headers={"User-Agent": FORGED_LINE}),
    "referrer that looks like a line": lambda v: v.call("GET", "/api/v1/users", headers={"Referer": FORGED_LINE}),
    "address that looks like a failure": lambda v: v.send('/x"401-"-"', *BOB),
    "address that looks like one, encoded": lambda v: v.call("GET", "/login%22%20401%201%0a" + VICTIM),
    "login that looks like a failure": lambda v: v.call("POST", "/auth/local/login", data={"user": FORGED_LINE}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("fail2ban")
    server = RunningServer(directory, free_port(), trusted_proxies=["127.0.0.1"]).start()
    server.create("users", login="alice", password="alice-pass", role="user")
    server.create("users", login="bob", password=BOB[1], role="user")
    server.create("users", login="blocked", password="blocked-pass", role="user", blocked=True)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def visits(server) -> dict[str, tuple[str, int]]:
    """The address and the status of every case, after all of them have been tried."""
    found = {}
    for network, cases in (("203.0.113", FAILURES), ("192.0.2", INNOCENT)):
        for number, (name, visit) in enumerate(cases.items(), 1):
            address = f"{network}.{number}"
            found[name] = address, visit(Visitor(server, address))
    return found


def matched(log: Path) -> list[str]:
    """The addresses of the lines that count, as fail2ban sees them."""
    command = [find_tool("fail2ban-regex", "fail2ban"), "--encoding=utf-8", "--out=ip", log, FILTER]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode in (0, 1), ended.stderr
    return ended.stdout.split()


@pytest.fixture(scope="module")
def banned(server, visits) -> list[str]:
    return matched(server.directory / "access.log")


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_sign_in_counts(visits, banned, name):
    address, status = visits[name]
    assert status == 401
    assert banned.count(address) == 1


@pytest.mark.parametrize("name", INNOCENT)
def test_what_is_no_failed_sign_in_does_not_count(visits, banned, name):
    address, _ = visits[name]
    assert address not in banned


def test_the_innocent_cases_are_those_that_could_be_mistaken(visits):
    statuses = {visits[name][1] for name in INNOCENT}
    assert statuses >= {200, 303, 400, 401, 403, 404}


def test_nobody_else_is_banned(banned):
    assert VICTIM not in banned
    assert len(banned) == len(FAILURES)


def test_who_must_only_wait_because_others_guessed_is_not_counted(visits, server, tmp_path):
    lines = (server.directory / "access.log").read_text().splitlines()
    waiting = [line.replace('" 401 ', '" 429 ') for line in lines if line.startswith("203.0.113.")]
    (tmp_path / "log").write_text("\n".join(waiting) + "\n")
    assert matched(tmp_path / "log") == []


def test_the_short_log_of_standard_output_is_understood_too(visits, server, tmp_path):
    lines = (server.directory / "access.log").read_text().splitlines()
    short = [re.sub(r'" (\d{3}) (\d+|-) .*', r'" \1 \2', line) for line in lines]
    (tmp_path / "log").write_text("\n".join(short) + "\n")
    assert len(matched(tmp_path / "log")) == len(FAILURES)


def test_who_stands_before_the_last_stranger_in_the_list_is_not_believed(server):
    visitor = Visitor(server, f"{VICTIM}, 203.0.113.200")
    assert visitor.call("GET", "/api/v1/users", visitor.guess) == 401
    found = matched(server.directory / "access.log")
    assert "203.0.113.200" in found
    assert VICTIM not in found


def test_version_6_addresses_count(server):
    Visitor(server, "2001:db8::66").call("GET", "/api/v1/users", ("somebody", "x"))
    assert "2001:db8::66" in matched(server.directory / "access.log")


texts = st.text(st.sampled_from('"\\ -[]\n\r\0\x85401/:') | st.characters(max_codepoint=255), max_size=30)
forged = st.just(FORGED_LINE) | texts
FIELDS = ("regadmin.login", "REQUEST_URI", "HTTP_REFERER", "HTTP_USER_AGENT")


def test_only_failures_with_a_login_count_whatever_else_is_sent(tmp_path):
    failures, numbers = [], itertools.count()
    written = LogFile(str(tmp_path / "log"), 0, 0)

    @examples(200)
    @given(st.sampled_from(["200 OK", "303 Go", "403 No", "429 Wait", "401 Who"]), st.tuples(*[forged] * len(FIELDS)))
    def write(status, values):
        environ = dict(zip(FIELDS, values, strict=True))
        number = next(numbers)
        address = f"198.18.{number // 250}.{number % 250}"
        if status.startswith("401") and environ["regadmin.login"]:
            failures.append(address)
        answer = AccessLog(lambda _, start: start(status, []) or [], written.write, None)
        Client(lambda given, start: answer(given | environ, start), address=address).get("/")

    write()
    assert len(failures) > 5
    assert matched(tmp_path / "log") == failures


# fail2ban itself, with an action that only writes down


def configuration(directory: Path, log: Path, banaction: str) -> Path:
    shutil.copytree(FAIL2BAN, directory)
    (directory / "fail2ban.conf").write_text("[Definition]\ndbfile = None\n")
    action = f'[Definition]\nactionban = echo "<ip>" >>"{directory}/banned"\n'
    (directory / "action.d" / "write-down.conf").write_text(action)
    jail = f"[regadmin]\nlogpath = {log}\naction = {banaction}\n"
    (directory / "jail.d" / "zz.local").write_text(jail)
    return directory


@pytest.fixture
def fail2ban(tmp_path):
    """A running fail2ban; gives its log and the list of those whom it banned."""
    log = tmp_path / "access.log"
    log.touch()
    directory = configuration(tmp_path / "fail2ban", log, "write-down")
    own = ["-c", directory, "-s", tmp_path / "socket", "-p", tmp_path / "pid"]
    output = tmp_path / "output"
    with output.open("w") as file:
        command = [find_tool("fail2ban-server", "fail2ban"), *own, "--logtarget", "stdout", "-xf", "start"]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    wait_until(lambda: "Jail 'regadmin' started" in output.read_text(), 20, output.read_text)
    yield log, directory / "banned"
    process.terminate()
    process.wait(20)


def test_five_guesses_are_banned_within_two_seconds_and_four_are_not(fail2ban, tmp_path):
    log, banned = fail2ban
    (tmp_path / "server").mkdir()
    logger = {"enabled": True, "filename": str(log)}
    server = RunningServer(tmp_path / "server", free_port(), trusted_proxies=["127.0.0.1"], logger=logger).start()
    try:
        for number in range(4):
            assert Visitor(server, "203.0.113.4").call("GET", "/api/v1/users", ("alice", f"guess {number}")) == 401
        for _ in range(9):
            assert Visitor(server, "192.0.2.9").call("GET", "/api/v1/users") == 401
        for number in range(5):
            assert Visitor(server, "203.0.113.5").call("GET", "/api/v1/users", ("carol", f"guess {number}")) == 401
        wait_until(banned.exists, 2)
        assert banned.read_text().split() == ["203.0.113.5"]
    finally:
        server.stop()


def test_the_ban_of_a_container_goes_where_its_packets_pass(tmp_path):
    (tmp_path / "access.log").touch()
    directory = configuration(tmp_path / "fail2ban", tmp_path / "access.log", "regadmin-containers")
    stock = Path("/etc/fail2ban/action.d")
    for name in ("iptables.conf", "iptables-allports.conf"):
        shutil.copy(stock / name, directory / "action.d")
    command = [find_tool("fail2ban-client", "fail2ban"), "-c", directory, "-d"]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert dumped.returncode == 0, dumped.stderr
    assert "-I DOCKER-USER -p $proto -j f2b-" in dumped.stdout
    assert "INPUT" not in dumped.stdout
