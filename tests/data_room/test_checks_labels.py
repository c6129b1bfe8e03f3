"""label_consistency: each fault that cannot be is found on its sample, and sound labels raise nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data_room.checking import BORDERS, INNER, OUTER, bordered, codes, facts, label, needs, sample
from trugrade_core.data import rle
from trugrade_core.data.checks import edges
from trugrade_core.data.checks.base import LIMITS
from trugrade_core.data.checks.labels import label_consistency
from trugrade_core.data.checks.shapes import crosses_itself, iou, overlap, shape_of
from trugrade_core.schema import Box, Instance, Mask, Polygon, Score, Tags, Value


def polygon(*points: tuple[float, float]) -> Polygon:
    return Polygon(points=points)


def test_sound_borders_raise_nothing(tmp_path: Path) -> None:
    rows = [bordered(n) for n in range(20)]
    found = label_consistency(facts(rows, tmp_path))
    assert (found.status, found.score, found.findings) == ("ok", 1.0, ())
    assert "40 labels on 20 samples" in found.why


@pytest.mark.parametrize(
    ("outer", "inner", "key"),
    [
        (INNER, OUTER, "label.swapped:graphical_border"),
        (OUTER, Box(xyxy=(180, 190, 1620, 2110)), "label.inside_out:graphical_border"),
        (OUTER, Box(xyxy=(180, 190, 180.5, 2110)), "label.empty:graphical_border"),
        (OUTER, polygon((200, 200), (300, 300), (300, 200), (200, 300)), "label.crosses_itself:graphical_border"),
        (OUTER, Box(xyxy=(5000, 190, 5100, 2110)), "label.off_picture:graphical_border"),
        (Box(xyxy=(100, 100, 1712, 2200)), INNER, "label.outside:outer_border"),
        (OUTER, Box(xyxy=(101, 101, 1599, 2199)), "label.two_classes:graphical_border and outer_border"),
        (OUTER, rle.encode(np.zeros((2300, 1700), bool)), "label.empty:graphical_border"),
        (OUTER, rle.encode(np.ones((40, 30), bool)), "label.foreign_mask:graphical_border"),
    ],
)
def test_a_label_that_cannot_be_is_named_on_its_sample(tmp_path: Path, outer: Value, inner: Value, key: str) -> None:
    rows = [bordered(n) for n in range(20)]
    rows[7] = bordered(7, outer, inner)
    found = codes(label_consistency(facts(rows, tmp_path)).findings)
    assert found[key] == (rows[7][0].id,)
    assert all(samples == (rows[7][0].id,) for samples in found.values())


def test_how_far_it_reaches_over_is_said_in_mm(tmp_path: Path) -> None:
    rows = [bordered(n) for n in range(3)]
    rows[0] = bordered(0, OUTER, Box(xyxy=(180, 190, 1620, 2110)))  # 20 px over at 600 dpi
    finding = label_consistency(facts(rows, tmp_path)).findings[0]
    assert "by up to 0.847 mm" in finding.why
    assert finding.details["by_sample"] == {rows[0][0].id: "0.847 mm"}
    unscaled = [
        (own.model_copy(update={"images": {"main": own.main.model_copy(update={"dpi": None})}}), labels)
        for own, labels in rows
    ]
    assert "by up to 20 px" in label_consistency(facts(unscaled, tmp_path)).findings[0].why


def test_the_inner_border_may_touch_the_outer_one(tmp_path: Path) -> None:
    rows = [bordered(n, OUTER, Box(xyxy=(100.5, 190, 1520, 2110))) for n in range(3)]
    assert label_consistency(facts(rows, tmp_path)).status == "ok"


def test_twice_the_same_shape_and_a_second_border(tmp_path: Path) -> None:
    own, labels = bordered(1)
    twice = [*labels, label(own, BORDERS[0], Box(xyxy=(102, 101, 1601, 2201)))]
    found = codes(label_consistency(facts([(own, twice), bordered(2)], tmp_path)).findings)
    assert found == {"label.duplicate:outer_border": (own.id,), "label.several:outer_border": (own.id,)}
    apart = [*labels, label(own, BORDERS[0], Box(xyxy=(10, 10, 90, 90)))]
    assert codes(label_consistency(facts([(own, apart)], tmp_path)).findings) == {
        "label.several:outer_border": (own.id,)
    }


def test_a_card_of_another_size_is_unusual_and_a_usual_spread_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [bordered(n, Box(xyxy=(100, 100, 1600 + rng.normal(0, 4), 2200 + rng.normal(0, 4)))) for n in range(40)]
    assert codes(label_consistency(facts(rows, tmp_path)).findings) == {}
    rows[3] = bordered(3, Box(xyxy=(100, 100, 1490, 2140)), None)  # 58.8 x 86.4 mm: a Yu-Gi-Oh card among others
    assert codes(label_consistency(facts(rows, tmp_path)).findings) == {}
    rows[3] = bordered(3, Box(xyxy=(100, 100, 1600, 2100)), None)  # 63.5 x 84.7 mm: no card is cut so
    found = label_consistency(facts(rows, tmp_path)).findings
    assert codes(found) == {"label.unusual_size:outer_border": (rows[3][0].id,)}
    assert "usual 88.9 × 63.5 mm" in found[0].why
    few = rows[: LIMITS.usual_of - 1]
    assert codes(label_consistency(facts(few, tmp_path)).findings) == {}


def test_scores_tags_and_classes_are_held_to_their_lists(tmp_path: Path) -> None:
    scores = needs(
        kind="score", shapes=("score",), scores=tuple(n / 2 for n in range(2, 21)), whole_card=False, borders=()
    )
    rows = []
    for n, score in enumerate((1.0, 9.5, 10.0, 10.5, 0.0, 7.25)):
        own = sample(n)
        rows.append((own, [label(own, None, Score(score=score))]))
    found = codes(label_consistency(facts(rows, tmp_path, needs=scores)).findings)
    assert found == {
        "label.score_range:1 to 10": (rows[3][0].id, rows[4][0].id),
        "label.score_step:1 to 10 by 0.5": (rows[5][0].id,),
    }
    own = sample(1)
    rows = [(own, [label(own, None, Tags(tags=("scratch", "outer_border"))), label(own, "dent", OUTER)])]
    found = codes(label_consistency(facts(rows, tmp_path, needs=None)).findings)
    assert found == {"label.unknown_class:dent": (own.id,), "label.unknown_class:scratch": (own.id,)}


def test_without_labels_nothing_is_checked(tmp_path: Path) -> None:
    found = label_consistency(facts([(sample(1, status="unlabelled"), [])], tmp_path))
    assert (found.status, found.score) == ("not_checked", None)
    assert found.why == "no sample has labels yet"


# --- shapes -------------------------------------------------------------------------------------------------------


@given(st.integers(3, 200), st.integers(0, 10_000))
def test_a_star_shaped_outline_never_crosses_itself_and_a_bow_tie_of_it_does(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count)) + np.arange(count) * 1e-9
    radii = rng.uniform(20, 100, count)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
    assert not crosses_itself(Polygon(points=[tuple(p) for p in points.tolist()]))
    tie = [(0.0, 0.0), (10.0, 10.0), (10.0, 0.0), (0.0, 10.0)]
    assert crosses_itself(Polygon(points=tie))


def test_an_outline_that_touches_itself_is_sound() -> None:
    mask = np.zeros((8, 8), bool)
    mask[1:4, 1:4] = mask[4:7, 4:7] = True  # two squares that meet at a corner
    outline = rle.mask_outlines(mask)[0]
    assert not crosses_itself(Polygon(points=[tuple(p) for p in outline.tolist()]))


@given(st.integers(0, 10_000))
def test_bounds_and_area_of_a_mask_are_those_of_its_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((rng.integers(3, 40), rng.integers(3, 40)), bool)
    mask[tuple(rng.integers(0, n, 6) for n in mask.shape)] = True
    ys, xs = np.nonzero(mask)
    found = shape_of(rle.encode(mask))
    assert found is not None
    assert found.area_px == mask.sum()
    assert found.box == (xs.min() - 0.5, ys.min() - 0.5, xs.max() + 0.5, ys.max() + 0.5)


def test_overlap_is_that_of_the_shapes_not_of_their_boxes() -> None:
    falling, rising = polygon((0, 0), (100, 98), (100, 100), (0, 2)), polygon((100, 0), (100, 2), (0, 100), (0, 98))
    assert iou(shape_of(falling).box, shape_of(rising).box) == 1  # type: ignore[union-attr]
    assert overlap(falling, rising) < 0.1
    assert overlap(falling, falling) == 1
    square, mask = Box(xyxy=(-0.5, -0.5, 9.5, 9.5)), np.zeros((20, 20), bool)
    mask[:10, :10] = True
    assert overlap(rle.encode(mask), rle.encode(mask)) == 1
    assert overlap(square, polygon((-0.5, -0.5), (9.5, -0.5), (9.5, 9.5), (-0.5, 9.5))) > 0.98
    assert overlap(Mask(counts=rle.encode(mask).counts, size_hw=(20, 20)), rle.encode(np.ones((4, 4), bool))) == 0


def test_thin_scratches_side_by_side_are_two() -> None:
    """Of 3 x 2000 px at 30 degrees."""
    along, across = np.array([3**0.5 / 2, 0.5]), np.array([-0.5, 3**0.5 / 2])

    def scratch(off: float) -> Polygon:
        start = np.array([100.0, 100.0]) + off * across
        return polygon(*(tuple(start + a * along + b * across) for a, b in ((0, 0), (2000, 0), (2000, 3), (0, 3))))

    assert overlap(scratch(0), scratch(4)) == 0 and overlap(scratch(0), scratch(0)) == 1
    assert overlap(scratch(0), scratch(1)) == pytest.approx(0.5, abs=0.02)


# --- against a model ------------------------------------------------------------------------------------------------


def answer(name: str, box: tuple[float, float, float, float], score: float = 0.99) -> Instance:
    return Instance(label=name, score=score, box=box)


def test_a_side_that_a_model_does_not_confirm_is_suspect_in_mm(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [bordered(n) for n in range(30)]
    rows[4] = bordered(4, Box(xyxy=(130, 100, 1600, 2200)))  # 30 px = 1.27 mm on the left
    answers = {}
    for own, _ in rows:
        noise = rng.normal(3, 1.5, 4)  # the model is off by 3 px always: that is the model's
        answers[own.id] = [
            answer(BORDERS[0], tuple(np.add(OUTER.xyxy, noise))),
            answer(BORDERS[1], tuple(np.add(INNER.xyxy, noise))),
        ]
    found = label_consistency(facts(rows, tmp_path, predictions=answers, predicted_by="run R"))
    assert codes(found.findings) == {"suspect.border:outer_border": (rows[4][0].id,)}
    assert found.findings[0].details["by_sample"][rows[4][0].id] == "left side 1.3 mm"
    assert "30 samples held against run R" in found.why
    few = label_consistency(facts(rows[:9], tmp_path, predictions=answers, predicted_by="run R"))
    assert codes(few.findings) == {} and "(borders not: that takes 12 with a known scale)" in few.why
    nothing = label_consistency(facts(rows, tmp_path, predictions={"0" * 16 + "x": []}, predicted_by="run R"))
    assert "run R has judged other samples" in nothing.why


def test_a_border_that_a_model_is_sure_of_and_nobody_drew(tmp_path: Path) -> None:
    rows = [bordered(n, inner=None if n == 2 else INNER) for n in range(4)]
    answers = {own.id: [answer(BORDERS[1], INNER.xyxy)] for own, _ in rows}
    found = label_consistency(facts(rows, tmp_path, predictions=answers, predicted_by="run R"))
    assert codes(found.findings) == {"suspect.overlooked:graphical_border": (rows[2][0].id,)}


def test_objectlab_finds_the_overlooked_the_swapped_and_the_badly_placed(tmp_path: Path) -> None:
    defects = needs(task="surface_analysis.defect_detection", whole_card=False, borders=(), classes=("scratch", "dent"))
    rows, answers = [], {}
    for n in range(12):
        own = sample(n)
        first, second = Box(xyxy=(100, 100, 200, 200)), Box(xyxy=(600, 600, 700, 720))
        rows.append((own, [label(own, "scratch", first), label(own, "dent", second)]))
        answers[own.id] = [answer("scratch", (101, 100, 201, 200)), answer("dent", (600, 601, 700, 721))]
    own = rows[1][0]
    rows[1] = own, [label(own, "dent", Box(xyxy=(100, 100, 200, 200))), rows[1][1][1]]
    answers[rows[2][0].id].append(answer("scratch", (1000, 1000, 1100, 1100)))
    own = rows[3][0]
    rows[3] = own, [label(own, "scratch", Box(xyxy=(170, 170, 290, 290))), rows[3][1][1]]
    classes = [{"name": "scratch"}, {"name": "dent"}]
    found = label_consistency(
        facts(
            rows,
            tmp_path,
            needs=defects,
            predictions=answers,
            predicted_by="run R",
            classes=tuple(map(_class, classes)),
        )
    )
    assert codes(found.findings) == {
        "suspect.swapped": (rows[1][0].id,),
        "suspect.overlooked": (rows[2][0].id,),
        "suspect.badly_placed": (rows[3][0].id,),
    }


def _class(row: dict[str, str]) -> Any:
    from trugrade_core.schema import ClassDef

    return ClassDef.model_validate(row)


# --- against the picture --------------------------------------------------------------------------------------------

CARD = (60.3, 70.8, 660.2, 905.6)
"""In px of a scan at 240 dpi, tilted by a third of a degree."""


def scan(path: Path, seed: int, *, step: int = 140) -> None:
    """A card with a printed frame on a noisy ground."""
    rng = np.random.default_rng(seed)
    image = np.full((980, 720), 40, np.float32)
    x0, y0, x1, y1 = CARD
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    for (w, h), grey in (((x1 - x0, y1 - y0), 40 + step), ((x1 - x0 - 60, y1 - y0 - 70), 40 + step // 3)):
        corners = cv2.boxPoints((middle, (w, h), 0.33))
        cv2.fillPoly(image, [np.round(corners * 256).astype(np.int32)], float(grey), cv2.LINE_AA, 8)
    cv2.imwrite(str(path), np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))


def on_scans(tmp_path: Path, boxes: list[tuple[float, float, float, float]], **changes: Any) -> Any:
    rows = []
    for n, box in enumerate(boxes):
        scan(tmp_path / f"{n:016x}.png", n)
        own = sample(n, dpi=240)
        inner = Box(xyxy=(CARD[0] + 30, CARD[1] + 35, CARD[2] - 30, CARD[3] - 35))
        rows.append((own, [label(own, BORDERS[0], Box(xyxy=box)), label(own, BORDERS[1], inner)]))
    return facts(rows, tmp_path, **changes)


def test_a_border_drawn_beside_the_cards_edge_is_found_and_kept(tmp_path: Path) -> None:
    off = tuple(np.add(CARD, (5, 0, 5, 0)))  # 0.53 mm to the right
    asked = on_scans(tmp_path, [CARD, CARD, off], deep=True)
    found = label_consistency(asked)
    assert codes(found.findings) == {"label.off_edge:outer_border": ("0" * 15 + "2",)}
    side, _, mm, _ = found.findings[0].details["by_sample"]["0" * 15 + "2"].split()
    assert side in ("left", "right")
    assert float(mm) == pytest.approx(0.53, abs=0.11)  # a pixel is 0.106 mm
    assert "3 drawn outlines held to the picture's own edge" in found.why
    for path in tmp_path.glob("*.png"):
        path.unlink()  # what was measured once is not read again
    kept = label_consistency(asked)
    assert codes(kept.findings) == codes(found.findings)


def test_without_leave_to_read_pictures_none_is_read(tmp_path: Path) -> None:
    found = label_consistency(on_scans(tmp_path, [CARD, tuple(np.add(CARD, 20))]))
    assert "no drawn edge was held to its picture (2 pictures not read yet)" in found.why
    assert not (tmp_path / "ws" / "cache" / "checks" / "edges.jsonl").exists()


def test_labels_that_are_all_a_little_off_are_said_to_be_loose(tmp_path: Path) -> None:
    boxes = [tuple(np.add(CARD, (1.6, -1.6, 1.6, 1.6))) for _ in range(4)]  # 0.17 mm
    found = label_consistency(on_scans(tmp_path, boxes, deep=True))
    assert codes(found.findings) == {"label.loose:outer_border": ()}
    assert "asks for 0.1 mm" in found.findings[0].why


def test_a_side_without_a_clear_edge_is_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.random.default_rng(0).normal(60, 3, (980, 720)).astype(np.uint8))
    assert edges.measure(path, CARD, 25.4 / 240) == [None] * 4
    assert edges.measure(tmp_path / "gone.png", CARD, 25.4 / 240) == [None] * 4
    path.write_bytes(b"no picture")
    assert edges.measure(path, CARD, 25.4 / 240) == [None] * 4
