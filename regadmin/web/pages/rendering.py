"""Templates, and what every one of them is given."""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from bottle import request, response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from regadmin.assets import StaticFiles
from regadmin.entities import Role, User
from regadmin.languages import LANGUAGES, Language, choose
from regadmin.messages import Message
from regadmin.services.activities import event_name
from regadmin.version import __version__
from regadmin.web import inputs
from regadmin.web.guards import Guards, identity

THEMES = ("system", "light", "dark")
FLASHES = {
    "signed-out": ("ok", Message("You are signed out.")),
    "tag-removed": ("ok", Message("The tag is removed. The image stays under its other tags.")),
    "image-deleted": ("ok", Message("The image is deleted. Disk space is freed by `registry garbage-collect`.")),
    "image-deleted-in-part": ("warn", Message("The image is deleted, but not all of its platform images could be.")),
    "password-changed": ("ok", Message("Your password is changed. Your other sessions have ended.")),
    "preferences-changed": ("ok", Message("Your account is changed.")),
    "session-ended": ("ok", Message("That session is signed out.")),
    "sessions-ended": ("ok", Message("All your other sessions are signed out.")),
    "user-created": ("ok", Message("The user is created.")),
    "user-changed": ("ok", Message("The user is changed.")),
    "user-deleted": ("ok", Message("The user is deleted.")),
    "group-created": ("ok", Message("The group is created.")),
    "group-changed": ("ok", Message("The group is changed.")),
    "group-deleted": ("ok", Message("The group is deleted.")),
    "member-added": ("ok", Message("The user is now a member of this group.")),
    "member-removed": ("ok", Message("The user is no longer a member of this group.")),
    "access-token-revoked": ("ok", Message("The access token is revoked. It ended at once.")),
    "rule-created": ("ok", Message("The rule is created.")),
    "rule-changed": ("ok", Message("The rule is changed.")),
    "rule-deleted": ("ok", Message("The rule is deleted.")),
    "rule-enabled": ("ok", Message("The rule is enabled.")),
    "rule-disabled": ("ok", Message("The rule is disabled.")),
}
"""What the next page says. The cookie names one of these, so that nobody can make a page say something else."""


class Renderer:
    """`down_since` tells since when the registry is known to be away, None while it is not."""

    def __init__(
        self,
        templates: Path,
        static: StaticFiles,
        guards: Guards,
        registry_host: str,
        down_since: Callable[[], int | None],
    ):
        self._guards = guards
        self._down_since = down_since
        self._environment = Environment(
            loader=FileSystemLoader(templates),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=False,
            auto_reload=False,
            extensions=["jinja2.ext.i18n"],
            finalize=_said,
        )
        self._environment.policies["ext.i18n.trimmed"] = True
        self._environment.install_gettext_callables(
            lambda text: language().gettext(text),
            lambda one, many, number: language().ngettext(one, many, number),
            newstyle=True,
        )
        self._environment.filters.update(local=_local, said=_said, event_name=event_name)
        self._environment.globals.update(
            version=__version__,
            registry_host=registry_host,
            asset=static.url,
            language=language,
            languages=LANGUAGES.values(),
        )

    def page(self, template: str, http_status: int = 200, /, **context) -> str:
        """A page, or a fragment of one."""
        caller = identity()
        response.status = http_status
        response.content_type = "text/html; charset=UTF-8"
        response.set_header("Cache-Control", "no-store" if caller.user else "no-cache")
        response.add_header("Vary", "HX-Request, Cookie, Accept-Language")
        common = {
            "user": caller.user,
            "csrf": self._guards.csrf(caller),
            "theme": theme(),
            "has_shortcuts": inputs.cookie("shortcuts") != "off",
            "path": request.path,
            "address": request.path + (f"?{request.query_string}" if request.query_string else ""),
            "flash": [] if inputs.is_fragment() else _taken_flash(),
            "nav": _nav(caller.user),
            "registry_down_since": self._down_since() if caller.user else None,
        }
        return self._environment.get_template(template).render(common | context)


def _nav(user: User | None) -> list[tuple[str, str]]:
    """What the menu offers; whoever must choose a password first can go nowhere."""
    if user and user.must_change_password:
        return []
    repositories = (Message("Repositories"), "/repos")
    if not user or user.role not in (Role.ADMIN, Role.MANAGER):
        return [repositories]
    people = [(Message("Users"), "/users"), (Message("Groups"), "/groups")] if user.is_admin else []
    return [
        (Message("Overview"), "/overview"),
        repositories,
        (Message("Access"), "/access"),
        *people,
        (Message("Activity"), "/activity"),
        (Message("Sync"), "/sync"),
    ]


def language() -> Language:
    """The language of the answer: of the account, else of the cookie, else of the browser."""
    environ = request.environ
    if "regadmin.language" not in environ:
        user = identity().user
        wishes = (user.language if user else "", inputs.cookie("language"))
        environ["regadmin.language"] = choose(*wishes, accepted=environ.get("HTTP_ACCEPT_LANGUAGE", ""))
    return environ["regadmin.language"]


def time_zone() -> ZoneInfo:
    """The time zone that the caller chose in his account, else UTC."""
    user = identity().user
    return _zone(user.time_zone if user else "")


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError):
        # Chosen when the machine still knew it.
        return ZoneInfo("UTC")


def _local(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, time_zone())


def _said(value: object) -> object:
    """What a template prints: a Message in the language of the answer, all else as it is."""
    return language().say(value) if isinstance(value, Message) else value


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
