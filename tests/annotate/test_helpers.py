"""Edges by contrast, segmenting by a click, and suggestions until they are decided on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.annotate.conftest import Saver, add_image
from trugrade_core.annotate import edges, segment, suggestions
from trugrade_core.annotate.saving import Decision, state_of
from trugrade_core.data import rle
from trugrade_core.data.images import decode, probe
from trugrade_core.data.store import Dataset, sample_id
from trugrade_core.errors import DatasetError, TruGradeError, UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Box, ClassDef, Instance, Mask, Polygon, Sample
from trugrade_core.workflows import annotating
from trugrade_core.workflows.jobs import Job
from trugrade_core.workspace import Workspace, write_atomic


def scan(corners: np.ndarray, size: tuple[int, int] = (420, 560), noise: float = 4, frame: bool = True) -> np.ndarray:
    """(H, W, 3): a light card with those corners on a dark ground, drawn four times as large and shrunk."""
    width, height = size
    big = np.full((height * 4, width * 4, 3), 35, np.uint8)
    middle = corners.mean(axis=0)
    for points, color in (
        (corners, (205, 200, 190)),
        (middle + 0.86 * (corners - middle), (60, 90, 150)) if frame else ((0, 0), None),
    ):
        if color:
            cv2.fillPoly(
                big, [np.round((points + 0.5) * 4 * 16 - 8).astype(np.int32)], color, lineType=cv2.LINE_AA, shift=4
            )
    small = cv2.resize(big, size, interpolation=cv2.INTER_AREA).astype(float)
    return np.clip(small + np.random.default_rng(0).normal(0, noise, small.shape), 0, 255).astype(np.uint8)


def tilted(
    degrees: float, middle: tuple[float, float] = (208.3, 281.7), size: tuple[float, float] = (300.0, 420.0)
) -> np.ndarray:
    a, (w, h) = np.radians(degrees), size
    local = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return local @ turn.T + middle


# --- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 0.5, -1.7])
def test_a_cards_outline_is_found_to_a_fraction_of_a_pixel(degrees: float) -> None:
    truth = tilted(degrees)
    found = edges.card_outline(scan(truth), mm_per_px=63.5 / 300)
    assert np.abs(found.points - truth).max() < 0.5
    assert min(found.support) > 0.9


@pytest.mark.parametrize(
    "image", [np.full((300, 200, 3), 90, np.uint8), np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)]
)
def test_a_picture_without_a_card_is_said_to_have_none(image: np.ndarray) -> None:
    with pytest.raises(DatasetError, match="no card outline found"):
        edges.card_outline(image)


def test_the_outline_of_real_scans_against_measured_edges(shared: Path) -> None:
    folder = shared / "border_scans_600dpi"
    truth = json.loads((folder / "gauge_truth.json").read_text())["images"]
    errors = []
    for name, facts in truth.items():
        points = edges.card_outline(decode(folder / "images" / name), 25.4 / 600).points
        for n, side in enumerate(edges.SIDES):
            x1, y1, x2, y2 = facts["sides"][side]["line"]
            along = points[(n + 1) % 4] - points[n]
            normal = np.array([-along[1], along[0]]) / np.linalg.norm(along)
            errors.append(abs((np.array([(x1 + x2) / 2, (y1 + y2) / 2]) - points[n]) @ normal))
    assert len(errors) == 24
    assert np.median(errors) < 0.25 and np.quantile(errors, 0.9) < 1 and max(errors) < 4  # px of 0.042 mm


# --- click to segment ---------------------------------------------------------------------------------------------------


def blob(size: tuple[int, int] = (240, 180)) -> tuple[np.ndarray, np.ndarray]:
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = ((x - 130) / 30) ** 2 + ((y - 80) / 18) ** 2 <= 1
    image = np.where(inside[..., None], (190, 120, 60), (60, 80, 70)).astype(float)
    return np.clip(image + np.random.default_rng(1).normal(0, 6, image.shape), 0, 255).astype(np.uint8), inside


@pytest.mark.parametrize(
    "prompt", [segment.Prompt(points=((130.0, 80.0, True),)), segment.Prompt(box=(92.0, 56.0, 168.0, 104.0))]
)
def test_grabcut_finds_what_was_clicked_or_boxed_and_the_same_each_time(prompt: segment.Prompt) -> None:
    image, truth = blob()
    x0, y0, x1, y1 = segment.window(prompt, 240, 180)
    made = [segment.grabcut(image[y0:y1, x0:x1], prompt, (x0, y0)).value("mask", (180, 240)) for _ in range(2)]
    assert made[0] == made[1]
    found = rle.decode(made[0])
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_a_click_on_nothing_says_so(ds: Dataset, ids: list[str]) -> None:
    with pytest.raises(DatasetError, match="no shape found"):
        annotating.segment_at(ds.ws, "cards", ids[0], [(50, 50, 1)])
    with pytest.raises(DatasetError, match="outside the image"):
        annotating.segment_at(ds.ws, "cards", ids[0], [(-900, 50, 1)])
    with pytest.raises(DatasetError, match="nothing was clicked"):
        annotating.segment_at(ds.ws, "cards", ids[0], [(50, 50, 0)])
    with pytest.raises(DatasetError, match="more than GrabCut looks at"):
        segment.window(segment.Prompt(box=(0, 0, 1200, 1200)), 4000, 4000)
    with pytest.raises(DatasetError, match="outside the image"):
        annotating.segment_at(ds.ws, "cards", ids[0], [(50, -3, 1)])  # a crop around it would hold pixels


def test_what_was_clicked_comes_in_the_shape_its_class_is_drawn_as(ds: Dataset) -> None:
    image, _ = blob()
    sample = add_image(ds.ws, image, "blob.png")
    ds.put_samples([sample])
    as_mask = annotating.clicked_shape(ds.ws, "cards", sample.id, "stain", [(130, 80, 1)])
    as_polygon = annotating.clicked_shape(ds.ws, "cards", sample.id, "outer_border", [(130, 80, 1)])
    assert isinstance(as_mask.value, Mask) and isinstance(as_polygon.value, Polygon)
    assert as_mask.by == "GrabCut" == as_polygon.by
    both = rle.decode(as_mask.value), rle.fill(as_polygon.value.points, 240, 180)
    assert (both[0] & both[1]).sum() / (both[0] | both[1]).sum() > 0.95
    boxed = segment.Part(both[0][50:120, 90:], (90, 50), "GrabCut").value("box", (180, 240))
    assert isinstance(boxed, Box) and np.abs(np.array(boxed.xyxy) - [99.5, 61.5, 160.5, 98.5]).max() <= 2
    assert annotating.segmenter(ds.ws) == "GrabCut on the crop, no model"


# --- suggestions ----------------------------------------------------------------------------------------------------------


def test_a_models_instances_become_the_shapes_of_their_classes() -> None:
    _, truth = blob()
    mask = rle.encode(truth)
    box = (99.5, 61.5, 160.5, 98.5)
    found = suggestions.from_instances(
        "s", [Instance(label=n, score=0.9, box=box, mask=mask) for n in ("a", "b", "c", "other")], "run x",
        {"a": "box", "b": "polygon", "c": "mask"},
    )  # fmt: skip
    assert [type(s.value) for s in found] == [Box, Polygon, Mask]
    outline = rle.fill(found[1].value.points, 240, 180)  # type: ignore[union-attr]
    assert (outline & truth).sum() / (outline | truth).sum() > 0.95 and len(found[1].value.points) < 60  # type: ignore[union-attr]
    plain = suggestions.as_drawn(Instance(label="b", score=0.9, box=box), "polygon")
    assert isinstance(plain, Polygon) and len(plain.points) == 4


def test_edges_are_suggested_kept_and_not_offered_again_once_decided(ws: Workspace) -> None:
    ds = Dataset.create(ws, "scans", [ClassDef(name="outer_border", shape="polygon")])
    truth = tilted(0.5)
    sample = add_image(ws, scan(truth), "scan.png", dpi=25.4 * 300 / 63.5)
    ds.put_samples([sample])
    held = state_of(ds, sample.id)
    assert annotating.EDGES in annotating.sources(ws, "scans")
    assert annotating.suggested(ws, "scans", held, annotating.EDGES) is None
    annotating.suggest_edges(ws, "scans", sample)
    (one,) = annotating.suggested(ws, "scans", held, annotating.EDGES) or ()
    assert np.abs(np.asarray(one.value.points) - truth).max() < 0.5  # type: ignore[union-attr]
    op = {"op": "put", "label": one.label, "value": one.value.model_dump(mode="json"), "suggested_by": one.by}
    decided = annotating.decide([one], {"accepted": [one.id]})
    assert decided == [Decision(suggestion=one.id, word="accepted", by="card edges by contrast")]
    annotating.save(ws, "scans", sample.id, [op], who="ana", tool="annotator", commit="accepting-it", decisions=decided)
    after = state_of(ds, sample.id)
    assert after.shown[0].suggested_by == "card edges by contrast"
    assert annotating.suggested(ws, "scans", after, annotating.EDGES) == ()


def test_a_job_asks_about_many_samples_and_says_which_failed(ws: Workspace) -> None:
    ds = Dataset.create(ws, "scans", [ClassDef(name="border", shape="polygon")])
    good, bare = (
        add_image(ws, scan(tilted(0)), "scan.png"),
        add_image(ws, np.full((90, 60, 3), 9, np.uint8), "bare.png"),
    )
    ds.put_samples([good, bare])
    folder = RunFolder.create(ws.jobs, {"kind": "suggest", "args": {}})
    found = annotating.do_suggest(
        Job(ws, folder, {"dataset": "scans", "samples": [good.id, bare.id, "gone"], "source": "edges"})
    )
    assert (found["asked"], found["suggestions"]) == (3, 1)
    assert [f["sample"] for f in found["failed"]] == [bare.id, "gone"]


def test_a_source_that_is_not_there_is_named(ws: Workspace, ds: Dataset, ids: list[str]) -> None:
    with pytest.raises(TruGradeError):
        annotating.start_suggesting(ws, "cards", ids, "no such run")
    with pytest.raises(UsageError):
        suggestions.keep(ws, "../../x", ids[0], ())


def test_ops_that_cannot_be_understood_say_where(ds: Dataset, ids: list[str], do: Saver) -> None:
    for ops in ([{"op": "put", "value": {"type": "box", "xyxy": [5, 5, 1, 1]}}], "x", [{"op": "paint"}]):
        with pytest.raises(UsageError, match="cannot be understood"):
            annotating.save(ds.ws, "cards", ids[0], ops, who="ana", tool="cli", commit="the-commit")


# --- a scan too large to hold -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_scan_of_192_megapixels_is_saved_on_suggested_on_and_segmented(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = Dataset.create(
        ws, "huge", [ClassDef(name="outer_border", shape="polygon"), ClassDef(name="stain", shape="mask")]
    )
    width, height = 12_000, 16_000
    truth = tilted(0.4, (6010.3, 7990.7), (10_500.0, 14_700.0))
    image = np.full((height, width, 3), 35, np.uint8)
    cv2.fillPoly(image, [np.round(truth * 16).astype(np.int32)], (205, 200, 190), lineType=cv2.LINE_AA, shift=4)
    cv2.circle(image, (6000, 8000), 60, (90, 60, 20), -1)
    image[::7, ::5] += 3
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    del image
    ref = probe(data, name="huge.jpg")
    write_atomic(ws.image(ref.sha256, ref.suffix), data)
    sample = Sample(id=sample_id({"main": ref}), images={"main": ref}, card="huge", dpi=10_500 / 63.5 * 25.4)
    ds.put_samples([sample])
    with monkeypatch.context() as m:  # saving and outlining decode nothing whole
        m.setattr("trugrade_core.data.images.decode", lambda path: pytest.fail("decoded whole"))
        op = {
            "op": "put",
            "label": "stain",
            "value": rle.encode(np.ones((9, 9), bool), at_xy=(11_900, 15_900), size_hw=(height, width)).model_dump(),
        }
        annotating.save(ws, "huge", sample.id, [op], who="ana", tool="annotator", commit="the-commit")
        (one,) = annotating.suggest_edges(ws, "huge", sample)
        assert np.abs(np.asarray(one.value.points) - truth).max() < 8  # type: ignore[union-attr]  # px of 6 µm
    found = annotating.clicked_shape(ws, "huge", sample.id, "stain", [(6000, 8000, 1)])
    assert abs(int(rle.runs(found.value)[1::2].sum()) - np.pi * 60**2) < 500  # type: ignore[arg-type]
