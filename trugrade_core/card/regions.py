"""What of a card each task looks at, cut at the image's own sampling.

- `corner:top_left` …: turned by quarter turns so that the corner lies at the top left.
- `edge:left:2`: strips along a side, the cut edge up, counted from the card's left or top. As many as fit best, all
  of one length, so that they cover the side from corner to corner without gap or overlap (to a pixel); so the first
  and the last show the corner too.
- `surface:1:0`: tiles, row and column from the top left. The overlap is raised until they cover the face evenly.
- `surface:face`: all of it.

Nothing is mirrored. Names follow the card as it lies in the scan: nothing in an outline says which way it is read.
A card's corners and sides are taken where they were found, each side with its own direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import apply, area, clip
from trugrade_core.card.plane import Plane

Array = NDArray[np.float64]

CORNERS = ("top_left", "top_right", "bottom_right", "bottom_left")
SIDES = ("top", "right", "bottom", "left")
STRAIGHT_PX = 0.5
"""Where the tilt moves no pixel of a region by more than this, it is cut without turning: the parent's very pixels."""
MAX_PADDING = 0.25
"""Of a region. Where the scan ends at the card's edge, 23 % of a corner lie outside it; more, and card is missing."""


@dataclass(frozen=True)
class Cut:
    """A region: `matrix` (3, 3) maps its px to the image's, both in the lab's frame; `size_wh` px."""

    region: str
    matrix: Array
    size_wh: tuple[int, int]

    @property
    def window(self) -> Array:
        """Its outline (4, 2) in its own px."""
        return window(*self.size_wh)

    def padding(self, width: int, height: int) -> float:
        """The share of it that lies outside an image of this size."""
        quad = apply(self.matrix, self.window)
        inside = clip(quad, (-0.5, -0.5, width - 0.5, height - 0.5))
        return 1 - area(inside) / area(quad)


def window(width: int, height: int) -> Array:
    """The outline (4, 2) of a whole image, in the lab's frame."""
    return np.array([(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)])


def cut_regions(
    plane: Plane, part: str, size_mm: tuple[float, float] | None, margin_mm: float, overlap_mm: float
) -> list[Cut]:
    """The regions of a card: `part` is corner, edge or surface; `size_mm` (along or across, down), None for the whole
    face, of which `margin_mm` lies outside the card; tiles overlap by `overlap_mm` at least."""
    if part == "surface":
        return _surface(plane, size_mm, margin_mm, overlap_mm)
    if size_mm is None:
        raise ValueError(f"a region of part {part} needs its size")
    return _corners(plane, size_mm, margin_mm) if part == "corner" else _edges(plane, size_mm, margin_mm)


def _corners(plane: Plane, size_mm: tuple[float, float], margin_mm: float) -> list[Cut]:
    size = round(size_mm[0] * plane.px_per_mm), round(size_mm[1] * plane.px_per_mm)
    quarters = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], np.float64)
    return [
        _cut(plane, f"corner:{name}", corner, u, (-margin_mm, -margin_mm), size)
        for name, corner, u in zip(CORNERS, plane.corners_mm, quarters, strict=True)
    ]


def _edges(plane: Plane, size_mm: tuple[float, float], margin_mm: float) -> list[Cut]:
    k = plane.px_per_mm
    found = []
    for n, name in enumerate(SIDES):
        a, b = plane.corners_mm[n], plane.corners_mm[(n + 1) % 4]
        length = float(np.hypot(*(b - a)))
        count = max(1, round(length / size_mm[0]))
        ends = [round(i * length * k / count) for i in range(count + 1)]
        for i, (start, end) in enumerate(pairwise(ends)):
            place = i if name in ("top", "right") else count - 1 - i
            size = end - start, round(size_mm[1] * k)
            found.append(_cut(plane, f"edge:{name}:{place}", a, (b - a) / length, (start / k, -margin_mm), size))
    return sorted(found, key=lambda cut: (SIDES.index(cut.region.split(":")[1]), int(cut.region.split(":")[2])))


def _surface(plane: Plane, size_mm: tuple[float, float] | None, margin_mm: float, overlap_mm: float) -> list[Cut]:
    k, u = plane.px_per_mm, np.array([1.0, 0.0])
    x, y = plane.corners_mm.T
    start = np.array([x[0] + x[3], y[0] + y[1]]) / 2 - margin_mm
    end = np.array([x[1] + x[2], y[2] + y[3]]) / 2 + margin_mm
    width, height = (round(float(v)) for v in (end - start) * k)
    if size_mm is None:
        return [_cut(plane, "surface:face", start, u, (0, 0), (width, height))]
    tile = min(round(size_mm[0] * k), width), min(round(size_mm[1] * k), height)
    columns, rows = (_starts(all, one, overlap_mm * k) for all, one in zip((width, height), tile, strict=True))
    return [
        _cut(plane, f"surface:{row}:{column}", start, u, (left / k, top / k), tile)
        for row, top in enumerate(rows)
        for column, left in enumerate(columns)
    ]


def _starts(all: int, one: int, overlap: float) -> list[int]:
    """Where tiles of `one` px begin that cover `all` px and overlap by about `overlap` px at least, evenly."""
    # A card cut a little large must not get a whole row more: a twentieth of a tile comes out of the overlap.
    count = max(1, math.ceil((all - overlap) / (one - overlap) - 0.05))
    return [round(float(v)) for v in np.linspace(0, all - one, count)]


def _cut(
    plane: Plane, region: str, origin: Array, u: Array, start_mm: tuple[float, float], size_wh: tuple[int, int]
) -> Cut:
    """A region whose x runs along `u` (mm plane) and whose first pixel's outer corner lies `start_mm` (along `u`, across
    it) from `origin`."""
    k = plane.px_per_mm
    v = np.array([-u[1], u[0]])
    first = origin + (start_mm[0] + 0.5 / k) * u + (start_mm[1] + 0.5 / k) * v
    to_mm = np.array([[u[0] / k, v[0] / k, first[0]], [u[1] / k, v[1] / k, first[1]], [0, 0, 1]])
    matrix = plane.matrix @ to_mm
    return Cut(region, _straight(matrix, size_wh) if plane.kind == "scan" else matrix, size_wh)


def _straight(matrix: Array, size_wh: tuple[int, int]) -> Array:
    """A turn of px to px as quarter turns and whole pixels, where that moves nothing by more than STRAIGHT_PX (and the
    rounding to whole pixels)."""
    quarter = np.rint(matrix[:2, :2])
    off = math.hypot(*(matrix[:2, 0] - quarter[:, 0])) * math.hypot(*size_wh) / 2
    if off > STRAIGHT_PX:
        return matrix
    centre = (np.array(size_wh) - 1) / 2
    found = np.eye(3)
    found[:2, :2] = quarter
    shift = matrix[:2, :2] @ centre + matrix[:2, 2] - quarter @ centre
    found[:2, 2] = np.floor(shift + 0.5 + 1e-6)  # never half to even: neighbours are rounded the same way
    return found + 0.0  # no -0


def is_straight(matrix: Array) -> bool:
    """Whether it maps whole pixels to whole pixels: quarter turns and shifts."""
    return bool((matrix == np.rint(matrix)).all() and (np.abs(matrix[:2, :2]).sum(axis=0) == 1).all()
                and (matrix[2] == (0, 0, 1)).all())  # fmt: skip
