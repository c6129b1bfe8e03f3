"""Regions: where they lie, which way they are turned, and that their pixels are the scan's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.card.samples import card
from trugrade_core.card.geometry import apply, area
from trugrade_core.card.pixels import cut_pixels
from trugrade_core.card.plane import photo_plane, scan_plane
from trugrade_core.card.regions import CORNERS, SIDES, Cut, cut_regions, is_straight

DPI = 254.0  # ten pixels a millimetre
K = 10.0


def regions(part: str, tilt: float = 0.0, size: tuple[float, float] | None = (8, 8), margin: float = 1.0,
            overlap: float = 0.0, card_mm: tuple[float, float] = (63.5, 88.9)) -> dict[str, Cut]:  # fmt: skip
    plane = scan_plane(card(*card_mm, DPI, tilt), K)
    return {cut.region: cut for cut in cut_regions(plane, part, size, margin, overlap)}


def place(width: int, height: int) -> np.ndarray:
    """An image whose pixels say where they lie: (H, W, 3), x, y and 7."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint16)


@given(st.floats(-40, 40))
def test_each_corner_lies_at_the_top_left_of_its_crop_a_millimetre_in(tilt: float) -> None:
    found = regions("corner", tilt)
    assert list(found) == [f"corner:{name}" for name in CORNERS]
    corners = card(63.5, 88.9, DPI, tilt)
    for n, cut in enumerate(found.values()):
        assert cut.size_wh == (80, 80)
        at = apply(np.linalg.inv(cut.matrix), corners)
        assert np.abs(at[n] - (9.5, 9.5)).max() < 1.01  # whole pixels, where it is not turned
        assert (np.delete(at, n, axis=0).max(axis=1) > 400).all()
        assert np.linalg.det(cut.matrix[:2, :2]) == pytest.approx(1)  # native, not mirrored
        assert (at.min(axis=0) > 0).all()  # the card lies to the right and below


@given(st.floats(-40, 40))
def test_edges_have_the_cut_edge_up_and_cover_the_side_from_corner_to_corner(tilt: float) -> None:
    found = regions("edge", tilt, (22, 5))
    assert list(found) == [f"edge:{s}:{i}" for s, count in zip(SIDES, (3, 4, 3, 4), strict=True) for i in range(count)]
    corners = card(63.5, 88.9, DPI, tilt)
    for n, side in enumerate(SIDES):
        strips = [cut for cut in found.values() if cut.region.startswith(f"edge:{side}")]
        assert sum(cut.size_wh[0] for cut in strips) == round((63.5, 88.9)[n % 2] * K)
        for cut in strips:
            at = apply(np.linalg.inv(cut.matrix), [corners[n], corners[(n + 1) % 4], corners.mean(axis=0)])
            share = (np.array([0, cut.size_wh[0]]) - 0.5 - at[0, 0]) / (at[1, 0] - at[0, 0])
            assert np.abs(at[0, 1] + share * (at[1, 1] - at[0, 1]) - 9.5).max() < 1.51  # at the strip's ends
            assert at[0, 0] < at[1, 0]
            assert at[2, 1] > 200
        first = strips[0] if side in ("top", "right") else strips[-1]
        assert np.abs(apply(np.linalg.inv(first.matrix), [corners[n]])[0, 0] + 0.5) < 1.01


def test_strips_are_counted_from_the_left_and_from_the_top() -> None:
    found = regions("edge", 0, (22, 5))
    middle = {name: apply(cut.matrix, [np.array(cut.size_wh) / 2])[0] for name, cut in found.items()}
    assert middle["edge:bottom:0"][0] < middle["edge:bottom:1"][0] < middle["edge:bottom:2"][0]
    assert middle["edge:left:0"][1] < middle["edge:left:3"][1]
    assert middle["edge:top:0"][0] < middle["edge:top:2"][0]


def test_tiles_cover_the_face_evenly_and_overlap_at_least_as_much_as_asked() -> None:
    found = regions("surface", 0, (24, 24), 0, 4)
    assert list(found) == [f"surface:{row}:{column}" for row in range(5) for column in range(3)]
    boxes = {name: apply(cut.matrix, cut.window) for name, cut in found.items()}
    assert boxes["surface:0:0"][0] == pytest.approx((59.5, 69.5), abs=1e-6)
    assert boxes["surface:4:2"][2] == pytest.approx((694.5, 958.5), abs=1.01)
    assert boxes["surface:0:1"][0, 0] == pytest.approx(boxes["surface:0:0"][1, 0] - 42.5, abs=1)
    for row in range(4):
        assert boxes[f"surface:{row}:0"][2, 1] - boxes[f"surface:{row + 1}:0"][0, 1] >= 40


