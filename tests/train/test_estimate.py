"""The estimate of a plan, from a probe in a process of its own."""

from __future__ import annotations

import pytest

from tests.train.tiny import plan
from trugrade_core.errors import TrainingError
from trugrade_core.train.estimate import estimate


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
