"""The composition root: settings in, one WSGI application and its background work out."""

import base64
import logging
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bottle import Bottle
from requests import certs

from regadmin import assets
from regadmin.certificates.keys import load_or_build
from regadmin.certificates.reading import load
from regadmin.certificates.served import ServedCertificate
from regadmin.certificates.signing import WARNING_DAYS, SigningKey
from regadmin.entities import Event
from regadmin.errors import Misconfigured
from regadmin.identity.program import Program
from regadmin.identity.service import HttpService
from regadmin.identity.source import Source
from regadmin.options import MOST_WORKERS, Settings, split_hostname
from regadmin.passwords import Passwords, usable_cores
from regadmin.registry.client import RegistryClient
from regadmin.scheduler import Baton, Bell, Timer, Worker
from regadmin.services.access_tokens import AccessTokens
from regadmin.services.activities import Activities
from regadmin.services.checks import Checks
from regadmin.services.deletions import Deletions
from regadmin.services.events import Events
from regadmin.services.exports import Exports
from regadmin.services.groups import Groups
from regadmin.services.health import Health
from regadmin.services.htpasswd import Htpasswd, HtpasswdKeeper
from regadmin.services.identities import Identities
from regadmin.services.images import Images
from regadmin.services.imports import Imports
from regadmin.services.indexing import Indexer
from regadmin.services.metrics import Metrics, new_counters
from regadmin.services.overview import Overview
from regadmin.services.own_checks import OwnSide
from regadmin.services.provisioning import Provisioning, release
from regadmin.services.registry_settings import RegistrySettings
from regadmin.services.repositories import Repositories
from regadmin.services.rules import Rules
from regadmin.services.sessions import Sessions
from regadmin.services.synchronisation import Synchronisation
from regadmin.services.throttle import Throttle
from regadmin.services.tokens import OWN_SUBJECT, Tokens
from regadmin.services.users import Users
from regadmin.store import Store
from regadmin.version import __version__
from regadmin.web.access_log import AccessLog
from regadmin.web.answers import secure_headers
from regadmin.web.api.access_tokens import AccessTokensApi
from regadmin.web.api.auth import AuthApi
from regadmin.web.api.catalog import CatalogApi
from regadmin.web.api.groups import GroupsApi
from regadmin.web.api.openapi import OpenApi
from regadmin.web.api.rules import RulesApi
from regadmin.web.api.users import UsersApi
from regadmin.web.forward import Forward
from regadmin.web.guards import Guards
from regadmin.web.hsts import StrictTransport
from regadmin.web.log_files import LogFile, print_line
from regadmin.web.metrics import Counting, MetricsDoor
from regadmin.web.notifications import PATH as EVENTS_PATH
from regadmin.web.notifications import Notifications
from regadmin.web.pages.access_tokens import AccessTokenPages
from regadmin.web.pages.account import AccountPages
from regadmin.web.pages.activity import ActivityPages
from regadmin.web.pages.groups import GroupPages
from regadmin.web.pages.help import HelpPages
from regadmin.web.pages.images import ImagePages
from regadmin.web.pages.overview import OverviewPages
from regadmin.web.pages.rendering import Renderer
from regadmin.web.pages.repositories import RepositoryPages
from regadmin.web.pages.rules import RulePages
from regadmin.web.pages.setup import SetupPages
from regadmin.web.pages.signing import SigningPages
from regadmin.web.pages.static import StaticFilesDoor
from regadmin.web.pages.surface import PageSurface
from regadmin.web.pages.synchronisation import SynchronisationPages
from regadmin.web.pages.users import UserPages
from regadmin.web.probes import Probes
from regadmin.web.proxies import TrustedProxies
from regadmin.web.realm import PATHS as REALM_PATHS
from regadmin.web.realm import Realm, RecentAnswers
from regadmin.web.reception import Reception
from regadmin.web.redirect import Redirect
from regadmin.web.surfaces import ApiSurface, error_handler

USER_AGENT = f"regadmin/{__version__}"

