"""The card's plane: millimetres on the card to pixels of the image.

The scale comes from the scanner: where the resolution is known, the plane is a turn and a scale, and the card's own
size is measured by it. Formats differ by 1 %, and so would every millimetre taken from the wrong one; so a format sets
the scale of photographs alone, whose resolution nobody knows, and there the plane is a full homography.

mm frame: origin at the card's top left corner, x along its upper side, y down. Matrices are (3, 3) and map
homogeneous (x, y, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trugrade_core.card.geometry import area, homography, side_lengths
from trugrade_core.data.card_facts import FORMATS
from trugrade_core.data.importing import FILLER_DPI
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Sample

Array = NDArray[np.float64]

FORMAT_MM = 1.5
"""A side may be off its format by this much: cards are cut to within 1 mm, and outlines drawn to some tenths."""
CARD_MM = (40.0, 130.0)
"""What a side of a card may measure."""
RECTANGLE_SHARE, RECTANGLE_DEG = 0.02, 2.0
"""Opposite sides of a scanned card differ by less than this share, its corners from a right angle by less than this."""


@dataclass(frozen=True)
class Plane:
    """`matrix` maps mm on the card to px of the image, `corners_mm` (4, 2) are the card's corners clockwise from the top
    left, `px_per_mm` is the image's own sampling. `kind` photo: the scale comes from the card's `format`."""

    matrix: Array
    corners_mm: Array
    px_per_mm: float
    kind: Literal["scan", "photo"]
    format: str
    tilt_deg: float

    @property
    def size_mm(self) -> tuple[float, float]:
        """Mean width and height."""
        top, right, bottom, left = side_lengths(self.corners_mm)
        return float(top + bottom) / 2, float(left + right) / 2


def plane_of(corners_px: Array, sample: Sample, format: str = "") -> Plane:
    """The plane of a card with these corners (4, 2) in the sample's main image: by its resolution where that is known
    and fits, else by the `format` given.

    Raises DatasetError, saying what does not fit, when there is neither.
    """
    dpi, wrong = known_dpi(sample)
    mend = "Import it with its --dpi"
    if dpi is not None:
        mend = "Mend the outline, or the resolution"
        wrong = _not_scanned(corners_px, dpi)
        if not wrong:
            return scan_plane(corners_px, dpi / 25.4)
    if not format:
        raise DatasetError(
            wrong,
            code="card.scale",
            what_to_do=f"{mend}; for a photograph give the card's format (--format {', '.join(FORMATS)}), which then sets the scale.",
        )
    return photo_plane(corners_px, format)


def known_dpi(sample: Sample) -> tuple[float | None, str]:
    """The resolution that a person gave or that the file states; or None and why there is none."""
    stated = sample.main.dpi
    if sample.dpi is not None:
        return sample.dpi, ""
    if stated is None:
        return None, "its resolution is not known"
    if stated in FILLER_DPI:
        return None, f"its file states {stated:g} dpi, which programs write when they do not know the resolution"
    return stated, ""


def _not_scanned(corners_px: Array, dpi: float) -> str:
    """Why these are no corners of a card scanned at `dpi`, or ''."""
    top, right, bottom, left = sides = side_lengths(corners_px) / dpi * 25.4
    if sides.min() < CARD_MM[0] or sides.max() > CARD_MM[1]:
        return f"at {dpi:g} dpi the outline measures {(top + bottom) / 2:.1f} x {(left + right) / 2:.1f} mm, which is no card"
    ratio = max(abs(top - bottom) / max(top, bottom), abs(left - right) / max(left, right))
    along = np.roll(corners_px, -1, axis=0) - corners_px
    angles = np.rad2deg(np.arctan2(along[:, 1], along[:, 0]))
    skew = np.abs((np.roll(angles, -1) - angles) % 360 - 90).max()
    if ratio > RECTANGLE_SHARE or skew > RECTANGLE_DEG:
        return (f"the outline is no rectangle (opposite sides differ by {100 * ratio:.1f} %, corners are off the right angle by "
                f"{skew:.1f} degrees): a scan has no perspective")  # fmt: skip
    return ""


def scan_plane(corners_px: Array, px_per_mm: float) -> Plane:
    """A turn by the mean tilt of the four sides and the scanner's scale; the corners stay where they were found."""
    x, y = (np.roll(corners_px, -1, axis=0) - corners_px).T
    upright = np.array([(x[0], y[0]), (y[1], -x[1]), (-x[2], -y[2]), (-y[3], x[3])])  # each side turned to run right
    dx, dy = (upright / np.hypot(x, y)[:, None]).sum(axis=0)
    cos, sin = np.array([dx, dy]) / np.hypot(dx, dy)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn * px_per_mm
    matrix[:2, 2] = corners_px[0]
    corners_mm = (corners_px - corners_px[0]) @ turn / px_per_mm
    top, right, bottom, left = side_lengths(corners_mm)
    format = nearest_format((top + bottom) / 2, (left + right) / 2)
    return Plane(matrix, corners_mm, px_per_mm, "scan", format, float(np.rad2deg(np.arctan2(sin, cos))))


def photo_plane(corners_px: Array, format: str) -> Plane:
    """The homography that lays the corners on a card of `format`, on its side where the outline is wider than high."""
    top, right, bottom, left = side_lengths(corners_px)
    short, long = FORMATS[format]
    width, height = (long, short) if top + bottom > left + right else (short, long)
    corners_mm = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    matrix = homography(corners_mm, corners_px)
    run = corners_px[1] - corners_px[0]
    tilt = float(np.rad2deg(np.arctan2(run[1], run[0])))
    return Plane(matrix, corners_mm, float(np.sqrt(area(corners_px) / (width * height))), "photo", format, tilt)


def nearest_format(width_mm: float, height_mm: float) -> str:
    """The known format of a card that measures so, upright or on its side; '' when none is within FORMAT_MM."""
    measured = np.array(sorted((width_mm, height_mm)))
    off = {name: np.abs(measured - size).max() for name, size in FORMATS.items()}
    best = min(off, key=lambda name: float(off[name]))
    return best if off[best] <= FORMAT_MM else ""
