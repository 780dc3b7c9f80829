"""The access log, which people read and which fail2ban acts upon."""

import gzip
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.app import App
from regadmin.errors import Misconfigured
from regadmin.web.access_log import AccessLog
from tests.conftest import ADMIN, ADMIN_PASSWORD
from tests.rigs.client import Client
from tests.rigs.fuzzing import examples
from tests.rigs.server import wait_until
from tests.web.conftest import PASSWORD

COMBINED = re.compile(
    r'(?P<address>\S+) - (?P<login>\S+) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] '
    r'"(?P<line>(?:[^"\\]|\\.)*)" (?P<status>\d{3}) (?P<size>\d+|-)'
    r'(?: "(?P<referrer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?'
)


class Lines:
    """Keeps what is logged."""

    def __init__(self):
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def combined() -> Lines:
    return Lines()


@pytest.fixture
def short() -> Lines:
    return Lines()


@pytest.fixture
def logged(app, combined, short) -> Client:
    """A caller of an application that logs."""
    return Client(AccessLog(app.wsgi, combined, short))


def fields(line: str) -> dict[str, str]:
    found = COMBINED.fullmatch(line)
    assert found, line
    return found.groupdict()


def test_a_line_has_apaches_combined_format(logged, combined):
    logged.get("/ping", headers={"Referer": "http://a.example/x", "User-Agent": "curl/8"})
    (line,) = combined.lines
    found = fields(line)
    assert (found["address"], found["login"]) == ("192.0.2.1", "-")
    assert (found["line"], found["status"], found["size"]) == ("GET /ping HTTP/1.1", "200", "4")
    assert (found["referrer"], found["agent"]) == ("http://a.example/x", "curl/8")


def test_the_short_line_is_the_common_part_of_the_combined_one(logged, combined, short):
    logged.get("/ping")
    assert combined.lines == [short.lines[0] + ' "-" "-"']


def test_every_request_is_one_line(logged, combined, short):
    for path in ("/ping", "/api/v1/users", "/nothing", "/api/v1/registry/auth?scope=x"):
        logged.get(path)
    assert [fields(line)["status"] for line in combined.lines] == ["200", "401", "404", "400"]
    assert len(short.lines) == 4


def test_the_login_is_that_of_the_one_who_asked(logged, combined, alice):
    logged.get("/api/v1/registry/catalog", basic=f"alice:{PASSWORD}")
    logged.post("/auth/local/login", form={"user": "alice", "passwd": PASSWORD})
    logged.get("/api/v1/registry/catalog")
    assert [fields(line)["login"] for line in combined.lines] == ["alice"] * 3


@pytest.mark.parametrize("path", ["/api/v1/registry/auth", "/api/v1/users"])
def test_a_failed_sign_in_shows_the_login_that_was_tried_with_401(logged, combined, path):
    logged.get(path, basic="mallory:a guess")
    found = fields(combined.lines[0])
    assert (found["login"], found["status"]) == ("mallory", "401")
    assert "a guess" not in combined.lines[0]


def test_a_failed_sign_in_by_form_shows_it_too(logged, combined):
    logged.post("/auth/local/login", form={"user": "mallory", "passwd": "a guess"})
    found = fields(combined.lines[0])
    assert (found["login"], found["status"], found["line"]) == (
        "mallory", "401", "POST /auth/local/login HTTP/1.1",
    )


def test_no_password_is_logged(logged, combined, short, alice):
    logged.get("/api/v1/registry/auth", basic=f"alice:{PASSWORD}")
    form = {"grant_type": "password", "username": "alice", "password": PASSWORD}
    logged.post("/api/v1/registry/auth", form=form)
    logged.post("/auth/local/login", form={"user": "alice", "passwd": PASSWORD})
    assert PASSWORD not in "\n".join(combined.lines + short.lines)
    assert "password=" not in "\n".join(combined.lines + short.lines)


