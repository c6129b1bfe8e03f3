"""Copies of what a browser sent, under the workspace's cache until the job that reads them has long ended."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path

from trugrade_core.runs import RunFolder, list_ids
from trugrade_core.workspace import Workspace, read_json

KEPT_S = 86_400


def new(ws: Workspace) -> Path:
    """An empty folder for one upload."""
    _parent(ws).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=_parent(ws)))


def clear(ws: Workspace) -> None:
    """Remove the folders older than a day, save those that a queued or running job still reads."""
    before = time.time() - KEPT_S
    old = [folder for folder in _parent(ws).glob("*/") if folder.stat().st_mtime < before]
    if not old:
        return
    live = [RunFolder(path) for path in list_ids(ws.jobs) if RunFolder(path).status().live]
    read = "\n".join(json.dumps(read_json(job.path / "job.json"), ensure_ascii=False) for job in live)
    for folder in old:
        if folder.name not in read:
            shutil.rmtree(folder, ignore_errors=True)  # what is left of it goes at the next start


def _parent(ws: Workspace) -> Path:
    return ws.cache / "uploads"
