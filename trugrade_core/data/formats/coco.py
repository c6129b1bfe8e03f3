"""COCO: one JSON with images, annotations and categories; boxes `[x, y, w, h]`, polygons and run lengths over pixel
edges. Class ids are kept in their order; this lab writes them from 1."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

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
    Row,
    Split,
    Written,
    fit_box,
    fit_polygon,
    frame_of,
    polygon_area,
    split_of_path,
    take,
)  # fmt: skip
from trugrade_core.data.images import upright
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError, TruGradeError
from trugrade_core.schema import SPLITS, Box, ImageRef, Mask, Polygon

LISTS = ("images", "annotations", "categories")
LOOKED_AT = 20
"""JSON files parsed when looking for COCO; a folder with more of them holds one JSON an image, which COCO has not."""
HALF_LETTER = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
"""What may be half of a letter beyond 16 bits, as JSON's escape or as bytes."""
REPLACED = "holds letters that are no Unicode, read as '?'"
TOO_SHORT = "outlines of fewer than 3 points, left out"
AS_BOX = "polygons that were nothing but their box, read as boxes"


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    files = [f for f in request.label_source.files if suffix(f) == ".json"]
    found = {f: document for f in files[:LOOKED_AT] if (document := _load(request, f)) is not None}
    if not found:
        near = 1 if files else 0
        return Finding(f"{len(files)} .json" if files else "", f"a JSON with the lists {', '.join(LISTS)}", near)
    splits = {f: _split_of(f) for f in found}
    if len(found) > 1 and (None in splits.values() or len(set(splits.values())) < len(found)):
        return Finding(f"{len(found)} COCO files", "a choice: --labels " + " | ".join(found), near=3)
    return Finding(" and ".join(found), data=found)


def _load(request: Request, file: str) -> dict[str, Any] | None:
    """The COCO document of a file, also from under one top key; None when it is something else."""
    try:
        data = request.label_source.read(file)
        content = json.loads(data)
    except (ValueError, RecursionError, DatasetError):
        return None
    if isinstance(content, dict) and len(content) == 1:
        top, inner = next(iter(content.items()))
        content = {**inner, "": top} if _is_coco(inner) else None
    if not _is_coco(content):
        return None
    return _whole_letters(content) if HALF_LETTER.search(data) else dict(content)


def _whole_letters(document: dict[str, Any]) -> dict[str, Any]:
    """The document with '?' for halves of letters, which JSON can spell and nothing can store."""
    text = json.dumps(document, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return {**json.loads(text.encode("utf-8", "replace")), REPLACED: True}
    return document


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(content.get(name), list) for name in LISTS)


def _split_of(file: str) -> Split | None:
    words = PurePosixPath(file.lower()).stem.replace("-", "_").replace(".", "_").split("_")
    named = next((SPLIT_WORDS[w] for word in words if (w := word.rstrip("0123456789")) in SPLIT_WORDS), None)
    return named or split_of_path(file)


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    documents: dict[str, dict[str, Any]] = finding.data
    index = FileIndex(request.images)
    reading = Reading(iter(()), 0, classes=[])
    items: list[Item] = []
    for file, document in documents.items():
        split = _split_of(file) if len(documents) > 1 else None
        items += _read_document(file, document, split, index, reading)
    listed = {item.file for item in items}
    rest = [] if request.only_listed else [image for image in request.images if image not in listed]
    if rest and items:
        reading.notes.append(f"{len(rest)} images are not in {', '.join(documents)}: they are unlabelled")
    items += [Item(image) for image in rest]
    reading.items, reading.total = iter(items), len(items)
    return reading


def _read_document(
    file: str, document: dict[str, Any], split: Split | None, index: FileIndex, reading: Reading
) -> list[Item]:
    if "" in document:
        reading.notes.append(f"{file}: COCO lies under the top key '{document['']}'")
    if REPLACED in document:
        reading.notes.append(f"{file}: {REPLACED}")
    names = _categories(file, document, reading)
    by_image: dict[Any, list[dict[str, Any]]] = {}
    ids = {image.get("id") for image in document["images"] if isinstance(image, dict) and _is_id(image.get("id"))}
    for number, annotation in enumerate(document["annotations"]):
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        if not _is_id(image) or image not in ids:
            reading.skipped.append(
                Skip(file=file, reason=f"annotation {_id_of(annotation, number)}: no image has the id {image!r}")
            )
        else:
            by_image.setdefault(image, []).append(annotation)
    items = []
    folder = PurePosixPath(file).parent
    places = [str(folder), str(folder / "images"), str(folder.parent / "images"), "images"]
    for image in document["images"]:
        called = image.get("file_name") if isinstance(image, dict) else None
        if not isinstance(called, str) or not called or not _is_id(image.get("id")):
            reading.skipped.append(Skip(file=file, reason=f"an image without file_name or id: {str(image)[:80]}"))
            continue
        path, why = index.find(called, *places)
        own = by_image.get(image["id"], [])
        if path is None:
            reading.skipped.append(
                Skip(file=shown(called), reason=f"listed in {file} with {len(own)} labels, but {why}")
            )
            continue
        given = image.get("split")
        items.append(Item(path, _labels_of(path, image, own, names), split=given if given in SPLITS else split))
    return items


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _id_of(annotation: Any, number: int) -> Any:
    return annotation.get("id", number) if isinstance(annotation, dict) else number


