"""Cutting the regions that tasks look at out of whole scans: one scan feeds every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from trugrade_core.card import carry as carrying
from trugrade_core.card import outline, pixels, plane, regions
from trugrade_core.card.crops import DRAWN_ON, FOLLOWS, Crops, Label
from trugrade_core.card.geometry import apply
from trugrade_core.card.refine import refine
from trugrade_core.data.card_facts import FORMATS
from trugrade_core.data.images import probe
from trugrade_core.data.store import Dataset, list_datasets, sample_id
from trugrade_core.errors import DatasetError, TruGradeError, UsageError, nearest
from trugrade_core.runs import Progress, RunFolder
from trugrade_core.schema import Annotation, Box, Lineage, Mask, Polygon, Predictor, Sample, Score, Tags
from trugrade_core.tasks import TASKS, Region, Task, get_task
from trugrade_core.workflows import creating
from trugrade_core.workflows.evaluating import checkpoint_of, open_predictor
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, check_name, write_atomic

PADDED = 0.001
"""A region of which more lies outside the scan is marked `padded`."""
LEFT_OUT = {"skipped": "is marked as skipped", "rescan": "is to be scanned again"}


class DeriveOptions(BaseModel):
    """What `trugrade data derive` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    outline: str = ""
    outline_from: str = ""
    format: str = ""
    refine: bool = True
    all_classes: bool = False
    whole_labels: bool = False
    limit: int | None = Field(default=None, ge=1)
    who: str = ""


class DeriveReport(BaseModel):
    """What came of it. `derived` crops are new, `unchanged` were there, `superseded` are excluded since their scan is cut
    elsewhere now; `scans` were cut. `skipped` are scans (`region` '') and regions, each with its reason."""

    dataset: str
    source: str
    task: str
    scans: int = 0
    derived: int = 0
    unchanged: int = 0
    superseded: int = 0
    labels: int = 0
    outlines: dict[str, int] = {}
    formats: dict[str, int] = {}
    padded: int = 0
    most_padding: float = 0.0
    skipped: list[dict[str, str]] = []
    notes: list[str] = []


def derivable() -> list[Task]:
    """The tasks that look at a region of the card."""
    return [task for task in TASKS.values() if task.region is not None]


def start_derive(ws: Workspace, dataset: str, to: str, options: DeriveOptions, *, who: str = "") -> RunFolder:
    """Cut the regions of `options.task` out of the scans of `dataset` into the dataset `to`, as a job.

    Raises UsageError or DatasetError for what cannot be meant, before anything starts.
    """
    _checked(ws, dataset, to, options)
    args = {"dataset": dataset, "to": to, "options": options.model_dump(mode="json")}
    return start(ws, "derive", args, title=f"Cut {_region(options.task).part} regions of {dataset} into {to}", who=who)


def do_derive(job: Job) -> dict[str, Any]:
    options = DeriveOptions.model_validate(job.args["options"])
    return derive(job.ws, job.args["dataset"], job.args["to"], options, progress=job.progress).model_dump(mode="json")


def _region(task: str) -> Region:
    row = get_task(task)
    if row.region is None:
        raise UsageError(
            f"{task} looks at whole scans, so there is nothing to cut",
            code="card.no_region",
            what_to_do="Train it on the scans themselves, or choose one of: " + ", ".join(t.id for t in derivable()),
        )
    return row.region


def _checked(ws: Workspace, dataset: str, to: str, options: DeriveOptions) -> Dataset:
    """The dataset of the scans, once everything asked makes sense."""
    _region(options.task)
    source = Dataset.open(ws, dataset)
    check_name(to, "dataset")
    if to == dataset:
        raise UsageError("crops need a dataset of their own", where=to, what_to_do="Give another name with --to.")
    if to in list_datasets(ws):
        task = Dataset.open(ws, to).facts().get("task")
        if task != options.task:
            raise UsageError(f"is for {task or 'no task yet'}, not for {options.task}", where=to, code="card.other_task",
                             what_to_do="Give a new name with --to: each task has its own crops.")  # fmt: skip
    if options.format and options.format not in FORMATS:
        raise UsageError(f"no card format '{options.format}'", what_to_do=nearest(options.format, list(FORMATS)))
    names = [c.name for c in source.classes]
    if options.outline and not options.outline_from and options.outline not in names:
        raise UsageError(f"'{dataset}' has no class '{options.outline}'", code="card.class",
                         what_to_do=nearest(options.outline, names))  # fmt: skip
    if (
        options.outline_from
        and not Path(options.outline_from).exists()
        and not (ws.exports / options.outline_from).exists()
    ):
        checkpoint_of(RunFolder.find(ws, options.outline_from))
    return source


