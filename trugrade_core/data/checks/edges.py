"""Where the picture itself has the card's edge: a drawn outer border is held to it, side by side, in mm.

Beside each side of the drawn box lies a band of the picture. A straight edge in it, tilted by up to a degree, adds up
along the side. A label is right where such an edge lies at it, and off by the distance to the nearest one elsewhere;
a side without a clear edge (a dark card on a dark ground) is not measured, and nothing is said of it. Printed frames
inside the card are too many and too broken for this: on them it raises more false alarms than it finds faults.

Measured once for a picture and box, and kept in WORKSPACE/cache/checks/edges.jsonl.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.checks.base import LIMITS, Facts, Finding, counted
from trugrade_core.data.journal import batched, complete_lines
from trugrade_core.schema import XYXY, Sample, digest
from trugrade_core.workspace import append_lines

Array = NDArray[np.float64]
SIDES = ("left", "top", "right", "bottom")
METHOD = 3
"""Raised when the same picture and box would be measured differently; what was kept is then measured again."""
BAND_MM = 4.0
"""How far to each side of the label is searched."""
MIDDLE = 0.6
"""Share of the side's length that is looked at: corners are round and worn."""
LINES = 96
SMOOTH_MM = 0.06
TILTS = np.tan(np.radians(np.linspace(-1.0, 1.0, 21)))
NEARLY = 0.12
"""An edge of this share of the strongest one's strength counts: the print may be far stronger than the card's edge."""
CLEAR = 4.0
"""How many times stronger than the band's usual line an edge must be."""
WEAK = 3.0
"""And of one that, where the label is, leaves it in doubt."""
LEAST_STEP = 4.0
"""Grey levels that it must be high, of 255."""
FINEST_PX = 2.0
"""Nearer than this nothing can be said, however fine the limit."""
BATCH = 64
THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Drawn:
    """An outer border to be held to its picture."""

    sample: str
    sha256: str
    path: Path
    box: XYXY
    mm_per_px: float

    @property
    def key(self) -> str:
        return digest([METHOD, self.sha256, [round(v, 2) for v in self.box]])[:32]


def drawn(facts: Facts, sample: Sample, box: XYXY) -> Drawn | None:
    """None where the scale is not known, or the picture is turned by its EXIF tag and so does not lie as it is stored."""
    if sample.mm_per_px is None or sample.main.orientation != 1:
        return None
    return Drawn(sample.id, sample.main.sha256, facts.image_path(sample, "main"), box, sample.mm_per_px)


def held_to_edges(facts: Facts, rows: Sequence[Drawn], label: str) -> tuple[list[Finding], str]:
    """What is held against the outer borders, and how many were looked at."""
    off = {row.sample: found for row, found in zip(rows, _measured(facts, rows), strict=True) if found is not None}
    measured = {s: sides for s, sides in off.items() if any(v is not None for v in sides)}
    if not measured:
        left = f" ({counted(len(rows), 'picture')} not read yet)" if rows and not off else ""
        return [], f"no drawn edge was held to its picture{left}"
    finest = {row.sample: FINEST_PX * row.mm_per_px for row in rows}
    far = {
        sample: worst
        for sample, sides in measured.items()
        if (worst := max((v for v in sides if v is not None), key=abs))
        and abs(worst) > max(LIMITS.suspect_mm, finest[sample])
    }
    by_sample = {
        sample: f"{SIDES[measured[sample].index(worst)]} side {abs(worst):.2f} mm" for sample, worst in
        sorted(far.items(), key=lambda item: -abs(item[1]))
    }  # fmt: skip
    values = np.abs([v for sides in measured.values() for v in sides if v is not None])
    usual, most = float(np.median(values)), float(np.quantile(values, 0.9))
    findings = [*_far(by_sample, label, usual), *_loose(facts, label, usual, most)]
    return (
        findings,
        f"{counted(len(measured), 'drawn outline')} held to the picture's own edge (usually {usual:.2g} mm apart)",
    )


def _far(by_sample: dict[str, str], label: str, usual: float) -> Iterator[Finding]:
    if by_sample:
        yield Finding(
            check="label_consistency", code="label.off_edge", severity="warning", subject=label, samples=tuple(by_sample),
            why=f"{counted(len(by_sample), 'sample')}: a side of the {label} lies more than {LIMITS.suspect_mm:g} mm (and 2 px) from the "
                f"nearest straight edge in the picture (usually {usual:.2g} mm)",
            action="Look at that side at full zoom; draw it again where the label is off. Stickers and dark cards on dark "
                   "ground can mislead this check: accept those.",
            details={"by_sample": by_sample, "usual_mm": round(usual, 4)},
        )  # fmt: skip


def _loose(facts: Facts, label: str, usual: float, most: float) -> Iterator[Finding]:
    if facts.needs is not None and usual > facts.needs.finest_mm:
        yield Finding(
            check="label_consistency", code="label.loose", severity="warning", subject=label,
            why=f"sides of the {label} typically lie {usual:.2g} mm from the edge in the picture (one in ten more than "
                f"{most:.2g} mm); {facts.needs.task} asks for {facts.needs.finest_mm:g} mm",
            action="Draw the borders again at full zoom, with snapping to the edge, before training: a model copies this error.",
            details={"median_mm": round(usual, 4), "p90_mm": round(most, 4)},
        )  # fmt: skip


# --- measuring ----------------------------------------------------------------------------------------------------


