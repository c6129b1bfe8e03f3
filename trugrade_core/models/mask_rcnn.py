"""Mask R-CNN from torchvision's parts: proposals, a box and class for each, a mask in each box, then exact sides.

Letters: B images, S side of the canvas in px, A anchors, R proposals, C classes without background, K detections.
torchvision's own transform is not used: images come resized, padded and normalised. Inference is written without
data-dependent shapes, so that PyTorch and ONNX share it: the numbers of proposals and detections are constants.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead, concat_box_prediction_layers
from torchvision.ops import MultiScaleRoIAlign, nms
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from trugrade_core.config import FocalLossParams, RunConfig
from trugrade_core.models import ModelSpec
from trugrade_core.models import parts as p
from trugrade_core.models.base import Detector, Targets
from trugrade_core.models.sides import SideRefiner
from trugrade_core.models.weights import Weights


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a variant. `anchors` are shares of S, one row for each level. `proposals` is R, `detections` K; `nominees`
    go into the proposals' NMS from each level; `samples` are the ROIs an image that the heads learn from."""

    strides: tuple[int, ...]
    anchors: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    rpn_depth: int = 1
    hidden: int
    box_convs: int = 0
    mask_channels: int
    mask_convs: int
    nominees: int
    proposals: int
    detections: int
    samples: int


LIGHT = Sizes(
    strides=p.CARD_STRIDES,
    anchors=p.CARD_ANCHORS,
    ratios=p.CARD_RATIOS,
    hidden=256,
    mask_channels=64,
    mask_convs=2,
    nominees=100,
    proposals=64,
    detections=32,
    samples=32,
)
COCO_ANCHORS = ((0.05,), (0.1,), (0.2,), (0.4,), (0.8,))  # 32 to 512 px at S = 640
RESNET = Sizes(
    strides=(4, 8, 16, 32, 64),
    anchors=COCO_ANCHORS,
    ratios=(0.5, 1.0, 2.0),
    hidden=1024,
    mask_channels=256,
    mask_convs=4,
    nominees=250,
    proposals=128,
    detections=50,
    samples=128,
)
RESNET_V2 = Sizes(**{**RESNET.__dict__, "rpn_depth": 2, "box_convs": 4})
VARIANTS = {"efficientnet_lite0": LIGHT, "resnet50_fpn": RESNET, "resnet50_fpn_v2": RESNET_V2}


