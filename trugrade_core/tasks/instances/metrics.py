"""How good found objects are against the true ones, image by image (numpy only).

What is true of an image and what was found in it are `Objects`; `judge` lays them side by side and gives one
`Judged`, of which everything else is made: side errors, errors by type, curves, confusion, card accuracy.

*Match.* Greedy by score within a class, each found object taking the free true one it overlaps best, at an IoU of
0.5 or more, as COCO does.

*Side error.* The distance in px (or mm) between a side of the found box and the same side of the true one: left, top,
right, bottom, for every true object, at the model's own threshold. A true polygon's sides are where it crosses the
middle row and column of its bounding box (`coordinates.mid_side_box`), a true box's are its own. **An object that was
not found counts on each side with the image's whole width or height**: no box inside the image could be as far off, so
holding back a doubtful answer never lowers the median or the 95th percentile. Extra objects are no side errors; they
count in precision, F1 and card accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trugrade_core.coordinates import mid_side_box
from trugrade_core.data import rle
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Prediction, Value
from trugrade_core.tasks.instances.encode import mask_outline

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

MATCH_IOU = 0.5
NEAR_IOU = 0.1
"""Below this overlap a found object has nothing to do with the true one."""
LIMIT = 100
"""As many found objects count in an image, best scores first; COCO's limit."""
SIDES = ("left", "top", "right", "bottom")
ErrorType = Literal["localisation", "classification", "duplicate", "background", "missed"]
ERROR_TYPES: tuple[ErrorType, ...] = ("localisation", "classification", "duplicate", "background", "missed")


