"""YOLO: one text file an image, a line an object: `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 …`, all shares of
the image's size over pixel edges. Class names in data.yaml or classes.txt; ids start at 0. The files do not say the
size of the picture they were made on: where EXIF turns it, they are taken to be for the turned one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

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
    fit_polygon,
    pair,
    polygon_area,
    split_of_path,
    take,
)  # fmt: skip
from trugrade_core.data.source import FileIndex, Skip, shown, suffix
from trugrade_core.errors import DatasetError
from trugrade_core.schema import SPLITS, Box, ImageRef, Mask, Polygon

NO_LABELS = ("classes.txt", "obj.names", "labels.txt", "notes.txt", "requirements.txt", "license.txt")


# --- finding ----------------------------------------------------------------------------------------------------


def find(request: Request) -> Finding:
    texts = _label_files(request)
    if (
        request.labels is None
        and len({p.parts[_label_folder(p)] for p in map(PurePosixPath, texts) if _label_folder(p) >= 0}) > 1
    ):
        folders = sorted({p.parts[_label_folder(p)] for p in map(PurePosixPath, texts) if _label_folder(p) >= 0})
        return Finding(f"{len(texts)} label files", f"a choice: --labels {' | '.join(folders)}", near=3)
    pairs, skipped = pair(request.images, texts, apart=request.labels is not None)
    if not texts:
        return Finding(missing="a label file (.txt) beside each image or in labels/")
    if all(skip.reason == NO_IMAGE for skip in skipped) and not pairs:
        return Finding(f"{len(texts)} text files", "an image with the name of a label file", near=2)
    return Finding(f"{len(pairs)} images with label files", data=(pairs, skipped))


def _label_folder(path: PurePosixPath) -> int:
    """Which folder of the path is a labels folder, or -1."""
    return next((i for i, part in enumerate(path.parts[:-1]) if part.lower().startswith("label")), -1)


def _label_files(request: Request) -> list[str]:
    texts = [f for f in request.label_source.files if suffix(f) == ".txt" and _may_be_label(f)]
    if request.labels is not None:
        return texts
    stems = {image.rpartition(".")[0] for image in request.images}
    beside = {f.rpartition("/")[0] for f in texts if f.rpartition(".")[0] in stems}
    return [f for f in texts if _label_folder(PurePosixPath(f)) >= 0 or f.rpartition("/")[0] in beside]


def _may_be_label(file: str) -> bool:
    path = PurePosixPath(file.lower())
    return (
        path.name not in NO_LABELS
        and not path.name.startswith("readme")
        and not (len(path.parts) == 1 and path.stem in SPLIT_WORDS)
    )


# --- names and splits -------------------------------------------------------------------------------------------


def _yaml(request: Request) -> tuple[str, dict[str, Any]]:
    """(file, content) of the data.yaml that names classes, or ('', {})."""
    for source in filter(None, (request.source, request.labels)):
        for file in source.files:
            if suffix(file) in (".yaml", ".yml"):
                try:
                    found = yaml.safe_load(source.read(file))
                # Somebody else's: PyYAML gives a bare ValueError for 2024-13-45, an AttributeError for !!timestamp x.
                except (yaml.YAMLError, ValueError, AttributeError, RecursionError):
                    continue
                if isinstance(found, dict) and found.get("names"):
                    return file, found
    return "", {}


def _names(request: Request, declared: Any) -> list[str]:
    """Class names by id. Raises DatasetError when nothing names them."""
    if isinstance(declared, dict) and all(isinstance(k, int) and k >= 0 for k in declared):
        return [shown(str(declared.get(i, i))) for i in range(max(declared) + 1)]
    if isinstance(declared, list):
        return [shown(str(name)) for name in declared]
    for source in filter(None, (request.labels, request.source)):
        for file in source.files:
            if PurePosixPath(file).name.lower() in ("classes.txt", "obj.names"):
                return _listed_names(source.read(file).decode("utf-8-sig", "replace"))
    if request.options.classes:
        return list(request.options.classes)
    numbered = [int(name) for name in request.options.mapping if name.isdigit()]
    if numbered:
        return [str(i) for i in range(max(numbered) + 1)]
    if request.known_classes:
        return list(request.known_classes)
    raise DatasetError(
        "YOLO label files give class numbers, and nothing here names them (no data.yaml, no classes.txt)",
        where=str(request.source.root),
        code="dataset.no_class_names",
        what_to_do="Give the names in order of their ids: --classes NAME0,NAME1",
    )


def _listed_names(text: str) -> list[str]:
    names = [line.strip() for line in text.splitlines() if line.strip()]
    # Some tools write the id in front.
    if names and all(name.split(maxsplit=1)[0] == str(i) and " " in name for i, name in enumerate(names)):
        return [name.split(maxsplit=1)[1] for name in names]
    return names


def _splits(request: Request, declared: dict[str, Any]) -> dict[str, Split]:
    """{image: split} from the lists that data.yaml names, else from folder names."""
    found: dict[str, Split] = {}
    index = FileIndex(request.images)
    files = set(request.source.files)
    for word, split in SPLIT_WORDS.items():
        listed = declared.get(word)
        if isinstance(listed, str) and listed.removeprefix("./") in files and suffix(listed) == ".txt":
            for line in request.source.read(listed.removeprefix("./")).decode("utf-8", "replace").splitlines():
                image, _ = index.find(line.strip())
                if image is not None:
                    found[image] = split
    if not found:
        by_folder = {image: split_of_path(image) for image in request.images}
        found = {image: split for image, split in by_folder.items() if split is not None}
    return found


# --- reading ----------------------------------------------------------------------------------------------------


def read(request: Request, finding: Finding) -> Reading:
    pairs, skipped = finding.data
    file, declared = _yaml(request)
    names = _names(request, declared.get("names"))
    splits = _splits(request, declared)

    def labels_of(label_file: str) -> Callable[[ImageRef], Labels]:
        return lambda ref: parse(request.label_source.read(label_file), shown(label_file), names, ref)

    items = (
        Item(image, labels_of(pairs[image]) if image in pairs else None, split=splits.get(image))
        for image in request.images
    )
    notes = [f"class names from {file}"] if file else []
    return Reading(items, len(request.images), names, list(skipped), notes)


def parse(data: bytes, file: str, names: list[str], ref: ImageRef) -> Labels:
    """The labels of one file for an image of the size of `ref`."""
    found = Labels()
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        if line.strip():
            _parse_line(line.split(), file, f"line {number}", names, ref, found)
    return found


def _parse_line(words: list[str], file: str, where: str, names: list[str], ref: ImageRef, found: Labels) -> None:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        found.skipped.append(Skip(file=file, reason=f"{where}: '{' '.join(words)[:60]}' is not a row of numbers"))
        return
    cls, values = numbers[0], numbers[1:]
    if not (math.isfinite(cls) and cls == int(cls) and 0 <= cls < len(names)):
        found.skipped.append(
            Skip(
                file=file,
                reason=f"{where}: class {words[0]} is not among the {len(names)} known (0 to {len(names) - 1})",
            )
        )
    elif len(values) == 4:
        # A negative size would come out as a box turned inside out; fit_box names it.
        take(
            found,
            fit_box(coordinates.box_from_yolo(values, ref.width, ref.height), ref.width, ref.height),
            names[int(cls)],
            file,
            where,
        )
    elif len(values) >= 6 and len(values) % 2 == 0:
        points = coordinates.points_from_yolo(np.reshape(values, (-1, 2)), ref.width, ref.height)
        take(found, fit_polygon(points, ref.width, ref.height), names[int(cls)], file, where)
    else:
        reason = f"{where}: {len(values)} numbers after the class; a box has 4, a polygon 6 or more in pairs"
        found.skipped.append(Skip(file=file, reason=reason))


# --- writing ----------------------------------------------------------------------------------------------------


def label_path(image: str) -> str:
    """Where the label file of an image lies: `images` in its path becomes `labels`, as Ultralytics looks for it."""
    return beside(image, "labels", ".txt")


def beside(image: str, folder: str, ending: str) -> str:
    """The image's path with its last folder `images` called `folder`, and another ending."""
    parts = list(PurePosixPath(image).parts)
    last = max(i for i, part in enumerate(parts[:-1]) if part == "images")
    parts[last] = folder
    return PurePosixPath(*parts).with_suffix(ending).as_posix()


