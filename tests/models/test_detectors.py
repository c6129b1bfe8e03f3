"""Every architecture and variant, built offline on a small canvas: what the trainer and the exporter rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, batched_nms, box_iou

from trugrade_core.config import RunConfig, parse_config
from trugrade_core.errors import TrainingError
from trugrade_core.models import ModelSpec, get_architecture, parts
from trugrade_core.models.base import Detector

SIZE = 96
LIGHT = ["mask_rcnn_efficientnet_lite0", "retinanet_efficientnet_lite0"]
LARGE = ["retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2"]
SLOW = [pytest.param(f"mask_rcnn_resnet50_{v}", marks=pytest.mark.slow) for v in ("fpn", "fpn_v2")]
ALL = [*LIGHT, *LARGE, *SLOW]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def config(name: str, **keys: Any) -> RunConfig:
    """A configuration of architecture `name`; keys in dotted form, dots written as double underscores."""
    found: dict[str, Any] = {"task": "border_detection.dual_class", "dataset": "x"}
    found["architecture_config"] = {"base_architecture": name}
    for key, value in keys.items():
        *parents, last = key.split("__")
        group = found
        for parent in parents:
            group = group.setdefault(parent, {})
        group[last] = value
    return parse_config(found)


def build(name: str, weights: Path | None = None, size: int = SIZE, **keys: Any) -> Detector:
    row, variant = get_architecture(name)
    spec = ModelSpec(classes=("outer", "inner"), image_size=size, variant=variant.id)
    model = row.builder()(spec, config(name, **keys), weights)
    assert isinstance(model, Detector)
    return model


def batch(count: int = 2, size: int = SIZE) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Two nested rectangles of their own brightness on dark ground, a little elsewhere in each image."""
    images, targets = [], []
    for i in range(count):
        boxes = torch.tensor([[14.0 + i, 9, 74 + i, 87], [20 + i, 16, 69 + i, 80]]) * (size / 96)
        image = torch.full((3, size, size), -1.5)
        masks = torch.zeros(2, size, size, dtype=torch.uint8)
        for mask, (x0, y0, x1, y1), value in zip(masks, boxes.round().int().tolist(), (1.5, 0.0), strict=True):
            mask[y0:y1, x0:x1] = 1
            image[:, y0:y1, x0:x1] = value
        images.append(image)
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks})
    return torch.stack(images), targets


def empty(size: int = SIZE) -> dict[str, Tensor]:
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, size, size, dtype=torch.uint8),
    }


def step(model: Detector, images: Tensor, targets: list[dict[str, Tensor]], lr: float = 1e-3) -> dict[str, float]:
    optimizer = torch.optim.AdamW([q for q in model.parameters() if q.requires_grad], lr=lr)
    losses = model.train()(images, targets)
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()
    return {name: value.item() for name, value in losses.items()}


