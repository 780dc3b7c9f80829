"""Accounts: who there is, and whether he is who he says."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from zoneinfo import available_timezones

from regadmin import passwords
from regadmin.entities import DEFAULT_GROUP_ID, Actor, Group, Page, Role, Rule, User
from regadmin.errors import Conflict, Invalid, NotFound, Unauthenticated
from regadmin.languages import LANGUAGES
from regadmin.messages import Message
from regadmin.passwords import Passwords
from regadmin.services.sources import refuse_change, why_not_change
from regadmin.store import Store
from regadmin.store.listing import Listing
from regadmin.store.users import UserSummary

DEFAULT_LOGIN = DEFAULT_PASSWORD = "admin"
MAX_LOGIN, MAX_TEXT = 64, 255
CHANGEABLE = ("login", "name", "role", "is_blocked", "description")
_ROBOT_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""Nothing that a shell, a pipeline's file or a URL reads as something else."""

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without those that look alike."""


class Users:
    """`on_change` is called when a change was committed; what it raises goes to the one who made the change."""

    def __init__(self, store: Store, hasher: Passwords, on_change: Callable[[], None] = lambda: None):
        self._store = store
        self._hasher = hasher
        self._on_change = on_change

    def create_first_admin(self, password: str) -> None:
        """Make the account `admin` if there is no user at all.

        A password that nobody may choose, as the default is, must be changed before anything else.
        """
        with self._store.transaction():
            if self._store.users.list(Listing(limit=1)).total:
                return
            must_change = len(password.encode()) < passwords.MIN_BYTES or password == DEFAULT_PASSWORD
            admin = User(0, DEFAULT_LOGIN, "Administrator", Role.ADMIN, must_change_password=must_change)
            group = self._store.groups.find(DEFAULT_GROUP_ID)
            self._store.users.create(replace(admin, groups=(group,)), self._hasher.hash(password))

    def authenticate(self, login: str, password: str) -> User:
        """The user with these credentials.

        Raises Unauthenticated, with one message and after the same time, for an unknown login, a wrong
        password and a blocked user.
        """
        user, stored = self._store.users.find_login(login) or (None, None)
        is_open = user is not None and not user.is_blocked and not user.is_robot
        if not self._hasher.verify(password, stored if is_open else None):
            raise Unauthenticated(Message("wrong login or password"))
        return user

    def list(self, listing: Listing) -> Page:
        return self._store.users.list(listing)

    def list_summaries(self, listing: Listing) -> Page:
        """Like `list`, but the rows are UserSummary, and more columns can be sorted by."""
        return self._store.users.list_summaries(listing)

    def find_summary(self, user_id: int) -> UserSummary:
        """Raises NotFound."""
        self.find(user_id)
        return self._store.users.find_summary(user_id)

    def list_rules(self, user: User) -> list[Rule]:
        """The rules that speak of him: his own, those of his groups, those for everybody."""
        return self._store.rules.list_reaching(user)

    def list_activity(self, user: User, limit: int) -> list[dict]:
        return self._store.activity.latest_of(user.login, limit)

    def find(self, user_id: int) -> User:
        user = self._store.users.find(user_id)
        if not user:
            raise NotFound(Message("there is no user %(user)s", user=user_id))
        return user

    def create(self, by: Actor, password: str, group_ids: Iterable[int] = (), **fields) -> User:
        """`fields` are those of the entity User; a robot's password is ''. Raises Invalid and Conflict."""
        user = User(**{"id": 0, "name": fields.get("login", ""), "role": Role.USER} | fields)
        _check(user, password)
        created = self.adopt(user, "" if user.is_robot else self._hasher.hash(password), by, group_ids)
        self._on_change()
        return created

    def adopt(self, user: User, password_hash: str, by: Actor, group_ids: Iterable[int] = ()) -> User:
        """Take up an account whose password is hashed already. Raises Invalid and Conflict.

        `on_change` is not called: whoever adopts many does that once, when they are committed.
        """
        _check(user)
        _check_preferences(user)
        with self._store.transaction():
            user = replace(user, groups=self._groups(group_ids))
            try:
                created = self._store.users.create(user, password_hash)
            except sqlite3.IntegrityError:
                raise Conflict(Message("is taken by another user"), "login") from None
            self._store.users.set_preferences(created.id, user.language, user.time_zone)
            self._store.activity.add("user created", by.login, user.login, by.address, _row(created))
        return created

    def update(
        self, user_id: int, by: Actor, password: str = "", group_ids: Iterable[int] | None = None, **fields
    ) -> User:
        """Change the given fields; an empty password keeps the old one.

        Raises Invalid, Conflict, Forbidden and NotFound; Conflict too if it would take the last admin's rights, or his
        own from the one who asks.
        """
        user = self.find(user_id)
        refuse_change(user, by)
        _check(replace(user, **fields), password or None)
        updated = self.follow(user_id, by, self._hasher.hash(password) if password else "", group_ids, **fields)
        self._on_change()
        return updated

    def follow(
        self, user_id: int, by: Actor, hashed: str = "", group_ids: Iterable[int] | None = None, **fields
    ) -> User:
        """Like `update`, with a password that is hashed already, and without `on_change`, as `adopt`."""
        with self._store.transaction():
            old = self.find(user_id)
            refuse_change(old, by)
            groups = old.groups if group_ids is None else self._groups(group_ids)
            new = replace(old, **fields, groups=groups)
            if new.is_robot != old.is_robot:
                raise Invalid({"is_robot": Message("cannot be changed; make another account")})
            _check(new)
            self._refuse_lock_out(old, new, by)
            try:
                new = self._store.users.update(new)
            except sqlite3.IntegrityError:
                raise Conflict(Message("is taken by another user"), "login") from None
            if hashed:
                self._store.users.set_password(user_id, hashed)
            if hashed or new.is_blocked:
                self._store.sessions.delete_of(user_id, keep=by.session_id if by.login == old.login else "")
            details = {"before": _row(old), "after": _row(new), "password changed": bool(hashed)}
            self._store.activity.add("user changed", by.login, new.login, by.address, details)
            return self.find(user_id)

    def change_password(self, user: User, old: str, new: str, by: Actor) -> None:
        """His own password, by himself. Ends his other sessions. Raises Invalid.

        The default password need not be given again: everybody knows it, and he has just signed in with it.
        Raises Forbidden if a file says what it is.
        """
        refuse_change(user, by)
        passwords.check(new, "new")
        found = self._store.users.find_login(user.login)
        if not user.must_change_password and not self._hasher.verify(old, found[1] if found else None):
            raise Invalid({"old": Message("is not the current password")})
        if new in (old, user.login):
            raise Invalid({"new": Message("must differ from the present password and from the login")})
        hashed = self._hasher.hash(new)
        with self._store.transaction():
            self._store.users.set_password(user.id, hashed)
            self._store.sessions.delete_of(user.id, keep=by.session_id)
            self._store.activity.add("password changed", by.login, user.login, by.address)
        self._on_change()

    def change_preferences(self, user: User, by: Actor, name: str, language: str, time_zone: str) -> User:
        """His own name, language and time zone, by himself; '' as in the entity User.

        Raises Invalid, and Forbidden if a file says what his name is.
        """
        new = replace(user, name=name or user.login, language=language, time_zone=time_zone)
        wrong = {}
        for check in (_check, _check_preferences):
            try:
                check(new)
            except Invalid as error:
                wrong |= error.fields
        if wrong:
            raise Invalid(wrong)
        with self._store.transaction():
            old = self.find(user.id)
            new = replace(old, name=new.name, language=language, time_zone=time_zone)
            if new.name != old.name:
                refuse_change(old, by)
            self._store.users.update(new)
            self._store.users.set_preferences(user.id, language, time_zone)
            if new.name != old.name:
                details = {"before": _row(old), "after": _row(new)}
                self._store.activity.add("user changed", by.login, new.login, by.address, details)
            return new

    def choose_language(self, user: User, language: str) -> None:
        """Raises Invalid."""
        _check_preferences(replace(user, language=language))
        self._store.users.set_preferences(user.id, language, user.time_zone)

    def delete(self, user_id: int, by: Actor) -> User:
        """His rules and sessions go with him. Raises NotFound, Forbidden and Conflict."""
        user = self.let_go(user_id, by)
        self._on_change()
        return user

    def let_go(self, user_id: int, by: Actor) -> User:
        """Like `delete`, without `on_change`, as `adopt`."""
        with self._store.transaction():
            user = self.find(user_id)
            refuse_change(user, by)
            self._refuse_lock_out(user, replace(user, is_blocked=True), by)
            self._store.users.delete(user_id)
            self._store.activity.add("user deleted", by.login, user.login, by.address, _row(user))
            return user

    def join(self, login: str, group_id: int, by: Actor) -> User:
        """Make the user a member of the group. Raises Invalid."""
        with self._store.transaction():
            found = self._store.users.find_login(login)
            if not found:
                missing = Message("there is no user %(user)s", user=login)
                raise Invalid({"login": missing if login else Message("must not be empty")})
            group_ids = [group.id for group in found[0].groups]
            if group_id in group_ids:
                raise Invalid({"login": Message("the user %(user)s is a member already", user=login)})
            return self.follow(found[0].id, by, group_ids=[*group_ids, group_id])

    def leave(self, user_id: int, group_id: int, by: Actor) -> User:
        """Take the user out of the group; without any other he is in the default group. Raises NotFound, Conflict."""
        with self._store.transaction():
            user = self.find(user_id)
            group_ids = [group.id for group in user.groups if group.id != group_id]
            if not group_ids and group_id == DEFAULT_GROUP_ID:
                raise Conflict(
                    Message("the user %(user)s is in no other group, and everybody is in one", user=user.login)
                )
            return self.follow(user_id, by, group_ids=group_ids)

    def why_not_delete(self, user: User, by: Actor) -> str:
        """The reason why this caller cannot delete him, or ''."""
        return why_not_change(user) or self._lock_out(user, replace(user, is_blocked=True), by)

    def _groups(self, group_ids: Iterable[int]) -> tuple[Group, ...]:
        wanted = list(dict.fromkeys(group_ids)) or [DEFAULT_GROUP_ID]
        groups = [self._store.groups.find(group_id) for group_id in wanted]
        if None in groups:
            raise Invalid({"group": Message("there is no group %(group)s", group=wanted[groups.index(None)])})
        return tuple(groups)

    def _refuse_lock_out(self, old: User, new: User, by: Actor) -> None:
        reason = self._lock_out(old, new, by)
        if reason:
            raise Conflict(reason)

    def _lock_out(self, old: User, new: User, by: Actor) -> str:
        if by.is_file:
            # Files are looked at together: one may bring the admin whom another takes away.
            return ""
        loses = old.is_admin and not old.is_blocked and (new.is_blocked or not new.is_admin)
        if loses and old.login == by.login:
            return Message("you cannot delete, block or demote yourself; ask another admin")
        if loses and self._store.users.count_active_admins() <= 1:
            return Message("this is the last admin; make another one first")
        return ""


