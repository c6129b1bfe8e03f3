"""A box turned to the card's real edges: against made-up cards whose truth is exact, and against the gauge of real scans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trugrade_core.card.refine import refine
from trugrade_core.coordinates import mid_side_box
from trugrade_core.data import rle
from trugrade_core.data.images import decode
from trugrade_core.synth.cards import make_card


def box_corners(xyxy: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = xyxy
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def corner_errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.asarray(np.hypot(*(found - truth).T))


def test_made_up_cards_are_found_to_hundredths_of_a_millimetre() -> None:
    before, after, kept = [], [], []
    for index in range(8):
        card = make_card(5, index, 200)
        rng = np.random.default_rng(index)
        box = mid_side_box(card.outer_quad_px) + rng.normal(0, 1.0, 4)  # as people draw: 1 px at 200 dpi is 0.13 mm
        found, missing = refine(card.image, box_corners(box), 200 / 25.4)
        before += list(corner_errors(box_corners(box), card.outer_quad_px))
        after += list(corner_errors(found, card.outer_quad_px))
        kept += list(missing)
    mm = 25.4 / 200
    assert np.median(after) * mm < 0.07 < 0.15 < np.median(before) * mm  # some sides have a bare edge, of two steps
    assert np.quantile(after, 0.9) * mm < 0.15
    assert len(kept) <= 2


def test_where_the_picture_shows_no_edge_the_box_is_kept_and_named() -> None:
    image = np.full((900, 700, 3), 60, np.uint8) + np.random.default_rng(0).integers(0, 5, (900, 700, 3), np.uint8)
    image[100:, 100:600] += 100  # no lower edge within reach
    box = box_corners(np.array([99.5, 99.5, 599.5, 799.5]))
    found, kept = refine(image, box + np.array([(2, 1), (2, 1), (2, 1), (2, 1)]), 200 / 25.4)
    assert kept == ("bottom",)
    assert found[:2] == pytest.approx(box[:2], abs=0.1)
    assert found[2:, 1] == pytest.approx([800.5, 800.5])


def test_a_side_that_is_not_seen_is_turned_like_the_one_opposite() -> None:
    quad = np.array([(100, 100), (600, 105), (593, 805), (93, 800)], np.float64)
    inside = rle.fill((quad + 0.5) * 4 - 0.5, 2800, 3600).reshape(900, 4, 700, 4).mean(axis=(1, 3))
    image = (40 + 160 * inside).astype(np.uint8)
    image[700:] = 40  # the lower end lies under something dark
    found, kept = refine(image, box_corners(np.array([96.5, 102.5, 596.5, 802.5])), 200 / 25.4)
    assert kept == ("bottom",)
    assert np.abs(found - quad).max() < 0.1


def test_grey_and_deep_scans_are_read_alike() -> None:
    card = make_card(5, 8, 150)
    grey = np.ascontiguousarray(card.image[..., 1])
    box = box_corners(mid_side_box(card.outer_quad_px))
    colour, _ = refine(card.image, box, 150 / 25.4)
    assert np.allclose(refine(card.image.astype(np.uint16) * 257, box, 150 / 25.4)[0], colour, atol=0.01)
    one, _ = refine(np.repeat(grey[..., None], 3, axis=2), box, 150 / 25.4)
    assert np.allclose(refine(grey, box, 150 / 25.4)[0], one, atol=0.01)
    assert np.allclose(refine(grey.astype(np.uint16) * 257, box, 150 / 25.4)[0], one, atol=0.01)


def test_against_the_gauge_of_real_scans_it_is_ten_times_closer_than_the_box(shared: Path) -> None:
    scans = shared / "border_scans_600dpi"
    drawn, refined = [], []
    for name, facts in json.loads((scans / "gauge_truth.json").read_text())["images"].items():
        ideal = facts["corners_ideal"]
        truth = np.array([ideal[key] for key in ("tl", "tr", "br", "bl")])
        label = next(
            line for line in (scans / "labels_outer_border" / f"{Path(name).stem}.txt").read_text().splitlines()
        )
        x, y, w, h = (float(v) for v in label.split()[1:])
        size = np.array([*facts["size"]] * 2)
        box = box_corners(np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * size - 0.5)
        found, kept = refine(decode(scans / "images" / name), box, facts["dpi"] / 25.4)
        assert not kept
        drawn += list(corner_errors(box, truth) * 25.4 / facts["dpi"])
        refined += list(corner_errors(found, truth) * 25.4 / facts["dpi"])
    assert np.median(refined) < 0.015 < 0.12 < np.median(drawn)  # mm; 0.009 and 0.145
    assert np.max(refined) < 0.15  # one dark border on a dark ground
