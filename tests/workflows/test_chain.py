"""From cards to a judged, exported model, through the functions that page and command line call, as real processes."""

from __future__ import annotations

import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from trugrade_core import DistributedTrainer, ModelExporter
from trugrade_core.catalog.fold import publish
from trugrade_core.catalog.query import run_sql
from trugrade_core.config import RunConfig, parse_config
from trugrade_core.data.versions import Version
from trugrade_core.errors import ConfigError, ExportError, NotInThisVersion, TrainingError, TruGradeError
from trugrade_core.jobs import follow, wait
from trugrade_core.machine import Machine
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Prediction
from trugrade_core.synth import synthesize
from trugrade_core.train.plan import RunPlan
from trugrade_core.worker import Cancelled
from trugrade_core.workflows import datasets, evaluating, exporting, overview, training
from trugrade_core.workflows.jobs import Job
from trugrade_core.workspace import Workspace, read_json

TASK = "border_detection.dual_class"


def small(**keys: object) -> RunConfig:
    """A real light model, as small and short as it goes."""
    return parse_config(
        {
            "task": TASK,
            "dataset": "cards",
            "architecture_config": {"base_architecture": "mask_rcnn"},
            "hyperparameters": {"optimization": {"batch_size": 2}, "training_process": {"epochs": 1}},
            "data": {"image_size": 64},
            "machine": {"threads": 1},
            **keys,
        }
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Workspace:
    ws = Workspace.open(tmp_path_factory.mktemp("lab") / "workspace")
    synthesize(ws, "cards", count=12, seed=1, dpi=60)
    datasets.split_dataset(ws, "cards", ratios=(0.5, 0.25, 0.25))
    return ws


@pytest.fixture(scope="module")
def run(lab) -> RunFolder:
    folder = training.start(lab, small(), who="ada")
    status = wait(folder)
    assert status.state == "finished", (status, folder.log.read_text())
    return folder


def test_a_run_folder_is_alone_enough(lab, run) -> None:
    assert {"job.json", "config.yaml", "plan.json", "environment.json", "changes.patch", "events.jsonl",
            "log.txt", "checkpoints"} <= {path.name for path in run.path.iterdir()}  # fmt: skip
    assert overview.run_config(run).dataset == "cards@v1"
    row = overview.run_row(run)
    assert (row["state"], row["architecture"], row["main_metric_name"]) == (
        "finished",
        "mask_rcnn_efficientnet_lite0",
        "side_error_mm",
    )
    found = training.outcome(run)
    assert found["epochs"] == 1 and found["metrics"]["side_error_mm"] > 0
    assert any("trugrade" in line and "--set machine.threads=1" in line for line in overview.repro(run))


def test_it_is_judged_beside_the_constant_box(lab, run) -> None:
    folder = evaluating.start_evaluation(lab, "latest", split="test")
    assert wait(folder).state == "finished", folder.log.read_text()
    found = evaluating.evaluation(lab, run.id, "test")
    names = {"box_map", "box_ap50", "box_ap75", "mask_map", "mask_ap50", "mask_ap75", "f1", "side_error_px", "side_error_mm",
             "side_error_mm_p95", "side_error_mm_shifted", "card_accuracy"}  # fmt: skip
    assert names <= set(found["metrics"]) and names <= set(found["baseline"])
    assert set(found["metrics"]["side_error_mm"]) >= {"value", "low", "high", "n_cards"}
    assert found["metrics"]["side_error_mm"]["n_cards"] == 3
    assert found["verdict"]["better"] is False, "one epoch at 64 px cannot beat the constant box"
    with pytest.raises(TrainingError, match="has not been evaluated on val"):
        evaluating.evaluation(lab, run.id, "val")


def test_it_is_tried_out_on_images(lab, run, tmp_path) -> None:
    version = Version.open(lab, "cards")
    image = version.image_path(version.samples("test")[0])
    found = evaluating.predict(lab, run.id, image, threshold=0.0, overlays=tmp_path)
    (row,) = found["predictions"]
    assert {"image", "seconds", "labels", "scores", "box"} <= set(row)
    assert len(row["box"]) == len(row["scores"]) == len(row["labels"])
    assert [p.suffix for p in tmp_path.iterdir()] == [".png"]
    bad = tmp_path / "scan.png"
    bad.write_text("not an image")
    with pytest.raises(TruGradeError, match=r"not|image"):
        evaluating.predict(lab, run.id, bad)


def test_it_stands_in_the_catalog(lab, run) -> None:
    publish(lab, wait=True)
    (row,) = run_sql(lab, f"SELECT state, task FROM runs WHERE run_id = '{run.id}'").rows
    assert tuple(row) == ("finished", TASK)
    assert run_sql(lab, "SELECT count(*) FROM best_runs").rows[0][0] >= 1


def test_formats_of_later_versions_write_nothing(lab, run) -> None:
    exporter = ModelExporter(lab)
    for format in ("tensorrt", "mobile", "quantized"):
        with pytest.raises(NotInThisVersion):
            exporter.export_model(run.id, format)
    assert not lab.exports.exists() or not list(lab.exports.iterdir())


def test_a_weight_file_is_kept_by_its_full_path(lab, run, monkeypatch) -> None:
    """The worker runs in a folder of its own, where `best.pt` would be no file."""
    monkeypatch.chdir(run.checkpoints)
    monkeypatch.setattr(training, "launch", lambda folder: None)
    folder = training.start(
        lab, small(architecture_config={"base_architecture": "mask_rcnn", "pretrained_weights": "best.pt"})
    )
    found = overview.run_config(folder).architecture_config.pretrained_weights
    assert Path(found) == (run.checkpoints / "best.pt").resolve()
    lab.to_trash(folder.path)


def test_what_the_plan_refuses_is_not_started(lab) -> None:
    before = len(overview.runs(lab))
    with pytest.raises(ConfigError, match="coco"):
        training.start(
            lab,
            small(architecture_config={"base_architecture": "mask_rcnn_resnet50_fpn", "pretrained_weights": "coco"}),
        )
    with pytest.raises(ConfigError, match=r"machine\.devices"):
        training.start(lab, small(machine={"devices": 3, "accelerator": "cuda"}))
    assert len(overview.runs(lab)) == before


def test_ended_runs_are_neither_resumed_nor_asked(lab, run) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        training.resume(lab, run.id)
    with pytest.raises(TrainingError, match="cannot be asked to stop"):
        training.control(lab, run.id, "stop")


@pytest.mark.slow
def test_it_is_exported_and_agrees_with_itself(lab, run) -> None:
    folder = exporting.start_export(lab, run.id, "onnx", name="borders")
    assert wait(folder).state == "finished", folder.log.read_text()
    found = folder.results()
    assert found["parity"]["passed"] and found["parity"]["compared"] == 3
    assert evaluating.judged(lab, run) == found["judged"]
    assert f"trugrade evaluate {run.id} --split train" in evaluating.judged(lab, run, "train")
    manifest = found["manifest"]
    assert manifest["run"] == run.id and manifest["dataset"] == "cards@v1" and manifest["classes"]
    with pytest.raises(ExportError, match="exists already"):
        exporting.start_export(lab, run.id, "onnx", name="borders")
    version = Version.open(lab, "cards")
    image = version.image_path(version.samples("test")[0])
    theirs = evaluating.predict(lab, "borders", image, threshold=0.0)["predictions"][0]
    ours = evaluating.predict(lab, run.id, image, threshold=0.0)["predictions"][0]
    assert len(theirs["box"]) == len(ours["box"]) > 0


@pytest.mark.slow
def test_several_processes_train_one_model(lab) -> None:
    trainer = DistributedTrainer(2, workspace=lab)
    folder = trainer.train_distributed(
        "mask_rcnn", "cards", task=TASK, machine__accelerator="cpu", machine__threads=1, data__image_size=64,
        hyperparameters__optimization__batch_size=2, hyperparameters__training_process__epochs=1,
    )  # fmt: skip
    status = wait(folder)
    assert status.state == "finished", (status, folder.log.read_text())
    assert folder.job()["ranks"] == 2


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(lab) -> None:
    config = small(hyperparameters={"optimization": {"batch_size": 2}, "training_process": {"epochs": 40}})
    folder = training.start(lab, config)
    for event in follow(folder):
        if event["kind"] == "metrics":
            training.control(lab, folder.id, "stop")
            break
    assert wait(folder).state == "stopped"
    stopped_at = read_json(folder.checkpoints / "latest.json")["step"]
    training.resume(lab, folder.id)
    for event in follow(folder):
        # The first step, not the validation of an epoch that the stop came at the end of.
        if event["kind"] == "metrics" and event["attempt"] == 2 and "batch" in event:
            assert event["step"] == stopped_at + 1
            training.control(lab, folder.id, "discard")
            break
    wait(folder)


@pytest.mark.slow
def test_importing_and_training_go_on_at_once(lab) -> None:
    before = Version.open(lab, "cards").manifest
    training_run = training.start(lab, small())
    more = datasets.start_synth(lab, "cards", count=20, seed=2, dpi=60)
    elsewhere = datasets.start_synth(lab, "others", count=20, seed=3, dpi=60)
    assert [wait(folder).state for folder in (training_run, more, elsewhere)] == ["finished"] * 3
    assert training_run.job()["dataset_digest"] == before.digest
    assert overview.dataset(lab, "cards")["samples"] == 12 + more.results()["images"]
    assert datasets.snapshot_dataset(lab, "cards")["version"] != before.version
    assert Version.open(lab, f"cards@{before.version}").manifest == before


@pytest.mark.slow
def test_the_demo_goes_from_cards_to_a_report(tmp_path) -> None:
    from trugrade_core.workflows import demo

    ws = Workspace.open(tmp_path / "demo")
    folder = demo.start_demo(ws, minutes=0.3)
    assert wait(folder).state == "finished", folder.log.read_text()
    found = folder.results()
    assert set(found) >= {"dataset", "run", "metrics", "baseline", "verdict", "artifact", "parity", "report", "seconds"}
    assert found["parity"]["passed"]
    report = Path(found["report"]).read_text()
    assert found["run"] in report and "constant box" in report.lower()
    assert "http://" not in report.replace("http://www.w3.org", "") and "https://" not in report


def test_a_batch_larger_than_the_validation_split_is_estimated(lab) -> None:
    config = small(hyperparameters={"optimization": {"batch_size": 5}, "training_process": {"epochs": 2}})
    found = training.estimate(lab, config).estimate
    assert found["seconds"] > 0 and found["peak_memory_bytes"] > 1e8 and found["disk_bytes"] > 1e6


# --- without a real process -----------------------------------------------------------------------------------------


@pytest.fixture
def stopped(ws) -> RunFolder:
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    folder.queue()
    folder.append("state", state="stopped")
    return folder


def test_of_two_clicks_on_resume_one_resumes(ws, stopped, monkeypatch) -> None:
    monkeypatch.setattr(training, "launch", lambda folder: None)
    plain = RunFolder.status

    def slow(self, *args):
        found = plain(self, *args)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(RunFolder, "status", slow)

    def click(_: int) -> str:
        try:
            return training.resume(ws, stopped.id).id
        except TrainingError as e:
            return e.code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(click, range(2))) == sorted([stopped.id, "training.not_resumable"])
    assert [e["attempt"] for e in stopped.events() if e["kind"] == "resumed"] == [2]


