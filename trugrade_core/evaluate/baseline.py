"""The constant box: what one answers without looking at the picture.

For each class the mean box of the training split, as shares of the picture's size. On scans that are all framed alike
it has an IoU near 1, so a model has learned something only where its side errors are smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trugrade_core.coordinates import to_edges
from trugrade_core.data import rle
from trugrade_core.data.versions import Version
from trugrade_core.tasks.instances.metrics import Objects, corners, true_objects


@dataclass(frozen=True)
class ConstantBox:
    """`shares` (N, 4): xyxy over pixel edges divided by the picture's width and height, one for each of `labels`."""

    shares: NDArray[np.float64]
    labels: NDArray[np.int64]
    boxes_averaged: int

    def answer(self, width: int, height: int, *, masks: bool = False) -> Objects:
        boxes = self.shares * np.array([width, height, width, height]) - 0.5
        filled = tuple(rle.from_polygon(corners(b), width, height) for b in boxes) if masks else None
        return Objects(boxes=boxes, labels=self.labels, scores=np.ones(len(boxes)), masks=filled)


def constant_box(version: Version, classes: Sequence[str]) -> ConstantBox | None:
    """From the training split of `version`; None when it holds no object of these classes."""
    shares: dict[int, list[NDArray[np.float64]]] = {}
    for sample, shapes in version.records("train"):
        width, height = sample.main.width, sample.main.height
        objects = true_objects(shapes, classes, width, height)
        for box, label in zip(to_edges(objects.boxes), objects.labels.tolist(), strict=True):
            shares.setdefault(label, []).append(box / np.array([width, height, width, height]))
    if not shares:
        return None
    labels = sorted(shares)
    means = np.array([np.mean(shares[label], axis=0) for label in labels])
    return ConstantBox(means, np.array(labels, np.int64), sum(len(found) for found in shares.values()))
