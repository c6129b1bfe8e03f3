"""Bringing images and labels in: one pass over the source, everything good is taken, everything else is named.

Images go to the store by the sha256 of their bytes, labels into the annotation log under ids made from what they say,
so that importing twice adds nothing and a label that a person changed or deleted since does not come back.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trugrade_core.data import facts, images
from trugrade_core.data.classes import ClassNames
from trugrade_core.data.formats import choose
from trugrade_core.data.formats.base import ImportOptions, Item, Labels, Reading, Request
from trugrade_core.data.journal import SampleIndex, complete_lines, damaged_line
from trugrade_core.data.requests import make_request
from trugrade_core.data.source import Skip, shown
from trugrade_core.data.store import (
    Dataset,
    annotation_id,
    list_datasets,
    put_entry,
    sample_id,
    status_id,
)  # fmt: skip
from trugrade_core.errors import DatasetError, ImageError
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, ImageRef, LogEntry, Sample, Status
from trugrade_core.workspace import Workspace, check_name, sync_folder

__all__ = ["ImportOptions", "ImportReport", "Skip", "import_dataset"]

BATCH = 256
"""Images between two writes to the dataset: one fsync of each journal a batch."""
THREADS = min(4, os.cpu_count() or 1)
FILLER_DPI = (72.0, 96.0)
"""What programs write when they do not know the resolution."""


class ImportReport(BaseModel):
    """What an import came to. `images` are new samples, `annotations` new labels, `taken` accepted image files."""

    dataset: str
    format: str
    images: int = 0
    annotations: int = 0
    taken: int = 0
    skipped: list[Skip] = []
    notes: list[str] = []
    classes: dict[int, str] = {}

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


def import_dataset(
    ws: Workspace, source: Path, dataset: str, options: ImportOptions, *, progress: Progress | None = None
) -> ImportReport:
    """Import `source` (a folder, a .zip, a label file or one image) into the dataset, which is made if need be.

    With `options.dry_run` nothing is written. Raises DatasetError when the source is no dataset, UsageError for
    options that cannot be meant; a bad file or label is reported and left out.
    """
    check_name(dataset, "dataset")
    ds = Dataset(ws, dataset)
    is_there = dataset in list_datasets(ws)
    known = tuple(c.name for c in ds.classes) if is_there else ()
    request = make_request(source, options, known)
    try:
        row, finding = choose(request)
        reading = row.read(request, finding)
        if not options.dry_run:
            _create(ds)
        run = _Import(ds, request, reading, ImportReport(dataset=dataset, format=row.id))
        run.all(progress or (lambda done, total, text: None))
        return run.report
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise DatasetError(
            f"the workspace cannot be written ({e.strerror}); what was imported until then is kept",
            where=str(ws.root),
            code="dataset.cannot_write",
            what_to_do="Make room or choose another workspace with -w FOLDER, then import again: it goes on where it was.",
        ) from e
    finally:
        request.source.close()
        request.label_source.close()


def _create(ds: Dataset) -> None:
    """Make the dataset unless it is there, also when another process makes it at this moment."""
    if ds.name not in list_datasets(ds.ws):
        try:
            Dataset.create(ds.ws, ds.name)
        except DatasetError as e:
            if e.code != "dataset.exists":
                raise


# --- the pass -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Picture:
    """An item whose image was read. `stored` is a file that was written and not yet synced."""

    item: Item
    ref: ImageRef | None = None
    labels: Labels | None = None
    stored: Path | None = None
    reason: str = ""


@dataclass
class _Import:
    ds: Dataset
    request: Request
    reading: Reading
    report: ImportReport
    samples: dict[str, Sample] = field(default_factory=dict)
    entries: dict[str, LogEntry] = field(default_factory=dict)
    stored: list[Path] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    notes: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    twins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.options = self.request.options
        self.index = SampleIndex(self.ds.samples_path)
        self.index.refresh()
        self.log = _LoggedIds(self.ds.log_path)
        self.log.refresh()
        self.classes = ClassNames(self.options, self.reading, self.request.known_classes)
        self.facts = _facts(self.request, self.report)

    def all(self, progress: Progress) -> None:
        report = self.report
        report.skipped += [*self.request.source.refused, *self.reading.skipped]
        report.notes += [*self.reading.notes, *self.classes.notes]
        for done, picture in enumerate(_ahead(self.reading.items, self.read), 1):
            self.take(picture)
            progress(done, self.reading.total, shown(picture.item.file))
            if done % BATCH == 0:
                self.flush()
        self.flush()
        if not self.options.dry_run:
            self.classes.settle(self.ds)
        names = self.classes.known if self.options.dry_run else [c.name for c in self.ds.classes]
        report.classes = dict(enumerate(names, 1))
        report.notes += [f"{text}: {count}" for text, count in self.notes.items()]
        if self.twins:
            more = f" and {len(self.twins) - 10} more" if len(self.twins) > 10 else ""
            report.notes.append(
                f"the same bytes under {len(self.twins)} further paths, one sample with the labels of all: "
                + ", ".join(self.twins[:10])
                + more
            )

    def read(self, item: Item) -> _Picture:
        """Read, check and store one image, and parse its labels. Runs in a thread."""
        try:
            data = self.request.source.read(item.file)
            ref = images.probe(data, name=shown(item.file), max_pixels=self.options.max_pixels)
            path = self.ds.ws.image(ref.sha256, ref.suffix)
            id = sample_id({"main": ref})
            stored = None
            if id in self.index.offsets:
                ref = self.index.read(id).main
            if not _is_stored(path, ref):
                images.verify(data, name=shown(item.file))
                if not self.options.dry_run:
                    _store(path, data)
                    stored = path
        except (ImageError, DatasetError) as e:
            return _Picture(item, reason=e.message)
        try:
            labels = item.labels(ref) if item.labels else None
        except DatasetError as e:
            labels = Labels(skipped=[Skip(file=e.where or shown(item.file), reason=f"labels: {e.message}")])
        return _Picture(item, ref, labels, stored)

    def take(self, picture: _Picture) -> None:
        """Turn what was read into a sample and log entries of the present batch."""
        item, ref, labels = picture.item, picture.ref, picture.labels
        if ref is None:
            also = "; its labels were left out" if item.labels else ""
            self.report.skipped.append(Skip(file=shown(item.file), reason=picture.reason + also))
            return
        self.report.taken += 1
        if picture.stored is not None:
            self.stored.append(picture.stored)
        if ref.dpi in FILLER_DPI and self.options.dpi is None:
            self.notes["images that state 72 or 96 dpi, which is written when it is not known (give --dpi)"] += 1
        id, status = sample_id({"main": ref}), "unlabelled"
        if labels is not None:
            kept = self.take_labels(id, shown(item.file), labels)
            # All labels refused: what is in the picture is not known, so it is no background.
            status = "done" if kept or not labels.skipped else "unlabelled"
            if labels.status is not None:
                status = labels.status.status
                self.take_status(id, labels.status)
        if status == "unlabelled" and self.report.format != "folder":
            self.notes["images without usable labels, taken as unlabelled"] += 1
        found = {"split": item.split, **self.facts(item.file)}
        if item.card:
            found.setdefault("card", item.card)
        sample = Sample.model_validate(
            {"id": id, "images": {"main": ref}, "sources": (shown(item.file),), "card": id, "status": status, **found,
             "card_assumed": "card" not in found}
        )  # fmt: skip
        twin = self.files.setdefault(id, item.file)
        if twin != item.file:
            self.twins.append(f"{shown(item.file)} is {shown(twin)}")
        self.samples[id] = _merged(self.samples[id], sample, found) if id in self.samples else sample

    def take_labels(self, sample: str, file: str, labels: Labels) -> int:
        """How many labels were of a wanted class; new ones go into the batch."""
        kept = 0
        for label in labels.labels:
            ours, refused = self.classes.ours(label)
            if refused:
                labels.skipped.append(Skip(file=file, reason=refused))
            if ours is None:
                continue
            kept += 1
            id = annotation_id(sample, ours.name, ours.value, ours.layer)
            if id in self.log.ids or id in self.entries:
                continue
            annotation = Annotation(
                id=id, sample=sample, layer=ours.layer, label=ours.name, value=ours.value,
                attributes=dict(ours.attributes),
            )  # fmt: skip
            self.entries[id] = put_entry(
                annotation, who=self.options.who or "import", tool=f"import {self.report.format}"
            )
        self.report.skipped += labels.skipped
        self.notes.update(labels.notes)
        return kept

    def take_status(self, sample: str, status: Status) -> None:
        """What was said of the image as a whole goes into the log too, unless the dataset says something already."""
        id = status_id(sample)
        known = sample in self.index.offsets and self.index.read(sample).status != "unlabelled"
        if not known and id not in self.log.ids and id not in self.entries:
            said = Annotation(id=id, sample=sample, value=status)
            self.entries[id] = put_entry(said, who=self.options.who or "import", tool=f"import {self.report.format}")

    def flush(self) -> None:
        """Write the batch: bytes of images first, then labels, then samples, so that nothing is named before it is there."""
        for id in {entry.sample for entry in self.entries.values()} & self.index.offsets.keys():
            if self.index.read(id).status == "done":
                self.notes["images that had labels already; the new ones stand beside them"] += 1
        if self.options.dry_run:
            self.report.images += len(self.samples.keys() - self.index.offsets.keys() - self.seen)
            self.seen |= self.samples.keys()
            self.report.annotations += len(_labels_among(self.entries.values()))
            self.log.ids |= self.entries.keys()
        elif self.samples:
            _sync(self.stored)
            self.classes.declare(self.ds)
            with self.ds.lock():
                self.index.refresh()
                self.log.refresh()
                entries = [entry for id, entry in self.entries.items() if id not in self.log.ids]
                self.ds.append_entries(entries)
                self.ds.append_samples(list(self.changed()))
                self.index.refresh()
                self.log.refresh()
            self.report.annotations += len(_labels_among(entries))
        self.samples, self.entries, self.stored = {}, {}, []

    def changed(self) -> Iterator[Sample]:
        """The batch's samples that are new or say more than what is there. The caller holds the lock."""
        for id, sample in self.samples.items():
            if id not in self.index.offsets:
                self.report.images += 1
                yield sample
                continue
            old = self.index.read(id)
            new = _merged(old, sample, sample.model_dump(exclude_none=True))
            if new != old:
                yield new


