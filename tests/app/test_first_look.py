"""What somebody meets who is new here: reasons beside states and buttons, the page's words in errors, ways back."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import jobcard, look, page_words
from tests.app.conftest import add_run, add_sample, fill, said
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import split
from trugrade_core.runs import RunFolder
from trugrade_core.schema import ClassDef
from trugrade_core.workflows import creating, versioning
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


def box(at: AppTest) -> str:
    """The error that a page shows; its folded details are the engine's own words."""
    (found,) = [e.proto.body for e in at.get("html") if 'class="tg-error"' in e.proto.body]
    return html.unescape(found)


@pytest.mark.parametrize(
    ("engine", "page"),
    [
        ("Say which: --labels FILE_OR_FOLDER, or --format coco | yolo",
         "Say which: 'Labels, when they lie elsewhere', or 'Format' coco | yolo"),
        ("say so on import with --cards or --card-pattern, or the splits leak.",
         "say so on import with 'List of cards' or 'Card id from file names', or the splits leak."),
        ("Give the names in order of their ids: --classes NAME0,NAME1",
         "Give the names in order of their ids: 'Classes, in their order'"),
        ("train on the CPU: --set machine.accelerator=cpu", "train on the CPU: machine.accelerator=cpu"),
        ("Run: trugrade data split cards --ratios 80/20/0", "Run: trugrade data split cards --ratios 80/20/0"),
        ("Run `trugrade data check cards`, or give --dpi", "Run `trugrade data check cards`, or give 'Resolution'"),
        ("Connect first: --token TOKEN", "Connect first: --token TOKEN"),  # no field of any page
    ],
)  # fmt: skip
def test_what_the_engine_calls_an_option_is_the_field_of_the_page(engine: str, page: str) -> None:
    assert page_words.said(engine) == page


def test_every_field_that_is_named_stands_on_a_page() -> None:
    pages = "".join(
        path.read_text() for path in Path(look.__file__).parent.rglob("*.py") if path.name != "page_words.py"
    )
    assert [field for field in page_words.FIELDS.values() if f'"{field}' not in pages] == []


def test_a_failed_import_names_the_field_and_its_input_not_the_job(ws: Workspace, open_page: Open) -> None:
    job = RunFolder.create(ws.jobs, {"kind": "import", "title": "Import scans into cards", "args": {"options": {}}})
    why = {"message": "labels of several kinds lie here", "where": "/data/scans", "what_to_do": "Say which: --labels FILE_OR_FOLDER"}  # fmt: skip
    job.append("state", state="failed", reason=why["message"], failure="data", what_to_do=why["what_to_do"], error=why)
    words = box(open_page(ws, "datasets", view="import", job=job.id))
    assert "Say which: 'Labels, when they lie elsewhere'" in words and "--labels" not in words
    assert "/data/scans" in words and job.id not in words
    job.append("state", state="failed", reason="out of memory", failure="bug", what_to_do="", error={"where": job.id})
    words = box(open_page(ws, "datasets", view="import", job=job.id))
    assert "Out of memory" in words and "Input:" not in words and job.id not in words


def test_the_preview_of_a_split_says_that_no_sample_names_a_card(ws: Workspace, open_page: Open) -> None:
    ds = fill(ws, "cards", 8)
    ds.put_samples([s.model_copy(update={"card_assumed": True}) for s in ds.samples().values()])
    notes = versioning.preview_split(ws, "cards")["notes"]
    assert any(note.startswith("8 of 8 samples name no card") for note in notes)
    words = said(open_page(ws, "datasets", dataset="cards", view="versions", part="split")).replace("\\", "")
    assert "8 of 8 samples name no card" in words and "'List of cards' or 'Card id from file names'" in words
    ds.put_samples([s.model_copy(update={"excluded": "blurred"}) for s in list(ds.samples().values())[:2]])
    assert any(note.startswith("6 of 6 samples") for note in versioning.preview_split(ws, "cards")["notes"])


