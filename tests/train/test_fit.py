"""The training loop: exact repeats and resumes, what each setting does to it, and how it ends."""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.train.tiny import Events, plan
from trugrade_core.errors import TrainingError
from trugrade_core.runs import RunFolder
from trugrade_core.train import checkpoint
from trugrade_core.train import fit as fit_module
from trugrade_core.train.fit import fit
from trugrade_core.workspace import read_json

pytestmark = pytest.mark.usefixtures("tiny_net")


def folder(parent: Path) -> RunFolder:
    return RunFolder.create(parent, {"kind": "train"})


def train(cards, where, *, control=lambda: [], save_every_s=1e9, **dotted):
    """(outcome, events, state of latest.pt)."""
    run = where if isinstance(where, RunFolder) else folder(where)
    events = Events()
    outcome = fit(plan(cards, **dotted), cards, run, events, control, save_every_s=save_every_s)
    latest = run.checkpoints / "latest.pt"
    return outcome, events, checkpoint.load(latest)[0] if latest.exists() else {}


def assert_same_bits(one, two):
    assert one["model"].keys() == two["model"].keys()
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, two["model"][name]), name
    assert one["position"] == two["position"]


def stop_after(steps, command="stop"):
    """A control that asks for `command` once, after that many steps."""
    calls = itertools.count(1)
    return lambda: [command] if next(calls) == steps else []


def test_one_slow_save_holds_back_only_the_next(cards, tmp_path, monkeypatch):
    taken = iter([0.4, 0.0, 0.0, 0.0])
    spans = []

    def save(run, name, state):
        if name == "latest":
            time.sleep(next(taken, 0.0))

    plain = fit_module._decide

    def decide(run, control, ends):
        spans.append(run.saving_s)
        assert run.save_every_s == 1e9
        return plain(run, control, ends)

    monkeypatch.setattr(fit_module, "_save", save)
    monkeypatch.setattr(fit_module, "_decide", decide)
    train(cards, tmp_path, hyperparameters__training_process__epochs=3)
    assert max(spans) >= 0.4 and spans[-1] < 0.4


# --- exactness ----------------------------------------------------------------------------------------------------


