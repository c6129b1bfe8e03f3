"""Exports: every image under its path, ids kept, what cannot be held is named, and what can comes back equal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO as PyCoco  # the reference reader

from trugrade_core.data import exporting, rle
from trugrade_core.data.exporting import export_version
from trugrade_core.data.formats import FORMATS
from trugrade_core.data.importing import ImportOptions, ImportReport, import_dataset
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Score, Tags, Value
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
WRITABLE = [id for id, f in FORMATS.items() if f.write]
BOX = "0 0.5 0.5 0.5 0.5\n"
CORNER = np.zeros((48, 64), bool)
CORNER[5:20, 7:30] = True


def say(ds: Dataset, sample: str, value: Value, label: str | None = "outer", **attributes: Any) -> None:
    id = f"{sample}-{len(list(ds.log()))}"
    ds.append(
        [
            put_entry(
                Annotation(id=id, sample=sample, label=label, value=value, attributes=attributes),
                who="ann",
                tool="canvas",
            )
        ]
    )


def images_of(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg")}


def content(ds: Dataset, format: str = "coco") -> dict[str, Any]:
    """What a format can hold: state, split and labels of each image by its bytes. COCO lists only what is done."""
    found = ds.annotations()
    return {
        s.main.sha256: (
            s.status,
            s.split if s.status == "done" or format != "coco" else None,
            sorted((a.label or "", a.value.model_dump_json(), json.dumps(a.attributes)) for a in found.get(s.id, [])),
        )
        for s in ds.samples().values()
    }


@pytest.fixture
def ds(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> Dataset:
    bring(yolo({**{f"i{n}": BOX + "1 0.5 0.5 0.1 0.25\n" for n in range(6)}, "empty": "", "none": None}))
    return Dataset(ws, "d")


@pytest.mark.parametrize("format", WRITABLE)
def test_boxes_states_splits_and_classes_come_back_equal(
    ws: Workspace, ds: Dataset, tmp_path: Path, bring: Import, format: str
) -> None:
    snapshot(ds)
    report = export_version(Version.open(ws, "d"), format, tmp_path / "out")
    left_out = {"split of images that are not done": 1} if format == "coco" else {}
    assert (report["images"], report["annotations"], report["left_out"], report["renamed"]) == (8, 12, left_out, [])
    back = bring(tmp_path / "out", dataset="back")
    assert (back.format, back.images, back.annotations, back.skipped) == (format, 8, 12, [])
    assert content(Dataset(ws, "back"), format) == content(ds, format)
    assert back.classes == {1: "outer", 2: "inner"}
    assert (
        {s.sources[0] for s in Dataset(ws, "back").samples().values()}
        == images_of(tmp_path / "out")
        == {s.sources[0] for s in ds.samples().values()}
    )


def test_class_ids_of_each_format(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    snapshot(ds)
    version = Version.open(ws, "d")
    assert export_version(version, "coco", tmp_path / "exports" / "coco")["classes"] == {1: "outer", 2: "inner"}
    assert export_version(version, "yolo", tmp_path / "exports" / "yolo")["classes"] == {0: "outer", 1: "inner"}
    document = json.loads((tmp_path / "exports" / "coco" / "annotations.json").read_text())
    assert [(c["id"], c["name"]) for c in document["categories"]] == [(1, "outer"), (2, "inner")]
    assert {
        line.split()[0] for p in (tmp_path / "exports/yolo/labels").glob("*.txt") for line in p.read_text().splitlines()
    } == {"0", "1"}


def test_exporting_into_the_same_dataset_adds_nothing(
    ws: Workspace, ds: Dataset, tmp_path: Path, bring: Import
) -> None:
    snapshot(ds)
    for format in WRITABLE:
        export_version(Version.open(ws, "d"), format, tmp_path / "exports" / format)
        assert bring(tmp_path / "exports" / format).annotations == 0
    assert snapshot(ds).version == "v1"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_reference_reader_reads_our_coco(
    ws: Workspace, ds: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sample, *_) = ds.samples().values()
    say(ds, sample.id, rle.encode(CORNER))
    say(ds, sample.id, Polygon(points=((0.0, 0.0), (20.0, 0.0), (20.0, 10.0))))
    snapshot(ds)
    export_version(Version.open(ws, "d"), "coco", tmp_path / "out")
    coco = PyCoco(str(tmp_path / "out" / "annotations.json"))
    masks = [coco.annToMask(a) for a in coco.loadAnns(coco.getAnnIds()) if isinstance(a["segmentation"], dict)]
    assert len(masks) == 1 and (masks[0].astype(bool) == CORNER).all()
    areas = sorted(a["area"] for a in coco.loadAnns(coco.getAnnIds()))
    assert CORNER.sum() in areas and 100.0 in areas


def test_what_a_format_cannot_hold_is_named(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    samples = list(ds.samples().values())
    say(ds, samples[0].id, Score(score=7), None)
    say(ds, samples[0].id, Tags(tags=("worn",)), None)
    say(ds, samples[1].id, rle.encode(CORNER), kind="hand")
    say(ds, samples[1].id, Polygon(points=((1.0, 1.0), (9.0, 1.0), (5.0, 9.0))))
    ds.put_samples(
        [
            samples[2].model_copy(
                update={"status": "rescan", "card": "C1", "card_assumed": False, "design": "1989", "dpi": 600}
            )
        ]
    )
    snapshot(ds)
    left = {f: export_version(Version.open(ws, "d"), f, tmp_path / "exports" / f)["left_out"] for f in WRITABLE}
    common = {
        "card": 1,
        "design": 1,
        "dpi": 1,
        "status rescan (comes back as unlabelled)": 1,
        "score annotations": 1,
        "tags annotations": 1,
    }
    assert left["coco"] == common | {"split of images that are not done": 2}
    assert left["yolo"] == common | {
        "masks written as the outline of their largest part": 1,
        "attributes of annotations": 1,
    }
    assert left["voc"] == common | {
        "masks, written as their boxes": 1,
        "polygons, written as their boxes": 1,
        "attributes of annotations": 1,
    }


def test_shapes_that_coco_holds_come_back_equal(ws: Workspace, ds: Dataset, tmp_path: Path, bring: Import) -> None:
    (sample, *_) = ds.samples().values()
    say(ds, sample.id, rle.encode(CORNER), source="hand", sure=0.5)
    say(ds, sample.id, Polygon(points=((1.25, 1.0), (9.0, 1.0), (5.0, 9.5))))
    say(ds, sample.id, Polygon(points=((1.0, 1.0), (9.0, 1.0), (9.0, 9.0), (1.0, 9.0))), label="inner")
    snapshot(ds)
    export_version(Version.open(ws, "d"), "coco", tmp_path / "out")
    bring(tmp_path / "out", dataset="back")
    assert content(Dataset(ws, "back")) == content(ds)


def test_voc_flags_come_back(ws: Workspace, ds: Dataset, tmp_path: Path, bring: Import) -> None:
    (sample, *_) = ds.samples().values()
    say(ds, sample.id, Box(xyxy=(1, 1, 9, 9)), difficult=True)
    snapshot(ds)
    assert export_version(Version.open(ws, "d"), "voc", tmp_path / "out")["left_out"] == {}
    bring(tmp_path / "out", dataset="back")
    assert content(Dataset(ws, "back")) == content(ds)


# --- coordinates of any kind ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Dataset, Path]:
    """A workspace with one unlabelled image of 64 x 48, and a folder for exports."""
    base = tmp_path_factory.mktemp("one")
    (base / "in").mkdir()
    (base / "in" / "a.png").write_bytes(cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
    ws = Workspace.open(base / "ws")
    import_dataset(ws, base / "in", "one", ImportOptions(classes=("outer",)))
    return ws, Dataset(ws, "one"), base


x = st.floats(-0.5, 63.5)
y = st.floats(-0.5, 47.5)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    (x0, x1), (y0, y1) = sorted((draw(x), draw(x))), sorted((draw(y), draw(y)))
    return Box(xyxy=(x0, y0, max(x1, x0 + 0.01), max(y1, y0 + 0.01)))


triangles = st.tuples(x, y, st.floats(1, 30), st.floats(1, 30)).map(
    lambda t: Polygon(points=((t[0], t[1]), (t[0] + t[2], t[1]), (t[0], t[1] + t[3])))
)


@pytest.mark.parametrize("format", WRITABLE)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(boxes(), min_size=1, max_size=4))
def test_any_box_comes_back(one: tuple[Workspace, Dataset, Path], format: str, values: list[Box]) -> None:
    got = there_and_back(*one, format, values)
    kept = [np.clip(v.xyxy, -0.5, [63.5, 47.5, 63.5, 47.5]) for v in values]
    assert_same([b.xyxy for b in got], kept)


@pytest.mark.parametrize("format", ["coco", "yolo"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(triangles.filter(lambda p: max(q[0] for q in p.points) < 63.5 and max(q[1] for q in p.points) < 47.5))
def test_any_polygon_comes_back(one: tuple[Workspace, Dataset, Path], format: str, value: Polygon) -> None:
    (got,) = there_and_back(*one, format, [value])
    assert_same(got.points, value.points)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6))
def test_outlines_of_any_mask_give_it_back(rows: list[list[bool]]) -> None:
    mask = np.array(rows)
    parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    holes = cv2.connectedComponents((~np.pad(mask, 1)).astype(np.uint8), connectivity=4)[0] - 2
    outlines = rle.mask_outlines(mask)
    assert len(outlines) == parts + holes
    back = np.zeros_like(mask)
    for outline in outlines:
        assert (outline % 1 == 0.5).all() and (np.abs(np.roll(outline, 1, axis=0) - outline).min(axis=1) == 0).all()
        back ^= rle.fill(outline, mask.shape[1], mask.shape[0])
    assert (back == mask).all()


@pytest.mark.parametrize("shape", ["rectangle", "pixel", "whole", "disc"])
def test_a_mask_comes_back_from_yolo_pixel_by_pixel(one: tuple[Workspace, Dataset, Path], shape: str) -> None:
    y, x = np.mgrid[:48, :64]
    mask = {
        "rectangle": (x >= 5) & (x < 25) & (y >= 5) & (y < 15),
        "pixel": (x == 63) & (y == 47),
        "whole": x >= 0,
        "disc": (x - 30) ** 2 + (y - 20) ** 2 < 150,
    }[shape]
    (got,) = there_and_back(*one, "yolo", [rle.encode(mask)])
    assert (rle.fill(got.points, 64, 48) == mask).all()
    if shape == "rectangle":
        assert_same(sorted(got.points), [(4.5, 4.5), (4.5, 14.5), (24.5, 4.5), (24.5, 14.5)])


def assert_same(got: Any, wanted: Any) -> None:
    """To a millionth of a pixel, in the same order."""
    assert np.array(got) == pytest.approx(np.array(wanted), abs=2e-6)


def there_and_back(ws: Workspace, ds: Dataset, base: Path, format: str, values: list[Any]) -> list[Any]:
    """Write one image with `values` by the format's own writer, and read it with its reader."""
    from trugrade_core.data.formats.base import Request, Row
    from trugrade_core.data.source import open_source

    (sample,) = ds.samples().values()
    out = base / "out"
    shutil.rmtree(out, ignore_errors=True)
    (out / "images").mkdir(parents=True)
    (out / "images" / "a.png").write_bytes(ds.image_path(sample).read_bytes())
    annotations = [Annotation(id=str(n), sample=sample.id, label="outer", value=v) for n, v in enumerate(values)]
    row = FORMATS[format]
    assert row.write is not None
    row.write(
        out, lambda: iter([Row(sample.model_copy(update={"status": "done"}), annotations, "images/a.png")]), ["outer"]
    )
    source = open_source(out)
    request = Request(source, source.images(), None, ImportOptions())
    (item,) = row.read(request, row.find(request)).items
    assert item.labels is not None
    return [label.value for label in item.labels(sample.main).labels]


