"""CVAT for images 1.1: one XML for a task or project, shapes over pixel edges, masks as run lengths of a window.

Several files with the same name in different subsets are told apart by the subset's folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import defusedxml.ElementTree as safe_xml
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from trugrade_core import coordinates
from trugrade_core.data import rle
from trugrade_core.data.formats.base import (
    SPLIT_WORDS,
    Finding,
    Format,
    Item,
    Label,
    Labels,
    Reading,
    Request,
    Split,
    fit_box,
    fit_polygon,
    frame_of,
    take,
    turn_points,
)
from trugrade_core.data.images import upright
from trugrade_core.data.label_studio import ring
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import ImageRef, Mask, Tags

LOOKED_AT = 20
NO_AREA = {"polyline": "polylines, which have no area", "points": "points, which have no area",
           "skeleton": "skeletons", "cuboid": "cuboids"}  # fmt: skip
Attributes = dict[str, str | float | bool | None]
Kinds = dict[tuple[str, str], str]
"""{(label, attribute): how it is entered}"""


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    files = [f for f in request.label_source.files if suffix(f) == ".xml"]
    found = {file: root for file in files[:LOOKED_AT] if (root := _root(request, file)) is not None}
    if not found:
        return Finding(missing="an .xml whose root is <annotations>")
    if len(found) > 1:
        return Finding(f"{len(found)} CVAT files", "a choice: --labels " + " | ".join(found), near=3)
    file, root = next(iter(found.items()))
    if root.find("track") is not None and root.find("image") is None:
        return Finding(file, "images: it is CVAT for video; export the task as 'CVAT for images 1.1'", near=2)
    index = FileIndex(request.images)
    if not any(_place(image, index)[0] for image in root.iter("image")):
        return Finding(file, "the images that it lists", near=2)
    return Finding(file, data=(file, root))


def _root(request: Request, file: str) -> ElementTree.Element | None:
    try:
        found: ElementTree.Element = safe_xml.fromstring(request.label_source.read(file), forbid_dtd=True)
    except (ElementTree.ParseError, DefusedXmlException, DatasetError, ValueError, LookupError):
        return None
    return found if found.tag == "annotations" else None


def _place(image: ElementTree.Element, index: FileIndex) -> tuple[str | None, str]:
    name, subset = image.get("name", ""), image.get("subset", "")
    folders = [f"images/{subset}", subset, f"images/{subset.lower()}"] if subset else []
    return index.find(name, *folders, "images") if name else (None, "it has no name")


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    file, root = finding.data
    index = FileIndex(request.images)
    kinds = _kinds(root)
    reading = Reading(iter(()), 0, [name for label in root.iter("label") if (name := (label.findtext("name") or ""))])
    items: dict[str, Item] = {}
    for image in root.iter("image"):
        path, why = _place(image, index)
        if path is not None and path in items:
            why = f"{shown(path)} is in it already"
        if path is None or path in items:
            called = shown(image.get("name") or "an image without a name")
            reading.skipped.append(
                Skip(file=called, reason=f"listed in {shown(file)} with {_count(image)} labels, but {why}")
            )
            continue
        items[path] = Item(path, _labels_of(path, image, kinds), split=_split(image))
    if tracks := len(root.findall("track")):
        reading.skipped.append(Skip(file=shown(file), reason=f"{tracks} tracks of a video are not taken"))
    rest = [] if request.only_listed else [image for image in request.images if image not in items]
    if rest:
        reading.notes.append(f"{len(rest)} images are not in {shown(file)}: they are unlabelled")
    every = [*items.values(), *(Item(image) for image in rest)]
    reading.items, reading.total = iter(every), len(every)
    return reading


def _kinds(root: ElementTree.Element) -> Kinds:
    return {
        (label.findtext("name") or "", attribute.findtext("name") or ""): attribute.findtext("input_type") or ""
        for label in root.iter("label")
        for attribute in label.iter("attribute")
    }


def _split(image: ElementTree.Element) -> Split | None:
    return SPLIT_WORDS.get((image.get("subset") or "").lower())


def _count(image: ElementTree.Element) -> int:
    return sum(1 for _ in image)


def _labels_of(path: str, image: ElementTree.Element, kinds: Kinds) -> Callable[[ImageRef], Labels]:
    return lambda ref: parse(image, shown(path), ref, kinds)


def parse(image: ElementTree.Element, file: str, ref: ImageRef, kinds: Kinds) -> Labels:
    """The labels of one <image> for a picture of the size of `ref`."""
    found = Labels()
    turn, why = frame_of((_whole(image.get("width")), _whole(image.get("height"))), ref)
    if why:
        found.skipped.append(Skip(file=file, reason=why))
        return found
    left: Counter[str] = Counter()
    tags: list[str] = []
    for number, shape in enumerate(image, 1):
        name = (shape.get("label") or "").strip()
        where = f"{shape.tag} {number}"
        if shape.tag in NO_AREA:
            left[NO_AREA[shape.tag]] += 1
        elif not name:
            found.skipped.append(Skip(file=file, reason=f"{where}: has no label"))
        elif shape.tag == "tag":
            tags.append(name)
            if spoken := sum(1 for _ in shape.iter("attribute")):
                left["attributes of tags, which have none here"] += spoken
        else:
            try:
                _read_shape(shape, name, where, file, ref, turn, kinds, found, left)
            except (ValueError, OverflowError) as e:
                found.skipped.append(Skip(file=file, reason=f"{where}: is not as CVAT has it ({e})"))
    found.skipped += [Skip(file=file, reason=f"{kind}: {count} not taken") for kind, count in left.items()]
    if tags:
        found.labels.append(Label(None, Tags(tags=tuple(dict.fromkeys(tags)))))
    return found


def _read_shape(shape: ElementTree.Element, name: str, where: str, file: str, ref: ImageRef, turn: int, kinds: Kinds,
                found: Labels, left: Counter[str]) -> None:  # fmt: skip
    attributes = _attributes(shape, name, kinds)
    if shape.tag == "mask":
        found.labels.append(Label(name, _mask(shape, ref, turn), attributes))
        return
    if shape.tag == "box":
        corners = np.array([[_float(shape, f"{side}{c}") for side in "xy"] for c in ("tl", "br")])
        if not float(shape.get("rotation") or 0):
            lab = turn_points(coordinates.from_edges(corners), ref, turn)
            # Turned by the picture, corners may have changed places; a box drawn inside out is still refused.
            box = np.concatenate([lab.min(axis=0), lab.max(axis=0)]) if turn > 1 else lab.reshape(-1)
            take(found, fit_box(box, ref.width, ref.height), name, file, where, attributes)
            return
        (x0, y0), (x1, y1) = corners.tolist()
        points = _rotated(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), shape)
        found.notes["turned boxes, taken as their four corners"] += 1
    elif shape.tag == "polygon":
        points = _points(shape)
    elif shape.tag == "ellipse":
        radii = np.array([_float(shape, "rx"), _float(shape, "ry")])
        if not (radii > 0).all():
            raise ValueError("it has no area")
        points = _rotated(np.array([_float(shape, "cx"), _float(shape, "cy")]) + ring(radii), shape)
        found.notes["ellipses, taken as polygons"] += 1
    else:
        left[f"shapes of the kind <{shape.tag[:40]}>"] += 1
        return
    lab = turn_points(coordinates.from_edges(points), ref, turn)
    take(found, fit_polygon(lab, ref.width, ref.height), name, file, where, attributes)


def _rotated(points: NDArray[np.float64], shape: ElementTree.Element) -> NDArray[np.float64]:
    """Turned by `rotation` degrees, clockwise, about the middle of the shape."""
    angle = math.radians(float(shape.get("rotation") or 0))
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    c, s = math.cos(angle), math.sin(angle)
    turned: NDArray[np.float64] = (points - middle) @ np.array([[c, s], [-s, c]]) + middle
    return turned


def _mask(shape: ElementTree.Element, ref: ImageRef, turn: int) -> Mask:
    """Run lengths, background first, row by row, in a window of the picture as it is stored."""
    width, height = (ref.height, ref.width) if turn >= 5 else (ref.width, ref.height)
    left, top, wide, high = (_whole(shape.get(side), None) for side in ("left", "top", "width", "height"))
    runs = np.array([int(word) for word in (shape.get("rle") or "").split(",") if word.strip()], np.int64)
    if min(wide, high) < 1 or left < 0 or top < 0 or left + wide > width or top + high > height:
        raise ValueError(f"its window {wide} x {high} at {left}, {top} does not lie in the picture")
    if len(runs) == 0 or runs.min() < 0 or int(runs.sum()) != wide * high:
        raise ValueError(f"its run lengths do not fill its window of {wide} x {high}")
    window = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(high, wide)
    if not window.any():
        raise ValueError("its mask is empty")
    if turn == 1:
        return rle.encode(window, at_xy=(left, top), size_hw=(height, width))
    whole = np.zeros((height, width), np.uint8)
    whole[top : top + high, left : left + wide] = window
    return rle.encode(upright(whole, turn).astype(bool))


def _points(shape: ElementTree.Element) -> NDArray[np.float64]:
    pairs = [pair.split(",") for pair in (shape.get("points") or "").split(";") if pair.strip()]
    return np.array([[float(x), float(y)] for x, y in pairs]).reshape(-1, 2)


def _float(shape: ElementTree.Element, name: str) -> float:
    text = shape.get(name)
    if text is None:
        raise ValueError(f"it has no {name}")
    return float(text)


def _whole(text: str | None, default: int | None = 0) -> int:
    """A whole number; without a `default` anything else raises ValueError."""
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError):
        if default is None:
            raise
        return default


def _attributes(shape: ElementTree.Element, name: str, kinds: Kinds) -> Attributes:
    """What CVAT knows of every shape, where it says something, and the label's own attributes in their type."""
    found: Attributes = {}
    if shape.get("occluded") == "1":
        found["occluded"] = True
    for key in ("z_order", "group_id"):
        if (number := _whole(shape.get(key))) != 0:
            found[key] = float(number)
    found |= dict(_own_attributes(shape, name, kinds))
    return found


def _own_attributes(shape: ElementTree.Element, name: str, kinds: Kinds) -> Iterator[tuple[str, Any]]:
    for attribute in shape.iter("attribute"):
        key, text = attribute.get("name") or "", (attribute.text or "").strip()
        kind = kinds.get((name, key), "")
        if kind == "checkbox" and text.lower() in ("true", "false"):
            yield key, text.lower() == "true"
        elif kind == "number" and _is_number(text):
            yield key, float(text)
        else:
            yield key, text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


CVAT = Format("cvat", "CVAT for images 1.1", find, read)
