"""What a page needs to show a finding's first samples without opening the dataset: picture, size, name, outlines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from trugrade_core.data import rle
from trugrade_core.data.checks.base import Facts
from trugrade_core.schema import Annotation

Outline = np.ndarray[Any, np.dtype[np.float64]]
LOOSE = 1 / 500
"""How far, as a share of the picture, a drawn outline may be from the true one on a thumbnail."""


def shots(facts: Facts, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """{sample: {sha256, width, height, name, split, shapes: [[label, [[x, y], …]], …]}}, px of the lab's frame."""
    found = {}
    for sample, labels in facts.records() if wanted else ():
        if sample.id in wanted:
            image = sample.main
            loose = LOOSE * max(image.width, image.height)
            found[sample.id] = {
                "sha256": image.sha256,
                "width": image.width,
                "height": image.height,
                "name": Path(sample.sources[0]).name if sample.sources else sample.id,
                "split": sample.split,
                "shapes": [[a.label or "", o.round(1).tolist()] for a in labels for o in _simple(a, loose)],
            }
    return found


def _simple(a: Annotation, loose: float) -> Iterator[Outline]:
    for outline in rle.outlines(a.value):
        points = cv2.approxPolyDP(outline.astype(np.float32)[:, None], loose, True) if len(outline) > 12 else outline
        yield np.asarray(points, np.float64).reshape(-1, 2)
