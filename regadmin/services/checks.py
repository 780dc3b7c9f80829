"""Whether the registry and this server are set up to work together, and what to do where they are not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from urllib.parse import urlsplit

from regadmin.certificates.signing import WARNING_DAYS, SigningKey
from regadmin.errors import Error, RegistryRefused
from regadmin.messages import Message
from regadmin.registry.client import Ping, RegistryClient
from regadmin.services.findings import NAMES, CheckResult, Fact, State
from regadmin.services.own_checks import OwnSide, check_clock, check_files, check_https, check_sources
from regadmin.services.provision_report import check_provision
from regadmin.services.registry_settings import RegistrySettings
from regadmin.store import Store

_ASKING = ("registry", "challenge", "credentials", "clock", "deletion")
"""Those that ask the registry."""

_SOURCES = "identity"
"""The one that asks the sources of identity."""

_KEPT_AS, _KEPT_SECONDS = "checks", 3600
_NOT_ASKED = Message("this has not been checked yet")
_NO_ANSWER = Message("this cannot be told while the registry does not answer")


class Checks:
    """`probe` is a client with timeouts so short that somebody can wait for them.

    `signing_key` is None where the registry takes no tokens; `address` is that of this server, as it is configured.
    `own` is what this server has beside the store.
    """

    def __init__(
        self,
        store: Store,
        probe: RegistryClient,
        registry_address: str,
        settings: RegistrySettings,
        signing_key: SigningKey | None,
        address: str,
        own: OwnSide,
    ):
        self._store = store
        self._probe = probe
        self._registry_address = registry_address
        self._settings = settings
        self._signing_key = signing_key
        self._address = address
        self._own = own
        self._names = [name for name in NAMES if self._applies(name)]

    def run(self, address: str = "") -> list[CheckResult]:
        """Go through all of them, which takes as long as the probe waits for an answer.

        `address` is where the reader reaches this server, such as `https://admin.example.org`.
        """
        found = self._ask_others(address or self._address)
        self._keep(found)
        return self._all(found)

    def look(self) -> list[CheckResult]:
        """The same for a visitor, who leaves nothing behind."""
        return self._all(self._ask_others(self._address))

    def known(self) -> list[CheckResult]:
        """The same without a request to others: of them, what any process found last."""
        kept = self._store.findings.find(_KEPT_AS)
        return self._all({row["name"]: _result(row) for row in kept[1]} if kept else {})

    def _keep(self, found: dict[str, CheckResult]) -> None:
        """For all processes; not at each visit, because what they measure is never twice the same."""
        kept = self._store.findings.find(_KEPT_AS)
        known = [_result(row) for row in kept[1]] if kept else []
        is_fresh = kept and self._store.now() - kept[0] < _KEPT_SECONDS
        if not is_fresh or [_gist(result) for result in known] != [_gist(result) for result in found.values()]:
            self._store.findings.keep(_KEPT_AS, [_row(result) for result in found.values()])

    def _all(self, of_others: dict[str, CheckResult]) -> list[CheckResult]:
        found = self._look_around() | of_others
        return [found.get(name) or CheckResult(name, State.OPEN, _NOT_ASKED) for name in self._names]

    def _applies(self, name: str) -> bool:
        if name in ("certificate", "clock"):
            return self._signing_key is not None
        if name == "provision":
            return self._own.provision is not None
        if name == _SOURCES:
            return bool(self._own.sources)
        return name != "https" or self._own.certificate is not None

    def _ask_others(self, address: str) -> dict[str, CheckResult]:
        with ThreadPoolExecutor(len(_ASKING)) as pool:
            sources = pool.submit(check_sources, self._own.sources)
            ping = pool.submit(self._ping)
            credentials = pool.submit(_outcome, self._probe.check_credentials)
            deletion = pool.submit(_outcome, self._probe.check_deletion)
        answer, now = ping.result()
        results = [self._registry(answer)]
        if isinstance(answer, Error):
            results += [CheckResult(name, State.OPEN, _NO_ANSWER) for name in _ASKING[1:]]
        else:
            results.append(self._challenge(answer, address))
            results.append(self._credentials(answer, credentials.result()))
            results.append(check_clock(answer.date, now))
            results.append(self._deletion(deletion.result()))
        if self._applies(_SOURCES):
            results.append(sources.result())
        return {result.name: result for result in results}

    def _ping(self) -> tuple[Ping | Error, int]:
        """The answer, and when it came: the other requests may take longer."""
        return _outcome(self._probe.ping), self._store.now()

    def _look_around(self) -> dict[str, CheckResult]:
        """What can be told without asking others."""
        results = [
            self._default_password(),
            self._certificate(self._signing_key) if self._signing_key else None,
            check_https(self._own, self._store.now()),
            check_files(self._own),
            self._notifications(),
            self._synchronisation(),
            self._access(),
            check_provision(self._store, self._own.provision) if self._own.provision else None,
        ]
        return {result.name: result for result in results if result}

    def _default_password(self) -> CheckResult:
        login = self._store.users.find_with_default_password()
        if not login:
            changed = Message("nobody has the password any more that everybody knows")
            return CheckResult("default-password", State.OK, changed)
        return CheckResult(
            "default-password",
            State.BAD,
            Message("the account %(login)s still has the password that everybody knows", login=login),
            Message("sign in as %(login)s and choose another one", login=login),
        )

    def _registry(self, answer: Ping | Error) -> CheckResult:
        facts = (Fact(Message("Address"), self._registry_address),)
        if isinstance(answer, Error):
            return CheckResult(
                "registry",
                State.BAD,
                answer.message,
                Message("start it, and compare its address with registry.host and registry.port of this server"),
                facts,
            )
        facts += (Fact(Message("Response time"), f"{answer.seconds * 1000:.0f} ms"),)
        if answer.version:
            facts += (Fact(Message("API"), answer.version),)
        if answer.server:
            facts += (Fact(Message("Web server"), answer.server),)
        # Distribution tells nobody its number.
        facts += (Fact(Message("Version"), Message("not told")),)
        return CheckResult("registry", State.OK, Message("the registry answers"), facts=facts)

    def _challenge(self, answer: Ping, address: str) -> CheckResult:
        if answer.status == 200:
            return CheckResult(
                "challenge",
                State.BAD,
                Message("the registry lets everybody do everything: it asks for no credentials"),
                Message("put the part “auth” from below into its configuration and restart it"),
            )
        if not self._settings.is_token:
            return _basic_challenge(answer)
        return self._token_challenge(answer.challenge, address)

    def _token_challenge(self, challenge: dict[str, str], address: str) -> CheckResult:
        if not challenge:
            return CheckResult(
                "challenge",
                State.BAD,
                Message("the registry asks for other credentials than tokens"),
                Message("put the part “auth” from below in place of the other one in its configuration and restart it"),
            )
        realm, service = challenge.get("realm", ""), challenge.get("service", "")
        expected = self._settings.realm(address)
        facts = _compared("realm", expected, realm) + _compared("service", self._settings.service, service)
        origin, path = _parts(realm)
        if service != self._settings.service or path not in self._settings.realm_paths:
            return CheckResult(
                "challenge",
                State.BAD,
                Message("the registry sends its clients elsewhere, or names another service"),
                Message("set them as expected in its configuration, under auth and token, and restart it"),
                facts,
            )
        if origin != address.lower():
            return CheckResult(
                "challenge",
                State.WARN,
                Message("the registry sends its clients to another address than the one where you are now"),
                Message("if that address leads here too, for every client, all is well; else set the expected one"),
                facts,
            )
        return CheckResult("challenge", State.OK, Message("the registry sends its clients here"), facts=facts)

    def _credentials(self, answer: Ping, outcome: Error | None) -> CheckResult:
        if answer.status == 200:
            return CheckResult(
                "credentials", State.OPEN, Message("this cannot be told while the registry lets everybody in")
            )
        if not outcome:
            accepted = Message("the registry accepts a token of this server")
            known = Message("the registry accepts our login and password")
            return CheckResult("credentials", State.OK, accepted if self._settings.is_token else known)
        remedy = Message(
            "give it the certificate below as rootcertbundle, compare issuer and service, and restart it: "
            "it reads the certificate only when it starts"
        )
        other = Message("compare registry.login and registry.password with its htpasswd file")
        return CheckResult("credentials", State.BAD, outcome.message, remedy if self._settings.is_token else other)

    def _certificate(self, key: SigningKey) -> CheckResult:
        days = key.days_left(self._store.now())
        facts = (Fact("SHA-256", key.fingerprint), Fact(Message("Ends"), at=key.not_after))
        if days >= WARNING_DAYS:
            return CheckResult("certificate", State.OK, Message("the certificate is valid"), facts=facts)
        return CheckResult(
            "certificate",
            State.WARN if days >= 0 else State.BAD,
            Message("the certificate ends soon, and with it every sign-in to the registry")
            if days >= 0
            else Message("the certificate has ended: the registry accepts no token"),
            Message("replace the files under registry.certs, give the new certificate to the registry, restart both"),
            facts,
        )

    def _deletion(self, outcome: Error | None) -> CheckResult:
        if not outcome:
            return CheckResult("deletion", State.OK, Message("the registry allows to delete images"))
        if not isinstance(outcome, RegistryRefused) or outcome.status != 405:
            return CheckResult("deletion", State.OPEN, Message("this cannot be told before the registry trusts us"))
        return CheckResult(
            "deletion",
            State.BAD,
            Message("the registry does not allow to delete images"),
            Message("put the part “storage” from below into its configuration and restart it"),
        )

    def _notifications(self) -> CheckResult:
        at = self._store.inbox.latest_arrival()
        if at is None:
            return CheckResult(
                "notifications",
                State.OPEN,
                Message("no notification has come yet"),
                Message(
                    "put the part “notifications” from below into its configuration, restart it, "
                    "and push or pull an image"
                ),
            )
        latest = Fact(Message("Last one"), at=at)
        return CheckResult("notifications", State.OK, Message("notifications arrive"), facts=(latest,))

    def _synchronisation(self) -> CheckResult:
        if self._store.sync_runs.has_complete():
            return CheckResult("synchronisation", State.OK, Message("all of the registry is in the index"))
        run = self._store.sync_runs.latest()
        if not run or run.state == "running":
            waiting, running = Message("the registry has not been read yet"), Message("the registry is being read")
            return CheckResult("synchronisation", State.OPEN, running if run else waiting)
        return CheckResult(
            "synchronisation",
            State.BAD,
            run.errors[0] if run.errors else Message("the synchronisation broke off"),
            Message("mend what is wrong above, then start it again"),
        )

    def _access(self) -> CheckResult:
        if self._store.users.count() < 2:
            return CheckResult(
                "access",
                State.OPEN,
                Message("you are the only one"),
                Message("create the users who may use the registry, and rules that say what they may do"),
            )
        if not self._store.rules.has_enabled():
            return CheckResult(
                "access",
                State.OPEN,
                Message("no rule gives anybody access"),
                Message("create a rule for a user, a group or everybody"),
            )
        return CheckResult("access", State.OK, Message("there are users, and rules for them"))


def _gist(result: CheckResult) -> tuple:
    return result.name, result.state, result.says, result.remedy


def _row(result: CheckResult) -> dict:
    return {field.name: getattr(result, field.name) for field in fields(result)} | {"facts": list(result.facts)}


def _result(row: dict) -> CheckResult:
    return CheckResult(**row | {"state": State(row["state"]), "facts": tuple(Fact(*fact) for fact in row["facts"])})


def _basic_challenge(answer: Ping) -> CheckResult:
    if not answer.challenge:
        return CheckResult("challenge", State.OK, Message("the registry asks for login and password"))
    return CheckResult(
        "challenge",
        State.BAD,
        Message("the registry asks for tokens, but registry.auth-type of this server is basic"),
        Message("make both the same, and restart the one that you changed"),
    )


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host, in lower case, and path; two times '' for what is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return f"{parts.scheme}://{parts.netloc}".lower(), parts.path


def _compared(name: str, expected: str, found: str) -> tuple[Fact, ...]:
    if expected == found:
        return (Fact(name, found),)
    return (
        Fact(Message("Expected %(name)s", name=name), expected),
        Fact(Message("Found %(name)s", name=name), found or "-"),
    )


def _outcome(ask: Callable):
    """What it answers, or the error with which it fails."""
    try:
        return ask()
    except Error as error:
        return error