END_SECONDS = 1
"""For what waits for a registry that hangs."""

_FILES_MINUTES = 1 / 60
"""Between two looks at the files that decide about users, groups and rules."""

SHORTEST_SECRET = 32
"""Characters of the kept secret, whose 64 are made at the first start."""

log = logging.getLogger(__name__)


class Groundwork:
    """What serving needs, and looking whether all is well: store, key, registry, certificate and checks.

    A visitor makes and changes no file, and may come while a server is at work. Raises Misconfigured if something is
    wrong, or for a visitor missing.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time, is_visitor: bool = False):
        self._settings = settings
        self.store = Store(settings["store.embed.path"], clock, is_visitor)
        self.signing_key = self._signing_key(clock, is_visitor)
        self.tokens = Tokens(
            self.store,
            self.signing_key,
            settings["registry.issuer"],
            settings["registry.service"],
            settings["registry.token-ttl"],
        )
        self._registry_address = f"{settings['registry.host']}:{settings['registry.port']}"
        self._verified_by = self._verify()
        self.sources = self._sources()
        self.health = Health(self.store.now, self._registry(timeout=(2, 3), max_connections=2))
        self.renewal = self._renewal(clock) if settings["ssl.type"] == "auto" else None
        self.certificate = self._certificate(clock)
        self.checks = self._checks(self._registry(timeout=(2, 3), max_connections=3))

    def _signing_key(self, clock: Callable[[], float], is_visitor: bool) -> SigningKey:
        settings = self._settings
        paths = [Path(settings[f"registry.certs.{name}"]) for name in ("key", "public-key", "ca-root")]
        names = list(settings["registry.certs.fqdn"]), list(settings["registry.certs.ip"])
        signing_key = load(*paths, self.store.now()) if is_visitor else load_or_build(*paths, *names, clock)
        days_left = signing_key.days_left(self.store.now())
        if days_left < WARNING_DAYS:
            log.warning("the certificate that signs tokens ends in %s days; replace it", days_left)
        return signing_key

    def _registry(self, **options) -> RegistryClient:
        return RegistryClient(
            self._registry_address,
            self._authorize,
            verify=self._verified_by,
            user_agent=USER_AGENT,
            on_outcome=lambda is_answering: self.health.note(is_answering),
            **options,
        )

    def _verify(self) -> bool | str:
        """Whether to check the registry's certificate, or the path of those to check it with."""
        is_encrypted = self._settings["registry.host"].startswith("https:")
        is_checked = is_encrypted and not self._settings["registry.https-insecure"]
        return is_checked and self._trusted_authorities()

    def _trusted_authorities(self) -> str:
        """A bundle of the public authorities, our own certificate and the one that the owner named."""
        own = [self._settings["registry.certs.ca-root"], self._settings["registry.https-certs"]]
        self._bundle = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115 - lives as long as the App
        for path in filter(None, [certs.where(), *own]):
            try:
                self._bundle.write(Path(path).read_bytes() + b"\n")
            except OSError as error:
                raise Misconfigured(f"certificate {path}: {error.strerror}") from None
        self._bundle.flush()
        return self._bundle.name

    def _authorize(self, scopes: tuple[str, ...]) -> str:
        if self._settings["registry.auth-type"] == "token":
            return self.tokens.own_authorization(scopes)
        credentials = f"{self._settings['registry.login']}:{self._settings['registry.password']}"
        return "Basic " + base64.b64encode(credentials.encode()).decode()

    def _checks(self, probe: RegistryClient) -> Checks:
        is_token = self._settings["registry.auth-type"] == "token"
        certificate, htpasswd = self._settings["registry.certs.ca-root"], self._settings["registry.htpasswd"]
        self.registry_settings = RegistrySettings(
            self._settings["registry.service"],
            self._settings["registry.issuer"],
            os.path.abspath(certificate),
            "" if is_token else os.path.abspath(htpasswd),
            REALM_PATHS,
            EVENTS_PATH,
        )
        signing_key = self.signing_key if is_token else None
        self.address = self._origins()[1].removesuffix(":80" if self._settings["ssl.type"] == "none" else ":443")
        registry = self._registry_address, self.registry_settings
        return Checks(self.store, probe, *registry, signing_key, self.address, self._own_side())

    def _origins(self) -> list[str]:
        settings = self._settings
        is_plain = settings["ssl.type"] == "none"
        scheme, port = ("http", settings["port"]) if is_plain else ("https", settings["ssl.port"])
        host = settings["hostname"] if "://" in settings["hostname"] else f"{scheme}://{settings['hostname']}"
        return [host, f"{host}:{port}", *filter(None, [settings["dev-host"]])]

    def _renewal(self, clock: Callable[[], float]):
        # They take a tenth of a second to import, which only those pay who use them.
        from regadmin.certificates.acme import Authority
        from regadmin.certificates.renewal import Renewal

        settings = self._settings
        location = Path(settings["ssl.acme-location"])
        names = settings["ssl.fqdn"] or (split_hostname(settings["hostname"])[0],)
        self._authority = Authority(
            settings["ssl.acme-directory"], location / "account.json", settings["ssl.acme-email"], USER_AGENT
        )
        return Renewal(location, [name.lower() for name in names], self._authority, clock)

    def _certificate(self, clock: Callable[[], float]) -> ServedCertificate | None:
        """What HTTPS is served with; not loaded yet."""
        if self.renewal:
            return ServedCertificate(self.renewal.certificate_path, self.renewal.certificate_path, clock)
        if self._settings["ssl.type"] == "static":
            return ServedCertificate(Path(self._settings["ssl.cert"]), Path(self._settings["ssl.key"]), clock)
        return None

    def _own_side(self) -> OwnSide:
        settings = self._settings
        store, location = settings["store.embed.path"], Path(settings["ssl.acme-location"])
        private = [store, f"{store}-wal", f"{store}-shm", f"{store}.secret", settings["registry.certs.key"]]
        private += [location / "account.json", location / "certificate.pem"] if self.renewal else []
        shared = [settings["registry.htpasswd"]] if settings["registry.auth-type"] == "basic" else []
        shared += [settings["ssl.key"]] if settings["ssl.type"] == "static" else []
        renewal = self.renewal.status if self.renewal else None
        provision = Path(settings["provision"]) if settings["provision"] else None
        files = tuple(map(Path, private)), tuple(map(Path, shared))
        return OwnSide(self.certificate, renewal, *files, provision, self.sources)

    def _sources(self) -> tuple[Source, ...]:
        """The program first: it can say that a login is nobody else's business."""
        command, url = self._settings["identity.program.command"], self._settings["identity.service.url"]
        found: list[Source] = [Program(command)] if command else []
        authorities = self._settings["identity.service.ca"] or certs.where()
        return (*found, HttpService(url, authorities, USER_AGENT)) if url else tuple(found)


