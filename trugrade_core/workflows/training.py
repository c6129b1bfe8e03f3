"""What a person does with trainings: have one suggested, planned, started, stopped, resumed, removed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trugrade_core.config import RunConfig, dump_yaml, load_mapping, parse_config, parse_value, set_key
from trugrade_core.data.versions import Version
from trugrade_core.errors import TrainingError, TruGradeError, UsageError, WeightsMissing
from trugrade_core.jobs import launch
from trugrade_core.machine import Machine
from trugrade_core.models import ARCHITECTURES, Architecture, Variant, get_architecture, why_untrainable
from trugrade_core.models.weights import resolve
from trugrade_core.monitor.experiments import environment, uncommitted_diff
from trugrade_core.runs import Command, RunFolder
from trugrade_core.tasks import TASKS, Task, get_task
from trugrade_core.train.plan import RunPlan, plan_run
from trugrade_core.train.suggest import PastRun, version_facts
from trugrade_core.train.suggest import suggest as suggest_config
from trugrade_core.workflows import overview
from trugrade_core.workflows.evaluating import checkpoint_of
from trugrade_core.workflows.jobs import Job
from trugrade_core.workflows.leaks import leak_of
from trugrade_core.workspace import Workspace, locked, read_json, write_atomic, write_json

PROJECT = Path(__file__).resolve().parents[2]


# --- configurations ----------------------------------------------------------------------------------------------


def read_config(
    path: Path | None,
    *,
    dataset: str | None = None,
    task: str | None = None,
    architecture: str | None = None,
    sets: list[str] | None = None,
) -> RunConfig:
    """A file's configuration (or none) with the command line's words over it."""
    mapping = load_mapping(path) if path else {}
    for key, value in (("dataset", dataset), ("task", task), ("architecture_config.base_architecture", architecture)):
        if value is not None:
            set_key(mapping, key, value)
    for pair in sets or []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set {pair} is not dotted.key=value")
        set_key(mapping, key.strip(), parse_value(text))
    return parse_config(mapping, where=str(path or "the command line"))


def write_config(mapping: Mapping[str, Any], path: Path) -> None:
    write_atomic(path, dump_yaml(parse_config(mapping), only_given=True))


def dotted(mapping: Mapping[str, Any], key: str) -> Any:
    """The value at `a.b.c` of nested mappings, or None."""
    found: Any = mapping
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def suggest(
    ws: Workspace, dataset: str, task: str, *, architecture: str | None = None, ignore_history: bool = False
) -> dict[str, Any]:
    """`{"config", "reasons"}`: a configuration for the version and the task, each value with its reason."""
    version = Version.open(ws, dataset)
    row = get_task(task)
    if reason := why_untrainable(row):
        raise UsageError(reason, code="task.untrainable", what_to_do="See: trugrade tasks")

    def weights_found(architecture: Architecture, variant: Variant, word: str) -> Path | None:
        try:
            return resolve(architecture, variant, word, ws_weights=ws.root / "weights")
        except WeightsMissing:
            return None

    facts = version_facts(version.records("train"))
    history = [] if ignore_history else _finished(ws, row, list(version.classes))
    config, reasons = suggest_config(
        version.manifest, facts, row, Machine.here(), weights_found, history, architecture=architecture
    )
    return {"config": config, "reasons": reasons}


def _finished(ws: Workspace, task: Task, classes: list[str]) -> list[PastRun]:
    """Finished runs of the same task and class list, for suggestions to learn from."""
    found = []
    for row in overview.runs(ws):
        if row["state"] == "finished" and row["task"] == task.id and row["main_metric"] is not None:
            folder = RunFolder(ws.runs / row["run"])
            with contextlib.suppress(TruGradeError):  # a damaged run teaches nothing
                if overview.best_checkpoint(folder).get("classes") == classes:
                    config = overview.run_config(folder).model_dump(mode="json", exclude_unset=True)
                    found.append(PastRun(run=row["run"], config=config, metric=row["main_metric"]))
    return found


def plan(ws: Workspace, config: RunConfig, *, random_init: bool = False) -> RunPlan:
    """What would become of every key on this machine; starts nothing."""
    return _plan(ws, config, Version.open(ws, config.dataset), random_init=random_init)


def _plan(ws: Workspace, config: RunConfig, version: Version, *, random_init: bool) -> RunPlan:
    def weights_found(word: str) -> str | None:
        row, variant = get_architecture(config.architecture_config.base_architecture)
        path = resolve(row, variant, word, ws_weights=ws.root / "weights")
        return str(path) if path else None

    return plan_run(
        config,
        manifest=version.manifest,
        machine=Machine.here(),
        weights_found=weights_found,
        random_init=random_init,
        leak=leak_of(version),
    )


def estimate(ws: Workspace, config: RunConfig, *, random_init: bool = False) -> RunPlan:
    """The plan with its seconds, peak memory and disk, from a probe of a few steps and one validation batch.

    Takes some ten seconds for a light model on a CPU. Raises ConfigError when the plan refuses a key.
    """
    from trugrade_core.train.estimate import estimate as probe

    made = plan(ws, config, random_init=random_init)
    return made.model_copy(update={"estimate": probe(made, ws.root)})


# --- running -----------------------------------------------------------------------------------------------------


def start(ws: Workspace, config: RunConfig, *, random_init: bool = False, who: str = "") -> RunFolder:
    """Queue a training and start its supervisor. Raises ConfigError when the plan refuses a key."""
    version = Version.open(ws, config.dataset)
    config = config.model_copy(update={"dataset": version.name})  # a newer version may come at any moment
    made = _plan(ws, config, version, random_init=random_init)
    made.check()
    threads = made.config.machine.threads
    folder = RunFolder.create(
        ws.runs,
        {
            "kind": "train",
            "title": f"Train {made.architecture} on {config.dataset}",
            "task": config.task,
            "architecture": f"{made.architecture}_{made.variant}",
            "dataset": version.name,
            "dataset_digest": version.manifest.digest,
            "experiment": config.experiment,
            "device": made.accelerator,
            "ranks": made.devices,
            "environment": {"OMP_NUM_THREADS": str(threads)},
            "random_init": made.random_init,
            "who": who,
        },
    )
    write_atomic(folder.path / "config.yaml", dump_yaml(_pinned(config, made), only_given=True))
    write_json(folder.path / "plan.json", made.as_json())
    facts = environment(PROJECT) | {"threads": threads, "seed": config.seed, "dataset_digest": version.manifest.digest}
    write_json(folder.path / "environment.json", facts)
    write_atomic(folder.path / "changes.patch", uncommitted_diff(PROJECT))
    folder.queue()
    launch(folder)
    return folder


def _pinned(config: RunConfig, made: RunPlan) -> RunConfig:
    """The configuration that means the same from any folder: its weight file in full."""
    if made.weights and config.architecture_config.pretrained_weights not in ("coco", "imagenet"):
        weights = {"pretrained_weights": made.weights}
        return config.model_copy(update={"architecture_config": config.architecture_config.model_copy(update=weights)})
    return config


def do_train(job: Job) -> dict[str, Any]:
    from trugrade_core.train.fit import fit

    config = overview.run_config(job.folder)
    # As many threads as the run began with, whatever this machine has now: `auto` is answered once for all its attempts.
    threads = int(job.folder.job()["environment"]["OMP_NUM_THREADS"])
    config = config.model_copy(update={"machine": config.machine.model_copy(update={"threads": threads})})
    version = overview.version_of(job.ws, job.folder)
    made = _plan(job.ws, config, version, random_init=job.folder.job()["random_init"])
    if not (job.folder.checkpoints / "latest.pt").exists():  # a resumed run needs its weight file no more
        made.check()
    return fit(made, version, job.folder, job.emit, job.control)


def control(ws: Workspace, run: str, command: Command, *, who: str = "") -> RunFolder:
    """Ask a queued or running job to stop, discard or save."""
    folder = RunFolder.find(ws, run, jobs=True)
    status = folder.status()
    if not status.live:
        raise TrainingError(
            f"is {status.state} and cannot be asked to {command}", where=folder.id, code="training.not_live"
        )
    if command == "save" and folder.job()["kind"] != "train":
        raise TrainingError("is no training, and has no checkpoint to save", where=folder.id)
    folder.ask(command, who)
    return folder


def resume(ws: Workspace, run: str) -> RunFolder:
    """Go on from the latest checkpoint of a run that has ended before its last epoch."""
    folder = RunFolder.find(ws, run)
    with locked(folder.path / ".resume"):  # whoever asks at the same moment finds it queued
        status = folder.status()
        if status.live or status.state in ("finished", "discarded"):
            raise TrainingError(
                f"is {status.state}; there is nothing to resume", where=folder.id, code="training.not_resumable"
            )
        latest = folder.checkpoints / "latest.json"
        from_step = read_json(latest).get("step", 0) if latest.exists() else 0
        folder.append("resumed", sync=True, from_step=from_step)
        folder.queue(f"resumes from step {from_step}")
    launch(folder)
    return folder


def remove(ws: Workspace, run: str) -> Path:
    """Move a run or job that has ended to the trash; returns where it lies now."""
    folder = RunFolder.find(ws, run, jobs=True)
    if folder.status().live:
        raise TrainingError(
            "is still going", where=folder.id, what_to_do=f"Stop it first: trugrade run stop {folder.id}"
        )
    with locked(folder.path / ".lock"):  # its supervisor may still be writing the last lines
        return ws.to_trash(folder.path)


def outcome(folder: RunFolder) -> dict[str, Any]:
    """`{"run", "state", "reason", "epochs", "metrics"}` with the metrics of the best epoch."""
    row = overview.run_row(folder)
    result = folder.results()
    return {
        "run": folder.id,
        "state": row["state"],
        "reason": row["reason"],
        "epochs": result.get("epochs", row["epoch"]),
        "metrics": row["metrics"],
    }


# --- the user's class --------------------------------------------------------------------------------------------


class DistributedTrainer:
    """Trains on several devices of this machine, one process for each (DDP; gloo on the CPU)."""

    def __init__(self, num_gpus: int, *, workspace: Workspace | None = None) -> None:
        self.num_gpus = num_gpus
        self.workspace = workspace or Workspace.open()

    def train_distributed(
        self, model: str | Mapping[str, Any], dataset: str, *, task: str = "", **keys: Any
    ) -> RunFolder:
        """Start a run and return its folder at once.

        model: an architecture id, an `architecture_config` mapping, a run id or a checkpoint file to start from.
        dataset: NAME[@VERSION]. task: found from the run when `model` is one. keys: dotted keys with `__` for dots.
        """
        mapping: dict[str, Any] = {"dataset": dataset}
        if isinstance(model, Mapping):
            mapping["architecture_config"] = dict(model)
        elif model in ARCHITECTURES or _is_variant(model):
            set_key(mapping, "architecture_config.base_architecture", model)
        else:
            mapping |= self._from_run(model)
        if task:
            mapping["task"] = task
        for key, value in keys.items():
            set_key(mapping, key.replace("__", "."), value)
        set_key(mapping, "machine.devices", self.num_gpus)
        return start(self.workspace, parse_config(mapping, where="train_distributed"))

    def _from_run(self, model: str) -> dict[str, Any]:
        """The configuration of a run, with its best checkpoint (else its latest) as the starting weights."""
        path = Path(model)
        folder = RunFolder(path.absolute().parent.parent) if path.is_file() else RunFolder.find(self.workspace, model)
        config = overview.run_config(folder).model_dump(mode="json", exclude_unset=True, exclude={"dataset"})
        start_from = path.absolute() if path.is_file() else checkpoint_of(folder)
        set_key(config, "architecture_config.pretrained_weights", os.fspath(start_from))
        return config


def _is_variant(name: str) -> bool:
    return any(name == f"{row.id}_{v.id}" for row in ARCHITECTURES.values() for v in row.variants)


def ready_tasks(classes: list[str]) -> list[str]:
    """Ids of the tasks that can be trained, those whose own classes the dataset has first."""
    known = [task.id for task in TASKS.values() if not why_untrainable(task)]
    return sorted(known, key=lambda task: not set(TASKS[task].classes) <= set(classes))
