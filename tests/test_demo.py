import http.server
import json
import os
import queue
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest
import requests

from regadmin import __main__ as command_line
from regadmin import demo, errors, samples
from regadmin.certificates.keys import load_or_build

SERVICE, ISSUER = "container_registry", "registry_token_issuer"
NAMES = ("registry_auth.key", "registry_auth.pub", "registry_auth_ca.crt")
CREDENTIALS = "Basic ZXZlbnRzOnNlY3JldA=="


@pytest.fixture
def listener():
    """An event hook; what it is sent lands in its queue `received`."""

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.received.put((self.headers["Authorization"], json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.received = queue.Queue()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def key(tmp_path):
    return load_or_build(*[tmp_path / "certs" / name for name in NAMES], ["localhost"], [], time.time)


@pytest.fixture
def start(tmp_path, monkeypatch, listener):
    """Starts a registry that trusts the certificate of `key`."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/nowhere")
    started = []

    def start(certificate_path=tmp_path / "certs" / NAMES[2]):
        port = demo.free_port()
        started.append(
            demo.start_registry(
                demo.find_registry(tmp_path / "cache"),
                tmp_path,
                port,
                realm="http://127.0.0.1:1/auth",
                service=SERVICE,
                issuer=ISSUER,
                certificate_path=certificate_path,
                events_url=f"http://127.0.0.1:{listener.server_port}/events",
                events_authorization=CREDENTIALS,
            )
        )
        return port

    yield start
    for process in started:
        demo.stop(process)


def bearer(key, repository, actions=("pull", "push")):
    now = int(time.time())
    access = [{"type": "repository", "name": repository, "actions": list(actions)}]
    claims = {"iss": ISSUER, "aud": SERVICE, "sub": "alice", "jti": "1", "access": access}
    return "Bearer " + key.sign({**claims, "nbf": now - 10, "iat": now, "exp": now + 60})


def test_a_free_port_can_be_listened_on():
    with socket.create_server(("127.0.0.1", demo.free_port())):
        pass


def test_an_installed_registry_is_found(tmp_path):
    assert os.access(demo.find_registry(tmp_path / "cache"), os.X_OK)
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def lonely_path(tmp_path, monkeypatch):
    """A PATH without a registry; returns its directory, and a way to put a script there."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))

    def add(name, script):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)

    return add


def test_without_a_registry_and_debian_the_person_is_told_what_to_install(tmp_path, lonely_path):
    with pytest.raises(errors.Misconfigured, match="no registry is installed: install the package"):
        demo.find_registry(tmp_path / "cache")


def test_a_download_that_fails_is_told(tmp_path, lonely_path):
    lonely_path("apt-get", "exit 100")
    lonely_path("dpkg", "exit 0")
    with pytest.raises(errors.Misconfigured, match="cannot be downloaded"):
        demo.find_registry(tmp_path / "cache")


def test_debians_package_is_unpacked_once_and_not_installed(tmp_path, monkeypatch, lonely_path):
    package, content = tmp_path / "docker-registry_1_all.deb", tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: docker-registry\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.com>\n"
        "Description: stands for the real one\n"
    )
    (content / "usr" / "bin").mkdir(parents=True)
    shutil.copy("/bin/true", content / "usr" / "bin" / "docker-registry")
    real_path = os.defpath
    subprocess.run(
        ["dpkg-deb", "--build", content, package],
        check=True,
        env={"PATH": real_path},
        capture_output=True,
    )
    lonely_path("apt-get", f'[ "$*" = "download docker-registry" ] && PATH={real_path} cp {package} .')
    lonely_path("dpkg", f'PATH={real_path} exec dpkg "$@"')
    found = demo.find_registry(tmp_path / "cache")
    assert found == str(tmp_path / "cache" / "usr" / "bin" / "docker-registry")
    assert os.listdir(tmp_path / "cache") == ["usr"]
    lonely_path("apt-get", "exit 100")
    assert demo.find_registry(tmp_path / "cache") == found


def test_the_registry_takes_our_tokens_and_only_for_what_they_say(key, start):
    port = start()
    image = samples.hello()
    with pytest.raises(errors.RegistryRefused) as caught:
        samples.push(image, f"http://127.0.0.1:{port}", lambda repository: None)
    assert caught.value.status == 401
    with pytest.raises(errors.RegistryRefused) as caught:
        samples.push(image, f"http://127.0.0.1:{port}", lambda repository: bearer(key, repository, ["pull"]))
    assert caught.value.status == 401
    samples.push(image, f"http://127.0.0.1:{port}", lambda repository: bearer(key, repository))
    headers = {"Authorization": bearer(key, "demo/hello", ["pull"]), "Accept": image.manifest.media_type}
    answer = requests.get(f"http://127.0.0.1:{port}/v2/demo/hello/manifests/1.0", headers=headers, timeout=30)
    assert answer.content == image.manifest.data


def test_the_registry_names_the_realm_and_the_service(key, start):
    challenge = requests.get(f"http://127.0.0.1:{start()}/v2/", timeout=30).headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="http://127.0.0.1:1/auth",service="container_registry"')


def test_the_registry_sends_its_events_with_the_accounts_header(key, start, listener):
    samples.push(samples.hello(), f"http://127.0.0.1:{start()}", lambda repository: bearer(key, repository))
    tags = set()
    while tags != {"1.0", "latest"}:
        authorization, envelope = listener.received.get(timeout=30)
        assert authorization == CREDENTIALS
        tags |= {event["target"]["tag"] for event in envelope["events"] if "tag" in event["target"]}


def test_manifests_can_be_deleted(key, start):
    image, port = samples.hello(), start()
    samples.push(image, f"http://127.0.0.1:{port}", lambda repository: bearer(key, repository))
    headers = {"Authorization": bearer(key, "demo/hello", ["delete"])}
    url = f"http://127.0.0.1:{port}/v2/demo/hello/manifests/{image.manifest.digest}"
    assert requests.delete(url, headers=headers, timeout=30).status_code == 202


def test_the_registrys_configuration_hides_its_secrets(key, start, tmp_path):
    start()
    assert stat.S_IMODE((tmp_path / "config.yml").stat().st_mode) == 0o600


def test_a_registry_that_cannot_start_is_told_with_its_last_words(start, tmp_path):
    with pytest.raises(errors.Misconfigured, match=r"does not come up: .*missing\.crt.*registry\.log"):
        start(certificate_path=tmp_path / "missing.crt")


def test_a_directory_in_use_is_not_touched(tmp_path):
    (tmp_path / "data.db").write_text("precious")
    with pytest.raises(errors.Misconfigured, match="is not empty"):
        demo.run(str(tmp_path))
    assert os.listdir(tmp_path) == ["data.db"]
    assert (tmp_path / "data.db").read_text() == "precious"


def test_the_command_takes_its_ports_and_refuses_what_it_would_not_follow(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(command_line, "run_demo", lambda **ports: asked.append(ports) or 0)
    assert command_line.main(["demo"]) == 0
    assert command_line.main(["demo", "--port=8080", "--registry.port=5000"]) == 0
    assert asked == [{}, {"port": 8080, "registry_port": 5000}]
    assert command_line.main(["--listen=0.0.0.0", "demo"]) == 2
    assert "takes no --listen" in capsys.readouterr().err
