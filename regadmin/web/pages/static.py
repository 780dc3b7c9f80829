"""Static files, under names that change with their content"""

import mimetypes

from bottle import Bottle, HTTPError, response

from regadmin.assets import StaticFiles


class StaticFilesDoor:
    def __init__(self, files: StaticFiles):
        self._files = files

    def install(self, app: Bottle) -> None:
        app.route("/static/<name:path>", "GET", self.send)

    def send(self, name: str) -> bytes:
        original = self._files.original(name)
        if original is None:
            raise HTTPError(404)
        response.content_type = mimetypes.guess_type(original)[0] or "application/octet-stream"
        response.set_header("Cache-Control", "public, max-age=31536000, immutable")
        return (self._files.root / original).read_bytes()
