"""A small trained-looking network, exported for real, compared, and blocked when something differs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trugrade_core.config import parse_config
from trugrade_core.errors import ExportError, NotInThisVersion, UsageError
from trugrade_core.export import FORMATS, Samples, check_format, export
from trugrade_core.export.onnx import export_onnx
from trugrade_core.export.parity import compare, require
from trugrade_core.models import ModelSpec, get_architecture
from trugrade_core.schema import Annotation, Box, Image, ImageRef, Instance, Prediction, Preprocess, Sample
from trugrade_core.tasks.instances.decode import paste
from trugrade_core.train.checkpoint import Manifest
from trugrade_core.train.predictor import TorchPredictor
from trugrade_core.truscore.session import OnnxPredictor

SIZE = 96
CLASSES = ("outer", "inner")
TRUE = ((20.0, 12.0, 130.0, 170.0), (34.0, 28.0, 118.0, 150.0))


def picture(shift: int = 0) -> Image:
    image = np.full((180, 150, 3), 20, np.uint8)
    for (x0, y0, x1, y1), value in zip(TRUE, (220, 120), strict=True):
        image[int(y0) : int(y1), int(x0) + shift : int(x1) + shift] = value
    return image


def samples(count: int = 2) -> Samples:
    found = []
    for i in range(count):
        ref = ImageRef(sha256=f"{i:064x}", suffix=".png", width=150, height=180, bytes=1)
        sample = Sample(id=f"{i:016x}", images={"main": ref}, card=f"c{i}", status="done")
        labels = [
            Annotation(id=f"{i}-{name}", sample=sample.id, label=name,
                       value=Box(xyxy=(x0 + i - 0.5, y0 - 0.5, x1 + i - 0.5, y1 - 0.5)))
            for name, (x0, y0, x1, y1) in zip(CLASSES, TRUE, strict=True)
        ]  # fmt: skip
        found.append((picture(i), sample, labels))
    return found


def predictor(name: str) -> TorchPredictor:
    """A network whose classifier is sure of something, so that there is something to compare."""
    torch.manual_seed(0)
    row, variant = get_architecture(name)
    keys = {"head_customization": "phoenix_specialized", "feature_pyramid": "enhanced"}
    keys = keys if row.id != "yolo" else {}
    config = parse_config({"task": "border_detection.dual_class", "dataset": "d@v1",
                           "architecture_config": {"base_architecture": name, "custom_modifications": keys}})  # fmt: skip
    model = row.builder()(ModelSpec(classes=CLASSES, image_size=SIZE, variant=variant.id), config, None).eval()
    preprocess = Preprocess(size=SIZE)
    manifest = Manifest(name="best", digest="0" * 64, bytes=1, run="20260101-000000-abcd", task=config.task,
                        architecture=row.id, variant=variant.id, classes=CLASSES, preprocess=preprocess, threshold=0.5,
                        nms_iou=0.5, config=config.model_dump(mode="json"), config_digest="1", dataset="d@v1",
                        dataset_digest="2", step=1, epoch=1, metrics={"side_error_mm": 0.4}, 
                        random_init=False)  # fmt: skip
    return TorchPredictor(name="run/best", digest="0" * 64, classes=CLASSES, preprocess=preprocess, threshold=0.5,
                          manifest=manifest, model=model)  # fmt: skip


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchPredictor, Path, dict[str, Any]]:
    torch.set_num_threads(1)
    ours = predictor("mask_rcnn_efficientnet_lite0")
    out = tmp_path_factory.mktemp("exports") / "model-onnx"
    parity = export(ours, "onnx", out, samples(), reopen=OnnxPredictor.open)
    return ours, out, parity


# --- a good artifact -----------------------------------------------------------------------------------------------


def test_parity_of_a_real_export(artifact: tuple[TorchPredictor, Path, dict[str, Any]]) -> None:
    _, out, parity = artifact
    assert parity["passed"] and parity["compared"] == 2 and parity["objects"] > 0
    assert parity["worst"]["box_iou"] > 0.999 and parity["worst"]["box_px"] < 0.05
    assert parity["worst"]["score"] < 1e-4 and parity["worst"]["mask_iou"] >= 0.99
    assert parity["worst"]["side_error_px"] is not None
    assert json.loads((out / "parity.json").read_text()) == parity
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "model.onnx", "parity.json"]
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_manifest_says_what_it_is(artifact: tuple[TorchPredictor, Path, dict[str, Any]]) -> None:
    manifest = json.loads((artifact[1] / "manifest.json").read_text())
    assert manifest["classes"] == {"1": "outer", "2": "inner"}
    assert manifest["preprocess"]["size"] == SIZE and manifest["threshold"] == 0.5 and manifest["nms_iou"] == 0.5
    assert manifest["run"] == "20260101-000000-abcd" and manifest["dataset"] == "d@v1"
    assert manifest["licence"].startswith("BSD-3") and manifest["opset"] == 20
    assert manifest["input"] == {"name": "images", "shape": [1, 3, SIZE, SIZE], "dtype": "float32"}
    assert [o["name"] for o in manifest["outputs"]] == ["boxes", "scores", "labels", "masks"]
    assert manifest["bytes"] == (artifact[1] / "model.onnx").stat().st_size and len(manifest["digest"]) == 64
    assert manifest["parity"]["passed"] is True and manifest["metrics"] == {"side_error_mm": 0.4}


def test_raw_outputs_agree(artifact: tuple[TorchPredictor, Path, dict[str, Any]]) -> None:
    ours, out, _ = artifact
    theirs = OnnxPredictor.open(out / "model.onnx", threads=1)
    a, b = ours.raw([picture()])[0], theirs.raw(picture())
    np.testing.assert_allclose(np.sort(b.scores), np.sort(a.scores), atol=1e-4)
    assert b.labels.dtype == np.int64 and b.masks is not None and b.masks.shape == a.masks.shape


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet_efficientnet_lite0", "yolo_11n-seg"])
def test_the_other_architectures_export_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "ultralytics"))
    torch.set_num_threads(1)
    ours = predictor(name)
    parity = export(ours, "onnx", tmp_path / "a", samples(), reopen=OnnxPredictor.open)
    assert parity["passed"] and parity["objects"] > 0
    assert (parity["worst"]["mask_iou"] is None) == name.startswith("retinanet")
    licence = json.loads((tmp_path / "a" / "manifest.json").read_text())["licence"]
    assert licence.startswith("AGPL") == name.startswith("yolo")


# --- blocked -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A predictor that gives what it is told to, shaped by `change`."""

    change: Any = None
    name: str = "said"
    digest: str = "0"
    classes: tuple[str, ...] = CLASSES
    preprocess: Preprocess = Preprocess(size=SIZE)  # noqa: RUF009
    threshold: float = 0.5

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None, *, mask_at: float = 0.5
    ) -> list[Prediction]:
        instances = [Instance(label=c, score=0.9, box=b) for c, b in zip(CLASSES, TRUE, strict=True)]
        kept = tuple(i for i in (self.change(instances) if self.change else instances) if i.score >= (threshold or 0))
        return [Prediction(image=n, width=150, height=180, instances=kept, seconds=0) for n in names]


