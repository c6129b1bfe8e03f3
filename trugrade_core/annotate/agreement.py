"""Do graders agree? Votes lie in layers named after their graders; each figure has its interval over cards.

Scores: Krippendorff's alpha for ordinal data (Krippendorff, Computing Krippendorff's alpha-reliability, 2011) and, for
pairs of graders, Cohen's kappa with quadratic weights (Cohen 1968). Shapes: F1 of matched shapes and the distance of
their boundaries in mm. Tags: F1. The usual reading of alpha: 0.80 and more is reliable, 0.667 to 0.80 tentative.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trugrade_core.annotate.alike import Matched, match
from trugrade_core.annotate.saving import heads_of
from trugrade_core.data.store import Dataset, annotation_in
from trugrade_core.schema import Annotation, Box, LogEntry, Mask, Polygon, Sample, Score, Status, Tags

Array = NDArray[np.float64]

RESAMPLES = 500
LEVEL = 0.95
READINGS = ((0.8, "reliable"), (0.667, "tentative"), (float("-inf"), "not reliable"))
"""What an alpha of at least so much is customarily called."""
NO_VOTE = ("skipped", "rescan")
"""Who says this of a sample has not voted on it."""


@dataclass(frozen=True)
class Votes:
    """What each grader says of one sample, in the order of the log."""

    sample: Sample
    by: dict[str, list[Annotation]] = field(default_factory=dict)

    def score(self, grader: str) -> float | None:
        return next((a.value.score for a in self.by.get(grader, ()) if isinstance(a.value, Score)), None)

    def tags(self, grader: str) -> frozenset[str] | None:
        """Who said 'done' and gave nothing, where others gave tags, voted for none of them."""
        own = self.by.get(grader)
        found = next((frozenset(a.value.tags) for a in own or () if isinstance(a.value, Tags)), None)
        if found is None and own == [] and any(isinstance(a.value, Tags) for said in self.by.values() for a in said):
            return frozenset()
        return found

    def shapes(self, grader: str) -> list[Annotation]:
        return [a for a in self.by.get(grader, ()) if isinstance(a.value, Box | Polygon | Mask)]


def read_votes(ds: Dataset) -> dict[str, Votes]:
    """{sample: its votes} of every sample in which anybody voted, from the layers beside main. A vote is what was drawn or
    given, or 'done' where nothing is; who skipped the sample, or asks for a new scan, has not voted. Raises DatasetError for
    a damaged log."""
    said: dict[tuple[str, str], list[LogEntry]] = defaultdict(list)
    for entry in ds.log():
        if entry.layer != "main":
            said[entry.sample, entry.layer].append(entry)
    given: dict[tuple[str, str], list[Annotation]] = defaultdict(list)
    statuses: dict[tuple[str, str], str] = {}
    for vote, entries in said.items():
        for heads in heads_of(entries).values():
            last = next((e for e in reversed(heads) if e.op == "put" and e.value is not None), None)
            if last is not None and isinstance(last.value, Status):
                statuses[vote] = last.value.status
            elif last is not None:
                given[vote].append(annotation_in(last))
    index = ds.index()
    found: dict[str, Votes] = {}
    for sample, layer in sorted({*given, *statuses}):
        status = statuses.get((sample, layer), "")
        if sample in index.offsets and status not in NO_VOTE and (given[sample, layer] or status == "done"):
            found.setdefault(sample, Votes(index.read(sample))).by[layer] = given[sample, layer]
    return found


# --- figures ------------------------------------------------------------------------------------------------------


def krippendorff_alpha(votes: Array, level: str = "ordinal") -> float:
    """Of (units, graders) with nan for no vote; `level` ordinal, interval or nominal. nan where nothing can be said: no
    unit with two votes, or one value only."""
    paired = votes[(~np.isnan(votes)).sum(axis=1) >= 2]
    values, codes = np.unique(paired[~np.isnan(paired)], return_inverse=True)
    if len(values) < 2:
        return float("nan")
    counts = np.zeros((len(paired), len(values)))
    np.add.at(counts, (np.nonzero(~np.isnan(paired))[0], codes), 1)
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = coincidence.sum(axis=1)
    n = totals.sum()
    difference = _difference(values, totals, level)
    observed = (coincidence * difference).sum() / n
    expected = (np.outer(totals, totals) * difference).sum() / (n * (n - 1))
    return float(1 - observed / expected)


def _difference(values: Array, totals: Array, level: str) -> Array:
    """Squared differences between values (V, V)."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "interval":
        return np.asarray((values[:, None] - values) ** 2, np.float64)
    upto = np.cumsum(totals)
    between = np.abs(upto[:, None] - upto)  # of the later one its own, of the earlier one none
    later = np.maximum.outer(np.arange(len(values)), np.arange(len(values)))
    earlier = np.minimum.outer(np.arange(len(values)), np.arange(len(values)))
    return np.asarray((between + totals[earlier] / 2 - totals[later] / 2) ** 2, np.float64)


