"""A version as COCO, YOLO or VOC again: every image under its relative path, and the report names what was left out."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from trugrade_core.data.formats import FORMATS
from trugrade_core.data.formats.base import Row
from trugrade_core.data.source import key
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, UsageError, nearest
from trugrade_core.runs import Progress
from trugrade_core.schema import Sample
from trugrade_core.workspace import file_sha256, sync_folder

LONGEST_NAME = 200
"""Bytes of a file name that are kept, of the 255 that file systems take."""


def export_version(version: Version, format: str, out: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Write `version` to the new folder `out`, which is there whole or not at all.

    Gives {format, version, out, images, annotations, classes {id in the files: name}, left_out, renamed}. Raises
    UsageError for a format that cannot be written, DatasetError when `out` is in use, an image of the version is
    missing or damaged, or the images written are not those of the version.
    """
    writable = [id for id, row in FORMATS.items() if row.write]
    row = FORMATS.get(format)
    if row is None or row.write is None:
        raise UsageError(f"datasets are not written as '{format}'", what_to_do=nearest(format, writable))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError("is there already and is not empty", where=str(out), code="dataset.out_in_use",
                           what_to_do="Give a new folder.")  # fmt: skip
    files = place(version.iter_samples())
    annotations = version.annotations()
    names = list(version.classes)

    def rows() -> Iterator[Row]:
        for sample in version.iter_samples():
            yield Row(sample, annotations.get(sample.id, []), files[sample.id])

    folder = out.absolute().with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    folder.mkdir(parents=True)
    try:
        _copy_images(version, files, folder, progress or (lambda done, total, text: None))
        written = row.write(folder, rows, names)
        _count(version, files, folder)
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
        sync_folder(out.absolute().parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first = row.first_id if row.first_id is not None else 1
    return {
        "format": format,
        "version": version.name,
        "out": str(out),
        "images": len(files),
        "annotations": written.annotations,
        "classes": dict(enumerate(names, first)),
        "left_out": dict(written.left_out + _left_out(version)),
        "renamed": sorted(
            f"{sample.sources[0]} -> {files[sample.id]}"
            for sample in version.iter_samples()
            if sample.sources and files[sample.id] != _inside_images(sample.sources[0])
        ),
    }


# --- where images lie -------------------------------------------------------------------------------------------


def place(samples: Iterator[Sample]) -> dict[str, str]:
    """{sample id: its image's path in an export}: the relative path it was imported under, inside images/.

    Two that would share a path, or only the path of their label file, are told apart by their id.
    """
    placed: dict[str, str] = {}
    taken: set[str] = set()
    for sample in samples:
        file = _inside_images(sample.sources[0]) if sample.sources else f"images/{sample.id}{sample.main.suffix}"
        if _stem(file) in taken:
            path = PurePosixPath(file)
            file = path.with_name(f"{path.stem}-{sample.id}{path.suffix}").as_posix()
        taken.add(_stem(file))
        placed[sample.id] = file
    return placed


def _stem(file: str) -> str:
    # Case apart: some file systems do not tell it.
    return key(file).rpartition(".")[0].casefold()


def _inside_images(source: str) -> str:
    """The path, safe to write, below a folder `images` (where one is, it is kept)."""
    parts = [_short(part) for part in source.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts if "images" in parts[:-1] else ["images", *parts])


def _short(name: str) -> str:
    """A name that any file system takes: no control characters, not too many bytes."""
    name = "".join("_" if ord(c) < 32 or c in ':*?"<>|' else c for c in name)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    ending = PurePosixPath(name).suffix[:10]
    return name.encode()[: LONGEST_NAME - len(ending.encode())].decode(errors="ignore") + ending


def _copy_images(version: Version, files: dict[str, str], folder: Path, progress: Progress) -> None:
    for done, sample in enumerate(version.iter_samples(), 1):
        target = folder / files[sample.id]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(version.image_path(sample), target)
        except FileNotFoundError as e:
            raise DatasetError(
                f"the image of sample {sample.id} is not in the workspace",
                where=str(version.image_path(sample)),
                code="dataset.image_missing",
                what_to_do="Import it again, or restore the workspace's images folder from a copy.",
            ) from e
        if file_sha256(target) != sample.main.sha256:
            raise DatasetError(f"the stored image of sample {sample.id} has changed", where=str(version.image_path(sample)),
                               code="dataset.image_changed", what_to_do="Restore it from a copy.")  # fmt: skip
        progress(done, len(files), files[sample.id])


def _count(version: Version, files: dict[str, str], folder: Path) -> None:
    """What was written is counted, not trusted."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    missing = set(files.values()) - found
    if missing or len(set(files.values())) != version.manifest.samples:
        raise DatasetError(
            f"{version.manifest.samples - len(set(files.values()) & found)} of {version.manifest.samples} images are missing in the export",
            where=", ".join(sorted(missing)[:3]) or version.name,
            code="dataset.export_differs",
            what_to_do="This is a fault of the program: nothing was written. Please report it.",
        )


def _left_out(version: Version) -> Counter[str]:
    """Facts of samples that none of the formats holds."""
    found: Counter[str] = Counter()
    for sample in version.iter_samples():
        if not sample.card_assumed:
            found["card"] += 1
        for name in ("design", "print", "session", "side", "dpi"):
            if getattr(sample, name) is not None:
                found[name] += 1
        if sample.origin != "real":
            found["origin"] += 1
        if sample.status in ("skipped", "rescan"):
            found[f"status {sample.status} (comes back as unlabelled)"] += 1
        if len(sample.images) > 1:
            found["images beside the main one"] += len(sample.images) - 1
        if len(sample.sources) > 1:
            found["further source paths"] += 1
    return found
