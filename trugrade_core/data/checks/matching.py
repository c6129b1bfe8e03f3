"""Are two pictures that look alike one scan, changed, or two scans of the same design? Decided by laying one over the
other.

Two scans of one design agree as a whole but not everywhere at once: print sits differently on the stock, the stock in
the scanner, the carriage does not run evenly, and wear, dust and ground are each scan's own. A scan that was turned,
rescaled, recompressed, cropped, blurred or lit anew still agrees everywhere. So both are registered by an affine map
(ECC, Evangelidis and Psarakis 2008), and what differs is explained tile by tile by a shift, a change of blur, of
contrast and of brightness; how far tiles must be shifted is the measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.schema import Image

Field = NDArray[np.float32]

SIZE, TILE, SMOOTH = 384, 24, 1.5
"""Longer side in px at which pictures are compared, side of a tile, and sigma of the blur that both get first: what
remains survives JPEG and rescaling."""
LEVELS = ((4, 60), (2, 30), (1, 20))
DARK, LIGHT, LEAST_UNCLIPPED = 5, 245, 0.15
FEWEST_TILES = 6
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""JPEG leaves brightness best; colour is stored at half the size."""
WEAK = np.array([0.2, 0.2, 0.2, 0.2, 5.0, 0.01])
"""Ridge on shift x, shift y, blur, tone within a pixel, contrast and brightness of a tile."""


@dataclass(frozen=True)
class Overlay:
    """How the second picture lies on the first. `correlation` is ECC's at the end; `shift_px` how far tiles still must
    move: the 75th percentile, for print that sits differently on the stock moves the tiles at its rim. `noise_px` is what
    nothing explains, as a shift: the median over tiles. Both at the size that was compared, `SIZE` or less."""

    correlation: float
    shift_px: float
    noise_px: float


def small(image: Image) -> Image:
    """At most `SIZE` px a side."""
    scale = min(1.0, SIZE / max(image.shape[:2]))
    wh = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    return cast(Image, cv2.resize(image, wh, interpolation=cv2.INTER_AREA))


def overlay(first: Image, second: Image) -> Overlay | None:
    """Both as `small` gives them, the second already turned upright to the first. None where no map lays one over the
    other, or too little has structure to tell."""
    if _unclipped(first).mean() < _unclipped(second).mean():
        first, second = second, first  # only the second picture's clipped areas can be left out of the registration
    placed = _register(first, second)
    if placed is None:
        return None
    warped, inside, correlation = placed
    a, b = first.astype(np.float32), warped.astype(np.float32)
    usable = _inner(inside & _unclipped(first) & _unclipped(warped))
    if usable.mean() < LEAST_UNCLIPPED:
        usable = _inner(inside)  # a picture of hard black and white, or blown out: it is compared as it is
    if not usable.any():
        return None
    toned = np.stack([_same_tone(b[..., c], a[..., c], usable) for c in range(3)], axis=2)
    shift, noise = _tiles(a @ LUMA, (toned @ LUMA).astype(np.float32), usable)
    if len(shift) < FEWEST_TILES:
        return None
    return Overlay(correlation, float(np.percentile(shift, 75)), float(np.median(noise)))


def _register(first: Image, second: Image) -> tuple[Image, NDArray[np.bool_], float] | None:
    """(the second picture in the frame of the first, where it covers it, correlation)."""
    wh = first.shape[1], first.shape[0]
    second = cast(
        Image, cv2.resize(second, wh, interpolation=cv2.INTER_AREA if second.shape[0] > wh[1] else cv2.INTER_CUBIC)
    )
    clear = cv2.erode(_unclipped(second).astype(np.uint8), np.ones((5, 5), np.uint8))
    grey = [cv2.cvtColor(z, cv2.COLOR_RGB2GRAY).astype(np.float32) for z in (first, second)]
    matrix, correlation = np.eye(2, 3, dtype=np.float32), 0.0
    for shrink, steps in LEVELS:
        size = wh[0] // shrink, wh[1] // shrink
        if min(size) < 24:
            continue
        a, b = (cv2.resize(z, size, interpolation=cv2.INTER_AREA) for z in grey)
        # Clipped areas would pull: they are left out at last, when little is left to move.
        found = _ecc(a, b, matrix, shrink, steps, clear if shrink == 1 and clear.mean() > 0.2 else None)
        if found is None and shrink == 1:
            found = _ecc(a, b, matrix, shrink, steps, None)
        if found is None:
            return None
        correlation, matrix = found
    how = cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(second, matrix, wh, flags=cv2.INTER_CUBIC | how)
    white = np.full((wh[1], wh[0]), 255, np.uint8)
    inside = cv2.warpAffine(white, matrix, wh, flags=cv2.INTER_LINEAR | how) > 250
    return cast(Image, warped), inside, correlation


