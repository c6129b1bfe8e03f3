"""RetinaNet from torchvision's parts: class and box from every anchor, then exact sides. Boxes only, no masks.

Letters: B images, S side of the canvas in px, A anchors, C classes without background, K detections. One static
path serves PyTorch and ONNX, as in `mask_rcnn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou, sigmoid_focal_loss
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from trugrade_core.config import FocalLossParams, RunConfig
from trugrade_core.models import ModelSpec
from trugrade_core.models import parts as p
from trugrade_core.models.base import Detector, Targets
from trugrade_core.models.sides import SideRefiner
from trugrade_core.models.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a variant. `anchors` are shares of S, one row for each level; `detections` is K."""

    strides: tuple[int, ...]
    anchors: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    detections: int


LIGHT = Sizes(
    strides=p.CARD_STRIDES,
    anchors=p.CARD_ANCHORS,
    ratios=p.CARD_RATIOS,
    detections=32,
)
RESNET = Sizes(
    strides=(8, 16, 32, 64, 128),
    anchors=tuple(tuple(0.05 * 2 ** (level + third / 3) for third in range(3)) for level in range(5)),
    ratios=(0.5, 1.0, 2.0),
    detections=100,
)
VARIANTS = {"efficientnet_lite0": LIGHT, "resnet50_fpn": RESNET, "resnet50_fpn_v2": RESNET}


