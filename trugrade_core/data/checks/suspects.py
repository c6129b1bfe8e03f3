"""Labels that a model, which never saw them, does not confirm.

Borders of a whole card are held to it side by side, in mm: IoU hides what matters there (0.95 still lets a side be
3 mm off). All other boxes are ranked by cleanlab's ObjectLab (Tkachenko, Thyagarajan and Mueller, 'ObjectLab: automated
diagnosis of mislabeled images in object detection data', 2023; confident learning for boxes, after Northcutt et al.).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trugrade_core.data.checks.base import LIMITS, Facts, Finding, counted
from trugrade_core.data.checks.shapes import iou, shape_of
from trugrade_core.schema import XYXY, Annotation, Instance, Sample

Array = NDArray[np.float64]
SIDES = ("left", "top", "right", "bottom")
LEAST_SCORE = 0.5
"""Answers that a model gives less are not asked."""
SURE_SCORE = 0.95
"""ObjectLab's own: from here on an answer without a label may be an overlooked object."""
SWAP_BELOW, PLACE_BELOW = 0.2, 0.45
"""ObjectLab's scores (0 surely wrong, 1 right): a likelihood of the class, and about the overlap of the box."""


class Outcome(NamedTuple):
    findings: tuple[Finding, ...]
    why: str


@dataclass
class Suspects:
    """Takes in samples one at a time and keeps of each that a model answered for only boxes."""

    facts: Facts
    sides: dict[str, list[tuple[str, Array, bool]]] = field(default_factory=lambda: defaultdict(list))
    """By border class: (sample, (4,) found minus drawn, in mm)."""
    missing: dict[str, dict[str, float | str]] = field(default_factory=lambda: defaultdict(dict))
    boxes: list[tuple[str, list[tuple[str, XYXY]], list[Instance]]] = field(default_factory=list)
    asked: int = 0

    def look(self, sample: Sample, annotations: Sequence[Annotation]) -> None:
        answers = (self.facts.predictions or {}).get(sample.id)
        if answers is None:
            return
        self.asked += 1
        borders = self.facts.needs.borders if self.facts.needs else ()
        drawn = [(a.label, shape.box) for a in annotations if a.label and (shape := shape_of(a.value)) is not None]
        sure = [i for i in answers if i.score >= LEAST_SCORE]
        for label in borders:
            self._border(sample, label, [box for name, box in drawn if name == label], sure)
        others = [(name, box) for name, box in drawn if name not in borders]
        if others or any(i.label not in borders for i in sure):
            self.boxes.append((sample.id, others, [i for i in sure if i.label not in borders]))

    def _border(self, sample: Sample, label: str, drawn: Sequence[XYXY], sure: Sequence[Instance]) -> None:
        best = max((i for i in sure if i.label == label), key=lambda i: i.score, default=None)
        if best is None:
            return
        if not drawn and best.score >= SURE_SCORE:
            self.missing[label][sample.id] = f"found with score {best.score:.2f}"
        elif len(drawn) == 1 and iou(drawn[0], best.box) > 0:
            off = np.subtract(best.box, drawn[0]) * (sample.mm_per_px or 1.0)
            self.sides[label].append((sample.id, off, sample.mm_per_px is not None))

    def outcome(self) -> Outcome:
        if self.facts.predictions is None:
            return Outcome((), "no run has judged held-out samples of it, so no label was held against a model")
        if not self.asked:
            return Outcome((), f"{self.facts.predicted_by} has judged other samples than these, so none was held to it")
        findings = [*self._shifted(), *self._overlooked(), *_objectlab(self.boxes, self.facts.predicted_by)]
        why = f"{counted(self.asked, 'sample')} held against {self.facts.predicted_by}, which never saw them"
        if self.sides and max(sum(row[2] for row in rows) for rows in self.sides.values()) < LIMITS.usual_of:
            why += f" (borders not: that takes {LIMITS.usual_of} with a known scale)"
        return Outcome(tuple(findings), why)

    def _shifted(self) -> Iterator[Finding]:
        for label, rows in sorted(self.sides.items()):
            own = [row for row in rows if row[2]]
            if len(own) < LIMITS.usual_of:
                continue
            off = np.stack([row[1] for row in own])
            off = off - np.median(off, axis=0)  # what the model is always off by is the model's
            usual = float(np.median(np.abs(off)))
            limit = max(LIMITS.suspect_mm, LIMITS.unusual_sigmas * 1.4826 * usual)
            by_sample = {own[n][0]: _side_words(off[n]) for n in np.flatnonzero(np.abs(off).max(axis=1) > limit)}
            if by_sample:
                yield Finding(
                    check="label_consistency", code="suspect.border", severity="warning", subject=label,
                    samples=tuple(by_sample), details={"by_sample": by_sample, "limit_mm": round(limit, 3)},
                    why=f"{counted(len(by_sample), 'sample')}: a side of the {label} lies more than {limit:.2g} mm from where "
                        f"{self.facts.predicted_by} sees it (usually {usual:.2g} mm)",
                    action="Look at that side at full zoom; draw it again where the label is off.",
                )  # fmt: skip

    def _overlooked(self) -> Iterator[Finding]:
        for label, by_sample in sorted(self.missing.items()):
            yield Finding(
                check="label_consistency", code="suspect.overlooked", severity="warning", subject=label,
                samples=tuple(by_sample), details={"by_sample": by_sample},
                why=f"{counted(len(by_sample), 'sample')}: no {label} is drawn, and {self.facts.predicted_by} is sure of one",
                action="Draw it, or mark the sample 'nothing there' with a word why.",
            )  # fmt: skip


