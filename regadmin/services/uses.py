"""When users and access tokens came to the registry last."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from regadmin.entities import AccessToken, User
from regadmin.memory import Memory
from regadmin.store import Store

_INTERVAL, _MOST = 60, 10_000
"""Seconds for which further uses are not written again, and of how many users and tokens that is remembered."""

log = logging.getLogger(__name__)


class _Use(NamedTuple):
    user_id: int | None = None
    token_id: int | None = None
    address: str = ""


class Uses:
    def __init__(self, store: Store):
        self._store = store
        self._noted: Memory[bool] = Memory(_MOST, store.now)
        self._unwritten: deque[_Use] = deque()
        self.on_use: Callable[[], object] = self.write
        """Called when there is a use to write; whoever cannot wait for the disk leaves that to another thread."""

    def note_user(self, user: User) -> None:
        self._note(("user", user.id), _Use(user_id=user.id))

    def note_token(self, token: AccessToken, address: str) -> None:
        self._note(("token", token.id), _Use(token_id=token.id, address=address))

    def write(self) -> bool:
        """Keep what was noted. True: this was all for now."""
        uses = [self._unwritten.popleft() for _ in range(len(self._unwritten))]
        user_ids = [use.user_id for use in uses if use.user_id is not None]
        tokens = [(use.token_id, use.address) for use in uses if use.token_id is not None]
        try:
            if user_ids:
                self._store.users.note_uses(user_ids)
            if tokens:
                self._store.access_tokens.note_uses(tokens)
        except sqlite3.OperationalError as error:
            # A full or busy disk must not keep anybody from the registry.
            log.warning("%s last uses are not noted: %s", len(uses), error)
        return True

    def _note(self, key: tuple[str, int], use: _Use) -> None:
        if self._noted.get(key):
            return
        self._noted.put(key, True, _INTERVAL)
        self._unwritten.append(use)
        self.on_use()
