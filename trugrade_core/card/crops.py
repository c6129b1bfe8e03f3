"""The crops in a dataset: what is there of each scan, what is new, what is superseded, and their labels kept in step.

A crop is known by its scan, its region and where exactly it was cut; the same again adds nothing. Cut elsewhere, the new
crop stands beside the old one, which is excluded and keeps all that was said of it; where it was moved by less than
MOVED_MM, what people said of it is said of the new one too, also when that is an earlier one come back: the later word
holds. Labels that came with the scan follow it for as long as nobody has touched them on the crop; what a person changed
or deleted there stays so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ulid import ULID

from trugrade_core.card.carry import carry
from trugrade_core.card.geometry import apply, inverse
from trugrade_core.card.regions import Cut, window
from trugrade_core.data.journal import complete_lines, is_torn, parsed
from trugrade_core.data.store import Dataset, put_entry, status_id
from trugrade_core.schema import Annotation, Box, LogEntry, Mask, Polygon, Sample, Status, Value, canonical_json, digest
from trugrade_core.workspace import now

TOOL = "derive"
MOVED_FROM = "moved_from"
"""Attribute of what a person said of a crop that was superseded: the annotation there."""
DRAWN_ON = "drawn_on"
"""Attribute of a label on a scan: the dataset of crops from which it was carried back."""
SUPERSEDED = "superseded"
SAME_PX = 1e-3
"""Two cuts of a region are the same when their corners lie this close in the scan."""
MOVED_MM = 0.5
FOLLOWS = ("card", "card_assumed", "design", "print", "session", "side", "origin")
"""What a crop takes from its scan, also when it changes there later."""


@dataclass(frozen=True)
class Label:
    """What shall stand on a crop; `origin` is the id of the annotation on the scan."""

    origin: str
    label: str | None
    value: Value
    attributes: dict[str, str | float | bool | None]


@dataclass
class _Head:
    """The last word in the log on a label that came with a scan."""

    entry: str
    sample: str
    ours: bool
    said: str | None


class Crops:
    """The crops that a dataset holds, by the scan they were cut from."""

    def __init__(self, ds: Dataset) -> None:
        self.ds = ds
        self.index = ds.index()
        self._by_scan: dict[tuple[str, str], list[str]] = {}
        self._seen: set[str] = set()
        self._heads: dict[str, _Head] = {}
        self._of_sample: dict[str, set[str]] = {}
        self._log_end = 0
        self.splits: dict[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take in what was written since, by anyone."""
        self.index.refresh()
        new = [id for id in self.index.offsets if id not in self._seen]
        for sample in self.index.read_all(new):
            self._seen.add(sample.id)
            if sample.split:
                self.splits.setdefault(sample.card, sample.split)
            if sample.parent:
                self._by_scan.setdefault((sample.parent.dataset, sample.parent.sample), []).append(sample.id)
        for offset, line in complete_lines(self.ds.log_path, self._log_end):
            self._log_end = offset + len(line)
            if not is_torn(line):
                self._take(line)

    def _take(self, line: bytes) -> None:
        said = json.loads(line)
        if said.get("tool") != TOOL and said.get("annotation") not in self._heads:
            return
        entry = parsed(LogEntry, self.ds.log_path, line)
        words = (
            None if entry.op == "delete" or entry.value is None else _words(entry.label, entry.value, entry.attributes)
        )
        self._heads[entry.annotation] = _Head(entry.entry, entry.sample, came_with_the_scan(entry), words)
        self._of_sample.setdefault(entry.sample, set()).add(entry.annotation)

    def of_scan(self, dataset: str, scan: str) -> list[Sample]:
        return list(self.index.read_all(self._by_scan.get((dataset, scan), [])))

    def find(self, dataset: str, scan: str, cut: Cut) -> Sample | None:
        """The crop of a scan that was cut just so, excluded or not."""
        return next((crop for crop in self.of_scan(dataset, scan) if _same(crop, cut)), None)

    def put(
        self, dataset: str, scan: str, crops: Sequence[tuple[Sample, Sequence[Label]]], *, who: str
    ) -> Counter[str]:
        """Write the crops of one scan with their labels. Counts: derived, unchanged, updated, superseded, restored, labels
        (entries written), touched (labels that people changed on the crop, left as they are), moved (what people said
        of crops that were superseded, said of the new ones), left_behind (superseded crops of which that was not done for
        they were moved too far), cut_no_more (those of which it was not done for nothing takes their place), older (what
        people said of superseded crops, left there, for it was said of the restored one later)."""
        count: Counter[str] = Counter()
        with self.ds.lock():
            self.refresh()
            wanted = {crop.parent.region: crop.id for crop, _ in crops if crop.parent}
            stale = {
                old.parent.region: old for old in self.of_scan(dataset, scan)
                if old.parent and old.id not in wanted.values() and old.excluded is None
            }  # fmt: skip
            heads, origin = self._said({*wanted.values(), *(old.id for old in stale.values())}) if stale else ({}, {})
            told = {id: said for id, own in heads.items() if (said := [e for e in own if not came_with_the_scan(e)])}
            samples, entries = [], []
            for crop, labels in crops:
                old, status = stale.get(crop.parent.region) if crop.parent else None, None
                if old and old.id in told and _moved_mm(old, crop) <= MOVED_MM:
                    moved = self._move(old, crop, told[old.id], heads.get(crop.id, []), labels, origin, count)
                    status = _status(moved) or (old.status if crop.id not in self.index.offsets else None)
                    entries += moved
                elif old and old.id in told:
                    count["left_behind"] += 1
                samples += self._sample(crop, status, count)
                entries += self._entries(crop.id, labels, who, count)
            for region, old in stale.items():
                by = wanted.get(region)
                count["cut_no_more"] += by is None and old.id in told
                reason = f"{SUPERSEDED} by {by}" if by else f"{SUPERSEDED}: its scan is cut otherwise now"
                samples.append(old.model_copy(update={"excluded": reason}))
                count["superseded"] += 1
            self.ds.append_entries(entries)  # labels first: a crop whose labels were lost would count as empty
            self.ds.append_samples(samples)
            self.refresh()
        return count

    def _sample(self, crop: Sample, status: str | None, count: Counter[str]) -> list[Sample]:
        """The line to write for a crop: itself when it is new, what it takes from its scan when that has changed. `status`
        is what people said of the one whose place it takes."""
        if crop.id not in self.index.offsets:
            count["derived"] += 1
            return [crop if status in (None, "unlabelled") else crop.model_copy(update={"status": status})]
        old = self.index.read(crop.id)
        changes: dict[str, Any] = {name: getattr(crop, name) for name in FOLLOWS}
        if (old.excluded or "").startswith(SUPERSEDED):
            changes["excluded"] = None
            count["restored"] += 1
        if status is not None:
            changes["status"] = status
        elif old.status == "unlabelled":
            changes["status"] = crop.status
        new = old.model_copy(update=changes)
        count["unchanged"] += 1
        count["updated"] += new != old
        return [new] if new != old else []

    def _said(self, crops: set[str]) -> tuple[dict[str, list[LogEntry]], dict[str, str]]:
        """By crop, the unreplaced entries of every layer; and of each annotation that began as another's, moved, that one."""
        heads: dict[str, LogEntry] = {}
        replaced, seen = set(), set()
        origin: dict[str, str] = {}
        for entry in self.ds.log():
            if entry.annotation not in seen and entry.tool == TOOL and MOVED_FROM in entry.attributes:
                origin[entry.annotation] = str(entry.attributes[MOVED_FROM])
            seen.add(entry.annotation)
            if entry.sample in crops:
                heads[entry.entry] = entry
                replaced.add(entry.replaces)
        found: dict[str, list[LogEntry]] = {}
        for number, entry in heads.items():
            if number not in replaced:
                found.setdefault(entry.sample, []).append(entry)
        return found, origin

    def _move(
        self, old: Sample, new: Sample, told: Sequence[LogEntry], there: Sequence[LogEntry], labels: Sequence[Label],
        origin: dict[str, str], count: Counter[str],
    ) -> list[LogEntry]:  # fmt: skip
        """What people said of `old`, as said of `new`: by the same people, when they said it, at the same place of the
        card. Of `there`, what is said of `new` already, it replaces what is older: what was moved once is not doubled. A
        label that came with the scan keeps its origin, so that what they changed or deleted does not come back."""
        came = {carried_id(old.id, label.origin): label.origin for label in labels}
        between = Cut("", inverse(_matrix(old)) @ _matrix(new), (new.main.width, new.main.height))
        began = {_beginning(entry.annotation, origin): entry.annotation for entry in there}
        last: dict[str, datetime] = {}
        for entry in told:
            last[entry.annotation] = max(entry.when, last.get(entry.annotation, entry.when))
        found: dict[str, list[LogEntry]] = {}
        for entry in told:
            value = entry.value
            if isinstance(value, Box | Polygon | Mask):
                annotation = Annotation(id=entry.annotation, sample=old.id, label=entry.label, value=value)
                inside = carry(annotation, [between]).get("")
                if inside is None:
                    continue
                value = inside[0]
            id = status_id(new.id, entry.layer) if isinstance(value, Status) else carried_id(
                new.id, came.get(entry.annotation, entry.annotation))  # fmt: skip
            if not isinstance(value, Status) and entry.annotation not in came:
                id = began.get(_beginning(entry.annotation, origin), id)
            heads = [head for head in there if head.annotation == id]
            known = [head.when for head in heads if not came_with_the_scan(head)]
            if known and max(known) >= last[entry.annotation]:
                count["older"] += max(known) > last[entry.annotation]
                continue
            if entry.op == "delete" and entry.annotation not in came and not heads:
                continue
            moved = entry.model_copy(update={
                "entry": str(ULID()), "annotation": id, "sample": new.id, "value": value,
                "tool": TOOL, "attributes": {**entry.attributes, MOVED_FROM: entry.annotation},
            })  # fmt: skip
            replaced: list[str | None] = [head.entry for head in heads]
            found[moved.entry] = [moved.model_copy(update={"replaces": head}) for head in replaced or [None]]
            self._heads[id] = _Head(moved.entry, new.id, False, None)
        count["moved"] += len(found)
        return [line for lines in found.values() for line in lines]

    def _entries(self, crop: str, labels: Sequence[Label], who: str, count: Counter[str]) -> list[LogEntry]:
        found = []
        wanted = set()
        for label in labels:
            annotation = Annotation(
                id=carried_id(crop, label.origin), sample=crop, label=label.label,
                value=label.value, attributes={**label.attributes, "from": label.origin},
            )  # fmt: skip
            wanted.add(annotation.id)
            head = self._heads.get(annotation.id)
            if head is not None and not head.ours:
                count["touched"] += head.said != _words(annotation.label, annotation.value, annotation.attributes)
            elif head is None or head.said != _words(annotation.label, annotation.value, annotation.attributes):
                found.append(put_entry(annotation, who=who, tool=TOOL, replaces=head.entry if head else None))
        for id in self._of_sample.get(crop, set()) - wanted:
            head = self._heads[id]
            if head.ours and head.said is not None:  # gone from the scan
                found.append(LogEntry(entry=str(ULID()), annotation=id, sample=crop, op="delete", replaces=head.entry,
                                      who=who, when=now(), tool=TOOL))  # fmt: skip
        count["labels"] += len(found)
        return found


