"""What a page remembers: nothing of somebody else is put back, no half-made dataset, one card for one job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app import state
from tests.app.conftest import fill, said
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.data.store import Dataset, list_datasets
from trugrade_core.errors import UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Box, ClassDef
from trugrade_core.workflows import creating, looping, versioning
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]
PRIMARY = "primary"


def primary(at: AppTest) -> list[str]:
    return [b.label for b in at.button if b.proto.type == PRIMARY]


def test_a_job_of_a_dataset_stands_once_above_its_samples(full: Workspace, open_page: Open) -> None:
    job = RunFolder.create(full.jobs, {"kind": "watch", "title": "Watch out for cards", "args": {}})
    job.append("state", state="finished", attempt=1)
    job.append("result", dataset="cards", images=0)
    text = said(open_page(full, "datasets", dataset="cards", view="browse", job=job.id))
    assert text.count("tg-state finished") == 1


def test_a_task_that_somebody_else_has_set_is_shown_and_not_put_back(full: Workspace, open_page: Open) -> None:
    creating.set_task(full, "cards", "border_detection.dual_class")
    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    creating.set_task(full, "cards", "border_detection.single_class")
    at.run()
    assert creating.describe(full, "cards")["task"] == "border_detection.single_class"
    assert "border_detection.single_class" in [b.value for b in at.selectbox]


def test_words_that_are_being_written_outlive_what_somebody_else_saves(full: Workspace, open_page: Open) -> None:
    creating.set_guidelines(full, "cards", "One.", who="aiko")
    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    at.text_area[0].input("Mine.").run()
    creating.set_guidelines(full, "cards", "Two.", who="ben")
    at.run()
    assert at.text_area[0].value == "Mine." and "ben" in said(at) and "Two." in said(at)
    next(b for b in at.button if b.label == "Save").click().run()
    assert [h["text"] for h in creating.guideline_history(full, "cards")] == ["One.", "Two.", "Mine."]
    assert at.text_area[0].value == "Mine." and not at.warning


def test_a_box_that_was_cleared_stays_clear_and_can_be_saved_so(full: Workspace, open_page: Open) -> None:
    creating.set_guidelines(full, "cards", "One.", who="aiko")
    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    at.text_area[0].input("").run()
    assert at.text_area[0].value == ""
    next(b for b in at.button if b.label == "Save").click().run()
    assert [h["text"] for h in creating.guideline_history(full, "cards")] == ["One.", ""]


def test_a_task_that_cannot_be_set_is_said_on_the_page_once_and_nothing_is_changed(
    full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UsageError("the dataset is being moved", what_to_do="Try again in a minute.")

    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    monkeypatch.setattr(creating, "set_task", refuse)
    at.selectbox(key="task-of-cards").select("border_detection.dual_class").run()
    assert said(at).count("The dataset is being moved") == 1 and at.selectbox(key="task-of-cards").value is None
    drawn = [getattr(e.proto, "body", None) or getattr(e.proto, "label", "") for e in at.main]
    (error,) = [n for n, words in enumerate(drawn) if 'class="tg-error"' in words]
    assert error > drawn.index("What it is for")  # where the task is, not above the page
    at.run()
    assert "The dataset is being moved" not in said(at)


@pytest.mark.parametrize("folder", ["", "/nowhere/at/all"])
def test_a_folder_that_cannot_be_watched_leaves_no_half_made_dataset(
    ws: Workspace, open_page: Open, folder: str
) -> None:
    at = open_page(ws, "new_dataset", category="border_detection", task="border_detection.dual_class")
    at.radio(key="new-source").set_value("A watched folder").run()
    at.text_input(key="new-name").input("autumn").run()
    at.text_input(key="new-folder").input(folder).run()
    assert at.button(key="new-start").disabled and not list_datasets(ws)
    assert ("no such folder" if folder else "Name the folder") in said(at)


def test_class_names_keep_their_capitals_in_what_is_told(ws: Workspace, open_page: Open) -> None:
    Dataset.create(ws, "cards", [ClassDef(name="PSA dent", shape="box")])
    ds = fill(ws, "more", 2)
    at = open_page(ws, "datasets", dataset=ds.name, view="versions")
    at.text_input(key="classes-new-0").input("Outer Border").run()
    at.button(key="classes-apply").click().run()
    assert "Outer Border" in " ".join(s.value for s in at.success)
    versioning.split_dataset(ws, ds.name)
    at = open_page(ws, "datasets", dataset=ds.name, view="versions")
    next(b for b in at.button if b.label.startswith("Undo")).click().run()
    assert "Outer Border" in " ".join(s.value for s in at.success)


@pytest.mark.parametrize("view", ["browse", "versions", "import", "derive", "guidelines", "label_studio"])
def test_a_view_of_a_dataset_has_one_primary_button(full: Workspace, open_page: Open, view: str) -> None:
    assert len(primary(open_page(full, "datasets", dataset="cards", view=view))) == 1


def test_a_chosen_task_is_no_second_primary_button(ws: Workspace, open_page: Open) -> None:
    at = open_page(ws, "new_dataset", category="border_detection", task="border_detection.dual_class")
    assert primary(at) == ["Start the dataset"]


def test_the_name_chosen_for_this_browser_goes_with_what_any_page_does(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    at.session_state["annotate-who"] = "Zoë"
    at.text_area[0].input("Look twice.").run()
    next(b for b in at.button if b.label == "Save").click().run()
    assert creating.guideline_history(full, "cards")[-1]["who"] == "Zoë"
    assert "Zoë" in said(at)  # and the foot of the page says so


@pytest.mark.parametrize(
    ("params", "words"),
    [({"sample": "0123456789abcdef"}, "No such sample"), ({"size": "wide"}, "wide")],
)
def test_an_address_that_leads_nowhere_in_annotate_has_a_way_on(
    full: Workspace, open_page: Open, params: dict[str, str], words: str
) -> None:
    at = open_page(full, "annotate", dataset="cards", **params)
    assert words in said(at)
    next(b for b in at.button if b.label == "Annotate the whole dataset").click().run()
    assert words not in said(at) and not at.exception


def test_samples_are_named_by_their_file(full: Workspace) -> None:
    assert state.names_of(full, "cards", []) == {}
    ids = list(Dataset.open(full, "cards").samples())
    assert state.names_of(full, "cards", ids[1:2]) == {ids[1]: "card-00001.png"}
    assert state.names_of(full, "cards", ["gone"]) == {"gone": "gone"}


def test_hardest_samples_and_conflicts_are_drawn_by_their_file(judged: Workspace, open_page: Open) -> None:
    ds = Dataset.open(judged, "cards")
    (run, *_) = [RunFolder(p).id for p in judged.runs.iterdir() if RunFolder(p).status().state == "finished"]
    at = open_page(judged, "evaluate", run=run)
    (why,) = [e.proto.json for e in at.get("bidi_component") if ">why</th>" in e.proto.json]
    hard = looping.hard_samples(judged, run, "test")
    files = state.names_of(judged, "cards", [row["sample"] for row in hard])
    assert hard and all(f">{name}<" in why for name in files.values())
    sample = list(ds.samples())[1]
    old = state_of(ds, sample).shown[0]
    for who in ("aiko", "ben"):
        op = Op(op="put", annotation=old.annotation, label=old.label, replaces=old.entry,
                value=Box(xyxy=(6, 7, 60, 89 - len(who))))  # fmt: skip
        save(ds, sample, [op], who=who, tool="annotator", commit=f"commit-{who}")
    assert ">card-00001.png<" in said(open_page(judged, "review", dataset="cards"))


@pytest.mark.parametrize("view", ["browse", "versions", "derive"])
def test_a_dataset_without_images_asks_for_them_and_for_nothing_else(ws: Workspace, open_page: Open, view: str) -> None:
    creating.create_dataset(ws, "bare", "corner_analysis.damage_detection")
    assert primary(open_page(ws, "datasets", dataset="bare", view=view)) == ["Import images"]
    assert primary(open_page(ws, "annotate", dataset="bare")) == ["Import images"]


def test_a_conflict_named_among_the_versions_has_a_way_to_settle_it(full: Workspace, open_page: Open) -> None:
    ds = Dataset.open(full, "cards")
    sample = next(iter(ds.samples()))
    old = next(e for e in state_of(ds, sample).shown if e.label == "outer_border")
    for who in ("aiko", "ben"):
        op = Op(op="put", annotation=old.annotation, label=old.label, replaces=old.entry,
                value=Box(xyxy=(6, 7, 60, 89 - len(who))))  # fmt: skip
        save(ds, sample, [op], who=who, tool="annotator", commit=f"commit-{who}")
    at = open_page(full, "datasets", dataset="cards", view="versions")
    at.button(key="versions-settle").click().run()
    assert "Two people changed the same shape" in said(at)