@cache
def time_zones() -> list[str]:
    """All that this machine knows, by their names in the IANA database, in order."""
    return sorted(available_timezones() - {"localtime", "Factory"} | {"UTC"})


def generate_password() -> str:
    """One that can be read aloud and typed, with 99 random bits."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def why_no_login(login: str) -> str:
    """The reason why nobody can have this login, or ''."""
    if not 0 < len(login) <= MAX_LOGIN or login != login.strip():
        return Message("must hold 1 to %(most)s characters, without spaces around them", most=MAX_LOGIN)
    if ":" in login or not login.isprintable():
        return Message("must not hold a colon or control characters")
    return ""


def _check(user: User, password: str | None = None) -> None:
    """Raises Invalid with all that is wrong; a password that is None is not looked at."""
    wrong = {}
    try:
        if password is not None and not user.is_robot:
            passwords.check(password)
    except Invalid as error:
        wrong |= error.fields
    if reason := why_no_login(user.login):
        wrong["login"] = reason
    if not 0 < len(user.name) <= MAX_TEXT or not user.name.isprintable():
        wrong["name"] = Message("must hold 1 to %(most)s characters, without control characters", most=MAX_TEXT)
    if user.role not in list(Role):
        wrong["role"] = Message("must be one of %(choices)s", choices=", ".join(Role))
    if len(user.description) > 10 * MAX_TEXT:
        wrong["description"] = Message("must hold at most %(most)s characters", most=10 * MAX_TEXT)
    if wrong := wrong | _why_no_robot(user, password or ""):
        raise Invalid(wrong)


def _why_no_robot(user: User, password: str) -> dict[str, str]:
    if not user.is_robot:
        return {}
    wrong = {}
    if not _ROBOT_LOGIN.fullmatch(user.login):
        wrong["login"] = Message("of a robot holds only letters, digits and _ . -, and begins with a letter or digit")
    if user.role != Role.USER:
        wrong["role"] = Message("must be user for a robot")
    if password or user.must_change_password:
        wrong["password"] = Message("must be empty for a robot: it has access tokens")
    return wrong


def _check_preferences(user: User) -> None:
    wrong = {}
    if user.language not in ("", *LANGUAGES):
        wrong["language"] = Message("must be one of %(choices)s", choices=", ".join(LANGUAGES))
    if user.time_zone and user.time_zone not in time_zones():
        wrong["time_zone"] = Message("is no time zone that this server knows, such as Asia/Tokyo")
    if wrong:
        raise Invalid(wrong)


def _row(user: User) -> dict:
    row = {name: getattr(user, name) for name in CHANGEABLE}
    row |= {"groups": [group.name for group in user.groups], "source": user.source}
    return row | ({"is_robot": True} if user.is_robot else {})
