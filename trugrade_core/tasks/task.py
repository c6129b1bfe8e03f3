"""What a task is: a row of the task table, over a kind (which is code)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trugrade_core.schema import ShapeKind

Kind = Literal["instances", "mask", "score", "tags", "map"]

LABEL_SHAPES: dict[Kind, tuple[ShapeKind, ...]] = {
    "instances": ("box", "polygon", "mask"),
    "mask": ("mask", "polygon"),
    "score": ("score",),
    "tags": ("tags",),
    "map": (),
}
"""The annotation shapes that a kind learns from; a map is measured, nobody draws it."""

TRAINABLE: frozenset[Kind] = frozenset({"instances"})
"""The kinds that have their code (encode, decode, metrics) in this version."""

SCORES = tuple(n / 2 for n in range(2, 21))
"""What a person may give: 1 to 10 in half steps."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """What is cut of a card for a task: `size_mm` (along the edge or across, down), of which `margin_mm` lies outside
    the card; tiles of a surface overlap by `overlap_mm`. None of `size_mm` is the whole card."""

    part: Literal["corner", "edge", "surface"]
    size_mm: tuple[float, float] | None
    margin_mm: float = 1.0
    overlap_mm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Capture:
    """What to bring before anything can be learnt: `dpi` at least, `finest_mm` the smallest thing that must show."""

    dpi: int
    finest_mm: float
    light: str
    images: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """`classes` are defaults: a dataset's own classes of the kind are what a run trains on. `region` None is the whole
    scan. `guidelines` is what annotators are told until the dataset has its own words (Markdown)."""

    id: str
    kind: Kind
    title: str
    description: str
    precision: str
    speed: str
    complexity: str
    input: str
    output: tuple[str, ...]
    main_metric: str
    higher_is_better: bool
    classes: tuple[str, ...]
    architectures: tuple[str, ...]
    capture: Capture
    region: Region | None = None
    guidelines: str

    @property
    def category(self) -> str:
        return self.id.split(".")[0]

    @property
    def trainable(self) -> bool:
        return self.kind in TRAINABLE

    @property
    def augmentation(self) -> str:
        """The preset of `data.augment.PRESETS` that destroys nothing of what is graded. Relief and reflectance bear
        none: turned pictures need turned lamps."""
        return "none" if self.kind == "map" else self.region.part if self.region else "border"

    @property
    def shapes(self) -> tuple[ShapeKind, ...]:
        return LABEL_SHAPES[self.kind]
