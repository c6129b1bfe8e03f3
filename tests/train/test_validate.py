"""What a validation says: the threshold with the best F1, the main metric, curves, overlays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tests.train.tiny import TASK, TinyNet
from trugrade_core.config import LossConfig
from trugrade_core.schema import Preprocess
from trugrade_core.tasks import get_task
from trugrade_core.train.loader import CardImages, EpochSampler, ImageCache, Item, make_loader
from trugrade_core.train.validate import main_metric, validate, write_report
from trugrade_core.workspace import read_json


class Knowing(TinyNet):
    """Finds every object where it is, outer borders surely and inner ones less so, beside two doubtful inventions."""

    truth: list[dict[str, torch.Tensor]]

    def detect(self, images):
        assert not self.training and self.autocast is None, "validation is what inference will be"
        boxes, labels, scores = [], [], []
        for target in self.truth[: len(images)]:
            wrong = torch.tensor([[0.0, 0, 9, 9], [30.0, 30, 40, 40]])
            boxes.append(torch.cat([target["boxes"], wrong]))
            labels.append(torch.cat([target["labels"], torch.tensor([1, 2])]))
            scores.append(torch.cat([1.0 - target["labels"] * 0.2, torch.tensor([0.3, 0.2])]))
        self.truth = self.truth[len(images) :]
        return torch.stack(boxes), torch.stack(scores), torch.stack(labels)


@pytest.fixture
def data(cards, tmp_path):
    items = [Item(s, a, cards.image_path(s)) for s, a in cards.records("val")]
    return CardImages(items, cards.classes, ImageCache(tmp_path, Preprocess(size=64)), None)


def run(net, data):
    loader = make_loader(data, EpochSampler(len(data), None), 2, 0)
    return validate(net, loader, data, get_task(TASK), LossConfig(), torch.device("cpu"))


def test_a_net_that_knows_the_truth_has_no_side_error(data, tmp_path):
    net = Knowing(64, 2, 0.5)
    net.truth = [data[0, i].targets[0] for i in range(len(data))]
    net.autocast = torch.bfloat16
    net.train()
    state = torch.get_rng_state()
    found = run(net, data)
    assert torch.equal(torch.get_rng_state(), state), "the training's random numbers are not touched"
    assert net.training and net.autocast == torch.bfloat16
    assert 0.3 < found.threshold <= 0.6
    assert found.main == found.metrics["side_error_mm"] < 0.01
    assert found.metrics["box_map"] == pytest.approx(1, abs=1e-6) and found.metrics["f1"] == 1
    assert found.losses.keys() == {"loss", "loss_score", "loss_box", "loss_mask"}
    assert found.report["confusion"] == [[0, 0, 0], [0, len(data), 0], [0, 0, len(data)]]
    assert set(found.report["precision_recall"]) == {"all", "outer_border", "graphical_border"}
    file = write_report(tmp_path, 7, 3, found, data)
    report = read_json(tmp_path / file)
    assert report["step"] == 7 and report["epoch"] == 3 and len(report["overlays"]) == 3
    picture = cv2.imread(str((tmp_path / file).parent / report["overlays"][0]))
    assert picture.shape == (*data.cache.get(data.items[0]).shape[:2], 3)


def test_a_net_that_finds_nothing_is_judged_all_the_same(data):
    net = Knowing(64, 2, 0.0)
    net.truth = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}] * len(data)
    net.detect = lambda images: (
        torch.zeros(len(images), 1, 4),
        torch.zeros(len(images), 1),
        torch.ones(len(images), 1).long(),
    )
    found = run(net, data)
    assert found.metrics["box_map"] == 0 and found.report["precision_recall"] == {}
    assert np.isfinite(found.main) and found.main > 50, "a missed card counts as far off as can be"


def test_pixels_stand_for_millimetres_where_the_scale_is_unknown():
    task = get_task(TASK)
    assert main_metric({"side_error_mm": 0.2, "side_error_px": 5.0}, task) == 0.2
    assert main_metric({"side_error_px": 5.0}, task) == 5.0
    assert main_metric({}, task) == np.inf
