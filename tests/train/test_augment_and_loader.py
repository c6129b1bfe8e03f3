"""Augmentation moves labels exactly with the picture; the loader's order and cache."""

from __future__ import annotations

import errno
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.config import Augmentation
from trugrade_core.data import augment
from trugrade_core.data.images import decode
from trugrade_core.schema import Annotation, Box, Polygon, Preprocess
from trugrade_core.tasks.instances.encode import place
from trugrade_core.train.loader import CardImages, EpochSampler, ImageCache, Item, make_loader

SIZE = 160
BORDER = augment.PRESETS["border"]
seeds = st.integers(0, 100_000)


def drawn(seed, wh=(112, 160)):
    return augment.draw(augment.generator(7, 3, seed), wh, SIZE, BORDER)


def label(value):
    return Annotation(id="a", sample="s", label="card", value=value)


@given(seeds)
def test_a_polygon_lands_where_its_picture_does(seed):
    corners = np.array([[20.0, 30.0], [95.0, 24.0], [99.0, 130.0], [18.0, 138.0]])
    picture = np.zeros((160, 112, 3), np.uint8)
    cv2.fillPoly(picture, [(corners * 256).round().astype(np.int32)], (255, 255, 255), shift=8)
    a = drawn(seed)._replace(replicate=False, brightness=1.0, gamma=1.0)
    moved = augment.apply(picture, a, SIZE, 0)[..., 0] > 127
    target = place([label(Polygon(points=tuple(map(tuple, corners.tolist()))))], ["card"], a.matrix, SIZE, 112, 160)
    expected = target.masks[0].astype(bool)
    edge = cv2.morphologyEx(expected.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0
    assert (moved == expected)[~edge].all()  # OpenCV's outline makes the drawn shape half a pixel wider


@given(seeds)
def test_moves_stay_within_what_is_promised(seed):
    a = drawn(seed)
    linear = a.matrix[:, :2]
    scale = math.sqrt(abs(np.linalg.det(linear)))
    if np.array_equal(a.matrix, np.eye(2, 3)):
        return
    assert BORDER.scale_min - 1e-9 <= scale <= BORDER.scale_max + 1e-9
    angle = math.degrees(math.atan2(linear[1, 0], linear[0, 0]))
    assert abs(angle - 90 * round(angle / 90)) <= BORDER.turn_deg + 1e-9
    turned = round(angle / 90) % 2
    center = linear @ (np.array([111, 159]) / 2) + a.matrix[:, 2]
    shift = center - np.array([159, 111] if turned else [111, 159]) / 2
    assert np.abs(shift).max() <= BORDER.shift * SIZE + 1e-9


@given(st.floats(-0.6, 0.6), st.floats(-5, 5), st.booleans())
def test_a_turned_box_label_of_a_tilted_card_is_right_to_a_twentieth_of_a_millimetre(tilt_deg, turn_deg, lying):
    """The card is tilted, its label is the upright box of its mid-side lines, and both are turned together."""
    half = np.array([88.9, 63.5] if lying else [63.5, 88.9]) / 2
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half

    def turned(points, degrees):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return points @ np.array([[c, s], [-s, c]])

    from trugrade_core.coordinates import mid_side_box

    card = turned(corners, tilt_deg)
    x0, y0, x1, y1 = mid_side_box(card)
    box = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    error_mm = mid_side_box(turned(box, turn_deg)) - mid_side_box(turned(card, turn_deg))
    assert np.abs(error_mm).max() < 0.05


def test_draws_depend_on_seed_epoch_and_place_alone_and_vary():
    key = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3)]
    first = [augment.draw(augment.generator(*k), (100, 160), SIZE, BORDER).brightness for k in key]
    assert first == [augment.draw(augment.generator(*k), (100, 160), SIZE, BORDER).brightness for k in key]
    assert len(set(first)) == 4
    turns = {round(math.degrees(math.atan2(*drawn(i).matrix[:, 0][::-1])) / 90) % 4 for i in range(60)}
    assert turns == {0, 1, 2, 3}
    assert sum(np.array_equal(drawn(i).matrix, np.eye(2, 3)) for i in range(500)) == pytest.approx(100, abs=30)


