"""Metrics in Prometheus' text format, version 0.0.4, for those who may read them; and counting requests."""

import hmac
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

from bottle import request, response

from regadmin.counters import Counters
from regadmin.services.metrics import METRICS, SUM, Kind, Metric, Metrics, RequestCounts, Samples
from regadmin.web.answers import as_error, text_answer
from regadmin.web.realm import PATHS as REALM_PATHS
from regadmin.web.routes import Access, Route

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Counting:
    """WSGI middleware: counts all requests, and measures those to the token realm."""

    def __init__(self, app: Callable, counters: Counters):
        self._app = app
        self._counts = RequestCounts(counters)

    def __call__(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        status, began = "500", time.perf_counter_ns()

        def start(given_status, headers, exc_info=None):
            nonlocal status
            status = given_status
            return start_response(given_status, headers, exc_info)

        try:
            return self._app(environ, start)
        finally:
            if environ["PATH_INFO"] in REALM_PATHS:
                extent = environ.get("regadmin.extent")
                self._counts.add_token_answer(status, extent, time.perf_counter_ns() - began)
            else:
                self._counts.add(status)


class MetricsDoor:
    """Open to clients in one of the `networks` and to those who know the token, if there is one."""

    def __init__(self, metrics: Metrics, networks: Sequence[str], token: str):
        self._metrics = metrics
        self._networks = [ip_network(network) for network in networks]
        self._token = token.encode()

    def routes(self) -> list[Route]:
        return [Route("GET", "/metrics", self.show, Access.PUBLIC)]

    def show(self) -> str:
        if not (self._comes_from_network() or self._knows_token()):
            return self._refuse()
        try:
            body = render(METRICS, self._metrics.collect())
        except Exception as exception:
            return text_answer(f"{as_error(exception).message}\n", 500)
        response.content_type = CONTENT_TYPE
        return body

    def _refuse(self) -> str:
        if not self._token:
            return text_answer("your address is not in metrics.allow\n", 403)
        response.set_header("WWW-Authenticate", 'Bearer realm="metrics"')
        return text_answer("this needs the token of metrics.token, or an address in metrics.allow\n", 401)

    def _comes_from_network(self) -> bool:
        try:
            client = ip_address(request.environ.get("REMOTE_ADDR", ""))
        except ValueError:
            return False
        # A proxy that is not trusted: the address is its own, and anybody may be behind it.
        is_known = "HTTP_X_FORWARDED_FOR" not in request.environ
        return is_known and any(client in network for network in self._networks)

    def _knows_token(self) -> bool:
        scheme, _, sent = request.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        is_right = hmac.compare_digest(sent.strip().encode("latin-1"), self._token)
        return bool(self._token) and scheme.lower() == "bearer" and is_right


def render(metrics: Iterable[Metric], samples: dict[str, Samples]) -> str:
    return "".join(line for metric in metrics for line in _lines(metric, samples[metric.name]))


def _lines(metric: Metric, samples: Samples) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.meaning}\n"
    yield f"# TYPE {metric.name} {metric.kind}\n"
    if metric.kind is Kind.HISTOGRAM:
        yield from _histogram(metric, samples)
        return
    for value, number in samples.items():
        yield f"{metric.name}{_labels(metric, value)} {number + 0}\n"


def _histogram(metric: Metric, samples: Samples) -> Iterator[str]:
    """Each bucket holds those before it, too."""
    count = 0
    for bound, number in samples.items():
        if bound != SUM:
            count += number
            yield f"{metric.name}_bucket{_labels(metric, bound)} {count}\n"
    yield f"{metric.name}_sum {samples[SUM]}\n{metric.name}_count {count}\n"


def _labels(metric: Metric, value: str) -> str:
    return f'{{{metric.label}="{value}"}}' if metric.label else ""
