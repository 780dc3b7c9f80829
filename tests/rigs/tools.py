"""Finding the programs that the tests drive, and a clean environment for them."""

import os
import shutil
from pathlib import Path


class MissingTool(AssertionError):
    """A program that the tests need is not installed: a failure, never a skip."""


def find_tool(name: str, package: str) -> str:
    """The path of a program; raises MissingTool with what to install."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise MissingTool(f"{name} is not installed: apt-get install {package}")
    return path


def clean_environment(home: Path) -> dict[str, str]:
    """Nothing but PATH and a home of its own: neither REGISTRY_* nor proxies nor a user's credentials."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "TMPDIR": str(home),
        "LC_ALL": "C.UTF-8",
    }