class App(Groundwork):
    """All of the product over one store."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time):
        super().__init__(settings, clock)
        self.workers = settings["workers"] if settings["workers"] != "auto" else _workers()
        self.counters = new_counters(self.workers + (self.workers > 1))
        self.metrics = Metrics(self.counters, self.workers, self.store, self.health, self._certificate_ends)
        self._hasher = hasher = Passwords()
        is_basic = settings["registry.auth-type"] == "basic"
        own = (settings["registry.login"], hasher.hash(settings["registry.password"])) if is_basic else ()
        self.htpasswd = Htpasswd(self.store, *own)
        self._htpasswd_keeper = HtpasswdKeeper(self.htpasswd, settings["registry.htpasswd"] if is_basic else "")
        self.users = Users(self.store, hasher, self._htpasswd_keeper.follow_change)
        self.users.create_first_admin(settings["store.admin-password"])
        self.identities = Identities(self.users, self.store, self.sources, settings["identity.ttl"], clock)
        self.access_tokens = AccessTokens(self.store, self.tokens.uses)
        self.activities = Activities(self.store)
        self.groups = Groups(self.store)
        self.rules = Rules(self.store)
        nouns = self.users, self.groups, self.rules
        self.imports = Imports(self.store, *nouns, hasher, self._htpasswd_keeper.follow_change)
        self.provisioning = self._provisioning(nouns)
        self.exports = Exports(self.store)
        self.sessions = self._sessions()
        self.throttle = Throttle(clock)
        self.registry = self._registry()
        indexer = Indexer(self.store, self.registry)
        self.events = Events(self.store, indexer, self.counters, self._is_own)
        self.synchronisation = Synchronisation(self.store, self.registry, indexer)
        self.repositories = Repositories(self.store, self.rules, self.registry)
        self.images = Images(self.store, self.rules, self.repositories)
        self.overview = Overview(self.store, self._days_left, self.provisioning is not None)
        self._static = assets.StaticFiles(assets.directory("static"))
        self.wsgi = self._wsgi()
        self.redirect = self._redirect()
        self._timer = Timer()
        self._bell = Bell()
        self._baton = Baton()
        self._inbox = Worker("inbox", self.events.apply_waiting)
        self._uses = Worker("last uses", self.tokens.uses.write)
        self._first_sync = Worker("first synchronisation", self.synchronisation.run_if_empty)
        self._first_checks = Worker("first checks", self.checks.run)
        self._first_measurement = Worker("first measurement", self.overview.measure)
        # Threads of their own: an authority may take its time, and many passwords to be hashed.
        self._files_watch = Worker("provision", self._look_at_files)
        self._renewal_watch = Worker("renewal", self._renew)
        self._certificate_watch = Worker("certificate", self._take_up_certificate)

    def prepare(self) -> None:
        """What must be right before anything is served, and before the process is forked. Raises Misconfigured."""
        if self.provisioning:
            self.provisioning.begin()
        else:
            release(self.store)
        self._htpasswd_keeper.begin()
        self.events.on_arrival = self._bell.ring
        self.synchronisation.hand_over = self._baton.give
        if self.certificate:
            self._prepare_certificate()

    def begin(self) -> None:
        """The threads that every process needs which answers requests."""
        self.tokens.uses.on_use = self._uses.wake
        self._timer.every(0.5, self.health.check)
        if self.certificate:
            self._timer.every(1, self._certificate_watch.wake)
            self._certificate_watch.start()
        self._uses.start()
        self._timer.start()

    def begin_background_work(self) -> None:
        """What one process does for all."""
        self._bell.answer(self._inbox.wake)
        self.synchronisation.hand_over = None
        self._baton.take(self.synchronisation.take_over)
        self._timer.every(self._settings["registry.gc-interval"], self.synchronisation.start_by_timer)
        self._timer.every(60, self._clean_up)
        self._timer.every(5, self.overview.measure)
        self._timer.every(5, self.checks.run)
        self._timer.every(1, self._htpasswd_keeper.repair)
        if self.renewal:
            self._timer.every(1, self._renewal_watch.wake)
            self._renewal_watch.start()
        if self.provisioning:
            self._timer.every(_FILES_MINUTES, self._files_watch.wake)
            self._files_watch.start()
        for thread in (self._inbox, self._first_sync, self._first_checks, self._first_measurement):
            thread.start()

    def end(self) -> None:
        """End the threads of this process, and wait a moment for them."""
        self.synchronisation.stop()
        self._hasher.close()
        self._bell.stop()
        first = (self._first_sync, self._first_checks, self._first_measurement)
        threads = (self._timer, self._uses, self._inbox, *first)
        threads += (self._renewal_watch, self._certificate_watch, self._files_watch)
        running = [each for each in threads if each.is_alive()]
        for thread in running:
            thread.stop()
        deadline = time.monotonic() + END_SECONDS
        for thread in running:
            thread.join(max(0, deadline - time.monotonic()))
        self.store.close()

    def _prepare_certificate(self) -> None:
        if self.renewal:
            self.renewal.prepare()
        try:
            self.certificate.load()
        except Misconfigured as error:
            raise Misconfigured(f"ssl.cert, ssl.key: {error.message}")

    def _renew(self) -> bool:
        self.renewal.run_if_due()
        self._certificate_watch.wake()
        return True

    def _take_up_certificate(self) -> bool:
        self.certificate.refresh()
        return True

    def _look_at_files(self) -> bool:
        self.provisioning.look()
        return True

    def _clean_up(self) -> None:
        self.events.forget_old()
        self.store.sessions.delete_expired()
        self.activities.forget_old(self._settings["activity-days"])

    def _provisioning(self, nouns: tuple[Users, Groups, Rules]) -> Provisioning | None:
        path = self._settings["provision"]
        on_change = self._htpasswd_keeper.follow_change
        return Provisioning(self.store, *nouns, self._hasher, Path(path), on_change) if path else None

    def _sessions(self) -> Sessions:
        settings = self._settings
        secret = settings["auth.token-secret"] or _kept_secret(Path(settings["store.embed.path"] + ".secret"))
        return Sessions(
            self.store,
            secret,
            settings["auth.jwt-issuer"],
            settings["auth.jwt-ttl"],
            settings["auth.cookie-ttl"],
        )

    def _days_left(self) -> int | None:
        """How long the certificate is good for; None if nothing is signed for the registry."""
        is_used = self._settings["registry.auth-type"] == "token"
        return self.signing_key.days_left(self.store.now()) if is_used else None

    def _certificate_ends(self) -> dict[str, int]:
        """By what they are used for."""
        is_signing = self._settings["registry.auth-type"] == "token"
        ends = {"tokens": self.signing_key.not_after} if is_signing else {}
        return ends | ({"https": self.certificate.ends} if self.certificate else {})

    def _is_own(self, event: Event) -> bool:
        """In basic mode the registry's login may be a person's too, so the client's name counts as well."""
        if self._settings["registry.auth-type"] == "token":
            return event.actor == OWN_SUBJECT
        return event.actor == self._settings["registry.login"] and event.user_agent == USER_AGENT

    def _wsgi(self) -> Callable:
        is_secure = self._settings["ssl.type"] != "none"
        guards = Guards(self.identities, self.access_tokens, self.sessions, self.throttle, self.counters, is_secure)
        bottle = Bottle()
        # An id that SQLite cannot hold belongs to nothing: 404, not a fault.
        bottle.router.add_filter("int", lambda _: (r"-?[0-9]{1,15}", int, str))
        api_routes = [
            *AuthApi(guards).routes(),
            *UsersApi(self.users).routes(),
            *GroupsApi(self.groups).routes(),
            *RulesApi(self.rules).routes(),
            *AccessTokensApi(self.access_tokens).routes(),
            *CatalogApi(self.repositories, self.synchronisation).routes(),
            *Notifications(self.events).routes(),
        ]
        realm = Realm(guards, self.tokens)
        self.reception = Reception(realm, guards)
        registry_routes = [*realm.routes(), *Forward(guards, self.tokens).routes()]
        openapi = OpenApi([*api_routes, *registry_routes])
        self.api_routes = [*api_routes, *registry_routes, *openapi.routes()]
        api = ApiSurface(guards, self._origins())
        api.install(bottle, [*api_routes, *openapi.routes()])
        settings = self._settings
        metrics = MetricsDoor(self.metrics, settings["metrics.allow"], settings["metrics.token"])
        for route in [*registry_routes, *metrics.routes(), *Probes(self.tokens, self.health).routes()]:
            bottle.route(route.path, route.method, route.handler)
        bottle.route("/ping", "GET", lambda: "pong")
        pages = PageSurface(guards, self._renderer(guards))
        rules_hold = self.registry_settings.is_token
        pages.install(
            bottle,
            [
                *self._overview_pages(pages).routes(),
                *SynchronisationPages(pages, self.synchronisation).routes(),
                *ActivityPages(pages, self.activities, self._settings["activity-days"]).routes(),
                *SigningPages(pages, guards, self.repositories).routes(),
                *self._account_pages(pages, guards).routes(),
                *AccessTokenPages(pages, self.users, self.access_tokens, rules_hold).routes(),
                *HelpPages(pages, self.store.now, self.store.database.path).routes(),
                *SetupPages(pages, self.checks, self.registry_settings, self.signing_key).routes(),
                *ImagePages(pages, self.images, self.repositories).routes(),
                *self._repository_pages(pages).routes(),
                *RulePages(pages, self.rules, rules_hold).routes(),
                *self._user_pages(pages).routes(),
                *GroupPages(pages, self.groups, self.users).routes(),
            ],
        )
        StaticFilesDoor(self._static).install(bottle)
        bottle.add_hook("after_request", secure_headers)
        bottle.default_error_handler = error_handler(api, pages.show_error)
        wsgi = RecentAnswers(bottle, realm)
        if self._settings["ssl.hsts"] != "":
            wsgi = StrictTransport(wsgi, self._settings["ssl.hsts"])
        wsgi = TrustedProxies(wsgi, self._settings["trusted-proxies"])
        return AccessLog(Counting(wsgi, self.counters), *self._access_logs())

    def _overview_pages(self, pages: PageSurface) -> OverviewPages:
        services = (self.overview, self.activities, self.health, self.synchronisation, self.checks)
        return OverviewPages(pages, *services, self._registry_address)

    def _account_pages(self, pages: PageSurface, guards: Guards) -> AccountPages:
        accounts = self.users, self.access_tokens, self.sessions
        rules_hold = self.registry_settings.is_token
        return AccountPages(pages, guards, *accounts, self.repositories, self.rules, rules_hold)

    def _user_pages(self, pages: PageSurface) -> UserPages:
        accounts = self.users, self.access_tokens, self.groups
        return UserPages(pages, *accounts, self.repositories, self.rules, self.registry_settings.is_token)

    def _repository_pages(self, pages: PageSurface) -> RepositoryPages:
        deletions = Deletions(self.store, self.repositories)
        return RepositoryPages(pages, self.repositories, self.rules, self.activities, deletions, self.store.now)

    def _redirect(self) -> Redirect:
        settings = self._settings
        name, port = split_hostname(settings["hostname"])
        # A host name that nobody gave is not the one to send browsers to.
        names = sorted([name, *settings["ssl.fqdn"]], key=lambda each: each == "localhost")
        answer = self._authority.answer if self.renewal else lambda token: None
        return Redirect(names, port or settings["ssl.port"], answer)

    def _renderer(self, guards: Guards) -> Renderer:
        public_name = self._settings["registry.public"] or self._default_public_name()
        templates = assets.directory("templates")
        return Renderer(templates, self._static, guards, public_name, lambda: self.health.down_since)

    def _default_public_name(self) -> str:
        return f"{self._settings['registry.host'].partition('://')[2]}:{self._settings['registry.port']}"

    def _access_logs(self) -> tuple[Callable[[str], None] | None, Callable[[str], None] | None]:
        """For the combined format in a file, and for the short one on standard output."""
        settings = self._settings
        combined = None
        if settings["logger.enabled"]:
            path, size = settings["logger.file"], settings["logger.max-size"]
            try:
                combined = LogFile(path, size, settings["logger.max-backups"]).write
            except OSError as error:
                raise Misconfigured(f"logger.file {path}: {error.strerror}") from None
        return combined, print_line if settings["logger.stdout"] else None


def _workers() -> int:
    """One for each core, where the system has what the supervisor needs."""
    return min(len(usable_cores()), MOST_WORKERS) if hasattr(signal, "sigtimedwait") else 1


def _kept_secret(path: Path) -> str:
    """The secret that sessions are signed with, made once and kept beside the store."""
    try:
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        secret = path.read_text().strip()
    except OSError as error:
        raise Misconfigured(f"secret {path}: {error.strerror}") from None
    if len(secret) < SHORTEST_SECRET:
        # Anybody could sign a session with it.
        raise Misconfigured(f"secret {path}: is empty or cut short; remove it, and everybody signs in again")
    return secret