def test_a_job_that_has_begun_does_not_wait_and_its_rest_is_in_whole_seconds(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = RunFolder.create(ws.jobs, {"kind": "import", "title": "Import"})
    monkeypatch.setattr(RunFolder, "supervised", lambda self: True)
    job.queue()
    assert jobcard.progress(job) == (0.0, "waiting to begin")
    time.sleep(0.01)  # its journal is read again when its time stamp changes
    job.append("state", state="running", reason="", attempt=1)
    assert jobcard.progress(job) == (0.0, "starting")
    assert [look.time_left(s) for s in (5.54, 0.2, 59.7)] == ["6 s", "1 s", "1 min"]


def test_the_foot_of_the_sidebar_follows_what_runs(
    full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = open_page(full, "datasets")
    assert "nothing running or waiting" in said(at)
    monkeypatch.setattr(RunFolder, "supervised", lambda self: True)
    add_run(full, "cards@v1", state="running")
    assert "1 running, 0 waiting" in said(at.run())


def test_launch_says_beside_it_why_it_is_grey(ws: Workspace, open_page: Open) -> None:
    ds = Dataset.create(ws, "bare", [ClassDef(name=name) for name in ("outer_border", "graphical_border")])
    ds.put_samples(add_sample(ws, n, labelled=False)[0] for n in range(6))
    split(ds, (0.5, 0.25, 0.25), 0)
    at = open_page(ws, "train", dataset="bare@v1")
    assert next(b for b in at.button if b.label == "Launch").disabled
    assert "Not yet: dataset: bare@v1 has no labelled images" in said(at)


def test_launch_that_can_be_pressed_says_nothing_beside_it(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "train", dataset="cards@v1")
    assert not next(b for b in at.button if b.label == "Launch").disabled
    assert "Not yet:" not in said(at)


def test_a_dataset_that_is_not_there_has_a_title_and_a_way_back(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="nosuch")
    assert "<h1>Datasets</h1>" in said(at) and "No dataset 'nosuch'" in said(at)
    next(b for b in at.button if b.label == "All datasets").click()
    at.run()
    assert "dataset" not in at.query_params and "1 dataset" in said(at)


@pytest.mark.parametrize("page", ["monitor", "evaluate"])
def test_why_a_run_stopped_is_said_where_its_state_is(judged: Workspace, open_page: Open, page: str) -> None:
    (run,) = [RunFolder(p) for p in judged.runs.iterdir() if RunFolder(p).status().state == "stopped"]
    run.append("state", state="stopped", reason="the time limit was reached", attempt=1)
    assert "the time limit was reached" in said(open_page(judged, page, run=run.id))


def test_a_failed_run_names_its_input_in_the_monitor(full: Workspace, open_page: Open) -> None:
    run = add_run(full, "cards@v1", state="failed", reason="a picture cannot be read")
    run.append(
        "state", state="failed", reason="a picture cannot be read", what_to_do="", error={"where": "scans/a.png"}
    )
    assert "Input:" in box(open_page(full, "monitor", run=run.id)) and "scans/a.png" in box(
        open_page(full, "monitor", run=run.id)
    )


def test_a_log_without_a_line_says_how_the_run_ended(full: Workspace, open_page: Open) -> None:
    run = add_run(full, "cards@v1", state="stopped", reason="the time limit was reached")
    run.log.write_text("")
    words = said(open_page(full, "monitor", run=run.id, view="log"))
    assert "Nothing was printed." in words and words.count("the time limit was reached") >= 2
    assert "newest 0 lines" not in words


def test_a_check_without_a_task_says_so_and_what_to_do(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "check", dataset="cards")
    fit_for = next(box for box in at.selectbox if box.label == "Fit for")
    assert fit_for.options[0] == "no task yet" and "has no task yet" in said(at) and "under Guidelines" in said(at)
    creating.set_task(full, "cards", "border_detection.dual_class")
    at = open_page(full, "check", dataset="cards")
    fit_for = next(box for box in at.selectbox if box.label == "Fit for")
    assert fit_for.options[0] == "the dataset's own" and "has no task yet" not in said(at)
