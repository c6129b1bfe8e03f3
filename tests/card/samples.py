"""Samples without a workspace, for the card's geometry."""

from __future__ import annotations

from typing import Any

import numpy as np

from trugrade_core.schema import ImageRef, Lineage, Polygon, Sample


def polygon(points: Any) -> Polygon:
    return Polygon(points=tuple((float(x), float(y)) for x, y in points))


def sample(width: int = 800, height: int = 1000, *, dpi: float | None = None, stated: float | None = None) -> Sample:
    """`dpi` as a person gave it, `stated` as the file does."""
    ref = ImageRef(sha256="0" * 64, suffix=".png", width=width, height=height, dpi=stated, bytes=1)
    return Sample(id="parent", images={"main": ref}, card="c", dpi=dpi)


def crop(matrix: np.ndarray, size_wh: tuple[int, int]) -> Sample:
    ref = ImageRef(sha256="1" * 64, suffix=".png", width=size_wh[0], height=size_wh[1], bytes=1)
    lineage = Lineage(
        dataset="d", sample="parent", region="corner:top_left", homography=tuple(matrix.reshape(-1).tolist())
    )
    return Sample(id="crop", images={"main": ref}, card="c", parent=lineage)


def card(
    width_mm: float, height_mm: float, dpi: float, tilt_deg: float = 0.0, at: tuple[float, float] = (59.5, 69.5)
) -> np.ndarray:
    """The corners (4, 2) px of a card whose top left corner lies `at`."""
    a, k = np.deg2rad(tilt_deg), dpi / 25.4
    corners = np.array([(0, 0), (width_mm, 0), (width_mm, height_mm), (0, height_mm)]) * k
    return corners @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + at
