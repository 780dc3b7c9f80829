"""The vocabulary of the suite: `settings`, `clock`, `app`, `client`, `admin`, and real parts from `tests.rigs`."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket

from regadmin import options
from regadmin.app import App
from regadmin.entities import Actor
from regadmin.passwords import Passwords
from regadmin.web.pages import rendering
from tests.rigs.client import Client
from tests.rigs.clock import Clock
from tests.rigs.fuzzing import EFFORT
from tests.rigs.skopeo import Skopeo

ADMIN_PASSWORD = "correct horse"
ADMIN = f"admin:{ADMIN_PASSWORD}"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., options.Settings]:
    """Settings as the command line gives them: `settings(registry__port=5001)` is `--registry.port 5001`."""

    def build(**changes) -> options.Settings:
        given = {
            "registry.host": "http://127.0.0.1",
            "registry.port": "1",
            "workers": "1",
            "store.embed.path": str(tmp_path / "data.db"),
            "store.admin-password": ADMIN_PASSWORD,
            "registry.certs.path": str(tmp_path / "certs"),
        }
        given |= {name.replace("__", ".").replace("_", "-"): str(value) for name, value in changes.items()}
        arguments = [f"--{name}={value}" for name, value in given.items()]
        found = options.load(options.parser({}).parse_args(arguments), {})
        options.validate(found)
        return found

    return build


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def cheap_bcrypt(monkeypatch):
    """Hashing at bcrypt's least cost: the suite hashes hundreds of passwords. One test holds the real cost."""
    monkeypatch.setattr(Passwords.__init__, "__defaults__", (4, *Passwords.__init__.__defaults__[1:]))


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
