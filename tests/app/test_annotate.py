"""The Annotate page without a browser: what it says and hands to the annotator, and what it does with what comes back."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import add_sample, fill, said
from trugrade_core.annotate import queue
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Box, ClassDef, Status
from trugrade_core.workflows import creating
from trugrade_core.workspace import Workspace, write_json

Open = Callable[..., AppTest]


def view(at: AppTest) -> dict[str, Any]:
    """What the annotator is given."""
    (found,) = [e.proto for e in at.get("bidi_component") if e.proto.component_name == "tg_annotator"]
    return dict(json.loads(json.loads(found.json)["view"]))


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


@pytest.fixture
def cards(ws: Workspace) -> Dataset:
    return fill(ws, "cards", 8)


def first(ds: Dataset) -> str:
    return next(iter(ds.samples()))


def test_without_a_dataset_it_leads_to_an_import_and_with_some_asks_which(ws: Workspace, open_page: Open) -> None:
    at = open_page(ws, "annotate")
    assert "Nothing to annotate yet" in said(at) and "Import images" in labels(at)
    fill(ws, "cards", 3)
    assert "cards" in said(open_page(ws, "annotate")) and "no dataset 'gone'" in said(
        open_page(ws, "annotate", dataset="gone")
    )


def test_a_dataset_without_samples_or_classes_says_what_comes_next(ws: Workspace, open_page: Open) -> None:
    ds = Dataset.create(ws, "bare")
    assert "This dataset has no samples" in said(open_page(ws, "annotate", dataset="bare"))
    ds.put_samples([add_sample(ws, 1)[0]])
    at = open_page(ws, "annotate", dataset="bare")
    assert "No classes yet" in said(at)
    next(t for t in at.text_input if t.label == "Classes").set_value("outer_border, stain")
    next(b for b in at.button if b.label == "Add").click()
    at.run()
    assert [c.name for c in ds.classes] == ["outer_border", "stain"]


def test_the_sample_of_the_address_is_shown_with_its_shapes_classes_and_progress(
    cards: Dataset, open_page: Open
) -> None:
    at = open_page(cards.ws, "annotate", dataset="cards", sample=first(cards))
    given = view(at)
    assert given["sample"] == first(cards) and given["readonly"] == ""
    assert {s["label"] for s in given["shapes"]} == {"outer_border", "graphical_border"}
    assert [(c["name"], c["key"]) for c in given["classes"]] == [("outer_border", "1"), ("graphical_border", "2")]
    assert (
        given["image"]["url"].startswith("/lab/image/")
        and given["image"]["half_url"] is None
        and len(given["next"]) == 2
        and given["previous"] == ""
    )
    assert "6 of 8 done" in said(at) and "1 of 8" in said(at)


def test_more_classes_than_digits_have_keys_with_shift(ws: Workspace, open_page: Open) -> None:
    ds = Dataset.create(ws, "many", [ClassDef(name=f"kind {n}") for n in range(1, 21)])
    ds.put_samples([add_sample(ws, 1)[0]])
    keys = [c["key"] for c in view(open_page(ws, "annotate", dataset="many"))["classes"]]
    assert keys == [*"123456789", *(f"Shift+{n}" for n in range(1, 10)), "", ""]


def test_without_a_sample_it_goes_on_where_the_person_left_off_else_at_the_first_to_do(
    cards: Dataset, open_page: Open
) -> None:
    ids = list(cards.samples())
    assert view(open_page(cards.ws, "annotate", dataset="cards"))["sample"] == ids[3]  # the first unlabelled
    import getpass

    save(
        cards, ids[5], [], who=getpass.getuser(), tool="annotator", commit="the-commit", status=Status(status="unsure")
    )
    at = open_page(cards.ws, "annotate", dataset="cards")
    assert view(at)["sample"] == ids[5] and view(at)["status"] == "unsure" and "1 unsure" in said(at)


def test_a_filter_of_the_address_narrows_the_queue_and_nothing_fitting_says_so(cards: Dataset, open_page: Open) -> None:
    at = open_page(cards.ws, "annotate", dataset="cards", status="unlabelled")
    assert "1 of 2" in said(at) and "status: unlabelled" in said(at)
    assert "No sample fits the filter" in said(open_page(cards.ws, "annotate", dataset="cards", status="rescan"))


def test_a_finished_sample_stays_in_the_queue_it_was_opened_in(cards: Dataset, open_page: Open) -> None:
    at = open_page(cards.ws, "annotate", dataset="cards", status="unlabelled")
    id = view(at)["sample"]
    save(cards, id, [], who="ana", tool="annotator", commit="the-commit", status=Status(status="done"))
    at.run()
    assert view(at)["sample"] == id and "1 of 2" in said(at) and "1 of 2 done" in said(at)


def test_next_unlabelled_leaves_out_what_others_have_open(cards: Dataset, open_page: Open) -> None:
    ids = list(cards.samples())
    queue.is_here(cards, ids[7], "ben", browser="another")
    at = open_page(cards.ws, "annotate", dataset="cards", sample=ids[3])
    next(b for b in at.button if b.label == "Next unlabelled").click()
    at.run()
    assert view(at)["sample"] == ids[3] and any("somebody is at it" in t.value for t in at.toast)
    assert "also open: ben" in said(open_page(cards.ws, "annotate", dataset="cards", sample=ids[7]))


def test_a_conflict_is_shown_with_both_versions_and_settled_with_a_reason(cards: Dataset, open_page: Open) -> None:
    id = first(cards)
    shown = state_of(cards, id).shown[0]
    for who, right in (("ana", 60.0), ("ben <b>", 61.0)):
        op = Op(
            op="put",
            annotation=shown.annotation,
            label=shown.label,
            value=Box(xyxy=(6, 7, right, 89)),
            replaces=shown.entry,
        )
        save(cards, id, [op], who=who, tool="annotator", commit=f"commit-{who}")
    at = open_page(cards.ws, "annotate", dataset="cards", sample=id)
    assert (
        "Two people changed the same shape" in said(at)
        and "ana" in said(at)
        and "ben &lt;b&gt;" in "".join(e.proto.body for e in at.get("html"))
    )
    assert [len(s["conflict"]) for s in view(at)["shapes"]].count(1) == 1
    next(t for t in at.text_input if t.label == "Why").set_value("nearer")
    at.run()
    next(b for b in at.button if b.label == "Keep this one").click()
    at.run()
    assert not cards.conflicts() and "Two people" not in said(at)
    assert {e.reason for e in cards.log()} == {"", "nearer"}


def test_what_label_studio_has_is_read_only_and_says_why(cards: Dataset, open_page: Open) -> None:
    write_json(cards.path / "label_studio.json", {"samples": {first(cards): {"id": 7, "state": "pushed"}}})
    assert (
        "Label Studio (task 7)"
        in view(open_page(cards.ws, "annotate", dataset="cards", sample=first(cards)))["readonly"]
    )


def test_a_damaged_log_is_named_with_its_line(cards: Dataset, open_page: Open) -> None:
    with cards.log_path.open("ab") as f:
        f.write(
            b'{"entry": "x", "annotation": "y", "sample": 7, "layer": "main", "who": "z", "tool": "t", "op": "put"}\n'
        )
    text = said(open_page(cards.ws, "annotate", dataset="cards", sample=first(cards)))
    assert "was damaged or changed by hand" in text and "annotations.jsonl" in text


@pytest.mark.parametrize(
    ("task", "mode", "words"),
    [("corner_analysis.quality_classification", "score", 19), ("surface_analysis.damage_classification", "tags", 5),
     ("corner_analysis.damage_detection", "mask", 0)],
)  # fmt: skip
def test_each_kind_of_task_has_its_way_of_annotating(
    ws: Workspace, open_page: Open, task: str, mode: str, words: int
) -> None:
    creating.create_dataset(ws, "new", task)
    Dataset(ws, "new").put_samples([add_sample(ws, 1)[0]])
    given = view(open_page(ws, "annotate", dataset="new"))
    assert given["mode"] == mode and given["rubric"]
    assert len(given["scores"] if mode == "score" else given["tags"]) == words or mode == "mask"


def test_guidelines_with_words_of_their_own_are_open_beside_the_canvas(ws: Workspace, open_page: Open) -> None:
    creating.create_dataset(ws, "new", "corner_analysis.damage_detection", guidelines="Only the **red** corner.")
    Dataset(ws, "new").put_samples([add_sample(ws, 1)[0]])
    assert "Only the **red** corner." in said(open_page(ws, "annotate", dataset="new"))


def test_what_was_given_to_a_person_as_a_blind_vote_is_drawn_in_a_layer_of_their_own(
    cards: Dataset, open_page: Open
) -> None:
    import getpass

    from trugrade_core.annotate import assigning

    ids, me = list(cards.samples()), getpass.getuser()
    assigning.assign(cards, ids[:2], [me, "ben"], each=2, by="lead")
    assert view(open_page(cards.ws, "annotate", dataset="cards", assigned=me))["sample"] == ids[0]
    at = open_page(cards.ws, "annotate", dataset="cards", assigned="me")
    given = view(at)
    assert (
        given["sample"] == ids[0] and given["shapes"] == [] and given["status"] == "unlabelled"
    )  # others' labels unseen
    assert f"blind vote as {me}" in said(at) and "1 of 2" in said(at) and "0 of 2 done" in said(at)
    assert len(view(open_page(cards.ws, "annotate", dataset="cards", sample=ids[4]))["shapes"]) == 2


# --- what comes back from the browser -----------------------------------------------------------------------------


def send(ds: Dataset, **told: Any) -> dict[str, Any]:
    """The page's answer to a commit."""

    def page(root: str, name: str, told: dict) -> None:  # type: ignore[type-arg] (run from its source alone)
        import streamlit as st

        from app.annotate_talk import Talk
        from trugrade_core.data.store import Dataset
        from trugrade_core.workspace import Workspace

        ws = Workspace.open(root)
        Talk(ws, Dataset(ws, name), [], {}, "").commit(told)
        st.json(st.session_state["annotate-saved"])

    commit = {"seq": 1, "who": "ana", "made": "t", "ops": [], "layer": "main", **told}
    if commit["layer"] is None:
        del commit["layer"]  # as a page of before layers kept it
    at = AppTest.from_function(page, kwargs={"root": ds.ws.root, "name": ds.name, "told": commit}).run()
    assert not at.exception
    return dict(json.loads(at.json[0].value))