def write(out: Path, rows: Callable[[], Iterator[Row]], classes: list[str]) -> Written:
    done = Written()
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    ids = {name: i for i, name in enumerate(classes)}
    for row in rows():
        if row.sample.split is not None:
            lists[row.sample.split].append(f"./{row.file}")
        if row.sample.status != "done":
            continue
        lines = []
        for annotation in row.annotations:
            line = _line(annotation.value, row.sample.main, done.left_out)
            if line is None or annotation.label is None:
                continue
            if annotation.attributes:
                done.left_out["attributes of annotations"] += 1
            lines.append(f"{ids[annotation.label]} " + " ".join(map(repr, line)))
        path = out / label_path(row.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines))
        done.annotations += len(lines)
    content: dict[str, Any] = {"names": dict(enumerate(classes))}
    for split, files in lists.items():
        if files:
            (out / f"{split}.txt").write_text("\n".join(files) + "\n", encoding="utf-8")
            content[split] = f"{split}.txt"
    (out / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return done


def _line(value: Any, ref: ImageRef, left_out: Counter[str]) -> list[float] | None:
    if isinstance(value, Box):
        return list(coordinates.box_to_yolo(value.xyxy, ref.width, ref.height).tolist())
    if isinstance(value, Mask):
        outlines = rle.mask_outlines(rle.decode(value))
        if not outlines:
            left_out["masks without a pixel"] += 1
            return None
        left_out["masks written as the outline of their largest part"] += 1
        points = max(outlines, key=polygon_area)
    elif isinstance(value, Polygon):
        points = np.array(value.points)
    else:
        left_out[f"{value.type} annotations"] += 1
        return None
    return list(coordinates.points_to_yolo(points, ref.width, ref.height).reshape(-1).tolist())


YOLO = Format("yolo", "YOLO text files", find, read, write, first_id=0)
