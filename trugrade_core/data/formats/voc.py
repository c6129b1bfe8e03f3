"""Pascal VOC: one XML an image with boxes whose pixels count from 1, the last one included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import defusedxml.ElementTree as safe_xml
import numpy as np
from defusedxml.common import DefusedXmlException

from trugrade_core import coordinates
from trugrade_core.data import rle
from trugrade_core.data.formats.base import (
    NO_IMAGE,
    SPLIT_WORDS,
    Finding,
    Format,
    Item,
    Labels,
    Reading,
    Request,
    Row,
    Split,
    Written,
    fit_box,
    frame_of,
    pair,
    take,
)  # fmt: skip
from trugrade_core.data.formats.yolo import beside
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import SPLITS, Box, ImageRef, Mask, Polygon

FLAGS = ("difficult", "truncated", "occluded")


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    files = [f for f in request.label_source.files if suffix(f) == ".xml"]
    if not files:
        return Finding(missing="an .xml beside each image or in annotations/")
    if not any(_root(request, file) is not None for file in files[:20]):
        return Finding(f"{len(files)} .xml", "an XML whose root is <annotation>", near=1)
    pairs, skipped = pair(request.images, files, apart=request.labels is not None)
    _pair_by_filename(request, pairs, skipped)
    if all(skip.reason == NO_IMAGE for skip in skipped) and not pairs:
        return Finding(f"{len(files)} VOC files", "an image with the name of a VOC file", near=2)
    return Finding(f"{len(pairs)} images with VOC files", data=(pairs, skipped))


def _root(request: Request, file: str) -> ElementTree.Element | None:
    try:
        found = _parse(request.label_source.read(file))
    except (ElementTree.ParseError, DefusedXmlException, DatasetError, ValueError):
        return None
    return found if found.tag == "annotation" else None


def _parse(data: bytes) -> ElementTree.Element:
    found: ElementTree.Element = safe_xml.fromstring(data, forbid_dtd=True)
    return found


def _pair_by_filename(request: Request, pairs: dict[str, str], skipped: list[Skip]) -> None:
    """A file that fits no image by its own name may say another in <filename>."""
    index = FileIndex(request.images)
    for skip in list(skipped):
        root = _root(request, skip.file) if skip.reason == NO_IMAGE else None
        named = (root.findtext("filename") or "").strip() if root is not None else ""
        image = index.find(named)[0] if named else None
        if image is not None and image not in pairs:
            pairs[image] = skip.file
            skipped.remove(skip)


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    pairs, skipped = finding.data
    splits = _splits(request)

    def labels_of(file: str) -> Callable[[ImageRef], Labels]:
        return lambda ref: parse(request.label_source.read(file), shown(file), ref)

    items = (
        Item(image, labels_of(pairs[image]) if image in pairs else None, split=splits.get(image))
        for image in request.images
    )
    return Reading(items, len(request.images), _names(request), list(skipped))


def _names(request: Request) -> list[str] | None:
    """From a list of class names beside the data; VOC itself has none."""
    for file in request.source.files:
        if PurePosixPath(file).name.lower() in ("classes.txt", "class_names.txt"):
            lines = request.source.read(file).decode("utf-8-sig", "replace").splitlines()
            return [
                name
                for line in lines
                if (name := line.strip()) and name.strip("_").lower() not in ("background", "ignore")
            ]
    return None


def _splits(request: Request) -> dict[str, Split]:
    stems = {}
    for image in request.images:
        stems[image.rpartition(".")[0]] = image
        stems.setdefault(PurePosixPath(image).stem, image)
    found: dict[str, Split] = {}
    for file in request.source.files:
        path = PurePosixPath(file)
        if path.parts[-3:-1] == ("ImageSets", "Main") and path.suffix == ".txt" and path.stem in SPLIT_WORDS:
            for line in request.source.read(file).decode("utf-8", "replace").splitlines():
                # A class list has the class's flag behind the name.
                name = line.strip() if line.strip() in stems else line.rpartition(" ")[0].strip()
                if name in stems:
                    found[stems[name]] = SPLIT_WORDS[path.stem]
    return found


def parse(data: bytes, file: str, ref: ImageRef) -> Labels:
    """The labels of one XML for an image of the size of `ref`."""
    found = Labels()
    try:
        root = _parse(data)
    except (ElementTree.ParseError, DefusedXmlException, ValueError) as e:
        found.skipped.append(Skip(file=file, reason=f"is not readable XML ({e or type(e).__name__})"))
        return found
    if root.tag != "annotation":
        found.skipped.append(Skip(file=file, reason=f"its root is <{root.tag}>, not <annotation>"))
        return found
    stated = (int(_number(root, "size/width") or 0), int(_number(root, "size/height") or 0))
    turn, why = frame_of(stated, ref)
    if why:
        found.skipped.append(Skip(file=file, reason=why))
        return found
    wh = (ref.height, ref.width) if turn >= 5 else (ref.width, ref.height)
    for number, entry in enumerate(root.iter("object"), 1):
        name = (entry.findtext("name") or "").strip()
        corners = [_number(entry, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        if not name or None in corners:
            found.skipped.append(Skip(file=file, reason=f"object {number}: has no name or no box of 4 numbers"))
            continue
        box = coordinates.exif_transpose_box(coordinates.box_from_voc(np.array(corners, np.float64)), *wh, turn)
        flags = {flag: True for flag in FLAGS if (entry.findtext(flag) or "").strip() == "1"}
        take(found, fit_box(box, ref.width, ref.height), name, file, f"object {number}", flags)
    return found


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return None
    # A size of nan or inf says nothing; a corner must say so.
    return value if path.startswith("bndbox") or np.isfinite(value) else None


# --- writing ----------------------------------------------------------------------------------------------------


def write(out: Path, rows: Callable[[], Iterator[Row]], classes: list[str]) -> Written:
    """annotations/….xml beside images/…; ImageSets/Main lists the splits, classes.txt the classes in their order."""
    done = Written()
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for row in rows():
        if row.sample.split is not None:
            lists[row.sample.split].append(row.file.rpartition(".")[0])
        if row.sample.status == "done":
            path = out / beside(row.file, "annotations", ".xml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_document(row, done))
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    for split, stems in lists.items():
        if stems:
            path = out / "ImageSets" / "Main" / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(stems) + "\n", encoding="utf-8")
    return done


def _document(row: Row, done: Written) -> bytes:
    root = ElementTree.Element("annotation")
    ref, path = row.sample.main, PurePosixPath(row.file)
    _add(root, "folder", str(path.parent))
    _add(root, "filename", path.name)
    size = ElementTree.SubElement(root, "size")
    for what, value in (("width", ref.width), ("height", ref.height), ("depth", 3)):
        _add(size, what, str(value))
    for annotation in row.annotations:
        box = _box(annotation.value, done)
        if box is None or annotation.label is None:
            continue
        entry = ElementTree.SubElement(root, "object")
        _add(entry, "name", annotation.label)
        for flag in FLAGS:
            _add(entry, flag, "1" if annotation.attributes.get(flag) is True else "0")
        if set(annotation.attributes) - set(FLAGS):
            done.left_out["attributes of annotations"] += 1
        corners = ElementTree.SubElement(entry, "bndbox")
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), coordinates.box_to_voc(box).tolist(), strict=True):
            _add(corners, side, repr(value))
        done.annotations += 1
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8")
    return data


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text


def _box(value: Any, done: Written) -> tuple[float, ...] | None:
    if isinstance(value, Box):
        return value.xyxy
    if isinstance(value, Polygon):
        done.left_out["polygons, written as their boxes"] += 1
        points = np.array(value.points)
        return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    if isinstance(value, Mask):
        y, x = np.nonzero(rle.decode(value))
        if len(x):
            done.left_out["masks, written as their boxes"] += 1
            return (x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5)
    done.left_out[f"{value.type} annotations"] += 1
    return None


VOC = Format("voc", "Pascal VOC XML", find, read, write)
