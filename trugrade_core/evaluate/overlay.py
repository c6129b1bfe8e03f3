"""Pictures with what was found drawn over them, and what is true beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.data import rle
from trugrade_core.schema import Annotation, Box, Image, Mask, Polygon, Prediction
from trugrade_core.workspace import write_atomic

COLOURS = ((64, 200, 255), (255, 176, 32), (140, 232, 96), (255, 104, 160), (176, 148, 255), (255, 236, 96))
"""RGB of the classes in order; the true outline is white."""
TRUE = (255, 255, 255)
SUBPIXEL = 4


def overlay(
    image: Image,
    prediction: Prediction,
    classes: Sequence[str],
    *,
    truth: Sequence[Annotation] = (),
    offset: tuple[float, float] = (0.0, 0.0),
    mm_per_px: float | None = None,
    longest_px: int | None = None,
) -> Image:
    """(H, W, 3) RGB with boxes (and outlines of masks) in the colour of their class, scores, and the `truth`, moved by
    `offset`, dotted in white. `longest_px` shrinks the picture first, so that lines stay one pixel sharp; with
    `mm_per_px` a scale bar of 10 mm is drawn."""
    scale = min(1.0, longest_px / max(image.shape[:2])) if longest_px else 1.0
    wh = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    drawn = np.array(cv2.resize(image, wh, interpolation=cv2.INTER_AREA) if scale < 1 else image, np.uint8)
    thick = max(1, round(max(wh) / 500))
    for annotation in truth:
        outline = _outline(annotation.value)
        if outline is not None:
            _dotted(drawn, (outline + np.array(offset) + 0.5) * scale - 0.5, thick)
    for instance in reversed(prediction.instances):
        colour = colour_of(instance.label, classes)
        box = (np.array(instance.box) + 0.5) * scale - 0.5
        if instance.mask is not None:
            _contour(drawn, instance.mask, scale, colour, thick)
        outlined(drawn, box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2), colour, thick)
        _label(drawn, f"{instance.label} {instance.score:.2f}", (float(box[0]), float(box[1])), colour)
    if mm_per_px:
        _scale_bar(drawn, 10 / mm_per_px * scale)
    return drawn


def colour_of(label: str | None, classes: Sequence[str]) -> tuple[int, int, int]:
    """RGB of a class; what is of none of them has the last colour."""
    return COLOURS[classes.index(label) % len(COLOURS)] if label in classes else COLOURS[-1]


def draw(image: Image, prediction: Prediction, path: Path, classes: Sequence[str] | None = None) -> None:
    """Write the overlay as PNG. Without `classes` colours follow the order in which labels appear by name."""
    names = classes or sorted({i.label for i in prediction.instances})
    write_atomic(path, encoded(overlay(image, prediction, names), ".png"))


def encoded(image: Image, suffix: str = ".jpg") -> bytes:
    """The picture as JPEG or PNG bytes."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 82] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    _, found = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return found.tobytes()


def _outline(value: object) -> NDArray[np.float64] | None:
    if isinstance(value, Box):
        x0, y0, x1, y1 = value.xyxy
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return np.array(value.points, np.float64) if isinstance(value, Polygon) else None


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points * (1 << SUBPIXEL)).astype(np.int32)


def outlined(image: Image, points: NDArray[np.float64], colour: tuple[int, int, int], thick: int) -> None:
    """Draw a closed line through (N, 2) points onto the picture, on a dark one so that it shows on any ground."""
    cv2.polylines(image, [_fixed(points)], True, (0, 0, 0), thick + 2, cv2.LINE_AA, SUBPIXEL)
    cv2.polylines(image, [_fixed(points)], True, colour, thick, cv2.LINE_AA, SUBPIXEL)


def _dotted(image: Image, points: NDArray[np.float64], thick: int) -> None:
    dash = 4.0 * thick
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        count = max(1, int(np.linalg.norm(b - a) / dash / 2))
        for n in range(count):
            ends = a + (b - a) * np.array([[n / count], [(n + 0.5) / count]])
            (x0, y0), (x1, y1) = _fixed(ends).tolist()
            cv2.line(image, (x0, y0), (x1, y1), TRUE, thick, cv2.LINE_AA, SUBPIXEL)


def _contour(image: Image, mask: Mask, scale: float, colour: tuple[int, int, int], thick: int) -> None:
    for points in rle.mask_outlines(rle.decode(mask)):
        outline = (points + 0.5) * scale - 0.5
        cv2.polylines(image, [_fixed(outline)], True, colour, thick, cv2.LINE_AA, SUBPIXEL)


def _label(image: Image, text: str, at: tuple[float, float], colour: tuple[int, int, int]) -> None:
    size = max(0.35, max(image.shape[:2]) / 1800)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    x, y = round(max(at[0], 0)), round(max(at[1], height + 6))
    cv2.rectangle(image, (x, y - height - 6), (x + width + 6, y), colour, -1)
    cv2.putText(image, text, (x + 3, y - 4), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 1, cv2.LINE_AA)


def _scale_bar(image: Image, length_px: float) -> None:
    height, width = image.shape[:2]
    x1, y = width - round(0.03 * width), height - round(0.02 * height)
    x0 = x1 - round(length_px)
    for colour, thick in (((0, 0, 0), 5), ((255, 255, 255), 2)):
        cv2.line(image, (x0, y), (x1, y), colour, thick)
        cv2.putText(
            image,
            "10 mm",
            (x0, y - 6),
            cv2.FONT_HERSHEY_SIMPLEX,
            max(0.35, height / 2200),
            colour,
            thick - 1,
            cv2.LINE_AA,
        )
