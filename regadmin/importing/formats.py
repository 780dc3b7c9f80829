"""Which reader reads what."""

from pathlib import Path

from regadmin.errors import Error
from regadmin.importing import docker_auth, htpasswd, own_yaml, registry_auth
from regadmin.importing.plan import Plan

READERS = {
    "regadmin": own_yaml.read,
    "docker_auth": docker_auth.read,
    "registry-auth": registry_auth.read,
    "htpasswd": htpasswd.read,
}
"""The formats that are text, each with what reads it."""


def read(source: str, path: Path) -> Plan:
    """The plan of a file in the format `source`. Raises Error if it cannot be opened or is no text."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise Error(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Error(f"{path} cannot be read: it is not UTF-8 text") from None
    return READERS[source](text, str(path))
