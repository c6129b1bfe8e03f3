"""label_consistency: labels that cannot be, labels unlike the rest, and (from `suspects`) labels unlike what is seen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trugrade_core.coordinates import mid_side_box
from trugrade_core.data.card_facts import FORMATS
from trugrade_core.data.checks.base import LIMITS, Facts, Finding, Result, Severity, counted, judged
from trugrade_core.data.checks.edges import Drawn, drawn, held_to_edges
from trugrade_core.data.checks.shapes import Shape, crosses_itself, iou, overlap, shape_of
from trugrade_core.data.checks.suspects import Suspects
from trugrade_core.schema import XYXY, Annotation, Box, Mask, Polygon, Sample, Score, Tags, Value

FORMAT_SHARE = 0.015
"""Cards are cut to some tenths of a millimetre."""


class Rule(NamedTuple):
    """How a kind of fault is told: `{n}` samples, `{subject}`, `{worst}` its largest number."""

    severity: Severity
    why: str
    action: str


RULES: dict[str, Rule] = {
    "label.swapped": Rule(
        "error",
        "{n}: the {subject} is larger than the border it should lie in, so the two classes were swapped",
        "Swap the two classes on these samples.",
    ),
    "label.inside_out": Rule(
        "error",
        "{n}: the {subject} reaches over the outer border, by up to {worst}",
        "Draw the side that reaches over again, on both borders.",
    ),
    "label.empty": Rule(
        "error",
        "{n}: a {subject} covers nothing (thinner or smaller than 1 px, or an empty mask)",
        "Delete the shape, or draw it again.",
    ),
    "label.off_picture": Rule(
        "error",
        "{n}: a {subject} lies wholly outside the picture",
        "Look whether labels and pictures belong together (rotated, resized or renamed since), then draw it again.",
    ),
    "label.outside": Rule(
        "warning",
        "{n}: a {subject} reaches over the rim of the picture, by up to {worst}",
        "Pull it back to where the picture ends; if most samples are here, the pictures were cropped after labelling.",
    ),
    "label.crosses_itself": Rule(
        "warning",
        "{n}: the outline of a {subject} crosses itself, so what is inside is not clear",
        "Put its points in order, or draw it again.",
    ),
    "label.duplicate": Rule(
        "warning",
        "{n}: a {subject} is drawn twice (two shapes that overlap by {worst} or more)",
        "Delete one of the two.",
    ),
    "label.two_classes": Rule(
        "warning",
        "{n}: one shape carries two classes, {subject} (they overlap by {worst} or more)",
        "Keep the class that is right; where both are meant (a borderless card), accept this with the reason.",
    ),
    "label.several": Rule(
        "warning",
        "{n}: more than one {subject} on a picture of one card (up to {worst})",
        "Keep the right one. If pictures show several cards, accept this with the reason.",
    ),
    "label.unusual_size": Rule(
        "warning",
        "{n}: the size of the {subject} is unlike the dataset's usual {usual}, by up to {worst}",
        "Look at the shape. If these are cards of another format, or photographs, accept this with the reason.",
    ),
    "label.score_range": Rule(
        "error",
        "{n}: a score lies outside {subject} (as far as {worst})",
        "Give the score again, on the task's scale.",
    ),
    "label.score_step": Rule(
        "warning",
        "{n}: a score is not on the task's steps ({subject})",
        "Round it to a half step, or give it again.",
    ),
    "label.unknown_class": Rule(
        "error",
        "{n}: labels of the class '{subject}', which is not in the dataset's list, so no model learns it",
        "Add the class to the dataset, or rename these labels.",
    ),
    "label.foreign_mask": Rule(
        "error",
        "{n}: a mask of the {subject} is made for a picture of another size",
        "Import the mask that belongs to this picture, or draw it again.",
    ),
}


@dataclass
class Seen:
    """What one pass over the labels gathers. `faults`: {(code, subject): {sample: number or words}}."""

    samples: int = 0
    labels: int = 0
    faults: dict[tuple[str, str], dict[str, float | str]] = field(default_factory=lambda: defaultdict(dict))
    units: dict[tuple[str, str], str] = field(default_factory=dict)
    sizes: dict[str, list[tuple[str, float, float, bool]]] = field(default_factory=lambda: defaultdict(list))
    """By class: (sample, longer side, shorter side, in mm)."""
    outlines: list[Drawn] = field(default_factory=list)

    def note(self, code: str, subject: str, sample: str, value: float | str = "", unit: str = "") -> None:
        found = self.faults[code, subject]
        before = found.get(sample)
        if isinstance(value, float):
            value = round(max(value, before), 4) if isinstance(before, float) else round(value, 4)
        found[sample] = value
        if unit == "px" or (code, subject) not in self.units:  # in mm only where every one is
            self.units[code, subject] = unit


def label_consistency(facts: Facts) -> Result:
    """Looks at every sample that has labels; what it could not look at is said in `why`."""
    seen = Seen()
    model = Suspects(facts)
    for sample, labels in facts.records():
        if labels:
            seen.samples += 1
            seen.labels += len(labels)
            _look(facts, sample, labels, seen)
            model.look(sample, labels)
    if not seen.samples:
        return Result(status="not_checked", why="no sample has labels yet")
    findings = [*_unusual(facts, seen), *_told(seen)]
    outcome = model.outcome()
    why = f"{counted(seen.labels, 'label')} on {counted(seen.samples, 'sample')}; {outcome.why}"
    if facts.needs and facts.needs.borders:
        off, how = held_to_edges(facts, seen.outlines, facts.needs.borders[0])
        findings += off
        why += f"; {how}"
    return judged([*findings, *outcome.findings], seen.samples, why=why)


def _look(facts: Facts, sample: Sample, annotations: Sequence[Annotation], seen: Seen) -> None:
    known = {c.name for c in facts.classes}
    shapes: list[tuple[Annotation, Shape]] = []
    for a in annotations:
        name = a.label or "label"
        for label in a.value.tags if isinstance(a.value, Tags) else [a.label] if a.label is not None else []:
            if label not in known:
                seen.note("label.unknown_class", label, sample.id)
        if isinstance(a.value, Score):
            _score(facts, sample, a.value.score, seen)
        elif isinstance(a.value, Mask) and a.value.size_hw != (sample.main.height, sample.main.width):
            height, width = a.value.size_hw
            seen.note("label.foreign_mask", name, sample.id, f"{width} × {height} px")
        elif isinstance(a.value, Box | Polygon | Mask):
            shape = shape_of(a.value)
            crossing = isinstance(a.value, Polygon) and crosses_itself(a.value)
            if crossing:
                seen.note("label.crosses_itself", name, sample.id)
            # The two halves of a bow tie cancel each other: the area of what crosses itself says nothing.
            if (
                shape is None
                or min(shape.wh) < LIMITS.least_px
                or (not crossing and shape.area_px < LIMITS.least_px**2)
            ):
                seen.note("label.empty", name, sample.id)
                continue
            shapes.append((a, shape))
            _rim(sample, name, shape, seen)
    _pairs(sample, shapes, seen)
    if facts.needs and facts.needs.whole_card:
        _card(facts, sample, shapes, seen)


def _score(facts: Facts, sample: Sample, score: float, seen: Seen) -> None:
    scale = facts.needs.scores if facts.needs else ()
    if not scale:
        return
    low, high = scale[0], scale[-1]
    if not low <= score <= high:
        seen.note("label.score_range", f"{low:g} to {high:g}", sample.id, score)
    elif score not in scale:
        seen.note("label.score_step", f"{low:g} to {high:g} by {scale[1] - low:g}", sample.id, score)


def _rim(sample: Sample, name: str, shape: Shape, seen: Seen) -> None:
    x0, y0, x1, y1 = shape.box
    right, bottom = sample.main.width - 0.5, sample.main.height - 0.5
    if x1 <= -0.5 or y1 <= -0.5 or x0 >= right or y0 >= bottom:
        seen.note("label.off_picture", name, sample.id)
    elif (over := max(-0.5 - x0, -0.5 - y0, x1 - right, y1 - bottom)) > LIMITS.outside_px:
        seen.note("label.outside", name, sample.id, over, "px")


def _pairs(sample: Sample, shapes: Sequence[tuple[Annotation, Shape]], seen: Seen) -> None:
    for (a, own), (b, other) in combinations(shapes, 2):
        # The boxes of two shapes that nearly are one nearly are one: only then are the shapes themselves compared.
        if iou(own.box, other.box) < LIMITS.same_shape_iou or overlap(a.value, b.value) < LIMITS.same_shape_iou:
            continue
        share = f"{100 * LIMITS.same_shape_iou:g} %"
        if a.label == b.label:
            seen.note("label.duplicate", a.label or "label", sample.id, share)
        else:
            seen.note("label.two_classes", " and ".join(sorted((str(a.label), str(b.label)))), sample.id, share)


def _card(facts: Facts, sample: Sample, shapes: Sequence[tuple[Annotation, Shape]], seen: Seen) -> None:
    """What holds on a picture of one whole card: one of each border, the inner one inside, sizes as usual."""
    assert facts.needs is not None  # noqa: S101
    by_label: dict[str, list[Shape]] = defaultdict(list)
    for a, shape in shapes:
        if a.label is not None:
            by_label[a.label].append(shape)
    scale = sample.mm_per_px
    outer = [_sides(a.value) for a, _ in shapes if facts.needs.borders and a.label == facts.needs.borders[0]]
    if len(outer) == 1 and (row := drawn(facts, sample, outer[0])):
        seen.outlines.append(row)
    for label, own in by_label.items():
        if label in facts.needs.borders and len(own) > 1:
            seen.note("label.several", label, sample.id, float(len(own)))
        elif label in facts.needs.borders:
            long, short = max(own[0].wh), min(own[0].wh)
            seen.sizes[label].append((sample.id, long * (scale or 1), short * (scale or 1), scale is not None))
    if len(facts.needs.borders) == 2:
        outside, inside = (by_label.get(name, []) for name in facts.needs.borders)
        if len(outside) == len(inside) == 1:
            _nested(facts.needs.borders[1], sample, outside[0], inside[0], seen)


def _sides(value: Value) -> XYXY:
    """Where the sides of an outline lie half-way along: a tilted card's bounding box is wider than the card."""
    if isinstance(value, Polygon):
        left, top, right, bottom = (float(v) for v in mid_side_box(value.points))
        return left, top, right, bottom
    shape = shape_of(value)
    assert shape is not None  # noqa: S101
    return shape.box


