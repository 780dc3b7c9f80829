"""Everything that is kept, in one SQLite file. SQL lives here and nowhere else, one file a noun."""

import time
from collections.abc import Callable
from pathlib import Path

from regadmin.store.access_tokens import AccessTokenStore
from regadmin.store.activity import ActivityStore
from regadmin.store.database import Database
from regadmin.store.groups import GroupStore
from regadmin.store.inbox import InboxStore
from regadmin.store.overview import OverviewStore
from regadmin.store.repositories import RepositoryStore
from regadmin.store.rules import RuleStore
from regadmin.store.sessions import SessionStore
from regadmin.store.shared import SharedFindings
from regadmin.store.sync_runs import SyncRunStore
from regadmin.store.users import UserStore


class Store:
    """The nouns over one database. Raises Misconfigured if the file cannot be used, which a reader never changes."""

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time, is_reader: bool = False):
        self.database = Database(path, clock, is_reader)
        self.transaction = self.database.transaction
        self.snapshot = self.database.snapshot
        self.now = self.database.now
        self.users = UserStore(self.database)
        self.access_tokens = AccessTokenStore(self.database)
        self.groups = GroupStore(self.database)
        self.rules = RuleStore(self.database)
        self.sessions = SessionStore(self.database)
        self.repositories = RepositoryStore(self.database)
        self.inbox = InboxStore(self.database)
        self.activity = ActivityStore(self.database)
        self.sync_runs = SyncRunStore(self.database)
        self.overview = OverviewStore(self.database)
        self.findings = SharedFindings(self.database)

    def revision(self) -> int:
        """A number that moves with every change of accounts, rules and access tokens, whichever process makes it."""
        return self.database.one("SELECT number FROM revision")[0]

    def close(self) -> None:
        """Close this thread's connection."""
        self.database.close()
