"""The training loop, to be read from the top: step, log, validate, save, check for stop. Its parts follow in order.

On a CPU with the same number of threads a run is a function of its configuration and data: repeated, or killed and
resumed, it ends with the same bits. For that, nothing draws from a random state but the model (torch's, saved with
each checkpoint); order and augmentation are functions of seed, epoch and place; checkpoints lie between optimizer
steps. On several devices each rank runs this same code; rank 0 alone emits, saves and decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Literal

import torch
from torch import Tensor

from trugrade_core.data.versions import Version
from trugrade_core.errors import TrainingError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import digest
from trugrade_core.train import checkpoint, probe
from trugrade_core.train.loader import Batch
from trugrade_core.train.objective import learning_rate, set_learning_rate, total_loss
from trugrade_core.train.plan import RunPlan
from trugrade_core.train.setup import SAVE_EVERY_S, Emit, Run, conditions, prepare
from trugrade_core.train.validate import NMS_IOU, Validation, validate, write_report

Control = Callable[[], list[Any]]
Decision = Literal["", "save", "stop", "discard", "time"]

SAVING_SHARE = 0.05
"""Of the time that saving may take: a large model is saved less often than every `SAVE_EVERY_S`."""


def fit(
    plan: RunPlan,
    version: Version,
    folder: RunFolder,
    emit: Emit,
    control: Control,
    *,
    save_every_s: float = SAVE_EVERY_S,
) -> dict[str, Any]:
    """Train as `plan` says, from the folder's latest checkpoint when it has one.

    Gives `{"state": finished | stopped | discarded, "reason", "epochs", "metrics" (of the best validation)}`. Writes
    events through `emit` but no state; `control` gives what people asked since its last call (stop, discard, save).
    Raises TrainingError (codes training.non_finite, training.out_of_memory, training.disk, training.threads …).
    """
    try:
        run = prepare(plan, version, folder, emit)
        run.save_every_s = save_every_s
        outcome = _train(run, control)
        if run.fabric.world_size > 1:
            _part(run)
        return outcome
    except (RuntimeError, MemoryError) as e:
        if not probe.is_out_of_memory(e):
            raise
        raise TrainingError(
            f"out of memory: {str(e).splitlines()[0][:300]}",
            where=folder.id,
            code="training.out_of_memory",
            what_to_do="Lower the batch size or the image size, or switch memory_optimization on.",
        ) from e


def _part(run: Run) -> None:
    """Ranks part together: one whose peer has gone while its own connection stands aborts the process on its way out."""
    run.fabric.barrier()
    torch.distributed.destroy_process_group()


def _train(run: Run, control: Control) -> dict[str, Any]:
    process = run.plan.config.hyperparameters.training_process
    ends = time.monotonic() + process.time_limit * 60 if process.time_limit else float("inf")
    while run.at.epoch < process.epochs and not _is_stale(run):
        run.emit("progress", done=run.at.step, total=run.steps, unit="steps",
                 text=f"epoch {run.at.epoch + 1} of {process.epochs}")  # fmt: skip
        for batches in _windows(run):
            _log(run, _step(run, batches))
            decision = _decide(run, control, ends)
            if decision == "save":
                _save_latest(run)
            elif decision == "discard":
                return _outcome(run, "discarded", "discarded by a person")
            elif decision:
                return _stop(run, "stopped by a person" if decision == "stop" else "the time limit was reached")
        run.at.epoch, run.at.consumed = run.at.epoch + 1, 0
        if run.at.epoch % process.validation_frequency == 0 or run.at.epoch == process.epochs:
            _validate(run)
        _save_latest(run)
    if _is_stale(run):
        why = f"stopped early: no better {run.task.main_metric} for {run.at.stale} validations"
        return _outcome(run, "finished", why)
    return _outcome(run, "finished", f"all {process.epochs} epochs done")


def _is_stale(run: Run) -> bool:
    """Asked before each epoch, so that a run killed after its last one does not train on when resumed."""
    patience = run.plan.config.hyperparameters.training_process.early_stopping.patience
    return bool(patience) and run.at.stale >= patience


# --- a step ------------------------------------------------------------------------------------------------------


def _windows(run: Run) -> Iterator[tuple[int, Iterator[Batch]]]:
    """(number of batches, the batches) of each optimizer step left in the epoch; the last may have fewer."""
    run.sampler.epoch, run.sampler.start = run.at.epoch, run.at.consumed
    accumulated = run.plan.config.hyperparameters.advanced_settings.gradient_accumulation_steps
    total = len(run.train_loader)
    batches = iter(run.train_loader) if total else iter(())
    for start in range(0, total, accumulated):
        yield min(accumulated, total - start), batches


def _step(run: Run, window: tuple[int, Iterator[Batch]]) -> dict[str, float]:
    """Forward, backward, clip, optimizer. Gives the step's metrics."""
    config = run.plan.config.hyperparameters.optimization
    begun, waited, images = time.perf_counter(), 0.0, 0
    sums: dict[str, Tensor] = {}
    ids: list[str] = []
    count, batches = window
    rate = learning_rate(run.at.step, run.steps, config)
    for k in range(count):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        ids += [run.train_loader.dataset.items[i].sample.id for i in batch.indices]  # type: ignore[attr-defined]
        targets = [{n: t.to(run.fabric.device) for n, t in target.items()} for target in batch.targets]
        held_back = run.fabric.world_size > 1 and k + 1 < count
        with run.fabric.no_backward_sync(run.model, enabled=held_back):
            losses = run.model(batch.images.to(run.fabric.device), targets)
            total, components = total_loss(losses, run.net, run.plan.config.loss_config)
            _check_finite(run, {"loss": total, **components}, ids)
            run.fabric.backward(total / count)
        for name, value in {"loss": total, **components}.items():
            sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach() / count
        images += len(batch.images)
    norm = run.fabric.clip_gradients(
        run.model, run.optimizer, max_norm=config.gradient_clipping or float("inf"), error_if_nonfinite=False
    )
    _check_finite(run, {"loss": torch.as_tensor(norm)}, ids)
    set_learning_rate(run.optimizer, rate)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.at.step += 1
    run.at.consumed += images * run.sampler.world
    seconds = time.perf_counter() - begun
    return {f"train/{name}": float(value) for name, value in sums.items()} | {
        "lr": rate,
        "time/step_s": seconds,
        "time/wait_share": waited / seconds,
        "time/images_per_s": images * run.sampler.world / seconds,
    }


