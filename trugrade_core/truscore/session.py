"""An exported artifact as a `Predictor`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from trugrade_core.errors import ExportError
from trugrade_core.schema import Image, Prediction, Preprocess
from trugrade_core.tasks.instances.decode import RawInstances, decode
from trugrade_core.workspace import file_sha256, read_json


@dataclass(frozen=True)
class OnnxPredictor:
    """See `schema.Predictor`. `manifest` is the artifact's manifest.json."""

    name: str
    digest: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    threshold: float
    nms_iou: float
    manifest: dict[str, Any]
    session: Any

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> Self:
        """Open an artifact's folder, or its .onnx file beside the manifest. `threads` None takes onnxruntime's choice.

        Raises ExportError for a folder that is no artifact, and for a file that is not the one of its manifest.
        """
        import onnxruntime

        folder = path.parent if path.suffix == ".onnx" else path
        manifest = _manifest(folder)
        try:
            file = folder / Path(manifest["file"]).name
            found = cls(
                name=folder.name,
                digest=manifest["digest"],
                classes=tuple(manifest["classes"][str(i)] for i in range(1, len(manifest["classes"]) + 1)),
                preprocess=Preprocess.model_validate(manifest["preprocess"]),
                threshold=float(manifest["threshold"]),
                nms_iou=float(manifest["nms_iou"]),
                manifest=manifest,
                session=None,
            )
        except (KeyError, TypeError, ValueError, ValidationError) as e:
            raise _broken(folder, f"its manifest.json lacks or garbles {e}") from e
        if path.suffix == ".onnx" and path.name != file.name:
            raise _broken(path, f"the manifest beside it describes {file.name}")
        if not file.is_file():
            raise _broken(folder, f"{file.name} is missing")
        if file_sha256(file) != found.digest:
            raise ExportError(
                f"{file.name} is not the file that the manifest describes (the digest differs)",
                where=str(folder),
                code="export.digest",
                what_to_do="Copy the whole artifact again, or export it again; a changed file is never run.",
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return cls(**{**found.__dict__, "session": session})

    def predict(
        self, images: Sequence[Image], names: Sequence[str], threshold: float | None = None, *, mask_at: float = 0.5
    ) -> list[Prediction]:
        """One image after the other. `seconds` is from pixels to instances."""
        found = []
        for image, name in zip(images, names, strict=True):
            begun = time.perf_counter()
            height, width = image.shape[:2]
            least = self.threshold if threshold is None else threshold
            instances = decode(self.raw(image), self.preprocess, width, height, self.classes, threshold=least,
                               nms_iou=self.nms_iou, mask_at=mask_at)  # fmt: skip
            seconds = time.perf_counter() - begun
            found.append(Prediction(image=name, width=width, height=height, instances=instances, seconds=seconds))
        return found

    def raw(self, image: Image) -> RawInstances:
        """What the network says of one image, before decoding."""
        batch = self.preprocess.normalise(self.preprocess.canvas(image))[None]
        boxes, scores, labels, *masks = self.session.run(None, {self.session.get_inputs()[0].name: batch})
        return RawInstances(boxes[0], scores[0], labels[0], masks[0][0] if masks else None)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / "manifest.json")
    except (FileNotFoundError, NotADirectoryError) as e:
        raise _broken(folder, "it has no manifest.json") from e
    if not isinstance(found, dict) or found.get("format") != 1 or found.get("kind") != "onnx":
        raise _broken(folder, "its manifest.json is not one of an ONNX artifact that this version reads")
    return found


def _broken(where: Path, why: str) -> ExportError:
    return ExportError(
        f"is not a usable artifact: {why}",
        where=str(where),
        code="export.artifact",
        what_to_do="Give the folder that `trugrade export` made, with model.onnx and manifest.json in it.",
    )
