"""Random placement and light for training: one affine from the resized image to the canvas, followed exactly by labels.

What may vary depends on what is graded. Placement is what border models must not learn by heart (on scans the mean box
alone is right to 12 px), so their preset varies it most: shift up to 15 % of the canvas, scale 0.7 to 1.1, quarter turns,
and a free turn of up to 5 degrees. One sample in five keeps its place, so that what inference sees is always among what
was trained on. Corners, edges and surfaces are judged at native resolution by what is brightest and sharpest in them:
their presets keep the scale, never push the tip or the cut edge out of view, hardly touch the light, and never blur.

Box labels turn too: a turned box is the quad of its turned corners, and what is learnt is where a quad's sides lie
half-way along (`coordinates.mid_side_box`), not how far its corners reach. On a card that is itself tilted by t, a
turn by a then makes a box label wrong by tan(t) tan(a) / 2 of its size a side: 0.04 mm for the long side of a card at
the 0.6 degrees seen in practice and 5 degrees of turn. By bounding boxes it would be up to 0.9 mm, more than the error
that border models are judged by. That is why this is not torchvision's transforms v2, whose boxes stay upright; it also
needs no torch, so a page can show the very pixels that a training will see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.config import Augmentation as Config
from trugrade_core.schema import Image

Matrix = NDArray[np.float64]

UPRIGHT = 0.4
"""Share of the moved samples that get no quarter turn; the others share the rest."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How far each thing may go. `shift` is a share of the canvas; `brightness` and `gamma` are relative spreads about
    1; `noise` the standard deviation in levels of 255; `jpeg_quality` the lowest, 100 compresses nothing; `blur_px` the
    largest standard deviation on the canvas; `mirror` takes half of the moved samples."""

    shift: float
    scale_min: float
    scale_max: float
    turn_deg: float
    quarter_turns: Literal["on", "off"]
    mirror: Literal["none", "horizontal", "diagonal"]
    unmoved: float
    brightness: float
    gamma: float
    noise: float = 0.0
    jpeg_quality: int = 100
    blur_px: float = 0.0


PRESETS: dict[str, Settings] = {
    "border": Settings(
        shift=0.15, scale_min=0.7, scale_max=1.1, turn_deg=5.0, quarter_turns="on", mirror="none", unmoved=0.2,
        brightness=0.15, gamma=0.25,
    ),
    # The tip stays in view and in its corner; a mirrored corner along its diagonal is a corner at the same place.
    "corner": Settings(
        shift=0.03, scale_min=0.98, scale_max=1.02, turn_deg=2.0, quarter_turns="off", mirror="diagonal", unmoved=0.2,
        brightness=0.03, gamma=0.03, noise=1.5,
    ),
    "edge": Settings(
        shift=0.03, scale_min=0.98, scale_max=1.02, turn_deg=1.0, quarter_turns="off", mirror="horizontal", unmoved=0.2,
        brightness=0.03, gamma=0.03, noise=1.5,
    ),
    "surface": Settings(
        shift=0.05, scale_min=0.98, scale_max=1.02, turn_deg=3.0, quarter_turns="on", mirror="horizontal", unmoved=0.2,
        brightness=0.08, gamma=0.08, noise=1.5,
    ),
}  # fmt: skip
"""What each kind of picture bears (`Task.augmentation` names a task's)."""


def settings(config: Config, own: str) -> Settings | None:
    """The preset's numbers with the configuration's over them; None for no augmentation. `own` is the task's preset."""
    name = own if config.preset == "auto" else config.preset
    if name == "none":
        return None
    given = {k: v for k, v in config.model_dump(exclude={"preset"}).items() if v != "auto"}
    return Settings(**{**vars(PRESETS[name]), **given})


class Augmentation(NamedTuple):
    """One draw. `matrix` (2, 3) maps canvas pixels to canvas pixels; `replicate` fills what it uncovers with the image's
    edge; `noise_seed` is that of the noise alone."""

    matrix: Matrix
    replicate: bool
    brightness: float
    gamma: float
    noise: float = 0.0
    noise_seed: int = 0
    jpeg_quality: int = 100
    blur_px: float = 0.0


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """One for each sample and epoch, so that neither workers nor their number matter."""
    return np.random.default_rng((seed * 1_000_003 + epoch) * 1_000_003 + index)


def draw(rng: np.random.Generator, content_wh: tuple[int, int], size: int, within: Settings) -> Augmentation:
    """A random augmentation of an image that fills `content_wh` px of the top left of a canvas of `size` px."""
    moved = rng.random() >= within.unmoved
    quarter = 0 if rng.random() < UPRIGHT else int(rng.integers(1, 4))
    scale = rng.uniform(within.scale_min, within.scale_max)
    angle_deg = rng.uniform(-within.turn_deg, within.turn_deg)
    shift = rng.uniform(-within.shift, within.shift, size=2) * size
    replicate = bool(rng.random() < 0.5)
    brightness = rng.uniform(1 - within.brightness, 1 + within.brightness)
    gamma = float(np.exp(rng.uniform(-within.gamma, within.gamma)))
    mirrored = within.mirror if rng.random() < 0.5 else "none"
    matrix = np.eye(2, 3)
    if moved:
        turn = _turn(quarter if within.quarter_turns == "on" else 0) @ MIRRORS[mirrored]
        matrix = _placement(content_wh, turn, angle_deg, scale, shift)
    return Augmentation(
        matrix, replicate, brightness, gamma,
        noise=rng.uniform(0, within.noise), noise_seed=int(rng.integers(2**31)),
        jpeg_quality=int(rng.integers(within.jpeg_quality, 101)), blur_px=rng.uniform(0, within.blur_px),
    )  # fmt: skip


MIRRORS: dict[str, Matrix] = {
    "none": np.eye(2),
    "horizontal": np.array([[-1.0, 0], [0, 1]]),
    "diagonal": np.array([[0.0, 1], [1, 0]]),
}


def _turn(quarter: int) -> Matrix:
    """Quarter turns by exact numbers: cos(90 degrees) is 6e-17 in floating point."""
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter]
    return np.array([[cos, -sin], [sin, cos]], np.float64)