class Objects(NamedTuple):
    """N objects of one image, in the lab's frame. `masks` is None where there are only boxes."""

    boxes: Array
    """(N, 4) xyxy."""
    labels: Ints
    """(N,) class ids from 1."""
    scores: Array
    """(N,), 1 for true objects."""
    masks: tuple[Mask, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One image: what is true, what was found, and which belongs to which."""

    sample: str
    card: str
    width: int
    height: int
    mm_per_px: float | None
    truth: Objects
    found: Objects
    ious: Array
    """(N, K) of the N true and K found boxes."""
    truth_of: Ints
    """(K,) the true object each found one is, by `match`; -1 for none."""


# --- from schema values -----------------------------------------------------------------------------------------


def box_of(value: Value) -> Array:
    """The box of a label, xyxy (4,): its own, or the mid-side box of a polygon or of a mask's outer outline."""
    if isinstance(value, Box):
        return np.array(value.xyxy, np.float64)
    if isinstance(value, Polygon):
        return mid_side_box(value.points)
    assert isinstance(value, Mask)  # noqa: S101
    outline = mask_outline(value)
    return mid_side_box(outline) if len(outline) else np.full(4, -0.5)


def true_objects(
    annotations: Iterable[Annotation], classes: Sequence[str], width: int, height: int, *, masks: bool = False
) -> Objects:
    """The annotations of the named classes that are shapes. With `masks`, each is filled (a box as a rectangle)."""
    ids = {name: number for number, name in enumerate(classes, start=1)}
    kept = [a for a in annotations if a.label in ids and isinstance(a.value, Box | Polygon | Mask)]
    return Objects(
        boxes=np.array([box_of(a.value) for a in kept], np.float64).reshape(-1, 4),
        labels=np.array([ids[a.label] for a in kept if a.label], np.int64),
        scores=np.ones(len(kept)),
        masks=tuple(_filled(a.value, width, height) for a in kept) if masks else None,
    )


def _filled(value: Value, width: int, height: int) -> Mask:
    if isinstance(value, Mask):
        return value
    assert isinstance(value, Box | Polygon)  # noqa: S101
    return rle.from_polygon(corners(value.xyxy) if isinstance(value, Box) else value.points, width, height)


def corners(xyxy: ArrayLike) -> Array:
    """(4, 2) of a box, clockwise from the top left."""
    x0, y0, x1, y1 = np.asarray(xyxy, np.float64)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def found_objects(prediction: Prediction, classes: Sequence[str]) -> Objects:
    """The LIMIT best instances of the named classes, best first."""
    ids = {name: number for number, name in enumerate(classes, start=1)}
    kept = sorted((i for i in prediction.instances if i.label in ids), key=lambda i: -i.score)[:LIMIT]
    masks = tuple(i.mask for i in kept if i.mask is not None)
    return Objects(
        boxes=np.array([i.box for i in kept], np.float64).reshape(-1, 4),
        labels=np.array([ids[i.label] for i in kept], np.int64),
        scores=np.array([i.score for i in kept], np.float64),
        masks=masks if len(masks) == len(kept) else None,
    )


def to_rle(mask: Mask) -> dict[str, Any]:
    """As COCO's tools take it."""
    return {"size": list(mask.size_hw), "counts": mask.counts.encode()}


# --- matching ---------------------------------------------------------------------------------------------------


def iou_matrix(a: ArrayLike, b: ArrayLike) -> Array:
    """(N, M) intersection over union of boxes (N, 4) and (M, 4), xyxy; 0 where a box has no area."""
    one, two = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    wh = np.clip(np.minimum(one[..., 2:], two[..., 2:]) - np.maximum(one[..., :2], two[..., :2]), 0, None)
    common = wh.prod(axis=-1)
    total = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (two[..., 2:] - two[..., :2]).prod(axis=-1) - common
    found: Array = np.divide(common, total, out=np.zeros_like(common), where=total > 0)
    return found


def mask_iou_matrix(a: Sequence[Mask], b: Sequence[Mask]) -> Array:
    """(N, M) intersection over union of masks over the same image."""
    from faster_coco_eval.core import mask as rle_tools

    if not a or not b:
        return np.zeros((len(a), len(b)))
    return np.asarray(rle_tools.iou([to_rle(m) for m in a], [to_rle(m) for m in b], [False] * len(b)), np.float64)


def assign(ious: Array, truth: Objects, found: Objects, thresholds: ArrayLike) -> Ints:
    """(T, K): the true object that each found one is at each IoU threshold, -1 for none.

    `ious` (N, K). Found objects choose in the order of their scores, so the answer for those above any score does
    not depend on the ones below it.
    """
    levels = np.minimum(np.asarray(thresholds, np.float64), 1 - 1e-10)
    n, k = ious.shape
    chosen = np.full((len(levels), k), -1, np.int64)
    if n == 0 or k == 0:
        return chosen
    taken = np.zeros((len(levels), n), bool)
    usable = np.where(truth.labels[:, None] == found.labels[None, :], ious, -1.0)
    rows = np.arange(len(levels))
    for number in np.argsort(-found.scores, kind="stable"):
        free = np.where(taken, -1.0, usable[None, :, number])
        best = n - 1 - free[:, ::-1].argmax(axis=1)  # of equals the last, as COCO does
        good = free[rows, best] >= levels
        chosen[good, number] = best[good]
        taken[rows[good], best[good]] = True
    return chosen


def match(ious: Array, truth: Objects, found: Objects, *, iou: float = MATCH_IOU) -> Ints:
    """(K,): the true object that each found one is, -1 for none."""
    found_of: Ints = assign(ious, truth, found, [iou])[0]
    return found_of


def judge(
    *, sample: str, card: str, width: int, height: int, mm_per_px: float | None, truth: Objects, found: Objects
) -> Judged:
    """Lay what was found beside what is true."""
    ious = iou_matrix(truth.boxes, found.boxes)
    return Judged(sample=sample, card=card, width=width, height=height, mm_per_px=mm_per_px, truth=truth, found=found,
                  ious=ious, truth_of=match(ious, truth, found))  # fmt: skip


def matched(image: Judged, threshold: float) -> Ints:
    """(N,): the found object that is each true one at that score or above, -1 where it was missed."""
    found = np.full(len(image.truth.labels), -1, np.int64)
    chosen = np.flatnonzero((image.truth_of >= 0) & (image.found.scores >= threshold))
    found[image.truth_of[chosen]] = chosen
    return found


# --- what follows from it ---------------------------------------------------------------------------------------


def side_errors(image: Judged, threshold: float) -> Array:
    """(N, 4) px, found minus true, for left, top, right, bottom of each true object; for a missed one the image's
    width or height (see the module's text)."""
    of = matched(image, threshold)
    missing = np.array([image.width, image.height, image.width, image.height], np.float64)
    errors = np.tile(missing, (len(of), 1))
    errors[of >= 0] = image.found.boxes[of[of >= 0]] - image.truth.boxes[of >= 0]
    return errors


def error_types(image: Judged, threshold: float) -> tuple[list[ErrorType | None], NDArray[np.bool_]]:
    """(an error or None for each of the K found, whether each of the N true was missed).

    After TIDE (Bolya 2020), for found objects above the threshold that are no match: *localisation*, the class is
    right and the overlap lies between 0.1 and 0.5; *classification*, it lies well on an object of another class;
    *duplicate*, its object was matched by a better one; *background*, none of these. *Missed* is a true object that no
    match, localisation or classification error accounts for.
    """
    same = image.truth.labels[:, None] == image.found.labels[None, :]
    kinds: list[ErrorType | None] = [None] * len(image.found.labels)
    missed = matched(image, threshold) < 0
    for k in np.flatnonzero((image.truth_of < 0) & (image.found.scores >= threshold)):
        own = np.where(same[:, k], image.ious[:, k], 0.0)
        other = np.where(same[:, k], 0.0, image.ious[:, k])
        if NEAR_IOU <= own.max(initial=0.0) < MATCH_IOU:
            kinds[k] = "localisation"
            missed[own.argmax()] = False
        elif other.max(initial=0.0) >= MATCH_IOU:
            kinds[k] = "classification"
            missed[other.argmax()] = False
        elif own.max(initial=0.0) >= MATCH_IOU:
            kinds[k] = "duplicate"
        else:
            kinds[k] = "background"
    return kinds, missed


def confusion_pairs(image: Judged, threshold: float) -> list[tuple[int, int]]:
    """(true class, found class) of every object, 0 for background: pairs of IoU 0.5 or more whatever their class,
    best overlap first, each object once; the rest stand against background."""
    found = np.flatnonzero(image.found.scores >= threshold)
    ious = image.ious[:, found]
    pairs, free_truth, free_found = [], set(range(ious.shape[0])), set(range(len(found)))
    for flat in np.argsort(-ious, axis=None, kind="stable"):
        n, k = divmod(int(flat), ious.shape[1])
        if ious[n, k] < MATCH_IOU:
            break
        if n in free_truth and k in free_found:
            free_truth.remove(n)
            free_found.remove(k)
            pairs.append((int(image.truth.labels[n]), int(image.found.labels[found[k]])))
    pairs += [(int(image.truth.labels[n]), 0) for n in sorted(free_truth)]
    return pairs + [(0, int(image.found.labels[found[k]])) for k in sorted(free_found)]


def image_right(image: Judged, threshold: float, side_mm: float) -> bool | None:
    """Whether every object was matched, nothing extra stands above the threshold and every side is within `side_mm`;
    None when that cannot be known because the scale is not."""
    if (matched(image, threshold) < 0).any():
        return False
    if ((image.truth_of < 0) & (image.found.scores >= threshold)).any():
        return False
    if len(image.truth.labels) == 0:
        return True
    if image.mm_per_px is None:
        return None
    return bool((np.abs(side_errors(image, threshold)) * image.mm_per_px <= side_mm).all())


# --- curves -----------------------------------------------------------------------------------------------------


def precision_recall(
    scores: Array, hits: NDArray[np.bool_], objects: int, *, most: int = 200
) -> dict[str, list[float]]:
    """`{"threshold", "precision", "recall"}` at each found object (D,), best score first, thinned to `most` points."""
    order = np.argsort(-scores, kind="stable")
    right, count = np.cumsum(hits[order]), np.arange(1, len(order) + 1)
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)) if len(order) else np.zeros(0, np.int64)
    if len(last) > most:
        last = last[np.unique(np.linspace(0, len(last) - 1, most).round().astype(int))]
    return {
        "threshold": scores[order][last].tolist(),
        "precision": (right[last] / count[last]).tolist(),
        "recall": (right[last] / objects).tolist() if objects else [0.0] * len(last),
    }


