"""Edits of many samples in one step, each a batch with an id that can be undone as one.

    edits.jsonl   append-only: a line with who, when and what for each batch, then its changes, a line for each thousand
                  samples, written before the change itself; an undo is a batch too

Samples and log entries are appended as for any other edit. Each thousand samples are read and written under the
dataset's lock, so that nobody's work is overwritten unseen: what somebody changed since is left as it is, and said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ulid import ULID

from trugrade_core.data.edits import (
    Edit as Edit,
)
from trugrade_core.data.edits import (
    Exclude as Exclude,
)
from trugrade_core.data.edits import (
    GiveScore as GiveScore,
)
from trugrade_core.data.edits import (
    Reclass as Reclass,
)
from trugrade_core.data.edits import (
    SetStatus as SetStatus,
)
from trugrade_core.data.edits import (
    Tag as Tag,
)
from trugrade_core.data.edits import (
    asked,
    edit_of,
    lines,
    note,
)
from trugrade_core.data.edits import (
    history as history,
)
from trugrade_core.data.explore import Explorer
from trugrade_core.data.filters import Filter
from trugrade_core.data.journal import batched
from trugrade_core.data.steps import Held, check_who
from trugrade_core.data.store import DELETED, Dataset, put_entry, status_id
from trugrade_core.errors import UsageError, nearest
from trugrade_core.runs import Progress
from trugrade_core.schema import (
    Annotation,
    LogEntry,
    Sample,
    Score,
    Status,
    Value,
    digest,
)
from trugrade_core.workspace import now

BATCH = 1000


@dataclass
class Applied:
    """What a batch did: samples changed, samples that were so already, and those left as they are, with the reason."""

    batch: str
    what: str
    changed: int = 0
    unchanged: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


# --- doing --------------------------------------------------------------------------------------------------------


def apply(
    found: Explorer,
    edit: Edit,
    ids: Sequence[str],
    *,
    who: str,
    tool: str = "explorer",
    where: str = "",
    held: Held = lambda ids: {},
    progress: Progress = lambda done, total, text: None,
) -> Applied:
    """Do it to every sample of `ids`. `where` says in words how they were chosen. Raises UsageError and changes nothing:
    an unknown class or nobody who does it."""
    ds = found.ds
    _check(ds, edit, who)
    done = Applied(str(ULID()), edit.words())
    begun = False
    for batch in batched(ids, BATCH):
        with ds.lock():
            found.refresh()
            changes, entries, samples = [], [], []
            for change, new, sample in _changes(found, edit, batch, who, tool, held, done):
                changes.append(change)
                entries += new
                samples += [sample] if sample else []
            if changes:
                head = {"batch": done.batch, "who": who, "when": now().isoformat(), "tool": tool, "where": where,
                        "edit": edit.model_dump(mode="json")}  # fmt: skip
                note(ds, *([] if begun else [head]), {"batch": done.batch, "changes": changes})
                ds.append_entries(entries)
                ds.append_samples(samples)
                begun = True
        done.changed += len(changes)
        progress(done.changed + done.unchanged + len(done.left), len(ids), done.what)
    found.refresh()
    return done


def _check(ds: Dataset, edit: Edit, who: str) -> None:
    check_who(who)
    if isinstance(edit, Reclass):
        kinds = {c.name: c.shape for c in ds.classes}
        if kinds.get(edit.new, "tags") in ("tags", "score"):
            raise UsageError(f"'{edit.new}' is not a class of shapes of this dataset", code="edit.class",
                             what_to_do=nearest(edit.new, [name for name, kind in kinds.items() if kind not in ("tags", "score")]))  # fmt: skip


Change = list[Any]
"""The sample's id, then what was there before: of a tag nothing, of an exclusion its reason, else a list of
[annotation, the new entry, what the old one said or None]."""


def _changes(
    found: Explorer, edit: Edit, ids: Sequence[str], who: str, tool: str, held: Held, done: Applied
) -> Iterator[tuple[Change, list[LogEntry], Sample | None]]:
    """What must be written for each of `ids`; the others are counted in `done`."""
    if isinstance(edit, Tag | Exclude):
        for row in found.get(ids):
            change, sample = _marked(edit, row.sample)
            done.unchanged += change is None
            if change is not None:
                yield change, [], sample
        return
    blocked = held(ids)
    said = dict(found.entries(ids))
    for row in found.get(ids):
        sample = row.sample
        if why := blocked.get(sample.id):
            done.left.append((sample.id, why))
            continue
        heads = _heads(said.get(sample.id, []))
        if stuck := next((name for name in _touched(edit, sample, heads) if len(heads[name]) > 1), None):
            people = " and ".join(dict.fromkeys(entry.who for entry in heads[stuck]))
            done.left.append((sample.id, f"{people} say different things; settle that first"))
            continue
        change, entries = _said(edit, sample, {name: entries[-1] for name, entries in heads.items()}, who, tool)
        if not entries:
            done.unchanged += 1
            continue
        status = edit.status if isinstance(edit, SetStatus) and edit.status != sample.status else None
        yield change, entries, sample.model_copy(update={"status": status}) if status else None


def _marked(edit: Tag | Exclude, sample: Sample) -> tuple[Change | None, Sample | None]:
    if isinstance(edit, Exclude):
        if sample.excluded == edit.reason:
            return None, None
        return [sample.id, sample.excluded], sample.model_copy(update={"excluded": edit.reason})
    if (edit.tag in sample.tags) == edit.on:
        return None, None
    tags = (*sample.tags, edit.tag) if edit.on else tuple(tag for tag in sample.tags if tag != edit.tag)
    return [sample.id, sample.tags.index(edit.tag) if not edit.on else 0], sample.model_copy(update={"tags": tags})


def _heads(entries: Sequence[LogEntry]) -> dict[str, list[LogEntry]]:
    heads: dict[str, list[LogEntry]] = {}
    for entry in entries:
        heads.setdefault(entry.annotation, []).append(entry)
    return heads


def _touched(edit: GiveScore | Reclass | SetStatus, sample: Sample, heads: Mapping[str, list[LogEntry]]) -> list[str]:
    """Annotations that the edit would replace."""
    if isinstance(edit, SetStatus):
        return [status_id(sample.id)] if status_id(sample.id) in heads else []
    if isinstance(edit, GiveScore):
        return [name for name, said in heads.items() if any(isinstance(e.value, Score) for e in said)]
    return [name for name, said in heads.items() if any(_is_shape(e) and edit.old in (None, e.label) for e in said)]


def _is_shape(entry: LogEntry) -> bool:
    return entry.op == "put" and entry.value is not None and entry.value.type in ("box", "polygon", "mask")


def score_id(sample: str) -> str:
    """The id of the score that the explorer gives: one a sample, so that two people's are a conflict."""
    return digest({"sample": sample, "layer": "main", "score": True})[:16]


