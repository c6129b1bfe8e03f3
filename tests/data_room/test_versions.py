"""Versions: immutable, the same for the same content, refused when touched, and the held-out stay held out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trugrade_core.data import versions
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.journal import SampleIndex
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot, split, summary
from trugrade_core.errors import DatasetError, TruGradeError, UsageError
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Score, Tags
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
BOX = "0 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def ds(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> Dataset:
    """20 images: 17 with a box, one background, two unlabelled."""
    bring(yolo({f"i{n}": BOX for n in range(17)} | {"empty": "", "none": None, "nil": None}))
    return Dataset(ws, "d")


def test_split_makes_a_version_and_reports_it(ws: Workspace, ds: Dataset) -> None:
    manifest = split(ds, (70, 15, 15), 5)
    assert (manifest.version, manifest.samples, manifest.annotations, manifest.seed) == ("v1", 20, 17, 5)
    assert manifest.ratios == pytest.approx((0.7, 0.15, 0.15))
    assert summary(manifest) == {"version": "v1", "digest": manifest.digest, "samples": 20, "splits": manifest.splits}
    assert (
        sum(s["samples"] for s in manifest.splits.values()) == 20 == sum(s["cards"] for s in manifest.splits.values())
    )
    assert ds.versions() == [manifest]


def test_a_version_gives_back_what_went_in(ws: Workspace, ds: Dataset) -> None:
    values = [
        Polygon(points=((0.1, 0.2), (9.0, 1.0), (3.0, 7.25))),
        Mask(counts="0b0", size_hw=(48, 64)),
        Tags(tags=("worn", "é")),
        Score(score=9.5),
    ]
    (first, *_) = ds.samples().values()
    ds.append(
        put_entry(Annotation(id=f"x{n}", sample=first.id, label=None if n > 1 else "outer", value=v, attributes={"a": 1.5, "b": None, "c": True}),
                  who="ann", tool="canvas")
        for n, v in enumerate(values)
    )  # fmt: skip
    snapshot(ds)
    version = Version.open(ws, "d")
    assert {s.id: s for s in version.samples()} == ds.samples()
    got = {k: sorted(v, key=lambda a: a.id) for k, v in version.annotations().items()}
    assert got == {k: sorted(v, key=lambda a: a.id) for k, v in ds.annotations().items()}
    assert version.name == "d@v1" and version.classes == ("outer", "inner")
    assert version.image_path(first).is_file()


def test_records_are_only_what_is_done(ws: Workspace, ds: Dataset) -> None:
    snapshot(ds)
    version = Version.open(ws, "d")
    records = [r for name in ("train", "val", "test") for r in version.records(name)]
    assert len(records) == 18 and sum(not found for _, found in records) == 1
    assert len(version.records()) == 18 and len(version.samples()) == 20
    with pytest.raises(UsageError, match="no split 'trian'"):
        version.samples("trian")


def test_unchanged_content_gives_the_same_version(ds: Dataset) -> None:
    first = snapshot(ds)
    assert snapshot(ds) == first and split(ds) == first
    sample = next(iter(ds.samples().values()))
    ds.put_samples([sample.model_copy(update={"status": "rescan"})])
    second = snapshot(ds)
    assert second.version == "v2" and second.digest != first.digest
    ds.put_samples([sample.model_copy(update={"split": ds.samples()[sample.id].split})])
    third = snapshot(ds)
    assert (third.version, third.digest) == ("v3", first.digest), "the newest version is what the dataset is now"


def test_the_digest_knows_content_alone(ws: Workspace, tmp_path: Path, ds: Dataset) -> None:
    """Not the order of arrival, nor the moment, nor the Parquet bytes."""
    first = snapshot(ds)
    again = Dataset.create(ws, "again", ds.classes)
    again.put_samples(reversed(list(ds.samples().values())))
    again.append(reversed(list(ds.log())))
    with again.lock():
        again.note_facts(split=ds.facts()["split"])
    assert snapshot(again).digest == first.digest


def test_splitting_is_reproducible_and_another_seed_differs(ws: Workspace, ds: Dataset) -> None:
    def where() -> dict[str, str | None]:
        return {s.id: s.split for s in ds.samples().values()}

    split(ds, seed=1)
    one = where()
    split(ds, seed=2)
    two = where()
    split(ds, seed=1)
    assert where() == one != two


def test_what_is_held_out_stays_held_out_when_data_comes(
    ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import
) -> None:
    split(ds, seed=3)
    before = {s.card: s.split for s in ds.samples().values()}
    (tmp_path / "more").mkdir()
    bring(yolo({f"i{n}": BOX for n in range(40)}, tmp_path / "more" / "set"))
    for manifest in (snapshot(ds), split(ds, seed=3)):
        after = {s.card: s.split for s in Version.open(ws, f"d@{manifest.version}").samples()}
        assert {card: after[card] for card in before} == before
        assert manifest.splits["train"]["cards"] == 28 and len(after) == 40


def test_the_same_shares_are_the_same_however_often_they_were_summed(
    ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import
) -> None:
    shares = (0.7, 0.2, 0.1)  # divided by their sum twice, these differ in the last bit
    split(ds, shares)
    before = {s.card: s.split for s in ds.samples().values()}
    (tmp_path / "more").mkdir()
    bring(yolo({f"i{n}": BOX for n in range(40)}, tmp_path / "more" / "set"))
    snapshot(ds)
    split(ds, shares)
    after = {s.card: s.split for s in ds.samples().values()}
    assert {card: after[card] for card in before} == before


def test_given_splits_are_kept_and_one_card_is_on_one_side(ws: Workspace, ds: Dataset) -> None:
    a, b, *_ = ds.samples().values()
    ds.put_samples(
        [a.model_copy(update={"card": "C", "split": "train"}), b.model_copy(update={"card": "C", "split": "test"})]
    )
    snapshot(ds)
    assert {ds.samples()[s.id].split for s in (a, b)} == {"test"}


def test_open_by_name_and_version(ws: Workspace, ds: Dataset) -> None:
    with pytest.raises(DatasetError) as e:
        Version.open(ws, "d")
    assert e.value.code == "dataset.no_version" and "trugrade data split d" in e.value.what_to_do
    split(ds, seed=0)
    split(ds, seed=1)
    assert Version.open(ws, "d").name == "d@v2" and Version.open(ws, "d@v1").name == "d@v1"
    with pytest.raises(DatasetError, match="no version 'v9'"):
        Version.open(ws, "d@v9")
    with pytest.raises(DatasetError, match="no dataset 'e'"):
        Version.open(ws, "e@v1")


@pytest.mark.parametrize("change", ["label", "split", "row", "junk", "gone"])
def test_a_version_that_was_touched_is_refused(ws: Workspace, ds: Dataset, change: str) -> None:
    snapshot(ds)
    folder = ds.versions_path / "v1"
    path = folder / ("annotations.parquet" if change == "label" else "samples.parquet")
    table = pq.read_table(path)
    if change == "junk":
        path.write_bytes(b"PAR1 junk")
    elif change == "gone":
        path.unlink()
    elif change == "row":
        pq.write_table(table.slice(1), path)
    else:
        changed = table.set_column(
            table.schema.get_field_index(change),
            change,
            pa.array(["test" if change == "split" else "inner"] * len(table)),
        )
        pq.write_table(changed, path)
    with pytest.raises(DatasetError, match="not what it was") as e:
        Version.open(ws, "d")
    assert e.value.code == "dataset.tampered"


def test_classes_are_under_the_digest_too(ws: Workspace, ds: Dataset) -> None:
    snapshot(ds)
    path = ds.versions_path / "v1" / "version.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "classes": manifest["classes"][::-1]}))
    with pytest.raises(DatasetError, match="not what it was"):
        Version.open(ws, "d")


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_a_manifest_of_garbage(ws: Workspace, ds: Dataset, text: str) -> None:
    snapshot(ds)
    (ds.versions_path / "v1" / "version.json").write_text(text)
    with pytest.raises(TruGradeError) as e:
        Version.open(ws, "d")
    assert "version.json" in e.value.where


def test_parquet_written_anew_with_the_same_rows_is_the_same_version(ws: Workspace, ds: Dataset) -> None:
    snapshot(ds)
    path = ds.versions_path / "v1" / "samples.parquet"
    pq.write_table(pq.read_table(path), path, compression="gzip")
    assert Version.open(ws, "d").name == "d@v1"


def test_a_snapshot_cut_off_leaves_no_version(ws: Workspace, ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError):
            versions._write_table(ws.root / "x.parquet", versions.SAMPLES, iter(()))
    (ds.versions_path / ".new-dead").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(OSError):
            snapshot(ds)
    assert ds.versions() == []
    assert snapshot(ds).version == "v1"
    assert sorted(p.name for p in ds.versions_path.iterdir()) == ["v1"], "leftovers are swept"


def test_a_removed_version_gives_its_number_to_nobody_before_it(ds: Dataset) -> None:
    split(ds, seed=0)
    split(ds, seed=1)
    shutil.rmtree(ds.versions_path / "v1")
    assert split(ds, seed=2).version == "v3"


def test_an_empty_dataset(ws: Workspace) -> None:
    empty = Dataset.create(ws, "empty")
    for make in (snapshot, split):
        with pytest.raises(DatasetError, match="no samples") as e:
            make(empty)
        assert "trugrade data import" in e.value.what_to_do


def test_one_sample_and_one_card(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({"C1_a": BOX}), card_pattern="(?P<card>C1)")
    ds = Dataset(ws, "d")
    with pytest.raises(DatasetError, match="all 1 samples are of one card"):
        split(ds)
    found = summary(snapshot(ds))
    assert found["splits"]["train"] == {"samples": 1, "cards": 1, "labelled": 1}
    assert found["notes"] == [
        "val is empty: 1 card(s) do not reach for it",
        "test is empty: 1 card(s) do not reach for it",
    ]
    assert split(ds, (1, 0, 0)).version == "v1", "nothing to split when all are trained on"


def test_all_samples_of_one_card(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({f"C1_{n}": BOX for n in range(5)}), card_pattern="(?P<card>C1)")
    with pytest.raises(DatasetError, match="all 5 samples are of one card"):
        split(Dataset(ws, "d"))
    assert snapshot(Dataset(ws, "d")).splits["train"] == {"samples": 5, "cards": 1, "labelled": 5}


@pytest.mark.parametrize("ratios", [(0, 0, 0), (1, 2), (-1, 1, 1), (float("nan"), 1, 1)])
def test_ratios_that_cannot_be_meant(ds: Dataset, ratios: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="ratios"):
        split(ds, ratios)  # type: ignore[arg-type]


def test_annotation_rows_hold_plain_boxes_for_analysts(ws: Workspace, ds: Dataset) -> None:
    snapshot(ds)
    row = pq.read_table(ds.versions_path / "v1" / "annotations.parquet").to_pylist()[0]
    assert row["type"] == "box" and Box.model_validate(json.loads(row["value"])) == Box(xyxy=(15.5, 11.5, 47.5, 35.5))


def test_labelled_images_are_counted_apart_and_not_under_the_digest(ds: Dataset) -> None:
    manifest = split(ds, (1, 0, 0))
    assert manifest.splits["train"] == {"samples": 20, "cards": 20, "labelled": 18}, "a background is labelled"
    assert (manifest.labelled("train"), manifest.labelled("val")) == (18, 0)
    path = ds.versions_path / "v1" / "version.json"
    old = json.loads(path.read_text())
    old["splits"] = {name: {"samples": n["samples"], "cards": n["cards"]} for name, n in old["splits"].items()}
    path.write_text(json.dumps(old))
    assert Version.open(ds.ws, "d@v1").manifest.labelled("train") == 20, "of before labelled images were counted"
    assert snapshot(ds).version == "v1"


def test_a_damaged_version_blocks_neither_the_others_nor_a_new_one(ws: Workspace, ds: Dataset) -> None:
    split(ds, seed=0)
    split(ds, seed=1)
    bad = ds.versions_path / "v1" / "version.json"
    bad.write_text("{")
    assert Version.open(ws, "d").manifest.version == "v2"
    with pytest.raises(DatasetError, match="manifest") as e:
        Version.open(ws, "d@v1")
    assert e.value.where == str(bad)
    bad = ds.versions_path / "v2" / "version.json"
    bad.write_text(json.dumps(json.loads(bad.read_text()) | {"version": "v9"}))
    with pytest.raises(DatasetError, match="manifest"):
        Version.open(ws, "d")
    assert snapshot(ds).version == "v3"


def test_a_card_that_arrives_while_a_snapshot_looks(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running import adds samples, with splits of their own, between two looks at the dataset."""
    split(ds)
    sample = next(iter(ds.samples().values()))
    late = sample.model_copy(update={"id": "f" * 16, "card": "late", "split": "val"})
    looks = iter([lambda: None, lambda: ds.put_samples([late])])
    index = Dataset.index

    def look(self: Dataset) -> SampleIndex:
        next(looks, lambda: None)()
        return index(self)

    monkeypatch.setattr(Dataset, "index", look)
    manifest = snapshot(ds)
    assert manifest.samples == len(ds.samples()) == 21 and ds.samples()[late.id].split == "val"
