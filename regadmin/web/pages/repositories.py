"""Repositories and their tags"""

from urllib.parse import quote

from regadmin.services.repositories import Repositories
from regadmin.services.rules import Rules
from regadmin.web.guards import identity
from regadmin.web.pages.queries import address_of, read_query
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route


class RepositoryPages:
    def __init__(self, surface: PageSurface, repositories: Repositories, rules: Rules):
        self._surface = surface
        self._repositories = repositories
        self._rules = rules

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/repos", self.list_repositories, Access.PUBLIC),
            Route("GET", "/repos/<name:path>", self.list_tags, Access.PUBLIC),
        ]

    def list_repositories(self) -> str:
        user = identity().user
        query = read_query("name")
        url = address_of(query, "name")
        page = self._repositories.list(user, query.listing())
        rights = self._rules.rights(user, [repository.name for repository in page.rows])
        return self._surface.list_page(
            "repositories/list.html",
            "repositories/_list.html",
            url(),
            page=page,
            rights=rights,
            query=query,
            url=url,
        )

    def list_tags(self, name: str) -> str:
        user = identity().user
        repository = self._repositories.find(user, name)
        query = read_query("-pushed")
        url = address_of(query, "-pushed")
        return self._surface.list_page(
            "tags/list.html",
            "tags/_list.html",
            quote(url(), safe="/?=&%-+"),
            page=self._repositories.list_tags(user, query.listing(repository=name)),
            repository=repository,
            query=query,
            url=url,
        )
