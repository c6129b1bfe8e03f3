"""Sharing groups out so that every trait comes near its share in every split, also where counts are small.

Groups of equal content are one *kind*, and what is looked for is how many of each kind go into each split: rare traits
are given out first, each group where it is most missing (after Sechidis, Tsoumakas, Vlahavas 2011, 'On the
Stratification of Multi-label Data'), then single moves and exchanges are made for as long as the imbalance falls.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]

CANDIDATES = 20_000
"""Exchanges weighed in a round: all of them where there are no more, else DRAWN of them."""
DRAWN = 4000
NEAR = 2e-4
"""An imbalance this near to the least there can be is left as it is."""
ROUNDS = 400
DRY_ROUNDS = 3
"""Rounds of drawn candidates without any gain before it is left as it is."""
KICKS = 20
"""How often a finished result of a small problem is shaken and mended again; the best is taken."""


@dataclass(frozen=True)
class Problem:
    """`rows` (kinds, traits) counts of a group of each kind, `number` (kinds,) groups of it, `base` (traits, splits)
    what is settled already, `settled` (splits,) groups in it, `shares` (splits,) summing to 1, `weights` (traits,)."""

    rows: Counts
    number: NDArray[np.int64]
    base: Counts
    settled: NDArray[np.int64]
    shares: Counts
    weights: Counts

    @property
    def totals(self) -> Counts:
        found: Counts = self.base.sum(1) + self.rows.T @ self.number
        return found

    @property
    def wanted(self) -> Counts:
        """(traits, splits)"""
        return self.totals[:, None] * self.shares[None, :]

    def have(self, x: NDArray[np.int64]) -> Counts:
        """(traits, splits) for an allocation (kinds, splits)."""
        found: Counts = self.base + self.rows.T @ x
        return found

    def cost(self, x: NDArray[np.int64]) -> float:
        return float(self.weights @ off_share(self.have(x), self.shares))

    @property
    def least(self) -> float:
        """No allocation costs less: each trait shared out by itself."""
        return float(self.weights @ [least_off(round(total), self.shares) for total in self.totals])


def off_share(have: Counts, shares: Counts) -> Counts:
    """(traits,) of (traits, splits) counts: the part of each trait that lies in another split than `shares` ask."""
    totals = have.sum(1, keepdims=True)
    off: Counts = np.abs(have - totals * shares).sum(1) / np.maximum(2 * totals[:, 0], 1)
    return off


def least_off(total: int, shares: Counts) -> float:
    """The smallest `off_share` that `total` whole things can have."""
    wanted = total * shares
    whole = np.floor(wanted + 1e-9)
    for i in np.argsort(whole - wanted, kind="stable")[: round(total - whole.sum())]:
        whole[i] += 1
    return float(off_share(whole[None, :], shares)[0])


def share_out(problem: Problem, seed: int) -> NDArray[np.int64]:
    """(kinds, splits): how many groups of each kind go where. A split without a share gets none; each other gets a
    group as far as they go."""
    x = _improved(problem, _fill(problem, _greedy(problem)), seed)
    best, lowest = x, round(problem.cost(x), 9)
    draw = random.Random(seed)  # noqa: S311
    is_small = 1 < len(problem.rows) <= (CANDIDATES**0.5) / len(problem.shares)
    for kick in range(KICKS if is_small else 0):
        if lowest <= problem.least + NEAR:
            break
        shaken = _improved(problem, _shaken(problem, best.copy(), draw), seed + kick + 1)
        if (found := round(problem.cost(shaken), 9)) < lowest:
            best, lowest = shaken, found
    return best


def _greedy(problem: Problem) -> NDArray[np.int64]:
    """Kinds with the rarest trait first, each group where what it brings is most missing."""
    x = np.zeros((len(problem.rows), len(problem.shares)), np.int64)
    totals = problem.totals
    rarity = np.where(problem.rows > 0, totals, np.inf).min(1) if len(problem.rows) else np.zeros(0)
    missing = problem.wanted - problem.base
    scale = problem.weights / np.maximum(totals, 1)
    closed = problem.shares <= 0
    part = np.where(closed, 1, problem.shares)  # what is missing counts by the share: splits fill at one pace
    for kind in np.lexsort((-problem.rows.sum(1), rarity)):
        row = problem.rows[kind]
        for _ in range(problem.number[kind]):
            need = (row * scale) @ missing / part
            need[closed] = -np.inf
            split = int(np.argmax(np.round(need, 9)))
            x[kind, split] += 1
            missing[:, split] -= row
    return x


def _fill(problem: Problem, x: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give each split with a share and no group one of the split with most, the one that costs least."""
    for split in np.flatnonzero(problem.shares > 0):
        groups = x.sum(0) + problem.settled
        giver = int(np.argmax(np.where(x.sum(0) > 0, groups, -1)))
        if groups[split] or groups[giver] < 2 or not x[:, giver].any():
            continue
        costs = []
        for kind in np.flatnonzero(x[:, giver]):
            tried = _moved(x, [(int(kind), giver, int(split))])
            costs.append((round(problem.cost(tried), 9), int(kind)))
        x = _moved(x, [(min(costs)[1], giver, int(split))])
    return x


