"""A folder of made-up 600 dpi scans as people have them: JPEG files and a COCO file with the outlines.

Made once (a second a card) and kept in benchmarks/results/.
"""

from __future__ import annotations

import io
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from trugrade_core.data.formats.base import polygon_area
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version, split
from trugrade_core.machine import Machine
from trugrade_core.synth.cards import make_card
from trugrade_core.workspace import Workspace, write_json

KEPT = Path(__file__).with_name("results")
CLASSES = ("outer_border", "graphical_border")
SEED = 600
QUALITY = 92
"""Of the JPEGs: 1.2 MB a card, as the team's scanner writes them."""


def scans(count: int, dpi: int = 600) -> Path:
    """The folder of `count` scans, `images/NNNN.jpg` and `coco.json`."""
    folder = KEPT / f"scans-{SEED}-{count}-{dpi}dpi"
    if folder.exists():
        return folder
    KEPT.mkdir(exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".scans-", dir=KEPT))
    (making / "images").mkdir()
    with ProcessPoolExecutor(Machine.here().cores, mp_context=get_context("spawn")) as pool:
        made = list(pool.map(_write, [making] * count, range(count), [dpi] * count))
    annotations = [{"id": n, **found} for n, found in enumerate((a for _, shapes in made for a in shapes), 1)]
    categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES, 1)]
    images = [image for image, _ in made]
    write_json(making / "coco.json", {"images": images, "annotations": annotations, "categories": categories})
    making.rename(folder)
    return folder


def _write(folder: Path, index: int, dpi: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write one scan; its rows of the COCO file."""
    from PIL import Image as Pillow

    card = make_card(SEED, index, dpi)
    out = io.BytesIO()
    Pillow.fromarray(card.image).save(out, "JPEG", quality=QUALITY, dpi=(dpi, dpi))
    name = f"{index:04d}.jpg"
    (folder / "images" / name).write_bytes(out.getvalue())
    height, width = card.image.shape[:2]
    shapes = []
    for category, outline in enumerate((card.outer_outline_px, card.inner_outline_px), 1):
        edges = np.asarray(outline) + 0.5  # COCO counts from the pixels' edges
        low, high = edges.min(axis=0), edges.max(axis=0)
        shapes.append({
            "image_id": index + 1, "category_id": category, "iscrowd": 0, "area": float(polygon_area(edges)),
            "segmentation": [edges.round(3).ravel().tolist()],
            "bbox": [*low.round(3).tolist(), *(high - low).round(3).tolist()],
        })  # fmt: skip
    return {"id": index + 1, "file_name": name, "width": width, "height": height}, shapes


def imported(ws: Workspace, folder: Path, ratios: tuple[float, float, float] = (0.5, 0.2, 0.3)) -> Version:
    """The scans as a dataset version `cards@v1`."""
    report = import_dataset(ws, folder, "cards", ImportOptions(origin="synthetic"))
    assert not report.skipped, report.skipped
    split(Dataset.open(ws, "cards"), ratios, 0)
    return Version.open(ws, "cards")
