"""Builds the self-signed CA certificate that goes into the registry's `rootcertbundle`."""

import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from regadmin import errors

LIFETIME = timedelta(days=3650)

BACKDATED = timedelta(days=1)
"""The certificate begins this long before now, for registries whose clock is late."""


def build_certificate(
    private_key: ec.EllipticCurvePrivateKey, fqdns: list[str], ips: list[str], now: int
) -> x509.Certificate:
    """A self-signed CA certificate; its subject is short because every token carries the certificate."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "regadmin")])
    today = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder(subject, subject, private_key.public_key(), x509.random_serial_number())
        .not_valid_before(today - BACKDATED)
        .not_valid_after(today + LIFETIME)
    )
    for extension, is_critical in _extensions(private_key.public_key(), _alternative_names(fqdns, ips)):
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(private_key, hashes.SHA256())


def _extensions(public_key, names: list[x509.GeneralName]) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Each with its criticality (RFC 5280, section 4.2.1)."""
    yield x509.BasicConstraints(ca=True, path_length=None), True
    yield (
        x509.KeyUsage(
            digital_signature=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        ),
        True,
    )
    yield x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False
    yield x509.SubjectKeyIdentifier.from_public_key(public_key), False
    if names:
        yield x509.SubjectAlternativeName(names), False


def _alternative_names(fqdns: list[str], ips: list[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for fqdn in filter(None, fqdns):
        try:
            names.append(x509.DNSName(fqdn))
        except ValueError:
            raise errors.Misconfigured(f"'{fqdn}' cannot stand in a certificate: write its xn-- form")
    for ip in filter(None, ips):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(ip)))
        except ValueError:
            raise errors.Misconfigured(f"'{ip}' is no IP address: correct the one meant for the certificate")
    return names
