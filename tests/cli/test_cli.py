"""The command line as programs and people use it: global options anywhere, exit codes, one JSON document."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from trugrade_core.cli import console, run_line
from trugrade_core.runs import RunFolder


@pytest.fixture
def call(ws, capsys):
    """Run a line with `--json`; (exit code, document)."""

    def run(*words: str) -> tuple[int, object]:
        code = run_line(["-w", str(ws.root), "--json", *words])
        out = capsys.readouterr().out
        return code, json.loads(out)

    return run


def test_tasks_have_the_promised_shape(call) -> None:
    code, rows = call("tasks")
    assert code == 0
    by_id = {row["id"]: row for row in rows}
    dual = by_id["border_detection.dual_class"]
    assert dual["classes"] == {"1": "outer_border", "2": "graphical_border"}
    assert dual["main_metric"] == "side_error_mm" and dual["output"] == ["box", "mask"]
    assert set(dual) == {"id", "category", "kind", "description", "precision", "speed", "complexity", "input", "output",
                         "main_metric", "classes", "architectures", "trainable"}  # fmt: skip
    assert dual["trainable"] and not by_id["corner_analysis.sharpness_rating"]["trainable"]
    rows = {a["id"]: a for a in dual["architectures"]}
    assert rows["mask_rcnn"]["available"] and rows["mask_rcnn"]["reason"] is None
    assert not rows["detectron2"]["available"] and "built from source" in rows["detectron2"]["reason"]


@pytest.mark.parametrize(
    ("words", "exit_code", "code", "says"),
    [
        (["run", "lst"], 2, "usage", "No such command"),
        (["data", "import"], 2, "usage", "Missing"),
        (["data", "import", "x"], 2, "usage", "Missing option"),
        (["data", "import", "/nowhere", "--dataset", "a"], 1, "dataset", "there is nothing here"),
        (["data", "import", "/tmp", "--dataset", "a/b"], 2, "usage", "cannot be the name"),
        (["data", "show", "crads"], 1, "dataset.not_found", "no dataset 'crads'"),
        (["data", "split", "cards", "--ratios", "1/2"], 2, "usage", "not a set of ratios"),
        (["run", "show", "nope"], 1, "training.not_found", "no run or job 'nope'"),
        (["run", "show", "latest"], 1, "training.not_found", "no run or job 'latest'"),
        (["train", "--task", "border_detection.dual_class"], 1, "config", "dataset: is missing"),
        (["suggest", "cards", "--task", "x"], 1, "dataset.not_found", "no dataset"),
        (["export", "x", "--format", "onx"], 2, "export.format", "no export format 'onx'"),
        (["export", "x", "--format", "tensorrt"], 1, "not_in_this_version", "TensorRT"),
        (["predict", "x", "/nowhere.png"], 1, "training.not_found", "no run 'x'"),
        (["data", "import", "x", "--dataset", "a", "--map", "y"], 2, "usage", "not theirs=ours"),
        (["evaluate", "x", "--split", "all"], 2, "usage", "train, val or test"),
    ],
)
def test_errors_are_one_document_with_their_exit_code(call, words, exit_code, code, says) -> None:
    found, document = call(*words)
    assert found == exit_code, document
    assert document["error"]["code"] == code
    assert says in document["error"]["message"]
    assert set(document["error"]) >= {"code", "message", "where", "what_to_do"}


def test_global_options_stand_anywhere(ws, capsys) -> None:
    for words in (["--json", "-w", str(ws.root), "data", "list"], ["data", "list", "--json", f"--workspace={ws.root}"],
                  ["data", "--json", "list", "-w", str(ws.root)]):  # fmt: skip
        assert run_line(words) == 0
        assert json.loads(capsys.readouterr().out) == []


def test_people_get_words(ws, capsys) -> None:
    assert run_line(["-w", str(ws.root), "data", "show", "crads"]) == 1
    err = capsys.readouterr().err
    assert "no dataset 'crads'" in err and "trugrade data import" in err
    assert run_line(["-w"]) == 2


def test_an_unexpected_error_is_ours(ws, capsys, monkeypatch) -> None:
    from trugrade_core.workflows import overview

    monkeypatch.setattr(overview, "datasets", lambda ws: 1 / 0)
    assert run_line(["-w", str(ws.root), "--json", "data", "list"]) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["code"] == "bug" and "ZeroDivisionError" in captured.err


def test_names_are_text_not_markup(capsys) -> None:
    console.table(["file [b]", "why"], [("scan [front] 1.jpg", "box[/1]"), (None, ":smile:")], title="[/x] of it")
    out = capsys.readouterr().out
    assert all(words in out for words in ("file [b]", "scan [front] 1.jpg", "box[/1]", ":smile:", "[/x] of it"))


def test_progress_and_notes_are_text_not_markup(ws, capsys) -> None:
    folder = RunFolder.create(ws.jobs, {"kind": "import", "title": "t"})
    folder.append("progress", done=1, total=2, text="box[/1].jpg")
    folder.append("note", text="scan [front] 1.jpg is left out, box[/1].jpg too")
    folder.append("result", values={"taken": 1})
    folder.append("state", state="finished", reason="")
    assert console.follow_job(folder) == {"taken": 1}
    err = " ".join(capsys.readouterr().err.split())
    assert "box[/1].jpg (1 of 2)" in err and "scan [front] 1.jpg is left out, box[/1].jpg too" in err


def test_a_table_in_a_pipe_is_not_folded(capsys) -> None:
    console.table(["key", "value"], [("a", "word " * 150), ("b", "x" * 900)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "x" * 900 in lines[3]


def test_the_least_resolution_is_taken(call, tmp_path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.new("RGB", (20, 20), (1, 2, 3)).save(scans / "a.png")
    code, report = call("data", "import", str(scans), "--dataset", "a", "--dpi", "1", "--dry-run")
    assert (code, report["taken"]) == (0, 1)


def test_a_dataset_by_hand(call, tmp_path) -> None:
    code, made = call("data", "synth", "cards", "--count", "12", "--dpi", "60")
    assert code == 0 and made["images"] == 12
    code, version = call("data", "split", "cards", "--ratios", "50/25/25", "--seed", "1")
    assert code == 0 and version["version"] == "v1" and version["samples"] == 12
    assert {name: n["cards"] for name, n in version["splits"].items()} == {"train": 6, "val": 3, "test": 3}
    assert call("data", "snapshot", "cards") == (0, version)
    code, rows = call("data", "list")
    assert rows[0]["name"] == "cards" and rows[0]["labelled"] == 12
    code, shown = call("data", "show", "cards")
    assert [c["name"] for c in shown["classes"]] == ["outer_border", "graphical_border"]
    code, suggestion = call(
        "suggest", "cards", "--task", "border_detection.dual_class", "-o", str(tmp_path / "run.yaml")
    )
    assert code == 0 and set(suggestion) == {"config", "reasons"} and all(suggestion["reasons"].values())
    code, plan = call("train", str(tmp_path / "run.yaml"), "--plan-only", "--set", "seed=3")
    assert code == 0
    assert plan["plan"]["seed"]["value"] == 3
    assert {entry["status"] for entry in plan["plan"].values()} <= {"used", "adapted"}
    code, _removed = call("data", "rm", "cards", "--yes")
    assert code == 0 and call("data", "list") == (0, [])


def test_a_gauge_without_inner_sides_is_printed(ws, capsys, monkeypatch, tmp_path) -> None:
    from trugrade_core.evaluate.gauge import against_gauge
    from trugrade_core.schema import Prediction
    from trugrade_core.workflows import evaluating

    sides = {"left": {"line": [10, 0, 10, 210], "sigma_px": 0.1}}
    facts = {"images": {"a.png": {"size": [150, 210], "dpi": 60, "sides": sides}}}
    said = {"a.png": Prediction(image="a.png", width=150, height=210, instances=(), seconds=0)}
    for labels, left_out in (
        ({"outer_border": "sides", "graphical_border": "inner_sides"}, False),
        ({"outer_border": "sides"}, True),
    ):
        found = against_gauge(said, facts, labels)
        monkeypatch.setattr(evaluating, "gauge", lambda *given, found=found: found)
        assert run_line(["-w", str(ws.root), "gauge", "m", str(tmp_path), str(tmp_path)]) == 0
        words = capsys.readouterr().out
        assert ("Left out, since the model does not find it: graphical_border" in words) == left_out
        assert ("not measured" in words) != left_out


def test_a_version_by_its_name(call, ws, capsys, tmp_path) -> None:
    call("data", "synth", "cards", "--count", "3", "--dpi", "60")
    call("data", "snapshot", "cards")
    call("data", "synth", "cards", "--count", "5", "--seed", "1", "--dpi", "60")
    call("data", "snapshot", "cards")
    code, shown = call("data", "show", "cards@v1")
    assert code == 0 and [v["version"] for v in shown["versions"]] == ["v1"]
    assert (shown["samples"], [c["annotations"] for c in shown["classes"]]) == (3, [3, 3])
    now = call("data", "show", "cards")[1]
    assert [v["version"] for v in now["versions"]] == ["v2", "v1"] and now["samples"] > 3
    for command in (["split"], ["snapshot"], ["rm", "--yes"]):
        code, said = call("data", *command, "cards@v1")
        assert code == 2 and "cards@v1" in said["error"]["message"] and "cards" in said["error"]["what_to_do"]
    capsys.readouterr()
    out = tmp_path / "out"
    assert run_line(["-w", str(ws.root), "data", "export", "cards@v1", "--format", "coco", "-o", str(out)]) == 0
    words = capsys.readouterr().out
    assert "Left out: origin (3)" in words