@pytest.mark.parametrize("change, said", [
    (lambda i: [i[0].model_copy(update={"score": 0.88}), i[1]], "outer score 0.0200"),
    (lambda i: [i[0].model_copy(update={"box": (21.0, 12.0, 134.0, 170.0)}), i[1]], "outer box_iou 0.9"),
    (lambda i: i[:1], "1 objects, not 2"),
    (lambda i: [*i, i[0].model_copy(update={"box": (0.0, 0.0, 9.0, 9.0)})], "3 objects, not 2"),
    (lambda i: [i[0].model_copy(update={"label": "inner"}), i[1]], "outer box_iou 0.0000"),
    (lambda i: [], "0 objects, not 2"),
])  # fmt: skip
def test_each_difference_is_named(change: Any, said: str) -> None:
    parity = compare(Said(), Said(change), samples())
    assert not parity["passed"] and any(said in text for text in parity["differences"])
    with pytest.raises(ExportError) as e:
        require(parity, where="exports/x")
    assert e.value.code == "export.parity" and said in e.value.message


def test_swapped_rows_are_no_difference() -> None:
    parity = compare(Said(), Said(lambda i: i[::-1]), samples())
    assert parity["passed"] and parity["worst"]["score"] == 0 and parity["objects"] == 4


@pytest.mark.parametrize("ours, theirs", [(0.50003, 0.49999), (0.49999, 0.50003)])
def test_a_score_that_a_rounding_puts_below_the_threshold_is_no_difference(ours: float, theirs: float) -> None:
    def scored(score: float) -> Any:
        return lambda i: [i[0], i[1].model_copy(update={"score": score})]

    parity = compare(Said(scored(ours)), Said(scored(theirs)), samples())
    assert parity["passed"], parity["differences"]
    assert parity["objects"] == 4 and parity["worst"]["score"] == pytest.approx(4e-5)
    assert parity["worst"]["side_error_px"] == 0
    for one, other in ((0.5005, 0.4993), (0.4985, 0.5005)):  # further apart than the limit
        assert not compare(Said(scored(one)), Said(scored(other)), samples())["passed"]
    parity = compare(Said(scored(0.4995)), Said(lambda i: i[:1]), samples())
    assert parity["passed"] and parity["objects"] == 2, "what both are unsure of needs no partner"


