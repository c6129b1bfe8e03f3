"""One of the trainings that take turns: `python -m benchmarks.training_side JSON`, see `training`.

Prints a line `@{…}` when it is ready for an epoch and waits for a line on stdin before it goes on.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from trugrade_core.config import RunConfig, parse_config
from trugrade_core.data.versions import Version
from trugrade_core.runs import RunFolder
from trugrade_core.train.plan import RunPlan
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace


class Turns:
    """Says how long the epoch took, and waits for the next turn."""

    def __init__(self) -> None:
        self.begun = self.cpu = 0.0

    def __call__(self) -> None:
        self.say(seconds=time.perf_counter() - self.begun, cpu_s=time.process_time() - self.cpu)
        if not sys.stdin.readline():
            sys.exit("the bench is gone")
        self.begun, self.cpu = time.perf_counter(), time.process_time()

    def say(self, **words: Any) -> None:
        print("@" + json.dumps(words), flush=True)


def ours(spec: dict[str, Any], plan: RunPlan, version: Version, turn: Turns) -> None:
    """`fit` with its events written as in any run; epochs begin with a `progress` event."""
    from trugrade_core.monitor.tracking import TrainingMonitor
    from trugrade_core.train.fit import fit

    folder = RunFolder.create(version.ws.runs, {"kind": "train"})
    monitor = TrainingMonitor(folder)
    steps: list[tuple[int, float, float]] = []

    def emit(kind: str, **fields: Any) -> None:
        monitor(kind, **fields)
        if kind == "metrics" and "batch" in fields:
            seconds = fields["values"]["time/step_s"]
            steps.append((fields["epoch"], seconds, seconds * fields["values"]["time/wait_share"]))
        if kind == "progress":
            turn()

    outcome = fit(plan, version, folder, emit, list)
    turn.say(side_mm=outcome["metrics"].get("side_error_mm"), steps=steps)


def reference(spec: dict[str, Any], plan: RunPlan, version: Version, turn: Turns) -> None:
    """The plain loop with the same network, judged by the same validation."""
    import torch

    from benchmarks.reference import CocoCards, train, use_stock_numbers
    from trugrade_core.models import ModelSpec, get_architecture
    from trugrade_core.schema import Preprocess
    from trugrade_core.tasks import get_task
    from trugrade_core.train.loader import CardImages, EpochSampler, ImageCache, Item, make_loader
    from trugrade_core.train.validate import validate

    config = plan.config
    torch.set_num_threads(int(config.machine.threads))
    torch.manual_seed(config.seed)
    size = int(config.data.image_size)
    row, variant = get_architecture(config.architecture_config.base_architecture)
    model_spec = ModelSpec(classes=plan.classes, image_size=size, variant=variant.id)
    model = row.builder()(model_spec, config, Path(plan.weights) if plan.weights else None)
    if spec["stock"]:
        use_stock_numbers(model)
    preprocess = Preprocess(size=size)
    data = CocoCards(Path(spec["scans"]) / "images", Path(spec["train_json"]), preprocess)
    hyper = config.hyperparameters
    train(model, data, hyper.optimization, hyper.training_process.epochs, spec["workers"], Path(spec["out"]), turn)
    items = [Item(sample, annotations, version.image_path(sample)) for sample, annotations in version.records("val")]
    val = CardImages(items, plan.classes, ImageCache(version.ws.root / "cache", preprocess), None)
    batches = make_loader(val, EpochSampler(len(val), None), int(hyper.optimization.batch_size), 0)
    found = validate(model, batches, val, get_task(config.task), config.loss_config, torch.device("cpu"))
    turn()
    turn.say(side_mm=found.metrics.get("side_error_mm"), steps=[])


def main() -> None:
    spec = json.loads(sys.argv[1])
    ws = Workspace.open(spec["workspace"])
    config: RunConfig = parse_config(spec["config"])
    plan = training.plan(ws, config, random_init=True)
    plan.check()
    side = ours if spec["side"] == "ours" else reference
    side(spec, plan, Version.open(ws, config.dataset), Turns())


if __name__ == "__main__":
    main()
