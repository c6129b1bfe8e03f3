from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.evaluate.bootstrap import clopper_pearson, draws, interval, lower_bound, per_card, quantile, ratio


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=20),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
)
def test_quantile_equals_numpys_of_the_values_as_drawn(values: list[float], seed: int, q: float) -> None:
    rng = np.random.default_rng(seed)
    cards = rng.integers(0, 4, len(values))
    counts = rng.integers(0, 3, (5, 4)).astype(float)
    found = quantile(np.array(values), cards, counts, q)
    for row, value in zip(counts, found, strict=True):
        drawn = np.repeat(values, row[cards].astype(int))
        if len(drawn):
            assert value == pytest.approx(np.quantile(drawn, q), abs=1e-9)
        else:
            assert np.isnan(value)


def test_the_first_draw_is_the_cards_as_they_are_and_the_rest_are_fixed() -> None:
    counts = draws(7)
    assert counts.shape == (1001, 7) and (counts[0] == 1).all() and (counts.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(counts, draws(7))


def test_interval_of_a_mean_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        values = rng.normal(3, 1, 40)
        counts = draws(40, 300, seed=int(rng.integers(1 << 30)))
        low, high = interval(ratio(counts @ values, counts.sum(axis=1)))
        inside += bool(low <= 3 <= high)
    assert 0.88 <= inside / 200 <= 0.99


def test_images_of_one_card_are_drawn_together() -> None:
    """Ten copies of each card make the interval no narrower: n counts cards."""
    values = np.random.default_rng(0).normal(0, 1, 12)
    counts = draws(12)
    once = quantile(values, np.arange(12), counts, 0.5)
    tenfold = quantile(np.repeat(values, 10), np.repeat(np.arange(12), 10), counts, 0.5)
    width, width_tenfold = np.subtract(*interval(once)), np.subtract(*interval(tenfold))
    assert width_tenfold == pytest.approx(width, rel=0.15)


def test_interval_leaves_out_draws_that_say_nothing() -> None:
    low, high = interval(np.array([1.0, np.nan, 1.0, 2.0, 3.0]))
    assert low == pytest.approx(1.05) and high == pytest.approx(2.95)
    low, high = interval(np.array([1.0, np.nan, np.nan, np.nan, 1.0]))
    assert np.isnan(low) and np.isnan(high)


def test_exact_bounds_are_those_of_the_tables() -> None:
    assert lower_bound(1497, 1497) == pytest.approx(0.9980, abs=5e-5)
    assert lower_bound(1496, 1496) < 0.998
    assert lower_bound(99, 100) == pytest.approx(0.9534, abs=5e-5)
    assert lower_bound(0, 5) == 0
    low, high = clopper_pearson(12, 12)
    assert low == pytest.approx(0.025 ** (1 / 12)) and high == 1
    assert clopper_pearson(0, 12) == pytest.approx((0, 1 - low))


def test_per_card_sums() -> None:
    np.testing.assert_array_equal(per_card(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]), 3), [2, 5, 0])
