"""`/api/v1/tokens`: the caller's own access tokens"""

from typing import Any

from regadmin.entities import AccessToken, Page, Reach
from regadmin.errors import Invalid
from regadmin.services.access_tokens import AccessTokens
from regadmin.store.access_tokens import ListedToken
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.api.parameters import fields, integer, list_answer, text
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route


class AccessTokensApi:
    def __init__(self, access_tokens: AccessTokens):
        self._access_tokens = access_tokens

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/api/v1/tokens", self.list_tokens, Access.SIGNED_IN),
            Route("POST", "/api/v1/tokens", self.create_token, Access.SIGNED_IN),
            Route("DELETE", "/api/v1/tokens/<token_id:int>", self.revoke_token, Access.SIGNED_IN),
        ]

    def list_tokens(self) -> str:
        rows = self._access_tokens.list_of(identity().user)
        return list_answer(Page(rows, len(rows)), "tokens", _row)

    def create_token(self) -> str:
        caller, wanted = identity(), fields(inputs.json_body(), _FIELDS, ignored=("id",))
        if "expires_at" not in wanted:
            raise Invalid({"expires_at": "is missing; null stands for never"})
        wanted = {"name": "", "scope": ()} | wanted
        token, secret = self._access_tokens.create(caller.user, caller.actor, **wanted)
        return done("access token created", token.id, _row(ListedToken(token, None, "")) | {"secret": secret})

    def revoke_token(self, token_id: int) -> str:
        caller = identity()
        self._access_tokens.revoke(caller.user, token_id, caller.actor)
        return done("access token revoked", token_id)


def _scope(value: Any) -> tuple[Reach, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) and set(each) == set(_REACH) for each in value):
        raise ValueError(f"must be a list of objects with {' and '.join(_REACH)}")
    return tuple(Reach(*(text(each[name]) for name in _REACH)) for each in value)


def _moment(value: Any) -> int | None:
    return None if value is None else integer(value)


_REACH = ("repository", "action")
_FIELDS = {"name": ("name", text), "scope": ("scope", _scope), "expires_at": ("expires_at", _moment)}


def _row(listed: ListedToken) -> dict:
    token: AccessToken = listed.token
    return {
        "id": token.id,
        "name": token.name,
        "scope": [dict(zip(_REACH, reach, strict=True)) for reach in token.scope],
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "used_at": listed.used_at,
        "used_from": listed.used_from,
    }
