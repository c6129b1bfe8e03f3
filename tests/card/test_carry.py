"""Labels from a scan to its regions and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.card.samples import card, crop, polygon, sample
from trugrade_core.card.carry import carry, to_parent
from trugrade_core.card.geometry import area
from trugrade_core.card.plane import photo_plane, scan_plane
from trugrade_core.card.regions import Cut, cut_regions
from trugrade_core.data import rle
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Score, Tags, Value

K = 10.0


def cuts(tilt: float = 0.0, part: str = "corner") -> list[Cut]:
    plane = scan_plane(card(63.5, 88.9, 254, tilt), K)
    return cut_regions(plane, part, {"corner": (8.0, 8.0), "edge": (22.0, 5.0)}.get(part), 1, 0)


def label(value: Value) -> Annotation:
    return Annotation(id="a", sample="parent", label="whitening", value=value)


def back(cut: Cut, value: Value) -> Any:
    return to_parent(crop(cut.matrix, cut.size_wh), value, sample(800, 1100))


@given(st.floats(-40, 40), st.integers(0, 3), st.floats(5, 60), st.floats(5, 60), st.floats(2, 12), st.integers(3, 9))
def test_a_polygon_inside_comes_back_to_a_millionth_of_a_pixel_with_its_area(
    tilt: float, n: int, x: float, y: float, r: float, points: int
) -> None:
    cut = cuts(tilt)[n]
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    inside = np.stack([x + r * np.cos(angles), y + 0.6 * r * np.sin(angles)], axis=1)
    assume(inside.min() > 0 and inside.max() < 79)
    on_scan = back(cut, polygon(inside))
    found, clipped = carry(label(on_scan), [cut])[cut.region]
    assert isinstance(found, Polygon) and not clipped
    assert np.abs(np.array(found.points) - inside).max() < 1e-6
    assert area(np.array(on_scan.points)) / K**2 == pytest.approx(
        area(inside) / K**2
    )  # mm² on the scan and on the crop


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-2, 2), st.floats(-2, 2))
def test_perspective_comes_back_too(a: float, b: float, c: float, d: float) -> None:
    quad = np.array([(160 + 20 * a, 120), (610, 150 + 20 * b), (640 + 20 * c, 800), (110, 770 + 20 * d)])
    cut = cut_regions(photo_plane(quad, "us"), "corner", (8, 8), 1, 0)[1]
    inside = np.array([(12.0, 15), (40, 18), (35, 44), (10, 30)])
    found, _ = carry(label(back(cut, polygon(inside))), [cut])[cut.region]
    assert isinstance(found, Polygon)
    assert np.abs(np.array(found.points) - inside).max() < 1e-6


def test_a_box_stays_one_on_an_upright_card_and_turns_with_a_tilted_one() -> None:
    box = Box(xyxy=(690, 75, 720, 95))
    straight = cuts()[1]
    found, clipped = carry(label(box), [straight])[straight.region]
    assert isinstance(found, Box) and clipped
    assert found.xyxy == (15, -0.5, 35, 14)  # turned: right of the scan is up; what lies outside is gone
    inside = Box(xyxy=(670.0, 75.5, 690.5, 95.0))
    found, clipped = carry(label(inside), [straight])[straight.region]
    assert not clipped and back(straight, found) == inside
    tilted = cuts(5)[0]
    found, _ = carry(label(Box(xyxy=(70, 80, 90, 95))), [tilted])[tilted.region]
    assert isinstance(found, Polygon) and len(found.points) == 4
    assert isinstance(back(tilted, Box(xyxy=(10, 10, 20, 20))), Polygon)


@given(st.floats(-30, 30), st.floats(-60, 60), st.floats(-60, 60), st.floats(10, 90))
def test_what_is_clipped_is_what_lies_in_the_region(tilt: float, x: float, y: float, r: float) -> None:
    cut = cuts(tilt)[0]
    star = np.array(
        [(r * (1, 0.45)[i % 2] * np.cos(i * 0.7), r * (1, 0.45)[i % 2] * np.sin(i * 0.7)) for i in range(9)]
    )
    star += np.array([40 + x, 40 + y])
    on_scan = back(cut, polygon(star))
    truth = rle.fill(star, 80, 80).sum()
    assume(truth > 30)
    found, _ = carry(label(on_scan), [cut])[cut.region]
    mask = rle.decode(found) if isinstance(found, Mask) else rle.fill(np.array(found.points), 80, 80)
    assert abs(int(mask.sum()) - int(truth)) <= 2


def test_a_shape_that_comes_in_twice_is_a_mask_of_both_parts() -> None:
    cut = cuts()[0]
    fork = [(70, 20), (130, 20), (130, 75), (62, 75), (62, 85), (130, 85), (130, 130), (70, 130), (70, 120), (120, 120),
            (120, 95), (55, 95), (55, 60), (120, 60), (120, 30), (70, 30)]  # fmt: skip
    shifted = np.array(fork, float) + np.array([45, 0])
    found, clipped = carry(label(polygon(shifted)), [cut])[cut.region]
    assert clipped
    assert isinstance(found, Mask)
    assert len(rle.mask_outlines(rle.decode(found))) == 2


@settings(max_examples=12)
@given(st.floats(-30, 30), st.integers(0, 3))
def test_a_mask_keeps_its_area_and_place(tilt: float, n: int) -> None:
    plane = scan_plane(card(63.5, 88.9, 254, tilt, (500, 400)), K)
    cut = cut_regions(plane, "corner", (8, 8), 1, 0)[n]
    blob = np.array([(20.0, 20), (50, 24), (55, 50), (30, 60)])
    on_scan = rle.encode(rle.fill(np.array(back(cut, polygon(blob)).points), 1500, 1600))
    found, clipped = carry(label(on_scan), [cut])[cut.region]
    assert isinstance(found, Mask) and not clipped and found.size_hw == (80, 80)
    mask, truth = rle.decode(found), rle.fill(blob, 80, 80)
    assert mask.sum() == pytest.approx(truth.sum(), rel=0.03)
    assert (mask ^ truth).sum() < 0.12 * truth.sum()  # nearest pixel: half a pixel round a blob of 30
    again = to_parent(crop(cut.matrix, cut.size_wh), found, sample(1500, 1600))
    assert isinstance(again, Mask) and again.size_hw == (1600, 1500)
    assert (rle.decode(again) ^ rle.decode(on_scan)).sum() < 0.12 * truth.sum()


def test_a_mask_on_an_upright_card_comes_back_pixel_by_pixel_and_says_when_it_goes_on() -> None:
    mask = np.zeros((1100, 800), bool)
    mask[65:75, 55:68] = np.random.default_rng(0).random((10, 13)) < 0.5
    mask[75, 100] = True
    straight = cuts()
    found = carry(label(rle.encode(mask)), straight)
    assert list(found) == ["corner:top_left"]
    inside, clipped = found["corner:top_left"]
    assert not clipped
    assert np.array_equal(rle.decode(back(straight[0], inside)), mask)
    mask[75, 100:200] = True
    assert carry(label(rle.encode(mask)), straight)["corner:top_left"][1]


def test_shapes_outside_and_slivers_are_not_carried() -> None:
    far = label(Box(xyxy=(300, 300, 400, 400)))
    assert carry(far, cuts()) == {}
    sliver = label(Box(xyxy=(129.0, 70, 160, 90)))  # a pixel's breadth of it, half of that
    assert "corner:top_left" not in carry(sliver, cuts())
    assert carry(label(rle.encode(np.zeros((1100, 800), bool))), cuts()) == {}


def test_a_defect_that_runs_over_strips_is_shared_out_without_loss() -> None:
    scratch = polygon([(100, 72), (650, 74), (650, 90), (100, 88)])
    parts = carry(label(scratch), cuts(0, "edge"))
    tops = [value for region, (value, _) in parts.items() if region.startswith("edge:top")]
    assert len(tops) == 3
    assert sum(area(np.array(p.points)) for p in tops if isinstance(p, Polygon)) == pytest.approx(
        area(np.array(scratch.points))
    )


def test_tags_and_scores_are_of_the_region_itself() -> None:
    cut = cuts()[0]
    for value in (Tags(tags=("scratch",)), Score(score=8.5)):
        assert back(cut, value) is value
        with pytest.raises(TypeError, match="is no shape"):
            carry(label(value), [cut])


def test_a_label_goes_back_to_its_own_parent_only() -> None:
    cut = cuts()[0]
    other = sample().model_copy(update={"id": "other"})
    with pytest.raises(DatasetError, match="was not cut from sample other"):
        to_parent(crop(cut.matrix, cut.size_wh), Box(xyxy=(1, 1, 2, 2)), other)
    with pytest.raises(DatasetError, match="was not cut"):
        to_parent(sample(), Box(xyxy=(1, 1, 2, 2)), sample())