# --- paths --------------------------------------------------------------------------------------------------------


def test_names_that_collide_are_told_apart(
    ws: Workspace, tmp_path: Path, yolo: Callable[..., Path], picture: Callable[..., bytes], bring: Import
) -> None:
    """The same path from two sources, the same stem with two endings, the same name in two folders."""
    bring(yolo({"a": BOX}, tmp_path / "one"))
    other = yolo({"a": BOX}, tmp_path / "two")
    (other / "images" / "a.png").write_bytes(picture(50))
    (other / "images" / "a.jpg").write_bytes(picture(51, format="JPEG"))
    (other / "images" / "deep").mkdir()
    (other / "images" / "deep" / "a.png").write_bytes(picture(52))
    bring(other)
    ds = Dataset(ws, "d")
    snapshot(ds)
    for format in WRITABLE:
        report = export_version(Version.open(ws, "d"), format, tmp_path / "exports" / format)
        found = images_of(tmp_path / "exports" / format)
        assert len(found) == report["images"] == 4 and {"images/deep/a.png"} < found, report
        assert len(report["renamed"]) == 2
        back = bring(tmp_path / "exports" / format, dataset=f"back_{format}")
        assert back.images == 4 and back.skipped == []
        assert {k: v[2] for k, v in content(Dataset(ws, f"back_{format}")).items()} == {
            k: v[2] for k, v in content(ds).items()
        }


