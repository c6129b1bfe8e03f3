"""Trainings killed with `kill -9` at random moments and resumed: nothing reported is lost, every result is the same.

A small training runs to its end undisturbed. Then the same configuration is started, its training child killed at a
random moment (while it starts, in a step, in a validation, in a checkpoint), resumed, killed again and so on through
the lab's own supervisor, as many trainings as it takes. Checked after each kill: the run reads *crashed, killed*, the
journal still begins with every complete line it had, and the run goes on from no earlier step than the last checkpoint
that was reported. Checked at each end: weights, optimizer and position equal bit by bit, and the catalog's view
`metrics` holds the undisturbed run's values, all of them and no others.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import Row
from trugrade_core.catalog.fold import publish
from trugrade_core.catalog.query import connect
from trugrade_core.config import parse_config
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import split
from trugrade_core.jobs import wait
from trugrade_core.runs import RunFolder
from trugrade_core.synth import synthesize
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace, read_json

KILLS = 20
PATIENCE_S = 180.0
CONFIG = {
    "task": "border_detection.dual_class",
    "dataset": "cards",
    "architecture_config": {"base_architecture": "mask_rcnn_efficientnet_lite0"},
    "hyperparameters": {
        "optimization": {"batch_size": 2, "learning_rate": 1e-3},
        "training_process": {"epochs": 8, "early_stopping": {"patience": 0}},
        "advanced_settings": {"mixed_precision": False},
    },
    "data": {"image_size": 64, "workers": 0},
    "machine": {"accelerator": "cpu", "threads": 1},
}
METRICS = "SELECT step, epoch, batch, name, value FROM metrics WHERE run_id = ? AND name NOT LIKE 'time/%' ORDER BY ALL"


def bench(scratch: Path, quick: bool) -> list[Row]:
    begun = time.monotonic()
    found = kill_and_resume(Workspace.open(scratch / "workspace"), 1 if quick else KILLS, seed=0)
    return [
        Row(
            name="kill -9 and resume",
            figure=found["kills"],
            unit="kills",
            compared_with="an undisturbed run: weights, optimizer, position, metrics",
            goal="nothing lost, all equal",
            met=not found["differences"],
            note="; ".join(found["differences"][:3])
            or f"{found['runs']} runs, killed {found['starting']} times while starting; {time.monotonic() - begun:.0f} s",
        )
    ]


def kill_and_resume(ws: Workspace, kills: int, seed: int) -> dict[str, Any]:
    """`{"kills", "runs" (that came to their end), "starting" (kills before the first step), "differences": [text]}`."""
    synthesize(ws, "cards", count=12, dpi=40)
    split(Dataset.open(ws, "cards"), (0.6, 0.3, 0.1), 0)
    config = parse_config(CONFIG)
    undisturbed = training.start(ws, config)
    assert wait(undisturbed).state == "finished", undisturbed.log.read_text()
    rng = random.Random(seed)
    found: dict[str, Any] = {"kills": 0, "runs": 0, "starting": 0, "differences": []}
    while found["kills"] < kills:
        run = training.start(ws, config)
        while found["kills"] < kills and (moment := kill_somewhere(run, rng)):
            found["kills"] += 1
            found["starting"] += moment == "starting"
            found["differences"] += _after_a_kill(ws, run)
        status = wait(run)
        found["runs"] += 1
        if status.state != "finished":
            found["differences"].append(f"{run.id} is {status.state}: {status.reason}")
        else:
            found["differences"] += differences(ws, run, undisturbed)
    return found


def kill_somewhere(run: RunFolder, rng: random.Random) -> str:
    """Send SIGKILL to the training child: one time in five within a second of its start, else a random part of half a
    second after a random number of its steps. Gives when (starting, training), or '' when the run ended before."""
    child, steps = _child(run), rng.randint(1, 12)
    attempt, starting, late_s = run.attempt(), rng.random() < 0.2, rng.uniform(0, 0.5)
    if starting:
        time.sleep(2 * late_s)
    else:
        seen, offset, deadline = 0, 0, time.monotonic() + PATIENCE_S
        while seen < steps and child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, run.log.read_text()
            for end, event in run.follow(offset):
                offset = end
                seen += event["kind"] == "metrics" and "batch" in event and event["attempt"] == attempt
            time.sleep(0.01)
        time.sleep(late_s)
    before = _lines(run)
    try:
        os.kill(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return ""
    if wait(run).state == "finished":  # its last words were out already
        return ""
    assert _lines(run).startswith(before), "the journal lost lines"
    return "starting" if run.last("metrics").get("attempt") != attempt else "training"


def _child(run: RunFolder) -> psutil.Process:
    """The process that trains: a grandchild of this one, under the run's supervisor."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for process in psutil.Process().children(recursive=True):
            try:
                if process.cmdline()[-2:] == ["--child", str(run.path)]:
                    return process
            except psutil.Error:
                continue
        time.sleep(0.02)
    raise RuntimeError(f"the training of {run.id} did not start: {run.log.read_text()}")


def _lines(run: RunFolder) -> bytes:
    """The complete lines of the journal."""
    data = (run.path / "events.jsonl").read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _after_a_kill(ws: Workspace, run: RunFolder) -> list[str]:
    """Resume the run; what was not as it should be."""
    status = run.status()
    problems = [] if (status.state, status.failure) == ("crashed", "killed") else [f"{run.id} reads {status}"]
    saved = max((e["step"] for e in run.events() if e["kind"] == "checkpoint" and e["name"] == "latest"), default=0)
    training.resume(ws, run.id)
    resumed = run.last("resumed")
    if resumed["from_step"] < saved:
        problems.append(f"{run.id} resumed from step {resumed['from_step']}, but {saved} was reported as saved")
    return problems


def differences(ws: Workspace, run: RunFolder, undisturbed: RunFolder) -> list[str]:
    """How the state and the metrics of two finished runs differ."""
    import torch

    from trugrade_core.train import checkpoint

    found = []
    one, two = (checkpoint.load(r.checkpoints / "latest.pt")[0] for r in (run, undisturbed))
    if one["model"].keys() != two["model"].keys():
        found.append(f"{run.id}: other weights by name")
    found += [f"{run.id}: {n} differs" for n, t in two["model"].items() if not torch.equal(t, one["model"][n])]
    for key, state in two["optimizer"]["state"].items():
        other = one["optimizer"]["state"][key]
        found += [f"{run.id}: optimizer {key}.{n} differs" for n, t in state.items() if not torch.equal(t, other[n])]
    if one["position"] != two["position"]:
        found.append(f"{run.id}: position {one['position']} is not {two['position']}")
    best, other_best = (read_json(r.checkpoints / "best.json")["metrics"] for r in (run, undisturbed))
    if best != other_best:
        found.append(f"{run.id}: its best {best} is not {other_best}")
    publish(ws, wait=True)
    with closing(connect(ws)) as con:
        values, wanted = (con.execute(METRICS, [r.id]).fetchall() for r in (run, undisturbed))
    if values != wanted:
        odd = set(values) ^ set(wanted)
        found.append(f"{run.id}: {len(odd)} metrics differ, such as {sorted(odd, key=str)[:2]}")
    return found
