"""Artifacts: a trained model in a format that runs without the lab, proved to say what the model says.

    out/model.onnx      the network (float32, static shapes, batch 1)
    out/parity.json     what the comparison with the trained model found
    out/manifest.json   what it is: digest, classes, thresholds, preprocess, where it comes from; written last

Importing this costs nothing. A new format is a file here and its row in FORMATS.
"""

from __future__ import annotations

import importlib
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trugrade_core.errors import ExportError, NotInThisVersion, UsageError, nearest
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, Image, Predictor, Sample
from trugrade_core.workspace import now, write_json

if TYPE_CHECKING:
    from trugrade_core.train.predictor import TorchPredictor

Samples = Sequence[tuple[Image, Sample, Sequence[Annotation]]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """`write` names the function that makes the artifact's file, `module:function`; empty where this version has none."""

    id: str
    title: str
    write: str = ""


FORMATS = {
    row.id: row
    for row in (
        Format(id="onnx", title="ONNX, for onnxruntime and TruScore", write="trugrade_core.export.onnx:write"),
        Format(id="tensorrt", title="TensorRT engine, for NVIDIA GPUs"),
        Format(id="mobile", title="ExecuTorch program, for phones"),
        Format(id="quantized", title="8-bit ONNX"),
    )
}


def check_format(format: str) -> Format:
    """Raises UsageError for an unknown format and NotInThisVersion for one that has no exporter yet."""
    if format not in FORMATS:
        raise UsageError(
            f"no export format '{format}'", code="export.format", what_to_do=nearest(format, list(FORMATS))
        )
    row = FORMATS[format]
    if not row.write:
        raise NotInThisVersion(
            f"{row.title}: this version cannot make it; nothing was written",
            where=format,
            what_to_do="Export as onnx, which runs on every machine.",
        )
    return row


def export(
    predictor: TorchPredictor,
    format: str,
    out: Path,
    samples: Samples,
    *,
    reopen: Callable[[Path], Predictor],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the artifact folder `out`, open it again with `reopen` and compare it with `predictor` on `samples`.

    Returns the parity, `{"passed", "compared", "worst", …}`. Raises
    ExportError, and leaves nothing at `out`, when the two differ (code export.parity) or when there is nothing to
    compare; UsageError or NotInThisVersion before any file is made.
    """
    from trugrade_core.export.parity import compare, require

    row = check_format(format)
    taken = ExportError("exists already", where=str(out), code="export.exists",
                        what_to_do="Give another name, or remove the old one.")  # fmt: skip
    if out.exists():
        raise taken
    module, _, name = row.write.partition(":")
    say = progress or (lambda done, total, text: None)
    making = out.with_name(f".{out.name}.{secrets.token_hex(4)}.making")
    making.mkdir(parents=True)
    try:
        say(0, 3, f"exporting as {format}")
        written = getattr(importlib.import_module(module), name)(predictor, making)
        manifest = {"format": 1, "kind": format, "created": now().isoformat(), **written}
        write_json(making / "manifest.json", manifest)
        say(1, 3, f"comparing on {len(samples)} images")
        parity = compare(predictor, reopen(making), samples)
        require(parity, where=str(out))
        write_json(making / "parity.json", parity)
        write_json(
            making / "manifest.json", {**manifest, "parity": {k: parity[k] for k in ("passed", "compared", "worst")}}
        )
        try:
            making.rename(out)
        except OSError as e:
            raise (taken if out.exists() else e) from e
    finally:
        shutil.rmtree(making, ignore_errors=True)
    say(3, 3, "done")
    return parity
