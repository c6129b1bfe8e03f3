"""Jobs: whatever can take over five seconds runs detached, in a process tree of its own.

`launch` starts a *supervisor* (`python -m trugrade_core.worker FOLDER`, no torch in it), which survives the app, the
browser and the terminal, waits for its device, starts the child that does the work, and tells how it ended. All
that anyone else needs is in the job's folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from trugrade_core.runs import RunFolder, Status

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""Environment of every process of a job. They work in the job's folder, which may come from anywhere: without this,
`python -m` (ours, and those that libraries start) would import a module that lies there before the installed one."""


def launch(folder: RunFolder) -> None:
    """Start the supervisor of a queued job and return at once."""
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "trugrade_core.worker", str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder.path,
            env={**os.environ, **SAFE_PATH},
        )
    # The supervisor outlives this process; while both live, its end must be collected or it stays a zombie.
    threading.Thread(target=process.wait, daemon=True, name=f"reap {folder.id}").start()


def follow(folder: RunFolder, *, poll_s: float = 0.2) -> Iterator[dict[str, Any]]:
    """Every event of a job from its first on, as it is written, until it has ended."""
    offset, last = 0, None
    while True:
        # Asked before reading, so that nothing written before the end is missed.
        ended = not folder.status(last).live
        for end, event in folder.follow(offset):
            offset = end
            last = event if event["kind"] == "state" else last
            yield event
        if ended:
            return
        time.sleep(poll_s)


def wait(folder: RunFolder) -> Status:
    for _ in follow(folder):
        pass
    return folder.status()
