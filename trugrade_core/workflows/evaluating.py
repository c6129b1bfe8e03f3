"""What a person does to judge a model, or to try it out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trugrade_core.errors import ImageError, TrainingError, TruGradeError, UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Prediction, Predictor
from trugrade_core.workflows import overview
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, read_json

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"}


def open_predictor(ws: Workspace, model: str) -> Predictor:
    """A run (its best checkpoint), a checkpoint file, or an exported artifact (name, folder or .onnx)."""
    path = Path(model)
    if path.suffix == ".pt" and path.is_file():
        return _torch(path)
    artifact = path if path.is_dir() or path.suffix == ".onnx" else ws.exports / model
    if (artifact / "manifest.json").exists() or artifact.suffix == ".onnx":
        from trugrade_core.truscore.session import OnnxPredictor

        return OnnxPredictor.open(artifact)
    return _torch(checkpoint_of(RunFolder.find(ws, model)))


def _torch(path: Path) -> Predictor:
    from trugrade_core.train.predictor import TorchPredictor

    return TorchPredictor.open(path)


def checkpoint_of(folder: RunFolder) -> Path:
    """The run's best checkpoint, else its latest."""
    for name in ("best.pt", "latest.pt"):
        if (folder.checkpoints / name).exists():
            return folder.checkpoints / name
    raise TrainingError(
        f"has no checkpoint yet (it is {folder.status().state})",
        where=folder.id,
        code="training.no_checkpoint",
        what_to_do="Let it train for an epoch first.",
    )


# --- judging -----------------------------------------------------------------------------------------------------


def start_evaluation(ws: Workspace, run: str, *, split: str = "test", who: str = "") -> RunFolder:
    folder = RunFolder.find(ws, run)
    checkpoint_of(folder)
    return start(ws, "evaluate", {"run": folder.id, "split": split}, title=f"Evaluate {folder.id} on {split}", who=who)


def do_evaluate(job: Job) -> dict[str, Any]:
    from trugrade_core.evaluate.run import evaluate

    folder = RunFolder.find(job.ws, job.args["run"])
    version = overview.version_of(job.ws, folder)
    split = job.args["split"]
    predictor = _torch(checkpoint_of(folder))
    evaluate(predictor, version, split, folder.path / "evaluation" / split, progress=job.progress)
    return evaluation(job.ws, folder.id, split)


def evaluation(ws: Workspace, run: str, split: str) -> dict[str, Any]:
    """The stored evaluation of a run on a split. Raises TrainingError when there is none."""
    folder = RunFolder.find(ws, run)
    path = folder.path / "evaluation" / split / "evaluation.json"
    if not path.exists():
        raise TrainingError(f"has not been evaluated on {split}", where=folder.id, code="training.not_evaluated",
                            what_to_do=f"Run: trugrade evaluate {folder.id} --split {split}")  # fmt: skip
    found: dict[str, Any] = read_json(path)
    return {"run": folder.id} | found


def judged(ws: Workspace, folder: RunFolder, split: str = "test") -> str:
    """In words, what the stored evaluation found; a model may leave the lab without one, but not without a word of it."""
    if not (folder.path / "evaluation" / split / "evaluation.json").exists():
        return f"not judged on {split}; do it with: trugrade evaluate {folder.id} --split {split}"
    found = evaluation(ws, folder.id, split)
    cards = found["metrics"]["side_error_px"]["n_cards"]
    return f"{found['verdict']['text']} on {split} ({cards} card{'s' if cards != 1 else ''})"


def gauge(ws: Workspace, model: str, images: Path, truth: Path) -> dict[str, Any]:
    """Hold a model to edges that were measured independently; see `evaluate.gauge` for the file and the result."""
    from trugrade_core.evaluate.gauge import gauge as against

    for path in (images, truth):
        if not path.exists():
            raise UsageError(
                "there is nothing here", where=str(path), what_to_do="Give a folder of scans and a gauge file."
            )
    return {"model": model} | against(open_predictor(ws, model), images, truth)


# --- trying out --------------------------------------------------------------------------------------------------


def predict(
    ws: Workspace, model: str, path: Path, *, threshold: float | None = None, overlays: Path | None = None
) -> dict[str, Any]:
    """`{"model", "predictions"}` for an image or a folder; a file that cannot be read is an entry with `error`."""
    predictor = open_predictor(ws, model)
    rows = [
        _predict_one(predictor, file, threshold, overlays and _overlay(overlays, file, path)) for file in _images(path)
    ]
    if not rows:
        raise UsageError(
            "no images here", where=str(path), what_to_do=f"Known endings: {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if len(rows) == 1 and "error" in rows[0]:
        raise ImageError(rows[0]["error"], where=rows[0]["image"])
    return {"model": predictor.name, "predictions": rows}


def _images(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise UsageError("there is nothing here", where=str(path), what_to_do="Give an existing image or folder.")
    if path.is_file():
        yield path
    else:
        yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _overlay(folder: Path, file: Path, given: Path) -> Path:
    """Where the drawing of `file` goes: as it lies below `given`, so that no two share a name."""
    below = file.relative_to(given if given.is_dir() else given.parent)
    return folder / below.with_name(f"{below.name}.overlay.png")


def _predict_one(predictor: Predictor, file: Path, threshold: float | None, overlay: Path | None) -> dict[str, Any]:
    from trugrade_core.data.images import decode, probe

    try:
        probe(file.read_bytes(), name=file.name)
        image = decode(file)
    except TruGradeError as e:
        return {"image": str(file), "error": e.message}
    except OSError as e:
        return {"image": str(file), "error": f"cannot be read ({e.strerror})"}
    prediction = predictor.predict([image], [str(file)], threshold)[0]
    if overlay:
        from trugrade_core.evaluate.overlay import draw

        draw(image, prediction, overlay)
    return as_row(prediction)


def as_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction under the user's output names: `box` (and `mask`), with labels and scores in the same order."""
    found = prediction.instances
    row: dict[str, Any] = {
        "image": prediction.image,
        "width": prediction.width,
        "height": prediction.height,
        "seconds": prediction.seconds,
        "labels": [i.label for i in found],
        "scores": [i.score for i in found],
        "box": [list(i.box) for i in found],
    }
    if any(i.mask for i in found):
        row["mask"] = [i.mask.model_dump() if i.mask else None for i in found]
    return row


def start_prediction(
    ws: Workspace, model: str, path: Path, *, threshold: float | None = None, who: str = ""
) -> RunFolder:
    if Path(model).is_file() or (Path(model) / "manifest.json").is_file():
        model = str(Path(model).absolute())  # the job runs in a folder of its own
    args = {"model": model, "path": str(path.absolute()), "threshold": threshold}
    return start(ws, "predict", args, title=f"Try {model} on {path.name}", who=who)


def do_predict(job: Job) -> dict[str, Any]:
    overlays = job.folder.path / "overlays"
    return predict(
        job.ws, job.args["model"], Path(job.args["path"]), threshold=job.args["threshold"], overlays=overlays
    )
