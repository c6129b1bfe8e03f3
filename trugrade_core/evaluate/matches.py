"""All matches of an evaluation as columns: what metrics, intervals, comparisons and pages are computed from.

Kept beside the evaluation as images.parquet, objects.parquet (the true ones) and found.parquet, a row each, with the
variant (plain or shifted), so that nothing needs the pictures or the model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trugrade_core.evaluate.predictions import Variant
from trugrade_core.tasks.instances.average_precision import IOU_THRESHOLDS
from trugrade_core.tasks.instances.metrics import (
    SIDES,
    Judged,
    Objects,
    assign,
    confusion_pairs,
    error_types,
    image_right,
    mask_iou_matrix,
    matched,
    side_errors,
)  # fmt: skip
from trugrade_core.workspace import write_atomic

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
BITS = 1 << np.arange(len(IOU_THRESHOLDS))


@dataclass(frozen=True, kw_only=True)
class Matches:
    """I images of C cards with M true objects and D found ones, at one score threshold."""

    threshold: float
    cards: tuple[str, ...]
    samples: tuple[str, ...]
    image_card: Ints
    """(I,) index into `cards`."""
    image_right: Array
    """(I,) 1, 0, or nan where the scale is not known."""
    object_image: Ints
    object_label: Ints
    object_sides_px: Array
    """(M, 4) found minus true, for a missed one the image's size; left, top, right, bottom."""
    object_mm_per_px: Array
    """(M,), nan where it is not known."""
    object_score: Array
    """(M,) score of its match, nan where it was missed."""
    object_missed: Bools
    """(M,) missed and not accounted for by another error."""
    found_image: Ints
    found_label: Ints
    found_score: Array
    found_error: tuple[str, ...]
    """(D,) '' for a match and for what lies below the threshold."""
    found_hits_box: Bools
    """(D, 10) right at each of COCO's IoU thresholds."""
    found_hits_mask: Bools | None
    pairs: Ints
    """(P, 3) image, true class, found class of the confusion."""

    @property
    def object_card(self) -> Ints:
        found: Ints = self.image_card[self.object_image]
        return found

    @property
    def found_card(self) -> Ints:
        found: Ints = self.image_card[self.found_image]
        return found


def gather(images: Sequence[Judged], threshold: float, side_mm: float) -> Matches:
    """The columns of judged images. Mask hits are there when every image has masks on both sides."""
    cards = sorted({i.card for i in images})
    place = {card: n for n, card in enumerate(cards)}
    rights = [image_right(i, threshold, side_mm) for i in images]
    errors = [error_types(i, threshold) for i in images]
    masks = bool(images) and all(i.truth.masks is not None and i.found.masks is not None for i in images)
    scores = []
    for i in images:
        of = matched(i, threshold)
        own = np.full(len(of), np.nan)
        own[of >= 0] = i.found.scores[of[of >= 0]]
        scores.append(own)
    return Matches(
        threshold=threshold,
        cards=tuple(cards),
        samples=tuple(i.sample for i in images),
        image_card=np.array([place[i.card] for i in images], np.int64),
        image_right=np.array([np.nan if r is None else float(r) for r in rights]),
        object_image=_owners([len(i.truth.labels) for i in images]),
        object_label=_joined([i.truth.labels for i in images], np.zeros(0, np.int64)),
        object_sides_px=_joined([side_errors(i, threshold) for i in images], np.zeros((0, 4))),
        object_mm_per_px=_joined([np.full(len(i.truth.labels), i.mm_per_px or np.nan) for i in images], np.zeros(0)),
        object_score=_joined(scores, np.zeros(0)),
        object_missed=_joined([missed for _, missed in errors], np.zeros(0, bool)),
        found_image=_owners([len(i.found.labels) for i in images]),
        found_label=_joined([i.found.labels for i in images], np.zeros(0, np.int64)),
        found_score=_joined([i.found.scores for i in images], np.zeros(0)),
        found_error=tuple(kind or "" for kinds, _ in errors for kind in kinds),
        found_hits_box=_joined([_hits(i.ious, i.truth, i.found) for i in images], np.zeros((0, 10), bool)),
        found_hits_mask=_joined([_mask_hits(i) for i in images], np.zeros((0, 10), bool)) if masks else None,
        pairs=np.array([(n, *p) for n, i in enumerate(images) for p in confusion_pairs(i, threshold)], np.int64).reshape(-1, 3),
    )  # fmt: skip


def _owners(counts: Sequence[int]) -> Ints:
    return np.repeat(np.arange(len(counts)), np.array(counts, np.int64))


