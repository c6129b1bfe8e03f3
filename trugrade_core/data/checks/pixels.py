"""What the pixels of one picture say of its quality: numbers with a unit each, no verdict.

Levels are 0 to 255 of the grey picture (ITU-R 601) in the lab's frame. What needs fine structure (edges, spectrum,
noise) is taken from at most `TILES` tiles at native resolution spread over the picture, so that a 40 megapixel scan
costs hardly more than a small one; what does not is taken from all pixels.
"""

from __future__ import annotations

import functools
import hashlib
import io
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import JpegImagePlugin

from trugrade_core.schema import Image

Grey = NDArray[np.uint8]
Field = NDArray[np.float32]

TILES, TILE_PX = 20, 256
CLIPPED_WHITE, CLIPPED_BLACK = 254, 1
GLARE_LEVEL, GLARE_PX = 250, 1024
EDGE_LEVELS_PER_PX, FEWEST_EDGES = 5.0, 60
SPECTRUM_DB, FLOOR_DB = -27.0, 2.0
"""At the highest frequencies noise and grain of good scans have 6 to 9 dB in the median, scans made larger from half the
size -7 to 1 dB, and rounding alone -11."""
FEWEST_BLOCKS = 60


@dataclass(frozen=True)
class Levels:
    """Grey levels as shares of full scale. `dark` is the 99th percentile, `light` the 5th, `contrast` the 95th less the
    5th; `white` and `black` the share of pixels at either end in all channels; `colour` the 95th percentile of the
    spread between channels."""

    dark: float
    light: float
    contrast: float
    white: float
    black: float
    colour: float


