"""Two versions side by side: what came, went, was relabelled, by how many px and mm, and changed its split."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trugrade_core.data import diff as data_diff
from trugrade_core.data.diff import diff, displacement, distances, now_side, side, words
from trugrade_core.data.importing import ImportReport
from trugrade_core.data.rle import encode
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import snapshot, split
from trugrade_core.errors import DatasetError
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, Polygon, Sample, Score, Tags, digest
from trugrade_core.workspace import Workspace

Import = Callable[..., ImportReport]
BOX = "0 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def ds(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> Dataset:
    """Twelve images with a box each, at 254 dpi: 0.1 mm a px; kept as v1."""
    bring(yolo({f"i{n}": BOX for n in range(12)}), dpi=254)
    ds = Dataset(ws, "d")
    split(ds)
    return ds


def first(ds: Dataset) -> tuple[Annotation, str]:
    """The first sample's annotation and its entry."""
    entry = next(iter(ds.log()))
    assert entry.value is not None
    return Annotation(id=entry.annotation, sample=entry.sample, label=entry.label, value=entry.value), entry.entry


def say(ds: Dataset, annotation: Annotation, replaces: str | None = None) -> None:
    ds.append([put_entry(annotation, who="ann", tool="canvas", replaces=replaces)])


def changes(ds: Dataset, ws: Workspace) -> list[dict[str, object]]:
    (row,) = diff(side(ws, "d@v1"), now_side(ds))["relabelled"]
    return row["annotations"]  # type: ignore[no-any-return]


def test_nothing_changed(ws: Workspace, ds: Dataset) -> None:
    found = diff(side(ws, "d@v1"), side(ws, "d@now"))
    assert found["same"] and found["from"] == "d@v1" and found["to"] == "d@now"
    assert found["counts"] == {"added": 0, "removed": 0, "relabelled": 0, "split_changed": 0, "facts_changed": 0, "annotations": {}}  # fmt: skip


def test_samples_that_came_and_went_and_changed_their_split(ws: Workspace, ds: Dataset, yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:  # fmt: skip
    a, b, c, *_ = ds.samples().values()
    other = "val" if b.split != "val" else "test"
    ds.put_samples([a.model_copy(update={"excluded": "blurred"}), b.model_copy(update={"split": other}),
                    c.model_copy(update={"design": "Charizard", "tags": ("look",)})])  # fmt: skip
    bring(yolo({f"i{n}": None for n in range(13)}, tmp_path / "more"))
    snapshot(ds)
    found = diff(side(ws, "d@v1"), side(ws, "d@v2"))
    assert [row["sample"] for row in found["removed"]] == [a.id]
    (added,) = found["added"]
    assert (added["file"], added["annotations"]) == ("images/i12.png", 0)
    (moved,) = found["split_changed"]
    assert (moved["sample"], moved["was"], moved["now"]) == (b.id, b.split, other)
    assert found["facts_changed"][0]["fields"] == ["design", "tags"]
    assert found["relabelled"] == [] and not found["same"]
    back = diff(side(ws, "d@v2"), side(ws, "d@v1"))
    assert (back["counts"]["added"], back["counts"]["removed"]) == (1, 1), "the other way round"


def test_a_box_that_moved_says_by_how_much(ws: Workspace, ds: Dataset) -> None:
    annotation, entry = first(ds)
    assert annotation.value == Box(xyxy=(15.5, 11.5, 47.5, 35.5))
    say(ds, annotation.model_copy(update={"value": Box(xyxy=(15.5, 11.5, 50.5, 35.5))}), entry)
    (change,) = changes(ds, ws)
    assert (change["change"], change["moved_px"], change["moved_mm"]) == ("changed", 3.0, 0.3)
    assert words(change) == "outer moved by 3 px (0.3 mm)"


def test_a_class_that_changed_and_what_was_added_and_removed(ws: Workspace, ds: Dataset) -> None:
    annotation, entry = first(ds)
    say(ds, annotation.model_copy(update={"label": "inner", "attributes": {"severity": "minor"}}), entry)
    say(ds, annotation.model_copy(update={"id": "new", "label": "outer", "value": Box(xyxy=(0, 0, 3, 3))}))
    by_change = {c["change"]: c for c in changes(ds, ws)}
    assert words(by_change["changed"]) == "inner was outer, severity: None is now minor"
    assert words(by_change["added"]) == "outer added"
    ds.append([put_entry(annotation, who="a", tool="cli", replaces=next(e.entry for e in ds.log() if e.label == "inner")).model_copy(
        update={"op": "delete", "value": None, "label": None})])  # fmt: skip
    assert {words(c) for c in changes(ds, ws)} == {"outer removed", "outer added"}


def test_a_shape_drawn_anew_in_the_same_place_is_the_same_one(ws: Workspace, ds: Dataset) -> None:
    annotation, entry = first(ds)
    ds.append([put_entry(annotation, who="a", tool="cli", replaces=entry).model_copy(update={"op": "delete", "value": None})])  # fmt: skip
    say(ds, annotation.model_copy(update={"id": "other", "value": Polygon(points=((15.5, 11.5), (47.5, 11.5), (47.5, 37.5), (15.5, 35.5)))}))  # fmt: skip
    (change,) = changes(ds, ws)
    assert change["moved_px"] == pytest.approx(2.0, abs=0.01) and change["kind_was"] == "box"


def test_masks_scores_and_tags(ws: Workspace, ds: Dataset) -> None:
    small, large = np.zeros((48, 64), bool), np.zeros((48, 64), bool)
    small[10:20, 10:20], large[10:20, 10:30] = True, True
    sample = first(ds)[0].sample
    old = [encode(small), Score(score=9.0), Tags(tags=("worn", "dent"))]
    new = [encode(large), Score(score=8.5), Tags(tags=("worn", "é"))]
    for n, value in enumerate(old):
        say(ds, Annotation(id=f"x{n}", sample=sample, label="outer" if n == 0 else None, value=value))
    snapshot(ds)
    heads = {e.annotation: e.entry for e in ds.log()}
    for n, value in enumerate(new):
        say(ds, Annotation(id=f"x{n}", sample=sample, label="outer" if n == 0 else None, value=value), heads[f"x{n}"])
    (row,) = diff(side(ws, "d@v2"), now_side(ds))["relabelled"]
    mask, score, tags = row["annotations"]
    assert (mask["pixels"], mask["pixels_mm2"]) == (100, 1.0)
    assert score["score"] == [9.0, 8.5] and tags["tags"] == {"added": ["é"], "removed": ["dent"]}
    assert [words(c) for c in (mask, score, tags)] == [
        "outer 100 pixels differ", "score 9 is now 8.5", "tags é added, dent removed"]  # fmt: skip


def test_statuses_and_classes(ws: Workspace, ds: Dataset) -> None:
    sample = next(iter(ds.samples().values()))
    ds.put_samples([sample.model_copy(update={"status": "rescan"})])
    with ds.lock():
        ds.note_facts(classes=[{"name": "inner", "shape": "mask"}, {"name": "scratch", "shape": "polygon"}])
    found = diff(side(ws, "d@v1"), now_side(ds))
    assert found["relabelled"][0]["status"] == ["done", "rescan"] and found["relabelled"][0]["annotations"] == []
    assert found["classes"] == {"added": ["scratch"], "removed": ["outer"], "reordered": False,
                                "reshaped": [{"class": "inner", "was": "box", "now": "mask"}]}  # fmt: skip


def test_displacement_is_seen_from_both_sides() -> None:
    square = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], float)
    assert displacement(square, square + np.array([2, 0])) == pytest.approx(2)
    assert displacement(square, np.roll(square, 1, axis=0)[::-1]) == pytest.approx(0), "where it starts says nothing"
    spike = np.array([(0, 0), (10, 0), (10, 10), (5, 30), (0, 10)], float)
    assert displacement(square, spike) == displacement(spike, square) == pytest.approx(20)


