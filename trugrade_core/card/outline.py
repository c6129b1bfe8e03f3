"""The four corners of a card in a scan, from what is drawn or predicted of it.

Four points are the corners. A mask or a polygon of many points is gone round by four straight lines, fitted so that
rounded corners and stray points do not count, whose crossings are the corners. An upright box says nothing of the
tilt: see `box_cost_mm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import Line, area, meet, signed_area
from trugrade_core.data import rle
from trugrade_core.data.card_facts import OUTLINE_CLASSES
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.schema import Annotation, Box, Instance, Mask, Polygon, Value

Array = NDArray[np.float64]
Found = Literal["quad", "fitted", "box", "refined_box"]

CARD_ASPECT = (0.6, 0.82)
"""Short side by long side of what may be a card: 0.69 to 0.72 for known formats, and some tilt."""
SEEN_TILT_DEG = 0.6
"""The largest tilt seen on real scans (41 of them)."""
CORNER_SHARE = 0.08
"""Of a side, at each end: no part of the straight line there, for corners are rounded."""
LEAST_STRAIGHT = 0.6
MOST_POINTS = 4000


@dataclass(frozen=True)
class Outline:
    """`corners` (4, 2) px, lab frame, clockwise as seen, from the one at the top left as the scan lies. `annotation` is
    the label it comes from ('' for a prediction); `notes` what a person should know."""

    corners: Array
    found: Found
    label: str
    annotation: str = ""
    notes: tuple[str, ...] = ()


def find(annotations: Sequence[Annotation], classes: Sequence[str], label: str = "") -> Outline:
    """The card's outline among the labels of one scan: of class `label`, else of outer_border or border, else of the
    first of `classes` (the dataset's, in order) with a shape of a card's proportions. Of several cards the largest.

    Raises UsageError for a `label` that is no class, DatasetError: no outline, or one that cannot be a card's.
    """
    if label and label not in classes:
        raise UsageError(f"there is no class '{label}'", code="card.class", what_to_do=nearest(label, list(classes)))
    shapes = [a for a in annotations if isinstance(a.value, Box | Polygon | Mask)]
    for name in [label] if label else dict.fromkeys([*OUTLINE_CLASSES, *classes]):
        own = [a for a in shapes if a.label == name and (label or name in OUTLINE_CLASSES or _like_a_card(a.value))]
        if own:
            return _largest(own, name)
    wanted = f"'{label}'" if label else "the card's edge (outer_border, border, or any shape of a card's proportions)"
    raise DatasetError(f"has no outline: no shape of {wanted}", code="card.no_outline",
                       what_to_do="Draw the card's four corners, name the class with --outline, or let a model find "
                       "them with --outline-from RUN.")  # fmt: skip


def _largest(own: Sequence[Annotation], name: str) -> Outline:
    sizes = [area(outline_points(a.value)) for a in own]
    annotation = own[int(np.argmax(sizes))]
    corners, found = corners_of(annotation.value)
    notes = (f"{len(own)} outlines of '{name}': the largest was taken",) if len(own) > 1 else ()
    return Outline(corners, found, name, annotation.id, notes)


def _like_a_card(value: Value) -> bool:
    points = outline_points(value)
    if len(points) < 3:
        return False
    size = cv2.minAreaRect(points.astype(np.float32))[1]
    return min(size) > 0 and CARD_ASPECT[0] <= min(size) / max(size) <= CARD_ASPECT[1]


def outline_points(value: Value) -> Array:
    """The points (N, 2) of a shape's outline; of a mask the outline of its largest part."""
    if isinstance(value, Box | Polygon | Mask):
        return max(rle.outlines(value), key=area, default=np.zeros((0, 2)))
    raise TypeError(f"{value.type} is no shape")


def corners_of(value: Value) -> tuple[Array, Found]:
    """The corners (4, 2) of a card drawn as `value`, ordered as in `Outline`. Raises DatasetError: it has no area, its
    sides cross, a corner points inwards, or it has no four straight sides."""
    points = outline_points(value)
    places = list(dict.fromkeys(map(tuple, points.tolist())))
    if len(places) < 3 or (len(places) != 4 and area(points) < 1):
        raise _no_card("has no area")
    if len(places) != 4:
        return ordered(fit_quad(points)), "fitted"
    quad = np.array(places)
    _check_quad(quad)
    upright = len(set(quad[:, 0])) == 2 and len(set(quad[:, 1])) == 2
    return ordered(quad), "box" if upright else "quad"


def _no_card(how: str) -> DatasetError:
    return DatasetError(f"its outline {how}", code="card.outline",
                        what_to_do="Draw it again: four corners, one after the other around the card.")  # fmt: skip


def _check_quad(quad: Array) -> None:
    before, after = quad - np.roll(quad, 1, axis=0), np.roll(quad, -1, axis=0) - quad
    turns = np.sign(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    if abs(turns.sum()) == 4:
        if area(quad) < 64:
            raise _no_card("has no area")
        return
    hull = cv2.convexHull(quad.astype(np.float32))
    raise _no_card("crosses itself" if len(hull) == 4 else "has a corner that points inwards or lies on a side")


def ordered(quad: Array) -> Array:
    """Clockwise as seen, from the corner whose side runs most to the right: the top left one."""
    quad = quad if signed_area(quad) > 0 else quad[::-1]
    along = np.roll(quad, -1, axis=0) - quad
    return np.roll(quad, -int(np.argmax(along[:, 0] / np.hypot(along[:, 0], along[:, 1]))), axis=0)


def fit_quad(points: Array) -> Array:
    """The corners (4, 2) of the four lines along an outline of many points. Raises DatasetError when less than
    LEAST_STRAIGHT of it lies along them."""
    dense = _dense(points)
    quad = ordered(_first_guess(points))
    for _ in range(4):
        sides, _ = _nearest_side(dense, quad)
        own = [dense[sides == n] for n in range(4)]
        if min(map(len, own)) < 2:
            raise _no_card("has no four straight sides")
        lines = [_line(points) for points in own]
        quad = np.array([meet(lines[n - 1], lines[n]) for n in range(4)])
        if not np.isfinite(quad).all():
            raise _no_card("has no four straight sides")
    _check_quad(quad)
    sides, off = _nearest_side(dense, quad)
    near = off[sides >= 0] <= max(2.0, 0.005 * float(np.ptp(points, axis=0).max()))
    if near.mean() < LEAST_STRAIGHT:
        raise _no_card("has no four straight sides")
    return quad


def _dense(points: Array) -> Array:
    """Points about every px along the closed outline, at most MOST_POINTS."""
    closed = np.vstack([points, points[:1]])
    far = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, far[-1], int(np.clip(far[-1], 100, MOST_POINTS)), endpoint=False)
    return np.stack([np.interp(at, far, closed[:, 0]), np.interp(at, far, closed[:, 1])], axis=1)


def _first_guess(points: Array) -> Array:
    hull = cv2.convexHull(points.astype(np.float32))
    around = cv2.arcLength(hull, True)
    for share in (0.01, 0.02, 0.03, 0.05, 0.08, 0.12):
        found = cv2.approxPolyDP(hull, share * around, True).reshape(-1, 2)
        if len(found) == 4:
            return found.astype(np.float64)
    return np.asarray(cv2.boxPoints(cv2.minAreaRect(hull)), np.float64)


def _nearest_side(points: Array, quad: Array) -> tuple[NDArray[np.int64], Array]:
    """For each point the number of its nearest side, -1 near the ends of it, and how far off it is."""
    along = np.roll(quad, -1, axis=0) - quad
    away = points[:, None, :] - quad
    share = (away * along).sum(axis=2) / (along**2).sum(axis=1)
    from_side = away - np.clip(share, 0, 1)[..., None] * along
    off = np.hypot(from_side[..., 0], from_side[..., 1])
    side = off.argmin(axis=1)
    own = share[np.arange(len(points)), side]
    straight = (own > CORNER_SHARE) & (own < 1 - CORNER_SHARE)
    return np.where(straight, side, -1), off.min(axis=1)


def _line(points: Array) -> Line:
    """The line along `points` by total least squares, points far off it weighing less."""
    weight = np.ones(len(points))
    for _ in range(6):
        middle = np.average(points, axis=0, weights=weight)
        away = points - middle
        u = np.linalg.eigh((away * weight[:, None]).T @ away)[1][:, 1]
        off = np.abs(away[:, 0] * u[1] - away[:, 1] * u[0])
        scale = max(0.5, 1.4826 * float(np.median(off)))
        weight = np.clip(1 - (off / (4.685 * scale)) ** 2, 1e-6, None) ** 2
    return middle, u


def predicted(instances: Sequence[Instance], label: str, model: str) -> Outline:
    """The card among what a model found in a scan: the surest of class `label`, else of OUTLINE_CLASSES. Raises
    DatasetError when there is none."""
    wanted = [label] if label else list(OUTLINE_CLASSES)
    own = [i for i in instances if i.label in wanted]
    if not own:
        raise DatasetError(f"has no outline, and {model} finds none of {', '.join(wanted)} in it", code="card.no_outline",
                           what_to_do="Draw the card's four corners.")  # fmt: skip
    best = max(own, key=lambda i: i.score)
    corners, found = corners_of(best.mask or Box(xyxy=best.box))
    return Outline(corners, found, best.label)


def box_cost_mm(size_mm: tuple[float, float]) -> float:
    """How far, at most, a side's end lies from an upright box that is right half-way along: a card tilted by
    SEEN_TILT_DEG leaves it by tan(tilt) times half its length. 0.47 mm for a card 88.9 mm high."""
    return float(np.tan(np.deg2rad(SEEN_TILT_DEG)) * max(size_mm) / 2)
