"""Predictions against edges that were measured independently: lines fitted to a scan, with their own uncertainty.

A gauge file is JSON: `images: {file: {size, dpi, sides: {left|top|right|bottom: {line: [x1, y1, x2, y2], sigma_px,
quality}}, inner_sides: …}}`, in the lab's frame. A side's place is the middle of its line: a card may lie tilted, and
an upright box can be right at mid-side only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trugrade_core.data.images import decode
from trugrade_core.errors import UsageError
from trugrade_core.evaluate.bootstrap import draws, interval, quantile
from trugrade_core.runs import Progress
from trugrade_core.schema import Prediction, Predictor
from trugrade_core.tasks.instances.metrics import SIDES
from trugrade_core.workspace import read_json

GROUPS = {"outer_border": "sides", "graphical_border": "inner_sides"}
"""Which lines of the gauge each class is measured against."""
FIGURES = (
    "median_px",
    "p95_px",
    "median_mm",
    "median_mm_low",
    "median_mm_high",
    "p95_mm",
    "worst_px",
    "gauge_sigma_px",
)


def gauge(predictor: Predictor, images: Path, truth: Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Run `predictor` over the images of the folder that the gauge file `truth` measures, and hold it to them.

    The result of `against_gauge` for the classes that the model has. Raises UsageError when no image of the file lies
    in the folder, and when the model has none of the classes.
    """
    facts = read_json(truth)
    measured = facts.get("images") if isinstance(facts, dict) else None
    if not isinstance(measured, dict):
        raise UsageError(
            "is not a gauge file",
            where=str(truth),
            what_to_do="Give a JSON file with `images`: the measured sides of each scan, by its file name.",
        )
    names = sorted(name for name in measured if (images / name).is_file())
    if not names:
        raise UsageError(
            f"none of the {len(measured)} images of {truth.name} is here, such as {', '.join(sorted(measured)[:3])}",
            where=str(images),
            what_to_do="Give the folder of the scans that the gauge file names.",
        )
    labels = {label: group for label, group in GROUPS.items() if label in predictor.classes}
    if not labels:
        raise UsageError(
            f"finds {', '.join(predictor.classes)}; a gauge measures {', '.join(GROUPS)}",
            where=predictor.name,
            what_to_do="Give a model that finds borders.",
        )
    answers = {}
    for n, name in enumerate(names, start=1):
        answers[name] = predictor.predict([decode(images / name)], [name])[0]
        if progress:
            progress(n, len(names), "gauge scans predicted")
    return against_gauge(answers, facts, labels)


def against_gauge(
    answers: Mapping[str, Prediction], gauge: Mapping[str, Any], labels: Mapping[str, str] = GROUPS
) -> dict[str, Any]:
    """`{"rows", "classes": {label: {"median_px", "p95_px", "median_mm", "p95_mm", "sides", "missed", …}}, "left_out"}`.

    A figure is None where the gauge has no side of that class; `left_out` are the classes of GROUPS not in `labels`.

    `answers` by file name; of each class the best scored instance counts. `rows` has one entry a side: image, label,
    side, error_px (found minus gauge), error_mm, sigma_px, quality; a missed object's sides count with the image's
    width or height, as everywhere.
    """
    rows: list[dict[str, Any]] = []
    for name, answer in answers.items():
        facts = gauge["images"][name]
        for label, group in labels.items():
            best = max((i for i in answer.instances if i.label == label), key=lambda i: i.score, default=None)
            for number, side in enumerate(SIDES):
                line = facts.get(group, {}).get(side)
                if line is None:
                    continue
                place = mid_side(line["line"], side)
                size = facts["size"][number % 2]
                error = best.box[number] - place if best else float(size)
                rows.append({
                    "image": name, "label": label, "side": side, "gauge_px": place, "error_px": error,
                    "error_mm": error * 25.4 / facts["dpi"], "sigma_px": line["sigma_px"],
                    "quality": line.get("quality", ""), "missed": best is None,
                })  # fmt: skip
    return {
        "rows": rows,
        "classes": {label: _summary([r for r in rows if r["label"] == label]) for label in labels},
        "left_out": [label for label in GROUPS if label not in labels],
    }


def mid_side(line: Sequence[float], side: str) -> float:
    """x of a left or right line's middle, y of a top or bottom line's."""
    x1, y1, x2, y2 = line
    return (x1 + x2) / 2 if side in ("left", "right") else (y1 + y2) / 2


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """With the interval of the median, drawn by image; a handful of scans gives a wide one."""
    if not rows:
        return {"sides": 0, "images": 0, "missed": 0} | dict.fromkeys(FIGURES)
    images = sorted({r["image"] for r in rows})
    owners = np.array([images.index(r["image"]) for r in rows])
    px, mm = (np.abs([r[unit] for r in rows]) for unit in ("error_px", "error_mm"))
    drawn = quantile(np.asarray(mm, np.float64), owners, draws(len(images)), 0.5)
    low, high = interval(drawn)
    return {
        "sides": len(rows),
        "images": len(images),
        "missed": len({r["image"] for r in rows if r["missed"]}),
        "median_px": float(np.median(px)),
        "p95_px": float(np.quantile(px, 0.95)),
        "median_mm": float(np.median(mm)),
        "median_mm_low": float(low) if len(images) > 1 else None,
        "median_mm_high": float(high) if len(images) > 1 else None,
        "p95_mm": float(np.quantile(mm, 0.95)),
        "worst_px": float(px.max()),
        "gauge_sigma_px": float(np.median([r["sigma_px"] for r in rows])),
    }