def _measured(facts: Facts, rows: Sequence[Drawn]) -> Iterator[list[float | None] | None]:
    """mm for each side, in order; None for a picture that was never measured where `facts.deep` is not allowed."""
    path = facts.ws.cache / "checks" / "edges.jsonl"
    kept: dict[str, list[float | None]] = {}
    for _, line in complete_lines(path, 0):
        with contextlib.suppress(ValueError, KeyError):  # a damaged line of a cache is measured again
            said = json.loads(line)
            kept[said["key"]] = said["mm"]
    missing = [row for row in rows if row.key not in kept] if facts.deep else []
    path.parent.mkdir(parents=True, exist_ok=True)
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for batch in batched(missing, BATCH):
            lines = []
            for row, edges in zip(batch, pool.map(lambda r: measure(r.path, r.box, r.mm_per_px), batch), strict=True):
                kept[row.key] = [None if e is None else round(e.off_px * row.mm_per_px, 4) for e in edges]
                lines.append(json.dumps({"key": row.key, "mm": kept[row.key]}).encode())
            append_lines(path, lines, sync=False)
            done += len(batch)
            facts.progress(done, len(missing), "outlines held to their pictures")
    return (kept.get(row.key) for row in rows)


@dataclass(frozen=True)
class Edge:
    """Found minus drawn along x or y, px (right and down are positive), and the step's height in grey levels."""

    off_px: float
    step: float


def measure(path: Path, box: XYXY, mm_per_px: float) -> list[Edge | None]:
    """The edges beside the left, top, right and bottom of `box`; None where there is no clear one or no picture."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:  # format_validation says that it is gone
        return [None] * 4
    how = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
    grey = cv2.imdecode(data, how) if len(data) else None
    if grey is None:
        return [None] * 4
    return [_side(np.asarray(grey), box, side, mm_per_px) for side in range(4)]


def _side(grey: NDArray[np.uint8], box: XYXY, side: int, mm_per_px: float) -> Edge | None:
    band, first, length = _band(grey, box, side, BAND_MM / mm_per_px)
    if band is None:
        return None
    strength = _strength(band, length, max(1.0, SMOOTH_MM / mm_per_px))
    found = _nearest(strength, box[side] - first)
    near = max(FINEST_PX, LIMITS.suspect_mm / mm_per_px)
    return None if found and abs(found.off_px) > near and _doubtful(strength, box[side] - first, near) else found


def _band(grey: NDArray[np.uint8], box: XYXY, side: int, reach: float) -> tuple[Array | None, int, int]:
    """((LINES, N) grey values across the side, line by line along it; the px of the first column; the length in px that
    the lines stand for). None where the band lies outside the picture."""
    across, along = side % 2, 1 - side % 2  # axes: 0 is x
    size = (grey.shape[1], grey.shape[0])
    low = max(0, round(box[side] - reach))
    high = min(size[across] - 1, round(box[side] + reach))
    length = box[along + 2] - box[along]
    begin = max(0, round(box[along] + length * (1 - MIDDLE) / 2))
    end = min(size[along] - 1, round(box[along + 2] - length * (1 - MIDDLE) / 2))
    if high - low < 16 or end - begin < LINES:
        return None, 0, 0
    cut = grey[begin:end, low : high + 1] if across == 0 else grey[low : high + 1, begin:end].T
    # Means of neighbouring lines: print and noise go down, a straight edge stays.
    band = np.asarray(cv2.resize(cut, (cut.shape[1], LINES), interpolation=cv2.INTER_AREA), np.float64)
    return band, low, end - begin


def _strength(band: Array, length: int, sigma: float) -> Array:
    """(N,) grey levels: the step that the best tilted straight edge through each place makes, averaged along the side."""
    reach = int(3 * sigma) + 1
    at = np.arange(-reach, reach + 1, dtype=np.float64)
    kernel = at * np.exp(-(at**2) / (2 * sigma * sigma))
    kernel = kernel / (np.abs(kernel).sum() / 2)
    slope = cv2.filter2D(band, cv2.CV_64F, kernel[None, :], borderType=cv2.BORDER_REPLICATE)
    lines, columns = slope.shape
    along = np.linspace(-length / 2, length / 2, lines)
    best = np.zeros(columns)
    for tilt in TILTS:
        shift = np.rint(tilt * along).astype(int)
        rows = np.clip(np.arange(columns)[None, :] + shift[:, None], 0, columns - 1)
        np.maximum(best, np.abs(np.take_along_axis(slope, rows, axis=1).mean(axis=0)), out=best)
    return best


def _nearest(strength: Array, drawn: float) -> Edge | None:
    usual, peak = float(np.median(strength)), float(strength.max())
    least = max(LEAST_STEP, CLEAR * usual, NEARLY * peak)
    wide = np.max(np.lib.stride_tricks.sliding_window_view(np.pad(strength, 3), 7), axis=1)
    clear = np.flatnonzero((strength >= least) & (strength == wide))
    if not len(clear):
        return None
    n = int(clear[np.argmin(np.abs(clear - drawn))])
    return Edge(n + _between(strength, n) - drawn, float(strength[n]))


def _doubtful(strength: Array, drawn: float, near: float) -> bool:
    """Whether a weaker edge lies where the label is: then the picture does not contradict it."""
    here = strength[max(0, int(drawn - near)) : int(drawn + near + 2)]
    top = int(here.argmax()) if len(here) else 0
    return 0 < top < len(here) - 1 and bool(here[top] >= WEAK * np.median(strength))


def _between(values: Array, n: int) -> float:
    """Where the top of the parabola through a peak and its neighbours lies, from the peak, in px."""
    if not 0 < n < len(values) - 1:
        return 0.0
    before, at, after = (float(v) for v in values[n - 1 : n + 2])
    bend = before - 2 * at + after
    return 0.0 if bend >= 0 else max(-0.5, min(0.5, (before - after) / (2 * bend)))
