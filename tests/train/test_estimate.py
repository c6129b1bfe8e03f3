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
    assert "measured" in short["source"] and short["peak_memory_bytes"] > 1e8 and short["disk_bytes"] > 1e6
    assert 0 < short["seconds"] * 50 < long["seconds"]


def test_a_probe_that_fails_says_why(cards, tmp_path):
    keys = {"architecture_config__base_architecture": "mask_rcnn", "data__image_size": 64}
    with pytest.raises(TrainingError, match="no dataset 'cards'"):
        estimate(plan(cards, **keys), tmp_path)