def test_stopping_the_demo_stops_its_training(ws, monkeypatch) -> None:
    from trugrade_core.workflows import demo

    inner = RunFolder.create(ws.runs, {"kind": "train"})
    inner.queue()
    monkeypatch.setattr(demo.training, "start", lambda ws, config: inner)

    def cancelled(folder):
        raise Cancelled

    monkeypatch.setattr(demo, "follow", cancelled)
    with pytest.raises(Cancelled):
        demo._train(Job(ws, inner, {"seed": 0, "minutes": 1.0}), "cards@v1")
    assert inner.asked() == (inner.asked()[0], ["stop"])


def test_a_run_without_a_best_checkpoint_lends_its_latest(ws, stopped) -> None:
    trainer = DistributedTrainer(1, workspace=ws)
    (stopped.path / "config.yaml").write_text(f"task: {TASK}\ndataset: cards@v1\n")
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        trainer._from_run(stopped.id)
    stopped.checkpoints.mkdir()
    for name in ("latest.pt", "best.pt"):
        (stopped.checkpoints / name).touch()
        found = trainer._from_run(stopped.id)["architecture_config"]["pretrained_weights"]
        assert found == str(stopped.checkpoints / name)


def test_a_run_stands_on_the_version_there_was_when_it_was_planned(lab, monkeypatch) -> None:
    monkeypatch.setattr(training, "launch", lambda folder: None)
    newest, opened = Version.open(lab, "cards").name, []
    plain = Version.open.__func__
    monkeypatch.setattr(Version, "open", classmethod(lambda cls, ws, name: opened.append(name) or plain(cls, ws, name)))
    folder = training.start(lab, small())
    assert opened == ["cards"]
    assert folder.job()["dataset"] == overview.run_config(folder).dataset == newest
    assert read_json(folder.path / "plan.json")["plan"]["dataset"]["value"] == newest
    lab.to_trash(folder.path)


