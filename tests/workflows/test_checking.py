"""A check as a person has it: of a dataset, a version or a folder; kept, weighed anew, stale; what stops a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import trugrade_core
from trugrade_core.config import parse_config
from trugrade_core.data.checks import duplicates
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset, annotation_id, put_entry
from trugrade_core.data.versions import Version, snapshot, split
from trugrade_core.errors import ConfigError, DatasetError, UsageError
from trugrade_core.jobs import follow
from trugrade_core.schema import Annotation, Box, ClassDef
from trugrade_core.workflows import checking, training
from trugrade_core.workflows.check_targets import choose_task, find_target, needs_of
from trugrade_core.workflows.leaks import leak_of
from trugrade_core.workspace import Workspace, read_json

FIVE = ["label_consistency", "class_balance", "image_quality", "annotation_coverage", "format_validation"]
BORDERS = ("outer_border", "graphical_border")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten small scans with YOLO boxes of two borders."""
    root = tmp_path / "scans"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    (root / "data.yaml").write_text(f"names: [{', '.join(BORDERS)}]\n")
    for n in range(10):
        rng = np.random.default_rng(n)
        image = rng.integers(0, 255, (98, 70, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"card{n}.png"), image)
        (root / "labels" / f"card{n}.txt").write_text("0 0.5 0.5 0.8 0.8\n1 0.5 0.5 0.6 0.6\n")
    return root


@pytest.fixture
def cards(ws: Workspace, folder: Path) -> Dataset:
    import_dataset(ws, folder, "cards", ImportOptions(dpi=100))
    return Dataset.open(ws, "cards")


def put(ds: Dataset, sample: str, label: str, box: tuple[float, float, float, float]) -> None:
    value = Box(xyxy=box)
    ds.append(
        [
            put_entry(
                Annotation(id=annotation_id(sample, label, value), sample=sample, label=label, value=value),
                who="a",
                tool="t",
            )
        ]
    )


def keys(report: dict[str, Any]) -> set[str]:
    return {f["key"] for f in report["findings"] if f["severity"] != "info" and "accepted" not in f}


# --- shape and target -------------------------------------------------------------------------------------------------


def test_the_validator_answers_with_the_five_keys(ws: Workspace, cards: Dataset, folder: Path) -> None:
    validator = trugrade_core.DatasetValidator(ws)
    for path in ("cards", folder, str(folder)):
        found = validator.validate_dataset(path)
        assert list(found) == FIVE
        assert all(set(row) == {"status", "score", "why", "findings"} for row in found.values())
        assert found["annotation_coverage"]["score"] == 1
    with pytest.raises(DatasetError, match="'nowhere' is neither a dataset of this workspace nor a folder"):
        validator.validate_dataset("nowhere")


def test_a_report_has_the_agreed_shape(ws: Workspace, cards: Dataset) -> None:
    found = checking.check(ws, "cards")
    assert found["verdict"] in ("fit", "reservations", "not_fit")
    assert found["task"] == "border_detection.dual_class" and found["task_from"] == "classes"
    assert list(found["checks"]) == FIVE
    for check in found["checks"].values():
        assert check["status"] in ("ok", "warning", "fail", "not_checked")
        assert check["score"] is None or 0 <= check["score"] <= 1
    for finding in found["findings"]:
        assert {"check", "code", "severity", "samples", "why", "action"} <= set(finding)
        assert finding["check"] in FIVE and finding["why"] and finding["action"]


def test_a_folder_is_checked_as_an_import_would_make_it_and_leaves_nothing(ws: Workspace, folder: Path) -> None:
    (folder / "images" / "broken.png").write_bytes(b"not a picture")
    (folder / "labels" / "card3.txt").write_text("0 0.5 0.5 0.8 0.8\n7 0.5 0.5 0.1 0.1\n")
    found = checking.check(ws, str(folder))
    assert found["samples"] == 10 and found["path"] == str(folder)
    assert "format.skipped" in keys(found) and "coverage.missing_border:graphical_border" in keys(found)
    assert list(ws.datasets.glob("*")) == [] and list(ws.cache.glob("check-*")) == []


