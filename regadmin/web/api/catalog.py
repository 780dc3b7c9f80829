"""`/api/v1/registry`: what the registry holds, its health and its synchronisation"""

import base64
from dataclasses import asdict, replace

from regadmin.entities import Repository, SyncRun, Tag
from regadmin.errors import Malformed
from regadmin.services.repositories import Repositories
from regadmin.services.synchronisation import Synchronisation
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.api.parameters import list_answer, listing, text
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route

_TAG_SORTS = {
    "id": "id",
    "repository_name": "repository_name",
    "tag": "name",
    "digest": "digest",
    "size": "size",
    "pull_counter": "pulls",
    "timestamp": "timestamp",
}
_REPOSITORY_SORTS = {
    "id": "id",
    "repository_name": "name",
    "size": "size",
    "pull_counter": "pulls",
    "timestamp": "pushed",
}
_TAG_FILTERS = {"repository_name": ("repository", text), "tag": ("name", text), "digest": ("digest", text)}
_REPOSITORY_FILTERS = {"repository_name": ("name", text)}


class CatalogApi:
    def __init__(self, repositories: Repositories, synchronisation: Synchronisation):
        self._repositories = repositories
        self._synchronisation = synchronisation

    def routes(self) -> list[Route]:
        catalog = "/api/v1/registry/catalog"
        return [
            Route("GET", catalog, self.list_catalog, Access.CLIENT),
            Route("GET", catalog + "/blobs", self.show_blob, Access.CLIENT),
            Route("DELETE", catalog + "/<path:path>", self.delete_manifest, Access.ADMIN),
            Route("GET", "/api/v1/registry/health", self.show_health, Access.CLIENT),
            Route("GET", "/api/v1/registry/sync", self.show_sync, Access.ADMIN),
            Route("POST", "/api/v1/registry/sync", self.start_sync, Access.ADMIN),
        ]

    def list_catalog(self) -> str:
        """Grouped by repository, unless `group_by=none` asks for a row for each tag."""
        grouping = inputs.query().get("group_by", ["repository"])[0]
        if grouping not in ("repository", "repository_name", "none"):
            raise Malformed("group_by must be none or repository_name")
        user = identity().user
        if grouping == "none":
            page, documents = self._repositories.list_manifests(user, listing(_TAG_SORTS, _TAG_FILTERS))
            return list_answer(page, "catalog", lambda tag: _tag_row(tag, documents.get(tag.id, b"")))
        wanted = listing(_REPOSITORY_SORTS, _REPOSITORY_FILTERS)
        if not wanted.sort:
            wanted = replace(wanted, sort="id")
        return list_answer(self._repositories.list(user, wanted), "catalog", _repository_row)

    def show_blob(self) -> str:
        query = inputs.query()
        blob = self._repositories.blob(identity().user, _needed(query, "name"), _needed(query, "digest"))
        return done("ok", data={"id": 0, "value": base64.b64encode(blob).decode()})

    def delete_manifest(self, path: str) -> str:
        """The name stands in the path, or in the parameter `name`, which wins."""
        query = inputs.query()
        name = query.get("name", [path])[0]
        if "tag" in query:
            self._repositories.delete_tag(name, query["tag"][0], identity().actor)
            return done("tag deleted")
        self._repositories.delete_manifest(name, _needed(query, "digest"), identity().actor)
        return done("manifest deleted")

    def show_health(self) -> str:
        self._repositories.check_registry()
        return done("ok")

    def show_sync(self) -> str:
        run = self._synchronisation.latest()
        return done("ok" if run else "never run", run.id if run else 0, _run_row(run) if run else None)

    def start_sync(self) -> str:
        run = self._synchronisation.start(identity().user.login)
        return done("synchronisation started", run.id, _run_row(run), status=202)


def _tag_row(tag: Tag, raw: bytes) -> dict:
    return {
        "id": tag.id,
        "repository_name": tag.repository,
        "tag": tag.name,
        "digest": tag.digest,
        "config_digest": tag.config_digest,
        "size": tag.size,
        "pull_counter": tag.pull_count,
        "timestamp": tag.updated_at,
        "raw": raw.decode(errors="replace"),
        "media_type": tag.media_type,
        "platforms": list(tag.platforms),
        "pushed_by": tag.pushed_by,
    }


def _repository_row(repository: Repository) -> dict:
    return {
        "id": repository.id,
        "repository_name": repository.name,
        "tag": "",
        "digest": "",
        "config_digest": "",
        "size": repository.size,
        "pull_counter": repository.pull_count,
        "timestamp": repository.last_pushed_at or 0,
        "raw": "",
        "tags": repository.tag_count,
    }


def _run_row(run: SyncRun) -> dict:
    return asdict(run)


def _needed(query: dict[str, list[str]], name: str) -> str:
    value = query.get(name, [""])[0]
    if not value:
        raise Malformed(f"the parameter {name} is missing")
    return value
