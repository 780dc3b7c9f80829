"""Connecting the registry: what works, what does not, and what its configuration must say"""

from bottle import request, response

from regadmin.certificates.signing import SigningKey
from regadmin.services.checks import Checks
from regadmin.services.registry_settings import EVENTS_CREDENTIALS, RegistrySettings
from regadmin.web import inputs
from regadmin.web.pages.surface import PageSurface
from regadmin.web.routes import Access, Route

PATH = "/setup"
CERTIFICATE_PATH = PATH + "/certificate.crt"


class SetupPages:
    def __init__(self, surface: PageSurface, checks: Checks, settings: RegistrySettings, signing_key: SigningKey):
        self._surface = surface
        self._checks = checks
        self._settings = settings
        self._signing_key = signing_key

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.show_setup, Access.ADMIN),
            Route("GET", CERTIFICATE_PATH, self.send_certificate, Access.ADMIN),
        ]

    def show_setup(self) -> str:
        """Check all of it now; for htmx only what that found."""
        address = _own_address()
        template = "setup/_checks.html" if inputs.is_fragment() else "setup/show.html"
        return self._surface.render(
            template,
            checks=self._checks.run(address),
            settings=self._settings,
            yaml=self._settings.yaml(address),
            environment=self._settings.environment(address),
            credentials=EVENTS_CREDENTIALS,
        )

    def send_certificate(self) -> str:
        response.content_type = "application/x-x509-ca-cert"
        response.set_header("Content-Disposition", 'attachment; filename="registry_auth_ca.crt"')
        return self._signing_key.certificate_pem


def _own_address() -> str:
    """Where the reader reaches this server: that is where the registry can send its clients."""
    scheme, host = request.environ["wsgi.url_scheme"], request.environ.get("HTTP_HOST", "")
    return f"{scheme}://{host}"
