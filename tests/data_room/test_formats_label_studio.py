"""Label Studio's JSON: where its pictures are, what is read of its results, and tasks that are not as it writes them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data_room.conftest import make_picture
from trugrade_core.annotate.label_studio.config import parse, problems
from trugrade_core.annotate.label_studio.results import validate_results
from trugrade_core.data import label_studio as ls
from trugrade_core.data import rle
from trugrade_core.data.exporting import export_version
from trugrade_core.data.formats.label_studio import _Places
from trugrade_core.data.formats.label_studio import parse as read_annotation
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.store import Dataset, annotation_id, put_entry, status_id
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, ImageRef, Polygon, Score, Status, Tags, Value
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]


def result(type: str, value: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": "r1", "from_name": "shape", "to_name": "image", "type": type, "original_width": 64, "original_height": 48,
            "image_rotation": 0, "value": value, **changes}  # fmt: skip


def said(control: str, type: str, content: Any, **changes: Any) -> dict[str, Any]:
    key = "text" if type == "textarea" else type
    return {"id": control, "from_name": control, "to_name": "image", "type": type, "value": {key: content}, **changes}


BOX = result("rectanglelabels", {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["a"]})
POLYGON = result(
    "polygonlabels", {"points": [[0, 0], [50, 0], [0, 50]], "closed": True, "polygonlabels": ["b"]}, id="r2"
)


@pytest.fixture
def tasks(tmp_path: Path) -> Callable[..., Path]:
    """tasks(results of i0.png) or tasks(tasks=[…]) -> a folder with images/i0.png, i1.png (64 x 48) and tasks.json."""

    def build(
        *results: Any, tasks: Any = None, address: str = "/data/upload/1/0123abcd-i0.png", **annotation: Any
    ) -> Path:
        root = tmp_path / "ls"
        (root / "images").mkdir(parents=True, exist_ok=True)
        for i in range(2):
            (root / "images" / f"i{i}.png").write_bytes(make_picture(i))
        own = [{"id": 5, "data": {"image": address}, "annotations": [{"id": 1, "result": list(results), **annotation}]}]
        (root / "tasks.json").write_text(json.dumps(own if tasks is None else tasks))
        return root

    return build


def labels(ws: Workspace, name: str = "d") -> list[Annotation]:
    return [a for found in Dataset(ws, name).annotations().values() for a in found]


def test_shapes_of_every_kind(ws: Workspace, tasks: Callable[..., Path], bring: Import) -> None:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 30:50] = True
    brush = result("brushlabels", {"format": "rle", "rle": ls.brush_runs(mask), "brushlabels": ["a"]}, id="r3")
    turned = result("rectanglelabels", {**BOX["value"], "width": 20, "height": 20, "rotation": 45}, id="r4")
    half = result("rectanglelabels", {**BOX["value"], "x": 75, "y": 75, "rotation": 180}, id="r6")
    oval = result(
        "ellipselabels",
        {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10, "rotation": 0, "ellipselabels": ["b"]},
        id="r5",
    )
    report = bring(tasks(BOX, POLYGON, brush, turned, oval, half))
    box, polygon, painted, quad, ring = labels(ws)
    assert (report.format, report.skipped, report.taken) == ("label_studio", [], 2)
    assert box.value == Box(xyxy=(15.5, 11.5, 47.5, 35.5)) and polygon.value.points == (
        (-0.5, -0.5),
        (31.5, -0.5),
        (-0.5, 23.5),
    )
    assert (rle.decode(painted.value) == mask).all() and len(quad.value.points) == 4
    assert np.hypot(*((np.array(ring.value.points) - [31.5, 23.5]) / [6.4, 4.8]).T) == pytest.approx(1, abs=1e-4)
    assert {note for note in report.notes if "turned rect" in note or "ellipses" in note} == {
        "turned rectangles, taken as their four corners: 1", "ellipses, taken as polygons: 1"
    }  # fmt: skip
    assert [s.status for s in Dataset(ws, "d").samples().values()] == ["done", "unlabelled"]


def test_labels_apart_severity_and_answers(ws: Workspace, tasks: Callable[..., Path], bring: Import) -> None:
    shape = {k: v for k, v in BOX["value"].items() if k != "rectanglelabels"}
    apart = [result("rectangle", shape), result("labels", {**shape, "labels": ["a", "b"]}, from_name="label"),
             result("choices", {**shape, "choices": ["minor"]}, from_name="severity"),
             result("textarea", {**shape, "text": ["x", "y"]}, from_name="region_comment"),
             result("number", {**shape, "number": 2.5}, from_name="depth")]  # fmt: skip
    bring(
        tasks(
            *apart,
            said("grade", "number", 8.5),
            said("score", "choices", ["9.5"]),
            said("kinds", "choices", ["a", "b", "a"]),
        )
    )
    one, two, grade, score, kinds = labels(ws)
    assert (one.label, two.label, one.value) == ("a", "b", two.value)
    assert one.attributes == {"severity": "minor", "comment": "x, y", "depth": 2.5}
    assert (grade.value, score.value, kinds.value) == (Score(score=8.5), Score(score=9.5), Tags(tags=("a", "b")))


@pytest.mark.parametrize(
    ("results", "annotation", "status", "kept"),
    [
        ([], {}, Status(status="done"), 0),
        ([said("state", "choices", ["nothing_there"])], {}, Status(status="done"), 0),
        ([BOX, said("state", "choices", ["unsure"]), said("comment", "textarea", ["why", "so"])], {}, Status(status="unsure", comment="why\nso"), 1),
        ([said("state", "choices", ["rescan"])], {}, Status(status="rescan"), 0),
        ([BOX, said("comment", "textarea", ["no card"])], {"was_cancelled": True}, Status(status="skipped", comment="no card"), 0),
        ([BOX, said("comment", "textarea", "fine")], {}, Status(status="done", comment="fine"), 1),
    ],
)  # fmt: skip
def test_what_is_said_of_the_picture(
    ws: Workspace, tasks: Callable[..., Path], bring: Import, results: Any, annotation: Any, status: Status, kept: int
) -> None:
    report = bring(tasks(*results, **annotation))
    ds = Dataset(ws, "d")
    sample = next(s for s in ds.samples().values() if s.sources == ("images/i0.png",))
    assert sample.status == status.status and report.annotations == kept == len(labels(ws))
    logged = [entry for entry in ds.log() if isinstance(entry.value, Status)]
    assert [entry.value for entry in logged] == (
        [status] if (results and results[0] is not BOX) or len(results) > 1 else []
    )
    assert all(entry.annotation == status_id(sample.id) and entry.tool == "import label_studio" for entry in logged)
    assert any("shapes of a skipped task" in s.reason for s in report.skipped) == (status.status == "skipped")
    assert bring(tasks(*results, **annotation)).annotations == 0, "again: nothing new"
    assert len([e for e in ds.log() if isinstance(e.value, Status)]) == len(logged)


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/0123abcd-i0.png",
        "upload/1/0123abcd-i0.png",
        "/data/local-files/?d=cards/images/i0.png",
        "http://localhost:8080/data/local-files/?d=images%2Fi0.png",
        "https://host/some/i0.png?token=1",
        "s3://bucket/images/i0.png",
        "/tasks/5/resolve/?fileuri=" + base64.b64encode(b"s3://bucket/images/i0.png").decode(),
        "C:\\pictures\\i0.png",
        "i0.png",
    ],
)
def test_where_its_pictures_are(tasks: Callable[..., Path], bring: Import, address: str) -> None:
    assert bring(tasks(BOX, address=address)).annotations == 1


def test_an_upload_is_kept_under_a_plainer_name(ws: Workspace, tasks: Callable[..., Path], bring: Import) -> None:
    root = tasks(BOX, address="/data/upload/3/89abcdef-My_card_1.png")
    (root / "images" / "i0.png").rename(root / "images" / "My card (1).png")
    assert bring(root).annotations == 1


def test_the_key_image_goes_first_and_odd_addresses_are_named(tasks: Callable[..., Path], bring: Import) -> None:
    good = [{"result": [BOX]}]
    report = bring(tasks(tasks=[
        {"id": 1, "data": {"back": "i1.png", "image": "i0.png", "score": 3}, "annotations": good},
        {"id": 2, "data": {"image": "gone.png"}, "annotations": good},
        {"id": 3, "data": {"text": "no picture"}, "annotations": good},
        {"id": 8, "data": {"n": 3}, "annotations": good},
        {"id": 4, "data": {"image": "data:image/png;base64,AAAA"}, "annotations": good},
        {"id": 5, "data": {"pages": ["i0.png", "i1.png"]}, "annotations": good},
        {"id": 6, "data": {"image": "http://[bad/i0.png"}, "annotations": good},
        {"id": 7, "data": {"image": "x?fileuri=%%%"}, "annotations": good},
    ]))  # fmt: skip
    reasons = [s.reason for s in report.skipped]
    assert report.annotations == 1 and len(reasons) == 7
    for words in ("task 2 of tasks.json: there is no such image", "task 3 of tasks.json: there is no such image",
                  "task 4", "task 8 of tasks.json: its data name no picture", "task 5 of tasks.json: a task of several pictures", "task 6 of tasks.json: images/i0.png has a task"):  # fmt: skip
        assert any(words in reason for reason in reasons), reasons


def test_of_several_annotations_one_counts_and_the_others_are_votes(
    ws: Workspace, tasks: Callable[..., Path], bring: Import
) -> None:
    other = {**BOX, "value": {**BOX["value"], "rectanglelabels": ["other"]}}
    annotations = [
        {"result": [other, said("state", "choices", ["unsure"])], "updated_at": "2026-02-01", "completed_by": 7},
        {"result": [BOX], "updated_at": "2026-01-01", "ground_truth": True, "completed_by": 1},
        {"result": [BOX], "updated_at": "2025-01-01", "completed_by": {"id": 3, "email": "änn/a@x"}},
        {"result": [other], "updated_at": "2026-03-01", "was_cancelled": True},
    ]  # fmt: skip
    report = bring(
        tasks(
            tasks=[
                {"id": 1, "data": {"image": "i0.png"}, "annotations": annotations, "predictions": [{"result": [other]}]}
            ]
        )
    )
    assert [a.label for a in labels(ws)] == ["a"]
    logged = [(e.layer, e.label) for e in Dataset(ws, "d").log()]
    assert logged == [("main", "a"), ("annotator 7", "other"), ("änn/a@x", "a")] and report.annotations == 3
    assert report.skipped[0].reason == "annotator 3: shapes of a skipped task: 1 not taken"
    for words in (
        "1 predictions are suggestions",
        "3 further annotations",
        "say of a picture as a whole, which is not taken: 2",
    ):
        assert any(words in note for note in report.notes), report.notes
    report = bring(tasks(tasks=[{"data": {"image": "i0.png"}, "annotations": [], "predictions": []}]), dataset="e")
    assert {s.status for s in Dataset(ws, "e").samples().values()} == {"unlabelled"}


def test_of_several_annotations_by_one_annotator_the_newest_is_the_vote(
    ws: Workspace, tasks: Callable[..., Path], bring: Import
) -> None:
    """Both would stand in one layer, as shapes drawn twice."""
    other = {**BOX, "value": {**BOX["value"], "rectanglelabels": ["other"]}}
    annotations = [
        {"result": [other], "updated_at": "2026-02-01", "completed_by": 7},
        {"result": [BOX], "updated_at": "2026-01-01", "completed_by": 7},
        {"result": [BOX], "updated_at": "2026-03-01", "ground_truth": True, "completed_by": 1},
    ]
    report = bring(tasks(tasks=[{"id": 1, "data": {"image": "i0.png"}, "annotations": annotations}]))
    assert [(e.layer, e.label) for e in Dataset(ws, "d").log()] == [("main", "a"), ("annotator 7", "other")]
    assert "1 annotations have a newer one by the same annotator, which is taken" in report.notes


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({**BOX, "original_width": 640}, "its labels are for a picture of 640 x 48 px"),
        (result("rectangle", {"x": 1, "y": 1, "width": 5, "height": 5}), "it has no label"),
        (result("rectanglelabels", {**BOX["value"], "x": 500}), "outside the image"),
        (result("rectanglelabels", {**BOX["value"], "width": None}), "its width is None"),
        (result("rectanglelabels", {**BOX["value"], "width": 0}), "no area"),
        (result("polygonlabels", {"points": [[1, 1]], "polygonlabels": ["a"]}), "fewer than 3 points"),
        (result("polygonlabels", {"points": [[1]], "polygonlabels": ["a"]}), "not pairs of numbers"),
        (result("polygonlabels", {"points": [[1, "x"], [2, 2], [3, 3]], "polygonlabels": ["a"]}), "could not convert"),
        (result("brushlabels", {"rle": [0, 0, 0, 4, 1, 2, 3, 4], "brushlabels": ["a"]}), "cover 4 values"),
        (result("brushlabels", {"brushlabels": ["a"]}), "not a list of bytes"),
        (result("brushlabels", {"rle": ls.brush_runs(np.zeros((48, 64), bool)), "brushlabels": ["a"]}), "the mask has no pixel"),
        (result("ellipselabels", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1, "ellipselabels": ["a"]}), "no area"),
        (result("keypointlabels", {"x": 5, "y": 5, "width": 1, "keypointlabels": ["a"]}), "keypoints: 1 not taken"),
        (result("vectorlabels", {"vertices": [], "vectorlabels": ["a"]}), "vectors: 1 not taken"),
        (said("day", "datetime", "2026-01-01"), "answers of the kind datetime (control 'day'): 1 not taken"),
        (said("kind", "taxonomy", [["a", "b"]]), "answers of the kind taxonomy"),
        (said("words", "textarea", ["text"]), "answers of the kind textarea (control 'words')"),
        (said("score", "number", float("nan")), "answers of the kind number"),
        (said("score", "number", True), "answers of the kind number"),
        (said("state", "choices", ["perhaps", 3]), ""),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, "relations between regions are not taken"),
        ({"type": "choices"}, "it has no type or no value"),
        ("text", "it has no type or no value"),
    ],
)  # fmt: skip
def test_a_bad_result_is_named(tasks: Callable[..., Path], bring: Import, bad: Any, words: str) -> None:
    good = {**BOX, "id": "good", "value": {**BOX["value"], "rectanglelabels": ["good"]}}
    report = bring(tasks(bad, good))
    if words:
        (skip,) = report.skipped
        assert report.annotations == 1 and words in skip.reason and skip.file in ("images/i0.png", "i0.png")
    else:
        assert report.annotations == 2, "choices of other words are tags"


@pytest.mark.parametrize("turned", [True, False])
def test_a_picture_turned_by_exif(ws: Workspace, tasks: Callable[..., Path], bring: Import, turned: bool) -> None:
    """Stored 64 x 48 and turned to 48 x 64: browsers turn it, other tools do not, and the stated size tells."""
    root = tasks()
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "images" / "i0.png").write_bytes(make_picture(0, format="JPEG", exif=exif))
    wh = (64, 48) if turned else (48, 64)
    mask = np.zeros(wh[::-1], bool)
    mask[:12, :16] = True
    size = {"original_width": wh[0], "original_height": wh[1]}
    box = {"x": 0, "y": 0, "width": 1600 / wh[0], "height": 1200 / wh[1], "rectanglelabels": ["a"]}
    results = [result("rectanglelabels", box, **size), result("brushlabels", {"rle": ls.brush_runs(mask), "brushlabels": ["b"]}, id="r2", **size)]  # fmt: skip
    report = bring(tasks(*results, address="i0.png") if False else _rewritten(root, results))
    found, painted = labels(ws)
    expected = np.rot90(mask, -1) if turned else mask
    y, x = np.nonzero(expected)
    assert report.skipped == [] and (rle.decode(painted.value) == expected).all()
    assert found.value.xyxy == pytest.approx((x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5))


def _rewritten(root: Path, results: list[Any]) -> Path:
    (root / "tasks.json").write_text(json.dumps([{"data": {"image": "i0.png"}, "annotations": [{"result": results}]}]))
    return root


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"image": "i0.png", "id": 1, "label": [], "annotator": 1, "annotation_id": 2}], "JSON_MIN"),
        ([{"data": {"image": "gone.png"}, "annotations": []}], "the pictures of its tasks"),
        ([], "a list of tasks"),
        ([{"data": {"image": "i0.png"}}], "a list of tasks"),
        ([1, 2], "a list of tasks"),
    ],
)
def test_files_that_are_no_tasks(tasks: Callable[..., Path], bring: Import, content: Any, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        bring(tasks(tasks=content), format="label_studio")


def test_two_files_ask_which_and_a_config_orders_the_classes(tasks: Callable[..., Path], bring: Import) -> None:
    root = tasks(BOX, POLYGON)
    (root / "label_config.xml").write_text(
        '<View><Labels name="l" toName="i"><Label value="b"/><Label value="x" alias="a"/></Labels></View>'
    )
    assert bring(root).classes == {1: "b", 2: "a"}
    (root / "more.json").write_text((root / "tasks.json").read_text())
    with pytest.raises(DatasetError, match=r"more\.json \| tasks\.json"):
        bring(root, dataset="e")
    assert bring(root / "tasks.json", dataset="e").annotations == 2


def test_real_exports(ws: Workspace, shared: Path, bring: Import, tmp_path: Path) -> None:
    """Their pictures are not there: plain ones of the names and sizes that they state stand for them."""
    expected = {
        "test_export_yolo/data.json": {"box": 4}, "test_export_yolo/data_polygons.json": {"polygon": 1},
        "test_export_yolo/data_obb.json": {"polygon": 25}, "test_export_coco/data.json": {"box": 1, "polygon": 1},
    }  # fmt: skip
    for file, kinds in expected.items():
        name = file.replace("/", "-").removesuffix(".json")
        root = tmp_path / name
        root.mkdir()
        tasks = json.loads((shared / "importers" / "label_studio" / file).read_text())
        for task in tasks:
            stated = task["annotations"][0]["result"][0]
            size = stated["original_width"], stated["original_height"]
            stem = task["data"]["image"].rpartition("/")[2].partition(".")[0]
            Image.new("L", size, len(list(root.iterdir()))).save(root / f"{stem}.jpg")
        (root / "data.json").write_text(json.dumps(tasks))
        report = bring(root, dataset=name)
        assert Counter(a.value.type for a in labels(ws, name)) == kinds, (file, report.skipped)
        assert [s.reason for s in report.skipped] == (["keypoints: 2 not taken"] if "coco" in file else [])
        votes = 2 if file.endswith("yolo/data.json") else 0
        assert report.annotations == sum(kinds.values()) + votes, "two annotators of one task"


# --- writing ------------------------------------------------------------------------------------------------------


def test_there_and_back_again(ws: Workspace, bring: Import, tmp_path: Path, yolo: Callable[..., Path]) -> None:
    bring(yolo({"a": "0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.9 0.1 0.3 0.8\n", "b": "", "c": None, "d": "0 0.5 0.5 0.2 0.2\n"}))
    ds = Dataset(ws, "d")
    by_name = {s.sources[0][-5]: s for s in ds.samples().values()}
    mask = np.zeros((48, 64), bool)
    mask[5:9, 7:30] = True
    more: list[tuple[str | None, Value, dict[str, Any]]] = [
        ("outer", rle.encode(mask), {"severity": "heavy", "comment": "näh", "from_brush": True, "depth": 2.5}),
        (None, Score(score=8.5), {}), (None, Tags(tags=("outer", "inner")), {}),
    ]  # fmt: skip
    id = by_name["a"].id
    ds.append(put_entry(Annotation(id=annotation_id(id, label, value), sample=id, label=label, value=value, attributes=attributes),
                        who="w", tool="cli") for label, value, attributes in more)  # fmt: skip
    ds.put_samples([by_name["d"].model_copy(update={"status": "rescan"})])
    snapshot(ds)
    out = tmp_path / "out"
    done = export_version(Version.open(ws, "d"), "label_studio", out)
    config = (out / "label_config.xml").read_text()
    tasks = json.loads((out / "tasks.json").read_text())
    assert done["annotations"] == 6 and problems(config) == []
    for task in tasks:
        for annotation in task["annotations"]:
            found = validate_results(annotation["result"], parse(config), 64, 48)
            assert [p for p in found if "depth" not in p.words] == []
    report = bring(out, dataset="back")
    assert report.format == "label_studio" and report.skipped == [] and report.classes == {1: "outer", 2: "inner"}
    back = Dataset(ws, "back")
    assert {s: v.status for s, v in back.samples().items()} == {s: v.status for s, v in ds.samples().items()}
    assert {s: v.split for s, v in back.samples().items()} == {
        s.id: s.split for s in Version.open(ws, "d").iter_samples()
    }
    for sample, found in ds.annotations().items():
        pairs = zip(sorted(found, key=_order), sorted(back.annotations()[sample], key=_order), strict=True)
        for one, two in pairs:
            assert (one.label, one.attributes, type(one.value)) == (two.label, two.attributes, type(two.value))
            if isinstance(one.value, Box | Polygon):
                numbers = [np.ravel(v.xyxy if isinstance(v, Box) else v.points) for v in (one.value, two.value)]
                assert np.abs(numbers[0] - numbers[1]).max() < 2e-6
            else:
                assert one.value == two.value


def _order(a: Annotation) -> tuple[str, str]:
    return a.label or "", a.value.type


# --- anything at all ----------------------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(["image", "a.png", "..", "0123abcd-.", "//"]),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "value", "id", "from_name", "to_name", "points", "rle", "x", "y", "width", "height", "rotation",
                         "polygonlabels", "choices", "text", "meta", "trugrade", "attributes", "original_width", "data", "image",
                         "annotations", "result", "labels"]), x, max_size=6),
    max_leaves=12,
)  # fmt: skip


@given(anything)
def test_anything_at_all_is_reported_and_never_a_crash(content: Any) -> None:
    ref = ImageRef(sha256="0" * 64, suffix=".png", width=64, height=48, bytes=1)
    places = _Places(["images/a.png", "b.png"])
    for task in (content, {"data": content}, {"data": {"image": content}}):
        if isinstance(task, dict):
            places.find(task)
    changed = {**POLYGON, **content} if isinstance(content, dict) else {**POLYGON, "value": content}
    for results in (
        content,
        [content],
        [POLYGON, changed],
        [{**POLYGON, "meta": {"trugrade": {"attributes": content}}}],
    ):
        for label in read_annotation({"result": results, "was_cancelled": False}, "x", ref).labels:
            annotation = Annotation(
                id="i", sample="s", label=label.name, value=label.value, attributes=dict(label.attributes)
            )
            assert put_entry(annotation, who="w", tool="t").model_dump_json()


def test_half_a_letter_and_bytes_that_are_no_text(ws: Workspace, tasks: Callable[..., Path], bring: Import) -> None:
    root = tasks({**BOX, "value": {**BOX["value"], "rectanglelabels": ["c\ud800"]}})
    assert bring(root).classes == {1: "c?"}
    (root / "tasks.json").write_bytes(b'[{"data": {"image": "i0.png"}, "annotations": [], "x": "\xff"}]')
    with pytest.raises(DatasetError, match="a list of tasks"):
        bring(root, dataset="e", format="label_studio")
    (root / "tasks.json").write_text("[" * 100_000)
    with pytest.raises(DatasetError, match="a list of tasks"):
        bring(root, dataset="e", format="label_studio")
