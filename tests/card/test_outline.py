"""The four corners of a card, from whatever was drawn of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.card.outline import box_cost_mm, corners_of, find, ordered
from trugrade_core.data import rle
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Score, Value
from trugrade_core.synth.cards import rounded_outline

CARD = np.array([(40.2, 30.4), (340.7, 33.1), (336.9, 452.6), (36.4, 449.9)])


def polygon(points: Any) -> Polygon:
    return Polygon(points=tuple((float(x), float(y)) for x, y in points))


def annotation(value: Value, label: str | None = "outer_border", id: str = "a") -> Annotation:
    return Annotation(id=id, sample="s", label=label, value=value)


def turned(points: np.ndarray, degrees: float, about: tuple[float, float] = (0, 0)) -> np.ndarray:
    a = np.deg2rad(degrees)
    return (points - about) @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + about


@given(st.integers(0, 3), st.booleans(), st.floats(-44, 44))
def test_a_quads_corners_come_clockwise_from_the_top_left_however_it_was_drawn(
    first: int, back: bool, tilt: float
) -> None:
    quad = turned(CARD, tilt, (190, 240))
    drawn = np.roll(quad[::-1] if back else quad, first, axis=0)
    corners, found = corners_of(polygon(drawn))
    assert found == "quad"
    assert np.allclose(corners, quad)


def test_a_card_on_its_side_is_named_as_it_lies() -> None:
    landscape = np.array([(10, 10), (430, 12), (429, 310), (9, 308)], float)
    corners, _ = corners_of(polygon(np.roll(landscape, 2, axis=0)))
    assert np.allclose(corners, landscape)


@given(st.floats(-40, 40))
def test_round_corners_give_the_crossing_of_the_straight_sides(tilt: float) -> None:
    outline = turned(rounded_outline(150, 210, 14), tilt) + 300
    corners, found = corners_of(polygon(outline))
    truth = turned(np.array([(-150, -210), (150, -210), (150, 210), (-150, 210)], float), tilt) + 300
    assert found == "fitted"
    assert np.abs(corners - truth).max() < 0.05


def test_a_masks_corners_are_found_to_a_fraction_of_a_pixel() -> None:
    mask = rle.fill(CARD, 380, 480)
    mask[200:220, 335:372] = True  # a tongue that a model or a brush left outside
    mask[445:, 150:170] = False
    corners, found = corners_of(rle.encode(mask))
    assert found == "fitted"
    assert np.abs(corners - CARD).max() < 0.3


def test_perspective_is_followed_by_the_fitted_lines() -> None:
    quad = np.array([(60, 40), (300, 80), (330, 430), (20, 400)], float)
    dense = np.concatenate(
        [np.linspace(a, b, 50, endpoint=False) for a, b in zip(quad, np.roll(quad, -1, 0), strict=True)]
    )
    corners, _ = corners_of(polygon(dense))
    assert np.abs(corners - quad).max() < 0.05


@pytest.mark.parametrize("value", [
    Box(xyxy=(10, 20, 160, 230)),
    polygon([(10, 20), (160, 20), (160, 230), (10, 230)]),
    polygon([(10, 20), (160, 20), (160, 20), (160, 230), (160, 230), (10, 230), (10, 230), (10, 20)]),
])  # fmt: skip
def test_an_upright_box_is_known_as_one_also_when_it_is_written_as_a_polygon(value: Value) -> None:
    corners, found = corners_of(value)
    assert found == "box"
    assert corners.tolist() == [[10, 20], [160, 20], [160, 230], [10, 230]]


def test_a_box_may_be_off_by_half_a_millimetre_at_the_ends_of_a_side() -> None:
    assert box_cost_mm((63.5, 88.9)) == pytest.approx(0.4655, abs=1e-3)


@pytest.mark.parametrize(("points", "words"), [
    ([(0, 0), (100, 140), (100, 0), (0, 140)], "crosses itself"),
    ([(0, 0), (100, 0), (20, 30), (0, 140)], "points inwards"),
    ([(0, 0), (50, 50), (100, 100), (25, 25)], "has no area|points inwards|crosses itself"),
    ([(3, 3), (3, 3), (3, 3), (3, 3)], "has no area"),
    ([(50 + 40 * np.cos(a), 60 + 40 * np.sin(a)) for a in np.linspace(0, 6.2, 40)], "no four straight sides"),
])  # fmt: skip
def test_what_cannot_be_a_card_is_refused_with_what_to_do(points: list[tuple[float, float]], words: str) -> None:
    with pytest.raises(DatasetError, match=words) as e:
        corners_of(polygon(points))
    assert e.value.code == "card.outline"
    assert "four corners" in e.value.what_to_do


# --- which shape is the card ------------------------------------------------------------------------------------


def test_the_outer_border_is_taken_before_anything_else() -> None:
    inner = annotation(polygon(CARD * 0.8 + 20), "graphical_border", "inner")
    found = find([inner, annotation(polygon(CARD))], ("graphical_border", "outer_border"))
    assert (found.label, found.annotation, found.notes) == ("outer_border", "a", ())


def test_a_class_of_another_name_is_taken_when_it_looks_like_a_card() -> None:
    scratch = annotation(polygon([(50, 50), (300, 60), (300, 62), (50, 52)]), "scratch", "b")
    found = find([scratch, annotation(polygon(CARD), "carte")], ("scratch", "carte"))
    assert found.label == "carte"


def test_of_two_cards_in_a_scan_the_largest_is_taken_and_it_is_said() -> None:
    small = annotation(polygon(CARD * 0.9), id="small")
    found = find([small, annotation(polygon(CARD), id="large")], ("outer_border",))
    assert found.annotation == "large"
    assert found.notes == ("2 outlines of 'outer_border': the largest was taken",)


def test_a_named_class_may_be_of_any_shape() -> None:
    square = annotation(polygon([(0, 0), (100, 1), (101, 100), (1, 99)]), "slab")
    assert find([square], ("slab",), "slab").found == "quad"
    with pytest.raises(DatasetError, match="no outline: no shape of the card's edge"):
        find([square], ("slab",))
    with pytest.raises(DatasetError, match="no shape of 'slab'"):
        find([annotation(polygon(CARD))], ("slab", "outer_border"), "slab")
    with pytest.raises(UsageError, match="no class 'slap'") as e:
        find([square], ("slab",), "slap")
    assert "did you mean 'slab'?" in e.value.what_to_do


def test_scores_and_empty_masks_are_no_outline() -> None:
    empty: Mask = rle.encode(np.zeros((20, 20), bool))
    with pytest.raises(DatasetError, match="has no area"):
        find([annotation(empty), annotation(Score(score=9), None, "b")], ("outer_border",))
    with pytest.raises(DatasetError, match="no outline") as e:
        find([annotation(Score(score=9), None)], ("outer_border",))
    assert "--outline-from" in e.value.what_to_do


def test_ordered_keeps_what_is_ordered() -> None:
    assert np.array_equal(ordered(CARD), CARD)
