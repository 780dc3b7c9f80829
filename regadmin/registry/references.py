"""The names of things in a registry: repositories, tags and digests.

Source of the grammar: distribution, reference/reference.go; OCI image specification, descriptor.md.
"""

import hashlib
import re

from regadmin.errors import Malformed

MAX_REPOSITORY_LENGTH = 255

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"(?:{_DOMAIN}/)?{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")


def is_repository(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= MAX_REPOSITORY_LENGTH
        and _REPOSITORY.fullmatch(name) is not None
    )


def is_tag(name: object) -> bool:
    return isinstance(name, str) and _TAG.fullmatch(name) is not None


def is_digest(digest: object) -> bool:
    return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None


def check_repository(name: str) -> str:
    """The name itself. Raises Malformed."""
    return _checked(name, is_repository(name), "repository name")


def check_tag(name: str) -> str:
    """The tag itself. Raises Malformed."""
    return _checked(name, is_tag(name), "tag")


def check_digest(digest: str) -> str:
    """The digest itself. Raises Malformed."""
    return _checked(digest, is_digest(digest), "digest")


def check_reference(reference: str) -> str:
    """The tag or digest itself. Raises Malformed."""
    return _checked(reference, is_tag(reference) or is_digest(reference), "tag or digest")


def digest_of(raw: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, raw).hexdigest()}"


def fits(raw: bytes, digest: str) -> bool:
    """Tell whether `digest` is a digest and that of these bytes."""
    return is_digest(digest) and digest_of(raw, digest.partition(":")[0]) == digest


def _checked(value: str, is_valid: bool, what: str) -> str:
    if not is_valid:
        raise Malformed(f"{ascii(value)[:100]} is no {what}")
    return value
