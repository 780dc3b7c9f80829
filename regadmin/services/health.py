"""Whether the registry is there, known without asking it for every page."""

from collections.abc import Callable
from dataclasses import dataclass

from regadmin.counters import SharedNumber
from regadmin.errors import Error
from regadmin.registry.client import Ping, RegistryClient


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, `at` that time in seconds: how the registry answered, or why it did not."""

    at: int
    ping: Ping | None = None
    error: str = ""


class Health:
    """Hears of every request to the registry, and asks by itself now and then.

    `probe` has timeouts so short that somebody can wait for them, and connections of its own: those of the others
    may all be in use.
    """

    def __init__(self, now: Callable[[], int], probe: RegistryClient):
        self._now = now
        self._probe = probe
        # Any process may find out, and all tell it to those who ask them; 0 while it answers.
        self._down_since = SharedNumber()
        self.latest: Finding | None = None
        """What the last check found; None before the first."""

    @property
    def down_since(self) -> int | None:
        """When the registry was first found away and did not answer since; None while it answers."""
        return self._down_since.value or None

    def note(self, is_answering: bool) -> None:
        """Tell how a request to the registry ended."""
        if is_answering:
            self._down_since.value = 0
        elif not self._down_since.value:
            self._down_since.value = self._now()

    def check(self) -> Finding:
        """Ask the registry, which is noted as any other request."""
        try:
            self.latest = Finding(self._now(), self._probe.ping())
        except Error as error:
            self.latest = Finding(self._now(), error=error.message)
        return self.latest
