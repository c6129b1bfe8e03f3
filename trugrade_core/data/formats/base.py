"""What a dataset format is: how it is recognised, read and, where it can be, written.

A format turns its files into `Item`s (an image and what is said of it) whose labels are in the lab's frame; nothing
else in the lab knows the format.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trugrade_core import coordinates
from trugrade_core.data.images import MAX_PIXELS
from trugrade_core.data.source import Skip, Source, key
from trugrade_core.errors import UsageError
from trugrade_core.schema import Annotation, Box, ImageRef, Origin, Polygon, Sample, Status, Value

Split = Literal["train", "val", "test"]
LOWEST_DPI, HIGHEST_DPI = 1.0, 100_000.0
"""The resolutions a person may give: from the lowest, below the highest."""


class ImportOptions(BaseModel):
    """How to read a source. `mapping` is {their class or column name: ours}; `who` is written into the log; an image
    of more than `max_pixels` is refused from its header; of a folder's images `only` these are taken, when given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = "auto"
    labels: Path | None = None
    classes: tuple[str, ...] | None = None
    mapping: dict[str, str] = {}
    cards: Path | None = None
    card_pattern: str | None = None
    dpi: float | None = None
    origin: Origin = "real"
    dry_run: bool = False
    who: str = ""
    max_pixels: int = Field(default=MAX_PIXELS, gt=0)
    only: tuple[str, ...] | None = None

    @field_validator("dpi")
    @classmethod
    def _is_a_resolution(cls, dpi: float | None) -> float | None:
        # Not a ValueError, which would come out as a fault of the lab: a person types this.
        if dpi is not None and not LOWEST_DPI <= dpi < HIGHEST_DPI:
            raise UsageError(f"{dpi:g} is no number of dots per inch",
                             what_to_do=f"Give one from {LOWEST_DPI:g} to under {HIGHEST_DPI:g}, such as 600.")  # fmt: skip
        return dpi


# --- reading ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """One label as the source says it: `name` is their class name, the value is in the lab's frame. `layer` is main, or
    the name of a grader whose vote it is."""

    name: str | None
    value: Value
    attributes: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    layer: str = "main"


@dataclass
class Labels:
    """What a source says of one image. `notes` counts what was put right on the way; `status` is what a person said of
    the image as a whole, where the source has that."""

    labels: list[Label] = field(default_factory=list)
    status: Status | None = None
    skipped: list[Skip] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Item:
    """An image of the source. `labels` None means that nothing is said of it: it is unlabelled."""

    file: str
    labels: Callable[[ImageRef], Labels] | None = None
    card: str | None = None
    split: Split | None = None


@dataclass(frozen=True)
class Request:
    """What is to be read. `labels` holds the label files when they were given apart, `images` are the candidates.

    `only_listed`: the person named the label file itself, so images it does not list are none of our business.
    `known_classes`: those of the dataset that is added to.
    """

    source: Source
    images: list[str]
    labels: Source | None
    options: ImportOptions
    known_classes: tuple[str, ...] = ()
    only_listed: bool = False

    @property
    def label_source(self) -> Source:
        return self.labels or self.source


@dataclass(frozen=True)
class Finding:
    """What a format found of itself. It can be read when nothing is `missing`; `near` ranks the ones that cannot.

    `weak`: other formats go first, because what was found may as well belong to them.
    """

    found: str = ""
    missing: str = ""
    near: int = 0
    weak: bool = False
    data: Any = None


@dataclass
class Reading:
    """`classes` are their names in their order when the source declares them. `total` is the number of items."""

    items: Iterator[Item]
    total: int
    classes: list[str] | None = None
    skipped: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# --- writing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A sample to write: its image lies at `file`, relative to the export's folder."""

    sample: Sample
    annotations: list[Annotation]
    file: str


@dataclass
class Written:
    """`left_out` counts what the format cannot hold."""

    annotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Format:
    """`first_id` is the id of the first class in this format's files; None when it uses names alone."""

    id: str
    title: str
    find: Callable[[Request], Finding]
    read: Callable[[Request, Finding], Reading]
    write: Callable[[Path, Callable[[], Iterator[Row]], list[str]], Written] | None = None
    first_id: int | None = None