def test_long_and_foreign_names(ws: Workspace, tmp_path: Path, ds: Dataset, bring: Import) -> None:
    (a, b, c, *_) = ds.samples().values()
    ds.put_samples(
        [
            a.model_copy(update={"sources": ("手札/" + "ж" * 300 + ".png",)}),
            b.model_copy(update={"sources": ("../../etc/x.png",)}),
            c.model_copy(update={"sources": ("a\nb: c?.png",)}),
        ]
    )
    snapshot(ds)
    for format in WRITABLE:
        export_version(Version.open(ws, "d"), format, tmp_path / "exports" / format)
        found = images_of(tmp_path / "exports" / format)
        assert len(found) == 8 and {"images/etc/x.png", "images/a_b_ c_.png"} < found
        assert bring(tmp_path / "exports" / format, dataset=f"back_{format}").annotations == 12


# --- what goes wrong ----------------------------------------------------------------------------------------------


def test_an_unwritable_format(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    snapshot(ds)
    for format in ("masks", "nonsense"):
        with pytest.raises(UsageError, match="not written as"):
            export_version(Version.open(ws, "d"), format, tmp_path / "out")


def test_a_folder_in_use(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    snapshot(ds)
    (tmp_path / "out").mkdir()
    export_version(Version.open(ws, "d"), "coco", tmp_path / "out")
    with pytest.raises(DatasetError, match="not empty"):
        export_version(Version.open(ws, "d"), "coco", tmp_path / "out")


def test_a_missing_or_changed_image_fails_and_leaves_nothing(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    snapshot(ds)
    version = Version.open(ws, "d")
    path = version.image_path(version.samples()[0])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(DatasetError, match="has changed"):
        export_version(version, "yolo", tmp_path / "exports" / "out")
    path.unlink()
    with pytest.raises(DatasetError, match="not in the workspace"):
        export_version(version, "yolo", tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []


def test_images_that_got_lost_on_the_way_are_counted(
    ws: Workspace, ds: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot(ds)
    placed = exporting.place(Version.open(ws, "d").iter_samples())
    first, second, *_ = placed
    monkeypatch.setattr(exporting, "place", lambda samples: {**placed, first: placed[second]})
    with pytest.raises(DatasetError, match="of 8 images are missing"):
        export_version(Version.open(ws, "d"), "coco", tmp_path / "exports" / "out")
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_mask_of_nothing(ws: Workspace, ds: Dataset, tmp_path: Path) -> None:
    (sample, *_) = ds.samples().values()
    say(ds, sample.id, Mask(counts=rle.encode(np.zeros((48, 64), bool)).counts, size_hw=(48, 64)))
    snapshot(ds)
    for format in WRITABLE:
        report = export_version(Version.open(ws, "d"), format, tmp_path / "exports" / format)
        assert report["left_out"] or format == "coco"