def _joined(parts: Sequence[NDArray[Any]], empty: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([empty, *parts])


def _hits(ious: Array, truth: Objects, found: Objects) -> Bools:
    hits: Bools = (assign(ious, truth, found, IOU_THRESHOLDS) >= 0).T
    return hits


def _mask_hits(image: Judged) -> Bools:
    assert image.truth.masks is not None and image.found.masks is not None  # noqa: S101
    return _hits(mask_iou_matrix(image.truth.masks, image.found.masks), image.truth, image.found)


# --- on disk ----------------------------------------------------------------------------------------------------


def write(folder: Path, variants: Mapping[Variant, Matches], classes: Sequence[str]) -> None:
    """images.parquet, objects.parquet, found.parquet and pairs.parquet."""
    names = ("background", *classes)
    tables: dict[str, list[pa.Table]] = {"images": [], "objects": [], "found": [], "pairs": []}
    for variant, m in variants.items():
        for kind, columns in _columns(m, names).items():
            count = len(next(iter(columns.values())))
            tables[kind].append(pa.table({"variant": pa.array([variant] * count, pa.string()), **columns}))
    for kind, parts in tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables(parts), sink, compression="zstd")
        write_atomic(folder / f"{kind}.parquet", sink.getvalue().to_pybytes())


def _columns(m: Matches, names: Sequence[str]) -> dict[str, dict[str, pa.Array]]:
    samples, cards = np.array(m.samples, object), np.array(m.cards, object)

    def text(values: NDArray[Any]) -> pa.Array:
        return pa.array(values.tolist(), pa.string())

    def label(ids: Ints) -> pa.Array:
        return pa.array([names[i] for i in ids], pa.string())

    def number(values: Array) -> pa.Array:
        return pa.array(values, pa.float64(), from_pandas=True)

    sides = {f"{side}_px": number(m.object_sides_px[:, n]) for n, side in enumerate(SIDES)}
    found_masks = None if m.found_hits_mask is None else (m.found_hits_mask @ BITS)
    return {
        "images": {"sample": text(samples), "card": text(cards[m.image_card]), "right": number(m.image_right)},
        "objects": {
            "sample": text(samples[m.object_image]), "label": label(m.object_label), "score": number(m.object_score),
            **sides, "mm_per_px": number(m.object_mm_per_px), "missed": pa.array(m.object_missed, pa.bool_()),
        },
        "found": {
            "sample": text(samples[m.found_image]), "label": label(m.found_label), "score": number(m.found_score),
            "error": pa.array([e or None for e in m.found_error], pa.string()),
            "hits_box": pa.array(m.found_hits_box @ BITS, pa.int32()),
            "hits_mask": pa.nulls(len(m.found_label), pa.int32()) if found_masks is None else pa.array(found_masks, pa.int32()),
        },
        "pairs": {"sample": text(samples[m.pairs[:, 0]]), "true": label(m.pairs[:, 1]), "found": label(m.pairs[:, 2])},
    }  # fmt: skip


def read(folder: Path, variant: Variant, classes: Sequence[str], threshold: float) -> Matches:
    """What `write` wrote of one variant."""
    ids = {name: n for n, name in enumerate(("background", *classes))}
    images, objects, found, pairs = (
        pq.read_table(folder / f"{kind}.parquet", filters=[("variant", "=", variant)]).to_pydict()
        for kind in ("images", "objects", "found", "pairs")
    )
    cards = sorted(set(images["card"]))
    place, number = {c: n for n, c in enumerate(cards)}, {s: n for n, s in enumerate(images["sample"])}

    def whole(values: Sequence[Any]) -> Ints:
        return np.array(values, np.int64)

    def real(values: Sequence[float | None]) -> Array:
        return np.array([np.nan if v is None else v for v in values], np.float64)

    masks = found["hits_mask"]
    return Matches(
        threshold=threshold,
        cards=tuple(cards),
        samples=tuple(images["sample"]),
        image_card=whole([place[c] for c in images["card"]]),
        image_right=real(images["right"]),
        object_image=whole([number[s] for s in objects["sample"]]),
        object_label=whole([ids[label] for label in objects["label"]]),
        object_sides_px=np.stack([real(objects[f"{side}_px"]) for side in SIDES], axis=1),
        object_mm_per_px=real(objects["mm_per_px"]),
        object_score=real(objects["score"]),
        object_missed=np.array(objects["missed"], bool),
        found_image=whole([number[s] for s in found["sample"]]),
        found_label=whole([ids[label] for label in found["label"]]),
        found_score=real(found["score"]),
        found_error=tuple(e or "" for e in found["error"]),
        found_hits_box=(whole(found["hits_box"])[:, None] & BITS) > 0,
        found_hits_mask=(whole(masks)[:, None] & BITS) > 0 if masks and None not in masks else None,
        pairs=np.stack([whole([number[s] for s in pairs["sample"]]), whole([ids[t] for t in pairs["true"]]),
                        whole([ids[f] for f in pairs["found"]])], axis=1).reshape(-1, 3),
    )  # fmt: skip
