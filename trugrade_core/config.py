"""The run configuration: one definition that gives the file, `--set`, the form in the page and the plan's keys.

The keys are the user's (see README, "The configuration"). `auto` is legal only where a field says so. Each field
carries a plain-words title, a sentence of help, its bounds and, where it has one, its unit.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from trugrade_core.errors import ConfigError, UsageError, nearest

Auto = Literal["auto"]


def key(default: Any, title: str, help: str, *, unit: str = "", advanced: bool = False, **bounds: Any) -> Any:
    """A configuration field: what the form, the help and the docs say of it."""
    return Field(
        default=default, title=title, description=help, json_schema_extra={"unit": unit, "advanced": advanced}, **bounds
    )


class Group(BaseModel):
    # No inf and no nan: digests and checkpoints are JSON, which has neither.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, strict=True, allow_inf_nan=False)


class CustomModifications(Group):
    backbone_freezing: Literal["none", "partial", "full"] = key(
        "none",
        "Frozen backbone",
        "Keep the backbone's weights as they are: none, the earlier half of its stages, or all.",
    )
    head_customization: Literal["none", "phoenix_specialized"] = key(
        "none", "Head", "The standard head, or one for thin objects of large aspect such as card borders."
    )
    feature_pyramid: Literal["standard", "enhanced"] = key(
        "standard", "Feature pyramid", "The standard neck, or a stronger one with a second, bottom-up path."
    )


class ArchitectureConfig(Group):
    base_architecture: str = key("mask_rcnn", "Architecture", "Id, or id and variant such as mask_rcnn_resnet50_fpn.")
    pretrained_weights: str = key("none", "Starting weights", "coco, imagenet, none, or the path of a weight file.")
    custom_modifications: CustomModifications = CustomModifications()
    multi_gpu_support: bool = key(
        True, "Use several devices", "Train on all chosen devices when there is more than one."
    )
    optimization_mode: Literal["none", "default", "max_autotune"] = key(
        "none", "Compiler", "Compile the dense part of the model with torch.compile.", advanced=True
    )


class Optimization(Group):
    optimizer: Literal["auto", "sgd", "adamw"] = key("auto", "Optimizer", "auto takes the architecture's usual one.")
    learning_rate: float = key(8e-4, "Learning rate", "Peak learning rate.", gt=0, le=1)
    lr_scheduler: Literal["cosine_annealing", "one_cycle", "constant"] = key(
        "cosine_annealing", "Schedule", "How the learning rate changes, after a short warm-up."
    )
    batch_size: Union[Auto, Annotated[int, Field(ge=1, le=1024)]] = key(  # noqa: UP007
        "auto",
        "Batch size",
        "Images a step and device; auto takes the largest that fits, found by a probed step.",
        unit="images",
    )
    gradient_clipping: float = key(1.0, "Gradient clipping", "Largest gradient norm; 0 switches it off.", ge=0)
    weight_decay: float = key(1e-4, "Weight decay", "The optimizer's, on the body of the model.", ge=0, lt=1)
    momentum: float = key(0.9, "Momentum", "SGD's momentum, or beta1 of AdamW.", ge=0, lt=1)


class EarlyStopping(Group):
    patience: int = key(
        5, "Patience", "Validations without improvement before training stops; 0 never stops.", unit="validations", ge=0
    )
    min_delta: float = key(0.001, "Smallest improvement", "What counts as better, in the task's main metric.", ge=0)


class TrainingProcess(Group):
    epochs: int = key(25, "Epochs", "Passes over the training split.", unit="epochs", ge=1, le=10_000)
    early_stopping: EarlyStopping = EarlyStopping()
    validation_frequency: int = key(1, "Validate every", "Epochs between validations.", unit="epochs", ge=1)
    checkpoint_saving: Literal["best_and_latest", "latest"] = key(
        "best_and_latest", "Checkpoints", "Keep the best by the main metric and the latest, or the latest alone."
    )
    time_limit: float | None = key(
        None,
        "Time limit",
        "Stop and keep after this long, whatever the epoch; null is no limit, and a resume starts the clock anew.",
        unit="minutes",
        gt=0,
    )


class AdvancedSettings(Group):
    mixed_precision: bool = key(True, "Mixed precision", "bf16 for the dense part where the device computes in it.")
    gradient_accumulation_steps: int = key(
        1, "Accumulation", "Batches summed up before each optimizer step.", unit="batches", ge=1, le=256
    )
    multi_gpu_strategy: Literal["data_parallel"] = key(
        "data_parallel", "Several devices", "One process for each device (DDP)."
    )
    memory_optimization: bool = key(False, "Save memory", "Recompute backbone activations instead of keeping them.")


class Hyperparameters(Group):
    optimization: Optimization = Optimization()
    training_process: TrainingProcess = TrainingProcess()
    advanced_settings: AdvancedSettings = AdvancedSettings()


class LossWeights(Group):
    classification: float = key(1.0, "Classification", "Weight of the classification losses.", ge=0)
    bbox_regression: float = key(1.0, "Box regression", "Weight of the box losses.", ge=0)
    mask_loss: float = key(1.0, "Mask", "Weight of the mask loss.", ge=0)


class FocalLossParams(Group):
    alpha: float = key(0.25, "Alpha", "Weight of the objects against the background.", gt=0, lt=1)
    gamma: float = key(2.0, "Gamma", "How much easy examples are played down.", ge=0, le=10)


class Regularization(Group):
    l2_weight: float = key(0.0, "L2 penalty", "On the new head layers; a logged loss component of its own.", ge=0, lt=1)
    dropout: float = key(0.0, "Dropout", "Share of the head's features dropped in training.", ge=0, lt=1)


class LossConfig(Group):
    primary_loss: Literal["auto", "focal_loss", "cross_entropy"] = key(
        "auto", "Loss", "The classifier's loss; auto takes the architecture's own."
    )
    loss_weights: LossWeights = LossWeights()
    focal_loss_params: FocalLossParams = FocalLossParams()
    regularization: Regularization = Regularization()


Half = Annotated[float, Field(ge=0, le=0.5)]
Share = Annotated[float, Field(ge=0, le=1)]


def spread(title: str, help: str, *, unit: str = "") -> Any:
    return key("auto", title, f"{help} auto takes the preset's own.", unit=unit, advanced=True)


class Augmentation(Group):
    """Random changes of the training pictures. `augmentation: none` alone is the preset."""

    preset: Literal["auto", "none", "border", "corner", "edge", "surface"] = key(
        "auto", "Augmentation", "What may vary without destroying what is graded; auto takes the task's."
    )
    shift: Union[Auto, Half] = spread("Shift", "Farthest move.", unit="of the canvas")  # noqa: UP007
    scale_min: Union[Auto, Annotated[float, Field(ge=0.2, le=1)]] = spread("Smallest scale", "Of the resized picture.")  # noqa: UP007
    scale_max: Union[Auto, Annotated[float, Field(ge=1, le=3)]] = spread("Largest scale", "Of the resized picture.")  # noqa: UP007
    turn_deg: Union[Auto, Annotated[float, Field(ge=0, le=45)]] = spread("Turn", "Farthest free turn.", unit="degrees")  # noqa: UP007
    quarter_turns: Literal["auto", "on", "off"] = key(
        "auto", "Quarter turns", "By 90, 180 and 270 degrees. auto takes the preset's own.", advanced=True
    )
    mirror: Literal["auto", "none", "horizontal", "diagonal"] = key(
        "auto", "Mirror", "Half of the moved samples. auto takes the preset's own.", advanced=True
    )
    unmoved: Union[Auto, Share] = spread("Unmoved", "Share of samples that keep their place.")  # noqa: UP007
    brightness: Union[Auto, Annotated[float, Field(ge=0, le=0.9)]] = spread("Brightness", "Spread about 1.")  # noqa: UP007
    gamma: Union[Auto, Annotated[float, Field(ge=0, le=1.5)]] = spread("Gamma", "Spread about 1, in logarithms.")  # noqa: UP007
    noise: Auto | Annotated[float, Field(ge=0, le=50)] = spread(
        "Noise", "Largest standard deviation.", unit="levels of 255"
    )
    jpeg_quality: Union[Auto, Annotated[int, Field(ge=10, le=100)]] = spread(  # noqa: UP007
        "JPEG quality", "Lowest quality of a compression; 100 is none."
    )
    blur_px: Auto | Annotated[float, Field(ge=0, le=5)] = spread(
        "Blur", "Largest standard deviation.", unit="px of the canvas"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_alone(cls, given: Any) -> Any:
        """`augmentation: none`; `default` is how files of before say auto."""
        return {"preset": "auto" if given == "default" else given} if isinstance(given, str) else given


class DataConfig(Group):
    image_size: Union[Auto, Annotated[int, Field(ge=64, le=2048, multiple_of=32)]] = key(  # noqa: UP007
        "auto", "Image size", "Long side of the network's input; auto takes the architecture's.", unit="px"
    )
    augmentation: Augmentation = Augmentation()
    workers: Union[Auto, Annotated[int, Field(ge=0, le=64)]] = key(  # noqa: UP007
        "auto", "Loader processes", "Processes that prepare batches; auto leaves the cores to the model.", advanced=True
    )
    class_weights: Literal["none", "auto"] = key("none", "Class weights", "auto weighs classes by how rare they are.")
    classes: tuple[str, ...] | None = key(
        None, "Classes", "A subset of the version's classes; empty means all of the task's kind.", strict=False
    )


class MachineConfig(Group):
    devices: Union[Auto, Annotated[int, Field(ge=1, le=64)]] = key("auto", "Devices", "How many devices to train on.")  # noqa: UP007
    accelerator: Literal["auto", "cpu", "cuda"] = key("auto", "Device", "cuda where there is one, else cpu.")
    threads: Union[Auto, Annotated[int, Field(ge=1, le=256)]] = key(  # noqa: UP007
        "auto", "Threads", "CPU threads of the training process; bit-equal repeats need the same number.", advanced=True
    )


class RunConfig(Group):
    """All of a training run. `task` and `dataset` have no default."""

    task: str = Field(title="Task", description="What to learn, such as border_detection.dual_class.")
    dataset: str = Field(title="Dataset", description="NAME@VERSION; NAME alone is the newest version.")
    architecture_config: ArchitectureConfig = ArchitectureConfig()
    hyperparameters: Hyperparameters = Hyperparameters()
    loss_config: LossConfig = LossConfig()
    data: DataConfig = DataConfig()
    machine: MachineConfig = MachineConfig()
    seed: int = key(0, "Seed", "Of weights, order and augmentation.", ge=0, lt=2**31)
    experiment: str = key("default", "Experiment", "Groups runs in lists and charts.", min_length=1, max_length=80)


# --- reading -----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are those of YAML 1.2 (`8e-4` is one, `010` is ten, `1:30` is text) and whose keys are unique."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        seen = set()
        for name, _ in node.value:
            word = str(name.value)
            if word in seen:
                raise yaml.YAMLError(f"the key '{word}' is given twice, again in line {name.start_mark.line + 1}")
            seen.add(word)
        return node


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """PyYAML's own reads YAML 1.1: octals without an o, and base 60."""
    text = str(node.value)
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in _NUMBERS]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Tried in this order: an integer would be a float as well.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read back as text: an experiment named `1e3` is one."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_value(text: str) -> Any:
    """A value as YAML reads it: `8e-4`, `true`, `[a, b]`, `none` (a word), `null`."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (a subclass of SafeLoader)
    except (yaml.YAMLError, ValueError) as e:  # ValueError: a date that no calendar has
        raise UsageError(f"'{text}' is not a value ({e})".replace("\n", " ")) from e


def load_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a .yaml, .yml, .toml or .json file. Raises ConfigError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(
            f"cannot be read ({e})", where=str(path), what_to_do="Give the path of a configuration file."
        ) from e
    try:
        if path.suffix == ".toml":
            found: Any = tomllib.loads(text)
        elif path.suffix == ".json":
            found = json.loads(text, object_pairs_hook=_once)
        else:
            found = yaml.load(text, _Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(f"is not valid {path.suffix.lstrip('.') or 'YAML'} ({e})", where=str(path)) from e
    if not isinstance(found, dict):
        raise ConfigError(
            "holds no keys", where=str(path), what_to_do="Write one with: trugrade suggest NAME --task T -o FILE"
        )
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are unique."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key '{name}' is given twice")
        found[name] = value
    return found


def set_key(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested dicts, making the levels in between."""
    *parents, last = dotted.split(".")
    for part in parents:
        mapping = mapping.setdefault(part, {})
        if not isinstance(mapping, dict):
            raise UsageError(f"'{dotted}': '{part}' holds a value, not keys")
    mapping[last] = value


