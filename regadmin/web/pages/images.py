"""One image: what it is made of, how to pull it, and how to get rid of it"""

from collections.abc import Callable
from urllib.parse import quote, urlencode

from bottle import request

from regadmin.errors import Conflict, Error, Forbidden, NotFound, RegistryError, RegistryRefused
from regadmin.messages import Message
from regadmin.services.images import Image, Images
from regadmin.services.repositories import Repositories
from regadmin.web import inputs
from regadmin.web.answers import status_of
from regadmin.web.guards import identity
from regadmin.web.pages.rendering import flash
from regadmin.web.pages.surface import PageSurface, gone
from regadmin.web.routes import Access, Route

TAG = "/repos/<name:path>/-/tags/<tag>"
MANIFEST = "/repos/<name:path>/-/manifests/<digest>"
_VIEWS = ("layers", "config", "referrers", "manifest")
_TAG_ONLY, _WHOLE_IMAGE = "tag", "image"
_MOVED = Message(
    "the tag points to another image now than when you were asked; look at what would be deleted, and decide again"
)


class ImagePages:
    def __init__(self, surface: PageSurface, images: Images, repositories: Repositories):
        self._surface = surface
        self._images = images
        self._repositories = repositories

    def routes(self) -> list[Route]:
        """They must stand before the route of a repository, whose name may hold anything."""
        return [
            Route("GET", TAG + "/delete", self.confirm_deletion, Access.ADMIN),
            Route("POST", TAG + "/delete", self.delete, Access.ADMIN),
            Route("GET", MANIFEST + "/delete", self.confirm_deletion, Access.ADMIN),
            Route("POST", MANIFEST + "/delete", self.delete, Access.ADMIN),
            Route("GET", TAG, self.show, Access.PUBLIC),
            Route("GET", MANIFEST, self.show, Access.PUBLIC),
        ]

    def show(self, **names: str) -> str:
        query = inputs.query()
        platform = query.get("platform", [""])[0]
        image = self._find(**names, platform=platform)
        views = [view for view in _VIEWS if view != "config" or image.kind != "artifact"]
        view = query.get("view", [""])[0]
        view = view if view in views else views[0]
        url = _address_of(view, platform)
        return self._surface.render("images/show.html", image=image, platform=platform, views=views, view=view, url=url)

    def confirm_deletion(self, **names: str) -> str:
        return self._ask(self._find(**names))

    def delete(self, **names: str) -> str:
        form = inputs.form()
        image = self._find(**names)
        try:
            self._surface.check_csrf(form)
        except Forbidden as error:
            return self._ask(image, error, form)
        if form.get("digest", [""])[0] != image.digest:
            return self._ask(image, Conflict(_MOVED))
        try:
            return self._delete(image, form)
        except RegistryRefused as error:
            if error.status != 405:
                return self._ask(image, error, form)
            return self._surface.question("images/refused.html", 409, image=image)
        except (RegistryError, NotFound) as error:
            return self._ask(image, error, form)

    def _delete(self, image: Image, form: dict[str, list[str]]) -> str:
        """Raises NotFound and RegistryError."""
        by = identity().actor
        if image.tag and form.get("what", [""])[0] != _WHOLE_IMAGE:
            self._repositories.delete_tag(image.repository, image.tag.name, by)
            flash("tag-removed")
        else:
            left = self._repositories.delete_image(image.repository, image.digest, by, "children" in form)
            flash("image-deleted-in-part" if left else "image-deleted")
        return gone(self._place_after(image.repository))

    def _place_after(self, repository: str) -> str:
        """The repository may have gone with its last image."""
        try:
            return "/repos/" + quote(self._repositories.find(identity().user, repository).name)
        except NotFound:
            return "/repos"

    def _find(self, name: str, tag: str = "", digest: str = "", platform: str = "") -> Image:
        user = identity().user
        if tag:
            return self._images.find_tag(user, name, tag, platform)
        return self._images.find_manifest(user, name, digest, platform)

    def _ask(self, image: Image, error: Error | None = None, form: dict[str, list[str]] | None = None) -> str:
        """The question, again with the answer that was given when it could not be followed."""
        chosen = (form or {}).get("what", [_TAG_ONLY])[0]
        return self._surface.question(
            "images/delete.html",
            status_of(error) if error else 200,
            image=image,
            lone_children=self._repositories.lone_children(image.repository, image.digest),
            recent_pulls=self._images.count_pulls(image),
            problem=error.message if error else "",
            chosen=chosen if chosen == _WHOLE_IMAGE else _TAG_ONLY,
            with_children="children" in (form or {}),
        )


def _address_of(view: str, platform: str) -> Callable[..., str]:
    """A function that gives the address of this page with some changes, without what is default."""

    def url(**changes: str) -> str:
        wanted = {"view": view, "platform": platform} | changes
        values = {name: value for name, value in wanted.items() if value and value != _VIEWS[0]}
        return quote(request.path) + ("?" + urlencode(values, safe="/") if values else "")

    return url
