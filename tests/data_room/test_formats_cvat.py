"""CVAT for images: its shapes, windows of masks, subsets, and files that are not as it writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.data_room.conftest import make_picture
from trugrade_core.data import rle
from trugrade_core.data.formats.cvat import parse
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, ImageRef, Mask, Polygon, Tags
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
BOX = '<box label="a" xtl="10" ytl="20" xbr="40" ybr="35" occluded="0" z_order="0"/>'
META = """<meta><task><labels>
<label><name>b</name><attributes/></label>
<label><name>a</name><attributes>
<attribute><name>old</name><input_type>checkbox</input_type></attribute>
<attribute><name>depth</name><input_type>number</input_type></attribute>
<attribute><name>kind</name><input_type>select</input_type></attribute></attributes></label>
</labels></task></meta>"""


@pytest.fixture
def cvat(tmp_path: Path) -> Callable[..., Path]:
    """cvat(shapes of i0.png, 64 x 48) -> a folder with images/i0.png and annotations.xml."""

    def build(
        shapes: str, image: str = 'name="i0.png" width="64" height="48"', save: dict[str, Any] | None = None
    ) -> Path:
        root = tmp_path / "cvat"
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "images" / "i0.png").write_bytes(make_picture(0, **(save or {})))
        text = f'<annotations><version>1.1</version>{META}<image id="0" {image}>{shapes}</image></annotations>'
        (root / "annotations.xml").write_text(text)
        return root

    return build


def labels(ws: Workspace, name: str = "d") -> list[Annotation]:
    return [a for found in Dataset(ws, name).annotations().values() for a in found]


def test_boxes_polygons_and_attributes(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    box = """<box label="a" xtl="10" ytl="20" xbr="40" ybr="35" occluded="1" z_order="2" group_id="7">
    <attribute name="old">true</attribute><attribute name="depth">2.5</attribute><attribute name="kind">deep</attribute></box>"""
    report = bring(cvat(box + '<polygon label="b" points="1,1;21,1;1,31" z_order="0"/>'))
    first, second = labels(ws)
    assert report.format == "cvat" and report.skipped == [] and report.classes == {1: "b", 2: "a"}
    assert first.value == Box(xyxy=(9.5, 19.5, 39.5, 34.5))
    assert first.attributes == {
        "occluded": True,
        "z_order": 2.0,
        "group_id": 7.0,
        "old": True,
        "depth": 2.5,
        "kind": "deep",
    }
    assert second.value == Polygon(points=((0.5, 0.5), (20.5, 0.5), (0.5, 30.5))) and second.attributes == {}


def test_a_label_attribute_stands_before_cvats_own_of_that_name(
    ws: Workspace, cvat: Callable[..., Path], bring: Import
) -> None:
    bring(
        cvat(
            BOX.replace('occluded="0"', 'occluded="1"').replace(
                "/>", '><attribute name="occluded">partly</attribute></box>'
            )
        )
    )
    assert labels(ws)[0].attributes == {"occluded": "partly"}


def test_a_box_turns_clockwise_about_its_middle(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    report = bring(cvat(BOX.replace("/>", ' rotation="90.0"/>')))
    (found,) = labels(ws)
    assert np.array(found.value.points) == pytest.approx(np.array([[32, 12], [32, 42], [17, 42], [17, 12]]), abs=1e-5)
    assert any("turned boxes" in note for note in report.notes)


def test_ellipses_are_polygons_with_a_note(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    report = bring(cvat('<ellipse label="a" cx="30" cy="20" rx="10" ry="5"/>'))
    xy = (np.array(labels(ws)[0].value.points) - [29.5, 19.5]) / [10, 5]
    assert np.hypot(*xy.T) == pytest.approx(1, abs=1e-5) and any("ellipses" in note for note in report.notes)


def test_a_mask_fills_its_window_row_by_row(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    bring(cvat('<mask label="a" rle="1, 2, 3, 3" left="10" top="40" width="3" height="3"/>'))
    whole = np.zeros((48, 64), bool)
    whole[40:43, 10:13] = [[0, 1, 1], [0, 0, 0], [1, 1, 1]]
    assert (rle.decode(labels(ws)[0].value) == whole).all()


def test_tags_are_one_set_and_what_has_no_area_is_counted(
    ws: Workspace, cvat: Callable[..., Path], bring: Import
) -> None:
    shapes = '<tag label="b"/><polyline label="a" points="1,1;2,2"/><points label="a" points="1,1"/><tag label="b"/><tag label="c"/>'
    report = bring(cvat(shapes + '<skeleton label="a"/><cuboid label="a"/><blob label="a"/>' + BOX))
    box, tags = labels(ws)
    assert tags.value == Tags(tags=("b", "c")) and isinstance(box.value, Box)
    assert [s.reason for s in report.skipped] == [
        "polylines, which have no area: 1 not taken", "points, which have no area: 1 not taken",
        "skeletons: 1 not taken", "cuboids: 1 not taken", "shapes of the kind <blob>: 1 not taken",
    ]  # fmt: skip


def test_attributes_of_a_tag_are_told(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    report = bring(cvat('<tag label="a"><attribute name="kind">deep</attribute></tag>'))
    assert [s.reason for s in report.skipped] == ["attributes of tags, which have none here: 1 not taken"]
    assert [a.value for a in labels(ws)] == [Tags(tags=("a",))]


@pytest.mark.parametrize("turned", [True, False])
def test_a_picture_turned_by_exif(ws: Workspace, cvat: Callable[..., Path], bring: Import, turned: bool) -> None:
    """Stored 64 x 48 and turned to 48 x 64: the stated size tells which of the two was labelled."""
    exif = Image.Exif()
    exif[0x0112] = 6
    size = 'width="64" height="48"' if turned else 'width="48" height="64"'
    shapes = '<box label="a" xtl="0" ytl="0" xbr="5" ybr="3"/><mask label="b" rle="0, 15" left="0" top="0" width="5" height="3"/>'
    report = bring(cvat(shapes, f'name="i0.png" {size}', {"format": "JPEG", "exif": exif}))
    box, mask = labels(ws)
    y, x = np.nonzero(rle.decode(mask.value))
    assert report.skipped == []
    assert (x.min(), y.min(), x.max(), y.max()) == ((45, 0, 47, 4) if turned else (0, 0, 4, 2))
    assert box.value == Box(xyxy=(x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ('<box label="a" xtl="10" ytl="20" xbr="40"/>', "it has no ybr"),
        ('<box label="a" xtl="x" ytl="20" xbr="40" ybr="35"/>', "could not convert"),
        ('<box label="a" xtl="nan" ytl="20" xbr="40" ybr="35"/>', "not a number"),
        ('<box label="a" xtl="40" ytl="20" xbr="10" ybr="35"/>', "no area"),
        ('<box label="a" xtl="100" ytl="20" xbr="140" ybr="35"/>', "outside the image"),
        ('<box label="a" xtl="1" ytl="2" xbr="4" ybr="5" rotation="x"/>', "could not convert"),
        ('<box xtl="1" ytl="2" xbr="4" ybr="5"/>', "has no label"),
        ('<polygon label="a" points="1,1;2,2"/>', "fewer than 3 points"),
        ('<polygon label="a" points="1,1;2;3,3"/>', "not as CVAT has it"),
        ('<polygon label="a"/>', "fewer than 3 points"),
        ('<ellipse label="a" cx="1" cy="1" rx="0" ry="5"/>', "no area"),
        ('<mask label="a" rle="1,2" left="1" top="1" width="3" height="3"/>', "do not fill its window of 3 x 3"),
        ('<mask label="a" rle="9" left="1" top="1" width="3" height="3"/>', "its mask is empty"),
        ('<mask label="a" rle="0,9" left="62" top="1" width="3" height="3"/>', "does not lie in the picture"),
        ('<mask label="a" rle="0,x" left="1" top="1" width="3" height="3"/>', "not as CVAT has it"),
        ('<mask label="a" rle="0,9" top="1" width="3" height="3"/>', "not as CVAT has it"),
        ('<mask label="a" rle="-1,10" left="1" top="1" width="3" height="3"/>', "do not fill"),
        ('<mask label="a" rle="99999999999999999999" left="1" top="1" width="3" height="3"/>', "not as CVAT has it"),
    ],
)  # fmt: skip
def test_a_bad_shape_is_named(cvat: Callable[..., Path], bring: Import, shape: str, words: str) -> None:
    report = bring(cvat(shape + BOX))
    (skip,) = report.skipped
    assert report.annotations == 1 and words in skip.reason and f"{shape[1:].split(' ')[0]} 1" in skip.reason


def test_images_that_are_missing_twice_or_of_another_size(cvat: Callable[..., Path], bring: Import) -> None:
    root = cvat(BOX)
    more = (
        f'<image id="1" name="gone.png" width="64" height="48">{BOX}{BOX}</image><image id="2" width="6" height="4"/>'
        f'<image id="3" name="i0.png" width="64" height="48">{BOX}</image><image id="4" name="i1.png" width="640" height="480">{BOX}</image></annotations>'
    )
    (root / "images" / "i1.png").write_bytes(make_picture(1))
    (root / "images" / "i2.png").write_bytes(make_picture(2))
    text = (root / "annotations.xml").read_text()
    (root / "annotations.xml").write_text(text.replace("</annotations>", more))
    report = bring(root)
    reasons = {s.file: s.reason for s in report.skipped}
    assert report.images == 3 and report.annotations == 1
    assert "with 2 labels, but there is no such image" in reasons["gone.png"]
    assert "is in it already" in reasons["i0.png"] and "of 640 x 480 px" in reasons["images/i1.png"]
    assert "it has no name" in reasons["an image without a name"]
    assert any("1 images are not in annotations.xml" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations><track id='0'/></annotations>", "CVAT for video"),
        ("<annotations><image name='gone.png' width='4' height='4'/></annotations>", "the images that it lists"),
        ("<annotations>", "annotation"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations/>', "annotation"),
        ('<?xml version="1.0" encoding="rot13"?><annotations/>', "annotation"),
    ],
)
def test_a_file_that_cannot_be_read(cvat: Callable[..., Path], bring: Import, text: str, words: str) -> None:
    root = cvat(BOX)
    (root / "annotations.xml").write_text(text)
    with pytest.raises(DatasetError, match=words):
        bring(root, format="cvat")


def test_two_files_ask_which(cvat: Callable[..., Path], bring: Import) -> None:
    root = cvat(BOX)
    (root / "more.xml").write_text((root / "annotations.xml").read_text())
    with pytest.raises(DatasetError, match=r"annotations\.xml \| more\.xml"):
        bring(root)
    assert bring(root, labels=Path("more.xml")).annotations == 1


def test_other_encodings(ws: Workspace, cvat: Callable[..., Path], bring: Import) -> None:
    root = cvat("")
    text = '<?xml version="1.0" encoding="utf-16"?><annotations><image name="i0.png" width="64" height="48">'
    (root / "annotations.xml").write_bytes(
        (text + BOX.replace('"a"', '"Ecke é 角"') + "</image></annotations>").encode("utf-16")
    )
    bring(root)
    assert labels(ws)[0].label == "Ecke é 角"


def test_a_real_project_with_subsets(ws: Workspace, shared: Path, bring: Import, tmp_path: Path) -> None:
    """The same names in three subsets; its pictures are all alike, so that they are one sample each."""
    import shutil

    source = shared / "importers" / "cvat" / "datumaro_export_project"
    report = bring(source)
    assert (report.format, report.taken, report.images, report.annotations) == ("cvat", 6, 2, 2)
    assert Counter(s.reason for s in report.skipped) == {
        "polylines, which have no area: 1 not taken": 3, "points, which have no area: 1 not taken": 3,
    }  # fmt: skip
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    for seed, path in enumerate(sorted((copy / "images").rglob("*.jpg"))):  # told apart
        path.write_bytes(make_picture(seed, (8, 8) if path.stem == "img0" else (10, 10), "PNG"))
    report = bring(copy, dataset="apart")
    values = Counter(a.value.type for a in labels(ws, "apart"))
    assert (report.images, values) == (6, {"box": 3, "polygon": 3})
    assert Counter(s.split for s in Dataset(ws, "apart").samples().values()) == {"train": 2, "val": 2, "test": 2}
    box = next(a for a in labels(ws, "apart") if isinstance(a.value, Box))
    assert box.value.xyxy == (-0.5, 1.5, 3.5, 3.5)
    assert box.attributes == {"occluded": True, "z_order": 1.0, "a1": True, "a2": "v3", "a3": "0003", "a4": 2.4}


def test_a_real_export_without_its_pictures(ws: Workspace, shared: Path, bring: Import) -> None:
    """Its pictures are not there: named as such, and read for the sizes that it states."""
    source = shared / "importers" / "cvat" / "urban_scene" / "annotations.xml"
    with pytest.raises(DatasetError, match="the images that it lists"):
        bring(source.parent)
    root = ElementTree.parse(source).getroot()
    kinds: Counter[str] = Counter()
    for image in root.iter("image"):
        size = {"width": int(image.get("width", 0)), "height": int(image.get("height", 0))}
        found = parse(image, "x", ImageRef(sha256="0" * 64, suffix=".jpg", bytes=1, **size), {})
        assert found.skipped == []
        kinds.update(label.value.type for label in found.labels)
        assert sum(len(label.attributes) for label in found.labels) >= len(list(image.iter("attribute")))
        masks = [label.value for label in found.labels if isinstance(label.value, Mask)]
        assert all(mask.size_hw == (size["height"], size["width"]) for mask in masks)
    assert kinds == {"mask": 245, "box": 48, "polygon": 20, "tags": 20}, "20 of the 68 boxes are turned"
