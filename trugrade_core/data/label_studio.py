"""What Label Studio means by its results: percent of the image from edge to edge, and masks as brush run lengths.

A *result* is one statement of a control; results of one `id` are about one *region* (its shape, its labels, and what
was said of it), and a result without a shape is about the whole picture. Used by the importer and by the sync.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trugrade_core import coordinates
from trugrade_core.data import rle
from trugrade_core.schema import Box, Mask, Polygon, SampleStatus

Bool = NDArray[np.bool_]

SHAPES = {
    "rectangle": ("x", "y", "width", "height"),
    "polygon": ("points",),
    "brush": ("rle",),
    "ellipse": ("x", "y", "radiusX", "radiusY"),
    "keypoint": ("x", "y"),
    "bitmask": ("imageDataURL",),
    "vector": ("vertices",),
}
"""Kinds of shapes, and the fields of `value` that hold them."""
META = "trugrade"
"""Under this key of a task's or a result's `meta` lies what the lab sent with it."""
STATES: dict[str, SampleStatus] = {"nothing_there": "done", "unsure": "unsure", "rescan": "rescan"}
"""Choices of the control `state`, and the sample's status that each says."""
CLASS_COLORS = ("#19d3ff", "#ffd23f", "#ff6fb0", "#8cf26b", "#ff9a4d", "#b99bff")
"""The app's colours of the classes, in their order (app/overlay.py; a test holds them equal)."""
ELLIPSE_SAGITTA_PX = 0.02
"""How far the polygon that stands for an ellipse may run inside it."""


# --- numbers ----------------------------------------------------------------------------------------------------


def as_number(word: str) -> float | None:
    """The number that a choice spells, None where it is none."""
    try:
        return float(word)
    except ValueError:
        return None


def to_percent(xy: ArrayLike, width: int, height: int) -> NDArray[np.float64]:
    """Points (..., 2), lab frame, as percent of the image."""
    return coordinates.points_to_yolo(xy, width, height) * 100


def from_percent(xy: ArrayLike, width: int, height: int) -> NDArray[np.float64]:
    """Points (..., 2) in percent of the image, in the lab's frame."""
    return coordinates.points_from_yolo(np.asarray(xy, np.float64) / 100, width, height)


def shape_value(value: Box | Polygon | Mask, width: int, height: int) -> tuple[str, dict[str, Any]]:
    """(kind of shape, the fields of `value` that say it) for an image of `width` x `height`."""
    if isinstance(value, Mask):
        return "brush", {"format": "rle", "rle": brush_runs(rle.decode(value))}
    if isinstance(value, Polygon):
        return "polygon", {"points": to_percent(value.points, width, height).tolist(), "closed": True}
    (x0, y0), (x1, y1) = to_percent(np.reshape(value.xyxy, (2, 2)), width, height).tolist()
    return "rectangle", {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}


def corners(value: dict[str, Any], width: int, height: int) -> NDArray[np.float64]:
    """The corners (4, 2), lab frame, of a rectangle, from its top left on; it turns about that corner, clockwise in
    degrees, in pixels and not in percent."""
    x, y, w, h = (_number(value, name) for name in SHAPES["rectangle"])
    at = from_percent((x, y), width, height)
    across, down = w / 100 * width, h / 100 * height
    sides = np.array([[0.0, 0.0], [across, 0.0], [across, down], [0.0, down]])
    return at + _turned(sides, _number(value, "rotation", 0.0))


def ellipse(value: dict[str, Any], width: int, height: int) -> NDArray[np.float64]:
    """The ellipse as a polygon (N, 2), lab frame, that runs at most ELLIPSE_SAGITTA_PX inside it. `x`, `y` is its
    centre, about which it turns."""
    x, y, rx, ry = (_number(value, name) for name in SHAPES["ellipse"])
    radii = np.array([rx / 100 * width, ry / 100 * height])
    if not (np.isfinite(radii).all() and (radii > 0).all()):
        raise ValueError("the ellipse has no area")
    return from_percent((x, y), width, height) + _turned(ring(radii), _number(value, "rotation", 0.0))