def derive(
    ws: Workspace, dataset: str, to: str, options: DeriveOptions, *, progress: Progress | None = None
) -> DeriveReport:
    """As `start_derive`, here and now. A scan that cannot be cut is reported and left out; a target of which nothing
    comes is not made."""
    source = _checked(ws, dataset, to, options)
    work = _Work(source, to, options)
    lines, index = source.current(), source.index()
    ids = list(index.offsets)[: options.limit]
    for done, sample in enumerate(index.read_all(ids), 1):
        try:
            work.scan(sample, [source.annotation(line) for line in lines.get(sample.id, ())])
        except TruGradeError as e:
            work.skip(sample, e)
        if progress:
            progress(done, len(ids), "scans cut")
    return work.finished()


@dataclass(frozen=True)
class Preview:
    """Where a card would be cut: its outline (px of the scan, as drawn, not refined) and the regions by name. `reason`
    says why a scan would be left out."""

    sample: Sample
    corners: tuple[tuple[float, float], ...] = ()
    regions: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    reason: str = ""


def preview(ws: Workspace, dataset: str, options: DeriveOptions, *, look_at: int = 20) -> Preview | None:
    """The first of `look_at` scans that can be cut, else the first with its reason; None of an empty dataset. Reads no
    picture and writes nothing."""
    source = Dataset.open(ws, dataset)
    work = _Work(source, "", options.model_copy(update={"refine": False, "outline_from": ""}))
    lines, index = source.current(), source.index()
    first: Preview | None = None
    for sample in index.read_all(list(index.offsets)[:look_at]):
        try:
            found, lies = work.lies(
                pixels.Scan(source, sample), [source.annotation(line) for line in lines.get(sample.id, ())]
            )
        except TruGradeError as e:
            first = first or Preview(sample, reason=e.message)
            continue
        cuts = {cut.region: _points(apply(cut.matrix, cut.window)) for cut in work.cuts(sample, lies)}
        return Preview(sample, _points(found.corners), cuts)
    return first


def _points(xy: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in xy)


