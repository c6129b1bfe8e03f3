"""A small workspace with one of everything, made through the lab's own writers where they are cheap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trugrade_core.data.store import Dataset, annotation_id, put_entry, sample_id
from trugrade_core.data.versions import split
from trugrade_core.evaluate.predictions import ROWS
from trugrade_core.monitor.experiments import ExperimentTracker
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Annotation, Box, ClassDef, ImageRef, Sample, Score
from trugrade_core.workspace import Workspace, write_json

TASK = "border_detection.dual_class"
PLAN = {
    "hyperparameters.optimization.learning_rate": {"asked": 8e-4, "value": 8e-4, "status": "used", "reason": ""},
    "hyperparameters.optimization.batch_size": {"asked": "auto", "value": 4, "status": "adapted", "reason": "probed"},
    "machine.devices": {"asked": "auto", "value": 1, "status": "used", "reason": ""},
}


def make_dataset(ws: Workspace, name: str = "cards", count: int = 6) -> list[str]:
    """A split dataset with one box a sample; returns its sample ids."""
    ds = Dataset.create(ws, name, [ClassDef(name="outer_border"), ClassDef(name="graphical_border")])
    samples = [make_sample(i) for i in range(count)]
    ds.put_samples(samples)
    ds.append(put_entry(make_annotation(sample.id), who="ana", tool="importer") for sample in samples)
    split(ds, (0.5, 0.25, 0.25), seed=0)
    return [sample.id for sample in samples]


def make_sample(number: int, **fields: Any) -> Sample:
    ref = ImageRef(sha256=f"{number:064x}", suffix=".png", width=100, height=140, dpi=300, bytes=1000 + number)
    images = {"main": ref}
    words = {"card": f"card-{number}", "status": "done", "sources": (f"scans/{number} ü.png",), **fields}
    return Sample(id=sample_id(images), images=images, **words)


def make_annotation(sample: str, x0: float = 10.0) -> Annotation:
    value = Box(xyxy=(x0, 10.0, 90.0, 130.0))
    return Annotation(id=annotation_id(sample, "outer_border", value), sample=sample, label="outer_border", value=value)


def make_run(
    ws: Workspace, *, best: float = 0.2, steps: int = 4, dataset: str = "cards@v1", state: str = "finished"
) -> RunFolder:
    """A finished training of `steps` steps and one validation, with checkpoint, evaluation and export."""
    job = {"kind": "train", "title": "Train", "task": TASK, "architecture": "mask_rcnn_efficientnet_lite0", "dataset": dataset,
           "dataset_digest": "d" * 64, "experiment": "borders", "device": "cpu", "random_init": True, "who": "ana"}  # fmt: skip
    folder = RunFolder.create(ws.runs, job)
    write_json(folder.path / "plan.json", {"plan": PLAN, "architecture": "mask_rcnn"})
    write_json(
        folder.path / "environment.json",
        {"git_commit": "abc", "git_dirty": False, "host": "h", "python": "3.11.7", "seed": 3},
    )
    folder.queue()
    with TrainingMonitor(folder) as monitor:
        monitor("state", state="running", reason="")
        for step in range(1, steps + 1):
            values = {"train/loss": 1.0 / step, "lr": 1e-3, "time/wait_share": 0.01}
            monitor("metrics", step=step, epoch=0, batch=step - 1, values=values)
            monitor("resources", values={"cpu_run_percent": 150.0, "gpu_percent": None, "memory_run_bytes": 2e9})
        monitor("metrics", step=steps, epoch=0, values={"val/loss": 0.5, "val/side_error_mm": best})
        monitor("checkpoint", name="best", step=steps, epoch=0, digest=f"c-{folder.id}", bytes=5, metric=best)
        monitor("state", state=state, reason="all epochs done")
        monitor("result", values={"epochs": 1, "nan": float("nan")})
    checkpoint = {
        "name": "best",
        "digest": f"c-{folder.id}",
        "bytes": 5,
        "step": steps,
        "epoch": 0,
        "metrics": {"side_error_mm": best},
    }
    write_json(folder.checkpoints / "best.json", checkpoint)
    return folder


def make_evaluation(folder: RunFolder, samples: list[str], *, value: float = 0.25) -> Path:
    out = folder.path / "evaluation" / "test"
    out.mkdir(parents=True)
    rows = [
        {"sample": id, "variant": variant, "width": 100, "height": 140, "seconds": 0.1, "instance": 0, "label": "outer_border",
         "score": 0.9, "x0": 11.0, "y0": 10.0, "x1": 90.0, "y1": 130.0, "mask": "counts"}
        for id in samples for variant in ("plain", "shifted")
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), out / "predictions.parquet")
    objects = [
        {"variant": "plain", "sample": id, "label": "outer_border", "score": 0.9, "left_px": 1.0, "top_px": 0.0, "right_px": -1.0,
         "bottom_px": 2.0, "mm_per_px": 0.1, "missed": False}
        for id in samples
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(objects), out / "objects.parquet")
    figure = {"value": value, "low": 0.1, "high": 0.4, "n_cards": 2}
    found = {"split": "test", "predictor": {"digest": f"c-{folder.id}"}, "dataset": "cards@v1", "made": "2026-01-02T03:04:05+00:00",
             "metrics": {"side_error_mm": figure, "mask_map": {"value": None, "reason": "boxes only"}},
             "baseline": {"side_error_mm": {**figure, "value": 0.6}}}  # fmt: skip
    write_json(out / "evaluation.json", found)
    return out


def make_export(ws: Workspace, folder: RunFolder) -> Path:
    out = ws.exports / f"{folder.id}-onnx"
    out.mkdir(parents=True)
    manifest = {"format": 1, "kind": "onnx", "created": "2026-01-02T03:04:05+02:00", "run": folder.id, "task": TASK,
                "dataset": "cards@v1", "checkpoint_digest": f"c-{folder.id}", "digest": "e" * 64, "bytes": 7, "licence": "BSD"}  # fmt: skip
    write_json(out / "parity.json", {"passed": True, "compared": 8, "worst": {"box_px": 0.01, "score": None}})
    write_json(out / "manifest.json", manifest)
    return out


def make_job(ws: Workspace) -> RunFolder:
    folder = RunFolder.create(ws.jobs, {"kind": "import", "title": "Import", "args": {"source": "x"}, "who": "ana"})
    folder.queue()
    with TrainingMonitor(folder) as monitor:
        monitor("state", state="running", reason="")
        monitor("progress", done=1, total=2, text="")
        monitor("result", values={"images": 6})
        monitor("state", state="finished", reason="")
    return folder


def make_votes(ws: Workspace, sample: Sample) -> None:
    """Two graders who score one sample blind, in a dataset of its own."""
    ds = Dataset.create(ws, "votes")
    ds.put_samples([sample])
    for grader, score in (("ada", 8.0), ("ben", 8.5)):
        vote = Annotation(id=f"{grader}-1", sample=sample.id, layer=grader, value=Score(score=score))
        ds.append([put_entry(vote, who=grader, tool="annotator")])


def make_report(ws: Workspace, samples: list[str]) -> None:
    """What a check of the dataset found, as it lies on disk."""
    found = {"check": "class_balance", "code": "class.missing", "severity": "error", "samples": samples[:2],
             "why": "no graphical_border", "action": "Label some."}  # fmt: skip
    result = {"status": "fail", "score": 0.0, "findings": [found]}
    report = {"name": "cards", "task": "border_detection.dual_class", "made": "2026-03-01T09:00:00+00:00",
              "results": {"class_balance": result}}  # fmt: skip
    (ws.datasets / "cards" / "checks").mkdir()
    write_json(ws.datasets / "cards" / "checks" / "now.json", report)


def fill(ws: Workspace) -> RunFolder:
    """One of everything; returns the run."""
    samples = make_dataset(ws)
    make_votes(ws, make_sample(0))
    make_report(ws, samples)
    folder = make_run(ws)
    make_evaluation(folder, samples[:2])
    make_export(ws, folder)
    make_job(ws)
    ExperimentTracker(ws).track_experiment("borders", {"lr": 1}, {"score": 0.5})
    return folder


def dump(ws: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Everything the catalog shows, but for what says when it was made, in an order that does not matter."""
    from contextlib import closing

    from trugrade_core.catalog import schema
    from trugrade_core.catalog.query import connect

    with closing(connect(ws)) as con:
        found = {}
        for table in (*schema.TABLES, *schema.VIEWS):
            names = [c.name for c in table.columns if c.name not in ("seen", "published")]
            rows = con.execute(f"SELECT {', '.join(names)} FROM {table.name}").fetchall()
            found[table.name] = sorted(rows, key=lambda row: json.dumps(row, default=str))
    return found
