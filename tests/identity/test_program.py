"""The program that knows people: what it gets, what its exit status means, and that nothing else lets anybody in."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from regadmin.errors import SourceUnavailable, Unauthenticated
from regadmin.identity.program import ENVIRONMENT, Program
from regadmin.identity.source import TIMEOUT
from tests.rigs.identity import write_program
from tests.rigs.processes import children, inheriting_orphans
from tests.rigs.server import wait_until

SOON = 0.5


@pytest.fixture
def program(tmp_path):
    """A script with this end."""
    return lambda body, timeout=TIMEOUT: Program([write_program(tmp_path, body)], timeout)


def reason(program: Program) -> str:
    with pytest.raises(SourceUnavailable) as refused:
        program.authenticate("alice", "secret")
    assert refused.value.message == "your login cannot be checked now; try again later"
    return str(refused.value.reason)


def is_there(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/status") as status:
            return "\nState:\tZ" not in status.read()
    except FileNotFoundError:
        return False


def test_its_exit_status_says_who_is_right(program):
    asked = program('[ "$login" = bob ] && exit 2; [ "$password" = "se cret" ]')
    assert asked.authenticate("alice", "se cret").groups == ()
    assert asked.authenticate("bob", "se cret") is None
    with pytest.raises(Unauthenticated):
        asked.authenticate("alice", "other")


def test_it_gets_the_bytes_that_docker_auth_sends_its_arguments_and_no_environment_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("RA_STORE_ADMIN_PASSWORD", "topsecret")
    seen = tmp_path / "seen"
    script = tmp_path / "identity.py"
    script.write_text(
        "import json, os, sys\n"
        f"with open({str(seen)!r}, 'w') as file:\n"
        "    json.dump([sys.stdin.read(), sys.argv[1:], dict(os.environ), os.getcwd()], file)\n"
    )
    asked = Program([sys.executable, "-I", str(script), "$HOME; exit 1"])
    assert asked.authenticate("älice", "a  b\\c")
    sent, arguments, environment, directory = json.loads(seen.read_text())
    assert sent == "älice a  b\\c"
    assert (arguments, directory) == (["$HOME; exit 1"], "/")
    assert environment.items() - {("LC_CTYPE", "C.UTF-8")} == ENVIRONMENT.items()


def test_labels_named_group_are_groups_and_others_are_not(program):
    printed = '{"labels": {"groups": ["VIP", "ATeam"], "group": ["crew"], "level": ["max"]}}'
    assert program(f"echo '{printed}'").authenticate("alice", "secret").groups == ("crew", "VIP", "ATeam")
    assert program("echo '{\"other\": 1}'").authenticate("alice", "secret").groups == ()


@pytest.mark.parametrize(
    "printed",
    ["hello", "[]", '{"labels": [1]}', '{"labels": {"groups": "VIP"}}', '{"labels": {"groups": [1]}}', "[" * 60_000],
)
def test_what_it_prints_beside_labels_lets_nobody_in(program, printed):
    assert "something else than labels" in reason(program(f"cat <<'E'\n{printed}\nE"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("exit 3", "exit status 3"),
        ("exit 255", "exit status 255"),
        ("kill -9 $$", "exit status -9"),
        ("no-such-command", "exit status 127"),
        ("yes", "it printed more than 65536 bytes"),
    ],
)
def test_any_other_end_lets_nobody_in_and_says_why(program, body, says):
    assert says in reason(program(body))


@pytest.mark.parametrize("output", ["", "exec >&-;"])
def test_one_that_hangs_is_killed_with_all_that_it_started(program, tmp_path, output):
    asked = program(f"{output} sleep 60 & echo $! > {tmp_path}/pid; wait", SOON)
    began = time.monotonic()
    assert reason(asked) == "it did not end in time"
    assert time.monotonic() - began < TIMEOUT - 1
    started = int((tmp_path / "pid").read_text())
    wait_until(lambda: not is_there(started))


@pytest.mark.parametrize("body", ["sleep 60 & exit 1", "(sleep 60 & sleep 60) & exec sleep 60"])
def test_it_leaves_no_zombies_to_process_1_of_a_container(program, body):
    with inheriting_orphans(), pytest.raises((Unauthenticated, SourceUnavailable)):
        program(body, SOON).authenticate("alice", "secret")
    assert not any("\nState:\tZ" in Path(f"/proc/{pid}/status").read_text() for pid in children(os.getpid()))


def test_one_that_reads_nothing_is_believed_all_the_same(tmp_path):
    assert Program(["/bin/true"]).authenticate("alice", "secret")
    with pytest.raises(Unauthenticated):
        Program(["/bin/false"]).authenticate("alice", "secret")


def test_an_exit_status_that_was_lost_lets_nobody_in(program):
    """While SIGCHLD is ignored the system keeps none, and `subprocess` takes it for 0."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert "exit status was lost" in reason(program("exit 1"))
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize(
    ("login", "password"), [("alice secret", ""), ("alice\tx", "y"), ("alice", "secret\nmore"), ("a", "\0")]
)
def test_what_it_could_read_in_another_way_is_not_sent(program, tmp_path, login, password):
    assert program(f"touch {tmp_path}/ran").authenticate(login, password) is None
    assert not (tmp_path / "ran").exists()


def test_one_that_cannot_be_run_says_so(tmp_path):
    missing, plain = str(tmp_path / "missing"), tmp_path / "plain"
    plain.write_text("not executable")
    assert reason(Program([missing])) == "it cannot be run: No such file or directory"
    assert reason(Program([str(plain)])) == "it cannot be run: Permission denied"
    for path in (missing, str(plain), str(tmp_path)):
        with pytest.raises(SourceUnavailable) as refused:
            Program([path]).check()
        assert refused.value.reason == "it is no file that this server may run"


def test_the_example_of_the_page_lets_in_whom_it_should_and_nobody_when_its_file_is_gone(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()
    script = tmp_path / "who"
    script.write_text(page.split("```sh\n")[1].split("```")[0].replace("/etc/regadmin/carol", str(tmp_path / "carol")))
    script.chmod(0o755)
    asked = Program([str(script)])
    for content in (None, ""):
        if content is not None:
            (tmp_path / "carol").write_text(content)
        for password in ("secret", " ", ""):
            with pytest.raises(SourceUnavailable):
                asked.authenticate("carol", password)
    (tmp_path / "carol").write_text(" a \\password\n")
    assert asked.authenticate("carol", " a \\password").groups == ("team",)
    assert asked.authenticate("dave", " a \\password") is None
    for password in ("a \\password", " a \\password ", " a password", "*", ""):
        with pytest.raises(Unauthenticated):
            asked.authenticate("carol", password)


def test_a_check_does_not_run_it(program, tmp_path):
    program(f"touch {tmp_path}/ran").check()
    assert not (tmp_path / "ran").exists()
