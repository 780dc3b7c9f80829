"""The plain HTTP port beside HTTPS: sends browsers to the encrypted one and answers ACME's challenges."""

from collections.abc import Callable, Sequence
from urllib.parse import quote

CHALLENGES = "/.well-known/acme-challenge/"
"""Where an ACME authority looks for the answer to its challenge (RFC 8555, section 8.3)."""

_URI_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


class Redirect:
    """WSGI application. Who asks for none of `names` is sent to the first; `port` is the one of HTTPS.

    `answer` gives the answer to a challenge by its token, or None.
    """

    def __init__(self, names: Sequence[str], port: int, answer: Callable[[str], str | None]):
        self._names = [name.lower() for name in names]
        self._port = "" if port == 443 else f":{port}"
        self._answer = answer

    def __call__(self, environ: dict, start_response: Callable):
        path = environ["PATH_INFO"]
        if path.startswith(CHALLENGES):
            return self._answer_challenge(path.removeprefix(CHALLENGES), start_response)
        # 308 keeps method and body (RFC 9110, section 15.4.9); old clients know only 301.
        is_plain = environ["REQUEST_METHOD"] in ("GET", "HEAD")
        start_response(
            "301 Moved Permanently" if is_plain else "308 Permanent Redirect",
            [("Location", self._location(environ)), ("Content-Length", "0")],
        )
        return []

    def _answer_challenge(self, token: str, start_response: Callable):
        # The name is not checked: the authority may ask by any of them, with a port.
        found = self._answer(token)
        body = (found or "no such challenge\n").encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response("200 OK" if found else "404 Not Found", headers)
        return [body]

    def _location(self, environ: dict) -> str:
        asked = environ.get("HTTP_HOST", "").lower()
        name = next((name for name in self._names if asked in (name, f"{name}:{asked.rpartition(':')[2]}")), None)
        uri = environ["REQUEST_URI"]
        # A proxy's request has an absolute address, which would become part of our host name.
        target = quote(uri, safe=_URI_CHARACTERS, encoding="latin-1") if uri.startswith("/") else "/"
        return f"https://{name or self._names[0]}{self._port}{target}"
