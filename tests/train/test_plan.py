"""The plan answers for every key; each leaf, flipped, shows in the plan."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trugrade_core.config import RunConfig, dump_yaml, get_key, leaves, load_mapping, parse_config, parse_value, set_key
from trugrade_core.errors import ConfigError, TrainingError, WeightsMissing
from trugrade_core.machine import Gpu, Machine
from trugrade_core.schema import ClassDef, VersionManifest
from trugrade_core.train.plan import plan_run

USER = Path(__file__).parents[1] / "data" / "user_config.yaml"
CPU = Machine(cores=2, memory_bytes=2**33, compiler=True, bf16=False, gpu_reason="no NVIDIA driver answers")
A100 = Gpu(name="A100", memory_bytes=2**36, bf16=True)
TWO_GPUS = Machine(cores=16, memory_bytes=2**36, gpus=(A100, A100), compiler=True, bf16=True)

MANIFEST = VersionManifest(
    dataset="cards",
    version="v1",
    digest="d" * 64,
    classes=(ClassDef(name="outer_border"), ClassDef(name="graphical_border"), ClassDef(name="ok", shape="tags")),
    created=datetime(2026, 1, 1, tzinfo=UTC),
    samples=41,
    annotations=82,
    splits={
        "train": {"samples": 29, "cards": 27},
        "val": {"samples": 6, "cards": 6},
        "test": {"samples": 6, "cards": 6},
    },
)
HERE = {"manifest": MANIFEST, "machine": CPU, "weights_found": lambda word: f"/weights/{word}"}


def config(**dotted) -> RunConfig:
    mapping = {"task": "border_detection.dual_class", "dataset": "cards"}
    for key, value in dotted.items():
        set_key(mapping, key.replace("__", "."), value)
    return parse_config(mapping)


def plan(cfg=None, **here):
    return plan_run(cfg or config(), **(HERE | here))


def test_every_leaf_has_an_answer_with_a_reason():
    for cfg in (config(), parse_config(load_mapping(USER))):
        found = plan(cfg)
        assert list(found.entries) == [key for key, _ in leaves()]
        assert all(e["reason"] and e["status"] in ("used", "adapted", "refused") for e in found.entries.values())
        assert not found.refused
        found.check()


def test_the_users_configuration_lacks_only_its_weights():
    def missing(word):
        raise WeightsMissing("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth is not here", what_to_do="Put it there.")

    cfg = parse_config(load_mapping(USER))
    found = plan(cfg, weights_found=missing)
    assert list(found.refused) == ["architecture_config.pretrained_weights"]
    assert (
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth" in found.refused["architecture_config.pretrained_weights"]["reason"]
    )
    with pytest.raises(ConfigError, match="pretrained_weights"):
        found.check()
    lifted = plan(cfg, weights_found=missing, random_init=True)
    assert not lifted.refused and lifted.random_init and lifted.weights is None
    assert lifted.config.architecture_config.pretrained_weights == "none"
    assert not plan(cfg).random_init and plan(cfg, random_init=True).random_init is False


def test_what_the_machine_lacks_is_adapted_and_never_refused():
    found = plan(parse_config(load_mapping(USER)))
    adapted = {key: e for key, e in found.entries.items() if e["status"] == "adapted"}
    assert {key: e["value"] for key, e in adapted.items()} == {
        "architecture_config.multi_gpu_support": False,
        "architecture_config.optimization_mode": "none",
        "hyperparameters.advanced_settings.mixed_precision": False,
        "hyperparameters.advanced_settings.multi_gpu_strategy": "none",
    }
    rich = plan(parse_config(load_mapping(USER)), machine=TWO_GPUS)
    adapted = {key: e["value"] for key, e in rich.entries.items() if e["status"] == "adapted"}
    assert adapted == {"hyperparameters.advanced_settings.multi_gpu_strategy": "ddp"}
    assert rich.devices == 2 and rich.accelerator == "cuda"
    assert plan(machine=CPU.model_copy(update={"bf16": True})).config.hyperparameters.advanced_settings.mixed_precision


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("architecture_config__base_architecture", "mask_rnn", "did you mean"),
        ("architecture_config__base_architecture", "detectron2", "cannot run here"),
        ("architecture_config__pretrained_weights", "coco", "has no 'coco' weights"),
        ("hyperparameters__optimization__batch_size", 30, "more than the 29 training images"),
        ("machine__devices", 3, "this machine has one device"),
        ("data__classes", ["outer_boder"], "did you mean 'outer_border'"),
        ("loss_config__focal_loss_params__alpha", 0.5, "only focal_loss reads it"),
        ("task", "border_detection.dual", "did you mean"),
    ],
)
def test_contradictions_are_refused_with_what_to_do(key, value, says):
    found = plan(config(**{key: value}))
    refused = found.refused[key.replace("__", ".")]
    assert says in refused["reason"] and refused["asked"] in (value, tuple(value) if isinstance(value, list) else value)


def test_only_what_a_person_wrote_is_refused():
    boxes_only = {"architecture_config__base_architecture": "retinanet"}
    key = "loss_config.loss_weights.mask_loss"
    quiet = plan(config(**boxes_only)).entries[key]
    assert quiet["status"] == "used" and quiet["value"] is None and "boxes only" in quiet["reason"]
    assert key in plan(config(**boxes_only, loss_config__loss_weights__mask_loss=2.0)).refused
    assert not plan(config(**boxes_only, loss_config__loss_weights__mask_loss=0)).refused
    assert plan(config(**boxes_only)).config.loss_config.primary_loss == "focal_loss"


def test_data_that_cannot_be_trained_on_is_refused():
    assert "no dataset version" in plan(manifest=None).refused["dataset"]["reason"]
    alone = MANIFEST.model_copy(update={"splits": {"train": {"samples": 1, "cards": 1}}})
    assert "val split" in plan(manifest=alone).refused["dataset"]["reason"]
    tags = MANIFEST.model_copy(update={"classes": (ClassDef(name="ok", shape="tags"),)})
    assert "--map" in plan(manifest=tags).refused["task"]["reason"]


def test_devices():
    cpu = {"machine__accelerator": "cpu"}
    assert plan(config(**cpu, machine__devices=2)).devices == 2
    assert "2 cores" in plan(config(**cpu, machine__devices=3)).refused["machine.devices"]["reason"]
    alone = config(architecture_config__multi_gpu_support=False)
    assert plan(alone, machine=TWO_GPUS).devices == 1 and plan(machine=TWO_GPUS).devices == 2
    both = config(architecture_config__multi_gpu_support=False, machine__devices=2)
    assert "contradict" in plan(both, machine=TWO_GPUS).refused["machine.devices"]["reason"]
    no_gpu = plan(config(machine__accelerator="cuda")).entries["machine.accelerator"]
    assert no_gpu["status"] == "adapted" and no_gpu["value"] == "cpu"


FLIPS = {
    "task": "border_detection.single_class",
    "dataset": "cards@v2",
    "experiment": "other",
    "architecture_config.base_architecture": "retinanet",
    "architecture_config.pretrained_weights": "imagenet",
    "hyperparameters.training_process.time_limit": 5.0,
    "data.classes": ["outer_border"],
    "data.class_weights": "auto",
    "data.image_size": 64,
    "data.augmentation.shift": 0.3,
    "data.augmentation.brightness": 0.5,
    "data.augmentation.jpeg_quality": 50,
    "loss_config.regularization.l2_weight": 0.01,
    "loss_config.regularization.dropout": 0.5,
    "loss_config.primary_loss": "focal_loss",
    "hyperparameters.advanced_settings.multi_gpu_strategy": None,
}


def flipped(key, field, now):
    """Another legal value of the leaf; None where there is only one."""
    if key in FLIPS:
        return FLIPS[key]
    if isinstance(now, bool):
        return not now
    options = getattr(field.annotation, "__args__", ())
    words = [word for word in options if isinstance(word, str) and word not in (now, "auto")]
    if words:
        return words[0]
    return 1 if now in ("auto", 0) else now / 2 if isinstance(now, float) else now + 1


@pytest.mark.parametrize("key", [key for key, _ in leaves()])
def test_flipping_a_leaf_changes_its_answer(key):
    base = config()
    field = dict(leaves())[key]
    value = flipped(key, field, get_key(base, key))
    if value is None:
        pytest.skip("there is only one legal value")
    before = plan(base, machine=TWO_GPUS).entries[key]
    manifest = MANIFEST.model_copy(update={"version": "v2"}) if key == "dataset" else MANIFEST
    after = plan(config(**{key.replace(".", "__"): value}), machine=TWO_GPUS, manifest=manifest).entries[key]
    assert after != before and after["asked"] != before["asked"]
    assert (
        after["status"] == "refused" or after["value"] != before["value"] or "auto" in (before["asked"], after["asked"])
    )


def test_planning_imports_no_torch():
    code = "import sys, trugrade_core.train.plan, trugrade_core.train.suggest, trugrade_core.train.estimate; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("split", ["train", "val"])
def test_only_labelled_images_count(split):
    counts = {name: n | {"labelled": n["samples"] - 1} for name, n in MANIFEST.splits.items()}
    found = plan(manifest=MANIFEST.model_copy(update={"splits": counts}))
    assert found.entries["dataset"]["reason"] == "28 training and 5 validation images"
    counts[split]["labelled"] = 0
    refused = plan(manifest=MANIFEST.model_copy(update={"splits": counts})).refused["dataset"]["reason"]
    assert f"no labelled images in its {split} split" in refused and "trugrade data split cards" in refused


@pytest.mark.parametrize("architecture", ["mask_rcnn", "retinanet", "yolo"])
def test_defaults_may_be_written_out(architecture):
    full = parse_config(parse_value(dump_yaml(config(architecture_config__base_architecture=architecture))))
    assert not [key for key, e in plan(full).refused.items() if "cannot run here" not in e["reason"]]
    for key, value in {"loss_config.focal_loss_params.alpha": 0.25, "loss_config.loss_weights.mask_loss": 1.0}.items():
        assert get_key(full, key) == value
    left_out = [key for key, e in plan(full).entries.items() if e["reason"].startswith("left out")]
    assert ("loss_config.focal_loss_params.alpha" in left_out) is (architecture != "retinanet")
    assert ("loss_config.loss_weights.mask_loss" in left_out) is (architecture == "retinanet")


def test_an_empty_list_of_classes_means_all():
    found = plan(config(data__classes=[]))
    assert not found.refused and found.classes == ("outer_border", "graphical_border") == plan().classes


def test_a_torch_that_sees_no_gpu_is_told_of_before_training(monkeypatch):
    import torch

    from trugrade_core.train.setup import _fabric

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(TrainingError, match="built without CUDA") as e:
        _fabric(plan(machine=TWO_GPUS))
    assert torch.__version__ in e.value.message and "machine.accelerator=cpu" in e.value.what_to_do


@pytest.mark.parametrize(("device", "matters"), [("cpu", True), ("cuda", False)])
def test_threads_are_a_condition_on_the_cpu_alone(tmp_path, device, matters):
    from types import SimpleNamespace

    import torch

    from trugrade_core.runs import RunFolder
    from trugrade_core.train.setup import _check_conditions, conditions

    fabric, made = SimpleNamespace(world_size=1, device=torch.device(device)), plan()
    then = conditions(made, fabric) | {"threads": 99}
    with pytest.raises(TrainingError, match="threads: 99 then") if matters else nullcontext():
        _check_conditions(made, RunFolder(tmp_path), fabric, then)


def test_a_machine_of_many_cores_is_planned_for():
    assert plan(machine=CPU.model_copy(update={"cores": 400})).config.machine.threads == 256
