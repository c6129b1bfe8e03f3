"""Label faults planted into good labels: how many of each the check finds, and how often it cries on what was left alone.

On made-up 600 dpi scans whose borders are known exactly, and, where they are, on the team's real scans with their
hand-drawn labels. Faults are planted several times over, on other samples each time; figures are sums.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.measure import Row
from benchmarks.scans import scans
from trugrade_core.data.checks import run_checks
from trugrade_core.data.checks.base import Facts
from trugrade_core.data.checks.shapes import shape_of
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.store import Dataset
from trugrade_core.data.versions import split
from trugrade_core.schema import Annotation, Box, Instance, Sample
from trugrade_core.workflows.check_targets import Target, opened
from trugrade_core.workspace import Workspace

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "border_scans_600dpi"
MODEL_MM = 0.1
"""How far off, one sigma a side, the stand-in for a model is: a good one of this kind."""
SEED = 7
Records = list[tuple[Sample, list[Annotation]]]
Fault = Callable[[Sample, list[Annotation], np.random.Generator], tuple[Sample, list[Annotation]]]


def _box(a: Annotation) -> np.ndarray:
    shape = shape_of(a.value)
    assert shape is not None
    return np.array(shape.box)


def _as(a: Annotation, box: np.ndarray) -> Annotation:
    return a.model_copy(update={"value": Box(xyxy=tuple(float(v) for v in box))})


def shifted(mm: float, which: int) -> Fault:
    """The border (0 outer, 1 inner) moved by so much in a random direction."""

    def plant(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
        angle = rng.uniform(0, 2 * np.pi)
        by = np.array([np.cos(angle), np.sin(angle)] * 2) * mm / (sample.mm_per_px or 1)
        return sample, [_as(a, _box(a) + by) if n == which else a for n, a in enumerate(labels)]

    return plant


def swapped(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
    names = [a.label for a in labels]
    return sample, [a.model_copy(update={"label": name}) for a, name in zip(labels, reversed(names), strict=True)]


def doubled(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
    again = _as(labels[0], _box(labels[0]) + rng.normal(0, 3, 4))
    return sample, [*labels, again.model_copy(update={"id": f"{labels[0].id}-again"})]


def one_missing(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
    return sample, labels[:1]


def all_missing(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
    return sample, []


def other_format(sample: Sample, labels: list[Annotation], rng: np.random.Generator) -> tuple[Sample, list[Annotation]]:
    """Both borders drawn 3 % too tall."""
    low_high = np.array([0.0, -0.015, 0.0, 0.015])
    return sample, [_as(a, _box(a) + low_high * (_box(a)[3] - _box(a)[1])) for a in labels]


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "classes swapped": (swapped, ("label.swapped",)),
    "outer border drawn twice": (doubled, ("label.duplicate", "label.several")),
    "inner border missing": (one_missing, ("coverage.missing_border",)),
    "no labels though done": (all_missing, ("coverage.empty",)),
    "outer border shifted by 3 mm": (shifted(3, 0), ("label.off_edge", "label.inside_out", "suspect.border")),
    "outer border shifted by 1 mm": (shifted(1, 0), ("label.off_edge", "label.inside_out", "suspect.border")),
    "outer border shifted by 0.3 mm": (shifted(0.3, 0), ("label.off_edge", "label.inside_out", "suspect.border")),
    "inner border shifted by 3 mm": (shifted(3, 1), ("label.inside_out", "suspect.border")),
    "inner border shifted by 1 mm": (shifted(1, 1), ("label.inside_out", "suspect.border")),
    "inner border shifted by 0.3 mm": (shifted(0.3, 1), ("label.inside_out", "suspect.border")),
    "both borders 3 % too tall": (other_format, ("label.unusual_size", "label.off_edge", "suspect.border")),
}
"""{fault: (how it is planted, the codes that should name it)}."""


def bench(scratch: Path, quick: bool) -> list[Row]:
    made = scans(26, 100) if quick else scans(64)
    rows = _round(scratch / "made", made, "made-up scans", 1 if quick else 4, origin="synthetic")
    if REAL.is_dir() and not quick:
        rows += _round(scratch / "real", REAL, "real scans", 12, labels=Path("labels_dual_class"),
                       classes=("outer_border", "graphical_border"), dpi=600)  # fmt: skip
    return rows


def _round(folder: Path, source: Path, where: str, times: int, **options: object) -> list[Row]:
    ws = Workspace.open(folder)
    import_dataset(ws, source, "cards", ImportOptions.model_validate(options))
    split(Dataset.open(ws, "cards"), (0.6, 0.2, 0.2), 0)
    with opened(ws, Target("cards", "", None), task="border_detection.dual_class", deep=True) as found:
        facts = found.facts
        records = list(facts.records())
        rows = []
        for model in (False, True):
            rng = np.random.default_rng(SEED)
            count = Counts()
            for _ in range(times):
                asked = dataclasses.replace(facts, **_stand_in(records, rng)) if model else facts
                planted, touched = _plant(records, rng)
                count.add(_flagged(asked, planted), touched, len(records), model)
            named = _flagged(dataclasses.replace(facts, **_stand_in(records, rng)) if model else facts, records)
            rows += count.rows(where, model, named, len(records))
        return [*rows, _card_row(facts, records, where)]


def _plant(records: Records, rng: np.random.Generator) -> tuple[Records, dict[str, set[str]]]:
    """(records with faults, {fault: the samples that have it}): each sample has at most one, half of them none."""
    each = max(1, len(records) // (2 * len(FAULTS)))
    order = iter(rng.permutation(len(records)).tolist())
    planted, where = list(records), dict[str, set[str]]()
    for name, (fault, _) in FAULTS.items():
        where[name] = set()
        for n in (next(order) for _ in range(each)):
            sample, labels = records[n]
            planted[n] = fault(sample, sorted(labels, key=lambda a: a.label != "outer_border"), rng)
            where[name].add(sample.id)
    return planted, where


@dataclasses.dataclass
class Counts:
    """By fault, summed over plantings: found, planted, named without one, without one. A fault that only a model could
    find is counted with a model alone."""

    found: Counter[str] = dataclasses.field(default_factory=Counter)
    planted: Counter[str] = dataclasses.field(default_factory=Counter)
    false: Counter[str] = dataclasses.field(default_factory=Counter)
    untouched: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, flagged: dict[str, set[str]], planted: dict[str, set[str]], total: int, model: bool) -> None:
        touched = set().union(*planted.values())
        for name, (_, codes) in FAULTS.items():
            hit = set().union(*(flagged.get(code, set()) for code in _asked(codes, model)))
            self.found[name] += len(hit & planted[name])
            self.planted[name] += len(planted[name])
            self.false[name] += len(hit - touched)
            self.untouched[name] += total - len(touched)

    def rows(self, where: str, model: bool, named: dict[str, set[str]], total: int) -> list[Row]:
        with_model = ", with a model" if model else ""
        found = [
            Row(
                name=f"{where}: {name}{with_model}",
                figure=100 * self.found[name] / self.planted[name],
                unit="% found",
                compared_with=f"{self.false[name]} false of {self.untouched[name]} untouched",
                note=f"{self.found[name]} of {self.planted[name]} by {', '.join(_asked(codes, model))}"
                + (f"; a stand-in model, {MODEL_MM} mm a side" if model else ""),
            )
            for name, (_, codes) in FAULTS.items()
            if not model or any(code.startswith("suspect") for code in codes)
        ]
        samples = set().union(*(own for code, own in named.items() if code.startswith(("label.", "suspect."))))
        found.append(
            Row(
                name=f"{where}: nothing planted{with_model}",
                figure=100 * len(samples) / total,
                unit="% named",
                note=f"{len(samples)} of {total} samples"
                + ("" if "real" in where else ": false alarms, these labels are exact"),
            )
        )
        return found


def _asked(codes: tuple[str, ...], model: bool) -> list[str]:
    return [code for code in codes if model or not code.startswith("suspect")]


def _stand_in(records: Records, rng: np.random.Generator) -> dict[str, object]:
    """Answers as a model would give them: every true border, each side off by MODEL_MM (one sigma)."""
    answers: dict[str, list[Instance]] = {}
    for sample, labels in records:
        sigma = MODEL_MM / (sample.mm_per_px or 1)
        answers[sample.id] = [
            Instance(label=str(a.label), score=0.99, box=tuple((_box(a) + rng.normal(0, sigma, 4)).tolist()))
            for a in labels
        ]
    return {"predictions": answers, "predicted_by": "a stand-in"}


def _flagged(facts: Facts, records: Records) -> dict[str, set[str]]:
    """{code: samples that it is held against}."""

    def again() -> Iterator[tuple[Sample, list[Annotation]]]:
        return iter(records)

    found: dict[str, set[str]] = {}
    for name, result in run_checks(dataclasses.replace(facts, records=again)).items():
        if name in ("label_consistency", "annotation_coverage"):
            for finding in result.findings:
                found.setdefault(finding.code, set()).update(finding.samples)
    return found


def _card_row(facts: Facts, records: Sequence[tuple[Sample, list[Annotation]]], where: str) -> Row:
    """One card named on samples of two splits, ten times."""
    by_split: dict[str, list[int]] = {}
    for n, (sample, _) in enumerate(records):
        by_split.setdefault(str(sample.split), []).append(n)
    planted, pairs = list(records), min(10, len(by_split["train"]), len(by_split["test"]))
    for a, b in zip(by_split["train"][:pairs], by_split["test"][:pairs], strict=True):
        planted[b] = planted[b][0].model_copy(update={"card": planted[a][0].card}), planted[b][1]
    want = {planted[n][0].id for n in (*by_split["train"][:pairs], *by_split["test"][:pairs])}
    result = run_checks(dataclasses.replace(facts, records=lambda: iter(planted)))["format_validation"]
    found = {s for f in result.findings if f.code == "leak.card" for s in f.samples}
    return Row(
        name=f"{where}: a card in two splits", figure=100 * len(found & want) / len(want), unit="% found",
        compared_with=f"{len(found - want)} false of {len(records) - len(want)} untouched", note="by leak.card",
    )  # fmt: skip
