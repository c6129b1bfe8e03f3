"""Exact sides: the last part of every detector here, since borders are judged in hundredths of a millimetre.

Letters as in `base`; C channels, N boxes of an image to refine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

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
    along: Tensor
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
        self.register_buffer("along", (torch.arange(self.ALONG) + 0.5) / self.ALONG, persistent=False)
        self.register_buffer("sign", torch.tensor([1.0, 1.0, -1.0, -1.0]), persistent=False)

    def reach(self, boxes: Tensor) -> Tensor:
        """(…, 4) -> (…, 1): half the width of the strips in px."""
        size = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
        return (size[..., 0] * size[..., 1]).sqrt().mul(self.REACH).clamp(min=4)[..., None]

    def points(self, boxes: Tensor) -> Tensor:
        """(B, N, 4) -> (B, N, 4, ALONG, ACROSS, 2): where each side's strip is looked at, x and y in px from the
        canvas' edge; sides in the order x0, y0, x1, y1, across from outside to inside."""
        x0, y0, x1, y1 = boxes[..., None, None].unbind(2)
        inward = (self.reach(boxes) * self.places)[..., None, :]
        columns, rows = (low + (high - low) * self.along[:, None] for low, high in ((x0, x1), (y0, y1)))
        strips = [(x0 + inward, rows), (columns, y0 + inward), (x1 - inward, rows), (columns, y1 - inward)]
        shape = (*boxes.shape[:2], self.ALONG, self.ACROSS)
        return torch.stack([torch.stack([x.expand(shape), y.expand(shape)], -1) for x, y in strips], 2)

    def logits(self, fine: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """fine (B, C, s, s), boxes (B, N, 4), classes (B, N) from 1 -> (B, N, 4, ACROSS) over the places."""
        b, n, _ = boxes.shape
        grid = self.points(boxes) * (2 / (self.stride * fine.shape[-1])) - 1
        # Not roi_align: the same values, but its backward pass on a CPU takes six times as long.
        strips = F.grid_sample(fine, grid.reshape(b, -1, self.ACROSS, 2), align_corners=False)
        strips = strips.view(b, -1, n, 4, self.ALONG, self.ACROSS).permute(0, 2, 3, 1, 4, 5)
        found = self.trunk(strips.reshape(b * n, -1, self.ALONG, self.ACROSS)).view(b, n, 4, -1, self.ACROSS)
        which = (labels - 1).view(b, n, 1, 1, 1).expand(-1, -1, 4, 1, self.ACROSS)
        chosen: Tensor = found.gather(3, which)[:, :, :, 0].float()
        return chosen

    def forward(self, fine: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Boxes (B, N, 4) and their classes -> boxes (B, N, 4)."""
        for _ in range(self.PASSES):
            inward = (self.logits(fine, boxes, labels).softmax(-1) * self.places).sum(-1)
            boxes = boxes + inward * self.sign * self.reach(boxes)
        return boxes

    def loss(self, fine: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
        """Mean over sides of the L1 distance in strip halves, plus the cross entropy of the two nearest places."""
        if not sum(len(t["boxes"]) for t in targets):
            return nothing(self) + fine.sum() * 0
        true = pad_sequence([t["boxes"] for t in targets], batch_first=True).repeat(1, self.COPIES, 1)
        labels = pad_sequence([t["labels"] for t in targets], batch_first=True).repeat(1, self.COPIES)
        there = labels > 0
        spread = torch.rand(*there.shape, 1, device=true.device)
        error = (torch.rand_like(true) * 2 - 1) * spread * 0.8
        boxes = true + error * self.reach(true)
        wanted = ((true - boxes) / self.reach(boxes) * self.sign).clamp(-1, 1)[there]
        logits = self.logits(fine, boxes, labels.clamp(min=1))[there]
        found = (logits.softmax(-1) * self.places).sum(-1)
        place = ((wanted + 1) / 2 * self.ACROSS - 0.5).clamp(0, self.ACROSS - 1)
        low = place.floor().clamp(max=self.ACROSS - 2).long()
        share = place - low
        log_p = logits.log_softmax(-1)
        nearest = log_p.gather(-1, torch.stack([low, low + 1], -1))
        crossed = -(nearest[..., 0] * (1 - share) + nearest[..., 1] * share).mean()
        return F.l1_loss(found, wanted) * 4 + crossed * 0.25
