"""Ultralytics' network and loss behind the lab's own training: what they give, and that nothing leaves the machine."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trugrade_core.config import parse_config
from trugrade_core.errors import TrainingError
from trugrade_core.models import ModelSpec, get_architecture

# Not importorskip: the adapter alone imports Ultralytics, after it has set its environment.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("ultralytics") is None, reason="needs the extra 'yolo'")
SIZE = 96
NAME = "yolo_11n-seg"


@pytest.fixture(autouse=True)
def _quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    os.environ.setdefault("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def build(weights: Path | None = None, **modifications: str) -> Any:
    row, variant = get_architecture(NAME)
    config = parse_config({"task": "border_detection.dual_class", "dataset": "x", "architecture_config": {
        "base_architecture": NAME, "custom_modifications": modifications}})  # fmt: skip
    return row.builder()(ModelSpec(classes=("outer", "inner"), image_size=SIZE, variant=variant.id), config, weights)


def batch(count: int = 2) -> tuple[Tensor, list[dict[str, Tensor]]]:
    boxes = torch.tensor([[14.0, 9, 74, 87], [20, 16, 69, 80]])
    image, masks = torch.full((3, SIZE, SIZE), -1.5), torch.zeros(2, SIZE, SIZE, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1), value in zip(masks, boxes.int().tolist(), (1.5, 0.0), strict=True):
        mask[y0:y1, x0:x1] = 1
        image[:, y0:y1, x0:x1] = value
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks}
    return image.expand(count, -1, -1, -1).clone(), [target] * count


def none() -> dict[str, Tensor]:
    return {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, SIZE, SIZE, dtype=torch.uint8),
    }


def test_losses_and_raw_outputs() -> None:
    model = build()
    images, targets = batch()
    for given in (targets, [targets[0], none()], [none(), none()]):
        losses = model.train()(images, given)
        assert set(losses) == set(model.loss_groups)
        assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    model.zero_grad()
    sum(model(images, targets).values()).backward()
    assert not [n for n, q in model.named_parameters() if q.requires_grad and q.grad is None]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    with torch.no_grad():
        boxes, scores, labels, masks = model.eval()(images)
    assert boxes.shape == (2, 32, 4) and scores.shape == (2, 32) and masks.shape == (2, 32, 28, 28)
    assert set(labels.flatten().tolist()) <= {1, 2}


def test_losses_are_ultralytics_own() -> None:
    """Against its criterion on its own model object and batch."""
    model = build().train()
    from types import SimpleNamespace

    from ultralytics.utils.loss import v8SegmentationLoss

    images, targets = batch()
    ours = model(images, targets)
    criterion = v8SegmentationLoss(
        SimpleNamespace(model=[model.head], args=model.args, parameters=model.head.parameters)
    )
    maps, _ = model.backbone(images)
    total, _ = criterion(model.head(maps), model._batch(targets, images.device))
    names = ("loss_box_reg", "loss_mask", "loss_classifier", "loss_distribution")
    torch.testing.assert_close(torch.stack([ours[n] for n in names]), total[:4] / 2)


def test_boxes_and_masks_are_ultralytics_own() -> None:
    model = build().eval()
    model.refiner = None
    images, _ = batch(1)
    with torch.no_grad():
        found = model.dense(images)
        centred = model.head._get_decode_boxes(found).transpose(1, 2)
        boxes, scores, labels, masks = (x[0] for x in model(images))
        own = torch.cat([centred[..., :2] - centred[..., 2:] / 2, centred[..., :2] + centred[..., 2:] / 2], 2)
        torch.testing.assert_close(model.boxes(found["boxes"]), own.clamp(0, SIZE), atol=1e-3, rtol=0)

        probability, label = found["scores"][0].sigmoid().max(0)
        best = probability.argmax()
        torch.testing.assert_close(scores[0], probability[best])
        assert labels[0] == label[best] + 1
        coefficients = found["mask_coefficient"][0, :, best][None]
        whole = (coefficients @ found["proto"][0].flatten(1)).view(1, 1, SIZE // 4, SIZE // 4)
        whole = nn.functional.interpolate(whole, (SIZE, SIZE), mode="bilinear").sigmoid()
    x0, y0, x1, y1 = boxes[0].round().int().tolist()
    wanted = nn.functional.adaptive_avg_pool2d(whole[..., y0:y1, x0:x1], 28)[0, 0]
    assert torch.corrcoef(torch.stack([masks[0].flatten(), wanted.flatten()]))[0, 1] > 0.9


def test_the_same_steps_give_the_same_bits() -> None:
    """It trains in the lab's own loop, so it repeats and resumes as exactly as the other detectors."""
    found = []
    for _ in range(2):
        torch.manual_seed(4)
        model, (images, targets) = build(), batch()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            sum(model.train()(images, targets).values()).backward()
            optimizer.step()
        found.append(model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_freezing() -> None:
    counts = []
    for mode in ("none", "partial", "full"):
        model = build(backbone_freezing=mode)
        frozen = {n for n, q in model.named_parameters() if not q.requires_grad} - {"head.dfl.conv.weight"}
        assert all(n.startswith("backbone.layers.") and int(n.split(".")[2]) <= 10 for n in frozen)
        counts.append(len(frozen))
    assert counts[0] == 0 < counts[1] < counts[2]


# --- weight files --------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file as Ultralytics publishes them: a pickled network of 80 classes with statistics."""
    build()
    from ultralytics.nn.tasks import SegmentationModel

    net = SegmentationModel("yolo11n-seg.yaml", nc=80, verbose=False)
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    torch.save({"model": net.half(), "ema": None, "train_args": {}, "epoch": -1}, tmp_path / "yolo11n-seg.pt")
    return tmp_path / "yolo11n-seg.pt"


def test_published_weights_load_but_for_their_80_classes(published: Path, tmp_path: Path) -> None:
    model = build(published)
    left = [note for note in model.notes if " not taken" in note]
    assert left and all(".cv3." in note for note in left)
    assert any(n.endswith("running_var") for n, _ in model.named_buffers())
    torch.save(model.state_dict(), tmp_path / "best.pt")
    again, bare = build(tmp_path / "best.pt"), build()
    bare.load_state_dict(model.state_dict())
    images, _ = batch(1)
    with torch.no_grad():
        wanted = model.eval()(images)
        for other in (again, bare):
            assert all(torch.equal(a, b) for a, b in zip(other.eval()(images), wanted, strict=True))


class Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("import pathlib; pathlib.Path('owned').touch()",))


