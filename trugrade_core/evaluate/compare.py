"""Two evaluations on the same version and split: which is better, by how much, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trugrade_core.errors import UsageError
from trugrade_core.evaluate import matches as matching
from trugrade_core.evaluate.bootstrap import draws
from trugrade_core.evaluate.measures import NAMES, difference, measure, side_measures
from trugrade_core.workspace import read_json

MOST_SAMPLES = 50


def compare(a: Path, b: Path) -> dict[str, Any]:
    """`a` and `b` are folders that `evaluate` wrote. Differences are a minus b, paired: both are judged on the same
    draws of cards.

    Returns `{"dataset", "split", "n_cards", "a", "b", "metrics": {name: {"a", "b", "difference": {"value", "low",
    "high", "n_cards", "better"}}}, "samples"}`; `samples` those whose worst side changed most. Raises UsageError when
    the two were not judged on the same cards by the same rules.
    """
    first, second = read_json(a / "evaluation.json"), read_json(b / "evaluation.json")
    _check_same(first, second)
    drawn, found = [], []
    for folder, evaluation in ((a, first), (b, second)):
        names, threshold = evaluation["predictor"]["classes"], evaluation["predictor"]["threshold"]
        plain = matching.read(folder, "plain", names, threshold)
        shifted = matching.read(folder, "shifted", names, threshold)
        counts = draws(len(plain.cards), evaluation["settings"]["resamples"], evaluation["settings"]["seed"])
        values = measure(plain, counts, len(names))
        values["side_error_mm_shifted"] = side_measures(shifted, counts)["side_error_mm"]
        drawn.append(values)
        found.append(plain)
    cards = len(found[0].cards)
    metrics = {
        name: {
            "a": first["metrics"][name]["value"],
            "b": second["metrics"][name]["value"],
            "difference": difference(drawn[0][name], drawn[1][name], name, cards),
        }
        for name in NAMES
    }
    return {
        "dataset": first["dataset"],
        "split": first["split"],
        "n_cards": cards,
        "a": first["predictor"],
        "b": second["predictor"],
        "metrics": metrics,
        "samples": _changed(first["samples"], second["samples"]),
    }


def _check_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    def rules(evaluation: dict[str, Any]) -> dict[str, Any]:
        return {
            "dataset version": (evaluation["dataset"], evaluation["version_digest"]),
            "split": evaluation["split"],
            "classes": sorted(evaluation["predictor"]["classes"]),
            "tolerance of a side": evaluation["settings"]["side_mm"],
            "draws": (evaluation["settings"]["resamples"], evaluation["settings"]["seed"]),
        }

    one, two = rules(a), rules(b)
    for what in one:
        if one[what] != two[what]:
            raise UsageError(
                f"these evaluations differ in the {what}: {one[what]} and {two[what]}",
                code="evaluate.not_comparable",
                what_to_do="Evaluate both on the same version and split; only then do their figures compare.",
            )


def _changed(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[dict[str, Any]]:
    other = {row["sample"]: row for row in b}
    rows = [
        {"sample": row["sample"], "card": row["card"], "worst_px": [row["worst_px"], other[row["sample"]]["worst_px"]],
         "right": [row["right"], other[row["sample"]]["right"]]}
        for row in a
    ]  # fmt: skip
    return sorted(rows, key=lambda r: -abs(float(np.subtract(*r["worst_px"]))))[:MOST_SAMPLES]