def reading(alpha: float) -> str:
    """How an alpha is customarily read: reliable, tentative, not reliable."""
    return next(word for least, word in READINGS if alpha >= least)


def quadratic_kappa(a: Array, b: Array) -> float:
    """Cohen's kappa with quadratic weights of two graders' scores (N,); nan where neither ever varies."""
    if not len(a):
        return float("nan")
    observed = ((a - b) ** 2).mean()
    # The mean over all pairs of any score of the one with any of the other.
    expected = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(1 - observed / expected) if expected > 1e-12 else float("nan")


def intervals(units: Array, cards: Sequence[str], figure: Callable[[Array], float], seed: int = 0) -> dict[str, Any]:
    """{"value", "low", "high", "samples", "cards"}: the figure of `units` (N, K), a row a sample or pair, and its interval
    when cards are drawn again."""
    by_card: dict[str, list[int]] = defaultdict(list)
    for n, card in enumerate(cards):
        by_card[card].append(n)
    order = np.array([n for own in by_card.values() for n in own])
    sizes = np.array([len(own) for own in by_card.values()])
    starts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES if len(sizes) > 1 else 0):
        cards_drawn = rng.integers(0, len(sizes), len(sizes))
        counts = sizes[cards_drawn]
        first = np.repeat(starts[cards_drawn] - np.cumsum(counts) + counts, counts)
        drawn.append(figure(units[order[first + np.arange(counts.sum())]]))
    known = np.array([value for value in drawn if not np.isnan(value)])
    value = figure(units)
    tail = (1 - LEVEL) / 2
    enough = len(known) * 2 >= RESAMPLES
    return {
        "value": None if np.isnan(value) else value,
        "low": float(np.quantile(known, tail)) if enough else None,
        "high": float(np.quantile(known, 1 - tail)) if enough else None,
        "samples": len(units),
        "cards": len(sizes),
    }


def _mean(units: Array) -> float:
    return float(units[:, 0].mean())


def _share(units: Array) -> float:
    """Of (N, 2): the sum of the first over the sum of the second."""
    total = units[:, 1].sum()
    return float(units[:, 0].sum() / total) if total else float("nan")


# --- all of a dataset -----------------------------------------------------------------------------------------------


def agreement(votes: Iterable[Votes]) -> dict[str, Any]:
    """{"graders", "scores": {"alpha", "pairs"}, "shapes": {"classes", "pairs"}, "tags"}: what graders who saw the same
    samples say alike; figures as `intervals` gives them. Distances are in mm where the scan's dpi is known."""
    several = [v for v in votes if len(v.by) > 1]
    graders = sorted({grader for v in several for grader in v.by})
    return {
        "samples": len(several),
        "graders": [_grader(grader, several) for grader in graders],
        "scores": _scores(several, graders),
        "shapes": _shapes(several, graders),
        "tags": _tags(several, graders),
    }


def _grader(grader: str, several: Sequence[Votes]) -> dict[str, Any]:
    """How many this one saw, and how far the scores lie above the others' mean, in grades."""
    offsets, cards = [], []
    for v in several:
        own, others = v.score(grader), [s for g in v.by if g != grader and (s := v.score(g)) is not None]
        if own is not None and others:
            offsets.append(own - sum(others) / len(others))
            cards.append(v.sample.card)
    seen = sum(grader in v.by for v in several)
    bias = intervals(np.array(offsets)[:, None], cards, _mean) if offsets else None
    return {"grader": grader, "samples": seen, "bias": bias}