@dataclass
class _Work:
    source: Dataset
    to: str
    options: DeriveOptions
    count: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    crops: Crops | None = None

    def __post_init__(self) -> None:
        ws, options = self.source.ws, self.options
        self.task, self.region = get_task(options.task), _region(options.task)
        self.classes = [c.name for c in self.source.classes]
        self.report = DeriveReport(dataset=self.to, source=self.source.name, task=options.task)
        self.predictor: Predictor | None = open_predictor(ws, options.outline_from) if options.outline_from else None
        self.cards: dict[str, Counter[str]] = {"outlines": Counter(), "formats": Counter()}
        self.kept_sides = 0
        if self.to in list_datasets(ws):
            self.open()

    def skip(self, sample: Sample, e: TruGradeError, region: str = "") -> None:
        reason = ". ".join(filter(None, [e.message, e.what_to_do]))
        source = sample.sources[0] if sample.sources else sample.id
        self.report.skipped.append({"sample": sample.id, "source": source, "region": region, "reason": reason})

    # --- one scan ---------------------------------------------------------------------------------------------

    def scan(self, sample: Sample, annotations: Sequence[Annotation]) -> None:
        image = pixels.Scan(self.source, sample)
        found, lies = self.lies(image, annotations)
        cuts = self.cuts(sample, lies)
        if not cuts:
            return
        crops = self.target()
        labels = self.labels(cuts, annotations)
        rows = []
        for cut in cuts:
            known = crops.find(self.source.name, sample.id, cut)
            rows.append((known or self.cut(image, cut, lies, found), labels[cut.region]))
        rows = [(self.follows(crop, sample, annotations), own) for crop, own in rows]
        self.count += crops.put(self.source.name, sample.id, rows, who=self.options.who or "derive")
        self.count["scans"] += 1
        self.cards["outlines"][found.found] += 1
        self.cards["formats"][lies.format or "none known"] += 1
        self.notes.update(found.notes)
        self.count["photos"] += lies.kind == "photo"
        self.count["on_side"] += lies.size_mm[0] > lies.size_mm[1]

    def lies(self, image: pixels.Scan, annotations: Sequence[Annotation]) -> tuple[outline.Outline, plane.Plane]:
        """The card's outline in the scan, and its plane. Raises DatasetError for a scan that is not cut."""
        sample = image.sample
        if sample.parent is not None:
            raise DatasetError("is itself a region of a scan", code="card.derived")
        if sample.excluded is not None or sample.status in LEFT_OUT:
            raise DatasetError(LEFT_OUT.get(sample.status) or f"is excluded: {sample.excluded}", code="card.excluded")
        found = self.card(image, annotations)
        return found, plane.plane_of(found.corners, sample, self.options.format)

    def card(self, image: pixels.Scan, annotations: Sequence[Annotation]) -> outline.Outline:
        """Drawn, else predicted where a model was given; a box refined by the scan's own edges."""
        try:
            if self.options.outline and self.options.outline not in self.classes:
                raise DatasetError("nobody drew one", code="card.no_outline",
                                   what_to_do="Draw the outline, or let a model find it: --outline-from RUN.")  # fmt: skip
            found = outline.find(annotations, self.classes, self.options.outline)
        except DatasetError as e:
            if e.code != "card.no_outline" or self.predictor is None:
                raise
            seen = self.predictor.predict([image.shown()], [image.sample.id])[0].instances
            found = outline.predicted(seen, self.options.outline, self.predictor.name)
        if found.found != "box" or not self.options.refine:
            return found
        at = plane.plane_of(found.corners, image.sample, self.options.format)
        corners, kept = refine(image.whole, found.corners, at.px_per_mm)
        self.kept_sides += len(kept)
        if len(kept) == 4:
            return found
        return outline.Outline(corners, "refined_box", found.label, found.annotation, found.notes)

    def cuts(self, sample: Sample, lies: plane.Plane) -> list[regions.Cut]:
        """The regions of the card that lie well enough in the scan."""
        own = self.region
        found = []
        for cut in regions.cut_regions(lies, own.part, own.size_mm, own.margin_mm, own.overlap_mm):
            share = cut.padding(sample.main.width, sample.main.height)
            if share > regions.MAX_PADDING:
                e = DatasetError(f"{100 * share:.0f} % of it lie outside the scan ({100 * regions.MAX_PADDING:.0f} % are allowed)",
                                 code="card.outside", what_to_do="Mend the outline, or scan the card with some ground around it.")  # fmt: skip
                self.skip(sample, e, cut.region)
                continue
            self.report.padded += share > PADDED
            self.report.most_padding = max(self.report.most_padding, round(share, 4))
            found.append(cut)
        return found

    def target(self) -> Crops:
        """The dataset of crops, made at the first scan of which something comes."""
        if self.crops is None and self.to not in list_datasets(self.source.ws):
            creating.create_dataset(self.source.ws, self.to, self.task.id, who=self.options.who)
        return self.crops or self.open()

    def open(self) -> Crops:
        ds = Dataset.open(self.source.ws, self.to)
        if self.options.all_classes:
            ds.add_classes(self.source.classes)
        self.crops = Crops(ds)
        return self.crops

    def labels(self, cuts: Sequence[regions.Cut], annotations: Sequence[Annotation]) -> dict[str, list[Label]]:
        """By region, what the scan's labels are on the crop."""
        names = {c.name for c in self.target().ds.classes}
        found: dict[str, list[Label]] = {cut.region: [] for cut in cuts}
        for annotation in annotations:
            value = annotation.value
            if isinstance(value, Tags | Score):
                if self.options.whole_labels:
                    for own in found.values():
                        own.append(Label(annotation.id, annotation.label, value, dict(annotation.attributes)))
            elif annotation.attributes.get(DRAWN_ON) == self.to:  # it stands on the crops, as it was drawn there
                continue
            elif isinstance(value, Box | Polygon | Mask) and annotation.label in names:
                for region, (inside, clipped) in carrying.carry(annotation, cuts).items():
                    more: dict[str, str | float | bool | None] = {"clipped": True} if clipped else {}
                    found[region].append(
                        Label(annotation.id, annotation.label, inside, {**annotation.attributes, **more})
                    )
        return found

    def cut(self, image: pixels.Scan, cut: regions.Cut, lies: plane.Plane, found: outline.Outline) -> Sample:
        """A new crop, its picture in the store."""
        ws, parent = self.source.ws, image.sample
        dpi = plane.known_dpi(parent)[0] if lies.kind == "scan" else None
        dpi = dpi or round(lies.px_per_mm * 25.4, 2)
        data = pixels.png(
            pixels.cut_pixels(image.whole, cut), dpi=dpi, icc=image.icc, source=f"{parent.id}#{cut.region}"
        )
        ref = probe(data, name=cut.region)
        path = ws.image(ref.sha256, ref.suffix)
        if not path.exists():
            write_atomic(path, data)
        marks = {
            "padded": cut.padding(parent.main.width, parent.main.height) > PADDED,
            "outline: box": found.found == "box",
            f"scale: {lies.format} format": lies.kind == "photo",
        }
        lineage = Lineage(
            dataset=self.source.name, sample=parent.id, region=cut.region,
            homography=tuple(float(v) for v in cut.matrix.reshape(-1)),
        )  # fmt: skip
        source = parent.sources[0] if parent.sources else f"{self.source.name}/{parent.id}"
        return Sample(
            id=sample_id({"main": ref}), images={"main": ref}, sources=(f"{source}#{cut.region}",), card=parent.card,
            dpi=dpi, tags=tuple(mark for mark, holds in marks.items() if holds), parent=lineage,
        )  # fmt: skip

    def follows(self, crop: Sample, parent: Sample, annotations: Sequence[Annotation]) -> Sample:
        """The crop with what it takes from its scan: card and design, the split, and whether it is done."""
        target = self.target()
        own = {name: getattr(parent, name) for name in FOLLOWS}
        wanted = {c.name for c in target.ds.classes}
        whole = self.options.whole_labels and any(isinstance(a.value, Tags | Score) for a in annotations)
        done = parent.status == "done" and (whole or (bool(wanted) and wanted <= set(self.classes)))
        return crop.model_copy(update={
            **own,
            "split": crop.split or target.splits.get(parent.card) or parent.split,
            "status": "done" if done else "unlabelled",
        })  # fmt: skip

    # --- what came of it ----------------------------------------------------------------------------------------

    def finished(self) -> DeriveReport:
        count, cards = self.count, self.cards
        boxes = cards["outlines"]["box"]
        notes = [f"{text}: {n}" if n > 1 else text for text, n in self.notes.items()]
        if boxes:
            cost = outline.box_cost_mm(FORMATS["us"])
            notes.append(f"{boxes} outlines are upright boxes and their tilt is not known: at {outline.SEEN_TILT_DEG:g} degrees, the most "
                         f"seen on real scans, the ends of a side are {cost:.2f} mm off. Draw four corners to be sure.")  # fmt: skip
        if cards["outlines"]["refined_box"]:
            kept = f"; {self.kept_sides} sides show no edge there and keep the box's" if self.kept_sides else ""
            notes.append(f"{cards['outlines']['refined_box']} outlines are boxes, refined by the edges in the scan{kept}")  # fmt: skip
        for key, text in {
            "photos": "cards are photographs: their scale comes from the format given, and is no surer than how the card was cut",
            "on_side": "cards lie on their side; their regions are named as they lie",
            "updated": "crops took over what changed on their scan",
            "restored": "crops that were superseded are current again",
            "moved": "labels, scores and statuses that people gave to superseded crops stand on the new ones too",
            "left_behind": "superseded crops hold labels of people that stay there alone, for the outline moved too far",
            "cut_no_more": "superseded crops hold labels of people that stay there alone, for their region is no longer cut",
            "older": "labels, scores and statuses of superseded crops stay there alone, for people said something later on the restored ones",
            "touched": "labels were changed on the crop by people and stay as they are, though the scan's differ",
        }.items():
            if count[key]:
                notes.append(f"{count[key]} {text}")
        if "none known" in cards["formats"]:
            notes.append(f"{cards['formats']['none known']} cards measure like no known format ({', '.join(FORMATS)})")
        return self.report.model_copy(update={
            **{key: count[key] for key in ("scans", "derived", "unchanged", "superseded", "labels")},
            "outlines": dict(cards["outlines"]), "formats": dict(cards["formats"]), "notes": notes,
        })  # fmt: skip
