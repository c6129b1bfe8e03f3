"""Binary masks as COCO's compressed run lengths: counted down the columns, differences of runs as text.

Written here in numpy so that neither importers nor packaged models need pycocotools; a test holds it to pycocotools.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trugrade_core.errors import DatasetError
from trugrade_core.schema import Box, Mask, Polygon, Value

Bool = NDArray[np.bool_]
Outline = NDArray[np.float64]
RASTER = 256
"""Cells along and across what two shapes that are compared cover together."""


def encode(mask: Bool, *, at_xy: tuple[int, int] = (0, 0), size_hw: tuple[int, int] | None = None) -> Mask:
    """(H, W) bool to runs. With `size_hw`, `mask` is a window of a larger, otherwise empty image, its corner `at_xy`."""
    height, width = size_hw or mask.shape
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = mask.T
    step = np.diff(columns, axis=1)
    column, row = np.nonzero(step == 1)
    starts = (column + at_xy[0]) * height + row + at_xy[1]
    column, row = np.nonzero(step == -1)
    ends = (column + at_xy[0]) * height + row + at_xy[1]
    touching = np.flatnonzero(ends[:-1] == starts[1:])  # a run that goes on at the top of the next column
    edges = np.stack([np.delete(starts, touching + 1), np.delete(ends, touching)], axis=1).reshape(-1)
    positions = np.concatenate([[0], edges, [height * width]])
    counts = np.diff(positions)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return Mask(counts=_to_text(counts), size_hw=(height, width))


def decode(mask: Mask) -> Bool:
    """Runs to (H, W) bool. Raises DatasetError when they do not fill the image exactly."""
    height, width = mask.size_hw
    counts = runs(mask)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def runs(mask: Mask) -> NDArray[np.int64]:
    """The run lengths, outside first, down the columns; every second one is of the mask. Raises as `decode`."""
    height, width = mask.size_hw
    counts = _from_text(mask.counts)
    if len(counts) == 0 or counts.min() < 0 or counts.sum() != height * width:
        raise DatasetError(
            f"a mask's runs cover {int(counts.sum())} pixels of an image of {width} x {height} = {width * height}",
            code="dataset.mask",
            what_to_do="Write the mask again with the tool that made it.",
        )
    return counts


def bounds(mask: Mask) -> tuple[float, float, float, float] | None:
    """The box (x0, y0, x1, y1) around a mask's pixels, lab frame, along their edges, without unpacking them; None for
    an empty mask. Raises as `decode`."""
    height = mask.size_hw[0]
    ends = np.cumsum(runs(mask))
    starts, ends = ends[:-1:2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts] - 1
    if not len(starts):
        return None
    across = starts // height != ends // height  # such a run touches the bottom of a column and the top of the next
    top = 0 if across.any() else int((starts % height).min())
    bottom = height - 1 if across.any() else int((ends % height).max())
    return int(starts[0]) // height - 0.5, top - 0.5, int(ends[-1]) // height + 0.5, bottom + 0.5


def fill(points: ArrayLike, width: int, height: int) -> Bool:
    """(H, W) bool: the pixels whose centre lies inside the polygon `points` (N, 2), by the even-odd rule.

    Exact to the last bit of the coordinates: no drawing of outlines, which would grow a shape by half a pixel.
    """
    xy = np.asarray(points, np.float64)
    crossed = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(xy, np.roll(xy, -1, axis=0), strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        rows = np.arange(max(0, int(np.ceil(y0))), min(height, int(np.ceil(y1))))  # y0 <= row < y1
        if len(rows):
            x = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0))
            crossed[rows, np.clip(np.ceil(x), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(crossed[:, :width], axis=1)


def mask_outlines(mask: Bool) -> list[NDArray[np.float64]]:
    """The closed outlines (N, 2), lab frame, of a (H, W) mask, along the edges of its pixels, at half-integers.

    One for each part (pixels that touch at a corner are one part) and one for each hole. By the even-odd rule
    (`fill`) they give back exactly the mask, and an outer one alone its part with the holes filled.
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    touch = (nw == se) & (ne == sw) & (nw != ne)  # two pixels meet at a corner: two outlines' corners in one place
    y, x = np.nonzero((nw ^ ne ^ sw ^ se) | touch)
    twice = touch[y, x]
    falling = np.repeat(twice & nw[y, x], 1 + twice)
    y, x = np.repeat(y, 1 + twice), np.repeat(x, 1 + twice)
    # Along a row, corners pair up into horizontal edges; along a column, into vertical ones. Where two parts meet
    # like a falling diagonal, the left edge goes on downwards and the right one upwards.
    corner = np.arange(len(x))
    second = np.concatenate([[False], (x[1:] == x[:-1]) & (y[1:] == y[:-1])]) if len(x) else np.zeros(0, bool)
    order = np.lexsort((second ^ falling, y, x))
    vertical = np.empty_like(corner)
    vertical[order] = order[corner ^ 1]
    points: NDArray[np.float64] = np.stack([x, y], axis=1).astype(np.float64) - 0.5
    leads_to = vertical.tolist()
    found: list[NDArray[np.float64]] = []
    seen = bytearray(len(x))
    for start in range(0, len(x), 2):
        path, at = list[int](), start
        while not seen[at]:
            seen[at] = seen[at ^ 1] = True
            path += [at, at ^ 1]
            at = leads_to[at ^ 1]
        if path:
            found.append(points[path])
    return found


