"""Training throughput: images a second of `fit` against a plain torchvision-style loop (`reference`), and its levers.

Four trainings of the light Mask R-CNN on the same 600 dpi JPEG scans run as processes of their own and take turns
epoch by epoch, so only one works at a time: ours, the reference with the very same network settings, the reference
with torchvision's stock numbers of proposals and samples, and the reference with a loader process more. All have the
same weights to start from, seed, optimizer, schedule, batch and threads, and no augmentation; none but the last has
loader processes, as the plan chooses on two cores. An epoch's time is all of it, checkpoint included. The figure is the
median over epochs but the first (which fills our cache of resized pictures; the note has it) and the last (which ends
with the validation that gives each its side error); a ratio is the median over epochs of the same round. The note also
has the ratio of CPU seconds, which a busy machine hardly moves.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks import scans
from benchmarks.measure import Row, alternate, times_faster
from trugrade_core.config import parse_config
from trugrade_core.data.versions import Version
from trugrade_core.models import ModelSpec, get_architecture
from trugrade_core.schema import Preprocess
from trugrade_core.train.plan import RunPlan
from trugrade_core.workflows import training
from trugrade_core.workspace import Workspace, read_json, write_json

if TYPE_CHECKING:
    from trugrade_core.train.loader import Batch

CARDS, EPOCHS, SIZE, BATCH = 64, 8, 256, 2
GOAL = 1.5
GOAL_WAIT = 0.1


def bench(scratch: Path, quick: bool) -> list[Row]:
    folder = scans.scans(12, dpi=100) if quick else scans.scans(CARDS)
    ws = Workspace.open(scratch / "workspace")
    version = scans.imported(ws, folder)
    config = _config(version.name, epochs=3, size=64, batch=2, threads=1) if quick else _config(version.name)
    plan = training.plan(ws, parse_config(config), random_init=True)
    train_json = scratch / "train.json"
    _write_train_json(folder, version, train_json)
    base = {"workspace": str(ws.root), "config": config, "scans": str(folder), "train_json": str(train_json)}
    workers = int(plan.config.data.workers)
    specs = {
        "ours": base | {"side": "ours"},
        "reference": base | {"side": "reference", "stock": False, "workers": workers},
        "stock": base | {"side": "reference", "stock": True, "workers": workers},
        "one more worker": base | {"side": "reference", "stock": False, "workers": workers + 1},
    }
    for name, spec in specs.items():
        spec["out"] = str(scratch / f"{name}.pt")
    found = relay(specs, config["hyperparameters"]["training_process"]["epochs"], int(plan.config.machine.threads))
    images = len(version.records("train"))
    weights = "pretrained backbone" if plan.weights else "random weights"
    return [*_throughput(found, images, weights), *_levers(found, version, folder, train_json, plan)]


def _config(
    dataset: str, *, epochs: int = EPOCHS, size: int = SIZE, batch: int = BATCH, threads: int | Literal["auto"] = "auto"
) -> dict[str, Any]:
    return {
        "task": "border_detection.dual_class",
        "dataset": dataset,
        "architecture_config": {
            "base_architecture": "mask_rcnn_efficientnet_lite0",
            "pretrained_weights": "imagenet",
        },
        "hyperparameters": {
            "optimization": {"optimizer": "adamw", "learning_rate": 1e-3, "batch_size": batch},
            "training_process": {
                "epochs": epochs,
                "validation_frequency": epochs,
                "early_stopping": {"patience": 0},
            },
            "advanced_settings": {"mixed_precision": False},
        },
        "data": {"image_size": size, "augmentation": "none"},
        "machine": {"accelerator": "cpu", "threads": threads},
    }


def _write_train_json(folder: Path, version: Version, out: Path) -> None:
    """The COCO file of the training split alone, for the reference."""
    coco = read_json(folder / "coco.json")
    names = {Path(source).name for sample in version.samples("train") for source in sample.sources}
    images = [image for image in coco["images"] if image["file_name"] in names]
    ids = {image["id"] for image in images}
    write_json(out, coco | {"images": images, "annotations": [a for a in coco["annotations"] if a["image_id"] in ids]})


# --- taking turns ------------------------------------------------------------------------------------------------


def relay(specs: dict[str, dict[str, Any]], epochs: int, threads: int) -> dict[str, dict[str, Any]]:
    """`{side: {"seconds" and "cpu_s" (of each epoch), "side_mm", "steps"}}`."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    children: dict[str, subprocess.Popen[str]] = {}
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu_s": []} for name in specs}
    try:
        for name, spec in specs.items():
            command = [sys.executable, "-m", "benchmarks.training_side", json.dumps(spec)]
            children[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
            )
            _said(children[name], name)
        for number in range(epochs):
            order = list(children) if number % 2 == 0 else list(reversed(children))
            for name in order:
                _go(children[name])
                for key, value in _said(children[name], name).items():
                    found[name][key].append(value)
            took = ", ".join(f"{name} {side['seconds'][-1]:.1f} s" for name, side in found.items())
            print(f"  epoch {number + 1} of {epochs}: {took}", file=sys.stderr, flush=True)
        for name, child in children.items():
            _go(child)
            found[name] |= _said(child, name)
            child.wait()
    finally:
        for child in children.values():
            child.kill()
            child.communicate()  # collects it and closes its pipes
    return found


