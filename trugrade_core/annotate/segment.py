"""Click to segment, without a model: the thing under a point or inside a box by GrabCut. With one: `annotate.sam`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.annotate.suggestions import simplified
from trugrade_core.data import rle
from trugrade_core.errors import DatasetError
from trugrade_core.schema import XYXY, Box, Image, Mask, Polygon, ShapeKind

REACH_PX = 256
"""Half the side of the crop around a click that GrabCut looks at."""
ROUNDS = 4
MOST_PIXELS = 1_000_000
"""Of a crop: GrabCut takes seconds for more."""
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Prompt:
    """Where the thing is: points (x, y, inside) and perhaps a box, in px of the whole image, lab frame."""

    points: tuple[tuple[float, float, bool], ...] = ()
    box: XYXY | None = None

    @property
    def inside(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y, yes in self.points if yes]


def extent(prompt: Prompt, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """((x, y), (x, y)): the corners of what was clicked or boxed, as far as it lies in the image. Raises DatasetError
    when none of it does."""
    corners = [prompt.box[:2], prompt.box[2:]] if prompt.box else []
    xy = np.array([*prompt.inside, *corners], np.float64).reshape(-1, 2)
    if not len(xy):
        raise nothing("nothing was clicked")
    low, high = xy.min(axis=0), xy.max(axis=0)
    if (high <= -0.5).any() or (low >= [width - 0.5, height - 0.5]).any():
        raise nothing("the click lies outside the image")
    return np.maximum(low, 0), np.minimum(high, [width - 1, height - 1])


def window(prompt: Prompt, width: int, height: int) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1): the crop that GrabCut looks at, in whole px, ends left out. Raises DatasetError when nothing is
    in the image, or more than GrabCut looks at."""
    low, high = extent(prompt, width, height)
    around = np.full(2, REACH_PX) if prompt.box is None else np.maximum(16, (high - low) * 0.25)
    x0, y0 = np.maximum(np.floor(low - around), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(high + around) + 1, [width, height]).astype(int).tolist()
    if (x1 - x0) * (y1 - y0) > MOST_PIXELS:
        raise nothing(f"a part of {x1 - x0} x {y1 - y0} px is more than GrabCut looks at ({MOST_PIXELS:,} px)")
    return x0, y0, x1, y1


@dataclass(frozen=True)
class Part:
    """What was found: a (H, W) window of the image whose corner lies `at_xy`. The whole image is never unrolled: a mask
    of 192 megapixels would be."""

    found: Bool
    at_xy: tuple[int, int]
    by: str

    def value(self, kind: ShapeKind, size_hw: tuple[int, int]) -> Box | Polygon | Mask:
        """In the shape that its class is drawn as, over an image of `size_hw`."""
        if kind == "box":
            y, x = np.nonzero(self.found)
            (left, top), half = self.at_xy, 0.5
            return Box(xyxy=(x.min() + left - half, y.min() + top - half, x.max() + left + half, y.max() + top + half))
        if kind == "polygon":
            outlines = rle.mask_outlines(self.found)
            largest = max(outlines, key=lambda o: float(np.ptp(o, axis=0).prod()))
            return simplified(largest + np.array(self.at_xy))
        return rle.encode(self.found, at_xy=self.at_xy, size_hw=size_hw)


def grabcut(crop: Image, prompt: Prompt, at_xy: tuple[int, int]) -> Part:
    """The thing in `crop`, whose corner lies `at_xy` in the image. Raises DatasetError when nothing stands out."""
    height, width = crop.shape[:2]
    points = [(round(x) - at_xy[0], round(y) - at_xy[1], yes) for x, y, yes in prompt.points]
    points = [(x, y, yes) for x, y, yes in points if 0 <= x < width and 0 <= y < height]
    if prompt.box is None and not any(yes for *_, yes in points):
        raise nothing("the click lies outside the image")
    marks = _first_guess(crop, points, prompt.box, at_xy)
    for x, y, yes in points:
        cv2.circle(marks, (x, y), 2, cv2.GC_FGD if yes else cv2.GC_BGD, -1)
    back, front = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    cv2.setRNGSeed(0)  # GrabCut's clusters start at random: the same click gives the same mask
    try:
        cv2.grabCut(
            cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), marks, (0, 0, 0, 0), back, front, ROUNDS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error as e:
        raise nothing("the crop is all of one kind") from e
    found = (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)
    found = _touched(found, [(x, y) for x, y, yes in points if yes])
    if not found.any() or found.mean() > 0.95:
        raise nothing("nothing stands out from its surroundings here")
    return Part(found, at_xy, "GrabCut")


def _first_guess(
    crop: Image, points: Sequence[tuple[int, int, bool]], box: XYXY | None, at_xy: tuple[int, int]
) -> NDArray[np.uint8]:
    """GrabCut's start: surely outside at the rim (or outside the box), perhaps inside where the colour is the click's."""
    height, width = crop.shape[:2]
    marks = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    if box is not None:
        x0, y0, x1, y1 = (
            round(v) for v in (box[0] - at_xy[0], box[1] - at_xy[1], box[2] - at_xy[0], box[3] - at_xy[1])
        )
        marks[:] = cv2.GC_BGD
        marks[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = cv2.GC_PR_FGD
        return marks
    lab = cv2.cvtColor(cv2.GaussianBlur(crop, (0, 0), 1.5), cv2.COLOR_RGB2LAB).astype(np.float32)
    seeds = np.array([lab[y, x] for x, y, yes in points if yes])
    away = np.linalg.norm(lab[:, :, None] - seeds[None, None], axis=-1).min(axis=-1)
    level, _ = cv2.threshold(np.clip(away, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    like = _touched(away <= max(4.0, level), [(x, y) for x, y, yes in points if yes])
    marks[like] = cv2.GC_PR_FGD
    rim = max(1, min(height, width) // 50)
    border = np.ones((height, width), bool)
    border[rim:-rim, rim:-rim] = False
    marks[border & ~like] = cv2.GC_BGD
    if like.all() or not (marks[~like] == cv2.GC_BGD).any():
        raise nothing("everything around the click has its colour")
    return marks


def _touched(found: Bool, seeds: Sequence[tuple[int, int]]) -> Bool:
    """The connected parts of `found` that hold a seed; without seeds the largest part."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    if count < 2:
        return found
    wanted = {int(parts[y, x]) for x, y in seeds} - {0}
    if not seeds:
        wanted = {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    return np.isin(parts, list(wanted)) if wanted else np.zeros_like(found)


def nothing(why: str) -> DatasetError:
    """The error of a click that finds no shape."""
    return DatasetError(f"no shape found: {why}", code="annotate.segment",
                        what_to_do="Click on the middle of it, add a click outside it, or draw it by hand.")  # fmt: skip
