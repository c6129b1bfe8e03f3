"""What is worked on elsewhere is read-only here, so that nothing must be merged."""

from __future__ import annotations

from typing import Any

from trugrade_core.data.store import Dataset
from trugrade_core.errors import WorkspaceError
from trugrade_core.workspace import read_json


def pushed(ds: Dataset, sample_id: str) -> str:
    """Why the sample cannot be drawn on here while Label Studio has it, or ''. Raises DatasetError for a file that
    cannot be understood: drawing on regardless might undo somebody's work there."""
    task = task_of(ds, sample_id)
    if task.get("state") != "pushed":
        return ""
    return f"it is being annotated in Label Studio (task {task.get('id', 'not known')}); pull it, or release it there first"


def task_of(ds: Dataset, sample_id: str) -> dict[str, Any]:
    """{"id", "url", "state": pushed | pulled | released} of the sample's Label Studio task, or {}."""
    path = ds.path / "label_studio.json"
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    samples = found.get("samples", {}) if isinstance(found, dict) else None
    task = samples.get(sample_id, {}) if isinstance(samples, dict) else None
    if not isinstance(task, dict):
        raise WorkspaceError("is not what the lab writes: it has no samples by id", where=str(path),
                             what_to_do="Restore the file from a copy.")  # fmt: skip
    return task
