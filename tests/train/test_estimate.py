"""The estimate of a plan, from a probe in a process of its own."""

from __future__ import annotations

import math

import pytest
import torch

from tests.train import tiny
from tests.train.tiny import TinyNet, plan
from trugrade_core.errors import TrainingError
from trugrade_core.train import probe, setup
from trugrade_core.train.estimate import _probe, estimate
from trugrade_core.train.objective import count_parameters


@pytest.mark.slow
def test_a_plan_is_estimated_by_a_probe_and_more_epochs_take_longer(cards):
    keys = {"architecture_config__base_architecture": "mask_rcnn", "data__image_size": 64}
    short, long = (
        estimate(plan(cards, hyperparameters__training_process__epochs=n, **keys), cards.ws.root) for n in (2, 2000)
    )
    assert "reckoned" in short["source"] and short["peak_memory_bytes"] > 1e8 and short["disk_bytes"] > 1e6
    assert 0 < short["seconds"] * 50 < long["seconds"]


def test_a_probe_that_fails_says_why(cards, tmp_path):
    keys = {"architecture_config__base_architecture": "mask_rcnn", "data__image_size": 64}
    with pytest.raises(TrainingError, match="no dataset 'cards'"):
        estimate(plan(cards, **keys), tmp_path)


@pytest.mark.parametrize("printed", ["warming up", '{"seconds": 1}'])
def test_a_probe_that_prints_and_dies_is_told_by_its_stderr(cards, monkeypatch, tmp_path, printed):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\necho '{printed}'\necho 'no room left' >&2\nexit 9\n")
    fake.chmod(0o755)
    monkeypatch.setattr("trugrade_core.train.estimate.sys.executable", str(fake))
    keys = {"architecture_config__base_architecture": "mask_rcnn", "data__image_size": 64}
    with pytest.raises(TrainingError, match="ended with 9") as e:
        estimate(plan(cards, **keys), tmp_path)
    assert "no room left" in e.value.what_to_do


def test_several_devices_share_the_steps(cards, tiny_net, monkeypatch):
    monkeypatch.setattr(tiny, "MACHINE", tiny.MACHINE.model_copy(update={"cores": 3}))
    monkeypatch.setattr(probe, "_step", lambda *_: 1.0)
    monkeypatch.setattr(setup, "validate", lambda *_: None)
    images = len(cards.records("train"))
    for devices in (1, 2, 3):
        made = plan(cards, machine__accelerator="cpu", machine__devices=devices)
        epoch = math.ceil(images / (2 * devices))
        assert _probe(made, cards.ws.root)["seconds"] == pytest.approx(3 * epoch, rel=0.01)


OPTIMIZERS = {"adamw": (0.9, 8), "sgd": (0.9, 4), "sgd without momentum": (0.0, 0)}
"""Momentum, bytes of state for each trained parameter."""


def with_optimizer(cards, name):
    keys = {"hyperparameters__optimization__momentum": OPTIMIZERS[name][0]}
    return plan(cards, hyperparameters__optimization__optimizer=name.split()[0], **keys)


@pytest.fixture
def faked(monkeypatch):
    """Steps of 10 kB an image, none of them real."""
    peak = [0]
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, 0))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)

    def step(model, data, size, *_):
        peak[0] = max(peak[0], 10_000 * size)
        return 1.0

    monkeypatch.setattr(probe, "_step", step)
    monkeypatch.setattr(probe, "peak_memory_bytes", lambda device: peak[0])
    return peak


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_probed_batch_leaves_room_for_the_optimizer(cards, tiny_net, faked, device, name):
    net = TinyNet(64, 2, 0.0)
    state = OPTIMIZERS[name][1] * count_parameters(net)[1]

    def found(share):
        faked[0] = 0  # on a CPU every probe is a process of its own
        made, memory = with_optimizer(cards, name), math.ceil(share / probe.MEMORY_SHARE)
        return probe.probe_batch(net, [None] * 64, made, torch.device(device), memory)

    assert found(80_000 + state) == 8 and found(80_000 + state - 100) == 4
    assert found(10**9) == probe.LARGEST_BATCH and found(1) == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_state_is_part_of_the_memory(cards, tiny_net, faked, name):
    net = TinyNet(64, 2, 0.0)
    net.freeze("full")  # what does not train has no state
    found = probe.measure(net, [None] * 64, with_optimizer(cards, name), 4, 6, 1, lambda: None, 1)
    assert found["peak_memory_bytes"] == 40_000 + OPTIMIZERS[name][1] * (128 * 12 + 12 + 1)
