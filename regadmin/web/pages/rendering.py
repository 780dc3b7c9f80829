"""Templates, and what every one of them is given."""

from datetime import UTC, datetime
from pathlib import Path

from bottle import request, response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from regadmin.assets import StaticFiles
from regadmin.entities import Role, User
from regadmin.version import __version__
from regadmin.web import inputs
from regadmin.web.guards import Guards, identity

THEMES = ("system", "light", "dark")
FLASHES = {
    "signed-out": ("ok", "You are signed out."),
    "tag-removed": ("ok", "The tag is removed. The image stays under its other tags."),
    "image-deleted": ("ok", "The image is deleted. Disk space is freed by `registry garbage-collect`."),
    "image-deleted-in-part": ("warn", "The image is deleted, but not all of its platform images could be."),
    "password-changed": ("ok", "Your password is changed. Your other sessions have ended."),
    "user-created": ("ok", "The user is created."),
    "user-changed": ("ok", "The user is changed."),
    "user-deleted": ("ok", "The user is deleted."),
    "group-created": ("ok", "The group is created."),
    "group-changed": ("ok", "The group is changed."),
    "group-deleted": ("ok", "The group is deleted."),
    "member-added": ("ok", "The user is now a member of this group."),
    "member-removed": ("ok", "The user is no longer a member of this group."),
    "rule-created": ("ok", "The rule is created."),
    "rule-changed": ("ok", "The rule is changed."),
    "rule-deleted": ("ok", "The rule is deleted."),
    "rule-enabled": ("ok", "The rule is enabled."),
    "rule-disabled": ("ok", "The rule is disabled."),
}
"""What the next page says. The cookie names one of these, so that nobody can make a page say something else."""


class Renderer:
    def __init__(self, templates: Path, static: StaticFiles, guards: Guards, registry_host: str):
        self._guards = guards
        self._environment = Environment(
            loader=FileSystemLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=False,
            auto_reload=False,
        )
        self._environment.filters["utc"] = lambda seconds: datetime.fromtimestamp(seconds, UTC)
        self._environment.globals.update(
            version=__version__, registry_host=registry_host, asset=static.url, lang="en"
        )

    def page(self, template: str, http_status: int = 200, /, **context) -> str:
        """A page, or a fragment of one."""
        caller = identity()
        response.status = http_status
        response.content_type = "text/html; charset=UTF-8"
        response.set_header("Cache-Control", "no-store" if caller.user else "no-cache")
        response.add_header("Vary", "HX-Request, Cookie")
        common = {
            "user": caller.user,
            "csrf": self._guards.csrf(caller),
            "theme": theme(),
            "path": request.path,
            "address": request.path + (f"?{request.query_string}" if request.query_string else ""),
            "flash": [] if inputs.is_fragment() else _taken_flash(),
            "nav": _nav(caller.user),
        }
        return self._environment.get_template(template).render(common | context)


def _nav(user: User | None) -> list[tuple[str, str]]:
    """What the menu offers; whoever must choose a password first can go nowhere."""
    if user and user.must_change_password:
        return []
    entries = [("Repositories", "/repos")]
    if user and user.role in (Role.ADMIN, Role.MANAGER):
        entries.append(("Access", "/access"))
    if user and user.is_admin:
        entries += [("Users", "/users"), ("Groups", "/groups")]
    return entries


def theme() -> str:
    chosen = inputs.cookie("theme")
    return chosen if chosen in THEMES else THEMES[0]


def flash(name: str) -> None:
    """Let the next page say one of FLASHES."""
    response.set_cookie("flash", name, path="/", httponly=True, samesite="lax", max_age=60)


def _taken_flash() -> list[tuple[str, str]]:
    name = inputs.cookie("flash")
    if not name:
        return []
    response.delete_cookie("flash", path="/")
    return [FLASHES[name]] if name in FLASHES else []