# --- every variant -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_losses_and_raw_outputs(name: str) -> None:
    model = build(name)
    images, targets = batch()
    losses = model.train()(images, targets)
    assert set(losses) == set(model.loss_groups)
    assert all(value.ndim == 0 and value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    silent = [n for n, q in model.named_parameters() if q.requires_grad and q.grad is None]
    assert not silent

    with torch.no_grad():
        out = model.eval()(images)
    boxes, scores, labels = out[:3]
    k = boxes.shape[1]
    assert boxes.shape == (2, k, 4) and scores.shape == (2, k) and labels.shape == (2, k)
    assert labels.dtype == torch.int64 and set(labels.flatten().tolist()) <= {1, 2}
    assert (boxes >= 0).all() and (boxes <= SIZE).all() and ((scores >= 0) & (scores <= 1)).all()
    if "mask" in get_architecture(name)[0].outputs:
        assert out[3].shape == (2, k, 28, 28) and ((out[3] >= 0) & (out[3] <= 1)).all()
    else:
        assert len(out) == 3


@pytest.mark.parametrize("name", LIGHT)
def test_background_images_teach_without_harm(name: str) -> None:
    model = build(name).train()
    images, targets = batch()
    for given in ([empty(), empty()], [targets[0], empty()]):
        losses = model(images, given)
        assert set(losses) == set(model.loss_groups)
        total = sum(losses.values())
        model.zero_grad()
        total.backward()
        assert total.isfinite()
        assert all(q.grad is not None for q in model.parameters() if q.requires_grad)  # or DDP would wait for ever


@pytest.mark.parametrize("name", LIGHT)
def test_same_configuration_gives_the_same_names_whatever_the_weights(name: str, tmp_path: Path) -> None:
    first = build(name)
    torch.save(first.state_dict(), tmp_path / "own.pt")
    second = build(name, tmp_path / "own.pt")
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert second.notes and "of" in second.notes[0]


# --- what the configuration changes --------------------------------------------------------------------------------


def test_focal_loss_is_what_the_classifier_uses() -> None:
    logits, labels = torch.randn(40, 3), torch.randint(0, 3, (40,))
    plain = build(LIGHT[0], loss_config__primary_loss="cross_entropy")
    focal = build(LIGHT[0], loss_config__primary_loss="focal_loss")
    assert plain.class_loss(logits, labels) == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    p = logits.softmax(1)[torch.arange(40), labels]
    alpha = torch.where(labels > 0, 0.25, 0.75)
    by_hand = -(alpha * (1 - p) ** 2 * p.log()).sum() / (labels > 0).sum()
    assert focal.class_loss(logits, labels) == pytest.approx(float(by_hand), rel=1e-5)

    images, targets = batch()
    torch.manual_seed(3)
    a = plain(images, targets)
    focal.load_state_dict(plain.state_dict())
    torch.manual_seed(3)
    b = focal(images, targets)
    changed = {name for name in a if not torch.equal(a[name], b[name])}
    assert changed == {"loss_classifier"}


@pytest.mark.parametrize("key, value", [("alpha", 0.6), ("gamma", 0.5)])
@pytest.mark.parametrize("name", LIGHT)
def test_focal_parameters_reach_the_loss(name: str, key: str, value: float) -> None:
    images, targets = batch()
    found = []
    for keys in ({}, {f"loss_config__focal_loss_params__{key}": value}):
        torch.manual_seed(0)
        model = build(name, loss_config__primary_loss="focal_loss", **keys)
        found.append(model(images, targets)["loss_classifier"].item())
    assert found[0] != pytest.approx(found[1], rel=1e-3)


@pytest.mark.parametrize("name", LIGHT)
def test_class_weights_reach_the_loss(name: str) -> None:
    model = build(name)
    images, targets = batch()
    torch.manual_seed(1)
    before = model(images, targets)["loss_classifier"].item()
    model.class_weights = torch.tensor([3.0, 0.5])
    torch.manual_seed(1)
    assert model(images, targets)["loss_classifier"].item() != pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("name", LIGHT)
def test_dropout_acts_in_training_only(name: str) -> None:
    model = build(name, loss_config__regularization__dropout=0.5)
    images, _ = batch(1)
    seen: list[Tensor] = []
    layer = model.roi_heads.box_predictor.cls_score if "mask" in name else model.head.classification_head.cls_logits
    layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model.eval()(images), model(images)
        assert torch.equal(seen[0], seen[len(seen) // 2])
        seen.clear()
        model.train()(images), model(images)
        assert not torch.equal(seen[0], seen[len(seen) // 2])


@pytest.mark.parametrize("name", ["mask_rcnn_efficientnet_lite0", "retinanet_efficientnet_lite0"])
@pytest.mark.parametrize("change", [{"head_customization": "phoenix_specialized"}, {"feature_pyramid": "enhanced"}])
def test_modifications_are_real_and_train(name: str, change: dict[str, str]) -> None:
    plain = build(name)
    keys = {f"architecture_config__custom_modifications__{k}": v for k, v in change.items()}
    model = build(name, **keys)
    added = set(model.state_dict()) - set(plain.state_dict())
    assert added
    images, targets = batch()
    before = {n: q.detach().clone() for n, q in model.named_parameters()}
    step(model, images, targets)
    step(model, images, targets)
    still = [n for n, q in model.named_parameters() if torch.equal(q, before[n]) and n in added]
    assert not still


def test_modified_network_starts_as_the_plain_one(tmp_path: Path) -> None:
    """Strip block and bottom-up path add nothing at first, so weights trained without them stay good."""
    plain = build(LIGHT[1])
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    both = {"head_customization": "phoenix_specialized", "feature_pyramid": "enhanced"}
    keys = {f"architecture_config__custom_modifications__{k}": v for k, v in both.items()}
    model = build(LIGHT[1], tmp_path / "plain.pt", **keys)
    images, _ = batch(1)
    with torch.no_grad():
        a, b = plain.eval()(images), model.eval()(images)
    assert all(torch.allclose(x.float(), y.float(), atol=1e-5) for x, y in zip(a, b, strict=True))


# --- freezing and normalisation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*LIGHT, LARGE[0]])
def test_freezing(name: str) -> None:
    frozen = []
    for mode in ("none", "partial", "full"):
        model = build(name, architecture_config__custom_modifications__backbone_freezing=mode)
        frozen.append({n for n, q in model.named_parameters() if not q.requires_grad})
    stem = "backbone.body.stem" if "lite0" in name else "backbone.body.conv1"
    body = {n for n, _ in model.named_parameters() if n.startswith("backbone.body.")}
    assert not frozen[0] and frozen[1] < frozen[2] == body
    assert any(n.startswith(stem) for n in frozen[1])


@pytest.mark.parametrize("name", LIGHT)
def test_frozen_weights_stay_and_the_others_move(name: str) -> None:
    model = build(name, architecture_config__custom_modifications__backbone_freezing="partial")
    before = {n: q.detach().clone() for n, q in model.named_parameters()}
    step(model, *batch())
    for n, q in model.named_parameters():
        if not q.requires_grad:
            assert torch.equal(q, before[n])
    assert not torch.equal(dict(model.named_parameters())["backbone.body.stage6.0.conv_pw.weight"],
                           before["backbone.body.stage6.0.conv_pw.weight"])  # fmt: skip


def pretrained(path: Path) -> Path:
    """A weight file like the light variant's ImageNet one, with statistics of its own."""
    import timm

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.parametrize("word", ["imagenet", "none"])
def test_no_statistics_move(word: str, tmp_path: Path) -> None:
    """Frozen statistics with a pretrained body, group norm (none at all) from scratch."""
    path = pretrained(tmp_path / "w.pt") if word == "imagenet" else None
    model = build(LIGHT[0], path, architecture_config__pretrained_weights=word)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert any(n.endswith("running_mean") for n, _ in model.named_buffers()) == (word == "imagenet")
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    images, targets = batch()
    step(model, images, targets)
    with torch.no_grad():
        model.eval()(images, targets)
    assert all(torch.equal(b, buffers[n]) for n, b in model.named_buffers())


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("first", ["imagenet", "none"])
def test_norms_follow_the_weights(name: str, first: str, tmp_path: Path) -> None:
    """A run's checkpoint is rebuilt without its starting file, and starts other runs, whichever norms it has."""
    path = pretrained(tmp_path / "w.pt") if first == "imagenet" else None
    trained = build(name, path, architecture_config__pretrained_weights=first)
    torch.save(trained.state_dict(), tmp_path / "best.pt")
    images, _ = batch(1)
    with torch.no_grad():
        wanted = trained.eval()(images)
    rebuilt = build(name, architecture_config__pretrained_weights=first)
    rebuilt.load_state_dict(trained.state_dict())
    onward = build(name, tmp_path / "best.pt", architecture_config__pretrained_weights=str(tmp_path / "best.pt"))
    for model in (rebuilt, onward):
        with torch.no_grad():
            found = model.eval()(images)
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert list(model.state_dict()) == list(trained.state_dict())


def test_frozen_statistics_give_what_the_original_gives() -> None:
    body = parts.resnet50_body()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)

    def run(x: Tensor) -> Tensor:
        for part in body.values():
            x = part(x)
        return x

    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        body.eval()
        before = run(x)
        parts.settle_norms(body, set(body.state_dict()))
        body.train()
        after = run(x)
    assert any(isinstance(m, FrozenBatchNorm2d) for m in body.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", LIGHT)
def test_heads_and_body_share_the_parameters_out(name: str) -> None:
    model = build(name)
    heads = {id(q) for q in model.head_parameters()}
    rest = [n for n, q in model.named_parameters() if id(q) not in heads]
    assert heads and rest and all(n.startswith("backbone.") for n in rest)
    assert len(heads) == len(model.head_parameters())


# --- precision, memory, compiler -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_stays_in_the_dense_part(name: str) -> None:
    model = build(name)
    model.autocast = torch.bfloat16
    images, targets = batch()
    losses = model.train()(images, targets)
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    seen: list[torch.dtype] = []
    model.backbone.fpn.register_forward_hook(lambda *a: seen.append(next(iter(a[2].values())).dtype))
    with torch.no_grad():
        out = model.eval()(images)
    assert seen == [torch.bfloat16]
    assert out[0].dtype == out[1].dtype == torch.float32


@pytest.mark.parametrize(
    "name", [*LIGHT, "mask_rcnn_resnet50_fpn", "mask_rcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn"]
)
def test_recomputed_activations_give_the_same_gradients(name: str) -> None:
    images, targets = batch()
    model = build(name).train()
    found = []
    for recompute in (False, True):
        if recompute:
            model.checkpoint_activations()
        model.zero_grad()
        torch.manual_seed(5)
        sum(model(images, targets).values()).backward()
        found.append({n: q.grad.clone() for n, q in model.named_parameters()})
    assert all(torch.equal(found[0][n], found[1][n]) for n in found[0])


def test_compiling_keeps_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    model = build(LIGHT[1])
    names = list(model.state_dict())
    monkeypatch.setattr(model.backbone, "compile", lambda **words: asked.append(words))
    model.compile_dense("max_autotune")
    model.compile_dense("default")
    assert asked == [{"mode": "max-autotune", "dynamic": False}, {"mode": "default", "dynamic": False}]
    assert list(model.state_dict()) == names


# --- learning and equality with the stock detectors ----------------------------------------------------------------


def overfit(name: str, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    model = build(name, size=128)
    images, targets = batch(1, 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (i + 1) / 10) * (1 if i < steps * 0.6 else 0.2)
        losses = model.train()(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    with torch.no_grad():
        out = model.eval()(images)
    return (*(x[0] for x in out[:3]), targets[0]["boxes"])


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_a_light_network_learns_one_image(name: str) -> None:
    boxes, scores, labels, true = overfit(name, 80)
    for label in (1, 2):
        mine = labels == label
        best = boxes[mine][scores[mine].argmax()]
        assert scores[mine].max() > 0.5
        assert (best - true[label - 1]).abs().max() < 2.0


def test_mask_rcnn_equals_torchvision_after_nms() -> None:
    """The static path against torchvision's own filtering and postprocessing of the same network."""
    model: Any = build(LIGHT[0]).eval()
    model.refiner = None
    images, _ = batch(1)
    with torch.no_grad():
        for parameter in model.roi_heads.box_predictor.parameters():
            parameter.normal_(0, 0.05)
        levels, _, objectness, codes = model.dense(images)
        decoded = model.rpn.box_coder.decode(codes.reshape(-1, 4), [model.anchors]).view(1, -1, 4)
        stock, _ = model.rpn.filter_proposals(decoded, objectness.reshape(-1, 1), [(SIZE, SIZE)], model.per_level)
        mine = model.propose(objectness, codes)
        assert box_iou(stock[0], mine[0]).max(1).values.min() > 0.9999

        model.detections = 10_000
        named = {str(i): x for i, x in enumerate(levels)}
        result, _ = model.roi_heads.eval()(named, [mine[0]], [(SIZE, SIZE)])
        boxes, scores, labels, masks = (x[0] for x in model(images))
    assert len(result[0]["boxes"]) > 3
    sure = scores > model.roi_heads.score_thresh
    sure &= ((boxes[:, 2:] - boxes[:, :2]) > 1e-2).all(1)
    keep = sure.nonzero()[:, 0]
    keep = keep[batched_nms(boxes[keep], scores[keep], labels[keep], model.roi_heads.nms_thresh)]
    keep = keep[: model.roi_heads.detections_per_img]
    torch.testing.assert_close(boxes[keep], result[0]["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores[keep], result[0]["scores"], rtol=0, atol=1e-5)
    assert torch.equal(labels[keep], result[0]["labels"])
    torch.testing.assert_close(masks[keep], result[0]["masks"][:, 0], rtol=0, atol=1e-4)


def test_static_pooling_is_torchvisions() -> None:
    """Boxes that belong to every level, also at the canvas's edges, in several images."""
    strides, size = (4, 8, 16, 32), 640
    levels = [torch.randn(2, 3, size // s, size // s) for s in strides]
    low, extent = torch.rand(200, 2) * 600, torch.rand(200, 2) * 640
    boxes = torch.cat([low, (low + extent).clamp(max=size)], 1)
    boxes[:4] = torch.tensor([[0, 0, 640, 640], [600, 600, 640, 640], [0, 0, 30, 30], [100, 0, 640, 200]])
    named = {str(i): x for i, x in enumerate(levels)}
    stock = MultiScaleRoIAlign(list(named), 7, 2)(named, [boxes[:120], boxes[120:]], [(size, size)] * 2)
    image = torch.cat([torch.zeros(120, 1), torch.ones(80, 1)])
    mine = parts.pool_static(levels, torch.cat([image, boxes], 1), 7, strides)
    torch.testing.assert_close(mine, stock, atol=1e-4, rtol=1e-4)


def test_boxes_turned_inside_out_are_pooled_without_harm() -> None:
    levels = [torch.randn(1, 4, 12, 12), torch.randn(1, 4, 6, 6)]
    rois = torch.tensor([[0.0, 50, 40, 20, 90], [0, 10, 10, 10, 10], [0, 0, 0, 96, 96]])
    assert parts.pool_static(levels, rois, 7, (8, 16)).isfinite().all()


def test_retinanet_equals_torchvision_after_nms() -> None:
    from torchvision.models.detection.retinanet import RetinaNet as Stock

    model: Any = build(LIGHT[1]).eval()
    model.refiner = None
    images, _ = batch(1)
    with torch.no_grad():
        model.head.classification_head.cls_logits.weight.normal_(0, 0.1)
        _, logits, codes = model.dense(images)
        model.detections = logits.numel()
        boxes, scores, labels = (x[0] for x in model(images))
        holder: Any = type("Holder", (), {})()
        holder.score_thresh, holder.topk_candidates = 0.05, logits.numel()
        holder.nms_thresh, holder.detections_per_img, holder.box_coder = 0.5, 50, model.head.regression_head.box_coder
        outputs = {"cls_logits": [logits], "bbox_regression": [codes]}
        result = Stock.postprocess_detections(holder, outputs, [[model.anchors]], [(SIZE, SIZE)])[0]
    assert len(result["boxes"]) > 3
    keep = (scores > 0.05).nonzero()[:, 0]
    keep = keep[batched_nms(boxes[keep], scores[keep], labels[keep], 0.5)][:50]
    torch.testing.assert_close(boxes[keep], result["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(scores[keep], result["scores"], rtol=0, atol=1e-5)
    assert torch.equal(labels[keep] - 1, result["labels"])


# --- weight files --------------------------------------------------------------------------------------------------


def test_imagenet_file_of_the_light_variant(shared: Path) -> None:
    path = shared / "weights" / "efficientnet_lite0_timm.pt"
    for name in LIGHT:
        model = build(name, path, architecture_config__pretrained_weights="imagenet")
        state = torch.load(path, weights_only=True)
        own = model.state_dict()
        assert torch.equal(own["backbone.body.stem.conv_stem.weight"], state["conv_stem.weight"])
        deep = "blocks.6.0.bn3.running_var"
        assert torch.equal(own["backbone.body.stage6.0.bn3.running_var"], state[deep])
        assert model.notes[0].startswith("efficientnet_lite0_timm.pt: 288 of 296")
        assert "classifier.weight" in model.notes[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name, stock", [
    ("mask_rcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"),
    ("mask_rcnn_resnet50_fpn_v2", "maskrcnn_resnet50_fpn_v2"),
    ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn"),
    ("retinanet_resnet50_fpn_v2", "retinanet_resnet50_fpn_v2"),
])  # fmt: skip
def test_coco_files_load_but_for_their_91_classes(name: str, stock: str, tmp_path: Path) -> None:
    """A file as torchvision publishes it (91 classes; the first generation under its old names)."""
    from torchvision.models import detection

    state = getattr(detection, stock)(weights=None, weights_backbone=None).state_dict()
    if not name.endswith("v2"):
        state = {_old_name(k): v for k, v in state.items()}
    torch.save(state, tmp_path / "coco.pth")
    model = build(name, tmp_path / "coco.pth", architecture_config__pretrained_weights="coco")
    left = {note.split(" not taken")[0] for note in model.notes if " not taken" in note}
    if "mask" in name:
        predictor = "roi_heads.box_predictor."
        assert left == {
            *(f"{predictor}{layer}.{kind}" for layer in ("cls_score", "bbox_pred") for kind in ("weight", "bias")),
            "roi_heads.mask_predictor.mask_fcn_logits.weight",
            "roi_heads.mask_predictor.mask_fcn_logits.bias",
        }
    else:
        assert left == {f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")}
    assert not any("not part of this network" in note for note in model.notes)
    assert not any(type(m) is nn.BatchNorm2d for m in model.modules())
    phoenix = {"architecture_config__custom_modifications__head_customization": "phoenix_specialized"}
    first = build(name, tmp_path / "coco.pth", architecture_config__pretrained_weights="coco", **phoenix).state_dict()
    torch.save(first, tmp_path / "own.pt")
    second = build(name, tmp_path / "own.pt", **phoenix).state_dict()
    assert first.keys() == second.keys(), "a run's own checkpoint keeps every frozen statistic"
    assert all(torch.equal(first[key], second[key]) for key in first)


def _old_name(name: str) -> str:
    import re

    name = re.sub(r"(fpn\.(?:inner|layer)_blocks\.\d+)\.0\.", r"\1.", name)
    name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    name = re.sub(r"mask_head\.(\d)\.0\.", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}.", name)
    return re.sub(r"(_head\.conv)\.(\d)\.0\.", lambda m: f"{m[1]}.{int(m[2]) * 2}.", name)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(TrainingError) as e:
        build(LIGHT[0], tmp_path / "other.pt")
    assert e.value.code == "training.other_architecture" and "other.pt" in e.value.where
