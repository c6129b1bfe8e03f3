"""Labels between a scan and the regions cut from it, by the region's matrix: down to a crop, clipped there, and back.

Boxes stay boxes where the region is straight (quarter turns and whole pixels) and become their four turned corners
otherwise; polygons stay polygons unless clipping would make several of one, which becomes a mask; masks are warped to
the nearest pixel. Tags, scores and statuses say something of a whole picture and are not touched here.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import apply, area, clip, inverse
from trugrade_core.card.regions import Cut, is_straight, window
from trugrade_core.data import rle
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, ImageRef, Mask, Polygon, Sample, Value

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEAST_PX2 = 1.0
"""A shape of which less than this, or a strip narrower than a pixel, is inside a region is not carried there."""
Shape = Box | Polygon | Mask


def carry(annotation: Annotation, cuts: Sequence[Cut]) -> dict[str, tuple[Shape, bool]]:
    """{region: (the part of a shape that lies in it, whether some of it does not)}, for the regions that it reaches."""
    value = annotation.value
    if isinstance(value, Mask):
        return _carry_mask(rle.decode(value), cuts)
    if not isinstance(value, Box | Polygon):
        raise TypeError(f"{value.type} is no shape")
    found = {}
    for cut in cuts:
        inside = _carry_polygon(value, cut)
        if inside is not None:
            found[cut.region] = inside
    return found


def _carry_polygon(value: Box | Polygon, cut: Cut) -> tuple[Shape, bool] | None:
    w, h = cut.size_wh
    around = -0.5, -0.5, w - 0.5, h - 0.5
    mapped = apply(inverse(cut.matrix), *rle.outlines(value))
    outside = bool((mapped < around[:2]).any() or (mapped > around[2:]).any())
    if outside and not _one_part(mapped, around):
        mask = rle.fill(mapped, w, h)
        return (rle.encode(mask), True) if mask.sum() >= LEAST_PX2 else None
    inside = clip(mapped, around)
    sliver = outside and (len(inside) < 3 or np.ptp(inside, axis=0).min() < 1)
    if sliver or area(inside) < min(LEAST_PX2, 0.5 * area(mapped)):
        return None
    if isinstance(value, Box) and is_straight(cut.matrix):
        return Box(xyxy=(*inside.min(axis=0), *inside.max(axis=0))), outside
    return Polygon(points=tuple(map(tuple, inside.tolist()))), outside


def _one_part(points: Array, xyxy: tuple[float, float, float, float]) -> bool:
    """Whether the polygon leaves the box so that one part at most is inside: it is convex, or its outline comes in
    once."""
    along = np.roll(points, -1, axis=0) - points
    after = np.roll(along, -1, axis=0)
    turns = np.sign(along[:, 0] * after[:, 1] - along[:, 1] * after[:, 0])
    winding = np.arctan2(along[:, 0] * after[:, 1] - along[:, 1] * after[:, 0], (along * after).sum(axis=1)).sum()
    if abs(abs(winding) - 2 * np.pi) < 1e-6 and len(set(turns) - {0.0}) == 1:
        return True
    return sum(_enters(a, b, xyxy) for a, b in zip(points, np.roll(points, -1, axis=0), strict=True)) <= 1


def _enters(a: Array, b: Array, xyxy: tuple[float, float, float, float]) -> bool:
    """Whether the way from `a` to `b` comes into the box from outside."""
    low, high = np.array(xyxy[:2]), np.array(xyxy[2:])
    if ((a >= low) & (a <= high)).all():
        return False
    step = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (low - a) / step, (high - a) / step
    parallel = step == 0
    if (parallel & ((a < low) | (a > high))).any():
        return False
    first = np.where(parallel, -np.inf, np.minimum(one, other)).max()
    last = np.where(parallel, np.inf, np.maximum(one, other)).min()
    return bool(max(first, 0) <= min(last, 1))


def _carry_mask(mask: Bool, cuts: Sequence[Cut]) -> dict[str, tuple[Shape, bool]]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return {}
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]])
    part = np.ascontiguousarray(mask[low[1] : high[1] + 1, low[0] : high[0] + 1], np.uint8)
    found: dict[str, tuple[Shape, bool]] = {}
    for cut in cuts:
        corners = apply(cut.matrix, cut.window)
        if (corners.max(axis=0) < low).any() or (corners.min(axis=0) > high).any():
            continue
        inside = _warp(part, low, cut.matrix, cut.size_wh)
        if not inside.any():
            continue
        back = apply(inverse(cut.matrix), np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
        w, h = cut.size_wh
        reaches = bool((back < -1).any() or (back > (w, h)).any())
        found[cut.region] = rle.encode(inside), reaches and _goes_on(part, low, cut)
    return found


def _goes_on(part: NDArray[np.uint8], low: Array, cut: Cut) -> bool:
    """Whether any pixel of the mask lies outside the region."""
    y, x = np.nonzero(part)
    at = apply(inverse(cut.matrix), np.stack([x, y], axis=1) + low)
    w, h = cut.size_wh
    return bool(((at < -0.5) | (at > (w - 0.5, h - 0.5))).any())


def _warp(part: NDArray[np.uint8], low: Array, matrix: Array, size_wh: tuple[int, int]) -> Bool:
    """A mask's window whose first pixel lies at `low`, seen through `matrix` (px of the result to px of the mask)."""
    shift = np.eye(3)
    shift[:2, 2] = -low
    how = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpPerspective(part, shift @ matrix, size_wh, flags=how) > 0)


# --- back to the parent -------------------------------------------------------------------------------------------


def to_parent(sample: Sample, value: Value, parent: Sample) -> Value:
    """A label drawn on the derived `sample`, as it lies in the main image of its parent scan. What is no shape (tags, a
    score, a status) is about the region and comes back as it is. Raises DatasetError when `parent` is not its parent."""
    lineage = sample.parent
    if lineage is None or lineage.sample != parent.id:
        raise DatasetError(f"was not cut from sample {parent.id}", where=sample.id, code="card.lineage")
    matrix = np.array(lineage.homography, np.float64).reshape(3, 3)
    if isinstance(value, Mask):
        return _mask_back(rle.decode(value), matrix, parent.main)
    if not isinstance(value, Box | Polygon):
        return value
    points = apply(matrix, *rle.outlines(value))
    if isinstance(value, Box) and is_straight(matrix):
        return Box(xyxy=(*points.min(axis=0), *points.max(axis=0)))
    return Polygon(points=tuple(map(tuple, points.tolist())))


def _mask_back(mask: Bool, matrix: Array, image: ImageRef) -> Mask:
    height, width = mask.shape
    corners = apply(matrix, window(width, height))
    low = np.clip(np.floor(corners.min(axis=0)), 0, (image.width - 1, image.height - 1)).astype(np.int64)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, (image.width - 1, image.height - 1)).astype(np.int64)
    shift = np.eye(3)
    shift[:2, 2] = low
    size = int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1
    part = np.ascontiguousarray(mask, np.uint8)
    seen = _warp(part, np.zeros(2), inverse(matrix) @ shift, size)
    return rle.encode(seen, at_xy=(int(low[0]), int(low[1])), size_hw=(image.height, image.width))
