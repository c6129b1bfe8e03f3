"""The kind's metrics against cases worked by hand, against pycocotools, and as properties."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.coordinates import mid_side_box
from trugrade_core.data import rle
from trugrade_core.schema import Annotation, Box, Instance, Mask, Polygon, Prediction
from trugrade_core.tasks.instances.average_precision import coco_ap, resampled_precision
from trugrade_core.tasks.instances.encode import place
from trugrade_core.tasks.instances.metrics import (
    Judged,
    Objects,
    assign,
    box_of,
    confusion_pairs,
    corners,
    error_types,
    f1_by_threshold,
    found_objects,
    image_right,
    iou_matrix,
    judge,
    match,
    precision_recall,
    side_errors,
    summarise,
    to_rle,
    true_objects,
)  # fmt: skip

A, B = [10.0, 10.0, 50.0, 90.0], [60.0, 10.0, 90.0, 40.0]


def objects(*rows: tuple[list[float], int, float], masks: bool = False) -> Objects:
    boxes = np.array([r[0] for r in rows], np.float64).reshape(-1, 4)
    return Objects(
        boxes,
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64),
        tuple(rle.from_polygon(corners(b), 120, 100) for b in boxes) if masks else None,
    )


def image(truth: Objects, found: Objects, *, card: str = "c", mm_per_px: float | None = 0.1) -> Judged:
    return judge(sample=card, card=card, width=120, height=100, mm_per_px=mm_per_px, truth=truth, found=found)


def test_iou_by_hand() -> None:
    found = iou_matrix([[0, 0, 2, 2]], [[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    np.testing.assert_allclose(found, [[1 / 7, 1, 0, 0]])


def test_the_better_score_takes_the_object_and_the_other_is_a_duplicate() -> None:
    close, closer = [11.0, 10.0, 50.0, 90.0], [10.0, 10.0, 50.0, 90.0]
    case = image(objects((A, 1, 1)), objects((closer, 1, 0.6), (close, 1, 0.9)))
    assert case.truth_of.tolist() == [-1, 0]
    kinds, missed = error_types(case, 0.5)
    assert kinds == ["duplicate", None] and not missed.any()


def test_each_kind_of_error() -> None:
    half = [10.0, 10.0, 50.0, 40.0]  # IoU 0.375 with A
    truth = objects((A, 1, 1), (B, 2, 1))
    assert error_types(image(truth, objects((half, 1, 0.9))), 0.5)[0] == ["localisation"]
    kinds, missed = error_types(image(truth, objects((A, 2, 0.9))), 0.5)
    assert kinds == ["classification"] and missed.tolist() == [False, True]
    kinds, missed = error_types(image(truth, objects(([100.0, 60.0, 110.0, 80.0], 1, 0.9))), 0.5)
    assert kinds == ["background"] and missed.tolist() == [True, True]
    assert error_types(image(truth, objects((half, 1, 0.4))), 0.5)[0] == [None], "below the threshold nothing is said"


def test_sides_by_hand_and_a_missed_object_counts_with_the_image() -> None:
    case = image(objects((A, 1, 1), (B, 2, 1)), objects(([9.0, 12.0, 50.0, 86.0], 1, 0.9), (B, 2, 0.3)))
    np.testing.assert_allclose(side_errors(case, 0.5), [[-1, 2, 0, -4], [120, 100, 120, 100]])
    np.testing.assert_allclose(side_errors(case, 0.2), [[-1, 2, 0, -4], [0, 0, 0, 0]])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_holding_an_answer_back_never_helps(scores: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (3, 2))
    truth = objects(
        *((np.concatenate([p, p + rng.uniform(5, 40, 2)]).tolist(), int(rng.integers(1, 3)), 1.0) for p in low)
    )
    found = objects(
        *((np.clip(truth.boxes[n % 3] + rng.normal(0, 6, 4), 0, [119, 99, 119, 99]).tolist(), int(truth.labels[n % 3]), s)
          for n, s in enumerate(scores))
    )  # fmt: skip
    case = image(truth, found)
    all_said, half_said = np.abs(side_errors(case, 0.0)), np.abs(side_errors(case, 0.5))
    assert (all_said <= half_said).all()


def test_card_is_right_only_when_everything_is() -> None:
    truth = objects((A, 1, 1), (B, 2, 1))
    right = objects((A, 1, 0.9), (B, 2, 0.8))
    assert image_right(image(truth, right), 0.5, 0.5) is True
    off = objects(([10.0, 10.0, 50.0, 95.1], 1, 0.9), (B, 2, 0.8))  # 5.1 px of 0.1 mm
    assert image_right(image(truth, off), 0.5, 0.5) is False
    assert image_right(image(truth, off), 0.5, 0.52) is True
    assert image_right(image(truth, objects((A, 1, 0.9))), 0.5, 0.5) is False
    extra = objects((A, 1, 0.9), (B, 2, 0.8), (B, 1, 0.7))
    assert image_right(image(truth, extra), 0.5, 0.5) is False and image_right(image(truth, extra), 0.75, 0.5) is True
    assert image_right(image(truth, right, mm_per_px=None), 0.5, 0.5) is None
    assert image_right(image(objects(), objects(), mm_per_px=None), 0.5, 0.5) is True


def test_confusion_with_background() -> None:
    truth = objects((A, 1, 1), (B, 2, 1))
    found = objects((A, 2, 0.9), ([100.0, 60.0, 110.0, 80.0], 1, 0.8))
    assert sorted(confusion_pairs(image(truth, found), 0.5)) == [(0, 1), (1, 2), (2, 0)]


def test_curves_by_hand() -> None:
    scores, hits = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, True])
    curve = precision_recall(scores, hits, 4)
    assert curve["threshold"] == [0.9, 0.8, 0.7, 0.6]
    assert curve["precision"] == [1.0, 0.5, 2 / 3, 0.75] and curve["recall"] == [0.25, 0.25, 0.5, 0.75]
    f1 = f1_by_threshold(scores, hits, 4)
    at = dict(zip(f1["threshold"], f1["f1"], strict=True))
    assert at[0.0] == at[0.6] == 2 * 3 / (4 + 4) and at[0.65] == 2 * 2 / (3 + 4) and at[0.95] == 0.0
    assert f1["precision"][-1] == 1.0 and f1["recall"][-1] == 0.0


def test_equal_scores_are_one_point_of_the_curve() -> None:
    curve = precision_recall(np.array([0.5, 0.5]), np.array([True, False]), 1)
    assert curve == {"threshold": [0.5], "precision": [0.5], "recall": [1.0]}


def test_summary_of_a_perfect_and_of_an_empty_answer() -> None:
    truth = objects((A, 1, 1), (B, 2, 1), masks=True)
    perfect = summarise([image(truth, objects((A, 1, 0.9), (B, 2, 0.8), masks=True))], ("a", "b"), 0.5)["metrics"]
    assert perfect["side_error_mm"] == 0 and perfect["f1"] == 1 and perfect["card_accuracy"] == 1
    assert perfect["box_map"] == pytest.approx(1) and perfect["mask_map"] == pytest.approx(1)
    nothing = summarise([image(truth, objects())], ("a", "b"), 0.5)
    assert (
        nothing["metrics"]["box_map"] == 0 and nothing["metrics"]["f1"] == 0 and nothing["metrics"]["mask_map"] is None
    )
    assert nothing["metrics"]["side_error_px"] == 110
    assert nothing["confusion"] == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    unscaled = summarise([image(truth, objects(), mm_per_px=None)], ("a", "b"), 0.5)["metrics"]
    assert unscaled["side_error_mm"] is None and unscaled["side_error_px"] == 110
    assert summarise([], ("a",), 0.5)["metrics"]["box_map"] is None


# --- boxes of labels --------------------------------------------------------------------------------------------


def test_mid_side_box_of_a_tilted_card_is_where_its_sides_are_half_way() -> None:
    a = np.deg2rad(1.0)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    quad = corners([-750, -1050, 750, 1050]) @ turn + [800, 1150]
    np.testing.assert_allclose(
        mid_side_box(quad),
        [800 - 750 / np.cos(a), 1150 - 1050 / np.cos(a), 800 + 750 / np.cos(a), 1150 + 1050 / np.cos(a)],
    )
    assert quad[:, 0].max() - 800 > 750 + 15, "its bounding box is 18 px wider on each side"
    diagonal = [(0, 0), (2, 0), (100, 98), (100, 100), (98, 100)]
    np.testing.assert_allclose(mid_side_box(diagonal), [0, 0, 100, 100])


@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 90), st.floats(1, 90))
def test_mid_side_box_of_an_upright_box_is_itself(x: float, y: float, w: float, h: float) -> None:
    np.testing.assert_allclose(mid_side_box(corners([x, y, x + w, y + h])), [x, y, x + w, y + h], atol=1e-9)


def test_box_of_a_mask_agrees_with_its_polygon() -> None:
    quad = np.array([[20.2, 12.0], [90.3, 14.0], [88.0, 88.4], [18.1, 86.0]])
    mask = rle.from_polygon(quad, 120, 100)
    polygon = box_of(Polygon(points=tuple((float(x), float(y)) for x, y in quad)))
    np.testing.assert_allclose(box_of(mask), polygon, atol=0.75)
    assert isinstance(mask, Mask)


@pytest.mark.parametrize("degrees", [0.0, 0.5, 1.0])
def test_a_frame_is_judged_by_the_box_it_was_trained_to_and_has_the_sides_of_its_outer_edge(degrees: float) -> None:
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    outer, inner = (
        rle.fill(corners([-w / 2, -h / 2, w / 2, h / 2]) @ turn + [350, 475], 700, 950)
        for w, h in ((600, 840), (540, 780))
    )
    frame, whole = rle.encode(outer & ~inner), rle.encode(outer)
    label = Annotation(id="1", sample="s", label="a", value=frame)
    trained = place([label], ["a"], np.eye(2, 3), 1024, 700, 950).boxes[0] - 0.5
    np.testing.assert_array_equal(box_of(frame), trained)
    np.testing.assert_array_equal(box_of(frame), box_of(whole))
    expected = np.array([350, 475, 350, 475]) + np.array([-300, -420, 300, 420]) / np.cos(a)
    np.testing.assert_allclose(box_of(frame), expected, atol=1)


def test_an_empty_mask_has_an_empty_box() -> None:
    box = box_of(rle.encode(np.zeros((5, 7), bool)))
    assert (box[2:] == box[:2]).all()


def test_objects_from_schema_values() -> None:
    labels = [
        Annotation(id="1", sample="s", label="a", value=Box(xyxy=(1, 2, 3, 4))),
        Annotation(id="2", sample="s", label="other", value=Box(xyxy=(1, 2, 3, 4))),
    ]
    truth = true_objects(labels, ("b", "a"), 10, 10, masks=True)
    assert truth.labels.tolist() == [2] and truth.boxes.tolist() == [[1, 2, 3, 4]]
    assert (
        truth.masks is not None and rle.decode(truth.masks[0]).sum() == 4
    )  # pixels 1..2 and 2..3, the upper edge open
    low, high = (Instance(label="a", score=s, box=(0, 0, 1, 1)) for s in (0.1, 0.9))
    found = found_objects(Prediction(image="i", width=9, height=9, instances=(low, high), seconds=0), ("a",))
    assert found.scores.tolist() == [0.9, 0.1] and found.masks is None


# --- average precision ------------------------------------------------------------------------------------------


def random_images(seed: int, count: int, *, masks: bool = False) -> list[Judged]:
    rng = np.random.default_rng(seed)
    images = []
    for n in range(count):
        low = rng.uniform(0, 70, (int(rng.integers(0, 4)), 2))
        true = [(np.concatenate([p, p + rng.uniform(8, 30, 2)]).tolist(), int(rng.integers(1, 4)), 1.0) for p in low]
        said = [((np.array(b) + rng.normal(0, 1.5, 4)).tolist(), label, float(rng.random())) for b, label, _ in true
                for _ in range(int(rng.integers(0, 3)))]  # fmt: skip
        said += [
            ([5.0, 5.0, 5.0 + rng.uniform(3, 80), 40.0], int(rng.integers(1, 4)), float(rng.random())) for _ in range(2)
        ]
        images.append(image(objects(*true, masks=masks), objects(*said, masks=masks), card=f"card-{n // 2}"))
    return images


def oracle(images: list[Judged], kind: str) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths, founds = [], []
    for n, case in enumerate(images, start=1):
        for side, out in ((case.truth, truths), (case.found, founds)):
            for k, (box, label, score) in enumerate(zip(side.boxes, side.labels, side.scores, strict=True)):
                x, y = (box[:2] + 0.5).tolist()
                w, h = (box[2:] - box[:2]).tolist()
                row = {"image_id": n, "category_id": int(label), "score": float(score), "id": len(out) + 1, "iscrowd": 0,
                       "bbox": [x, y, w, h], "area": w * h}  # fmt: skip
                if kind == "segm":
                    assert side.masks is not None
                    row["segmentation"] = to_rle(side.masks[k])
                    del row["bbox"]
                out.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, "images": [{"id": n, "width": 120, "height": 100} for n in range(1, len(images) + 1)],
                         "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)], "annotations": truths}  # fmt: skip
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(founds), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(v) for v in run.stats[:3]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_ap_equals_pycocotools(kind: str) -> None:
    images = random_images(3, 30, masks=kind == "segm")
    found = coco_ap(images, 3, kind)  # type: ignore[arg-type]
    assert found is not None and 0.05 < found["map"] < 0.95
    np.testing.assert_allclose([found["map"], found["ap50"], found["ap75"]], oracle(images, kind), atol=1e-9)


def own_ap(images: list[Judged], counts: np.ndarray) -> np.ndarray:
    """(R,) mAP over drawn cards by `resampled_precision`."""
    cards = sorted({i.card for i in images})
    levels = np.linspace(0.5, 0.95, 10)
    per_class = []
    for label in (1, 2, 3):
        scores, hits, owner, objects_of = [], [], [], np.zeros(len(cards))
        for case in images:
            number = cards.index(case.card)
            objects_of[number] += (case.truth.labels == label).sum()
            own = case.found.labels == label
            chosen = assign(case.ious, case.truth, case.found, levels)
            scores.append(case.found.scores[own])
            hits.append((chosen[:, own] >= 0).T)
            owner.append(np.full(int(own.sum()), number))
        per_class.append(
            resampled_precision(np.concatenate(scores), np.concatenate(hits), np.concatenate(owner), objects_of, counts)
        )
    return np.nanmean(np.stack(per_class), axis=(0, 1, 3))


def test_resampled_ap_equals_cocos_on_the_images_as_drawn() -> None:
    images = random_images(8, 24)
    cards = sorted({i.card for i in images})
    rng = np.random.default_rng(0)
    counts = np.stack([np.ones(len(cards)), np.bincount(rng.integers(0, len(cards), len(cards)), minlength=len(cards))])
    ours = own_ap(images, counts.astype(float))
    for row, value in zip(counts, ours, strict=True):
        drawn = [i for i in images for _ in range(int(row[cards.index(i.card)]))]
        assert value == pytest.approx(oracle(drawn, "bbox")[0], abs=1e-9)


def test_ap_without_objects_or_answers() -> None:
    assert coco_ap([image(objects(), objects((A, 1, 0.5)))], 3) is None
    assert coco_ap([image(objects((A, 1, 1)), objects())], 3) == {"map": 0.0, "ap50": 0.0, "ap75": 0.0}


def test_match_is_the_first_level_of_assign() -> None:
    for case in random_images(2, 10):
        np.testing.assert_array_equal(
            match(case.ious, case.truth, case.found), assign(case.ious, case.truth, case.found, [0.5, 0.9])[0]
        )