FORGERIES = {
    "line feed": 'x\n192.0.2.66 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 401 5',
    "return": "x\r192.0.2.66",
    "quote": 'x" 401 5 "',
    "backslash": 'x\\" 401 5 "',
    "escape": "x\x1b[31mred",
    "tab": "x\ty",
    "delete": "x\x7f",
    "zero": "x\0y",
    "space": "x - - [y] 401",
    "no-break space": "x\xa0y",
    "next line": "x\x85y",
    "line separator": "x\u2028y",
    "right to left": "x\u202ey",
}


@pytest.mark.parametrize("text", FORGERIES.values(), ids=FORGERIES)
def test_nobody_can_forge_a_line_or_a_field(app, logged, combined, text):
    logged.get("/ping", headers={"User-Agent": text, "Referer": text})
    logged.get("/api/v1/users", basic=f"{text}:password")
    logged.post("/auth/local/login", form={"user": text, "passwd": "x"})
    for line in combined.lines:
        assert line.isprintable()
        found = fields(line)
        assert found["address"] == "192.0.2.1"
        assert (found["line"], found["status"]) in [
            ("GET /ping HTTP/1.1", "200"),
            ("GET /api/v1/users HTTP/1.1", "401"),
            ("POST /auth/local/login HTTP/1.1", "401"),
            ("POST /auth/local/login HTTP/1.1", "400"),
        ]


@pytest.mark.parametrize("text", FORGERIES.values(), ids=FORGERIES)
def test_nobody_can_forge_a_line_by_the_address(app, combined, text):
    log = AccessLog(app.wsgi, combined, None)
    latin = text.encode().decode("latin-1")
    for target in ({"REQUEST_URI": latin}, {"PATH_INFO": latin}):
        Client(lambda environ, start: log(environ | target, start)).get("/x")  # noqa: B023 - called at once
    for line in combined.lines:
        assert line.isprintable()
        assert fields(line)["address"] == "192.0.2.1"


def test_a_login_that_is_a_hyphen_is_told_from_none(logged, combined):
    logged.get("/api/v1/users", basic="-:a guess")
    logged.get("/api/v1/users")
    assert [fields(line)["login"] for line in combined.lines] == ["\\x2d", "-"]


def test_what_a_stranger_sends_cannot_fill_the_log(logged, combined):
    long = "x" * 100_000
    logged.get("/api/v1/users?" + long, basic=f"{long}:x", headers={"User-Agent": long, "Referer": long})
    (line,) = combined.lines
    assert len(line) < 15_000
    assert (fields(line)["login"], fields(line)["status"]) == ("x" * 64, "401")


def test_text_that_no_file_can_hold_is_escaped(combined):
    def app(environ, start_response):
        environ["regadmin.login"] = "x\ud800"
        start_response("401 Unauthorized", [])
        return []

    Client(AccessLog(app, combined, None)).get("/x")
    assert fields(combined.lines[0])["login"] == "x\\ud800"


def test_the_target_is_as_it_was_sent(app, combined):
    log = AccessLog(app.wsgi, combined, None)
    target = {"REQUEST_URI": "/ping?a=%22b%0a"}
    Client(lambda environ, start: log(environ | target, start)).get("/ping")
    assert fields(combined.lines[0])["line"] == "GET /ping?a=%22b%0a HTTP/1.1"


def test_a_fault_of_the_application_is_a_line_with_500(combined):
    def broken(environ, start_response):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Client(AccessLog(broken, combined, None)).get("/x")
    assert fields(combined.lines[0])["status"] == "500"


def test_either_log_may_be_missing(app, combined, short):
    Client(AccessLog(app.wsgi, None, short)).get("/ping")
    Client(AccessLog(app.wsgi, combined, None)).get("/ping")
    Client(AccessLog(app.wsgi, None, None)).get("/ping")
    assert (len(combined.lines), len(short.lines)) == (1, 1)


# As the settings say


@pytest.fixture
def log_file(tmp_path) -> Path:
    return tmp_path / "access.log"