def _check_finite(run: Run, values: dict[str, Tensor], ids: list[str]) -> None:
    """`loss` is what all the others lead to: it alone is looked at as long as it is a number."""
    if torch.isfinite(values["loss"]):
        return
    step = run.at.step + 1
    bad = [f"{name} = {value.item()}" for name, value in values.items() if not torch.isfinite(value)]
    raise TrainingError(
        f"the loss or its gradient is not finite at step {step} ({', '.join(bad)}); samples: {', '.join(ids)}",
        where=run.folder.id,
        code="training.non_finite",
        what_to_do="Lower the learning rate, or look at the samples named, and resume from the last checkpoint.",
        step=step,
        samples=ids,
    )


def _log(run: Run, values: dict[str, float]) -> None:
    batch = -(-run.at.consumed // run.window)
    run.emit("metrics", step=run.at.step, epoch=run.at.epoch + 1, batch=batch, values=values)


def _decide(run: Run, control: Control, ends: float) -> Decision:
    """What is to be done after this step; rank 0's word goes for all."""
    decision: Decision = ""
    if run.fabric.is_global_zero:
        asked = control()
        if "discard" in asked or "stop" in asked:
            decision = "discard" if "discard" in asked else "stop"
        elif time.monotonic() >= ends:
            decision = "time"
        elif "save" in asked or time.monotonic() - run.saved_at >= max(run.save_every_s, run.saving_s / SAVING_SHARE):
            decision = "save"
    if run.fabric.world_size > 1:
        decision = run.fabric.broadcast(decision)
    return decision


# --- validation --------------------------------------------------------------------------------------------------


def _validate(run: Run) -> None:
    """On rank 0; the others wait for its verdict."""
    if run.fabric.is_global_zero:
        found = validate(
            run.net, run.val_loader, run.val_data, run.task, run.plan.config.loss_config, run.fabric.device
        )
        _judge_epoch(run, found)
    if run.fabric.world_size > 1:
        run.at = run.fabric.broadcast(run.at)


def _judge_epoch(run: Run, found: Validation) -> None:
    """Emit, keep the best, count for early stopping."""
    at, process = run.at, run.plan.config.hyperparameters.training_process
    at.metrics = {**found.metrics, "val_loss": found.losses["loss"]}
    at.threshold = found.threshold
    values = found.losses | {name: value for name, value in found.metrics.items() if name != "loss"}
    where = {"step": at.step, "epoch": at.epoch}
    run.emit("metrics", **where, values={f"val/{name}": value for name, value in values.items()})
    file = write_report(run.folder.path, at.step, at.epoch, found, run.val_data)
    run.emit("validation", **where, file=file)

    sign = 1 if run.task.higher_is_better else -1
    score, delta = sign * found.main, process.early_stopping.min_delta
    at.stale += 1
    if at.reference is None or score > sign * at.reference + delta:
        at.stale, at.reference = 0, found.main
    if at.best is None or score > sign * at.best:
        at.best, at.best_metrics = found.main, at.metrics
        if process.checkpoint_saving == "best_and_latest":
            _save(run, "best", {"model": run.net.state_dict()})


# --- checkpoints -------------------------------------------------------------------------------------------------


def _save_latest(run: Run) -> None:
    """All that a resume needs. Every rank takes part, since each has a random state of its own."""
    begun = time.monotonic()
    states = [torch.get_rng_state()]
    if run.fabric.device.type == "cuda":
        states.append(torch.cuda.get_rng_state(run.fabric.device))
    gathered = [torch.as_tensor(run.fabric.all_gather(s)).cpu().reshape(run.sampler.world, -1) for s in states]
    if run.fabric.is_global_zero:
        state = {
            "model": run.net.state_dict(),
            "optimizer": run.optimizer.state_dict(),
            "random": gathered,
            "position": asdict(run.at),
            "batch_size": run.batch_size,
            "conditions": conditions(run.plan, run.fabric),
        }
        _save(run, "latest", state)
    run.saved_at = time.monotonic()
    run.saving_s = run.saved_at - begun


def _save(run: Run, name: str, state: dict[str, Any]) -> None:
    plan, at = run.plan, run.at
    facts = {
        "run": run.folder.id,
        "task": plan.config.task,
        "architecture": plan.architecture,
        "variant": plan.variant,
        "classes": plan.classes,
        "preprocess": run.val_data.cache.preprocess,
        "threshold": at.threshold,
        "nms_iou": NMS_IOU,
        "config": plan.config.model_dump(mode="json"),
        "config_digest": digest(plan.config.model_dump(mode="json")),
        "dataset": plan.values["dataset"],
        "dataset_digest": plan.dataset_digest,
        "step": at.step,
        "epoch": at.epoch,
        "metrics": at.metrics,
        "random_init": plan.random_init,
    }
    found = checkpoint.save(run.folder.checkpoints, name, state, facts)
    metric = at.metrics.get(run.task.main_metric)
    run.emit(
        "checkpoint", name=name, step=at.step, epoch=at.epoch, digest=found.digest, bytes=found.bytes, metric=metric
    )


# --- ending ------------------------------------------------------------------------------------------------------


def _stop(run: Run, reason: str) -> dict[str, Any]:
    """Keep what there is; a run that never validated does so now, so that it has figures and a best checkpoint.

    Neither early stopping nor the choice of the best counts that validation: a resumed run would end otherwise than an
    uninterrupted one.
    """
    if run.at.best is None:
        _validate(run)
        run.at.best, run.at.stale, run.at.reference = None, 0, None
    _save_latest(run)
    return _outcome(run, "stopped", reason)


def _outcome(run: Run, state: str, reason: str) -> dict[str, Any]:
    run.emit("progress", done=run.at.step, total=run.steps, unit="steps", text=reason)
    return {"state": state, "reason": reason, "epochs": run.at.epoch, "metrics": run.at.best_metrics}