HALF_LETTER = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""What may be half of a letter beyond 16 bits, as JSON's escape or as bytes."""


def load_json(data: bytes) -> Any:
    """JSON; halves of letters, which it can spell and nothing can store, become '?'. Raises ValueError, RecursionError."""
    content = json.loads(data)
    if HALF_LETTER.search(data):
        content = json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8", "replace"))
    return content


# --- pairing images with label files ----------------------------------------------------------------------------


def _plain(file: str, aside: Callable[[str], bool]) -> str:
    *folders, name = key(file).split("/")
    return "/".join([*(f for f in folders if not aside(f.lower())), name.rpartition(".")[0] or name])


def _is_aside(folder: str) -> bool:
    """Whether a folder's name only says what kind of file lies in it."""
    return folder in ("images", "imgs", "img", "jpegimages") or folder.startswith(
        ("label", "annotation", "mask", "segmentation")
    )


NO_IMAGE = "label for an image that is not there"


def pair(images: list[str], labels: list[str], *, apart: bool) -> tuple[dict[str, str], list[Skip]]:
    """{image: its label file} by path and stem, and the label files that belong to no image or to several.

    Folders such as images/ and labels/ are left out of the comparison. `apart`: the labels lie in a folder of
    their own, so leading folders of the image that are not found there are left out too.
    """
    by_stem = {_plain(file, _is_aside): file for file in labels}
    claimed: dict[str, list[str]] = {}
    for image in images:
        stem = _plain(image, _is_aside)
        while stem not in by_stem and apart and "/" in stem:
            stem = stem.partition("/")[2]
        if stem in by_stem:
            claimed.setdefault(by_stem[stem], []).append(image)
    pairs, skipped = {}, []
    for file in labels:
        owners = claimed.get(file, [])
        if len(owners) == 1:
            pairs[owners[0]] = file
        elif owners:
            skipped.append(Skip(file=file, reason=f"{len(owners)} images could be meant: " + ", ".join(owners[:3])))
        else:
            skipped.append(Skip(file=file, reason=NO_IMAGE))
    return pairs, skipped


# --- values that fit their image ----------------------------------------------------------------------------------

ROUNDING_PX = 1.0 + 1e-6
"""How far a label may reach outside its image and still be taken for rounded."""
NUDGED = "labels that reached less than a pixel outside their image, put back to its edge"


@dataclass(frozen=True)
class Fitted:
    """A value that fits its image, or None; `reason` says what was not taken, `note` what was put right."""

    value: Box | Polygon | None
    reason: str = ""
    note: str = ""


