"""Repositories and their tags: lists, who reaches them, what happened there, and deleting many at once"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote, urlencode

from bottle import request

from regadmin.errors import Error, Forbidden, Invalid, Malformed, NotFound
from regadmin.messages import Message
from regadmin.services.activities import Activities
from regadmin.services.deletions import Deletions, Outcome, Plan
from regadmin.services.repositories import Listed, Repositories
from regadmin.services.rules import Rules
from regadmin.services.sight import OPENNESS
from regadmin.store.listing import Listing
from regadmin.web import inputs
from regadmin.web.guards import identity
from regadmin.web.pages import forms
from regadmin.web.pages.exports import csv_answer
from regadmin.web.pages.queries import Query, address_of, read_query
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route

LIST = "/repos"
REPOSITORY = LIST + "/<name:path>"
IDLE_DAYS = "90"
MOST_RULES = 100
CSV_HEADER = (
    "name",
    "tags",
    "bytes",
    "pulls",
    "last_pulled_at",
    "last_pushed_at",
    "last_pushed_by",
    "visibility",
    "you_may",
)
_SORT, _TAG_SORT = "name", "-pushed"
_FILTERS = {"visibility": ("", *OPENNESS), "idle": ("", IDLE_DAYS)}
_TAG_FILTERS = {"attached": ("", "1")}
_GONE = Message("these tags are gone already")
_NAMES = {audience: name for name, audience in OPENNESS.items()}


class RepositoryPages:
    def __init__(
        self,
        surface: PageSurface,
        repositories: Repositories,
        rules: Rules,
        activities: Activities,
        deletions: Deletions,
        now: Callable[[], int],
    ):
        self._surface = surface
        self._repositories = repositories
        self._rules = rules
        self._activities = activities
        self._deletions = deletions
        self._now = now

    def routes(self) -> list[Route]:
        """The route of a repository stands last: its name may hold anything."""
        return [
            Route("GET", LIST, self.list_repositories, Access.PUBLIC),
            Route("GET", LIST + ".csv", self.export_repositories, Access.PUBLIC),
            Route("GET", LIST + "/-/namespaces", self.suggest_namespaces, Access.PUBLIC),
            Route("GET", REPOSITORY + "/-/access", self.show_access, Access.MANAGER),
            Route("GET", REPOSITORY + "/-/activity", self.show_activity, Access.MANAGER),
            Route("GET", REPOSITORY + "/-/delete", self.confirm_deletion, Access.ADMIN),
            Route("POST", REPOSITORY + "/-/delete", self.delete_repository, Access.ADMIN),
            Route("GET", REPOSITORY + "/-/delete-tags", self.confirm_tags_deletion, Access.ADMIN),
            Route("POST", REPOSITORY + "/-/delete-tags", self.delete_tags, Access.ADMIN),
            Route("GET", REPOSITORY, self.list_tags, Access.PUBLIC),
        ]

    def list_repositories(self) -> str:
        user = identity().user
        query, chosen = read_query(_SORT), _repository_filters()
        url = _address_of(query, _SORT, chosen)
        context = {
            "page": self._repositories.browse(user, self._listing(query, chosen), chosen["visibility"]),
            "query": query,
            "chosen": chosen,
            "url": url,
            "export": quote(LIST + ".csv") + url(page=1, per=25)[len(LIST) :],
        }
        if not inputs.is_fragment():
            context["namespaces"] = self._repositories.namespaces(user)
        return self._surface.list_page("repositories/list.html", "repositories/_list.html", url(), **context)

    def export_repositories(self):
        query, chosen = read_query(_SORT), _repository_filters()
        rows = self._repositories.each(identity().user, self._listing(query, chosen), chosen["visibility"])
        return csv_answer("repositories.csv", CSV_HEADER, map(_csv_row, rows))

    def suggest_namespaces(self) -> str:
        text = forms.text(inputs.query(), "namespace")[:255]
        names = self._repositories.namespaces(identity().user, text)
        return self._surface.render("repositories/_namespaces.html", namespaces=names)

    def list_tags(self, name: str) -> str:
        query, chosen = read_query(_TAG_SORT), _chosen(_TAG_FILTERS)
        url = _address_of(query, _TAG_SORT, chosen)
        found = self._repositories.browse_tags(
            identity().user, name, query.listing(attached=bool(chosen["attached"]))
        )
        return self._surface.list_page(
            "tags/list.html", "tags/_list.html", url(), found=found, query=query, chosen=chosen, url=url
        )

    def show_access(self, name: str) -> str:
        repository = self._repositories.find(identity().user, name)
        rows = self._rules.reaching(name)
        return self._surface.render(
            "repositories/access.html",
            repository=repository,
            rows=rows[:MOST_RULES],
            total=len(rows),
            audience=self._rules.sight(identity().user).openness.of(name),
        )

    def show_activity(self, name: str) -> str:
        repository = self._repositories.find(identity().user, name)
        # Always newest first, whatever order the address asks for.
        query = replace(read_query(""), sort="")
        url = _address_of(query, "", {})
        return self._surface.list_page(
            "repositories/activity.html",
            "repositories/_activity.html",
            url(),
            repository=repository,
            page=self._activities.list(query.listing(repository=name)),
            query=query,
            url=url,
        )

    # Deleting

    def confirm_deletion(self, name: str) -> str:
        return self._ask_for_repository(name)

    def delete_repository(self, name: str) -> str:
        form = inputs.form()
        try:
            self._surface.check_csrf(form)
            _check_typed(form, name)
        except (Forbidden, Invalid) as error:
            return self._ask_for_repository(name, error)
        self._repositories.find(identity().user, name)
        outcome = self._deletions.delete_repository(name, identity().actor)
        return self._show_outcome("repositories/deleted.html", name, outcome)

    def confirm_tags_deletion(self, name: str) -> str:
        return self._ask_for_tags(self._deletions.plan(identity().user, name, inputs.query().get("tag", [])))

    def delete_tags(self, name: str) -> str:
        form = inputs.form()
        chosen = _decided(form)
        plan = self._deletions.plan(identity().user, name, list(chosen))
        only_tags = forms.text(form, "what") == "tags"
        try:
            self._surface.check_csrf(form)
            if plan.needs_typing and not only_tags:
                _check_typed(form, name)
        except (Forbidden, Invalid) as error:
            return self._ask_for_tags(plan, error, form)
        by = identity().actor
        if only_tags:
            outcome = self._deletions.delete_tags(name, chosen, by)
        else:
            outcome = self._deletions.delete_images(name, chosen, by, with_children="children" in form)
        return self._show_outcome("tags/deleted.html", name, outcome, only_tags=only_tags)

    def _ask_for_repository(self, name: str, error: Error | None = None) -> str:
        repository = self._repositories.find(identity().user, name)
        problems = forms.problems(error) if error else {}
        return self._surface.question(
            "repositories/delete.html",
            forms.status(error) if error else 200,
            repository=repository,
            image_count=self._deletions.count_images(name),
            problem=_problem(error),
            errors=problems,
        )

    def _ask_for_tags(self, plan: Plan, error: Error | None = None, form: dict | None = None) -> str:
        """The question, again with the answer that was given when it could not be followed."""
        return self._surface.question(
            "tags/delete.html",
            forms.status(error) if error else 200,
            plan=plan,
            repository=plan.repository,
            problem=_problem(error),
            refusal="" if plan.images else _GONE,
            errors=forms.problems(error) if error else {},
            only_tags=forms.text(form or {}, "what") == "tags",
            with_children="children" in (form or {}),
        )

    def _show_outcome(self, template: str, name: str, outcome: Outcome, **context) -> str:
        """`repository` is None once it has gone with its last image."""
        status = 409 if outcome.is_refused else 200
        try:
            repository = self._repositories.find(identity().user, name)
        except NotFound:
            repository = None
        return self._surface.render(template, status, name=name, repository=repository, outcome=outcome, **context)

    def _listing(self, query: Query, chosen: dict[str, str]) -> Listing:
        """`name:tag` looks for tags; no name of a repository holds a colon after its last slash."""
        name, colon, tag = query.q.rpartition(":")
        is_tag = colon and "/" not in tag
        return query.listing(
            q=name if is_tag else query.q,
            tag=tag if is_tag else None,
            namespace=chosen["namespace"] or None,
            not_pulled_since=self._now() - int(IDLE_DAYS) * 86_400 if chosen["idle"] else None,
        )


def _repository_filters() -> dict[str, str]:
    """Raises Malformed."""
    namespace = forms.text(inputs.query(), "namespace").strip("/")[:255]
    return {"namespace": namespace} | _chosen(_FILTERS)


def _chosen(filters: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """The filters in the address. Raises Malformed for a choice that is not offered."""
    asked = inputs.query()
    chosen = {name: forms.text(asked, name) for name in filters}
    for name, value in chosen.items():
        if value not in filters[name]:
            choices = ", ".join(filter(None, filters[name]))
            raise Malformed(Message("%(name)s must be one of %(choices)s", name=name, choices=choices))
    return chosen


def _address_of(query: Query, default_sort: str, chosen: dict[str, str]) -> Callable[..., str]:
    """Like `address_of`, with the filters; names of repositories are quoted."""
    plain = address_of(query, default_sort)

    def url(**changes) -> str:
        filters = {name: changes.pop(name, value) for name, value in chosen.items()}
        state = plain(**changes)[len(request.path) + 1 :]
        narrowing = urlencode({name: value for name, value in filters.items() if value})
        pairs = "&".join(filter(None, [state, narrowing]))
        return quote(request.path) + (f"?{pairs}" if pairs else "")

    return url


def _csv_row(row: Listed) -> tuple:
    found = row.repository
    return (
        found.name,
        found.tag_count,
        found.size,
        found.pull_count,
        _iso_time(found.last_pulled_at),
        _iso_time(found.last_pushed_at),
        found.last_pushed_by,
        _NAMES[row.audience],
        " ".join(row.rights),
    )


def _iso_time(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _decided(form: dict[str, list[str]]) -> dict[str, str]:
    """The digest of each chosen tag, as the question showed it. No name of a tag holds an @."""
    pairs = [value.partition("@") for value in form.get("tag", [])]
    return {tag: digest for tag, _, digest in pairs}


def _check_typed(form: dict[str, list[str]], name: str) -> None:
    """Raises Invalid unless somebody typed what would go."""
    if forms.text(form, "typed") != name:
        raise Invalid({"typed": Message("must be the name of the repository, as it stands here")})


def _problem(error: Error | None) -> str:
    """What is wrong with the form as a whole."""
    return forms.problems(error).get("", "") if error else ""
