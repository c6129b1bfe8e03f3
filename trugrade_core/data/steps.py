"""Changes of a whole dataset taken in one step (its classes, going back to a version), each undone as one.

    steps.jsonl   append-only: a line for each step, written before what it changes: who, when and what, the log entries
                  it adds, where the line of each sample before it lies, and dataset.json's fields before and after

Nothing is rewritten: a step appends log entries and samples, and so does undoing it. What somebody changed since is left
as it is, and counted.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ulid import ULID

from trugrade_core.data.journal import SampleIndex, append_to, complete_lines, damaged_line, is_torn, parsed
from trugrade_core.data.store import DELETED, Dataset, said
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import LogEntry, Sample
from trugrade_core.workspace import now

Held = Callable[[Sequence[str]], Mapping[str, str]]
"""{sample: why nothing may be said of it here}, of those asked for."""


def check_free(ds: Dataset, blocked: Mapping[str, str]) -> None:
    """Raise DatasetError when any sample is held elsewhere."""
    if blocked:
        sample, why = next(iter(blocked.items()))
        more = f", and {len(blocked) - 1} more" if len(blocked) > 1 else ""
        raise DatasetError(f"cannot be changed here: {why}{more}", where=f"{ds.name}, sample {sample}", code="annotate.read_only",
                           what_to_do="Pull or release what is in Label Studio first; nothing was changed.")  # fmt: skip


@dataclass(frozen=True)
class Step:
    """What is to be done at once: entries and samples to append, fields of dataset.json to set. `kind` is class edit or
    restore, `what` says it in words."""

    kind: str
    what: str
    entries: Sequence[LogEntry]
    samples: Sequence[Sample]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """A step of the history; `undone` when a later one has undone it."""

    id: str
    kind: str
    what: str
    who: str
    when: str
    undoes: str | None
    undone: bool


def check_who(who: str) -> str:
    """The name of the person. Raises UsageError for none."""
    if not who.strip():
        raise UsageError("nobody has said who is at work", code="edit.who", what_to_do="Give a name first.")
    return who.strip()


def take(ds: Dataset, step: Step, *, who: str, undoes: str = "") -> str:
    """Take the step and return its id. The caller holds the lock since it read what the step is made from."""
    index = ds.index()
    before = {s.id: index.offsets.get(s.id) for s in step.samples}
    old = ds.facts()
    line = {
        "step": str(ULID()), "kind": step.kind, "what": step.what, "who": check_who(who), "when": now().isoformat(),
        "undoes": undoes or None, "entries": [e.entry for e in step.entries], "samples": before,
        "written": _span(ds, step.samples),
        "facts": {key: [old.get(key), value] for key, value in step.facts.items()},
    }  # fmt: skip
    append_to(ds.path / "steps.jsonl", [json.dumps(line, ensure_ascii=False, default=str).encode()])
    ds.append_entries(list(step.entries))
    ds.append_samples(list(step.samples))
    if step.facts:
        ds.note_facts(**step.facts)
    return str(line["step"])


def _span(ds: Dataset, samples: Sequence[Sample]) -> list[int]:
    """Where the lines of `samples` will lie in samples.jsonl: [first byte, byte behind the last]."""
    start = 0
    with contextlib.suppress(FileNotFoundError), ds.samples_path.open("rb") as f:
        start = f.seek(0, os.SEEK_END)
        if start and os.pread(f.fileno(), 1, start - 1) != b"\n":
            start += 1  # a line that a kill cut off is closed first
    return [start, start + sum(len(s.model_dump_json().encode()) + 1 for s in samples)]


# --- what was done ----------------------------------------------------------------------------------------------


def history(ds: Dataset) -> list[Taken]:
    """Every step, newest first. Raises DatasetError for a damaged line."""
    lines = list(_lines(ds))
    undone = {line["undoes"] for line in lines if line["undoes"]}
    return [
        Taken(
            line["step"], line["kind"], line["what"], line["who"], line["when"], line["undoes"], line["step"] in undone
        )
        for line in reversed(lines)
    ]


def _lines(ds: Dataset) -> Iterator[dict[str, Any]]:
    path = ds.path / "steps.jsonl"
    keys = {"step", "kind", "what", "who", "when", "undoes", "entries", "samples", "written", "facts"}
    for _, line in complete_lines(path, 0):
        if is_torn(line):
            continue
        found = json.loads(line)
        if not isinstance(found, dict) or not keys <= found.keys():
            raise damaged_line(path, line, "no step")
        yield found


def written(ds: Dataset) -> set[str]:
    """Ids of the log entries that steps have written, undoing too. Raises DatasetError for a damaged line."""
    return {entry for line in _lines(ds) for entry in line["entries"]}


def last(ds: Dataset) -> Taken | None:
    """The step that `undo` would undo: the newest that is neither undone nor an undoing."""
    return next((step for step in history(ds) if not step.undone and not step.undoes), None)


# --- undoing ----------------------------------------------------------------------------------------------------


def undo(ds: Dataset, kind: str, *, who: str, tool: str) -> dict[str, Any]:
    """Put back what the last step changed, if it is of that kind. {"step", "what", "entries", "samples", "left"}: `left`
    counts what somebody changed since, which stays. Raises UsageError when there is none, or classes or splits of the
    dataset were changed since."""
    with ds.lock():
        step = last(ds)
        if step is None or step.kind != kind:
            other = f"; the last step was: {step.what}" if step else ""
            raise UsageError(f"there is no {kind} to undo{other}", where=ds.name, code="edit.nothing",
                             what_to_do="Undo steps in the order in which they were taken, the last first.")  # fmt: skip
        line = next(line for line in _lines(ds) if line["step"] == step.id)
        facts = _facts_back(ds, line)
        entries, left_entries = _entries_back(ds, set(line["entries"]), who, tool)
        samples, left_samples = _samples_back(ds, line)
        back = Step(kind, f"undo: {step.what}", entries, samples, facts)
        taken = take(ds, back, who=who, undoes=step.id)
    return {"step": taken, "what": back.what, "entries": len(entries), "samples": len(samples),
            "left": left_entries + left_samples}  # fmt: skip


def _facts_back(ds: Dataset, line: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(json.dumps(ds.facts(), default=str))
    for key, (_, after) in line["facts"].items():
        if found.get(key) != after:
            raise UsageError(f"the {key} of the dataset were changed since", where=ds.name, code="edit.changed_since",
                             what_to_do="Go back to a version instead: trugrade data restore NAME@V.")  # fmt: skip
    return {key: before for key, (before, _) in line["facts"].items()}


def _entries_back(ds: Dataset, ours: set[str], who: str, tool: str) -> tuple[list[LogEntry], int]:
    """The entries that say again what was said before `ours`, and how many of `ours` no longer hold: somebody has said
    something else since. What was changed and changed back holds."""
    if not ours:
        return [], 0
    touched = {entry.annotation for entry in ds.log() if entry.entry in ours}
    known: dict[str, list[LogEntry]] = {}  # what replaces several entries has a line for each
    followers: dict[str, list[LogEntry]] = {}
    for entry in ds.log():
        if entry.annotation in touched:
            known.setdefault(entry.entry, []).append(entry)
            if entry.replaces:
                followers.setdefault(entry.replaces, []).append(entry)
    back, left = [], 0
    for lines in (lines for id, lines in known.items() if id in ours):
        head = _head(lines[0], followers)
        if head is None:
            left += 1
            continue
        for entry in lines:
            was = known[entry.replaces][0] if entry.replaces in known else None
            content: dict[str, Any] = DELETED if was is None else {
                "op": was.op, "label": was.label, "value": was.value, "attributes": was.attributes}  # fmt: skip
            back.append(head.model_copy(update={
                **content, "entry": str(ULID()), "replaces": head.entry, "who": who, "when": now(), "tool": tool,
                "suggested_by": was.suggested_by if was else None, "reason": ""}))  # fmt: skip
    return back, left


def _head(entry: LogEntry, followers: Mapping[str, Sequence[LogEntry]]) -> LogEntry | None:
    """What stands in the place of `entry` now and says the same; None where nothing does. Of several that replaced one
    entry (undoing brings back a conflict so) the one that says the same goes on."""
    head = entry
    while after := followers.get(head.entry, ()):
        if len(after) > 1:
            after = [one for one in after if said(one) == said(entry)]
        if len(after) != 1:
            return None
        head = after[0]
    return head if said(head) == said(entry) else None


def _samples_back(ds: Dataset, line: dict[str, Any]) -> tuple[list[Sample], int]:
    """Samples as they were before, and how many somebody changed since. Those that the step brought stay, excluded."""
    index, (first, behind) = ds.index(), line["written"]
    written = {}
    for offset, text in complete_lines(ds.samples_path, first):
        if offset >= behind:
            break
        sample = parsed(Sample, ds.samples_path, text)
        written[sample.id] = sample
    back, left = [], 0
    for id, offset in line["samples"].items():
        if id not in written or index.read(id) != written[id]:
            left += 1
        elif offset is None:
            back.append(written[id].model_copy(update={"excluded": f"undone: {line['what']}"}))
        else:
            back.append(_at(index, id, offset))
    return back, left


def _at(index: SampleIndex, id: str, offset: int) -> Sample:
    with index.path.open("rb") as f:
        f.seek(offset)
        found = parsed(Sample, index.path, f.readline())
    if found.id != id:
        raise DatasetError(f"the line at byte {offset} is not of sample {id}: the file was changed by hand",
                           where=str(index.path), code="dataset.damaged",
                           what_to_do="Restore the file from a copy, or go back to a version: trugrade data restore NAME@V.")  # fmt: skip
    return found