def parse_config(mapping: Mapping[str, Any], *, where: str = "") -> RunConfig:
    """Validate everything at once. Raises ConfigError listing each problem, with the nearest key for a misspelt one."""
    try:
        return RunConfig.model_validate(mapping)
    except ValidationError as e:
        problems = _merge_unions([_problem(error) for error in e.errors()])
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigError(f"the configuration has {count}:", problems=problems, where=where) from e


def _problem(error: Any) -> dict[str, str]:
    where = [str(part) for part in error["loc"] if not _is_union_tag(str(part))]
    found = {"key": ".".join(where), "problem": error["msg"], "what_to_do": ""}
    if error["type"] == "extra_forbidden":
        found["problem"] = "is not a key"
        found["what_to_do"] = nearest(where[-1], _siblings(where[:-1]))
    elif error["type"] == "missing":
        found["problem"] = "is missing"
    elif error["type"] == "finite_number":
        found["problem"] = f"must be a finite number; found {error['input']!r}"
        found["what_to_do"] = dict(leaves())[found["key"]].description or ""
    else:
        found["problem"] += f"; found {error['input']!r}"
    return found


def _is_union_tag(part: str) -> bool:
    return part in ("int", "float", "str") or part.startswith(("literal[", "constrained-", "tuple["))


def _merge_unions(problems: list[dict[str, str]]) -> list[dict[str, str]]:
    """A field with alternatives reports one error for each; say them as one."""
    merged: dict[str, dict[str, str]] = {}
    for p in problems:
        if p["key"] in merged:
            first = merged[p["key"]]["problem"].rsplit("; found", 1)
            merged[p["key"]]["problem"] = f"{first[0]}, or: {p['problem']}"
        else:
            merged[p["key"]] = p
    return list(merged.values())


