"""Words and numbers: at most three significant digits, units, intervals, and never a bare dash."""

from __future__ import annotations

import math
import time

import pytest

from app import charts, curves, look, overlay
from trugrade_core.data.rle import encode
from trugrade_core.schema import Box, Mask, Polygon


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.21337, "0.213 mm"),
        (0.3, "0.300 mm"),
        (12.0, "12.0 mm"),
        (1234.6, "1,230 mm"),
        (8e-4, "8e-4 mm"),
        (-0.05, "-0.0500 mm"),
        (0.0, "0 mm"),
        (5, "5 mm"),
        (None, "not measured"),
        (math.nan, "not measured"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert look.number(value, "mm") == text


def test_a_measurement_carries_its_evidence() -> None:
    cell = {"value": 0.21, "low": 0.18, "high": 0.26, "n_cards": 31}
    assert look.measured(cell, "mm", against="constant box 0.52 mm") == (
        "0.210 mm (0.180 to 0.260) · 31 cards · constant box 0.52 mm"
    )
    assert look.measured({"value": None, "reason": "boxes only"}, "mm") == "not measured"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0.400 s"),
        (42.2, "42 s"),
        (250, "4 min 10 s"),
        (1800, "30 min"),
        (4800, "1 h 20 min"),
        (None, "not known"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert look.duration(seconds) == text


def test_ages() -> None:
    assert look.ago(time.time()) == "just now"
    assert look.ago(time.time() - 125) == "2 min ago"


def test_names_are_escaped() -> None:
    assert "<script>" not in look.clip("<script>alert(1)</script>")
    assert "<script>" not in look.link("monitor", look.clip("<script>"), run='"><script>')
    assert "<script>" not in look.chip("<script>", page="datasets", dataset="'><script>")


def test_outlines_of_a_mask_are_its_rim() -> None:
    import numpy as np

    mask = np.zeros((40, 30), bool)
    mask[5:25, 3:20] = True
    (outline,) = overlay.outlines(encode(mask))
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    assert (min(xs), max(xs), min(ys), max(ys)) == (2.5, 19.5, 4.5, 24.5)  # 17 x 20 px
    assert overlay.outlines(Box(xyxy=(1, 2, 3, 4))) == [[(1, 2), (3, 2), (3, 4), (1, 4)]]
    assert overlay.outlines(Polygon(points=((0, 0), (4, 0), (4, 4)))) == [[(0, 0), (4, 0), (4, 4)]]
    assert isinstance(encode(mask), Mask)
    # the same runs in a picture of another shape are another mask
    other = overlay.outlines(Mask(counts=encode(mask).counts, size_hw=(30, 40)))
    assert other != [outline]


def test_untrained_values_do_not_press_the_others_flat() -> None:
    wide = {"run": {"val/side_error_mm": {"step": [1, 2, 3], "value": [70.0, 0.2, 0.1]}}}
    assert curves._is_wide(wide, ["val/side_error_mm"])  # type: ignore[arg-type]
    narrow = {"run": {"val/side_error_mm": {"step": [1, 2], "value": [0.3, 0.1]}}}
    assert not curves._is_wide(narrow, ["val/side_error_mm"])  # type: ignore[arg-type]
    nought = {"run": {"val/side_error_mm": {"step": [1, 2, 3], "value": [70.0, 0.1, 0.0]}}}
    assert curves._is_wide(nought, ["val/side_error_mm"]) is False  # type: ignore[arg-type]


def test_a_long_curve_is_thinned_openly_and_keeps_its_end() -> None:
    fig = charts.figure("Loss", x="step", y="")
    charts.line(fig, list(range(10_001)), [float(i) for i in range(10_001)], name="loss", color="#000000")
    assert len(fig.data[0].x) <= charts.MOST_POINTS + 1
    assert fig.data[0].x[-1] == 10_000
    assert "1 of" in fig.data[0].name
