"""What is minimised and by what: weighed losses, the penalty on the heads, the optimizer, the learning rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trugrade_core.config import LossConfig, Optimization
from trugrade_core.models.base import Detector

WARM_UP = 0.05
"""Share of all steps in which the learning rate rises to its peak."""
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4


def total_loss(losses: Mapping[str, Tensor], model: Detector, config: LossConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """(what backward starts from, all components by name).

    Each of the network's losses is weighed by its group; `l2` is half of l2_weight times the sum of squares of the
    head's weights, so that l2_weight means the same as a weight decay of plain SGD.
    """
    weights = config.loss_weights.model_dump()
    components = dict(losses)
    total = torch.stack([weights[model.loss_groups[name]] * loss for name, loss in losses.items()]).sum()
    if config.regularization.l2_weight:
        squares = torch.stack([p.square().sum() for p in model.head_parameters() if p.requires_grad])
        components["l2"] = config.regularization.l2_weight / 2 * squares.sum()
        total = total + components["l2"]
    return total, components


def class_weights(labels: Iterable[str], classes: Sequence[str]) -> Tensor:
    """(C,): how rare each class is, so that the mean over objects is 1; absent classes get 1.

    N objects / (classes present x the class's count).
    """
    counts = Counter(labels)
    total, present = sum(counts[name] for name in classes), sum(counts[name] > 0 for name in classes)
    return torch.tensor([total / (present * counts[name]) if counts[name] else 1.0 for name in classes])


def make_optimizer(model: Detector, name: str, config: Optimization) -> torch.optim.Optimizer:
    """`sgd` or `adamw`. weight_decay acts on backbone and neck; the heads have their own penalty (`l2`), never both."""
    heads = {id(p) for p in model.head_parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, object]] = [
        {"params": [p for p in trained if id(p) not in heads], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if id(p) in heads], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def learning_rate(step: int, total: int, config: Optimization) -> float:
    """Of optimizer step `step` (from 0) of `total`: a pure function, so a resumed run needs no scheduler state."""
    peak = config.learning_rate
    if config.lr_scheduler == "one_cycle":
        rise = max(1, round(ONE_CYCLE_RISE * total))
        if step < rise:
            return peak * _cosine(ONE_CYCLE_START, 1.0, step / rise)
        return peak * _cosine(1.0, ONE_CYCLE_END, (step - rise) / max(1, total - rise))
    warm = max(1, round(WARM_UP * total))
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if config.lr_scheduler == "constant":
        return peak
    return peak * _cosine(1.0, 0.0, (step - warm) / max(1, total - warm))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(all, those that train)."""
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad)