def test_the_file_holds_the_combined_format_and_standard_output_the_short_one(settings, clock, log_file, capsys):
    both = {"logger__enabled": "true", "logger__stdout": "true", "logger__file": log_file}
    client = Client(App(settings(**both), clock).wsgi)
    client.get("/api/v1/users", basic=ADMIN, headers={"User-Agent": "a browser"})
    (line,) = log_file.read_text().splitlines()
    assert (fields(line)["login"], fields(line)["agent"]) == ("admin", "a browser")
    (printed,) = capsys.readouterr().out.splitlines()
    assert line.startswith(printed)
    assert "a browser" not in printed
    assert ADMIN_PASSWORD not in line
    assert shlex.split(line)


def test_nothing_is_logged_unless_the_settings_say_so(settings, clock, log_file, capsys):
    Client(App(settings(logger__file=log_file), clock).wsgi).get("/ping")
    assert not log_file.exists()
    assert capsys.readouterr().out == ""


def small(log_file: Path, backups: int) -> dict:
    settings = {"enabled": "true", "file": log_file, "max_size": 1000, "max_backups": backups}
    return {f"logger__{name}": value for name, value in settings.items()}


def names_beside(log_file: Path) -> list[str]:
    return sorted(path.name for path in log_file.parent.glob("access.log*"))


def test_the_file_is_rotated_into_compressed_backups_and_old_ones_go(settings, clock, log_file):
    client = Client(App(settings(**small(log_file, 2)), clock).wsgi)
    for number in range(100):
        client.get(f"/{number:02}")
    wait_until(lambda: names_beside(log_file) == ["access.log", "access.log.1.gz", "access.log.2.gz"])
    texts = [gzip.decompress(log_file.with_name(f"access.log.{n}.gz").read_bytes()).decode() for n in (2, 1)]
    kept = re.findall(r" /(\d\d) ", "".join([*texts, log_file.read_text()]))
    assert kept == [f"{number:02}" for number in range(100 - len(kept), 100)]
    assert len(kept) > 20
    assert all(0 < len(text) <= 1000 for text in texts)


def test_a_backup_is_as_private_as_the_log_was(settings, clock, log_file):
    client = Client(App(settings(**small(log_file, 1)), clock).wsgi)
    log_file.chmod(0o640)
    for _ in range(15):
        client.get("/ping")
    backup = log_file.with_name("access.log.1.gz")
    wait_until(lambda: names_beside(log_file) == ["access.log", backup.name])
    assert backup.stat().st_mode & 0o777 == 0o640


def test_without_backups_the_file_is_left_to_logrotate(settings, clock, log_file):
    client = Client(App(settings(**small(log_file, 0)), clock).wsgi)
    for _ in range(30):
        client.get("/ping")
    assert names_beside(log_file) == ["access.log"]
    assert len(log_file.read_text().splitlines()) == 30


def test_what_a_killed_process_left_uncompressed_is_a_backup_after_the_next_rotation(settings, clock, log_file):
    log_file.with_name("access.log.rotated.123").write_text("lines of yesterday\n")
    log_file.with_name("access.log.1.new").write_bytes(b"half a fi")
    client = Client(App(settings(**small(log_file, 5)), clock).wsgi)
    for _ in range(15):
        client.get("/ping")
    wait_until(lambda: names_beside(log_file) == ["access.log", "access.log.1.gz", "access.log.2.gz"])
    older = gzip.decompress(log_file.with_name("access.log.2.gz").read_bytes())
    assert older == b"lines of yesterday\n"


def test_a_renamed_file_is_followed_by_a_new_one(settings, clock, log_file):
    client = Client(App(settings(logger__enabled="true", logger__file=log_file), clock).wsgi)
    client.get("/first")
    moved = log_file.rename(log_file.with_name("moved.log"))
    client.get("/second")
    log_file.unlink()
    client.get("/third")
    assert re.findall(r" /(\w+) ", moved.read_text()) == ["first"]
    assert re.findall(r" /(\w+) ", log_file.read_text()) == ["third"]