def _side_words(off_mm: Array) -> str:
    worst = int(np.argmax(np.abs(off_mm)))
    return f"{SIDES[worst]} side {abs(off_mm[worst]):.2g} mm"


# --- cleanlab -----------------------------------------------------------------------------------------------------

WORDS = {
    "suspect.overlooked": ("an object that the model is sure of ({score}) has no label",
                           "Draw it where it is one."),
    "suspect.swapped": ("the model sees another class here (ObjectLab score {score})",
                        "Look which class is right."),
    "suspect.badly_placed": ("the shape lies badly on what the model sees (ObjectLab score {score})",
                             "Draw it again where it is off."),
}  # fmt: skip


def _objectlab(rows: Sequence[tuple[str, list[tuple[str, XYXY]], list[Instance]]], model: str) -> Iterator[Finding]:
    if not rows:
        return
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for sample, code, score in _scores(rows):
        found[code][sample] = round(min(score, found[code].get(sample, 1.0)), 3)
    for code, by_sample in sorted(found.items()):
        why, action = WORDS[code]
        ranked = dict(sorted(by_sample.items(), key=lambda item: item[1], reverse=code == "suspect.overlooked"))
        best = next(iter(ranked.values()))
        yield Finding(
            check="label_consistency", code=code, severity="warning", samples=tuple(ranked), action=action,
            why=f"{counted(len(ranked), 'sample')}: {why.format(score=f'up to {best:.2f}' if best > 0.5 else f'down to {best:.2f}')}; "
                f"held against {model}",
            details={"by_sample": ranked, "method": "cleanlab ObjectLab"},
        )  # fmt: skip


def _scores(rows: Sequence[tuple[str, list[tuple[str, XYXY]], list[Instance]]]) -> Iterator[tuple[str, str, float]]:
    from cleanlab.object_detection.rank import (  # type: ignore[import-untyped]
        compute_badloc_box_scores,
        compute_overlooked_box_scores,
        compute_swap_box_scores,
    )  # fmt: skip

    names = sorted({n for _, drawn, _ in rows for n, _ in drawn} | {i.label for _, _, answers in rows for i in answers})
    place = {name: n for n, name in enumerate(names)}
    labels: list[dict[str, Any]] = [
        {"bboxes": np.array([b for _, b in drawn], np.float64).reshape(-1, 4),
         "labels": np.array([place[n] for n, _ in drawn], np.int64)}
        for _, drawn, _ in rows
    ]  # fmt: skip
    answers = [
        [np.array([(*i.box, i.score) for i in own if i.label == name], np.float64).reshape(-1, 5) for name in names]
        for _, _, own in rows
    ]
    sure = {"labels": labels, "predictions": answers}
    overlooked = compute_overlooked_box_scores(**sure)
    swapped, placed = compute_swap_box_scores(**sure), compute_badloc_box_scores(**sure)
    for n, (sample, drawn, own) in enumerate(rows):
        if drawn:  # without any label nothing overlaps, and everything sure would be overlooked: coverage says so
            ordered = [i.score for name in names for i in own if i.label == name]
            for score, certain in zip(overlooked[n], ordered, strict=True):
                if not np.isnan(score) and certain >= SURE_SCORE:
                    yield sample, "suspect.overlooked", certain
        for code, scores, below in (
            ("suspect.swapped", swapped[n], SWAP_BELOW),
            ("suspect.badly_placed", placed[n], PLACE_BELOW),
        ):
            yield from ((sample, code, float(s)) for s in scores if s <= below)
