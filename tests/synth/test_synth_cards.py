"""The truth of a made-up card must be found again in its pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trugrade_core.synth.cards import Card, describe, geometry, make_card, render_card

WHITE, RED, BLUE = (236.0, 236.0, 236.0), (190.0, 30.0, 40.0), (30.0, 60.0, 200.0)


def plain(seed: int, tilt: float, turns: int = 0, radius: float = 0.0, blur: float = 0.03) -> Card:
    """A card whose edges can be measured: white border on a dark, even ground, blue frame line, no noise or words."""
    spec = describe(seed, 0)
    spec = replace(
        spec,
        stock=replace(spec.stock, radius_mm=radius, edge_mm=(0.0, 0.0, 0.0, 0.0)),
        print=replace(spec.print, border="flat", colours=(WHITE, RED, RED), line_mm=0.5, line_colour=BLUE, radius_mm=0.0,
                      banner=False, screen=0.0, margins_mm=(4.1, 3.2, 2.9, 3.7)),
        placement=replace(spec.placement, tilt_deg=tilt, turns=turns),
        ground=replace(spec.ground, kind="plain", level=40.0, texture=0.0, shadow=0.0),
        scanner=replace(spec.scanner, noise=0.0, sharpen=0.0, dust=0, tint=(1.0, 1.0, 1.0), blur_mm=blur),
    )  # fmt: skip
    return render_card(spec, 300)


def measured(
    channel: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64], reach: int = 5
) -> NDArray[np.float64]:
    """Distances in px, outward positive, of the real edge from the line a-b at stations over its middle: the
    covered share of a profile across it (bilinear reading), which blur does not move."""
    along = (b - a) / np.linalg.norm(b - a)
    out = np.array([along[1], -along[0]])  # quads run clockwise: outward is to the left of the way
    steps = np.arange(-reach, reach + 0.01, 0.05)
    found = []
    for share in np.linspace(0.3, 0.7, 41):
        points = a + share * (b - a) + steps[:, None] * out
        x, y = np.floor(points).astype(int).T
        fx, fy = (points - np.floor(points)).T
        rows = (1 - fx) * channel[y, x] + fx * channel[y, x + 1]
        low = (1 - fx) * channel[y + 1, x] + fx * channel[y + 1, x + 1]
        profile = (1 - fy) * rows + fy * low
        inside, outside = profile[:20].mean(), profile[-20:].mean()
        share = (profile - outside) / (inside - outside)
        found.append(-reach + share.sum() * 0.05 - 0.025)
    return np.array(found)


@pytest.mark.parametrize("tilt", [0.0, 0.37, -1.5])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_the_cut_is_where_the_truth_says_to_a_twentieth_of_a_pixel(tilt: float, turns: int) -> None:
    card = plain(11, tilt, turns)
    green = card.image[..., 1].astype(np.float64)
    for side in range(4):
        off = measured(green, card.outer_quad_px[side], card.outer_quad_px[(side + 1) % 4])
        assert abs(np.median(off)) < 0.05, (side, np.median(off))


def test_noise_sharpening_and_dust_do_not_move_the_edge() -> None:
    spec = plain(11, 0.37).spec
    card = render_card(replace(spec, scanner=replace(spec.scanner, noise=4.0, sharpen=0.8, dust=50)), 300)
    green = card.image[..., 1].astype(np.float64)
    for side in range(4):
        off = measured(green, card.outer_quad_px[side], card.outer_quad_px[(side + 1) % 4])
        assert abs(np.median(off)) < 0.1, (side, np.median(off))


@pytest.mark.parametrize("tilt", [0.0, 0.9])
def test_the_frame_is_where_the_truth_says(tilt: float) -> None:
    card = plain(5, tilt)
    red = card.image[..., 0].astype(np.float64)  # white border 236 against blue line 30
    for side in range(4):
        a, b = card.inner_quad_px[side], card.inner_quad_px[(side + 1) % 4]
        off = measured(red, a, b, reach=3)
        assert abs(np.median(off)) < 0.05, (side, np.median(off))


def test_margins_are_the_described_ones_in_the_order_they_are_seen() -> None:
    upright = plain(2, 0.8)
    np.testing.assert_allclose(upright.margins_mm, (4.1, 3.2, 2.9, 3.7), atol=0.01)
    once = plain(2, 0.8, turns=1)  # anticlockwise: what was on the right is now on top
    np.testing.assert_allclose(once.margins_mm, (3.2, 2.9, 3.7, 4.1), atol=0.01)


def test_size_in_mm_is_that_of_the_stock() -> None:
    card = make_card(9, 4, 600, size_mm=(63.5, 88.9))
    quad = card.outer_quad_px
    if card.spec.placement.turns % 2:
        quad = np.roll(quad, 1, axis=0)
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1) * 25.4 / 600
    stock = card.spec.stock
    np.testing.assert_allclose(sides, [stock.width_mm, stock.height_mm] * 2, atol=1e-6)
    assert abs(stock.width_mm - 63.5) <= 0.4 and abs(stock.height_mm - 88.9) <= 0.4


def test_rounded_outline_lies_on_the_edge_and_inside_the_quad() -> None:
    card = plain(3, 0.0, radius=3.0, blur=0.0)
    assert len(card.outer_outline_px) == 52
    middle = card.outer_outline_px[6]  # half-way round the top left corner
    corner = card.outer_quad_px[0]
    cut = 3.0 * (np.sqrt(2) - 1) * 300 / 25.4
    assert np.linalg.norm(middle - corner) == pytest.approx(cut, abs=0.2)
    x, y = np.round(corner + 2).astype(int)
    assert card.image[y, x, 1] < 60, "the corner itself is ground"


@given(st.integers(0, 10_000), st.integers(0, 500), st.sampled_from([50, 100, 600]))
def test_every_description_fits_its_scan(seed: int, index: int, dpi: int) -> None:
    spec = describe(seed, index)
    where = geometry(spec, dpi)
    edge = np.array([where.width, where.height])
    least = 1.9 * dpi / 25.4 - 1.0
    assert (where.outer >= least - 0.5).all() and (where.outer <= edge - least).all()
    assert abs(spec.placement.tilt_deg) <= 1.5
    (ox0, oy0), (ox1, oy1) = where.outer.min(axis=0), where.outer.max(axis=0)
    assert (where.inner > [ox0, oy0]).all() and (where.inner < [ox1, oy1]).all()


def test_the_series_covers_the_real_scans() -> None:
    specs = [describe(0, n) for n in range(300)]
    sizes = np.array([(g.width, g.height) for g in (geometry(s, 600) for s in specs)])
    assert sizes[:, 0].min() < 1611 and sizes[:, 0].max() > 1659
    assert sizes[:, 1].min() < 2240 and sizes[:, 1].max() > 2334
    ground = np.array([s.placement.ground_mm for s in specs]) * 600 / 25.4
    assert ground.min() < 50 and (ground > 140).any()
    assert {s.placement.turns for s in specs} == {0, 1, 2, 3}
    assert sum(s.print.sideways for s in specs) > 10
    assert sum(s.stock.radius_mm > 2 for s in specs) > 50 and sum(s.stock.radius_mm < 0.3 for s in specs) > 50
    dark = [s for s in specs if s.ground.kind == "pocket" and abs(max(s.print.colours[0]) - s.ground.level) < 40]
    assert len(dark) > 10, "some borders must hardly differ from the ground"


def test_same_arguments_same_bytes_other_arguments_other_card() -> None:
    first, again, other = make_card(7, 3, 60), make_card(7, 3, 60), make_card(7, 4, 60)
    assert np.array_equal(first.image, again.image)
    assert first.spec == again.spec != other.spec
    assert first.image.dtype == np.uint8 and first.image.shape[2] == 3


def test_resolution_changes_the_pixels_not_the_card() -> None:
    low, high = make_card(1, 2, 100), make_card(1, 2, 300)
    assert low.spec == high.spec
    np.testing.assert_allclose((low.outer_quad_px + 0.5) * 3, high.outer_quad_px + 0.5, atol=1e-6)
    np.testing.assert_allclose(low.margins_mm, high.margins_mm, atol=1e-9)