def _said(
    edit: GiveScore | Reclass | SetStatus, sample: Sample, heads: Mapping[str, LogEntry], who: str, tool: str
) -> tuple[Change, list[LogEntry]]:
    changes: list[list[Any]] = []
    entries: list[LogEntry] = []

    def put(name: str, label: str | None, value: Value, was: Any) -> None:
        old = heads.get(name)
        annotation = Annotation(
            id=name, sample=sample.id, label=label, value=value, attributes=old.attributes if old else {}
        )
        entry = put_entry(annotation, who=who, tool=tool, replaces=old.entry if old else None)
        entries.append(entry)
        changes.append([name, entry.entry, was])

    if isinstance(edit, SetStatus):
        name, value = status_id(sample.id), Status(status=edit.status, comment=edit.comment)
        head = heads.get(name)
        was = head.value if head and isinstance(head.value, Status) else None
        if was != value and (was is not None or sample.status != value.status or value.comment):
            before = {"status": sample.status, "comment": was.comment if was else "", "said": was is not None}
            put(name, None, value, before)
    elif isinstance(edit, GiveScore):
        given = {name: e.value.score for name, e in heads.items() if isinstance(e.value, Score)}
        if not given:
            put(score_id(sample.id), None, Score(score=edit.score), None)
        for name, score in given.items():
            if score != edit.score:
                put(name, heads[name].label, Score(score=edit.score), score)
    else:
        for name in (name for name, e in heads.items() if _is_shape(e) and edit.old in (None, e.label)):
            value_of = heads[name].value
            if heads[name].label != edit.new and value_of is not None:
                put(name, edit.new, value_of, heads[name].label)
    return [sample.id, changes], entries


# --- undoing ------------------------------------------------------------------------------------------------------


def undo(
    found: Explorer,
    batch: str = "",
    *,
    who: str,
    tool: str = "explorer",
    held: Held = lambda ids: {},
    progress: Progress = lambda done, total, text: None,
) -> Applied:
    """Put back what the batch changed (the last one that is not undone, by default), by new lines. A sample that
    somebody changed since in what the batch had set stays as it is. Raises UsageError: no such batch, or undone before."""
    ds = found.ds
    check_who(who)
    of = asked(ds, batch)
    edit = edit_of(ds, of.id)
    changes = [change for line in lines(ds) if line.get("batch") == of.id for change in line.get("changes", [])]
    done = Applied(str(ULID()), f"undo: {edit.words()}")
    for part in batched(changes, BATCH):
        with ds.lock():
            found.refresh()
            ids, entries, samples = _undone(found, edit, part, who, tool, held, done)
            note(ds, {"batch": done.batch, "changes": [[id] for id in ids]})
            ds.append_entries(entries)
            ds.append_samples(samples)
        done.changed += len(ids)
        progress(done.changed + len(done.left), len(changes), done.what)
    # Last, so that an undo that was cut off can be done again: what it has put back is left then.
    with ds.lock():
        note(ds, {"batch": done.batch, "who": who, "when": now().isoformat(), "tool": tool, "where": of.where,
                   "undoes": of.id, "edit": edit.model_dump(mode="json"), "changes": []})  # fmt: skip
    found.refresh()
    return done


