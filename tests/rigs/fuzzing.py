"""How hard random input is tried: a little and always the same in the suite, much more and ever new by `make fuzz`."""

import os

from hypothesis import HealthCheck, settings

EFFORT = int(os.environ.get("FUZZ", "1"))


def examples(count: int) -> settings:
    """So many examples, times the effort. Fixtures are shared by all of them."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count * EFFORT, derandomize=EFFORT == 1, deadline=None, suppress_health_check=checks)
