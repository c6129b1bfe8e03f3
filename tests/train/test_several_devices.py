"""Two gloo processes on the CPU, and the real light network: whole ways through `fit`, so marked slow."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.train import tiny
from tests.train.tiny import Events, plan
from trugrade_core.errors import TrainingError
from trugrade_core.runs import RunFolder
from trugrade_core.train import checkpoint
from trugrade_core.train.fit import fit

RANK = """
import sys
from pathlib import Path
from tests.train import tiny
tiny.register()
tiny.MACHINE = tiny.MACHINE.model_copy(update={"cores": 2})
import torch
from trugrade_core.data.versions import Version
from trugrade_core.runs import RunFolder
from trugrade_core.train.fit import fit
from trugrade_core.workspace import Workspace

version = Version.open(Workspace.open(sys.argv[1]), "cards")
run = RunFolder(Path(sys.argv[2]))
stop = int(sys.argv[3])
calls = []
def control():
    calls.append(1)
    return ["stop"] if len(calls) == stop else []
keys = {"machine__devices": 2, "machine__accelerator": "cpu"}
out = fit(tiny.plan(version, **keys), version, run, lambda kind, **f: run.append(kind, attempt=1, **f), control)
print(out["state"])
"""


def two_ranks(cards, run, stop=0):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ranks = []
    for rank in range(2):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "GROUP_RANK": 0,
                 "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": run.id, "OMP_NUM_THREADS": 1}  # fmt: skip
        env = os.environ | {key: str(value) for key, value in names.items()}
        command = [sys.executable, "-c", RANK, cards.ws.root, run.path, str(stop)]
        ranks.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        outs = [rank.communicate(timeout=180) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], outs
    return [out.strip().splitlines()[-1] for out, _ in outs]


@pytest.mark.slow
def test_two_processes_share_the_work_and_resume_exactly(cards, tmp_path):
    whole, parts = (RunFolder.create(tmp_path, {"kind": "train"}) for _ in range(2))
    assert two_ranks(cards, whole) == ["finished", "finished"]
    images = len(cards.records("train"))
    steps = [e for e in whole.events() if e["kind"] == "metrics" and "batch" in e]
    per_epoch = -(-images // 4)  # two images on each of two ranks
    assert [e["step"] for e in steps] == list(range(1, 3 * per_epoch + 1)), "one event for each step, from rank 0 alone"
    assert two_ranks(cards, parts, stop=4) == ["stopped", "stopped"]
    assert two_ranks(cards, parts) == ["finished", "finished"]
    one, two = (checkpoint.load(run.checkpoints / "latest.pt")[0] for run in (whole, parts))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])


def test_several_devices_need_as_many_processes(cards, tmp_path, tiny_net, monkeypatch):
    monkeypatch.setattr(tiny, "MACHINE", tiny.MACHINE.model_copy(update={"cores": 2}))
    run = RunFolder.create(tmp_path, {"kind": "train"})
    two = plan(cards, machine__devices=2, machine__accelerator="cpu")
    with pytest.raises(TrainingError, match="needs as many processes"):
        fit(two, cards, run, Events(), lambda: [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "bf16"), [("mask_rcnn", False), ("retinanet", False), ("mask_rcnn", True), ("yolo", False)]
)
def test_the_light_networks_repeat_and_resume_exactly(cards, tmp_path, monkeypatch, architecture, bf16):
    monkeypatch.setattr(tiny, "MACHINE", tiny.MACHINE.model_copy(update={"bf16": bf16}))
    keys = {
        "architecture_config__base_architecture": architecture,
        "hyperparameters__training_process__epochs": 2,
        "hyperparameters__optimization__learning_rate": 1e-3,
        "hyperparameters__optimization__optimizer": "adamw",
        "data__image_size": 96,
    }
    if architecture == "yolo":  # whose head has none of these
        keys["loss_config__regularization__dropout"] = 0.0
    else:
        keys["architecture_config__custom_modifications__head_customization"] = "phoenix_specialized"
        keys["hyperparameters__advanced_settings__memory_optimization"] = True
    whole, parts = (RunFolder.create(tmp_path, {"kind": "train"}) for _ in range(2))
    fit(plan(cards, **keys), cards, whole, Events(), lambda: [])
    asked = iter([[], [], ["stop"]])
    assert fit(plan(cards, **keys), cards, parts, Events(), lambda: next(asked))["state"] == "stopped"
    fit(plan(cards, **keys), cards, parts, Events(), lambda: [])
    one, two = (checkpoint.load(run.checkpoints / "latest.pt")[0] for run in (whole, parts))
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
