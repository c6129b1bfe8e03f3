"""One validation: losses, what the model finds on the validation split, and how good that is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from trugrade_core.config import LossConfig
from trugrade_core.models.base import Detector
from trugrade_core.schema import Image, Instance, Prediction
from trugrade_core.tasks import Task
from trugrade_core.tasks.instances.decode import decode
from trugrade_core.tasks.instances.metrics import (
    Judged,
    f1_by_threshold,
    found_objects,
    judge,
    precision_recall,
    summarise,
    true_objects,
)
from trugrade_core.train.loader import Batch, CardImages
from trugrade_core.train.objective import total_loss
from trugrade_core.train.predictor import unbatch
from trugrade_core.workspace import write_atomic, write_json

LOW_THRESHOLD = 0.01
"""Found objects below it are not looked at; precision-recall curves begin here."""
NMS_IOU = 0.5
OVERLAYS = 3


@dataclass(frozen=True)
class Validation:
    """`losses`: means over the split; `metrics`: as `summarise` gives them, those that are known; `threshold`: the
    score with the best F1; `main`: the task's main metric; `report`: curves and confusion for the validation's file."""

    losses: dict[str, float]
    metrics: dict[str, float]
    threshold: float
    main: float
    report: dict[str, Any]
    predictions: list[Prediction]


def validate(
    model: Detector,
    batches: Iterable[Batch],
    data: CardImages,
    task: Task,
    loss_config: LossConfig,
    device: torch.device,
) -> Validation:
    """Run the model once over the split, in float32 as its checkpoints will. The random state is left as it was."""
    was_training, autocast = model.training, model.autocast
    model.eval()
    model.autocast = None
    sums: dict[str, float] = defaultdict(float)
    predictions: list[Prediction] = []
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)  # the detectors sample proposals for their losses
        for batch in batches:
            images = batch.images.to(device)
            targets = [{name: t.to(device) for name, t in target.items()} for target in batch.targets]
            total, components = total_loss(model(images, targets), model, loss_config)
            for name, value in {"loss": total, **components}.items():
                sums[name] += float(value) * len(images)
            predictions += _predictions(model, images, batch.indices, data)
    model.train(was_training)
    model.autocast = autocast
    judged = [_judge(p, data, index) for index, p in enumerate(predictions)]
    threshold = best_threshold(judged)
    summary = summarise(judged, data.classes, threshold)
    metrics = {name: float(v) for name, v in summary["metrics"].items() if v is not None}
    return Validation(
        losses={name: value / len(data) for name, value in sums.items()},
        metrics=metrics,
        threshold=threshold,
        main=main_metric(metrics, task),
        report={
            "threshold": threshold,
            "classes": list(data.classes),
            "metrics": metrics,
            "precision_recall": _curves(judged, data.classes),
            "f1_by_threshold": summary["f1_by_threshold"],
            "confusion": summary["confusion"],
        },
        predictions=predictions,
    )


def main_metric(metrics: dict[str, float], task: Task) -> float:
    """The task's main metric; where the scale of an image is unknown, px stand for mm."""
    for name in (task.main_metric, task.main_metric.replace("_mm", "_px")):
        if name in metrics:
            return metrics[name]
    return -np.inf if task.higher_is_better else np.inf


def best_threshold(judged: Sequence[Judged]) -> float:
    """The middle of the thresholds whose F1 is best, within 0.05 to 0.95."""
    scores, hits, objects = _answers(judged)
    curve = f1_by_threshold(scores, hits, objects)
    f1 = np.array(curve["f1"])
    best = np.flatnonzero(f1 >= f1.max() - 1e-9)
    return float(np.clip(curve["threshold"][int(best[len(best) // 2])], 0.05, 0.95)) if f1.max() > 0 else 0.5


def _answers(judged: Sequence[Judged], label: int | None = None) -> tuple[Any, Any, int]:
    """(scores, whether each was right, number of true objects), of one class or all."""
    chosen = [np.full(len(j.found.labels), True) if label is None else j.found.labels == label for j in judged]
    scores = np.concatenate([*(j.found.scores[c] for j, c in zip(judged, chosen, strict=True)), np.zeros(0)])
    hits = np.concatenate([*(j.truth_of[c] >= 0 for j, c in zip(judged, chosen, strict=True)), np.zeros(0, bool)])
    return scores, hits, sum(int(((j.truth.labels == label) | (label is None)).sum()) for j in judged)


def _curves(judged: Sequence[Judged], classes: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Of all classes together and of each; a class of which nothing was found has none."""
    curves = {name: precision_recall(*_answers(judged, number)) for number, name in enumerate(classes, start=1)}
    curves = {"all": precision_recall(*_answers(judged)), **curves}
    return {name: curve for name, curve in curves.items() if curve["threshold"]}


def _predictions(model: Detector, images: torch.Tensor, indices: list[int], data: CardImages) -> list[Prediction]:
    """Boxes without masks: a mask over a whole scan costs more than the network."""
    outputs = model(images)
    found = []
    for raw, index in zip(unbatch(outputs[:3]), indices, strict=True):
        main = data.items[index].sample.main
        instances = decode(raw, data.cache.preprocess, main.width, main.height, data.classes,
                           threshold=LOW_THRESHOLD, nms_iou=NMS_IOU)  # fmt: skip
        sample = data.items[index].sample.id
        found.append(Prediction(image=sample, width=main.width, height=main.height, instances=instances, seconds=0))
    return found


def _judge(prediction: Prediction, data: CardImages, index: int) -> Judged:
    item = data.items[index]
    return judge(
        sample=item.sample.id,
        card=item.sample.card,
        width=prediction.width,
        height=prediction.height,
        mm_per_px=item.sample.mm_per_px,
        truth=true_objects(item.annotations, data.classes, prediction.width, prediction.height),
        found=found_objects(prediction, data.classes),
    )


# --- its file ----------------------------------------------------------------------------------------------------


def write_report(run: Path, step: int, epoch: int, found: Validation, data: CardImages) -> str:
    """Write validation/EPOCH.json and a few overlays beside it; returns the file's path relative to the run."""
    folder = run / "validation"
    overlays = []
    for place, prediction in enumerate(found.predictions[:OVERLAYS]):
        name = f"{epoch:05d}-{place + 1}.jpg"
        picture = draw_overlay(data, place, prediction.instances, found.threshold)
        ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
        if ok:
            write_atomic(folder / name, encoded.tobytes())
            overlays.append(name)
    report = {"step": step, "epoch": epoch, **found.report, "overlays": overlays}
    write_json(folder / f"{epoch:05d}.json", report)
    return f"validation/{epoch:05d}.json"


def draw_overlay(data: CardImages, index: int, instances: Sequence[Instance], threshold: float) -> Image:
    """The resized image with true boxes in green and found ones above the threshold in magenta."""
    item = data.items[index]
    picture = data.cache.get(item).copy()
    main = item.sample.main
    scale = np.tile(data.cache.preprocess.axis_scale(main.width, main.height), 2)
    truth = true_objects(item.annotations, data.classes, main.width, main.height).boxes
    found = [i.box for i in instances if i.score >= threshold]
    for boxes, colour in ((truth, (0, 200, 0)), (found, (255, 0, 200))):
        for box in boxes:
            x0, y0, x1, y1 = ((np.asarray(box) + 0.5) * scale - 0.5).round().astype(int).tolist()
            cv2.rectangle(picture, (x0, y0), (x1, y1), colour, 1)
    return picture
