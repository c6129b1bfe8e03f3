"""The one place where coordinate conventions meet.

The lab's frame: the image after EXIF rotation, pixel centres at integers, `(x, y)`, y down. The whole image of
size (W, H) is (-0.5, -0.5, W - 0.5, H - 0.5). Boxes are `xyxy`; all functions take and give float64 arrays of
shape (..., 4) for boxes or (..., 2) for points, in pixels unless the name says otherwise.

Other conventions: COCO and YOLO run over pixel edges (0 to W), Pascal VOC counts pixels from 1 and includes the
last, torchvision's boxes run over pixel edges like COCO's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def _f(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def from_edges(xy: ArrayLike) -> Array:
    """Points or boxes over pixel edges (COCO polygons, torchvision) to the lab's frame."""
    return _f(xy) - 0.5


def to_edges(xy: ArrayLike) -> Array:
    return _f(xy) + 0.5


def box_from_coco(xywh: ArrayLike) -> Array:
    """COCO's `[x, y, width, height]` over pixel edges."""
    b = _f(xywh)
    return np.concatenate([b[..., :2], b[..., :2] + b[..., 2:]], axis=-1) - 0.5


def box_to_coco(xyxy: ArrayLike) -> Array:
    b = _f(xyxy)
    return np.concatenate([b[..., :2] + 0.5, b[..., 2:] - b[..., :2]], axis=-1)


def box_from_yolo(cxcywh: ArrayLike, width: int, height: int) -> Array:
    """YOLO's `[cx, cy, w, h]`, each a share of the image's size, over pixel edges."""
    b = _f(cxcywh) * _f([width, height, width, height])
    half = b[..., 2:] / 2
    return np.concatenate([b[..., :2] - half, b[..., :2] + half], axis=-1) - 0.5


def box_to_yolo(xyxy: ArrayLike, width: int, height: int) -> Array:
    b = _f(xyxy) + 0.5
    size = b[..., 2:] - b[..., :2]
    return np.concatenate([b[..., :2] + size / 2, size], axis=-1) / _f([width, height, width, height])


def points_from_yolo(xy: ArrayLike, width: int, height: int) -> Array:
    return _f(xy) * _f([width, height]) - 0.5


def points_to_yolo(xy: ArrayLike, width: int, height: int) -> Array:
    return (_f(xy) + 0.5) / _f([width, height])


def box_from_voc(xyxy: ArrayLike) -> Array:
    """VOC's `xmin ymin xmax ymax`: pixels counted from 1, the last one included."""
    return _f(xyxy) - _f([1.5, 1.5, 0.5, 0.5])


def box_to_voc(xyxy: ArrayLike) -> Array:
    return _f(xyxy) + _f([1.5, 1.5, 0.5, 0.5])


def resize(xy: ArrayLike, scale: float | ArrayLike) -> Array:
    """Where points land when the image is resized by `scale` (a number, or one for each coordinate)."""
    return (_f(xy) + 0.5) * _f(scale) - 0.5


def exif_transpose_box(xyxy: ArrayLike, width: int, height: int, orientation: int) -> Array:
    """A box in the stored (unrotated) image of `width` x `height` as it lies after EXIF `orientation` (1 to 8)."""
    x0, y0, x1, y1 = np.moveaxis(_f(xyxy), -1, 0)
    w, h = width - 1.0, height - 1.0
    turned = {
        1: (x0, y0, x1, y1),
        2: (w - x1, y0, w - x0, y1),
        3: (w - x1, h - y1, w - x0, h - y0),
        4: (x0, h - y1, x1, h - y0),
        5: (y0, x0, y1, x1),
        6: (h - y1, x0, h - y0, x1),
        7: (h - y1, w - x1, h - y0, w - x0),
        8: (y0, w - x1, y1, w - x0),
    }
    return np.stack(turned[orientation], axis=-1)


MID_SIDE_FILL = 0.75
"""An outline that fills this share of its bounding box is a (tilted) rectangle to `mid_side_box`."""


def mid_side_box(outline: ArrayLike) -> Array:
    """The box of an outline (N, 2), xyxy: for a card-like shape where its sides lie half-way along, not where its
    corners reach.

    A tilted card's bounding box is wider than the card (6 px a side at 600 dpi for a quarter of a degree), while
    margins are measured at mid-side and people draw boxes so. Hence left and right are the outline's crossings of
    the bounding box's middle row, top and bottom those of its middle column. A shape that fills less than
    MID_SIDE_FILL of its bounding box (a scratch, an L) has no such sides: its bounding box is returned.
    """
    points = _f(outline)
    low, high = points.min(axis=0), points.max(axis=0)
    box = np.concatenate([low, high])
    following = np.roll(points, -1, axis=0)
    area = abs((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum()) / 2
    if area < MID_SIDE_FILL * (high - low).prod():
        return box
    for axis in (0, 1):
        other = 1 - axis
        middle = (low[other] + high[other]) / 2
        a, b = points[:, other], following[:, other]
        crossing = (np.minimum(a, b) <= middle) & (middle <= np.maximum(a, b)) & (a != b)
        share = (middle - a[crossing]) / (b[crossing] - a[crossing])
        at = points[crossing, axis] + share * (following[crossing, axis] - points[crossing, axis])
        box[axis], box[axis + 2] = at.min(), at.max()
    return box
