"""What a person does to take a model out of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trugrade_core.errors import ExportError
from trugrade_core.runs import Progress, RunFolder
from trugrade_core.workflows import overview
from trugrade_core.workflows.evaluating import checkpoint_of, judged
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, check_name, read_json

PARITY_IMAGES = 8


def start_export(ws: Workspace, run: str, format: str, *, name: str | None = None, who: str = "") -> RunFolder:
    """Start an export. Raises at once for a format that this version lacks; nothing is written then."""
    from trugrade_core.export import check_format

    check_format(format)
    folder = RunFolder.find(ws, run)
    checkpoint_of(folder)
    name = check_name(name or f"{folder.id}-{format}", "artifact")
    if (ws.exports / name).exists():
        raise ExportError(f"an artifact '{name}' exists already", where=str(ws.exports / name),
                          what_to_do="Give another --name, or remove the old one.")  # fmt: skip
    args = {"run": folder.id, "format": format, "name": name}
    return start(ws, "export", args, title=f"Export {folder.id} as {format}", who=who)


def do_export(job: Job) -> dict[str, Any]:
    folder = RunFolder.find(job.ws, job.args["run"])
    return export_checkpoint(job.ws, checkpoint_of(folder), job.args["format"], job.ws.exports / job.args["name"],
                             progress=job.progress)  # fmt: skip


def export_checkpoint(
    ws: Workspace, checkpoint: Path, format: str, out: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Export a checkpoint, compare the artifact with it on validation samples, and keep it only if they agree.

    Returns `{"artifact", "manifest", "parity", "judged"}`. Raises ExportError (code export.parity) when they differ.
    """
    from trugrade_core.data.images import decode
    from trugrade_core.export import export
    from trugrade_core.train.predictor import TorchPredictor
    from trugrade_core.truscore.session import OnnxPredictor

    predictor = TorchPredictor.open(checkpoint)
    folder = RunFolder(checkpoint.absolute().parent.parent)
    version = overview.version_of(ws, folder)
    records = (version.records("val") or version.records("train"))[:PARITY_IMAGES]
    samples = [(decode(version.image_path(sample)), sample, annotations) for sample, annotations in records]
    parity = export(predictor, format, out, samples, reopen=OnnxPredictor.open, progress=progress)
    manifest = read_json(out / "manifest.json")
    return {"artifact": str(out), "manifest": manifest, "parity": parity, "judged": judged(ws, folder)}


class ModelExporter:
    """Exports trained models in the user's formats: onnx, tensorrt, mobile, quantized."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace or Workspace.open()

    def export_model(self, model: str | Path, format_type: str = "onnx") -> dict[str, Any]:
        """Export `model` (a run id or a checkpoint file of a run) and wait; see `export_checkpoint`.

        Raises NotInThisVersion for tensorrt, mobile and quantized, and writes no file then.
        """
        from trugrade_core.export import check_format

        check_format(format_type)
        path = Path(model)
        checkpoint = path if path.is_file() else checkpoint_of(RunFolder.find(self.workspace, str(model)))
        name = f"{checkpoint.absolute().parent.parent.name}-{format_type}"
        return export_checkpoint(self.workspace, checkpoint, format_type, self.workspace.exports / name)