def _nested(name: str, sample: Sample, outer: Shape, inner: Shape, seen: Seen) -> None:
    scale = sample.mm_per_px
    over = max(outer.box[0] - inner.box[0], outer.box[1] - inner.box[1],
               inner.box[2] - outer.box[2], inner.box[3] - outer.box[3])  # fmt: skip
    if over <= max(0.5, LIMITS.nesting_mm / scale if scale else LIMITS.outside_px):
        return
    if inner.area_px > outer.area_px and iou(outer.box, inner.box) > 0:
        seen.note("label.swapped", name, sample.id)
    else:
        seen.note("label.inside_out", name, sample.id, over * (scale or 1), "mm" if scale else "px")


def _unusual(facts: Facts, seen: Seen) -> Iterator[Finding]:
    """Borders whose length or shape is unlike those of the other cards. Where the scale is not known, only the shape
    (the shorter side to the longer) is compared."""
    for label, rows in sorted(seen.sizes.items()):
        for in_mm in (True, False):
            own = [row for row in rows if row[3] == in_mm]
            if len(own) < LIMITS.usual_of:
                continue
            long, short = (np.array([row[n] for row in own]) for n in (1, 2))
            off = _beyond(np.log(short / long))
            if in_mm:
                off = np.maximum(off, _beyond(np.log(long)))
                if facts.needs and label == facts.needs.borders[0]:
                    off[_is_a_format(long, short)] = 0
            usual = f"{np.median(long):.3g} × {np.median(short):.3g} mm" if in_mm else "shape"
            by_sample = {
                own[n][0]: f"{long[n]:.3g} × {short[n]:.3g} {'mm' if in_mm else 'px'}" for n in np.flatnonzero(off > 0)
            }
            if by_sample:
                rule = RULES["label.unusual_size"]
                worst = f"{100 * (np.exp(off.max()) - 1):.2g} %"
                n = counted(len(by_sample), "sample")
                yield Finding(
                    check="label_consistency", code="label.unusual_size", severity=rule.severity, subject=label,
                    samples=tuple(by_sample), why=rule.why.format(n=n, subject=label, usual=usual, worst=worst),
                    action=rule.action, details={"by_sample": by_sample},
                )  # fmt: skip


