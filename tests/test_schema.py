from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trugrade_core.schema import Annotation, Box, Polygon, Preprocess, digest


@pytest.mark.parametrize("xyxy", [(0, 0, 0, 5), (5, 0, 1, 5), (0, 0, math.nan, 5), (0, 0, math.inf, 5)])
def test_boxes_without_area_or_numbers_are_refused(xyxy) -> None:
    with pytest.raises(ValidationError):
        Box(xyxy=xyxy)


def test_annotations_survive_json_and_refuse_unknown_fields() -> None:
    a = Annotation(id="1", sample="s", label="border", value=Polygon(points=((0, 0), (1, 0), (0.5, 2.25))))
    assert Annotation.model_validate_json(a.model_dump_json()) == a
    with pytest.raises(ValidationError):
        Annotation.model_validate({**a.model_dump(), "extra": 1})


def test_digests_do_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": [1.5, "ä"]}) == digest({"b": [1.5, "ä"], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([64, 320]))
def test_the_canvas_holds_the_whole_image_at_its_true_scale(width, height, size) -> None:
    p = Preprocess(size=size)
    sx, sy = p.axis_scale(width, height)
    assert max(round(width * sx), round(height * sy)) == size
    assert 1 <= round(width * sx) <= size and 1 <= round(height * sy) <= size


def test_canvas_and_normalise() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 40:] = 255
    p = Preprocess(size=32, pad=7)
    canvas = p.canvas(image)
    assert canvas.shape == (32, 32, 3)
    assert (canvas[:16, :15] == 0).all() and (canvas[:16, 17:] == 255).all() and (canvas[16:] == 7).all()
    x = p.normalise(canvas)
    assert x.shape == (3, 32, 32) and x.dtype == np.float32
    assert x[0, 0, -1] == pytest.approx((1 - p.mean[0]) / p.std[0])
