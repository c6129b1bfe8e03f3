"""What of Label Studio needs no server: who holds what, which server it is, and the file of secrets."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.annotate.conftest import Saver, box
from trugrade_core.annotate.label_studio import pull, push
from trugrade_core.annotate.label_studio import serve as serving
from trugrade_core.annotate.label_studio.book import Book, Task, read_book, write_book
from trugrade_core.annotate.label_studio.client import Connection, Server, keep_connection, read_connection
from trugrade_core.annotate.label_studio.config import template
from trugrade_core.annotate.saving import state_of
from trugrade_core.data.store import Dataset
from trugrade_core.errors import LabelStudioError
from trugrade_core.tasks import SCORES
from trugrade_core.workspace import Workspace

PROJECT = push.Project("cards", template("border_detection.dual_class"), "")


class Recording(Server):
    """A server that keeps what it was asked to change."""

    def __init__(self, url: str) -> None:
        super().__init__(Connection(url, "token"))
        self.changed: list[int] = []

    def create_project(self, title: str, xml: str, instructions: str) -> int:
        return 4

    def task_ids(self, project: int) -> dict[int, dict[str, Any]]:
        return {}

    def update_project(self, project: int, xml: str, instructions: str) -> None:
        self.changed.append(project)


@pytest.fixture
def sent(ds: Dataset, ids: list[str]) -> Dataset:
    tasks = {id: Task(id=n, url="", state="pushed") for n, id in enumerate(ids, 1)}
    write_book(ds, Book(url="http://a:1", project=3, samples=tasks))
    return ds


def test_a_project_of_another_server_is_not_changed(sent: Dataset) -> None:
    other, own = Recording("http://b:2"), Recording("http://a:1")
    with pytest.raises(LabelStudioError, match="was pushed to http://a:1") as e:
        push.restore_template(sent, other, PROJECT)
    assert e.value.what_to_do and not other.changed
    push.restore_template(sent, own, PROJECT)
    assert own.changed == [3]


class Answering(Recording):
    """A server on which somebody has given the first task a score that no card has."""

    def label_config(self, project: int) -> str:
        return template("corner_analysis.quality_classification").replace(
            '<Choice value="10"', '<Choice value="11"/><Choice value="10"'
        )

    def task_ids(self, project: int) -> dict[int, dict[str, Any]]:
        return {1: {}, 2: {}, 3: {}}

    def annotated_tasks(self, project: int, since: Any = None) -> Iterator[dict[str, Any]]:
        result = {"id": "r", "from_name": "score", "to_name": "image", "type": "choices", "value": {"choices": ["11"]}}
        annotation = {"id": 9, "completed_by": 5, "updated_at": "2026-01-01T00:00:00Z", "result": [result]}
        yield {"id": 1, "updated_at": None, "annotations": [annotation]}


def test_nothing_is_pulled_from_another_server_where_the_numbers_are_somebody_elses(sent: Dataset) -> None:
    with pytest.raises(LabelStudioError, match="was pushed to http://a:1"):
        pull.pull(sent, Answering("http://b:2"), lambda user: "stranger", apply=True)
    assert not list(sent.log()) and {task.state for task in read_book(sent).samples.values()} == {"pushed"}


def test_a_score_that_the_task_does_not_know_is_not_taken_in(sent: Dataset) -> None:
    diff = pull.pull(sent, Answering("http://a:1"), lambda user: "ann", apply=True, scores=SCORES)
    assert not list(sent.log()) and "11" in diff.problems[0]["why"]


def test_a_new_project_says_what_was_not_pulled_from_the_last(sent: Dataset) -> None:
    push.release(sent, list(sent.samples())[:1])
    (note,) = push.push(sent, Recording("http://a:1"), PROJECT, [], new_project=True).notes
    assert note.startswith("2 samples were not pulled from project 3 at http://a:1") and read_book(sent).project == 4
    assert push.push(sent, Recording("http://a:1"), PROJECT, [], new_project=True).notes == []


def test_a_server_of_ones_own_does_not_take_the_place_of_the_teams(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = Connection("http://team:8080", "their token")
    keep_connection(ws, team)
    monkeypatch.setattr(serving, "program", lambda: Path("/bin/true"))
    with pytest.raises(LabelStudioError, match="connected to http://team:8080, whose token would be lost") as e:
        serving.serve(ws)
    assert "secrets.toml" in e.value.what_to_do and read_connection(ws) == team


def test_releasing_looks_at_what_it_is_given_once(sent: Dataset, ids: list[str]) -> None:
    class Once(list[str]):
        def __contains__(self, item: Any) -> bool:
            raise AssertionError("a search through the whole list for each task")

    assert push.release(sent, Once(ids[:2])) == 2
    assert [task.state for task in read_book(sent).samples.values()] == ["released", "released", "pushed"]
    assert push.release(sent) == 1


def test_other_secrets_stay_as_they_were_written(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    path = ws.root / "secrets.toml"
    before = '# of the team\nroot = 1\n[smtp]\nport = 587\nhosts = ["a", "b"]\n'
    path.write_text(before + '[label_studio] # ours\nurl = "http://old"\ntoken = "x"\n[zoo]\nopen = true\n')
    for connection in (Connection("http://a", "t", "/data/🙂"), Connection("http://b", "t")):
        keep_connection(ws, connection)
        assert read_connection(ws) == connection
        kept = tomllib.loads(path.read_text())
        assert (kept["root"], kept["smtp"], kept["zoo"]) == (1, {"port": 587, "hosts": ["a", "b"]}, {"open": True})
        assert path.read_text().startswith(before)


def test_an_odd_answer_says_what_to_do() -> None:
    error = Server(Connection("http://a", "t"))._refused("making tasks", 500, {"detail": "out of space"})
    assert "answered 500 while making tasks: out of space" in error.message and error.what_to_do


def test_a_book_of_before_layers_says_whose_work_is_in_main(sent: Dataset, ids: list[str]) -> None:
    path = sent.path / "label_studio.json"
    content = json.loads(path.read_text())
    for id, main_by in zip(ids, (7, None, 8), strict=True):
        del content["samples"][id]["layers"]
        content["samples"][id]["main_by"] = main_by
    path.write_text(json.dumps(content))
    assert [task.layers for task in read_book(sent).samples.values()] == [{7: "main"}, {}, {8: "main"}]


class There(Recording):
    """A server whose one annotation is what the test says."""

    results: list[dict[str, Any]]
    annotations: list[dict[str, Any]]

    def label_config(self, project: int) -> str:
        return PROJECT.label_config

    def task_ids(self, project: int) -> dict[int, dict[str, Any]]:
        return {1: {}}

    def task_address(self, project: int, task: int) -> str:
        return ""

    def upload(self, project: int, files: Any) -> list[str]:
        return ["/x.png" for _ in files]

    def import_tasks(self, project: int, tasks: Any) -> list[int]:
        self.results = tasks[0]["predictions"][0]["result"]
        return [1]

    def replace_prediction(self, task: int, result: list[dict[str, Any]], model: str) -> None:
        self.results = result

    def annotated_tasks(self, project: int, since: Any = None) -> Iterator[dict[str, Any]]:
        yield {"id": 1, "updated_at": None, "annotations": self.annotations}


def test_a_deletion_is_no_work_and_what_is_sent_then_is_what_was_agreed_on(ds: Dataset, ids: list[str], do: Saver) -> None:  # fmt: skip
    there, sample = There("http://a:1"), [ds.samples()[ids[0]]]

    def submit(id: int, *results: dict[str, Any]) -> None:
        words = {"id": id, "completed_by": 5, "lead_time": 60, "updated_at": f"2026-01-01T00:00:{id:02d}Z"}
        there.annotations = [{**words, "result": list(results)}] if results else []
        pull.pull(ds, there, lambda user: "ann", apply=True)

    do(box(1, 1, 20, 20), box(2, 2, 20, 20, label="outer_border"))
    push.push(ds, there, PROJECT, sample)
    submit(1, *there.results)
    assert pull.people_of(read_book(ds)) == {"ann": {"tasks": 1, "minutes": 1.0}}
    submit(2)
    assert pull.people_of(read_book(ds)) == {} and not state_of(ds, ids[0]).shown
    do(box(3, 3, 20, 20), box(4, 4, 20, 20))
    push.push(ds, there, PROJECT, sample)
    kept = next(result for result in there.results if result["type"].endswith("labels"))
    submit(3, kept)
    assert len(state_of(ds, ids[0]).shown) == 1
    assert pull.people_of(read_book(ds)) == {"ann": {"tasks": 1, "minutes": 1.0}}
