"""contrib/nginx: a real nginx before a real server and a real registry, with the configuration as it is written."""

import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.contrib import CONTRIB
from tests.rigs import images
from tests.rigs.registry import RealRegistry, free_port
from tests.rigs.server import ADMIN, RunningServer, wait_until
from tests.rigs.tls import write_certificate
from tests.rigs.tools import clean_environment, find_tool

CONFIGURATION = CONTRIB / "nginx" / "regadmin.conf"
AROUND = """
daemon off;
master_process off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/regadmin.conf;
}}
"""
CLIENT, NEIGHBOUR = "127.0.0.9", "127.0.0.10"
"""Addresses of clients; the proxy's is 127.0.0.1."""


class Nginx:
    """The configuration on other ports, with other files. Every directive stays as it is."""

    def __init__(self, root: Path, server: RunningServer, registry_port: int):
        self.root, self.port, self.plain_port = root, free_port(), free_port()
        self.certificate, key = write_certificate(root / "tls")
        replaced = {
            "[::]:80": f"[::1]:{self.plain_port}",
            "[::]:443": f"[::1]:{self.port}",
            "listen 80": f"listen 127.0.0.1:{self.plain_port}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "registry.example.com;": "localhost;",
            "/etc/ssl/certs/registry.example.com.pem": str(self.certificate),
            "/etc/ssl/private/registry.example.com.key": str(key),
            "127.0.0.1:8080;": f"127.0.0.1:{server.port};",
            "127.0.0.1:5000;": f"127.0.0.1:{registry_port};",
        }
        text = CONFIGURATION.read_text()
        for written, used in replaced.items():
            assert written in text
            text = text.replace(written, used)
        (root / "regadmin.conf").write_text(text)
        (root / "nginx.conf").write_text(AROUND.format(root=root))

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        command = [find_tool("nginx", "nginx"), "-p", self.root, "-c", self.root / "nginx.conf"]
        self._process = subprocess.Popen(command, env=clean_environment(self.root), stderr=subprocess.DEVNULL)
        log = self.root / "error.log"
        wait_until(self._answers, 10, lambda: log.read_text() if log.exists() else "no log")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/ping", verify=self.certificate, timeout=5).text == "pong"
        except requests.ConnectionError:
            return False


class From(HTTPAdapter):
    """Connects from another address of this machine."""

    def __init__(self, address: str):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = RunningServer(tmp_path_factory.mktemp("server"), free_port(), trusted_proxies=["127.0.0.1"]).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory):
    """nginx before both, and a registry that sends its clients to it."""
    registry_port = registry_port_of(server)
    proxy = Nginx(tmp_path_factory.mktemp("nginx"), server, registry_port)
    auth = {
        "realm": f"{proxy.url}/api/v1/registry/auth",
        "service": "container_registry",
        "issuer": "registry_token_issuer",
        "rootcertbundle": server.certificate,
    }
    with RealRegistry(tmp_path_factory.mktemp("registry"), port=registry_port, auth=auth):
        proxy.start()
        yield proxy
        proxy.stop()


def registry_port_of(server: RunningServer) -> int:
    return int(re.search(r'"port": (\d+), "auth_type"', server.config.read_text())[1])


@pytest.fixture
def client(proxy):
    """Makes a client of nginx that has this address."""
    made = []

    def make(address: str) -> requests.Session:
        session = requests.Session()
        session.trust_env, session.verify = False, str(proxy.certificate)
        session.mount("https://", From(address))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()


def sign_in(client: requests.Session, proxy: Nginx, login: str, password: str) -> requests.Response:
    return client.post(f"{proxy.url}/auth/local/login", json={"user": login, "passwd": password}, timeout=10)


def test_cookies_are_for_https_only_and_links_lead_to_the_proxy(proxy, client):
    with closing(client(CLIENT)) as browser:
        signed_in = sign_in(browser, proxy, *ADMIN)
        assert signed_in.status_code == 200
        assert {cookie.name: cookie.secure for cookie in browser.cookies} == {"JWT": True, "XSRF-TOKEN": True}
        page = browser.get(f"{proxy.url}/setup", timeout=30).text
    assert f"realm: {proxy.url}/api/v1/registry/auth" in page
    assert f"http://localhost:{proxy.port}" not in page


def test_the_log_has_the_clients_address_and_not_the_one_that_it_claims(proxy, server, client):
    client(CLIENT).get(f"{proxy.url}/ping?seen", headers={"X-Forwarded-For": "192.0.2.66"}, timeout=10)
    lines = (server.directory / "access.log").read_text().splitlines()
    assert [line.split()[0] for line in lines if "/ping?seen" in line] == [CLIENT]


def test_guesses_count_for_the_client_and_not_for_the_proxy(proxy, client):
    guesser, neighbour = client("127.0.0.66"), client(NEIGHBOUR)
    statuses = [sign_in(guesser, proxy, f"nobody{number}", "a guess").status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]
    assert sign_in(neighbour, proxy, "nobody11", "a guess").status_code == 401
    assert sign_in(neighbour, proxy, *ADMIN).status_code == 200


def test_skopeo_pushes_and_pulls_through_it(proxy, skopeo, tmp_path):
    image = images.write_dir(images.docker_image(), tmp_path / "image")
    target = f"docker://localhost:{proxy.port}/team/app:v1"
    pushed = skopeo.copy(image, target, creds=":".join(ADMIN))
    assert pushed.returncode == 0, pushed.stderr
    pulled = skopeo.copy(target, f"dir:{tmp_path}/pulled", src_creds=":".join(ADMIN))
    assert pulled.returncode == 0, pulled.stderr
    assert skopeo.inspect(target).returncode != 0


def test_plain_http_is_redirected(proxy):
    answer = requests.get(f"http://localhost:{proxy.plain_port}/login?next=/", allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://localhost/login?next=/")
