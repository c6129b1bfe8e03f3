"""trugrade data split, snapshot, diff, restore and classes, as programs and people use them."""

from __future__ import annotations

import json

import pytest

from tests.app.conftest import fill
from trugrade_core.cli import run_line
from trugrade_core.data.store import Dataset


@pytest.fixture
def call(ws, capsys):
    """Run a line with `--json`; (exit code, document)."""

    def run(*words: str) -> tuple[int, object]:
        code = run_line(["-w", str(ws.root), "--json", *words])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def ds(ws) -> Dataset:
    """Twelve cards, nine labelled; designs of two cards each."""
    ds = fill(ws, "cards", 12)
    samples = list(ds.samples().values())
    ds.put_samples(s.model_copy(update={"design": f"d{n // 2}"}) for n, s in enumerate(samples))
    return ds


def test_split_as_acceptance_reads_it(call, ds) -> None:
    code, plan = call("data", "split", "cards", "--by", "design", "--preview", "--folds", "3")
    assert code == 0 and ds.version_names() == []
    code, made = call("data", "split", "cards", "--by", "design", "--folds", "3")
    assert code == 0 and {"version", "digest", "samples", "splits", "leaks", "imbalance"} <= set(made)
    assert made["splits"] == plan["splits"] and made["folds"]["k"] == 3 and made["folds"]["leaks"] == 0
    assert {"samples", "cards"} <= set(made["splits"]["train"]) and made["leaks"] == 0 and 0 <= made["imbalance"] < 1
    code, again = call("data", "split", "cards@v1", "--folds", "3")
    assert code == 0 and again["folds"] == made["folds"]["folds"]
    assert call("data", "split", "cards", "--by", "design,card")[1]["version"] == "v1", "comma-separated, unchanged"


def test_diff_and_restore(call, ds) -> None:
    call("data", "split", "cards")
    call("data", "classes", "rename", "cards", "outer_border", "edge")
    code, found = call("data", "diff", "cards@v1", "cards@now")
    assert code == 0 and found["counts"]["relabelled"] == 9 and found["classes"]["added"] == ["edge"]
    code, foreseen = call("data", "restore", "cards@v1", "--preview")
    assert code == 0 and foreseen["counts"]["relabelled"] == 9
    code, done = call("data", "restore", "cards@v1")
    assert code == 0 and done["same"] and (done["kept_before"], done["version"]) == ("v2", "v3")
    assert call("data", "diff", "cards@v1", "cards")[1]["same"]
    code, undone = call("data", "restore", "cards", "--undo")
    assert code == 0 and undone["left"] == 0 and call("data", "diff", "cards@v2", "cards@now")[1]["same"]


def test_going_back_from_a_dataset_whose_samples_are_all_excluded(call, ds) -> None:
    call("data", "split", "cards")
    ds.put_samples(s.model_copy(update={"excluded": "no"}) for s in ds.samples().values())
    code, done = call("data", "restore", "cards@v1")
    assert code == 0 and done["kept_before"] is None and done["version"] == "v1" and done["same"]


def test_classes_by_hand(call, ds) -> None:
    code, seen = call("data", "classes", "merge", "cards", "outer_border", "--into", "graphical_border", "--preview")
    assert code == 0 and seen["annotations"] == 9 and [c.name for c in ds.classes][0:1] == ["outer_border"]
    assert call("data", "classes", "add", "cards", "crease", "--shape", "polygon")[0] == 0
    assert call("data", "classes", "retire", "cards", "graphical_border", "--yes")[1]["annotations"] == 9
    code, rows = call("data", "classes", "list", "cards")
    assert [(r["name"], r["shape"], r["annotations"]) for r in rows] == [
        ("outer_border", "box", 9),
        ("crease", "polygon", 0),
    ]
    assert call("data", "classes", "undo", "cards")[1]["what"] == "undo: retire 'graphical_border'"
    assert call("data", "classes", "undo", "cards")[1]["what"] == "undo: add 'crease'"
    assert [c.name for c in ds.classes] == ["outer_border", "graphical_border"]


@pytest.mark.parametrize(
    ("words", "exit_code", "code", "says"),
    [
        (["data", "split", "cards", "--by", "sesion"], 2, "usage", "nothing to split by"),
        (["data", "split", "cards", "--by", "session"], 1, "dataset.no_unit", "no sample names its session"),
        (["data", "split", "cards", "--folds", "1"], 2, "usage", "1 folds are none"),
        (["data", "split", "cards@v1"], 2, "usage", "is a version, which never changes"),
        (["data", "diff", "cards@v1", "cards@v9"], 1, "dataset.no_version", "has no version"),
        (["data", "restore", "cards"], 2, "usage", "names no version"),
        (["data", "restore", "cards", "--undo"], 2, "edit.nothing", "no restore to undo"),
        (["data", "classes", "rename", "cards", "outer", "x"], 2, "class.unknown", "no class 'outer'"),
        (["data", "classes", "rename", "cards", "outer_border", ""], 2, "class.name", "it is empty"),
        (["data", "classes", "add", "cards", "x", "--shape", "round"], 2, "usage", "no kind of class"),
        (["data", "classes", "undo", "cards"], 2, "edit.nothing", "no class edit to undo"),
    ],
)
def test_errors(call, ds, words, exit_code, code, says) -> None:
    found, document = call(*words)
    assert (found, document["error"]["code"]) == (exit_code, code), document
    assert says in document["error"]["message"] and document["error"]["what_to_do"] is not None


def test_people_are_told_in_words(ws, ds, capsys) -> None:
    def out(*words: str) -> str:
        assert run_line(["-w", str(ws.root), *words]) == 0
        return capsys.readouterr().out

    text = out("data", "split", "cards", "--by", "design", "--folds", "2", "--preview")
    assert "nothing is written yet" in text and "class:outer_border" in text and "Apply it" in text
    assert "By card and design: 0 leak(s)" in out("data", "split", "cards", "--by", "design")
    text = out("data", "classes", "rename", "cards", "outer_border", "edge")
    assert "9 annotations on 9 samples changed" in text and "Undo: trugrade data classes undo cards" in text
    text = out("data", "diff", "cards", "cards@now")
    assert "edge was outer_border" in text and "Classes removed: outer_border" in text
    assert "as in cards@v1 again, kept as v3" in out("data", "restore", "cards@v1")
    assert "cards@v1 and cards@v3 hold the same." in out("data", "diff", "cards@v1", "cards@v3")