# --- loader ---------------------------------------------------------------------------------------------------------


def items(cards, split="train"):
    return [Item(s, a, cards.image_path(s)) for s, a in cards.records(split)]


def test_without_augmentation_an_item_is_what_inference_sees(cards, tmp_path):
    preprocess = Preprocess(size=64)
    data = CardImages(items(cards), cards.classes, ImageCache(tmp_path, preprocess), None)
    for _ in range(2):  # made, then from the cache
        got = data[0, 3]
        image = decode(data.items[3].path)
        assert np.array_equal(got.images.numpy(), preprocess.normalise(preprocess.canvas(image)))
        assert got.targets[0]["masks"].shape == (2, 64, 64) and sorted(got.targets[0]["labels"].tolist()) == [1, 2]
    assert len(list(tmp_path.rglob("*.npy"))) == 1
    for torn in (b"\x93NUMPY torn", b""):
        next(tmp_path.rglob("*.npy")).write_bytes(torn)
        assert np.array_equal(data[0, 3].images.numpy(), got.images.numpy())


def test_the_cache_is_keyed_by_size_and_stops_on_a_full_disk(cards, tmp_path, monkeypatch):
    for size in (64, 96):
        CardImages(items(cards), cards.classes, ImageCache(tmp_path, Preprocess(size=size)), None)[0, 0]
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    monkeypatch.setattr("trugrade_core.train.loader.KEEP_FREE_BYTES", 10**18)
    CardImages(items(cards), cards.classes, ImageCache(tmp_path, Preprocess(size=64)), None)[0, 1]
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_a_cache_that_cannot_be_written_is_done_without(cards, tmp_path, monkeypatch):
    def full(path, image):
        path.write_bytes(b"half")
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(np, "save", full)
    item = items(cards)[0]
    image = ImageCache(tmp_path / "cache", Preprocess(size=64)).get(item)
    assert image.shape[2] == 3 and not [path for path in tmp_path.rglob("*") if path.is_file()]
    (tmp_path / "file").touch()  # where a folder would have to be made
    assert np.array_equal(ImageCache(tmp_path / "file", Preprocess(size=64)).get(item), image)


