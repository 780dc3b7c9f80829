"""Calls the WSGI application as a browser or script would, without a socket."""

import base64
import io
import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import unquote, urlencode, urlsplit


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Client:
    """Keeps cookies. `basic` is `login:password`, sent with every request."""

    wsgi: object
    basic: str = ""
    address: str = "192.0.2.1"
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, url: str, **options) -> Answer:
        return self.request("GET", url, **options)

    def post(self, url: str, **options) -> Answer:
        return self.request("POST", url, **options)

    def put(self, url: str, **options) -> Answer:
        return self.request("PUT", url, **options)

    def delete(self, url: str, **options) -> Answer:
        return self.request("DELETE", url, **options)

    def request(
        self, method: str, url: str, *, params=None, form=None, json=None, body=b"", headers=None, basic=None
    ) -> Answer:
        parts = urlsplit(url)
        query = "&".join(filter(None, [parts.query, urlencode(params or {}, doseq=True)]))
        content_type = ""
        if form is not None:
            body, content_type = urlencode(form, doseq=True).encode(), "application/x-www-form-urlencoded"
        if json is not None:
            body, content_type = _dumps(json), "application/json"
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote(parts.path, "latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "HTTP_HOST": "localhost",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.address,
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
        }
        credentials = self.basic if basic is None else basic
        if credentials:
            environ["HTTP_AUTHORIZATION"] = "Basic " + base64.b64encode(credentials.encode()).decode()
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        environ |= {"HTTP_" + name.upper().replace("-", "_"): value for name, value in (headers or {}).items()}
        return self._run(environ)

    def _run(self, environ: dict) -> Answer:
        started = []
        body = b"".join(self.wsgi(environ, lambda status, headers, exc_info=None: started.append((status, headers))))
        status, headers = started[-1]
        self._keep_cookies(headers)
        return Answer(int(status.split()[0]), headers, body)

    def _keep_cookies(self, headers: list[tuple[str, str]]) -> None:
        for name, value in headers:
            if name.lower() == "set-cookie":
                for key, morsel in SimpleCookie(value).items():
                    self.cookies[key] = morsel.value
                    if morsel["max-age"] in ("0", "-1") or not morsel.value:
                        del self.cookies[key]


def _dumps(value) -> bytes:
    return json.dumps(value).encode()
