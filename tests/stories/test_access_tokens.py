"""Access tokens with a real registry and real clients, answered by two processes."""

import time

from tests.rigs import images
from tests.rigs.server import ADMIN, wait_until
from tests.stories.test_main_job import allow

REALM = "/api/v1/registry/auth?service=container_registry"
SHORT = 3


def test_a_token_logs_in_pushes_and_pulls_inside_its_scope_until_it_is_revoked_or_over(guarded, skopeo, tmp_path):
    eve = "eve", "eve's password"
    allow(guarded, guarded.server.create("users", login=eve[0], password=eve[1], role="user"), "farm/**", "push")
    image, host = images.write_dir(images.docker_image("farm"), tmp_path / "image"), guarded.registry.host

    def make(auth, expires_at=None, **reaches) -> dict:
        scope = [{"repository": f"farm/{name}", "action": action} for name, action in reaches.items()]
        body = {"name": "farm", "scope": scope, "expires_at": expires_at}
        return guarded.server.call("POST", "/api/v1/tokens", auth, json=body).json()["data"]

    def statuses(secret: str) -> set[int]:
        """Whichever process is asked, and whatever it remembers."""
        return {guarded.server.call("GET", REALM, (eve[0], secret)).status_code for _ in range(8)}

    short = make(eve, int(time.time()) + SHORT)
    assert statuses(short["secret"]) == {200}

    token = make(eve, app="push", base="pull")
    creds = f"{eve[0]}:{token['secret']}"
    assert skopeo.login(host, *creds.split(":")).returncode == 0
    assert skopeo.copy(image, guarded.docker("farm/app:v1")).returncode == 0
    assert skopeo.copy(guarded.docker("farm/app:v1"), f"dir:{tmp_path}/pulled").returncode == 0
    assert skopeo.copy(image, guarded.docker("farm/base:v1"), creds=":".join(ADMIN)).returncode == 0
    assert skopeo.inspect(guarded.docker("farm/base:v1")).returncode == 0
    assert "denied" in skopeo.copy(image, guarded.docker("farm/base:v2")).stderr
    for beyond in ("farm/other", "else/where"):
        assert skopeo.copy(image, guarded.docker(f"{beyond}:v1"), creds=creds).returncode != 0
    assert skopeo.copy(image, guarded.docker("farm/other:v1"), creds=":".join(eve)).returncode == 0

    (listed,) = [row for row in guarded.server.call("GET", "/api/v1/tokens", eve).json()["data"] if row["scope"]]
    assert listed["used_from"] == "127.0.0.1"
    assert guarded.server.call("GET", "/api/v1/tokens", tuple(creds.split(":"))).status_code == 403
    assert statuses(token["secret"]) == {200}
    assert guarded.server.call("DELETE", f"/api/v1/tokens/{token['id']}", eve).status_code == 200
    assert 200 not in statuses(token["secret"])
    assert skopeo.inspect(guarded.docker("farm/app:v1")).returncode != 0
    wait_until(lambda: 200 not in statuses(short["secret"]), SHORT)
