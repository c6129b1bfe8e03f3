"""The closed loop: what a run is worst at goes to people, and their labels into the next run's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.app.conftest import CLASSES, NearlyRight, add_run, add_sample, fill, said
from trugrade_core.annotate.assigning import assignments
from trugrade_core.cli import run_line
from trugrade_core.data.store import Dataset, put_entry
from trugrade_core.data.versions import Version, snapshot, split
from trugrade_core.errors import DatasetError, TrainingError, UsageError
from trugrade_core.evaluate.run import evaluate
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Instance, Prediction
from trugrade_core.workflows import looping
from trugrade_core.workspace import Workspace

Open = Callable[..., AppTest]


class Doubtful(NearlyRight):
    """By the order of the samples: right and sure, nearly at the threshold, below it, nothing at all, far off."""

    def predict(self, images: object, names: list[str], threshold: float | None = None) -> list[Prediction]:
        found = []
        order = sorted(self.truth)
        for answer in super().predict(images, names, threshold):
            place = order.index(answer.image)
            score = {0: 0.9, 1: 0.55, 2: 0.2, 3: 0.0, 4: 0.9}[place]
            off = 12 if place == 4 else 0
            instances = tuple(
                Instance(label=i.label, score=score, box=(i.box[0], i.box[1], i.box[2] - off, i.box[3] - off))
                for i in answer.instances
                if score
            )
            found.append(answer.model_copy(update={"instances": instances}))
        return found


@pytest.fixture
def run(ws: Workspace) -> RunFolder:
    """A run judged on a test split of five labelled samples."""
    split(fill(ws, "cards", 6), (0.2, 0.0, 0.8), 0)
    ds = Dataset.open(ws, "cards")
    ds.put_samples(s.model_copy(update={"split": "test" if s.status == "done" else "train"}) for s in ds.iter_samples())
    version = Version.open(ws, f"cards@{snapshot(ds).version}")
    made = add_run(ws, version.name)
    assert len(version.records("test")) == 5
    evaluate(Doubtful(version.annotations()), version, "test", made.path / "evaluation" / "test")
    return made


def order(ws: Workspace) -> list[str]:
    return sorted(Dataset.open(ws, "cards").annotations())


def test_the_worst_stand_first_and_say_why(ws: Workspace, run: RunFolder) -> None:
    _, _, below, nothing, far = order(ws)
    rows = looping.hard_samples(ws, run.id)
    assert {row["sample"] for row in rows[:2]} == {below, nothing} and "2 missed" in rows[0]["why"]
    assert [row["sample"] for row in rows][2] == far and rows[2]["why"].startswith("a side is off by")
    assert rows[2]["value"] == pytest.approx(11 * 25.4 / 100) and len(rows) == 5
    assert looping.hard_samples(ws, run.id, count=2) == rows[:2]


def test_the_uncertain_are_those_near_the_threshold(ws: Workspace, run: RunFolder) -> None:
    _, near, below, nothing, _ = order(ws)
    rows = looping.hard_samples(ws, run.id, kind="uncertain")
    assert [row["sample"] for row in rows][:2] == [near, below] and nothing not in {row["sample"] for row in rows}
    assert rows[0]["value"] == pytest.approx(0.05) and "0.55 counts" in rows[0]["why"]


def test_the_refused_are_those_where_nothing_counts(ws: Workspace, run: RunFolder) -> None:
    _, _, below, nothing, _ = order(ws)
    rows = looping.hard_samples(ws, run.id, kind="refused")
    assert [row["sample"] for row in rows] == [nothing, below]
    assert "no answer at all" in rows[0]["why"] and "0.20" in rows[1]["why"] and "2 labelled" in rows[1]["why"]


def test_what_cannot_be_asked_is_said(ws: Workspace, run: RunFolder) -> None:
    with pytest.raises(UsageError, match="'wurst' is no kind") as e:
        looping.hard_samples(ws, run.id, kind="wurst")
    assert "worst" in e.value.what_to_do
    with pytest.raises(TrainingError, match="has not been evaluated on val"):
        looping.hard_samples(ws, run.id, "val")
    (run.path / "evaluation" / "test" / "predictions.parquet").write_bytes(b"torn")
    with pytest.raises(TrainingError, match="stored answers are not those"):
        looping.hard_samples(ws, run.id, kind="uncertain")
    assert looping.hard_samples(ws, run.id)  # the worst need no answers
    with pytest.raises(UsageError, match="was trained on 'cards', not on 'other'"):
        looping.dataset_of(ws, run.id, "other")
    with pytest.raises(UsageError, match="nothing to send"):
        looping.send(ws, "cards", [], tag="review", who="ada", tool="cli")
    with pytest.raises(DatasetError, match="1 of them are not in 'cards' any more"):
        looping.send(ws, "cards", ["f" * 16], tag="review", who="ada", tool="cli")


def test_the_command_tags_and_assigns(ws: Workspace, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> dict[str, object]:
        assert run_line(["-w", str(ws.root), "--json", "data", *words]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    found = call("hard", "cards", "--run", "latest", "--kind", "refused", "--tag", "review", "--assign", "ada")
    ids = {row["sample"] for row in found["samples"]}  # type: ignore[union-attr, index]
    assert found["tagged"] == 2 and found["assigned"] == {"ada": 2} and found["run"] == run.id
    ds = Dataset.open(ws, "cards")
    assert {s.id for s in ds.iter_samples() if "review" in s.tags} == ids == set(assignments(ds)["ada"].samples)
    call("undo", "cards")
    assert not any(s.tags for s in ds.iter_samples())
    assert run_line(["-w", str(ws.root), "data", "hard", "cards", "--run", run.id]) == 0
    assert "2 missed" in capsys.readouterr().out
    assert run_line(["-w", str(ws.root), "data", "hard", "card", "--run", run.id]) == 2
    assert "was trained on 'cards'" in capsys.readouterr().err


# --- training again ---------------------------------------------------------------------------------------------


def test_training_again_takes_the_next_version_and_the_same_configuration(full: Workspace) -> None:
    run = add_run(full, "cards@v1", lr=3e-3)
    found = looping.train_again(full, run.id)
    assert found["version"] == "cards@v1" and not found["changed"] and not found["notes"]
    ds = Dataset.open(full, "cards")
    before = {s.id: s.split for s in Version.open(full, "cards@v1").iter_samples()}
    sample, annotations = add_sample(full, 40)
    ds.put_samples([sample])
    ds.append(put_entry(a, who="ada", tool="annotator") for a in annotations)
    found = looping.train_again(full, run.id)
    assert (found["was"], found["version"], found["changed"]) == ("cards@v1", "cards@v2", True)
    assert found["config"]["dataset"] == "cards@v2"
    assert found["config"]["hyperparameters"]["optimization"]["learning_rate"] == 3e-3
    after = {s.id: s.split for s in Version.open(full, "cards@v2").iter_samples()}
    assert sample.id in after and {id: after[id] for id in before} == before


def test_a_new_split_since_the_run_is_said(full: Workspace) -> None:
    run = add_run(full, "cards@v1")
    ds = Dataset.open(full, "cards")
    other = {"test": "train", "train": "test", "val": "val"}
    ds.put_samples(s.model_copy(update={"split": other[s.split or "val"]}) for s in ds.iter_samples())
    (note,) = looping.train_again(full, run.id)["notes"]
    assert "would be trained on now" in note


def test_the_command_writes_the_configuration(full: Workspace, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    run = add_run(full, "cards@v1", lr=3e-3)
    out = tmp_path / "again.yaml"
    assert run_line(["-w", str(full.root), "data", "again", run.id, "--out", str(out)]) == 0
    text = out.read_text()
    assert "cards@v1" in text and "0.003" in text and CLASSES[0] not in text
    assert "nothing has changed since cards@v1" in capsys.readouterr().out


# --- on the pages -----------------------------------------------------------------------------------------------


def test_the_evaluation_sends_its_hardest_samples_to_annotation(ws: Workspace, run: RunFolder, open_page: Open) -> None:
    at = open_page(ws, "evaluate", run=run.id, split="test", hard="refused")
    assert "nothing found, 2 labelled" in said(at)
    at.button(key="loop-send").click().run()
    assert not at.exception
    _, _, below, nothing, _ = order(ws)
    assert at.query_params["ids"] in ([f"{nothing},{below}"], f"{nothing},{below}")
    assert {s.id for s in Dataset.open(ws, "cards").iter_samples() if "review" in s.tags} == {below, nothing}


def test_training_again_opens_train_with_the_runs_configuration(full: Workspace, open_page: Open) -> None:
    run = add_run(full, "cards@v1", lr=3e-3)
    version = Version.open(full, "cards@v1")
    evaluate(NearlyRight(version.annotations()), version, "test", run.path / "evaluation" / "test")
    ds = Dataset.open(full, "cards")
    sample, annotations = add_sample(full, 41)
    ds.put_samples([sample])
    ds.append(put_entry(a, who="ada", tool="annotator") for a in annotations)
    at = open_page(full, "evaluate", run=run.id, split="test")
    at.button(key="loop-again").click().run()
    assert not at.exception
    text = said(at)
    assert f"as in run {run.id}" in text and at.selectbox(key="train-data").value == "cards@v2"
    editing = at.session_state[f"train:cards@v2:border_detection.dual_class:mask_rcnn:True:{run.id}"]
    assert editing.values["hyperparameters.optimization.learning_rate"] == 3e-3
    assert editing.values["dataset"] == "cards@v2" and editing.changed("hyperparameters.optimization.learning_rate")


def test_a_run_that_is_gone_is_said_on_the_page(full: Workspace, open_page: Open) -> None:
    at = open_page(full, "train", dataset="cards@v1", like="20200101-000000-0000")
    assert "No run '20200101-000000-0000' in this workspace" in said(at)
    assert "suggested for this data" in said(at)
