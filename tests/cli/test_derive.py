"""trugrade data derive, as programs and people use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from trugrade_core.cli import console, derive, run_line
from trugrade_core.data.store import Dataset
from trugrade_core.schema import ClassDef
from trugrade_core.synth import synthesize
from trugrade_core.workflows.carrying import CarryReport
from trugrade_core.workspace import Workspace

DAMAGE = "corner_analysis.damage_detection"


@pytest.fixture
def call(ws: Workspace, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Run a line with `--json`; (exit code, document)."""

    def run(*words: str) -> tuple[int, Any]:
        code = run_line(["-w", str(ws.root), "--json", *words])
        return code, json.loads(capfd.readouterr().out)

    return run


def test_made_up_cards_feed_a_task_and_can_be_split_at_once(
    ws: Workspace, call: Callable[..., tuple[int, Any]]
) -> None:
    synthesize(ws, "scans", count=2, dpi=60)
    code, report = call("data", "derive", "scans", "--task", DAMAGE, "--to", "corners")
    assert code == 0
    assert set(report) == {"dataset", "source", "task", "scans", "derived", "unchanged", "superseded", "labels", "outlines",
                           "formats", "padded", "most_padding", "skipped", "notes"}  # fmt: skip
    assert (report["scans"], report["derived"], report["skipped"]) == (2, 8, [])
    code, shown = call("data", "show", "corners")
    assert (shown["samples"], shown["cards"]) == (8, 2)
    code, made = call("data", "split", "corners", "--ratios", "50/50/0")
    assert code == 0 and sum(s["samples"] for s in made["splits"].values()) == 8


def test_people_are_told_what_was_left_out_and_what_comes_next(
    ws: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    synthesize(ws, "scans", count=1, dpi=60)
    ds = Dataset.open(ws, "scans")
    other = next(ds.iter_samples()).model_copy(update={"id": "0" * 16, "sources": ("no outline.png",)})
    ds.put_samples([other])
    assert (
        run_line(["-w", str(ws.root), "data", "derive", "scans", "--task", DAMAGE, "--to", "corners", "--limit", "2"])
        == 0
    )
    out = capfd.readouterr().out
    assert "4 new crops of 1 scans in 'corners', 0 unchanged, 0 superseded; 0 labels carried." in out
    assert "no outline.png" in out and "has no outline" in out
    assert "Next: annotate the crops in the app, then trugrade data split corners" in out


@pytest.mark.parametrize(
    ("words", "exit_code", "says", "what_to_do"),
    [
        (["scans", "--task", "border_detection.dual_class", "--to", "x"], 2, "looks at whole scans", "choose one of: corner_analysis"),
        (["scans", "--task", "corner_analysis", "--to", "x"], 2, "no task 'corner_analysis'", "did you mean"),
        (["scan", "--task", DAMAGE, "--to", "x"], 1, "no dataset 'scan'", "did you mean 'scans'?"),
        (["scans@v1", "--task", DAMAGE, "--to", "x"], 1, "no dataset 'scans@v1'", "did you mean 'scans'?"),
        (["scans", "--task", DAMAGE, "--to", "scans"], 2, "dataset of their own", "--to"),
        (["scans", "--task", DAMAGE, "--to", "x", "--format", "uk"], 2, "no card format 'uk'", "us, tcg, japanese"),
        (["scans", "--task", DAMAGE, "--to", "x", "--outline", "bordr"], 2, "has no class 'bordr'", "border"),
        (["scans", "--task", DAMAGE, "--to", "x", "--outline-from", "nope"], 1, "no run", ""),
        (["scans", "--task", DAMAGE], 2, "Missing option '--to'", "--help"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(
    ws: Workspace, call: Callable[..., tuple[int, Any]], words: list[str], exit_code: int, says: str, what_to_do: str
) -> None:
    Dataset.create(ws, "scans", [ClassDef(name="border")])
    code, document = call("data", "derive", *words)
    assert code == exit_code, document
    assert says in document["error"]["message"]
    assert what_to_do in document["error"]["what_to_do"]


def test_that_more_scans_were_left_out_than_are_listed_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "as_json", False)
    rows = [{"dataset": "scans", "sample": f"{n:04}", "reason": "it is not in the dataset"} for n in range(derive.LISTED + 2)]  # fmt: skip
    report = CarryReport(dataset="my crops", into=["scans"], steps={"scans": "x"}, left_out=rows)
    derive._show_carried(report, False)
    out = capsys.readouterr().out
    assert "0049" in out and "0050" not in out and "2 more; --json lists all." in out
    assert "trugrade data carry-back 'my crops' --undo" in out
