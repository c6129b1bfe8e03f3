"""An example picture for each task, made by the generator: what a model will be shown, with its labels where it has any."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trugrade_core.card.pixels import cut_pixels
from trugrade_core.card.plane import scan_plane
from trugrade_core.card.regions import cut_regions
from trugrade_core.evaluate.overlay import COLOURS, encoded, outlined
from trugrade_core.schema import Image
from trugrade_core.synth.cards import Card, make_card
from trugrade_core.tasks import Task, get_task
from trugrade_core.workspace import Workspace, write_atomic

DPI = 300
SEED, INDEX = 4, 11
"""A card that shows a frame, art and some tilt."""
LONGEST_PX = 640
MADE = "1"
"""Part of the file's name: raised when the pictures change."""


def example(ws: Workspace, task_id: str) -> Path:
    """The picture as JPEG, made once a workspace. Raises UsageError for an unknown task."""
    task = get_task(task_id)
    path = ws.cache / "examples" / f"{task.id}-{MADE}.jpg"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, encoded(_picture(task)))
    return path


def _picture(task: Task) -> Image:
    import cv2

    card = make_card(SEED, INDEX, DPI)
    shown = _region(card, task) if task.region and task.region.size_mm else _whole(card, task)
    scale = LONGEST_PX / max(shown.shape[:2])
    wh = round(shown.shape[1] * scale), round(shown.shape[0] * scale)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST  # enlarged, its pixels are what there is to judge
    return np.asarray(cv2.resize(shown, wh, interpolation=how), np.uint8)


def _whole(card: Card, task: Task) -> Image:
    picture = np.array(card.image)
    quads = (card.outer_quad_px, card.inner_quad_px) if task.kind == "instances" else ()
    for quad, colour, _ in zip(quads, COLOURS, task.classes, strict=False):
        outlined(picture, quad, colour, 3)
    return picture


def _region(card: Card, task: Task) -> Image:
    assert task.region is not None  # noqa: S101 (asked before)
    plane = scan_plane(card.outer_quad_px, DPI / 25.4)
    cuts = cut_regions(plane, task.region.part, task.region.size_mm, task.region.margin_mm, task.region.overlap_mm)
    return np.asarray(cut_pixels(card.image, cuts[len(cuts) // 2]), np.uint8)
