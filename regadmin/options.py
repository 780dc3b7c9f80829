"""Every setting of the product, declared once.

`OPTIONS` gives each option's flag, environment variables, keys in the configuration file, help and
documentation. A value is text, whichever source it comes from, until its option's kind reads it:

    namespace = parser({"sync": "synchronise once"}).parse_args(argv)
    settings = load(namespace, os.environ)
    validate(settings)
"""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from itertools import groupby
from operator import attrgetter
from os.path import expanduser
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from regadmin.errors import Misconfigured

MOST_WORKERS = 64

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TRUE = ("true", "1", "yes", "on")
_FALSE = ("false", "0", "no", "off")

# Underscores are no part of a host name, but compose puts them into the names of containers.
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"(?:{_LABEL}\.)*{_LABEL}"
_HOST = rf"(?:{_NAME}|\[[0-9A-Fa-f:.]+\])"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a value is read: `parse` takes its text and raises ValueError when that is not what is `wanted`."""

    metavar: str
    wanted: str
    parse: Callable[[str], Any]
    is_list: bool = False


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(text)
        return text

    return parse


def _integer(least: int, most: int) -> Kind:
    def parse(text: str) -> int:
        number = int(_matching(r"\d{1,12}")(text))
        if not least <= number <= most:
            raise ValueError(text)
        return number

    return Kind("NUMBER", f"must be a whole number from {least} to {most}", parse)


def _choice(*choices: str) -> Kind:
    return Kind(f"{{{','.join(choices)}}}", f"must be {' or '.join(choices)}", _matching("|".join(choices)))


def _list(metavar: str, wanted: str, parse: Callable[[str], Any]) -> Kind:
    def parse_all(text: str) -> tuple[str, ...]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise ValueError(text)
        return tuple(dict.fromkeys(str(parse(part)) for part in parts))

    return Kind(f"{metavar},...", wanted, parse_all, is_list=True)


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE


def _duration(text: str) -> int:
    """Seconds."""
    _matching(r"(\d{1,9}(\.\d{1,9})?[smhd])+")(text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))
    if not 1 <= seconds <= 3650 * _SECONDS["d"]:
        raise ValueError(text)
    return int(seconds)


def _size(text: str) -> int:
    """Bytes."""
    match = re.fullmatch(r"0*([1-9]\d{0,11})([KMGT]?)", text.upper(), re.ASCII)
    if not match:
        raise ValueError(text)
    return int(match[1]) * 1024 ** " KMGT".index(match[2] or " ")


def _workers(text: str) -> int | str:
    return text if text == "auto" else _integer(1, MOST_WORKERS).parse(text)


def _listen(text: str) -> str:
    return text if text == "*" or re.fullmatch(_NAME, text) else str(ip_address(text.strip("[]")))


def _authority(text: str) -> str:
    match = re.fullmatch(f"{_HOST}(?::([0-9]+))?", text)
    if not match:
        raise ValueError(text)
    if match[1]:
        PORT.parse(match[1])
    return text


def _hostname(text: str) -> str:
    _authority(re.sub("^https?://", "", text))
    return text


def _origin(text: str) -> str:
    scheme, _, authority = text.rstrip("/").partition("://")
    return _matching("https?")(scheme) + "://" + _authority(authority)


def _identity_url(text: str) -> str:
    """Passwords are sent there."""
    parts = urlsplit(_matching(rf"https?://{_HOST}(?::[0-9]+)?(?:/[!-~]*)?")(text))
    if parts.port is not None:
        PORT.parse(str(parts.port))
    is_here = parts.hostname == "localhost" or (parts.scheme == "http" and ip_address(parts.hostname).is_loopback)
    if not (parts.scheme == "https" or is_here) or parts.fragment:
        raise ValueError(text)
    return text


def _command(text: str) -> tuple[str, ...]:
    words = shlex.split(text)
    if not words or not words[0].startswith("/"):
        raise ValueError(text)
    return tuple(words)


def _registry_host(text: str) -> str:
    return _matching(f"https?://{_HOST}/*")(text).rstrip("/")


TEXT = Kind("TEXT", "must be text", str)
PATH = Kind("PATH", "must be a path", expanduser)
BOOLEAN = Kind("", "must be true or false", _boolean)
PORT = _integer(1, 65535)
DURATION = Kind("DURATION", "must be a duration from 1s to 3650d, such as 90s, 15m or 1h30m", _duration)
SECONDS = Kind(
    "DURATION",
    "must be a number of seconds or a duration such as 365d, up to 3650d",
    lambda text: _integer(0, 3650 * _SECONDS["d"]).parse(text) if text.isdecimal() else _duration(text),
)
NETWORKS = _list("NETWORK", "must be IP addresses or networks", lambda part: ip_network(part, strict=False))
SIZE = Kind("SIZE", "must be a size in bytes, such as 500000, 10K, 5M or 1G", _size)

SHORTEST_TOKEN = 16
"""Characters of a bearer token: wrong ones are not slowed down."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting in all its forms.

    `name` is the flag without its dashes, and what the program asks `Settings` for. `default` is text, where
    `<name>` stands for the value of an option above. `key` is the key in the configuration file, when it is not the
    flag with underscores; that one and the `aliases` are understood as well.
    """

    name: str
    env: tuple[str, ...]
    kind: Kind
    default: str
    help: str
    key: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False
    has_flag: bool = True
    has_key: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys in the configuration file, the one to use first."""
        own = self.name.replace("-", "_")
        return tuple(dict.fromkeys((self.key or own, own, *self.aliases))) if self.has_key else ()

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, for a secret also those that name a file which holds it."""
        return self.env + tuple(f"{variable}_FILE" for variable in self.env if self.secret)

    @property
    def section(self) -> str:
        return (self.key or self.name).rpartition(".")[0] or "general"


OPTIONS = (
    Option("listen", ("RA_LISTEN",),
           Kind("HOST", "must be * or a host name or address, without port (it goes in port)", _listen), "*",
           "Address to listen on; * is every address of this machine"),
    Option("hostname", ("RA_HOST_NAME",),
           Kind("HOST", "must be a host name or address, with a port if need be, without path", _hostname), "localhost",
           "Name under which browsers reach this server; the origin that CORS allows on the API"),
    Option("port", ("RA_PORT",), PORT, "80",
           "Port to listen on"),
    Option("config-file", ("RA_CONFIG_FILE",), PATH, "",
           "Configuration file, JSON or YAML", has_key=False),
    Option("debug", ("RA_DEBUG",), BOOLEAN, "false",
           "Log in detail"),
    Option("trusted-proxies", ("RA_TRUSTED_PROXIES",), NETWORKS, "",
           "Proxies (addresses or networks) whose X-Forwarded-For and X-Forwarded-Proto are believed"),
    Option("workers", ("RA_WORKERS",),
           Kind("NUMBER", f"must be auto or a whole number from 1 to {MOST_WORKERS}", _workers), "auto",
           "Processes that answer requests; auto is one for each core. With 1 everything is in one process"),
    Option("activity-days", ("RA_ACTIVITY_DAYS",), _integer(0, 36_500), "365",
           "Days for which the activity is kept; 0 keeps it for ever"),
    Option("provision", ("RA_PROVISION",), PATH, "",
           "Directory of YAML files that say which users, groups and rules there are; followed while the server runs"),
    Option("dev-host", ("RA_DEV_HOST",),
           Kind("URL", "must be http(s)://name[:port], without path", _origin), "",
           "One more origin that CORS allows on the API, for work on a frontend", has_flag=False, has_key=False),

    Option("registry.host", ("RA_REGISTRY_HOST",),
           Kind("URL", "must be http://name or https://name, without port, path, query or credentials "
                "(put the port in registry.port)", _registry_host), "",
           "Scheme and host of the registry as this server reaches it, http(s)://name; required"),
    Option("registry.port", ("RA_REGISTRY_PORT",), PORT, "5000",
           "Port of the registry"),
    Option("registry.public", ("RA_REGISTRY_PUBLIC",),
           Kind("HOST[:PORT]", "must be host or host:port, without scheme or path", _authority), "",
           "Name of the registry that users type; when empty, the name and port of registry.host"),
    Option("registry.auth-type", ("RA_REGISTRY_AUTH_TYPE",), _choice("basic", "token"), "token",
           "How the registry authenticates its users: tokens of this server, or an htpasswd file that it writes"),
    Option("registry.login", ("RA_REGISTRY_LOGIN",),
           Kind("TEXT", "must not hold a colon", _matching("[^:]*")), "",
           "Login of this server at the registry; required for basic"),
    Option("registry.password", ("RA_REGISTRY_PASSWORD",), TEXT, "",
           "Password of this server at the registry; required for basic", secret=True),
    Option("registry.htpasswd", ("RA_REGISTRY_HTPASSWD",), PATH, "",
           "The registry's htpasswd file, written by this server; required for basic"),
    Option("registry.https-insecure", ("RA_REGISTRY_HTTPS_INSECURE",), BOOLEAN, "false",
           "Do not verify the registry's certificate (not recommended)"),
    Option("registry.service", ("RA_REGISTRY_SERVICE",), TEXT, "container_registry",
           "Service name, the same as auth.token.service of the registry"),
    Option("registry.issuer", ("RA_REGISTRY_ISSUER",), TEXT, "registry_token_issuer",
           "Issuer of the tokens, the same as auth.token.issuer of the registry"),
    Option("registry.token-ttl", ("RA_REGISTRY_TOKEN_TTL",), _integer(60, 365 * _SECONDS["d"]), "900",
           "Lifetime of a registry token, in seconds"),
    Option("registry.gc-interval", ("RA_REGISTRY_GC_INTERVAL",), _integer(1, 365 * 24 * 60), "60",
           "Time between two checks of the store against the registry, in minutes"),

    Option("registry.certs.path", ("RA_REGISTRY_CERTS_CERT_PATH",), PATH, "~/.registry-certs",
           "Folder where the key and the certificates that sign tokens are made and kept"),
    Option("registry.certs.key", ("RA_REGISTRY_CERTS_KEY_PATH",), PATH, "<registry.certs.path>/registry_auth.key",
           "Private key that signs tokens"),
    Option("registry.certs.public-key", ("RA_REGISTRY_CERTS_PUBLIC_KEY_PATH",), PATH,
           "<registry.certs.path>/registry_auth.pub",
           "Public key that verifies tokens"),
    Option("registry.certs.ca-root", ("RA_REGISTRY_CERTS_CA_ROOT_PATH",), PATH,
           "<registry.certs.path>/registry_auth_ca.crt",
           "Certificate bundle that the registry trusts (its auth.token.rootcertbundle)",
           aliases=("registry.certs.ca",)),
    Option("registry.certs.fqdn", ("RA_REGISTRY_CERTS_FQDN",),
           _list("NAME", "must be host names", _matching(rf"(?:\*\.)?{_NAME}")), "localhost",
           "Host names for the certificate", key="registry.certs.fqdns"),
    Option("registry.certs.ip", ("RA_REGISTRY_CERTS_IP",),
           _list("ADDRESS", "must be IP addresses", ip_address), "",
           "IP addresses for the certificate"),
    Option("registry.https-certs", ("RA_REGISTRY_HTTPS_CERT", "RA_REGISTRY_CERTS_CERT_HTTPS"), PATH, "",
           "Certificate to trust when the registry is reached by HTTPS",
           key="registry.certs.https_cert", aliases=("registry.https_cert",)),

    Option("auth.token-secret", ("RA_AUTH_TOKEN_SECRET",), TEXT, "",
           "Secret that signs sessions; when empty, a random one is made and kept beside the store", secret=True),
    Option("auth.jwt-issuer", ("RA_AUTH_ISSUER_NAME",), TEXT, "zebox",
           "Issuer of session tokens", key="auth.issuer_name"),
    Option("auth.jwt-ttl", ("RA_AUTH_JWT_TTL",), DURATION, "1h",
           "Lifetime of a session token"),
    Option("auth.cookie-ttl", ("RA_AUTH_COOKIE_TTL",), DURATION, "24h",
           "Lifetime of the session cookie"),

    Option("identity.ttl", ("RA_IDENTITY_TTL",), _integer(1, 300), "60",
           "Seconds for which the answer of an identity program or service holds"),
    Option("identity.program.command", ("RA_IDENTITY_PROGRAM_COMMAND",),
           Kind("COMMAND", "must be the absolute path of a program, and its arguments, quoted as in a shell", _command),
           "",
           "Program that is asked about logins without an account here, with its arguments; no shell runs it"),
    Option("identity.service.url", ("RA_IDENTITY_SERVICE_URL",),
           Kind("URL", "must be an https URL without credentials, or an http URL of this machine", _identity_url), "",
           "HTTP service that is asked about logins without an account here, after the program"),
    Option("identity.service.ca", ("RA_IDENTITY_SERVICE_CA",), PATH, "",
           "Certificates to check that of the service with; when empty, the public authorities"),

    Option("logger.stdout", ("RA_LOGGER_STDOUT",), BOOLEAN, "false",
           "Write a short access log to standard output"),
    Option("logger.enabled", ("RA_LOGGER_ENABLED",), BOOLEAN, "false",
           "Write the access log to a file, in Apache's combined format"),
    Option("logger.file", ("RA_LOGGER_FILE",), PATH, "access.log",
           "The access log", key="logger.filename"),
    Option("logger.max-size", ("RA_LOGGER_SIZE",), SIZE, "10M",
           "Size at which the access log is rotated"),
    Option("logger.max-backups", ("RA_LOGGER_BACKUPS",), _integer(0, 10_000), "10",
           "Number of rotated access logs to keep, compressed; with 0 it is left to logrotate"),

    Option("metrics.allow", ("RA_METRICS_ALLOW",), NETWORKS, "127.0.0.0/8,::1",
           "Addresses or networks that may read /metrics without a token"),
    Option("metrics.token", ("RA_METRICS_TOKEN",), TEXT, "",
           "Bearer token that opens /metrics from everywhere; when empty, none does", secret=True),

    Option("ssl.type", ("RA_SSL_TYPE",), _choice("none", "static", "auto"), "none",
           "HTTPS of this server: none, with a certificate from files, or with one from an ACME authority"),
    Option("ssl.cert", ("RA_SSL_CERT",), PATH, "",
           "Certificate file; required for static"),
    Option("ssl.key", ("RA_SSL_KEY",), PATH, "",
           "Private key file; required for static"),
    Option("ssl.acme-location", ("RA_SSL_ACME_LOCATION",), PATH, "./acme",
           "Folder where the account and the certificates of auto are kept"),
    Option("ssl.acme-email", ("RA_SSL_ACME_EMAIL",), TEXT, "",
           "Address that the ACME authority may write to"),
    Option("ssl.acme-directory", ("RA_SSL_ACME_DIRECTORY",),
           Kind("URL", "must be an http(s) URL", _matching(r"https?://\S+")),
           "https://acme-v02.api.letsencrypt.org/directory",
           "Directory URL of the ACME authority"),
    Option("ssl.port", ("RA_SSL_PORT",), PORT, "443",
           "Port for HTTPS"),
    Option("ssl.http-port", ("RA_SSL_ACME_HTTP_PORT",), PORT, "80",
           "Port that redirects HTTP to HTTPS and answers ACME challenges", key="ssl.redir_http_port"),
    Option("ssl.fqdn", ("RA_SSL_ACME_FQDN",),
           _list("NAME", "must be host names, without wildcards", _matching(_NAME)), "",
           "Host names for the certificate; when empty, the one in hostname", key="ssl.acme_fqdns"),
    Option("ssl.hsts", ("RA_SSL_HSTS",), SECONDS, "",
           "How long browsers are to use HTTPS only; when empty, they are not told; 0 takes it back"),

    Option("store.type", ("RA_STORE_DB_TYPE",), _choice("embed"), "embed",
           "Kind of store: an SQLite file"),
    Option("store.admin-password", ("RA_STORE_ADMIN_PASSWORD",), TEXT, "admin",
           "Password of the account admin when the store is made; the default one must be changed at once",
           secret=True),
    Option("store.embed.path", ("RA_STORE_EMBED_DB_PATH",), PATH, "./data.db",
           "The SQLite file"),
)  # fmt: skip

_BY_NAME = {option.name: option for option in OPTIONS}
_BY_KEY = {key: option for option in OPTIONS for key in option.keys}
_SECTIONS = {key.rpartition(".")[0] for key in _BY_KEY} - {""}

_REQUIRED = (
    ("", "", ("registry.host",)),
    ("registry.auth-type", "basic", ("registry.htpasswd", "registry.login", "registry.password")),
    ("ssl.type", "static", ("ssl.cert", "ssl.key")),
    ("ssl.type", "auto", ("ssl.fqdn",)),
)
"""When the first option has the second value (or always), the others must be given."""

_EPILOG = (
    "An option may also be given by the environment variable beside it or by a key of the configuration file. "
    "The command line counts before the environment, and that before the file."
)
_TABLE_HEAD = "| flag | environment | file key | default | meaning |\n|---|---|---|---|---|\n"
_YAML = "tag:yaml.org,2002:"


def split_hostname(hostname: str) -> tuple[str, int | None]:
    """Host name in lower case, and port if there is one, of what the option hostname holds."""
    match = re.fullmatch(rf"(?:https?://)?({_HOST})(?::(\d+))?", hostname)
    return match[1].lower(), int(match[2]) if match[2] else None


class Settings(Mapping):
    """The values by the options' names, read-only, and where each came from."""

    def __init__(self, values: Mapping[str, Any], sources: Mapping[str, str]):
        self._values = MappingProxyType(dict(values))
        self._sources = MappingProxyType(dict(sources))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        secrets = {option.name for option in OPTIONS if option.secret}
        shown = (f"{name}={'***' if name in secrets else repr(value)}" for name, value in self.items())
        return f"Settings({', '.join(shown)})"

    def source(self, name: str) -> str:
        """`default`, or such as `flag --port`, `environment RA_PORT`, `config file ra.yml: port`."""
        return self._sources[name]