def _ecc(a: Any, b: Any, matrix: Field, shrink: int, steps: int, clear: Any) -> tuple[float, Field] | None:
    """(correlation, refined map) at 1 / `shrink` of the size; None where it does not converge."""
    start = matrix.copy()
    start[:, 2] /= shrink
    stop = cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-5
    try:
        correlation, found = cv2.findTransformECC(a, b, start, cv2.MOTION_AFFINE, stop, clear, 5)
    except cv2.error:
        return None
    found[:, 2] *= shrink
    return float(correlation), cast(Field, found)


def _inner(area: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return cv2.erode(area.astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0


def _unclipped(image: Image) -> NDArray[np.bool_]:
    return cast(NDArray[np.bool_], (image.min(axis=2) > DARK) & (image.max(axis=2) < LIGHT))


def _same_tone(values: Field, wanted: Field, usable: NDArray[np.bool_]) -> Field:
    """`values` through the cubic curve that brings them nearest to `wanted`: brightness, contrast and gamma."""
    x = values / 127.5 - 1
    powers = np.stack([x[usable] ** n for n in range(4)])
    normal = powers @ powers.T + 1e-3 * usable.sum() * np.diag([0, 0, 0.01, 0.01])
    curve = np.linalg.lstsq(normal, powers @ wanted[usable], rcond=None)[0]
    return cast(Field, sum(c * x**n for n, c in enumerate(curve)).astype(np.float32))


def _tiles(a: Field, b: Field, usable: NDArray[np.bool_]) -> tuple[Field, Field]:
    """Of each tile with structure, in px: how far it must move to explain best, with the other terms, what differs, and
    the residual over its slope."""
    weight: Any = usable.astype(np.float32)
    spread = np.maximum(cv2.GaussianBlur(weight, (0, 0), SMOOTH), 1e-3)
    a, b = (cast(Field, cv2.GaussianBlur(np.where(usable, z, 0), (0, 0), SMOOTH) / spread) for z in (a, b))
    mean: Any = (a + b) / 2
    right, down = cv2.Sobel(mean, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(mean, cv2.CV_32F, 0, 1) / 8
    terms = [right, down, cv2.Laplacian(mean, cv2.CV_32F, ksize=1), (right**2 + down**2) / 30, mean, np.ones_like(mean)]
    w = _cut(weight)
    count = np.maximum(w.sum(axis=1), 1)
    x = np.stack([_cut(t) for t in terms], axis=2)
    x[..., 4] -= ((x[..., 4] * w).sum(axis=1) / count)[:, None]
    x *= w[..., None]
    y = _cut(a - b) * w
    normal = np.einsum("tpi,tpj->tij", x, x) + np.diag(WEAK) * count[:, None, None]
    found = np.linalg.solve(normal, np.einsum("tpi,tp->ti", x, y)[..., None])[..., 0]
    slope = np.sqrt((x[..., :2] ** 2).sum(axis=(1, 2)) / count)
    told = (count > 0.6 * w.shape[1]) & (slope > 1.5)
    left = np.sqrt(((y - np.einsum("tpi,ti->tp", x, found)) ** 2).sum(axis=1) / count)
    return cast(Field, np.hypot(found[told, 0], found[told, 1])), cast(Field, left[told] / slope[told])


def _cut(field: Any) -> Field:
    """(tiles, px): whole tiles of `TILE` px a side; what is over at the right and below is left out."""
    rows, columns = field.shape[0] // TILE, field.shape[1] // TILE
    part = field[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
    return cast(Field, part.swapaxes(1, 2).reshape(rows * columns, TILE * TILE))
