"""The quick canvas: streamlit-drawable-canvas for region crops that fit the page.

The canvas speaks Fabric's objects in its own pixels, the lab image pixels with centres at integers. Conversions are pure
functions, tested both ways. What the component does otherwise than one expects is said where it is handled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app import overlay
from trugrade_core.annotate.shapes import distinct
from trugrade_core.data import rle
from trugrade_core.schema import Box, Mask, Polygon, Value

LONGEST_PX = 1500
"""Longest side of an image that the canvas takes: it has no zoom, and its three layers are as large as what is shown."""
STROKE = 2
FREE_STROKE = 8
"""Px of the canvas that a free-hand line covers, the mask that it draws."""
TOOLS = {"box": "rect", "polygon": "polygon", "mask": "freedraw"}
CURVE_STEPS = 8
Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Fit:
    """How the image lies on the canvas: canvas = edge px of the image * scale + offset."""

    scale: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    @classmethod
    def of(cls, background_fit: Mapping[str, float] | None) -> Fit | None:
        """None on the first run: the browser has not loaded the picture yet, and nothing can be said of where it lies."""
        if not background_fit or not background_fit.get("scale_x"):
            return None
        return cls(
            background_fit["scale_x"], background_fit.get("offset_x") or 0.0, background_fit.get("offset_y") or 0.0
        )

    def to_image(self, xy: Sequence[tuple[float, float]]) -> Pairs:
        """Canvas px to the lab's frame."""
        return [((x - self.offset_x) / self.scale - 0.5, (y - self.offset_y) / self.scale - 0.5) for x, y in xy]

    def to_canvas(self, xy: Sequence[tuple[float, float]]) -> Pairs:
        return [((x + 0.5) * self.scale + self.offset_x, (y + 0.5) * self.scale + self.offset_y) for x, y in xy]