def f1_by_threshold(scores: Array, hits: NDArray[np.bool_], objects: int) -> dict[str, list[float]]:
    """`{"threshold", "f1", "precision", "recall"}` at thresholds 0, 0.01 … 1. Without any answer precision is 1."""
    thresholds = np.round(np.linspace(0, 1, 101), 2)
    ranked, right = np.sort(scores), np.sort(scores[hits])
    shown = len(ranked) - np.searchsorted(ranked, thresholds, side="left")
    good = len(right) - np.searchsorted(right, thresholds, side="left")
    return {
        "threshold": thresholds.tolist(),
        "f1": np.divide(2 * good, shown + objects, out=np.zeros(101), where=shown + objects > 0).tolist(),
        "precision": np.divide(good, shown, out=np.ones(101), where=shown > 0).tolist(),
        "recall": (good / objects).tolist() if objects else [0.0] * 101,
    }


# --- all at once, for a validation during training ----------------------------------------------------------------


def summarise(
    images: Sequence[Judged], classes: Sequence[str], threshold: float, *, side_mm: float = 0.5
) -> dict[str, Any]:
    """`{"metrics": {name: number or None}, "precision_recall", "f1_by_threshold", "confusion"}` without intervals.

    `confusion` is (C + 1, C + 1) counts, rows the true class, columns the found one, 0 background.
    """
    from trugrade_core.tasks.instances.average_precision import coco_ap

    sides = [np.abs(side_errors(i, threshold)).ravel() for i in images]
    px = np.concatenate([*sides, np.zeros(0)])
    scaled = all(i.mm_per_px is not None for i in images if len(i.truth.labels))
    mm = np.concatenate([*(s * (i.mm_per_px or 0.0) for s, i in zip(sides, images, strict=True)), np.zeros(0)])
    scores = np.concatenate([*(i.found.scores for i in images), np.zeros(0)])
    hits = np.concatenate([*(i.truth_of >= 0 for i in images), np.zeros(0, bool)])
    objects = sum(len(i.truth.labels) for i in images)
    right, shown = int((hits & (scores >= threshold)).sum()), int((scores >= threshold).sum())
    has_masks = shown > 0 and all(i.found.masks is not None and i.truth.masks is not None for i in images)
    boxes = coco_ap(images, len(classes)) or {}
    masks = (coco_ap(images, len(classes), "segm") if has_masks else None) or {}
    cards: dict[str, list[bool | None]] = {}
    for i in images:
        cards.setdefault(i.card, []).append(image_right(i, threshold, side_mm))
    known = all(None not in found for found in cards.values())
    confusion = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    for i in images:
        for pair in confusion_pairs(i, threshold):
            confusion[pair] += 1
    return {
        "metrics": {
            "side_error_px": float(np.median(px)) if len(px) else None,
            "side_error_mm": float(np.median(mm)) if len(mm) and scaled else None,
            "side_error_mm_p95": float(np.quantile(mm, 0.95)) if len(mm) and scaled else None,
            "box_map": boxes.get("map"),
            "box_ap50": boxes.get("ap50"),
            "box_ap75": boxes.get("ap75"),
            "mask_map": masks.get("map"),
            "mask_ap50": masks.get("ap50"),
            "mask_ap75": masks.get("ap75"),
            "f1": 2 * right / (shown + objects) if shown + objects else None,
            "card_accuracy": float(np.mean([all(v) for v in cards.values()])) if cards and known else None,
        },
        "precision_recall": precision_recall(scores, hits, objects),
        "f1_by_threshold": f1_by_threshold(scores, hits, objects),
        "confusion": confusion.tolist(),
    }