class Parser(argparse.ArgumentParser):
    """The command line: every option, and `-?`, `-h`, `--help`. `commands` are the parsers of the subcommands."""

    def __init__(self, **settings: Any):
        super().__init__(
            add_help=False,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34),
            **settings,
        )
        self.commands: dict[str, Parser] = {}
        self.add_argument("-?", "-h", "--help", action="help", help="show this help and exit")
        for section, options in groupby(OPTIONS, attrgetter("section")):
            group = self.add_argument_group(section)
            for option in options:
                if option.has_flag:
                    _add_flag(group, option)

    def parse_known_args(self, args=None, namespace=None):
        """A flag of a boolean never takes the next word, but may have a value of its own: `--debug=false`."""
        words = sys.argv[1:] if args is None else args
        booleans = {f"--{option.name}" for option in OPTIONS if option.kind is BOOLEAN}
        return super().parse_known_args([f"{word}=true" if word in booleans else word for word in words], namespace)


def _add_flag(group, option: Option) -> None:
    default = f" (default: {option.default})" if option.default else ""
    variables = ", ".join(f"${variable}" for variable in option.variables)
    group.add_argument(
        f"--{option.name}",
        dest=option.name,
        metavar=option.kind.metavar,
        action="append" if option.kind.is_list else "store",
        help=f"{option.help}{default} [{variables}]".replace("%", "%%"),
    )


