"""The table of jobs: which function does the work of each kind, and what it is given."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trugrade_core.jobs import launch
from trugrade_core.runs import Command, RunFolder, State
from trugrade_core.workspace import Workspace

WORK: dict[str, str] = {
    "import": "trugrade_core.workflows.datasets:do_import",
    "synth": "trugrade_core.workflows.datasets:do_synth",
    "watch": "trugrade_core.workflows.watching:do_watch",
    "export_dataset": "trugrade_core.workflows.datasets:do_export",
    "subset": "trugrade_core.workflows.exploring:do_subset",
    "derive": "trugrade_core.workflows.deriving:do_derive",
    "check": "trugrade_core.workflows.checking:do_check",
    "label": "trugrade_core.workflows.labelling:do_label",
    "train": "trugrade_core.workflows.training:do_train",
    "evaluate": "trugrade_core.workflows.evaluating:do_evaluate",
    "predict": "trugrade_core.workflows.evaluating:do_predict",
    "export": "trugrade_core.workflows.exporting:do_export",
    "suggest": "trugrade_core.workflows.annotating:do_suggest",
    "segmenter": "trugrade_core.workflows.segmenter:do_download",
    "demo": "trugrade_core.workflows.demo:do_demo",
}


@dataclass(frozen=True)
class Outcome:
    state: State = "finished"
    reason: str = ""


@dataclass
class Job:
    """What the work is given: where, what, and how to say how far it is."""

    ws: Workspace
    folder: RunFolder
    args: dict[str, Any]
    _said: float = 0.0
    _control_offset: int = 0
    emit: Callable[..., None] = field(init=False)

    def __post_init__(self) -> None:
        from trugrade_core.monitor.tracking import TrainingMonitor

        self.emit = TrainingMonitor(self.folder)
        self._attempt = self.folder.attempt()

    def progress(self, done: int, total: int, text: str) -> None:
        """At most four events a second, and always the last."""
        now = time.monotonic()
        if now - self._said >= 0.25 or done >= total:
            self._said = now
            self.emit("progress", done=done, total=total, text=text)

    def control(self) -> list[Command]:
        """What people have asked since the last call."""
        self._control_offset, commands = self.folder.asked(self._control_offset, attempt=self._attempt)
        return commands


def perform(folder: RunFolder) -> Outcome:
    """Do the work of `folder`; its values are written as a `result` event."""
    spec = folder.job()
    module, _, name = WORK[spec["kind"]].partition(":")
    job = Job(Workspace(folder.path.parent.parent), folder, spec.get("args", {}))
    values = getattr(importlib.import_module(module), name)(job)
    outcome = Outcome(values.pop("state", "finished"), values.pop("reason", ""))
    if values and os.environ.get("RANK", "0") == "0":  # every rank of a training comes to the same
        job.emit("result", values=values)
    return outcome


def start(ws: Workspace, kind: str, args: dict[str, Any], *, title: str, who: str = "") -> RunFolder:
    """Start a job other than a training."""
    folder = RunFolder.create(ws.jobs, {"kind": kind, "args": args, "title": title, "who": who})
    folder.queue()
    launch(folder)
    return folder
