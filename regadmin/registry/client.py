"""The client of the registry's HTTP API V2: distribution 2.8 and 3.x, without a switch.

Source: distribution, docs/spec/api.md; OCI distribution specification, spec.md.
"""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from requests.utils import parse_header_links

from regadmin.entities import Manifest
from regadmin.errors import Error, Malformed, NotFound, RegistryRefused, RegistryUnavailable
from regadmin.registry import manifests
from regadmin.registry.documents import read_object
from regadmin.registry.references import (
    check_digest,
    check_reference,
    check_repository,
    check_tag,
    digest_of,
    fits,
    is_digest,
)
from regadmin.registry.transport import LIMIT, Answer, Authorize, Transport

PAGE_SIZE = 100
LIST_LIMIT = 32 << 20
"""The most bytes of one page of a list: 2.8 sends all tags of a repository at once."""

_CHALLENGE = re.compile(
    r"""(?:\A|,)\s*(?:(?P<scheme>[\w-]+)\s+)?(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s",]+))"""
)


class Ping(NamedTuple):
    """What the registry says of itself to a stranger."""

    status: int
    version: str
    challenge: dict[str, str]
    """The parameters of its Bearer challenge (realm, service), or {} if it asks for no token."""
    seconds: float
    server: str = ""
    """The name of the web server, if it gives one; distribution itself does not."""
    date: int | None = None
    """Its time in seconds, if it tells it."""


