"""The pages: all of them behind one object that the application installs."""

from html import escape

from bottle import Bottle, response

from regadmin.errors import Error


class Site:
    def __init__(self, *, guards, users, repositories, rules, templates, static, registry_host):
        self._guards = guards

    def install(self, bottle: Bottle) -> None:
        pass

    def show_error(self, error: Error, status: int) -> str:
        response.status = status
        return escape(error.message)
