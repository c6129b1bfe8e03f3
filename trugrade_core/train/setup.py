"""What a training is made of, put together from its plan: network, optimizer, loaders, and where it stands."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.data import DataLoader

from trugrade_core.data import augment
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, TrainingError
from trugrade_core.models import ModelSpec, get_architecture
from trugrade_core.models.base import Detector
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Preprocess, digest
from trugrade_core.tasks import Task, get_task
from trugrade_core.train import checkpoint, probe
from trugrade_core.train.loader import Batch, CardImages, EpochSampler, ImageCache, Item, make_loader
from trugrade_core.train.objective import class_weights, count_parameters, make_optimizer
from trugrade_core.train.plan import BATCH, RunPlan
from trugrade_core.train.validate import validate
from trugrade_core.workspace import write_json

Emit = Callable[..., None]

SAVE_EVERY_S = 60.0


@dataclass
class Position:
    """Where the run is; saved with every checkpoint. `consumed` counts places of the unfinished epoch, all ranks'."""

    step: int = 0
    epoch: int = 0
    consumed: int = 0
    best: float | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    threshold: float = 0.5
    stale: int = 0
    reference: float | None = None
    """What early stopping asks the next validation to beat by min_delta."""


@dataclass
class Run:
    """Everything `prepare` put together. `net` is the bare network, `model` what Fabric made of it."""

    plan: RunPlan
    task: Task
    folder: RunFolder
    emit: Emit
    fabric: Fabric
    net: Detector
    model: Any
    optimizer: Any
    train_loader: DataLoader[Batch]
    sampler: EpochSampler
    val_loader: DataLoader[Batch]
    val_data: CardImages
    batch_size: int
    at: Position = field(default_factory=Position)
    save_every_s: float = SAVE_EVERY_S
    saved_at: float = field(default_factory=time.monotonic)
    saving_s: float = 0.0
    """How long the last save took."""

    @property
    def window(self) -> int:
        """Images of a whole optimizer step, over all ranks."""
        accumulated = self.plan.config.hyperparameters.advanced_settings.gradient_accumulation_steps
        return self.batch_size * accumulated * self.sampler.world

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        epochs = self.plan.config.hyperparameters.training_process.epochs
        return epochs * -(-self.sampler.total // self.window)


def prepare(plan: RunPlan, version: Version, folder: RunFolder, emit: Emit) -> Run:
    """Build model, optimizer and loaders; probe a fresh run, or restore the state of the latest checkpoint."""
    config = plan.config
    fabric = _fabric(plan)
    torch.set_num_threads(int(config.machine.threads))
    torch.manual_seed(config.seed)
    net = _network(plan)
    latest = folder.checkpoints / "latest.pt"
    state = checkpoint.load(latest)[0] if latest.exists() else {}
    if state:
        _check_conditions(plan, folder, fabric, state["conditions"])
        net.load_state_dict(state["model"])  # before the optimizer is made: norms follow what is loaded
    train_items, val_items = _items(version, "train"), _items(version, "val")
    cache = ImageCache(version.ws.cache, Preprocess(size=int(config.data.image_size)))
    within = augment.settings(config.data.augmentation, get_task(config.task).augmentation)
    train_data = CardImages(train_items, plan.classes, cache, within, config.seed)
    val_data = CardImages(val_items, plan.classes, cache, None)
    if config.data.class_weights == "auto":
        labels = [a.label for item in train_items for a in item.annotations if a.label]
        net.class_weights = class_weights(labels, plan.classes).to(fabric.device)
    optimizer = make_optimizer(net, config.hyperparameters.optimization.optimizer, config.hyperparameters.optimization)
    model, optimizer = fabric.setup(net, optimizer)
    silent: Emit = lambda kind, **fields: None  # noqa: E731
    emit = emit if fabric.is_global_zero else silent

    batch_size = _batch_size(plan, state, net, train_data, fabric, emit)
    sampler = EpochSampler(len(train_data), config.seed, rank=fabric.global_rank, world=fabric.world_size)
    workers = int(config.data.workers)
    run = Run(
        plan=plan,
        task=get_task(config.task),
        folder=folder,
        emit=emit,
        fabric=fabric,
        net=net,
        model=model,
        optimizer=optimizer,
        train_loader=make_loader(train_data, sampler, batch_size, workers),
        sampler=sampler,
        val_loader=make_loader(val_data, EpochSampler(len(val_data), None), batch_size, min(workers, 2)),
        val_data=val_data,
        batch_size=batch_size,
    )
    if state:
        _restore(run, state)
    else:
        torch.manual_seed(config.seed * 1_000_003 + fabric.global_rank)
        _estimate(run, train_data)
    net.train()
    return run


def _fabric(plan: RunPlan) -> Fabric:
    """One device, or this rank's place among several. Inputs stay float32: the model itself knows what runs in bf16."""
    if plan.accelerator == "cuda" and not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda} and finds no GPU" if torch.version.cuda else "built without CUDA"
        raise TrainingError(
            f"the plan trains on a GPU, which the driver lists, but torch {torch.__version__} is {built}",
            code="training.no_cuda",
            what_to_do="Install a torch built for a CUDA that the driver supports (see requirements-torch.lock and "
            "pytorch.org), or train on the CPU: --set machine.accelerator=cpu",
        )
    if plan.devices == 1:
        return Fabric(accelerator=plan.accelerator, devices=1, precision="32-true")
    if "LOCAL_RANK" not in os.environ:
        raise TrainingError(
            f"a training on {plan.devices} devices needs as many processes, and this is a single one",
            code="training.ranks",
            what_to_do="Start it as a run: trugrade train, the Train page or DistributedTrainer.",
        )
    from lightning_fabric.strategies.ddp import DDPStrategy

    # The mask branch has no gradient on a rank whose images gave it no object.
    strategy = DDPStrategy(find_unused_parameters=True)
    fabric = Fabric(accelerator=plan.accelerator, devices=plan.devices, strategy=strategy, precision="32-true")
    fabric.launch()
    return fabric


