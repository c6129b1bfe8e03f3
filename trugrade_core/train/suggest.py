"""A configuration to start from, with a reason for every value it sets (no torch)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypedDict

from trugrade_core.config import set_key
from trugrade_core.machine import Machine
from trugrade_core.models import Architecture, Variant, get_architecture
from trugrade_core.schema import Annotation, Box, Mask, Polygon, Record, Sample, VersionManifest
from trugrade_core.tasks import Task

WeightsFound = Callable[[Architecture, Variant, str], Path | None]
"""The file of a variant that a `pretrained_weights` word stands for, or None when it is not on this machine."""

SMALLEST_OBJECT_PX = 24
"""Below this many canvas pixels an object's short side is too small for the detectors' strides."""
STEPS = {"cpu": 900, "cuda": 6000}
"""Optimizer steps a first run is given; enough for the loss to settle on card borders."""
AUGMENTED = {
    "border": "cards lie anywhere, at any scale and in any light",
    "corner": "a corner crop has its place and its scale: only what the scanner varies is varied",
    "edge": "an edge strip has its place and its scale: only what the scanner varies is varied",
    "surface": "defects lie anywhere and in any direction, at one scale",
    "none": "turned pictures would need turned lamps",
}
LEARNING_RATES = {"adamw": 1e-3, "sgd": 1e-2}


class Facts(Record):
    """What of a dataset version bears on a configuration."""

    long_side_px: int
    smallest_object: float | None
    """Median over images of the smallest object's short side, as a share of the image's long side."""
    class_counts: dict[str, int]


class PastRun(TypedDict):
    """A finished run of the same task and classes. `metric` is the task's main metric of its best epoch."""

    run: str
    config: dict[str, Any]
    metric: float


def version_facts(records: Iterable[tuple[Sample, Sequence[Annotation]]]) -> Facts:
    """One pass over a version's labelled images and their annotations."""
    long_sides: list[int] = []
    smallest: list[float] = []
    counts: Counter[str] = Counter()
    for sample, labels in records:
        long_side = max(sample.main.width, sample.main.height)
        long_sides.append(long_side)
        shapes = [a for a in labels if isinstance(a.value, Box | Polygon | Mask)]
        counts.update(a.label for a in shapes if a.label)
        sides = [_short_side(a.value) for a in shapes if isinstance(a.value, Box | Polygon)]
        if sides:
            smallest.append(min(sides) / long_side)
    return Facts(
        long_side_px=round(median(long_sides)) if long_sides else 0,
        smallest_object=median(smallest) if smallest else None,
        class_counts=dict(counts),
    )


def _short_side(value: Box | Polygon) -> float:
    if isinstance(value, Box):
        x0, y0, x1, y1 = value.xyxy
        return min(x1 - x0, y1 - y0)
    xs, ys = zip(*value.points, strict=True)
    return float(min(max(xs) - min(xs), max(ys) - min(ys)))


