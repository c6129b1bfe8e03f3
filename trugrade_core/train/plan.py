"""What will become of every key of a configuration, before anything runs (pure; no torch).

*used*     the value is taken as it stands, or `auto` was resolved;
*adapted*  this machine lacks something (a GPU, bf16, a second device, a compiler): asked, used and why, and training
           goes on;
*refused*  a contradiction, something the task, architecture or data does not have, or a missing file. What nothing
           reads is refused only where it asks for something; its default and 0 are left out and say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic reads typing's own only from Python 3.12 on

from trugrade_core.config import RunConfig, get_key, given_keys, leaves, set_key
from trugrade_core.data import augment
from trugrade_core.errors import ConfigError, TruGradeError, WeightsMissing, nearest
from trugrade_core.machine import Machine
from trugrade_core.models import Architecture, Variant, get_architecture, why_untrainable
from trugrade_core.schema import Record, VersionManifest
from trugrade_core.tasks import LABEL_SHAPES, Task, get_task

Status = Literal["used", "adapted", "refused"]

ARCHITECTURE = "architecture_config.base_architecture"
WEIGHTS = "architecture_config.pretrained_weights"
FREEZING = "architecture_config.custom_modifications.backbone_freezing"
SEVERAL = "architecture_config.multi_gpu_support"
COMPILER = "architecture_config.optimization_mode"
OPTIMIZER = "hyperparameters.optimization.optimizer"
BATCH = "hyperparameters.optimization.batch_size"
PRECISION = "hyperparameters.advanced_settings.mixed_precision"
ACCUMULATION = "hyperparameters.advanced_settings.gradient_accumulation_steps"
STRATEGY = "hyperparameters.advanced_settings.multi_gpu_strategy"
LOSS = "loss_config.primary_loss"
FOCAL = ("loss_config.focal_loss_params.alpha", "loss_config.focal_loss_params.gamma")
AUGMENTATION = "data.augmentation"
PROBED = "probed at start"
DEFAULTS = {key: field.default for key, field in leaves()}


class Entry(TypedDict):
    asked: Any
    value: Any
    status: Status
    reason: str


class Estimate(TypedDict):
    """What a run will take; None until it has been probed."""

    seconds: float | None
    peak_memory_bytes: int | None
    disk_bytes: int | None
    source: str


class RunPlan(Record):
    """`config` is the configuration as it will run: adapted values put in, `auto` left only where it is probed."""

    entries: dict[str, Entry]
    config: RunConfig
    architecture: str
    variant: str
    classes: tuple[str, ...]
    dataset_digest: str
    weights: str | None
    random_init: bool
    accelerator: Literal["cpu", "cuda"]
    devices: int
    estimate: Estimate

    @property
    def values(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in self.entries.items()}

    @property
    def refused(self) -> dict[str, Entry]:
        return {key: entry for key, entry in self.entries.items() if entry["status"] == "refused"}

    def as_json(self) -> dict[str, Any]:
        """The shape of `trugrade train --plan-only --json`, and of a run's plan.json."""
        found = self.model_dump(mode="json", exclude={"entries", "config"})
        return {"plan": {key: dict(entry) for key, entry in self.entries.items()}} | found

    def check(self) -> None:
        """Raises ConfigError listing every refused key."""
        problems = [{"key": key, "problem": e["reason"], "what_to_do": ""} for key, e in self.refused.items()]
        if problems:
            count = f"{len(problems)} key{'s' if len(problems) > 1 else ''}"
            raise ConfigError(f"the plan refuses {count}:", problems=problems, code="plan.refused")


class _Answers:
    """Collects one entry for each key."""

    def __init__(self, config: RunConfig) -> None:
        self.config, self.given = config, given_keys(config)
        self.entries: dict[str, Entry] = {}

    def asked(self, key: str) -> Any:
        return get_key(self.config, key)

    def used(self, key: str, value: Any, reason: str = "") -> None:
        self._put(key, value, "used", reason or ("as written" if key in self.given else "default"))

    def adapted(self, key: str, value: Any, reason: str) -> None:
        self._put(key, value, "adapted", reason)

    def refused(self, key: str, reason: str) -> None:
        self._put(key, None, "refused", reason)

    def unread(self, key: str, reason: str) -> None:
        """Nothing reads this key: a contradiction only if it asks for something, as neither its default nor 0 does."""
        if self.asked(key) in (0, DEFAULTS[key]):
            self._put(key, None, "used", f"left out: {reason}")
        else:
            self.refused(key, reason)

    def _put(self, key: str, value: Any, status: Status, reason: str) -> None:
        if key not in self.entries:  # the first answer stands: what is refused for one reason is not used for another
            self.entries[key] = Entry(asked=self.asked(key), value=value, status=status, reason=reason)


