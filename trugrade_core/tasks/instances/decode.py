"""From a detector's raw outputs to instances in the lab's frame: the same numpy for PyTorch, ONNX and every package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data import rle
from trugrade_core.schema import Instance, Mask, Preprocess

Float = NDArray[np.float32]


class RawInstances(NamedTuple):
    """What a network says of one image: K candidates, unsorted, not yet filtered."""

    boxes: Float
    """(K, 4) xyxy over the canvas's pixel edges."""
    scores: Float
    """(K,) 0 to 1."""
    labels: NDArray[np.int64]
    """(K,) class ids from 1."""
    masks: Float | None
    """(K, M, M) probabilities over each box, or None where the network has no masks."""


def decode(
    raw: RawInstances,
    preprocess: Preprocess,
    width: int,
    height: int,
    classes: Sequence[str],
    *,
    threshold: float,
    nms_iou: float = 0.5,
    limit: int = 100,
    mask_at: float = 0.5,
) -> tuple[Instance, ...]:
    """Instances of an image of `width` x `height` px, best first: score filter, NMS in each class, at most `limit`.

    Boxes are cut to the image; a mask is the part of its box with a probability of `mask_at` or more.
    """
    scale = np.tile(preprocess.axis_scale(width, height), 2)
    size = np.tile([width, height], 2)
    boxes = np.clip(raw.boxes.astype(np.float64) / scale, 0, size)
    good = (raw.scores >= threshold) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & np.isfinite(raw.scores)
    good &= (raw.labels >= 1) & (raw.labels <= len(classes))
    candidates = np.flatnonzero(good)
    kept = candidates[nms(boxes[candidates], raw.scores[candidates], raw.labels[candidates], nms_iou)[:limit]]
    return tuple(
        Instance(
            label=classes[int(raw.labels[k]) - 1],
            score=float(raw.scores[k]),
            box=tuple((boxes[k] - 0.5).tolist()),
            mask=None if raw.masks is None else paste(raw.masks[k], raw.boxes[k] / scale, width, height, mask_at),
        )
        for k in kept
    )


def nms(boxes: NDArray[np.float64], scores: Float, labels: NDArray[np.int64], iou: float) -> NDArray[np.int64]:
    """Indices to keep, best score first: a box goes when a better one of its class overlaps it by more than `iou`."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = np.clip(high - low, 0, None).prod(axis=1)
        overlap = common / (areas[best] + areas[rest] - common)
        order = rest[(overlap <= iou) | (labels[rest] != labels[best])]
    return np.array(kept, np.int64)


def paste(probabilities: Float, box: NDArray[np.float64], width: int, height: int, mask_at: float = 0.5) -> Mask:
    """(M, M) probabilities over `box` (xyxy, pixel edges of the image) to a mask over the whole image.

    Each pixel centre in the box reads the cells by bilinear interpolation; the outermost cells reach to the box's edge.
    """
    x0, y0 = (max(0, int(np.ceil(v - 0.5))) for v in box[:2])
    x1 = min(width, int(np.ceil(box[2] - 0.5)))
    y1 = min(height, int(np.ceil(box[3] - 0.5)))
    if x1 <= x0 or y1 <= y0:
        return rle.encode(np.zeros((height, width), bool))
    rows = _interpolation(np.arange(y0, y1), box[1], box[3], len(probabilities))
    columns = _interpolation(np.arange(x0, x1), box[0], box[2], probabilities.shape[1])
    inside = rows @ probabilities.astype(np.float32) @ columns.T >= mask_at
    return rle.encode(inside, at_xy=(x0, y0), size_hw=(height, width))


def _interpolation(pixels: NDArray[np.int64], low: float, high: float, cells: int) -> Float:
    """(pixels, cells): the weight of each cell of `low` … `high` at each pixel centre."""
    at = np.clip((pixels + 0.5 - low) / (high - low) * cells - 0.5, 0, cells - 1)
    weights: Float = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)
    return weights
