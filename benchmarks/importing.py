"""Import: images a second, and whether an image costs the same in a larger import.

*Scans.* 600 dpi JPEGs with their COCO file into fresh workspaces, taking turns with the least that could be done with
the same files by one thread: read, hash, decode once, write. *Growth.* 1, 2 and 4 times as many small pictures, each
time into an empty workspace; the ratio is seconds an image of the largest import over the smallest.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import statistics
from pathlib import Path

import cv2
import numpy as np

from benchmarks import scans
from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.workspace import Workspace, read_json, write_json

SCANS = 64
SMALL = 500
FLAT = 1.25
"""An image of an import 4 times as large may cost that much more before growth is called uneven."""


def bench(scratch: Path, quick: bool) -> list[Row]:
    folder = scans.scans(12, dpi=100) if quick else scans.scans(SCANS)
    sizes = [n * (20 if quick else SMALL) for n in (1, 2, 4)]
    return [_speed(scratch, folder, 2 if quick else 5), *_growth(scratch, folder, sizes, 1 if quick else 3)]


def _speed(scratch: Path, folder: Path, rounds: int) -> Row:
    files = sorted((folder / "images").iterdir())
    number = itertools.count()

    def ours() -> None:
        take(scratch / f"speed-{next(number)}", folder, len(files))

    def least() -> None:
        out = scratch / f"least-{next(number)}"
        out.mkdir()
        for file in files:
            data = file.read_bytes()
            cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            (out / hashlib.sha256(data).hexdigest()).write_bytes(data)

    ours()  # a first import loads what it needs
    seconds = alternate({"ours": ours, "least": least}, rounds)
    per_s = {name: len(files) / statistics.median(found) for name, found in seconds.items()}
    megabytes = sum(file.stat().st_size for file in files) / len(files) / 1e6
    return Row(
        name="import",
        figure=per_s["ours"],
        unit="images/s",
        compared_with=f"read, hash, decode, write with one thread: {per_s['least']:.1f}",
        ratio=times_faster(seconds["ours"], seconds["least"]),
        note=f"600 dpi JPEGs of {megabytes:.1f} MB with COCO outlines, every file synced to the disk",
    )


def _growth(scratch: Path, folder: Path, sizes: list[int], rounds: int) -> list[Row]:
    rows = []
    number = itertools.count()
    scan_count = len(list((folder / "images").iterdir()))
    kinds = {
        "small pictures": (_small_pictures(scratch / "small", sizes), sizes),
        "600 dpi scans": (
            {n: _part(folder, scratch / f"part-{n}", n) for n in (scan_count // 4, scan_count // 2, scan_count)},
            [scan_count // 4, scan_count // 2, scan_count],
        ),
    }
    for title, (sources, counts) in kinds.items():
        sides = {
            str(n): lambda n=n, sources=sources: take(scratch / f"growth-{next(number)}", sources[n], n) for n in counts
        }
        seconds = alternate(sides, rounds)
        each = {n: 1000 * statistics.median(seconds[str(n)]) / n for n in counts}
        ratio = each[counts[-1]] / each[counts[0]]
        rows.append(
            Row(
                name=f"import, growth with {title}",
                figure=each[counts[-1]],
                unit="ms an image",
                compared_with=", ".join(f"{n}: {each[n]:.2f}" for n in counts),
                ratio=ratio,
                goal=f"flat (<= {FLAT} x)",
                met=ratio <= FLAT,
            )
        )
    return rows


def take(root: Path, source: Path, count: int) -> None:
    """Import `source` into a workspace of its own, which is removed again."""
    report = import_dataset(Workspace.open(root), source, "cards", ImportOptions())
    assert report.images == count and not report.skipped, report
    shutil.rmtree(root)


def _small_pictures(root: Path, counts: list[int]) -> dict[int, Path]:
    """Folders of as many pictures of 70 x 98 px, no two alike."""
    found = {}
    image = np.random.default_rng(0).integers(0, 256, (98, 70, 3), np.uint8)
    for count in counts:
        found[count] = root / str(count)
        found[count].mkdir(parents=True)
        for n in range(count):
            image[0, 0] = (n % 256, n // 256, 1)
            data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
            (found[count] / f"{n:06d}.png").write_bytes(data.tobytes())
    return found


def _part(folder: Path, out: Path, count: int) -> Path:
    """The first `count` scans of a folder, by hard links or copies."""
    coco = read_json(folder / "coco.json")
    images = coco["images"][:count]
    ids = {image["id"] for image in images}
    (out / "images").mkdir(parents=True)
    for image in images:
        source, target = folder / "images" / image["file_name"], out / "images" / image["file_name"]
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
    kept = [a for a in coco["annotations"] if a["image_id"] in ids]
    write_json(out / "coco.json", coco | {"images": images, "annotations": kept})
    return out
