"""LabelMe: its shapes, its frame, its groups, and files that are not as it writes them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data_room.conftest import make_picture
from trugrade_core.data import rle
from trugrade_core.data.formats.labelme import parse
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, ImageRef, Mask, Polygon, Tags
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(
        st.sampled_from(["label", "points", "shape_type", "group_id", "flags", "mask", "description", "shapes"]), x, max_size=6),
    max_leaves=12,
)  # fmt: skip
TRIANGLE = {"label": "a", "points": [[1, 1], [21, 1], [1, 31]], "shape_type": "polygon", "group_id": None, "flags": {}}


@pytest.fixture
def labelme(tmp_path: Path) -> Callable[..., Path]:
    """labelme(shapes, **changes of the document) -> a folder with i0.png (64 x 48) and i0.json."""

    def build(shapes: Any, save: dict[str, Any] | None = None, **changes: Any) -> Path:
        root = tmp_path / "labelme"
        root.mkdir(exist_ok=True)
        (root / "i0.png").write_bytes(make_picture(0, **(save or {})))
        document = {"version": "5.0", "flags": {}, "shapes": shapes, "imagePath": "i0.png", "imageData": None,
                    "imageHeight": 48, "imageWidth": 64, **changes}  # fmt: skip
        (root / "i0.json").write_text(json.dumps(document))
        return root

    return build


def labels(ws: Workspace, name: str = "d") -> list[Annotation]:
    return [a for found in Dataset(ws, name).annotations().values() for a in found]


def png(mask: np.ndarray[Any, Any]) -> str:
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_polygons_rectangles_and_circles(ws: Workspace, labelme: Callable[..., Path], bring: Import) -> None:
    rectangle = {"label": "b", "points": [[40, 35], [10, 20]], "shape_type": "rectangle"}
    circle = {"label": "a", "points": [[30, 20], [30, 30]], "shape_type": "circle", "description": " a ring ", "flags": {"old": True, "no": False}}  # fmt: skip
    report = bring(labelme([TRIANGLE, rectangle, circle]))
    box, polygon, ring = labels(ws)
    assert report.skipped == [] and any("circles, taken as polygons: 1" in note for note in report.notes)
    assert polygon.value == Polygon(points=((0.5, 0.5), (20.5, 0.5), (0.5, 30.5))), "over pixel edges"
    assert box.value == Box(xyxy=(9.5, 19.5, 39.5, 34.5)), "whichever corners were clicked"
    assert np.hypot(*(np.array(ring.value.points) - [29.5, 19.5]).T) == pytest.approx(10, abs=1e-5)
    assert ring.attributes == {"old": True, "comment": "a ring"}


def test_a_mask_lies_at_its_first_point(ws: Workspace, labelme: Callable[..., Path], bring: Import) -> None:
    window = np.zeros((6, 9), bool)
    window[1:5, 2:] = True
    report = bring(labelme([{"label": "a", "points": [[50, 40], [58, 45]], "shape_type": "mask", "mask": png(window)}]))
    (found,) = labels(ws)
    whole = np.zeros((48, 64), bool)
    whole[40:46, 50:59] = window
    assert report.skipped == [] and (rle.decode(found.value) == whole).all()


def test_polygons_of_one_label_and_group_are_one_object(
    ws: Workspace, labelme: Callable[..., Path], bring: Import
) -> None:
    other = {**TRIANGLE, "points": [[40, 10], [60, 10], [60, 40]]}
    shapes = [{**TRIANGLE, "group_id": 3}, {**other, "group_id": 3}, {**other, "group_id": 3, "label": "b"}, TRIANGLE]
    report = bring(labelme(shapes))
    mask, second, alone = labels(ws)
    assert isinstance(mask.value, Mask) and isinstance(second.value, Polygon) and isinstance(alone.value, Polygon)
    expected = [rle.fill(np.array(s["points"]) - 0.5, 64, 48) for s in (TRIANGLE, other)]
    assert (rle.decode(mask.value) == expected[0] | expected[1]).all()
    assert any("polygons of one group, taken as one mask: 2" in note for note in report.notes)


def test_what_is_cut_off_and_said_of_a_part_of_a_group_is_kept_or_told(
    ws: Workspace, labelme: Callable[..., Path], bring: Import
) -> None:
    whole = {**TRIANGLE, "group_id": 1, "description": "one"}
    over = {**whole, "points": [[50, 1], [80, 1], [80, 31]], "description": "two"}
    alone = {"label": "b", "points": [[40, 35], [10, 20]], "shape_type": "rectangle", "group_id": 1}
    report = bring(labelme([whole, over, alone]))
    assert [s.reason for s in report.skipped] == [
        "shape 2: the polygon reaches 16.0 px outside the image: only the part inside was taken"
    ]
    assert {a.label: a.attributes for a in labels(ws)} == {"a": {"comment": "one; two"}, "b": {"group_id": 1}}


def test_what_has_no_area_is_counted(ws: Workspace, labelme: Callable[..., Path], bring: Import) -> None:
    kinds = ["point", "line", "linestrip", "line", "spline"]
    report = bring(
        labelme([*({**TRIANGLE, "shape_type": kind} for kind in kinds), {**TRIANGLE, "label": "__ignore__"}, TRIANGLE])
    )
    assert [s.reason for s in report.skipped] == [
        "points, which have no area: 1 not taken", "lines, which have no area: 2 not taken",
        "linestrips, which have no area: 1 not taken", "shapes of the type 'spline': 1 not taken",
        "shapes marked __ignore__: 1 not taken",
    ]  # fmt: skip
    assert report.annotations == 1


def test_flags_of_the_picture_are_tags(ws: Workspace, labelme: Callable[..., Path], bring: Import) -> None:
    bring(labelme([], flags={"worn": True, "new": False, "bent": True}))
    (found,) = labels(ws)
    assert found.value == Tags(tags=("worn", "bent")) and found.label is None


@pytest.mark.parametrize(("wh", "turned"), [((64, 48), True), ((48, 64), False)])
def test_the_frame_is_the_picture_as_it_is_shown(
    ws: Workspace, labelme: Callable[..., Path], bring: Import, wh: tuple[int, int], turned: bool
) -> None:
    """Stored 64 x 48 and turned by EXIF to 48 x 64: the stated size tells which of the two was labelled."""
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = np.zeros((48, 64) if turned else (64, 48), bool)
    mask[:3, :5] = True
    shapes = [{"label": "a", "points": [[0, 0], [4, 2]], "shape_type": "mask", "mask": png(mask[:3, :5])},
              {"label": "b", "points": [[0, 0], [5, 3]], "shape_type": "rectangle"}]  # fmt: skip
    report = bring(labelme(shapes, {"format": "JPEG", "exif": exif}, imageWidth=wh[0], imageHeight=wh[1]))
    found, box = labels(ws)
    expected = np.rot90(mask, -1) if turned else mask
    assert report.skipped == [] and (rle.decode(found.value) == expected).all()
    y, x = np.nonzero(expected)
    assert box.value == Box(xyxy=(x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({**TRIANGLE, "points": [[1, 1], [2, 2]]}, "fewer than 3 points"),
        ({**TRIANGLE, "points": [[1, 1], [float("nan"), 2], [3, 3]]}, "not a number"),
        ({**TRIANGLE, "points": [[100, 100], [120, 100], [110, 130]]}, "outside the image"),
        ({**TRIANGLE, "points": "1"}, "not as LabelMe has it"),
        ({**TRIANGLE, "points": [[1], [2], [3]]}, "not pairs of numbers"),
        ({**TRIANGLE, "label": None}, "it has no label"),
        ({**TRIANGLE, "label": " "}, "it has no label"),
        ({"points": []}, "not as LabelMe has it"),
        ("shape", "not as LabelMe has it"),
        ({**TRIANGLE, "shape_type": "rectangle", "points": [[1, 1]]}, "two corners"),
        ({**TRIANGLE, "shape_type": "rectangle", "points": [[1, 1], [1, 9]]}, "no area"),
        ({**TRIANGLE, "shape_type": "circle", "points": [[1, 1], [1, 1]]}, "no area"),
        ({**TRIANGLE, "shape_type": "circle"}, "its centre and a point on it"),
        ({**TRIANGLE, "shape_type": "mask", "mask": "####"}, "not a picture in base64"),
        ({**TRIANGLE, "shape_type": "mask"}, "not a picture in base64"),
        ({**TRIANGLE, "shape_type": "mask", "mask": png(np.ones((4, 4), bool)), "points": [[62, 1], [65, 4]]}, "outside the image"),
        ({**TRIANGLE, "shape_type": "mask", "mask": png(np.zeros((4, 4), bool))}, "its mask is empty"),
        ({**TRIANGLE, "shape_type": "mask", "mask": png(np.ones((400, 400), bool))}, "larger than the image"),
    ],
)  # fmt: skip
def test_a_bad_shape_is_named(labelme: Callable[..., Path], bring: Import, shape: Any, words: str) -> None:
    report = bring(labelme([shape, {**TRIANGLE, "label": "b"}]))
    (skip,) = report.skipped
    assert report.annotations == 1 and words in skip.reason and "shape 1" in skip.reason and skip.file == "i0.json"


def test_a_group_with_a_bad_part_keeps_the_good_ones(
    ws: Workspace, labelme: Callable[..., Path], bring: Import
) -> None:
    parts = [TRIANGLE, {**TRIANGLE, "points": [[40, 10], [60, 10], [60, 40]]}, {**TRIANGLE, "points": [[1, 1]]}]
    report = bring(labelme([{**part, "group_id": 1} for part in parts]))
    assert len(report.skipped) == 1 and "shape 3" in report.skipped[0].reason
    assert isinstance(labels(ws)[0].value, Mask)


def test_files_that_are_not_labelmes(ws: Workspace, labelme: Callable[..., Path], bring: Import) -> None:
    root = labelme([TRIANGLE])
    for name, text in [("broken", "{"), ("other", '{"a": 1}'), ("deep", "[" * 100_000)]:
        (root / f"{name}.json").write_text(text)
    (root / "named.png").write_bytes(make_picture(5))
    (root / "elsewhere.json").write_text(json.dumps({"shapes": [TRIANGLE], "imagePath": "..\\pictures\\named.png", "imageWidth": 64, "imageHeight": 48}))  # fmt: skip
    (root / "inside.json").write_text(json.dumps({"shapes": [TRIANGLE], "imagePath": "gone.png", "imageData": "QUJD"}))
    report = bring(root)
    assert report.format == "labelme" and report.annotations == 2
    reasons = {s.file: s.reason for s in report.skipped}
    assert set(reasons) == {"broken.json", "other.json", "deep.json", "inside.json"}
    assert "imageData" in reasons["inside.json"]


@given(anything)
def test_anything_at_all_is_reported_and_never_a_crash(content: Any) -> None:
    ref = ImageRef(sha256="0" * 64, suffix=".png", width=64, height=48, bytes=1)
    changed = {**TRIANGLE, **content} if isinstance(content, dict) else {**TRIANGLE, "points": content}
    for document in (
        content,
        {"shapes": content},
        {"shapes": [content, changed], "imageWidth": 64, "imageHeight": 48, "flags": content},
    ):
        for label in parse(json.dumps(document).encode(), "x", ref).labels:
            a = Annotation(id="i", sample="s", label=label.name, value=label.value, attributes=dict(label.attributes))
            assert a.model_dump_json()


def test_half_a_letter(labelme: Callable[..., Path], bring: Import) -> None:
    assert bring(labelme([{**TRIANGLE, "label": "c\ud800"}])).classes == {1: "c?"}


def test_labels_for_a_picture_of_another_size(labelme: Callable[..., Path], bring: Import) -> None:
    report = bring(labelme([TRIANGLE], imageWidth=640, imageHeight=480))
    assert report.annotations == 0 and "for a picture of 640 x 480 px" in report.skipped[0].reason


def test_without_its_pictures_it_is_named(labelme: Callable[..., Path], bring: Import) -> None:
    root = labelme([TRIANGLE])
    (root / "i0.png").rename(root / "other.png")
    with pytest.raises(DatasetError, match=r"Nearest: labelme .*missing: the images that they name"):
        bring(root)


def test_labels_apart_and_order_of_classes(
    ws: Workspace, labelme: Callable[..., Path], bring: Import, tmp_path: Path
) -> None:
    root = labelme([TRIANGLE])
    (root / "labels.txt").write_text("__ignore__\n_background_\nb\na\n")
    assert bring(root).classes == {1: "b", 2: "a"}
    apart = tmp_path / "json"
    apart.mkdir()
    (root / "i0.json").rename(apart / "i0.json")
    assert bring(root, dataset="e", labels=apart).annotations == 1


def test_the_same_photographs_as_in_coco(ws: Workspace, shared: Path, bring: Import) -> None:
    """LabelMe's own converter wrote the COCO file: every polygon and mask agrees to a thousandth of a pixel."""
    mine = bring(shared / "importers" / "labelme", dataset="mine")
    theirs = bring(shared / "importers" / "coco", dataset="theirs")
    assert (mine.format, mine.images, mine.annotations, theirs.annotations) == ("labelme", 3, 12, 12)
    assert mine.classes == theirs.classes
    assert [s.reason for s in mine.skipped] == ["shapes marked __ignore__: 1 not taken"] * 2
    samples = [
        {Path(s.sources[0]).name: s.id for s in Dataset(ws, name).samples().values()} for name in ("mine", "theirs")
    ]
    found = [Dataset(ws, name).annotations() for name in ("mine", "theirs")]
    for name, id in samples[0].items():
        ours, others = found[0][id], list(found[1][samples[1][name]])
        for a in ours:
            twin = min(
                (b for b in others if b.label == a.label and b.value.type == a.value.type), key=lambda b: _apart(a, b)
            )
            assert _apart(a, twin) < 1e-3
            others.remove(twin)
        assert others == []


