"""Exact sides: the last part of every detector here, since borders are judged in hundredths of a millimetre.

Letters as in `base`; C channels, D boxes to refine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from trugrade_core.models.parts import nothing


class SideRefiner(nn.Module):
    """Moves each side of a box to where the border lies on the fine map.

    A pooled 7 x 7 view of a card has cells 40 px wide: enough to find the card, too coarse for its border. Here each
    side is looked at in a strip of its own, `REACH` of the box's size to both sides and stride-2 fine across; the
    answer is the mean of a distribution over `ACROSS` places, one for each class, since outer and inner border lie
    close together. The four sides have weights of their own (grouped convolutions). Trained on true boxes with random
    errors, so that it learns from the first step; run `PASSES` times, the second from the first's result.
    """

    REACH = 1 / 14
    ACROSS = 24
    ALONG = 12
    PASSES = 2
    COPIES = 8
    places: Tensor
    sign: Tensor

    def __init__(self, in_channels: int, classes: int, stride: int, width: int = 24) -> None:
        super().__init__()
        self.classes, self.stride = classes, stride
        c = 4 * width
        self.trunk = nn.Sequential(
            nn.Conv2d(4 * in_channels, c, 3, padding=1, groups=4),
            nn.GroupNorm(4, c),
            nn.ReLU(),
            nn.Conv2d(c, c, (self.ALONG, 3), padding=(0, 1), groups=4),
            nn.GroupNorm(4, c),
            nn.ReLU(),
            nn.Conv2d(c, 4 * classes, (1, 3), padding=(0, 1), groups=4),
        )
        places = (torch.arange(self.ACROSS) + 0.5) / self.ACROSS * 2 - 1
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("sign", torch.tensor([1.0, 1.0, -1.0, -1.0]), persistent=False)

    def reach(self, boxes: Tensor) -> Tensor:
        """(D, 4) -> (D, 1): half the width of the strips in px."""
        size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
        return (size[:, 0] * size[:, 1]).sqrt().mul(self.REACH).clamp(min=4)[:, None]

    def logits(self, fine: Tensor, boxes: Tensor, image: Tensor, labels: Tensor) -> Tensor:
        """fine (B, C, h, w), boxes (D, 4), the image and the class (from 1) of each -> (D, 4, ACROSS) over the
        places from outside to inside, sides in the order x0, y0, x1, y1."""
        x0, y0, x1, y1 = boxes.unbind(1)
        r = self.reach(boxes)[:, 0]
        i = image.to(boxes.dtype)
        upright = (self.ALONG, self.ACROSS)
        flat = (self.ACROSS, self.ALONG)
        left = self._strip(fine, torch.stack([i, x0 - r, y0, x0 + r, y1], 1), upright)
        right = self._strip(fine, torch.stack([i, x1 - r, y0, x1 + r, y1], 1), upright).flip(3)
        top = self._strip(fine, torch.stack([i, x0, y0 - r, x1, y0 + r], 1), flat).transpose(2, 3)
        bottom = self._strip(fine, torch.stack([i, x0, y1 - r, x1, y1 + r], 1), flat).transpose(2, 3).flip(3)
        found = self.trunk(torch.cat([left, top, right, bottom], 1)).view(-1, 4, self.classes, self.ACROSS)
        which = (labels - 1).view(-1, 1, 1, 1).expand(-1, 4, 1, self.ACROSS)
        chosen: Tensor = found.gather(2, which)[:, :, 0].float()
        return chosen

    def _strip(self, fine: Tensor, rois: Tensor, size: tuple[int, int]) -> Tensor:
        found: Tensor = roi_align(fine, rois, size, 1 / self.stride, sampling_ratio=1, aligned=True)
        return found

    def forward(self, fine: Tensor, boxes: Tensor, image: Tensor, labels: Tensor) -> Tensor:
        """Boxes (D, 4) -> boxes (D, 4)."""
        for _ in range(self.PASSES):
            inward = (self.logits(fine, boxes, image, labels).softmax(-1) * self.places).sum(-1)
            boxes = boxes + inward * self.sign * self.reach(boxes)
        return boxes

    def loss(self, fine: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
        """Mean over sides of the L1 distance in strip halves, plus the cross entropy of the two nearest places."""
        true = torch.cat([t["boxes"] for t in targets]).repeat(self.COPIES, 1)
        labels = torch.cat([t["labels"] for t in targets]).repeat(self.COPIES)
        counts = [len(t["boxes"]) for t in targets]
        image = torch.cat([fine.new_full((n,), i) for i, n in enumerate(counts)]).repeat(self.COPIES)
        if not len(true):
            return nothing(self) + fine.sum() * 0
        spread = torch.rand(len(true), 1, device=true.device)
        error = (torch.rand_like(true) * 2 - 1) * spread * 0.8
        boxes = true + error * self.reach(true)
        wanted = ((true - boxes) / self.reach(boxes) * self.sign).clamp(-1, 1)
        logits = self.logits(fine, boxes, image, labels)
        found = (logits.softmax(-1) * self.places).sum(-1)
        place = ((wanted + 1) / 2 * self.ACROSS - 0.5).clamp(0, self.ACROSS - 1)
        low = place.floor().clamp(max=self.ACROSS - 2).long()
        share = place - low
        log_p = logits.log_softmax(-1)
        nearest = log_p.gather(-1, torch.stack([low, low + 1], -1))
        crossed = -(nearest[..., 0] * (1 - share) + nearest[..., 1] * share).mean()
        return F.l1_loss(found, wanted) * 4 + crossed * 0.25
