"""The option table: its sources, their order, and a sentence for everything that can be wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regadmin import options
from regadmin.errors import Misconfigured

HERE = Path(__file__).parent
ORIGINAL = HERE / "data" / "original"

TABLE = """
listen                    RA_LISTEN                             listen                     *
hostname                  RA_HOST_NAME                          hostname                   localhost
port                      RA_PORT                               port                       80
debug                     RA_DEBUG                              debug                      False
trusted-proxies           RA_TRUSTED_PROXIES                    trusted_proxies            ()
workers                   RA_WORKERS                            workers                    auto
activity-days             RA_ACTIVITY_DAYS                      activity_days              365
provision                 RA_PROVISION                          provision
registry.host             RA_REGISTRY_HOST                      registry.host
registry.port             RA_REGISTRY_PORT                      registry.port              5000
registry.public           RA_REGISTRY_PUBLIC                    registry.public
registry.auth-type        RA_REGISTRY_AUTH_TYPE                 registry.auth_type         token
registry.login            RA_REGISTRY_LOGIN                     registry.login
registry.password         RA_REGISTRY_PASSWORD                  registry.password
registry.htpasswd         RA_REGISTRY_HTPASSWD                  registry.htpasswd
registry.https-insecure   RA_REGISTRY_HTTPS_INSECURE            registry.https_insecure    False
registry.service          RA_REGISTRY_SERVICE                   registry.service           container_registry
registry.issuer           RA_REGISTRY_ISSUER                    registry.issuer            registry_token_issuer
registry.token-ttl        RA_REGISTRY_TOKEN_TTL                 registry.token_ttl         900
registry.gc-interval      RA_REGISTRY_GC_INTERVAL               registry.gc_interval       60
registry.certs.path       RA_REGISTRY_CERTS_CERT_PATH           registry.certs.path        ~/.registry-certs
registry.certs.key        RA_REGISTRY_CERTS_KEY_PATH            registry.certs.key         ~/.registry-certs/registry_auth.key
registry.certs.public-key RA_REGISTRY_CERTS_PUBLIC_KEY_PATH     registry.certs.public_key  ~/.registry-certs/registry_auth.pub
registry.certs.ca-root    RA_REGISTRY_CERTS_CA_ROOT_PATH        registry.certs.ca_root     ~/.registry-certs/registry_auth_ca.crt
registry.certs.ca-root    RA_REGISTRY_CERTS_CA_ROOT_PATH        registry.certs.ca          ~/.registry-certs/registry_auth_ca.crt
registry.certs.fqdn       RA_REGISTRY_CERTS_FQDN                registry.certs.fqdns       ('localhost',)
registry.certs.fqdn       RA_REGISTRY_CERTS_FQDN                registry.certs.fqdn        ('localhost',)
registry.certs.ip         RA_REGISTRY_CERTS_IP                  registry.certs.ip          ()
registry.https-certs      RA_REGISTRY_HTTPS_CERT                registry.certs.https_cert
registry.https-certs      RA_REGISTRY_CERTS_CERT_HTTPS          registry.https_cert
auth.token-secret         RA_AUTH_TOKEN_SECRET                  auth.token_secret
auth.jwt-issuer           RA_AUTH_ISSUER_NAME                   auth.issuer_name           zebox
auth.jwt-issuer           RA_AUTH_ISSUER_NAME                   auth.jwt_issuer            zebox
auth.jwt-ttl              RA_AUTH_JWT_TTL                       auth.jwt_ttl               3600
auth.cookie-ttl           RA_AUTH_COOKIE_TTL                    auth.cookie_ttl            86400
identity.ttl              RA_IDENTITY_TTL                       identity.ttl               60
identity.program.command  RA_IDENTITY_PROGRAM_COMMAND           identity.program.command
identity.service.url      RA_IDENTITY_SERVICE_URL               identity.service.url
identity.service.ca       RA_IDENTITY_SERVICE_CA                identity.service.ca
logger.stdout             RA_LOGGER_STDOUT                      logger.stdout              False
logger.enabled            RA_LOGGER_ENABLED                     logger.enabled             False
logger.file               RA_LOGGER_FILE                        logger.filename            access.log
logger.file               RA_LOGGER_FILE                        logger.file                access.log
logger.max-size           RA_LOGGER_SIZE                        logger.max_size            10485760
logger.max-backups        RA_LOGGER_BACKUPS                     logger.max_backups         10
metrics.allow             RA_METRICS_ALLOW                      metrics.allow              ('127.0.0.0/8', '::1/128')
metrics.token             RA_METRICS_TOKEN                      metrics.token
ssl.type                  RA_SSL_TYPE                           ssl.type                   none
ssl.cert                  RA_SSL_CERT                           ssl.cert
ssl.key                   RA_SSL_KEY                            ssl.key
ssl.acme-location         RA_SSL_ACME_LOCATION                  ssl.acme_location          ./acme
ssl.acme-email            RA_SSL_ACME_EMAIL                     ssl.acme_email
ssl.acme-directory        RA_SSL_ACME_DIRECTORY                 ssl.acme_directory         https://acme-v02.api.letsencrypt.org/directory
ssl.port                  RA_SSL_PORT                           ssl.port                   443
ssl.http-port             RA_SSL_ACME_HTTP_PORT                 ssl.redir_http_port        80
ssl.http-port             RA_SSL_ACME_HTTP_PORT                 ssl.http_port              80
ssl.fqdn                  RA_SSL_ACME_FQDN                      ssl.acme_fqdns             ()
ssl.fqdn                  RA_SSL_ACME_FQDN                      ssl.fqdn                   ()
ssl.hsts                  RA_SSL_HSTS                           ssl.hsts
store.type                RA_STORE_DB_TYPE                      store.type                 embed
store.admin-password      RA_STORE_ADMIN_PASSWORD               store.admin_password       admin
store.embed.path          RA_STORE_EMBED_DB_PATH                store.embed.path           ./data.db
"""  # noqa: E501
ROWS = [(*line.split(maxsplit=3), "")[:4] for line in TABLE.strip().splitlines()]

# A value that the option understands, other than its default, and what it becomes.
VALUES = {
    "listen": ("127.0.0.1", "127.0.0.1"),
    "port": ("8080", 8080),
    "debug": ("true", True),
    "workers": ("3", 3),
    "activity-days": ("0", 0),
    "trusted-proxies": ("10.0.0.0/8,::1", ("10.0.0.0/8", "::1/128")),
    "metrics.allow": ("192.0.2.5", ("192.0.2.5/32",)),
    "registry.host": ("https://registry", "https://registry"),
    "registry.public": ("registry.example.com:5000", "registry.example.com:5000"),
    "registry.auth-type": ("basic", "basic"),
    "registry.https-insecure": ("on", True),
    "registry.certs.ip": ("10.0.0.5,::1", ("10.0.0.5", "::1")),
    "auth.jwt-ttl": ("1h30m", 5400),
    "auth.cookie-ttl": ("90s", 90),
    "identity.ttl": ("30", 30),
    "identity.program.command": ("/bin/who 'a b'", ("/bin/who", "a b")),
    "identity.service.url": ("https://auth.example:8443/login", "https://auth.example:8443/login"),
    "logger.stdout": ("yes", True),
    "logger.enabled": ("1", True),
    "logger.max-size": ("5M", 5 * 1024 * 1024),
    "ssl.type": ("static", "static"),
    "ssl.acme-directory": ("https://acme.example/dir", "https://acme.example/dir"),
    "ssl.hsts": ("365d", 31536000),
    "store.type": ("embed", "embed"),
}


def value_for(name, default):
    if name in VALUES:
        return VALUES[name]
    if name.endswith("fqdn"):
        return "a.example,b.example", ("a.example", "b.example")
    return ("444", 444) if default.isdigit() else ("thing", "thing")


PARSER = options.parser({"sync": "synchronise once"})


def load(*argv, **environ):
    return options.load(PARSER.parse_args(argv), environ)


@pytest.fixture
def config(tmp_path):
    """Write a configuration file and load it."""

    def load_text(text, *argv, name="ra.yml", **environ):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load("--config-file", str(path), *argv, **environ)

    return load_text


# The table


@pytest.mark.parametrize(("name", "variable", "key", "default"), ROWS)
def test_an_option_has_its_default(name, variable, key, default, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ra")
    assert str(load()[name]) == default.replace("~", "/home/ra")
    assert load().source(name) == "default"


@pytest.mark.parametrize(("name", "variable", "key", "default"), ROWS)
def test_an_option_is_a_flag(name, variable, key, default):
    text, value = value_for(name, default)
    settings = load(f"--{name}={text}")
    assert settings[name] == value
    assert settings.source(name) == f"flag --{name}"


@pytest.mark.parametrize(("name", "variable", "key", "default"), ROWS)
def test_an_option_is_an_environment_variable(name, variable, key, default):
    text, value = value_for(name, default)
    settings = load(**{variable: text})
    assert settings[name] == value
    assert settings.source(name) == f"environment {variable}"


@pytest.mark.parametrize("spelling", [str, lambda key: key.replace("_", "-")], ids=["underscores", "dashes"])
@pytest.mark.parametrize(("name", "variable", "key", "default"), ROWS)
def test_an_option_is_a_key_of_the_file(name, variable, key, default, spelling, config):
    text, value = value_for(name, default)
    tree = text
    for part in reversed(spelling(key).split(".")):
        tree = {part: tree}
    settings = config(json.dumps(tree))
    assert settings[name] == value
    assert settings.source(name).endswith(f"ra.yml: {spelling(key)}")


def test_no_option_is_missing_from_this_table():
    assert {option.name for option in options.OPTIONS} == {row[0] for row in ROWS} | {"config-file", "dev-host"}


@pytest.mark.parametrize("form", ["name", "variables", "keys"])
def test_no_form_means_two_options(form):
    values = [getattr(option, form) for option in options.OPTIONS]
    forms = values if form == "name" else [each for several in values for each in several]
    assert len(set(forms)) == len(forms)


def test_the_development_host_is_an_environment_variable_only(config):
    assert load(RA_DEV_HOST="http://127.0.0.1:3000/")["dev-host"] == "http://127.0.0.1:3000"
    with pytest.raises(SystemExit):
        load("--dev-host=http://127.0.0.1:3000")
    with pytest.raises(Misconfigured):
        config("dev_host: http://127.0.0.1:3000")


def test_the_documentation_has_the_table():
    page = (HERE.parent / "docs" / "options.md").read_text()
    assert page.endswith(options.render_docs()), "run the command in the comment of docs/options.md"


# The order of the sources


def test_the_command_line_counts_before_the_environment_the_file_and_the_default(config):
    text = "{port: 1, ssl: {port: 1}, registry: {port: 1}}"
    settings = config(text, "--port=3", RA_PORT="2", RA_SSL_PORT="2")
    assert (settings["port"], settings["ssl.port"], settings["registry.port"]) == (3, 2, 1)
    assert settings["ssl.http-port"] == 80


def test_the_configuration_file_can_be_named_by_the_environment(tmp_path):
    (tmp_path / "ra.yml").write_text("port: 81")
    assert load(RA_CONFIG_FILE=str(tmp_path / "ra.yml"))["port"] == 81


def test_an_empty_variable_counts_as_not_set():
    assert load(RA_PORT="", RA_STORE_ADMIN_PASSWORD_FILE="")["port"] == 80


def test_the_key_files_follow_the_folder_of_certificates():
    settings = load("--registry.certs.path=/certs", "--registry.certs.key=/key.pem")
    assert settings["registry.certs.ca-root"] == "/certs/registry_auth_ca.crt"
    assert settings["registry.certs.key"] == "/key.pem"


# The command line


@pytest.mark.parametrize("argv", [["--port=81", "sync"], ["sync", "--port", "81"]])
def test_options_stand_before_or_after_the_command(argv):
    namespace = PARSER.parse_args(argv)
    assert namespace.command == "sync"
    assert options.load(namespace, {})["port"] == 81


def test_without_a_command_there_is_none():
    assert PARSER.parse_args(["--debug"]).command is None


def test_a_command_can_have_arguments_of_its_own():
    parser = options.parser({"sync": "synchronise once"})
    parser.commands["sync"].add_argument("repository")
    assert parser.parse_args(["--debug", "sync", "team/app", "--port=81"]).repository == "team/app"


@pytest.mark.parametrize(
    ("argv", "expected"), [(["--debug"], True), (["--debug=false"], False), (["--debug", "sync"], True)]
)
def test_a_switch_takes_no_word_after_it(argv, expected):
    assert load(*argv, RA_DEBUG="no")["debug"] is expected


def test_a_repeated_flag_adds_to_the_list():
    settings = load("--ssl.fqdn=a.example", "--ssl.fqdn", "b.example, c.example,")
    assert settings["ssl.fqdn"] == ("a.example", "b.example", "c.example")


@pytest.mark.parametrize("flag", ["-?", "-h", "--help"])
@pytest.mark.parametrize("command", [[], ["sync"]])
def test_help_shows_every_option_in_its_group(flag, command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        load(*command, flag)
    shown = capsys.readouterr().out
    assert exit.value.code == 0
    for section in ("registry", "registry.certs", "auth", "logger", "ssl", "store", "store.embed"):
        assert f"\n{section}:\n" in shown
    for name, variable, _, _ in ROWS:
        assert f"--{name} " in shown
        assert f"${variable}" in shown


@pytest.mark.parametrize("argv", [["--prot=80"], ["--port"], ["snyc"], ["--por=80"], ["sync", "--prot=80"]])
def test_bad_usage_ends_with_status_2(argv):
    with pytest.raises(SystemExit) as exit:
        load(*argv)
    assert exit.value.code == 2


# The configuration file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "token.yml",
            {
                "hostname": "ra.example.com",
                "registry.certs.fqdn": ("registry", "registry.example.com"),
                "registry.certs.ip": ("192.168.10.20",),
                "registry.https-certs": "/etc/ssl/registry.pem",
                "logger.file": "/var/log/registry-admin/access.log",
                "logger.max-size": 5 * 1024 * 1024,
                "store.admin-password": "super-secret",
            },
        ),
        ("basic.yml", {"debug": True, "registry.auth-type": "basic", "registry.password": "0123"}),
        (
            "auto.yml",
            {
                "hostname": "https://ra.example.com",
                "registry.host": "https://registry.example.com",
                "registry.certs.ca-root": "/app/certs/ca.crt",
                "ssl.http-port": 8080,
                "ssl.fqdn": ("ra.example.com", "www.ra.example.com"),
                "logger.stdout": True,
            },
        ),
        (
            "static.json",
            {
                "registry.https-insecure": True,
                "registry.certs.fqdn": ("registry.example.com",),
                "auth.jwt-ttl": 900,
                "ssl.type": "static",
                "ssl.port": 8443,
            },
        ),
    ],
)
def test_a_file_of_the_original_loads_unchanged(name, expected):
    settings = load("--config-file", str(ORIGINAL / name))
    options.validate(settings)
    assert {key: settings[key] for key in expected} == expected


@pytest.mark.parametrize("password", ["0123", "1e3", "yes", "1_000", "2024-01-01", "0x10", "1.50"])
def test_a_password_in_the_file_is_what_was_typed(config, password):
    assert config(f"store: {{admin_password: {password}}}")["store.admin-password"] == password


@pytest.mark.parametrize("text", ["", "# nothing", "registry:", "port:", "port: ~", "ssl: {}", "ssl: {fqdn: []}"])
def test_an_empty_file_section_or_value_sets_nothing(config, text):
    settings = config(text)
    assert {settings.source(name) for name in settings} - {"flag --config-file"} == {"default"}


def test_json_is_known_by_its_content_or_its_name(config):
    assert config('\t{"port":\t81}', name="ra.conf")["port"] == 81
    assert config('{"port": 81}', name="ra.json")["port"] == 81
    assert config("port: 81", name="ra.conf")["port"] == 81


@pytest.mark.parametrize(("section", "port"), [("{<<: *base}", 8080), ("{<<: *base, port: 5001}", 5001)])
def test_yaml_may_merge_an_anchor_and_override_it(config, section, port):
    assert config(f"ssl: &base {{port: 8080}}\nregistry: {section}")["registry.port"] == port


def test_a_file_may_begin_with_a_byte_order_mark(config):
    assert config("\ufeffport: 81")["port"] == 81


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("ra.yml", "registry:\n  hots: http://r", "unknown key registry.hots, the nearest known one is registry.host"),
        ("ra.yml", "regstry: {host: http://r}", "unknown key regstry, the nearest known one is registry"),
        ("ra.yml", "config_file: other.yml", "unknown key config_file"),
        ("ra.yml", "registry: http://r", "registry must hold keys of its own"),
        ("ra.yml", "port: [80, 81]", "port must be a whole number from 1 to 65535, not a list or section"),
        ("ra.yml", "port: {a: 1}", "port must be a whole number from 1 to 65535, not a list or section"),
        ("ra.yml", "ssl: {fqdn: [{a: b}]}", "ssl.fqdn must be host names, without wildcards, not a list or section"),
        ("ra.yml", "ssl: {fqdn: a, acme_fqdns: b}", "ssl.fqdn is given twice"),
        ("ra.yml", "port: 80\nport: 81", "line 2: the key port stands twice"),
        ("ra.yml", "port: 80\n  host: x", "line 2: mapping values are not allowed here"),
        ("ra.yml", "listen: *", "line 1: expected alphabetic or numeric character"),
        ("ra.yml", "listen: *", "(a value that begins with * needs quotes)"),
        ("ra.yml", "port: !!int 80", "line 1: could not determine a constructor for the tag"),
        ("ra.yml", "port: 80\n---\nport: 81", "line 2: but found another document"),
        ("ra.yml", "port: \a", "unacceptable character #x0007"),
        ("ra.yml", "[" * 10_000, "it is nested too deeply"),
        ("ra.yml", "- port", "it must hold keys and values"),
        ("ra.yml", b"port: \xff", "cannot be read: it is not UTF-8 text"),
        ("ra.json", '{"port": 80,\n}', "line 2: Expecting property name"),
        ("ra.json", '{"port": 80, "port": 81}', "the key port stands twice"),
        ("ra.json", '{"port": true}', "port must be a whole number from 1 to 65535, not 'true'"),
        ("ra.json", "[" * 10_000, "it is nested too deeply"),
        ("ra.json", "80", "it must hold keys and values"),
    ],
)
def test_a_bad_file_is_refused_with_a_sentence_that_names_it(config, name, text, sentence):
    with pytest.raises(Misconfigured) as refusal:
        config(text, name=name)
    assert sentence in refusal.value.message
    assert name in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(("name", "reason"), [("none.yml", "No such file"), ("", "Is a directory")])
def test_a_file_that_is_none_is_refused(tmp_path, name, reason):
    with pytest.raises(Misconfigured, match=f"config file {tmp_path / name} cannot be read: {reason}"):
        load(f"--config-file={tmp_path / name}")


@given(st.text(alphabet="ab:-{}[]&*!<?#'\"%@|>~, \n\t\0\\é0") | st.text())
def test_no_file_whatever_it_holds_ends_in_a_traceback(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        load(f"--config-file={path}")
    except Misconfigured as refusal:
        assert str(path) in refusal.message


# Secrets


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("registry.password", "RA_REGISTRY_PASSWORD"),
        ("auth.token-secret", "RA_AUTH_TOKEN_SECRET"),
        ("metrics.token", "RA_METRICS_TOKEN"),
        ("store.admin-password", "RA_STORE_ADMIN_PASSWORD"),
    ],
)
class TestSecret:
    @pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
    def test_can_be_in_a_file(self, tmp_path, name, variable, content):
        (tmp_path / "secret").write_bytes(content)
        settings = load(**{f"{variable}_FILE": str(tmp_path / "secret")})
        assert settings[name] == "s3cret"
        assert settings.source(name) == f"environment {variable}_FILE"

    def test_keeps_all_but_one_line_break(self, tmp_path, name, variable):
        (tmp_path / "secret").write_bytes(b" a\nb\n\n")
        assert load(**{f"{variable}_FILE": str(tmp_path / "secret")})[name] == " a\nb\n"

    def test_in_an_empty_file_is_refused(self, tmp_path, name, variable):
        (tmp_path / "secret").write_text("\n")
        with pytest.raises(Misconfigured, match=f"{name} .environment {variable}_FILE.: .*secret is empty"):
            load(**{f"{variable}_FILE": str(tmp_path / "secret")})

    def test_must_not_be_given_both_ways(self, name, variable):
        with pytest.raises(Misconfigured, match=f"{name} is given twice .environment {variable} and {variable}_FILE"):
            load(**{variable: "a", f"{variable}_FILE": "b"})

    def test_in_a_file_that_is_none_is_refused(self, tmp_path, name, variable):
        with pytest.raises(Misconfigured) as refusal:
            load(**{f"{variable}_FILE": str(tmp_path / "none")})
        assert name in refusal.value.message
        assert f"environment {variable}_FILE" in refusal.value.message
        assert f"{tmp_path / 'none'} cannot be read: No such file or directory" in refusal.value.message

    def test_is_hidden_when_the_settings_are_printed(self, name, variable):
        settings = load(**{variable: "s3cret"})
        assert f"{name}=***" in repr(settings)
        assert "s3cret" not in f"{settings!r} {settings}"

    def test_is_hidden_when_it_is_refused(self, name, variable):
        with pytest.raises(Misconfigured) as refusal:
            load(**{variable: "s3cret\0"})
        assert "s3cret" not in refusal.value.message


def test_only_secrets_have_a_file_variant():
    assert load(RA_REGISTRY_LOGIN_FILE="/none")["registry.login"] == ""


# What cannot be read


BAD = {
    "listen": ["127.0.0.1:80", "http://localhost", "a b", ""],
    "hostname": ["localhost/ui", "ftp://localhost", "-", "localhost:99999", ""],
    "port": ["0", "65536", "-1", "80.0", "8_0", "٨٠", "http", "9" * 20, ""],
    "debug": ["maybe", "2", ""],
    "trusted-proxies": ["10.0.0.0/33", "proxy.example", "10.0.0.1,*"],
    "metrics.allow": ["10.0.0.0/33", "*", ""],
    "registry.host": [
        "registry",
        "http://registry:5000",
        "ftp://registry",
        "http://registry/v2",
        "http://r?x=1",
        "http://",
    ],
    "registry.port": ["0", "65536"],
    "registry.public": ["https://registry", "registry/team", "registry:", "registry:0", "registry:65536"],
    "registry.auth-type": ["self-token", "Token", ""],
    "registry.login": ["a:b"],
    "registry.service": ["", "a\nb"],
    "registry.issuer": ["", "a\rb"],
    "registry.token-ttl": ["59", "15m"],
    "registry.gc-interval": ["0", "1h"],
    "registry.certs.fqdn": [" , ", "http://a", "a..b", "a b", "*"],
    "registry.certs.ip": ["localhost", "10.0.0.256", "10.0.0.1/24"],
    "auth.jwt-ttl": ["60", "0s", "1x", "-1h", "1h 5m", "9999999d", "h", ""],
    "auth.cookie-ttl": ["forever"],
    "identity.ttl": ["0", "301", "1m"],
    "identity.program.command": ["who", "./who", "'/bin/who", " "],
    "identity.service.url": [
        "http://auth.example/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "https://ra:s3cret@auth.example/",
        "https://auth.example/#x",
        "https://auth.example:0/",
        "https://auth.example/a b",
    ],
    "logger.max-size": ["0", "5MB", "-1", "1.5M", ""],
    "logger.max-backups": ["-1", "many"],
    "ssl.type": ["on"],
    "ssl.acme-directory": ["acme.example", ""],
    "ssl.port": ["0"],
    "ssl.http-port": ["65536"],
    "ssl.fqdn": ["*.example.com", "https://a.example"],
    "ssl.hsts": ["-1", "1y", "3651d", "315360001"],
    "store.type": ["postgres"],
    "store.admin-password": ["", "a\0b"],
    "store.embed.path": ["", "a\0b", "a\udcffb"],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_a_bad_value_is_refused_with_a_sentence_that_names_the_option_and_the_source(name, text):
    with pytest.raises(Misconfigured) as refusal:
        load(f"--{name}={text}")
    assert refusal.value.message.startswith(f"{name} must ")
    assert refusal.value.message.endswith(f"(flag --{name})")
    assert "\n" not in refusal.value.message


def test_every_source_is_named(config):
    with pytest.raises(Misconfigured, match=r"^port must be .*, not 'x' \(environment RA_PORT\)$"):
        load(RA_PORT="x")
    with pytest.raises(Misconfigured, match=r"^port must be .*, not 'x' \(config file .*ra\.yml: port\)$"):
        config("port: x")


def test_a_port_in_the_registry_host_is_told_where_it_belongs():
    with pytest.raises(Misconfigured, match="put the port in registry.port"):
        load("--registry.host=http://registry:5000")


def test_credentials_in_an_address_are_not_repeated():
    with pytest.raises(Misconfigured) as refusal:
        load("--registry.host=http://ra:s3cret@registry")
    assert "s3cret" not in refusal.value.message


def test_all_problems_are_told_at_once(config):
    with pytest.raises(Misconfigured) as refusal:
        config("porrt: 1\nssl: {port: x}", "--port=0", RA_REGISTRY_PORT="y", RA_REGISTRY_PASSWORD_FILE="/none")
    lines = refusal.value.message.splitlines()
    assert [line.split()[0] for line in lines] == ["registry.password", "unknown", "port", "registry.port", "ssl.port"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("listen", "[::1]", "::1"),
        ("hostname", "ra.example.com:8443", "ra.example.com:8443"),
        ("registry.host", "http://registry_1", "http://registry_1"),
        ("registry.host", "http://[::1]/", "http://[::1]"),
        ("registry.public", "[::1]:5000", "[::1]:5000"),
        ("identity.service.url", "http://127.0.0.1:8080/a?b=c", "http://127.0.0.1:8080/a?b=c"),
        ("identity.service.url", "http://[::1]/", "http://[::1]/"),
        ("identity.service.url", "http://localhost", "http://localhost"),
        ("registry.certs.fqdn", "*.example.com", ("*.example.com",)),
        ("auth.jwt-ttl", "1.5h", 5400),
        ("auth.jwt-ttl", "2d", 172800),
        ("logger.max-size", "500000", 500000),
        ("logger.max-size", "10k", 10240),
        ("logger.max-size", "1G", 1 << 30),
    ],
)
def test_a_value_may_be_written_like_this(name, text, value):
    assert load(f"--{name}={text}")[name] == value


# Rules that join options


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "registry.host is required: set --registry.host, RA_REGISTRY_HOST or registry.host in the config file"),
        (["--registry.auth-type=basic"], "registry.htpasswd is required when registry.auth-type is basic (flag --reg"),
        (["--registry.auth-type=basic"], "registry.login is required when"),
        (["--registry.auth-type=basic"], "registry.password is required when"),
        (["--ssl.type=static"], "ssl.cert is required when ssl.type is static (flag --ssl.type): set --ssl.cert, RA_"),
        (["--ssl.type=static"], "ssl.key is required when"),
        (["--ssl.type=auto"], "ssl.fqdn is required when ssl.type is auto (flag --ssl.type): set --ssl.fqdn, RA_SSL_"),
        (["--ssl.type=auto", "--hostname=10.0.0.1"], "ssl.fqdn is required when ssl.type is auto"),
        (["--ssl.type=static", "--ssl.port=80"], "ssl.http-port must not be the same as ssl.port (default)"),
        (["--metrics.token=" + "x" * 15], "metrics.token must be at least 16 characters long (flag --metrics.token)"),
        (["--store.admin-password=" + "ä" * 37], "store.admin-password must be at most 72 bytes long (flag --store."),
    ],
)
def test_options_that_do_not_go_together_are_refused(argv, sentence):
    with pytest.raises(Misconfigured) as refusal:
        options.validate(load(*argv))
    assert any(line.startswith(sentence) for line in refusal.value.message.splitlines())


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--registry.auth-type=basic", "--registry.htpasswd=h", "--registry.login=l", "--registry.password=p"],
        ["--ssl.type=static", "--ssl.cert=c", "--ssl.key=k"],
        ["--ssl.type=auto", "--ssl.fqdn=a.example"],
        ["--ssl.type=auto", "--hostname=https://a.example:444"],
        ["--metrics.token=" + "x" * 16],
        ["--auth.jwt-ttl=2h", "--auth.cookie-ttl=1h"],
        ["--store.admin-password=" + "ä" * 36],
    ],
)
def test_options_that_go_together_are_accepted(argv):
    options.validate(load("--registry.host=http://registry", *argv))


# The settings


def test_settings_are_a_read_only_mapping():
    settings = load()
    assert len(settings) == len(options.OPTIONS) == len(dict(settings))
    with pytest.raises(TypeError):
        settings["port"] = 1
    with pytest.raises(KeyError):
        settings["prot"]
