"""Certificates for tests, and a `Listener` that serves with them in a thread of this process."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regadmin.certificates.served import ServedCertificate
from regadmin.listener import Listener, bind

HOST = "127.0.0.1"


def write_certificate(directory: Path, name: str = "localhost", days: float = 90) -> tuple[Path, Path]:
    """Paths of a new self-signed certificate, good from yesterday until in so many days, and of its key."""
    directory.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address(HOST))])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1000))
        .not_valid_after(today + timedelta(days=days))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    paths = directory / "server.crt", directory / "server.key"
    paths[0].write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


class TlsRig:
    """One application, by HTTPS and by plain HTTP, on two free ports."""

    def __init__(self, directory: Path, application: Callable, grace: float = 5, connections: int = 1000, **sorting):
        self.paths = write_certificate(directory)
        self.certificate = ServedCertificate(*self.paths, time.time)
        self.certificate.load()
        [secure], [plain] = bind(HOST, 0), bind(HOST, 0)
        self.port, self.plain_port = (each[0].getsockname()[1] for each in (secure, plain))
        self.listener = Listener(grace=grace, connections=connections, **sorting)
        self.listener.listen_tls(application, secure, self.certificate)
        self.listener.listen(application, plain)
        self.thread = threading.Thread(target=self.listener.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.listener.stop()
        self.thread.join(10)

    def connect(self, **options) -> socket.socket:
        """A bare TCP connection to the port of HTTPS."""
        return socket.create_connection((HOST, self.port), timeout=10, **options)

    def connect_tls(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        return (context or self.trusting()).wrap_socket(self.connect(), server_hostname="localhost")

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts the certificate as it is now."""
        return ssl.create_default_context(cafile=str(self.paths[0]))

    def channels(self) -> int:
        """How many connections the server holds."""
        return sum(1 for _ in self.listener._channels())
