"""What a request to the registry needs, told from its method and address as distribution itself tells it.

Source: distribution, registry/api/v2/descriptors.go (the routes) and registry/handlers/app.go (what each needs). Only
plain addresses are read: what the registry would decode, clean or redirect first is refused, so that nobody has to
know what it would make of it.
"""

import re
from urllib.parse import parse_qs

from regadmin.errors import Forbidden
from regadmin.registry.references import is_digest, is_repository, is_tag
from regadmin.scopes import Scope

CATALOG = Scope("registry", "catalog", ("*",))

_NEEDED = {
    "GET": ("pull",),
    "HEAD": ("pull",),
    "POST": ("pull", "push"),
    "PUT": ("pull", "push"),
    "PATCH": ("pull", "push"),
    "DELETE": ("delete",),
}
# A name may hold `manifests`, `blobs` and `tags` itself; what follows it never holds a slash, so the last one counts.
# distribution has no referrers, but clients want to be told so by the registry, and by nothing but a 404.
_OF_REPOSITORY = re.compile(
    r"/v2/(?P<name>.+)/"
    r"(?:tags/list"
    r"|manifests/(?P<reference>[^/]+)"
    r"|(?:blobs|referrers)/(?P<digest>[^/]+)"
    r"|(?P<upload>blobs/uploads/(?:[A-Za-z0-9][A-Za-z0-9_.=-]*)?))"
)


def needed(method: str, address: str) -> list[Scope]:
    """The scopes without which the registry would refuse this request; `address` is as it was sent, with its query.

    Raises Forbidden for what is no plain address of the registry.
    """
    path, _, query = address.partition("?")
    if method not in _NEEDED:
        raise Forbidden("the registry does not know this method")
    if path == "/v2/":
        return []
    if path == "/v2/_catalog":
        return [CATALOG]
    matched = _OF_REPOSITORY.fullmatch(path)
    if not matched or not _is_valid(*matched.group("name", "reference", "digest")):
        raise Forbidden("the registry has nothing at this address, or it is not spelled plainly")
    actions = _NEEDED[method]
    if matched["upload"]:
        # The session belongs to who pushes, also to look at it or to end it.
        actions = tuple(dict.fromkeys(("pull", "push", *actions)))
    return [Scope("repository", matched["name"], actions), *_mounted(query)]


def _is_valid(name: str, reference: str | None, digest: str | None) -> bool:
    if not is_repository(name):
        return False
    if reference:
        return is_tag(reference) or is_digest(reference)
    return digest is None or is_digest(digest)


def _mounted(query: str) -> list[Scope]:
    """The repository from which a blob is to be mounted; the registry looks for it in every request."""
    try:
        sources = parse_qs(query, errors="strict", max_num_fields=20).get("from", [])
    except ValueError:
        raise Forbidden("the query holds too much, or text that is not UTF-8") from None
    if len(sources) > 1 or not all(map(is_repository, sources)):
        raise Forbidden("from is not the name of one repository")
    return [Scope("repository", name, ("pull",)) for name in sources]
