"""Random placement and light for training: one affine from the resized image to the canvas, followed exactly by labels.

Placement is what border models must not learn by heart (on scans the mean box alone is right to 12 px), so it is
varied most: shift up to 15 % of the canvas, scale 0.7 to 1.1, quarter turns, and a free turn of up to 5 degrees. One
sample in five keeps its place, so that what inference sees is always among what was trained on.

Box labels turn too: a turned box is the quad of its turned corners, and what is learnt is where a quad's sides lie
half-way along (`coordinates.mid_side_box`), not how far its corners reach. On a card that is itself tilted by t, a
turn by a then makes a box label wrong by tan(t) tan(a) / 2 of its size a side: 0.04 mm for the long side of a card at
the 0.6 degrees seen in practice and 5 degrees of turn. By bounding boxes it would be up to 0.9 mm, more than the error
that border models are judged by.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.schema import Image

Matrix = NDArray[np.float64]

SHIFT = 0.15
SCALE = (0.7, 1.1)
TURN_DEG = 5.0
UNMOVED = 0.2
UPRIGHT = 0.4
"""Share of the moved samples that get no quarter turn; the others share the rest."""
BRIGHTNESS = 0.15
GAMMA = 0.25


class Augmentation(NamedTuple):
    """`matrix` (2, 3) maps canvas pixels to canvas pixels; `replicate` fills what it uncovers with the image's edge."""

    matrix: Matrix
    replicate: bool
    brightness: float
    gamma: float


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """One for each sample and epoch, so that neither workers nor their number matter."""
    return np.random.default_rng((seed * 1_000_003 + epoch) * 1_000_003 + index)


def draw(rng: np.random.Generator, content_wh: tuple[int, int], size: int) -> Augmentation:
    """A random augmentation of an image that fills `content_wh` px of the top left of a canvas of `size` px."""
    moved = rng.random() >= UNMOVED
    quarter = 0 if rng.random() < UPRIGHT else int(rng.integers(1, 4))
    scale = rng.uniform(*SCALE)
    angle_deg = rng.uniform(-TURN_DEG, TURN_DEG)
    shift = rng.uniform(-SHIFT, SHIFT, size=2) * size
    replicate = bool(rng.random() < 0.5)
    brightness = rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS)
    gamma = float(np.exp(rng.uniform(-GAMMA, GAMMA)))
    matrix = _placement(content_wh, quarter, angle_deg, scale, shift) if moved else np.eye(2, 3)
    return Augmentation(matrix, replicate, brightness, gamma)


def _placement(
    content_wh: tuple[int, int], quarter: int, angle_deg: float, scale: float, shift: NDArray[np.float64]
) -> Matrix:
    """Turn and scale about the content's centre, laid where an upright image of the turned shape lies, then shifted."""
    wh = np.array(content_wh, np.float64)
    center = (wh - 1) / 2
    target = ((wh[::-1] if quarter % 2 else wh) - 1) / 2 + shift
    turn = np.deg2rad(angle_deg)
    # Quarter turns by exact numbers: cos(90 degrees) is 6e-17 in floating point.
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.array(
        [[cos, -sin], [sin, cos]], np.float64
    )
    linear = scale * rotation
    return np.column_stack([linear, target - linear @ center])


def apply(image: Image, augmentation: Augmentation, size: int, pad: int) -> Image:
    """The resized image (h, w, 3) on the canvas (size, size, 3), moved and lit."""
    fill = cv2.BORDER_REPLICATE if augmentation.replicate else cv2.BORDER_CONSTANT
    canvas = cv2.warpAffine(
        image, augmentation.matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=fill, borderValue=(pad, pad, pad)
    )
    levels = np.arange(256) / 255
    table = np.clip(255 * augmentation.brightness * levels**augmentation.gamma, 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(canvas, table), np.uint8)


def compose(after: Matrix, before: Matrix) -> Matrix:
    """The affine map that does `before`, then `after`."""
    return np.column_stack([after[:, :2] @ before[:, :2], after[:, :2] @ before[:, 2] + after[:, 2]])