class RegistryClient:
    """May be used by several threads at once.

    base_url         address of the registry, with a path only if it lives under one
    authorize        gives the Authorization header for scopes such as `repository:team/app:pull`
    verify           whether to check the certificate, or the path of the authorities to check it with
    timeout          seconds to connect and seconds between two bytes of an answer
    user_agent       by which our own requests are known in the registry's events
    max_connections  how many requests run at the same time; more wait for their turn
    on_outcome       is told after each request whether a registry answered, whatever it said

    Every method raises RegistryUnavailable and RegistryRefused, and Malformed for names that cannot be.
    """

    def __init__(
        self,
        base_url: str,
        authorize: Authorize,
        *,
        verify: bool | str = True,
        timeout: tuple[float, float] = (5, 30),
        user_agent: str,
        max_connections: int = 8,
        on_outcome: Callable[[bool], None] = lambda is_answering: None,
    ):
        self._transport = Transport(
            base_url,
            authorize,
            verify=verify,
            timeout=timeout,
            user_agent=user_agent,
            max_connections=max_connections,
            on_outcome=on_outcome,
        )

    def close(self) -> None:
        self._transport.close()

    def ping(self) -> Ping:
        """Ask without credentials whether a registry is there, and what it wants."""
        started = time.perf_counter()
        answer = self._transport.ask("GET", "/v2/", "", "its API", expected=(200, 401))
        version = answer.headers.get("Docker-Distribution-Api-Version", "")
        challenge = _bearer_challenge(answer.headers.get("WWW-Authenticate", ""))
        server = answer.headers.get("Server", "")
        seconds = time.perf_counter() - started
        return Ping(answer.status, version, challenge, seconds, server, _seconds(answer.headers.get("Date", "")))

    def check_credentials(self) -> None:
        """Ask with credentials whether they are accepted, for nothing in particular."""
        self._transport.ask("GET", "/v2/", "registry:catalog:*", "its API")

    def check_deletion(self) -> None:
        """Ask for the deletion of what cannot be there: where deletion is disabled, that is refused all the same."""
        self._require_deletion("regadmin/check", "sha256:" + "0" * 64)

    def repositories(self) -> Iterator[str]:
        """The catalog, page by page, as the registry names them: a name may be one that other methods refuse.

        Emptied repositories are in it too. An error in the middle is raised, never a shorter list.
        """
        for page in self._pages("/v2/_catalog", "registry:catalog:*", "the catalog"):
            yield from self._names(page, "repositories")

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository; none if the registry does not know it."""
        path = _path(check_repository(repository), "tags", "list")
        try:
            pages = list(self._pages(path, f"repository:{repository}:pull", f"the tags of {repository}"))
        except NotFound:
            return []
        return [name for page in pages for name in self._names(page, "tags")]

    def manifest(self, repository: str, reference: str, unless: str = "") -> Manifest | None:
        """The manifest of a tag or digest; None if its digest is `unless`. Raises NotFound.

        Raises Malformed if the document is what the registry holds, but is no manifest that we can read.
        """
        answer = self._fetch_manifest(repository, reference, unless)
        if answer.status == 304:
            return None
        is_verified = self._verify_manifest(answer, reference)
        try:
            return manifests.parse(answer.body, answer.headers.get("Content-Type", ""))
        except Malformed as error:
            if is_verified:
                raise
            raise self._transport.unavailable(
                "the registry at %(registry)s answered with no manifest: %(reason)s", reason=error.message
            ) from error

    def blob(self, repository: str, digest: str, limit: int = LIMIT) -> bytes:
        """The bytes of a blob, which are no more than `limit` and fit its digest. Raises NotFound."""
        path = _path(check_repository(repository), "blobs", check_digest(digest))
        what = f"{digest} of {repository}"
        scope = f"repository:{repository}:pull"
        answer = self._transport.ask("GET", path, scope, what, limit=limit, follow=True)
        if not fits(answer.body, digest):
            raise self._other_bytes(digest)
        return answer.body

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest and with it every tag that points to it. Raises NotFound."""
        self._delete(repository, check_digest(digest))

    def delete_tag(self, repository: str, tag: str) -> None:
        """Remove a tag and leave the manifest and its other tags. Raises NotFound.

        Distribution 3.x does it when asked to; 2.8 has no way to (it answers 400), see _untag.
        """
        try:
            self._delete(repository, check_tag(tag))
        except RegistryRefused as error:
            if error.status not in (400, 405):
                raise
            self._untag(repository, tag)

    def _untag(self, repository: str, tag: str) -> None:
        """Point the tag to a manifest that nothing else points to, and delete that one."""
        original = self._fetch_manifest(repository, tag)
        decoy = _unique_index()
        self._require_deletion(repository, digest_of(decoy))
        self._put_manifest(repository, tag, decoy, manifests.OCI_INDEX)
        try:
            self._delete(repository, digest_of(decoy))
        except Error:
            self._put_manifest(repository, tag, original.body, original.headers.get("Content-Type", ""))
            raise

    def _require_deletion(self, repository: str, unknown_digest: str) -> None:
        """Raise RegistryRefused if deletion is disabled: asked for what it does not have, it says 405 then."""
        with suppress(NotFound):
            self._delete(repository, unknown_digest)

    def _delete(self, repository: str, reference: str) -> None:
        path = _path(check_repository(repository), "manifests", reference)
        what = f"{reference} of {repository}"
        self._transport.ask("DELETE", path, f"repository:{repository}:delete", what, expected=(202, 200, 204))

    def _put_manifest(self, repository: str, tag: str, raw: bytes, media_type: str) -> None:
        self._transport.ask(
            "PUT",
            _path(repository, "manifests", tag),
            f"repository:{repository}:pull,push",
            f"to store {tag} of {repository}",
            expected=(201,),
            headers={"Content-Type": media_type},
            data=raw,
        )

    def _fetch_manifest(self, repository: str, reference: str, unless: str = "") -> Answer:
        path = _path(check_repository(repository), "manifests", check_reference(reference))
        condition = {"If-None-Match": f'"{check_digest(unless)}"'} if unless else {}
        return self._transport.ask(
            "GET",
            path,
            f"repository:{repository}:pull",
            f"{reference} of {repository}",
            expected=(200, 304) if unless else (200,),
            headers={"Accept": manifests.ACCEPT, **condition},
        )

    def _verify_manifest(self, answer: Answer, reference: str) -> bool:
        """Whether there was a digest to check the bytes with. Raises RegistryUnavailable if they do not fit."""
        claimed = answer.headers.get("Docker-Content-Digest", "")
        digests = [digest for digest in (claimed, reference if is_digest(reference) else "") if digest]
        for digest in digests:
            if not fits(answer.body, digest):
                raise self._other_bytes(ascii(digest))
        return bool(digests)

    def _other_bytes(self, digest: str) -> RegistryUnavailable:
        return self._transport.unavailable(
            "the registry at %(registry)s sent other bytes than those of %(digest)s", digest=digest
        )

    def _pages(self, path: str, scope: str, what: str) -> Iterator[dict]:
        query, asked = f"n={PAGE_SIZE}", set()
        while query:
            if query in asked:
                raise self._transport.unavailable(
                    "the registry at %(registry)s lists the pages of %(what)s in a circle", what=what
                )
            asked.add(query)
            answer = self._transport.ask("GET", f"{path}?{query}", scope, what, limit=LIST_LIMIT)
            try:
                yield read_object(answer.body, what)
            except Malformed as error:
                raise self._transport.unavailable(
                    "the registry at %(registry)s answered with garbage: %(reason)s", reason=error.message
                ) from error
            query = self._next_query(answer, path)

    def _next_query(self, answer: Answer, path: str) -> str:
        """The query of the next page, or ''. Only the query is taken, so that no link leads elsewhere."""
        links = parse_header_links(answer.headers.get("Link", ""))
        url = next((link["url"] for link in links if link.get("rel") == "next"), "")
        if not url:
            return ""
        try:
            target = urlsplit(urljoin(self._transport.base_url + path, url))
            is_ours = _origin(target) == _origin(urlsplit(self._transport.base_url))
        except ValueError:
            is_ours = False
        if not is_ours or not target.path.endswith(path):
            raise self._transport.unavailable(
                "the registry at %(registry)s names a next page that is not its own: %(page)s", page=ascii(url)[:200]
            )
        return target.query

    def _names(self, page: dict, key: str) -> list[str]:
        names = page.get(key)
        if names is None:
            return []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._transport.unavailable(
                "the registry at %(registry)s answered with a list of %(key)s that is none", key=key
            )
        return names


def _path(repository: str, *parts: str) -> str:
    return "/v2/" + "/".join(quote(part, safe="/:") for part in (repository, *parts))


def _origin(url) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _unique_index() -> bytes:
    """An index of nothing, unlike any other, so that its digest belongs to one tag alone."""
    document = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_INDEX,
        "manifests": [],
        "annotations": {"regadmin.untag": uuid.uuid4().hex},
    }
    return json.dumps(document).encode()


def _seconds(date: str) -> int | None:
    """Since 1970, of an HTTP date (RFC 9110, section 5.6.7); None if it is none."""
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None


def _bearer_challenge(header: str) -> dict[str, str]:
    """The parameters of the Bearer challenge in a WWW-Authenticate header (RFC 9110, section 11.6.1)."""
    scheme, found = "", {}
    for match in _CHALLENGE.finditer(header):
        scheme = (match["scheme"] or scheme).lower()
        if scheme == "bearer":
            quoted = match["quoted"]
            value = match["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[match["key"].lower()] = value
    return found