def ring(radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """An ellipse about the origin with these two radii, as a polygon (N, 2)."""
    largest = max(float(radii.max()), 1.0)
    steps = min(max(16, math.ceil(math.pi / math.acos(1 - ELLIPSE_SAGITTA_PX / largest))), 2000)
    angle = np.arange(steps) * (2 * math.pi / steps)
    points: NDArray[np.float64] = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radii
    return points


def _turned(xy: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    quarters, rest = divmod(degrees, 90)
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    if rest == 0:  # exact, so that a box stays one
        c, s = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarters) % 4]
    turned: NDArray[np.float64] = xy @ np.array([[c, s], [-s, c]], np.float64)
    return turned


def _number(value: dict[str, Any], name: str, default: float | None = None) -> float:
    found = value.get(name, default)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ValueError(f"its {name} is {found!r}, not a number")
    return float(found)


def points_of(value: dict[str, Any], width: int, height: int) -> NDArray[np.float64]:
    """The points (N, 2), lab frame, of a polygon."""
    found = np.asarray(value.get("points"), np.float64)
    if found.ndim != 2 or found.shape[1] != 2 or not np.isfinite(found).all():
        raise ValueError("its points are not pairs of numbers")
    return from_percent(found, width, height)


def is_upright(quad: NDArray[np.float64]) -> bool:
    """Whether the corners (4, 2) are those of a box."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    return bool(((quad == low) | (quad == high)).all())


# --- brush run lengths ------------------------------------------------------------------------------------------

RUN_BITS = (3, 4, 8, 16)
"""Bits of a run's length in the four sizes that Label Studio writes."""


def brush_runs(mask: Bool) -> list[int]:
    """(H, W) bool as the bytes of Label Studio's run lengths: four equal channels of 0 or 255, row by row.

    Header: 32 bits for the number of values, 5 for the bits of a value less 1, four times 4 for the bits of the four
    run lengths less 1. Then for each run: 1, two bits for the size, the length less 1, the value.
    """
    flat = np.asarray(mask, bool).reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * 4
    values = np.where(flat[starts], 255, 0)
    longest = 1 << RUN_BITS[-1]
    parts = (lengths - 1) // longest
    values = np.repeat(values, parts + 1)
    split = np.full(len(values), longest)
    split[np.cumsum(parts + 1) - 1] = lengths - parts * longest
    size = np.searchsorted([1 << bits for bits in RUN_BITS], split)
    bits = np.array(RUN_BITS)[size]
    words = ((4 + size) << (bits + 8)) | ((split - 1) << 8) | values
    used = np.arange(32)[None, :] >= (32 - (3 + bits + 8))[:, None]
    runs = np.unpackbits(words.astype(">u4").view(np.uint8).reshape(-1, 4), axis=1)[used]
    header = f"{flat.size * 4:032b}{7:05b}" + "".join(f"{b - 1:04b}" for b in RUN_BITS)
    stream = np.concatenate([np.frombuffer(header.encode(), np.uint8) - ord("0"), runs])
    # Their encoder adds a whole byte of zeros where none is needed; so do we, that the same mask is the same bytes.
    return list(np.packbits(np.concatenate([stream, np.zeros(8 - len(stream) % 8, np.uint8)])).tolist())