def plan_run(
    config: RunConfig,
    *,
    manifest: VersionManifest | None,
    machine: Machine,
    weights_found: Callable[[str], str | None],
    random_init: bool = False,
    leak: str = "",
) -> RunPlan:
    """Answer for every key of `config`.

    `manifest` is the dataset version's, None when there is no such version. `weights_found(word)` gives the path of
    the file that a `pretrained_weights` word stands for, or None (or raises WeightsMissing). `random_init` lets a run
    with a missing weight file start from random weights, and marks it. `leak` says what of the version's splits is on
    both sides, which nobody accepted: it refuses the dataset.
    """
    answers = _Answers(config)
    task = _task(answers)
    row, variant = _architecture(answers, task)
    for key, reason in row.lacks.items() if row else ():
        answers.unread(key, reason)
    weights, marked = _weights(answers, row, variant, weights_found, random_init)
    classes = _classes(answers, task, manifest)
    _dataset(answers, manifest, leak)
    accelerator, devices = _devices(answers, machine)
    _speed(answers, machine, accelerator, devices)
    _losses(answers, row)
    _optimization(answers, row, manifest, devices)
    _data(answers, variant, machine, accelerator, devices)
    _augmentation(answers, task)
    for key, _ in leaves():
        answers.used(key, answers.asked(key))
    return RunPlan(
        entries={key: answers.entries[key] for key, _ in leaves()},
        config=_resolved(config, answers.entries),
        architecture=row.id if row else "",
        variant=variant.id if variant else "",
        classes=classes,
        dataset_digest=manifest.digest if manifest else "",
        weights=weights,
        random_init=marked,
        accelerator=accelerator,
        devices=devices,
        estimate=Estimate(seconds=None, peak_memory_bytes=None, disk_bytes=None, source=PROBED),
    )


def _task(answers: _Answers) -> Task | None:
    try:
        task = get_task(answers.asked("task"))
    except TruGradeError as e:
        answers.refused("task", f"{e.message}; {e.what_to_do}")
        return None
    if reason := why_untrainable(task):
        answers.refused("task", reason)
        return None
    return task


def _architecture(answers: _Answers, task: Task | None) -> tuple[Architecture | None, Variant | None]:
    asked = answers.asked(ARCHITECTURE)
    if task and ARCHITECTURE not in answers.given and asked not in task.architectures:
        asked = task.architectures[0]
    try:
        row, variant = get_architecture(asked)
    except ConfigError as e:
        answers.refused(ARCHITECTURE, f"{e.problems[0]['problem']}; {e.problems[0]['what_to_do']}")
        return None, None
    if task and row.id not in task.architectures:
        answers.refused(ARCHITECTURE, f"{task.id} has no {row.id}; it has {', '.join(task.architectures)}")
    elif reason := row.unavailable():
        answers.refused(ARCHITECTURE, f"{row.id} cannot run here: {reason}")
    full = f"{row.id}_{variant.id}"
    answers.used(ARCHITECTURE, full, "" if asked == full else f"'{asked}' alone is its first variant")
    return row, variant


def _weights(
    answers: _Answers,
    row: Architecture | None,
    variant: Variant | None,
    weights_found: Callable[[str], str | None],
    random_init: bool,
) -> tuple[str | None, bool]:
    """(path of the weight file or None, whether the run is marked as randomly started against the person's wish)."""
    word = answers.asked(WEIGHTS)
    path, marked = None, False
    if row is None or variant is None:
        return None, False
    if word == "none":
        answers.used(WEIGHTS, "none", "starts from random weights")
    elif word in ("coco", "imagenet") and word not in variant.weights:
        known = ", ".join([*variant.weights, "none"])
        answers.refused(
            WEIGHTS, f"{row.id}_{variant.id} has no '{word}' weights; it has {known}, or the path of a file"
        )
    else:
        try:
            path, missing = weights_found(word), ""
        except WeightsMissing as e:
            missing = f"{e.message}. {e.what_to_do}"
        if path:
            answers.used(WEIGHTS, word, f"found at {path}")
        elif random_init:
            marked = True
            answers.adapted(WEIGHTS, "none", "the weight file is missing; --random-init starts from random weights "
                                             "and marks the run")  # fmt: skip
        else:
            file = variant.weights.get(word, word)
            answers.refused(WEIGHTS, missing or f"the weight file {file} is not on this machine: put it into the "
                            "workspace's weights folder, or start from random weights with --random-init")  # fmt: skip
    starts_random = marked or word == "none"
    if starts_random and answers.asked(FREEZING) != "none":
        answers.used(FREEZING, answers.asked(FREEZING), "done as written, but what is frozen are random weights")
    return path, marked


