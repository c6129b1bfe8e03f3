"""The benches run in their tiny form and say what they measured. Their figures are not looked at here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import chaos, coco, gpu, importing, inference, memory, pages, scans, training, writing
from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.machine import Machine
from trugrade_core.runs import RunFolder
from trugrade_core.tasks.instances.average_precision import coco_ap
from trugrade_core.workspace import Workspace, read_json


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scans and results of a test stay its own."""
    monkeypatch.setattr(scans, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    return tmp_path / "kept"


def named(rows: list[Row]) -> dict[str, Row]:
    """By name, every one with a finite figure and ratio."""
    for row in rows:
        assert row.figure is not None and math.isfinite(row.figure) and row.figure > 0, row
        assert row.ratio is None or math.isfinite(row.ratio), row
        assert bool(row.goal) == (row.met is not None), row
    return {row.name: row for row in rows}


# --- what they share ----------------------------------------------------------------------------------------------


def test_sides_take_turns_and_first_calls_of_a_block_do_not_count() -> None:
    said: list[str] = []
    seconds = alternate({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, rounds=2, calls=2)
    assert "".join(said) == "aaabbb" + "bbbaaa"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}
    assert times_faster([1.0, 2.0, 10.0], [2.0, 4.0, 30.0]) == 2.0


def test_the_table_says_ratio_goal_and_what_was_not_run() -> None:
    rows = [
        Row(name="one", figure=1234.5, unit="ms", compared_with="two | three", ratio=1.234, goal=">= 1.5 x", met=False),
        Row(name="gpu", figure=None, unit="%", note="not run: no GPU here"),
    ]
    lines = command.table(rows).splitlines()
    assert lines[2] == "| one | 1,234 ms | two / three | 1.23 x | >= 1.5 x: **missed** |  |"
    assert "not run" in lines[3] and all(line.count("|") == 7 for line in lines)


def test_a_run_prints_its_rows_and_keeps_them_and_a_failed_bench_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(scratch: Path, quick: bool) -> list[Row]:
        raise RuntimeError("no luck")

    assert command.main(["--quick", "--only", "coco"]) == 0
    assert "pycocotools" in capsys.readouterr().out
    (kept,) = command.RESULTS.iterdir()
    assert {row["name"] for row in read_json(kept)["rows"]} == {"COCO evaluation, boxes", "COCO evaluation, masks"}
    monkeypatch.setattr(coco, "bench", broken)
    assert command.main(["--quick", "--only", "coco"]) == 1
    assert "FAILED: RuntimeError: no luck" in capsys.readouterr().out


def test_scans_are_what_their_coco_file_says(kept: Path) -> None:
    folder = scans.scans(4, dpi=60)
    assert folder.parent == kept and scans.scans(4, dpi=60) == folder
    found = json.loads((folder / "coco.json").read_text())
    assert len(list((folder / "images").iterdir())) == len(found["images"]) == 4
    assert len(found["annotations"]) == 8
    for shape in found["annotations"]:
        xs, ys = shape["segmentation"][0][::2], shape["segmentation"][0][1::2]
        assert shape["bbox"] == pytest.approx([min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], abs=0.01)


# --- benches ------------------------------------------------------------------------------------------------------


def test_coco(tmp_path: Path) -> None:
    rows = named(coco.bench(tmp_path, True))
    assert all(row.met for row in rows.values())
    images = coco.make_judged(30, (400, 560), masks=False)
    ours, theirs = coco_ap(images, 2), coco.pycocotools_ap(images, "bbox")
    assert ours == pytest.approx(theirs, abs=1e-9)
    assert 0 < theirs["map"] < theirs["ap50"] < 1  # answers wrong enough to tell two evaluations apart


def test_importing(tmp_path: Path) -> None:
    rows = named(importing.bench(tmp_path, True))
    assert set(rows) == {"import", "import, growth with small pictures", "import, growth with 600 dpi scans"}


def test_writing(tmp_path: Path) -> None:
    rows = named(writing.bench(tmp_path, True))
    assert [name.split(",")[0] for name in rows] == [
        "event of a step",
        "catalog from nothing",
        "catalog after one event",
    ]


def test_pages(tmp_path: Path) -> None:
    assert set(named(pages.bench(tmp_path, True))) == {"Datasets page, first", "Datasets page, again", "/lab/thumb"}


def test_gpu_is_not_run_without_one(tmp_path: Path) -> None:
    if Machine.here().gpus:
        pytest.skip("there is a GPU here")
    (row,) = gpu.bench(tmp_path, True)
    assert row.figure is None and "no GPU here" in row.note


def test_utilisation_counts_only_while_steps_are_made(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, {"kind": "train"})
    lines = [("resources", 1, 5.0), ("metrics", 2, None), ("resources", 3, 70.0), ("resources", 4, 90.0), ("metrics", 5, None),
             ("resources", 6, 0.0)]  # fmt: skip
    for kind, t, percent in lines:
        words = {"values": {"gpu_percent": percent}} if kind == "resources" else {"batch": 1, "values": {}}
        event = {"run": run.id, "kind": kind, "t": t, "attempt": 1, **words}
        with (run.path / "events.jsonl").open("a") as f:
            f.write(json.dumps(event) + "\n")
    assert gpu.while_training(run, "gpu_percent") == [70.0, 90.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # pycocotools under numpy 2
def test_training(tmp_path: Path) -> None:
    rows = named(training.bench(tmp_path, True))
    assert {"training, same model settings", "training, fewer proposals and samples", "loader wait"} <= set(rows)
    assert rows["lever: decode cache"].ratio > 1


@pytest.mark.slow
def test_the_stock_numbers_reach_the_network() -> None:
    """More proposals and samples in the losses, and the same weights."""
    import torch

    from benchmarks.reference import STOCK, use_stock_numbers
    from trugrade_core.config import RunConfig
    from trugrade_core.models import ModelSpec, get_architecture

    row, variant = get_architecture("mask_rcnn_efficientnet_lite0")
    spec = ModelSpec(classes=("outer_border", "graphical_border"), image_size=128, variant=variant.id)
    model = row.builder()(spec, RunConfig(task="border_detection.dual_class", dataset="none"), None)
    images = torch.zeros(1, 3, 128, 128)
    box = torch.tensor([[10.0, 10, 100, 120]])
    target = {"boxes": box, "labels": torch.tensor([1]), "masks": torch.ones(1, 128, 128)}
    counted = []
    for _ in range(2):
        _, _, objectness, codes = model.dense(images)
        proposals = model.propose(objectness, codes)
        chosen, *_ = model.roi_heads.select_training_samples(list(proposals), [target])
        counted.append((proposals.shape[1], len(chosen[0])))
        use_stock_numbers(model)
    assert counted[0] == (64, 32)
    assert counted[1][0] == STOCK["proposals"] and counted[1][1] == STOCK["samples"]


@pytest.mark.slow
def test_memory(tmp_path: Path) -> None:
    assert set(named(memory.bench(tmp_path, True))) == {"peak memory, memory_optimization"}


@pytest.mark.slow
def test_inference(tmp_path: Path) -> None:
    assert len(named(inference.bench(tmp_path, True))) == 4


@pytest.mark.slow
def test_five_kills_lose_nothing_and_every_resume_is_equal(ws: Workspace) -> None:
    found = chaos.kill_and_resume(ws, 5, seed=1)
    assert found["differences"] == []
    assert found["kills"] == 5 and found["runs"] >= 1
    undisturbed, run = (RunFolder(path) for path in sorted(ws.runs.iterdir())[:2])
    run.append("metrics", step=3, epoch=1, batch=3, values={"train/loss": 0.0})
    assert chaos.differences(ws, run, undisturbed)  # the check can fail