def test_overlays_of_a_folder_lie_as_its_images_do(ws, tmp_path, monkeypatch) -> None:
    files = ["a/scan.png", "b/scan.png", "b/scan.bmp"]
    for name in files:
        path = tmp_path / "scans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 30)).save(path)

    class Blind:
        name = "blind"

        def predict(self, images, names, threshold=None):
            return [Prediction(image=names[0], width=20, height=30, seconds=0.0, instances=())]

    monkeypatch.setattr(evaluating, "open_predictor", lambda ws, model: Blind())
    out = tmp_path / "out"
    evaluating.predict(ws, "m", tmp_path / "scans", overlays=out)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.png")) == sorted(f"{f}.overlay.png" for f in files)
    evaluating.predict(ws, "m", tmp_path / "scans" / "a" / "scan.png", overlays=tmp_path / "one")
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["scan.png.overlay.png"]


def test_a_damaged_dataset_is_a_row_that_says_so(ws) -> None:
    synthesize(ws, "good", count=3, seed=1, dpi=60)
    synthesize(ws, "half", count=3, seed=1, dpi=60)
    datasets.snapshot_dataset(ws, "half")
    (ws.datasets / "half" / "versions" / "v1" / "version.json").write_text("{")
    (ws.datasets / "worse").mkdir()
    (ws.datasets / "worse" / "dataset.json").write_text("{")
    good, half, worse = overview.datasets(ws)
    assert (good["samples"], good["reason"]) == (3, "")
    assert (half["samples"], half["version"]) == (3, "v1") and "version.json" in half["reason"]
    assert (worse["name"], worse["samples"], worse["classes"]) == ("worse", 0, []) and "not valid JSON" in worse[
        "reason"
    ]
    (version,) = overview.dataset(ws, "half")["versions"]
    assert version["version"] == "v1" and "version.json" in version["reason"]