def test_a_status_replaces_what_its_author_saw_however_late_it_arrives(cards: Dataset, open_page: Open) -> None:
    id = first(cards)
    save(cards, id, [], who="ana", tool="annotator", commit="commit-1", status=Status(status="unsure"))
    seen = view(open_page(cards.ws, "annotate", dataset="cards", sample=id))["status_entry"]
    assert seen == state_of(cards, id).status_entry is not None
    glare = Status(status="rescan", comment="glare")
    save(cards, id, [], who="ben", tool="annotator", commit="commit-2", status=glare, status_replaces=seen)
    open_page(cards.ws, "annotate", dataset="cards", sample=id)
    done = {"status": "done", "comment": ""}
    answer = send(cards, commit="an-older-commit", sample=id, status=done, status_replaces=seen)
    (conflict,) = cards.conflicts()
    assert answer["problem"] == "" and answer["entries"] == [conflict.heads[-1].entry]
    assert [h.value.status for h in conflict.heads if isinstance(h.value, Status)] == ["rescan", "done"]


def test_what_was_drawn_in_a_layer_stays_in_it_when_the_assignment_is_withdrawn_before_it_arrives(
    cards: Dataset, open_page: Open
) -> None:
    import getpass

    from trugrade_core.annotate import assigning

    id, me = first(cards), getpass.getuser()
    assert view(open_page(cards.ws, "annotate", dataset="cards", sample=id))["layer"] == "main"
    assigning.assign(cards, [id], [me, "ben"], each=2, by="lead")
    layer = view(open_page(cards.ws, "annotate", dataset="cards", sample=id))["layer"]
    assert layer == me
    assigning.withdraw(cards, [id], me, by="lead")
    drawn = {"op": "put", "annotation": "0123456789abcdef", "label": "outer_border", "attributes": {}, "replaces": None,
             "suggested_by": None, "value": {"type": "box", "xyxy": [1, 1, 30, 30]}}  # fmt: skip
    answer = send(cards, commit="a-late-commit", sample=id, who=me, layer=layer, ops=[drawn])
    assert answer["problem"] == "" and len(state_of(cards, id).shown) == 2
    assert [e.entry for e in state_of(cards, id, me).shown] == answer["entries"]


