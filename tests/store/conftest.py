"""A store of its own for each test, on a real file."""

import pytest

from regadmin.store import Store


@pytest.fixture
def store(tmp_path, clock) -> Store:
    store = Store(tmp_path / "data.db", clock)
    yield store
    store.close()
