"""The task table: one row for each thing a model can learn. The guided start, `trugrade tasks`, the docs and the
contract tests are all made from it.

A *kind* is code (a folder beside this file: encode, decode, metrics); a *task* is a row over a kind. Adding a task
is adding a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import ShapeKind

Kind = Literal["instances"]

LABEL_SHAPES: dict[Kind, tuple[ShapeKind, ...]] = {"instances": ("box", "polygon", "mask")}
"""The annotation shapes that a kind learns from."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """`classes` are defaults: a dataset's own classes of the kind are what a run trains on."""

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

    @property
    def category(self) -> str:
        return self.id.split(".")[0]


TASKS: dict[str, Task] = {
    task.id: task
    for task in (
        Task(
            id="border_detection.single_class",
            kind="instances",
            title="Border, one class",
            description="Finds one border of a card as a box and, where the architecture has them, a mask.",
            precision="high: side error in mm",
            speed="fast",
            complexity="low",
            input="whole-card scan, 300 dpi or more, dark or plain ground around the card",
            output=("box", "mask"),
            main_metric="side_error_mm",
            higher_is_better=False,
            classes=("border",),
            architectures=("mask_rcnn", "yolo", "retinanet"),
        ),
        Task(
            id="border_detection.dual_class",
            kind="instances",
            title="Borders, outer and graphical",
            description="Finds the card's outer edge and its printed inner frame, from which centering is measured.",
            precision="very high: side error in mm of both borders",
            speed="medium",
            complexity="medium",
            input="whole-card scan, 600 dpi or more, dark or plain ground around the card",
            output=("box", "mask"),
            main_metric="side_error_mm",
            higher_is_better=False,
            classes=("outer_border", "graphical_border"),
            architectures=("mask_rcnn", "detectron2", "retinanet", "yolo"),
        ),
    )
}


def get_task(task_id: str) -> Task:
    """Raises UsageError naming the nearest task."""
    try:
        return TASKS[task_id]
    except KeyError:
        raise UsageError(
            f"no task '{task_id}'", code="task.unknown", what_to_do=nearest(task_id, list(TASKS))
        ) from None
