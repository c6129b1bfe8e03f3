"""What may be saved as a shape: inside its image, with an area, not crossing itself. Lab frame, in px."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.rle import runs
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Box, Mask, Polygon

Points = NDArray[np.float64]
LEAST_AREA_PX2 = 0.01
MOST_POINTS = 20_000
BLOCK = 256


def refused(message: str, what_to_do: str) -> DatasetError:
    return DatasetError(message, code="annotate.shape", what_to_do=what_to_do)


def inside(value: Box | Polygon | Mask, width: int, height: int) -> tuple[Box | Polygon | Mask, str]:
    """The shape as it can be kept in an image of `width` x `height`, and what was changed in words ('' for nothing).

    Raises DatasetError: outside the image, without an area, crossing itself, a mask of another size or of no pixel.
    """
    if isinstance(value, Mask):
        return _mask(value, width, height), ""
    if isinstance(value, Box):
        return _box(value, width, height)
    return _polygon(value, width, height)


def _mask(value: Mask, width: int, height: int) -> Mask:
    if value.size_hw != (height, width):
        h, w = value.size_hw
        raise refused(f"the mask is of an image of {w} x {h} px, this one has {width} x {height}",
                      "Reload the sample and draw the mask again.")  # fmt: skip
    if not runs(value)[1::2].any():
        raise refused("the mask has no pixel", "Delete the shape instead.")
    return value


def _box(value: Box, width: int, height: int) -> tuple[Box, str]:
    x0, y0, x1, y1 = value.xyxy
    kept = max(x0, -0.5), max(y0, -0.5), min(x1, width - 0.5), min(y1, height - 0.5)
    if not (kept[2] > kept[0] and kept[3] > kept[1]):
        raise refused("the box lies outside the image", "Draw it inside the image.")
    return (value, "") if kept == value.xyxy else (Box(xyxy=kept), "the box was clipped to the image")


def _polygon(value: Polygon, width: int, height: int) -> tuple[Polygon, str]:
    if len(value.points) > MOST_POINTS:
        raise refused(f"the polygon has {len(value.points):,} points, more than {MOST_POINTS:,}", "Draw it as a mask.")
    points = distinct(np.asarray(value.points, np.float64))
    check_outline(points)
    low, high = np.array([-0.5, -0.5]), np.array([width - 0.5, height - 0.5])
    if (points >= low).all() and (points <= high).all():
        return value, ""
    kept = distinct(clip(points, low, high))
    if len(kept) < 3 or abs(area(kept)) < LEAST_AREA_PX2:
        raise refused("the polygon lies outside the image", "Draw it inside the image.")
    if crossing(kept, touching=True) is not None:
        raise refused("the polygon leaves the image in several places and would be cut into parts",
                      "Draw one shape for each part, inside the image.")  # fmt: skip
    return Polygon(points=tuple((float(x), float(y)) for x, y in kept)), "the polygon was clipped to the image"


def check_outline(points: Points) -> None:
    """Raises DatasetError when the closed outline (N, 2) has no area or crosses itself."""
    if len(points) < 3 or abs(area(points)) < LEAST_AREA_PX2:
        # A bow tie has an area of 0 too, and 'no area' would not tell a person what is wrong.
        if len(points) > 3 and crossing(points) is not None:
            raise _crosses(points)
        raise refused("the polygon has no area", "Move its points apart, or delete it.")
    if crossing(points) is not None:
        raise _crosses(points)


def _crosses(points: Points) -> DatasetError:
    found = crossing(points)
    assert found is not None  # noqa: S101
    (x0, y0), (x1, y1) = points[found[0]], points[found[1]]
    return refused(f"the polygon crosses itself: the side from ({x0:.1f}, {y0:.1f}) meets the one from ({x1:.1f}, {y1:.1f})",
                   "Move a point so that no two sides cross, or draw two shapes.")  # fmt: skip


def distinct(points: Points) -> Points:
    """Without points that repeat the one before."""
    keep = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1) > 0
    kept: Points = points[keep]
    return kept


def area(points: Points) -> float:
    """Signed, positive where the outline runs clockwise on screen."""
    x, y = points.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def crossing(points: Points, *, touching: bool = False) -> tuple[int, int] | None:
    """Two sides (by the number of their first point) of a closed outline that cross, or None.

    Sides that only touch count with `touching` alone: two parts of a shape may meet in a point.
    """
    n = len(points)
    start, end = points, np.roll(points, -1, axis=0)

    def turn(a: Points, b: Points, c: Points) -> Points:
        found: Points = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
            c[..., 0] - a[..., 0]
        )
        return found

    # From top to bottom, so that each side is held against those alone that begin before it ends.
    top, bottom = np.minimum(start, end)[:, 1], np.maximum(start, end)[:, 1]
    order = np.argsort(top)
    for first in range(0, n, BLOCK):
        rows = order[first : first + BLOCK, None]
        columns = order[first : np.searchsorted(top, bottom[rows].max(), side="right", sorter=order)]
        a, b, c, d = start[rows], end[rows], start[None, columns], end[None, columns]
        to_c, to_d, to_a, to_b = turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)
        if touching:
            low, high = np.minimum(a, b), np.maximum(a, b)
            near = ((np.minimum(c, d) <= high) & (np.maximum(c, d) >= low)).all(axis=-1)
            hit = near & (np.sign(to_c) * np.sign(to_d) <= 0) & (np.sign(to_a) * np.sign(to_b) <= 0)
        else:
            hit = (np.sign(to_c) * np.sign(to_d) < 0) & (np.sign(to_a) * np.sign(to_b) < 0)
        gap = (columns - rows) % n
        hit &= (gap > 1) & (gap < n - 1)
        if hit.any():
            i, j = np.argwhere(hit)[0]
            one, other = sorted((int(rows[i, 0]), int(columns[j])))
            return one, other
    return None


def clip(points: Points, low: Points, high: Points) -> Points:
    """The outline cut to the rectangle, side by side (Sutherland and Hodgman, 1974)."""
    for axis, bound, sign in ((0, low[0], 1.0), (1, low[1], 1.0), (0, high[0], -1.0), (1, high[1], -1.0)):
        found: list[Sequence[float]] = []
        for p, q in zip(points, np.roll(points, -1, axis=0), strict=True):
            p_in, q_in = sign * (p[axis] - bound) >= 0, sign * (q[axis] - bound) >= 0
            if p_in:
                found.append(p)
            if p_in != q_in:
                at = p + (q - p) * ((bound - p[axis]) / (q[axis] - p[axis]))
                at[axis] = bound
                found.append(at)
        points = np.asarray(found, np.float64).reshape(-1, 2)
        if not len(points):
            break
    return points
