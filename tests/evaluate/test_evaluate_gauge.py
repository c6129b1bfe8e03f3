from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trugrade_core.coordinates import box_from_yolo
from trugrade_core.errors import UsageError
from trugrade_core.evaluate.gauge import against_gauge, gauge, mid_side
from trugrade_core.schema import Instance, Prediction
from trugrade_core.workspace import read_json, write_json


def said(*rows: tuple[str, float, tuple[float, float, float, float]]) -> Prediction:
    instances = tuple(Instance(label=label, score=score, box=box) for label, score, box in rows)
    return Prediction(image="a.jpg", width=200, height=300, instances=instances, seconds=0)


GAUGE = {"images": {"a.jpg": {"size": [200, 300], "dpi": 254, "sides": {
    "left": {"line": [10, 0, 14, 100], "sigma_px": 0.4, "quality": "good"},
    "top": {"line": [0, 20, 100, 22], "sigma_px": 0.5, "quality": "good"},
    "right": {"line": [190, 0, 194, 100], "sigma_px": 0.4, "quality": "good"},
    "bottom": {"line": [0, 280, 100, 282], "sigma_px": 0.6, "quality": "good"},
}}}}  # fmt: skip


def test_sides_are_held_to_the_middle_of_the_lines() -> None:
    assert mid_side([10, 0, 14, 100], "left") == 12 and mid_side([0, 20, 100, 22], "top") == 21
    best, other = ("outer_border", 0.9, (13.0, 21.0, 192.0, 277.0)), ("outer_border", 0.5, (0.0, 0.0, 5.0, 5.0))
    found = against_gauge({"a.jpg": said(other, best)}, GAUGE)
    assert [r["error_px"] for r in found["rows"]] == [1.0, 0.0, 0.0, -4.0]
    assert [r["error_mm"] for r in found["rows"]] == pytest.approx([0.1, 0.0, 0.0, -0.4])
    outer = found["classes"]["outer_border"]
    assert outer["median_px"] == 0.5 and outer["worst_px"] == 4.0 and outer["sides"] == 4 and outer["missed"] == 0
    inner = found["classes"]["graphical_border"]
    assert inner["sides"] == 0, "this scan has no inner lines"
    assert set(inner) == set(outer) and inner["median_mm"] is inner["p95_px"] is None


def test_a_missed_card_counts_with_the_picture() -> None:
    found = against_gauge({"a.jpg": said()}, GAUGE)
    assert [r["error_px"] for r in found["rows"]] == [200, 300, 200, 300]
    assert found["classes"]["outer_border"]["missed"] == 1


class Finds:
    """A model of the given classes that finds nothing."""

    name = "m"

    def __init__(self, *classes: str) -> None:
        self.classes = classes

    def predict(self, images: list[object], names: list[str]) -> list[Prediction]:
        return [said()]


def test_a_class_the_model_has_not_is_left_out_and_not_missed(tmp_path: Path) -> None:
    Image.new("RGB", (200, 300)).save(tmp_path / "a.jpg")
    write_json(tmp_path / "gauge.json", GAUGE)
    found = gauge(Finds("graphical_border"), tmp_path, tmp_path / "gauge.json")  # type: ignore[arg-type]
    assert list(found["classes"]) == ["graphical_border"] and found["left_out"] == ["outer_border"]
    assert found["rows"] == []
    with pytest.raises(UsageError, match="finds scratch"):
        gauge(Finds("scratch"), tmp_path, tmp_path / "gauge.json")  # type: ignore[arg-type]


@pytest.mark.parametrize(("content", "says"), [(GAUGE, "none of the 1 images of gauge.json is here, such as a.jpg"),
                                               ({"images": []}, "not a gauge file"), ([], "not a gauge file")])  # fmt: skip
def test_a_gauge_that_fits_nothing_says_what_was_looked_for(tmp_path: Path, content: object, says: str) -> None:
    write_json(tmp_path / "gauge.json", content)
    with pytest.raises(UsageError) as e:
        gauge(Finds("outer_border"), tmp_path, tmp_path / "gauge.json")  # type: ignore[arg-type]
    assert says in e.value.message


def test_hand_labels_of_the_real_scans_are_as_exact_as_they_were_measured(shared: Path) -> None:
    folder = shared / "border_scans_600dpi"
    gauge = read_json(folder / "gauge_truth.json")
    answers = {}
    for name, facts in gauge["images"].items():
        rows = np.loadtxt(folder / "labels_dual_class" / f"{Path(name).stem}.txt")
        labels = [("outer_border", "graphical_border")[int(r[0])] for r in rows]
        boxes = [box_from_yolo(r[1:], *facts["size"]) for r in rows]
        answers[name] = said(*((label, 1.0, tuple(b.tolist())) for label, b in zip(labels, boxes, strict=True)))
    found = against_gauge(answers, gauge)["classes"]
    assert found["outer_border"]["sides"] == 24 and found["graphical_border"]["sides"] == 16
    assert 0.7 < found["outer_border"]["median_px"] < 1.5 and 0.7 < found["graphical_border"]["median_px"] < 1.5