def brush_mask(runs: Sequence[int], width: int, height: int) -> Bool:
    """Label Studio's run lengths as (H, W) bool. Raises ValueError when they are no mask of that size.

    Strokes have soft edges: a pixel counts when it is painted at least half as much as the most painted one.
    """
    bits = np.unpackbits(_bytes(runs))
    text = (bits + ord("0")).tobytes()
    count, word = int(text[:32], 2), int(text[32:37], 2) + 1
    sizes = [int(text[i : i + 4], 2) + 1 for i in range(37, 53, 4)]
    if count != width * height * 4:
        raise ValueError(
            f"its run lengths cover {count} values, an image of {width} x {height} has {width * height * 4}"
        )
    if word > 8:
        raise ValueError(f"its values have {word} bits, more than the 8 of a picture")
    alpha = np.zeros(width * height, np.uint8)  # of the four channels the last, which is all that counts
    at, done = 53, 0
    while done < count:
        if at + 3 > len(text):
            raise ValueError("its run lengths are cut short")
        same, size = text[at] == ord("1"), sizes[int(text[at + 1 : at + 3], 2)]
        length = int(text[at + 3 : at + 3 + size] or b"0", 2) + 1
        at += 3 + size
        end = at + (word if same else word * length)
        if end > len(text) or done + length > count:
            raise ValueError("its run lengths are cut short")
        inside = slice(done // 4, (done + length) // 4)
        if same:
            alpha[inside] = int(text[at:end], 2)
        else:
            weights = 1 << np.arange(word - 1, -1, -1)
            alpha[inside] = (bits[at:end].reshape(length, word) @ weights)[3 - done % 4 :: 4]
        at, done = end, done + length
    return (alpha.astype(np.int16) * 2 >= max(int(alpha.max()), 1)).reshape(height, width)


def _bytes(runs: Any) -> NDArray[np.uint8]:
    try:
        found = np.asarray(runs, np.int64)
    except (TypeError, ValueError, OverflowError):
        found = np.empty(0, np.int64)
    if found.ndim != 1 or len(found) < 7 or found.min() < 0 or found.max() > 255:
        raise ValueError("its run lengths are not a list of bytes")
    return found.astype(np.uint8)


# --- regions ----------------------------------------------------------------------------------------------------


@dataclass
class Region:
    """Results of one id. `kind` is of SHAPES, or None for what is said of the whole picture; `said` is {control: (type,
    content)} beside the shape; `first` is the place of the shape's result in the list, `places` of all."""

    id: str
    kind: str | None = None
    value: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    said: dict[str, tuple[str, Any]] = field(default_factory=dict)
    places: list[int] = field(default_factory=list)

    @property
    def meta(self) -> dict[str, Any]:
        found = self.result.get("meta")
        return found if isinstance(found, dict) else {}


def kind_of(result_type: str) -> str | None:
    """The kind of shape of a result's type: `polygonlabels` and `polygon` are both polygons."""
    kind = result_type.removesuffix("labels")
    return "brush" if kind == "magicwand" else kind if kind in SHAPES else None


def regions_of(results: Sequence[Any]) -> tuple[list[Region], list[tuple[int, str]]]:
    """The regions in the order of their first result, and (place, why) of results that are none of an image."""
    found: dict[str, Region] = {}
    left: list[tuple[int, str]] = []
    for place, result in enumerate(results):
        kind = result.get("type") if isinstance(result, dict) else None
        value = result.get("value") if isinstance(result, dict) else None
        if kind == "relation":
            left.append((place, "relations between regions are not taken"))
        elif not isinstance(kind, str) or not isinstance(value, dict):
            left.append((place, "it has no type or no value"))
        else:
            id = result.get("id")
            region = found.setdefault(id if isinstance(id, str) and id else f"#{place}", Region(str(id or f"#{place}")))
            region.places.append(place)
            _add(region, kind, value, result)
    return list(found.values()), left


def _add(region: Region, kind: str, value: dict[str, Any], result: dict[str, Any]) -> None:
    control = str(result.get("from_name"))
    shape = kind_of(kind)
    if not region.result or (shape and region.kind is None):
        region.result = result
    if shape:
        region.kind, region.value = shape, value
        named = value.get(kind) if kind.endswith("labels") else None
    elif kind == "labels":
        named = value.get("labels")
    else:
        # A textarea's words lie under `text`, anything else under its own type.
        region.said[control] = (kind, value.get("text" if kind == "textarea" else kind))
        named = None
    if isinstance(named, list):
        region.labels += [name.strip() for name in named if isinstance(name, str) and name.strip()]


def stated_size(result: dict[str, Any]) -> tuple[int, int]:
    """The size of the picture that the result was made on; zeros where it does not say."""
    pair = (result.get("original_width"), result.get("original_height"))
    wide, high = (int(v) if isinstance(v, int | float) and 0 < v < 1e6 and v == int(v) else 0 for v in pair)
    return wide, high
