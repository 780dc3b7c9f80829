"""The real client `skopeo`, cut off from the configuration and the credentials of whoever runs the tests."""

import json
import subprocess
from pathlib import Path

from tests.rigs.tools import clean_environment, find_tool

TIMEOUT_SECONDS = 60


class Skopeo:
    """Runs skopeo with all its files in `directory`. Plain HTTP and unknown certificates are accepted.

    Every method returns the CompletedProcess (with text in stdout and stderr) whatever its exit status.
    `creds` is `login:password`; without it the credentials of `login()` are used, if there are any.
    """

    def __init__(self, directory: Path):
        self._program = find_tool("skopeo", "skopeo")
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.authfile = self.directory / "auth.json"
        (self.directory / "registries.conf").write_text("unqualified-search-registries = []\n")
        if not self.authfile.exists():
            self.authfile.write_text("{}")

    def copy(self, src, dst, *options, creds=None, src_creds=None, all=False):
        """Copy an image; `creds` are for the destination, `src_creds` for the source."""
        flags = [*options, "--src-tls-verify=false", "--dest-tls-verify=false"]
        flags += ["--all"] if all else []
        flags += ["--dest-creds", creds] if creds else []
        flags += ["--src-creds", src_creds] if src_creds else []
        return self._run("copy", *flags, src, dst)

    def inspect(self, image, *options, creds=None):
        return self._run("inspect", *options, *_reach(creds), image)

    def delete(self, image, creds=None):
        return self._run("delete", *_reach(creds), image)

    def list_tags(self, repository, creds=None):
        return self._run("list-tags", *_reach(creds), repository)

    def login(self, host, login, password):
        """Sign in at `address:port`; the password goes through standard input."""
        flags = ["--tls-verify=false", "--username", login, "--password-stdin"]
        return self._run("login", *flags, host, stdin=password)

    def logout(self, host):
        return self._run("logout", host)

    def _run(self, command, *arguments, stdin=""):
        own = ["--insecure-policy", "--tmpdir", self.directory, command, "--authfile", self.authfile]
        return subprocess.run(
            [self._program, *map(str, own), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=clean_environment(self.directory)
            | {"CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf")},
            cwd=self.directory,
        )


def _reach(creds: str | None) -> list[str]:
    return ["--tls-verify=false"] + (["--creds", creds] if creds else [])


def parsed(process: subprocess.CompletedProcess) -> dict:
    """The JSON that a successful command printed; fails with what it complained about otherwise."""
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)