def _apart(a: Annotation, b: Annotation) -> float:
    if isinstance(a.value, Mask):
        return float((rle.decode(a.value) != rle.decode(b.value)).sum())
    one, two = np.array(a.value.points), np.array(b.value.points)
    return float(np.abs(one - two).max()) if one.shape == two.shape else float("inf")


def test_the_same_photographs_as_in_voc(ws: Workspace, shared: Path, bring: Import) -> None:
    """VOC's masks were drawn by a rasteriser that takes in the outline: they agree within its one pixel."""
    bring(shared / "importers" / "labelme")
    samples = Dataset(ws, "d").samples()
    for id, found in Dataset(ws, "d").annotations().items():
        stem = Path(samples[id].sources[0]).stem
        truth = np.array(Image.open(shared / "importers" / "voc" / "SegmentationClass" / f"{stem}.png"))
        own = np.zeros(truth.shape, bool)
        for a in found:
            own |= rle.decode(a.value) if isinstance(a.value, Mask) else rle.fill(a.value.points, *truth.shape[::-1])
        theirs, known = (truth > 0) & (truth < 255), truth < 255
        union = (own | theirs) & known
        assert ((own & theirs) & known).sum() / union.sum() > 0.97
        inner = np.pad(theirs, 1)
        core = inner[1:-1, 1:-1] & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
        assert (core & ~own & known).sum() / core.sum() < 2e-3, "nothing but the rim is missing"
