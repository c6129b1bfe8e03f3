"""LabelMe: one JSON an image with shapes over pixel edges, in the picture as it is shown (after EXIF rotation).

Polygons of one label and group are one object in several parts; lines and points are no areas and are reported.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trugrade_core import coordinates
from trugrade_core.data import rle
from trugrade_core.data.formats.base import (
    NO_IMAGE,
    Finding,
    Format,
    Item,
    Label,
    Labels,
    Reading,
    Request,
    fit_box,
    fit_polygon,
    frame_of,
    load_json,
    pair,
    split_of_path,
    take,
    turn_points,
)
from trugrade_core.data.images import upright
from trugrade_core.data.label_studio import ring
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import ImageRef, Tags

LOOKED_AT = 20
"""JSON files parsed when looking for LabelMe."""
NO_AREA = ("point", "points", "line", "linestrip")
ASIDE = ("__ignore__", "_background_", "__background__")
"""Names that LabelMe's own converters leave out."""
Points = NDArray[np.float64]


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    files = [f for f in request.label_source.files if suffix(f) == ".json"]
    if not any(_load(request, file) is not None for file in files[:LOOKED_AT]):
        return Finding(missing="a .json with shapes and imagePath beside each image")
    pairs, skipped = pair(request.images, files, apart=request.labels is not None)
    index = FileIndex(request.images)
    for skip in list(skipped):
        document = _load(request, skip.file) if skip.reason == NO_IMAGE else None
        if document is None:
            continue
        image = index.find(str(document.get("imagePath") or ""))[0]
        if image is not None and image not in pairs:
            pairs[image] = skip.file
            skipped.remove(skip)
        elif document.get("imageData"):
            skipped[skipped.index(skip)] = Skip(
                file=skip.file,
                reason="its picture is only inside it (imageData): write it out with labelme_export_json",
            )
    if not pairs:
        return Finding(f"{len(files)} .json, LabelMe's", "the images that they name", near=2)
    # A JSON of another kind beside them (settings, statistics) is none of ours.
    own = {image: file for image, file in pairs.items() if _load(request, file) is not None}
    return Finding(f"{len(own)} images with LabelMe files", data=(own, skipped)) if own else Finding(
        f"{len(files)} .json", "shapes and imagePath in those beside the images", near=1
    )  # fmt: skip


def _load(request: Request, file: str) -> dict[str, Any] | None:
    try:
        data = request.label_source.read(file)
        content = load_json(data) if b'"shapes"' in data else None  # a large file of another format is not parsed
    except (ValueError, RecursionError, DatasetError):
        return None
    if isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content:
        return content
    return None


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    pairs, skipped = finding.data

    def labels_of(file: str) -> Callable[[ImageRef], Labels]:
        return lambda ref: parse(request.label_source.read(file), shown(file), ref)

    items = (
        Item(image, labels_of(pairs[image]) if image in pairs else None, split=split_of_path(image))
        for image in request.images
    )
    return Reading(items, len(request.images), _names(request), list(skipped))


def _names(request: Request) -> list[str] | None:
    """From LabelMe's list of names beside the data, in its order."""
    for file in request.source.files:
        if PurePosixPath(file).name.lower() == "labels.txt":
            lines = request.source.read(file).decode("utf-8-sig", "replace").splitlines()
            return [name for line in lines if (name := line.strip()) and name not in ASIDE]
    return None


def parse(data: bytes, file: str, ref: ImageRef) -> Labels:
    """The labels of one JSON for an image of the size of `ref`."""
    found = Labels()
    try:
        document = load_json(data)
        shapes, flags = document["shapes"], document.get("flags")
        sizes = [document.get(key) for key in ("imageWidth", "imageHeight")]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as e:
        found.skipped.append(Skip(file=file, reason=f"is not a LabelMe file ({type(e).__name__}: {e})"))
        return found
    wide, high = (v if isinstance(v, int) and not isinstance(v, bool) else 0 for v in sizes)
    turn, why = frame_of((wide, high), ref)
    if why:
        found.skipped.append(Skip(file=file, reason=why))
        return found
    reader = _Reader(file, ref, turn, found)
    for number, shape in enumerate(shapes if isinstance(shapes, list) else [], 1):
        reader.shape(number, shape)
    reader.groups()
    found.skipped += [Skip(file=file, reason=f"{kind}: {count} not taken") for kind, count in reader.left.items()]
    if isinstance(flags, dict) and (true := tuple(str(name) for name, on in flags.items() if on is True)):
        found.labels.append(Label(None, Tags(tags=true)))
    return found


