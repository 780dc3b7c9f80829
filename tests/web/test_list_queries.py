"""Lists ask the store the same number of times, however much there is."""

import pytest

from regadmin.app import App
from tests.bench.lists import add_people, addresses, counted, fill, visitor


def statements(app: App, login: str) -> dict[str, int]:
    client, found = visitor(app, login), {}
    for what, url in addresses(not login).items():
        with counted(app.store) as asked:
            assert client.get(url).status == 200
        found[what] = len(asked)
    return found


@pytest.fixture
def measure(settings, clock, tmp_path):
    def measure(login: str, *sizes: int) -> dict[str, int]:
        app = App(settings(store__embed__path=tmp_path / f"{login}-{sizes[0]}.db"), clock)
        fill(app.store, *sizes)
        add_people(app)
        return statements(app, login)

    return measure


@pytest.mark.parametrize("login", ["manager", "user", ""])
def test_the_number_of_statements_does_not_grow(measure, login):
    few = measure(login, 3, 20, 10)
    assert few == measure(login, 120, 600, 300)
    assert max(few.values()) <= 15
