"""The signing key's three files: key, public key and certificate. Made when there are none."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regadmin import errors
from regadmin.certificates.builder import build_certificate
from regadmin.certificates.reading import load
from regadmin.certificates.signing import SigningKey
from regadmin.certificates.writing import sync_directories, write

Paths = tuple[Path, Path, Path]
"""Of the private key, the public key and the certificate."""


def load_or_build(
    key_path: str | Path,
    public_key_path: str | Path,
    certificate_path: str | Path,
    fqdns: list[str],
    ips: list[str],
    clock: Callable[[], float],
) -> SigningKey:
    """The signing key in these files, made first if all three are missing; what exists is never overwritten.

    `fqdns` and `ips` are the names of a new certificate, `clock` gives UTC seconds since 1970.
    `errors.Misconfigured` says which file is wrong, and what to do.
    """
    paths = Path(key_path), Path(public_key_path), Path(certificate_path)
    now = int(clock())
    if not all(map(os.path.lexists, paths)):
        try:
            _complete(paths, fqdns, ips, now)
        except OSError as error:
            raise errors.Misconfigured(
                _half_present(paths)
                or f"{error.filename or key_path} cannot be made ({error.strerror}):"
                " choose a place that the server's user may write to"
            )
    return load(*paths, now)


def _complete(paths: Paths, fqdns: list[str], ips: list[str], now: int) -> None:
    # All drafts are on the disk before the first is renamed. So a start that finds no file drops the drafts
    # and begins again, and one that finds some files, and drafts of the others, comes after a crash between
    # two renames and does the rest of them; their order does not matter.
    for path in paths:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(_beside(paths[0], ".lock")):
        missing = [path for path in paths if not os.path.lexists(path)]
        if len(missing) == len(paths):
            _write_drafts(paths, fqdns, ips, now)
        if _half_present(paths):
            raise errors.Misconfigured(_half_present(paths))
        load(*[_draft(path) if path in missing else path for path in paths], now)
        for path in missing:
            _draft(path).rename(path)
        sync_directories(paths)


def _half_present(paths: Paths) -> str:
    """The sentence for a set of which some files exist and others have not even a draft, else ''."""
    found = [path for path in paths if os.path.lexists(path)]
    lost = [path for path in paths if path not in found and not os.path.lexists(_draft(path))]
    if not found or not lost:
        return ""
    return (
        f"{lost[0]} is missing beside {found[0]}: put it there,"
        " or remove key, public key and certificate to have all three made anew"
    )


@contextmanager
def _alone(lock_path: Path) -> Iterator[None]:
    """One process at a time in here. The kernel lets go when the holder dies: a crash blocks nobody."""
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_drafts(paths: Paths, fqdns: list[str], ips: list[str], now: int) -> None:
    private_key = ec.generate_private_key(ec.SECP256R1())
    certificate = build_certificate(private_key, fqdns, ips, now)
    pem = serialization.Encoding.PEM
    key_path, public_key_path, certificate_path = map(_draft, paths)
    write(certificate_path, certificate.public_bytes(pem), 0o644)
    write(
        public_key_path,
        private_key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
        0o644,
    )
    write(
        key_path,
        private_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        0o600,
    )
    sync_directories(paths)


def _draft(path: Path) -> Path:
    return _beside(path, ".new")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
