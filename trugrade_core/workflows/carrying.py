"""What was drawn on crops, here or in Label Studio, said of the scans that they were cut from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from ulid import ULID

from trugrade_core.annotate.locks import pushed
from trugrade_core.annotate.saving import SEVERITIES
from trugrade_core.card.crops import DRAWN_ON, came_with_the_scan, carried_id
from trugrade_core.card.joining import join, on_scan, united
from trugrade_core.data import steps
from trugrade_core.data.journal import parsed
from trugrade_core.data.steps import Step, check_who
from trugrade_core.data.store import DELETED, Dataset, annotation_in, list_datasets, put_entry, said
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, LogEntry, Sample, Score, Tags, digest
from trugrade_core.workspace import Workspace, now

KIND = "carry back"
TOOL = "carry_back"
LEFT_OUT = ("skipped", "rescan")


class CarryReport(BaseModel):
    """What `carry_back` said of the scans, or would. `added`, `changed`, `removed` and `unchanged` count labels of the scans;
    `joined` those that were drawn on several crops each. Left as they are: `touched`, which people changed on the scan
    since; `came`, which came to the crop with its scan and were changed there; `whole`, scores and tags, which are the
    crop's own. `left_out` are scans, each with its reason. `steps` undo it, by dataset of scans."""

    dataset: str
    into: list[str] = []
    scans: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    joined: int = 0
    touched: int = 0
    came: int = 0
    whole: int = 0
    classes: list[str] = []
    left_out: list[dict[str, str]] = []
    steps: dict[str, str] = {}

    def notes(self) -> list[str]:
        """In words, what a person should know beside the counts."""
        return [text for count, text in (
            (self.joined, f"drawn on several crops and one on the scan: {self.joined}"),
            (self.touched, f"changed on the scan by people, and left as they are there: {self.touched}"),
            (self.came, f"came to a crop with its scan and changed there, to be changed on the scan: {self.came}"),
            (self.whole, f"scores and tags, which are the crops' own and stay there: {self.whole}"),
            (self.classes, f"new classes in the scans' dataset: {', '.join(self.classes)}"),
        ) if count]  # fmt: skip


def carry_back(ws: Workspace, name: str, *, who: str, preview: bool = False) -> CarryReport:
    """Say of each scan what was drawn on the crops in `name`, in the scan's own pixels; one step for each dataset of scans,
    which `undo_carry_back` takes back. Doing it again changes what was changed on the crops since, no more.

    Raises DatasetError for a dataset that holds no crops.
    """
    crops, who = Dataset.open(ws, name), who if preview else check_who(who)
    report = CarryReport(dataset=name)
    drawn = _drawn(crops, report)
    with ExitStack() as locks:
        for source, scans in sorted(drawn.items()):
            if source not in list_datasets(ws):
                report.left_out.append({"dataset": source, "sample": "", "reason": "there is no such dataset any more"})
                continue
            ds = Dataset.open(ws, source)
            locks.enter_context(ds.lock())
            entries = list(_entries(ds, name, scans, who, report))
            if not entries:
                continue
            report.into.append(source)
            used = {entry.label for entry in entries} - {c.name for c in ds.classes}
            classes = [c for c in crops.classes if c.name in used]
            report.classes += [c.name for c in classes]
            if not preview:
                facts = {"classes": [c.model_dump() for c in (*ds.classes, *classes)]} if classes else {}
                report.steps[source] = steps.take(ds, Step(KIND, _what(name), entries, [], facts), who=who)
    return report


def undo_carry_back(ws: Workspace, name: str, *, who: str) -> dict[str, dict[str, Any]]:
    """{dataset of scans: see `steps.undo`} of the last carrying back from `name`. Raises UsageError where there is none, or
    something else was done since."""
    last = undoable(ws, name)
    if not last:
        raise UsageError("there is no carry back to undo, or something else was done with the scans since", where=name,
                         code="edit.nothing", what_to_do="Undo steps in the order in which they were taken, the last first.")  # fmt: skip
    # Undone there with the tool of carrying back, for it is to be done again when the crops have been mended.
    return {source: steps.undo(Dataset.open(ws, source), KIND, who=who, tool=TOOL) for source in last}


def sources(ws: Workspace, name: str) -> list[str]:
    """The datasets that hold the scans of the crops in `name`, by name; none when it holds no crops."""
    return sorted({crop.parent.dataset for crop in Dataset.open(ws, name).iter_samples() if crop.parent})


def undoable(ws: Workspace, name: str) -> list[str]:
    """The datasets of scans in which carrying back from `name` was the last step. Raises DatasetError when it holds no
    crops."""
    held = sources(ws, name)
    if not held:
        raise _no_crops(name)
    there = [Dataset(ws, source) for source in held if source in list_datasets(ws)]
    return [ds.name for ds in there if (last := steps.last(ds)) and (last.kind, last.what) == (KIND, _what(name))]


def _what(name: str) -> str:
    return f"carry labels back from '{name}'"