def test_a_run_learns_and_says_so_in_events(cards, tmp_path):
    outcome, events, state = train(cards, tmp_path, hyperparameters__training_process__epochs=12)
    assert outcome["state"] == "finished" and outcome["epochs"] == 12 and "12 epochs" in outcome["reason"]
    steps = [e for e in events.of("metrics") if "batch" in e]
    per_epoch = -(-len(cards.records("train")) // 2)
    assert [e["step"] for e in steps] == list(range(1, 12 * per_epoch + 1))
    assert [e["batch"] for e in steps[:per_epoch]] == list(range(1, per_epoch + 1))
    assert steps[-1]["epoch"] == 12
    losses = [e["values"]["train/loss"] for e in steps]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert {"train/loss_box", "lr", "time/step_s", "time/wait_share", "time/images_per_s"} <= steps[0]["values"].keys()
    validations = [e["values"] for e in events.of("metrics") if "batch" not in e]
    assert len(validations) == 12 == len(events.of("validation"))
    assert {"val/loss", "val/loss_box", "val/side_error_mm", "val/box_map"} <= validations[0].keys()
    best = min(v["val/side_error_mm"] for v in validations)
    assert outcome["metrics"]["side_error_mm"] == best < validations[0]["val/side_error_mm"]
    assert {e["name"] for e in events.of("checkpoint")} == {"best", "latest"}
    assert state["position"]["step"] == 12 * per_epoch


def test_the_same_configuration_twice_gives_the_same_bits_whatever_the_workers(cards, tmp_path):
    first, events, state = train(cards, tmp_path)
    again, others, other = train(cards, tmp_path)
    assert_same_bits(state, other)
    assert events.metrics() == others.metrics() and first["metrics"] == again["metrics"]
    _, workers, with_workers = train(cards, tmp_path, data__workers=2)
    assert workers.metrics() == events.metrics()
    assert_same_bits(state, with_workers)
    _, _, seeded = train(cards, tmp_path, seed=1)
    assert not torch.equal(seeded["model"]["head.weight"], state["model"]["head.weight"])


@pytest.mark.parametrize("stop", [1, 4, 5, 8])  # within the first epoch, before its end, at it, in the second
def test_a_stopped_run_goes_on_as_if_it_had_not_been(cards, tmp_path, stop):
    keys = {"hyperparameters__advanced_settings__gradient_accumulation_steps": 1}
    uninterrupted, run = folder(tmp_path), folder(tmp_path)
    whole_outcome, whole, state = train(cards, uninterrupted, **keys)
    outcome, before, _ = train(cards, run, control=stop_after(stop), **keys)
    assert outcome["state"] == "stopped" and outcome["reason"] == "stopped by a person"
    outcome, after, resumed = train(cards, run, **keys)
    assert outcome["state"] == "finished"
    assert resumed["model"].keys() == state["model"].keys()
    assert all(torch.equal(resumed["model"][name], tensor) for name, tensor in state["model"].items())
    steps = [e for e in [*before.metrics(), *after.metrics()] if "batch" in e]
    assert steps == [e for e in whole.metrics() if "batch" in e]
    assert outcome["metrics"] == whole_outcome["metrics"], "the validation of the stop is no candidate for the best"
    assert best(run) == best(uninterrupted)


def best(run):
    return checkpoint.open_manifest(run.checkpoints / "best.pt").epoch


CHILD = """
import sys, time
from pathlib import Path
from tests.train import tiny
tiny.register()
from trugrade_core.data.versions import Version
from trugrade_core.runs import RunFolder
from trugrade_core.train.fit import fit
from trugrade_core.workspace import Workspace

version = Version.open(Workspace.open(sys.argv[1]), "cards")
run = RunFolder(Path(sys.argv[2]))
def slow():
    time.sleep(0.05)
    return []
fit(tiny.plan(version), version, run, lambda kind, **f: run.append(kind, attempt=1, **f), slow, save_every_s=0.0)
"""


def killed(cards, run, after_step):
    """Train in a child that saves after each step, kill it with SIGKILL once `after_step` was reported."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, cards.ws.root, run.path], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        deadline = time.monotonic() + 120
        while not any(e.get("step", 0) >= after_step for e in run.events() if e["kind"] == "metrics"):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_killed_and_resumed_equals_uninterrupted(cards, tmp_path):
    _, whole, state = train(cards, tmp_path)
    run = folder(tmp_path)
    killed(cards, run, after_step=7)
    reported = [e for e in run.events() if e["kind"] == "metrics" and "batch" in e]
    latest = checkpoint.load(run.checkpoints / "latest.pt")[0]["position"]["step"]
    assert 1 <= latest <= reported[-1]["step"] + 1
    _, after, resumed = train(cards, run)
    assert_same_bits(resumed, state)
    steps = {e["step"]: e["values"] for e in whole.metrics() if "batch" in e}
    for event in [*reported, *after.metrics()]:
        if "batch" in event:
            values = {k: v for k, v in event["values"].items() if not k.startswith("time/")}
            assert values == steps[event["step"]]


@pytest.mark.slow
@pytest.mark.parametrize("after_step", [1, 3, 5, 6, 11])
def test_killed_anywhere_and_resumed_equals_uninterrupted(cards, tmp_path, after_step):
    _, _, state = train(cards, tmp_path)
    run = folder(tmp_path)
    killed(cards, run, after_step)
    _, _, resumed = train(cards, run)
    assert_same_bits(resumed, state)


def test_other_conditions_refuse_to_resume(cards, tmp_path):
    run = folder(tmp_path)
    train(cards, run, control=stop_after(2))
    try:
        with pytest.raises(TrainingError, match="threads: 1 then, 2 now") as caught:
            train(cards, run, machine__threads=2)
    finally:
        torch.set_num_threads(1)
    assert caught.value.code == "training.threads"
    with pytest.raises(TrainingError, match="configuration"):
        train(cards, run, hyperparameters__optimization__momentum=0.5)


# --- what settings do ---------------------------------------------------------------------------------------------


def first_losses(cards, where, **dotted):
    _, events, state = train(cards, where, hyperparameters__training_process__epochs=1, **dotted)
    return [e["values"] for e in events.metrics() if "batch" in e], state, events


def test_loss_weights_weigh_and_l2_is_a_component_of_its_own(cards, tmp_path):
    keys = {"loss_config__loss_weights__bbox_regression": 3.0, "loss_config__regularization__l2_weight": 0.1}
    plain, _, _ = first_losses(cards, tmp_path)
    weighed, _, _ = first_losses(cards, tmp_path, **keys)
    one, two = plain[0], weighed[0]
    assert one["train/loss_box"] == two["train/loss_box"] and "train/l2" not in one
    assert two["train/loss"] == pytest.approx(one["train/loss"] + 2 * one["train/loss_box"] + two["train/l2"], rel=1e-5)
    assert two["train/l2"] > 0


def test_the_last_window_of_an_accumulation_counts_by_its_length(cards, tmp_path):
    images = len(cards.records("train"))
    assert images % 4, "the test needs a short last window"
    steps, _, _ = first_losses(cards, tmp_path, hyperparameters__advanced_settings__gradient_accumulation_steps=2)
    assert len(steps) == math.ceil(images / 4)
    # A window of two batches without random numbers is one step on both at once.
    keys = {"loss_config__regularization__dropout": 0.0, "data__augmentation": "none"}
    two, _, _ = first_losses(cards, tmp_path, hyperparameters__advanced_settings__gradient_accumulation_steps=2, **keys)
    one, _, _ = first_losses(cards, tmp_path, hyperparameters__optimization__batch_size=4, **keys)
    assert two[0]["train/loss_score"] == pytest.approx(one[0]["train/loss_score"], rel=1e-5)
    assert two[-1]["train/loss_score"] == pytest.approx(one[-1]["train/loss_score"], rel=1e-2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hyperparameters__optimization__optimizer", "adamw"),
        ("hyperparameters__optimization__learning_rate", 0.001),
        ("hyperparameters__optimization__lr_scheduler", "one_cycle"),
        ("hyperparameters__optimization__lr_scheduler", "constant"),
        ("hyperparameters__optimization__batch_size", 3),
        ("hyperparameters__optimization__gradient_clipping", 0.05),
        ("hyperparameters__optimization__weight_decay", 0.5),
        ("hyperparameters__optimization__momentum", 0.0),
        ("hyperparameters__advanced_settings__gradient_accumulation_steps", 2),
        ("loss_config__loss_weights__classification", 0.1),
        ("loss_config__loss_weights__mask_loss", 0.0),
        ("loss_config__regularization__dropout", 0.5),
        ("loss_config__regularization__l2_weight", 0.5),
        ("data__image_size", 96),
        ("data__augmentation", "none"),
        ("data__classes", ["outer_border"]),
        ("architecture_config__custom_modifications__backbone_freezing", "full"),
        ("seed", 5),
    ],
)
def test_each_setting_changes_what_is_learnt(cards, tmp_path, key, value):
    _, base, _ = first_losses(cards, tmp_path)
    _, changed, _ = first_losses(cards, tmp_path, **{key: value})
    same_shape = base["model"]["head.weight"].shape == changed["model"]["head.weight"].shape
    assert not same_shape or not torch.equal(base["model"]["head.weight"], changed["model"]["head.weight"])


def test_batch_auto_is_probed_and_told(cards, tmp_path):
    _, events, state = train(cards, tmp_path, hyperparameters__optimization__batch_size="auto")
    (told,) = events.of("adapted")
    assert told["key"] == "hyperparameters.optimization.batch_size" and told["asked"] == "auto"
    assert told["used"] == state["batch_size"] == len(cards.records("train")) // 4


def test_an_estimate_is_measured_before_the_first_step(cards, tmp_path):
    run = folder(tmp_path)
    train(cards, run)
    found = read_json(run.path / "estimate.json")
    assert found["seconds"] > 0 and found["peak_memory_bytes"] > 1e7 and found["disk_bytes"] > 1000


# --- stopping -----------------------------------------------------------------------------------------------------


def test_early_stopping_counts_validations(cards, tmp_path):
    keys = {
        "hyperparameters__training_process__epochs": 20,
        "hyperparameters__training_process__early_stopping__patience": 2,
        "hyperparameters__training_process__early_stopping__min_delta": 1000.0,
    }
    outcome, events, _ = train(cards, tmp_path, **keys)
    assert outcome["epochs"] == 3 and outcome["state"] == "finished" and "stopped early" in outcome["reason"]
    run = folder(tmp_path)
    train(cards, run, **keys)
    outcome, _, _ = train(cards, run, **keys)  # as after a kill between its last save and its end
    assert outcome["epochs"] == 3 and "for 2 validations" in outcome["reason"]
    keys["hyperparameters__training_process__validation_frequency"] = 2
    outcome, events, _ = train(cards, tmp_path, **keys)
    assert outcome["epochs"] == 6 and [e["epoch"] for e in events.of("validation")] == [2, 4, 6]


def test_stop_save_discard_and_the_time_limit(cards, tmp_path):
    run = folder(tmp_path)
    outcome, events, _ = train(cards, run, control=stop_after(2))
    assert outcome["state"] == "stopped" and outcome["metrics"], "a stopped run has figures"
    assert (run.checkpoints / "best.pt").exists()
    _, events, _ = train(cards, tmp_path, control=stop_after(2, "save"))
    assert next(e for e in events.of("checkpoint") if e["name"] == "latest")["step"] == 2
    run = folder(tmp_path)
    outcome, _, state = train(cards, run, control=stop_after(2, "discard"))
    assert outcome["state"] == "discarded" and not state
    outcome, _, _ = train(cards, tmp_path, hyperparameters__training_process__time_limit=1e-6)
    assert outcome["state"] == "stopped" and "time limit" in outcome["reason"]


def test_only_the_latest_checkpoint_when_asked(cards, tmp_path):
    run = folder(tmp_path)
    train(cards, run, hyperparameters__training_process__checkpoint_saving="latest")
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["latest.json", "latest.pt"]


def test_a_non_finite_loss_names_step_and_samples(cards, tmp_path, monkeypatch):
    from tests.train.tiny import TinyNet

    losses, calls = TinyNet.losses, itertools.count(1)

    def breaks(self, images, targets):
        found = losses(self, images, targets)
        if self.training and next(calls) == 6:  # three probes come first
            found["loss_box"] = found["loss_box"] * float("nan")
        return found

    monkeypatch.setattr(TinyNet, "losses", breaks)
    with pytest.raises(TrainingError, match="not finite at step 3") as caught:
        train(cards, tmp_path)
    assert caught.value.code == "training.non_finite" and caught.value.details["step"] == 3
    known = {sample.id for sample, _ in cards.records("train")}
    assert len(caught.value.details["samples"]) == 2 and set(caught.value.details["samples"]) <= known


def test_running_out_of_memory_is_told_apart_from_a_bug(cards, tmp_path, monkeypatch):
    from tests.train.tiny import TinyNet

    def greedy(self, images, targets):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(TinyNet, "losses", greedy)
    with pytest.raises(TrainingError, match="out of memory") as caught:
        train(cards, tmp_path)
    assert caught.value.code == "training.out_of_memory"
