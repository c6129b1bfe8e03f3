"""`evaluate`: a Predictor over one split of a version, once, and everything that follows from it.

Writes, atomically, beside each other: predictions.parquet (what was said), images, objects, found and pairs.parquet
(matches), evaluation.json (all figures with their intervals). Pages and reports read only these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError
from trugrade_core.evaluate import matches as matching
from trugrade_core.evaluate import summary
from trugrade_core.evaluate.baseline import ConstantBox, constant_box
from trugrade_core.evaluate.bootstrap import LEVEL, RESAMPLES, SEED, Array, draws
from trugrade_core.evaluate.matches import Matches
from trugrade_core.evaluate.measures import measure, proof, side_measures, table, verdict
from trugrade_core.evaluate.predictions import (
    LOWEST_SCORE,
    SHIFT_SHARE,
    VARIANTS,
    Variant,
    cache_key,
    predictions,
    shift_of,
)  # fmt: skip
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, Box, Prediction, Predictor, Sample
from trugrade_core.tasks.instances.average_precision import coco_ap
from trugrade_core.tasks.instances.metrics import MATCH_IOU, Judged, Objects, found_objects, judge, true_objects
from trugrade_core.workspace import now, write_json

Evaluation = dict[str, Any]
"""The content of evaluation.json."""
Records = Sequence[tuple[Sample, list[Annotation]]]
FORMAT = 1
SIDE_MM = 0.5


def evaluate(
    predictor: Predictor,
    version: Version,
    split: str,
    out: Path,
    *,
    side_mm: float = SIDE_MM,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge `predictor` on the done samples of `split` and write the result under `out`.

    `side_mm` is how far each side may be off for a card to count as right. Predictions are kept and used again for
    the same checkpoint, version and preprocessing. Raises DatasetError when the split has no labelled sample.
    """
    records = version.records(split)
    if not records:
        raise DatasetError(
            f"the split '{split}' has no labelled sample",
            where=version.name,
            code="dataset.empty_split",
            what_to_do="Split the dataset with a share for it, label its samples, or evaluate another split.",
        )
    out.mkdir(parents=True, exist_ok=True)
    answers = predictions(predictor, version, split, [s for s, _ in records], out / "predictions.parquet", progress)
    constant = constant_box(version, predictor.classes)
    masks = _mask_reason(answers["plain"])
    judged = {v: _judge(records, predictor.classes, answers[v], v, masks=v == "plain" and not masks) for v in VARIANTS}
    found = {v: matching.gather(images, predictor.threshold, side_mm) for v, images in judged.items()}
    counts = draws(len(found["plain"].cards))
    model = _measured(judged, found, counts, len(predictor.classes))
    against, baseline = _baseline(constant, judged, counts, len(predictor.classes), side_mm)
    reasons = _reasons(records, predictor.classes, masks)
    plain, classes = found["plain"], predictor.classes
    evaluation = {
        **_head(predictor, version, split, side_mm),
        "counted": _counted(records, plain, predictor.threshold),
        "metrics": table(model, plain, reasons),
        "baseline": table(against, baseline, reasons) if against and baseline else {},
        "masks": {"from_box": None if masks else _from_box(records, classes), "reason": masks or None},
        "verdict": verdict(model, against, len(plain.cards)),
        "verdict_shifted": verdict(_shifted(model), against and _shifted(against), len(plain.cards)),
        "proof": proof(plain),
        "errors": summary.errors(plain, counts),
        "curves": summary.curves(plain, counts, classes),
        "confusion": summary.confusion(plain, counts, classes),
        "sides": summary.sides(plain, counts, classes),
        "constant_box": _constant_facts(constant, classes),
        "seconds_per_image": sum(a.seconds for a in answers["plain"].values()) / len(records),
        "samples": summary.samples(plain, classes),
    }
    matching.write(out, found, classes)
    write_json(out / "evaluation.json", evaluation)
    return evaluation


def _head(predictor: Predictor, version: Version, split: str, side_mm: float) -> dict[str, Any]:
    """What was judged, on what, by which rules."""
    return {
        "format": FORMAT,
        "made": now().isoformat(),
        "split": split,
        "dataset": version.name,
        "version_digest": version.manifest.digest,
        "key": cache_key(predictor, version, split),
        "predictor": {
            "name": predictor.name,
            "digest": predictor.digest,
            "classes": list(predictor.classes),
            "threshold": predictor.threshold,
            "preprocess": predictor.preprocess.model_dump(),
        },
        "settings": {
            "match_iou": MATCH_IOU,
            "side_mm": side_mm,
            "resamples": RESAMPLES,
            "seed": SEED,
            "level": LEVEL,
            "shift_share": SHIFT_SHARE,
            "lowest_score": LOWEST_SCORE,
        },
    }


