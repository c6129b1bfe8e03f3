"""The form that cuts regions: which way round it asks, what it shows first, what it starts, what it says afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import add_sample, fill, said
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Annotation, ClassDef, Polygon
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import carrying, creating, deriving
from trugrade_core.workspace import Workspace

DAMAGE = "corner_analysis.damage_detection"


def page(ws: Workspace, dataset: str, monkeypatch: pytest.MonkeyPatch, **params: str) -> AppTest:
    monkeypatch.setenv("TRUGRADE_WORKSPACE", str(ws.root))

    def script(dataset: str) -> None:
        from app import derive_form, state

        derive_form.show(state.workspace(), dataset)

    at = AppTest.from_function(script, kwargs={"dataset": dataset}, default_timeout=60)
    for name, value in params.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception, [e.value for e in at.exception]
    return at


def scans(ws: Workspace) -> Dataset:
    """Eight small cards as scanned at 30 dpi: 56 x 82 px, 47 x 69 mm."""
    ds = fill(ws, "cards", 8)
    ds.put_samples([s.model_copy(update={"dpi": 22.5}) for s in ds.samples().values()])
    return ds


def test_scans_are_cut_for_a_task_that_is_chosen(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    scans(ws)
    started: list[Any] = []

    def start(ws: Workspace, source: str, to: str, options: deriving.DeriveOptions, who: str = "") -> RunFolder:
        started.append((source, to, options))
        return RunFolder.create(ws.jobs, {"kind": "derive", "args": {}, "title": "Cut", "who": who})

    monkeypatch.setattr(deriving, "start_derive", start)
    at = page(ws, "cards", monkeypatch)
    tasks = at.selectbox(key="derive-task-cards")
    assert tasks.options[0] == "Corner quality" and "Borders, outer and graphical" not in tasks.options
    tasks.select(TASKS["edge_analysis.wear_detection"]).run()
    assert (
        "Strips along the four edges, 22 × 5 mm each, 1 mm of it outside the card; at the scan's own resolution."
        in said(at)
    )
    assert at.text_input(key="derive-to-cards-edge_analysis.wear_detection").value == "cards-edges"
    assert "regions (outline as drawn)" in said(at)
    assert "<svg" in said(at) and "/lab/thumb/" in said(at)
    at.toggle(key="derive-whole").set_value(True)
    at.button(key="derive-go").click().run()
    ((source, to, options),) = started
    assert (source, to) == ("cards", "cards-edges")
    assert (options.task, options.refine, options.whole_labels, options.outline) == (
        "edge_analysis.wear_detection",
        True,
        True,
        "",
    )


def test_a_dataset_of_a_task_asks_which_scans_it_is_cut_from(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    creating.create_dataset(ws, "corners", DAMAGE)
    at = page(ws, "corners", monkeypatch)
    assert "No scans to cut yet" in said(at)
    scans(ws)
    at = page(ws, "corners", monkeypatch)
    assert at.selectbox(key="derive-source").options == ["cards"]
    assert "Four corners, 8 × 8 mm each" in said(at)
    assert not [box for box in at.selectbox if box.label == "Cut for"] and not at.text_input  # both are said already


def test_a_scan_that_would_be_left_out_says_why_before_anything_is_cut(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = Dataset.create(ws, "cards", [ClassDef(name="outer_border")])
    sample, _ = add_sample(ws, 1, labelled=False)
    ds.put_samples([sample])
    at = page(ws, "cards", monkeypatch)
    assert "card-00001.png would be left out: has no outline: no shape of the card's edge" in said(at)
    Dataset.create(ws, "empty")
    assert "'empty' holds no pictures." in said(page(ws, "empty", monkeypatch))


def test_what_cannot_be_meant_is_said_on_the_page(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    scans(ws)
    at = page(ws, "cards", monkeypatch)
    at.text_input(key="derive-to-cards-corner_analysis.quality_classification").set_value("cards").run()
    at.button(key="derive-go").click().run()
    assert "Crops need a dataset of their own" in said(at)
    assert not list(ws.jobs.glob("*"))


def test_the_report_says_what_came_of_it_and_leads_on(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    scans(ws)
    job = RunFolder.create(
        ws.jobs, {"kind": "derive", "args": {}, "title": "Cut corner regions of cards into c", "who": ""}
    )
    report = deriving.DeriveReport(
        dataset="c", source="cards", task=DAMAGE, scans=7, derived=27, superseded=2, labels=3, padded=1, most_padding=0.07,
        skipped=[{"sample": "s", "source": "<b>a.png", "region": "corner:top_left", "reason": "31 % of it lie outside"}],
        notes=["7 outlines are boxes, refined by the edges in the scan", "say which with --outline"],
    )  # fmt: skip
    job.append("result", values=report.model_dump(mode="json"), attempt=1)
    job.append("state", state="finished", reason="", attempt=1)
    at = page(ws, "cards", monkeypatch, job=job.id)
    text = said(at)
    for words in ("of 7 scans", "27", "cut elsewhere now", "refined by the edges", "say which with 'The outline is drawn as'", "1 crop reaches out of the scan and is black there", "at most 7 %",
                  "31 % of it lie outside", "corner:top_left"):  # fmt: skip
        assert words in text
    assert at.button(key="derive-next").label == "Look at the crops"


def test_what_was_drawn_on_crops_is_carried_back_with_a_preview_and_undone(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = scans(ws)
    deriving.derive(ws, "cards", "corners", deriving.DeriveOptions(task=DAMAGE, refine=False))
    crops = Dataset.open(ws, "corners")
    crop = next(iter(crops.samples()))
    value = Polygon(points=((1, 1), (4, 1), (4, 4)))
    crops.append(
        [put_entry(Annotation(id="drawn", sample=crop, label="ding", value=value), who="ann", tool="annotator")]
    )
    at = page(ws, "corners", monkeypatch)
    assert "New classes in the scans' dataset: ding" in said(at)
    at.button(key="carry-go").click().run()
    assert "1 label carried back to 1 scan." in said(at)
    assert [a.label for own in ds.annotations().values() for a in own].count("ding") == 1
    assert at.button(key="carry-go").disabled
    at.button(key="carry-undo").click().run()
    assert "1 label taken back." in said(at) and "ding" not in [c.name for c in ds.classes]


def test_what_goes_wrong_in_carrying_is_said_of_carrying(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    scans(ws)
    deriving.derive(ws, "cards", "corners", deriving.DeriveOptions(task=DAMAGE, refine=False))
    crops = Dataset.open(ws, "corners")
    value = Polygon(points=((1, 1), (4, 1), (4, 4)))
    crops.append([put_entry(Annotation(id="drawn", sample=next(iter(crops.samples())), label="ding", value=value), who="ann", tool="annotator")])  # fmt: skip
    assert carrying.sources(ws, "corners") == ["cards"] and carrying.sources(ws, "cards") == []
    at = page(ws, "corners", monkeypatch)
    real = carrying.carry_back

    def broken(ws: Workspace, name: str, *, who: str, preview: bool = False) -> carrying.CarryReport:
        if not preview:
            raise RuntimeError("a wheel came off")
        return real(ws, name, who=who, preview=True)

    monkeypatch.setattr(carrying, "carry_back", broken)
    at.button(key="carry-go").click().run()
    assert "Carrying labels back met a fault in the lab" in said(at) and "Looking what would be" not in said(at)
