"""Does the artifact say what the trained model says? Compared on real samples, as predictions in the lab's frame.

Found objects are matched by class and overlap, never row by row: two of nearly the same score may change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data import rle
from trugrade_core.errors import ExportError
from trugrade_core.export import Samples
from trugrade_core.schema import Mask, Prediction, Predictor
from trugrade_core.tasks.instances.metrics import Objects, found_objects, iou_matrix, judge, side_errors
from trugrade_core.tasks.instances.metrics import true_objects as truth

LIMITS = {"box_iou": 0.99, "score": 1e-3, "mask_iou": 0.97, "side_error_px": 0.1}
"""Least overlap of boxes and masks, largest difference of a score and of the median side error.

Pixels of a mask whose probability is as near to 0.5 as a score may differ go with the artifact's answer: a rounding
decides them, and a barely trained model has whole areas of those."""


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
    margin = LIMITS["score"]
    sure, possible = (reference.predict(images, names, low, mask_at=0.5 + shift) for shift in (margin, -margin))
    if list(reference.classes) != list(candidate.classes):
        differences.append(f"classes are {list(candidate.classes)}, not {list(reference.classes)}")
    else:
        for one, other, *bounds in zip(ours, theirs, sure, possible, strict=True):
            objects += len(one.instances)
            differences += _differences(one, other, bounds, reference.classes, worst)
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


def _overlaps(a: Objects, b: Objects) -> NDArray[np.float64]:
    """(N, M) IoU of boxes, 0 between classes."""
    return np.where(a.labels[:, None] == b.labels[None, :], iou_matrix(a.boxes, b.boxes), 0)


def _mask_iou(found: Mask, sure: Mask, possible: Mask) -> float:
    """Of the artifact's mask with the model's, whose undecided pixels go with the artifact's."""
    theirs = rle.decode(found)
    ours = rle.decode(sure) | (rle.decode(possible) & theirs)
    either = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / either if either else 1.0


def _differences(
    one: Prediction,
    other: Prediction,
    bounds: Sequence[Prediction],
    classes: Sequence[str],
    worst: dict[str, float | None],
) -> list[str]:
    """What differs in an image, in words; keeps the `worst` values seen. `bounds` are `one` with its masks' pixels
    that are sure, and with those that are possible."""
    ours, theirs = found_objects(one, classes), found_objects(other, classes)
    sure, possible = (found_objects(bound, classes) for bound in bounds)
    said = []
    if len(ours.labels) != len(theirs.labels):
        said.append(f"{one.image}: {len(theirs.labels)} objects, not {len(ours.labels)}")
    if not len(ours.labels) or not len(theirs.labels):
        return said
    ious = _overlaps(ours, theirs)
    at_sure, at_possible = (_overlaps(ours, bound).argmax(axis=1) for bound in (sure, possible))
    for n, label in enumerate(ours.labels):
        k = int(ious[n].argmax())
        values = {
            "box_iou": float(ious[n, k]),
            "box_px": float(np.abs(ours.boxes[n] - theirs.boxes[k]).max()),
            "score": float(abs(ours.scores[n] - theirs.scores[k])),
        }
        if theirs.masks and sure.masks and possible.masks:
            values["mask_iou"] = _mask_iou(theirs.masks[k], sure.masks[at_sure[n]], possible.masks[at_possible[n]])
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
