"""The vocabulary of the suite: `settings`, `clock`, `app`, `client`, `admin`, and real parts from `tests.rigs`."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial, wraps
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from regadmin import options
from regadmin.app import App
from regadmin.entities import Actor
from regadmin.passwords import Passwords
from regadmin.store.database import Database
from regadmin.web.pages import rendering
from tests.rigs.client import Client
from tests.rigs.clock import Clock
from tests.rigs.fuzzing import EFFORT
from tests.rigs.skopeo import Skopeo

ADMIN_PASSWORD = "correct horse"
ADMIN = f"admin:{ADMIN_PASSWORD}"


@pytest.fixture(scope="session")
def load() -> Callable[..., options.Settings]:
    """Settings as the command line gives them, of a server whose files are in this directory."""
    parser = options.parser({})

    def load(directory: Path, **changes) -> options.Settings:
        given = {
            "registry.host": "http://127.0.0.1",
            "registry.port": "1",
            "workers": "1",
            "store.embed.path": str(directory / "data.db"),
            "store.admin-password": ADMIN_PASSWORD,
            "registry.certs.path": str(directory / "certs"),
        }
        given |= {name.replace("__", ".").replace("_", "-"): str(value) for name, value in changes.items()}
        found = options.load(parser.parse_args([f"--{name}={value}" for name, value in given.items()]), {})
        options.validate(found)
        return found

    return load


@pytest.fixture(scope="session")
def installed(load, cheap_bcrypt, tmp_path_factory) -> Path:
    """The files of a server that was just installed."""
    directory = tmp_path_factory.mktemp("installed")
    App(load(directory), Clock()).store.close()
    return directory


@pytest.fixture
def settings(load, installed: Path, tmp_path: Path) -> Callable[..., options.Settings]:
    """`settings(registry__port=5001)` is `--registry.port 5001`, of a server that was just installed.

    Its files are copied: making keys and tables takes most of a test's time.
    """

    def build(**changes) -> options.Settings:
        if "store__admin_password" not in changes and not any((tmp_path / each.name).exists() for each in files):
            shutil.copytree(installed, tmp_path, dirs_exist_ok=True)
        return load(tmp_path, **changes)

    files = list(installed.iterdir())
    return build


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session", autouse=True)
def cheap_bcrypt() -> Iterator[tuple]:
    """Hashing at bcrypt's least cost: the suite hashes hundreds of passwords.

    Gives the real defaults, for the one test that holds the real cost.
    """
    real = Passwords.__init__.__defaults__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passwords.__init__, "__defaults__", (4, *real[1:]))
        yield real


@pytest.fixture(scope="session", autouse=True)
def careless_store() -> Iterator[None]:
    """No test cuts the power, so none waits for the disk at each commit. One test holds what the product asks for."""

    @wraps(Database._connect)
    def connect(database: Database) -> sqlite3.Connection:
        connection = connect.__wrapped__(database)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_connect", connect)
        yield


class CompiledTemplates(BytecodeCache):
    def __init__(self):
        self._kept = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._kept.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key, bucket.checksum] = bucket.code


@pytest.fixture(scope="session", autouse=True)
def compiled_templates() -> Iterator[None]:
    """All Apps share the compiled templates: to compile them takes ten times as long as to make an App."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "Environment", partial(Environment, bytecode_cache=CompiledTemplates()))
        yield


@pytest.fixture
def app(settings, clock) -> App:
    return App(settings(), clock)


@pytest.fixture
def client(app: App) -> Client:
    """An anonymous caller."""
    return Client(app.wsgi)


@pytest.fixture
def admin(app: App) -> Client:
    """A script with the admin's Basic credentials."""
    return Client(app.wsgi, basic=ADMIN)


@pytest.fixture
def by() -> Actor:
    """The one who asks, for tests that call services."""
    return Actor("admin", "192.0.2.9")


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    return Skopeo(tmp_path / "skopeo")


def pytest_configure():
    # A deadline measures the machine, not the code.
    hypothesis_settings.register_profile("suite", deadline=None, max_examples=100 * EFFORT)
    hypothesis_settings.load_profile("suite")
    # These would change how the tools under test behave.
    for name in [name for name in os.environ if name.startswith(("REGISTRY_", "RA_"))]:
        del os.environ[name]


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], object]], int]]:
    """`fork(work)` runs that in a child, which lives on until the test ends or `fork.end` is called with its id."""
    children: list[int] = []

    def fork(work: Callable[[], object]) -> int:
        done, tell = os.pipe()
        pid = os.fork()
        if not pid:
            signal.alarm(20)
            work()
            os.write(tell, b"x")
            signal.pause()
        os.close(tell)
        children.append(pid)
        assert os.read(done, 1) == b"x"
        os.close(done)
        return pid

    def end(pid: int) -> None:
        children.remove(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    fork.end = end
    yield fork
    for pid in list(children):
        end(pid)
