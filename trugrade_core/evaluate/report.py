"""One evaluation as a self-contained HTML file: figures with their intervals, charts, and the worst samples as they are.

Nothing is loaded from elsewhere: charts are inline SVG, pictures embedded JPEG.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trugrade_core.data.images import decode
from trugrade_core.data.versions import Version
from trugrade_core.errors import TrainingError
from trugrade_core.evaluate.charts import Series, line_chart, number, strip_chart
from trugrade_core.evaluate.overlay import encoded, overlay
from trugrade_core.evaluate.predictions import read_predictions
from trugrade_core.runs import RunFolder
from trugrade_core.tasks.instances.metrics import SIDES
from trugrade_core.workspace import Workspace, read_json, write_atomic

WORST = 6
OVERLAY_PX = 760
BLUE, INK = "var(--accent)", "var(--ink)"
PALETTE = ("var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)")
WORDS = {
    "side_error_mm": ("Side error, median", "mm"),
    "side_error_mm_p95": ("Side error, 95th percentile", "mm"),
    "side_error_px": ("Side error, median", "px"),
    "side_error_mm_shifted": ("Side error on the shifted copy, median", "mm"),
    "card_accuracy": ("Cards with everything right", "share"),
    "box_map": ("Box mAP 0.50 to 0.95", ""),
    "box_ap50": ("Box AP50", ""),
    "box_ap75": ("Box AP75", ""),
    "mask_map": ("Mask mAP 0.50 to 0.95", ""),
    "mask_ap50": ("Mask AP50", ""),
    "mask_ap75": ("Mask AP75", ""),
    "f1": ("F1 at the model's threshold", ""),
}
ERROR_WORDS = {
    "missed": "not found at all",
    "localisation": "right class, overlap 0.1 to 0.5",
    "classification": "well placed, another class",
    "duplicate": "found a second time",
    "background": "nothing there",
}


def write_report(ws: Workspace, folder: RunFolder, split: str, parity: Mapping[str, Any] | None = None) -> Path:
    """Write `report-SPLIT.html` into the run's folder from its stored evaluation, and return its path.

    Raises TrainingError when the run has not been evaluated on that split.
    """
    from jinja2 import Environment, FileSystemLoader

    source = folder.path / "evaluation" / split
    if not (source / "evaluation.json").exists():
        raise TrainingError(f"has not been evaluated on {split}", where=folder.id, code="training.not_evaluated",
                            what_to_do=f"Run: trugrade evaluate {folder.id} --split {split}")  # fmt: skip
    evaluation = read_json(source / "evaluation.json")
    version = Version.open(ws, evaluation["dataset"])
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {"number": _number, "percent": _percent, "interval": _interval}
    page = environment.get_template("report.html.j2").render(
        e=evaluation,
        run=folder.id,
        job=_job(folder),
        rows=_metric_rows(evaluation),
        sides=_sides_chart(evaluation),
        curves=_curves(evaluation),
        training=_training(folder),
        worst=_worst(version, evaluation, source),
        errors=[(kind, ERROR_WORDS[kind], evaluation["errors"][kind]) for kind in ERROR_WORDS],
        parity=parity,
    )
    path = folder.path / f"report-{split}.html"
    write_atomic(path, page)
    return path


# --- words ------------------------------------------------------------------------------------------------------


def _number(value: float | None) -> str:
    return "not measured" if value is None else number(value)


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.4g} %"


def _interval(cell: Mapping[str, Any]) -> str:
    if cell.get("low") is None:
        return ""
    return f"{number(cell['low'])} to {number(cell['high'])}"


def _job(folder: RunFolder) -> dict[str, Any]:
    """What is known of the run itself; a bare folder of an evaluation has no job."""
    return folder.job() if (folder.path / "job.json").exists() else {}


def _metric_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric; mask metrics that have no value share one."""
    rows = []
    no_masks = evaluation["metrics"]["mask_map"]["value"] is None
    for name, (title, unit) in WORDS.items():
        cell, base = evaluation["metrics"][name], evaluation["baseline"].get(name, {})
        if name == "mask_map" and no_masks:
            rows.append(
                {"name": "mask_map, mask_ap50, mask_ap75", "title": "Masks", "unit": "", "cell": cell, "base": {}}
            )
        elif not (name.startswith("mask") and no_masks):
            rows.append({"name": name, "title": title, "unit": unit, "cell": cell, "base": base})
    return rows


# --- charts -----------------------------------------------------------------------------------------------------


