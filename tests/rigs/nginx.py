"""A real nginx with a configuration of contrib/nginx."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import requests

from tests.rigs.registry import free_port
from tests.rigs.server import RunningServer, wait_until
from tests.rigs.tls import write_certificate
from tests.rigs.tools import clean_environment, find_tool

CONFIGURATIONS = Path(__file__).parents[2] / "contrib" / "nginx"
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
    include {root}/{name};
}}
"""


class Nginx:
    """The configuration of this name on other ports, with other files. Every directive stays as it is.

    It stands before the server and the registry. Use it as a context manager.
    """

    def __init__(
        self, root: Path, name: str, server: RunningServer, registry_port: int, files: Mapping[str, Path] | None = None
    ):
        self.root, self.port, self.plain_port = root, free_port(), free_port()
        self.certificate, key = write_certificate(root / "tls")
        replaced = {
            "[::]:80": f"[::1]:{self.plain_port}",
            "[::]:443": f"[::1]:{self.port}",
            "listen 80": f"listen 127.0.0.1:{self.plain_port}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "registry.example.com;": "localhost;",
            "/etc/ssl/certs/registry.example.com.pem": self.certificate,
            "/etc/ssl/private/registry.example.com.key": key,
            "127.0.0.1:8080": f"127.0.0.1:{server.port}",
            "127.0.0.1:5000": f"127.0.0.1:{registry_port}",
            **(files or {}),
        }
        text = (CONFIGURATIONS / name).read_text()
        for written, used in replaced.items():
            assert written in text
            text = text.replace(written, str(used))
        (root / name).write_text(text)
        (root / "nginx.conf").write_text(AROUND.format(root=root, name=name))

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    def docker(self, name: str) -> str:
        """The image as skopeo names it."""
        return f"docker://{self.host}/{name}"

    def __enter__(self) -> "Nginx":
        command = [find_tool("nginx", "nginx"), "-p", self.root, "-c", self.root / "nginx.conf"]
        with (self.root / "output").open("w") as output:
            self._process = subprocess.Popen(command, env=clean_environment(self.root), stderr=output)
        wait_until(self._answers, 10, (self.root / "output").read_text)
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/ping", verify=self.certificate, timeout=5).text == "pong"
        except requests.ConnectionError:
            return False
