"""The parts of an evaluation a person looks into: curves, confusion, errors, sides, samples; each leads to its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trugrade_core.evaluate.bootstrap import Array, interval, per_card, quantile, ratio
from trugrade_core.evaluate.matches import Matches
from trugrade_core.evaluate.measures import cell
from trugrade_core.tasks.instances.average_precision import RECALLS, resampled_precision
from trugrade_core.tasks.instances.metrics import ERROR_TYPES, SIDES, f1_by_threshold, precision_recall

MOST_SAMPLES = 200
"""As many sample ids stand behind a cell or a kind of error."""


def numbers(values: Array) -> list[float | None]:
    """For JSON: nan is null."""
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


# --- curves -----------------------------------------------------------------------------------------------------


def curves(m: Matches, counts: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Precision-recall for each class and for all, with a band for all; F1, precision, recall by threshold, with bands.

    The samples behind a point are the rows of found.parquet at its score or above, and of objects.parquet below it.
    """
    hits = m.found_hits_box[:, 0]
    by_class = {
        name: precision_recall(
            m.found_score[m.found_label == n], hits[m.found_label == n], int((m.object_label == n).sum())
        )
        for n, name in enumerate(classes, start=1)
    }
    truths = per_card(np.ones(len(m.object_card)), m.object_card, len(m.cards))
    drawn = resampled_precision(m.found_score, hits[:, None], m.found_card, truths, counts)[0]
    low, high = interval(drawn)
    band = {"recall": RECALLS.tolist(), "precision": numbers(drawn[0]), "low": numbers(low), "high": numbers(high)}
    return {
        "precision_recall": {"all": precision_recall(m.found_score, hits, len(m.object_label)), **by_class},
        "precision_recall_band": band,
        "f1_by_threshold": _f1_curve(m, counts),
    }


def _f1_curve(m: Matches, counts: Array) -> dict[str, Any]:
    found: dict[str, Any] = f1_by_threshold(m.found_score, m.found_hits_box[:, 0], len(m.object_label))
    thresholds = np.array(found["threshold"])
    shown = m.found_score[:, None] >= thresholds
    right = counts @ per_card((shown & m.found_hits_box[:, :1]).astype(float), m.found_card, len(m.cards))
    total = counts @ per_card(shown.astype(float), m.found_card, len(m.cards))
    objects = counts @ per_card(np.ones(len(m.object_card)), m.object_card, len(m.cards))
    low, high = interval(ratio(2 * right, total + objects[:, None]))
    return {**found, "low": numbers(low), "high": numbers(high)}


# --- confusion and errors ---------------------------------------------------------------------------------------


def confusion(m: Matches, counts: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Counts of true (rows) against found classes (columns), background first, with interval and samples of each cell."""
    names = ["background", *classes]
    size = len(names)
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (m.pairs[:, 1], m.pairs[:, 2]), 1)
    cells = []
    for true, found in zip(*np.nonzero(matrix), strict=True):
        own = m.pairs[(m.pairs[:, 1] == true) & (m.pairs[:, 2] == found), 0]
        cells.append({"true": names[true], "found": names[found], **counted(m, own, counts)})
    return {"classes": names, "matrix": matrix.tolist(), "cells": cells}


def counted(m: Matches, images: np.ndarray[Any, np.dtype[np.int64]], counts: Array) -> dict[str, Any]:
    """How many, their interval (none for none: cards drawn again would stay at 0), and at most MOST_SAMPLES of the
    samples they are in."""
    if len(images) == 0:
        return {"count": 0, "low": None, "high": None, "samples": []}
    drawn = counts @ per_card(np.ones(len(images)), m.image_card[images], len(m.cards))
    samples = list(dict.fromkeys(m.samples[i] for i in images))
    found = cell(drawn, len(m.cards))
    return {"count": len(images), "low": found["low"], "high": found["high"], "samples": samples[:MOST_SAMPLES]}


def errors(m: Matches, counts: Array) -> dict[str, Any]:
    """By type: count with interval, samples."""
    kinds = np.array(m.found_error, object)
    found: dict[str, Any] = {}
    for kind in ERROR_TYPES:
        images = m.object_image[m.object_missed] if kind == "missed" else m.found_image[kinds == kind]
        found[kind] = counted(m, images, counts)
    return found


# --- sides ------------------------------------------------------------------------------------------------------


def sides(m: Matches, counts: Array, classes: Sequence[str]) -> dict[str, Any]:
    """For each class and side: median and p95 of the absolute error in px (mm beside where known) with the interval
    of the median, and the bias (mean of found minus true over matched objects: positive is right or down)."""
    found: dict[str, Any] = {}
    for n, name in enumerate(classes, start=1):
        own = m.object_label == n
        rows = {}
        for s, side in enumerate(SIDES):
            signed = m.object_sides_px[own, s]
            scale = m.object_mm_per_px[own]
            matched = ~np.isnan(m.object_score[own])
            median = quantile(np.abs(signed), m.object_card[own], counts, 0.5)
            row = {"px": cell(median, len(m.cards), "no such object"), "px_p95": _quantile(np.abs(signed), 0.95),
                   "bias_px": float(signed[matched].mean()) if matched.any() else None}  # fmt: skip
            if len(signed) and not np.isnan(scale).any():
                row["mm"] = cell(quantile(np.abs(signed) * scale, m.object_card[own], counts, 0.5), len(m.cards))
                row["mm_p95"] = _quantile(np.abs(signed) * scale, 0.95)
            rows[side] = row
        found[name] = rows
    return found


def _quantile(values: Array, q: float) -> float | None:
    return float(np.quantile(values, q)) if len(values) else None


# --- samples ----------------------------------------------------------------------------------------------------


def samples(m: Matches, classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each image, worst first: missed and extra objects, then the worst side."""
    names = ("", *classes)
    rows: list[dict[str, Any]] = [
        {"sample": sample, "card": m.cards[card], "right": None if np.isnan(right) else bool(right),
         "mm_per_px": None, "worst_px": 0.0, "worst_mm": None, "missed": 0, "extra": 0, "objects": [], "errors": []}
        for sample, card, right in zip(m.samples, m.image_card, m.image_right, strict=True)
    ]  # fmt: skip
    for n, (image, label) in enumerate(zip(m.object_image, m.object_label, strict=True)):
        row, signed, scale = rows[image], m.object_sides_px[n], m.object_mm_per_px[n]
        missed = bool(np.isnan(m.object_score[n]))
        worst = float(np.abs(signed).max())
        row["missed"] += missed
        row["worst_px"] = max(row["worst_px"], worst)
        if not np.isnan(scale):
            row["mm_per_px"] = float(scale)
            row["worst_mm"] = max(row["worst_mm"] or 0.0, worst * float(scale))
        row["objects"].append({
            "label": names[label], "missed": missed, "score": None if missed else float(m.object_score[n]),
            "sides_px": None if missed else [round(float(v), 3) for v in signed],
        })  # fmt: skip
    for n, (image, kind) in enumerate(zip(m.found_image, m.found_error, strict=True)):
        if kind:
            rows[image]["extra"] += 1
            rows[image]["errors"].append(
                {"type": kind, "label": names[m.found_label[n]], "score": float(m.found_score[n])}
            )
    return sorted(rows, key=lambda r: (-(r["missed"] + r["extra"]), -r["worst_px"], r["sample"]))
