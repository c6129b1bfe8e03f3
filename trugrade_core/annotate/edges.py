"""A card's four sides by contrast alone: no model, no weights.

Coarse: where the picture differs from the ground at its rim. Fine: along each side, profiles across it at native
resolution; what lies on one straight line in most of them is the side, and corners are where sides meet (also on rounded
cards, where no paper lies in the corner).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.card_facts import FORMATS
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Image

Array = NDArray[np.float64]
COARSE_PX = 640
PLACES = 160
"""Profiles along a side."""
CORNER_SHARE = 0.07
"""Share of a side at each end that is left out: corners are rounded."""
STEP = 0.5
"""Px between two samples of a profile."""
DRAWS = 4000
MOST_SLOPE = 0.05
SIGMA_PX = 1.5
"""Of the derivative that finds an edge in a profile."""
CANDIDATES = 6
"""Maxima of a profile that are looked at."""
LINES = 5
"""Straight edges of a side that are weighed against each other."""
TOLERANCE_PX = 1.5
LEAST_SUPPORT = 0.3
BEYOND_CHANCE = 0.2
"""By how much more profiles must agree on a line than would on one through noise."""
FORMAT_SHARE = 0.005
"""By how much a real card differs from its format (scanner axes included)."""
LARGER = 8.0
"""What a larger outline is worth: a printed frame can have the form of a smaller card."""
PARALLEL = 0.004
"""By how much (radians) two opposite sides of a real card differ in direction."""
SIDES = ("top", "right", "bottom", "left")


@dataclass(frozen=True)
class Outline:
    """`points` (4, 2), lab frame, clockwise from the top left. By side (top, right, bottom, left): the share of profiles
    that agree with its line, and their spread about it in px (root mean square)."""

    points: Array
    support: tuple[float, ...]
    rms_px: tuple[float, ...]


@dataclass(frozen=True)
class Line:
    """A straight edge near a side: a point on it, its direction, and how well the profiles agree."""

    point: Array
    along: Array
    share: float
    force: float
    rms_px: float


def card_outline(image: Image, mm_per_px: float | None = None) -> Outline:
    """The outline of the one card in an (H, W, 3) picture. Raises DatasetError when no card stands out from the ground.

    Of the straight edges near each side (a pocket's seam, the card, its printed frame), the four that are strong and
    together have the form of a card, and its size where the scale is known.
    """
    found = _near(image, coarse_outline(image), max(16.0, 0.05 * max(image.shape[:2])))

    def fit(four: Sequence[Line]) -> float:
        strong = sum(_strength(line, found[n]) for n, line in enumerate(four))
        sizes = _sizes(four)
        return strong - _askew(four) - _misfit(sizes, mm_per_px) + LARGER * float(np.log(sizes[0] * sizes[1]))

    return _outline(max(itertools.product(*found), key=fit))


def _strength(line: Line, rivals: Sequence[Line]) -> float:
    """Of 1 for the strongest edge of its side down to 0."""
    return line.force * line.share / max(rival.force * rival.share for rival in rivals)


def _askew(four: Sequence[Line]) -> float:
    """How far opposite sides are from parallel and neighbours from square."""
    top, right, bottom, left = (line.along for line in four)
    return min(
        2.0, 0.1 * sum((a / PARALLEL) ** 2 for a in (_cross(top, bottom), _cross(left, right), float(top @ right)))
    )


def _sizes(four: Sequence[Line]) -> tuple[float, float]:
    """(short, long) side in px."""
    points = _corners(four)
    sides = np.linalg.norm(points - np.roll(points, -1, axis=0), axis=1)
    short, long = sorted(((sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2))
    return float(short), float(long)


def _misfit(sizes: tuple[float, float], mm_per_px: float | None) -> float:
    """How far the sizes are from the nearest format: both of them in mm, else their ratio."""
    short, long = sizes

    def off(width_mm: float, height_mm: float) -> float:
        if mm_per_px is None:
            return ((short / long) / (width_mm / height_mm) - 1) ** 2
        return ((short * mm_per_px / width_mm - 1) ** 2 + (long * mm_per_px / height_mm - 1) ** 2) / 2

    return min(4.0, 0.25 * min(off(*size) for size in FORMATS.values()) / FORMAT_SHARE**2)


def _cross(u: Array, v: Array) -> float:
    return float(u[0] * v[1] - u[1] * v[0])


def _outline(four: Sequence[Line]) -> Outline:
    return Outline(_corners(four), tuple(line.share for line in four), tuple(line.rms_px for line in four))


def _corners(four: Sequence[Line]) -> Array:
    """Where each line meets the one before: top left first."""
    return np.array([_meet(four[n - 1], four[n]) for n in range(4)])


def _meet(first: Line, second: Line) -> Array:
    by = np.linalg.solve(np.stack([first.along, -second.along], axis=1), second.point - first.point)[0]
    found: Array = first.point + first.along * by
    return found


def coarse_outline(image: Image) -> Array:
    """(4, 2): the rectangle around what differs from the picture's rim, to some parts in a hundred of its size."""
    scale = min(1.0, COARSE_PX / max(image.shape[:2]))
    wh = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    small = cv2.resize(image, wh, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.COLOR_RGB2LAB).astype(np.float32)
    rim = max(2, round(0.012 * max(wh)))
    ring = np.ones(lab.shape[:2], bool)
    ring[rim:-rim, rim:-rim] = False
    ground = np.median(lab[ring], axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(lab[ring] - ground), axis=0), 2.0)
    away = np.clip(np.linalg.norm((lab - ground) / spread, axis=-1) * 8, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(away[~ring].reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    apart = (away > min(level, 60)).astype(np.uint8)
    size = max(3, 2 * round(0.02 * max(wh)) + 1)
    apart = cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    apart = cv2.morphologyEx(apart, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(apart)
    if count < 2:
        raise _no_card("it is all of one colour")
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    share = stats[largest, cv2.CC_STAT_AREA] / apart.size
    if share < 0.05:
        raise _no_card("nothing large stands out from the ground")
    if share > 0.995:
        raise _no_card("no ground is seen around it")
    found, _ = cv2.findContours((parts == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    corners = cv2.boxPoints(cv2.minAreaRect(max(found, key=cv2.contourArea))).astype(np.float64)
    return clockwise((corners + 0.5) / scale - 0.5)


def clockwise(points: Array) -> Array:
    """Four points, clockwise on screen from the top left."""
    middle = points.mean(axis=0)
    around = points[np.argsort(np.arctan2(*(points - middle).T[::-1]))]
    first = int((around - middle).sum(axis=1).argmin())
    return np.roll(around, -first, axis=0)


def _near(image: Image, quad: Array, reach: float) -> list[list[Line]]:
    """By side the straight edges within `reach` px of it, best first."""
    middle = quad.mean(axis=0)
    found = []
    for name, a, b in zip(SIDES, quad, np.roll(quad, -1, axis=0), strict=True):
        lines = _side(image, a, b, middle, reach)
        if not lines:
            raise _no_card(f"its {name} side has no clear straight edge")
        found.append(lines)
    return found


def _side(image: Image, a: Array, b: Array, middle: Array, reach: float) -> list[Line]:
    length = float(np.linalg.norm(b - a))
    along = (b - a) / length
    inward = np.array([-along[1], along[0]])
    if inward @ (middle - a) < 0:
        inward = -inward
    places = np.linspace(CORNER_SHARE, 1 - CORNER_SHARE, PLACES) * length
    offsets = np.arange(-reach, reach + STEP, STEP)
    xy = a + places[:, None, None] * along + offsets[None, :, None] * inward
    at, strength = _peaks(_steepness(image, xy, STEP))
    lines = []
    by_chance = 1 - (1 - TOLERANCE_PX / reach) ** CANDIDATES
    least = max(LEAST_SUPPORT, by_chance + BEYOND_CHANCE)
    for slope, start, share, force, rms in _straight(places, offsets[0] + at * STEP, strength, least):
        direction = along + slope * inward
        lines.append(Line(a + start * inward, direction / np.linalg.norm(direction), share, force, rms))
    return lines


def _steepness(image: Image, xy: Array, step: float) -> Array:
    """(places, offsets): how much colour changes across the side there, by a derivative of Gauss along the profile."""
    height, width = image.shape[:2]
    low = np.floor(xy.reshape(-1, 2).min(axis=0)).astype(int) - 2
    low = np.clip(low, 0, [width - 2, height - 2])
    high = np.clip(np.ceil(xy.reshape(-1, 2).max(axis=0)).astype(int) + 3, low + 2, [width, height])
    part = image[low[1] : high[1], low[0] : high[0]]
    local = (xy - low).astype(np.float32)
    # OpenCV's remap takes at most 32767 a side, which a crop along a side of one card never reaches.
    profile = cv2.remap(part, local[..., 0], local[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(
        np.float32
    )
    outside = ((xy < -0.5) | (xy > [width - 0.5, height - 0.5])).any(axis=-1)
    x = np.arange(-3 * SIGMA_PX, 3 * SIGMA_PX + step, step)
    kernel = (-x / SIGMA_PX**2 * np.exp(-(x**2) / 2 / SIGMA_PX**2)).astype(np.float32)
    kernel /= np.abs(kernel).sum() / 2
    change = cv2.filter2D(profile, cv2.CV_32F, kernel[None, ::-1].copy(), borderType=cv2.BORDER_REPLICATE)
    found: Array = np.linalg.norm(change.astype(np.float64), axis=-1)
    found[outside] = 0
    return found


def _peaks(steepness: Array) -> tuple[Array, Array]:
    """(places, CANDIDATES): where the strongest maxima of each profile lie (index, to a part of it) and how strong."""
    centre = steepness[:, 1:-1]
    is_peak = (centre >= steepness[:, :-2]) & (centre > steepness[:, 2:])
    ranked = np.where(is_peak, centre, 0)
    order = np.argsort(ranked, axis=1)[:, ::-1][:, :CANDIDATES]
    strength = np.take_along_axis(ranked, order, axis=1)
    before, here, after = (np.take_along_axis(steepness, order + n, axis=1) for n in (0, 1, 2))
    bend = before - 2 * here + after
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (before - after) / np.where(np.abs(bend) > 1e-9, bend, 1), 0)
    return order + 1 + np.clip(shift, -0.5, 0.5), strength


def _straight(
    places: Array, at: Array, strength: Array, least: float
) -> list[tuple[float, float, float, float, float]]:
    """Up to LINES of (slope, offset at 0, share of profiles, force, rms) of offset = start + slope * place, best first."""
    rng = np.random.default_rng(0)
    if not (strength > 0).any():
        return []
    rows, columns = np.nonzero(strength >= max(2.0, float(np.quantile(strength[strength > 0], 0.25))))
    x, y, weight = places[rows], at[rows, columns], np.sqrt(strength[rows, columns])
    if len(x) < 2:
        return []
    pick = rng.integers(0, len(x), (DRAWS, 2))
    i, j = pick[np.abs(x[pick[:, 0]] - x[pick[:, 1]]) > 0.3 * (places[-1] - places[0])].T
    slope = (y[j] - y[i]) / (x[j] - x[i])
    start = y[i] - slope * x[i]
    slope, start = slope[np.abs(slope) < MOST_SLOPE], start[np.abs(slope) < MOST_SLOPE]
    on = np.abs(y[None] - start[:, None] - slope[:, None] * x[None]) <= TOLERANCE_PX
    force = on @ weight
    found: list[tuple[float, float, float, float, float]] = []
    middle = (places[0] + places[-1]) / 2
    for best in np.argsort(force)[::-1]:
        here = start[best] + slope[best] * middle
        if len(found) == LINES or len(set(rows[on[best]])) < least * PLACES:
            break
        if all(abs(here - (s + k * middle)) > 3 * TOLERANCE_PX for k, s, *_ in found):
            found.append(_refined(x, y, rows, weight, slope[best], start[best]))
    return found


def _refined(
    x: Array, y: Array, rows: NDArray[np.int64], weight: Array, slope: float, start: float
) -> tuple[float, float, float, float, float]:
    """Least squares over what lies on the line, three times over."""
    on = np.ones(len(x), bool)
    for _ in range(3):
        on = np.abs(y - start - slope * x) <= TOLERANCE_PX
        slope, start = np.polyfit(x[on], y[on], 1)
    left = y[on] - start - slope * x[on]
    share = len(np.unique(rows[on])) / PLACES
    return float(slope), float(start), share, float(weight[on].sum()), float(np.sqrt((left**2).mean()))


def _no_card(why: str) -> DatasetError:
    return DatasetError(f"no card outline found: {why}", code="annotate.edges",
                        what_to_do="Draw the outline by hand, or take a model's suggestion.")  # fmt: skip
