"""What a click does: uploads land as files, a run is asked to stop, a dataset goes to the trash, an import becomes a job."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import import_form, uploads
from tests.app.conftest import add_run, charts, said
from trugrade_core.data.store import list_datasets
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace, locked

Open = Callable[..., AppTest]


class Upload(io.BytesIO):
    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        self.name = name


def press(at: AppTest, label: str) -> None:
    next(button for button in at.button if button.label == label).click()
    at.run()


def test_uploads_stay_in_their_folder_and_keep_each_others_bytes(ws: Workspace) -> None:
    files: list[Any] = [
        Upload("../../evil.png", b"1"),
        Upload("a.png", b"2"),
        Upload("box\\a.png", b"3"),
        Upload("cards.csv", b"file,card"),
    ]
    source, cards = import_form._save(ws, files)
    assert source.is_relative_to(ws.cache)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == {
        "evil.png": b"1",
        "a.png": b"2",
        "a (2).png": b"3",
    }
    assert cards is not None and cards.read_bytes() == b"file,card"


@pytest.mark.parametrize("name", ["labels.json", "scans.zip", "table.csv"])
def test_a_single_label_file_or_zip_is_the_source_itself(ws: Workspace, name: str) -> None:
    source, cards = import_form._save(ws, [Upload(name, b"x")])  # type: ignore[list-item]
    assert source.name == name and cards is None


def test_copies_of_uploads_go_after_a_day_and_not_while_a_job_reads_them(ws: Workspace, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"kept by its own path")
    new, old, read = (uploads.new(ws) for _ in range(3))
    (old / "link.png").symlink_to(picture)
    RunFolder.create(ws.jobs, {"kind": "import", "title": "Import", "args": {"source": str(read / "files")}}).queue()
    for folder in (old, read):
        os.utime(folder, (time.time() - uploads.KEPT_S - 60,) * 2)
    uploads.clear(ws)
    assert [folder.exists() for folder in (new, old, read)] == [True, False, True]
    assert picture.exists()


def test_an_import_from_a_folder_becomes_a_job_with_its_options(
    full: Workspace, open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trugrade_core.workflows import jobs

    started: list[RunFolder] = []
    monkeypatch.setattr(jobs, "launch", started.append)
    at = open_page(full, "datasets", view="import", dataset="cards")
    at.button_group(key="import-where").set_value(import_form.FOLDER).run()
    at.text_input(key="import-folder").set_value(str(tmp_path)).run()
    at.text_area(key="import-map").set_value("card=outer_border\n").run()
    press(at, "Check first")
    assert [job.job()["args"]["options"]["dry_run"] for job in started] == [True]
    press(at, "Import")
    args = started[1].job()["args"]
    assert args["source"] == str(tmp_path) and args["dataset"] == "cards"
    assert args["options"]["mapping"] == {"card": "outer_border"} and args["options"]["dry_run"] is False
    at.text_area(key="import-map").set_value("no pair").run()
    press(at, "Import")
    assert "is not theirs=ours" in said(at)
    assert len(started) == 2


def test_a_running_run_is_asked_to_save_and_to_stop(full: Workspace, open_page: Open) -> None:
    run = add_run(full, "cards@v1", state="running")
    with locked(run.path / ".lock"):
        at = open_page(full, "monitor", run=run.id)
        assert "Loss by step" in charts(at)
        press(at, "Save now")
        press(at, "Stop and keep")
        assert run.asked()[1] == ["save", "stop"]


def test_a_run_whose_process_is_gone_is_crashed_and_can_be_resumed(full: Workspace, open_page: Open) -> None:
    run = add_run(full, "cards@v1", state="running")
    at = open_page(full, "monitor", run=run.id)
    assert "The process ended while running" in said(at)
    assert "Resume" in [button.label for button in at.button]


def test_removing_goes_to_the_trash(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    press(at, "Move to the trash")
    assert list_datasets(full) == []
    assert list((full.root / "trash").rglob("samples.jsonl"))


def test_a_job_of_the_demo_says_what_it_came_to(full: Workspace, open_page: Open, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<p>report</p>")
    job = RunFolder.create(full.jobs, {"kind": "demo", "title": "Demo", "args": {"seed": 0}})
    side = {"value": 0.4, "low": 0.3, "high": 0.5, "n_cards": 12}
    values = {
        "run": "r",
        "report": str(report),
        "metrics": {"side_error_mm": side},
        "baseline": {"side_error_mm": side | {"value": 0.9}},
    }
    job.append(
        "result", values={**values, "parity": {"passed": True}, "seconds": 200.0, "dataset": "d", "artifact": "a"}
    )
    job.append("state", state="finished", reason="")
    at = open_page(full, "home", job=job.id)
    text = said(at)
    assert "0.400 mm" in text and "0.900 mm" in text and "0.300 to 0.500 mm" in text
    assert "Report" in [button.label for button in at.get("download_button")]