class MaskRCNN(Detector):
    """See `Detector`. `rpn` and `roi_heads` hold torchvision's modules under torchvision's names."""

    loss_groups = {  # noqa: RUF012
        "loss_objectness": "classification",
        "loss_rpn_box_reg": "bbox_regression",
        "loss_classifier": "classification",
        "loss_box_reg": "bbox_regression",
        "loss_sides": "bbox_regression",
        "loss_mask": "mask_loss",
    }

    anchors: Tensor

    def __init__(
        self,
        backbone: p.Backbone,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        *,
        image_size: int,
        classes: int,
        sizes: Sizes,
        focal: FocalLossParams | None,
    ) -> None:
        super().__init__(backbone, image_size)
        self.rpn, self.roi_heads = rpn, roi_heads
        self.box_strip: nn.Module = nn.Identity()
        self.mask_strip: nn.Module = nn.Identity()
        self.refiner: SideRefiner | None = SideRefiner(backbone.fine_channels, classes, backbone.fine_stride)
        self.classes, self.sizes, self.focal = classes, sizes, focal
        self.proposals, self.detections = sizes.proposals, sizes.detections
        grids = [-(-image_size // stride) for stride in sizes.strides]
        per_cell = rpn.anchor_generator.num_anchors_per_location()
        self.per_level = [g * g * n for g, n in zip(grids, per_cell, strict=True)]
        blank = ImageList(torch.zeros(1, 3, image_size, image_size), [(image_size, image_size)])
        anchors = rpn.anchor_generator(blank, [torch.zeros(1, 1, g, g) for g in grids])[0]
        self.register_buffer("anchors", anchors, persistent=False)

    # --- shared by training and inference -----------------------------------------------------------------------

    def dense(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> levels, fine map, objectness (B, A) and box codes (B, A, 4), all float32."""
        with self.amp():
            levels, fine = self.backbone(images)
            objectness, codes = self.rpn.head(levels)
        flat, codes = concat_box_prediction_layers([o.float() for o in objectness], [c.float() for c in codes])
        b = images.shape[0]
        return [x.float() for x in levels], fine.float(), flat.view(b, -1), codes.view(b, -1, 4)

    def propose(self, objectness: Tensor, codes: Tensor) -> Tensor:
        """The R best boxes of each image after NMS within each level, (B, R, 4); a short list repeats its first."""
        boxes, scores, level = [], [], []
        scored = torch.split(objectness.detach(), self.per_level, 1)
        coded = torch.split(codes.detach(), self.per_level, 1)
        for i, (score, code, anchors) in enumerate(
            zip(scored, coded, torch.split(self.anchors, self.per_level), strict=True)
        ):
            best, index = score.topk(min(self.sizes.nominees, score.shape[1]), 1)
            picked = code.gather(1, index[..., None].expand(-1, -1, 4))
            decoded = self.rpn.box_coder.decode_single(picked.reshape(-1, 4), anchors[index].reshape(-1, 4))
            boxes.append(decoded.view(len(score), -1, 4).clamp(0, self.image_size))
            scores.append(best)
            level.append(torch.full_like(best, i))
        all_boxes, all_scores = torch.cat(boxes, 1), torch.cat(scores, 1)
        apart = all_boxes + (torch.cat(level, 1) * (self.image_size + 1))[..., None]
        kept = []
        for i in range(objectness.shape[0]):
            keep = nms(apart[i], all_scores[i], self.rpn.nms_thresh)
            keep = torch.cat([keep, keep.new_zeros(self.proposals)])[: self.proposals]
            kept.append(all_boxes[i][keep])
        return torch.stack(kept)

    # --- training ------------------------------------------------------------------------------------------------

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        levels, fine, objectness, codes = self.dense(images)
        found = self._rpn_losses(objectness, codes, targets)
        proposals = list(self.propose(objectness, codes))
        chosen, matched, labels, wanted = self.roi_heads.select_training_samples(proposals, targets)
        found |= self._box_losses(levels, chosen, labels, wanted)
        found["loss_mask"] = self._mask_loss(levels, chosen, matched, labels, targets)
        if self.refiner is not None:
            with self.amp():
                found["loss_sides"] = self.refiner.loss(fine, targets).float()
        return found

    def _rpn_losses(self, objectness: Tensor, codes: Tensor, targets: Targets) -> dict[str, Tensor]:
        anchors = [self.anchors] * len(targets)
        labels, matched = self.rpn.assign_targets_to_anchors(anchors, targets)
        wanted = self.rpn.box_coder.encode(matched, anchors)
        score, box = self.rpn.compute_loss(objectness.reshape(-1, 1), codes.reshape(-1, 4), labels, wanted)
        return {"loss_objectness": score, "loss_rpn_box_reg": box}

    def _box_losses(
        self, levels: list[Tensor], boxes: list[Tensor], labels: list[Tensor], wanted: Any
    ) -> dict[str, Tensor]:
        pooled = self.roi_heads.box_roi_pool(self._named(levels), boxes, [(self.image_size,) * 2] * len(boxes))
        with self.amp():
            logits, codes = self.roi_heads.box_predictor(self.roi_heads.box_head(self.box_strip(pooled)))
        logits, codes = logits.float(), codes.float()
        _, box = fastrcnn_loss(logits, codes, labels, wanted)
        return {"loss_classifier": self.class_loss(logits, torch.cat(labels)), "loss_box_reg": box}

    def class_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """logits (n, 1 + C), labels (n,) with 0 = background.

        The focal loss is the softmax one, -a (1 - p)^gamma log p of the true class, a = alpha for objects and
        1 - alpha for background, summed and divided by the number of objects as RetinaNet does; inference stays
        softmax, so both losses are read alike.
        """
        each = F.cross_entropy(logits, labels, reduction="none")
        if self.class_weights is not None:
            weights = torch.cat([self.class_weights.new_ones(1), self.class_weights]).to(each)
            each = each * weights[labels]
        if self.focal is None:
            return each.mean()
        alpha = torch.where(labels > 0, self.focal.alpha, 1 - self.focal.alpha)
        p_true = logits.softmax(1).gather(1, labels[:, None])[:, 0]
        return (alpha * (1 - p_true) ** self.focal.gamma * each).sum() / (labels > 0).sum().clamp(min=1)

    def _mask_loss(
        self, levels: list[Tensor], boxes: list[Tensor], matched: list[Tensor], labels: list[Tensor], targets: Targets
    ) -> Tensor:
        objects = [label > 0 for label in labels]
        boxes = [b[o] for b, o in zip(boxes, objects, strict=True)]
        if not sum(len(b) for b in boxes):
            return p.nothing(self.mask_strip, self.roi_heads.mask_head, self.roi_heads.mask_predictor)
        matched = [m[o] for m, o in zip(matched, objects, strict=True)]
        pooled = self.roi_heads.mask_roi_pool(self._named(levels), boxes, [(self.image_size,) * 2] * len(boxes))
        with self.amp():
            logits = self.roi_heads.mask_predictor(self.roi_heads.mask_head(self.mask_strip(pooled)))
        own = [label[o] for label, o in zip(labels, objects, strict=True)]
        loss: Tensor = maskrcnn_loss(logits.float(), boxes, [t["masks"] for t in targets], own, matched)
        return loss

    def _named(self, levels: list[Tensor]) -> OrderedDict[str, Tensor]:
        return OrderedDict((str(i), x) for i, x in enumerate(levels))

    # --- inference -----------------------------------------------------------------------------------------------

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels, fine, objectness, codes = self.dense(images)
        boxes, scores, labels = self.classify(levels, self.propose(objectness, codes))
        if self.refiner is not None:
            with self.amp():
                sides = self.refiner(fine, boxes, labels)
            boxes = sides.float().clamp(0, self.image_size)
        return boxes, scores, labels, self.masks(levels, boxes, labels)

    def classify(self, levels: list[Tensor], proposals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Proposals (B, R, 4) -> boxes (B, K, 4), scores (B, K), labels (B, K) from 1, best first."""
        b, r, _ = proposals.shape
        rois = p.box_rois(proposals)
        pooled = p.pool_static(levels[: self._pooled], rois, 7, self.sizes.strides[: self._pooled])
        with self.amp():
            logits, codes = self.roi_heads.box_predictor(self.roi_heads.box_head(self.box_strip(pooled)))
        boxes = self.roi_heads.box_coder.decode_single(codes.float(), rois[:, 1:])
        boxes = boxes.view(b, r, -1, 4)[:, :, 1:].reshape(b, -1, 4).clamp(0, self.image_size)
        scores = logits.float().softmax(-1)[:, 1:].reshape(b, -1)
        scores, index = scores.topk(min(self.detections, scores.shape[1]), 1)
        return boxes.gather(1, index[..., None].expand(-1, -1, 4)), scores, index % self.classes + 1

    def masks(self, levels: list[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """Boxes (B, K, 4) and their labels -> probabilities in each box (B, K, 28, 28)."""
        pooled = p.pool_static(levels[: self._pooled], p.box_rois(boxes), 14, self.sizes.strides[: self._pooled])
        with self.amp():
            logits = self.roi_heads.mask_predictor(self.roi_heads.mask_head(self.mask_strip(pooled)))
        side = logits.shape[-1]
        which = labels.view(-1, 1, 1, 1).expand(-1, 1, side, side)
        found: Tensor = logits.float().gather(1, which).sigmoid().view(*labels.shape, side, side)
        return found

    @property
    def _pooled(self) -> int:
        """How many levels ROIs are pooled from: all but the extra one."""
        return len(self.sizes.strides) - 1


# --- building ----------------------------------------------------------------------------------------------------


def build(spec: ModelSpec, config: RunConfig, weights: Path | None) -> MaskRCNN:
    """A network for `spec`, started from `weights` (a file of this variant, of its backbone, or of ours) if given.

    Its modules depend on `spec` and `config`, and its norms follow whatever weights are loaded (`parts.settle_norms`),
    so a checkpoint of the same configuration always fits. Raises TrainingError for a file of another architecture.
    """
    sizes = VARIANTS[spec.variant]
    asked = config.architecture_config
    loss = config.loss_config
    file = Weights(weights)

    backbone, known = _backbone(spec.variant, file)
    model = MaskRCNN(
        backbone,
        _rpn(spec.image_size, sizes, backbone.channels),
        _roi_heads(sizes, backbone.channels, len(spec.classes), loss.regularization.dropout),
        image_size=spec.image_size,
        classes=len(spec.classes),
        sizes=sizes,
        focal=loss.focal_loss_params if loss.primary_loss == "focal_loss" else None,
    )
    p.settle_norms(model, known | file.fill(model))
    if asked.custom_modifications.feature_pyramid == "enhanced":
        backbone.enhance(len(sizes.strides))
    if asked.custom_modifications.head_customization == "phoenix_specialized":
        model.box_strip, model.mask_strip = (p.StripBlock(backbone.channels) for _ in range(2))
    file.fill(model)
    model.notes = file.report()
    model.freeze(asked.custom_modifications.backbone_freezing)
    return model


def _backbone(variant: str, file: Weights) -> tuple[p.Backbone, set[str]]:
    """The backbone, and the names of what a file of its body alone gave it."""
    body, known = p.load_body(variant, file)
    if variant == "efficientnet_lite0":
        return p.lite0_backbone(body, 64, LastLevelMaxPool()), known
    norm = nn.BatchNorm2d if variant.endswith("v2") else None
    return p.resnet50_backbone(body, LastLevelMaxPool(), first=1, norm=norm), known


def _rpn(image_size: int, sizes: Sizes, channels: int) -> RegionProposalNetwork:
    anchors = AnchorGenerator(
        tuple(tuple(share * image_size for share in row) for row in sizes.anchors),
        (sizes.ratios,) * len(sizes.anchors),
    )
    head = RPNHead(channels, anchors.num_anchors_per_location()[0], conv_depth=sizes.rpn_depth)
    counts = {"training": sizes.nominees, "testing": sizes.nominees}
    kept = {"training": sizes.proposals, "testing": sizes.proposals}
    return RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, counts, kept, 0.7)


def _roi_heads(sizes: Sizes, channels: int, classes: int, dropout: float) -> RoIHeads:
    names = [str(i) for i in range(len(sizes.strides) - 1)]
    if sizes.box_convs:
        layers = [channels] * sizes.box_convs
        box_head: nn.Module = FastRCNNConvFCHead((channels, 7, 7), layers, [sizes.hidden], norm_layer=nn.BatchNorm2d)
    else:
        box_head = TwoMLPHead(channels * 7 * 7, sizes.hidden)
    norm = nn.BatchNorm2d if sizes.box_convs else None
    return RoIHeads(
        MultiScaleRoIAlign(names, 7, 2),
        box_head,
        Predictor(sizes.hidden, 1 + classes, dropout),
        0.5, 0.5, sizes.samples, 0.25,
        None,
        0.05, 0.5, sizes.detections,
        MultiScaleRoIAlign(names, 14, 2),
        MaskRCNNHeads(channels, (sizes.mask_channels,) * sizes.mask_convs, 1, norm_layer=norm),
        MaskRCNNPredictor(sizes.mask_channels, sizes.mask_channels, 1 + classes),
    )  # fmt: skip


class Predictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, with dropout before it."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(channels, classes)
        self.dropout = dropout

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = super().forward(F.dropout(x, self.dropout, self.training))
        return found