def _labels_among(entries: Iterable[LogEntry]) -> list[LogEntry]:
    return [entry for entry in entries if not isinstance(entry.value, Status)]


def _facts(request: Request, report: ImportReport) -> Callable[[str], facts.Facts]:
    """What the options say of an image beside its labels; the cards CSV beats the file name."""
    options = request.options
    by_name = facts.from_names(options.card_pattern) if options.card_pattern else None
    table: dict[str, facts.Facts] = {}
    if options.cards is not None:
        table, skipped, notes = facts.from_table(options.cards, request.images)
        report.skipped += skipped
        report.notes += notes
    common: facts.Facts = {"dpi": options.dpi} if options.dpi else {}
    if options.origin != "real":
        common["origin"] = options.origin
    return lambda file: {**common, **(by_name(file) if by_name else {}), **table.get(file, {})}


def _merged(old: Sample, new: Sample, said: dict[str, Any]) -> Sample:
    """`old` with what is new: more sources, a label's state, and the facts in `said`. A split, once given, stays."""
    changes: dict[str, Any] = {
        name: said[name] for name in ("design", "print", "session", "side", "dpi") if said.get(name) is not None
    }
    if not new.card_assumed:
        changes |= {"card": new.card, "card_assumed": False}
    if "origin" in new.model_fields_set:  # said, even if it is real
        changes["origin"] = new.origin
    if old.status == "unlabelled":
        changes["status"] = new.status
    changes["split"] = old.split or new.split
    changes["sources"] = tuple(dict.fromkeys([*old.sources, *new.sources]))
    return old.model_copy(update=changes)


# --- files --------------------------------------------------------------------------------------------------------


class _LoggedIds:
    """The ids of every annotation that was ever in a log, also of deleted ones."""

    def __init__(self, path: Path) -> None:
        self.path, self.ids, self.end = path, set[str](), 0

    def refresh(self) -> None:
        for offset, line in complete_lines(self.path, self.end):
            with contextlib.suppress(ValueError):  # torn
                try:
                    self.ids.add(json.loads(line)["annotation"])
                except (KeyError, TypeError) as e:
                    raise damaged_line(self.path, line, e) from e
            self.end = offset + len(line)


def _ahead(items: Iterable[Item], work: Callable[[Item], _Picture]) -> Iterator[_Picture]:
    """`work` on each item, in order, a few at a time in threads: that many images are in memory and no more."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[_Picture]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _is_stored(path: Path, ref: ImageRef) -> bool:
    """Whether the store holds these very bytes; a file half-written before a power cut is not trusted."""
    try:
        if path.stat().st_size != ref.bytes:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == ref.sha256
    except FileNotFoundError:
        return False


def _store(path: Path, data: bytes) -> None:
    """Write whole or not at all; `_sync` makes it last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        temp.write_bytes(data)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def _sync(paths: list[Path]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
