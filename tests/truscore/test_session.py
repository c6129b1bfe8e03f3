"""Opening artifacts without torch, and refusing what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trugrade_core.errors import ExportError
from trugrade_core.truscore.session import OnnxPredictor
from trugrade_core.workspace import file_sha256

SIZE = 64


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact whose network always finds the same two boxes (one of them twice)."""
    folder = tmp_path / "fixed"
    folder.mkdir()
    values: dict[str, Any] = {
        "boxes": np.array([[[8, 4, 40, 60], [12, 8, 36, 56], [8, 4, 40, 60]]], np.float32),
        "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
        "labels": np.array([[1, 2, 1]], np.int64),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(v, name)) for name, v in values.items()
    ]
    outputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in values.items()
    ]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    model = helper.make_model(
        helper.make_graph(nodes, "fixed", [given], outputs), opset_imports=[helper.make_opsetid("", 20)]
    )
    model.ir_version = 10
    onnx.save(model, folder / "model.onnx")
    manifest = {"format": 1, "kind": "onnx", "file": "model.onnx", "digest": file_sha256(folder / "model.onnx"),
                "classes": {"1": "outer", "2": "inner"}, "threshold": 0.75, "nms_iou": 0.5,
                "preprocess": {"size": SIZE}}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_predicts_in_the_frame_of_the_image(artifact: Path) -> None:
    predictor = OnnxPredictor.open(artifact)
    assert predictor.name == "fixed" and predictor.classes == ("outer", "inner") and predictor.threshold == 0.75
    image = np.zeros((128, 96, 3), np.uint8)
    found = predictor.predict([image, image], ["a", "b"])
    assert [p.image for p in found] == ["a", "b"] and all(p.seconds > 0 for p in found)
    one, two = found[0].instances
    assert (one.label, two.label) == ("outer", "inner") and one.mask is None
    np.testing.assert_allclose(one.box, np.array([8, 4, 40, 60]) * 2 - 0.5)
    assert [i.label for i in predictor.predict([image], ["a"], 0.85)[0].instances] == ["outer"]
    assert len(predictor.predict([image], ["a"], 0.0)[0].instances) == 2


def test_opens_by_the_file_too(artifact: Path) -> None:
    assert OnnxPredictor.open(artifact / "model.onnx", threads=1).digest == OnnxPredictor.open(artifact).digest


def refused(path: Path) -> ExportError:
    with pytest.raises(ExportError) as e:
        OnnxPredictor.open(path)
    return e.value


def test_a_changed_file_is_never_run(artifact: Path) -> None:
    with (artifact / "model.onnx").open("ab") as f:
        f.write(b"\0")
    assert refused(artifact).code == "export.digest"


def test_what_is_no_artifact_is_refused(artifact: Path, tmp_path: Path) -> None:
    assert "no manifest.json" in refused(tmp_path).message
    assert "no manifest.json" in refused(tmp_path / "absent").message
    (artifact / "other.onnx").write_bytes(b"x")
    assert "describes model.onnx" in refused(artifact / "other.onnx").message
    text = (artifact / "manifest.json").read_text()
    for change in ({"format": 2}, {"kind": "tensorrt"}, {"classes": {"0": "a"}}, {"preprocess": {"size": "big"}}):
        (artifact / "manifest.json").write_text(json.dumps({**json.loads(text), **change}))
        assert refused(artifact).code == "export.artifact"
    (artifact / "manifest.json").write_text(text)
    (artifact / "model.onnx").unlink()
    assert "model.onnx is missing" in refused(artifact).message


def test_a_manifest_cannot_point_outside_its_folder(artifact: Path, tmp_path: Path) -> None:
    (artifact / "model.onnx").rename(tmp_path / "model.onnx")
    manifest = json.loads((artifact / "manifest.json").read_text())
    (artifact / "manifest.json").write_text(json.dumps({**manifest, "file": "../model.onnx"}))
    assert "missing" in refused(artifact).message


def test_torch_is_never_imported(artifact: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from trugrade_core.truscore.session import OnnxPredictor\n"
        f"p = OnnxPredictor.open(Path({str(artifact)!r}))\n"
        "p.predict([np.zeros((64, 64, 3), np.uint8)], ['a'])\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
