"""The team's real inputs: border scans in three label formats, photographs in VOC, dirty and foreign exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trugrade_core.data.importing import ImportOptions, ImportReport, import_dataset
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Box, Mask, Polygon
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
DUAL = ("outer_border", "graphical_border")


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One workspace for all: the scans are read and checked once."""
    return Workspace.open(tmp_path_factory.mktemp("real") / "workspace")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A dataset of its own for each test."""
    return str(request.node.originalname)


@pytest.fixture
def bring(ws: Workspace, name: str) -> Import:
    def run(source: Path, dataset: str = "", **options: Any) -> ImportReport:
        return import_dataset(ws, source, dataset or name, ImportOptions(**options))

    return run


@pytest.fixture
def scans(shared: Path) -> Path:
    return shared / "border_scans_600dpi"


def test_border_scans_from_yolo(ws: Workspace, scans: Path, bring: Import, name: str) -> None:
    report = bring(scans, labels="labels_dual_class", classes=DUAL)
    ds = Dataset(ws, name)
    samples = ds.samples()
    assert (report.format, report.images, report.taken, report.annotations, report.skipped) == ("yolo", 41, 41, 82, [])
    assert report.classes == {1: "outer_border", 2: "graphical_border"}
    assert {s.status for s in samples.values()} == {"done"} and {s.main.dpi for s in samples.values()} == {600.0}
    first = next(s for s in samples.values() if s.sources == ("images/Test001.jpg",))
    outer = next(a.value for a in ds.annotations()[first.id] if a.label == "outer_border")
    # 0 0.502687 0.513682 0.914815 0.918769 of 1653 x 2296 px, over edges
    assert outer.xyxy == pytest.approx((74.347, 124.167, 1586.536, 2233.661), abs=1e-3)
    assert outer.xyxy[2] - outer.xyxy[0] == pytest.approx(63.5 / first.mm_per_px, rel=0.02)


def test_border_scans_from_their_earlier_coco(ws: Workspace, scans: Path, bring: Import, name: str) -> None:
    report = bring(
        scans, labels="coco_earlier_labels.json", mapping={"border": "outer_border", "surface": "graphical_border"}
    )
    assert (report.format, report.images, report.annotations, report.skipped) == ("coco", 41, 82, [])
    assert report.classes == {1: "outer_border", 2: "graphical_border"}
    assert any("coco_data" in note for note in report.notes)
    assert all(isinstance(a.value, Box) for found in Dataset(ws, name).annotations().values() for a in found)


def test_the_two_label_files_of_the_scans_agree(ws: Workspace, scans: Path, bring: Import, name: str) -> None:
    """coco_dual_40.json is a copy of the YOLO boxes: read both ways, they are the same to a thousandth of a pixel."""
    bring(scans, dataset="yolo", labels="labels_dual_class", classes=DUAL)
    report = bring(scans / "coco_dual_40.json", dataset="coco", classes=DUAL)
    assert report.images == 26 and any("border is outer_border" in note for note in report.notes)
    one, two = (Dataset(ws, kind).annotations() for kind in ("yolo", "coco"))
    for sample, found in two.items():
        for a in found:
            (twin,) = [b for b in one[sample] if b.label == a.label]
            assert np.abs(np.array(a.value.xyxy) - np.array(twin.value.xyxy)).max() < 1e-3


def test_border_scans_alone_ask_which_labels(scans: Path, bring: Import) -> None:
    with pytest.raises(DatasetError) as e:
        bring(scans)
    for name in ("coco_earlier_labels.json", "labels_dual_class", "labels_outer_border"):
        assert name in e.value.message


def test_voc_photographs(ws: Workspace, shared: Path, bring: Import) -> None:
    report = bring(shared / "detection_voc")
    assert (report.format, report.taken, report.images, report.annotations, report.skipped) == ("voc", 40, 39, 43, [])
    assert report.classes == {1: "raccoon"} and any("raccoon-116.jpg is" in note for note in report.notes)


def test_a_dirty_yolo_export(ws: Workspace, shared: Path, bring: Import, name: str) -> None:
    report = bring(shared / "importers" / "yolo_crack")
    samples = Dataset(ws, name).samples().values()
    values = [a.value for found in Dataset(ws, name).annotations().values() for a in found]
    assert report.images == 13 and len(report.skipped) == 6 and all("class 3" in s.reason for s in report.skipped)
    assert {s.split for s in samples} == {"train", "val", "test"}
    assert sum(isinstance(v, Polygon) for v in values) == 2
    assert sorted(s.status for s in samples) == ["done"] * 10 + ["unlabelled"] * 3


def test_coco_and_voc_of_the_same_photographs(shared: Path, bring: Import) -> None:
    coco = bring(shared / "importers" / "coco", dataset="photos_coco")
    voc = bring(shared / "importers" / "voc", dataset="photos_voc")
    assert (coco.format, coco.images, coco.annotations) == ("coco", 3, 12)
    assert (voc.format, voc.images, voc.annotations) == ("voc", 3, 9)
    assert coco.classes == voc.classes and coco.classes[15] == "person"


def test_tiles_with_masks_by_table(ws: Workspace, shared: Path, bring: Import, name: str) -> None:
    report = bring(shared / "magnetic_tile")
    ds = Dataset(ws, name)
    assert (report.format, report.images, report.skipped) == ("table", 248, [])
    assert len({s.card for s in ds.samples().values()}) == 70
    assert all(isinstance(a.value, Mask) for found in ds.annotations().values() for a in found)


def test_grades_by_table(shared: Path, bring: Import) -> None:
    report = bring(shared / "psa_slabs_baseball", mapping={"grade": "score"})
    assert (report.images, report.annotations) == (300, 300)
