"""From an upright box to the card's real edges: a straight line fitted to the scan beside each side of the box.

Classical, no model. At STATIONS along a side the picture is averaged over PLACES and its change of colour is measured
across the side. Every line that a card's side can be (tilted by up to MAX_TILT_DEG, half-way along within
REACH_MM of the box, where `coordinates.mid_side_box` says a box is right) is supported by the stations at which the
picture changes just there; the best supported one is then fitted to a fraction of a pixel. Cards are no exact
rectangles and scanners no exact grids (sides of one scan were measured 0.4 degrees off the right angle), so each side
has its own tilt.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import Line, meet

Array = NDArray[np.float64]

STATIONS, PLACES = 250, 8
STEP_PX = 0.5
REACH_MM = 0.5
MAX_TILT_DEG = 1.5
CLEAR_MM = 4.0
"""Kept clear at both ends of a side: corners are rounded, worn, or under a sticker."""
WEAKEST, FULL = 2.5, 18.0
"""Grey levels a pixel: a smaller change is no edge; a larger one is as good as this one, so that print does not win."""
LEAST_SUPPORT = 0.5
"""Of the stations: half of an edge may be as dark as the ground, or worn, or covered."""
SIDES = ("top", "right", "bottom", "left")


class Side(NamedTuple):
    """`change` (stations, places): how strongly the picture changes. `along` (stations) and `across` (places): where,
    in px from the side's start, and from the side, inwards."""

    change: NDArray[np.float32]
    along: Array
    across: Array


def refine(
    image: NDArray[np.uint8] | NDArray[np.uint16], corners: Array, px_per_mm: float
) -> tuple[Array, tuple[str, ...]]:
    """The card's corners (4, 2) beside those of an upright box, px, clockwise from the top left, and the names of the
    sides where the picture shows no edge, which stay where the box has them, turned like the others. `image` (H, W) or (H, W, 3), 8 or 16 bit."""
    ends = list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
    found = [_line(_beside(image, a, b, px_per_mm), px_per_mm) for a, b in ends]
    slopes = [line[1] for line in found if line is not None]
    lines = []
    for n, (a, b) in enumerate(ends):
        own, opposite = found[n], found[n - 2]
        if own is None:  # its place from the box, its tilt from the sides that were found
            own = 0.0, opposite[1] if opposite is not None else float(np.mean(slopes)) if slopes else 0.0
        lines.append(_in_image(a, b, *own))
    moved = [meet(lines[n - 1], lines[n]) for n in range(4)]
    return np.array(moved), tuple(name for name, line in zip(SIDES, found, strict=True) if line is None)


def _beside(image: NDArray[np.uint8] | NDArray[np.uint16], a: Array, b: Array, px_per_mm: float) -> Side:
    length, u, inward = _frame(a, b)
    reach = REACH_MM * px_per_mm + np.tan(np.deg2rad(MAX_TILT_DEG)) * length / 2
    across = np.arange(-reach, reach, STEP_PX)
    clear = min(CLEAR_MM * px_per_mm, length / 4)
    along = np.linspace(clear, length - clear, STATIONS * PLACES)
    where = (a + along[:, None, None] * u + across[:, None] * inward).astype(np.float32)
    low = np.maximum(np.floor(where.min(axis=(0, 1))).astype(int) - 1, 0)
    high = np.ceil(where.max(axis=(0, 1))).astype(int) + 2
    part = image[low[1] : high[1], low[0] : high[0]]  # OpenCV's remap takes at most 32,767 px a side
    where -= low.astype(np.float32)
    beside = cv2.remap(part, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    means = beside.reshape(STATIONS, PLACES, len(across), -1).mean(axis=1, dtype=np.float32)
    if image.dtype == np.uint16:
        means /= 257
    smooth = cv2.GaussianBlur(means, (0, 0), sigmaX=1 / STEP_PX, sigmaY=0.01, borderType=cv2.BORDER_REPLICATE)
    smooth = smooth.reshape(means.shape)  # OpenCV drops a single channel
    change = np.sqrt((np.gradient(smooth, STEP_PX, axis=1) ** 2).mean(axis=2))
    return Side(change, along.reshape(STATIONS, PLACES).mean(axis=1), across)


def _line(side: Side, px_per_mm: float) -> tuple[float, float] | None:
    """(place half-way along, slope) of the best supported line; None when it has less than LEAST_SUPPORT."""
    change = side.change
    least = max(WEAKEST, 3 * float(np.median(change[:, : len(side.across) // 6])))  # the ground's own noise
    peak = (change >= np.roll(change, 1, axis=1)) & (change > np.roll(change, -1, axis=1)) & (change > least)
    weight = cv2.dilate(np.where(peak, np.minimum(change, FULL) / FULL, 0).astype(np.float32), np.ones((1, 3)))
    from_middle = side.along - side.along.mean()
    half = from_middle[-1]
    most = int(np.tan(np.deg2rad(MAX_TILT_DEG)) * half / STEP_PX)
    slopes = np.arange(-most, most + 1) * STEP_PX / half
    middles = np.arange(-REACH_MM * px_per_mm, REACH_MM * px_per_mm, STEP_PX)
    places = np.rint((middles - side.across[0]) / STEP_PX).astype(int)
    rows = np.arange(len(from_middle))[:, None]
    support = np.array([
        weight[rows, np.rint(slope * from_middle / STEP_PX).astype(int)[:, None] + places].mean(axis=0)
        for slope in slopes
    ])  # fmt: skip
    best = np.unravel_index(support.argmax(), support.shape)
    seen = cv2.dilate(peak.astype(np.uint8), np.ones((1, 5)))
    line = places[best[1]] + np.rint(slopes[best[0]] * from_middle / STEP_PX).astype(int)
    if seen[rows[:, 0], line].mean() < LEAST_SUPPORT:
        return None
    return _fitted(side, line, from_middle)


def _fitted(side: Side, line: NDArray[np.int64], from_middle: Array) -> tuple[float, float] | None:
    """A line through the strongest change within 2 px of `line` (an index of `across` for each station), by least
    squares whose weights fall with the distance (Tukey)."""
    near = line[:, None] + np.arange(-4, 5)
    window = side.change[np.arange(len(line))[:, None], near]
    top = window[:, 1:-1].argmax(axis=1) + 1
    rows = np.arange(len(line))
    before, at, after = window[rows, top - 1], window[rows, top], window[rows, top + 1]
    bend = before - 2 * at + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    place = side.across[near[rows, top]] + np.clip(shift, -0.5, 0.5) * STEP_PX
    weight = np.ones(len(line))
    slope = middle = 0.0
    for _ in range(8):
        slope, middle = np.polyfit(from_middle, place, 1, w=np.sqrt(weight))
        off = np.abs(place - middle - slope * from_middle)
        scale = max(0.25, 1.4826 * float(np.median(off)))
        weight = np.clip(1 - (off / (4.685 * scale)) ** 2, 0, None) ** 2
    return float(middle), float(slope)


def _frame(a: Array, b: Array) -> tuple[float, Array, Array]:
    """Length, direction and inward normal of the side from `a` to `b` of a card that is gone round clockwise."""
    length = float(np.hypot(*(b - a)))
    u = (b - a) / length
    return length, u, np.array([-u[1], u[0]])


def _in_image(a: Array, b: Array, middle: float, slope: float) -> Line:
    """A point of the line and its direction, px."""
    _, u, inward = _frame(a, b)
    return (a + b) / 2 + middle * inward, u + slope * inward
