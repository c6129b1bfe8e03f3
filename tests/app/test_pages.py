"""Every page opens, empty and with data, says what belongs on it, and has a next step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import judged as judged_page
from app import state
from app.Home import SECTIONS
from tests.app.conftest import LONG, add_run, add_sample, charts, said
from trugrade_core.config import RunConfig
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import split
from trugrade_core.runs import RunFolder
from trugrade_core.schema import ClassDef
from trugrade_core.train.plan import RunPlan
from trugrade_core.workspace import Workspace, read_json, write_json

PAGES = [name for rows in SECTIONS.values() for name, _, _ in rows]
Open = Callable[..., AppTest]

EMPTY = {
    "home": ("An empty lab", "Run the demo"),
    "datasets": ("No dataset yet", "Import images"),
    "train": ("No dataset version yet", "Go to the datasets"),
    "monitor": ("No training yet", "Train a model"),
    "compare": ("Nothing to compare yet", "Train a model"),
    "evaluate": ("No model to judge yet", "Train a model"),
    "export": ("No model to export yet", "Train a model"),
    "try_it": ("No model yet", "Train a model"),
}


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def test_the_navigation_carries_the_five_systems() -> None:
    assert list(SECTIONS)[1:-1] == [
        "Dataset Creator",
        "Professional Training",
        "Performance Monitoring",
        "Model Export & Deployment",
        "Quality Assurance",
    ]
    files = {path.stem for path in (Path(__file__).parents[2] / "app" / "views").glob("*.py")} - {"__init__"}
    assert set(PAGES) == files


@pytest.mark.parametrize("page", EMPTY)
def test_an_empty_page_says_what_will_be_here_and_leads_on(ws: Workspace, open_page: Open, page: str) -> None:
    at = open_page(ws, page)
    title, button = EMPTY[page]
    assert title in said(at)
    assert button in labels(at)
    assert "fault in the lab" not in said(at)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_data_opens_without_a_fault(full: Workspace, open_page: Open, page: str) -> None:
    text = said(open_page(full, page))
    assert "fault in the lab" not in text
    assert "What to do" not in text or page in ("monitor",)  # the newest run failed: Monitor says so


def test_home_lists_datasets_and_runs_with_their_next_step(full: Workspace, open_page: Open) -> None:
    text = said(open_page(full, "home"))
    assert "6 of 8" in text  # labelled
    assert "0.250 mm" in text and "side error, median" in text
    assert "see why" in text and "evaluate" in text
    assert "the loss became non-finite at step 9" in text


def test_a_grid_shows_each_sample_by_url_with_its_outlines(full: Workspace, open_page: Open) -> None:
    text = said(open_page(full, "datasets", dataset="cards"))
    assert text.count("/lab/thumb/") == 8
    assert text.count("tg-shape") == 12  # two on each of six labelled samples
    assert "base64" not in text
    assert LONG.strip() in text


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({"status": "unlabelled"}, 2),
        ({"split": "train"}, 4),
        ({"q": "card-00003"}, 1),
        ({"class": "outer_border"}, 6),
        ({"q": "nothing of it"}, 0),
    ],
)
def test_filters_come_from_the_address(full: Workspace, open_page: Open, params: dict[str, str], count: int) -> None:
    text = said(open_page(full, "datasets", dataset="cards", **params))
    assert text.count("/lab/thumb/") == count
    assert ("Nothing fits" in text) == (count == 0)


def test_a_sample_shows_its_original_and_its_size_in_mm(full: Workspace, open_page: Open) -> None:
    sample = next(iter(Dataset.open(full, "cards").samples().values()))
    text = said(open_page(full, "datasets", dataset="cards", sample=sample.id))
    assert f"/lab/original/{sample.main.sha256}" in text
    assert "17.8 × 24.9 mm" in text  # 70 x 98 px at 100 dpi
    assert "14.2 × 20.8 mm" in text  # the outer border


def test_what_is_not_there_is_named_with_the_nearest(full: Workspace, open_page: Open) -> None:
    text = said(open_page(full, "datasets", dataset="card"))
    assert "No dataset 'card' in this workspace" in text
    assert "did you mean 'cards'?" in text
    assert "no run 'zzz'" in said(open_page(full, "monitor", run="zzz")).lower()


def test_splitting_keeps_a_version(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    next(b for b in at.button if b.label == "Preview the split").click()
    at.text_input[0].set_value("50/25/25")
    at.run()
    next(b for b in at.button if b.label == "Split and keep").click()
    at.run()
    assert "Kept as cards@v" in said(at)
    next(b for b in at.button if b.label == "Preview the split").click()
    at.text_input[0].set_value("half and half")
    at.run()
    assert "is not a set of ratios" in said(at)


def test_train_suggests_plans_and_launches(full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    from trugrade_core.workflows import training

    started: list[RunFolder] = []
    monkeypatch.setattr(training, "launch", started.append)
    at = open_page(full, "train", dataset="cards@v1", task="border_detection.dual_class")
    assert "Why these values" in " ".join(e.label for e in at.expander)
    assert "detectron2" in said(at) and "cannot run here" in said(at)
    next(b for b in at.button if b.label == "Launch").click()
    at.run()
    assert len(started) == 1
    assert started[0].job()["dataset"] == "cards@v1"
    assert started[0].status().state == "queued"


def test_train_estimates_when_asked_and_remembers_it_for_this_configuration(
    full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trugrade_core.workflows import training

    asked: list[float] = []

    def probed(ws: Workspace, config: RunConfig, *, random_init: bool = False) -> RunPlan:
        asked.append(config.hyperparameters.optimization.learning_rate)
        found = {"seconds": 790.0, "peak_memory_bytes": 1_530_000_000, "disk_bytes": 117_000_000, "source": "probed"}
        return training.plan(ws, config, random_init=random_init).model_copy(update={"estimate": found})

    monkeypatch.setattr(training, "estimate", probed)
    at = open_page(full, "train", dataset="cards@v1")
    at.toggle(key="train-random-init").set_value(True).run()
    assert said(at).count("not estimated") == 3
    at.button(key="train-estimate").click().run()
    assert all(words in said(at) for words in ("13 min", "1.53 GB", "117 MB"))
    at.run()
    assert len(asked) == 1 and "Estimate" not in labels(at)


def test_a_mistake_in_the_yaml_stops_the_launch_and_is_named(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "train", dataset="cards@v1")
    area = next(a for a in at.text_area if a.label == "The same as YAML")
    area.set_value(re.sub(r"learning_rate: \S+", "learning_rate: -1", area.value) + "\nsede: 3\n")
    at.run()
    text = said(at)
    assert "did you mean 'seed'?" in text
    assert "learning_rate" in text
    assert next(b for b in at.button if b.label == "Launch").disabled


def test_monitor_says_why_a_run_failed_and_offers_what_helps(full: Workspace, open_page: Open) -> None:
    failed = max(path.name for path in full.runs.iterdir() if "non-finite" in (path / "events.jsonl").read_text())
    at = open_page(full, "monitor", run=failed)
    assert "The loss became non-finite at step 9" in said(at)
    assert "Lower the learning rate." in said(at)
    assert "Resume" in labels(at)
    assert {"Loss by step", "Side error, median, mm by step", "Learning rate by step"} <= set(charts(at))


@pytest.mark.parametrize("view", ["curves", "validation", "resources", "plan", "log"])
def test_each_view_of_monitor_opens(full: Workspace, open_page: Open, view: str) -> None:
    text = said(open_page(full, "monitor", view=view))
    assert "fault in the lab" not in text


def test_compare_shows_only_what_differs(full: Workspace, open_page: Open) -> None:
    runs = [path.name for path in full.runs.iterdir() if RunFolder(path).status().state != "failed"]
    text = said(open_page(full, "compare", runs=",".join(runs)))
    assert "hyperparameters.optimization.learning_rate" in text
    assert "hyperparameters.optimization.momentum" not in text


def test_compare_warns_when_the_runs_stand_on_other_versions(full: Workspace, open_page: Open) -> None:
    add_run(full, "cards@v2")
    add_run(full, "cards@v1")
    runs = sorted(path.name for path in full.runs.iterdir())
    assert "2 dataset versions" in said(open_page(full, "compare", runs=",".join(runs)))


def judged_run(ws: Workspace) -> str:
    return min(path.name for path in ws.runs.iterdir() if (path / "evaluation").exists())


def test_an_evaluation_says_its_evidence_and_the_constant_box(judged: Workspace, open_page: Open) -> None:
    text = said(open_page(judged, "evaluate", run=judged_run(judged)))
    assert "constant box" in text
    assert "0.254 mm" in text  # one pixel at 100 dpi
    assert text.count("/lab/thumb/") == len(list_test(judged))
    assert "tg-shape" in text and "stroke-dasharray" in text  # drawn by people, found by the model


@pytest.mark.parametrize(("better", "type"), [(True, "primary"), (False, "secondary")])
def test_only_a_model_that_beats_the_constant_box_invites_to_export_it(
    judged: Workspace, open_page: Open, better: bool, type: str
) -> None:
    run = judged_run(judged)
    file = judged.runs / run / "evaluation" / "test" / "evaluation.json"
    found = read_json(file)
    write_json(file, found | {"verdict": found["verdict"] | {"better": better}})
    (button,) = [b for b in open_page(judged, "evaluate", run=run).button if b.label == "Export"]
    assert button.proto.type == type


def test_a_damaged_evaluation_leaves_the_artifacts_on_the_export_page(judged: Workspace, open_page: Open) -> None:
    run = judged_run(judged)
    (judged.runs / run / "checkpoints" / "best.pt").touch()
    (judged.runs / run / "evaluation" / "test" / "evaluation.json").write_text("garbage")
    text = said(open_page(judged, "export", run=run))
    assert "evaluation.json" in text and "Artifacts" in text


def list_test(ws: Workspace) -> list[str]:
    from trugrade_core.data.versions import Version

    return [sample.id for sample, _ in Version.open(ws, "cards@v1").records("test")]


@pytest.mark.parametrize("view", ["samples", "sides", "curves", "errors", "all"])
def test_each_view_of_an_evaluation_opens(judged: Workspace, open_page: Open, view: str) -> None:
    text = said(open_page(judged, "evaluate", run=judged_run(judged), **{"evaluate-view": view}))
    assert "fault in the lab" not in text and "What to do" not in text


def test_a_cell_of_the_confusion_opens_its_samples(judged: Workspace, open_page: Open) -> None:
    run = judged_run(judged)
    assert '"only": "outer_border>outer_border"' in said(
        open_page(judged, "evaluate", run=run, **{"evaluate-view": "errors"})
    )
    text = said(open_page(judged, "evaluate", run=run, only="background>outer_border", **{"evaluate-view": "samples"}))
    assert "/lab/thumb/" not in text  # there is none
    assert "background taken for outer_border" in text


def test_a_bar_of_the_error_distribution_counts_and_opens_the_same_samples(judged: Workspace, open_page: Open) -> None:
    run = judged_run(judged)
    found = open_page(judged, "evaluate", run=run, **{"evaluate-view": "curves"}).get("bidi_component")
    specs = [json.loads(json.loads(e.proto.json)["spec"]) for e in found if e.proto.component_name == "tg_chart"]
    bars = next(spec["data"][0] for spec in specs if spec["data"][0]["type"] == "bar")
    opened = {only: n for only, n in zip(bars["customdata"], bars["y"], strict=True) if only}
    assert sum(opened.values()) == len(list_test(judged))
    for only, n in opened.items():
        text = said(open_page(judged, "evaluate", run=run, only=only, **{"evaluate-view": "samples"}))
        assert text.count("/lab/thumb/") == n
    assert said(open_page(judged, "evaluate", run=run, only="worst:5..6")).count("/lab/thumb/") == 0
    assert "is not a number" in said(open_page(judged, "evaluate", run=run, only="worst:a..b"))


@pytest.mark.parametrize(("score", "wrong"), [("0.5", False), ("0.95", True)])
def test_a_point_of_a_curve_opens_what_is_wrong_from_its_score(
    judged: Workspace, open_page: Open, score: str, wrong: bool
) -> None:
    text = said(open_page(judged, "evaluate", run=judged_run(judged), only=f"score:{score}:outer_border"))
    assert text.count("/lab/thumb/") == (len(list_test(judged)) if wrong else 0)  # every answer scores 0.9


@pytest.mark.parametrize("largest", [0.0, 1e-4, 0.254, 0.29, 1.0, 86.6, 5000.0])
def test_bars_reach_beyond_the_largest_error_in_round_steps(largest: float) -> None:
    step, count = judged_page.bins(largest)
    assert 1 <= count <= judged_page.BARS
    assert round(step * count, 9) > largest


def test_a_judged_sample_shows_the_error_of_every_side(judged: Workspace, open_page: Open) -> None:
    text = said(open_page(judged, "evaluate", run=judged_run(judged), sample=list_test(judged)[0]))
    assert text.count("0.254 mm") == 8


def test_judged_runs_are_compared_with_the_interval_of_their_difference(judged: Workspace, open_page: Open) -> None:
    runs = [path.name for path in judged.runs.iterdir() if (path / "evaluation").exists()]
    text = said(open_page(judged, "compare", runs=",".join(runs)))
    assert "no difference shown" in text
    assert "side error, median" in text


def test_an_artifact_shows_its_parity_and_leaves_as_a_zip(full: Workspace, open_page: Open) -> None:
    folder = full.exports / "first-onnx"
    write_json(
        folder / "manifest.json", {"kind": "onnx", "run": "r", "licence": "BSD-3-Clause", "classes": {"1": "border"}}
    )
    write_json(
        folder / "parity.json", {"passed": True, "compared": 8, "worst": {"score": 2e-7}, "limits": {"score": 1e-3}}
    )
    at = open_page(full, "export", artifact="first-onnx")
    text = said(at)
    assert "Agrees with the trained model" in text and "on 8 images" in text
    assert "2e-7" in text
    assert "not in this version" not in text  # no model can be exported here: no format is offered
    assert "Download all as .zip" in [button.label for button in at.get("download_button")]


def test_trying_a_model_shows_what_it_found_in_mm(full: Workspace, open_page: Open) -> None:
    sample, annotations = add_sample(full, 1)
    write_json(full.exports / "first-onnx" / "manifest.json", {"kind": "onnx"})
    job = RunFolder.create(full.jobs, {"kind": "predict", "title": "Try", "args": {}})
    box = annotations[0].value
    row = {
        "image": f"/tmp/x/{sample.main.sha256}/scan.png",
        "width": 70,
        "height": 98,
        "seconds": 0.2,
        "labels": ["outer_border"],
        "scores": [0.91],
        "box": [list(box.xyxy)],  # type: ignore[union-attr]
    }
    job.append("result", values={"model": "first-onnx", "predictions": [row]})
    job.append("state", state="finished", reason="")
    text = said(open_page(full, "try_it", job=job.id))
    assert "0.91" in text and f"/lab/image/{sample.main.sha256}" in text
    assert "56 × 82 px" in text  # the file itself does not say its resolution
    assert "0.200 s" in text


def test_a_failed_job_says_what_to_do_and_shows_its_log(full: Workspace, open_page: Open) -> None:
    job = RunFolder.create(
        full.jobs, {"kind": "import", "title": "Import scans", "args": {"options": {"dry_run": False}}}
    )
    job.log.write_text("the end of the log")
    job.append(
        "state", state="failed", reason="the disk is full", failure="disk", what_to_do="Make room, then import again."
    )
    text = said(open_page(full, "datasets", view="import", job=job.id))
    assert "The disk is full" in text and "Make room, then import again." in text
    assert "the end of the log" in text


def test_the_catalog_answers_and_refuses_to_write(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "catalog", sql="SELECT count(*) AS runs FROM runs")
    assert at.dataframe[0].value["runs"].tolist() == [3]
    at.text_area(key="catalog-sql").set_value("DROP TABLE runs")
    next(b for b in at.button if b.label == "Run").click()
    at.run()
    assert "is not a SELECT" in said(at)


def test_ids_in_the_catalog_are_links(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "catalog", sql="SELECT run_id FROM runs")
    assert all(value.startswith("/monitor?run=") for value in at.dataframe[0].value["run_id"])


def test_a_folder_that_is_no_workspace_is_said_on_every_page(tmp_path: Path, open_page: Open) -> None:
    (tmp_path / "something.txt").write_text("else")
    at = open_page(Workspace(tmp_path), "home")
    assert "is not a TruGrade workspace" in said(at).lower().replace(
        "is not a trugrade workspace", "is not a TruGrade workspace"
    )
    assert "TRUGRADE_WORKSPACE" in said(at)


def test_a_damaged_run_folder_is_a_row_not_a_fault(full: Workspace, open_page: Open) -> None:
    (full.runs / "20260101-000000-abcd").mkdir()
    for page in ("home", "monitor", "compare", "evaluate"):
        assert "fault in the lab" not in said(open_page(full, page))


@pytest.mark.parametrize("text", ["garbage", "[]", "{}"])
def test_a_damaged_job_leaves_the_pages_whole(full: Workspace, open_page: Open, text: str) -> None:
    for parent, kind in ((full.jobs, "import"), (full.runs, "train")):
        folder = RunFolder.create(parent, {"kind": kind, "title": "t", "args": {}})
        folder.append("state", state="finished", reason="")
        (folder.path / "job.json").write_text(text)
    for page in ("home", "datasets", "train", "monitor", "compare", "evaluate"):
        found = said(open_page(full, page))
        assert "fault in the lab" not in found and "not valid JSON" not in found, page


@pytest.mark.parametrize("page", ["monitor", "evaluate"])
def test_a_run_that_went_to_the_trash_is_forgotten(full: Workspace, open_page: Open, page: str) -> None:
    gone = add_run(full, "cards@v1", state="stopped")
    for run in full.runs.iterdir():
        (run / "checkpoints" / "best.pt").touch()
    full.to_trash(gone.path)
    at = open_page(full, page)
    at.session_state["param:run"] = gone.id  # as the page had kept it
    at.query_params["run"] = gone.id
    at.run()
    assert gone.id not in said(at)
    assert [box.label for box in at.selectbox][:1] == ["Run"]
    assert max(path.name for path in full.runs.iterdir()) in at.query_params["run"]
    assert "no run" in said(open_page(full, page, run=gone.id)).lower()  # a link from elsewhere is told


def test_an_evaluation_is_not_shown_over_another_version_of_its_name(judged: Workspace, open_page: Open) -> None:
    run = judged_run(judged)
    found = judged_page.evaluation(judged, RunFolder(judged.runs / run), "test")
    before = set(judged_page._truth(judged, found)[0])
    judged.to_trash(judged.datasets / "cards")
    ds = Dataset.create(judged, "cards", [ClassDef(name="outer_border"), ClassDef(name="graphical_border")])
    made = [add_sample(judged, n) for n in range(50, 58)]
    ds.put_samples(sample for sample, _ in made)
    ds.append(put_entry(a, who="maria", tool="test") for _, annotations in made for a in annotations)
    split(ds, (0.5, 0.25, 0.25), 0)
    now = set(judged_page._truth(judged, found | {"samples": []})[0])
    assert len(now) == 8 and not now & before
    text = said(open_page(judged, "evaluate", run=run))
    assert "another has its name now" in text and "fault in the lab" not in text


def test_two_readers_of_a_journal_do_not_share_what_grows(full: Workspace) -> None:
    folder = add_run(full, "cards@v1", state="running")
    first = state.journal(folder)
    seen = len(first.points["train/loss"])
    folder.append("metrics", step=99, epoch=3, batch=1, values={"train/loss": 0.1}, attempt=1)
    second = state.journal(folder)
    assert len(first.points["train/loss"]) == seen and len(second.points["train/loss"]) == seen + 1
    assert state.journal(folder) is second  # nothing new: nothing is copied


def test_the_train_page_parses_no_labels(full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = Dataset.annotations
    monkeypatch.setattr(Dataset, "annotations", lambda ds: read.append(ds.name) or real(ds))
    at = open_page(full, "train", dataset="cards@v1")
    at.run()
    assert read == []
    assert "4 samples of 4 cards" in said(at)


def test_a_damaged_dataset_says_what_is_damaged(full: Workspace, open_page: Open) -> None:
    (full.datasets / "cards" / "versions" / "v1" / "version.json").write_text("garbage")
    for page in ("home", "datasets"):
        text = said(open_page(full, page))
        assert "damaged: " in text and "version.json" in text


@pytest.mark.slow
def test_ten_thousand_samples_and_two_hundred_runs_draw_one_page_of_them(ws: Workspace, open_page: Open) -> None:
    sample, annotations = add_sample(ws, 0)
    ds = Dataset.create(ws, "many", [ClassDef(name="outer_border"), ClassDef(name="graphical_border")])
    ids = [f"{n:016x}" for n in range(10_000)]
    ds.put_samples(sample.model_copy(update={"id": i}) for i in ids)
    ds.append(
        put_entry(a.model_copy(update={"id": i, "sample": i}), who="maria", tool="test")
        for i in ids
        for a in annotations[:1]
    )
    for _ in range(200):
        add_run(ws, "many@v1")
    text = said(open_page(ws, "datasets", dataset="many"))
    assert text.count("/lab/thumb/") == 60
    assert "10,000" in text
    assert "fault in the lab" not in said(open_page(ws, "home"))
    assert "fault in the lab" not in said(open_page(ws, "monitor"))


def test_no_page_imports_torch(full: Workspace) -> None:
    home = str(Path(__file__).parents[2] / "app" / "Home.py")
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({home!r}, default_timeout=120).run()\n"
        f"for page in {PAGES}:\n"
        "    at.switch_page(f'views/{page}.py').run()\n"
        "    assert not at.exception, page\n"
        "    heavy = {'torch', 'torchvision', 'timm', 'lightning_fabric', 'ultralytics', 'onnxruntime'} & set(sys.modules)\n"
        "    assert not heavy, (page, heavy)\n"
    )
    environment = {"TRUGRADE_WORKSPACE": str(full.root), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
