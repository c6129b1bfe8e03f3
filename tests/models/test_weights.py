"""Words to files, and files that may be opened."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from trugrade_core.errors import TrainingError, WeightsMissing
from trugrade_core.models import get_architecture
from trugrade_core.models.weights import load_state, resolve

LIGHT = get_architecture("mask_rcnn_efficientnet_lite0")
RESNET = get_architecture("mask_rcnn_resnet50_fpn")


@pytest.fixture(autouse=True)
def _nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("TRUGRADE_WEIGHTS", raising=False)


def test_none_is_no_file(tmp_path: Path) -> None:
    assert resolve(*LIGHT, "none", ws_weights=tmp_path) is None


def test_the_three_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = RESNET[1].weights["coco"]
    places = [tmp_path / "workspace", tmp_path / "own", tmp_path / "torch" / "hub" / "checkpoints"]
    monkeypatch.setenv("TRUGRADE_WEIGHTS", str(places[1]))
    for place in reversed(places):
        place.mkdir(parents=True)
        (place / name).write_bytes(b"x")
        assert resolve(*RESNET, "coco", ws_weights=places[0]) == place / name


def test_a_missing_file_says_which_and_where(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing) as e:
        resolve(*RESNET, "coco", ws_weights=tmp_path / "weights")
    said = str(e.value)
    assert "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth" in said and str(tmp_path / "weights") in said
    assert "get_weight('MaskRCNN_ResNet50_FPN_Weights.COCO_V1')" in said
    assert e.value.details["folders"][0] == str(tmp_path / "weights")


def test_every_file_of_the_table_can_be_fetched_by_a_person_with_a_network() -> None:
    from torchvision.models import get_weight

    from trugrade_core.models import ARCHITECTURES
    from trugrade_core.models.weights import FETCH, PUBLISHED

    files = {file for row in ARCHITECTURES.values() for variant in row.variants for file in variant.weights.values()}
    assert files <= set(FETCH)
    for file, name in PUBLISHED.items():
        assert get_weight(name).url.endswith("/" + file)


def test_a_word_the_variant_lacks(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing) as e:
        resolve(*LIGHT, "coco", ws_weights=tmp_path)
    assert e.value.code == "weights_missing.word" and "imagenet" in e.value.what_to_do


def test_a_path(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"x")
    assert resolve(*LIGHT, str(tmp_path / "w.pt"), ws_weights=tmp_path) == tmp_path / "w.pt"
    with pytest.raises(WeightsMissing, match="no such weight file"):
        resolve(*LIGHT, str(tmp_path / "v.pt"), ws_weights=tmp_path)


def test_wrapped_state_dicts_are_opened(tmp_path: Path) -> None:
    for wrapped in ({"a": torch.ones(2)}, {"model": {"a": torch.ones(2)}, "epoch": 3}):
        torch.save(wrapped, tmp_path / "w.pt")
        assert torch.equal(load_state(tmp_path / "w.pt")["a"], torch.ones(2))


class Bomb:
    def __reduce__(self) -> Any:
        return (exec, ("import pathlib; pathlib.Path('owned').touch()",))


def test_a_pickle_from_elsewhere_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, tmp_path / "torch.pt")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Bomb(), protocol=2))
    (tmp_path / "cut.pt").write_bytes((tmp_path / "torch.pt").read_bytes()[:50])
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("torch.pt", "plain.pkl", "cut.pt", "text.pt", "empty.pt", "list.pt"):
        with pytest.raises(TrainingError) as e:
            load_state(tmp_path / name)
        assert e.value.code == "training.unsafe_weights" and name in e.value.where
    assert not (tmp_path / "owned").exists()
