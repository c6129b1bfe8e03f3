"""What people have looked at and let stand: findings accepted by name and with a reason, append-only.

    datasets/NAME/acceptances.jsonl    one `Acceptance` a line; a withdrawal is a line too

An accepted finding is shown with who and why, and weighs no more in the verdict. It is accepted for what it was found on:
its samples, its pairs of samples (`details["pairs"]`), where each sample of a torn unit lies, or what it names of the
dataset as a whole (`details["names"]`). What is found on others later stands open. What may be no matter
to one task spoils another, so it is accepted for the task that was checked; leaks, duplicates and damage are the same
whatever the task.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ulid import ULID

from trugrade_core.data.checks.base import Finding, counted
from trugrade_core.data.journal import append_to, records
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import Record
from trugrade_core.workspace import now

FILE = "acceptances.jsonl"
EVERY_TASK = ("leak.", "duplicate.", "format.")
"""How the codes of findings begin that are the same whatever the task."""
ONE_TASK = ("format.foreign_shape", "format.no_class")
"""And those among them that are not."""
TORN = ("leak.card", "leak.unit")
"""Of these a sample is let stand as a part of one unit in one split: the samples of two leaks that somebody looked at may
make a third."""
SamplePair = tuple[str, str]


class Acceptance(Record):
    """`finding` is a finding's key; no `samples`: it was about the dataset as a whole. `pairs` are those of its pairs that
    were let stand, each in order of id. `about`: of a torn unit where each sample lay, of the dataset as a whole what was
    named. `task`: for this one alone ('': where none is named); None: whatever the task.

    Lines of before have none of these: they count for every task, and of pairs for the one pair that two samples make; of
    more samples nobody can tell which pairs were meant, nor of a torn unit which one."""

    id: str
    op: Literal["accept", "withdraw"] = "accept"
    finding: str
    samples: tuple[str, ...] = ()
    pairs: tuple[SamplePair, ...] = ()
    about: tuple[str, ...] = ()
    task: str | None = None
    who: str
    reason: str
    when: datetime


@dataclass(frozen=True)
class Weighed:
    """A finding as it stands after what was accepted: `open` is what is left of it, None where all was accepted;
    `passed` what was let stand, None where nothing was, and `accepted` by whom."""

    finding: Finding
    open: Finding | None
    passed: Finding | None = None
    accepted: tuple[Acceptance, ...] = ()


def for_every_task(code: str) -> bool:
    """Whether a finding of this code (or key) is the same whatever the task."""
    return code.startswith(EVERY_TASK) and not code.startswith(ONE_TASK)


def acceptances(ds: Dataset) -> list[Acceptance]:
    """Those in force, oldest first. Raises DatasetError for a damaged line."""
    found: dict[str, list[Acceptance]] = defaultdict(list)
    for line in history(ds):
        if line.op == "accept":
            found[line.finding].append(line)
        else:
            found[line.finding] = [a for a in found[line.finding] if not _counts(a, line.task)]
    return sorted((a for own in found.values() for a in own), key=lambda a: a.id)


def _counts(acceptance: Acceptance, task: str | None) -> bool:
    """Whether it holds for a task; None asks for any."""
    return task is None or acceptance.task in (None, task)


def history(ds: Dataset) -> list[Acceptance]:
    """Every line ever written."""
    return list(records(Acceptance, ds.path / FILE))


def accept(
    ds: Dataset, finding: Finding, *, who: str, reason: str, samples: Iterable[str] | None = None, task: str = ""
) -> Acceptance:
    """Let a finding of a check for `task` ('': for none) stand, for all its samples or for some; of pairs, for those
    whose two samples are both among them. Raises UsageError without a name or a reason, for samples that the finding
    does not name, and where no pair or more pairs than are listed would be let stand."""
    asked = finding.samples if samples is None else tuple(samples)
    wanted = set(asked)
    unknown = sorted(wanted.difference(finding.samples))
    if unknown:
        raise UsageError(f"{finding.key} is not held against sample '{unknown[0]}'",
                         what_to_do=nearest(unknown[0], list(finding.samples)[:50]))  # fmt: skip
    pairs: tuple[SamplePair, ...] = ()
    if "pairs" in finding.details:
        if samples is None and (more := unlisted(finding)):
            raise UsageError(f"{finding.key} has {counted(more, 'pair')} beyond those that are listed: it cannot be let stand as a whole",
                             what_to_do="Mend some first and check again, or let some samples stand: --samples ID,ID.")  # fmt: skip
        pairs = tuple(pair for pair in pairs_of(finding) if wanted.issuperset(pair))
        if not pairs:
            raise UsageError(f"{finding.key} has no pair among these samples",
                             what_to_do="It is let stand by pair: name both samples of one, --samples ID,ID.")  # fmt: skip
        paired = {s for pair in pairs for s in pair}
        asked = tuple(s for s in asked if s in paired)
    about = (_part(finding, s) for s in asked) if finding.code in TORN else finding.details.get("names", ())
    line = _line("accept", finding.key, who, reason, None if for_every_task(finding.code) else task)
    return _append(ds, line.model_copy(update={"samples": asked, "pairs": pairs, "about": tuple(about)}))


def _part(finding: Finding, sample: str) -> str:
    """What is let stand of a sample."""
    return f"{sample}: {finding.details.get('by_sample', {}).get(sample, '')}" if finding.code in TORN else sample


def pairs_of(finding: Finding) -> list[SamplePair]:
    """The two samples of each pair that it lists, in order of id."""
    return [(min(pair["samples"]), max(pair["samples"])) for pair in finding.details["pairs"]]


def unlisted(finding: Finding) -> int:
    """How many pairs it has beyond those that it lists."""
    listed = len(finding.details.get("pairs", ()))
    return int(finding.details.get("found", listed)) - listed


def withdraw(ds: Dataset, finding: str, *, who: str, reason: str, task: str | None = None) -> Acceptance:
    """Take back what was accepted of a finding, for a task or for all; it stands open again. What counts for every task
    is taken back for every task."""
    known = acceptances(ds)
    of_it = [a for a in known if a.finding == finding]
    if not of_it:
        raise DatasetError(f"nothing of '{finding}' was accepted", where=ds.name, code="dataset.not_accepted",
                           what_to_do=nearest(finding, sorted({a.finding for a in known})) or "Nothing was let stand yet.")  # fmt: skip
    if not any(_counts(a, task) for a in of_it):
        others = ", ".join(sorted({a.task for a in of_it if a.task}))
        todo = (
            f"It was for {others}: name that one with --task." if others else "It counts where no task is named alone."
        )
        raise DatasetError(f"nothing of '{finding}' was accepted for {task or 'no task'}", where=ds.name,
                           code="dataset.not_accepted", what_to_do=todo)  # fmt: skip
    return _append(ds, _line("withdraw", finding, who, reason, None if for_every_task(finding) else task))


def _line(op: Literal["accept", "withdraw"], finding: str, who: str, reason: str, task: str | None) -> Acceptance:
    who, reason = who.strip(), reason.strip()
    for what, given in (("a name", who), ("a reason", reason)):
        if not given:
            raise UsageError(f"{finding} cannot be {'accepted' if op == 'accept' else 'taken back'} without {what}",
                             what_to_do="Say who lets it stand and why: --who NAME --reason 'WHY'.")  # fmt: skip
    return Acceptance(id=str(ULID()), op=op, finding=finding, task=task, who=who, reason=reason, when=now())


def _append(ds: Dataset, line: Acceptance) -> Acceptance:
    with ds.lock():
        append_to(ds.path / FILE, [line.model_dump_json().encode()])
    return line


def weigh(findings: Iterable[Finding], accepted: Sequence[Acceptance], task: str = "") -> list[Weighed]:
    """Each finding of a check for `task` with what of it still stands."""
    by_key: dict[str, list[Acceptance]] = defaultdict(list)
    for acceptance in accepted:
        if _counts(acceptance, task):
            by_key[acceptance.finding].append(acceptance)
    return [_weighed(finding, by_key[finding.key]) for finding in findings]


def _weighed(finding: Finding, of_it: Sequence[Acceptance]) -> Weighed:
    if "pairs" in finding.details:
        return _weighed_pairs(finding, of_it)
    if not finding.samples:
        own = tuple(a for a in of_it if not a.samples and set(finding.details.get("names", ())) <= set(a.about))
        return Weighed(finding, None if own else finding, finding if own else None, own)
    parts = {_part(finding, s): s for s in finding.samples}
    said = {a.id: a.about if finding.code in TORN else a.samples for a in of_it}
    own = tuple(a for a in of_it if not parts.keys().isdisjoint(said[a.id]))
    passed = {parts[part] for a in own for part in said[a.id] if part in parts}
    left = tuple(s for s in finding.samples if s not in passed)
    stands = tuple(s for s in finding.samples if s in passed)
    return Weighed(
        finding,
        _of_samples(finding, left, "open") if left else None,
        _of_samples(finding, stands, "let stand") if stands else None,
        own,
    )


def _of_samples(finding: Finding, kept: tuple[str, ...], how: str) -> Finding:
    words = "" if len(kept) == len(finding.samples) else f"; {counted(len(kept), 'sample')} of these {how}"
    return finding.model_copy(update={"samples": kept, "why": finding.why + words})


def _weighed_pairs(finding: Finding, of_it: Sequence[Acceptance]) -> Weighed:
    said = {a.id: set(a.pairs) or ({(min(a.samples), max(a.samples))} if len(a.samples) == 2 else set()) for a in of_it}
    listed = pairs_of(finding)
    own = tuple(a for a in of_it if said[a.id].intersection(listed))
    if not own:
        return Weighed(finding, finding)
    passed = {pair for a in own for pair in said[a.id]}
    left = [pair for pair in listed if pair not in passed]
    # A sample that no listed pair names is of a pair that is not listed.
    beyond = set(finding.samples).difference(*listed)
    more = unlisted(finding)
    stands = [pair for pair in listed if pair in passed]
    return Weighed(
        finding,
        _of_pairs(finding, left, "open", beyond, more) if left or beyond or more else None,
        _of_pairs(finding, stands, "let stand"),
        own,
    )


def _of_pairs(finding: Finding, kept: Sequence[SamplePair], how: str, beyond: Collection[str] = (), more: int = 0) -> Finding:  # fmt: skip
    """The finding with these of its listed pairs alone, and with so many, or with the samples, of those beyond."""
    others: dict[str, list[str]] = {s: [] for s in beyond}
    for a, b in kept:
        others.setdefault(a, []).append(b)
        others.setdefault(b, []).append(a)
    wanted, said = set(kept), finding.details.get("by_sample", {})
    details = finding.details | {
        "pairs": [p for p, pair in zip(finding.details["pairs"], pairs_of(finding), strict=True) if pair in wanted],
        "found": len(kept) + more,
        # The words of a sample name one other; where that pair is not kept, it is another.
        "by_sample": {
            s: said.get(s, "") if not own or any(other in said.get(s, "") for other in own) else f"like {own[0]}"
            for s, own in others.items()
        },
    }  # fmt: skip
    found = len(kept) + more
    whole = found == len(finding.details["pairs"]) + unlisted(finding)
    words = "" if whole else f"; {counted(found, 'pair')} of these {how}"
    samples = tuple(s for s in finding.samples if s in others) or finding.samples
    return finding.model_copy(update={"samples": samples, "why": finding.why + words, "details": details})