@given(st.integers(1, 40), st.integers(1, 4), seeds)
def test_ranks_share_an_epoch_and_a_start_skips_what_is_done(count, world, seed):
    samplers = [EpochSampler(count, seed, rank=r, world=world) for r in range(world)]
    orders = [list(s) for s in samplers]
    assert len({len(o) for o in orders}) == 1
    merged = [orders[k % world][k // world] for k in range(samplers[0].total)]
    assert {index for _, index in merged} == set(range(count)) and {epoch for epoch, _ in merged} == {0}
    for sampler, order in zip(samplers, orders, strict=True):
        done = len(order) // 2
        sampler.start = done * world
        assert list(sampler) == order[done:] and len(sampler) == len(order) - done
    again = EpochSampler(count, seed)
    again.epoch = 1
    assert count < 6 or [i for _, i in again] != [i for _, i in EpochSampler(count, seed)]


def test_workers_change_nothing(cards, tmp_path):
    data = CardImages(items(cards), cards.classes, ImageCache(tmp_path, Preprocess(size=64)), BORDER, 5)
    alone, helped = (list(make_loader(data, EpochSampler(len(data), 1), 3, workers)) for workers in (0, 2))
    assert [b.indices for b in alone] == [b.indices for b in helped]
    assert all(np.array_equal(a.images, b.images) for a, b in zip(alone, helped, strict=True))


def test_a_box_beside_the_canvas_is_no_target():
    shift = np.array([[1.0, 0, 155], [0, 1, 0]])
    target = place([label(Box(xyxy=(20, 20, 60, 60)))], ["card"], shift, SIZE, 112, 160)
    assert len(target.boxes) == 0


# --- presets --------------------------------------------------------------------------------------------------------


def moved_points(preset, wh, size, points, seed):
    drawn = augment.draw(augment.generator(1, 0, seed), wh, size, augment.PRESETS[preset])
    return points @ drawn.matrix[:, :2].T + drawn.matrix[:, 2], drawn


@given(seeds)
def test_a_corner_keeps_its_tip_in_view_and_in_its_corner(seed):
    """8 mm of which 1 mm lies outside the card: the tip is at an eighth of the crop."""
    tip, drawn = moved_points("corner", (160, 160), 160, np.array([[20.0, 20.0]]), seed)
    assert (tip > 0).all() and (tip < 53).all()
    assert abs(abs(np.linalg.det(drawn.matrix[:, :2])) - 1) < 0.05 and drawn.blur_px == 0


@given(seeds)
def test_an_edge_stays_up_and_in_view(seed):
    """22 x 5 mm with the cut edge 1 mm below the top, on a canvas of 160 px."""
    line, drawn = moved_points("edge", (160, 36), 160, np.array([[0.0, 7.3], [159.0, 7.3]]), seed)
    assert (line[:, 1] > -0.5).all() and (line[:, 1] < 16).all()
    assert drawn.blur_px == 0 and 0.96 < drawn.brightness < 1.04


def test_presets_mirror_where_a_mirrored_picture_is_still_one():
    flipped = {
        preset: sum(
            np.linalg.det(moved_points(preset, (160, 160), 160, np.zeros((1, 2)), i)[1].matrix[:, :2]) < 0
            for i in range(200)
        )
        for preset in augment.PRESETS
    }
    assert flipped["border"] == 0 and all(50 < flipped[name] < 110 for name in ("corner", "edge", "surface"))


def test_the_configuration_goes_over_the_preset():
    config = Augmentation(preset="auto", noise=4.0, turn_deg=0.0)
    within = augment.settings(config, "edge")
    assert (within.noise, within.turn_deg, within.shift) == (4.0, 0.0, augment.PRESETS["edge"].shift)
    assert augment.settings(config.model_copy(update={"preset": "none"}), "edge") is None
    assert augment.settings(Augmentation(), "none") is None
    assert (
        Augmentation.model_validate("default").preset == "auto" and Augmentation.model_validate("none").preset == "none"
    )


def test_light_changes_are_drawn_and_applied():
    picture = np.full((160, 112, 3), 128, np.uint8)
    picture[40:80] = 200
    plain = augment.Augmentation(np.eye(2, 3), False, 1.0, 1.0)
    same = augment.apply(picture, plain, SIZE, 0)
    assert np.array_equal(same[:160, :112], picture)
    noisy = augment.apply(picture, plain._replace(noise=5.0, noise_seed=3), SIZE, 0)[:, :112].astype(float)
    assert np.std(noisy[90:] - 128) == pytest.approx(5, abs=0.5)
    blurred = augment.apply(picture, plain._replace(blur_px=2.0), SIZE, 0)
    assert 130 < blurred[40, 50, 0] < 198
    pressed = augment.apply(picture, plain._replace(jpeg_quality=20), SIZE, 0)
    assert not np.array_equal(pressed, same) and np.abs(pressed.astype(int) - same).mean() < 10


def test_a_preview_shows_the_very_pixels_of_a_training(cards, tmp_path):
    preprocess = Preprocess(size=96)
    data = CardImages(items(cards), cards.classes, ImageCache(tmp_path, preprocess), augment.PRESETS["surface"], 11)
    for epoch, index in ((0, 0), (0, 2), (3, 1)):
        image = preprocess.content(decode(data.items[index].path))
        canvas, _ = augment.augmented(image, 96, preprocess.pad, augment.PRESETS["surface"], (11, epoch, index))
        assert np.array_equal(data[epoch, index].images.numpy(), preprocess.normalise(canvas))
