"""What a run will take, measured by a few steps before it starts: batch size, seconds, memory, disk."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable

import torch

from trugrade_core.models.base import Detector
from trugrade_core.train.loader import Batch, CardImages, collate
from trugrade_core.train.objective import count_parameters, total_loss
from trugrade_core.train.plan import Estimate, RunPlan

LARGEST_BATCH = 16
MEMORY_SHARE = 0.7
"""Of the device's memory that a step and the optimizer's state may take, so that a longer list of objects does not
break it."""
LONG_STEP_S = 5.0


def largest_batch(images: int) -> int:
    """What `batch_size: auto` tries first."""
    return max(1, min(LARGEST_BATCH, images // 4))


def is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
    )


def probe_batch(model: Detector, data: CardImages, plan: RunPlan, device: torch.device, memory_bytes: int) -> int:
    """The largest batch, halving from `largest_batch`, whose step fits into the device's memory.

    On a GPU a step is tried and backs off when it takes more than its share. On a CPU running out ends the process, so
    two small steps are measured and the rest is reckoned. Probed steps leave the weights alone, so the optimizer's
    state, which only its first step makes, is added to what they took.
    """
    size = largest_batch(len(data))
    limit = MEMORY_SHARE * memory_bytes - optimizer_bytes(model, plan)
    if device.type == "cpu":
        _step(model, data, 1, plan, device)
        base = peak_memory_bytes(device)
        _step(model, data, min(4, size), plan, device)
        for_each = max(1, peak_memory_bytes(device) - base) / max(1, min(4, size) - 1)
        while size > 1 and base + for_each * (size - 1) > limit:
            size //= 2
        return size
    while True:
        torch.cuda.reset_peak_memory_stats(device)
        try:
            _step(model, data, size, plan, device)
            if size == 1 or peak_memory_bytes(device) <= limit:
                return size
        except RuntimeError as e:
            if not is_out_of_memory(e) or size == 1:
                raise
        size //= 2
        torch.cuda.empty_cache()


def measure(
    model: Detector,
    data: CardImages,
    plan: RunPlan,
    batch_size: int,
    steps: int,
    validations: int,
    validate_once: Callable[[], object],
    validation_batches: int,
) -> Estimate:
    """Estimate a run from a few steps and one validation batch. Leaves weights and random state as they were.

    `steps` are the optimizer's on the devices of `plan`. Those may be fewer than the run will have (see estimate.py):
    each of them then takes its part of an epoch.
    """
    device = next(model.parameters()).device
    epochs = plan.config.hyperparameters.training_process.epochs
    steps = epochs * -(-steps * plan.devices // (epochs * int(plan.config.machine.devices)))
    step_s = _step(model, data, batch_size, plan, device)
    if step_s < LONG_STEP_S:  # else a warm-up hardly matters, and two more would keep a person waiting
        step_s = min(_step(model, data, batch_size, plan, device) for _ in range(2))
    begun = time.perf_counter()
    validate_once()
    validation_s = (time.perf_counter() - begun) * validation_batches
    accumulated = plan.config.hyperparameters.advanced_settings.gradient_accumulation_steps
    seconds = steps * accumulated * step_s + validations * validation_s
    limit = plan.config.hyperparameters.training_process.time_limit
    return Estimate(
        seconds=min(seconds, limit * 60) if limit else seconds,
        peak_memory_bytes=peak_memory_bytes(device) + optimizer_bytes(model, plan),
        disk_bytes=_disk_bytes(model, plan),
        source="reckoned from a few steps and one validation batch",
    )


def _step(model: Detector, data: CardImages, batch_size: int, plan: RunPlan, device: torch.device) -> float:
    """Seconds of one forward and backward pass."""
    batch = first_batch(data, batch_size)
    with torch.random.fork_rng():
        begun = time.perf_counter()
        targets = [{name: t.to(device) for name, t in target.items()} for target in batch.targets]
        losses = model(batch.images.to(device), targets)
        total_loss(losses, model, plan.config.loss_config)[0].backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def first_batch(data: CardImages, batch_size: int) -> Batch:
    return collate([data[0, i % len(data)] for i in range(batch_size)])


def peak_memory_bytes(device: torch.device) -> int:
    """Of this process so far: on the GPU, or resident in RAM."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def device_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    from trugrade_core.machine import Machine

    return Machine.here().memory_bytes


def _disk_bytes(model: Detector, plan: RunPlan) -> int:
    """latest (weights and optimizer state) twice, while the new one is written, and best (weights)."""
    total, _ = count_parameters(model)
    return 2 * (4 * total + optimizer_bytes(model, plan)) + 4 * total


def optimizer_bytes(model: Detector, plan: RunPlan) -> int:
    """State of float32 for each trained parameter: two averages of AdamW, SGD's momentum where it has one."""
    optimization = plan.config.hyperparameters.optimization
    slots = 2 if optimization.optimizer == "adamw" else 1 if optimization.momentum else 0
    return 4 * slots * count_parameters(model)[1]