def suggest(
    manifest: VersionManifest,
    facts: Facts,
    task: Task,
    machine: Machine,
    weights_found: WeightsFound,
    history: Sequence[PastRun] = (),
    *,
    architecture: str | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """(mapping for a configuration file, reason by dotted key).

    Without `architecture` the task's first that can run here is taken. A finished run in `history` lends its values
    and is named. Raises ConfigError for an unknown architecture.
    """
    config: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def put(key: str, value: Any, reason: str) -> None:
        set_key(config, key, value)
        reasons[key] = reason

    put("task", task.id, "chosen")
    put("dataset", f"{manifest.dataset}@{manifest.version}", "this version, so that a repeat sees the same images")
    best = _best(history, task)
    row, variant, why = _choose(task, machine, architecture, best)
    put("architecture_config.base_architecture", f"{row.id}_{variant.id}", why)
    word, why = _weights(row, variant, weights_found)
    put("architecture_config.pretrained_weights", word, why)
    _from_data(put, facts, variant)
    put("data.augmentation.preset", task.augmentation, AUGMENTED[task.augmentation])
    _from_size(put, manifest.labelled("train"), row, machine)
    if variant.depthwise and not machine.gpus:
        put("hyperparameters.advanced_settings.mixed_precision", False,
            "depthwise convolutions, which this variant is made of, take longer in bf16 than in float32 on a CPU")  # fmt: skip
    alike = best if best and _is_of(best, row, variant, task) else None  # another network's values mean nothing to this
    for key in ("hyperparameters.optimization.optimizer", "hyperparameters.optimization.learning_rate",
                "data.image_size"):  # fmt: skip
        value = _dig(alike["config"], key) if alike else None
        if alike and value not in (None, "auto"):
            put(key, value, f"from run {alike['run']}, the best finished one of this task and these classes "
                f"({task.main_metric} {alike['metric']:.3g})")  # fmt: skip
    return config, reasons


def _best(history: Sequence[PastRun], task: Task) -> PastRun | None:
    sign = -1 if task.higher_is_better else 1
    return min(history, key=lambda run: sign * run["metric"], default=None)


def _is_of(run: PastRun, row: Architecture, variant: Variant, task: Task) -> bool:
    """Whether a run trained this very variant."""
    name = _dig(run["config"], "architecture_config.base_architecture") or task.architectures[0]
    return name == f"{row.id}_{variant.id}" or (name == row.id and variant is row.variants[0])


def _choose(task: Task, machine: Machine, asked: str | None, best: PastRun | None) -> tuple[Architecture, Variant, str]:
    if asked:
        row, variant = get_architecture(asked)
        if asked != row.id:
            return row, variant, "chosen"
        why = "chosen"
    elif best and (name := _dig(best["config"], "architecture_config.base_architecture")):
        row, variant = get_architecture(name)
        return row, variant, f"that of run {best['run']}, the best finished one of this task and these classes"
    else:
        row = next(r for r in map(_row, task.architectures) if not r.unavailable())
        why = f"the task's first architecture that runs here ({', '.join(row.outputs)})"
    if machine.gpus and len(row.variants) > 1:
        return row, row.variants[1], f"{why}; the larger variant, since there is a GPU"
    return row, row.variants[0], f"{why}; the light variant, since there is no GPU" if not machine.gpus else why


def _row(name: str) -> Architecture:
    return get_architecture(name)[0]


def _weights(row: Architecture, variant: Variant, weights_found: WeightsFound) -> tuple[str, str]:
    for word in ("coco", "imagenet"):
        if word in variant.weights and (path := weights_found(row, variant, word)):
            return word, f"{path.name} is on this machine ({path.parent})"
    missing = ", ".join(f"{file} ({word})" for word, file in variant.weights.items()) or "none are published"
    return "none", f"no weight file of this variant is on this machine: {missing}"


def _from_data(put: Callable[[str, Any, str], None], facts: Facts, variant: Variant) -> None:
    size, why = variant.image_size, f"{variant.id}'s own"
    if facts.smallest_object:
        needed = SMALLEST_OBJECT_PX / facts.smallest_object
        if needed > size:
            size = min(1024, -(-round(needed) // 32) * 32)
            why = f"the smallest objects are {facts.smallest_object:.1%} of an image's long side, and need {SMALLEST_OBJECT_PX} px"
    if 0 < facts.long_side_px < size:
        size = max(64, facts.long_side_px // 32 * 32)
        why = f"the images are {facts.long_side_px} px long: more would only be blown up"
    put("data.image_size", size, why)
    counts = facts.class_counts
    if counts and max(counts.values()) > 3 * min(counts.values()):
        put("data.class_weights", "auto", f"classes differ much in number: {counts}")


def _from_size(put: Callable[[str, Any, str], None], images: int, row: Architecture, machine: Machine) -> None:
    device = "cuda" if machine.gpus else "cpu"
    batch: int | str = "auto" if machine.gpus else max(1, min(4, images // 4))
    why = "a probed step finds the largest that fits" if machine.gpus else "more gains no speed on a CPU"
    put("hyperparameters.optimization.batch_size", batch, f"{why}; {images} training images")
    per_epoch = max(1, images // (8 if batch == "auto" else int(batch)))
    epochs = max(10, min(150, round(STEPS[device] / per_epoch)))
    put("hyperparameters.training_process.epochs", epochs,
        f"about {epochs * per_epoch} steps over {images} training images")  # fmt: skip
    frequency = max(1, epochs // 25)
    validations = -(-epochs // frequency)
    put("hyperparameters.training_process.validation_frequency", frequency,
        f"{validations} validations: enough to see the curve, little time spent")  # fmt: skip
    patience = max(8, validations // 2)
    put("hyperparameters.training_process.early_stopping.patience", patience,
        f"stops after {patience * frequency} epochs without a better validation, not sooner: as long as the learning "
        "rate is high the metric wavers, and the most exact epochs come when it has fallen")  # fmt: skip
    put("hyperparameters.optimization.optimizer", row.default_optimizer, f"{row.id}'s usual one")
    rate = LEARNING_RATES[row.default_optimizer]
    put("hyperparameters.optimization.learning_rate", rate,
        f"usual for {row.default_optimizer}, after a warm-up over 5 % of the steps")  # fmt: skip


def _dig(mapping: dict[str, Any], dotted: str) -> Any:
    found: Any = mapping
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