class RetinaNet(Detector):
    """See `Detector`. `head` is torchvision's, under torchvision's names, with one column for each class."""

    loss_groups = {  # noqa: RUF012
        "loss_classifier": "classification",
        "loss_box_reg": "bbox_regression",
        "loss_sides": "bbox_regression",
    }

    anchors: Tensor

    def __init__(
        self,
        backbone: p.Backbone,
        head: RetinaNetHead,
        anchors: AnchorGenerator,
        *,
        image_size: int,
        classes: int,
        strides: Sequence[int],
        detections: int,
        focal: FocalLossParams,
    ) -> None:
        super().__init__(backbone, image_size)
        self.head = head
        self.strip: nn.Module | None = None
        self.refiner: SideRefiner | None = SideRefiner(backbone.fine_channels, classes, backbone.fine_stride)
        self.classes, self.detections, self.focal = classes, detections, focal
        self.matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
        grids = [-(-image_size // stride) for stride in strides]
        blank = ImageList(torch.zeros(1, 3, image_size, image_size), [(image_size, image_size)])
        boxes = anchors(blank, [torch.zeros(1, 1, g, g) for g in grids])[0]
        self.register_buffer("anchors", boxes, persistent=False)

    def dense(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> fine map, class logits (B, A, C) and box codes (B, A, 4), all float32."""
        with self.amp():
            levels, fine = self.backbone(images)
            if self.strip is not None:
                levels = [self.strip(x) for x in levels]
            found = self.head(levels)
        return fine.float(), found["cls_logits"].float(), found["bbox_regression"].float()

    # --- training ------------------------------------------------------------------------------------------------

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        fine, logits, codes = self.dense(images)
        matched = [self.match(t["boxes"]) for t in targets]
        anchors = [self.anchors] * len(targets)
        boxes = self.head.regression_head.compute_loss(targets, {"bbox_regression": codes}, anchors, matched)
        each = [self.class_loss(*one) for one in zip(logits, targets, matched, strict=True)]
        found = {"loss_classifier": torch.stack(each).mean(), "loss_box_reg": boxes}
        if self.refiner is not None:
            with self.amp():
                found["loss_sides"] = self.refiner.loss(fine, targets).float()
        return found

    def match(self, boxes: Tensor) -> Tensor:
        """The index of each anchor's object (A,); -1 background, -2 neither."""
        if not len(boxes):
            return torch.full((len(self.anchors),), -1, dtype=torch.int64, device=boxes.device)
        found: Tensor = self.matcher(box_iou(boxes, self.anchors))
        return found

    def class_loss(self, logits: Tensor, target: dict[str, Tensor], matched: Tensor) -> Tensor:
        """The sigmoid focal loss of one image, logits (A, C), divided by its number of matched anchors."""
        objects = matched >= 0
        wanted = torch.zeros_like(logits)
        wanted[objects, target["labels"][matched[objects]] - 1] = 1.0
        use = matched != Matcher.BETWEEN_THRESHOLDS
        each = sigmoid_focal_loss(logits[use], wanted[use], self.focal.alpha, self.focal.gamma)
        if self.class_weights is not None:
            each = each * self.class_weights.to(each)
        summed: Tensor = each.sum() / objects.sum().clamp(min=1)
        return summed

    # --- inference -----------------------------------------------------------------------------------------------

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, logits, codes = self.dense(images)
        boxes, scores, labels = self.classify(logits, codes)
        if self.refiner is not None:
            with self.amp():
                sides = self.refiner(fine, boxes, labels)
            boxes = sides.float().clamp(0, self.image_size)
        return boxes, scores, labels

    def classify(self, logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, K, 4), scores (B, K) and labels (B, K) from 1 of the K best anchor and class pairs."""
        flat = logits.flatten(1)
        best, index = flat.topk(min(self.detections, flat.shape[1]), 1)
        place = torch.div(index, self.classes, rounding_mode="floor")
        picked = codes.gather(1, place[..., None].expand(-1, -1, 4)).reshape(-1, 4)
        anchors = self.anchors[place].reshape(-1, 4)
        boxes: Tensor = self.head.regression_head.box_coder.decode_single(picked, anchors)
        boxes = boxes.view(*place.shape, 4).clamp(0, self.image_size)
        return boxes, best.sigmoid(), index % self.classes + 1


def build(spec: ModelSpec, config: RunConfig, weights: Path | None) -> RetinaNet:
    """A network for `spec`, started from `weights` (a file of this variant, of its backbone, or of ours) if given.

    Modules and norms as in `mask_rcnn.build`. Raises TrainingError for a file of another architecture.
    """
    sizes = VARIANTS[spec.variant]
    asked = config.architecture_config
    file = Weights(weights)
    backbone, norm, known = _backbone(spec.variant, file)
    anchors = AnchorGenerator(
        tuple(tuple(share * spec.image_size for share in row) for row in sizes.anchors),
        (sizes.ratios,) * len(sizes.anchors),
    )
    head = RetinaNetHead(backbone.channels, anchors.num_anchors_per_location()[0], len(spec.classes), norm)
    head.classification_head.conv.append(nn.Dropout(config.loss_config.regularization.dropout))
    model = RetinaNet(
        backbone,
        head,
        anchors,
        image_size=spec.image_size,
        classes=len(spec.classes),
        strides=sizes.strides,
        detections=sizes.detections,
        focal=config.loss_config.focal_loss_params,
    )
    p.settle_norms(model, known | file.fill(model))
    if asked.custom_modifications.feature_pyramid == "enhanced":
        backbone.enhance(len(sizes.strides))
    if asked.custom_modifications.head_customization == "phoenix_specialized":
        model.strip = p.StripBlock(backbone.channels)
    file.fill(model)
    model.notes = file.report()
    model.freeze(asked.custom_modifications.backbone_freezing)
    return model


def _backbone(variant: str, file: Weights) -> tuple[p.Backbone, object, set[str]]:
    """The backbone, the norm of the heads' convolutions, and the names of what a file of the body alone gave it."""
    body, known = p.load_body(variant, file)
    if variant == "efficientnet_lite0":
        return p.lite0_backbone(body, 64, LastLevelMaxPool()), p.group_norm, known
    second = variant.endswith("v2")
    extra = LastLevelP6P7(2048 if second else 256, 256)
    return p.resnet50_backbone(body, extra, first=2), partial(nn.GroupNorm, 32) if second else None, known