def _placement(
    content_wh: tuple[int, int], turn: Matrix, angle_deg: float, scale: float, shift: NDArray[np.float64]
) -> Matrix:
    """Turn and scale about the content's centre, laid where an upright image of the turned shape lies, then shifted.
    `turn` (2, 2) is a multiple of a quarter turn, mirrored or not."""
    wh = np.array(content_wh, np.float64)
    target = (np.abs(turn) @ wh - 1) / 2 + shift
    angle = np.deg2rad(angle_deg)
    free = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = scale * (free @ turn)
    return np.column_stack([linear, target - linear @ ((wh - 1) / 2)])


def apply(image: Image, drawn: Augmentation, size: int, pad: int) -> Image:
    """The resized image (h, w, 3) on the canvas (size, size, 3), moved and lit."""
    fill = cv2.BORDER_REPLICATE if drawn.replicate else cv2.BORDER_CONSTANT
    canvas = cv2.warpAffine(
        image, drawn.matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=fill, borderValue=(pad, pad, pad)
    )
    if drawn.blur_px > 0:
        canvas = cv2.GaussianBlur(canvas, (0, 0), drawn.blur_px)
    levels = np.arange(256) / 255
    table = np.clip(255 * drawn.brightness * levels**drawn.gamma, 0, 255).round().astype(np.uint8)
    canvas = cv2.LUT(canvas, table)
    if drawn.noise > 0:
        added = np.random.default_rng(drawn.noise_seed).standard_normal(canvas.shape, np.float32) * drawn.noise
        canvas = np.clip(canvas + added, 0, 255).round().astype(np.uint8)
    if drawn.jpeg_quality < 100:
        bgr = np.ascontiguousarray(canvas[..., ::-1])
        written = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, drawn.jpeg_quality])[1]
        canvas = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(canvas, np.uint8)


def augmented(
    image: Image, size: int, pad: int, within: Settings | None, key: tuple[int, int, int]
) -> tuple[Image, Matrix]:
    """What a training sees of a resized image (h, w, 3) under (seed, epoch, index): the canvas (size, size, 3), and the
    map (2, 3) from the unmoved canvas to it. The loader and every preview call this, so they show the same pixels."""
    if within is None:
        canvas = np.full((size, size, 3), pad, np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas, np.eye(2, 3)
    drawn = draw(generator(*key), (image.shape[1], image.shape[0]), size, within)
    return apply(image, drawn, size, pad), drawn.matrix


def compose(after: Matrix, before: Matrix) -> Matrix:
    """The affine map that does `before`, then `after`."""
    return np.column_stack([after[:, :2] @ before[:, :2], after[:, :2] @ before[:, 2] + after[:, 2]])
