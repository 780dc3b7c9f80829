"""All users, groups and rules, as a plan that another store can carry out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from regadmin.errors import Error
from regadmin.importing import own_yaml
from regadmin.importing.plan import Place, Plan, PlannedGroup, PlannedRule, PlannedUser
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.rules import OwnedRule


class Exports:
    def __init__(self, store: Store):
        self._store = store

    def text(self) -> str:
        """As own_yaml reads it. It holds password hashes."""
        place = Place("store")
        with self._store.transaction():
            users, groups = self._store.users.list_with_hashes(), self._store.groups.list(Listing(sort="name")).rows
            rules = self._store.rules.list_owned(Listing(sort="owner")).rows
        return own_yaml.write(
            Plan(
                [PlannedUser(place, user, kept, groups=tuple(g.name for g in user.groups)) for user, kept in users],
                [PlannedGroup(place, group) for group in groups],
                [_planned(place, owned) for owned in rules],
            )
        )

    def write(self, path: Path) -> None:
        """Replace the file, whole or not at all, by one that only its owner may read. Raises Error."""
        draft = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(self.text())
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError as error:
            raise Error(f"{path} cannot be written: {error.strerror}") from None
        finally:
            draft.unlink(missing_ok=True)


def _planned(place: Place, owned: OwnedRule) -> PlannedRule:
    rule = owned.rule
    user, group = (owned.owner * (owner_id is not None) for owner_id in (rule.user_id, rule.group_id))
    return PlannedRule(place, replace(rule, id=0, user_id=None, group_id=None), user, group)