def _categories(file: str, document: dict[str, Any], reading: Reading) -> dict[Any, str]:
    """{category id: name}; the names are declared in `reading` in order of their ids."""
    names: dict[Any, str] = {}
    for category in document["categories"]:
        if isinstance(category, dict) and isinstance(category.get("id"), int) and isinstance(category.get("name"), str):
            names[category["id"]] = category["name"]
        else:
            reading.skipped.append(Skip(file=file, reason=f"a category without id or name: {str(category)[:80]}"))
    used = {
        a.get("category_id") for a in document["annotations"] if isinstance(a, dict) and _is_id(a.get("category_id"))
    }
    assert reading.classes is not None  # noqa: S101
    for number, name in sorted(names.items()):
        if name.strip("_").lower() == "background" and number not in used:
            reading.notes.append(f"{file}: category {number} '{name}' has no annotation and is no class here")
        elif name not in reading.classes:
            reading.classes.append(name)
    return names


def _labels_of(
    path: str, image: dict[str, Any], annotations: list[dict[str, Any]], names: dict[Any, str]
) -> Callable[[ImageRef], Labels]:
    def labels(ref: ImageRef) -> Labels:
        found = Labels()
        stated = tuple(
            v if isinstance(v, int) and not isinstance(v, bool) else 0
            for v in (image.get("width"), image.get("height"))
        )
        turn, why = frame_of((stated[0], stated[1]), ref)
        if why:
            found.skipped.append(Skip(file=shown(path), reason=why))
            return found
        for number, annotation in enumerate(annotations):
            where = f"annotation {_id_of(annotation, number)}"
            try:
                _read_annotation(annotation, where, names, ref, turn, shown(path), found)
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, TruGradeError) as e:
                reason = e.message if isinstance(e, TruGradeError) else f"is not as COCO has it ({e})"
                found.skipped.append(Skip(file=shown(path), reason=f"{where}: {reason}"))
        return found

    return labels


def _read_annotation(
    annotation: dict[str, Any], where: str, names: dict[Any, str], ref: ImageRef, turn: int, file: str, found: Labels
) -> None:
    category = annotation.get("category_id")
    if not _is_id(category) or category not in names:
        found.skipped.append(Skip(file=file, reason=f"{where}: class id {category!r} is not among the categories"))
        return
    if annotation.get("iscrowd"):
        found.skipped.append(Skip(file=file, reason=f"{where}: is a crowd region (iscrowd), not an object"))
        return
    name = names[category]
    raw = annotation.get("attributes")
    attributes = (
        {k: v for k, v in raw.items() if isinstance(v, str | int | float | bool | None)}
        if isinstance(raw, dict)
        else {}
    )
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        given = sum(bool(part) for part in segmentation)
        segmentation = [part for part in segmentation if not isinstance(part, list) or len(part) >= 6]
        found.notes.update({TOO_SHORT: given - len(segmentation)} if len(segmentation) < given else {})
    # The size of the picture as it is stored, in which the numbers are until they are turned.
    wh = (ref.height, ref.width) if turn >= 5 else (ref.width, ref.height)
    if isinstance(segmentation, dict) or (isinstance(segmentation, list) and len(segmentation) > 1):
        mask = rle.decode(_runs(segmentation, *wh))
        if not mask.any():
            raise ValueError("its mask is empty")
        found.labels.append(Label(name, rle.encode(upright(mask.view(np.uint8), turn).astype(bool)), attributes))
        return
    raw_box = annotation.get("bbox")
    box = coordinates.box_from_coco(np.asarray(raw_box, np.float64)) if raw_box and len(raw_box) == 4 else None
    if segmentation:
        points = coordinates.from_edges(np.asarray(segmentation[0], np.float64).reshape(-1, 2))
        own = _as_box(points)
        if own is None:
            take(
                found,
                fit_polygon(_turn_points(points, *wh, turn), ref.width, ref.height),
                name,
                file,
                where,
                attributes,
            )
            return
        box = own if box is None else box
        found.notes[AS_BOX] += 1
    if box is None:
        raise ValueError("it has neither a box of 4 numbers nor a segmentation")
    turned = coordinates.exif_transpose_box(box, *wh, turn)
    take(found, fit_box(turned, ref.width, ref.height), name, file, where, attributes)