def _counted(records: Records, m: Matches, threshold: float) -> dict[str, int]:
    return {
        "samples": len(records),
        "cards": len(m.cards),
        "assumed_cards": sum(sample.card_assumed for sample, _ in records),
        "objects": len(m.object_label),
        "found": int((m.found_score >= threshold).sum()),
    }


# --- truth beside answers ---------------------------------------------------------------------------------------


def _judge(
    records: Records, classes: Sequence[str], answers: Mapping[str, Prediction], variant: Variant, *, masks: bool
) -> list[Judged]:
    images = []
    for sample, labels in records:
        answer = answers[sample.id]
        truth = true_objects(labels, classes, sample.main.width, sample.main.height, masks=masks)
        if variant == "shifted":
            left, top, _, _ = shift_of(sample.id, sample.main.width, sample.main.height)
            truth = truth._replace(boxes=truth.boxes + np.array([left, top, left, top]))
        images.append(
            judge(sample=sample.id, card=sample.card, width=answer.width, height=answer.height,
                  mm_per_px=sample.mm_per_px, truth=truth, found=found_objects(answer, classes))
        )  # fmt: skip
    return images


def _measured(
    judged: Mapping[Variant, Sequence[Judged]], found: Mapping[Variant, Matches], counts: Array, classes: int
) -> dict[str, Array]:
    """All metrics over the draws. The value of average precision itself is faster-coco-eval's."""
    drawn = measure(found["plain"], counts, classes)
    shifted = side_measures(found["shifted"], counts)
    drawn |= {f"{name}_shifted": shifted[name] for name in ("side_error_mm", "side_error_px")}
    exact = {"box": coco_ap(judged["plain"], classes)}
    if found["plain"].found_hits_mask is not None:
        exact["mask"] = coco_ap(judged["plain"], classes, "segm")
    for kind, values in exact.items():
        for name, value in (values or {}).items():
            drawn[f"{kind}_{name}"][0] = value
    return drawn


def _baseline(
    constant: ConstantBox | None,
    judged: Mapping[Variant, Sequence[Judged]],
    counts: Array,
    classes: int,
    side_mm: float,
) -> tuple[dict[str, Array], Matches] | tuple[None, None]:
    """The same metrics for the constant box on the same pictures."""
    if constant is None:
        return None, None
    answered: dict[Variant, list[Judged]] = {
        variant: [_again(i, constant.answer(i.width, i.height, masks=i.truth.masks is not None)) for i in images]
        for variant, images in judged.items()
    }
    found = {variant: matching.gather(images, 0.5, side_mm) for variant, images in answered.items()}
    return _measured(answered, found, counts, classes), found["plain"]


def _again(image: Judged, found: Objects) -> Judged:
    """The same picture with another answer."""
    return judge(sample=image.sample, card=image.card, width=image.width, height=image.height,
                 mm_per_px=image.mm_per_px, truth=image.truth, found=found)  # fmt: skip


def _shifted(drawn: Mapping[str, Array]) -> dict[str, Array]:
    """The side errors on the shifted copy under the names of the plain ones."""
    return {name: drawn[f"{name}_shifted"] for name in ("side_error_mm", "side_error_px")}


# --- words ------------------------------------------------------------------------------------------------------


def _mask_reason(answers: Mapping[str, Prediction]) -> str:
    """Why there are no mask metrics, or ''."""
    instances = [i for a in answers.values() for i in a.instances]
    if not instances:
        return "nothing was found in any image"
    return "the model gives boxes only" if any(i.mask is None for i in instances) else ""


def _shapes(records: Records, classes: Sequence[str]) -> list[Annotation]:
    return [a for _, labels in records for a in labels if a.label in classes]


def _from_box(records: Records, classes: Sequence[str]) -> bool:
    """Whether some true mask is only a filled box."""
    return any(isinstance(a.value, Box) for a in _shapes(records, classes))


def _reasons(records: Records, classes: Sequence[str], masks: str) -> dict[str, str]:
    """Why a metric has no value, by the part of its name that says so."""
    found = {
        "objects": "the split holds no object of the model's classes",
        "mask": masks or "the split holds no object",
    }
    unscaled = sum(sample.mm_per_px is None for sample, _ in records)
    if unscaled:
        found["mm"] = f"{unscaled} of {len(records)} samples have no dpi, so their millimetres are not known"
        found["card_accuracy"] = found["mm"]
    return found


def _constant_facts(constant: ConstantBox | None, classes: Sequence[str]) -> dict[str, Any] | None:
    """The constant box itself: shares of the picture's width and height, over pixel edges."""
    if constant is None:
        return None
    named = [classes[label - 1] for label in constant.labels]
    boxes = {name: [round(float(v), 6) for v in box] for name, box in zip(named, constant.shares, strict=True)}
    return {"boxes": boxes, "averaged": constant.boxes_averaged}
