"""Importing: everything good is taken, everything else is named, twice adds nothing, and a person's work stays."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trugrade_core.data import importing, store
from trugrade_core.data.importing import ImportOptions, ImportReport, import_dataset
from trugrade_core.data.store import Dataset, list_datasets, put_entry
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Box
from trugrade_core.workflows.datasets import preview_import, remove_dataset, start_export, start_import
from trugrade_core.workspace import Workspace

Picture = Callable[..., bytes]
Import = Callable[..., ImportReport]
Put = Callable[[Path, bytes | str], Path]
FULL = "0 0.5 0.5 0.5 0.5\n"


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*")}


def reasons(report: ImportReport) -> str:
    return "\n".join(f"{s.file}: {s.reason}" for s in report.skipped)


# --- what is kept -------------------------------------------------------------------------------------------------


def test_bytes_are_kept_as_given_under_their_sha256(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    data = picture(1, format="JPEG", dpi=(600, 600))
    put(tmp_path / "in/a/scan.JPG", data)
    report = bring(tmp_path / "in")
    (sample,) = Dataset(ws, "d").samples().values()
    assert (report.format, report.images, report.taken, report.annotations) == ("folder", 1, 1, 0)
    assert Dataset(ws, "d").image_path(sample).read_bytes() == data
    assert sample.sources == ("a/scan.JPG",) and sample.status == "unlabelled"
    assert sample.card == sample.id and sample.card_assumed
    assert sample.mm_per_px == pytest.approx(25.4 / 600)


def test_the_same_bytes_twice_are_one_sample_with_both_paths(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    put(tmp_path / "in/a.png", picture(1))
    put(tmp_path / "in/b.png", picture(1))
    report = bring(tmp_path / "in")
    (sample,) = Dataset(ws, "d").samples().values()
    assert (report.images, report.taken) == (1, 2)
    assert sample.sources == ("a.png", "b.png")
    assert any("b.png is a.png" in note for note in report.notes)


def test_the_same_name_in_two_folders_is_two_samples(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    for seed, side in enumerate(("front", "back")):
        put(tmp_path / f"in/images/{side}/card.png", picture(seed))
        put(tmp_path / f"in/labels/{side}/card.txt", f"0 0.5 0.5 0.{seed + 3} 0.5")
    report = bring(tmp_path / "in", classes=("outer",))
    ds = Dataset(ws, "d")
    widths = {
        s.sources[0]: ds.annotations()[s.id][0].value.xyxy[2] - ds.annotations()[s.id][0].value.xyxy[0]
        for s in ds.samples().values()
    }
    assert report.images == 2 and report.skipped == []
    assert widths == {"images/front/card.png": pytest.approx(0.3 * 64), "images/back/card.png": pytest.approx(0.4 * 64)}


@pytest.mark.parametrize("name", ["Pokémon 手札 №1", "x" * 240, "Übergröße", "a b;c'd"])
def test_names_of_any_letters_and_length(ws: Workspace, yolo: Callable[..., Path], bring: Import, name: str) -> None:
    report = bring(yolo({name: FULL}))
    (sample,) = Dataset(ws, "d").samples().values()
    assert sample.sources == (f"images/{name}.png",) and sample.status == "done"
    assert report.annotations == 1 and report.skipped == []


def test_a_name_that_is_no_utf8(ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    put(tmp_path / "in/ok.png", picture(0))
    with open(os.fsencode(tmp_path / "in") + b"/caf\xe9.png", "wb") as f:  # noqa: PTH123
        f.write(picture(1))
    assert bring(tmp_path / "in").images == 2
    assert any("caf�" in s.sources[0] for s in Dataset(ws, "d").samples().values())


def test_composed_and_decomposed_letters_are_the_same_name(yolo: Callable[..., Path], bring: Import) -> None:
    """A label file written on a Mac for an image from elsewhere."""
    root = yolo({"Caf\u00e9": FULL})
    (root / "labels" / "Caf\u00e9.txt").rename(root / "labels" / "Cafe\u0301.txt")
    assert bring(root).annotations == 1


# --- twice, and after a person ------------------------------------------------------------------------------------


def test_importing_twice_adds_nothing(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL + "1 0.5 0.5 0.2 0.2", "b": FULL, "c": None})
    first = bring(root)
    before = {p: p.read_bytes() for p in (ws.root / "datasets").rglob("*.json*")}
    second = bring(root)
    assert (first.images, first.annotations, first.taken) == (3, 3, 3)
    assert (second.images, second.annotations, second.taken) == (0, 0, 3)
    assert before == {p: p.read_bytes() for p in (ws.root / "datasets").rglob("*.json*")}


def test_a_label_that_a_person_moved_or_deleted_does_not_come_back(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    root = yolo({"a": FULL + "1 0.5 0.5 0.2 0.2"})
    bring(root)
    ds = Dataset(ws, "d")
    outer, inner = sorted(ds.log(), key=lambda e: e.label or "", reverse=True)
    moved = ds.annotation(outer.model_dump_json().encode()).model_copy(update={"value": Box(xyxy=(1, 1, 9, 9))})
    gone = inner.model_copy(
        update={"entry": str(store.ULID()), "op": "delete", "label": None, "value": None, "replaces": inner.entry}
    )
    ds.append([put_entry(moved, who="ann", tool="canvas", replaces=outer.entry), gone])
    assert bring(root).annotations == 0
    (left,) = next(iter(ds.annotations().values()))
    assert left.value == Box(xyxy=(1, 1, 9, 9)) and ds.conflicts() == []


def test_labels_beside_older_ones_are_pointed_out(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL, "b": FULL})
    assert not any("already" in note for note in bring(root).notes)
    (root / "labels" / "a.txt").write_text("0 0.5 0.5 0.51 0.51")
    for dry_run in (True, False):
        report = bring(root, dry_run=dry_run)
        assert report.annotations == 1 and any(
            "had labels already" in note and note.endswith(": 1") for note in report.notes
        )


def test_a_state_a_person_set_stays(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL})
    bring(root)
    ds = Dataset(ws, "d")
    (sample,) = ds.samples().values()
    ds.put_samples([sample.model_copy(update={"status": "rescan"})])
    bring(root)
    assert ds.samples()[sample.id].status == "rescan"


def test_labels_that_come_later_make_an_image_done(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": None, "b": FULL})
    bring(root)
    (root / "labels" / "a.txt").write_text(FULL)
    report = bring(root)
    assert (report.images, report.annotations) == (0, 1)
    assert {s.status for s in Dataset(ws, "d").samples().values()} == {"done"}


def test_who_and_tool_are_in_the_log(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({"a": FULL}), who="Ann")
    (entry,) = Dataset(ws, "d").log()
    assert (entry.who, entry.tool, entry.op, entry.replaces) == ("Ann", "import yolo", "put", None)


# --- states -------------------------------------------------------------------------------------------------------


def test_no_label_file_is_unlabelled_an_empty_one_is_background(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    bring(yolo({"none": None, "empty": "", "full": FULL}))
    states = {s.sources[0]: s.status for s in Dataset(ws, "d").samples().values()}
    assert states == {"images/none.png": "unlabelled", "images/empty.png": "done", "images/full.png": "done"}


def test_an_image_whose_labels_were_all_refused_is_no_background(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    bring(yolo({"bad": "99 0.5 0.5 0.5 0.5\n", "half": "99 0.5 0.5 0.5 0.5\n" + FULL}))
    states = {s.sources[0]: s.status for s in Dataset(ws, "d").samples().values()}
    assert states == {"images/bad.png": "unlabelled", "images/half.png": "done"}


# --- bad input ----------------------------------------------------------------------------------------------------


def test_bad_pictures_are_named_and_the_good_ones_taken(
    tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    root = tmp_path / "in"
    put(root / "good.png", picture(0))
    put(root / "one.png", picture(1, (1, 1)))
    put(root / "cut.jpg", picture(2, (300, 300), "JPEG", quality=100)[:1500])
    put(root / "empty.png", b"")
    put(root / "text.png", "this is text")
    put(root / "cmyk.jpg", picture(3, format="JPEG", mode="CMYK"))
    report = bring(root)
    assert (report.images, report.taken) == (3, 3)
    assert {s.file for s in report.skipped} == {"cut.jpg", "empty.png", "text.png"}
    assert "0 bytes" in reasons(report) and "not a picture" in reasons(report) and "cannot be read" in reasons(report)


def test_an_image_above_the_setting_is_refused(yolo: Callable[..., Path], bring: Import) -> None:
    report = bring(yolo({"a": FULL}), max_pixels=64 * 48 - 1)
    assert report.images == 0 and "64 x 48 px, more than the 3,071 px allowed" in reasons(report)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 nan 0.5 0.5 0.5", "not a number"),
        ("0 0.5 inf 0.5 0.5", "not a number"),
        ("0 0.5 0.5 -0.2 0.2", "no area"),
        ("0 0.5 0.5 0 0.2", "no area"),
        ("0 1.5 0.5 0.2 0.2", "outside the image"),
        ("0 -0.5 -0.5 0.2 0.2", "outside the image"),
        ("99 0.5 0.5 0.2 0.2", "class 99"),
        ("-1 0.5 0.5 0.2 0.2", "class -1"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5"),
        ("nan 0.5 0.5 0.2 0.2", "class nan"),
        ("outer 0.5 0.5 0.2 0.2", "not a row of numbers"),
        ("0 0.5 0.5", "2 numbers"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "no area"),
        ("0 0.1 0.1 nan 0.1 0.1 0.5", "not a number"),
        ("0 1.1 0.1 1.2 0.1 1.1 0.5", "outside the image"),
    ],
)
def test_a_bad_yolo_line_is_named_and_the_next_one_taken(
    yolo: Callable[..., Path], bring: Import, line: str, words: str
) -> None:
    report = bring(yolo({"a": f"{line}\n{FULL}"}))
    assert report.annotations == 1
    (skip,) = report.skipped
    assert skip.file == "labels/a.txt" and "line 1" in skip.reason and words in skip.reason


def test_a_box_rounded_past_the_edge_is_put_back_with_a_note(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    report = bring(yolo({"a": "0 0.5 0.5 1.01 1.01\n"}))
    (found,) = next(iter(Dataset(ws, "d").annotations().values()))
    assert found.value == Box(xyxy=(-0.5, -0.5, 63.5, 47.5))
    assert report.skipped == [] and any("less than a pixel" in note for note in report.notes)


def test_of_a_box_that_leaves_the_image_the_inside_is_taken_and_said(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    report = bring(yolo({"a": "0 0 0.5 0.5 0.5\n"}))
    (found,) = next(iter(Dataset(ws, "d").annotations().values()))
    assert found.value == Box(xyxy=(-0.5, 11.5, 15.5, 35.5))
    assert "reaches 16.0 px outside" in reasons(report)


def test_a_polygon_is_cut_at_the_edge(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    report = bring(yolo({"a": "0 -0.5 0.25 0.5 0.25 0.5 0.75 -0.5 0.75\n"}))
    (found,) = next(iter(Dataset(ws, "d").annotations().values()))
    xy = np.array(found.value.points)
    assert xy.min(axis=0).tolist() == [-0.5, 11.5] and xy.max(axis=0).tolist() == [31.5, 35.5]
    assert "the polygon reaches 32.0 px" in reasons(report)


def test_a_label_for_no_image(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL})
    (root / "labels" / "ghost.txt").write_text(FULL)
    report = bring(root)
    assert report.annotations == 1 and "labels/ghost.txt: label for an image that is not there" in reasons(report)


def test_labels_of_a_damaged_image_are_named_too(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL, "b": FULL})
    (root / "images" / "a.png").write_bytes(b"")
    report = bring(root)
    assert report.annotations == 1 and "its labels were left out" in reasons(report)


def test_an_unknown_class_is_named(coco: Callable[..., Path], bring: Import) -> None:
    root = coco(
        [
            {"image_id": 0, "category_id": 0, "bbox": [1, 1, 9, 9]},
            {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]},
        ]
    )
    report = bring(root, classes=("outer",))
    assert report.annotations == 1 and "class 'inner' is not among outer" in reasons(report)
    assert report.classes == {1: "outer"}


def test_two_images_that_share_a_label_file(tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    for seed, name in enumerate(("a.png", "a.jpg")):
        put(tmp_path / "in/images" / name, picture(seed))
    put(tmp_path / "in/images/b.png", picture(5))
    put(tmp_path / "in/labels/a.txt", FULL)
    put(tmp_path / "in/labels/b.txt", FULL)
    report = bring(tmp_path / "in", classes=("outer",))
    assert report.images == 3 and report.annotations == 1 and "2 images could be meant" in reasons(report)


def test_loops_of_links_end(tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    root = tmp_path / "in"
    put(root / "deep/a.png", picture(0))
    (root / "deep/up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone.png").symlink_to(root / "nothing.png")
    report = bring(root)
    assert report.images == 1
    assert {s.file for s in report.skipped} == {"self", "gone.png"}


def test_a_linked_folder_is_followed(tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    put(tmp_path / "elsewhere/a.png", picture(0))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "elsewhere")
    assert bring(tmp_path / "in").images == 1


# --- zip ----------------------------------------------------------------------------------------------------------


def test_a_zip_is_read_and_what_leads_out_of_it_is_refused(
    ws: Workspace, tmp_path: Path, picture: Picture, bring: Import
) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("set/images/a.png", picture(0))
        z.writestr("set/labels/a.txt", FULL)
        z.writestr("set/data.yaml", "names: {0: outer}")
        z.writestr("../evil.png", picture(1))
        z.writestr("/abs.png", picture(2))
        z.writestr("set/..\\..\\win.png", picture(3))
        z.writestr("__MACOSX/._a.png", b"junk")
        z.writestr("set/" + "long" * 100 + ".png", picture(4))
    before = files(tmp_path) - files(ws.root)
    report = bring(path)
    assert (report.images, report.annotations) == (2, 1)
    assert sum("leads out of the archive" in s.reason for s in report.skipped) == 3 == len(report.skipped)
    assert not (tmp_path.parent / "evil.png").exists()
    assert {f for f in files(tmp_path) if not f.startswith("workspace")} == {
        f for f in before if not f.startswith("workspace")
    }


def test_a_zip_with_labels_named_inside(tmp_path: Path, picture: Picture, bring: Import) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("images/a.png", picture(0))
        z.writestr("labels_one/a.txt", FULL)
        z.writestr("labels_two/a.txt", FULL + "1 0.5 0.5 0.2 0.2")
    assert bring(path, labels="labels_two", classes=("outer", "inner")).annotations == 2


def test_broken_zips(tmp_path: Path, picture: Picture, put: Put, bring: Import) -> None:
    with pytest.raises(DatasetError, match="not a readable zip"):
        bring(put(tmp_path / "bad.zip", b"PK\3\4 not really"))
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a.png", picture(0))
        z.writestr("b.png", picture(1))
    data = bytearray(path.read_bytes())
    at = data.find(b"b.png") + 20
    data[at : at + 4] = b"\xff\xfe\xfd\xfc"
    report = bring(put(path, bytes(data)))
    assert report.images == 1 and "b.png" in reasons(report)


# --- what is not a dataset ----------------------------------------------------------------------------------------


def test_nothing_there(tmp_path: Path, ws: Workspace, bring: Import) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        bring(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no picture here\. Found: nothing"):
        bring(tmp_path / "empty")
    assert list_datasets(ws) == []


def test_an_unrecognised_folder_says_what_is_there_missing_and_nearest(
    tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    put(tmp_path / "in/a.png", picture(0))
    put(tmp_path / "in/a.json", '{"shapes": []}')
    with pytest.raises(DatasetError) as e:
        bring(tmp_path / "in")
    assert "1 images" in e.value.message and "1 .json" in e.value.message
    assert "Nearest: coco" in e.value.message and "images, annotations, categories" in e.value.message
    assert "--format folder" in e.value.what_to_do
    assert bring(tmp_path / "in", format="folder").images == 1


def test_labels_without_their_images(tmp_path: Path, put: Put, bring: Import) -> None:
    put(tmp_path / "in/labels/a.txt", FULL)
    with pytest.raises(DatasetError, match="Nearest: yolo"):
        bring(tmp_path / "in")


def test_several_kinds_of_labels_must_be_chosen_from(
    tmp_path: Path, yolo: Callable[..., Path], put: Put, bring: Import
) -> None:
    root = yolo({"a": FULL})
    put(root / "labels_other/a.txt", FULL)
    with pytest.raises(DatasetError, match="--labels labels \\| labels_other"):
        bring(root)
    assert bring(root, labels="labels_other", classes=("outer",)).annotations == 1


def test_unknown_format_and_missing_labels(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL})
    with pytest.raises(UsageError) as e:
        bring(root, format="yoloo")
    assert "did you mean 'yolo'" in e.value.what_to_do
    with pytest.raises(DatasetError, match="no such label file") as f:
        bring(root, labels="lables")
    assert "did you mean 'labels'" in f.value.what_to_do


def test_class_numbers_without_names(yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL})
    (root / "data.yaml").unlink()
    with pytest.raises(DatasetError, match="nothing here names them") as e:
        bring(root)
    assert "--classes" in e.value.what_to_do


# --- dry run, progress, several at once ---------------------------------------------------------------------------


def test_a_dry_run_reports_the_same_and_writes_nothing(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"a": FULL, "b": "99 0 0 0 0", "c": None})
    before = files(ws.root)
    dry = bring(root, dry_run=True)
    assert files(ws.root) == before
    assert dry == bring(root)
    later = bring(root, dry_run=True)
    assert (later.images, later.annotations) == (0, 0)


def test_progress_counts_every_image(ws: Workspace, yolo: Callable[..., Path]) -> None:
    seen: list[tuple[int, int]] = []
    root = yolo({f"i{n}": FULL for n in range(7)})
    import_dataset(ws, root, "d", ImportOptions(), progress=lambda done, total, text: seen.append((done, total)))
    assert seen == [(n, 7) for n in range(1, 8)]


def run_import(workspace: Path, source: Path) -> None:
    import_dataset(Workspace(workspace), source, "d", ImportOptions())


def test_two_processes_import_at_once(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({f"i{n}": FULL + "1 0.5 0.5 0.2 0.2" for n in range(30)})
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=run_import, args=(ws.root, root)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ds = Dataset(ws, "d")
    assert [w.exitcode for w in workers] == [0, 0]
    assert len(ds.samples()) == 30 and sum(1 for _ in ds.log()) == 60 and ds.conflicts() == []


def die_at_eleven(workspace: Path, source: Path) -> None:
    importing.BATCH = 4

    def progress(done: int, total: int, text: str) -> None:
        if done == 11:
            os._exit(9)

    import_dataset(Workspace(workspace), source, "d", ImportOptions(), progress=progress)


def test_an_import_that_died_goes_on_where_it_was(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({f"i{n:02}": FULL for n in range(20)})
    worker = multiprocessing.get_context("spawn").Process(target=die_at_eleven, args=(ws.root, root))
    worker.start()
    worker.join()
    ds = Dataset(ws, "d")
    done = ds.samples()
    assert worker.exitcode == 9 and len(done) == 8
    assert {s.id for s in done.values() if s.status == "done"} == set(ds.annotations()), (
        "no sample is done without its labels"
    )
    report = bring(root)
    assert (report.images, report.annotations, len(ds.samples())) == (12, 12, 20) and ds.conflicts() == []


def test_a_full_disk_is_named(
    ws: Workspace, yolo: Callable[..., Path], bring: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    root = yolo({"a": FULL})
    with monkeypatch.context() as patch:
        patch.setattr(importing, "_store", full)
        with pytest.raises(DatasetError, match="No space left on device") as e:
            bring(root)
    assert e.value.code == "dataset.cannot_write"
    assert bring(root).images == 1


def test_a_store_file_cut_by_a_power_loss_is_written_again(
    ws: Workspace, yolo: Callable[..., Path], bring: Import
) -> None:
    root = yolo({"a": FULL})
    bring(root)
    ds = Dataset(ws, "d")
    path = ds.image_path(next(iter(ds.samples().values())))
    whole = path.read_bytes()
    path.write_bytes(whole[:10])
    bring(root)
    assert path.read_bytes() == whole


# --- classes ------------------------------------------------------------------------------------------------------


def test_mapping_of_names(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    report = bring(yolo({"a": FULL + "1 0.5 0.5 0.2 0.2"}), mapping={"outer": "border", "inner": "border", "nope": "x"})
    assert report.classes == {1: "border"} and report.annotations == 2
    assert any("no class 'nope'" in note for note in report.notes)


def test_classes_keep_their_ids_when_more_come(yolo: Callable[..., Path], tmp_path: Path, bring: Import) -> None:
    bring(yolo({"a": FULL}))
    other = yolo({"b": "2 0.5 0.5 0.2 0.2"}, tmp_path / "other")
    (other / "data.yaml").write_text("names: [inner, stain, outer]")
    report = bring(other)
    assert report.classes == {1: "outer", 2: "inner", 3: "stain"}
    assert any("1 outer, 2 inner" in note for note in report.notes)


def test_given_classes_rename_by_order_when_no_name_agrees(coco: Callable[..., Path], bring: Import) -> None:
    report = bring(coco([{"image_id": 0, "category_id": 1, "bbox": [1, 1, 9, 9]}]), classes=("card", "frame"))
    assert report.classes == {1: "card", 2: "frame"} and report.annotations == 1
    assert any("outer is card, inner is frame" in note for note in report.notes)


def test_class_shapes_are_those_of_the_first_label(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({"a": "1 0.1 0.1 0.9 0.1 0.9 0.9\n", "b": FULL}))
    assert [(c.name, c.shape) for c in Dataset(ws, "d").classes] == [("outer", "box"), ("inner", "polygon")]


# --- cards --------------------------------------------------------------------------------------------------------


def test_facts_from_a_table(ws: Workspace, yolo: Callable[..., Path], put: Put, bring: Import) -> None:
    root = yolo({"a": FULL, "b": FULL, "c": FULL})
    cards = put(
        root / "cards.csv",
        "file;card;design;session;side;origin;dpi;colour\n"
        "images/a.png;C1;1989;S1;front;REAL;1200;red\nb.png;C1;1989;S1;back;SYNTHETIC;;\n"
        "ghost.png;C9;;;;;;\nc.png;;;;;martian;many;\n",
    )
    report = bring(root, cards=cards)
    by_name = {s.sources[0]: s for s in Dataset(ws, "d").samples().values()}
    a, b, c = (by_name[f"images/{n}.png"] for n in "abc")
    assert (a.card, a.card_assumed, a.design, a.session, a.side, a.origin, a.dpi) == (
        "C1",
        False,
        "1989",
        "S1",
        "front",
        "real",
        1200,
    )
    assert (b.card, b.side, b.origin, b.dpi) == ("C1", "back", "synthetic", None)
    assert c.card_assumed and c.origin == "real"
    text = reasons(report)
    assert "ghost.png" in text and "martian" in text and "dpi 'many'" in text
    assert any("colour" in note for note in report.notes) and report.format == "yolo"


def test_facts_from_names(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    bring(yolo({"C7_front": FULL, "C7_back": FULL, "odd": FULL}), card_pattern=r"(?P<card>C\d+)_(?P<side>front|back)")
    samples = Dataset(ws, "d").samples().values()
    assert sorted((s.card, s.side) for s in samples if not s.card_assumed) == [("C7", "back"), ("C7", "front")]
    assert sum(s.card_assumed for s in samples) == 1


@pytest.mark.parametrize("pattern", ["(", "abc", "(?P<crad>x)"])
def test_unusable_patterns(yolo: Callable[..., Path], bring: Import, pattern: str) -> None:
    with pytest.raises(UsageError):
        bring(yolo({"a": FULL}), card_pattern=pattern)


def test_cards_given_later_replace_assumed_ones(ws: Workspace, yolo: Callable[..., Path], bring: Import) -> None:
    root = yolo({"C1_x": FULL})
    bring(root, dpi=600)
    bring(root, card_pattern="(?P<card>C1)", origin="synthetic")
    bring(root)
    (sample,) = Dataset(ws, "d").samples().values()
    assert (sample.card, sample.card_assumed, sample.origin, sample.dpi) == ("C1", False, "synthetic", 600)


def test_an_origin_that_is_said_counts_also_when_it_is_real(
    ws: Workspace, yolo: Callable[..., Path], put: Put, bring: Import
) -> None:
    root = yolo({"a": FULL, "b": FULL})
    bring(root, origin="synthetic")
    bring(root, cards=put(root / "cards.csv", "file,origin,card\na.png,real,C1\nb.png,,C2\n"))
    samples = Dataset(ws, "d").samples().values()
    assert {s.sources[0]: s.origin for s in samples} == {"images/a.png": "real", "images/b.png": "synthetic"}


def test_a_cards_file_that_is_none(yolo: Callable[..., Path], tmp_path: Path, put: Put, bring: Import) -> None:
    root = yolo({"a": FULL})
    with pytest.raises(DatasetError, match="needs file"):
        bring(root, cards=put(tmp_path / "cards.csv", "name,set\nx,y\n"))
    with pytest.raises(DatasetError, match="cannot be read"):
        bring(root, cards=tmp_path / "none.csv")


def test_options_refuse_nonsense() -> None:
    for wrong in ({"origin": "moon"}, {"colour": 1}):
        with pytest.raises(ValueError):
            ImportOptions(**wrong)
    for dpi in (-1, 0.99, float("nan"), float("inf"), 100_000):
        with pytest.raises(UsageError, match="dots per inch"):
            ImportOptions(dpi=dpi)
    assert ImportOptions(dpi=1).dpi == 1


def test_the_report_is_what_the_command_line_prints(yolo: Callable[..., Path], bring: Import) -> None:
    found: dict[str, Any] = json.loads(json.dumps(bring(yolo({"a": "9 1 1 1 1"})).as_json()))
    assert found.keys() >= {"dataset", "images", "annotations", "taken", "skipped", "format", "notes", "classes"}
    assert found["skipped"][0].keys() == {"file", "reason"} and found["classes"] == {"1": "outer", "2": "inner"}


def test_a_dataset_removed_during_an_import_ends_it(
    ws: Workspace, yolo: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    source = yolo({"a": FULL, "b": FULL})

    def remove(done: int, total: int, text: str) -> None:
        if done == 2:
            remove_dataset(ws, "d")

    with pytest.raises(DatasetError, match="was removed"):
        import_dataset(ws, source, "d", ImportOptions(), progress=remove)
    assert not (ws.datasets / "d").exists() and list(ws.root.glob("trash/*/datasets/d/dataset.json"))


def test_a_folder_whose_name_is_no_utf8_is_refused_in_words(
    ws: Workspace, tmp_path: Path, picture: Picture, put: Put, bring: Import
) -> None:
    """Such names inside a folder are read (above); a job's file cannot hold one. A link to the folder is the way."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Tr\xe4ume"))
    put(folder / "a.png", picture(0))
    for use in (
        lambda: start_import(ws, folder, "d", ImportOptions()),
        lambda: preview_import(ws, folder, "d", ImportOptions()),
        lambda: start_import(ws, tmp_path, "d", ImportOptions(cards=folder / "cards.csv")),
        lambda: start_export(ws, "d", "coco", folder / "out"),
    ):
        with pytest.raises(DatasetError, match="no UTF-8") as e:
            use()
        assert e.value.where.startswith(str(tmp_path / "Tr\ufffdume")) and "ln -s" in e.value.what_to_do
    assert not ws.jobs.exists()
    (tmp_path / "link").symlink_to(folder)
    assert preview_import(ws, tmp_path / "link", "d", ImportOptions())["taken"] == 1
