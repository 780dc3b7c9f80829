"""What the registry's own configuration must say, so that it and this server work together."""

import json
from dataclasses import dataclass

import yaml

EVENTS_CREDENTIALS = "BASE64_OF_LOGIN:PASSWORD"
"""Stands for what only the owner knows."""


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """Made from the settings of this server. `realm_paths` are those that answer for tokens, the best one first.

    `htpasswd` is the path of the file that is shared with the registry, '' if it takes tokens. All paths are those
    that this server uses: inside a container the registry may need others.
    """

    service: str
    issuer: str
    certificate: str
    htpasswd: str
    realm_paths: tuple[str, ...]
    events_path: str

    @property
    def is_token(self) -> bool:
        return not self.htpasswd

    def realm(self, address: str) -> str:
        """Where the registry sends its clients. `address` is that of this server, without a path."""
        return address + self.realm_paths[0]

    def yaml(self, address: str) -> str:
        """The part of the registry's config.yml (distribution, docs/configuration.md)."""
        return yaml.safe_dump(
            {
                "auth": self._auth(address),
                "notifications": {"endpoints": [self._endpoint(address)]},
                "storage": {"delete": {"enabled": True}},
            },
            sort_keys=False,
            width=1000,
        )

    def environment(self, address: str) -> str:
        """The same as environment variables, a line each, as `docker run --env-file` reads them.

        A list has no variables of its own: it is given whole, as YAML, of which JSON is a part.
        """
        variables = {
            f"REGISTRY_AUTH_{kind}_{name}".upper(): value
            for kind, values in self._auth(address).items()
            for name, value in values.items()
        }
        variables["REGISTRY_NOTIFICATIONS_ENDPOINTS"] = json.dumps([self._endpoint(address)])
        variables["REGISTRY_STORAGE_DELETE_ENABLED"] = "true"
        return "".join(f"{name}={value}\n" for name, value in variables.items())

    def _auth(self, address: str) -> dict:
        if not self.is_token:
            return {"htpasswd": {"realm": "RegistryAdmin", "path": self.htpasswd}}
        return {
            "token": {
                "realm": self.realm(address),
                "service": self.service,
                "issuer": self.issuer,
                "rootcertbundle": self.certificate,
            }
        }

    def _endpoint(self, address: str) -> dict:
        return {
            "name": "regadmin",
            "url": address + self.events_path,
            "headers": {"Authorization": [f"Basic {EVENTS_CREDENTIALS}"]},
            "timeout": "1s",
            "threshold": 5,
            "backoff": "10s",
        }
