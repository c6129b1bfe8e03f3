"""How alike two people's shapes are: which mean the same, by IoU, and how far apart their boundaries run.

All in px of the lab's frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data import rle
from trugrade_core.data.diff import distances
from trugrade_core.data.rle import iou
from trugrade_core.schema import Annotation

Array = NDArray[np.float64]
Outlines = list[Array]

MATCH_IOU = 0.5
WALKED = 512
"""Points along an outline from which the distance to another is measured."""


def boundary_distance(a: Outlines, b: Outlines) -> float:
    """Mean distance in px from points along the one to the nearest place on the other, both ways."""
    return float((distances(_walked(a), b).mean() + distances(_walked(b), a).mean()) / 2)


def _walked(outlines: Outlines) -> Array:
    """About WALKED points (N, 2), evenly along the outlines."""
    ends = [np.roll(points, -1, axis=0) for points in outlines]
    lengths = [np.linalg.norm(e - p, axis=1) for p, e in zip(outlines, ends, strict=True)]
    step = max(sum(own.sum() for own in lengths) / WALKED, 1e-9)
    found = []
    for points, own in zip(outlines, lengths, strict=True):
        along = np.concatenate([[0.0], np.cumsum(own)])
        closed = np.vstack([points, points[:1]])
        places = (np.arange(max(1, round(along[-1] / step))) + 0.5) * along[-1] / max(1, round(along[-1] / step))
        found.append(np.stack([np.interp(places, along, closed[:, axis]) for axis in (0, 1)], axis=1))
    return np.concatenate(found)


# --- several shapes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matched:
    """Two graders on one sample: `pairs` of shapes that mean the same, how far apart in px the boundaries of each pair
    run, and how many each drew."""

    pairs: tuple[tuple[Annotation, Annotation], ...]
    apart: tuple[float, ...]
    first: int
    second: int

    @property
    def f1(self) -> float:
        total = self.first + self.second
        return 2 * len(self.pairs) / total if total else 1.0

    def of_label(self, label: str | None, first: int, second: int) -> Matched:
        """The part that is of one class, of which each drew so many: only shapes of one class are matched."""
        own = [(pair, px) for pair, px in zip(self.pairs, self.apart, strict=True) if pair[0].label == label]
        return Matched(tuple(pair for pair, _ in own), tuple(px for _, px in own), first, second)


_known: dict[Hashable, Matched] = {}
"""What was compared before: a page asks again at every vote, and all but one sample are as they were."""
KEPT = 20_000


def match(a: Sequence[Annotation], b: Sequence[Annotation]) -> Matched:
    """The best one-to-one matching of shapes of the same class, IoU at least MATCH_IOU. This process remembers the last
    KEPT of them."""
    key = tuple(tuple((one.id, one.label, one.value) for one in own) for own in (a, b))
    found = _known.get(key)
    if found is None:
        found = _match(a, b)
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)), None)
        _known[key] = found
    return found


def _match(a: Sequence[Annotation], b: Sequence[Annotation]) -> Matched:
    from scipy.optimize import linear_sum_assignment

    table = same_shapes(a, b)
    rows, columns = linear_sum_assignment(-table)
    pairs = tuple((a[i], b[j]) for i, j in zip(rows, columns, strict=True) if table[i, j])
    apart = tuple(boundary_distance(rle.outlines(x.value), rle.outlines(y.value)) for x, y in pairs)
    return Matched(pairs, apart, len(a), len(b))


def same_shapes(a: Sequence[Annotation], b: Sequence[Annotation]) -> Array:
    """(len(a), len(b)): the IoU of those that mean the same (one class, at least MATCH_IOU), 0 of all others."""
    outlines = [[rle.outlines(one.value) for one in own] for own in (a, b)]
    (low_a, high_a), (low_b, high_b) = (_bounds(own) for own in outlines)
    near = (np.minimum(high_a[:, None], high_b) > np.maximum(low_a[:, None], low_b)).all(axis=2)
    table = np.zeros(near.shape)
    for i, j in np.argwhere(near):
        if a[i].label == b[j].label:
            found = iou(outlines[0][i], outlines[1][j])
            table[i, j] = found if found >= MATCH_IOU else 0
    return table


def _bounds(shapes: Sequence[Outlines]) -> tuple[Array, Array]:
    """((N, 2), (N, 2)): the least and the greatest (x, y) of each; a mask without a pixel lies nowhere."""
    found = np.full((len(shapes), 2, 2), np.nan)
    for n, outlines in enumerate(shapes):
        if outlines:
            points = np.concatenate(outlines)
            found[n] = points.min(axis=0), points.max(axis=0)
    return found[:, 0], found[:, 1]
