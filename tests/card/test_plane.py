"""Millimetres on the card to pixels of the scan: by the scanner's resolution, and by the card's format only where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.card.samples import card, sample
from trugrade_core.card.geometry import apply, inverse
from trugrade_core.card.plane import nearest_format, photo_plane, plane_of, scan_plane
from trugrade_core.data.card_facts import FORMATS
from trugrade_core.errors import DatasetError


@given(st.floats(-30, 30), st.floats(200, 1200), st.floats(55, 70), st.floats(80, 92))
def test_a_scan_is_turned_and_scaled_by_its_resolution_and_the_card_measured(
    tilt: float, dpi: float, width: float, height: float
) -> None:
    corners = card(width, height, dpi, tilt)
    found = plane_of(corners, sample(dpi=dpi))
    assert found.kind == "scan"
    assert found.px_per_mm == dpi / 25.4
    assert found.tilt_deg == pytest.approx(tilt, abs=1e-9)
    assert found.size_mm == pytest.approx((width, height))
    assert np.allclose(apply(found.matrix, found.corners_mm), corners, atol=1e-6)
    assert np.linalg.det(found.matrix[:2, :2]) == pytest.approx((dpi / 25.4) ** 2)  # no shear, no mirror


def test_an_upright_card_is_not_turned_at_all() -> None:
    found = scan_plane(card(63.5, 88.9, 600), 600 / 25.4)
    assert found.matrix[0, 1] == found.matrix[1, 0] == found.tilt_deg == 0


def test_formats_are_told_apart_by_what_is_measured_also_on_their_side() -> None:
    assert nearest_format(63.4, 89.3) == "us"
    assert nearest_format(88.05, 62.9) == "tcg"
    assert nearest_format(59.3, 85.8) == "japanese"
    assert nearest_format(70, 120) == ""


@pytest.mark.parametrize("format", FORMATS)
def test_a_photograph_gets_its_scale_from_the_format(format: str) -> None:
    quad = np.array([(160, 120), (610, 150), (640, 800), (110, 770)], float)
    found = plane_of(quad, sample(), format)
    width, height = FORMATS[format]
    assert (found.kind, found.format) == ("photo", format)
    assert np.allclose(apply(found.matrix, [(0, 0), (width, 0), (width, height), (0, height)]), quad)
    assert np.allclose(apply(inverse(found.matrix), quad), found.corners_mm)
    assert found.px_per_mm == pytest.approx(
        np.sqrt(abs(np.linalg.det(np.diff(quad[[0, 1, 3]], axis=0))) / width / height), rel=0.2
    )


def test_a_card_on_its_side_gets_the_format_on_its_side() -> None:
    assert photo_plane(np.array([(10, 10), (430, 12), (429, 310), (9, 308)], float), "us").size_mm == (88.9, 63.5)


@pytest.mark.parametrize(("dpi", "stated", "corners", "words"), [
    (None, None, card(63.5, 88.9, 300), "its resolution is not known"),
    (None, 72.0, card(63.5, 88.9, 300), "states 72 dpi, which programs write"),
    (300.0, 600.0, card(63.5, 88.9, 72), "at 300 dpi the outline measures 15.2 x 21.3 mm, which is no card"),
    (300.0, None, card(63.5, 88.9, 300) + np.array([(0, 0), (0, 0), (40, 0), (-40, 0)]), "no rectangle .*: a scan has no perspective"),
])  # fmt: skip
def test_a_scale_that_nobody_knows_is_asked_for(
    dpi: float | None, stated: float | None, corners: np.ndarray, words: str
) -> None:
    with pytest.raises(DatasetError, match=words) as e:
        plane_of(corners, sample(dpi=dpi, stated=stated))
    assert e.value.code == "card.scale"
    assert "--format" in e.value.what_to_do
    assert plane_of(corners, sample(dpi=dpi, stated=stated), "us").kind == "photo"


def test_what_the_person_says_of_the_resolution_counts_before_the_file() -> None:
    assert plane_of(card(63.5, 88.9, 300), sample(dpi=300, stated=72)).px_per_mm == 300 / 25.4
    assert plane_of(card(63.5, 88.9, 300), sample(stated=300)).px_per_mm == 300 / 25.4
    assert plane_of(card(63.5, 88.9, 96), sample(dpi=96)).kind == "scan"  # said, so no filler


def test_a_format_does_not_scale_what_the_scanner_has_measured() -> None:
    found = plane_of(card(63.5, 88.9, 300), sample(dpi=300), "japanese")
    assert (found.kind, found.format, found.size_mm) == ("scan", "us", pytest.approx((63.5, 88.9)))