def parser(commands: Mapping[str, str]) -> Parser:
    """The command line of `regadmin [command] [options]`; options may stand on both sides of the command.

    `commands` maps a name to its line of help. The parsed namespace has `command`, None for none of them.
    """
    main = Parser(prog="regadmin", usage="%(prog)s [options] [command]", epilog=_EPILOG)
    main.set_defaults(command=None)
    if commands:
        group = main.add_subparsers(title="commands", dest="command", metavar="command", prog="regadmin")
        main.commands = {
            name: group.add_parser(name, help=text, description=text, usage="%(prog)s [options]", epilog=_EPILOG)
            for name, text in commands.items()
        }
    return main


class _Given(NamedTuple):
    text: str
    source: str


def load(namespace: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Collect the values: the command line counts before the environment, the configuration file, the default.

    Raises Misconfigured with one line for each value that cannot be read, naming the option and its source.
    """
    problems: list[str] = []
    given = _from_environment(environ, problems) | _from_flags(namespace)
    path = given["config-file"].text if "config-file" in given else ""
    given = (_from_file(path, problems) if path else {}) | given
    values, sources = {}, {}
    for option in OPTIONS:
        text, sources[option.name] = given.get(option.name) or _Given(_default(option, values), "default")
        values[option.name] = _read(option, text, sources[option.name], problems)
    _refuse(problems)
    return Settings(values, sources)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise Misconfigured("\n".join(problems))


def _default(option: Option, values: Mapping[str, Any]) -> str:
    return re.sub("<(.+?)>", lambda match: values[match[1]], option.default)


def _read(option: Option, text: str, source: str, problems: list[str]) -> Any:
    """The value; the bare text when there is a problem."""
    if not text and not option.default:
        return () if option.kind.is_list else ""
    complaint = _taboo(option, text)
    if not complaint:
        try:
            return option.kind.parse(text)
        except ValueError:
            # An address may carry a password, and this sentence goes to the log.
            complaint = option.kind.wanted + ("" if option.secret or "@" in text else f", not {text!r}")
    problems.append(f"{option.name} {complaint} ({source})")
    return text


def _taboo(option: Option, text: str) -> str:
    if not text:
        return "must not be empty"
    # A secret may come from a file of several lines.
    forbidden = "[\0\ud800-\udfff]" if option.secret else "[\0-\x1f\x7f\ud800-\udfff]"
    return "must be UTF-8 text without control characters" if re.search(forbidden, text) else ""


def _from_flags(namespace: argparse.Namespace) -> dict[str, _Given]:
    raw = {name: value for name, value in vars(namespace).items() if name in _BY_NAME}
    return {
        name: _Given(",".join(value) if isinstance(value, list) else value, f"flag --{name}")
        for name, value in raw.items()
    }


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    """What is set and not empty: compose sets a variable that it knows no value for to nothing."""
    given = {}
    for option in OPTIONS:
        present = [variable for variable in option.variables if environ.get(variable)]
        if len(present) > 1:
            problems.append(f"{option.name} is given twice (environment {' and '.join(present)})")
        for variable in present[:1]:
            try:
                given[option.name] = _from_variable(option, variable, environ[variable])
            except Misconfigured as error:
                problems.append(error.message)
    return given


def _from_variable(option: Option, variable: str, text: str) -> _Given:
    source = f"environment {variable}"
    return _Given(text if variable in option.env else _secret(text, f"{option.name} ({source}): {text}"), source)


def _secret(path: str, subject: str) -> str:
    secret = re.sub(r"\r?\n\Z", "", _content(path, subject))
    if not secret:
        raise Misconfigured(f"{subject} is empty")
    return secret


def _content(path: str, subject: str) -> str:
    """The text of a file; `subject` begins the sentence when there is none."""
    try:
        with open(expanduser(path), "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    raise Misconfigured(f"{subject} cannot be read: {reason}")


def _from_file(path: str, problems: list[str]) -> dict[str, _Given]:
    given = {}
    for key, value in _leaves(_tree(path)):
        option, source = _BY_KEY.get(_spelling(key)), f"config file {path}: {key}"
        if not option:
            problems.append(f"{_unknown(key)} (config file {path})")
        elif option.name in given:
            problems.append(f"{option.name} is given twice ({given[option.name].source} and {key})")
        elif (text := _text(option, value)) is None:
            problems.append(f"{option.name} {option.kind.wanted}, not a list or section ({source})")
        elif value not in (None, []):
            given[option.name] = _Given(text, source)
    return given


def _spelling(key: str) -> str:
    return key.replace("-", "_")


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if _spelling(key) in _SECTIONS and isinstance(value, dict | None):
            yield from _leaves(value or {}, f"{key}.")
        else:
            yield key, value


def _unknown(key: str) -> str:
    if _spelling(key) in _SECTIONS:
        return f"{key} must hold keys of its own"
    nearest = get_close_matches(_spelling(key), [*_BY_KEY, *_SECTIONS], n=1, cutoff=0)
    return f"unknown key {key}, the nearest known one is {nearest[0]}"


def _text(option: Option, value: Any) -> str | None:
    """A value of the file as text; None when it has the wrong shape."""
    values = value if isinstance(value, list) and option.kind.is_list else [value]
    if any(isinstance(each, list | dict) for each in values):
        return None
    return ",".join(str(each).lower() if isinstance(each, bool) else str(each or "") for each in values)


def _tree(path: str) -> dict:
    text = _content(path, f"config file {path}")
    suffix = Path(path).suffix.lower()
    is_json = suffix == ".json" or (suffix not in (".yml", ".yaml") and text.lstrip().startswith("{"))
    try:
        tree = _parse_json(text) if is_json else _parse_yaml(text)
    except ValueError as error:
        raise Misconfigured(f"config file {path}: {error}")
    except RecursionError:
        raise Misconfigured(f"config file {path}: it is nested too deeply")
    if not isinstance(tree, dict | None):
        raise Misconfigured(f"config file {path}: it must hold keys and values")
    return tree or {}


def _parse_json(text: str) -> Any:
    """Numbers stay text, as the other sources have them."""
    try:
        return json.loads(text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the key {name} stands twice")
    return dict(pairs)


def _parse_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        hint = " (a value that begins with * needs quotes)" if "alias" in (error.context or "") else ""
        raise ValueError(f"line {error.problem_mark.line + 1}: {error.problem}{hint}")
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0])


class _Loader(yaml.SafeLoader):
    """YAML whose scalars stay the text that was typed, null apart: `0123`, `yes` and `1e3` may be passwords."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in (_YAML + "null", _YAML + "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in (_YAML + "null", _YAML + "str", _YAML + "seq", _YAML + "map", None)
    }

    def compose_mapping_node(self, anchor):
        """A key that stands twice is a mistake, of which YAML would silently keep one."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return node


def validate(settings: Settings) -> None:
    """The rules that join several options; raises Misconfigured with one line for each that is broken."""
    problems = [
        f"{name} is required{_because(settings, reason)}: set {_ways(name)}"
        for reason, value, names in _REQUIRED
        for name in names
        if (not reason or settings[reason] == value) and not (settings[name] or _is_known(settings, name))
    ]
    if settings["ssl.type"] != "none" and settings["ssl.port"] == settings["ssl.http-port"]:
        problems.append(f"ssl.http-port must not be the same as ssl.port ({settings.source('ssl.http-port')})")
    if 0 < len(settings["metrics.token"]) < SHORTEST_TOKEN:
        problems.append(
            f"metrics.token must be at least {SHORTEST_TOKEN} characters long ({settings.source('metrics.token')})"
        )
    hashed = ["store.admin-password"] + ["registry.password"] * (settings["registry.auth-type"] == "basic")
    for name in hashed:
        # The hash ignores what follows.
        if len(settings[name].encode()) > 72:
            problems.append(f"{name} must be at most 72 bytes long ({settings.source(name)})")
    _refuse(problems)


def _is_known(settings: Settings, name: str) -> bool:
    """Whether it can do without being given: no authority knows `localhost` or an address."""
    return name == "ssl.fqdn" and re.search(r"\.[a-z]", split_hostname(settings["hostname"])[0]) is not None


def _because(settings: Settings, reason: str) -> str:
    return f" when {reason} is {settings[reason]} ({settings.source(reason)})" if reason else ""


def _ways(name: str) -> str:
    option = _BY_NAME[name]
    return f"--{name}, {option.env[0]} or {option.keys[0]} in the config file"


def render_docs() -> str:
    """The tables of `docs/options.md`, in Markdown."""
    sections = groupby(OPTIONS, attrgetter("section"))
    return "".join(f"\n### {section}\n\n{_TABLE_HEAD}{''.join(map(_row, options))}" for section, options in sections)


def _row(option: Option) -> str:
    metavar = f" {option.kind.metavar}" if option.kind.metavar else ""
    cells = (
        f"`--{option.name}{metavar}`" if option.has_flag else "",
        "<br>".join(f"`{variable}`" for variable in option.variables),
        "<br>".join(f"`{key}`" for key in option.keys),
        f"`{option.default}`" if option.default else "",
        option.help,
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    print(render_docs(), end="")
