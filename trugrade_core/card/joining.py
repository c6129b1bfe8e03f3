"""What was drawn on several regions of one scan, as labels of the scan: regions overlap, so one thing may be drawn on two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.carry import Shape, to_parent
from trugrade_core.card.geometry import apply
from trugrade_core.card.regions import window
from trugrade_core.data import rle
from trugrade_core.data.index_rows import bounds
from trugrade_core.schema import XYXY, Annotation, Box, Mask, Sample

Bool = NDArray[np.bool_]

SAME_IOU = 0.25
"""Two shapes are of one thing when, where both regions look, they overlap by this much."""


@dataclass(frozen=True)
class Drawn:
    """A shape drawn on a region: `value` and `seen` (the region's corners (4, 2)) in px of the scan."""

    region: str
    annotation: Annotation
    value: Shape
    seen: NDArray[np.float64]

    @cached_property
    def box(self) -> XYXY:
        return bounds(self.value) or (0.0, 0.0, -1.0, -1.0)

    @cached_property
    def cropped(self) -> tuple[int, int, Bool]:
        """Of a mask, what of the scan is in its box: (x, y of the corner, pixels). A scan is unpacked once for each."""
        assert isinstance(self.value, Mask)  # noqa: S101 (other shapes are filled where they are asked for)
        x0, y0, w, h = _pixels(self.box, self.value.size_hw)
        return x0, y0, rle.decode(self.value)[y0 : y0 + h, x0 : x0 + w].copy()


def on_scan(crop: Sample, annotation: Annotation, parent: Sample) -> Drawn:
    """Raises DatasetError when `parent` is not the scan that the crop was cut from."""
    value = to_parent(crop, annotation.value, parent)
    if crop.parent is None or not isinstance(value, Shape):
        raise TypeError(f"{annotation.id} is no shape on a crop")
    matrix = np.array(crop.parent.homography, np.float64).reshape(3, 3)
    return Drawn(crop.id, annotation, value, apply(matrix, window(crop.main.width, crop.main.height)))


def join(drawn: Sequence[Drawn]) -> list[list[Drawn]]:
    """What was drawn on the regions of one scan, in groups that are one thing, each in the order of annotation ids."""
    ordered = sorted(drawn, key=lambda d: d.annotation.id)
    group = list(range(len(ordered)))
    boxes = [d.box for d in ordered]
    for i, j in combinations(range(len(ordered)), 2):
        a, b = ordered[i], ordered[j]
        if a.region == b.region or a.annotation.label != b.annotation.label or group[i] == group[j]:
            continue
        if _meet(boxes[i], boxes[j]) and _are_one(a, b, boxes[i], boxes[j]):
            low, high = sorted((group[i], group[j]))
            group = [low if g == high else g for g in group]
    return [[d for d, g in zip(ordered, group, strict=True) if g == first] for first in dict.fromkeys(group)]


def united(group: Sequence[Drawn], size_hw: tuple[int, int]) -> Shape:
    """One shape for the group, on a scan of `size_hw`: a box of boxes, a mask of whatever else is more than one."""
    if len(group) == 1:
        return group[0].value
    boxes = np.array([d.box for d in group])
    around = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    if all(isinstance(d.value, Box) for d in group):
        return Box(xyxy=around)
    x0, y0, w, h = _pixels(around, size_hw)
    mask = np.logical_or.reduce([_part(d, x0, y0, w, h) for d in group])
    return rle.encode(mask, at_xy=(x0, y0), size_hw=size_hw)


def _meet(a: XYXY, b: XYXY) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _are_one(a: Drawn, b: Drawn, box_a: XYXY, box_b: XYXY) -> bool:
    around = min(box_a[0], box_b[0]), min(box_a[1], box_b[1]), max(box_a[2], box_b[2]), max(box_a[3], box_b[3])
    x0, y0, w, h = _pixels(around, None)
    both = rle.fill(a.seen - (x0, y0), w, h) & rle.fill(b.seen - (x0, y0), w, h)
    one, other = _part(a, x0, y0, w, h) & both, _part(b, x0, y0, w, h) & both
    return bool((one & other).sum() >= SAME_IOU * max((one | other).sum(), 1))


def _pixels(xyxy: XYXY, size_hw: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the whole pixels of a box, inside the image where one is given."""
    x0, y0 = int(np.floor(xyxy[0])), int(np.floor(xyxy[1]))
    x1, y1 = int(np.ceil(xyxy[2])) + 1, int(np.ceil(xyxy[3])) + 1
    if size_hw is not None:
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, size_hw[1]), min(y1, size_hw[0])
    return x0, y0, max(x1 - x0, 1), max(y1 - y0, 1)


def _part(drawn: Drawn, x0: int, y0: int, w: int, h: int) -> Bool:
    """(h, w): the pixels of a shape in a window of the scan, which may reach out of it."""
    if not isinstance(drawn.value, Mask):
        outlines = rle.outlines(drawn.value)
        return np.asarray(np.logical_xor.reduce([rle.fill(points - (x0, y0), w, h) for points in outlines]))
    left, top, own = drawn.cropped
    out = np.zeros((h, w), bool)
    x, y = left - x0, top - y0
    part = own[max(-y, 0) : max(h - y, 0), max(-x, 0) : max(w - x, 0)]
    out[max(y, 0) : max(y, 0) + part.shape[0], max(x, 0) : max(x, 0) + part.shape[1]] = part
    return out
