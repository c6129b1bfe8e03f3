"""Everything once, on made-up cards, in minutes: what a newcomer runs first."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from trugrade_core.config import parse_config
from trugrade_core.errors import TrainingError
from trugrade_core.jobs import follow
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import datasets, evaluating, exporting, training
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace

DATASET = "demo-cards"
CARDS = 60
DPI = 100
TASK = "border_detection.dual_class"
MINUTES = 3.0
"""Of training, when a person says nothing."""
STEPS = ("making cards", "training", "evaluating", "exporting", "writing the report")


def start_demo(ws: Workspace, *, seed: int = 0, minutes: float = MINUTES, who: str = "") -> RunFolder:
    return start(ws, "demo", {"seed": seed, "minutes": minutes}, title="Demo", who=who)


def do_demo(job: Job) -> dict[str, Any]:
    """Synthetic dataset, short training, evaluation, export with parity, catalog, report.

    No accuracy is promised: the training is capped by the clock, and the constant box stands beside its figures.
    """
    from trugrade_core.catalog.fold import publish
    from trugrade_core.evaluate.report import write_report
    from trugrade_core.synth import synthesize

    begun = time.monotonic()

    def step(number: int) -> None:
        job.progress(number, len(STEPS), STEPS[number] if number < len(STEPS) else "done")

    step(0)
    synthesize(job.ws, DATASET, count=CARDS, seed=job.args["seed"], dpi=DPI)
    made = datasets.split_dataset(job.ws, DATASET, ratios=(0.6, 0.2, 0.2), seed=job.args["seed"])
    step(1)
    folder = _train(job, f"{DATASET}@{made['version']}")
    step(2)
    evaluation = evaluating.do_evaluate(Job(job.ws, job.folder, {"run": folder.id, "split": "test"}))
    step(3)
    out = job.ws.exports / f"{folder.id}-onnx"
    exported = exporting.export_checkpoint(job.ws, evaluating.checkpoint_of(folder), "onnx", out)
    step(4)
    publish(job.ws)
    report = write_report(job.ws, folder, "test", exported["parity"])
    step(5)
    return {
        "dataset": f"{DATASET}@{made['version']}",
        "run": folder.id,
        "metrics": evaluation["metrics"],
        "baseline": evaluation["baseline"],
        "verdict": evaluation["verdict"],
        "artifact": exported["artifact"],
        "parity": exported["parity"],
        "report": str(report),
        "seconds": time.monotonic() - begun,
    }


def _train(job: Job, dataset: str) -> RunFolder:
    ws, seed, minutes = job.ws, job.args["seed"], job.args["minutes"]
    config = parse_config(
        {
            "task": TASK,
            "dataset": dataset,
            "seed": seed,
            "experiment": "demo",
            "architecture_config": {"base_architecture": "mask_rcnn_efficientnet_lite0"},
            "hyperparameters": {
                "optimization": {"batch_size": 4, "learning_rate": 1e-3},
                "training_process": {"epochs": 1000, "time_limit": minutes, "early_stopping": {"patience": 0}},
                "advanced_settings": {"mixed_precision": False},  # depthwise: float32 is faster on a CPU
            },
            "data": {"image_size": 256},
        }
    )
    folder = training.start(ws, config)
    try:
        begun = time.monotonic()
        for _ in follow(folder):
            job.progress(1, len(STEPS), f"training, {(time.monotonic() - begun) / 60:.1f} of {minutes:g} min")
        status = folder.status()
    except BaseException:  # the demo was told to end, and so its training is
        with contextlib.suppress(TrainingError):  # it has ended by itself
            training.control(ws, folder.id, "stop")
        raise
    if status.state not in ("finished", "stopped"):
        raise TrainingError(f"the demo's training is {status.state}: {status.reason}", where=folder.id,
                            what_to_do=status.what_to_do)  # fmt: skip
    return folder
