"""Telling systemd how far we are (sd_notify(3)): without it a unit of Type=notify never counts as started."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send a state such as `READY=1` to the socket that the service manager named, if it did."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.connect(address)
            manager.send(state.encode())
    except OSError as error:
        log.warning("the service manager cannot be told %s: %s", state, error.strerror)
