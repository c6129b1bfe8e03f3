"""Parts that the detectors share: bodies, necks, the strip block and static pooling.

Letters as in `base`; C channels. Normalisation: layers of a pretrained network keep its statistics
for good (frozen batch norm); layers that start at random use group norm, which trains at any batch size.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import FeaturePyramidNetwork, roi_align

from trugrade_core.models.weights import Weights

CARD_STRIDES = (8, 16, 32, 64)
CARD_ANCHORS = ((0.08, 0.113), (0.16, 0.226), (0.32, 0.45), (0.64, 0.85))
"""Sides of the light variants' anchors as shares of the canvas, one row for each level: a card fills most of it."""
CARD_RATIOS = (0.5, 0.71, 1.0, 1.41, 2.0)
"""Height to width of anchors: cards are 1.4 either way up; 0.4 to 2.5 overlaps one of them by 0.8 or more."""

# --- normalisation -----------------------------------------------------------------------------------------------


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of 8 channels, or the nearest that divides."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)


def settle_norms(module: nn.Module, known: Collection[str]) -> None:
    """Make every norm of a convolution one that never moves, by the names of the weights that it gets.

    Where `known` has a layer's running_mean: batch norm frozen at those statistics; else group norm. Weight and bias
    keep names and values, and statistics that are there are kept.
    """
    from timm.layers.norm_act import FrozenBatchNormAct2d
    from torchvision.ops import FrozenBatchNorm2d

    still = (FrozenBatchNorm2d, FrozenBatchNormAct2d)
    parents: list[tuple[str, nn.Module]] = list(module.named_modules())
    for parent_name, parent in parents:
        for name, old in list(parent.named_children()):
            if not isinstance(old, (nn.BatchNorm2d, nn.GroupNorm, *still)):
                continue
            frozen = f"{parent_name}.{name}.running_mean".lstrip(".") in known
            if not isinstance(old, still if frozen else nn.GroupNorm):
                setattr(parent, name, _norm_like(old, frozen=frozen))


def _norm_like(old: Any, *, frozen: bool) -> nn.Module:
    """A norm with the weights and the activation (timm's norms have one) of `old`."""
    from timm.layers.norm_act import BatchNormAct2d, FrozenBatchNormAct2d, GroupNormAct
    from torchvision.ops import FrozenBatchNorm2d

    channels = len(old.weight)
    groups = group_norm(channels).num_groups
    new: Any
    if isinstance(old, BatchNormAct2d | FrozenBatchNormAct2d | GroupNormAct):
        new = FrozenBatchNormAct2d(channels, old.eps) if frozen else GroupNormAct(channels, groups, old.eps)
        new.act, new.drop = old.act, old.drop
    else:
        new = FrozenBatchNorm2d(channels, old.eps) if frozen else nn.GroupNorm(groups, channels, old.eps)
    kept = {name: value for name, value in old.state_dict().items() if name in new.state_dict()}
    new.load_state_dict(kept, strict=False)
    made: nn.Module = new.requires_grad_(old.weight.requires_grad)
    return made


# --- body and neck -----------------------------------------------------------------------------------------------


class PathAggregation(nn.Module):
    """`feature_pyramid: enhanced`: a second, bottom-up path over the pyramid (PANet, Liu et al. 2018).

    Precise edges of the fine levels reach the coarse ones in a few steps. Each level starts as what it was, since
    the added term's norm starts at zero.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(levels - 1))
        self.mix = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1, bias=False), group_norm(channels))
            for _ in range(levels - 1)
        )
        for block in self.mix:
            nn.init.zeros_(block[-1].weight)  # type: ignore[index]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        out = [maps[0]]
        for down, mix, coarse in zip(self.down, self.mix, maps[1:], strict=True):
            out.append(coarse + mix(coarse + down(out[-1])))
        return out


class FineMap(nn.Module):
    """One map at stride 2 from the body's first maps and the pyramid's finest: where a border is to a part of a px."""

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.mix = nn.Sequential(
            group_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1), group_norm(channels)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> (B, channels, h, w) of the first."""
        size = maps[0].shape[-2:]
        found = self.lateral[0](maps[0])
        for lateral, x in zip(list(self.lateral)[1:], maps[1:], strict=True):
            found = found + F.interpolate(lateral(x), size=size, mode="bilinear", align_corners=False)
        mixed: Tensor = F.relu(self.mix(found))
        return mixed


