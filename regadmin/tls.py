"""TLS inside Waitress, which has none: a server whose channels shake hands without stopping the event loop.

It leans on Waitress 3's inner attributes; setup.cfg keeps version 4 away (docs/decisions/0006).
"""

import socket
import ssl
import threading
import time
from contextlib import suppress

from regadmin.certificates.served import ServedCertificate
from regadmin.lanes import LaneChannel, LaneServer

HANDSHAKE_SECONDS = 10
"""From the connection to the end of its handshake."""

RECORD = 16384
"""The most bytes of a TLS record (RFC 8446, section 5.1)."""

_RECEIVE = 65536
_HANDSHAKE = b"\x16"
"""The content type that a client's first record has (RFC 8446, section 5.1)."""

_TEXT = b"This port speaks HTTPS: begin the address with https://\n"
_REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_TEXT), _TEXT)
)
_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TlsChannel(LaneChannel):
    """A connection. Until `_step` is None it is not encrypted yet, and requests do not flow."""

    def __init__(self, server, sock, addr, adj, map=None):
        # OpenSSL's connection is for one thread at a time, and both the event loop and the tasks send.
        self._lock = threading.Lock()
        self._step = self._greet
        self._wants_write = False
        super().__init__(server, sock, addr, adj, map=map)
        # More would be copied for each record, and not be sent.
        self.sendbuf_len = RECORD

    @property
    def is_starting(self) -> bool:
        return self._step is not None

    def readable(self):
        if self._step:
            return not (self._wants_write or self.will_close)
        return super().readable()

    def writable(self):
        return self._wants_write or super().writable()

    def handle_read(self):
        if self._step:
            self._take_step()
        else:
            self._receive()

    def handle_write(self):
        if self._step and not self.will_close:
            self._take_step()
        else:
            super().handle_write()

    def handle_close(self):
        # Closed already, if the peer hung up in the same turn of the loop.
        if self.socket:
            self._say_goodbye(self.socket)
            super().handle_close()

    def send(self, data, do_close=True):
        try:
            with self._lock:
                connection = self.socket
                return connection.send(data) if connection else 0
        except _LATER:
            return 0
        except OSError:
            if do_close:
                self.handle_close()
            return 0

    def _take_step(self) -> None:
        self._wants_write = False
        try:
            self._step()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except ssl.SSLWantWriteError:
            self._wants_write = True
        except OSError:
            self.handle_close()

    def _greet(self) -> None:
        first = self.socket.recv(1, socket.MSG_PEEK)
        if first == _HANDSHAKE:
            self._step = self._shake_hands
            self.socket = self.server.certificate.context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        elif first.isalpha():
            self.socket.send(_REFUSAL)
            self.socket.shutdown(socket.SHUT_WR)
            self._step = self._discard
        else:
            self.handle_close()

    def _shake_hands(self) -> None:
        self.socket.do_handshake()
        self._step = None

    def _discard(self) -> None:
        """Closing while bytes arrive would reset the connection before the client has read our answer."""
        if not self.socket.recv(_RECEIVE):
            self.handle_close()

    def _receive(self) -> None:
        # One read empties OpenSSL's record: what is left is in the socket, where poll sees it.
        try:
            with self._lock:
                data = self.socket.recv(_RECEIVE)
        except _LATER:
            return
        except OSError:
            data = b""
        if data:
            self.last_activity = time.time()
            self.received(data)
        else:
            self.handle_close()

    def _say_goodbye(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._step:
                with suppress(OSError, ValueError):
                    connection.unwrap()
            # A task that still sends must not find the socket without its encryption.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)


class TlsServer(LaneServer):
    """A listening socket. A connection gets the context that `certificate` has when it arrives."""

    channel_class = TlsChannel
    handshake_seconds = HANDSHAKE_SECONDS

    def __init__(self, certificate: ServedCertificate, *args, **options):
        self.certificate = certificate
        super().__init__(*args, **options)

    def maintenance(self, now):
        super().maintenance(now)
        for channel in self.active_channels.values():
            if channel.is_starting and channel.creation_time < now - self.handshake_seconds:
                channel.will_close = True