@pytest.mark.parametrize("name, text", [
    ("job.json", "{}"), ("job.json", "[]"), ("job.json", "null"), ("job.json", '{"kind": "train", "task": []}'),
    ("checkpoints/best.json", "[]"), ("checkpoints/best.json", ""), ("checkpoints/best.json", '{"metrics": []}'),
    ("events.jsonl", '{"run": "x", "kind": "state", "t": 1.0}\n'),
])  # fmt: skip
def test_a_damaged_run_is_a_row_that_says_so_beside_the_others(ws, name, text) -> None:
    good, bad = (RunFolder.create(ws.runs, {"kind": "train", "title": "t"}) for _ in range(2))
    for folder in (good, bad):
        folder.checkpoints.mkdir()
        folder.queue()
    (bad.path / name).write_text(text)
    (ws.runs / "20260101-000000-aaaa").write_text("a file, no run")
    rows = {row["run"]: row for row in overview.runs(ws)}
    assert set(rows) == {good.id, bad.id}
    assert (rows[good.id]["state"], rows[good.id]["title"], rows[good.id]["reason"]) == ("queued", "t", "")
    said = rows[bad.id]["reason"]
    assert any(word in said for word in ("damaged", "not valid JSON", "not a checkpoint's manifest")), said


def test_the_lines_that_repeat_a_run_quote_their_paths(tmp_path) -> None:
    ws = Workspace.open(tmp_path / "my lab")
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    (folder.path / "environment.json").write_text('{"git_commit": "abc"}')
    (folder.path / "changes.patch").write_text("x")
    _, patch, _, line = overview.repro(folder)
    assert shlex.split(patch)[-1] == str(folder.path / "changes.patch")
    assert shlex.split(line)[1:] == ["-w", str(ws.root), "train", str(folder.path / "config.yaml")]


def test_a_resumed_run_keeps_its_threads_on_another_machine(lab, monkeypatch) -> None:
    def cores(count: int) -> None:
        machine = Machine(cores=count, memory_bytes=2**33, compiler=False, bf16=False)
        monkeypatch.setattr(Machine, "here", lambda: machine)

    monkeypatch.setattr(training, "launch", lambda folder: None)
    cores(8)
    folder = training.start(lab, small(machine={}))
    plans: list[RunPlan] = []
    monkeypatch.setattr("trugrade_core.train.fit.fit", lambda plan, *_: plans.append(plan) or {})
    for count in (8, 2):
        cores(count)
        training.do_train(Job(lab, folder, {}))
    assert [plan.config.machine.threads for plan in plans] == [7, 7]
    assert overview.run_config(folder).machine.threads == "auto"
