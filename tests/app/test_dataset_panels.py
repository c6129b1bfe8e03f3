"""The views of a dataset beside the explorer: guidelines and Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app import label_studio_panel
from tests.app.conftest import said
from trugrade_core.annotate.label_studio.serve import Served
from trugrade_core.data.filters import from_params
from trugrade_core.data.store import Dataset
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import creating, exploring
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


def test_guidelines_are_written_and_earlier_ones_kept(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "datasets", dataset="cards", view="guidelines")
    at.selectbox(key="task-of-cards").select("border_detection.dual_class").run()
    assert creating.describe(full, "cards")["task"] == "border_detection.dual_class"
    assert "edge of the card stock" in at.text_area[0].value
    at.text_area[0].input("Look **twice**.").run()
    next(b for b in at.button if b.label == "Save").click().run()
    assert [h["text"] for h in creating.guideline_history(full, "cards")][-1] == "Look **twice**."
    assert "Earlier wordings: 1" in " ".join(e.label for e in at.expander)


def test_without_a_label_studio_the_panel_says_what_to_do(full: Workspace, open_page: Open) -> None:
    text = said(open_page(full, "datasets", dataset="cards", view="label_studio"))
    assert "Not connected to a Label Studio" in text and "no server yet" in text


@pytest.mark.parametrize(
    ("state", "words"), [("starting", "the first time takes a minute"), ("off", "does not answer")]
)
def test_a_server_that_starts_or_is_off_is_shown_as_such(
    full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch, state: str, words: str
) -> None:
    own = Served(state, "http://127.0.0.1:9", "lab", "secret", "", "")  # type: ignore[arg-type]
    found = {"server": state, "url": "http://127.0.0.1:9", "own": vars(own), "reason": "" if state == "starting" else "it does not answer",
             "dataset": {"pushed": 3, "pulled": 2, "released": 0, "project": 1, "url": "http://127.0.0.1:9/projects/1/data",
                         "people": {"Maria": {"tasks": 2, "minutes": 4.0}}}}  # fmt: skip
    monkeypatch.setattr(label_studio_panel.labelling, "status", lambda ws, name: found)
    monkeypatch.setattr(label_studio_panel.serving, "served", lambda ws: own)
    at = open_page(full, "datasets", dataset="cards", view="label_studio")
    text = said(at)
    assert words in text and "Maria" in text and "secret" not in text
    assert all(b.disabled for b in at.button if b.label in ("Push", "Pull", "What changed there"))


def test_some_samples_are_pushed_with_suggestions(
    full: Workspace, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ds = Dataset.open(full, "cards")
    exploring.save_filter(ds, "in doubt", from_params({"status": "unsure"}), who="ann")
    exploring.save_filter(ds, "done ones", from_params({"status": "done"}), who="ann")
    own = {"pushed": 0, "pulled": 0, "released": 0, "project": 1, "url": "", "people": {}}
    server = vars(Served("off", "", "", "", "", ""))
    found = {"server": "up", "url": "http://127.0.0.1:9", "own": server, "reason": "", "dataset": own}
    started: list[dict[str, Any]] = []

    def start(ws: Workspace, what: str, name: str, **words: Any) -> RunFolder:
        started.append({"what": what, **words})
        return RunFolder.create(ws.jobs, {"kind": "label", "args": {}, "title": "Push", "who": ""})

    monkeypatch.setattr(label_studio_panel.labelling, "status", lambda ws, name: found)
    monkeypatch.setattr(label_studio_panel.labelling, "start_job", start)
    at = open_page(full, "datasets", dataset="cards", view="label_studio")
    at.selectbox(key="label-some").select("in doubt").run()
    at.button(key="label-push-some").click().run()
    assert "No sample is in 'in doubt' at the moment." in said(at) and not started
    at.selectbox(key="label-some").select("done ones").run()
    at.checkbox(key="label-template").check().run()
    at.button(key="label-push-some").click().run()
    (words,) = started
    done = [s.id for s in ds.iter_samples() if s.status == "done"]
    assert done and words["ids"] == done
    assert (words["what"], words["run"], words["new_project"], words["restore_template"]) == ("push", "", False, True)
    # What is not labelled yet leaves out what is excluded, and no filter's name hides it.
    exploring.save_filter(ds, "not labelled yet", from_params({"status": "done"}), who="ann")
    exploring.save_filter(ds, "all", from_params({"status": "done"}), who="ann")
    waiting = [s for s in ds.iter_samples() if s.status == "unlabelled"]
    ds.put_samples([waiting[0].model_copy(update={"excluded": "blurred"})])
    options = at.run().selectbox(key="label-some").options
    assert len(set(options)) == len(options)
    for chosen, ids in (
        ("not labelled yet", done),
        ("all", done),
        (label_studio_panel.TO_DO, [s.id for s in waiting[1:]]),
    ):
        at.selectbox(key="label-some").select(chosen).run()
        at.button(key="label-push-some").click().run()
        assert started[-1]["ids"] == ids