def _classes(answers: _Answers, task: Task | None, manifest: VersionManifest | None) -> tuple[str, ...]:
    key, asked = "data.classes", answers.asked("data.classes")
    if task is None or manifest is None:
        return ()
    shapes = LABEL_SHAPES[task.kind]
    known = [c.name for c in manifest.classes if c.shape in shapes]
    if not known:
        answers.refused("task", f"no class of {manifest.dataset}@{manifest.version} is drawn as a {' or '.join(shapes)}; "
                        "name classes on import with --map theirs=ours")  # fmt: skip
        return ()
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        answers.refused(key, f"the dataset has no class '{unknown[0]}': {nearest(unknown[0], known)}")
        return ()
    chosen = tuple(name for name in known if not asked or name in asked)
    answers.used(key, chosen, "" if asked else "all of the version's classes of the task's kind")
    return chosen


def _dataset(answers: _Answers, manifest: VersionManifest | None, leak: str) -> None:
    if manifest is None:
        answers.refused("dataset", f"there is no dataset version '{answers.asked('dataset')}'; see: trugrade data list")
        return
    name = f"{manifest.dataset}@{manifest.version}"
    if leak:
        answers.refused("dataset", leak)
    for split in ("train", "val"):
        if not _count(manifest, split):
            answers.refused("dataset", f"{name} has no labelled images in its {split} split; label or import more cards, then: "
                            f"trugrade data split {manifest.dataset}")  # fmt: skip
    answers.used(
        "dataset", name, f"{_count(manifest, 'train')} training and {_count(manifest, 'val')} validation images"
    )


def _count(manifest: VersionManifest, split: str) -> int:
    return manifest.labelled(split)


def _devices(answers: _Answers, machine: Machine) -> tuple[Literal["cpu", "cuda"], int]:
    """(accelerator, number of devices)."""
    wanted, asked = answers.asked("machine.accelerator"), answers.asked("machine.devices")
    several, gpus = answers.asked(SEVERAL), len(machine.gpus)
    accelerator: Literal["cpu", "cuda"] = "cuda" if gpus and wanted != "cpu" else "cpu"
    if wanted == "cuda" and not gpus:
        answers.adapted("machine.accelerator", "cpu", f"no GPU here: {machine.gpu_reason or 'none was found'}")
    answers.used("machine.accelerator", accelerator, "" if wanted != "auto" else _what_is_here(machine))
    # On the CPU each device is a process of its own, which only somebody who wrote `cpu` can want.
    present = gpus if accelerator == "cuda" else machine.cores if wanted == "cpu" else 1
    devices = (present if several and accelerator == "cuda" else 1) if asked == "auto" else asked
    if devices > present:
        what = f"{gpus} GPU{'s' if gpus != 1 else ''}" if accelerator == "cuda" else "one device, its CPU"
        what = f"{machine.cores} cores, one for each process," if wanted == "cpu" else what
        answers.refused("machine.devices", f"{asked} devices were asked for, and this machine has {what} to train on")
        devices = 1
    elif devices > 1 and not several:
        answers.refused("machine.devices", f"{asked} devices contradict multi_gpu_support: false")
        devices = 1
    answers.used("machine.devices", devices, "" if asked != "auto" else f"what is here: {_what_is_here(machine)}")
    if several and devices == 1:
        answers.adapted(SEVERAL, False, "one device is in use, so there is nothing to spread over")
    why = "torch's DataParallel cannot split images with their boxes; DDP runs one process for each device"
    answers.adapted(STRATEGY, "ddp" if devices > 1 else "none", why if devices > 1 else f"one device is in use ({why})")
    return accelerator, devices


def _what_is_here(machine: Machine) -> str:
    gpus = ", ".join(gpu.name for gpu in machine.gpus)
    return gpus or f"no GPU, {machine.cores} CPU cores"