def _runs(segmentation: Any, width: int, height: int) -> Mask:
    """Run lengths, compressed or not, or several polygons, as one mask."""
    if isinstance(segmentation, list):
        whole = np.zeros((height, width), bool)
        for part in segmentation:
            whole |= rle.fill(
                _finite(coordinates.from_edges(np.asarray(part, np.float64).reshape(-1, 2))), width, height
            )
        return rle.encode(whole)
    size = tuple(int(v) for v in segmentation["size"])
    if size != (height, width):
        raise ValueError(f"its mask has the size {size[1]} x {size[0]}")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        return Mask(counts=counts, size_hw=(height, width))
    runs = np.asarray(counts, np.int64)
    if runs.ndim != 1 or (runs < 0).any() or runs.sum() != width * height:
        raise ValueError("its run lengths do not fill the image")
    return rle.encode(np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T)


def _finite(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError("a polygon has fewer than 3 points, or a coordinate that is not a number")
    return points


def _as_box(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """The box that a polygon of more than 4 points merely spells out (corners repeated, points on its sides)."""
    if len(points) <= 4 or not np.isfinite(points).all():
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    tolerance = 1e-6 * max(1.0, float(np.abs(points).max()))
    on_side = (np.abs(points - low) < tolerance) | (np.abs(points - high) < tolerance)
    same_area = abs(polygon_area(points) - float(np.prod(high - low))) < 1e-6 * max(1.0, float(np.prod(high - low)))
    return np.concatenate([low, high]) if bool(on_side.any(axis=1).all()) and same_area else None


def _turn_points(points: np.ndarray[Any, Any], width: int, height: int, turn: int) -> np.ndarray[Any, Any]:
    return coordinates.exif_transpose_box(np.concatenate([points, points], axis=1), width, height, turn)[:, :2]


# --- writing ----------------------------------------------------------------------------------------------------


def write(out: Path, rows: Callable[[], Iterator[Row]], classes: list[str]) -> Written:
    """annotations.json; images that are not done are not in it, so that they come back unlabelled."""
    done = Written()
    ids = {name: i for i, name in enumerate(classes, 1)}
    with (out / "annotations.json").open("w", encoding="utf-8") as f:
        f.write('{"info": {"description": "TruGrade"},\n"licenses": [],\n"categories": ')
        json.dump([{"id": i, "name": name, "supercategory": ""} for name, i in ids.items()], f, ensure_ascii=False)
        f.write(',\n"images": [')
        _write_list(f.write, (_image(row, i) for i, row in enumerate(rows(), 1) if row.sample.status == "done"))
        f.write('],\n"annotations": [')
        _write_list(f.write, _annotations(rows, ids, done))
        f.write("]}\n")
    return done


def _write_list(write_text: Callable[[str], Any], entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        write_text((",\n" if number else "\n") + json.dumps(entry, ensure_ascii=False, allow_nan=False))


def _image(row: Row, number: int) -> dict[str, Any]:
    ref = row.sample.main
    found = {"id": number, "file_name": row.file, "width": ref.width, "height": ref.height}
    return {**found, "split": row.sample.split} if row.sample.split else found


def _annotations(rows: Callable[[], Iterator[Row]], ids: dict[str, int], done: Written) -> Iterator[dict[str, Any]]:
    for image, row in enumerate(rows(), 1):
        if row.sample.status != "done":
            if row.sample.split is not None:
                done.left_out["split of images that are not done"] += 1
            continue
        for annotation in row.annotations:
            shape = _shape(annotation.value)
            if shape is None or annotation.label is None:
                done.left_out[f"{annotation.value.type} annotations"] += 1
                continue
            done.annotations += 1
            found = {
                "id": done.annotations,
                "image_id": image,
                "category_id": ids[annotation.label],
                **shape,
                "iscrowd": 0,
            }
            yield {**found, "attributes": annotation.attributes} if annotation.attributes else found


def _shape(value: Any) -> dict[str, Any] | None:
    if isinstance(value, Box):
        box = coordinates.box_to_coco(value.xyxy).tolist()
        return {"bbox": box, "area": box[2] * box[3], "segmentation": []}
    if isinstance(value, Polygon):
        points = coordinates.to_edges(value.points)
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        return {
            "bbox": [*low.tolist(), *size.tolist()],
            "area": polygon_area(points),
            "segmentation": [points.reshape(-1).tolist()],
        }
    if isinstance(value, Mask):
        y, x = np.nonzero(rle.decode(value))
        box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1] if len(x) else [0, 0, 0, 0]
        return {"bbox": box, "area": len(x), "segmentation": {"size": list(value.size_hw), "counts": value.counts}}
    return None


COCO = Format("coco", "COCO JSON", find, read, write, first_id=1)
