"""trugrade data explore, find, tag, exclude, set, undo, edits, subset, as a person and a program call them."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.data_room.explored import make, six
from trugrade_core.cli import run_line
from trugrade_core.data.store import Dataset
from trugrade_core.workspace import Workspace


@pytest.fixture
def ds(ws: Workspace) -> Dataset:
    return six(ws)


def call(ds: Dataset, line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    """(exit code, the JSON document) of a line after `trugrade data`."""
    code = run_line(["-w", str(ds.ws.root), "--json", "data", *shlex.split(line)])
    return code, json.loads(capsys.readouterr().out)


def test_find_gives_a_page_of_what_fits_in_order(ds: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call(ds, "find d --where 'status=done' --sort -arrival --limit 2", capsys)
    assert (code, found["total"], found["pages"], found["filter"]) == (0, 3, 2, "status=done")
    assert [row["sample"] for row in found["samples"]] == [make(3).id, make(1).id]
    assert found["samples"][1] | {"changed": None} == {
        "sample": make(1).id, "file": "scans/Card 01.png", "card": "card-0", "status": "done", "split": "val", "origin": "real",
        "tags": ["to check", "a, b"], "excluded": None, "score": 7.5, "classes": ["dent"], "shapes": 1,
        "annotators": ["maria", "aiko"], "changed": None, "conflicts": 0, "findings": [],
    }  # fmt: skip


def test_explore_counts_and_keeps_filters(ds: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    code, about = call(ds, "explore d --where class=scratch --save-as 'the scratched'", capsys)
    assert (code, about["samples"], about["saved"]) == (0, 2, {"the scratched": "class=scratch"})
    assert call(ds, "find d --filter 'the scratched'", capsys)[1]["total"] == 2
    assert call(ds, "explore d --forget 'the scratched'", capsys)[1]["saved"] == {}
    assert call(ds, "find d --filter 'the scratched'", capsys)[0] == 2


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("tag d good --where status=done", 3),
        ("tag d 'to check' --remove --all", 1),
        ("exclude d --where 'Card 03' --reason blurred", 1),
        ("exclude d --include --all", 1),
        ("set d --score 8 --all", 6),
        ("set d --status rescan --comment dark --where status=unlabelled", 3),
        ("set d --class dent=scratch --all", 3),
        ("set d --class =dent --all", 1),
    ],
)
def test_an_edit_is_said_beforehand_done_listed_and_undone(
    ds: Dataset, capsys: pytest.CaptureFixture[str], line: str, changed: int
) -> None:
    code, would = call(ds, f"{line} --dry-run", capsys)
    assert (code, would["would_change"]) == (0, changed)
    assert call(ds, "edits d", capsys) == (0, [])
    code, done = call(ds, line, capsys)
    assert (code, done["changed"], done["left"]) == (0, changed, [])
    (row,) = call(ds, "edits d", capsys)[1]
    assert (row["id"], row["samples"]) == (done["batch"], changed)
    assert call(ds, f"undo d {done['batch']}", capsys)[1]["changed"] == changed
    assert call(ds, f"{line} --dry-run", capsys)[1]["would_change"] == changed


def test_a_subset_is_a_dataset_of_its_own(ds: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = call(ds, "subset d only --where status=done", capsys)
    assert (code, made["images"], made["dataset"]) == (0, 3, "only")
    assert len(Dataset.open(ds.ws, "only").samples()) == 3
    assert call(ds, "subset d only --where status=done", capsys)[1]["error"]["code"] == "dataset.exists"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tag d x", "which samples is not said"),
        ("tag d x --all --where status=done", "--all and a filter are both given"),
        ("find d --where status=done --filter x", "--where and --filter are both given"),
        ("find d --where colour=red", "'colour' is nothing to filter by"),
        ("find d --sort weight", "'weight' is nothing to sort by"),
        ("find d@v1", "is a version, which never changes"),
        ("exclude d --all", "--reason says why they are left out"),
        ("exclude d --all --include --reason x", "--reason says why they are left out"),
        ("set d --all", "one of --score, --status and --class is needed"),
        ("set d --all --score 7 --status done", "one of --score, --status and --class is needed"),
        ("set d --all --status finished", "--status cannot be 'finished'"),
        ("set d --all --score 7 --comment x", "--comment goes with --status"),
        ("set d --all --class dent", "--class dent is not OLD=NEW"),
        ("set d --all --class dent=dint", "'dint' is not a class of shapes"),
        ("set d --all --score 11", "Invalid value for '--score'"),
        ("undo d", "there is nothing to undo"),
        ("tag d '' --all", "tag:"),
    ],
)
def test_a_line_that_means_nothing_says_why_and_writes_nothing(
    ds: Dataset, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    before = ds.samples_path.read_bytes(), ds.log_path.read_bytes()
    code, answer = call(ds, line, capsys)
    assert code == 2 and words in answer["error"]["message"] and answer["error"]["what_to_do"]
    assert (ds.samples_path.read_bytes(), ds.log_path.read_bytes()) == before


def test_people_are_told_in_words(ds: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    for line, words in (
        ("explore d", "6 of 6 samples fit, of 3 cards"), ("find d --where class=dent", "3 samples fit; page 1 of 1"),
        ("tag d good --all --dry-run", "Would tag 'good': 6 of 6 samples that fit would change."),
        ("tag d good --all", "Undo: trugrade data undo d "), ("edits d", "tag 'good'"), ("undo d", "6 samples put back"),
    ):  # fmt: skip
        assert run_line(["-w", str(ds.ws.root), "data", *shlex.split(line)]) == 0
        assert words in capsys.readouterr().out