class _Reader:
    """Shapes of one file; the parts of a group wait until all are there."""

    def __init__(self, file: str, ref: ImageRef, turn: int, found: Labels) -> None:
        self.file, self.ref, self.turn, self.found = file, ref, turn, found
        self.left: Counter[str] = Counter()
        self.parts: dict[tuple[str, Any], list[tuple[Points, dict[str, Any], str]]] = {}

    def shape(self, number: int, shape: Any) -> None:
        where = f"shape {number}"
        try:
            name, kind = shape["label"], shape.get("shape_type") or "polygon"
            points = np.asarray(shape["points"], np.float64)
            if not isinstance(name, str) or not name.strip():
                raise ValueError("it has no label")
            if name in ASIDE:
                self.left[f"shapes marked {name}"] += 1
            elif kind in NO_AREA:
                self.left[f"{kind}s, which have no area"] += 1
            else:
                self._area(name.strip(), kind, points, shape, where)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            self.found.skipped.append(Skip(file=self.file, reason=f"{where}: is not as LabelMe has it ({e})"))

    def _area(self, name: str, kind: str, points: Points, shape: dict[str, Any], where: str) -> None:
        attributes, group = _attributes(shape), shape.get("group_id")
        if isinstance(group, int | str) and kind in ("mask", "rectangle"):  # of these each stays a shape of its own
            attributes["group_id"] = group
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError("its points are not pairs of numbers")
        if kind == "mask":
            self._mask(name, points, shape.get("mask"), attributes)
        elif kind == "rectangle":
            if len(points) < 2 or not np.isfinite(points).all():
                raise ValueError("a rectangle needs two corners")
            corners = turn_points(coordinates.from_edges(points), self.ref, self.turn)
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
            take(self.found, fit_box(box, self.ref.width, self.ref.height), name, self.file, where, attributes)
        elif kind in ("polygon", "oriented_rectangle", "circle"):
            if kind == "circle":
                points = _circle(points)
                self.found.notes["circles, taken as polygons"] += 1
            outline = turn_points(coordinates.from_edges(points), self.ref, self.turn)
            key = (name, group) if isinstance(group, int | str) else (name, (None, where))
            self.parts.setdefault(key, []).append((outline, attributes, where))
        else:
            self.left[f"shapes of the type '{str(kind)[:40]}'"] += 1

    def groups(self) -> None:
        """A polygon alone stays one; several of a group are one mask."""
        for (name, _), parts in self.parts.items():
            fitted = [fit_polygon(outline, self.ref.width, self.ref.height) for outline, _, _ in parts]
            if len(parts) == 1 or sum(f.value is not None for f in fitted) < 2:
                for fit, (_, attributes, where) in zip(fitted, parts, strict=True):
                    take(self.found, fit, name, self.file, where, attributes)
                continue
            whole = np.zeros((self.ref.height, self.ref.width), bool)
            attributes = {}
            for fit, (outline, own, where) in zip(fitted, parts, strict=True):
                if fit.reason:
                    self.found.skipped.append(Skip(file=self.file, reason=f"{where}: {fit.reason}"))
                if fit.value is not None:
                    whole |= rle.fill(outline, self.ref.width, self.ref.height)
                    comments = dict.fromkeys(str(said["comment"]) for said in (attributes, own) if "comment" in said)
                    attributes |= own | ({"comment": "; ".join(comments)} if comments else {})
            if whole.any():
                self.found.labels.append(Label(name, rle.encode(whole), attributes))
                self.found.notes["polygons of one group, taken as one mask"] += len(parts)
            else:
                self.found.skipped.append(Skip(file=self.file, reason=f"{parts[0][2]}: its group covers no pixel"))

    def _mask(self, name: str, points: Points, text: Any, attributes: dict[str, Any]) -> None:
        """A picture of the mask, laid with its corner at the first point; the second point is its last pixel."""
        try:
            picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
            width, height = self._stored()
            if picture.width * picture.height > width * height:
                raise ValueError(f"its mask of {picture.width} x {picture.height} px is larger than the image")
            window = np.asarray(picture.convert("L")) > 0
        except (TypeError, binascii.Error, UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
            raise ValueError(f"its mask is not a picture in base64 ({e})") from e
        left, top = (round(v) for v in points[0].tolist())
        inside = min(left, top) >= 0 and left + window.shape[1] <= width and top + window.shape[0] <= height
        if not inside or not window.any():
            raise ValueError("its mask lies outside the image" if not inside else "its mask is empty")
        if self.turn == 1:
            mask = rle.encode(window, at_xy=(left, top), size_hw=(height, width))
        else:
            whole = np.zeros((height, width), np.uint8)
            whole[top : top + window.shape[0], left : left + window.shape[1]] = window
            mask = rle.encode(upright(whole, self.turn).astype(bool))
        self.found.labels.append(Label(name, mask, attributes))

    def _stored(self) -> tuple[int, int]:
        """(width, height) of the picture that the numbers are in."""
        return (self.ref.height, self.ref.width) if self.turn >= 5 else (self.ref.width, self.ref.height)


def _circle(points: Points) -> Points:
    """The centre and a point on the rim, as a polygon."""
    if len(points) != 2 or not np.isfinite(points).all():
        raise ValueError("a circle needs its centre and a point on it")
    radius = math.dist(points[0], points[1])
    if not radius > 0:
        raise ValueError("the circle has no area")
    rim: Points = points[0] + ring(np.array([radius, radius]))
    return rim


def _attributes(shape: dict[str, Any]) -> dict[str, str | float | bool | None]:
    """The shape's true flags, and its description as the comment."""
    flags = shape.get("flags")
    found: dict[str, str | float | bool | None] = {}
    if isinstance(flags, dict):
        found |= {str(name): True for name, on in flags.items() if on is True}
    if isinstance(text := shape.get("description"), str) and text.strip():
        found["comment"] = text.strip()
    return found


LABELME = Format("labelme", "LabelMe JSON", find, read)
