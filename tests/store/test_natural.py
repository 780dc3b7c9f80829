"""The order of versions."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin.store.natural import natural_key


@pytest.mark.parametrize(
    "names",
    [
        ["1.9", "1.10", "1.100"],
        ["v1.9", "v1.10", "v2"],
        ["1", "1-alpine", "1.0", "1.0.1", "1.1", "10"],
        ["2024-01-31", "2024-02-01", "2024-10-01"],
        ["app-2-rc9", "app-2-rc10", "app-10"],
        ["1.02", "1.3", "1.010"],
        ["9" * 20, "1" + "0" * 20],
        ["edge", "Latest", "main"],
    ],
)
def test_versions_are_in_the_order_that_people_expect(names):
    shuffled = random.Random(3).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names


def test_leading_zeros_do_not_count():
    assert natural_key("1.01") == natural_key("1.1")
    assert natural_key("0") == natural_key("000") != natural_key("")


@given(st.integers(0, 10**30), st.integers(0, 10**30))
def test_numbers_are_in_order_however_long(one, other):
    assert (natural_key(f"v{one}") < natural_key(f"v{other}")) is (one < other)
