"""Versions and splits in the page: previewed before they are applied, compared, gone back to; classes changed and undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import said
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import snapshot, split
from trugrade_core.schema import Annotation, Box
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


def press(at: AppTest, label: str) -> None:
    next(button for button in at.button if button.label == label).click()
    at.run()
    assert not at.exception, [e.value for e in at.exception]


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def cards(ws: Workspace) -> Dataset:
    return Dataset.open(ws, "cards")


def relabel_one(ws: Workspace) -> str:
    """Move a side of the first box by 2 px and keep that as v2; the sample's id."""
    ds = cards(ws)
    entry = next(iter(ds.log()))
    moved = Annotation(id=entry.annotation, sample=entry.sample, label=entry.label, value=Box(xyxy=(8, 7, 62, 89)))
    ds.append([put_entry(moved, who="b", tool="canvas", replaces=entry.entry)])
    snapshot(ds)
    return entry.sample


def test_a_split_is_shown_before_it_is_made(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    assert "Split and keep" not in labels(at)
    at.number_input[0].set_value(5)
    press(at, "Preview the split")
    text = said(at)
    assert "misplaced" in text and "imbalance" in text and "whole cards allow" in text
    assert "cannot be compared with new ones" in text.replace("\\", ""), "what moves between held out and train"
    assert cards(full).version_names() == ["v1"], "nothing is written yet"
    press(at, "Split and keep")
    assert "Kept as cards@v2" in said(at) and cards(full).version_names() == ["v1", "v2"]
    assert "Split and keep" not in labels(at)


def test_the_first_split_of_a_dataset_is_the_one_thing_to_do(full: Workspace, open_page: Open) -> None:
    from tests.app.conftest import fill

    fill(full, "fresh", 6)
    at = open_page(full, "datasets", dataset="fresh", view="versions")
    assert "No version yet" in said(at)
    press(at, "Preview the split")
    press(at, "Split and keep")
    assert "Kept as fresh@v1" in said(at)


def test_the_preview_has_an_address(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions", part="split")
    assert "misplaced" in said(at) and "Split and keep" in labels(at)
    press(at, "Split and keep")
    assert "misplaced" not in said(at)


def test_folds_are_shown_and_kept(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    at.number_input[1].set_value(3)
    press(at, "Preview the split")
    assert "In each fold its own cards are val" in said(at)
    press(at, "Split and keep")
    assert "with 3 folds" in said(at)
    assert list((cards(full).versions_path).glob("v*/folds/3-0-card.json"))


def test_a_unit_that_nothing_names_is_refused_with_what_to_do(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    next(p for p in at.button_group if "Also kept together" in p.label).set_value(["design"])
    press(at, "Preview the split")
    assert "o sample names its design" in said(at) and "Split and keep" not in labels(at)


def test_two_versions_side_by_side_by_their_address(full: Workspace, open_page: Open) -> None:
    sample = relabel_one(full)
    at = open_page(full, "datasets", dataset="cards", view="versions", **{"from": "v1", "to": "v2"})
    text = said(at)
    assert "outer_border moved by 2.00 px (0.508 mm)" in text or "outer_border moved by 2 px (0.508 mm)" in text
    assert text.count("/lab/thumb/") == 2 and f"sample={sample}" in text, "both sides, and the way to the sample"
    same = open_page(full, "datasets", dataset="cards", view="versions", **{"from": "v1", "to": "v1"})
    assert "cards@v1 and cards@v1 hold the same" in said(same)
    assert "/lab/thumb/" not in said(open_page(full, "datasets", dataset="cards", view="versions"))


def test_going_back_is_foreseen_done_and_undone(full: Workspace, open_page: Open) -> None:
    relabel_one(full)
    at = open_page(full, "datasets", dataset="cards", view="versions")
    press(at, "Show what would change")
    assert "labels or status said anew" in said(at)
    press(at, "Go back to v1")
    assert "is as in v1 again, kept as v3. What was there is v2." in said(at)
    ds = cards(full)
    assert ds.manifest("v3").digest == ds.manifest("v1").digest
    press(at, "Undo: back to v1")
    assert "Undo: back to v1" in said(at) and snapshot(ds).digest == ds.manifest("v2").digest


def test_classes_are_changed_after_a_look_and_undone(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    next(t for t in at.text_input if t.label == "New name").set_value("edge <b>")
    at.run()
    assert cards(full).classes[0].name == "outer_border"
    press(at, "Rename it")
    assert "Rename it" not in labels(at), "the fields are empty again"
    assert [c.name for c in cards(full).classes] == ["edge <b>", "graphical_border"]
    press(at, "Undo: rename 'outer_border' to 'edge <b>'")
    assert [c.name for c in cards(full).classes] == ["outer_border", "graphical_border"]


def test_a_name_that_cannot_be_is_told(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions")
    next(t for t in at.text_input if t.label == "New name").set_value("graphical_border")
    at.run()
    assert "'graphical_border' is a class already" in said(at) and "Rename it" not in labels(at)


def test_a_damaged_version_is_a_row_that_says_so(full: Workspace, open_page: Open) -> None:
    split(cards(full), seed=4)
    (cards(full).versions_path / "v1" / "version.json").write_text("{")
    at = open_page(full, "datasets", dataset="cards", view="versions")
    assert "damaged" in said(at)


@pytest.mark.parametrize("name", ["v9", "now"])
def test_an_address_with_a_side_that_is_not_there(full: Workspace, open_page: Open, name: str) -> None:
    at = open_page(full, "datasets", dataset="cards", view="versions", **{"from": "v1", "to": name})
    assert ("hold the same" in said(at)) == (name == "now")
