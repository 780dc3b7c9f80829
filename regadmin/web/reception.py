"""What a request's head tells before anybody works on it: see regadmin.lanes."""

import sqlite3

from waitress.parser import HTTPRequestParser

from regadmin.web.guards import Guards
from regadmin.web.realm import PATHS, Known, Realm

PASSWORD_FORMS = ("/login", "/auth/local/login", "/password", *PATHS)


class Reception:
    """Sorts by whether the answer is known, and whether a password has to be computed."""

    def __init__(self, realm: Realm, guards: Guards):
        self._realm = realm
        self._guards = guards
        self._revision: int | None = None

    def begin(self) -> None:
        try:
            self._revision = self._realm.revision()
        except sqlite3.Error:
            # The application will meet it too, and has an answer for it.
            self._revision = None

    def recall(self, request: HTTPRequestParser) -> Known | None:
        if self._revision is None or request.command != "GET" or request.path not in PATHS:
            return None
        return self._realm.recall(request.query, request.headers.get("AUTHORIZATION", ""), self._revision)

    def is_costly(self, request: HTTPRequestParser) -> bool:
        authorization = request.headers.get("AUTHORIZATION", "")
        if authorization:
            try:
                return not self._guards.are_quick(authorization)
            except sqlite3.Error:
                return True
        return request.command == "POST" and request.path in PASSWORD_FORMS
