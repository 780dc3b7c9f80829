"""The registry's event hook (distribution, docs/spec/notifications.md)."""

from regadmin.services.events import Events
from regadmin.web import inputs
from regadmin.web.answers import done
from regadmin.web.guards import identity
from regadmin.web.routes import Access, Route

PATH = "/api/v1/registry/events"


class Notifications:
    def __init__(self, events: Events):
        self._events = events

    def routes(self) -> list[Route]:
        return [Route("POST", PATH, self.record, Access.SIGNED_IN)]

    def record(self) -> str:
        self._events.record(inputs.body(inputs.MAX_ENVELOPE), identity().user)
        return done("ok")
