"""What the benches share: a row of the table, and timing in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """`ratio` is how many times better than `compared_with` (or, for growth, how many times as much); `met` None where
    there is no goal. A `figure` of None was not measured, and the note says why."""

    name: str
    figure: float | None
    unit: str
    compared_with: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None
    note: str = ""


def alternate(
    sides: Mapping[str, Callable[[], object]], rounds: int, *, calls: int = 1, rest_s: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of one call of each side in each round: the median of `calls` in a row, a first one not counted.

    Sides take turns, every second round in reverse. `rest_s` lets the threads of the side before come to rest.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            time.sleep(rest_s)
            if calls > 1:
                sides[name]()
            found[name].append(statistics.median(timed(sides[name]) for _ in range(calls)))
    return found


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def times_faster(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of their seconds divided by ours of the same round."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