def test_the_face_is_the_whole_card_with_its_margin_and_small_cards_have_one_tile() -> None:
    face = regions("surface", 0, None, 1)["surface:face"]
    assert face.size_wh == (655, 909)
    small = regions("surface", 0, (24, 24), 0, 4, (20, 22))
    assert [cut.size_wh for cut in small.values()] == [(200, 220)]


# --- pixels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["corner", "edge", "surface"])
def test_an_upright_card_gives_the_scans_very_pixels(part: str) -> None:
    image = place(800, 1100)
    for cut in regions(part, 0, (22, 5) if part == "edge" else (8, 8)).values():
        assert is_straight(cut.matrix)
        pixels = cut_pixels(image, cut)
        w, h = cut.size_wh
        assert pixels.shape == (h, w, 3)
        x, y = np.meshgrid(np.arange(w), np.arange(h))
        lies = apply(cut.matrix, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(h, w, 2)
        assert np.array_equal(pixels[..., :2], lies)


def test_a_tilt_that_moves_nothing_by_half_a_pixel_costs_no_pixel() -> None:
    assert all(is_straight(cut.matrix) for cut in regions("corner", 0.3).values())
    assert not any(is_straight(cut.matrix) for cut in regions("corner", 0.9).values())
    assert not is_straight(regions("surface", 0.3, None)["surface:face"].matrix)  # too large for it


def test_a_turned_region_shows_what_lies_there_to_a_fraction_of_a_pixel() -> None:
    image = (place(1000, 1200) * 40).astype(np.uint16)
    plane = scan_plane(card(63.5, 88.9, DPI, 7.3, (200, 60)), K)
    for cut in cut_regions(plane, "corner", (8, 8), 1, 0):
        pixels = cut_pixels(image, cut).astype(float)
        x, y = np.meshgrid(np.arange(80), np.arange(80))
        lies = apply(cut.matrix, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(80, 80, 2)
        assert np.abs(pixels[..., :2] / 40 - lies).max() < 0.08  # OpenCV places samples to 1/32 px


def test_turning_keeps_the_sharpness_of_the_scan() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(3).uniform(0, 255, (1100, 800)).astype(np.float32), (0, 0), 0.8)
    image = np.clip(noise, 0, 255).astype(np.uint8)
    cut = regions("corner", 7.3)["corner:top_left"]
    whole, turned = image[100:180, 100:180].astype(float), cut_pixels(image, cut).astype(float)
    assert turned.std() == pytest.approx(whole.std(), rel=0.1)  # bilinear loses a fifth


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1100, 800), (1100, 800, 3)])
@pytest.mark.parametrize("tilt", [0.0, 5.0])
def test_depth_and_channels_are_the_scans(dtype: type, shape: tuple[int, ...], tilt: float) -> None:
    image = np.full(shape, np.iinfo(dtype).max, dtype)
    pixels = cut_pixels(image, regions("corner", tilt)["corner:bottom_right"])
    assert pixels.dtype == dtype and pixels.shape == (80, 80, *shape[2:])
    assert pixels.min() == np.iinfo(dtype).max


@given(st.floats(-20, 20), st.floats(-60, 60), st.floats(-60, 60))
def test_padding_is_the_share_that_is_black(tilt: float, dx: float, dy: float) -> None:
    plane = scan_plane(card(63.5, 88.9, DPI, tilt, (dx, dy)), K)
    cut = cut_regions(plane, "corner", (8, 8), 1, 0)[0]
    image = np.full((300, 300), 255, np.uint8)
    black = (cut_pixels(image, cut) < 128).mean()
    assert cut.padding(300, 300) == pytest.approx(black, abs=0.02)


def test_a_photographs_regions_follow_the_perspective() -> None:
    quad = np.array([(160, 120), (610, 150), (640, 800), (110, 770)], float)
    plane = photo_plane(quad, "us")
    for n, cut in enumerate(cut_regions(plane, "corner", (8, 8), 1, 0)):
        inside = apply(np.linalg.inv(cut.matrix), quad[n : n + 1])[0]
        assert inside == pytest.approx(np.full(2, plane.px_per_mm - 0.5), abs=1e-6)
    face = cut_regions(plane, "surface", None, 0, 0)[0]
    assert area(apply(face.matrix, face.window)) == pytest.approx(area(quad), rel=2e-3)
    image = cv2.fillPoly(np.zeros((1000, 800), np.uint8), [np.rint(quad).astype(np.int32)], 255)
    assert (cut_pixels(image, face) > 128).mean() > 0.99
