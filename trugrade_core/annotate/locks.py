"""What is worked on elsewhere is read-only here, so that nothing must be merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trugrade_core.data.steps import Held
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


def holder(ds: Dataset) -> Held:
    """Which samples are worked on in Label Studio, and so cannot be changed here."""

    def held(ids: Sequence[str]) -> Mapping[str, str]:
        if not (ds.path / "label_studio.json").exists():
            return {}
        return {id: why for id in ids if (why := pushed(ds, id))}

    return held


_read: dict[Path, tuple[tuple[int, int, int], dict[str, Any]]] = {}
"""What was read of each file, by what tells one writing of it from another: it is asked for at every stroke, and for
every sample of an edit."""


def task_of(ds: Dataset, sample_id: str) -> dict[str, Any]:
    """{"id", "url", "state": pushed | pulled | released} of the sample's Label Studio task, or {}."""
    path = ds.path / "label_studio.json"
    try:
        now = path.stat()
        stamp = now.st_ino, now.st_size, now.st_mtime_ns
        if path not in _read or _read[path][0] != stamp:
            found = read_json(path)
            _read[path] = stamp, found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return {}
    samples = _read[path][1].get("samples")
    task = samples.get(sample_id, {}) if isinstance(samples, dict) else None
    if not isinstance(task, dict):
        raise WorkspaceError("is not what the lab writes: it has no samples by id", where=str(path),
                             what_to_do="Restore the file from a copy.")  # fmt: skip
    return task
