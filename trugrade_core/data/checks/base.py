"""What a check is: a function `(Facts) -> Result`, and the words that all checks share.

A check reads, streams, and changes nothing. What it holds against the dataset is a list of `Finding`s: how bad, which
samples, why in plain words with numbers, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from trugrade_core.data.store import Dataset
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, ClassDef, Instance, Record, Sample, ShapeKind, VersionManifest
from trugrade_core.workspace import Workspace

CheckName = Literal["label_consistency", "class_balance", "image_quality", "annotation_coverage", "format_validation"]
CHECKS: tuple[CheckName, ...] = (
    "label_consistency",
    "class_balance",
    "image_quality",
    "annotation_coverage",
    "format_validation",
)
Severity = Literal["info", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first."""
Status = Literal["ok", "warning", "fail", "not_checked"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every number that a check of labels, balance, coverage or format goes by. Those of pictures stand in `images`."""

    same_shape_iou: float = 0.95
    """From here on two shapes of one sample are the same one drawn twice."""
    least_px: float = 1.0
    """A box or outline thinner or smaller than this covers nothing."""
    outside_px: float = 1.0
    """How far a shape may reach over the picture's rim: what importers round."""
    nesting_mm: float = 0.05
    """How far the inner border may stand over the outer one."""
    unusual_sigmas: float = 6.0
    """Robust standard deviations (1.4826 MAD) from the dataset's median, for sizes and distances."""
    unusual_least: float = 0.03
    """A size nearer than this share to the usual one is never unusual."""
    usual_of: int = 12
    """Shapes that are needed before there is a usual size."""
    suspect_mm: float = 0.25
    """A side nearer than this to where the model or the picture's own edge puts it is never suspect."""
    small_class: int = 30
    """Labelled shapes (scores, tags) of a class in a split; below it nothing sure can be said of the class."""
    smallest_class: int = 10
    """Labelled samples of a class in test; below it a figure of the class misleads."""
    small_test_cards: int = 59
    """Cards held out: with fewer, even a model without one error is not shown to be right on 95 % of cards."""
    imbalance: float = 20.0
    """The most frequent class to the rarest."""
    majority: float = 0.6
    """Share of one score level from which 'always say that' looks good."""
    unlabelled: float = 0.2
    undecided: float = 0.05
    """Shares of samples without labels, and of those marked unsure or rescan."""
    spoilt: float = 0.05
    """Share of samples with an error from which the dataset is not fit."""


LIMITS = Limits()


class Finding(Record):
    """One thing held against the dataset.

    `code` is stable and meant for programs: `label.inside_out`, `leak.card`, `image.blur`. `subject` tells findings of
    one code apart (a class, a split), so that each can be accepted by itself. No `samples` means the dataset as a whole.
    `details` holds the numbers behind `why` as JSON values; `by_sample` in it, {sample: number or words}, says more of
    each sample and is shown beside its picture; `names`, of a finding about the dataset as a whole, lists what it speaks
    of (classes, grades), so that one that speaks of more is not the one that was accepted.
    """

    check: CheckName
    code: str
    severity: Severity
    samples: tuple[str, ...] = ()
    why: str
    action: str
    subject: str = ""
    details: dict[str, Any] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """What it is accepted under."""
        return f"{self.code}:{self.subject}" if self.subject else self.code


class Result(Record):
    """What a check came to. `score` is the share of what was looked at that nothing worse than info is held against,
    None where nothing was looked at; `why` says why nothing (or not all) was, or what was looked at."""

    status: Status
    score: float | None = None
    findings: tuple[Finding, ...] = ()
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the task asks of a dataset, as values: the room of tasks lies above this one."""

    task: str
    title: str
    kind: Literal["instances", "mask", "score", "tags", "map"]
    shapes: tuple[ShapeKind, ...]
    classes: tuple[str, ...]
    dpi: int
    finest_mm: float
    scores: tuple[float, ...]
    whole_card: bool
    """Whether a picture shows one whole card, so that it has one of each border and card-like sizes."""
    borders: tuple[str, ...] = ()
    """The dataset's classes that are borders of the whole card: the outer one, then the one inside it."""
    amount: str = ""
    """How many pictures are wanted, in the task's words."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a check is given. `records` gives every sample with its labels of layer main, in order of id, anew at each
    call and one at a time in memory; samples that are excluded are left out.

    `deep` allows work on the pixels of images that nothing is stored for yet (minutes); without it a check uses what is
    stored and says how much that was. `predictions` are held-out answers of a model by sample id, `None` where no run
    has any. `dataset` is None for a folder that was not imported, `manifest` None for the dataset as it is now.
    """

    ws: Workspace
    name: str
    classes: tuple[ClassDef, ...]
    records: Callable[[], Iterator[tuple[Sample, list[Annotation]]]]
    image_path: Callable[[Sample, str], Path]
    needs: Needs | None = None
    deep: bool = False
    progress: Progress = field(default=lambda done, total, text: None)
    dataset: Dataset | None = None
    manifest: VersionManifest | None = None
    predictions: Mapping[str, Sequence[Instance]] | None = None
    predicted_by: str = ""
    imported: Mapping[str, Any] | None = None
    """For a folder that was not imported: what an import says of it (`ImportReport.as_json`)."""

    def samples(self) -> Iterator[Sample]:
        return (sample for sample, _ in self.records())


def judged(findings: Iterable[Finding], looked_at: int, *, why: str = "") -> Result:
    """The result of a check that looked at so many samples: `not_checked` when at none, `fail` with an error,
    `warning` with a warning. A finding about the dataset as a whole costs half of the score, an error all of it."""
    found = tuple(sorted(findings, key=lambda f: SEVERITIES.index(f.severity)))
    if not looked_at and not found:
        return Result(status="not_checked", why=why)
    against = [f for f in found if f.severity != "info"]
    touched = {sample for f in against for sample in f.samples}
    share = 1 - min(1.0, len(touched) / looked_at) if looked_at else 0.0
    if whole := [f for f in against if not f.samples]:
        share *= 0.0 if any(f.severity == "error" for f in whole) else 0.5
    worst = {f.severity for f in found}
    status: Status = "fail" if "error" in worst else "warning" if "warning" in worst else "ok"
    return Result(status=status, score=round(share, 4), findings=found, why=why)


def counted(n: int, noun: str) -> str:
    """`1 sample`, `2,310 samples`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def some(names: Collection[str], most: int = 5) -> str:
    """The first few of many, in words: `a, b and 12 more`."""
    shown = list(names)[:most]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")