def _is_a_format(long_mm: NDArray[np.float64], short_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which are as large as cards are made: another format among many is no mistake."""
    found: NDArray[np.bool_] = np.any(
        [
            (np.abs(long_mm / long - 1) < FORMAT_SHARE) & (np.abs(short_mm / short - 1) < FORMAT_SHARE)
            for short, long in FORMATS.values()
        ],
        axis=0,
    )
    return found


def _beyond(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each value is from the median where that is unusual, else 0."""
    off = np.abs(values - np.median(values))
    limit = max(LIMITS.unusual_sigmas * 1.4826 * float(np.median(off)), LIMITS.unusual_least)
    return np.where(off > limit, off, 0.0)


def _told(seen: Seen) -> Iterator[Finding]:
    for (code, subject), by_sample in sorted(seen.faults.items()):
        rule = RULES[code]
        numbers = [value for value in by_sample.values() if isinstance(value, float)]
        unit = seen.units[code, subject]
        worst = f"{max(numbers, key=abs):.3g} {unit}".rstrip() if numbers else next(iter(by_sample.values()))
        said = {s: f"{v:.3g} {unit}".rstrip() if isinstance(v, float) else v for s, v in by_sample.items()}
        yield Finding(
            check="label_consistency", code=code, severity=rule.severity, subject=subject, samples=tuple(by_sample),
            why=rule.why.format(n=counted(len(by_sample), "sample"), subject=subject, worst=worst),
            action=rule.action, details={"by_sample": said} if any(said.values()) else {},
        )  # fmt: skip
