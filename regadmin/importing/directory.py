"""A directory of files as one plan: what Git, Ansible or Kubernetes keep up to date.

Names that begin with a dot are passed over: those are Git's own, and what stands behind Kubernetes' symbolic links.
"""

import hashlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regadmin.importing import own_yaml, registry_auth
from regadmin.importing.located_yaml import documents
from regadmin.importing.plan import Place, Plan, Weight

SUFFIXES = (".yaml", ".yml", ".json")
MOST_BYTES, MOST_LEVELS = 8 << 20, 16
_OF_REGISTRY_AUTH = ("auths", "kind")
"""Keys that a configuration of registry-auth has at its top, or a Secret with one; ours has neither."""

_IS_EMPTY = (
    "holds no file *.yaml, *.yml or *.json. So nothing is taken away, as this may be a volume that is not mounted; "
    "to take all of it away, leave a file that says nothing but `regadmin: 1`"
)


@dataclass(frozen=True, slots=True)
class File:
    """`name` is the path below the directory, '' for itself; `problem` says why it cannot be read."""

    name: str
    content: bytes = b""
    problem: str = ""


def look(directory: Path) -> list[File]:
    """All files that count, in order, and what cannot be looked at."""
    return list(_look(directory, directory, set()))


def fingerprint(files: Sequence[File]) -> str:
    """Differs when any of it does."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _look(directory: Path, root: Path, seen: set[Path]) -> Iterator[File]:
    name = directory.relative_to(root).as_posix().removeprefix(".")
    is_empty = True
    try:
        seen.add(directory.resolve())
        for path in sorted(directory.iterdir()):
            found = [] if path.name.startswith(".") else list(_found(path, root, seen))
            is_empty = is_empty and not found
            yield from found
    except OSError as error:
        yield File(name, problem=f"cannot be read: {error.strerror}")
        return
    if is_empty:
        yield File(name, problem=_IS_EMPTY)


def _found(path: Path, root: Path, seen: set[Path]) -> Iterator[File]:
    name = path.relative_to(root).as_posix()
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            yield from _below(path, name, root, seen)
        elif path.suffix.lower() in SUFFIXES:
            yield _file(path, name) if stat.S_ISREG(mode) else File(name, problem="is no file")
    except OSError as error:
        yield File(name, problem=f"cannot be read: {error.strerror}")


def _below(path: Path, name: str, root: Path, seen: set[Path]) -> Iterator[File]:
    """Each directory counts once: links may lead back up, and a few that lead to the same make thousands of ways."""
    if name.count("/") >= MOST_LEVELS:
        yield File(name, problem=f"is more than {MOST_LEVELS} directories deep")
    elif path.resolve() not in seen:
        yield from _look(path, root, seen)


def _file(path: Path, name: str) -> File:
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        return File(name, problem=f"is larger than {MOST_BYTES >> 20} MiB")
    return File(name, content)


def read(files: Sequence[File], directory: Path) -> Plan:
    """One plan of all files, whose users, groups and rules know their files. Nothing may stand twice."""
    whole = Plan()
    for file in files:
        part = _read(file, str(directory / file.name))
        whole.groups += [replace(each, group=replace(each.group, source=file.name)) for each in part.groups]
        whole.users += [replace(each, user=replace(each.user, source=file.name)) for each in part.users]
        whole.rules += [replace(each, rule=replace(each.rule, source=file.name)) for each in part.rules]
        for remark in part.remarks:
            whole.remark(*remark)
    _refuse_what_stands_twice(whole)
    for planned in whole.users:
        if planned.user.must_change_password:
            text = "must_change_password: who comes from a file cannot change his password, which is that of the file"
            whole.remark(planned.place, Weight.ERROR, f"user {planned.user.login}: {text}")
    return whole


def _read(file: File, path: str) -> Plan:
    plan, problem = Plan(), file.problem
    if not problem:
        try:
            text = file.content.decode("utf-8-sig")
            return _reader(text)(text, path)
        except UnicodeDecodeError:
            problem = "cannot be read: it is not UTF-8 text"
    plan.remark(Place(path), Weight.ERROR, problem)
    return plan


def _reader(text: str) -> Callable[[str, str], Plan]:
    if not any(key in text for key in _OF_REGISTRY_AUTH):
        return own_yaml.read
    mappings = [document for document in documents(text, Plan(), "") if document.is_mapping]
    keys = {key.text() for mapping in mappings for key, _ in mapping.entries()}
    return registry_auth.read if keys.intersection(_OF_REGISTRY_AUTH) else own_yaml.read


def _refuse_what_stands_twice(plan: Plan) -> None:
    first: dict[str, Place] = {}
    for planned in (*plan.groups, *plan.users, *plan.rules):
        place = first.setdefault(planned.subject, planned.place)
        if place != planned.place:
            plan.remark(planned.place, Weight.ERROR, f"{planned.subject} stands twice, first at {place}")
