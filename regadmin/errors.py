"""The error tree. A service raises one of these; the doors turn it into a status and a body.

A denied decision is a value, not an error: see `decisions.Decision`.
"""


class Error(Exception):
    """Something the person on the other side can be told about. `message` is safe to show."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class Unforeseen(Error):
    """A fault of ours (500). `reference` leads to the traceback in the log."""

    def __init__(self, reference: str):
        super().__init__(f"something went wrong on the server; its log has the details under {reference}")
        self.reference = reference


class Malformed(Error):
    """The request itself cannot be read: bad JSON, bad scope, bad parameter (400)."""


class Unauthenticated(Error):
    """No credentials, or wrong ones (401)."""


class Forbidden(Error):
    """Known, but not allowed (403)."""


class NotFound(Error):
    """No such thing, or none that this person may see (404)."""


class Conflict(Error):
    """It contradicts what is stored or running (409). `field` is the one to mend, if there is one."""

    def __init__(self, message: str, field: str = ""):
        super().__init__(f"{field}: {message}" if field else message)
        self.fields = {field: message}


class Invalid(Error):
    """A field holds what it cannot hold (422). `fields` maps each field's name to its sentence."""

    def __init__(self, fields: dict[str, str]):
        super().__init__("; ".join(f"{name}: {text}" for name, text in fields.items()))
        self.fields = fields


class TooMany(Error):
    """Too many attempts (429). The next may come in `wait` seconds, that is at `retry_at` (since 1970)."""

    def __init__(self, message: str, retry_at: int, wait: int):
        super().__init__(message)
        self.retry_at = retry_at
        self.wait = wait


class RegistryError(Error):
    """The registry could not do what it was asked (502)."""


class RegistryUnavailable(RegistryError):
    """The registry does not answer, or answers garbage or 5xx; trying again later may help."""


class RegistryRefused(RegistryError):
    """The registry answered, and said no. `status` is its HTTP status, `code` its error code or ''."""

    def __init__(self, message: str, status: int, code: str = ""):
        super().__init__(message)
        self.status = status
        self.code = code


class SourceUnavailable(Error):
    """A source of identity cannot tell whether credentials are right (503). `reason` is for the owner of the server."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


class StoreUnavailable(Error):
    """The disk is full, or another program keeps the store locked (503). Nothing was changed."""


class Misconfigured(Error):
    """The server cannot start like this: a bad option, certificate or store file (exit status 2)."""
