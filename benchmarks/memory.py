"""Peak memory of a training with and without `memory_optimization`, which computes activations again in the backward
pass.

Each side is a process of its own that runs `fit` on mask_rcnn_resnet50_fpn, at a size where activations outweigh
weights and optimizer, and says the most memory it ever held (`ru_maxrss`). The note has what it costs in time: the CPU
seconds of the steps after the first, since the two cannot take turns.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from trugrade_core.config import parse_config
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version, split
from trugrade_core.runs import RunFolder
from trugrade_core.synth import synthesize
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace

SIZE, BATCH, CARDS = 512, 4, 24


def bench(scratch: Path, quick: bool) -> list[Row]:
    ws = Workspace.open(scratch / "workspace")
    synthesize(ws, "cards", count=CARDS, dpi=60)
    split(Dataset.open(ws, "cards"), (0.35, 0.35, 0.3), 0)
    size, batch = (64, 1) if quick else (SIZE, BATCH)
    found = {saving: _child(ws, {"saving": saving, "size": size, "batch": batch}) for saving in (False, True)}
    gb = {saving: side["peak_bytes"] / 1e9 for saving, side in found.items()}
    slower = found[True]["step_cpu_s"] / found[False]["step_cpu_s"]
    return [
        Row(
            name="peak memory, memory_optimization",
            figure=gb[True],
            unit="GB",
            compared_with=f"without: {gb[False]:.2f} GB",
            ratio=gb[False] / gb[True],
            note=f"mask_rcnn_resnet50_fpn, {batch} images of {size} px; a step takes {slower:.2f} times the CPU time",
        )
    ]


def _child(ws: Workspace, spec: dict[str, Any]) -> dict[str, float]:
    """`{"peak_bytes", "step_cpu_s"}` of one training."""
    command = [sys.executable, "-m", "benchmarks.memory", str(ws.root), json.dumps(spec)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "MALLOC_ARENA_MAX": "2"}
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The training of one side: an epoch."""
    from trugrade_core.train.fit import fit

    ws, spec = Workspace.open(sys.argv[1]), json.loads(sys.argv[2])
    config = parse_config({
        "task": "border_detection.dual_class",
        "dataset": "cards",
        "architecture_config": {"base_architecture": "mask_rcnn_resnet50_fpn"},
        "hyperparameters": {
            "optimization": {"batch_size": spec["batch"]},
            "training_process": {"epochs": 1},
            "advanced_settings": {"memory_optimization": spec["saving"], "mixed_precision": False},
        },
        "data": {"image_size": spec["size"]},
        "machine": {"accelerator": "cpu"},
    })  # fmt: skip
    plan = training.plan(ws, config, random_init=True)
    plan.check()
    at_step: list[float] = []

    def emit(kind: str, **fields: Any) -> None:
        if kind == "metrics" and "batch" in fields:
            at_step.append(time.process_time())

    fit(plan, Version.open(ws, config.dataset), RunFolder.create(ws.runs, {"kind": "train"}), emit, list)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak, "step_cpu_s": (at_step[-1] - at_step[0]) / (len(at_step) - 1)}))


if __name__ == "__main__":
    main()
