"""Intervals: what a metric would have been with other cards of the same kind.

The unit that is drawn again is the card, with all its images. A draw is a row of counts, how often each card came;
every statistic is computed for all draws at once from stored matches, so two models (or a model and the baseline)
can be compared on the same draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

RESAMPLES = 1000
SEED = 20_240
LEVEL = 0.95
CHUNK = 4_000_000
"""Numbers held at once."""


def draws(cards: int, resamples: int = RESAMPLES, seed: int = SEED) -> Array:
    """(R, C) how often each card was drawn in each resample; the first row is the cards as they are."""
    again = np.random.default_rng(seed).multinomial(cards, np.full(cards, 1 / cards), size=resamples)
    return np.concatenate([np.ones((1, cards)), again]).astype(np.float64)


def quantile(values: Array, cards: Ints, counts: Array, q: float) -> Array:
    """(R,) the q-quantile (linear, as `np.quantile`) of the values (n,) with each as often as its card was drawn."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    found = np.full(len(counts), np.nan)
    step = max(1, CHUNK // max(1, len(values)))
    for start in range(0, len(counts), step):
        upto = np.cumsum(counts[start : start + step][:, cards[order]], axis=1)
        total = upto[:, -1] if len(values) else np.zeros(0)
        rows = np.flatnonzero(total > 0)
        at = (total[rows] - 1) * q
        low = (upto[rows] <= np.floor(at)[:, None]).sum(axis=1)
        high = (upto[rows] <= np.ceil(at)[:, None]).sum(axis=1)
        found[start + rows] = ranked[low] + (ranked[high] - ranked[low]) * (at - np.floor(at))
    return found


def per_card(weights: Array, cards: Ints, count: int) -> Array:
    """(C, …): sums over each card of weights (n, …)."""
    found = np.zeros((count, *weights.shape[1:]))
    np.add.at(found, cards, weights)
    return found


def ratio(top: Array, bottom: Array) -> Array:
    """top / bottom, nan where bottom is 0."""
    found: Array = np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)
    return found


def interval(drawn: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """Low and high percentile over the resamples (rows after the first); nan where most draws say nothing."""
    again = drawn[1:]
    known = ~np.isnan(again)
    ranked = np.sort(again, axis=0)  # nan goes last
    count = known.sum(axis=0)
    tail = (1 - level) / 2
    low = _ranked_quantile(ranked, count, tail)
    high = _ranked_quantile(ranked, count, 1 - tail)
    enough = count * 2 >= len(again)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def _ranked_quantile(ranked: Array, count: Ints, q: float) -> Array:
    at = np.clip((count - 1) * q, 0, None)
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    below = np.take_along_axis(ranked, low[None, ...], axis=0)[0]
    above = np.take_along_axis(ranked, high[None, ...], axis=0)[0]
    found: Array = below + (above - below) * (at - low)
    return found


def clopper_pearson(right: int, count: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact two-sided interval of a share."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, right, count - right + 1)) if right else 0.0
    high = float(beta.ppf(1 - tail, right + 1, count - right)) if right < count else 1.0
    return low, high


def lower_bound(right: int, count: int, level: float = LEVEL) -> float:
    """Exact one-sided lower bound of a share."""
    from scipy.stats import beta

    return float(beta.ppf(1 - level, right, count - right + 1)) if right else 0.0