def test_one_just_below_the_threshold_is_a_partner_only_at_the_same_place() -> None:
    def unsure(instances: list[Instance]) -> list[Instance]:
        return [instances[0], instances[1].model_copy(update={"score": 0.4999, "box": (34.0, 28.0, 118.0, 147.0)})]

    parity = compare(Said(lambda i: [i[0], i[1].model_copy(update={"score": 0.5001})]), Said(unsure), samples())
    assert not parity["passed"] and any("1 objects, not 2" in text for text in parity["differences"])


@dataclass(frozen=True)
class Masked(Said):
    """`Said` with masks: sure of the upper half of each box, `lower` of the rest."""

    lower: float = 0.5

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None, *, mask_at: float = 0.5
    ) -> list[Prediction]:
        found = super().predict(images, names, threshold)
        cells = np.full((28, 28), self.lower, np.float32)
        cells[:14] = 0.9

        def masked(i: Instance) -> Instance:
            return i.model_copy(update={"mask": paste(cells, np.array(i.box) + 0.5, 150, 180, mask_at)})

        return [p.model_copy(update={"instances": tuple(map(masked, p.instances))}) for p in found]


@pytest.mark.parametrize("lower", [0.5 + 1e-6, 0.5 - 1e-6])
def test_a_rounding_decides_pixels_of_even_odds_and_no_export(lower: float) -> None:
    parity = compare(Masked(lower=lower), Masked(lower=1 - lower), samples())
    assert parity["passed"] and parity["worst"]["mask_iou"] > 0.99, parity["differences"]


@pytest.mark.parametrize("ours, theirs", [(0.52, 0.48), (0.48, 0.52), (0.9, 0.1)])
def test_masks_that_truly_differ_are_blocked(ours: float, theirs: float) -> None:
    parity = compare(Masked(lower=ours), Masked(lower=theirs), samples())
    assert not parity["passed"] and any("mask_iou" in text for text in parity["differences"])
    assert compare(Masked(lower=ours), Masked(lower=ours), samples())["passed"]


def test_other_class_names_are_a_difference() -> None:
    parity = compare(Said(), Said(classes=("inner", "outer")), samples())
    assert not parity["passed"] and "classes are" in parity["differences"][0]


def test_a_model_that_is_never_sure_is_compared_all_the_same() -> None:
    def doubtful(instances: list[Instance]) -> list[Instance]:
        return [i.model_copy(update={"score": 0.1}) for i in instances]

    parity = compare(Said(doubtful), Said(doubtful), samples())
    assert parity["passed"] and parity["threshold"] == pytest.approx(0.05) and parity["objects"] == 4