def _sides_chart(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Every side of every matched object as a dot, in mm (px where a scale is unknown)."""
    mm = evaluation["metrics"]["side_error_mm"]["value"] is not None
    values: dict[tuple[str, str], list[float]] = {}
    missed = 0
    for row in evaluation["samples"]:
        scale = (row["mm_per_px"] or 0.0) if mm else 1.0
        for found in row["objects"]:
            missed += found["missed"]
            for side, px in zip(SIDES, found["sides_px"] or (), strict=False):
                values.setdefault((found["label"], side), []).append(px * scale)
    everything = sorted(abs(v) for own in values.values() for v in own)
    tolerance = evaluation["settings"]["side_mm"] if mm else None
    usual = everything[int(0.95 * (len(everything) - 1))] if everything else 1.0
    limit = max(1.15 * usual, 1.3 * (tolerance or 0.0), 1e-3)
    rows = [(f"{label}, {side}", values.get((label, side), []))
            for label in evaluation["predictor"]["classes"] for side in SIDES]  # fmt: skip
    unit = "mm" if mm else "px"
    chart = strip_chart(
        rows, f"found minus true, {unit} (right and down are positive)", limit=limit, tolerance=tolerance
    )
    return {"chart": chart, "missed": missed, "unit": unit, "tolerance": tolerance}


def _curves(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    curves = evaluation["curves"]
    by_class = [
        Series(name, list(zip(c["recall"], c["precision"], strict=True)), PALETTE[n % len(PALETTE)])
        for n, (name, c) in enumerate((k, v) for k, v in curves["precision_recall"].items() if k != "all")
    ]
    band = curves["precision_recall_band"]
    known = [(r, p, low, high) for r, p, low, high in
             zip(band["recall"], band["precision"], band["low"], band["high"], strict=True)
             if None not in (p, low, high)]  # fmt: skip
    everything = Series(
        "all, 95 % band", [(r, p) for r, p, _, _ in known], INK, [(r, low, high) for r, _, low, high in known]
    )
    f1 = curves["f1_by_threshold"]
    f1_band = [b for b in zip(f1["threshold"], f1["low"], f1["high"], strict=True) if None not in b]
    lines = [
        Series("F1, 95 % band", list(zip(f1["threshold"], f1["f1"], strict=True)), BLUE, f1_band),
        Series("precision", list(zip(f1["threshold"], f1["precision"], strict=True)), PALETTE[1]),
        Series("recall", list(zip(f1["threshold"], f1["recall"], strict=True)), PALETTE[2]),
    ]
    threshold = evaluation["predictor"]["threshold"]
    full = (0.0, 1.02)
    return {
        "precision_recall": line_chart([everything, *by_class], "recall", "precision", x_range=(0, 1), y_range=full),
        "f1": line_chart(lines, "score threshold", "", x_range=(0, 1), y_range=full, marker=(threshold, f"threshold {threshold:g}")),
    }  # fmt: skip


def _training(folder: RunFolder) -> dict[str, Any]:
    """Loss by step and the main metric by step, of the newest attempt at each step."""
    values: dict[str, dict[int, float]] = {}
    for event in folder.events():
        if event["kind"] == "metrics":
            for name, value in event["values"].items():
                if isinstance(value, int | float) and event.get("step") is not None:
                    values.setdefault(name, {})[int(event["step"])] = float(value)
    series = {name: _thinned(sorted(found.items())) for name, found in values.items()}
    losses = [
        Series("training", series.get("train/loss", []), BLUE),
        Series("validation", series.get("val/loss", []), PALETTE[1], dots=True),
    ]
    metric = "val/side_error_mm" if "val/side_error_mm" in series else "val/side_error_px"
    side = [Series("validation", series.get(metric, []), BLUE, dots=True)]
    return {
        "loss": line_chart([s for s in losses if s.points], "step", "loss", log_y=True) if any(s.points for s in losses) else None,
        "side": line_chart(side, "step", f"side error, {metric[-2:]}", log_y=True) if side[0].points else None,
    }  # fmt: skip


def _thinned(points: Sequence[tuple[int, float]], most: int = 400) -> list[tuple[float, float]]:
    """Means of neighbours, so that a long training stays a small file."""
    step = -(-len(points) // most)
    groups = [points[n : n + step] for n in range(0, len(points), step)] if step else []
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


# --- pictures ---------------------------------------------------------------------------------------------------


def _worst(version: Version, evaluation: Mapping[str, Any], source: Path) -> list[dict[str, Any]]:
    answers = read_predictions(source / "predictions.parquet", evaluation["key"])
    if answers is None:
        return []
    truth = {sample.id: (sample, labels) for sample, labels in version.records(evaluation["split"])}
    classes, threshold = evaluation["predictor"]["classes"], evaluation["predictor"]["threshold"]
    rows = []
    for row in evaluation["samples"][:WORST]:
        sample, labels = truth[row["sample"]]
        answer = answers["plain"][row["sample"]]
        shown = answer.model_copy(update={"instances": tuple(i for i in answer.instances if i.score >= threshold)})
        image = overlay(
            decode(version.image_path(sample)), shown, classes, truth=[a for a in labels if a.label in classes],
            mm_per_px=sample.mm_per_px, longest_px=OVERLAY_PX,
        )  # fmt: skip
        rows.append({
            **row, "size": (image.shape[1], image.shape[0]), "source": sample.sources[0] if sample.sources else sample.id,
            "jpeg": base64.b64encode(encoded(image)).decode(),
        })  # fmt: skip
    return rows
