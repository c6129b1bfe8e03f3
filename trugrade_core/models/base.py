"""What every network of the kind `instances` is: one module that gives losses with targets and raw boxes without.

Letters: B images, S side of the square canvas in px, N objects of an image, K raw detections of an image (a constant),
M side of a mask. Boxes are (x0, y0, x1, y1) over pixel edges of the canvas: the whole canvas is (0, 0, S, S).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from trugrade_core.models.parts import Features, settle_norms

Freezing = Literal["none", "partial", "full"]
LossGroup = Literal["classification", "bbox_regression", "mask_loss"]
Targets = list[dict[str, Tensor]]


class Detector(nn.Module):
    """A backbone with a neck, and heads. Subclasses give `losses`, `detect` and `loss_groups`.

    Attributes that the trainer sets before the first step:
    `autocast` is the dtype of the dense part (None: float32; boxes, scores and losses are float32 either way);
    `class_weights` (C,) weighs the classes 1 to C in the classification loss.
    `notes` says in words what of a weight file was taken and what was not.
    """

    loss_groups: dict[str, LossGroup]

    def __init__(self, backbone: Features, image_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.image_size = image_size
        self.autocast: torch.dtype | None = None
        self.class_weights: Tensor | None = None
        self.notes: list[str] = []
        self.register_load_state_dict_pre_hook(_follow_norms)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, targets: Targets | None = None) -> dict[str, Tensor] | tuple[Tensor, ...]:
        """images (B, 3, S, S) float32, normalised.

        With targets (each `boxes` (N, 4) float32, `labels` (N,) int64 from 1, `masks` (N, S, S) uint8 where the network
        has masks): the unweighted scalar losses by name. Without: `boxes` (B, K, 4), `scores` (B, K), `labels` (B, K)
        and, where the network has them, `masks` (B, K, M, M) as probabilities in the box; neither thresholded nor
        freed of duplicates. This one path serves PyTorch and ONNX.
        """
        return self.detect(images) if targets is None else self.losses(images, targets)

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, images: Tensor) -> tuple[Tensor, ...]:
        raise NotImplementedError

    # --- what the trainer asks for -----------------------------------------------------------------------------

    def freeze(self, mode: Freezing) -> None:
        """none; partial: the stem and the earlier half of the backbone's stages; full: all of the backbone's body.

        The neck and the heads always train. Frozen layers lie before all others, so they cost no backward pass.
        """
        for part in self.backbone.frozen_parts(mode):
            part.requires_grad_(False)

    def head_parameters(self) -> list[nn.Parameter]:
        """Everything after backbone and neck: what l2_weight penalises and weight_decay does not."""
        return list(self._head_parameters())

    def _head_parameters(self) -> Iterator[nn.Parameter]:
        for name, parameter in self.named_parameters():
            if not name.startswith("backbone."):
                yield parameter

    def checkpoint_activations(self) -> None:
        """From now on compute the activations of the backbone's stages again in the backward pass."""
        self.backbone.recompute = True

    def compile_dense(self, mode: Literal["default", "max_autotune"]) -> None:
        """Compile backbone and neck only: the rest has data-dependent parts. Names in state_dict stay as they are."""
        self.backbone.compile(mode=mode.replace("_", "-"), dynamic=False)

    def amp(self) -> AbstractContextManager[None]:
        """The precision of the dense parts, as `autocast` says."""
        if self.autocast is None:
            return nullcontext()
        device = next(self.parameters()).device.type
        return torch.autocast(device, dtype=self.autocast)


def _follow_norms(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before weights are loaded: frozen statistics where they have them, group norm where they have not."""
    settle_norms(module, {name.removeprefix(prefix) for name in state})