def outlines(value: Value) -> list[NDArray[np.float64]]:
    """The closed outlines (N, 2) of a shape, in the lab's frame: of a mask along the edges of its pixels; none of what is
    no shape."""
    if isinstance(value, Box):
        x0, y0, x1, y1 = value.xyxy
        return [np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)]
    if isinstance(value, Polygon):
        return [np.asarray(value.points, np.float64)]
    return mask_outlines(decode(value)) if isinstance(value, Mask) else []


def iou(a: Sequence[Outline], b: Sequence[Outline]) -> float:
    """Intersection over union of what lies inside two shapes' `outlines`, by the even-odd rule.

    On a raster of the pair's own, turned and stretched to what the two cover: turning and stretching change no ratio of
    areas, and so a scratch of 3 x 2000 px is held to the same fineness as a square.
    """
    points = np.concatenate([*a, *b])
    axes = np.linalg.eigh(np.cov(points.T))[1]
    low, high = (points @ axes).min(axis=0), (points @ axes).max(axis=0)
    scale = RASTER / np.maximum(high - low, 1e-9)

    def inside(outlines: Sequence[Outline]) -> Bool:
        found = np.zeros((RASTER, RASTER), bool)
        for own in outlines:
            found ^= fill((own @ axes - low) * scale - 0.5, RASTER, RASTER)
        return found

    first, second = inside(a), inside(b)
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 0.0


def from_polygon(points: ArrayLike, width: int, height: int) -> Mask:
    """The filled polygon (N, 2), lab frame, as a mask over the whole image."""
    return encode(fill(points, width, height))


def _to_text(counts: NDArray[np.int64]) -> str:
    """COCO's text: from the fourth on the difference to the run before the last; 5 bits a character, low bits first."""
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    characters, used = [], []
    going = np.ones(len(rest), bool)
    while going.any():
        low = rest & 31
        rest >>= 5
        more = going & (rest != np.where(low & 16, -1, 0))
        characters.append(low + 32 * more + 48)
        used.append(going)
        going = more
    order = np.stack(characters, axis=1)[np.stack(used, axis=1)]
    return str(order.astype(np.uint8).tobytes(), "ascii")


def _from_text(text: str) -> NDArray[np.int64]:
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    last = (codes & 32) == 0
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or not last[-1]:
        raise DatasetError(
            "a mask's text is not COCO's compressed run lengths",
            code="dataset.mask",
            what_to_do="Write the mask again with the tool that made it.",
        )
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    group = np.cumsum(np.concatenate([[False], last[:-1]]))
    place = np.arange(len(codes)) - starts[group]
    if place.max() > 10:
        raise DatasetError("a mask's text holds a run too long for any image", code="dataset.mask")
    values = np.zeros(len(ends), np.int64)
    np.add.at(values, group, (codes & 31) << (5 * place))
    negative = (codes[ends] & 16) != 0
    values[negative] -= np.int64(1) << (5 * (place[ends][negative] + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