def test_a_log_that_cannot_be_opened_anew_goes_on_in_the_old_file(settings, clock, tmp_path, caplog):
    (tmp_path / "logs").mkdir()
    log_file = tmp_path / "logs" / "access.log"
    client = Client(App(settings(logger__enabled="true", logger__file=log_file), clock).wsgi)
    moved = (tmp_path / "logs").rename(tmp_path / "moved") / "access.log"
    client.get("/ping")
    client.get("/ping")
    assert len(moved.read_text().splitlines()) == 2
    assert caplog.text.count(str(log_file)) == 1


WRITER = """
import sys
from regadmin.web.log_files import LogFile
log = LogFile(sys.argv[1], 5000, 1000)
for number in range(500):
    log.write(f"{sys.argv[2]} {number} {'x' * 50}")
while log._compressor.is_alive():
    log._compressor.join()
"""


def test_several_processes_rotate_one_log_and_no_line_is_lost(log_file):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, log_file, name]) for name in "abc"]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    count = len(names_beside(log_file)) - 1
    backups = [log_file.with_name(f"access.log.{n}.gz") for n in range(count, 0, -1)]
    texts = [gzip.decompress(backup.read_bytes()).decode() for backup in backups]
    assert all(len(text) <= 5000 + 3 * 60 for text in texts)
    lines = "".join([*texts, log_file.read_text()]).splitlines()
    for name in "abc":
        assert [int(line.split()[1]) for line in lines if line.startswith(name)] == list(range(500))


def test_logins_of_all_languages_are_written_in_utf_8(settings, clock, log_file):
    client = Client(App(settings(logger__enabled="true", logger__file=log_file), clock).wsgi)
    client.get("/api/v1/users", basic="Jürgen猫:password")
    assert fields(log_file.read_text("utf-8").rstrip("\n"))["login"] == "Jürgen猫"


def test_two_applications_do_not_share_a_log(settings, clock, log_file, tmp_path):
    other = tmp_path / "other.log"
    clients = [Client(App(settings(logger__enabled="true", logger__file=p), clock).wsgi) for p in (log_file, other)]
    clients[0].get("/ping")
    assert len(log_file.read_text().splitlines()) == 1
    assert other.read_text() == ""


def test_a_file_that_cannot_be_written_is_a_misconfiguration(settings, clock, tmp_path):
    with pytest.raises(Misconfigured) as caught:
        App(settings(logger__enabled="true", logger__file=tmp_path / "missing" / "access.log"), clock)
    assert "missing" in caught.value.message


texts = st.text(st.sampled_from('"\\ -[]\n\r\t\0\x85\xa0\u2028\u202eé猫x40157:/') | st.characters(), max_size=30)
latin = st.text(st.sampled_from('"\\ -[]\n\r\0\x85\xa0x401') | st.characters(max_codepoint=255), max_size=30)


def read_back(text: str) -> str:
    return re.sub(r'\\(?:x..|u.{4}|U.{8}|.)', lambda found: found[0].encode().decode("unicode_escape"), text)


@examples(150)
@given(login=texts, agent=latin, referrer=latin, target=latin, status=st.sampled_from(["200 OK", "401 No", "303 See"]))
def test_whatever_is_sent_can_be_read_back_from_one_line(combined, login, agent, referrer, target, status):
    def answer(environ, start_response):
        environ["regadmin.login"] = login
        start_response(status, [])
        return []

    log = AccessLog(answer, combined, None)
    asked = {"REQUEST_URI": target, "HTTP_USER_AGENT": agent, "HTTP_REFERER": referrer}
    Client(lambda environ, start: log(environ | asked, start)).get("/x")
    line = combined.lines[-1]
    assert line.isprintable()
    found = fields(line)
    assert (found["address"], found["status"]) == ("192.0.2.1", status[:3])
    assert read_back(found["login"]) == (login or "-")
    assert (found["login"] == "-") is (login == "")
    assert (read_back(found["agent"]), read_back(found["referrer"])) == (agent, referrer)
    assert read_back(found["line"]) == f"GET {target or '/x'} HTTP/1.1"
