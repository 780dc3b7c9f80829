"""The start of regadmin.pyz: a place to unpack into, then shiv.

Accounts of services often have no home that can be written to. `SHIV_ROOT` names another place; without it one of our
own under /var/tmp does, if nobody else can write to it.
"""

import glob
import os
import platform
import stat
import sys
import tempfile

import _bootstrap  # shiv's, inside the archive

MACHINE, FIRST, LAST = "x86_64", (3, 11), (3, 13)


def is_usable(path: str) -> bool:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError:
        return False
    return os.access(path, os.W_OK | os.X_OK)


def is_ours_alone(path: str) -> bool:
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def place() -> str:
    named, home = os.environ.get("SHIV_ROOT"), os.path.expanduser("~/.shiv")
    if named:
        unpacked = glob.glob(os.path.join(named, os.path.basename(sys.argv[0]) + "_*"))
        return named if unpacked or is_usable(named) else end(f"SHIV_ROOT, {named}, cannot be written")
    if os.path.isabs(home) and is_usable(home):
        return home
    shared = f"/var/tmp/regadmin-{os.geteuid()}"
    return shared if is_usable(shared) and is_ours_alone(shared) else tempfile.mkdtemp(prefix="regadmin-")


def end(reason: str) -> None:
    print(f"regadmin: {reason}", file=sys.stderr)
    sys.exit(2)


if not FIRST <= sys.version_info[:2] <= LAST or platform.machine() != MACHINE:
    found = f"Python {platform.python_version()} on {platform.machine()}"
    end(f"this file is for Python 3.{FIRST[1]} to 3.{LAST[1]} on {MACHINE}, and this is {found}")
try:
    os.environ["SHIV_ROOT"] = place()
except OSError as error:
    end(f"there is no place to unpack into ({error.strerror}): name one in SHIV_ROOT")
_bootstrap.bootstrap()
