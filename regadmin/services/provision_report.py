"""What came of the files that decide about users, groups and rules: kept in the store, shown by all processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from regadmin.importing import directory
from regadmin.importing.plan import Plan, Weight
from regadmin.messages import Message, printable
from regadmin.services.findings import CheckResult, Fact, State
from regadmin.store import Store

MOST = 50
"""Remarks that are kept and shown. Who has mended those sees the next."""

_KEPT_AS = "provision"
_REFUSING = (Weight.ERROR, Weight.MORE)


@dataclass(frozen=True, slots=True)
class Report:
    """`errors` kept the files from being applied; what was `left_out` did not. Each is a place and a reason."""

    fingerprint: str
    files: int
    errors: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def make_report(fingerprint: str, files: int, plan: Plan) -> Report:
    def remarks(*weights: Weight) -> tuple[tuple[str, str], ...]:
        found = [remark for remark in plan.remarks if remark.weight in weights]
        return tuple((printable(str(remark.place)), printable(remark.text)) for remark in found[:MOST])

    return Report(fingerprint, files, remarks(*_REFUSING), remarks(Weight.LESS))


def is_refused(plan: Plan) -> bool:
    """Whether it must not be carried out: it has mistakes, or would allow more than its file does."""
    return any(plan.has(weight) for weight in _REFUSING)


def find_report(store: Store) -> Report | None:
    """The last one of any process."""
    kept = store.findings.find(_KEPT_AS)
    if not kept:
        return None
    lists = {name: tuple(map(tuple, kept[1][name])) for name in ("errors", "left_out")}
    return Report(**kept[1] | lists)


def keep_report(store: Store, report: Report) -> None:
    store.findings.keep(_KEPT_AS, asdict(report))


def check_provision(store: Store, path: Path) -> CheckResult:
    """Whether what stands in the directory now was applied."""
    files, report = directory.look(path), find_report(store)
    fingerprint = directory.fingerprint(files)
    is_open = not report or report.fingerprint != fingerprint
    if is_open:
        report = make_report(fingerprint, len(files), directory.read(files, path))
    if report.errors:
        return CheckResult(
            "provision",
            State.BAD,
            Message("nothing of the files is applied until all of them are right; what they said before holds"),
            Message("mend them: they are read again by themselves"),
            tuple(Fact(*error) for error in report.errors),
        )
    facts = (Fact(Message("Directory"), str(path)), Fact(Message("Files"), str(report.files)))
    if is_open:
        waiting = Message("the files are right as far as can be told, and not applied yet")
        return CheckResult("provision", State.OPEN, waiting, Message("a running server applies them in seconds"), facts)
    if report.left_out:
        says = Message("the files are applied, but for what has no equal here")
        remedy = Message("take it out of the files, or put what you mean in its place")
        return CheckResult("provision", State.WARN, says, remedy, tuple(Fact(*each) for each in report.left_out))
    return CheckResult("provision", State.OK, Message("the files are applied"), facts=facts)