def size_for(width: int, height: int, room_wh: tuple[int, int]) -> tuple[int, int, Fit]:
    """(canvas width, height, how the image will lie on it): as large as fits the page, at most four times its size."""
    scale = min(4.0, room_wh[0] / width, room_wh[1] / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    contained = min(across / width, down / height)
    return across, down, Fit(contained, (across - width * contained) / 2, (down - height * contained) / 2)


# --- from the canvas --------------------------------------------------------------------------------------------


def outline(object: Mapping[str, Any]) -> Pairs:
    """Corners of a Rect or Polygon, or the line of a Path, on the canvas: by left, top, scale and angle, since `points`
    stay what they were when a shape is moved or resized. A Rect's left and top are those of its stroke's outer edge."""
    sx, sy = object.get("scaleX") or 1, object.get("scaleY") or 1
    kind = object.get("type")
    if kind == "Polygon":
        local = _centred([(p["x"], p["y"]) for p in object["points"]], sx, sy)
    elif kind == "Path":
        local = _centred(_flat(object["path"]), sx, sy)
    else:
        w, h = object["width"] * sx, object["height"] * sy
        s = object.get("strokeWidth") or 0
        s = (s, s) if object.get("strokeUniform") else (s * sx, s * sy)
        local = [(s[0] / 2, s[1] / 2), (s[0] / 2 + w, s[1] / 2), (s[0] / 2 + w, s[1] / 2 + h), (s[0] / 2, s[1] / 2 + h)]
    a = radians(object.get("angle") or 0)
    left, top = object["left"], object["top"]
    return [(left + x * cos(a) - y * sin(a), top + x * sin(a) + y * cos(a)) for x, y in local]


def _centred(points: Pairs, sx: float, sy: float) -> Pairs:
    """Polygons and paths turn and grow about the middle of their points' bounding box."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ox, oy = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    return [((x - ox) * sx, (y - oy) * sy) for x, y in points]


def _flat(path: Sequence[Sequence[Any]]) -> Pairs:
    """Fabric's path commands (M, L, Q, C) as points."""
    points: Pairs = []
    for command, *numbers in path:
        ends = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command in ("M", "L"):
            points += ends
        elif command in ("Q", "C") and points:
            bones = [points[-1], *ends]
            points += [_bezier(bones, n / CURVE_STEPS) for n in range(1, CURVE_STEPS + 1)]
    return points


def _bezier(bones: Pairs, t: float) -> tuple[float, float]:
    while len(bones) > 1:
        bones = [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for (x0, y0), (x1, y1) in pairwise(bones)]
    return bones[0]


def value_of(object: Mapping[str, Any], fit: Fit, width: int, height: int) -> Value | None:
    """The schema's value of a drawn object; None for what has no area (a click) or is of another kind (text, circles)."""
    if object.get("type") not in ("Rect", "Polygon", "Path"):
        return None
    points = fit.to_image(outline(object))
    if object["type"] == "Path":
        return _painted(points, (object.get("strokeWidth") or FREE_STROKE) / fit.scale, width, height)
    if object["type"] == "Rect" and not (object.get("angle") or 0) % 360:
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return Box(xyxy=(min(xs), min(ys), max(xs), max(ys))) if max(xs) > min(xs) and max(ys) > min(ys) else None
    kept = distinct(np.asarray(points, np.float64))
    return Polygon(points=tuple((float(x), float(y)) for x, y in kept)) if len(kept) >= 3 else None


def _painted(line: Pairs, thick_px: float, width: int, height: int) -> Mask | None:
    """The pixels whose centre a line of that thickness covers."""
    found: NDArray[np.bool_] = np.zeros((height, width), bool)
    reach = thick_px / 2
    for (x0, y0), (x1, y1) in zip(line, line[1:] or line, strict=False):
        low = max(0, int(np.floor(min(x0, x1) - reach))), max(0, int(np.floor(min(y0, y1) - reach)))
        high = min(width, int(np.ceil(max(x0, x1) + reach)) + 1), min(height, int(np.ceil(max(y0, y1) + reach)) + 1)
        if high[0] <= low[0] or high[1] <= low[1]:
            continue
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
        dx, dy = x1 - x0, y1 - y0
        length = dx * dx + dy * dy
        t = np.clip(((x - x0) * dx + (y - y0) * dy) / length, 0, 1) if length else np.zeros(x.shape)
        found[low[1] : high[1], low[0] : high[0]] |= (x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2 <= reach**2
    return rle.encode(found) if found.any() else None


# --- what changed -------------------------------------------------------------------------------------------------


def matched(known: Sequence[Value], drawn: Sequence[Value], within_px: float) -> list[int | None]:
    """For each drawn value the place of the known one that it is, None where it is new.

    The canvas forgets whose object is whose, but keeps their order, and a person does one thing at a time: what is where
    it was is itself, and of the others the first is the first.
    """
    found: list[int | None] = [None] * len(drawn)
    free = list(range(len(known)))
    for i, value in enumerate(drawn):
        place = next((k for k in free if same(known[k], value, within_px)), None)
        if place is not None:
            found[i] = place
            free.remove(place)
    for i, value in enumerate(drawn):
        place = next((k for k in free if _may_become(known[k], value)), None)
        if found[i] is None and place is not None and len(drawn) <= len(known):
            found[i] = place
            free.remove(place)
    return found


def same(a: Value, b: Value, within_px: float) -> bool:
    """Whether two values are the same up to the canvas's rounding."""
    if isinstance(a, Box) and isinstance(b, Box):
        return max(abs(p - q) for p, q in zip(a.xyxy, b.xyxy, strict=True)) <= within_px
    if isinstance(a, Polygon) and isinstance(b, Polygon) and len(a.points) == len(b.points):
        return float(np.abs(np.asarray(a.points) - np.asarray(b.points)).max()) <= within_px
    return a == b


def _may_become(old: Value, new: Value) -> bool:
    """A turned box is a polygon; else the kind stays."""
    return old.type == new.type or {old.type, new.type} == {"box", "polygon"}


# --- to the canvas ----------------------------------------------------------------------------------------------


def object_of(id: str, value: Value, fit: Fit, color: str) -> dict[str, Any] | None:
    """The Fabric object that shows a stored shape, with its annotation in `trugrade`; None for masks and the rest, which
    the canvas cannot hold: they are drawn under it."""
    common = {"stroke": color, "strokeWidth": STROKE, "fill": "rgba(0,0,0,0)", "scaleX": 1, "scaleY": 1, "angle": 0,
              "strokeUniform": True, "trugrade": id}  # fmt: skip
    if isinstance(value, Box):
        (x0, y0), (x1, y1) = fit.to_canvas([value.xyxy[:2], value.xyxy[2:]])
        return {"type": "Rect", "originX": "left", "originY": "top", "left": x0 - STROKE / 2, "top": y0 - STROKE / 2,
                "width": x1 - x0, "height": y1 - y0, **common}  # fmt: skip
    if isinstance(value, Polygon):
        points = fit.to_canvas(value.points)
        xs, ys = [x for x, _ in points], [y for _, y in points]
        return {"type": "Polygon", "originX": "center", "originY": "center", "left": (min(xs) + max(xs)) / 2,
                "top": (min(ys) + max(ys)) / 2, "width": max(xs) - min(xs), "height": max(ys) - min(ys),
                "points": [{"x": x, "y": y} for x, y in points], **common}  # fmt: skip
    return None


def color_for(label: str | None, names: Sequence[str]) -> str:
    """The class's colour, in the last of its bits a little different where the palette begins anew: the canvas keeps of a
    stroke nothing but its colour, so no two classes may have the same."""
    turns = names.index(label) // len(overlay.CLASS_COLORS) if label in names else 0
    return f"#{int(overlay.color_of(label, names)[1:], 16) ^ turns:06x}"


def class_of(object: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """By its colour, which stays with the object whatever class is chosen next."""
    color = str(object.get("stroke", "")).lower()
    return next((name for name in names if color_for(name, names) == color), names[0] if names else None)
