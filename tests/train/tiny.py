"""A tiny network that fits the Detector contract, registered as the architecture `tiny`, and a dataset to train it on.

It learns a real card's borders from a 64 px canvas in a few steps, and uses dropout and noise, so that a test of exact
resume sees every random number.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trugrade_core import models, tasks
from trugrade_core.config import parse_config, set_key
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import Version, split
from trugrade_core.machine import Machine
from trugrade_core.models import Architecture, Variant
from trugrade_core.models.base import Detector
from trugrade_core.synth import synthesize
from trugrade_core.train.plan import RunPlan, plan_run
from trugrade_core.workspace import Workspace

TASK = "border_detection.dual_class"
MACHINE = Machine(cores=1, memory_bytes=2**33, compiler=False, bf16=False)
ROW = Architecture(
    id="tiny",
    kinds=("instances",),
    build="tests.train.tiny:build",
    variants=(Variant(id="net", image_size=64, weights={}),),
    licence="ours",
    outputs=("box", "mask"),
    default_optimizer="sgd",
    losses=("cross_entropy", "focal_loss"),
    lacks={},
)


def register() -> None:
    models.ARCHITECTURES["tiny"] = ROW
    row = tasks.TASKS[TASK]
    if "tiny" not in row.architectures:
        tasks.TASKS[TASK] = dataclasses.replace(row, architectures=(*row.architectures, "tiny"))


class TinyNet(Detector):
    """One box, score and mask for each class."""

    loss_groups = {"loss_score": "classification", "loss_box": "bbox_regression", "loss_mask": "mask_loss"}  # noqa: RUF012

    def __init__(self, image_size: int, classes: int, dropout: float) -> None:
        nn.Module.__init__(self)
        self.image_size, self.classes, self.dropout = image_size, classes, dropout
        self.autocast = None
        self.class_weights = None
        self.notes: list[str] = []
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(4)
        )
        self.head = nn.Linear(128, classes * 6)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def freeze(self, mode: str) -> None:
        for p in self.backbone.parameters() if mode != "none" else ():
            p.requires_grad_(False)

    def checkpoint_activations(self) -> None:
        self.recompute = True

    def dense(self, images: Tensor) -> Tensor:
        with self.amp():
            x = self.backbone(images).flatten(1) * self.scale
            x = self.head(F.dropout(x, self.dropout, self.training)).float()
        return x.view(len(images), self.classes, 6)

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        out = self.dense(images)
        boxes = out[..., :4].sigmoid() * self.image_size
        score, box, mask = [], [], [out.sum() * 0]
        for i, target in enumerate(targets):
            present = torch.zeros(self.classes)
            present[target["labels"] - 1] = 1
            weight = self.class_weights if self.class_weights is not None else torch.ones(self.classes)
            score.append(F.binary_cross_entropy_with_logits(out[i, :, 4], present, weight=weight))
            noise = torch.rand_like(target["boxes"]) * 0.01  # as detectors draw proposals from the global generator
            found = boxes[i][target["labels"] - 1]
            box.append(((found - target["boxes"] - noise) / self.image_size).abs().mean())
            share = target["masks"].float().mean(dim=(1, 2))
            mask.append((out[i, target["labels"] - 1, 5].sigmoid() - share).abs().mean())
        return {
            "loss_score": torch.stack(score).mean(),
            "loss_box": torch.stack(box).mean(),
            "loss_mask": torch.stack(mask).mean(),
        }

    def detect(self, images: Tensor) -> tuple[Tensor, ...]:
        out = self.dense(images)
        labels = torch.arange(1, self.classes + 1).expand(len(images), -1)
        masks = out[..., 5].sigmoid()[..., None, None].expand(-1, -1, 28, 28)
        return out[..., :4].sigmoid() * self.image_size, out[..., 4].sigmoid(), labels, masks


def build(spec, config, weights) -> TinyNet:
    net = TinyNet(spec.image_size, len(spec.classes), config.loss_config.regularization.dropout)
    net.freeze(config.architecture_config.custom_modifications.backbone_freezing)
    return net


def make_cards(root: Path, count: int = 16) -> Version:
    """A workspace with `count` synthetic cards of 40 dpi (about 120 px), split and snapshot."""
    ws = Workspace.open(root)
    synthesize(ws, "cards", count=count, seed=1, dpi=40)
    split(Dataset.open(ws, "cards"), (0.6, 0.3, 0.1), 0)
    return Version.open(ws, "cards")


def plan(version: Version, **dotted) -> RunPlan:
    """A plan for the tiny network: 3 epochs of batches of 2 with dropout; `dotted` keys with `__` for dots."""
    register()
    mapping: dict = {"task": TASK, "dataset": version.name}
    chosen = {
        "architecture_config__base_architecture": "tiny",
        "hyperparameters__optimization__batch_size": 2,
        "hyperparameters__optimization__learning_rate": 0.02,
        "hyperparameters__training_process__epochs": 3,
        "hyperparameters__training_process__early_stopping__patience": 0,
        "loss_config__regularization__dropout": 0.1,
        "machine__threads": 1,
        "data__workers": 0,
    } | dotted
    for key, value in chosen.items():
        set_key(mapping, key.replace("__", "."), value)
    found = plan_run(parse_config(mapping), manifest=version.manifest, machine=MACHINE, weights_found=lambda word: None)
    found.check()
    return found


class Events(list):
    """An `emit` that keeps what it was told."""

    def __call__(self, kind: str, **fields) -> None:
        self.append({"kind": kind, **fields})

    def of(self, kind: str) -> list[dict]:
        return [event for event in self if event["kind"] == kind]

    def metrics(self) -> list[dict]:
        """Metrics without what depends on the clock."""
        return [
            {**e, "values": {k: v for k, v in e["values"].items() if not k.startswith("time/")}}
            for e in self.of("metrics")
        ]