def _speed(answers: _Answers, machine: Machine, accelerator: str, devices: int) -> None:
    mode = answers.asked(COMPILER)
    if mode != "none" and accelerator == "cpu":
        answers.adapted(COMPILER, "none", "no GPU here: on a CPU compiling takes minutes and gains nothing")
    elif mode != "none" and not machine.compiler:
        answers.adapted(COMPILER, "none", "torch.compile needs a C++ compiler, and none is installed")
    if not answers.asked(PRECISION):
        return
    if accelerator == "cuda" and not all(gpu.bf16 for gpu in machine.gpus[:devices]):
        answers.adapted(PRECISION, False, "the GPU does not compute in bf16: float32")
    elif accelerator == "cpu" and not machine.bf16:
        answers.adapted(PRECISION, False, "this CPU does not compute in bf16: float32")
    else:
        answers.used(PRECISION, True, "bf16 for the dense part; boxes and losses stay in float32")


def _losses(answers: _Answers, row: Architecture | None) -> None:
    asked = answers.asked(LOSS)
    if row is None:
        return
    loss = row.losses[0] if asked == "auto" else asked
    if loss not in row.losses:
        answers.refused(LOSS, f"{row.id} has no {loss}; it has {', '.join(row.losses)}")
        loss = row.losses[0]
    answers.used(LOSS, loss, f"{row.id}'s own" if asked == "auto" else "")
    if loss != "focal_loss":
        for key in FOCAL:
            answers.unread(key, f"only focal_loss reads it, and the loss is {loss}")


def _optimization(answers: _Answers, row: Architecture | None, manifest: VersionManifest | None, devices: int) -> None:
    asked = answers.asked(OPTIMIZER)
    optimizer = row.default_optimizer if row and asked == "auto" else asked
    answers.used(OPTIMIZER, optimizer, f"{row.id}'s usual one" if row and asked == "auto" else "")
    momentum = "hyperparameters.optimization.momentum"
    answers.used(momentum, answers.asked(momentum), "beta1 of AdamW" if optimizer == "adamw" else "SGD's momentum")
    batch, images = answers.asked(BATCH), _count(manifest, "train") if manifest else 0
    if batch == "auto":
        answers.used(BATCH, "auto", f"{PROBED}: the largest that fits, at most 16 and a fourth of the training images")
        return
    if images and batch * devices > images:
        each = f" on each of {devices} devices" if devices > 1 else ""
        answers.refused(BATCH, f"a batch of {batch}{each} is more than the {images} training images")
    total = batch * answers.asked(ACCUMULATION) * devices
    answers.used(BATCH, batch, f"{total} images for each optimizer step" if total != batch else "")


def _data(answers: _Answers, variant: Variant | None, machine: Machine, accelerator: str, devices: int) -> None:
    size = answers.asked("data.image_size")
    if variant and size == "auto":
        answers.used("data.image_size", variant.image_size, f"{variant.id}'s own")
    workers, threads = answers.asked("data.workers"), answers.asked("machine.threads")
    cores = max(1, machine.cores // devices)
    if workers == "auto":
        workers = min(8, cores - 1) if accelerator == "cuda" else 0 if cores <= 2 else 1
        answers.used(
            "data.workers", workers, f"for {cores} cores; resized images are cached, so little is left to load"
        )
    if threads == "auto":
        threads = min(256, max(1, cores - workers))  # as many as the key takes
        answers.used("machine.threads", threads, f"{cores} cores less {workers} loader processes")
    elif threads * devices > machine.cores:
        answers.used("machine.threads", threads, f"more than the {machine.cores} cores here: expect it to be slower")
    if answers.asked("data.class_weights") == "auto":
        answers.used("data.class_weights", "auto", "counted over the training split at start")


def _augmentation(answers: _Answers, task: Task | None) -> None:
    group = answers.config.data.augmentation
    own = task.augmentation if task else "none"
    within = augment.settings(group, own)
    preset = own if group.preset == "auto" else group.preset
    answers.used(f"{AUGMENTATION}.preset", preset, f"the one for {task.id}" if task and group.preset == "auto" else "")
    for name in type(group).model_fields:
        key = f"{AUGMENTATION}.{name}"
        if within is None:
            answers.unread(key, "nothing is augmented")
        elif answers.asked(key) == "auto":
            answers.used(key, getattr(within, name, None), f"the preset's ({preset})")


def _resolved(config: RunConfig, entries: dict[str, Entry]) -> RunConfig:
    mapping = config.model_dump()
    for key, entry in entries.items():
        if entry["status"] != "refused" and entry["value"] is not None and key not in (STRATEGY, "data.classes"):
            set_key(mapping, key, entry["value"])
    return RunConfig.model_validate(mapping)
