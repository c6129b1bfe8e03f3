"""The side refiner alone: where it looks, and that it learns to find a border."""

from __future__ import annotations

import torch
from torchvision.ops import roi_align

from trugrade_core.models.sides import SideRefiner

BOXES = torch.tensor([[[20.0, 30, 200, 250], [60, 45, 180, 220]], [[40, 50, 250, 260], [50, 60, 100, 240]]])


def test_it_looks_along_each_side_from_outside_to_inside() -> None:
    refiner = SideRefiner(3, 2, 2)
    points = refiner.points(BOXES)
    assert points.shape == (2, 2, 4, refiner.ALONG, refiner.ACROSS, 2)
    left, top, right, bottom = points[0, 0]
    x0, y0, x1, y1 = BOXES[0, 0]
    reach = refiner.reach(BOXES)[0, 0, 0]
    for side, axis, at, inward in ((left, 0, x0, 1), (top, 1, y0, 1), (right, 0, x1, -1), (bottom, 1, y1, -1)):
        torch.testing.assert_close(side[:, :, axis], (at + inward * reach * refiner.places).expand(12, 24))
    assert y0 < left[:, :, 1].min() and left[:, :, 1].max() < y1
    assert x0 < top[:, :, 0].min() and top[:, :, 0].max() < x1


def test_strips_are_what_roi_align_gives() -> None:
    """The left and the bottom side of a box, pooled by torchvision, against the strips that the trunk is given."""
    refiner = SideRefiner(3, 2, 2)
    fine = torch.randn(2, 3, 160, 160)
    given: list[torch.Tensor] = []
    refiner.trunk.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    refiner.logits(fine, BOXES, torch.ones(2, 2, dtype=torch.int64))
    strips = given[0].view(2, 2, 4, 3, refiner.ALONG, refiner.ACROSS)
    x0, y0, x1, y1 = BOXES[1, 0]
    reach = refiner.reach(BOXES)[1, 0, 0]
    left = torch.stack([torch.tensor(1.0), x0 - reach, y0, x0 + reach, y1])[None]
    bottom = torch.stack([torch.tensor(1.0), x0, y1 - reach, x1, y1 + reach])[None]
    pooled = roi_align(fine, left, (12, 24), 0.5, sampling_ratio=1, aligned=True)[0]
    torch.testing.assert_close(strips[1, 0, 0], pooled, atol=1e-4, rtol=1e-4)
    pooled = roi_align(fine, bottom, (24, 12), 0.5, sampling_ratio=1, aligned=True)[0]
    torch.testing.assert_close(strips[1, 0, 3], pooled.transpose(1, 2).flip(2), atol=1e-4, rtol=1e-4)


def test_images_with_fewer_objects_count_only_their_own() -> None:
    """What fills the shorter lists (boxes at the corner of the canvas) leaves no gradient."""
    torch.manual_seed(0)
    refiner = SideRefiner(3, 2, 2)
    fine = torch.randn(3, 3, 160, 160, requires_grad=True)
    first = {"boxes": BOXES[0], "labels": torch.tensor([1, 2])}
    second = {"boxes": BOXES[1, :1], "labels": torch.tensor([2])}
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    refiner.loss(fine, [first, second, none]).backward()  # type: ignore[no-untyped-call]
    assert fine.grad is not None
    assert fine.grad[0].any() and fine.grad[1].any()
    assert not fine.grad[1, :, :6, :6].any() and not fine.grad[2].any()
    nothing = refiner.loss(fine, [none, none, none])
    assert nothing == 0 and nothing.requires_grad


def test_it_learns_to_find_a_step() -> None:
    """A map whose one channel is 1 inside the box: from a box 4 px off each side it comes to within a quarter px."""
    torch.manual_seed(0)
    refiner = SideRefiner(1, 1, 2)
    true = torch.tensor([[[40.0, 60, 200, 260]]])
    fine = torch.zeros(1, 1, 160, 160)
    fine[:, :, 30:130, 20:100] = 1
    optimizer = torch.optim.AdamW(refiner.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        refiner.loss(fine, [{"boxes": true[0], "labels": torch.tensor([1])}]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    off = true + torch.tensor([4.0, -4, -4, 4])
    with torch.no_grad():
        found = refiner(fine, off, torch.ones(1, 1, dtype=torch.int64))
    assert (found - true).abs().max() < 0.25 < (off - true).abs().min()
