"""GPU utilisation of a training: the median of what NVML says each second between the first and the last step.

It runs through the lab's supervisor, as any training does, and reads the run's own `resources` events. Where NVML
lists no GPU the row says so.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import scans
from benchmarks.measure import Row
from trugrade_core.config import parse_config
from trugrade_core.jobs import wait
from trugrade_core.machine import Machine
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace

MINUTES = 2.0


def bench(scratch: Path, quick: bool) -> list[Row]:
    machine = Machine.here()
    if not machine.gpus:
        return [Row(name="GPU utilisation", figure=None, unit="%", note=f"not run: no GPU here ({machine.gpu_reason})")]
    ws = Workspace.open(scratch / "workspace")
    version = scans.imported(ws, scans.scans(12, dpi=100) if quick else scans.scans(64))
    run = train(ws, version.name, "cuda", 0.2 if quick else MINUTES)
    used = while_training(run, "gpu_percent")
    return [
        Row(
            name="GPU utilisation",
            figure=statistics.median(used) if used else None,
            unit="%",
            note=f"mask_rcnn_resnet50_fpn on one {machine.gpus[0].name}, {len(used)} samples of a second",
        )
    ]


def train(ws: Workspace, dataset: str, accelerator: str, minutes: float) -> RunFolder:
    """A training of `minutes` on one device, to its end."""
    config = parse_config({
        "task": "border_detection.dual_class",
        "dataset": dataset,
        "architecture_config": {"base_architecture": "mask_rcnn_resnet50_fpn"},
        "hyperparameters": {"training_process": {"epochs": 1000, "time_limit": minutes}},
        "machine": {"accelerator": accelerator, "devices": 1},
    })  # fmt: skip
    run = training.start(ws, config, random_init=True)
    status = wait(run)
    assert status.state in ("finished", "stopped"), status
    return run


def while_training(run: RunFolder, name: str) -> list[float]:
    """The resource `name` at each sample between the first and the last step."""
    steps = [e["t"] for e in run.events() if e["kind"] == "metrics" and "batch" in e]
    return [
        e["values"][name]
        for e in run.events()
        if e["kind"] == "resources" and steps[0] <= e["t"] <= steps[-1] and e["values"].get(name) is not None
    ]
