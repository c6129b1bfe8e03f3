"""A detector as ONNX: the same static path that PyTorch runs, without thresholds and NMS, at batch 1."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trugrade_core.errors import ExportError
from trugrade_core.models import get_architecture
from trugrade_core.schema import Preprocess
from trugrade_core.workspace import file_sha256

if TYPE_CHECKING:
    from torch import nn

    from trugrade_core.train.predictor import TorchPredictor

OPSET = 20
OUTPUTS = ("boxes", "scores", "labels", "masks")


def write(predictor: TorchPredictor, folder: Path) -> dict[str, Any]:
    """Write `folder`/model.onnx; returns the manifest's entries about it."""
    found = export_onnx(predictor.model, predictor.preprocess, out=folder / "model.onnx")
    source = predictor.manifest
    row, variant = get_architecture(f"{source.architecture}_{source.variant}")
    return {
        **found,
        "run": source.run,
        "task": source.task,
        "architecture": f"{row.id}_{variant.id}",
        "classes": {str(i): name for i, name in enumerate(predictor.classes, 1)},
        "threshold": predictor.threshold,
        "nms_iou": source.nms_iou,
        "preprocess": predictor.preprocess.model_dump(mode="json"),
        "dataset": source.dataset,
        "dataset_digest": source.dataset_digest,
        "checkpoint_digest": predictor.digest,
        "random_init": source.random_init,
        "metrics": source.metrics,
        "licence": row.licence,
    }


def export_onnx(model: nn.Module, preprocess: Preprocess, *, out: Path, opset: int = OPSET) -> dict[str, Any]:
    """Write `model` to the file `out` and check it.

    Input `images` (1, 3, S, S) float32 normalised; outputs as `models.base.Detector` gives them. Returns
    `{"file", "digest", "bytes", "opset", "input", "outputs"}`. Raises ExportError (code export.onnx).
    """
    import onnx
    import torch

    model = model.eval().cpu()
    example = torch.zeros(1, 3, preprocess.size, preprocess.size)
    with torch.inference_mode():
        names = OUTPUTS[: len(model(example))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's and torchvision's own
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(model, (example,), out, dynamo=True, external_data=False, opset_version=opset,
                              input_names=["images"], output_names=list(names), verbose=False)  # fmt: skip
        graph = onnx.load(out)
        onnx.checker.check_model(graph, full_check=True)
    except (torch.onnx.OnnxExporterError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(
            f"could not be written as ONNX: {str(e).strip().splitlines()[0]}",
            where=out.name,
            code="export.onnx",
            what_to_do="This is a limit of the exporter for this network; try another architecture or variant.",
        ) from e
    return {
        "file": out.name,
        "digest": file_sha256(out),
        "bytes": out.stat().st_size,
        "opset": graph.opset_import[0].version,
        "input": {"name": "images", "shape": list(example.shape), "dtype": "float32"},
        "outputs": [{"name": o.name, "shape": [d.dim_value for d in o.type.tensor_type.shape.dim]}
                    for o in graph.graph.output],
        "made_with": {"torch": torch.__version__, "onnx": onnx.__version__},
    }  # fmt: skip
