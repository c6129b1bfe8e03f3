"""COCO's average precision of boxes and masks, by faster-coco-eval (the same twelve numbers as pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trugrade_core.tasks.instances.metrics import Judged, Objects, to_rle

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)


def coco_ap(images: Sequence[Judged], classes: int, kind: Literal["bbox", "segm"] = "bbox") -> dict[str, float] | None:
    """`{"map", "ap50", "ap75"}`, 0 to 1, over `classes` classes; None when there is no object to find.

    For `segm`, truth and found objects must carry masks.
    """
    if not any(len(image.truth.labels) for image in images):
        return None
    if not any(len(image.found.labels) for image in images):
        return {"map": 0.0, "ap50": 0.0, "ap75": 0.0}
    # Imported here: it loads OpenCV and a compiled module.
    from faster_coco_eval import COCO, COCOeval_faster

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _truth(images, classes, kind)
        truth.createIndex()
        run = COCOeval_faster(truth, truth.loadRes(_found(images, kind)), kind, print_function=_quiet)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {"map": float(run.stats[0]), "ap50": float(run.stats[1]), "ap75": float(run.stats[2])}


def _quiet(*_: Any) -> None:
    """faster-coco-eval's messages: nothing a person needs."""


def _truth(images: Sequence[Judged], classes: int, kind: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for row in _rows(image.truth, number, kind):
            rows.append({**row, "id": len(rows) + 1, "iscrowd": 0})
    return {
        "info": {},
        "images": [{"id": n, "width": i.width, "height": i.height} for n, i in enumerate(images, start=1)],
        "categories": [{"id": n, "name": str(n)} for n in range(1, classes + 1)],
        "annotations": rows,
    }


def _found(images: Sequence[Judged], kind: str) -> list[dict[str, Any]]:
    found = []
    for number, image in enumerate(images, start=1):
        scores = image.found.scores.tolist()
        found += [{**row, "score": s} for row, s in zip(_rows(image.found, number, kind), scores, strict=True)]
    return found


def _rows(objects: Objects, image: int, kind: str) -> list[dict[str, Any]]:
    from faster_coco_eval.core import mask as rle_tools

    rows = []
    for n, (box, label) in enumerate(zip(objects.boxes, objects.labels, strict=True)):
        wh = box[2:] - box[:2]
        row: dict[str, Any] = {"image_id": image, "category_id": int(label)}
        if kind == "segm":
            assert objects.masks is not None  # noqa: S101
            row["segmentation"] = to_rle(objects.masks[n])
            row["area"] = float(rle_tools.area(row["segmentation"]))
        else:
            row["bbox"] = [float(box[0] + 0.5), float(box[1] + 0.5), float(wh[0]), float(wh[1])]
            row["area"] = float(wh.prod())
        rows.append(row)
    return rows


# --- over resampled cards ---------------------------------------------------------------------------------------


def resampled_precision(
    scores: NDArray[np.float64],
    hits: NDArray[np.bool_],
    cards: NDArray[np.int64],
    truths_per_card: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(T, R, 101): the best precision at each of COCO's recall levels or beyond, at each of T IoU thresholds, in each of
    R resamples of cards; nan where a resample has no object. Its mean over the last axis is average precision.

    `scores` (D,) and `cards` (D,) of the found, `hits` (D, T) whether each was right at each IoU threshold,
    `truths_per_card` (C,), `counts` (R, C) how often each card was drawn. A match happens within an image, so it does
    not change when cards are drawn again: only the order of all found and the counts matter.
    """
    objects = counts @ truths_per_card
    order = np.argsort(-scores, kind="stable")
    found = np.full((hits.shape[1], len(counts), len(RECALLS)), np.nan)
    step = max(1, CHUNK // max(1, len(scores)))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        seen = np.cumsum(counts[part][:, cards[order]], axis=1)
        for t in range(hits.shape[1]):
            # Precision can only peak at a hit, so the misses between are needed for their count alone.
            at = np.flatnonzero(hits[order, t])
            right = np.cumsum(counts[part][:, cards[order[at]]], axis=1)
            precision = np.divide(right, seen[:, at], out=np.zeros_like(right), where=seen[:, at] > 0)
            found[t, part] = _at_recalls(right, precision, objects[part])
    return found


CHUNK = 4_000_000
"""Numbers held at once."""


def _at_recalls(
    right: NDArray[np.float64], precision: NDArray[np.float64], objects: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(R, 101) the best of `precision` (R, hits) among the hits that reach a recall level, 0 where none does."""
    some = objects > 0
    recall = np.divide(right, objects[:, None], out=np.zeros_like(right), where=some[:, None])
    levels = np.searchsorted(RECALLS, recall, side="right")  # how many levels each hit reaches
    best = np.zeros((len(right), len(RECALLS) + 1))
    np.maximum.at(best, (np.arange(len(right))[:, None], levels), precision)
    found: NDArray[np.float64] = np.maximum.accumulate(best[:, ::-1], axis=1)[:, -2::-1]
    return np.where(some[:, None], found, np.nan)
