"""The quick canvas's conversions hold both ways, for shapes that were moved, scaled and turned as Fabric does it."""

from __future__ import annotations

from math import cos, radians, sin
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import overlay
from app.quick_canvas import STROKE, Fit, class_of, color_for, matched, object_of, outline, size_for, value_of
from trugrade_core.data import rle
from trugrade_core.schema import Box, Mask, Polygon

WH = (300, 200)
scales = st.floats(0.3, 4)
fits = st.builds(Fit, scales, st.floats(0, 40), st.floats(0, 40))
number = st.floats(0, 190, allow_nan=False).map(lambda v: round(v, 3))
boxes = st.tuples(number, number, st.floats(1, 100), st.floats(1, 100)).map(
    lambda b: Box(xyxy=(b[0], b[1], b[0] + b[2], b[1] + b[3]))
)
polygons = st.lists(st.tuples(number, number), min_size=3, max_size=9, unique=True).map(
    lambda p: Polygon(points=tuple(p))
)


@given(fits, st.lists(st.tuples(number, number), min_size=1))
def test_image_to_canvas_and_back_is_the_same_point(fit: Fit, points: list[tuple[float, float]]) -> None:
    back = fit.to_image(fit.to_canvas(points))
    assert np.abs(np.array(back) - points).max() < 1e-6
    assert fit.to_canvas([(-0.5, -0.5)]) == [
        (fit.offset_x, fit.offset_y)
    ]  # the image's corner is the edge of its first pixel


@given(fits, st.one_of(boxes, polygons))
def test_a_stored_shape_comes_back_from_the_canvas_as_it_was(fit: Fit, value: Box | Polygon) -> None:
    object = object_of("a", value, fit, "#19d3ff")
    assert object is not None
    back = value_of(object, fit, *WH)
    assert isinstance(back, type(value))
    one, two = (np.array(v.xyxy if isinstance(v, Box) else v.points) for v in (value, back))
    assert np.abs(one - two).max() < 1e-6


@given(fits, polygons, st.floats(0.5, 2), st.floats(0.5, 2), st.floats(-180, 180), st.floats(-30, 30))
def test_a_moved_scaled_and_turned_polygon_is_read_by_where_it_is_not_by_its_points(
    fit: Fit, value: Polygon, sx: float, sy: float, angle: float, shift: float
) -> None:
    object = object_of("a", value, fit, "#000000")
    assert object is not None
    before = {k: object[k] for k in ("left", "top")}
    object |= {"scaleX": sx, "scaleY": sy, "angle": angle, "left": before["left"] + shift}  # points stay as they were
    local = np.array([(p["x"], p["y"]) for p in object["points"]])
    local = (local - (local.min(axis=0) + local.max(axis=0)) / 2) * [sx, sy]
    a = radians(angle)
    expected = local @ np.array([[cos(a), sin(a)], [-sin(a), cos(a)]]) + [before["left"] + shift, before["top"]]
    assert np.abs(np.array(outline(object)) - expected).max() < 1e-6


def rect(**changes: Any) -> dict[str, Any]:
    return {
        "type": "Rect",
        "left": 99,
        "top": 49,
        "width": 100,
        "height": 60,
        "strokeWidth": STROKE,
        "scaleX": None,
        **changes,
    }


def test_a_rectangle_lies_on_the_middle_of_its_stroke_and_lacking_keys_are_their_defaults() -> None:
    value = value_of(rect(), Fit(2.0), *WH)
    assert isinstance(value, Box) and value.xyxy == (49.5, 24.5, 99.5, 54.5)
    scaled = value_of(rect(scaleX=2, strokeUniform=True), Fit(2.0), *WH)
    assert isinstance(scaled, Box) and scaled.xyxy == (49.5, 24.5, 149.5, 54.5)
    turned = value_of(rect(angle=90), Fit(1.0), *WH)
    assert isinstance(turned, Polygon) and len(turned.points) == 4
    assert value_of(rect(width=0), Fit(1.0), *WH) is None  # a click
    assert value_of({"type": "Circle", "left": 1, "top": 1}, Fit(1.0), *WH) is None


def test_a_free_hand_line_is_the_pixels_it_covers() -> None:
    path = {"type": "Path", "left": 60, "top": 40, "strokeWidth": 8, "path": [["M", 20, 40], ["L", 100, 40]]}
    mask = value_of(path, Fit(2.0), *WH)
    assert isinstance(mask, Mask)
    y, x = np.nonzero(rle.decode(mask))
    # Four image px thick about y = 40 / 2 - 0.5, from 20 / 2 - 0.5 to 100 / 2 - 0.5, its ends round.
    assert (y.min(), y.max()) == (18, 21) and (x.min(), x.max()) == (8, 51)
    curve = {**path, "path": [["M", 20, 40], ["Q", 60, 0, 100, 40]], "top": 30}
    bent = rle.decode(value_of(curve, Fit(2.0), *WH))  # type: ignore[arg-type]
    assert bent[:, 30].nonzero()[0].min() < bent[:, 10].nonzero()[0].min()
    outside = {**path, "left": 9000}
    assert value_of(outside, Fit(2.0), *WH) is None


def test_on_the_first_run_nothing_is_said_of_where_the_picture_lies() -> None:
    assert Fit.of(None) is None and Fit.of({}) is None
    assert Fit.of({"scale_x": 2.0, "scale_y": 2.0, "offset_x": 3.0, "offset_y": 0}) == Fit(2.0, 3.0, 0.0)


@pytest.mark.parametrize("wh", [(300, 300), (1500, 40), (7, 9), (333, 777)])
def test_the_canvas_fits_the_page_and_the_picture_lies_whole_on_it(wh: tuple[int, int]) -> None:
    across, down, fit = size_for(*wh, (900, 470))
    assert across <= 900 and down <= 470 and 0 < fit.scale <= 4
    (x0, y0), (x1, y1) = fit.to_canvas([(-0.5, -0.5), (wh[0] - 0.5, wh[1] - 0.5)])
    assert min(x0, y0) >= -1e-9 and x1 <= across + 1e-9 and y1 <= down + 1e-9
    assert max(x0, y0) < 1


def test_what_moved_is_matched_to_what_it_was() -> None:
    a, b, c = Box(xyxy=(0, 0, 9, 9)), Box(xyxy=(20, 0, 29, 9)), Polygon(points=((0, 0), (9, 0), (9, 9)))
    moved = Box(xyxy=(21, 5, 30, 14))
    assert matched([a, b, c], [a, moved, c], 0.1) == [0, 1, 2]
    assert matched([a, b, c], [b, c], 0.1) == [1, 2]  # the first was deleted
    assert matched([a, b], [a, b, moved], 0.1) == [0, 1, None]  # one was drawn
    assert matched([a], [Box(xyxy=(0.04, 0, 9, 9))], 0.1) == [0]
    turned = Polygon(points=((20, 0), (29, 2), (27, 11), (18, 9)))
    assert matched([a, b], [a, turned], 0.1) == [0, 1]


def test_each_class_has_a_colour_of_its_own_by_which_a_new_stroke_is_told() -> None:
    names = [f"kind {n}" for n in range(20)]  # more than there are colours to see apart
    assert [class_of({"stroke": color_for(name, names).upper()}, names) for name in names] == names
    assert color_for(names[0], names) == overlay.color_of(names[0], names)