def fit_box(xyxy: ArrayLike, width: int, height: int) -> Fitted:
    """A box, lab frame, that may be anything at all, as a box inside the image of `width` x `height`."""
    box = np.asarray(xyxy, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all():
        return Fitted(None, "the box has a coordinate that is not a number")
    if not (box[2] > box[0] and box[3] > box[1]):
        return Fitted(None, f"the box has no area (width {box[2] - box[0]:g}, height {box[3] - box[1]:g} px)")
    low, high = np.full(2, -0.5), np.array([width - 0.5, height - 0.5])
    inside = np.concatenate([np.clip(box[:2], low, high), np.clip(box[2:], low, high)]).round(6)
    if not (inside[2] > inside[0] and inside[3] > inside[1]):
        return Fitted(None, f"the box lies outside the image of {width} x {height} px")
    out = float(max((low - box[:2]).max(), (box[2:] - high).max()))
    return Fitted(Box(xyxy=tuple(inside.tolist())), *_words_outside("box", out))


def fit_polygon(points: ArrayLike, width: int, height: int) -> Fitted:
    """As `fit_box`, for a polygon (N, 2)."""
    xy = np.asarray(points, np.float64)
    if xy.ndim != 2 or xy.shape[1:] != (2,) or len(xy) < 3:
        return Fitted(None, "the polygon has fewer than 3 points")
    if not np.isfinite(xy).all():
        return Fitted(None, "the polygon has a coordinate that is not a number")
    if not polygon_area(xy) > 0:
        return Fitted(None, "the polygon has no area")
    low, high = np.full(2, -0.5), np.array([width - 0.5, height - 0.5])
    out = float(max((low - xy).max(), (xy - high).max()))
    inside = (np.clip(xy, low, high) if out <= ROUNDING_PX else _cut(xy, low, high)).round(6)
    if len(inside) < 3 or not polygon_area(inside) > 0:
        return Fitted(None, f"the polygon lies outside the image of {width} x {height} px")
    return Fitted(Polygon(points=tuple(map(tuple, inside.tolist()))), *_words_outside("polygon", out))


def _words_outside(what: str, out: float) -> tuple[str, str]:
    if out <= 1e-6:
        return "", ""
    if out <= ROUNDING_PX:
        return "", NUDGED
    return f"the {what} reaches {out:.1f} px outside the image: only the part inside was taken", ""


def polygon_area(xy: np.ndarray[Any, Any]) -> float:
    """Of a polygon (N, 2), in px², whichever way round it goes."""
    x, y = xy[:, 0], xy[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _cut(xy: np.ndarray[Any, Any], low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The part of the polygon inside the rectangle, one side after the other (Sutherland and Hodgman)."""
    for axis, edge, sign in ((0, low[0], 1), (0, high[0], -1), (1, low[1], 1), (1, high[1], -1)):
        kept = []
        for a, b in zip(np.roll(xy, 1, axis=0), xy, strict=True):
            a_in, b_in = sign * (a[axis] - edge) >= 0, sign * (b[axis] - edge) >= 0
            if a_in != b_in:
                kept.append(a + (b - a) * (edge - a[axis]) / (b[axis] - a[axis]))
            if b_in:
                kept.append(b)
        if not kept:
            return np.empty((0, 2))
        xy = np.array(kept)
    return xy


def take(into: Labels, fitted: Fitted, name: str, file: str, where: str,
         attributes: Mapping[str, str | float | bool | None] | None = None) -> None:  # fmt: skip
    """Put a fitted value among the labels, and what is to be said of it into the report."""
    if fitted.value is not None:
        into.labels.append(Label(name, fitted.value, attributes or {}))
    if fitted.reason:
        into.skipped.append(Skip(file=file, reason=f"{where}: {fitted.reason}"))
    if fitted.note:
        into.notes[fitted.note] += 1


def frame_of(stated_wh: tuple[int, int], ref: ImageRef) -> tuple[int, str]:
    """(EXIF orientation to turn the labels by, '') for labels made for a picture of `stated_wh`, or (1, why not).

    Tools differ in whether they turn a picture before it is labelled; the stated size tells, where the sides swap.
    """
    if min(stated_wh) <= 0 or stated_wh == (ref.width, ref.height):
        return 1, ""
    if ref.orientation >= 5 and stated_wh == (ref.height, ref.width):
        return ref.orientation, ""
    return 1, "its labels are for a picture of {} x {} px, this one has {} x {}".format(
        *stated_wh, ref.width, ref.height
    )


def turn_points(xy: ArrayLike, ref: ImageRef, turn: int) -> np.ndarray[Any, Any]:
    """Points (N, 2), lab frame of the picture as it is stored, as they lie after the EXIF orientation `turn`."""
    wh = (ref.height, ref.width) if turn >= 5 else (ref.width, ref.height)
    points = np.asarray(xy, np.float64)
    return coordinates.exif_transpose_box(np.concatenate([points, points], axis=-1), *wh, turn)[..., :2]


SPLIT_WORDS: dict[str, Split] = {"train": "train", "training": "train", "val": "val", "valid": "val",
                                 "validation": "val", "test": "test", "testing": "test"}  # fmt: skip


def split_of_path(file: str) -> Split | None:
    """The split that a folder of the path is named after."""
    return next((SPLIT_WORDS[p] for p in key(file).lower().split("/")[:-1] if p in SPLIT_WORDS), None)