def _siblings(path: list[str]) -> list[str]:
    group: type[BaseModel] = RunConfig
    for part in path:
        field = group.model_fields.get(part)
        inner = subgroup(field) if field else None
        if inner is None:
            return []
        group = inner
    return list(group.model_fields)


def subgroup(field: FieldInfo) -> type[Group] | None:
    """The group of keys that a field holds, or None for a leaf."""
    kind: Any = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Group) else None


# --- walking -----------------------------------------------------------------------------------------------------


def leaves(group: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """(dotted key, field) of every leaf, in the order of the definition."""
    for name, field in group.model_fields.items():
        if inner := subgroup(field):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def get_key(config: BaseModel, dotted: str) -> Any:
    found: Any = config
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


def given_keys(config: BaseModel, prefix: str = "") -> set[str]:
    """The dotted leaves that the person wrote, as against defaults."""
    found: set[str] = set()
    for name in config.model_fields_set:
        value = getattr(config, name)
        found |= given_keys(value, f"{prefix}{name}.") if isinstance(value, Group) else {prefix + name}
    return found


def allows_auto(field: FieldInfo) -> bool:
    if field.annotation is None:
        return False
    options = get_args(field.annotation) if get_origin(field.annotation) is not None else ()
    return "auto" in options or any("auto" in get_args(option) for option in options)


def dump_yaml(config: BaseModel, *, only_given: bool = False) -> str:
    return mapping_yaml(config.model_dump(mode="json", exclude_unset=only_given))


def mapping_yaml(mapping: Mapping[str, Any]) -> str:
    """As a configuration file is written: read back, every value is what it was (an experiment named 08 stays text)."""
    return yaml.dump(dict(mapping), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
