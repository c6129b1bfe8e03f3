"""The augmentation preview: a training's own pixels, labels that follow, the worst found, bad input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from trugrade_core.cli import run_line
from trugrade_core.config import parse_config
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.synth import synthesize
from trugrade_core.train.loader import CardImages, ImageCache, Item
from trugrade_core.workflows import augmenting, datasets


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    from trugrade_core.workspace import Workspace

    ws = Workspace.open(tmp_path_factory.mktemp("augmenting") / "workspace")
    synthesize(ws, "cards", count=6, seed=1, dpi=60)
    datasets.split_dataset(ws, "cards", ratios=(0.6, 0.2, 0.2))
    return ws


def config(**augmentation):
    return parse_config(
        {"task": "border_detection.dual_class", "dataset": "cards", "seed": 5,
         "data": {"image_size": 128, "augmentation": augmentation}}
    )  # fmt: skip


def test_the_preview_shows_what_the_loader_gives(lab, tmp_path) -> None:
    version = Version.open(lab, "cards")
    items = [Item(s, a, version.image_path(s)) for s, a in version.records("train")]
    looked = augmenting.look_at(lab, config(noise=3.0), items[1].sample.id)
    data = CardImages(items, version.classes, ImageCache(tmp_path, looked.preprocess), looked.within, 5)
    for drawn in augmenting.first(replace(looked, outlines=[]), 3):
        expected = looked.preprocess.normalise(drawn.image)
        assert np.array_equal(data[drawn.epoch, 1].images.numpy(), expected)


def test_labels_are_drawn_where_the_picture_went(lab) -> None:
    looked = augmenting.look_at(lab, config(unmoved=0.0))
    bare = augmenting.first(replace(looked, outlines=[]), 4)
    for with_labels, without in zip(augmenting.first(looked, 4), bare, strict=True):
        assert (with_labels.image != without.image).any(axis=2).sum() > 100
        assert 0 <= with_labels.kept <= 1


def test_the_worst_lose_more_than_the_first(lab) -> None:
    looked = augmenting.look_at(lab, config(shift=0.4))
    worst, first = augmenting.worst(looked, 4), augmenting.first(looked, 4)
    kept = [round(d.kept, 2) for d in worst]
    assert kept == sorted(kept)
    assert max(d.kept for d in worst) <= min(d.kept for d in first) and worst[0].kept < 0.7
    assert augmenting.worst(augmenting.look_at(lab, config(preset="none"))) == []


def test_a_sheet_from_the_command_line(lab, tmp_path, capsys) -> None:
    out = tmp_path / "sheet.png"
    line = ["-w", str(lab.root), "--json", "augment", "--dataset", "cards", "--task", "border_detection.dual_class",
            "--set", "data.image_size=64", "-o", str(out)]  # fmt: skip
    assert run_line([*line, "--worst-of", "50"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert out.read_bytes()[:4] == b"\x89PNG" and len(found["draws"]) == augmenting.DRAWS
    assert found["settings"]["scale_min"] == 0.7
    assert run_line([*line, "--set", "data.augmentation=none"]) == 2
    assert "augments nothing" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_bad_input_is_named(lab) -> None:
    with pytest.raises(DatasetError, match="no labelled training sample 'nope'"):
        augmenting.look_at(lab, config(), "nope")
    with pytest.raises(UsageError):
        augmenting.write_sheet(lab, config(preset="none"), lab.root / "x.png")
    assert not (lab.root / "x.png").exists()