def _undone(
    found: Explorer, edit: Edit, changes: Sequence[Change], who: str, tool: str, held: Held, done: Applied
) -> tuple[list[str], list[LogEntry], list[Sample]]:
    """The samples to be put back, and the lines that do it; those that are not are told in `done`."""
    back: list[str] = []
    entries: list[LogEntry] = []
    samples: list[Sample] = []
    ids = [change[0] for change in changes]
    rows = {row.sample.id: row.sample for row in found.get(ids)}
    marks = isinstance(edit, Tag | Exclude)
    said = {} if marks else dict(found.entries(ids))
    blocked = {} if marks else held(ids)
    classes = {c.name for c in found.ds.classes}
    for id, before in changes:
        sample, again, why = rows.get(id), None, "it is no longer in the dataset"
        new: list[LogEntry] = []
        if sample is not None and isinstance(edit, Tag | Exclude):
            again, why = _unmarked(edit, sample, before)
        elif sample is not None:
            new, why = _unsaid(_heads(said.get(id, [])), before, who, tool)
            if isinstance(edit, Reclass) and (
                gone := [was for _, _, was in before if was is not None and was not in classes]
            ):
                why = f"the class '{gone[0]}' is no longer in the list"
            why = blocked.get(id, why)
            if isinstance(edit, SetStatus) and sample.status != before[0][2]["status"]:
                again = sample.model_copy(update={"status": before[0][2]["status"]})
        if why:
            done.left.append((id, why))
            continue
        back.append(id)
        entries += new
        samples += [again] if again else []
    return back, entries, samples


def _unmarked(edit: Tag | Exclude, sample: Sample, before: Any) -> tuple[Sample | None, str]:
    if isinstance(edit, Exclude):
        if sample.excluded != edit.reason:
            now_so = f"excluded: {sample.excluded}" if sample.excluded else "taken in again"
            return None, f"it was {now_so} since"
        return sample.model_copy(update={"excluded": before}), ""
    if (edit.tag in sample.tags) != edit.on:
        return None, "the tag was taken off since" if edit.on else "the tag was put on since"
    if edit.on:
        return sample.model_copy(update={"tags": tuple(tag for tag in sample.tags if tag != edit.tag)}), ""
    tags = [*sample.tags[:before], edit.tag, *sample.tags[before:]]
    return sample.model_copy(update={"tags": tuple(tags)}), ""


def _unsaid(
    heads: Mapping[str, list[LogEntry]], before: list[list[Any]], who: str, tool: str
) -> tuple[list[LogEntry], str]:
    """The entries that say again what was said before, or why not: somebody else has said something since."""
    entries = []
    for name, ours, was in before:
        now_said = heads.get(name, [])
        others = [entry for entry in now_said if entry.entry != ours]
        if others or not now_said:
            return [], f"{others[-1].who} changed it since" if others else "it was changed since"
        entry = now_said[0]
        changes: dict[str, Any] = {"entry": str(ULID()), "replaces": ours, "who": who, "when": now(), "tool": tool}
        if (isinstance(entry.value, Score) and was is None) or (isinstance(was, dict) and not was["said"]):
            changes |= DELETED
        elif isinstance(entry.value, Status):
            changes["value"] = Status(status=was["status"], comment=was["comment"])
        elif isinstance(entry.value, Score):
            changes["value"] = Score(score=was)
        else:
            changes["label"] = was
        entries.append(entry.model_copy(update=changes))
    return entries, ""


# --- what would change --------------------------------------------------------------------------------------------


def preview(found: Explorer, edit: Edit, f: Filter) -> tuple[int, int]:
    """(samples that fit, how many of them the edit would change). Raises as `apply`."""
    _check(found.ds, edit, "anybody")
    condition: dict[str, tuple[str, list[Any]]] = {
        "tag": ("list_contains(tags, ?) <> ?", [getattr(edit, "tag", ""), getattr(edit, "on", True)]),
        "exclude": ("excluded IS DISTINCT FROM ?", [getattr(edit, "reason", None)]),
        "status": ("status <> ?", [getattr(edit, "status", "")]),
        "score": ("score IS DISTINCT FROM ?", [getattr(edit, "score", 0.0)]),
        "class": (
            "id IN (SELECT sample FROM shapes WHERE kind IN ('box', 'polygon', 'mask') AND label <> ? AND (? OR label = ?))",
            [getattr(edit, "new", ""), getattr(edit, "old", None) is None, getattr(edit, "old", "") or ""],
        ),
    }
    return found.count(f), found.count_also(f, *condition[edit.do])
