"""What can be said of a drawn shape without its picture: where it reaches, its area, whether it is one at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data import rle
from trugrade_core.schema import XYXY, Box, Mask, Polygon, Value

Array = NDArray[np.float64]
PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Shape:
    """`box` is xyxy in px of the lab's frame, `area_px` the filled area."""

    box: XYXY
    area_px: float

    @property
    def wh(self) -> tuple[float, float]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def shape_of(value: Value) -> Shape | None:
    """None for what covers nothing (an empty mask) and for what is no shape (tags, scores)."""
    if isinstance(value, Box):
        x0, y0, x1, y1 = value.xyxy
        return Shape(value.xyxy, (x1 - x0) * (y1 - y0))
    if isinstance(value, Polygon):
        points = np.asarray(value.points, np.float64)
        low, high = points.min(axis=0), points.max(axis=0)
        return Shape((float(low[0]), float(low[1]), float(high[0]), float(high[1])), _area(points))
    return _mask_shape(value) if isinstance(value, Mask) else None


def _area(points: Array) -> float:
    after = np.roll(points, -1, axis=0)
    return float(abs((points[:, 0] * after[:, 1] - after[:, 0] * points[:, 1]).sum()) / 2)


def _mask_shape(mask: Mask) -> Shape | None:
    """From the runs alone: decoding a whole scan for its bounds would take a hundred times as long."""
    from faster_coco_eval.core import mask as coco

    runs = [{"size": list(mask.size_hw), "counts": mask.counts.encode()}]
    area = float(coco.area(runs)[0])
    if not area:
        return None
    x, y, width, height = (float(v) for v in coco.toBbox(runs)[0])
    return Shape((x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5), area)


def iou(a: XYXY, b: XYXY) -> float:
    """Of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def overlap(a: Value, b: Value) -> float:
    """IoU of two shapes as they are drawn. 0 for masks of different image sizes, a mask and an outline, and what is no
    shape."""
    if isinstance(a, Box) and isinstance(b, Box):
        return iou(a.xyxy, b.xyxy)
    if isinstance(a, Mask) and isinstance(b, Mask):
        from faster_coco_eval.core import mask as coco

        if a.size_hw != b.size_hw:
            return 0.0
        first, second = ([{"size": list(m.size_hw), "counts": m.counts.encode()}] for m in (a, b))
        return float(coco.iou(first, second, [0])[0][0])
    if isinstance(a, Box | Polygon) and isinstance(b, Box | Polygon):
        return rle.iou(rle.outlines(a), rle.outlines(b))
    return 0.0


def crosses_itself(polygon: Polygon) -> bool:
    """Whether two sides cross. An outline that touches itself (two pixels that meet at a corner) is sound."""
    points = np.asarray(polygon.points, np.float64)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    count = len(points)
    if count < 4:
        return False
    a, b = points, np.roll(points, -1, axis=0)
    # Sides in order of their left ends: each can only meet those that begin before it ends.
    order = np.argsort(np.minimum(a[:, 0], b[:, 0]), kind="stable")
    left = np.minimum(a[:, 0], b[:, 0])[order]
    upto = np.searchsorted(left, np.maximum(a[:, 0], b[:, 0])[order], side="right")
    lengths = np.maximum(upto - np.arange(count) - 1, 0)
    begun = 0
    while begun < count:  # so many pairs at once as memory holds
        ended = begun + max(1, int(np.searchsorted(np.cumsum(lengths[begun:]), PAIRS_AT_ONCE)))
        own = np.arange(begun, min(ended, count))
        first = np.repeat(own, lengths[own])
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(lengths[own]) - lengths[own], lengths[own])
        i, j = order[first], order[second]
        apart = ((i - j) % count > 1) & ((j - i) % count > 1)
        if _any_cross(a, b, i[apart], j[apart]):
            return True
        begun = ended
    return False


def _any_cross(a: Array, b: Array, i: NDArray[np.int64], j: NDArray[np.int64]) -> bool:
    """Whether any side i crosses side j, by the orientation of their ends (O'Rourke, Computational Geometry in C, 1.5)."""
    near = (np.minimum(a[i, 1], b[i, 1]) <= np.maximum(a[j, 1], b[j, 1])) & (
        np.minimum(a[j, 1], b[j, 1]) <= np.maximum(a[i, 1], b[i, 1])
    )
    i, j = i[near], j[near]

    def turn(p: Array, q: Array, r: Array) -> Array:
        found: Array = (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])
        return np.sign(found)

    one, two = turn(a[i], b[i], a[j]), turn(a[i], b[i], b[j])
    three, four = turn(a[j], b[j], a[i]), turn(a[j], b[j], b[i])
    return bool(((one * two < 0) & (three * four < 0)).any())
