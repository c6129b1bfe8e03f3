"""What people have looked at and let stand: findings accepted by name and with a reason, append-only.

    datasets/NAME/acceptances.jsonl    one `Acceptance` a line; a withdrawal is a line too

An accepted finding is shown with who and why, and weighs no more in the verdict. It is accepted for the samples it was
found on: when it is found on others later, those stand open again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import ValidationError
from ulid import ULID

from trugrade_core.data.checks.base import Finding
from trugrade_core.data.journal import append_to, complete_lines, damaged_line
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import Record
from trugrade_core.workspace import now

FILE = "acceptances.jsonl"


class Acceptance(Record):
    """`finding` is a finding's key; no `samples`: it was about the dataset as a whole."""

    id: str
    op: Literal["accept", "withdraw"] = "accept"
    finding: str
    samples: tuple[str, ...] = ()
    who: str
    reason: str
    when: datetime


@dataclass(frozen=True)
class Weighed:
    """A finding as it stands after what was accepted: `open` is what is left of it, None where all was accepted;
    `accepted` what was let stand and by whom."""

    finding: Finding
    open: Finding | None
    accepted: tuple[Acceptance, ...] = ()


def acceptances(ds: Dataset) -> list[Acceptance]:
    """Those in force, oldest first. Raises DatasetError for a damaged line."""
    found: dict[str, list[Acceptance]] = defaultdict(list)
    for line in history(ds):
        if line.op == "accept":
            found[line.finding].append(line)
        else:
            found[line.finding].clear()
    return sorted((a for own in found.values() for a in own), key=lambda a: a.id)


def history(ds: Dataset) -> list[Acceptance]:
    """Every line ever written."""
    path = ds.path / FILE
    found = []
    for _, line in complete_lines(path, 0):
        try:
            said = json.loads(line)
        except ValueError:
            continue  # torn
        try:
            found.append(Acceptance.model_validate(said))
        except ValidationError as e:
            raise damaged_line(path, line, e.errors()[0]["msg"]) from e
    return found


def accept(ds: Dataset, finding: Finding, *, who: str, reason: str, samples: Iterable[str] | None = None) -> Acceptance:
    """Let a finding stand, for all its samples or for some of them. Raises UsageError without a name or a reason, or
    for samples that the finding does not name."""
    asked = finding.samples if samples is None else tuple(samples)
    unknown = [s for s in asked if s not in finding.samples]
    if unknown:
        raise UsageError(f"{finding.key} is not held against sample '{unknown[0]}'",
                         what_to_do=nearest(unknown[0], list(finding.samples)[:50]))  # fmt: skip
    return _append(ds, "accept", finding.key, asked, who, reason)


def withdraw(ds: Dataset, finding: str, *, who: str, reason: str) -> Acceptance:
    """Take back what was accepted of a finding; it stands open again."""
    known = sorted({a.finding for a in acceptances(ds)})
    if finding not in known:
        raise DatasetError(f"nothing of '{finding}' was accepted", where=ds.name, code="dataset.not_accepted",
                           what_to_do=nearest(finding, known))  # fmt: skip
    return _append(ds, "withdraw", finding, (), who, reason)


def _append(ds: Dataset, op: Literal["accept", "withdraw"], finding: str, samples: tuple[str, ...], who: str, reason: str) -> Acceptance:  # fmt: skip
    who, reason = who.strip(), reason.strip()
    for what, given in (("a name", who), ("a reason", reason)):
        if not given:
            raise UsageError(f"{finding} cannot be {'accepted' if op == 'accept' else 'taken back'} without {what}",
                             what_to_do="Say who lets it stand and why: --who NAME --reason 'WHY'.")  # fmt: skip
    line = Acceptance(id=str(ULID()), op=op, finding=finding, samples=samples, who=who, reason=reason, when=now())
    with ds.lock():
        append_to(ds.path / FILE, [line.model_dump_json().encode()])
    return line


def weigh(findings: Iterable[Finding], accepted: Sequence[Acceptance]) -> list[Weighed]:
    """Each finding with what of it still stands."""
    by_key: dict[str, list[Acceptance]] = defaultdict(list)
    for acceptance in accepted:
        by_key[acceptance.finding].append(acceptance)
    found = []
    for finding in findings:
        of_it = by_key.get(finding.key, [])
        if not finding.samples:
            own = tuple(a for a in of_it if not a.samples)
            found.append(Weighed(finding, None if own else finding, own))
            continue
        passed = {s for a in of_it for s in a.samples}
        left = tuple(s for s in finding.samples if s not in passed)
        own = tuple(a for a in of_it if set(a.samples) & set(finding.samples))
        still = finding.model_copy(update={"samples": left}) if left else None
        found.append(Weighed(finding, still, own))
    return found