@pytest.mark.parametrize("blind", [True, False])
def test_a_commit_that_an_earlier_page_kept_goes_to_the_layer_that_the_person_has(cards: Dataset, blind: bool) -> None:
    from trugrade_core.annotate import assigning

    id = first(cards)
    if blind:
        assigning.assign(cards, [id], ["ana", "ben"], each=2, by="lead")
    drawn = {"op": "put", "annotation": "0123456789abcdef", "label": "outer_border", "attributes": {}, "replaces": None,
             "suggested_by": None, "value": {"type": "box", "xyxy": [1, 1, 30, 30]}}  # fmt: skip
    answer = send(cards, commit="a-kept-commit", sample=id, layer=None, ops=[drawn])
    assert answer["problem"] == ""
    shown = [e.entry for e in state_of(cards, id, "ana" if blind else "main").shown]
    assert answer["entries"][0] in shown and len(shown) == (1 if blind else 3)


def test_what_a_click_found_is_offered_in_its_own_dataset_alone(
    cards: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import annotate_talk
    from trugrade_core.annotate.suggestions import suggestion

    copies, id = fill(cards.ws, "copies", 8), first(cards)  # one scan has the same id in every dataset
    found = suggestion(id, "outer_border", Box(xyxy=(1, 1, 30, 30)), "GrabCut")
    given: list[list[Any]] = []
    monkeypatch.setattr(annotate_talk.annotating, "clicked_shape", lambda *_: found)
    monkeypatch.setattr(annotate_talk, "annotator", lambda view, **_: given.append(view["suggestions"]))

    def page(root: str, names: list[str], id: str) -> None:
        from app.annotate_talk import Talk
        from trugrade_core.data.store import Dataset
        from trugrade_core.workflows import annotating
        from trugrade_core.workspace import Workspace

        ws = Workspace.open(root)
        for name in names:
            talk = Talk(ws, Dataset(ws, name), [id], annotating.describe(ws, name), "")
            if name == names[0]:
                talk.ask({"sample": id, "label": "outer_border", "points": [(9, 9, 1)]})
            talk.show(annotating.state(ws, name, id))

    at = AppTest.from_function(page, kwargs={"root": cards.ws.root, "names": ["cards", copies.name], "id": id}).run()
    assert not at.exception and [[s["id"] for s in one] for one in given] == [[found.id], []]


# --- the quick canvas ---------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick canvas as a button that is pressed for a stroke."""

    def canvas(*, key: str, on_change: Callable[[], None] | None, **_: Any) -> None:
        import streamlit as st

        st.button("Stroke", key=key, on_click=on_change)

    monkeypatch.setitem(sys.modules, "streamlit_drawable_canvas", SimpleNamespace(st_canvas=canvas))
    monkeypatch.setattr("app.quick_page._absolute", lambda path: path)


def test_another_dataset_with_the_same_scan_has_a_canvas_of_its_own(
    cards: Dataset, open_page: Open, quick: None
) -> None:
    id, copies = first(cards), Dataset.create(cards.ws, "copies", cards.classes)
    copies.put_samples(cards.samples().values())
    at = open_page(cards.ws, "annotate", dataset="cards", sample=id, tool="quick")
    known = at.session_state["quick-known"]
    assert len(known["entries"]) == 2 and "Changed since" not in said(at)
    at.query_params["dataset"] = "copies"
    at.run()
    assert at.session_state["quick-known"]["entries"] == [] and at.session_state["quick-known"]["key"] != known["key"]


def test_a_stroke_that_cannot_be_written_is_said_once_and_as_what_it_is(
    cards: Dataset, open_page: Open, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = open_page(cards.ws, "annotate", dataset="cards", sample=first(cards), tool="quick")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("app.quick_page._take", full)
        next(b for b in at.button if b.label == "Stroke").click().run()
        assert sum('class="tg-error"' in e.proto.body for e in at.get("html")) == 1
        assert "No space left on device" in said(at) and "fault in the lab" not in said(at)
        assert sum('class="tg-error"' in e.proto.body for e in at.run().get("html")) == 1  # it stays until it is mended
    assert not any('class="tg-error"' in e.proto.body for e in at.run().get("html"))
