"""Checkpoints: a kill at any moment leaves a good pair; foreign and changed files are refused in words."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.train.tiny import Events, plan
from trugrade_core.data.images import decode
from trugrade_core.errors import TrainingError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Preprocess
from trugrade_core.train import checkpoint
from trugrade_core.train.fit import fit
from trugrade_core.train.predictor import TorchPredictor
from trugrade_core.workspace import read_json

FACTS = {
    "run": "r", "task": "t", "architecture": "tiny", "variant": "net", "classes": ("a",), "preprocess": Preprocess(size=64),
    "threshold": 0.5, "nms_iou": 0.5, "config": {}, "config_digest": "", "dataset": "d@v1", "dataset_digest": "", "step": 1,
    "epoch": 1, "metrics": {}, "random_init": False,
}  # fmt: skip


def state(value):
    return {"model": {"w": torch.full((100,), float(value))}}


def value_of(folder):
    found, manifest = checkpoint.load(folder / "latest.pt")
    return int(found["model"]["w"][0]), manifest.step


def test_save_replace_and_load(tmp_path):
    for n in (1, 2, 3):
        checkpoint.save(tmp_path, "latest", state(n), FACTS | {"step": n})
        assert value_of(tmp_path) == (n, n)
    assert read_json(tmp_path / "latest.json")["previous"]["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "latest.pt"]


def test_a_kill_between_the_two_renames_leaves_the_one_before(tmp_path):
    checkpoint.save(tmp_path, "latest", state(1), FACTS | {"step": 1})
    before = (tmp_path / "latest.pt").read_bytes()
    checkpoint.save(tmp_path, "latest", state(2), FACTS | {"step": 2})
    (tmp_path / "latest.pt").write_bytes(before)  # the manifest is new, the tensors are old
    assert value_of(tmp_path) == (1, 1)
    checkpoint.save(tmp_path, "latest", state(3), FACTS | {"step": 3})
    assert value_of(tmp_path) == (3, 3) and read_json(tmp_path / "latest.json")["previous"]["step"] == 1


@pytest.mark.parametrize("when", ["before the file is hashed", "before the tensors are read"])
def test_a_training_may_save_while_its_checkpoint_is_read(tmp_path, monkeypatch, when):
    checkpoint.save(tmp_path, "latest", state(1), FACTS | {"step": 1})
    place, name = (checkpoint, "read_json") if when == "before the file is hashed" else (torch, "load")
    real = getattr(place, name)

    def meanwhile(*args, **named):
        monkeypatch.setattr(place, name, real)
        for n in (2, 3):
            checkpoint.save(tmp_path, "latest", state(n), FACTS | {"step": n})
        return real(*args, **named)

    monkeypatch.setattr(place, name, meanwhile)
    value, step = value_of(tmp_path)
    assert value == step


def test_a_manifest_with_an_entry_of_earlier_days_is_read(tmp_path):
    checkpoint.save(tmp_path, "latest", state(1), FACTS)
    manifest = read_json(tmp_path / "latest.json")
    (tmp_path / "latest.json").write_text(json.dumps(manifest | {"from_box": True}))
    assert value_of(tmp_path) == (1, 1)
    checkpoint.save(tmp_path, "latest", state(2), FACTS | {"step": 2})
    assert value_of(tmp_path) == (2, 2)


@pytest.mark.parametrize("text", ["garbage", "[]", '{"format": 99}', None])
def test_a_damaged_manifest_is_replaced_by_the_next_save(tmp_path, text):
    checkpoint.save(tmp_path, "latest", state(1), FACTS)
    path = tmp_path / "latest.json"
    path.write_text(text) if text else path.unlink()
    checkpoint.save(tmp_path, "latest", state(2), FACTS | {"step": 2})
    assert value_of(tmp_path) == (2, 2)


@pytest.mark.parametrize("change", [{"threshold": "x"}, {"digest": None}, {"step": None}])
def test_a_garbled_manifest_is_refused_in_words(tmp_path, change):
    checkpoint.save(tmp_path, "latest", state(1), FACTS)
    manifest = read_json(tmp_path / "latest.json")
    (tmp_path / "latest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(TrainingError) as caught:
        checkpoint.load(tmp_path / "latest.pt")
    assert caught.value.code in ("training.format", "training.digest") and caught.value.what_to_do


def test_a_full_disk_keeps_the_one_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, "latest", state(1), FACTS)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(TrainingError, match="disk is full") as caught:
        checkpoint.save(tmp_path, "latest", state(2), FACTS)
    assert caught.value.code == "training.disk" and value_of(tmp_path) == (1, 1)
    assert not list(tmp_path.glob(".*"))


def test_changed_foreign_and_pickled_files_are_refused(tmp_path):
    checkpoint.save(tmp_path, "latest", state(1), FACTS)
    path = tmp_path / "latest.pt"

    def refused(code, file=path):
        with pytest.raises(TrainingError) as caught:
            checkpoint.load(file)
        assert caught.value.code == code and caught.value.what_to_do

    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused("training.digest")
    refused("training.no_checkpoint", tmp_path / "none.pt")
    alone = tmp_path / "alone.pt"
    alone.write_bytes(good)
    refused("training.no_manifest", alone)

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path.write_bytes(pickle.dumps({"model": Evil()}, protocol=2))
    manifest = read_json(tmp_path / "latest.json")
    manifest["digest"] = checkpoint.file_sha256(path)
    (tmp_path / "latest.json").write_text(json.dumps(manifest))
    refused("training.pickle")
    torch.save({"model": Evil()}, path)
    manifest["digest"] = checkpoint.file_sha256(path)
    (tmp_path / "latest.json").write_text(json.dumps(manifest))
    refused("training.pickle")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "latest.json").write_text(json.dumps(manifest | {"format": 99}))
    refused("training.format")


def test_a_predictor_opens_what_fit_saved(cards, tmp_path, tiny_net):
    run = RunFolder.create(tmp_path, {"kind": "train"})
    fit(plan(cards, hyperparameters__training_process__epochs=8), cards, run, Events(), lambda: [])
    best = run.checkpoints / "best.pt"
    predictor = TorchPredictor.open(best)
    assert predictor.classes == cards.classes and predictor.name == f"{run.id}/best"
    assert predictor.manifest.dataset == cards.name and predictor.manifest.dataset_digest == cards.manifest.digest
    assert "optimizer" not in checkpoint.load(best)[0]
    samples = cards.samples("val")
    images = [decode(cards.image_path(s)) for s in samples]
    found = predictor.predict(images, [s.id for s in samples], threshold=0.0)
    assert [p.image for p in found] == [s.id for s in samples]
    assert all(p.instances and all(i.mask is not None for i in p.instances) for p in found)
    again = predictor.predict(images[:1], ["x"], threshold=0.0)[0]
    assert np.allclose(again.instances[0].box, found[0].instances[0].box, atol=1e-3)
    with pytest.raises(TrainingError, match="is a checkpoint of tiny_net and does not fit mask_rcnn"):
        TorchPredictor.open(best, architecture="mask_rcnn")
    other = tmp_path / "other"
    shutil.copytree(run.checkpoints, other)
    manifest = read_json(other / "best.json") | {"architecture": "mask_rcnn", "variant": "efficientnet_lite0"}
    (other / "best.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError) as caught:
        TorchPredictor.open(other / "best.pt")
    assert caught.value.code == "training.other_architecture"
