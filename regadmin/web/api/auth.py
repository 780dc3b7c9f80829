"""`/auth`: signing in and out for scripts"""

from regadmin.entities import User
from regadmin.errors import Malformed, Unauthenticated
from regadmin.web import inputs
from regadmin.web.answers import done, json_answer
from regadmin.web.api.parameters import text
from regadmin.web.guards import Guards, identity, refuse_default_password
from regadmin.web.routes import Access, Route


class AuthApi:
    def __init__(self, guards: Guards):
        self._guards = guards

    def routes(self) -> list[Route]:
        logouts = [(m, p) for m in ("GET", "POST") for p in ("/auth/logout", "/auth/local/logout")]
        return [
            Route("POST", "/auth/local/login", self.sign_in, Access.PUBLIC),
            Route("GET", "/auth/user", self.show_user, Access.PUBLIC),
            Route("GET", "/auth/status", self.show_status, Access.PUBLIC),
            Route("GET", "/auth/list", self.list_providers, Access.PUBLIC),
            *(Route(method, path, self.sign_out, Access.PUBLIC) for method, path in logouts),
        ]

    def sign_in(self) -> str:
        if {"user", "passwd"} & set(inputs.query()):
            raise Malformed("send user and passwd as a form or as JSON: what stands in the address lands in logs")
        if inputs.is_json():
            posted = inputs.json_body()
        else:
            posted = {name: values[0] for name, values in inputs.form().items()}
        try:
            login, password = text(posted.get("user")), text(posted.get("passwd"))
        except ValueError:
            raise Malformed("user and passwd are needed, as text") from None
        user = self._guards.authenticate(login, password)
        refuse_default_password(user)
        self._guards.sign_in(user)
        return json_answer(_row(user))

    def show_user(self) -> str:
        user = identity().user
        if not user:
            raise Unauthenticated("sign in first")
        refuse_default_password(user)
        return json_answer(_row(user))

    def show_status(self) -> str:
        user = identity().user
        return json_answer({"status": "logged in", "user": user.login} if user else {"status": "not logged in"})

    def list_providers(self) -> str:
        return json_answer(["local"])

    def sign_out(self) -> str:
        self._guards.sign_out(identity())
        return done("signed out")


def _row(user: User) -> dict:
    return {
        "name": user.name,
        "id": f"external_{user.login}" if user.is_external else f"local_{user.id}",
        "picture": "",
        "attrs": {"disabled": user.is_blocked, "uid": str(user.id)},
        "role": user.role,
    }