class Features(nn.Module):
    """Body and neck of a detector. `recompute` has the activations computed again in the backward pass."""

    recompute = False

    def frozen_parts(self, mode: str) -> list[nn.Module]:
        """The body's modules that `mode` freezes: none, partial (stem and earlier half of the stages) or full."""
        raise NotImplementedError

    def run(self, part: Any, x: Any) -> Any:
        return checkpoint(part, x, use_reentrant=False) if self.recompute and self.training else part(x)


class Backbone(Features):
    """Body, pyramid and fine map.

    `body` is run in order; `taps` names the modules whose outputs are kept, `pyramid` those of them that the FPN
    takes, the others go into the fine map beside the pyramid's finest level. `stages` are the body's names in the
    order of freezing, stem first. `scale` and `shift` turn ImageNet-normalised input into what the body learnt with.
    """

    fine_stride = 2
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        body: nn.ModuleDict,
        *,
        taps: dict[str, int],
        pyramid: Sequence[str],
        channels: int,
        extra: nn.Module,
        norm: Any = None,
        stages: Sequence[Sequence[str]],
        fine_channels: int = 32,
        input_affine: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.taps, self.pyramid, self.stages = taps, tuple(pyramid), stages
        self.fpn = FeaturePyramidNetwork([taps[name] for name in pyramid], channels, extra, norm)
        self.pan: nn.Module | None = None
        early = [taps[name] for name in taps if name not in pyramid]
        self.fine = FineMap([*early, channels], fine_channels)
        self.channels, self.fine_channels = channels, fine_channels
        scale, shift = input_affine or ((1, 1, 1), (0, 0, 0))
        self.register_buffer("scale", torch.tensor(scale).view(3, 1, 1).float(), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(3, 1, 1).float(), persistent=False)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, 3, S, S) -> the pyramid's levels from fine to coarse, and the fine map at stride 2."""
        x = images * self.scale + self.shift
        kept = OrderedDict()
        for name, part in self.body.items():
            x = self.run(part, x)
            if name in self.taps:
                kept[name] = x
        levels = list(self.fpn(OrderedDict((name, kept[name]) for name in self.pyramid)).values())
        if self.pan is not None:
            levels = self.pan(levels)
        early = [kept[name] for name in self.taps if name not in self.pyramid]
        return levels, self.fine([*early, levels[0]])

    def enhance(self, levels: int) -> None:
        self.pan = PathAggregation(self.channels, levels)

    def frozen_parts(self, mode: str) -> list[nn.Module]:
        keep = {"none": 0, "partial": 1 + (len(self.stages) - 1) // 2, "full": len(self.stages)}[mode]
        return [self.body[name] for stage in self.stages[:keep] for name in stage]


def lite0_body() -> nn.ModuleDict:
    """timm's tf_efficientnet_lite0 without its last layers; outputs at strides 2, 4, 8, 16 and 32."""
    import timm

    net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    parts = {"stem": nn.Sequential(OrderedDict(conv_stem=net.conv_stem, bn1=net.bn1))}
    parts |= {f"stage{i}": block for i, block in enumerate(net.blocks)}
    return nn.ModuleDict(parts)


def resnet50_body() -> nn.ModuleDict:
    """torchvision's resnet50 without its last layers, under its own names."""
    from torchvision.models import resnet50

    net = resnet50(weights=None)
    net.relu = nn.ReLU()  # torchvision's works in place, over what a recomputed stage still needs
    return nn.ModuleDict({name: part for name, part in net.named_children() if name not in ("avgpool", "fc")})


def load_body(variant: str, file: Weights) -> tuple[nn.ModuleDict, set[str]]:
    """The body of a variant, filled from `file` if that holds a body alone, and the detector's names of what it got."""
    light = variant == "efficientnet_lite0"
    body = lite0_body() if light else resnet50_body()
    return body, {f"backbone.body.{name}" for name in file.fill(body, LITE0_NAMES if light else None)}


LITE0_NAMES = {"conv_stem.": "stem.conv_stem.", "bn1.": "stem.bn1."} | {f"blocks.{i}.": f"stage{i}." for i in range(7)}
"""From timm's names to those of `lite0_body`."""
LITE0_AFFINE = ([s / 0.5 for s in (0.229, 0.224, 0.225)], [(m - 0.5) / 0.5 for m in (0.485, 0.456, 0.406)])
"""From (x - ImageNet mean) / std to (x - 0.5) / 0.5, which EfficientNet-Lite learnt with."""


def lite0_backbone(body: nn.ModuleDict, channels: int, extra: nn.Module) -> Backbone:
    """Pyramid at strides 8, 16, 32 and `extra`'s, with group norm; fine map from strides 2, 4 and 8."""
    return Backbone(
        body,
        taps={"stage0": 16, "stage1": 24, "stage2": 40, "stage4": 112, "stage6": 320},
        pyramid=("stage2", "stage4", "stage6"),
        channels=channels,
        extra=extra,
        norm=group_norm,
        stages=[("stem",), *((f"stage{i}",) for i in range(7))],
        input_affine=LITE0_AFFINE,
    )


def resnet50_backbone(body: nn.ModuleDict, extra: nn.Module, *, first: int, norm: Any = None) -> Backbone:
    """Pyramid of 256 channels over layer`first` to layer4; names as in torchvision's detectors."""
    layers = {f"layer{i}": 128 * 2**i for i in (1, 2, 3, 4)}
    return Backbone(
        body,
        taps={"relu": 64, **layers},
        pyramid=[name for name in layers if int(name[-1]) >= first],
        channels=256,
        extra=extra,
        norm=norm,
        stages=[("conv1", "bn1"), *((name,) for name in layers)],
    )


# --- heads -------------------------------------------------------------------------------------------------------


def nothing(*modules: nn.Module) -> Tensor:
    """A loss of 0 that still reaches every weight of `modules`: DDP waits for a gradient of each."""
    return torch.stack([q.sum() for module in modules for q in module.parameters()]).sum() * 0


class StripBlock(nn.Module):
    """`head_customization: phoenix_specialized`: for thin objects of large aspect, such as a card's border.

    Long, one-pixel-wide depthwise convolutions and means over whole rows and columns (strip pooling, Hou et al.
    2020) tell each place what lies on its row and its column; a square window would need to be as large as the
    card. Adds to its input and starts as the identity.
    """

    def __init__(self, channels: int, length: int = 7) -> None:
        super().__init__()
        pad = length // 2
        self.along_x = nn.Conv2d(channels, channels, (1, length), padding=(0, pad), groups=channels)
        self.along_y = nn.Conv2d(channels, channels, (length, 1), padding=(pad, 0), groups=channels)
        self.mix = nn.Sequential(group_norm(channels), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        nn.init.zeros_(self.mix[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.mix[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        rows = self.along_y(x.mean(dim=3, keepdim=True))
        columns = self.along_x(x.mean(dim=2, keepdim=True))
        found: Tensor = x + self.mix(self.along_x(x) + self.along_y(x) + rows + columns)
        return found


def pool_static(levels: list[Tensor], rois: Tensor, size: int, strides: Sequence[int]) -> Tensor:
    """What torchvision's MultiScaleRoIAlign gives, without indexing that depends on data: (n, C, size, size).

    rois (n, 5): image, x0, y0, x1, y1 within the canvas. The levels are laid side by side, each with its right and
    bottom edge drawn out by two cells (as far as a sample may reach), so that one roi_align serves all.
    """
    wh = (rois[:, 3:] - rois[:, 1:3]).clamp(min=0)  # a doubtful box may come out of the side refiner inside out
    area = (wh[:, 0] * wh[:, 1]).sqrt()
    low, high = math.log2(strides[0]), math.log2(strides[-1])
    level = (torch.floor(4 + torch.log2(area / 224) + 1e-6).clamp(min=low, max=high) - low).long()
    height = levels[0].shape[-2] + 2
    drawn = [F.pad(x, (0, 2, 0, 2), mode="replicate") for x in levels]
    starts = [sum(x.shape[-1] for x in drawn[:i]) for i in range(len(drawn))]
    atlas = torch.cat([F.pad(x, (0, 0, 0, height - x.shape[-2])) for x in drawn], 3)
    scale = 1 / rois.new_tensor(strides)[level, None]
    shift = rois.new_tensor([[start, 0, start, 0] for start in starts])[level]
    found: Tensor = roi_align(
        atlas, torch.cat([rois[:, :1], rois[:, 1:] * scale + shift], 1), (size, size), 1.0, sampling_ratio=2
    )
    return found


def box_rois(boxes: Tensor) -> Tensor:
    """(B, n, 4) -> (B * n, 5) with the image's index in front."""
    b, n, _ = boxes.shape
    image = torch.arange(b, device=boxes.device, dtype=boxes.dtype).view(b, 1, 1).expand(b, n, 1)
    return torch.cat([image, boxes], 2).view(b * n, 5)