def test_distances_are_the_same_however_few_are_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    points, outlines = rng.normal(size=(50, 2)), [rng.normal(size=(7, 2)), rng.normal(size=(4, 2))]
    whole = distances(points, outlines)
    monkeypatch.setattr(data_diff, "AT_ONCE", 30)
    assert whole.shape == (50,) and np.array_equal(whole, distances(points, outlines))


def test_what_is_not_there_or_not_what_it_was(ws: Workspace, ds: Dataset) -> None:
    with pytest.raises(DatasetError, match="no version 'v7'"):
        side(ws, "d@v7")
    with pytest.raises(DatasetError, match="no dataset 'e'"):
        side(ws, "e@now")
    (ds.versions_path / "v1" / "samples.parquet").write_bytes(b"junk")
    with pytest.raises(DatasetError, match="not what it was"):
        side(ws, "d@v1")


@pytest.mark.slow
def test_ten_thousand_samples(ws: Workspace) -> None:
    """The time of comparing alone grows with the samples, not faster: a tenth of them takes about a tenth."""

    def made(count: int) -> float:
        ds = Dataset.create(ws, f"n{count}", [ClassDef(name="outer")])
        ids = [digest([count, n])[:16] for n in range(count)]
        ds.put_samples(
            Sample(id=id, images={"main": ImageRef(sha256=digest(id), suffix=".png", width=9, height=9, bytes=1)},
                   card=id, split="train", status="done") for id in ids)  # fmt: skip
        ds.append(put_entry(Annotation(id=id, sample=id, label="outer", value=Box(xyxy=(0, 0, 5, 5))), who="a", tool="import") for id in ids)  # fmt: skip
        snapshot(ds)
        heads = {e.annotation: e.entry for e in ds.log()}
        ds.append(put_entry(Annotation(id=id, sample=id, label="outer", value=Box(xyxy=(0, 0, 5, 6))), who="a", tool="cli", replaces=heads[id]) for id in ids[::10])  # fmt: skip
        snapshot(ds)
        a, b = side(ws, f"{ds.name}@v1"), side(ws, f"{ds.name}@v2")
        began = time.perf_counter()
        found = diff(a, b)
        assert found["counts"]["relabelled"] == count // 10
        return time.perf_counter() - began

    assert made(10_000) < 30 * made(1000)
