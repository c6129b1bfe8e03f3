"""From annotations to what a detector learns: boxes, labels and masks on the network's canvas (numpy and cv2 only)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trugrade_core.coordinates import mid_side_box
from trugrade_core.data import rle
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Preprocess

Matrix = NDArray[np.float64]
"""(2, 3): an affine map of points (x, y), pixel centres at integers on both sides."""

SMALLEST_PX = 1.0
"""An object whose visible part is thinner than this on the canvas is no target."""


class Target(NamedTuple):
    """N objects on a canvas of S x S."""

    boxes: NDArray[np.float32]
    """(N, 4) xyxy over the canvas's pixel edges, 0 to S."""
    labels: NDArray[np.int64]
    """(N,) from 1, in the order of the classes."""
    masks: NDArray[np.uint8]
    """(N, S, S), 1 inside."""


def canvas_matrix(preprocess: Preprocess, width: int, height: int) -> Matrix:
    """From the lab's frame of the original image to the canvas's pixels."""
    sx, sy = preprocess.axis_scale(width, height)
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2]])


def place(
    annotations: Iterable[Annotation], classes: Sequence[str], matrix: Matrix, size: int, width: int, height: int
) -> Target:
    """The annotations of an image of `width` x `height` px on the canvas that an affine `matrix` takes it to.

    Annotations of other classes and of other shapes (tags, scores) are left out; what leaves the canvas is cut off.
    Boxes are `coordinates.mid_side_box` of the placed outline, as in the metrics, so a turned label says where its
    sides lie half-way along. Masks hold the pixels whose centre is inside.
    """
    ids = {name: index for index, name in enumerate(classes, start=1)}
    boxes, labels, masks = [], [], []
    for annotation in annotations:
        value = annotation.value
        if annotation.label not in ids or not isinstance(value, Box | Polygon | Mask):
            continue
        outline = _outline(value, width, height)
        if len(outline) == 0:
            continue
        outline = outline @ matrix[:, :2].T + matrix[:, 2]
        box = mid_side_box(outline) + 0.5
        box = np.clip(box, 0, size)
        if (box[2:] - box[:2]).min() < SMALLEST_PX:
            continue
        boxes.append(box)
        labels.append(ids[annotation.label])
        masks.append(_place_mask(value, matrix, size) if isinstance(value, Mask) else rle.fill(outline, size, size))
    return Target(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        masks=np.array(masks, np.uint8).reshape(-1, size, size),
    )


def _outline(value: Box | Polygon | Mask, width: int, height: int) -> NDArray[np.float64]:
    """(N, 2): of a box, its part inside the image; empty for an empty mask."""
    if isinstance(value, Polygon):
        return np.asarray(value.points, np.float64)
    if isinstance(value, Box):
        low, high = -0.5, np.array([width, height]) - 0.5
        (x0, y0), (x1, y1) = np.clip(value.xyxy[:2], low, high), np.clip(value.xyxy[2:], low, high)
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return mask_outline(value)


def mask_outline(value: Mask) -> NDArray[np.float64]:
    """(N, 2): the outermost pixel edges of each row, in the lab's frame; empty for an empty mask.

    A hole is inside: a frame has the sides of its outer edge. Targets and metrics take a mask's box from this alone.
    """
    mask = rle.decode(value)
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1) - 0.5
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1) - 0.5
    y = np.stack([rows - 0.5, rows + 0.5], axis=1).reshape(-1)
    left, right = np.stack([first.repeat(2), y], axis=1), np.stack([last.repeat(2), y], axis=1)
    return np.concatenate([left, right[::-1]])


def _place_mask(mask: Mask, matrix: Matrix, size: int) -> NDArray[np.bool_]:
    """(S, S): the canvas pixels whose centre falls on a set pixel of the original."""
    original = rle.decode(mask)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)
    source = np.rint((grid - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(int)
    column, row = source[..., 0], source[..., 1]
    inside = (column >= 0) & (row >= 0) & (column < original.shape[1]) & (row < original.shape[0])
    placed = np.zeros((size, size), bool)
    placed[inside] = original[row[inside], column[inside]]
    return placed
