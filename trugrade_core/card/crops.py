"""The crops in a dataset: what is there of each scan, what is new, what is superseded, and their labels kept in step.

A crop is known by its scan, its region and where exactly it was cut; the same again adds nothing. Cut elsewhere, the new
crop stands beside the old one, which is excluded and keeps all that was said of it; where it was moved by less than
MOVED_MM, what people said of it is said of the new one too. Labels that came with the scan follow it for as long as
nobody has touched them on the crop; what a person changed or deleted there stays so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
        self._heads[entry.annotation] = _Head(entry.entry, entry.sample, _came_with_the_scan(entry), words)
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
        of crops that were superseded, said of the new ones), left_behind (superseded crops of which that was not done)."""
        count: Counter[str] = Counter()
        with self.ds.lock():
            self.refresh()
            wanted = {crop.parent.region: crop.id for crop, _ in crops if crop.parent}
            stale = {
                old.parent.region: old for old in self.of_scan(dataset, scan)
                if old.parent and old.id not in wanted.values() and old.excluded is None
            }  # fmt: skip
            said = self._said_by_people({old.id for old in stale.values()}) if stale else {}
            samples, entries = [], []
            for crop, labels in crops:
                old = stale.get(crop.parent.region) if crop.parent and crop.id not in self.index.offsets else None
                told = said.get(old.id, []) if old else []
                if old and told and _moved_mm(old, crop) <= MOVED_MM:
                    entries += self._move(old, crop, told, labels, count)
                    crop = crop if old.status == "unlabelled" else crop.model_copy(update={"status": old.status})
                elif told:
                    count["left_behind"] += 1
                samples += self._sample(crop, count)
                entries += self._entries(crop.id, labels, who, count)
            for region, old in stale.items():
                by = wanted.get(region)
                reason = f"{SUPERSEDED} by {by}" if by else f"{SUPERSEDED}: its scan is cut otherwise now"
                samples.append(old.model_copy(update={"excluded": reason}))
                count["superseded"] += 1
            self.ds.append_entries(entries)  # labels first: a crop whose labels were lost would count as empty
            self.ds.append_samples(samples)
            self.refresh()
        return count

    def _sample(self, crop: Sample, count: Counter[str]) -> list[Sample]:
        """The line to write for a crop: itself when it is new, what it takes from its scan when that has changed."""
        if crop.id not in self.index.offsets:
            count["derived"] += 1
            return [crop]
        old = self.index.read(crop.id)
        changes: dict[str, Any] = {name: getattr(crop, name) for name in FOLLOWS}
        if (old.excluded or "").startswith(SUPERSEDED):
            changes["excluded"] = None
            count["restored"] += 1
        if old.status == "unlabelled":
            changes["status"] = crop.status
        new = old.model_copy(update=changes)
        count["unchanged"] += 1
        count["updated"] += new != old
        return [new] if new != old else []

    def _said_by_people(self, crops: set[str]) -> dict[str, list[LogEntry]]:
        """By crop, the unreplaced entries, of every layer, that did not come with the scan."""
        heads: dict[str, LogEntry] = {}
        replaced = set()
        for entry in self.ds.log():
            if entry.sample in crops:
                heads[entry.entry] = entry
                replaced.add(entry.replaces)
        found: dict[str, list[LogEntry]] = {}
        for number, entry in heads.items():
            if number not in replaced and not _came_with_the_scan(entry):
                found.setdefault(entry.sample, []).append(entry)
        return found

    def _move(
        self, old: Sample, new: Sample, told: Sequence[LogEntry], labels: Sequence[Label], count: Counter[str]
    ) -> list[LogEntry]:
        """What people said of `old`, as said of `new`: by the same people, at the same place of the card. A label that
        came with the scan keeps its origin, so that what they changed or deleted does not come back."""
        came = {_carried_id(old.id, label.origin): label.origin for label in labels}
        between = Cut("", inverse(_matrix(old)) @ _matrix(new), (new.main.width, new.main.height))
        found = []
        for entry in told:
            value = entry.value
            if isinstance(value, Box | Polygon | Mask):
                annotation = Annotation(id=entry.annotation, sample=old.id, label=entry.label, value=value)
                inside = carry(annotation, [between]).get("")
                if inside is None:
                    continue
                value = inside[0]
            id = status_id(new.id, entry.layer) if isinstance(value, Status) else _carried_id(
                new.id, came.get(entry.annotation, entry.annotation))  # fmt: skip
            if entry.op == "delete" and entry.annotation not in came:
                continue
            moved = entry.model_copy(update={
                "entry": str(ULID()), "annotation": id, "sample": new.id, "replaces": None, "value": value,
                "when": now(), "tool": TOOL, "attributes": {**entry.attributes, MOVED_FROM: entry.annotation},
            })  # fmt: skip
            found.append(moved)
            self._heads[id] = _Head(moved.entry, new.id, False, None)
        count["moved"] += len(found)
        return found

    def _entries(self, crop: str, labels: Sequence[Label], who: str, count: Counter[str]) -> list[LogEntry]:
        found = []
        wanted = set()
        for label in labels:
            annotation = Annotation(
                id=_carried_id(crop, label.origin), sample=crop, label=label.label,
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


def _came_with_the_scan(entry: LogEntry) -> bool:
    return entry.tool == TOOL and MOVED_FROM not in entry.attributes


def _carried_id(crop: str, origin: str) -> str:
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