def levels(rgb: Image, grey: Grey) -> Levels:
    total = cv2.calcHist([grey], [0], None, [256], [0, 256])[:, 0].cumsum() / grey.size
    p5, p95, p99 = (float(np.searchsorted(total, q)) / 255 for q in (0.05, 0.95, 0.99))
    few = rgb[:: max(1, rgb.shape[0] // 700), :: max(1, rgb.shape[1] // 700)]
    low, high = lowest(few), np.max(few, axis=2)
    return Levels(
        dark=p99,
        light=p5,
        contrast=p95 - p5,
        white=float((low >= CLIPPED_WHITE).mean()),
        black=float((high <= CLIPPED_BLACK).mean()),
        colour=float(np.percentile(high - low, 95)) / 255,
    )


def lowest(rgb: Image) -> Grey:
    """(H, W): the darkest channel of each pixel."""
    red, green, blue = cv2.split(rgb)
    return cast(Grey, cv2.min(cv2.min(red, green), blue))


def glare(rgb: Image) -> float:
    """The largest connected area that is blown out in all channels and does not touch the picture's rim, as a share of
    the picture: a lamp's reflection lies on the card, a white ground or lid reaches the rim."""
    scale = min(1.0, GLARE_PX / max(rgb.shape[:2]))
    small = cast(Image, cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)) if scale < 1 else rgb
    blown = (lowest(small) >= GLARE_LEVEL).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(blown, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    inside = np.setdiff1d(np.arange(1, count), rim)
    return float(stats[inside, cv2.CC_STAT_AREA].max() / blown.size) if len(inside) else 0.0


def tiles(grey: Grey) -> Field:
    """(N, S, S) of the picture, evenly spread; S is `TILE_PX`, or the picture's shorter side where that is less."""
    height, width = grey.shape
    size = min(TILE_PX, height, width)
    rows = int(np.clip(round((TILES * height / width) ** 0.5), 1, height // size))
    columns = int(np.clip(TILES // rows, 1, width // size))
    tops = np.linspace(0, height - size, rows).round().astype(int)
    lefts = np.linspace(0, width - size, columns).round().astype(int)
    return np.stack([grey[y : y + size, x : x + size] for y in tops for x in lefts]).astype(np.float32)


def noise(found: Field) -> float:
    """Sigma of the noise in grey levels: the median absolute diagonal wavelet detail (Donoho 1995) of the calmest
    quarter of 32 px squares that are not clipped; print and halftone lie in the others."""
    side = found.shape[1] // 2 * 2
    if side < 8:
        return 0.0
    a, b = found[:, 0:side:2, 0:side:2], found[:, 0:side:2, 1:side:2]
    c, d = found[:, 1:side:2, 0:side:2], found[:, 1:side:2, 1:side:2]
    detail, mean = np.abs(a - b - c + d) / 2, (a + b + c + d) / 4
    n = min(16, side // 2)
    k = side // 2 // n
    detail, mean = (
        z[:, : k * n, : k * n].reshape(-1, k, n, k, n).swapaxes(2, 3).reshape(-1, n * n) for z in (detail, mean)
    )
    usable = (mean.mean(axis=1) > 6) & (mean.mean(axis=1) < 249)
    if not usable.any():
        return 0.0
    return float(np.percentile(np.median(detail[usable], axis=1) / 0.6745, 25))


def edge_sigma(found: Field) -> float | None:
    """The blur of the sharpest things in the picture, as the sigma in px of a Gaussian point spread: the median over
    strong edges of how little they lose when blurred once more (Zhuo and Sim 2011). None with hardly an edge."""
    if found.shape[1] < 8:
        return None
    ratios = []
    for tile in found:
        once = cv2.GaussianBlur(tile, (0, 0), 1.0)
        first, second = (
            np.hypot(cv2.Sobel(z, cv2.CV_32F, 1, 0), cv2.Sobel(z, cv2.CV_32F, 0, 1)) / 8 for z in (tile, once)
        )
        peak = (first >= cv2.dilate(first, np.ones((3, 3)))) & (first > EDGE_LEVELS_PER_PX)
        peak[[0, 1, -1, -2]] = False
        peak[:, [0, 1, -1, -2]] = False
        ratios.append(first[peak] / np.maximum(second[peak], 1e-3))
    ratio = np.concatenate(ratios)
    if len(ratio) < FEWEST_EDGES:
        return None
    return float(np.sqrt(1 / max(float(np.median(ratio)) ** 2 - 1, 1e-2)))


def bandwidth(found: Field) -> float | None:
    """The finest structure that is still there, in cycles per px (0.5 is all that the pixels can hold): where the
    median power on rings of frequency falls `SPECTRUM_DB` below that of coarse structure, or to `FLOOR_DB`. A picture
    made larger, or out of focus, has less than its pixels promise. None where there is no structure."""
    size = found.shape[1]
    if size < 64:
        return None
    window, ring = _rings(size)
    power = np.zeros((size, size // 2 + 1), np.float32)
    for tile in found:
        power += np.abs(np.fft.rfft2((tile - tile.mean()) * window)).astype(np.float32) ** 2
    power /= len(found) * float((window**2).sum())
    steps = np.arange(len(RING_EDGES) - 1)
    medians = np.array([np.median(power[ring == n]) for n in steps])
    if medians[1] < 4.0:
        return None
    db = 10 * np.log10(medians + 1e-12)
    least = max(float(db[1]) + SPECTRUM_DB, FLOOR_DB)
    below = np.flatnonzero(db[2:] < least) + 2
    if not len(below):
        return 0.5
    n = int(below[0])
    middle = (RING_EDGES[:-1] + RING_EDGES[1:]) / 2
    share = (db[n - 1] - least) / (db[n - 1] - db[n])
    return float(middle[n - 1] + share * (middle[n] - middle[n - 1]))


RING_EDGES = np.arange(0.0, 0.5001, 0.05)


@functools.lru_cache(maxsize=8)
def _rings(size: int) -> tuple[Field, NDArray[np.int64]]:
    """(Hann window, number of the ring each frequency lies in) for tiles of that size."""
    line = np.hanning(size)
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    return np.outer(line, line).astype(np.float32), np.digitize(radius, RING_EDGES) - 1


@dataclass(frozen=True)
class Grid:
    """`strength`: how much more the picture jumps across the lines of an 8 x 8 grid than elsewhere, as a share of the
    latter; `x`, `y`: where that grid begins."""

    strength: float
    x: int
    y: int


def block_grid(grey: Grey) -> Grid:
    """The 8 x 8 block grid that JPEG leaves, wherever it begins, in any container."""
    columns, first_x = _jumps(grey)
    rows, first_y = _jumps(grey.T)
    return Grid((columns + rows) / 2, first_x, first_y)


def _jumps(grey: Grey) -> tuple[float, int]:
    """(strength, phase) of lines every 8 columns, from second differences, which smooth shading cancels out of."""
    if grey.shape[1] < 64:
        return 0.0, 0
    z = np.ascontiguousarray(grey[:: max(1, grey.shape[0] // 400)])
    step = np.minimum(cv2.absdiff(z[:, 1:], z[:, :-1]), 24).astype(np.float32)
    # entry n of the profile is the step between columns n + 1 and n + 2, less half of its neighbours'
    profile = (step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2).mean(axis=0)
    folded = np.array([np.median(profile[n::8]) for n in range(8)])
    best = int(folded.argmax())
    return float((folded[best] - np.median(folded)) / (step.mean() + 0.25)), (best + 2) % 8


STEPS = np.arange(4, 81)
COMB, FEWEST_MODES = 0.4, 4
"""The mean cosine from which values are taken to lie on a comb (unquantised ones give 0.15 at most), and in how many
of the modes that must be so, of about one quality."""
LUMA = {(0, 1): 11, (1, 0): 12, (1, 1): 12, (0, 2): 10, (2, 0): 14, (1, 2): 14, (2, 1): 13}
"""Of the standard's example table (ITU-T T.81, K.1), which most writers scale by a quality from 1 to 100."""


def former_quality(grey: Grey, grid: Grid) -> float | None:
    """The JPEG quality (1 to 100) that the picture went through at some time, in whatever file it lies now: the
    coefficients of its blocks lie on a comb. None where no comb is found (quality of about 90 and above, or none).

    `grid` says where blocks seem to begin; the picture's own corner is tried as well.
    """
    for x, y in dict.fromkeys([(grid.x, grid.y), (0, 0)]):
        blocks = _blocks(grey[y:, x:])
        if len(blocks) < FEWEST_BLOCKS:
            continue
        found: list[float] = []
        for tried, ((v, u), standard) in enumerate(LUMA.items()):
            if len(found) + len(LUMA) - tried < FEWEST_MODES:
                break
            step = _comb(blocks[:, v, u])
            if step is not None:
                found.append(_quality(100 * step / standard))
        agreed = [q for q in found if abs(q - float(np.median(found))) <= 5]
        if len(agreed) >= FEWEST_MODES:
            return float(np.median(agreed))
    return None


def _quality(percent: float) -> float:
    """The quality that scales the standard's table to so many percent."""
    return float(np.clip(5000 / percent if percent > 100 else (200 - percent) / 2, 1, 100))


def jpeg_quality(data: bytes) -> float | None:
    """The quality (1 to 100) that a JPEG's own luma table stands for; None for another file, or without tables."""
    if data[:2] != b"\xff\xd8":
        return None
    table = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).quantization.get(0)
    if table is None:
        return None
    return _quality(100 * float(np.median([table[8 * v + u] / step for (v, u), step in LUMA.items()])))


def _blocks(z: Grey, most: int = 3000) -> Field:
    """(N, 8, 8) DCT coefficients of the blocks with the most structure, of a sample of all."""
    rows, columns = z.shape[0] // 8, z.shape[1] // 8
    if rows < 2 or columns < 2:
        return np.zeros((0, 8, 8), np.float32)
    all_blocks = z[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    picked = all_blocks[:: max(1, len(all_blocks) // (2 * most))]
    unclipped = picked[(picked.max(axis=(1, 2)) < 253) & (picked.min(axis=(1, 2)) > 2)].astype(np.float32)
    spread = unclipped.std(axis=(1, 2))
    kept = unclipped[np.argsort(-spread)[:most]]
    return cast(Field, DCT @ kept @ DCT.T)


DCT = np.array([[(0.125 if u == 0 else 0.25) ** 0.5 * np.cos((2 * x + 1) * u * np.pi / 16) for x in range(8)] for u in range(8)], np.float32)  # fmt: skip


def _comb(values: Field) -> float | None:
    """The largest step on whose multiples the values lie about as well as on any; those that round to nothing, and
    steps with hardly a value beyond the first, say nothing."""
    size = np.abs(values)
    scores = {}
    for step in STEPS:
        told = size[size > 0.6 * step]
        if (told > 1.5 * step).sum() < FEWEST_BLOCKS // 2:
            break
        scores[float(step)] = float(np.cos(2 * np.pi / step * told).mean())
    best = max(scores.values(), default=0.0)
    return max(s for s, score in scores.items() if score > 0.85 * best) if best > COMB else None


def pixel_digest(rgb: Image) -> str:
    """Of the pixels as shown, whatever the file: 32 hex digits."""
    return hashlib.sha256(repr(rgb.shape).encode() + rgb.tobytes()).hexdigest()[:32]
