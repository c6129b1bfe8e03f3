"""A whole evaluation, with predictors whose figures are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.evaluate.stand_ins import CLASSES, StandIn, boxes_only, constant, off_by, perfect, silent
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.evaluate import matches as matching
from trugrade_core.evaluate.bootstrap import draws
from trugrade_core.evaluate.compare import compare
from trugrade_core.evaluate.measures import NAMES, measure
from trugrade_core.evaluate.predictions import SHIFT_SHARE, shift_of, shifted
from trugrade_core.evaluate.run import evaluate
from trugrade_core.workspace import Workspace, read_json

PX_MM = 25.4 / 40


def test_a_perfect_model(cards: Version, tmp_path: Path) -> None:
    found = evaluate(StandIn(cards, perfect), cards, "test", tmp_path)
    metrics = found["metrics"]
    assert list(metrics) == list(NAMES)
    for name in ("side_error_mm", "side_error_mm_p95", "side_error_px"):
        assert metrics[name]["value"] == metrics[name]["low"] == metrics[name]["high"] == 0
    assert metrics["side_error_mm_shifted"]["value"] == pytest.approx(0, abs=1e-12)
    for name in ("box_map", "box_ap50", "box_ap75", "f1", "card_accuracy"):
        assert metrics[name]["value"] == pytest.approx(1)
    cards_judged = cards.manifest.splits["test"]["cards"]
    assert all(cell["n_cards"] == cards_judged for cell in metrics.values())
    assert metrics["card_accuracy"]["low"] == pytest.approx(0.025 ** (1 / cards_judged)), "exact, not [1, 1]"
    assert found["proof"]["bound"] == pytest.approx(0.05 ** (1 / cards_judged)) and not found["proof"]["shown"]
    assert found["proof"]["distance"] == pytest.approx(0.998 - 0.05 ** (1 / cards_judged))
    assert found["verdict"]["better"] is True and found["verdict"]["text"] == "better than the constant box"
    assert {kind: e["count"] for kind, e in found["errors"].items()} == dict.fromkeys(found["errors"], 0)
    assert read_json(tmp_path / "evaluation.json")["metrics"]["f1"]["value"] == 1


def test_masks_of_the_plain_copy_are_scored_or_said_to_be_missing(cards: Version, tmp_path: Path) -> None:
    masked = evaluate(StandIn(cards, perfect, digest="a"), cards, "test", tmp_path / "a")
    assert masked["metrics"]["mask_map"]["value"] == pytest.approx(1)
    assert masked["masks"] == {"from_box": False, "reason": None}
    assert 0 < masked["baseline"]["mask_map"]["value"] < 1
    plain = evaluate(StandIn(cards, boxes_only, digest="b"), cards, "test", tmp_path / "b")
    for name in ("mask_map", "mask_ap50", "mask_ap75"):
        assert plain["metrics"][name]["value"] is None
        assert plain["metrics"][name]["reason"] == "the model gives boxes only"
    assert plain["masks"]["reason"] == "the model gives boxes only"


def test_the_constant_box_is_not_better_than_itself(cards: Version, tmp_path: Path) -> None:
    found = evaluate(StandIn(cards, constant(cards)), cards, "test", tmp_path)
    assert found["verdict"]["better"] is False and found["verdict"]["text"] == "not better than the constant box"
    assert found["verdict"]["difference"]["value"] == 0 == found["verdict"]["difference"]["high"]
    for name in NAMES:
        if not name.startswith("mask"):
            assert found["metrics"][name] == found["baseline"][name], name


def test_a_known_error_is_measured_in_px_and_mm(cards: Version, tmp_path: Path) -> None:
    found = evaluate(StandIn(cards, off_by(0.5)), cards, "test", tmp_path)
    metrics = found["metrics"]
    assert metrics["side_error_px"]["value"] == pytest.approx(0.5)
    assert metrics["side_error_mm"]["value"] == pytest.approx(0.5 * PX_MM)
    assert metrics["side_error_mm_p95"]["high"] == pytest.approx(0.5 * PX_MM)
    assert metrics["side_error_mm_shifted"]["value"] == pytest.approx(0.5 * PX_MM)
    assert metrics["card_accuracy"]["value"] == 1
    tight = evaluate(StandIn(cards, off_by(0.5)), cards, "test", tmp_path, side_mm=0.3)
    assert tight["metrics"]["card_accuracy"]["value"] == 0
    left = found["sides"]["outer_border"]["left"]
    assert left["bias_px"] == pytest.approx(-0.5) and left["mm"]["value"] == pytest.approx(0.5 * PX_MM)


def test_silence_is_the_worst_answer(cards: Version, tmp_path: Path) -> None:
    found = evaluate(StandIn(cards, silent), cards, "test", tmp_path)
    sizes = [s.main for s in cards.samples("test")]
    smallest = min(min(i.width, i.height) for i in sizes)
    assert found["metrics"]["side_error_px"]["value"] >= smallest
    assert found["metrics"]["box_map"]["value"] == 0 and found["metrics"]["f1"]["value"] == 0
    assert found["metrics"]["mask_map"]["reason"] == "nothing was found in any image"
    assert found["errors"]["missed"]["count"] == found["counted"]["objects"] == 2 * len(sizes)
    assert found["confusion"]["matrix"] == [[0, 0, 0], [len(sizes), 0, 0], [len(sizes), 0, 0]]
    assert len(found["confusion"]["cells"][0]["samples"]) == len(sizes)
    assert found["samples"][0]["missed"] == 2 and found["samples"][0]["right"] is False


def test_predictions_are_made_once(cards: Version, tmp_path: Path) -> None:
    model = StandIn(cards, perfect)
    evaluate(model, cards, "test", tmp_path)
    once = model.seen
    assert once == 2 * len(cards.samples("test")), "plain and shifted"
    evaluate(model, cards, "test", tmp_path)
    assert model.seen == once
    model.digest = "another checkpoint"
    evaluate(model, cards, "test", tmp_path)
    assert model.seen == 2 * once
    (tmp_path / "predictions.parquet").write_bytes(b"torn")
    evaluate(model, cards, "test", tmp_path)
    assert model.seen == 3 * once


def test_worst_samples_come_first_and_errors_lead_to_them(cards: Version, tmp_path: Path) -> None:
    ids = [s.id for s in cards.samples("test")]

    def one_bad(name: str, truth, wh):  # type: ignore[no-untyped-def]
        if name == ids[3]:
            return perfect(name, truth, wh)._replace(boxes=truth.boxes + 1.5, masks=None)
        if name == ids[5]:
            extra = np.concatenate([truth.boxes, [[0, 0, 5, 5]]])
            return truth._replace(boxes=extra, labels=np.append(truth.labels, 1), scores=np.full(3, 0.8), masks=None)
        return boxes_only(name, truth, wh)

    found = evaluate(StandIn(cards, one_bad), cards, "test", tmp_path)
    assert [row["sample"] for row in found["samples"][:2]] == [ids[5], ids[3]]
    assert found["errors"]["background"] | {"low": 0, "high": 0} == {
        "count": 1,
        "low": 0,
        "high": 0,
        "samples": [ids[5]],
    }
    assert found["samples"][1]["objects"][0]["sides_px"] == [1.5, 1.5, 1.5, 1.5]
    assert found["metrics"]["card_accuracy"]["value"] == pytest.approx((len(ids) - 2) / len(ids))


def test_matches_come_back_from_disk_as_they_were(cards: Version, tmp_path: Path) -> None:
    found = evaluate(StandIn(cards, off_by(1.0)), cards, "test", tmp_path)
    stored = matching.read(tmp_path, "plain", CLASSES, 0.5)
    counts = draws(len(stored.cards))
    again = measure(stored, counts, 2)
    for name in ("side_error_mm", "side_error_mm_p95", "f1", "card_accuracy", "box_map"):
        assert again[name][0] == pytest.approx(found["metrics"][name]["value"], abs=1e-9), name
    assert pq.read_table(tmp_path / "objects.parquet").num_rows == 2 * found["counted"]["objects"]


def test_samples_without_dpi_have_px_but_no_mm(ws: Workspace, tmp_path: Path, cards: Version) -> None:
    ds = Dataset.create(ws, "unscaled", cards.manifest.classes)
    for sample, labels in cards.records():
        path = ws.image(sample.main.sha256, sample.main.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cards.image_path(sample).read_bytes())
        bare = sample.main.model_copy(update={"dpi": None})
        ds.put_samples([sample.model_copy(update={"dpi": None, "images": {"main": bare}})])
        ds.append([put_entry(label, who="test", tool="test") for label in labels])
    snapshot(ds)
    version = Version.open(ws, "unscaled")
    found = evaluate(StandIn(version, off_by(1.0)), version, "test", tmp_path)["metrics"]
    assert found["side_error_px"]["value"] == pytest.approx(1.0)
    for name in ("side_error_mm", "side_error_mm_p95", "side_error_mm_shifted", "card_accuracy"):
        assert found[name]["value"] is None and "no dpi" in found[name]["reason"], name


def test_an_empty_split_is_refused(cards: Version, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no labelled sample"):
        evaluate(StandIn(cards, perfect), cards, "val", tmp_path)
    assert not list(tmp_path.iterdir())


# --- the shifted copy -------------------------------------------------------------------------------------------


def test_shifts_are_fixed_by_the_sample_and_bounded() -> None:
    pads = np.array([shift_of(f"{n:016x}", 1000, 2000) for n in range(200)])
    assert (pads >= 0).all() and (pads.max(axis=0) <= [150, 300, 150, 300]).all() and SHIFT_SHARE == 0.15
    assert pads[:, 0].max() > 120 and pads[:, 1].max() > 240
    assert shift_of("00000000000000ff", 1000, 2000) == shift_of("00000000000000ff", 1000, 2000)


def test_the_shifted_picture_holds_the_old_one_at_its_offset() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 10, 3), np.uint8)
    larger = shifted(image, (2, 3, 1, 4))
    assert larger.shape == (27, 13, 3)
    np.testing.assert_array_equal(larger[3:23, 2:12], image)


# --- comparing --------------------------------------------------------------------------------------------------


def test_compare_is_paired_and_says_which_is_better(cards: Version, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    noise = {s.id: rng.normal(0, 1, (2, 4)) for s in cards.samples()}

    def worse(factor: float):  # type: ignore[no-untyped-def]
        return lambda name, truth, wh: boxes_only(name, truth, wh)._replace(boxes=truth.boxes + factor * noise[name])

    evaluate(StandIn(cards, worse(1.0), digest="a"), cards, "test", tmp_path / "a")
    evaluate(StandIn(cards, worse(1.2), digest="b"), cards, "test", tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b")
    side = found["metrics"]["side_error_mm"]
    assert side["difference"]["better"] == "a" and side["difference"]["high"] < 0
    assert side["difference"]["value"] == pytest.approx(side["a"] - side["b"])
    assert found["metrics"]["side_error_mm_shifted"]["difference"]["better"] == "a"
    assert found["metrics"]["mask_map"]["difference"]["value"] is None
    assert compare(tmp_path / "b", tmp_path / "a")["metrics"]["side_error_mm"]["difference"]["better"] == "b"
    same = compare(tmp_path / "a", tmp_path / "a")["metrics"]["side_error_mm"]["difference"]
    assert same["better"] == "neither" and same["value"] == 0


def test_other_cards_are_not_compared(cards: Version, tmp_path: Path) -> None:
    evaluate(StandIn(cards, perfect), cards, "test", tmp_path / "a")
    evaluate(StandIn(cards, perfect), cards, "train", tmp_path / "b")
    with pytest.raises(UsageError, match="differ in the split"):
        compare(tmp_path / "a", tmp_path / "b")
