"""The page Review: empty, waiting, full; assigning, looking at one sample, deciding on it, settling what is near."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import CLASSES, said
from trugrade_core.annotate.assigning import assignments
from trugrade_core.annotate.saving import Op, save, state_of
from trugrade_core.data.store import Dataset
from trugrade_core.schema import Box, Score
from trugrade_core.workflows import grading
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


def vote(ds: Dataset, sample: str, grader: str, score: float, x: float) -> None:
    ops = [Op(op="put", value=Score(score=score)), Op(op="put", label=CLASSES[0], value=Box(xyxy=(x, 7, 62, 89)))]
    save(ds, sample, ops, who=grader, tool="annotator", commit=f"{grader}-{sample}", layer=grader)


@pytest.fixture
def voted(full: Workspace) -> Workspace:
    """Three samples of `cards` with the votes of ada and ben: 3 grades apart, half a grade, alike."""
    ds = Dataset.open(full, "cards")
    ids = list(ds.samples())[:3]
    grading.assign(full, "cards", ["ada", "ben"], samples=ids, each=2, by="lead")
    for n, (sample, off) in enumerate(zip(ids, (3.0, 0.5, 0.0), strict=True)):
        vote(ds, sample, "ada", 9 - n, 6)
        vote(ds, sample, "ben", 9 - n - off, 7 if n else 40)
    return full


def labels(at: AppTest) -> list[str]:
    return [button.label for button in at.button]


def click(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click()
    at.run()
    assert not at.exception, [e.value for e in at.exception]
    return at


def test_without_a_dataset_it_says_what_will_be_here(ws: Workspace, open_page: Open) -> None:
    at = open_page(ws, "review")
    assert "No dataset to review yet" in said(at) and "Import images" in labels(at)


def test_without_votes_it_leads_to_assigning(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "review", dataset="cards")
    assert "Nobody votes on these samples yet" in said(at) and "Assign" in labels(at) and "Review" not in labels(at)
    grading.assign(
        full, "cards", ["ada", "ben"], samples=list(Dataset.open(full, "cards").samples())[:2], each=2, by="lead"
    )
    at = open_page(full, "review", dataset="cards")
    text = said(at)
    assert "Waiting for votes" in text and "ada, ben have samples to vote on" in text and "0 of 2" in text
    at.button(key="review-mine").click().run()
    assert at.query_params["assigned"] in (["me"], "me")


def test_agreement_people_and_the_queue_furthest_apart_first(voted: Workspace, open_page: Open) -> None:
    at = open_page(voted, "review", dataset="cards")
    text = said(at)
    assert "Krippendorff's alpha" in text and "3 cards" in text and "not reliable" in text.lower()
    assert "ada" in text and "3 of 3" in text and "+1.17" in text and "within ½ grade" in text and "67 %" in text
    assert "outer_border" in text and " mm" in text
    first, second, third = list(Dataset.open(voted, "cards").samples())[:3]
    assert text.index(first) < text.index(second) < text.index(third) and "4 apart" in text and "alike" in text
    at.button(key="review-first").click().run()
    assert at.query_params["sample"] in ([first], first)


def test_one_sample_shows_each_vote_and_what_the_majority_says(voted: Workspace, open_page: Open) -> None:
    sample = next(iter(Dataset.open(voted, "cards").samples()))
    at = open_page(voted, "review", dataset="cards", sample=sample)
    text = said(at)
    assert "9 · outer_border" in text and "6 · outer_border" in text and "the majority" in text and "4 apart" in text
    assert "1 of 3" in text and "Take ada's" in labels(at)
    at.query_params["how"] = "side by side"
    at.run()
    assert not at.exception


def test_a_decision_needs_a_reason_and_then_holds(voted: Workspace, open_page: Open) -> None:
    ds = Dataset.open(voted, "cards")
    first, second = list(ds.samples())[:2]
    at = open_page(voted, "review", dataset="cards", sample=first)
    click(at, "review-take-ada")
    assert "A decision needs its reason" in said(at) and len(grading.review_queue(voted, "cards")) == 3
    at.text_input(key=f"review-reason-{first}").set_value("ben held it upside down")
    click(at, "review-take-ada")
    held = {e.value.type: e for e in state_of(ds, first).shown if e.value}
    assert held["score"].value.score == 9 and held["score"].attributes["reason"] == "ben held it upside down"
    assert at.query_params["sample"] in ([second], second) and any("Settled" in s.value for s in at.success)
    at = open_page(voted, "review", dataset="cards", show="settled")
    assert "Settled (1)" in str(at) and first in said(at)
    at = open_page(voted, "review", dataset="cards", sample=first)
    assert "ben held it upside down" in said(at)


def test_what_is_near_is_settled_in_one_step(voted: Workspace, open_page: Open) -> None:
    at = open_page(voted, "review", dataset="cards")
    click(at, "review-settle")
    assert "2 of 3 samples to review would be settled" in said(at).replace("</b>", "").replace("<b>", "")
    at.number_input(key="settle-most").set_value(5.0).run()
    assert "Settle 3 samples" in labels(at)
    at.number_input(key="settle-most").set_value(0.5)
    at.text_input(key="settle-reason").set_value("within the rubric")
    click(at, "settle-do")
    assert len(grading.review_queue(voted, "cards")) == 1
    assert any("2 samples settled" in s.value for s in at.success)


def test_samples_are_assigned_from_a_filter_of_the_address(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "review", dataset="cards", status="done", assign="yes")
    assert at.text_input(key="assign-filter").value == "status=done"
    at.multiselect(key="assign-people").set_value(["ada", "bén/😀"]).run()
    assert "each votes blind" in said(at)
    at.number_input(key="assign-count").set_value(3).run()
    click(at, "assign-do")
    ds = Dataset.open(full, "cards")
    given = assignments(ds)
    assert {who: len(one.samples) for who, one in given.items()} == {"ada": 3, "bén/😀": 3}
    assert all(ds.samples()[id].status == "done" for id in given["ada"].samples)
    at = open_page(full, "review", dataset="cards", assign="yes")
    click(at, "assign-take")
    assert list(assignments(ds)) == ["bén/😀"]


def test_a_filter_that_means_nothing_is_said(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "review", dataset="cards", status="done", assign="yes")
    at.text_input(key="assign-filter").set_value("staus=done").run()
    assert "'staus' is nothing to filter by" in said(at)
    assert at.button(key="assign-do").disabled


def test_conflicts_lead_to_the_annotate_page(voted: Workspace, open_page: Open) -> None:
    ds = Dataset.open(voted, "cards")
    sample = next(iter(ds.annotations()))
    entry = state_of(ds, sample).shown[0]
    for grader, x in (("cyd", 5), ("dan", 4)):
        op = Op(
            op="put",
            annotation=entry.annotation,
            label=entry.label,
            value=Box(xyxy=(x, 7, 62, 89)),
            replaces=entry.entry,
        )
        save(ds, sample, [op], who=grader, tool="annotator", commit=grader * 4)
    text = said(open_page(voted, "review", dataset="cards"))
    assert "1 sample in conflict" in text and f"/annotate?dataset=cards&sample={sample}" in text


def test_what_is_selected_in_the_explorer_is_assigned_here(full: Workspace, open_page: Open) -> None:
    ids = list(Dataset.open(full, "cards").samples())[:2]
    at = open_page(full, "datasets", dataset="cards", view="browse")
    at.session_state["explore-selected:cards"] = dict.fromkeys(ids)
    at.run()
    at.button(key="explore-assign").click().run()
    assert not at.exception
    assert at.text_input(key="assign-filter").value == f"ids={','.join(ids)}"
