"""What pages read of a run while it goes: straight from its journal, never from the catalog.

`Journal` keeps its place, so that a page which looks again each second parses only what is new.
"""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from trugrade_core.monitor.pace import Eta, Pace
from trugrade_core.runs import RunFolder


class Curve(TypedDict):
    """Columns of one metric in order of step. `t` in seconds since 1970; `batch` null for what is not a training step."""

    step: list[int]
    epoch: list[int | None]
    batch: list[int | None]
    t: list[float]
    value: list[float | None]
    attempt: list[int]


class LossEntry(TypedDict):
    epoch: int | None
    batch: int | None
    train_loss: float | None
    val_loss: float | None
    timestamp: str


@dataclass
class Journal:
    """A run's events so far, sorted by use. `refresh()` reads what was appended since the last call."""

    folder: RunFolder
    offset: int = 0
    attempt: int = 1
    points: dict[str, dict[int, tuple[int, dict[str, Any], float | None]]] = field(default_factory=dict)
    resources: list[dict[str, Any]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)

    def refresh(self) -> bool:
        """Whether anything was new."""
        before = self.offset
        for offset, event in self.folder.follow(before):
            self._add(event)
            self.offset = offset
        return self.offset > before

    def copy(self) -> Journal:
        """It as it is now: what `refresh()` reads later is not in the copy, which another thread may go through meanwhile."""
        return replace(
            self,
            points={name: dict(points) for name, points in self.points.items()},
            resources=list(self.resources),
            validations=list(self.validations),
            checkpoints=list(self.checkpoints),
            notes=list(self.notes),
            pace=copy.deepcopy(self.pace),
        )

    def _add(self, event: dict[str, Any]) -> None:
        self.pace.add(event)
        kind = event["kind"]
        if kind == "metrics":
            self._add_metrics(event)
        elif kind == "resources":
            self.resources.append({"t": event["t"], **event["values"]})
        elif kind == "validation":
            self.validations.append(event)
        elif kind == "checkpoint":
            self.checkpoints.append(event)
        elif kind == "progress":
            self.progress = event
        elif kind in ("note", "adapted"):
            self.notes.append(event)
        elif kind == "resumed":
            self.attempt += 1

    def _add_metrics(self, event: dict[str, Any]) -> None:
        """The highest attempt wins for each (step, name)."""
        attempt, step = event.get("attempt", 1), event.get("step") or 0
        for name, value in event["values"].items():
            of_name = self.points.setdefault(name, {})
            if step not in of_name or attempt >= of_name[step][0]:
                of_name[step] = attempt, event, value

    def curves(self) -> dict[str, Curve]:
        return {name: _columns(points) for name, points in self.points.items()}

    def loss_curves(self) -> list[LossEntry]:
        """One entry for each training step and each validation; `val_loss` is null between validations."""
        train, val = self.points.get("train/loss", {}), self.points.get("val/loss", {})
        entries: list[LossEntry] = []
        for step in sorted({*train, *val}):
            event = (train.get(step) or val[step])[1]
            losses = [points[step][2] if step in points else None for points in (train, val)]
            entries.append(loss_entry(event.get("epoch"), event.get("batch"), losses[0], losses[1], event["t"]))
        return entries

    def latest(self, name: str) -> float | None:
        points = self.points.get(name)
        return points[max(points)][2] if points else None

    def eta(self, now: float | None = None) -> Eta:
        return self.pace.eta(now)

    def throughput(self) -> float | None:
        """Images a second, median of the last 50 steps that say so."""
        return self._recent("time/images_per_s")

    def wait_share(self) -> float | None:
        """Share of a step's time spent waiting for data, 0 to 1; median of the last 50 steps that say so."""
        return self._recent("time/wait_share")

    def _recent(self, name: str) -> float | None:
        points = self.points.get(name, {})
        values = [v for v in (points[step][2] for step in sorted(points)[-50:]) if v is not None]
        return statistics.median(values) if values else None


def loss_entry(
    epoch: int | None, batch: int | None, train_loss: float | None, val_loss: float | None, t: float
) -> LossEntry:
    from datetime import UTC, datetime

    return LossEntry(
        epoch=epoch,
        batch=batch,
        train_loss=train_loss,
        val_loss=val_loss,
        timestamp=datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds"),
    )


def _columns(points: dict[int, tuple[int, dict[str, Any], float | None]]) -> Curve:
    found = Curve(step=[], epoch=[], batch=[], t=[], value=[], attempt=[])
    for step in sorted(points):
        attempt, event, value = points[step]
        found["step"].append(step)
        found["epoch"].append(event.get("epoch"))
        found["batch"].append(event.get("batch"))
        found["t"].append(event["t"])
        found["value"].append(value)
        found["attempt"].append(attempt)
    return found


def read(folder: RunFolder) -> Journal:
    """The whole journal of a run at this moment."""
    journal = Journal(folder)
    journal.refresh()
    return journal


def curves(folder: RunFolder) -> dict[str, Curve]:
    """{metric name: columns}."""
    return read(folder).curves()


def eta(folder: RunFolder) -> Eta:
    return read(folder).eta()
