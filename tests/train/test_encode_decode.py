"""From annotations to targets and from raw outputs back: exact to the pixel, and each other's inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from trugrade_core.data import rle
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Preprocess
from trugrade_core.tasks.instances.decode import RawInstances, decode, nms
from trugrade_core.tasks.instances.encode import Target, canvas_matrix, place

CLASSES = ("outer_border", "graphical_border")


def label(value, name="outer_border"):
    return Annotation(id="a", sample="s", label=name, value=value)


def on_canvas(annotations, preprocess, width, height) -> Target:
    """As a training without augmentation places them."""
    return place(annotations, CLASSES, canvas_matrix(preprocess, width, height), preprocess.size, width, height)


masks = st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1), st.sampled_from([0, 0.1, 0.9, 1]))


@given(masks)
def test_run_lengths_equal_pycocotools_and_come_back(drawn):
    height, width, seed, share = drawn
    mask = np.random.default_rng(seed).random((height, width)) < share
    runs = rle.encode(mask)
    assert runs.counts == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert (rle.decode(runs) == mask).all()


@given(masks)
def test_a_window_has_the_runs_of_the_whole_image(drawn):
    height, width, seed, share = drawn
    window = np.random.default_rng(seed).random((height, width)) < share
    whole = np.zeros((height + 5, width + 3), bool)
    whole[2 : 2 + height, 1 : 1 + width] = window
    assert rle.encode(window, at_xy=(1, 2), size_hw=(height + 5, width + 3)) == rle.encode(whole)


@pytest.mark.parametrize("counts", ["", "0", "@@@", "~~", "P", "é", "oooooooooooooo0"])
def test_foreign_text_is_refused(counts):
    with pytest.raises(DatasetError):
        rle.decode(Mask(counts=counts, size_hw=(3, 3)))


def test_fill_takes_pixels_whose_centre_is_inside():
    assert rle.fill([[-0.5, -0.5], [3.5, -0.5], [3.5, 2.5], [-0.5, 2.5]], 4, 3).all()
    square = rle.fill([[0.6, 0.6], [2.4, 0.6], [2.4, 2.4], [0.6, 2.4]], 5, 5)
    assert square.sum() == 4 and square[1:3, 1:3].all()
    cut = rle.fill([[-10, 1.5], [30, 1.5], [30, 30], [-10, 30]], 5, 5)
    assert (cut == (np.arange(5) >= 2)[:, None]).all()


@given(st.integers(60, 400), st.integers(60, 400), st.integers(0, 10_000))
def test_a_box_goes_to_the_canvas_and_comes_back(width, height, seed):
    rng = np.random.default_rng(seed)
    x0, y0 = rng.uniform(-0.5, [width / 2, height / 2])
    box = (x0, y0, rng.uniform(width / 2 + 10, width - 0.5), rng.uniform(height / 2 + 10, height - 0.5))
    preprocess = Preprocess(size=96)
    target = on_canvas([label(Box(xyxy=box), "graphical_border")], preprocess, width, height)
    assert target.labels.tolist() == [2]
    raw = RawInstances(target.boxes, np.ones(1, np.float32), target.labels, np.ones((1, 7, 7), np.float32))
    (found,) = decode(raw, preprocess, width, height, CLASSES, threshold=0.5)
    assert found.label == "graphical_border"
    assert np.abs(np.array(found.box) - box).max() < 1e-3
    x0, y0, x1, y1 = found.box  # the mask is the filled box, to the pixel
    y, x = np.mgrid[:height, :width]
    assert (rle.decode(found.mask) == ((x >= x0) & (x < x1) & (y >= y0) & (y < y1))).all()


def test_the_mask_on_the_canvas_covers_the_box_and_not_a_pixel_more():
    target = on_canvas([label(Box(xyxy=(9.5, 19.5, 149.5, 99.5)))], Preprocess(size=100), 200, 200)
    assert target.boxes.tolist() == [[5, 10, 75, 50]]
    expected = np.zeros((100, 100), np.uint8)
    expected[10:50, 5:75] = 1
    assert (target.masks[0] == expected).all()


def test_a_polygon_and_its_mask_give_the_same_target():
    points = ((20.0, 30.0), (170.0, 24.0), (175.0, 160.0), (22.0, 166.0))
    preprocess = Preprocess(size=100)
    polygon = on_canvas([label(Polygon(points=points))], preprocess, 200, 200)
    mask = on_canvas([label(rle.from_polygon(points, 200, 200))], preprocess, 200, 200)
    assert np.abs(polygon.boxes - mask.boxes).max() <= 0.5  # half a canvas pixel is a pixel of the original here
    assert (polygon.masks != mask.masks).mean() < 0.01


def test_other_classes_shapes_and_what_leaves_the_canvas_are_left_out():
    shift = np.array([[1.0, 0, 500], [0, 1, 0]])
    inside = [label(Box(xyxy=(1, 1, 50, 50)), "stain"), label(Box(xyxy=(1, 1, 50, 50)))]
    assert on_canvas(inside, Preprocess(size=64), 64, 64).labels.tolist() == [1]
    nothing = place(inside, CLASSES, shift, 64, 64, 64)
    assert nothing.boxes.shape == (0, 4) and nothing.masks.shape == (0, 64, 64)


def test_a_box_beyond_the_image_is_cut_to_it():
    target = on_canvas([label(Box(xyxy=(-50, 10, 400, 60)))], Preprocess(size=128), 128, 128)
    assert target.boxes.tolist() == [[0, 10.5, 128, 60.5]]


def test_nms_works_within_a_class_and_keeps_the_best():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float64)
    scores = np.array([0.5, 0.9, 0.8, 0.1], np.float32)
    assert nms(boxes, scores, np.array([1, 1, 2, 1]), 0.5).tolist() == [1, 2, 3]


def test_decode_filters_limits_and_survives_nonsense():
    boxes = np.array([[0, 0, 9, 9], [20, 20, 10, 10], [0, 0, 9, 9], [30, 30, 60, 60], [0, 0, 99, 99]], np.float32)
    scores = np.array([0.9, 0.9, np.nan, 0.6, 0.9], np.float32)
    labels = np.array([1, 1, 1, 2, 7])
    found = decode(RawInstances(boxes, scores, labels, None), Preprocess(size=64), 64, 64, CLASSES, threshold=0.5)
    assert [i.label for i in found] == list(CLASSES) and found[0].mask is None
    few = decode(
        RawInstances(boxes, scores, labels, None), Preprocess(size=64), 64, 64, CLASSES, threshold=0.5, limit=1
    )
    assert len(few) == 1