def test_nothing_to_compare_is_no_pass() -> None:
    for given, pictures in ((Said(lambda i: []), samples()), (Said(), [])):
        parity = compare(given, given, pictures)
        assert not parity["passed"]
        with pytest.raises(ExportError) as e:
            require(parity, where="x")
        assert e.value.code == "export.nothing_to_compare"


@pytest.mark.parametrize("wrong", [{"mean": (0.9, 0.1, 0.5)}, {"pad": 255}])
def test_wrong_preprocessing_blocks_the_artifact(
    artifact: tuple[TorchPredictor, Path, dict[str, Any]], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    """The manifest would tell TruScore to prepare images otherwise than the network learnt: nothing is left behind."""

    def reopen(folder: Path) -> OnnxPredictor:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["preprocess"] |= wrong
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return OnnxPredictor.open(folder, threads=1)

    ours, good, _ = artifact
    out = tmp_path / "exports" / "wrong"

    def copied(_: Any, folder: Path) -> dict[str, Any]:
        (folder / "model.onnx").write_bytes((good / "model.onnx").read_bytes())
        return json.loads((good / "manifest.json").read_text())

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ExportError) as e:
        patch.setattr("trugrade_core.export.onnx.write", copied)  # the graph is the good one: only the manifest is off
        export(ours, "onnx", out, samples(), reopen=reopen)
    assert e.value.code == "export.parity" and "does not say what the model says" in e.value.message
    assert e.value.details["parity"]["worst"]["score"] > 1e-3
    assert list(out.parent.iterdir()) == []


def test_an_artifact_is_never_overwritten(artifact: tuple[TorchPredictor, Path, dict[str, Any]]) -> None:
    ours, out, _ = artifact
    before = (out / "manifest.json").read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        export(ours, "onnx", out, samples(), reopen=OnnxPredictor.open)
    assert (out / "manifest.json").read_bytes() == before


def test_a_network_that_onnx_cannot_hold_is_reported(tmp_path: Path) -> None:
    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            return (x if x.sum() > 0 else -x,)

    with pytest.raises(ExportError) as e:
        export_onnx(Branching(), Preprocess(size=32), out=tmp_path / "m.onnx")
    assert e.value.code == "export.onnx"


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["tensorrt", "mobile", "quantized"])
def test_formats_of_later_versions_write_nothing(format: str, tmp_path: Path) -> None:
    given: Any = None
    with pytest.raises(NotInThisVersion):
        export(given, format, tmp_path / "out", [], reopen=OnnxPredictor.open)
    assert list(tmp_path.iterdir()) == [] and format in FORMATS


def test_unknown_format() -> None:
    with pytest.raises(UsageError) as e:
        check_format("onx")
    assert "onnx" in e.value.what_to_do


def test_importing_loads_nothing_heavy() -> None:
    code = ("import sys, trugrade_core.export, trugrade_core.truscore.session, trugrade_core.models.weights\n"
            "print([m for m in ('torch', 'onnx', 'onnxruntime', 'ultralytics') if m in sys.modules])")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_two_exports_to_one_name_the_second_to_end_is_told(
    artifact: tuple[TorchPredictor, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, good, _ = artifact
    out = tmp_path / "exports" / "one"
    made: list[Path] = []

    def write(_: Any, folder: Path) -> dict[str, Any]:
        made.append(folder)
        (folder / "model.onnx").write_bytes((good / "model.onnx").read_bytes())
        if len(made) == 1:
            export(ours, "onnx", out, samples(1), reopen=OnnxPredictor.open)
        return json.loads((good / "manifest.json").read_text())

    monkeypatch.setattr("trugrade_core.export.onnx.write", write)
    with pytest.raises(ExportError, match="exists already") as e:
        export(ours, "onnx", out, samples(1), reopen=OnnxPredictor.open)
    assert e.value.code == "export.exists" and made[0] != made[1]
    assert [p.name for p in out.parent.iterdir()] == ["one"] and (out / "parity.json").exists()