def _go(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def _said(child: subprocess.Popen[str], name: str) -> dict[str, Any]:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("@"):
            words: dict[str, Any] = json.loads(line[1:])
            return words
    raise RuntimeError(f"the training '{name}' ended without a word (exit {child.wait()})")


# --- rows ---------------------------------------------------------------------------------------------------------


def _throughput(found: dict[str, dict[str, Any]], images: int, weights: str) -> list[Row]:
    steady = {name: side["seconds"][1:-1] for name, side in found.items()}
    per_s = {name: images / statistics.median(seconds) for name, seconds in steady.items()}
    ours = found["ours"]
    mm = {
        name: "none found" if side["side_mm"] is None else f"{side['side_mm']:.2f} mm" for name, side in found.items()
    }
    first = {name: images / side["seconds"][0] for name, side in found.items()}
    rows = []
    for title, name in (("same model settings", "reference"), ("fewer proposals and samples", "stock")):
        ratio = times_faster(steady["ours"], steady[name])
        by_cpu = times_faster(ours["cpu_s"][1:-1], found[name]["cpu_s"][1:-1])
        rows.append(
            Row(
                name=f"training, {title}",
                figure=per_s["ours"],
                unit="images/s",
                compared_with=f"torchvision-style loop{', stock numbers' if name == 'stock' else ''}: {per_s[name]:.2f}",
                ratio=ratio,
                goal=f">= {GOAL} x",
                met=ratio >= GOAL,
                note=f"val side error {mm['ours']} against {mm[name]}, {weights}, {images} images; {by_cpu:.2f} x by CPU time; "
                f"first epoch {first['ours']:.2f} against {first[name]:.2f} images/s",
            )
        )
    waits = [(epoch, seconds, waited) for epoch, seconds, waited in ours["steps"]]
    share = _share([s for s in waits if s[0] > 1])
    rows.append(
        Row(
            name="loader wait",
            figure=100 * share,
            unit="% of step time",
            goal=f"< {GOAL_WAIT:.0%}",
            met=share < GOAL_WAIT,
            note=f"from the events of the same run; {_share(waits):.0%} with the first epoch, which fills the cache",
        )
    )
    return rows


def _share(steps: list[tuple[int, float, float]]) -> float:
    return sum(waited for _, _, waited in steps) / sum(seconds for _, seconds, _ in steps)


def _levers(
    found: dict[str, dict[str, Any]], version: Version, folder: Path, train_json: Path, plan: RunPlan
) -> list[Row]:
    """What each of the differences gives alone."""
    from benchmarks.reference import CocoCards
    from trugrade_core.train.loader import CardImages, ImageCache, Item
    from trugrade_core.train.probe import first_batch

    steady = {name: side["seconds"][1:-1] for name, side in found.items()}
    preprocess = Preprocess(size=int(plan.config.data.image_size))
    theirs = CocoCards(folder / "images", train_json, preprocess)
    items = [Item(sample, annotations, version.image_path(sample)) for sample, annotations in version.records("train")]
    own = CardImages(items, version.classes, ImageCache(version.ws.root / "cache", preprocess), None)
    few = range(min(6, len(items)))
    ready = alternate({"ours": lambda: [own[0, i] for i in few], "theirs": lambda: [theirs[i] for i in few]}, rounds=4)
    ms = {name: 1000 * statistics.median(seconds) / len(few) for name, seconds in ready.items()}
    batch = first_batch(own, int(plan.config.hyperparameters.optimization.batch_size))
    step = alternate({name: _step(plan, batch, name == "ours") for name in ms}, rounds=4, calls=3)
    step_ms = {name: 1000 * statistics.median(seconds) for name, seconds in step.items()}
    return [
        Row(
            name="lever: decode cache",
            figure=ms["ours"],
            unit="ms an image made ready",
            compared_with=f"PIL and polygons at full size: {ms['theirs']:.1f}",
            ratio=times_faster(ready["ours"], ready["theirs"]),
        ),
        Row(
            name="lever: channels-last layout",
            figure=step_ms["ours"],
            unit="ms forward and backward",
            compared_with=f"as torchvision builds it: {step_ms['theirs']:.0f}",
            ratio=times_faster(step["ours"], step["theirs"]),
        ),
        Row(
            name="lever: fewer proposals and samples",
            figure=1000 * statistics.median(steady["reference"]),
            unit="ms an epoch of the plain loop",
            compared_with=f"with the stock numbers: {1000 * statistics.median(steady['stock']):.0f}",
            ratio=times_faster(steady["reference"], steady["stock"]),
        ),
        Row(
            name="lever: a loader process for the plain loop",
            figure=1000 * statistics.median(steady["one more worker"]),
            unit="ms an epoch of the plain loop",
            compared_with=f"without: {1000 * statistics.median(steady['reference']):.0f}",
            ratio=times_faster(steady["one more worker"], steady["reference"]),
            note=f"so ours is {times_faster(steady['ours'], steady['one more worker']):.2f} x that loop",
        ),
    ]


def _step(plan: RunPlan, batch: Batch, channels_last: bool) -> Callable[[], None]:
    """Forward and backward of the bare network."""
    import torch

    config = plan.config
    row, variant = get_architecture(config.architecture_config.base_architecture)
    spec = ModelSpec(classes=plan.classes, image_size=int(config.data.image_size), variant=variant.id)
    net = row.builder()(spec, config, Path(plan.weights) if plan.weights else None).train()
    if channels_last:
        net.to(memory_format=torch.channels_last)

    def step() -> None:
        net.zero_grad()
        sum(net(batch.images, batch.targets).values()).backward()

    return step
