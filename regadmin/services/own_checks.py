"""Checks of this server's own side: its clock, the certificate that it serves, and who may read its files."""

import os
import shlex
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from regadmin.certificates.served import ServedCertificate
from regadmin.errors import Misconfigured, SourceUnavailable
from regadmin.identity.source import Source
from regadmin.messages import Message
from regadmin.services.findings import CheckResult, Fact, State

CLOCK_WARNING, CLOCK_LIMIT = 30, 60
"""Seconds. Beyond the limit the registry refuses tokens as not valid yet, or as expired."""

ENDING_SOON = 14 * 24 * 60 * 60
"""Seconds, or the last quarter of a certificate that lives shorter."""

_NOBODY_ELSE = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
_GROUP_READS = _NOBODY_ELSE & ~stat.S_IRGRP


@dataclass(frozen=True, slots=True)
class OwnSide:
    """`certificate` is what HTTPS is served with, None for HTTP; `renewal` tells how its renewal stands, if there is.

    `private_files` are for the owner alone, `shared_files` also for the group. `provision` is the directory of files
    that decide about users, groups and rules, if there is one. `sources` know people beside the store.
    """

    certificate: ServedCertificate | None = None
    renewal: Callable | None = None
    private_files: tuple[Path, ...] = ()
    shared_files: tuple[Path, ...] = ()
    provision: Path | None = None
    sources: tuple[Source, ...] = ()


def check_clock(theirs: int | None, ours: int) -> CheckResult:
    """Compare the time of the registry's answer with our own, both in seconds."""
    if theirs is None:
        return CheckResult("clock", State.OPEN, Message("the registry does not tell its time"))
    apart = abs(theirs - ours)
    if apart <= CLOCK_WARNING:
        return CheckResult("clock", State.OK, Message("the registry and this server have the same time"))
    return CheckResult(
        "clock",
        State.WARN if apart <= CLOCK_LIMIT else State.BAD,
        Message("the clocks of the registry and of this server are %(seconds)s seconds apart", seconds=apart),
        Message("set both by NTP: the registry refuses tokens when they are more than a minute apart"),
    )


def check_https(own: OwnSide, now: int) -> CheckResult | None:
    """None where HTTPS is not served here."""
    if not own.certificate:
        return None
    return _check_renewed(own, now) if own.renewal else _check_files_of_owner(own.certificate, now)


def _check_files_of_owner(certificate: ServedCertificate, now: int) -> CheckResult:
    remedy = Message("renew it, and put the new one in its place: it is taken up without a restart")
    try:
        begins, ends = certificate.term()
    except Misconfigured as error:
        return CheckResult("https", State.BAD, error.message, remedy)
    state, says = _term(begins, ends, now)
    return CheckResult("https", state, says, "" if state is State.OK else remedy, (Fact(Message("Ends"), at=ends),))


def _check_renewed(own: OwnSide, now: int) -> CheckResult:
    status = own.renewal()
    facts = (Fact(Message("Ends"), at=status.ends),) if status.ends else ()
    facts += (Fact(Message("Next try"), at=status.next_try),) if status.next_try else ()
    state, says = State.OPEN, Message("there is no certificate from the authority yet")
    if status.ends:
        state, says = _term(*own.certificate.term(), now)
    if status.failure:
        state = State.WARN if state is State.OK else State.BAD
        says = Message("the authority gave no new certificate: %(reason)s", reason=status.failure)
    remedy = Message("its names must lead to this server, and port 80 must be open; it is tried again by itself")
    return CheckResult("https", state, says, "" if state is State.OK else remedy, facts)


def _term(begins: int, ends: int, now: int) -> tuple[State, Message]:
    if now > ends:
        return State.BAD, Message("the certificate has ended")
    if ends - now < min(ENDING_SOON, (ends - begins) // 4):
        return State.WARN, Message("the certificate ends soon")
    return State.OK, Message("the certificate is valid")


def check_files(own: OwnSide) -> CheckResult:
    """Who may read secrets. What is not there, or hidden from us, is nobody else's."""
    private, shared = _open_to(own.private_files, _NOBODY_ELSE), _open_to(own.shared_files, _GROUP_READS)
    if not private and not shared:
        return CheckResult("files", State.OK, Message("nobody else can read or change them"))
    commands = [
        f"chmod {change} {shlex.join(found)}" for change, found in (("go=", private), ("g-w,o=", shared)) if found
    ]
    return CheckResult(
        "files",
        State.BAD,
        Message("others can read or change secrets of this server"),
        Message("run “%(command)s”", command=" && ".join(commands)),
        tuple(Fact(path, mode) for path, mode in (private | shared).items()),
    )


def check_sources(sources: tuple[Source, ...]) -> CheckResult:
    """Ask each of them without any credentials."""
    reasons = {source: _why_not(source) for source in sources}
    facts = tuple(Fact(source.name, source.place) for source in sources)
    failing = next((source for source in sources if reasons[source]), None)
    if not failing:
        return CheckResult("identity", State.OK, Message("they can be asked"), facts=facts)
    return CheckResult(
        "identity",
        State.BAD,
        Message("%(source)s: %(reason)s", source=failing.name, reason=reasons[failing]),
        Message("mend it, or correct the options under identity: until then only accounts of this server get in"),
        facts,
    )


def _why_not(source: Source) -> str:
    try:
        source.check()
    except SourceUnavailable as error:
        return error.reason
    return ""


def _open_to(paths: tuple[Path, ...], forbidden: int) -> dict[str, str]:
    """Those with a forbidden right, and their modes as `chmod` takes them."""
    found = {}
    for path in paths:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError:
            continue
        # SQLite gives the files beside a store its mode, and takes them away: perhaps before the remedy is run.
        is_follower = path.name.endswith(("-wal", "-shm")) and os.path.abspath(path)[:-4] in found
        if mode & forbidden and not is_follower:
            found[os.path.abspath(path)] = f"{mode:04o}"
    return found
