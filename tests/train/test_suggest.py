"""A suggestion is a configuration that plans without a refusal, and gives a reason for each value."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.train.test_plan import CPU, MANIFEST, TWO_GPUS
from trugrade_core.config import get_key, parse_config
from trugrade_core.schema import Annotation, Box, ImageRef, Sample
from trugrade_core.tasks import get_task
from trugrade_core.train.plan import plan_run
from trugrade_core.train.suggest import Facts, suggest, version_facts

DUAL = get_task("border_detection.dual_class")
CARDS = Facts(long_side_px=2300, smallest_object=0.6, class_counts={"outer_border": 29, "graphical_border": 29})


def here(row, variant, word):
    return Path("/weights") / variant.weights[word]


def nothing(row, variant, word):
    return None


@pytest.mark.parametrize("machine", [CPU, TWO_GPUS])
@pytest.mark.parametrize("found", [here, nothing])
@pytest.mark.parametrize("architecture", [None, "mask_rcnn", "retinanet", "yolo", "mask_rcnn_resnet50_fpn"])
def test_a_suggestion_plans_without_a_refusal(machine, found, architecture):
    mapping, reasons = suggest(MANIFEST, CARDS, DUAL, machine, found, architecture=architecture)
    config = parse_config(mapping)
    plan = plan_run(
        config, manifest=MANIFEST, machine=machine, weights_found=lambda w: "file" if found is here else None
    )
    assert not [e for e in plan.refused.values() if "cannot run here" not in e["reason"]]
    assert all(reasons.values()) and all(get_key(config, key) is not None for key in reasons)
    assert config.dataset == "cards@v1"
    word = config.architecture_config.pretrained_weights
    assert (word == "none") == (found is nothing)


def test_it_fits_the_machine_and_the_data():
    light, _ = suggest(MANIFEST, CARDS, DUAL, CPU, here)
    assert light["architecture_config"]["base_architecture"] == "mask_rcnn_efficientnet_lite0"
    assert light["hyperparameters"]["advanced_settings"]["mixed_precision"] is False
    large, _ = suggest(MANIFEST, CARDS, DUAL, TWO_GPUS, here)
    assert large["architecture_config"]["base_architecture"] == "mask_rcnn_resnet50_fpn"
    assert large["architecture_config"]["pretrained_weights"] == "coco"
    assert "advanced_settings" not in large["hyperparameters"]
    small = CARDS.model_copy(update={"smallest_object": 0.05})
    assert suggest(MANIFEST, small, DUAL, CPU, here)[0]["data"]["image_size"] == 480
    tiny = CARDS.model_copy(update={"long_side_px": 150})
    assert suggest(MANIFEST, tiny, DUAL, CPU, here)[0]["data"]["image_size"] == 128
    uneven = CARDS.model_copy(update={"class_counts": {"a": 100, "b": 3}})
    assert suggest(MANIFEST, uneven, DUAL, CPU, here)[0]["data"]["class_weights"] == "auto"


def test_the_best_finished_run_lends_its_values_and_is_named():
    runs = [
        {"run": "20260101-000000-aaaa", "config": {"hyperparameters": {"optimization": {"learning_rate": 3e-4}}}, "metric": 0.2},
        {"run": "20260102-000000-bbbb", "config": {"data": {"image_size": 512}}, "metric": 0.9},
    ]  # fmt: skip
    mapping, reasons = suggest(MANIFEST, CARDS, DUAL, CPU, here, runs)
    key = "hyperparameters.optimization.learning_rate"
    assert get_key(parse_config(mapping), key) == 3e-4 and "20260101-000000-aaaa" in reasons[key]
    assert "bbbb" not in " ".join(reasons.values())


def test_facts_come_from_the_records():
    image = ImageRef(sha256="0" * 64, suffix=".png", width=100, height=200, bytes=1)
    sample = Sample(id="s", images={"main": image}, card="c")
    boxes = [Annotation(id=n, sample="s", label=n, value=Box(xyxy=(0, 0, 40, 60))) for n in ("a", "b")]
    facts = version_facts([(sample, boxes), (sample, [])])
    assert facts == Facts(long_side_px=200, smallest_object=0.2, class_counts={"a": 1, "b": 1})
    assert version_facts([]).long_side_px == 0


def test_it_reckons_with_labelled_images():
    splits = MANIFEST.splits | {"train": {"samples": 29, "cards": 27, "labelled": 8}}
    manifest = MANIFEST.model_copy(update={"splits": splits})
    mapping, reasons = suggest(manifest, CARDS, DUAL, CPU, here)
    assert mapping["hyperparameters"]["optimization"]["batch_size"] == 2
    assert "8 training images" in reasons["hyperparameters.optimization.batch_size"]


LITE = {
    "run": "20260103-000000-cccc",
    "config": {
        "architecture_config": {"base_architecture": "mask_rcnn_efficientnet_lite0"},
        "hyperparameters": {"optimization": {"optimizer": "sgd", "learning_rate": 0.02}},
        "data": {"image_size": 256},
    },
    "metric": 0.3,
}


@pytest.mark.parametrize(
    ("asked", "machine", "lends"),
    [
        (None, TWO_GPUS, True),
        ("mask_rcnn_efficientnet_lite0", TWO_GPUS, True),
        ("mask_rcnn", CPU, True),
        ("mask_rcnn", TWO_GPUS, False),  # the larger variant
        ("retinanet_resnet50_fpn", TWO_GPUS, False),
        ("retinanet_efficientnet_lite0", CPU, False),
    ],
)
def test_a_run_lends_nothing_to_another_network(asked, machine, lends):
    mapping, reasons = suggest(MANIFEST, CARDS, DUAL, machine, here, [LITE], architecture=asked)
    optimization = mapping["hyperparameters"]["optimization"]
    found = (optimization["optimizer"], optimization["learning_rate"], mapping["data"]["image_size"])
    assert (found == ("sgd", 0.02, 256)) is lends
    assert lends or ("cccc" not in " ".join(reasons.values()) and found[:2] == ("adamw", 1e-3))


@pytest.mark.parametrize("images", [4, 29, 300])
def test_early_stopping_waits_for_the_learning_rate_to_fall(images):
    splits = MANIFEST.splits | {"train": {"samples": images, "cards": images}}
    mapping, _ = suggest(MANIFEST.model_copy(update={"splits": splits}), CARDS, DUAL, CPU, here)
    process = mapping["hyperparameters"]["training_process"]
    validations = math.ceil(process["epochs"] / process["validation_frequency"])
    assert process["early_stopping"]["patience"] == max(8, validations // 2)
    assert process["epochs"] < 150 or process["early_stopping"]["patience"] == 12
