"""YOLO: Ultralytics' network, assigner and loss, trained, stored, judged and exported by the lab's own code.

The lab's side refiner (`sides.SideRefiner`) stands behind it as behind the other detectors. Ultralytics is AGPL-3.0; this is the one module that imports it. Only its network and loss are used, so none of its
trainer, telemetry, hub, plotting, auto-install or download code runs; the environment says so to it all the same,
before it is imported.

Letters: B images, S side of the canvas in px, A anchor points, C classes without background, K detections.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from trugrade_core.config import RunConfig
from trugrade_core.errors import TrainingError
from trugrade_core.models import ModelSpec
from trugrade_core.models import parts as p
from trugrade_core.models.base import Detector, Targets
from trugrade_core.models.sides import SideRefiner
from trugrade_core.models.weights import Weights, load_state

DETECTIONS = 32
MASK_SIDE = 28
FINE = 32
STAGES = ((0,), (1, 2), (3, 4), (5, 6), (7, 8, 9, 10))
"""YOLO11's layers 0 to 10 are its body: 0 the stem, then a stage from each convolution of stride 2 on."""


def quiet_ultralytics() -> Any:
    """Ultralytics' package, imported with all that could reach the network, install or log switched off."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "trugrade" / "ultralytics"
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    os.environ |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_VERBOSE": "0", "ULTRALYTICS_SAFE_LOAD": "1"}
    os.environ.setdefault("YOLO_CONFIG_DIR", str(cache))
    Path(os.environ["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    saved = torch.save
    import ultralytics
    import ultralytics.nn.tasks
    import ultralytics.utils.loss

    torch.save = saved  # Ultralytics puts its own in its place
    return ultralytics


class YoloFeatures(p.Features):
    """All layers before the head: body and neck. `layers` keep Ultralytics' numbers; `fine` is the side refiner's map,
    from the outputs of layers 0 and 2 (strides 2 and 4) and of the head's finest."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.ModuleList, outputs: list[int], fine: p.FineMap) -> None:
        super().__init__()
        self.layers, self.outputs, self.fine = layers, outputs, fine
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, 3, S, S) ImageNet-normalised -> the maps that the head takes, at strides 8, 16 and 32, and the fine map
        at stride 2."""
        x: Any = images * self.std + self.mean
        kept: list[Tensor] = []
        for layer in self.layers:
            source: Any = layer.f
            if source != -1:
                x = kept[source] if isinstance(source, int) else [x if j == -1 else kept[j] for j in source]
            x = self.run(layer, x)
            kept.append(x)
        maps = [kept[i] for i in self.outputs]
        return maps, self.fine([kept[0], kept[2], maps[0]])

    def frozen_parts(self, mode: str) -> list[nn.Module]:
        keep = {"none": 0, "partial": 1 + (len(STAGES) - 1) // 2, "full": len(STAGES)}[mode]
        return [self.layers[i] for stage in STAGES[:keep] for i in stage]


class Yolo(Detector):
    """See `Detector`. The losses carry Ultralytics' own gains (box 7.5, class 0.5, distribution 1.5)."""

    loss_groups = {  # noqa: RUF012
        "loss_classifier": "classification",
        "loss_box_reg": "bbox_regression",
        "loss_distribution": "bbox_regression",
        "loss_sides": "bbox_regression",
        "loss_mask": "mask_loss",
    }
    centres: Tensor
    strides: Tensor

    def __init__(self, backbone: YoloFeatures, head: Any, args: Any, *, image_size: int, classes: int) -> None:
        super().__init__(backbone, image_size)
        self.head, self.args, self.classes = head, args, classes
        self.detections = DETECTIONS
        self.refiner: SideRefiner | None = SideRefiner(FINE, classes, 2)
        self.criterion: Any = None
        grids = [(image_size // int(stride), float(stride)) for stride in head.stride]
        cells = [torch.cartesian_prod(torch.arange(g), torch.arange(g)).flip(1) for g, _ in grids]
        centres = [(cell + 0.5) * stride for cell, (_, stride) in zip(cells, grids, strict=True)]
        strides = [torch.full((g * g, 1), stride) for g, stride in grids]
        self.register_buffer("centres", torch.cat(centres), persistent=False)
        self.register_buffer("strides", torch.cat(strides), persistent=False)

    def dense(self, images: Tensor) -> dict[str, Any]:
        """Ultralytics' raw predictions: `boxes` (B, 4 R, A), `scores` (B, C, A), `mask_coefficient` (B, 32, A),
        `proto` (B, 32, S / 4, S / 4), `feats`, and the `fine` map, all float32."""
        with self.amp():
            maps, fine = self.backbone(images)
            found: dict[str, Any] = self.head.forward_head(maps, **self.head.one2many)
            found |= {"proto": self.head.proto(maps[0]), "fine": fine}
        floats = {name: value.float() for name, value in found.items() if name != "feats"}
        return floats | {"feats": [x.float() for x in found["feats"]]}

    # --- training ------------------------------------------------------------------------------------------------

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        predictions = self.dense(images)
        device = images.device
        if self.criterion is None or self.criterion.device != device:
            self.criterion = self._criterion()
        weights = self.class_weights
        self.criterion.class_weights = None if weights is None else weights.to(device).view(1, 1, -1)
        total, _ = self.criterion.loss(predictions, self._batch(targets, device))
        box, mask, classes, distribution, _ = (total / len(images)).unbind()
        found = {
            "loss_classifier": classes,
            "loss_box_reg": box,
            "loss_distribution": distribution,
            "loss_mask": mask,
        }
        if self.refiner is not None:
            with self.amp():
                found["loss_sides"] = self.refiner.loss(predictions["fine"], targets).float()
        return found

    def _criterion(self) -> Any:
        from ultralytics.utils.loss import v8SegmentationLoss

        model: Any = SimpleNamespace(model=[self.head], args=self.args, parameters=self.head.parameters)
        return v8SegmentationLoss(model)

    def _batch(self, targets: Targets, device: torch.device) -> dict[str, Tensor]:
        """Targets as Ultralytics takes them: boxes as cx, cy, w, h from 0 to 1, masks at a quarter of the canvas."""
        boxes = torch.cat([t["boxes"] for t in targets]) / self.image_size
        masks = torch.cat([t["masks"] for t in targets])[:, None].float()
        return {
            "batch_idx": torch.cat([torch.full((len(t["boxes"]),), float(i)) for i, t in enumerate(targets)]).to(
                device
            ),
            "cls": torch.cat([t["labels"] for t in targets])[:, None].float() - 1,
            "bboxes": torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1),
            "masks": (F.avg_pool2d(masks, 4) >= 0.5).float()[:, 0] if len(masks) else masks[:, 0, ::4, ::4],
        }

    # --- inference -----------------------------------------------------------------------------------------------

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = self.dense(images)
        b = len(images)
        flat = found["scores"].transpose(1, 2).flatten(1)
        best, index = flat.topk(min(self.detections, flat.shape[1]), 1)
        place = torch.div(index, self.classes, rounding_mode="floor")
        labels = index % self.classes + 1
        boxes = self.boxes(found["boxes"]).gather(1, place[..., None].expand(-1, -1, 4))
        if self.refiner is not None:
            with self.amp():
                sides = self.refiner(found["fine"], boxes, labels)
            boxes = sides.float().clamp(0, self.image_size)
        coefficients = found["mask_coefficient"].transpose(1, 2)
        chosen = coefficients.gather(1, place[..., None].expand(-1, -1, coefficients.shape[2]))
        pooled = roi_align(found["proto"], p.box_rois(boxes), MASK_SIDE, 0.25, sampling_ratio=2, aligned=True)
        pooled = pooled.view(b, -1, *pooled.shape[1:])
        masks = (pooled * chosen[..., None, None]).sum(2).sigmoid()
        return boxes, best.sigmoid(), labels, masks

    def boxes(self, distances: Tensor) -> Tensor:
        """(B, 4 R, A) distributions of the distances to the four sides -> (B, A, 4) boxes."""
        b, channels, a = distances.shape
        bins = torch.arange(channels // 4, device=distances.device, dtype=distances.dtype)
        mean = (distances.view(b, 4, -1, a).softmax(2) * bins.view(1, 1, -1, 1)).sum(2).transpose(1, 2)
        low = self.centres - mean[..., :2] * self.strides
        high = self.centres + mean[..., 2:] * self.strides
        return torch.cat([low, high], 2).clamp(0, self.image_size)


def build(spec: ModelSpec, config: RunConfig, weights: Path | None) -> Yolo:
    """A network for `spec`, started from `weights` (Ultralytics' .pt of this variant, or ours) if given.

    Norms follow the weights, as in `mask_rcnn.build`. Raises TrainingError for a file of another architecture, or one
    that holds more than Ultralytics' own classes and tensors.
    """
    quiet_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import SegmentationModel

    net: Any = SegmentationModel(f"yolo{spec.variant}.yaml", nc=len(spec.classes), verbose=False)  # type: ignore[no-untyped-call]
    *layers, head = net.model
    args = get_cfg(overrides={"overlap_mask": False})
    channels = [layers[0].conv.out_channels, layers[2].cv2.conv.out_channels, head.cv2[0][0].conv.in_channels]
    features = YoloFeatures(nn.ModuleList(layers), list(head.f), p.FineMap(channels, FINE))
    model = Yolo(features, head, args, image_size=spec.image_size, classes=len(spec.classes))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    head.dfl.requires_grad_(False)  # the numbers 0 to R - 1
    file = Weights(weights, _load)
    p.settle_norms(model, file.fill(model))
    file.fill(model)
    model.notes = file.report()
    model.freeze(config.architecture_config.custom_modifications.backbone_freezing)
    return model


def _load(path: Path) -> dict[str, Tensor]:
    """A state dict of ours, or of the network in an Ultralytics checkpoint, read with its allow-list of classes."""
    try:
        return load_state(path)
    except TrainingError as refused:
        from ultralytics.nn import tasks

        if not tasks._SafeLoad.SUPPORTED:
            raise
        try:
            kept = tasks.torch_safe_load(str(path.resolve()), safe_only=True)[0]  # type: ignore[no-untyped-call]
            net: Any = kept.get("ema") or kept["model"]
            state: dict[str, Tensor] = net.float().state_dict()
        except Exception as e:  # whatever a damaged or foreign file makes of it
            raise refused from e
    head = len(net.model) - 1
    names = {f"model.{i}.": "head." if i == head else f"backbone.layers.{i}." for i in range(head + 1)}
    found = {}
    for name, tensor in state.items():
        number = ".".join(name.split(".")[:2]) + "."
        found[names[number] + name.removeprefix(number)] = tensor
    return found