def _no_crops(name: str) -> DatasetError:
    return DatasetError("holds no crops of scans", where=name, code="card.no_crops",
                        what_to_do="Labels are carried back from a dataset that trugrade data derive has made.")  # fmt: skip


# --- what was drawn on the crops ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """A shape that somebody drew on a crop."""

    crop: Sample
    entry: LogEntry


def _drawn(ds: Dataset, report: CarryReport) -> dict[str, dict[str, list[_Said]]]:
    """{dataset of scans: {scan: what was drawn on its crops}}, also of scans on whose crops nothing was drawn."""
    lines, found = ds.current(), dict[str, dict[str, list[_Said]]]()
    came = {e.annotation for e in ds.log() if came_with_the_scan(e)}
    for crop in ds.iter_samples():
        if crop.parent is None:
            continue
        own = found.setdefault(crop.parent.dataset, {}).setdefault(crop.parent.sample, [])
        if crop.excluded is not None or crop.status in LEFT_OUT:
            continue
        for entry in (parsed(LogEntry, ds.log_path, line) for line in lines.get(crop.id, ())):
            if isinstance(entry.value, Tags | Score):
                report.whole += 1
            elif entry.annotation in came or entry.annotation == carried_id(crop.id, str(entry.attributes.get("from"))):
                report.came += not came_with_the_scan(entry)
            else:
                own.append(_Said(crop, entry))
    if not found:
        raise _no_crops(ds.name)
    return found


# --- what is said of the scans --------------------------------------------------------------------------------------


def _entries(
    ds: Dataset, crops: str, scans: Mapping[str, Sequence[_Said]], who: str, report: CarryReport
) -> Iterator[LogEntry]:
    """What must be said of the scans in `ds`, so that they say what is drawn on their crops, and no more of it."""
    heads = _heads(ds)
    mine = _carried(heads, crops)
    index = ds.index()
    for scan, drawn in scans.items():
        why = "it is not in the dataset" if scan not in index.offsets else pushed(ds, scan)
        if why:
            report.left_out += [{"dataset": ds.name, "sample": scan, "reason": why}] if drawn or scan in mine else []
            continue
        wanted = dict(_wanted(index.read(scan), drawn, crops, report)) if drawn else {}
        count = 0
        for id, put in wanted.items():
            for entry in _put(put, heads.get(id, ()), report):
                count += 1
                yield entry
        for head in mine.get(scan, ()):
            if head.annotation not in wanted:
                count += 1
                report.removed += 1
                yield head.model_copy(update={**DELETED, "entry": str(ULID()), "replaces": head.entry, "who": who,
                                              "when": now(), "tool": TOOL, "suggested_by": None})  # fmt: skip
        report.scans += bool(count)


def _heads(ds: Dataset) -> dict[str, list[LogEntry]]:
    return {
        annotation: [parsed(LogEntry, ds.log_path, line) for line in lines]
        for annotation, lines in ds.heads_by_annotation("main").items()
    }


def _carried(heads: Mapping[str, Sequence[LogEntry]], crops: str) -> dict[str, list[LogEntry]]:
    """By scan, the labels that stand there as they were carried back from `crops`."""
    found: dict[str, list[LogEntry]] = {}
    for own in heads.values():
        if len(own) == 1 and own[0].tool == TOOL and own[0].attributes.get(DRAWN_ON) == crops:
            found.setdefault(own[0].sample, []).append(own[0])
    return found


def _wanted(scan: Sample, drawn: Sequence[_Said], crops: str, report: CarryReport) -> Iterator[tuple[str, LogEntry]]:
    """(annotation id, what is to be said) for each thing that was drawn on crops of a scan."""
    authors = {one.entry.annotation: one.entry for one in drawn}
    shapes = [on_scan(one.crop, annotation_in(one.entry), scan) for one in drawn]
    for group in join(shapes):
        first = authors[group[0].annotation.id]
        given = {d.annotation.attributes.get("severity") for d in group}
        worst = next((severity for severity in reversed(SEVERITIES) if severity in given), None)
        annotation = Annotation(
            id=digest({"scan": scan.id, "from": first.annotation})[:16], sample=scan.id, label=first.label,
            value=united(group, (scan.main.height, scan.main.width)),
            attributes={**first.attributes, **({"severity": worst} if worst else {}), DRAWN_ON: crops},
        )  # fmt: skip
        report.joined += len(group) > 1
        yield annotation.id, put_entry(annotation, who=first.who, tool=TOOL, suggested_by=first.suggested_by)


def _put(put: LogEntry, heads: Sequence[LogEntry], report: CarryReport) -> Iterator[LogEntry]:
    """The entry, where it says something new; what people said of the label since is left."""
    if any(head.tool != TOOL for head in heads) or len(heads) > 1:
        report.touched += any(said(head) != said(put) for head in heads)
    elif heads and said(heads[0]) == said(put):
        report.unchanged += 1
    else:
        was = heads[0] if heads else None
        report.changed += was is not None and was.op == "put"
        report.added += was is None or was.op == "delete"
        yield put.model_copy(update={"replaces": was.entry if was else None})
