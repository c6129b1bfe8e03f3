"""Standing in line for a device: first come, first served, with no daemon.

A device is a flock on a file of the workspace, held by the supervisor of the job that uses it; whatever ends that
process frees it.
"""

from __future__ import annotations

import contextlib
from contextlib import ExitStack

from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder, list_ids
from trugrade_core.workspace import Workspace, locked


def try_device(ws: Workspace, device: str, folder: RunFolder, stack: ExitStack) -> str | None:
    """Take the device and keep it on `stack` (None), or say who is before this job."""
    lock = ws.locks / f"device-{device}"
    with locked(lock, wait=False) as free:
        if free is None:  # looked at first: the line is long to read, and matters only when the device is free
            return "another job runs"
    before = _first_in_line(ws, device, folder)
    if before:
        return f"{before} is before it"
    with ExitStack() as attempt:
        held = attempt.enter_context(locked(lock, wait=False))
        if held is None:
            return "another job runs"
        stack.push(attempt.pop_all())
    return None


def _first_in_line(ws: Workspace, device: str, folder: RunFolder) -> str | None:
    """A job that was queued for the same device before, if any."""
    mine = folder.status().t, folder.id
    for parent in (ws.runs, ws.jobs):
        for path in list_ids(parent):
            other = RunFolder(path)
            if other.id == folder.id or not (path / "job.json").exists():
                continue
            with contextlib.suppress(TruGradeError, KeyError, TypeError):  # a damaged folder waits for nothing
                if other.job().get("device") != device:
                    continue
                status = other.status()
                if status.state == "queued" and (status.t, other.id) < mine:
                    return other.id
    return None
