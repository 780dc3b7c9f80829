"""Behind a proxy: whose word about the client's address and scheme is believed."""

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network


class TrustedProxies:
    """WSGI middleware. `X-Forwarded-For` and `-Proto` count only if they come from one of these networks.

    An `X-Forwarded-For` that is still there afterwards says that nobody knows the client: the address is a proxy's.
    """

    def __init__(self, app: Callable, networks: Sequence[str]):
        self._app = app
        self._networks = [ip_network(network) for network in networks]

    def __call__(self, environ: dict, start_response: Callable):
        peer = environ.get("REMOTE_ADDR", "")
        if self._networks and self._is_trusted(peer):
            environ["REMOTE_ADDR"] = self._client(environ)
            if environ["REMOTE_ADDR"] != peer:
                environ.pop("HTTP_X_FORWARDED_FOR")
            if environ.get("HTTP_X_FORWARDED_PROTO", "").lower() in ("http", "https"):
                environ["wsgi.url_scheme"] = environ["HTTP_X_FORWARDED_PROTO"].lower()
        return self._app(environ, start_response)

    def _client(self, environ: dict) -> str:
        """The last address in the list that no trusted proxy has: everything before it can be forged."""
        client = environ["REMOTE_ADDR"]
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            try:
                client = str(ip_address(hop.strip()))
            except ValueError:
                break
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)
