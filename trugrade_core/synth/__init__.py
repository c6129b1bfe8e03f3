"""Made-up cards with exactly known borders, and datasets of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.images import probe
from trugrade_core.data.journal import batched
from trugrade_core.data.store import Dataset, annotation_id, list_datasets, put_entry, sample_id
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, ClassDef, LogEntry, Polygon, Sample
from trugrade_core.synth.cards import Card, make_card
from trugrade_core.workspace import Workspace, write_atomic

CLASSES = (ClassDef(name="outer_border", shape="polygon"), ClassDef(name="graphical_border", shape="polygon"))
DPI_RANGE = (30, 2400)


def synthesize(
    ws: Workspace, dataset: str, *, count: int, seed: int = 0, dpi: int = 600, progress: Progress | None = None
) -> dict[str, Any]:
    """Make cards 0 to count - 1 of the series `seed` and put them, labelled, into `dataset` (made when absent).

    The labels are polygons: four corners, or the outline where corners are round. The same arguments again add
    nothing. Returns what an import returns: `{"dataset", "images" (new), "annotations", "taken", "skipped", …}`.
    """
    if count < 1 or seed < 0 or not DPI_RANGE[0] <= dpi <= DPI_RANGE[1]:
        raise UsageError(
            f"cannot make {count} cards of series {seed} at {dpi} dpi",
            what_to_do=f"count is 1 or more, seed 0 or more, dpi {DPI_RANGE[0]} to {DPI_RANGE[1]}.",
        )
    if dataset in list_datasets(ws):
        ds = Dataset.open(ws, dataset)
        ds.add_classes(CLASSES)
    else:
        ds = Dataset.create(ws, dataset, CLASSES)
    _check_shapes(ds)
    known = set(ds.index().offsets)
    labelled = {entry.annotation for entry in ds.log()}  # also deleted ones: what a person removed stays removed
    new_images = new_labels = done = 0
    for batch in batched(_made(ws, count, seed, dpi), 32):
        samples = [sample for sample, _ in batch if sample.id not in known]
        entries = [e for _, found in batch for e in found if e.annotation not in labelled]
        # Labels first: a sample whose labels were lost to a kill would count as empty.
        ds.append(entries)
        ds.put_samples(samples)
        new_images, new_labels, done = new_images + len(samples), new_labels + len(entries), done + len(batch)
        if progress:
            progress(done, count, "cards made")
    return {
        "dataset": dataset,
        "images": new_images,
        "annotations": new_labels,
        "taken": count,
        "skipped": [],
        "format": "synthetic",
        "notes": [f"series {seed}, {dpi} dpi"],
        "classes": {str(n): c.name for n, c in enumerate(ds.classes, start=1)},
    }


def _check_shapes(ds: Dataset) -> None:
    tagged = [c.name for c in ds.classes if c.name in {own.name for own in CLASSES} and c.shape in ("tags", "score")]
    if tagged:
        raise DatasetError(
            f"its class '{tagged[0]}' is no shape, so borders cannot be added to it",
            where=ds.name,
            what_to_do="Choose another dataset name.",
        )


def _made(ws: Workspace, count: int, seed: int, dpi: int) -> Iterator[tuple[Sample, list[LogEntry]]]:
    for index in range(count):
        card = make_card(seed, index, dpi)
        name = f"synthetic-{seed}-{index:05d}-{dpi}dpi"
        data = png(card)
        ref = probe(data, name=name)
        path = ws.image(ref.sha256, ref.suffix)
        if not path.exists():
            write_atomic(path, data)
        images = {"main": ref}
        sample = Sample(
            id=sample_id(images), images=images, sources=(f"{name}.png",), card=f"synthetic-{seed}-{index:05d}",
            card_assumed=False, side="front", origin="synthetic", dpi=float(dpi), status="done",
        )  # fmt: skip
        yield sample, [_entry(sample.id, "outer_border", card.outer_outline_px),
                       _entry(sample.id, "graphical_border", card.inner_outline_px)]  # fmt: skip


def _entry(sample: str, label: str, outline: NDArray[np.float64]) -> LogEntry:
    value = Polygon(points=tuple((round(float(x), 3), round(float(y), 3)) for x, y in outline))
    annotation = Annotation(id=annotation_id(sample, label, value), sample=sample, label=label, value=value)
    return put_entry(annotation, who="synth", tool="synth")


def png(card: Card) -> bytes:
    """The scan as PNG with its dpi; the same card gives the same bytes."""
    from PIL import Image as Pillow

    out = io.BytesIO()
    Pillow.fromarray(card.image).save(out, "PNG", compress_level=1, dpi=(card.dpi, card.dpi))
    return out.getvalue()
