"""Optimizer groups, the learning rate's course, class weights."""

from __future__ import annotations

import pytest
import torch

from tests.train.tiny import TinyNet
from trugrade_core.config import Optimization
from trugrade_core.train.objective import class_weights, learning_rate, make_optimizer


def test_every_trained_parameter_is_in_one_group_and_heads_do_not_decay():
    net = TinyNet(64, 2, 0.0)
    net.backbone[0].weight.requires_grad_(False)
    for name, kind in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        optimizer = make_optimizer(net, name, Optimization(weight_decay=0.01, momentum=0.8))
        assert isinstance(optimizer, kind)
        body, heads = optimizer.param_groups
        assert body["weight_decay"] == 0.01 and heads["weight_decay"] == 0
        assert {id(p) for p in heads["params"]} == {id(p) for p in net.head_parameters()}
        everything = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(everything) == sorted(id(p) for p in net.parameters() if p.requires_grad)
        assert body.get("momentum", body.get("betas", (0,))[0]) == 0.8


@pytest.mark.parametrize("name", ["cosine_annealing", "one_cycle", "constant"])
@pytest.mark.parametrize("total", [1, 2, 10, 400])
def test_learning_rates_rise_to_their_peak_and_never_pass_it(name, total):
    config = Optimization(learning_rate=0.1, lr_scheduler=name)
    rates = [learning_rate(step, total, config) for step in range(total)]
    assert all(0 < rate <= 0.1 + 1e-12 for rate in rates)
    if total == 400:
        peak = rates.index(max(rates))
        assert max(rates) == pytest.approx(0.1) and rates[0] < 0.01
        assert peak == {"cosine_annealing": 20, "one_cycle": 120, "constant": 20}[name]
        assert rates[:peak] == sorted(rates[:peak])
        assert name == "constant" or rates[-1] < 1e-4
        assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_class_weights_mean_one_over_objects():
    weights = class_weights(["a"] * 6 + ["b"] * 2, ["a", "b", "c"])
    assert weights[1] == 3 * weights[0] and weights[2] == 1
    assert (6 * weights[0] + 2 * weights[1]) / 8 == pytest.approx(1)
    two = class_weights(["a"] * 6 + ["b"] * 2, ["a", "b"])
    assert (6 * two[0] + 2 * two[1]) / 8 == pytest.approx(1)
    assert class_weights([], ["a", "b"]).tolist() == [1, 1]
