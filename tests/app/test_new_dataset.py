"""New dataset: from the question to a dataset that is at once on the training page; the augmentation panel there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import said
from trugrade_core.data.store import Dataset
from trugrade_core.tasks import CATEGORIES, TASKS
from trugrade_core.workflows import creating
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


def test_the_start_asks_what_to_learn(ws: Workspace, open_page: Open) -> None:
    at = open_page(ws, "new_dataset")
    for category in CATEGORIES:
        assert at.button(key=f"category-{category}")
    at = open_page(ws, "new_dataset", category="corner_analysis")
    text = said(at)
    for task in TASKS.values():
        assert (task.title in text) == (task.category == "corner_analysis")
    assert "/lab/example/corner_analysis.damage_detection" in text
    assert "this version has no model" in text.lower() and "1200 dpi or more" in text
    assert "plug-in" in said(open_page(ws, "new_dataset", category="experimental"))


def test_a_dataset_is_started_and_is_at_once_on_the_training_page(ws: Workspace, open_page: Open) -> None:
    at = open_page(
        ws, "new_dataset", category="border_detection", task="border_detection.dual_class", architecture="retinanet"
    )
    assert at.button(key="new-start").disabled
    at.text_input(key="new-name").input("autumn-scans").run()
    at.text_area(key="new-words-border_detection.dual_class").input("Mind the shadow.").run()
    at.button(key="new-start").click().run()
    found = creating.describe(ws, "autumn-scans")
    assert found["task"] == "border_detection.dual_class" and found["architecture"] == "retinanet"
    assert found["guidelines"] == "Mind the shadow." and len(Dataset.open(ws, "autumn-scans").classes) == 2
    train = open_page(ws, "train", dataset="autumn-scans")
    assert "autumn-scans (no version yet)" in train.selectbox(key="train-data").options
    assert "no images yet" in said(train)


def test_a_name_that_is_taken_is_said(ws: Workspace, open_page: Open) -> None:
    creating.create_dataset(ws, "cards", "border_detection.dual_class")
    at = open_page(ws, "new_dataset", category="border_detection", task="border_detection.dual_class")
    at.text_input(key="new-name").input("cards").run()
    at.button(key="new-start").click().run()
    assert "is there already" in said(at)


def test_training_proposes_what_the_dataset_was_made_for(full: Workspace, open_page: Open) -> None:
    creating.set_task(full, "cards", "border_detection.single_class", architecture="retinanet")
    at = open_page(full, "train", dataset="cards@v1")
    assert at.segmented_control(key="train-task-cards").value == "border_detection.single_class"
    assert at.segmented_control(key="train-architecture-cards-border_detection.single_class").value == "retinanet"
    at = open_page(full, "train", dataset="cards@v1", task="border_detection.dual_class", architecture="mask_rcnn")
    assert at.segmented_control(key="train-task-cards").value == "border_detection.dual_class"
    creating.set_task(full, "cards", "corner_analysis.sharpness_rating")
    assert "no model for corner_analysis.sharpness_rating yet" in said(open_page(full, "train", dataset="cards@v1"))


def test_the_augmentation_can_be_looked_at_and_taken_over(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "train", dataset="cards@v1", task="border_detection.dual_class", architecture="mask_rcnn")
    at.toggle(key="train-augmentation").set_value(True).run()
    assert "very pixels" in said(at)
    key = next(s.key for s in at.slider if s.key.endswith(":border:turn_deg"))
    at.slider(key=key).set_value(11.0).run()
    at.button(key=f"{key.rsplit(':', 2)[0]}:use").click().run()
    assert "turn_deg: 11.0" in "".join(area.value for area in at.text_area)


@pytest.mark.parametrize(
    ("label", "title", "params"),
    [("Explore it", "<h1>cards</h1>", {"dataset": "cards", "view": "browse"}),
     ("Quality verdict", "<h1>Check</h1>", {"dataset": "cards@v1"}),
     ("Splits", "<h1>cards</h1>", {"dataset": "cards", "view": "versions", "part": "split"})],
)  # fmt: skip
def test_trains_data_step_opens_explorer_verdict_and_splits(
    full: Workspace, open_page: Open, label: str, title: str, params: dict[str, str]
) -> None:
    at = open_page(full, "train", dataset="cards@v1")
    next(b for b in at.button if b.label == label).click().run()
    assert not at.exception and title in said(at)
    assert {name: at.query_params[name] for name in params} == params