def _scores(several: Sequence[Votes], graders: Sequence[str]) -> dict[str, Any]:
    scored = [v for v in several if sum(v.score(g) is not None for g in graders) > 1]
    if not scored:
        return {"alpha": None, "pairs": []}
    cards = [v.sample.card for v in scored]
    table = [[np.nan if (s := v.score(g)) is None else s for g in graders] for v in scored]
    pairs = []
    for a, b in combinations(graders, 2):
        both = [v for v in scored if v.score(a) is not None and v.score(b) is not None]
        if both:
            said = [(v.score(a) or 0.0, v.score(b) or 0.0) for v in both]
            within = [abs(x - y) <= 0.5 for x, y in said]
            kappa = intervals(np.array(said), [v.sample.card for v in both], lambda units: quadratic_kappa(*units.T))
            pairs.append({"graders": [a, b], "kappa": kappa, "within_half": sum(within) / len(within)})
    alpha = intervals(np.array(table, float), cards, krippendorff_alpha)
    if alpha["value"] is not None:
        alpha["reading"] = reading(alpha["value"])
    return {"alpha": alpha, "pairs": pairs}


def _shapes(several: Sequence[Votes], graders: Sequence[str]) -> dict[str, Any]:
    rows: dict[str, list[tuple[Votes, Matched]]] = defaultdict(list)
    pairs = []
    for a, b in combinations(graders, 2):
        both: list[tuple[Votes, Matched]] = []
        for v in several:
            if a in v.by and b in v.by and (v.shapes(a) or v.shapes(b)):
                whole = match(v.shapes(a), v.shapes(b))
                both.append((v, whole))
                drawn = [Counter(s.label for s in v.shapes(g)) for g in (a, b)]
                for label in {*drawn[0], *drawn[1]}:
                    rows[label or ""].append((v, whole.of_label(label, drawn[0][label], drawn[1][label])))
        if both:
            pairs.append({"graders": [a, b], "f1": _f1(both), "distance_mm": _distance(both)})
    classes = {label: {"f1": _f1(found), "distance_mm": _distance(found)} for label, found in sorted(rows.items())}
    return {"classes": classes, "pairs": pairs}


def _f1(found: Sequence[tuple[Votes, Matched]]) -> dict[str, Any]:
    units = np.array([(2 * len(m.pairs), m.first + m.second) for _, m in found], float)
    return intervals(units, [v.sample.card for v, _ in found], _share)


def _distance(found: Sequence[tuple[Votes, Matched]]) -> dict[str, Any] | None:
    known = [(v.sample.card, px * mm) for v, m in found for px in m.apart if (mm := v.sample.mm_per_px)]
    return intervals(np.array([[d] for _, d in known]), [card for card, _ in known], _mean) if known else None


def _tags(several: Sequence[Votes], graders: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for a, b in combinations(graders, 2):
        both = [(v, x, y) for v in several if (x := v.tags(a)) is not None and (y := v.tags(b)) is not None]
        if both:
            units = np.array([(2 * len(x & y), len(x) + len(y)) for _, x, y in both], float)
            found.append({"graders": [a, b], "f1": intervals(units, [v.sample.card for v, _, _ in both], _share)})
    return found


def disagreement(votes: Votes) -> float:
    """0 for one mind, larger the further apart: the spread of scores in grades, plus what of shapes and tags does not
    match. For sorting a review."""
    graders = list(votes.by)
    scores = [s for g in graders if (s := votes.score(g)) is not None]
    apart = max(scores) - min(scores) if scores else 0.0
    for a, b in combinations(graders, 2):
        if votes.shapes(a) or votes.shapes(b):
            apart += 1 - match(votes.shapes(a), votes.shapes(b)).f1
        x, y = votes.tags(a), votes.tags(b)
        if x is not None and y is not None and x | y:
            apart += 1 - len(x & y) / len(x | y)
    return float(apart)
