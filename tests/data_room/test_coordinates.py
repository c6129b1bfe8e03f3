"""The one place where coordinate conventions meet: hand-worked values and round trips over arbitrary boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from trugrade_core import coordinates as c
from trugrade_core.data.images import upright

number = st.floats(-1e4, 1e4, allow_nan=False, width=64)
size = st.integers(1, 5000)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    x0, y0 = draw(number), draw(number)
    return np.array([x0, y0, x0 + draw(st.floats(1e-3, 1e4)), y0 + draw(st.floats(1e-3, 1e4))])


def test_the_whole_image_in_every_convention() -> None:
    """A 10 x 6 image: edges 0 to 10, VOC pixels 1 to 10, YOLO the full share."""
    whole = np.array([-0.5, -0.5, 9.5, 5.5])
    assert c.to_edges(whole).tolist() == [0, 0, 10, 6]
    assert c.box_to_coco(whole).tolist() == [0, 0, 10, 6]
    assert c.box_to_yolo(whole, 10, 6).tolist() == [0.5, 0.5, 1, 1]
    assert c.box_to_voc(whole).tolist() == [1, 1, 10, 6]


def test_one_pixel_in_every_convention() -> None:
    """The pixel in column 3, row 2, counted from 0: its centre is at (3, 2)."""
    pixel = np.array([2.5, 1.5, 3.5, 2.5])
    assert c.box_from_coco([3, 2, 1, 1]).tolist() == pixel.tolist()
    assert c.box_from_voc([4, 3, 4, 3]).tolist() == pixel.tolist()
    assert c.box_from_yolo([0.35, 2.5 / 6, 0.1, 1 / 6], 10, 6) == pytest.approx(pixel)


@given(boxes(), size, size)
def test_boxes_come_back(box: np.ndarray, width: int, height: int) -> None:
    assert c.from_edges(c.to_edges(box)) == pytest.approx(box, abs=1e-9)
    assert c.box_from_coco(c.box_to_coco(box)) == pytest.approx(box, abs=1e-8)
    assert c.box_from_voc(c.box_to_voc(box)) == pytest.approx(box, abs=1e-8)
    assert c.box_from_yolo(c.box_to_yolo(box, width, height), width, height) == pytest.approx(box, abs=1e-7)


@given(boxes(), size, size)
def test_points_follow_boxes(box: np.ndarray, width: int, height: int) -> None:
    """A corner goes where the box's corner goes, in YOLO and when resized."""
    corner = box[:2]
    assert c.points_from_yolo(c.points_to_yolo(corner, width, height), width, height) == pytest.approx(corner, abs=1e-7)
    assert c.points_to_yolo(corner, width, height)[0] == pytest.approx(
        c.box_to_yolo(box, width, height)[0] - c.box_to_yolo(box, width, height)[2] / 2, abs=1e-7
    )
    assert c.resize(corner, 0.3) == pytest.approx(c.resize(box, 0.3)[:2])


@given(boxes(), st.floats(0.01, 100))
def test_resizing_there_and_back(box: np.ndarray, scale: float) -> None:
    assert c.resize(c.resize(box, scale), 1 / scale) == pytest.approx(box, abs=1e-6)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.1, 10))
def test_the_whole_image_stays_whole_when_resized(width: int, height: int, scale: float) -> None:
    assert c.resize([-0.5, -0.5, width - 0.5, height - 0.5], scale) == pytest.approx(
        [-0.5, -0.5, width * scale - 0.5, height * scale - 0.5]
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@given(st.integers(2, 12), st.integers(2, 12), st.data())
def test_exif_turns_boxes_as_pillow_turns_pixels(
    orientation: int, width: int, height: int, data: st.DataObject
) -> None:
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0, width - 1)), data.draw(st.integers(y0, height - 1))
    stored = np.zeros((height, width), np.uint8)
    stored[y0 : y1 + 1, x0 : x1 + 1] = 255
    image = Image.fromarray(stored)
    image.getexif()[274] = orientation
    shown = np.asarray(ImageOps.exif_transpose(image))
    y, x = np.nonzero(shown)
    box = c.exif_transpose_box([x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5], width, height, orientation)
    assert box.tolist() == [x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5]
    assert (upright(stored, orientation) == shown).all()


def test_arrays_of_boxes() -> None:
    many = np.array([[[0.0, 1, 2, 3], [4, 5, 8, 9]]])
    assert c.box_from_coco(c.box_to_coco(many)).shape == (1, 2, 4)
    assert c.exif_transpose_box(many, 20, 10, 6)[0, 1].tolist() == [0, 4, 4, 8]
