"""What was drawn on crops, on their scans: there and back, where crops overlap, and again when something has changed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from tests.card.samples import polygon
from tests.card.test_deriving import CORNERS, TILTED, add, png, run, say, scan
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.card.carry import carry
from trugrade_core.card.regions import Cut
from trugrade_core.data import rle
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, ClassDef, Mask, Polygon, Sample, Score, Status
from trugrade_core.workflows import carrying
from trugrade_core.workflows.carrying import CarryReport, carry_back
from trugrade_core.workspace import Workspace, write_json

TILES = "surface_analysis.defect_detection"


@pytest.fixture
def scans(ws: Workspace) -> Dataset:
    return Dataset.create(ws, "scans", [ClassDef(name="outer_border", shape="polygon")])


def back(ds: Dataset, name: str = "tiles", **options: Any) -> CarryReport:
    return carry_back(ds.ws, name, who="ann", **options)


def act(ds: Dataset, sample: str, *ops: Op) -> None:
    save(ds, sample, ops, who="maria", tool="annotator", commit=uuid4().hex)


def on_scan(ds: Dataset) -> list[Annotation]:
    return [a for own in ds.annotations().values() for a in own if a.label != "outer_border"]


def cut_of(crop: Sample) -> Cut:
    assert crop.parent
    return Cut(crop.parent.region, np.array(crop.parent.homography).reshape(3, 3), (crop.main.width, crop.main.height))


def draw(scans: Dataset, truth: Polygon | Box, *, label: str = "scratch", to: str = "tiles", **attributes: Any) -> list[Annotation]:  # fmt: skip
    """`truth`, px of the scan, as people would draw it on each crop that shows some of it."""
    ds = Dataset.open(scans.ws, to)
    found = []
    for crop in ds.iter_samples():
        part = carry(Annotation(id="truth", sample="scan", label=label, value=truth), [cut_of(crop)])
        if part and crop.excluded is None:
            ((value, _),) = part.values()
            act(ds, crop.id, Op(op="put", label=label, value=value, attributes=attributes))
            found += [a for a in ds.annotations()[crop.id] if a.label == label]
    return found


def tiled(scans: Dataset, corners: np.ndarray = CORNERS, size: tuple[int, int] = (310, 410)) -> Sample:
    parent = add(scans, png(scan(1, corners, size)), ("outer_border", polygon(corners)))
    assert run(scans, "tiles", TILES, refine=False).derived == 15
    return parent


def square(x: float, y: float, side: float) -> Polygon:
    return polygon([(x, y), (x + side, y), (x + side, y + side), (x, y + side)])


def alone(scans: Dataset) -> Polygon:
    """A square that one tile alone shows."""
    cuts = [cut_of(crop) for crop in Dataset.open(scans.ws, "tiles").iter_samples()]
    for x in range(25, 250, 5):
        shape = square(x, 40, 4)
        if len([1 for cut in cuts if carry(Annotation(id="t", sample="s", label="x", value=shape), [cut])]) == 1:
            return shape
    raise AssertionError("every place is on two tiles")


@pytest.mark.parametrize(("corners", "size"), [(CORNERS, (310, 410)), (TILTED, (330, 430))])
def test_a_shape_drawn_on_a_crop_lies_on_the_scan_to_a_hundredth_of_a_pixel(
    scans: Dataset, corners: np.ndarray, size: tuple[int, int]
) -> None:
    parent = tiled(scans, corners, size)
    truth = alone(scans)
    draw(scans, truth, severity="minor")
    report = back(scans)
    assert (report.into, report.scans, report.added, report.joined, report.left_out) == (["scans"], 1, 1, 0, [])
    (found,) = on_scan(scans)
    assert found.sample == parent.id and found.label == "scratch" and isinstance(found.value, Polygon)
    assert np.abs(np.array(found.value.points) - np.array(truth.points)).max() < 0.01
    assert found.attributes == {"severity": "minor", "drawn_on": "tiles"}
    (entry,) = [e for e in scans.log() if e.annotation == found.id]
    assert (entry.who, entry.tool) == ("maria", "carry_back")
    assert [c.name for c in scans.classes] == ["outer_border", "scratch"] == ["outer_border", *report.classes]


def test_a_scratch_across_three_tiles_is_one_on_the_scan_with_the_worst_severity(scans: Dataset) -> None:
    tiled(scans)
    truth = polygon([(30, 60), (240, 60), (240, 64), (30, 64)])
    parts = draw(scans, truth, severity="minor")
    assert len(parts) >= 3
    ds = Dataset.open(scans.ws, "tiles")
    held = state_of(ds, parts[1].sample).shown[0]
    act(ds, held.sample, Op(op="put", annotation=held.annotation, label="scratch", value=held.value,
                              attributes={"severity": "heavy"}, replaces=held.entry))  # fmt: skip
    report = back(scans)
    assert (report.added, report.joined) == (1, 1)
    (found,) = on_scan(scans)
    assert isinstance(found.value, Mask) and found.attributes["severity"] == "heavy"
    there, expected = rle.decode(found.value), rle.fill(truth.points, 310, 410)
    assert (there & expected).sum() / (there | expected).sum() > 0.97


def test_two_things_close_by_on_overlapping_tiles_stay_two(scans: Dataset) -> None:
    tiled(scans)
    for truth in (polygon([(30, 60), (240, 60), (240, 64), (30, 64)]), polygon([(30, 65), (240, 65), (240, 69), (30, 69)])):  # fmt: skip
        draw(scans, truth)
    assert back(scans).added == 2


def test_boxes_that_are_one_are_joined_to_their_extent(scans: Dataset) -> None:
    tiled(scans)
    draw(scans, Box(xyxy=(30, 60, 240, 80)))
    assert back(scans).added == 1
    (found,) = on_scan(scans)
    assert isinstance(found.value, Box) and found.value.xyxy == pytest.approx((30, 60, 240, 80), abs=0.01)


def test_again_it_says_only_what_was_changed_on_the_crops_since(scans: Dataset) -> None:
    tiled(scans)
    (drawn,) = draw(scans, alone(scans))
    assert back(scans).added == 1
    assert back(scans).model_dump(exclude={"dataset", "unchanged"}) == CarryReport(dataset="").model_dump(
        exclude={"dataset", "unchanged"}
    )
    ds = Dataset.open(scans.ws, "tiles")
    held = state_of(ds, drawn.sample).shown[0]
    change = Op(op="put", annotation=drawn.id, label="scratch", value=square(1, 1, 3), replaces=held.entry)
    act(ds, drawn.sample, change)
    report = back(scans)
    assert (report.added, report.changed, report.removed) == (0, 1, 0)
    held = state_of(ds, drawn.sample).shown[0]
    act(ds, drawn.sample, Op(op="delete", annotation=drawn.id, replaces=held.entry))
    assert back(scans).removed == 1 and on_scan(scans) == []


def test_what_a_person_changed_on_the_scan_stays(scans: Dataset) -> None:
    parent = tiled(scans)
    draw(scans, alone(scans))
    back(scans)
    held = next(e for e in state_of(scans, parent.id).shown if e.label == "scratch")
    act(scans, parent.id, Op(op="delete", annotation=held.annotation, replaces=held.entry))
    report = back(scans)
    assert (report.touched, report.added, report.into) == (1, 0, []) and on_scan(scans) == []


def test_a_preview_writes_nothing_and_tells_the_same(scans: Dataset) -> None:
    tiled(scans)
    draw(scans, alone(scans))
    before = scans.log_path.read_bytes(), scans.facts()
    seen = back(scans, preview=True)
    assert (scans.log_path.read_bytes(), scans.facts()) == before and seen.steps == {}
    assert back(scans).model_dump(exclude={"steps"}) == seen.model_dump(exclude={"steps"})


def test_it_is_undone_as_one_step_and_can_be_done_again(scans: Dataset) -> None:
    tiled(scans)
    draw(scans, alone(scans))
    back(scans)
    carrying.undo_carry_back(scans.ws, "tiles", who="ann")
    assert on_scan(scans) == [] and [c.name for c in scans.classes] == ["outer_border"]
    with pytest.raises(UsageError, match="no carry back to undo"):
        carrying.undo_carry_back(scans.ws, "tiles", who="ann")
    assert back(scans).added == 1


def test_cutting_again_does_not_bring_it_back_to_the_crops_twice_but_feeds_other_tasks(scans: Dataset) -> None:
    tiled(scans)
    draw(scans, alone(scans))
    back(scans)
    assert run(scans, "tiles", TILES, refine=False).labels == 0
    run(scans, "more", TILES, refine=False)
    (found,) = [a for own in Dataset.open(scans.ws, "more").annotations().values() for a in own]
    assert found.label == "scratch"
    report = carry_back(scans.ws, "more", who="ann")
    assert (report.added, report.into) == (0, [])


def test_labels_that_came_with_the_scan_scores_and_crops_left_out_are_not_carried(scans: Dataset) -> None:
    tiled(scans)
    scans.add_classes([ClassDef(name="scratch", shape="polygon")])
    shape = alone(scans)
    say(scans, next(iter(scans.samples())), "scratch", shape)
    assert run(scans, "tiles", TILES, refine=False).labels == 1
    ds = Dataset.open(scans.ws, "tiles")
    ((crop, (came,)),) = ds.annotations().items()
    held = state_of(ds, crop).shown[0]
    act(ds, crop, Op(op="put", annotation=came.id, label="scratch", value=square(1, 1, 2), replaces=held.entry))
    other, rescan = [id for id in ds.samples() if id != crop][:2]
    say(ds, other, None, Score(score=9.5))
    say(ds, rescan, "scratch", square(1, 1, 2))
    save(ds, rescan, [], who="maria", tool="annotator", commit="the-commit", status=Status(status="rescan"))
    report = back(scans)
    assert (report.came, report.whole, report.into) == (1, 1, [])


def test_a_scan_that_label_studio_has_is_left_out_with_the_reason(scans: Dataset) -> None:
    parent = tiled(scans)
    draw(scans, alone(scans))
    write_json(scans.path / "label_studio.json", {"samples": {parent.id: {"id": 7, "state": "pushed"}}})
    report = back(scans)
    assert report.into == [] and report.added == 0
    (left,) = report.left_out
    assert left["sample"] == parent.id and "task 7" in left["reason"]


def test_what_cannot_be_carried_back_says_why(scans: Dataset) -> None:
    add(scans, png(scan(1)))
    with pytest.raises(DatasetError, match="holds no crops of scans"):
        back(scans, "scans")
    with pytest.raises(UsageError, match="nobody has said who"):
        carry_back(scans.ws, "scans", who=" ")
