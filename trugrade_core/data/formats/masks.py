"""Masks: a PNG for each image, of its size. Where one class is named, light pixels (over 127) are it. Where several
are, or the PNG has a palette, value i is class i of `--classes`, 0 is background and 255 is left out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import PngImagePlugin

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
    frame_of,
    pair,
)
from trugrade_core.data.images import MAX_PIXELS, probe, upright
from trugrade_core.data.source import Skip, shown, suffix
from trugrade_core.errors import DatasetError, TruGradeError
from trugrade_core.schema import ImageRef

IGNORED, LIGHT = 255, 127


def find(request: Request) -> Finding:
    masks = mask_files(request)
    if not masks:
        return Finding(missing="a PNG mask for each image, in masks/ or beside it under the same name")
    images = [f for f in request.images if f not in set(masks)]
    pairs, skipped = pair(images, masks, apart=request.labels is not None)
    if all(skip.reason == NO_IMAGE for skip in skipped) and not pairs:
        return Finding(f"{len(masks)} PNG masks", "an image with the name of a mask", near=2)
    return Finding(f"{len(pairs)} images with masks", weak=True, data=(images, pairs, skipped))


def mask_files(request: Request) -> list[str]:
    """PNG files that are masks: all where they were given apart, else those in masks/, or grey ones beside a JPEG of
    the same name."""
    files = [f for f in request.label_source.files if suffix(f) == ".png"]
    if request.labels is not None:
        return files
    jpegs = {f.rpartition(".")[0] for f in request.images if suffix(f) in (".jpg", ".jpeg")}
    beside = [f for f in files if f.rpartition(".")[0] in jpegs and not in_mask_folder(f)]
    if not all(_is_grey(request, file) for file in beside[:20]):
        beside = []
    return [f for f in files if in_mask_folder(f)] + beside


def _is_grey(request: Request, file: str) -> bool:
    try:
        return probe(request.source.read(file), name=file).mode in ("1", "L", "P", "I;16")
    except TruGradeError:
        return False


def in_mask_folder(file: str) -> bool:
    return any(part.lower().startswith(("mask", "segmentation")) for part in file.split("/")[:-1])


def read(request: Request, finding: Finding) -> Reading:
    images, pairs, skipped = finding.data
    names = list(request.options.classes or request.known_classes)
    if not names:
        raise DatasetError("masks do not say of what they are", where=str(request.source.root), code="dataset.no_class_names",
                           what_to_do="Name the class, or the classes by their values from 1: --classes NAME,…")  # fmt: skip

    def labels_of(file: str) -> Callable[[ImageRef], Labels]:
        return lambda ref: parse(request.label_source.read(file), shown(file), names, ref)

    items = (Item(image, labels_of(pairs[image]) if image in pairs else None) for image in images)
    return Reading(items, len(images), names, list(skipped))


def parse(data: bytes, file: str, names: list[str], ref: ImageRef) -> Labels:
    """One Mask for each class that has pixels. Only a mask of zeros is background: pixels of no class are skipped by
    their values."""
    found = Labels()
    try:
        values, palette = _values(data)
    except Exception as e:  # a decoder meets anything in a broken file and raises as it likes
        found.skipped.append(Skip(file=file, reason=f"mask cannot be read ({e})"))
        return found
    turn, why = frame_of((values.shape[1], values.shape[0]), ref)
    if why:
        found.skipped.append(Skip(file=file, reason=why.replace("its labels are", "the mask is")))
        return found
    values = upright(values, turn)
    if palette or len(names) > 1:
        _take_numbers(values, file, names, found)
        return found
    if values.max(initial=0) > 255:
        values = -(-values.astype(np.int32) // 257)  # 16 bit, rounded up so that nothing becomes background
    brightest = int(values.max(initial=0))
    # A mask of 0 and 1 is as common as one of 0 and 255.
    light = values > (0 if brightest == 1 else LIGHT)
    if light.any():
        found.labels.append(Label(names[0], rle.encode(light)))
    elif brightest:
        reason = f"its brightest pixel is {brightest}; what is labelled is over {LIGHT} (or 1 in a mask of 0 and 1)"
        found.skipped.append(Skip(file=file, reason=reason))
    return found


def _take_numbers(values: NDArray[Any], file: str, names: list[str], found: Labels) -> None:
    values = np.where(values == 65535, IGNORED, values)  # 255 in 16 bit
    present = [value for value in np.unique(values).tolist() if value]
    numbers = [value for value in present if value != IGNORED]
    if IGNORED in present and numbers and max(numbers) > LIGHT:
        # A drawing with soft edges would give a sliver of a label for each of its greys.
        reason = f"holds greys up to {max(numbers)} beside 255: it shows light and dark, not the numbers of classes"
        found.skipped.append(Skip(file=file, reason=f"{reason}; name its one class with --classes NAME"))
        return
    known = [value for value in numbers if value <= len(names)]
    found.labels += [Label(names[value - 1], rle.encode(values == value)) for value in known]
    if unknown := numbers[len(known) :]:
        listed = ", ".join(map(str, unknown[:10])) + (" …" if len(unknown) > 10 else "")
        found.skipped.append(Skip(file=file, reason=f"value {listed}: not among the {len(names)} classes"))
    if present == [IGNORED]:
        reason = f"holds 255 alone, which is left out where values are the numbers of {len(names)} classes"
        found.skipped.append(Skip(file=file, reason=f"{reason}; name its one class with --classes NAME"))


def _values(data: bytes) -> tuple[NDArray[Any], bool]:
    """(H, W) values of 8 or 16 bit as stored, and whether they are numbers of a palette."""
    opened = PngImagePlugin.PngImageFile(io.BytesIO(data))
    if opened.width * opened.height > MAX_PIXELS:
        raise ValueError(f"{opened.width} x {opened.height} px are too many")
    opened.load()
    if opened.mode == "P":
        return np.asarray(opened), True
    if opened.mode.startswith("I"):
        return np.asarray(opened).astype(np.uint16), False
    return np.asarray(opened.convert("L")), False


MASKS = Format("masks", "images and PNG masks", find, read)