def test_foreign_pickles_are_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, tmp_path / "yolo11n-seg.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "yolo11n-seg.pt").read_bytes()[:100])
    for name in ("yolo11n-seg.pt", "cut.pt"):
        with pytest.raises(TrainingError) as e:
            build(tmp_path / name)
        assert e.value.code == "training.unsafe_weights"
    assert not (tmp_path / "owned").exists()


# --- nothing leaves the machine ------------------------------------------------------------------------------------

WATCHED = """
import socket, sys
tried = []
def watch(name):
    def stand_in(*args, **words):
        tried.append((name, str(args[-1:])))
        raise OSError("no network here")
    return stand_in
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "create_connection"):
    setattr(socket, name, watch(name))
class Socket(socket.socket):
    def connect(self, address):
        tried.append(("connect", str(address)))
        raise OSError("no network here")
    connect_ex = connect
socket.socket = Socket
import test_yolo as t, torch
from pathlib import Path
model = t.build(Path(sys.argv[1]))
images, targets = t.batch()
optimizer = torch.optim.AdamW(q for q in model.parameters() if q.requires_grad)
for _ in range(2):
    sum(model.train()(images, targets).values()).backward()
    optimizer.step()
with torch.no_grad():
    model.eval()(images, targets)
    model(images)
torch.save(model.state_dict(), Path(sys.argv[1]).with_name("own.pt"))
import threading, ultralytics.utils.events
assert not ultralytics.utils.events.Events().enabled
print([t.name for t in threading.enumerate() if t is not threading.main_thread()], tried)
"""


def test_no_network_is_ever_tried(published: Path, tmp_path: Path) -> None:
    """Loading, training and predicting in a process of its own in which every look-up and connection is recorded."""
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path / "fresh"), "ULTRALYTICS_API_KEY": "key",
                   "PYTHONPATH": str(Path(__file__).parent), "HOME": str(tmp_path)}  # fmt: skip
    for name in ("YOLO_OFFLINE", "YOLO_AUTOINSTALL", "YOLO_VERBOSE", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(published)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[] []"


@pytest.mark.slow
def test_it_learns_one_image() -> None:
    model = build()
    images, targets = batch(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for i in range(80):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (i + 1) / 10) * (1 if i < 50 else 0.2)
        losses = model.train()(images, targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        boxes, scores, labels, _ = (x[0] for x in model.eval()(images))
    for label in (1, 2):
        mine = labels == label
        best = boxes[mine][scores[mine].argmax()]
        assert scores[mine].max() > 0.3
        assert (best - targets[0]["boxes"][label - 1]).abs().max() < 2.0