def _network(plan: RunPlan) -> Detector:
    config = plan.config
    row, variant = get_architecture(f"{plan.architecture}_{plan.variant}")
    spec = ModelSpec(classes=plan.classes, image_size=int(config.data.image_size), variant=variant.id)
    net: Detector = row.builder()(spec, config, Path(plan.weights) if plan.weights else None)
    if config.hyperparameters.advanced_settings.mixed_precision:
        net.autocast = torch.bfloat16
    if config.hyperparameters.advanced_settings.memory_optimization:
        net.checkpoint_activations()
    if config.architecture_config.optimization_mode != "none":
        net.compile_dense(config.architecture_config.optimization_mode)
    # The layout that convolutions work in, on a CPU as on a GPU: no copies to and fro.
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _items(version: Version, split: str) -> list[Item]:
    items = [Item(sample, annotations, version.image_path(sample)) for sample, annotations in version.records(split)]
    if not items:
        raise DatasetError(
            f"has no labelled images in its {split} split",
            where=version.name,
            code="dataset.empty_split",
            what_to_do=f"Label some, then split again: trugrade data split {version.manifest.dataset}",
        )
    return items


def _batch_size(
    plan: RunPlan, state: dict[str, Any], net: Detector, data: CardImages, fabric: Fabric, emit: Emit
) -> int:
    asked = plan.config.hyperparameters.optimization.batch_size
    if state:
        return int(state["batch_size"])
    if asked != "auto":
        return asked
    found = probe.probe_batch(net.train(), data, plan, fabric.device, probe.device_memory_bytes(fabric.device))
    found = int(fabric.broadcast(found))
    emit("adapted", key=BATCH, asked="auto", used=found, reason="the largest that fits, by a probed step, at most "
         f"{probe.largest_batch(len(data))} for {len(data)} training images")  # fmt: skip
    return found


def _estimate(run: Run, train_data: CardImages) -> None:
    """Probe a fresh run on rank 0 and say what it will take; notes of the network come along."""
    for note in run.net.notes:
        run.emit("note", text=note)
    total, trained = count_parameters(run.net)
    run.emit("note", text=f"{total / 1e6:.1f} million parameters, {trained / 1e6:.1f} million of them train")
    if run.fabric.is_global_zero:
        process = run.plan.config.hyperparameters.training_process
        batch = probe.first_batch(run.val_data, min(run.batch_size, len(run.val_data)))
        loss, device = run.plan.config.loss_config, run.fabric.device
        found = probe.measure(
            run.net.train(),
            train_data,
            run.plan,
            run.batch_size,
            run.steps,
            -(-process.epochs // process.validation_frequency),
            lambda: validate(run.net, [batch], run.val_data, run.task, loss, device),
            len(run.val_loader),
        )
        write_json(run.folder.path / "estimate.json", found)
        run.emit("note", text=f"about {(found['seconds'] or 0) / 60:.3g} minutes, {(found['peak_memory_bytes'] or 0) / 1e9:.1f} GB "
                 f"of memory, {(found['disk_bytes'] or 0) / 1e6:.0f} MB of disk ({found['source']})")  # fmt: skip
    run.fabric.barrier()


# --- going on ----------------------------------------------------------------------------------------------------


def conditions(plan: RunPlan, fabric: Fabric) -> dict[str, Any]:
    """What must be the same for a resumed run to end with the same bits."""
    config = plan.config.model_dump(mode="json", exclude={"machine": True, "experiment": True, "data": {"workers"}})
    del config["hyperparameters"]["training_process"]["time_limit"]
    return {
        "threads": torch.get_num_threads(),
        "devices": fabric.world_size,
        "device": fabric.device.type,
        "dataset": plan.dataset_digest,
        "configuration": digest(config),
    }


def _check_conditions(plan: RunPlan, folder: RunFolder, fabric: Fabric, then: dict[str, Any]) -> None:
    now = conditions(plan, fabric)
    if fabric.device.type != "cpu":  # a GPU's sums do not depend on them
        now["threads"] = then["threads"]
    changed = [f"{name}: {then[name]} then, {now[name]} now" for name in now if then[name] != now[name]]
    if changed:
        raise TrainingError(
            "cannot be resumed exactly, because conditions differ: " + "; ".join(changed),
            where=folder.id,
            code="training.threads" if then["threads"] != now["threads"] else "training.conditions",
            what_to_do="Resume it on a machine and with settings like those it began with (machine.threads fixes the "
            "threads), or start a new run with its checkpoint as pretrained_weights.",
        )


def _restore(run: Run, state: dict[str, Any]) -> None:
    """Optimizer, position and random state of the latest checkpoint."""
    run.optimizer.load_state_dict(state["optimizer"])
    run.at = Position(**state["position"])
    # Cloned: torch 2.14 reads the state of a view from the wrong place, and ends the process.
    torch.set_rng_state(state["random"][0][run.fabric.global_rank].clone())
    if run.fabric.device.type == "cuda":
        torch.cuda.set_rng_state(state["random"][1][run.fabric.global_rank].clone(), run.fabric.device)
    run.emit("note", text=f"goes on after step {run.at.step}, in epoch {run.at.epoch + 1}")
