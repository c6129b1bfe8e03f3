"""TruGrade lab's engine. The names below are loaded when they are first used; importing this costs nothing."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "TrainingMonitor": "trugrade_core.monitor.tracking",
    "ResourceMonitor": "trugrade_core.monitor.resources",
    "ExperimentTracker": "trugrade_core.monitor.experiments",
    "ModelExporter": "trugrade_core.workflows.exporting",
    "DistributedTrainer": "trugrade_core.workflows.training",
    "DatasetValidator": "trugrade_core.workflows.checking",
    "RunConfig": "trugrade_core.config",
    "Workspace": "trugrade_core.workspace",
    "TruGradeError": "trugrade_core.errors",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'trugrade_core' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
