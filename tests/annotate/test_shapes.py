"""What may be saved as a shape: crossing, clipping and area hold for any points."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from trugrade_core.annotate.shapes import area, clip, crossing, distinct
from trugrade_core.data.rle import fill

coordinates = st.floats(-50, 150, allow_nan=False).map(lambda v: round(v, 2))
points = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12, unique=True).map(np.array)


def slow_crossing(outline: np.ndarray) -> bool:
    """By solving for where each two sides meet."""
    n = len(outline)
    for i in range(n):
        for j in range(i + 2, n - (i == 0)):
            a, b, c, d = outline[i], outline[(i + 1) % n], outline[j], outline[(j + 1) % n]
            m = np.stack([b - a, c - d], axis=1)
            if abs(np.linalg.det(m)) > 1e-9:
                t, u = np.linalg.solve(m, c - a)
                if 1e-6 < t < 1 - 1e-6 and 1e-6 < u < 1 - 1e-6:
                    return True
    return False


@given(points)
def test_a_crossing_is_found_where_there_is_one(outline: np.ndarray) -> None:
    found = crossing(outline)
    if slow_crossing(outline):
        assert found is not None
    elif found is not None:  # so near a touch that the two disagree
        assert crossing(outline, touching=True) is not None


@given(st.floats(0, 6.28), st.integers(3, 400))
def test_a_star_shaped_outline_crosses_nowhere_however_many_points_it_has(turn: float, n: int) -> None:
    angle = turn + np.linspace(0, 2 * np.pi, n, endpoint=False)
    radius = 20 + 10 * np.random.default_rng(n).random(n)
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    assert crossing(outline) is None
    assert (
        crossing(np.concatenate([outline, outline[:1] + np.array([[60, 0]]), outline[[n // 2]] - np.array([[60, 1]])]))
        is not None
        or n < 5
    )


@given(points)
def test_clipping_a_simple_outline_keeps_exactly_what_lies_inside(outline: np.ndarray) -> None:
    assume(crossing(outline, touching=True) is None and abs(area(outline)) > 1)
    low, high = np.array([-0.5, -0.5]), np.array([99.5, 79.5])
    kept = clip(outline, low, high)
    if len(kept):
        assert (kept >= low - 1e-9).all() and (kept <= high + 1e-9).all()
    moved = fill(outline + 60, 240, 240)[60:140, 60:160]
    shown = fill(kept, 100, 80) if len(distinct(kept) if len(kept) else kept) >= 3 else np.zeros((80, 100), bool)
    # A pixel whose centre lies on a side may fall to either hand.
    assert (moved != shown).sum() <= 0.002 * moved.size


def test_the_area_is_signed_and_repeated_points_are_left_out() -> None:
    square = np.array([[0, 0], [0, 0], [10, 0], [10, 10], [0, 10], [0, 0]], float)
    assert area(square) == 100 and area(square[::-1]) == -100
    assert len(distinct(square)) == 4


def test_an_outline_of_many_points_is_checked_without_holding_each_side_against_every_other() -> None:
    def seconds(n: int) -> float:
        angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
        outline = 1000 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            assert crossing(outline) is None
            taken.append(time.perf_counter() - began)
        return min(taken)

    assert seconds(16_000) < 30 * seconds(2_000)  # every pair would be 64 times the work
