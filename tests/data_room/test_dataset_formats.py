"""Each format's own ways, and what each of them does with hostile label files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from trugrade_core.data import rle
from trugrade_core.data.formats import FORMATS
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Sample, Score, Tags
from trugrade_core.workspace import Workspace

Picture = Callable[..., bytes]
Import = Callable[..., ImportReport]
Put = Callable[[Path, bytes | str], Path]
SQUARE = {"image_id": 0, "category_id": 0, "bbox": [10, 20, 30, 15]}


def by_source(ws: Workspace) -> dict[str, tuple[Sample, list[Annotation]]]:
    ds = Dataset(ws, "d")
    found = ds.annotations()
    return {source: (s, found.get(s.id, [])) for s in ds.samples().values() for source in s.sources}


def only(ws: Workspace) -> Annotation:
    (found,) = [a for _, annotations in by_source(ws).values() for a in annotations]
    return found


def reasons(report: ImportReport) -> str:
    return "\n".join(f"{s.file}: {s.reason}" for s in report.skipped)


def test_the_table_of_formats() -> None:
    assert set(FORMATS) == {"folder", "coco", "yolo", "voc", "table", "masks", "label_studio", "labelme", "cvat"}
    assert {id for id, f in FORMATS.items() if f.write} == {"coco", "yolo", "voc", "label_studio"}
    assert all(f.title and f.id == id for id, f in FORMATS.items())


# --- COCO ---------------------------------------------------------------------------------------------------------


def test_coco_box(ws: Workspace, coco: Callable[..., Path], bring: Import) -> None:
    report = bring(coco([SQUARE]))
    assert only(ws).value == Box(xyxy=(9.5, 19.5, 39.5, 34.5)) and only(ws).label == "outer"
    assert report.classes == {1: "outer", 2: "inner"}
    assert {s.status for s, _ in by_source(ws).values()} == {"done"}, "no annotation is background"


def test_coco_under_one_top_key_is_read_with_a_note(coco: Callable[..., Path], bring: Import) -> None:
    report = bring(coco([SQUARE], wrap="coco_data"))
    assert report.annotations == 1 and any("'coco_data'" in note for note in report.notes)


def test_coco_polygon_and_a_polygon_that_is_only_its_box(
    ws: Workspace, coco: Callable[..., Path], bring: Import
) -> None:
    triangle = [[1.0, 1.0, 21.0, 1.0, 1.0, 31.0]]
    spelled = [[10, 20, 25, 20, 40, 20, 40, 20, 40, 35, 10, 35, 10, 35, 10, 20]]
    report = bring(coco([{**SQUARE, "segmentation": triangle}, {**SQUARE, "image_id": 1, "segmentation": spelled}]))
    assert by_source(ws)["images/i0.png"][1][0].value == Polygon(points=((0.5, 0.5), (20.5, 0.5), (0.5, 30.5)))
    assert by_source(ws)["images/i1.png"][1][0].value == Box(xyxy=(9.5, 19.5, 39.5, 34.5))
    assert any("nothing but their box" in note for note in report.notes)


def test_coco_run_lengths(ws: Workspace, coco: Callable[..., Path], bring: Import) -> None:
    """Compressed, uncompressed, and several polygons: all become one mask over the whole image."""
    mask = np.zeros((48, 64), bool)
    mask[20:35, 10:40] = True
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [0]])))
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    parts = [[10, 20, 40, 20, 40, 30, 10, 30], [10, 30, 40, 30, 40, 35, 10, 35]]
    segmentations = [{"size": [48, 64], "counts": rle.encode(mask).counts}, {"size": [48, 64], "counts": runs}, parts]
    report = bring(coco([{**SQUARE, "image_id": i, "segmentation": s} for i, s in enumerate(segmentations)], images=3))
    assert report.skipped == []
    for _, (found,) in by_source(ws).values():
        assert isinstance(found.value, Mask) and (rle.decode(found.value) == mask).all()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ({"category_id": 99}, "class id 99"),
        ({"category_id": None}, "class id None"),
        ({"category_id": [1]}, "class id [1]"),
        ({"bbox": [float("nan"), 1, 2, 3]}, "not a number"),
        ({"bbox": [1, 1, -5, 5]}, "no area"),
        ({"bbox": [100, 100, 5, 5]}, "outside the image"),
        ({"bbox": [1, 2, 3]}, "neither a box of 4 numbers"),
        ({"bbox": "1 2 3 4"}, "not as COCO has it"),
        ({"bbox": None}, "neither a box"),
        ({"iscrowd": 1}, "crowd"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}, "not as COCO has it"),
        ({"segmentation": [[1, 2, 3, 4]], "bbox": None}, "neither a box"),
        ({"segmentation": {"size": [5, 5], "counts": [25]}}, "size 5 x 5"),
        ({"segmentation": {"size": [48, 64], "counts": [3, -1]}}, "do not fill the image"),
        ({"segmentation": {"size": [48, 64], "counts": "!!"}}, "compressed run lengths"),
        ({"segmentation": {"counts": [1]}}, "not as COCO has it"),
        ({"image_id": 77}, "no image has the id 77"),
        ({"image_id": {"a": 1}}, "no image has the id"),
    ],
)
def test_a_bad_coco_annotation_is_named(
    coco: Callable[..., Path], bring: Import, annotation: dict[str, Any], words: str
) -> None:
    report = bring(coco([{**SQUARE, **annotation}, SQUARE]))
    assert report.annotations == 1
    (skip,) = report.skipped
    assert "annotation 0" in skip.reason and words in skip.reason


@pytest.mark.parametrize("segmentation", [[[]], [], [[1, 2, 3, 4]], [[], [1, 2, 3]]])
def test_a_coco_outline_of_nothing_leaves_the_box(
    ws: Workspace, coco: Callable[..., Path], bring: Import, segmentation: list[list[int]]
) -> None:
    report = bring(coco([{**SQUARE, "segmentation": segmentation}], images=1))
    assert report.skipped == [] and only(ws).value == Box(xyxy=(9.5, 19.5, 39.5, 34.5))
    assert any("fewer than 3 points" in note for note in report.notes) == any(segmentation)


def test_half_a_letter_in_coco_is_read_with_a_note(ws: Workspace, coco: Callable[..., Path], bring: Import) -> None:
    root = coco([{**SQUARE, "attributes": {"by": "x\ud800"}}], categories=[{"id": 0, "name": "c\ud800"}])
    report = bring(root)
    assert report.annotations == 1 and report.classes == {1: "c?"} and only(ws).attributes == {"by": "x?"}
    assert any("no Unicode" in note for note in report.notes)
    text = (root / "annotations.json").read_text()
    (root / "annotations.json").write_text(text.replace("\\ud800", "\\ud83d\\ude00"))
    whole = bring(root, dataset="e")
    assert whole.classes == {1: "c\U0001f600"} and not any("no Unicode" in note for note in whole.notes)


def test_coco_images_that_are_missing_misnamed_or_of_another_size(coco: Callable[..., Path], bring: Import) -> None:
    images = [
        {"id": 0, "file_name": "i0.png", "width": 640, "height": 480},
        {"id": 1, "file_name": "nowhere.png", "width": 64, "height": 48},
        {"id": 2, "width": 64, "height": 48},
        "nonsense",
        {"id": 3, "file_name": "C:\\data\\images\\i1.png"},
        {"id": 4, "file_name": "../../../../etc/passwd"},
    ]
    root = coco([{**SQUARE, "image_id": i} for i in (0, 1, 3)], images=2)
    document = json.loads((root / "annotations.json").read_text())
    (root / "annotations.json").write_text(json.dumps({**document, "images": images}))
    report = bring(root)
    text = reasons(report)
    assert report.annotations == 1
    for words in (
        "640 x 480",
        "nowhere.png: listed in annotations.json with 1 labels",
        "without file_name",
        "nonsense",
        "etc/passwd",
    ):
        assert words in text


def test_coco_images_by_the_end_of_their_path(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    for seed, side in enumerate("ab"):
        put(tmp_path / f"in/pics/{side}/x.png", picture(seed))
    document = {
        "images": [{"id": 7, "file_name": "b/x.png"}, {"id": 8, "file_name": "x.png"}],
        "annotations": [{**SQUARE, "image_id": 7}],
        "categories": [{"id": 0, "name": "outer"}],
    }
    put(tmp_path / "in/labels.json", json.dumps(document))
    report = bring(tmp_path / "in")
    assert len(by_source(ws)["pics/b/x.png"][1]) == 1 and by_source(ws)["pics/a/x.png"][0].status == "unlabelled"
    assert "2 images could be meant" in reasons(report)


def test_coco_file_given_by_itself_takes_only_what_it_lists(
    coco: Callable[..., Path], put: Put, picture: Picture, bring: Import
) -> None:
    root = coco([SQUARE], images=1)
    put(root / "images/unlisted.png", picture(9))
    assert bring(root, dataset="whole").images == 2
    assert bring(root / "annotations.json", dataset="listed").images == 1


def test_coco_beside_a_sibling_folder_of_images(
    ws: Workspace, tmp_path: Path, coco: Callable[..., Path], bring: Import
) -> None:
    root = coco([SQUARE])
    (root / "annotations").mkdir()
    (root / "annotations.json").rename(root / "annotations" / "all.json")
    assert bring(root / "annotations" / "all.json").annotations == 1
    assert bring(root / "images", dataset="e", labels=root / "annotations" / "all.json").annotations == 1


def test_coco_one_file_a_split(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    for seed, name in enumerate(("train", "valid", "test")):
        put(tmp_path / f"in/{name}/{name}.png", picture(seed))
        document = {
            "images": [{"id": 0, "file_name": f"{name}.png"}],
            "annotations": [SQUARE],
            "categories": [{"id": 0, "name": "a"}],
        }
        put(tmp_path / f"in/{name}/_annotations.coco.json", json.dumps(document))
    bring(tmp_path / "in")
    assert {s.split for s, _ in by_source(ws).values()} == {"train", "val", "test"}


def test_coco_background_category_is_no_class(coco: Callable[..., Path], bring: Import) -> None:
    report = bring(
        coco([{**SQUARE, "category_id": 5}], categories=[{"id": 0, "name": "_background_"}, {"id": 5, "name": "card"}])
    )
    assert report.classes == {1: "card"}


def test_a_coco_that_is_no_json(coco: Callable[..., Path], bring: Import) -> None:
    root = coco([])
    for text in ("{", "[" * 100_000, '{"images": 3}'):
        (root / "annotations.json").write_text(text)
        with pytest.raises(DatasetError, match="Nearest: coco"):
            bring(root)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8, 5])
def test_coco_made_on_the_unturned_picture(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import, orientation: int
) -> None:
    """The stated size tells whether the labels must be turned with the picture."""
    exif = Image.Exif()
    exif[274] = orientation
    put(tmp_path / "in/a.png", picture(0, (64, 48), exif=exif))
    mask = np.zeros((48, 64), bool)
    mask[0:10, 0:20] = True
    document = {
        "images": [{"id": 0, "file_name": "a.png", "width": 64, "height": 48}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 0, "bbox": [0, 0, 20, 10]},
            {"id": 2, "image_id": 0, "category_id": 0, "segmentation": [[0, 0, 20, 0, 20, 10, 0, 10]]},
            {
                "id": 3,
                "image_id": 0,
                "category_id": 0,
                "segmentation": {"size": [48, 64], "counts": rle.encode(mask).counts},
            },
        ],
        "categories": [{"id": 0, "name": "a"}],
    }
    put(tmp_path / "in/l.json", json.dumps(document))
    assert bring(tmp_path / "in").skipped == []
    sample, found = by_source(ws)["a.png"]
    corner = {1: (0, 0, 20, 10), 3: (0, 0, 20, 10), 6: (38, 0, 48, 20), 8: (0, 44, 10, 64), 5: (0, 0, 10, 20)}[
        orientation
    ]
    box, polygon, turned = (a.value for a in found)
    assert tuple(np.array(box.xyxy) + 0.5) == corner
    points = np.array(polygon.points) + 0.5
    assert (*points.min(axis=0), *points.max(axis=0)) == corner
    y, x = np.nonzero(rle.decode(turned))
    assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == corner
    assert turned.size_hw == (sample.main.height, sample.main.width)


# --- YOLO ---------------------------------------------------------------------------------------------------------


def test_yolo_box_and_polygon(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({"a": "0 0.5 0.5 0.25 0.5\n\n1 0 0 1 0 1 1\n"}))
    box, polygon = by_source(ws)["images/a.png"][1]
    assert box.value == Box(xyxy=(23.5, 11.5, 39.5, 35.5)) and box.label == "outer"
    assert polygon.value == Polygon(points=((-0.5, -0.5), (63.5, -0.5), (63.5, 47.5))) and polygon.label == "inner"


@pytest.mark.parametrize(
    "layout",
    ["{split}/images/{n}|{split}/labels/{n}", "images/{split}/{n}|labels/{split}/{n}", "{split}/{n}|{split}/{n}"],
)
def test_yolo_layouts_and_their_splits(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import, layout: str
) -> None:
    image, label = layout.split("|")
    for seed, split in enumerate(("train", "valid", "test")):
        put(tmp_path / "in" / (image.format(split=split, n="x") + ".png"), picture(seed))
        put(tmp_path / "in" / (label.format(split=split, n="x") + ".txt"), "0 0.5 0.5 0.5 0.5")
    put(tmp_path / "in/data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['card']")
    put(tmp_path / "in/README.txt", "not labels")
    report = bring(tmp_path / "in")
    assert report.annotations == 3 and report.skipped == []
    assert sorted(s.split for s, _ in by_source(ws).values()) == ["test", "train", "val"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.yaml", "names: {0: outer, 1: inner}"),
        ("classes.txt", "outer\ninner\n"),
        ("classes.txt", "0 outer\n1 inner\n"),
        ("obj.names", "outer\r\ninner"),
    ],
)
def test_yolo_names(yolo: Callable[..., Path], bring: Import, name: str, text: str) -> None:
    root = yolo({"a": "1 0.5 0.5 0.5 0.5"})
    (root / "data.yaml").unlink()
    (root / name).write_text(text)
    assert bring(root).classes == {1: "outer", 2: "inner"}
    assert bring(root / "data.yaml" if name == "data.yaml" else root, dataset="e").annotations == 1


def test_yolo_numbers_named_by_the_map_or_the_dataset(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": "1 0.5 0.5 0.5 0.5"})
    (root / "data.yaml").unlink()
    assert bring(root, mapping={"0": "card", "1": "frame"}).classes == {1: "card", 2: "frame"}
    assert bring(root).annotations == 0, "the same labels under the dataset's own names"


def test_yolo_with_a_hostile_yaml(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": "0 0.5 0.5 0.5 0.5"})
    (root / "data.yaml").write_text("names: !!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(DatasetError, match="nothing here names them"):
        bring(root)


@pytest.mark.parametrize("text", ["when: 2024-13-45", "a: !!timestamp x", "[" * 5000])
def test_yolo_beside_a_yaml_of_somebody_else(yolo: Callable[..., Path], bring: Import, text: str) -> None:
    root = yolo({"a": "0 0.5 0.5 0.5 0.5"})
    (root / "conf.yaml").write_text(text)
    assert bring(root).annotations == 1


def test_half_a_letter_in_a_yolo_name(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": "0 0.5 0.5 0.5 0.5"})
    (root / "data.yaml").write_text('names: ["c\\ud800"]')
    assert bring(root).classes == {1: "c?"}


def test_yolo_labels_that_are_binary(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": "", "b": "0 0.5 0.5 0.5 0.5"})
    (root / "labels/a.txt").write_bytes(bytes(range(256)) * 4)
    report = bring(root)
    assert report.annotations == 1 and "not a row of numbers" in reasons(report)


# --- VOC ----------------------------------------------------------------------------------------------------------


def voc_xml(*objects: str, filename: str = "a.png", size: str = "<width>64</width><height>48</height>") -> str:
    return (
        f"<annotation><filename>{filename}</filename><size>{size}<depth>3</depth></size>{''.join(objects)}</annotation>"
    )


def voc_object(box: tuple[object, ...] = (11, 21, 40, 35), name: str = "card", more: str = "") -> str:
    corners = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def test_voc_box(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    put(tmp_path / "in/JPEGImages/a.png", picture(0))
    put(tmp_path / "in/JPEGImages/b.png", picture(1))
    put(tmp_path / "in/Annotations/a.xml", voc_xml(voc_object(more="<difficult>1</difficult>")))
    put(tmp_path / "in/Annotations/b.xml", voc_xml(filename="b.png"))
    put(tmp_path / "in/ImageSets/Main/train.txt", "a\n")
    put(tmp_path / "in/ImageSets/Main/val.txt", "b  1\n")
    report = bring(tmp_path / "in")
    assert report.format == "voc" and report.skipped == []
    found = only(ws)
    assert found.value == Box(xyxy=(9.5, 19.5, 39.5, 34.5)) and found.attributes == {"difficult": True}
    assert {s.split for s, _ in by_source(ws).values()} == {"train", "val"}
    assert by_source(ws)["JPEGImages/b.png"][0].status == "done"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (voc_object(("nan", 1, 5, 5)), "not a number"),
        (voc_object(("x", 1, 5, 5)), "no box of 4 numbers"),
        (voc_object((9, 9, 5, 5)), "no area"),
        (voc_object((100, 100, 150, 150)), "outside the image"),
        (voc_object(name=""), "no name"),
        ("<object><name>card</name></object>", "no box"),
    ],
)
def test_a_bad_voc_object_is_named(
    tmp_path: Path, picture: Picture, put: Put, bring: Import, bad: str, words: str
) -> None:
    put(tmp_path / "in/a.png", picture(0))
    put(tmp_path / "in/a.xml", voc_xml(bad, voc_object()))
    report = bring(tmp_path / "in")
    assert report.annotations == 1
    (skip,) = report.skipped
    assert skip.file == "a.xml" and "object 1" in skip.reason and words in skip.reason


def test_voc_files_that_are_hostile_or_for_another_picture(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'
    texts = {"bomb": bomb, "cut": "<annotation><obj", "other": "<svg/>", "size": voc_xml(voc_object(), size="<width>9</width><height>9</height>"),
             "good": voc_xml(voc_object(), filename="good.png"), "nosize": voc_xml(voc_object(), size="")}  # fmt: skip
    for seed, (name, text) in enumerate(texts.items()):
        put(tmp_path / f"in/{name}.png", picture(seed))
        put(tmp_path / f"in/{name}.xml", text)
    report = bring(tmp_path / "in")
    assert report.annotations == 2
    assert {s.file for s in report.skipped} >= {"bomb.xml", "cut.xml", "other.xml"}
    assert "9 x 9 px" in reasons(report)
    assert {n: s.status for n, (s, _) in by_source(ws).items() if n in ("bomb.png", "good.png")} == {
        "bomb.png": "unlabelled",
        "good.png": "done",
    }


def test_voc_goes_by_filename_when_the_files_own_name_fits_nothing(
    tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    put(tmp_path / "in/images/a.png", picture(0))
    put(tmp_path / "in/images/c.png", picture(1))
    put(tmp_path / "in/xml/0001.xml", voc_xml(voc_object(), filename="a.png"))
    put(tmp_path / "in/xml/c.xml", voc_xml(voc_object(), filename="c.png"))
    assert bring(tmp_path / "in").annotations == 2


# --- table --------------------------------------------------------------------------------------------------------


def test_a_table_of_scores_tags_and_cards(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    for seed in range(4):
        put(tmp_path / f"in/s/{seed}.png", picture(seed))
    put(tmp_path / "in/t.csv", "\ufefffile,class,tags,score,specimen,split,extra\ns/0.png,worn,dent;scratch,7.5,T1,train,x\n"
                               "1.png,,,ten,T2,valid,\ns/2.png,,,,,,\nghost.png,,,1,,,\n")  # fmt: skip
    report = bring(tmp_path / "in")
    found = by_source(ws)
    values = [a.value for a in found["s/0.png"][1]]
    assert values == [Tags(tags=("worn", "dent", "scratch")), Score(score=7.5)]
    assert (found["s/0.png"][0].card, found["s/0.png"][0].split, found["s/1.png"][0].split) == ("T1", "train", "val")
    assert found["s/3.png"][0].status == "unlabelled", "not in the table"
    assert found["s/1.png"][0].status == "unlabelled", "its only label was refused"
    assert found["s/2.png"][0].status == "done"
    assert "score 'ten'" in reasons(report) and "ghost.png" in reasons(report)
    assert any("extra" in note for note in report.notes)
    assert "images whose row in t.csv names nothing, taken as background: 1" in report.notes
    assert [(c.name, c.shape) for c in Dataset(ws, "d").classes] == [
        ("worn", "tags"),
        ("dent", "tags"),
        ("scratch", "tags"),
    ]


def test_a_table_of_masks(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[5:9, 5:20] = 200
    put(tmp_path / "in/a.jpg", picture(0, format="JPEG"))
    put(tmp_path / "in/b.jpg", picture(1, format="JPEG"))
    put(tmp_path / "in/m/a.png", cv2.imencode(".png", mask)[1].tobytes())
    put(tmp_path / "in/t.csv", "file,class,mask\na.jpg,dent,m/a.png\nb.jpg,dent,m/none.png\n")
    report = bring(tmp_path / "in")
    assert report.images == 2, "a mask is no picture"
    found = only(ws)
    assert found.label == "dent" and isinstance(found.value, Mask) and (rle.decode(found.value) == (mask > 127)).all()
    assert "mask 'm/none.png'" in reasons(report)


def test_a_table_with_other_words_needs_the_map(tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    put(tmp_path / "in/a.png", picture(0))
    put(tmp_path / "in/t.csv", "file,grade\na.png,9\n")
    with pytest.raises(DatasetError, match="--map grade=score"):
        bring(tmp_path / "in")
    assert bring(tmp_path / "in", mapping={"grade": "score"}).annotations == 1


# --- masks --------------------------------------------------------------------------------------------------------


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values)[1].tobytes()


def test_masks_in_a_folder_and_beside(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 255
    put(tmp_path / "in/images/a.png", picture(0))
    put(tmp_path / "in/masks/a.png", png(mask))
    put(tmp_path / "in/images/b.png", picture(1))
    put(tmp_path / "in/masks/b.png", png(np.zeros((48, 64), np.uint8)))
    put(tmp_path / "in/images/c.png", picture(2))
    put(tmp_path / "in/masks/c.png", png(np.ones((9, 9), np.uint8)))
    put(tmp_path / "in/images/d.png", picture(3))
    put(tmp_path / "in/masks/d.png", b"junk")
    with pytest.raises(DatasetError, match="do not say of what"):
        bring(tmp_path / "in")
    report = bring(tmp_path / "in", classes=("dent",))
    assert (report.format, report.images, report.annotations) == ("masks", 4, 1)
    assert (rle.decode(only(ws).value) == (mask > 0)).all()
    states = {n.removeprefix("images/"): s.status for n, (s, _) in by_source(ws).items()}
    assert states == {"a.png": "done", "b.png": "done", "c.png": "unlabelled", "d.png": "unlabelled"}
    assert "9 x 9 px" in reasons(report) and "cannot be read" in reasons(report)


def test_masks_of_class_numbers(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    values = np.zeros((48, 64), np.uint8)
    values[:10], values[20:30], values[40:] = 1, 2, 255
    palette = Image.fromarray(values).convert("P")
    put(tmp_path / "in/a.jpg", picture(0, format="JPEG"))
    put(tmp_path / "in/b.jpg", picture(1, format="JPEG"))
    (tmp_path / "m").mkdir()
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "m/a.png")
    put(tmp_path / "m/b.png", png(np.full((48, 64), 2, np.uint8)))
    report = bring(tmp_path / "in", labels=tmp_path / "m", classes=("dent", "crease"))
    assert report.annotations == 3 and report.skipped == []
    found = {a.label: int(rle.decode(a.value).sum()) for a in by_source(ws)["a.jpg"][1]}
    assert found == {"dent": 640, "crease": 640}


def test_masks_in_a_zip(ws: Workspace, tmp_path: Path, picture: Picture, bring: Import) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:20, 10:30] = 255
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as z:
        z.writestr("pics/a.png", picture(0))
        z.writestr("truth/a.png", png(mask))
    report = bring(tmp_path / "set.zip", labels="truth", classes=("dent",), format="masks")
    assert (report.images, report.annotations) == (1, 1)
    assert (rle.decode(only(ws).value) == (mask > 0)).all()


def mask_of(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """64 x 48, a band of 6 rows for each value from the top, zeros below."""
    found = np.zeros((48, 64), dtype)
    for band, value in enumerate(values):
        found[6 * band : 6 * band + 6] = value
    return found


@pytest.mark.parametrize(
    ("mask", "names", "labels", "words"),
    [
        (mask_of(1, 2, 3), ("x", "y"), {"x": 384, "y": 384}, "value 3: not among the 2 classes"),
        (mask_of(3), ("x", "y"), {}, "value 3:"),
        (mask_of(1, 200), ("x", "y"), {"x": 384}, "value 200:"),
        (mask_of(3, 7), ("x", "y"), {}, "value 3, 7:"),
        (mask_of(255), ("x", "y"), {}, "255 alone"),
        (mask_of(1, 90, 200, 255), ("x", "y"), {}, "greys up to 200"),
        (mask_of(1, 2, 255), ("x", "y"), {"x": 384, "y": 384}, ""),
        (mask_of(100), ("x",), {}, "brightest pixel is 100"),
        (mask_of(1, 100, 255), ("x",), {"x": 384}, ""),
        (mask_of(1), ("x",), {"x": 384}, ""),
        (mask_of(1, 2, dtype=np.uint16), ("x", "y"), {"x": 384, "y": 384}, ""),
        (mask_of(1, 2, 300, dtype=np.uint16), ("x", "y"), {"x": 384, "y": 384}, "value 300:"),
        (mask_of(1, 2, 65535, dtype=np.uint16), ("x", "y"), {"x": 384, "y": 384}, ""),
        (mask_of(1, 900, 65535, dtype=np.uint16), ("x", "y"), {}, "greys up to 900"),
        (mask_of(257, 65535, dtype=np.uint16), ("x",), {"x": 384}, ""),
        (mask_of(256, dtype=np.uint16), ("x",), {"x": 384}, ""),
        (mask_of(0), ("x", "y"), {}, ""),
    ],
)
def test_no_pixel_of_a_mask_vanishes_unsaid(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import,
    mask: np.ndarray, names: tuple[str, ...], labels: dict[str, int], words: str,
) -> None:  # fmt: skip
    put(tmp_path / "in/images/a.png", picture(0))
    put(tmp_path / "in/masks/a.png", png(mask))
    report = bring(tmp_path / "in", classes=names)
    ((sample, found),) = by_source(ws).values()
    assert {a.label: int(rle.decode(a.value).sum()) for a in found} == labels
    assert words in reasons(report) if words else report.skipped == []
    assert sample.status == ("unlabelled" if words and not labels else "done")


@pytest.mark.parametrize("table", ['file,blob\na.png,"' + "x" * 200_000, None])
def test_coco_beside_a_csv_that_is_none(coco: Callable[..., Path], bring: Import, table: str | None) -> None:
    root = coco([SQUARE])
    if table:
        (root / "notes.csv").write_text(table)
    else:
        with zipfile.ZipFile(root.parent / "set.zip", "w", zipfile.ZIP_STORED) as z:
            for file in sorted(p for p in root.rglob("*") if p.is_file()):
                z.write(file, file.relative_to(root))
            z.writestr("notes.csv", "file,score\na.png,1\n")
        raw = (root.parent / "set.zip").read_bytes()
        root = root.parent / "set.zip"
        root.write_bytes(raw.replace(b"a.png,1", b"a.png,2"))  # its checksum is wrong now
    assert (bring(root).format, bring(root).taken) == ("coco", 2)
    with pytest.raises(DatasetError, match=r"notes\.csv, which is no table"):
        bring(root, format="table")


def test_a_cards_file_with_an_open_quote(coco: Callable[..., Path], put: Put, tmp_path: Path, bring: Import) -> None:
    with pytest.raises(DatasetError, match="is no table"):
        bring(coco([SQUARE]), cards=put(tmp_path / "cards.csv", 'file,card\na,"' + "x" * 200_000))
