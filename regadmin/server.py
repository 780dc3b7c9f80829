"""The listener: Waitress in one process, ended by SIGTERM or Ctrl-C with exit status 0."""

import logging
import signal

from waitress import create_server

from regadmin import readiness
from regadmin.app import App
from regadmin.errors import Misconfigured
from regadmin.options import Settings

THREADS = 8
CONNECTIONS = 2000

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Serve until a signal ends it. Raises Misconfigured if it cannot start."""
    if settings["ssl.type"] != "none":
        raise Misconfigured("ssl.type: this version serves plain HTTP only; put a proxy with TLS before it")
    # Waitress warns of every request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    app = App(settings)
    server = _listen(app, settings)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, lambda *_: app.reopen_logs())
    app.start_background_work()
    log.info("listening on %s:%s", settings["listen"], settings["port"])
    readiness.notify("READY=1")
    server.run()
    app.stop_background_work()
    log.info("stopped")


def _listen(app: App, settings: Settings):
    address, port = settings["listen"], settings["port"]
    try:
        return create_server(
            app.wsgi,
            host=address,
            port=port,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            asyncore_use_poll=True,
            ident=None,
            clear_untrusted_proxy_headers=False,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(f"cannot listen on {address}:{port}: {reason}") from None


def _end(*_) -> None:
    readiness.notify("STOPPING=1")
    raise SystemExit(0)