def test_a_folder_that_is_no_dataset_is_said_to_be_none(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    found = checking.check(ws, str(tmp_path / "texts"))
    assert found["verdict"] == "not_fit"
    assert {f["code"] for f in found["findings"]} <= {"format.not_recognised", "format.nothing_taken", "format.skipped"}
    assert found["checks"]["annotation_coverage"]["status"] == "not_checked"


def test_an_empty_dataset_is_not_fit_and_says_why(ws: Workspace) -> None:
    Dataset.create(ws, "bare", [ClassDef(name="border")])
    found = checking.check(ws, "bare")
    assert (found["verdict"], found["reason"]) == ("not_fit", "it has no samples")
    assert found["checks"]["label_consistency"]["why"] == "no sample has labels yet"


def test_a_damaged_journal_is_named_and_the_rest_not_guessed(ws: Workspace, cards: Dataset) -> None:
    with cards.samples_path.open("a") as f:
        f.write('{"id": "0123456789abcdef"}\n')
    found = checking.check(ws, "cards")
    assert found["verdict"] == "not_fit" and "line 11 of samples.jsonl" in found["reason"]
    assert [c["status"] for c in found["checks"].values()] == ["not_checked"] * 4 + ["fail"]


def test_a_picture_that_is_gone_is_found_and_the_page_can_still_show_the_rest(
    ws: Workspace, cards: Dataset, tmp_path: Path
) -> None:
    first = next(cards.iter_samples())
    cards.image_path(first).unlink()
    found = checking.check(ws, "cards")
    missing = next(f for f in found["findings"] if f["code"] == "format.missing_file")
    assert missing["samples"] == [first.id]
    page = checking.write_html(ws, "cards", tmp_path / "r.html").read_text()
    assert "cannot be read" in page


def test_the_task_is_the_given_the_datasets_own_or_told_from_the_classes(ws: Workspace, cards: Dataset) -> None:
    assert checking.check(ws, "cards", task="border_detection.single_class", deep=False)["task_from"] == "given"
    with cards.lock():
        cards.note_facts(task="corner_analysis.quality_classification")
    found = checking.check(ws, "cards", deep=False)
    assert (found["task"], found["task_from"]) == ("corner_analysis.quality_classification", "dataset")
    with pytest.raises(UsageError, match="no task 'border'"):
        checking.check(ws, "cards", task="border")
    assert choose_task("", {}, [ClassDef(name="raccoon")]) == (None, "none")
    named = [ClassDef(name="Outer edge"), ClassDef(name="inner frame")]
    task, how = choose_task("", {}, named)
    assert task is not None and (task.id, how) == ("border_detection.dual_class", "classes")
    assert needs_of(task, named).borders == ("Outer edge", "inner frame")


def test_a_dataset_is_found_before_a_folder_of_its_name(
    ws: Workspace, cards: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cards").mkdir()
    assert find_target(ws, "cards").path is None
    assert find_target(ws, "./cards").path == Path("cards")
    with pytest.raises(DatasetError, match="has no version yet"):
        find_target(ws, "cards@v1")


# --- kept -------------------------------------------------------------------------------------------------------------


def test_what_was_found_is_kept_and_says_since_when_it_is_stale(ws: Workspace, cards: Dataset) -> None:
    assert checking.report(ws, "cards") is None
    made = checking.check(ws, "cards", deep=False)
    kept = checking.report(ws, "cards")
    assert kept is not None and kept["stale"] is None
    assert {k: v for k, v in kept.items() if k != "stale"} == {k: v for k, v in made.items() if k != "stale"}
    first = next(cards.iter_samples()).id
    put(cards, first, BORDERS[0], (1, 1, 60, 90))
    later = checking.report(ws, "cards")
    assert later is not None and later["stale"] > made["made"]
    assert checking.check(ws, "cards", deep=False)["stale"] is None


def test_a_version_is_checked_by_itself_and_is_never_stale(ws: Workspace, cards: Dataset) -> None:
    split(cards, (0.6, 0.2, 0.2), 0)
    checking.check(ws, "cards@v1", deep=False)
    first = next(cards.iter_samples()).id
    put(cards, first, BORDERS[1], (-500, -500, -400, -400))
    of_version, of_now = checking.report(ws, "cards@v1"), checking.check(ws, "cards", deep=False)
    assert of_version is not None and of_version["stale"] is None
    assert "label.off_picture:graphical_border" in keys(of_now) - keys(of_version)
    assert checking.tasks_checked(ws, "cards@v1") == ["border_detection.dual_class"]


def test_pictures_and_outlines_for_a_page_are_kept_with_it(ws: Workspace, cards: Dataset) -> None:
    first = next(cards.iter_samples())
    put(cards, first.id, BORDERS[1], (-500, -500, -400, -400))
    shot = checking.check(ws, "cards", deep=False)["shots"][first.id]
    assert (shot["sha256"], shot["width"], shot["height"]) == (first.main.sha256, 70, 98)
    assert [shape[0] for shape in shot["shapes"]].count("graphical_border") == 2


def test_what_stands_open_is_given_by_sample(ws: Workspace, cards: Dataset) -> None:
    first = next(cards.iter_samples()).id
    put(cards, first, BORDERS[1], (-500, -500, -400, -400))
    assert checking.sample_findings(ws, "cards") == []
    checking.check(ws, "cards", deep=False)
    assert (first, "label.off_picture", "error") in checking.sample_findings(ws, "cards")


def test_the_cheap_part_runs_after_an_import_and_never_fails_it(ws: Workspace, cards: Dataset) -> None:
    found = checking.check_after(ws, "cards")
    assert found["verdict"] in ("reservations", "fit") and found["task"] == "border_detection.dual_class"
    kept = checking.report(ws, "cards")
    assert kept is not None and kept["deep"] is False
    assert checking.check_after(ws, "gone")["verdict"] == "not_checked"


def test_a_snapshot_of_very_many_is_not_checked_while_a_person_waits(
    ws: Workspace, cards: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    split(cards, (0.6, 0.2, 0.2), 0)
    monkeypatch.setattr(checking, "AT_ONCE", 9)
    assert checking.check_after(ws, "cards", version="v1")["reason"] == "10 samples take a while"
    assert checking.report(ws, "cards@v1") is None


# --- letting a finding stand --------------------------------------------------------------------------------------------


def test_an_accepted_finding_weighs_no_more_and_stays_in_the_report(
    ws: Workspace, cards: Dataset, tmp_path: Path
) -> None:
    first, second, *_ = (s.id for s in cards.iter_samples())
    for sample in (first, second):
        put(cards, sample, BORDERS[1], (-500, -500, -400, -400))
    with pytest.raises(DatasetError, match="was not checked yet"):
        checking.accept(ws, "cards", "label.off_picture", who="ada", reason="why")
    assert checking.check(ws, "cards", deep=False)["verdict"] == "not_fit"  # on 2 of 10 samples
    partly = checking.accept(ws, "cards", "label.off_picture", who="ada", reason="a test mark", samples=[first])
    left = next(f for f in partly["findings"] if f["code"] == "label.off_picture" and "accepted" not in f)
    assert left["samples"] == [second]
    found = checking.accept(ws, "cards", "label.off_picture:graphical_border", who="ada", reason="a test mark")
    assert "label.off_picture:graphical_border" not in keys(found)
    stands = [f for f in found["findings"] if "accepted" in f]
    assert {a["who"] for f in stands for a in f["accepted"]} == {"ada"}
    assert "Accepted by ada" in checking.write_html(ws, "cards", tmp_path / "r.html").read_text()
    with pytest.raises(UsageError, match=r"'label\.off_picture' is no open finding"):
        checking.accept(ws, "cards", "label.off_picture", who="ada", reason="again")
    back = checking.withdraw(ws, "cards", "label.off_picture:graphical_border", who="ben", reason="no")
    assert back is not None and "label.off_picture:graphical_border" in keys(back)


def test_of_a_folder_nothing_can_be_let_stand(ws: Workspace, folder: Path) -> None:
    checking.check(ws, str(folder), deep=False)
    for act in (checking.accept, checking.withdraw):
        with pytest.raises(UsageError, match="not imported, so nothing of it can be let stand") as e:
            act(ws, str(folder), "image.dpi_missing", who="ada", reason="why")
        assert "trugrade data import" in e.value.what_to_do


def test_a_look_that_reads_no_file_does_not_say_that_files_are_good(ws: Workspace, cards: Dataset) -> None:
    path = cards.image_path(next(cards.iter_samples()), "main")
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert "format.changed_file" in keys(checking.check(ws, "cards"))
    checking.check_after(ws, "cards")  # an import or a snapshot since
    quick = checking.report(ws, "cards")
    assert quick is not None and quick["checks"]["format_validation"]["status"] == "not_checked"
    assert "not read, so a changed byte would not show" in quick["checks"]["format_validation"]["why"]


# --- what stops a training --------------------------------------------------------------------------------------------


@pytest.fixture
def leaky(ws: Workspace, cards: Dataset, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A version in which a card stands in train and test: made by hand, since the lab never divides a card."""
    split(cards, (0.6, 0.2, 0.2), 0)
    opened = Version.open(ws, "cards@v1")
    rows = opened.sample_table.to_pylist()
    for split_name in ("train", "test"):
        next(row for row in rows if row["split"] == split_name)["card"] = "the same card"
    table = type(opened.sample_table).from_pylist(rows, schema=opened.sample_table.schema)
    made = Version(ws, opened.manifest, table, opened.annotation_table)
    monkeypatch.setattr(Version, "open", classmethod(lambda cls, ws, name: made))
    return made


def test_a_card_on_both_sides_stops_the_training_until_it_is_accepted(ws: Workspace, leaky: Version) -> None:
    config = parse_config({"task": "border_detection.dual_class", "dataset": "cards@v1"})
    plan = training.plan(ws, config, random_init=True)
    said = plan.refused["dataset"]["reason"]
    assert "1 card stands in more than one split (the same card)" in said
    assert "trugrade data check cards@v1 --accept leak.card --who NAME --reason 'WHY'" in said
    with pytest.raises(ConfigError, match="stands in more than one split"):
        training.start(ws, config, random_init=True)
    assert not list(ws.runs.glob("*")) if ws.runs.exists() else True
    found = checking.check(ws, "cards@v1", deep=False)
    assert found["verdict"] == "not_fit" and found["rule"].startswith("what is tested on was trained on")
    found = checking.accept(ws, "cards@v1", "leak.card", who="ada", reason="two prints of one design, looked at")
    assert found["verdict"] == "reservations"
    assert "dataset" not in training.plan(ws, config, random_init=True).refused


def test_one_scan_in_two_splits_stops_the_training_once_it_was_looked_at(ws: Workspace, folder: Path) -> None:
    pixels = cv2.imread(str(folder / "images" / "card0.png"))
    cv2.imwrite(str(folder / "images" / "again.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    (folder / "labels" / "again.txt").write_text((folder / "labels" / "card0.txt").read_text())
    import_dataset(ws, folder, "cards", ImportOptions(dpi=100))
    ds = Dataset.open(ws, "cards")
    where = {"again.png": "test", "card0.png": "train", "card1.png": "val"}
    samples = list(ds.iter_samples())
    ds.put_samples([s.model_copy(update={"split": where.get(Path(s.sources[0]).name, "train")}) for s in samples])
    snapshot(ds)
    assert leak_of(Version.open(ws, "cards@v1")) == ""  # nobody has looked at the pictures yet
    found = checking.check(ws, "cards@v1")
    twice = {s.id for s in samples if Path(s.sources[0]).name in ("again.png", "card0.png")}
    leak = next(f for f in found["findings"] if f["code"] == "leak.same_scan")
    assert set(leak["samples"]) == twice and found["verdict"] == "not_fit"
    config = parse_config({"task": "border_detection.dual_class", "dataset": "cards@v1"})
    assert "--accept leak.same_scan" in training.plan(ws, config, random_init=True).refused["dataset"]["reason"]
    checking.accept(ws, "cards@v1", "leak.same_scan", who="ada", reason="a repeat on purpose")
    assert leak_of(Version.open(ws, "cards@v1")) == ""


def test_a_leak_between_samples_of_leaks_that_were_let_stand_stops_the_training(ws: Workspace, folder: Path) -> None:
    """card0 and again0 are one scan, card1 and again1 another; then all four turn out to be one."""
    for n in (0, 1):
        pixels = cv2.imread(str(folder / "images" / f"card{n}.png"))
        cv2.imwrite(str(folder / "images" / f"again{n}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    import_dataset(ws, folder, "cards", ImportOptions(dpi=100))
    ds = Dataset.open(ws, "cards")
    names = {Path(s.sources[0]).stem: s for s in ds.iter_samples()}
    where = {"again0": "test", "again1": "test", "card9": "val"}
    ds.put_samples([s.model_copy(update={"split": where.get(name, "train")}) for name, s in names.items()])
    snapshot(ds)
    checking.check(ws, "cards@v1")
    checking.accept(ws, "cards@v1", "leak.same_scan", who="ada", reason="repeats on purpose")
    assert leak_of(Version.open(ws, "cards@v1")) == ""
    shas = sorted(names[name].images["main"].sha256 for name in ("card0", "again1"))
    store = duplicates.store_path(ws)
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a") as f:
        f.write(f'{{"first": "{shas[0]}", "second": "{shas[1]}", "lies": "same_scan"}}\n')
    said = leak_of(Version.open(ws, "cards@v1"))
    assert "2 pairs of these open" in said and "--accept leak.same_scan" in said


def test_more_leaks_than_are_listed_are_not_offered_to_be_let_stand(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (0, 1):
        pixels = cv2.imread(str(folder / "images" / f"card{n}.png"))
        cv2.imwrite(str(folder / "images" / f"again{n}.png"), pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    import_dataset(ws, folder, "cards", ImportOptions(dpi=100))
    ds = Dataset.open(ws, "cards")
    ds.put_samples(
        [s.model_copy(update={"split": "test" if "again" in s.sources[0] else "train"}) for s in ds.iter_samples()]
    )
    snapshot(ds)
    monkeypatch.setattr(duplicates, "LISTED", 1)
    checking.check(ws, "cards@v1")
    with pytest.raises(UsageError, match="has 1 pair beyond those that are listed"):
        checking.accept(ws, "cards@v1", "leak.same_scan", who="ada", reason="why")
    said = leak_of(Version.open(ws, "cards@v1"))
    assert "2 pairs" in said and "stands open until no more are left" in said and "--accept" not in said


def test_a_finding_is_let_stand_for_the_task_that_was_checked(ws: Workspace, cards: Dataset) -> None:
    border, defects = "border_detection.dual_class", "surface_analysis.defect_detection"
    for task in (border, defects):
        checking.check(ws, "cards", task=task)
    found = checking.accept(ws, "cards", "image.dpi_low", who="ada", reason="borders are coarse", task=border)
    assert "image.dpi_low" not in keys(found)
    other = checking.report(ws, "cards", defects)
    assert other is not None and "image.dpi_low" in keys(other)
    assert not [f for f in other["findings"] if "accepted" in f]
    with pytest.raises(DatasetError, match=f"was accepted for {defects}"):
        checking.withdraw(ws, "cards", "image.dpi_low", who="ada", reason="no", task=defects)
    back = checking.withdraw(ws, "cards", "image.dpi_low", who="ada", reason="no", task=border)
    assert back is not None and "image.dpi_low" in keys(back)


def test_pictures_that_nobody_measured_are_not_said_to_be_good(ws: Workspace, cards: Dataset) -> None:
    quick = checking.check(ws, "cards", deep=False)
    assert quick["checks"]["image_quality"] == {
        "status": "not_checked", "score": None, "why": "10 of 10 pictures were never measured"
    }  # fmt: skip
    whole = checking.check(ws, "cards")
    assert whole["checks"]["image_quality"]["status"] != "not_checked"
    again = checking.check(ws, "cards", deep=False)  # what was measured once counts
    assert again["checks"]["image_quality"]["status"] == whole["checks"]["image_quality"]["status"]


def test_a_clean_version_is_not_stopped(ws: Workspace, cards: Dataset) -> None:
    split(cards, (0.6, 0.2, 0.2), 0)
    assert leak_of(Version.open(ws, "cards@v1")) == ""


# --- the job ------------------------------------------------------------------------------------------------------------


def test_a_check_as_a_job_leaves_its_report(ws: Workspace, cards: Dataset, tmp_path: Path) -> None:
    job = checking.start_check(ws, "cards", html=tmp_path / "r.html", who="ada")
    for _ in follow(job):
        pass
    assert job.status().state == "finished"
    assert job.results()["verdict"] == checking.checked(job)["verdict"]
    assert checking.checked(job) == read_json(job.path / "report.json")
    page = (tmp_path / "r.html").read_text()
    assert "<script" not in page and "http" not in page.replace("https://", "http").split("<body>")[1]
    kept = checking.report(ws, "cards")
    assert kept is not None and kept["deep"]


def test_a_design_on_both_sides_of_a_version_split_by_design_stops_a_training(ws) -> None:
    from trugrade_core.data.store import Dataset
    from trugrade_core.data.versions import Version, snapshot, split
    from trugrade_core.synth import synthesize
    from trugrade_core.workflows.leaks import leak_of

    synthesize(ws, "designs", count=8, seed=2, dpi=60)
    ds = Dataset.open(ws, "designs")
    ds.put_samples([s.model_copy(update={"design": f"design {n % 4}"}) for n, s in enumerate(ds.samples().values())])
    split(ds, (0.5, 0.25, 0.25), by=("design",))
    assert leak_of(Version.open(ws, "designs")) == ""
    held, trained = (next(s for s in ds.iter_samples() if s.split == name) for name in ("test", "train"))
    ds.put_samples([held.model_copy(update={"design": trained.design})])  # its design was wrong
    snapshot(ds)
    said = leak_of(Version.open(ws, "designs"))
    assert f"design {trained.design}" in said and "--accept leak.unit" in said
    for name in ("designs@v2", "designs"):  # what stops a training is no good dataset, and can be let stand as is said
        assert checking.check(ws, name, deep=False)["verdict"] == "not_fit"
    checking.accept(ws, "designs@v2", "leak.unit", who="ada", reason="a repeat on purpose")
    assert leak_of(Version.open(ws, "designs")) == ""
