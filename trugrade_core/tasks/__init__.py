"""The task table: one row for each thing a model can learn. The guided start, `trugrade tasks`, the docs and the
contract tests are all made from it.

A *kind* is code (a folder beside this file: encode, decode, metrics); a *task* is a row over a kind. Adding a task
is adding a row to `table.py`.
"""

from __future__ import annotations

from trugrade_core.errors import UsageError, nearest
from trugrade_core.tasks.table import CATEGORIES, ROWS
from trugrade_core.tasks.task import LABEL_SHAPES, SCORES, TRAINABLE, Capture, Kind, Region, Task

__all__ = [
    "CATEGORIES",
    "LABEL_SHAPES",
    "SCORES",
    "TASKS",
    "TRAINABLE",
    "Capture",
    "Kind",
    "Region",
    "Task",
    "get_task",
]

TASKS: dict[str, Task] = {task.id: task for task in ROWS}


def get_task(task_id: str) -> Task:
    """Raises UsageError naming the nearest task."""
    try:
        return TASKS[task_id]
    except KeyError:
        raise UsageError(
            f"no task '{task_id}'", code="task.unknown", what_to_do=nearest(task_id, list(TASKS))
        ) from None
