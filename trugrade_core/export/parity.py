"""Does the artifact say what the trained model says? Compared on real samples, as predictions in the lab's frame.

Found objects are matched by class and overlap, never row by row: two of nearly the same score may change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trugrade_core.errors import ExportError
from trugrade_core.export import Samples
from trugrade_core.schema import Prediction, Predictor
from trugrade_core.tasks.instances.metrics import found_objects, iou_matrix, judge, mask_iou_matrix, side_errors
from trugrade_core.tasks.instances.metrics import true_objects as truth

LIMITS = {"box_iou": 0.99, "score": 1e-3, "mask_iou": 0.97, "side_error_px": 0.1}
"""Least overlap of boxes and masks, largest difference of a score and of the median side error.

Masks are given more room: where a probability is 0.5, its pixel may fall either way for a rounding, and a barely
trained model has many of those."""


def compare(reference: Predictor, candidate: Predictor, samples: Samples) -> dict[str, Any]:
    """Predict `samples` with both and set them side by side.

    Returns `{"passed", "compared" (images), "objects", "threshold", "worst": {box_iou, box_px, score, mask_iou,
    side_error_px}, "limits", "differences": [text]}`; a worst value is None where there was nothing of its kind.
    Objects above the model's own threshold are compared; where it finds none at all, those above half its best score.
    One that a rounding puts just below the threshold in one of the two still counts as that one's answer to the other.
    """
    images, names = [image for image, _, _ in samples], [sample.id for _, sample, _ in samples]
    threshold = _threshold(reference, images, names)
    low = max(0.0, threshold - LIMITS["score"])
    found = reference.predict(images, names, low), candidate.predict(images, names, low)
    ours = [_shown(one, other, threshold) for one, other in zip(*found, strict=True)]
    theirs = [_shown(other, one, threshold) for one, other in zip(*found, strict=True)]
    worst: dict[str, float | None] = dict.fromkeys(("box_iou", "box_px", "score", "mask_iou"))
    differences: list[str] = []
    objects = 0
    if list(reference.classes) != list(candidate.classes):
        differences.append(f"classes are {list(candidate.classes)}, not {list(reference.classes)}")
    else:
        for one, other in zip(ours, theirs, strict=True):
            objects += len(one.instances)
            differences += _differences(one, other, reference.classes, worst)
    metric = _metric_difference(ours, theirs, reference.classes, samples)
    if metric is not None and metric > LIMITS["side_error_px"]:
        differences.append(f"the median side error differs by {metric:.3f} px (limit {LIMITS['side_error_px']})")
    return {
        "passed": not differences and objects > 0,
        "compared": len(samples),
        "objects": objects,
        "threshold": threshold,
        "worst": {**worst, "side_error_px": metric},
        "limits": LIMITS,
        "differences": differences,
    }


def require(parity: dict[str, Any], *, where: str) -> None:
    """Raises ExportError (code export.parity) saying what differs, unless the comparison passed."""
    if parity["passed"]:
        return
    if not parity["objects"]:
        raise ExportError(
            f"the model finds nothing on {parity['compared']} images, so the artifact cannot be compared with it",
            where=where,
            code="export.nothing_to_compare",
            what_to_do="Train the model further, or export one that finds objects on the dataset's validation split.",
        )
    found = parity["differences"]
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    raise ExportError(
        "the artifact does not say what the model says and was not kept: " + "; ".join(found[:5]) + more,
        where=where,
        code="export.parity",
        what_to_do="Check that preprocessing and classes are those of the training; then export again.",
        parity=parity,
    )


def _threshold(reference: Predictor, images: Sequence[Any], names: Sequence[str]) -> float:
    scores = [i.score for p in reference.predict(images, names, 0.0) for i in p.instances]
    best = max(scores, default=0.0)
    return reference.threshold if best >= reference.threshold else best / 2


def _shown(one: Prediction, other: Prediction, threshold: float) -> Prediction:
    """`one` with its objects from the threshold on, and those below it that `other` has from the threshold on."""
    sure = [i for i in other.instances if i.score >= threshold]
    kept = tuple(
        i
        for i in one.instances
        if i.score >= threshold
        or any(j.label == i.label and iou_matrix(i.box, j.box)[0, 0] >= LIMITS["box_iou"] for j in sure)
    )
    return one.model_copy(update={"instances": kept})


def _differences(
    one: Prediction, other: Prediction, classes: Sequence[str], worst: dict[str, float | None]
) -> list[str]:
    """What differs in an image, in words; keeps the `worst` values seen."""
    ours, theirs = found_objects(one, classes), found_objects(other, classes)
    said = []
    if len(ours.labels) != len(theirs.labels):
        said.append(f"{one.image}: {len(theirs.labels)} objects, not {len(ours.labels)}")
    if not len(ours.labels) or not len(theirs.labels):
        return said
    ious = np.where(ours.labels[:, None] == theirs.labels[None, :], iou_matrix(ours.boxes, theirs.boxes), 0)
    masks = mask_iou_matrix(ours.masks, theirs.masks) if ours.masks is not None and theirs.masks is not None else None
    for n, label in enumerate(ours.labels):
        k = int(ious[n].argmax())
        values = {
            "box_iou": float(ious[n, k]),
            "box_px": float(np.abs(ours.boxes[n] - theirs.boxes[k]).max()),
            "score": float(abs(ours.scores[n] - theirs.scores[k])),
        }
        if masks is not None:
            values["mask_iou"] = float(masks[n, k])
        said += [
            f"{one.image}: {classes[label - 1]} {name} {value:.4f} (limit {LIMITS[name]})"
            for name, value in values.items()
            if name in LIMITS and (value < LIMITS[name] if name.endswith("iou") else value > LIMITS[name])
        ]
        for name, value in values.items():
            before = worst[name]
            if before is None or (value < before if name.endswith("iou") else value > before):
                worst[name] = value
    return said


def _metric_difference(
    ours: list[Prediction], theirs: list[Prediction], classes: Sequence[str], samples: Samples
) -> float | None:
    """The difference of the two median side errors in px, over all objects given; None without labels."""
    medians = []
    for predictions in (ours, theirs):
        errors = [
            np.abs(side_errors(_judged(p, sample.id, annotations, classes), 0.0)).ravel()
            for p, (_, sample, annotations) in zip(predictions, samples, strict=True)
        ]
        every = np.concatenate([*errors, np.zeros(0)])
        if not len(every):
            return None
        medians.append(float(np.median(every)))
    return abs(medians[0] - medians[1])


def _judged(prediction: Prediction, sample: str, annotations: Any, classes: Sequence[str]) -> Any:
    return judge(
        sample=sample,
        card=sample,
        width=prediction.width,
        height=prediction.height,
        mm_per_px=None,
        truth=truth(annotations, classes, prediction.width, prediction.height),
        found=found_objects(prediction, classes),
    )
