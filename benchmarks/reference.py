"""A plain training loop in the manner of torchvision's references/detection: what people start from.

As there: a CocoDetection dataset that opens each picture with PIL and fills its polygons at full size whenever it is
asked for it, `collate` by zip, the losses summed and checked, one optimizer step a batch, a checkpoint an epoch. It is
kinder than the original in one thing: pictures are resized by PIL in the dataset, not as float tensors in the model.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection
from torchvision.transforms import v2

from trugrade_core.config import Optimization
from trugrade_core.models.mask_rcnn import MaskRCNN
from trugrade_core.schema import Preprocess
from trugrade_core.train.objective import learning_rate

STOCK = {"nominees": 2000, "proposals": 1000, "samples": 512}
"""torchvision's own numbers: boxes into the proposals' NMS, proposals out of it, ROIs an image to learn from."""


class CocoCards(CocoDetection):  # type: ignore[misc]
    """(image (3, S, S) normalised, target) of each picture of a COCO file."""

    def __init__(self, images: Path, annotations: Path, preprocess: Preprocess) -> None:
        super().__init__(str(images), str(annotations))
        self.preprocess = preprocess

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        from pycocotools import mask as rle_tools

        picture, objects = super().__getitem__(index)
        width, height = picture.size
        sx, sy = self.preprocess.axis_scale(width, height)
        small = (round(height * sy), round(width * sx))
        filled = [
            rle_tools.decode(rle_tools.merge(rle_tools.frPyObjects(o["segmentation"], height, width))) for o in objects
        ]
        masks = v2.functional.resize(torch.as_tensor(np.stack(filled)), small, v2.InterpolationMode.NEAREST)
        boxes = torch.tensor([o["bbox"] for o in objects], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= torch.tensor([sx, sy, sx, sy])
        image = v2.functional.pil_to_tensor(v2.functional.resize(picture, small, antialias=True))
        image = v2.functional.normalize(image.float() / 255, self.preprocess.mean, self.preprocess.std)
        right, bottom = self.preprocess.size - small[1], self.preprocess.size - small[0]
        target = {
            "boxes": boxes.clamp(0, self.preprocess.size),
            "labels": torch.tensor([o["category_id"] for o in objects]),
            "masks": v2.functional.pad(masks, [0, 0, right, bottom]),
        }
        return v2.functional.pad(image, [0, 0, right, bottom]), target


def collate(batch: list[Any]) -> tuple[Any, ...]:
    return tuple(zip(*batch, strict=True))


def use_stock_numbers(model: MaskRCNN) -> None:
    """As many proposals and samples as torchvision's Mask R-CNN takes by default."""
    model.sizes = dataclasses.replace(model.sizes, **STOCK)
    model.proposals = model.sizes.proposals
    model.roi_heads.fg_bg_sampler.batch_size_per_image = model.sizes.samples


def train(
    model: MaskRCNN,
    data: CocoCards,
    config: Optimization,
    epochs: int,
    workers: int,
    out: Path,
    turn: Callable[[], None],
) -> None:
    """`turn` is called before each epoch."""
    batch = int(config.batch_size)
    loader = DataLoader(data, batch_size=batch, shuffle=True, num_workers=workers, collate_fn=collate)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if config.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            parameters, config.learning_rate, config.momentum, weight_decay=config.weight_decay
        )
    else:
        optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, steps, config) / config.learning_rate
    )
    model.train()
    for _ in range(epochs):
        turn()
        for images, targets in loader:
            losses = model.losses(torch.stack(images), list(targets))
            loss = sum(losses.values(), torch.zeros(()))
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"loss is {loss.item()}")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clipping)
            optimizer.step()
            schedule.step()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, out)