def came_with_the_scan(entry: LogEntry) -> bool:
    """Whether a crop's entry says what was said of the scan, and nobody has said anything since."""
    return entry.tool == TOOL and MOVED_FROM not in entry.attributes


def _status(entries: Sequence[LogEntry]) -> str | None:
    """What the entries say last of a crop as a whole, in layer main."""
    said = [e.value.status for e in entries if e.layer == "main" and isinstance(e.value, Status)]
    return said[-1] if said else None


def _beginning(annotation: str, origin: dict[str, str]) -> str:
    while annotation in origin:
        annotation = origin[annotation]
    return annotation


def carried_id(crop: str, origin: str) -> str:
    """The id on a crop of what is the annotation `origin` on its scan."""
    return digest({"crop": crop, "from": origin})[:16]


def _matrix(crop: Sample) -> NDArray[np.float64]:
    if crop.parent is None:
        raise ValueError(f"{crop.id} is no crop")
    return np.array(crop.parent.homography, np.float64).reshape(3, 3)


def _moved_mm(old: Sample, new: Sample) -> float:
    """How far apart, at most, the corners of two crops of a region lie on the card."""
    ends = [apply(_matrix(crop), window(crop.main.width, crop.main.height)) for crop in (old, new)]
    return float(np.hypot(*(ends[0] - ends[1]).T).max()) * (new.mm_per_px or 0.0)


def _words(label: str | None, value: Value, attributes: dict[str, str | float | bool | None]) -> str:
    return canonical_json({"label": label, "value": value.model_dump(mode="json"), "attributes": attributes})


def _same(crop: Sample, cut: Cut) -> bool:
    if crop.parent is None or crop.parent.region != cut.region or (crop.main.width, crop.main.height) != cut.size_wh:
        return False
    return bool(np.abs(apply(_matrix(crop), cut.window) - apply(cut.matrix, cut.window)).max() < SAME_PX)
