"""The architecture table: what can be built, its variants, and what each of them can and cannot do.

Importing this costs nothing (no torch): a row names the function that builds the network, `module:function`, called
as `build(spec, config) -> torch.nn.Module`. Adding an architecture is adding a file and its row.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trugrade_core.errors import ConfigError, nearest
from trugrade_core.tasks import Kind, Task


@dataclass(frozen=True, kw_only=True)
class Variant:
    """`image_size` is the default long side in px; `weights` the file each `pretrained_weights` word stands for.

    `depthwise`: made of depthwise convolutions, which CPUs compute no faster in bf16 than in float32.
    """

    id: str
    image_size: int
    weights: dict[str, str]
    note: str = ""
    depthwise: bool = False


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """`lacks` maps a configuration key to why this architecture has no such thing; the plan refuses it by that."""

    id: str
    kinds: tuple[Kind, ...]
    build: str
    variants: tuple[Variant, ...]
    licence: str
    outputs: tuple[str, ...]
    default_optimizer: str
    losses: tuple[str, ...]
    package: str = ""
    install: str = ""
    lacks: dict[str, str]

    def unavailable(self) -> str:
        """Why it cannot run here and what to do about it, or ''."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"the package '{self.package}' is not installed. {self.install}"
        module = self.build.partition(":")[0]
        return "" if importlib.util.find_spec(module) else f"this version has no adapter for '{self.id}' yet."

    def builder(self) -> Callable[..., Any]:
        module, _, name = self.build.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return found


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a network is built for: class names in id order (id 1 first) and the input's side in px."""

    classes: tuple[str, ...]
    image_size: int
    variant: str


ARCHITECTURES: dict[str, Architecture] = {
    row.id: row
    for row in (
        Architecture(
            id="mask_rcnn",
            kinds=("instances",),
            build="trugrade_core.models.mask_rcnn:build",
            variants=(
                Variant(
                    id="efficientnet_lite0",
                    image_size=320,
                    weights={"imagenet": "efficientnet_lite0_timm.pt"},
                    note="light: for two cores",
                    depthwise=True,
                ),
                Variant(
                    id="resnet50_fpn",
                    image_size=640,
                    weights={"coco": "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", "imagenet": "resnet50-0676ba61.pth"},
                ),
                Variant(
                    id="resnet50_fpn_v2",
                    image_size=640,
                    weights={"coco": "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth", "imagenet": "resnet50-11ad3fa6.pth"},
                ),
            ),
            licence="BSD-3-Clause (torchvision)",
            outputs=("box", "mask"),
            default_optimizer="adamw",
            losses=("cross_entropy", "focal_loss"),
            lacks={},
        ),
        Architecture(
            id="retinanet",
            kinds=("instances",),
            build="trugrade_core.models.retinanet:build",
            variants=(
                Variant(
                    id="efficientnet_lite0",
                    image_size=320,
                    weights={"imagenet": "efficientnet_lite0_timm.pt"},
                    note="light: for two cores",
                    depthwise=True,
                ),
                Variant(
                    id="resnet50_fpn",
                    image_size=640,
                    weights={"coco": "retinanet_resnet50_fpn_coco-eeacb38b.pth", "imagenet": "resnet50-0676ba61.pth"},
                ),
                Variant(
                    id="resnet50_fpn_v2",
                    image_size=640,
                    weights={
                        "coco": "retinanet_resnet50_fpn_v2_coco-5905b1c5.pth",
                        "imagenet": "resnet50-11ad3fa6.pth",
                    },
                ),
            ),
            licence="BSD-3-Clause (torchvision)",
            outputs=("box",),
            default_optimizer="adamw",
            losses=("focal_loss",),
            lacks={"loss_config.loss_weights.mask_loss": "retinanet gives boxes only: it has no mask branch"},
        ),
        Architecture(
            id="yolo",
            kinds=("instances",),
            build="trugrade_core.models.yolo:build",
            variants=(
                Variant(id="11n-seg", image_size=320, weights={"coco": "yolo11n-seg.pt"}, note="smallest"),
                Variant(id="11s-seg", image_size=640, weights={"coco": "yolo11s-seg.pt"}),
            ),
            licence="AGPL-3.0 or a paid licence (Ultralytics)",
            outputs=("box", "mask"),
            default_optimizer="adamw",
            losses=("cross_entropy",),
            package="ultralytics",
            install="Install the extra: pip install 'trugrade[yolo]' (AGPL-3.0)",
            lacks={
                "architecture_config.custom_modifications.head_customization": "Ultralytics builds its own head",
                "architecture_config.custom_modifications.feature_pyramid": "Ultralytics builds its own neck",
                "loss_config.regularization.dropout": "Ultralytics' head has no dropout",
            },
        ),
        Architecture(
            id="detectron2",
            kinds=("instances",),
            build="trugrade_core.models.detectron2:build",
            variants=(Variant(id="mask_rcnn_R_50_FPN", image_size=640, weights={}),),
            licence="Apache-2.0",
            outputs=("box", "mask"),
            default_optimizer="sgd",
            losses=("cross_entropy",),
            package="detectron2",
            install="It is built from source against the installed torch (see detectron2's INSTALL.md); "
            "mask_rcnn is the same algorithm and needs nothing more.",
            lacks={},
        ),
    )
}


def get_architecture(name: str) -> tuple[Architecture, Variant]:
    """By id (`mask_rcnn`, its first variant) or id and variant (`mask_rcnn_resnet50_fpn`).

    Raises ConfigError naming the nearest.
    """
    for row in ARCHITECTURES.values():
        if name == row.id:
            return row, row.variants[0]
        for variant in row.variants:
            if name == f"{row.id}_{variant.id}":
                return row, variant
    known = [f"{row.id}_{v.id}" for row in ARCHITECTURES.values() for v in row.variants]
    problem = {"key": "architecture_config.base_architecture", "problem": f"no architecture '{name}'",
               "what_to_do": nearest(name, [*ARCHITECTURES, *known])}  # fmt: skip
    raise ConfigError("the configuration has 1 problem:", problems=[problem])


def describe(task: Task) -> list[dict[str, Any]]:
    """The rows of `trugrade tasks` for a task's architectures, the ones that cannot run here with their reason."""
    rows = []
    for name in task.architectures:
        reason = why_not(name)
        variants = [v.id for v in ARCHITECTURES[name].variants] if name in ARCHITECTURES else []
        rows.append({"id": name, "variants": variants, "available": not reason, "reason": reason or None})
    return rows


def why_untrainable(task: Task) -> str:
    """Why this version cannot train a task, or ''. Its datasets can be made, labelled and checked all the same."""
    if task.trainable and any(name in ARCHITECTURES for name in task.architectures):
        return ""
    return f"this version has no model for {task.id} yet; its datasets can be made, labelled and checked"


def why_not(architecture: str) -> str:
    """Why an architecture that the task table names cannot run here and what to do about it, or ''."""
    if architecture not in ARCHITECTURES:
        return f"this version has no model '{architecture}' yet; its datasets can be made and labelled."
    return ARCHITECTURES[architecture].unavailable()