def _moved(x: NDArray[np.int64], moves: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """A copy of `x` with one group of each (kind, from, to) moved."""
    x = x.copy()
    for kind, source, target in moves:
        x[kind, source] -= 1
        x[kind, target] += 1
    return x


def _shaken(problem: Problem, x: NDArray[np.int64], draw: random.Random) -> NDArray[np.int64]:
    """Three exchanges between splits at random; no split gets or loses a group by them."""
    for _ in range(3):
        places = np.argwhere(x > 0).tolist()
        (a, s), (b, t) = draw.choice(places), draw.choice(places)
        if s != t and problem.shares[s] > 0 and problem.shares[t] > 0:
            x = _moved(x, [(a, s, t), (b, t, s)])
    return x


def _improved(problem: Problem, x: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The best single move or exchange, again and again, until none lowers the cost."""
    draw = random.Random(seed)  # noqa: S311
    wanted = problem.wanted
    scale = problem.weights / np.maximum(2 * problem.totals, 1)
    enough = problem.least + NEAR
    open_splits = np.flatnonzero(problem.shares > 0)
    dry = 0
    for _ in range(ROUNDS):
        off = problem.have(x) - wanted
        if np.abs(off).sum(1) @ scale <= enough:
            break
        kind, split = np.nonzero(x)
        give, take, target, is_all = _candidates(split, open_splits, x.sum(0) + problem.settled, draw)
        if not len(give):
            break
        back = np.where((take >= 0)[:, None], problem.rows[kind[take]], 0.0)
        brought = problem.rows[kind[give]] - back
        before, after = off.T[split[give]], off.T[target]
        change = np.abs(before - brought) - np.abs(before) + np.abs(after + brought) - np.abs(after)
        gain = np.round(change @ scale, 9)
        best = int(np.argmin(gain))
        if gain[best] >= 0:
            dry += 1
            if is_all or dry >= DRY_ROUNDS:
                break
            continue
        dry = 0
        a, b = int(give[best]), int(take[best])
        source, to = int(split[a]), int(target[best])
        x = _moved(x, [(int(kind[a]), source, to), *([(int(kind[b]), to, source)] if b >= 0 else [])])
    return x


def _candidates(
    split: NDArray[np.int64], open_splits: NDArray[np.int64], groups: NDArray[np.int64], draw: random.Random
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], bool]:
    """(place that gives, place that gives back or -1, split it goes to), and whether these are all there are.

    A place is a kind in a split. The last group of a split is not moved away, only exchanged.
    """
    places = np.flatnonzero(np.isin(split, open_splits))
    can_leave = places[groups[split[places]] > 1]
    moves = [(np.full(len(can_leave), s), can_leave) for s in open_splits]
    target = np.concatenate([s[split[p] != s] for s, p in moves]) if moves else np.zeros(0, np.int64)
    give = np.concatenate([p[split[p] != s] for s, p in moves]) if moves else np.zeros(0, np.int64)
    take = np.full(len(give), -1)
    is_all = len(places) ** 2 <= CANDIDATES
    if is_all:
        i, j = (found.ravel() for found in np.meshgrid(places, places, indexing="ij"))
    else:
        i, j = places[np.array(draw.choices(range(len(places)), k=2 * DRAWN)).reshape(2, DRAWN)]
    pair = split[i] < split[j] if is_all else split[i] != split[j]
    i, j = i[pair], j[pair]
    return np.concatenate([give, i]), np.concatenate([take, j]), np.concatenate([target, split[j]]), is_all
