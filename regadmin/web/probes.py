"""For orchestrators: does the process live, and can it do its work? Public, so they tell nothing more than that."""

import logging
import sqlite3

from regadmin.services.health import Health
from regadmin.services.tokens import Tokens
from regadmin.web.answers import text_answer
from regadmin.web.routes import Access, Route

log = logging.getLogger(__name__)


class Probes:
    def __init__(self, tokens: Tokens, health: Health):
        self._tokens = tokens
        self._health = health

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", self.show_life, Access.PUBLIC),
            Route("GET", "/readyz", self.show_readiness, Access.PUBLIC),
        ]

    def show_life(self) -> str:
        return text_answer("ok\n")

    def show_readiness(self) -> str:
        """Without the registry tokens are issued and pages shown, so that takes nobody out of service."""
        try:
            self._tokens.revision()
        except sqlite3.Error as error:
            log.error("not ready, the store does not answer: %s", error)
            return text_answer("store\n", 503)
        return text_answer("ok\n" if self._health.down_since is None else "ok, registry away\n")
