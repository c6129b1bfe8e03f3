"""`TrainingMonitor`: what a training calls to say where it is.

It is the `emit` that `fit` is given: one call, one line in `events.jsonl`, by one write to a descriptor that stays
open. Only what must survive a power cut (states, checkpoints, the first event after an epoch) waits for the disk.
"""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Any, Self, TypedDict

from trugrade_core.monitor.pace import Eta, Pace
from trugrade_core.monitor.reading import LossEntry, loss_entry
from trugrade_core.monitor.resources import ResourceMonitor
from trugrade_core.runs import RunFolder, encode_event

DURABLE = frozenset({"state", "checkpoint", "validation", "resumed", "result"})
"""Kinds whose line is on the disk before `emit` returns: states and what an epoch ends with."""

KEPT_ENTRIES = 10_000
RESOURCES_EVERY_S = 5.0

ALIASES = {"loss": "train/loss", "train_loss": "train/loss", "val_loss": "val/loss", "learning_rate": "lr"}
"""Plain words that a caller may use for the metric names of the lab."""


class TrainingProgress(TypedDict):
    """The user's groups. The lists hold this attempt's entries so far, oldest first (the newest 10,000)."""

    loss_curves: list[LossEntry]
    accuracy_metrics: list[dict[str, Any]]
    learning_rate_tracking: list[dict[str, Any]]
    resource_utilization: dict[str, Any]
    eta_predictions: Eta


class TrainingMonitor:
    """Appends events to `folder`. Safe to call from several threads; use one for each process.

    `epochs` and `steps_per_epoch` make the time left known from the first steps on.
    """

    def __init__(
        self,
        folder: RunFolder,
        attempt: int | None = None,
        *,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.folder = folder
        self.attempt = folder.attempt() if attempt is None else attempt
        self.pace = Pace(epochs, steps_per_epoch)
        self._fd = os.open(folder.path / "events.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        end = os.lseek(self._fd, 0, os.SEEK_END)
        self._torn = end > 0 and os.pread(self._fd, 1, end - 1) != b"\n"
        self._lock = threading.Lock()
        self._step = 0
        self._resources: ResourceMonitor | None = None
        self._resources_t = 0.0
        self._progress = TrainingProcessLists()

    def __call__(self, kind: str, **fields: Any) -> None:
        """Emit one event of `runs.EVENT_KINDS`. Raises OSError when the disk takes no more."""
        line = encode_event(self.folder.id, kind, self.attempt, fields) + b"\n"
        with self._lock:
            self._write(line)
        if kind in DURABLE:
            os.fsync(self._fd)
        self.pace.add({"kind": kind, "t": time.time(), "attempt": self.attempt, **fields})

    def _write(self, line: bytes) -> None:
        """A line torn by a kill or a full disk is closed first, so that it stays alone."""
        data = b"\n" + line if self._torn else line
        self._torn = True
        while data:
            data = data[os.write(self._fd, data) :]
        self._torn = False

    def track_training_progress(
        self, epoch: int, batch: int | None, metrics: dict[str, float | None], *, step: int | None = None
    ) -> TrainingProgress:
        """Record the metrics of one step (or, with `batch` None, of a validation) and say how training stands.

        `metrics` may use the lab's names (`train/loss`, `val/loss`, `lr`, `val/<metric>`) or `train_loss`,
        `val_loss` and `learning_rate`. `step` defaults to one more at each call with a batch.
        """
        values = {ALIASES.get(name, name): None if value is None else float(value) for name, value in metrics.items()}
        if step is None:
            step = self._step + (batch is not None)
        self._step = step
        where = {"step": step, "epoch": epoch} | ({} if batch is None else {"batch": batch})
        self("metrics", **where, values=values)
        now = time.time()
        self._progress.add(epoch, batch, step, values, now)
        return TrainingProgress(
            loss_curves=self._progress.loss_curves,
            accuracy_metrics=self._progress.accuracy_metrics,
            learning_rate_tracking=self._progress.learning_rate_tracking,
            resource_utilization=self._resources_at(now),
            eta_predictions=self.pace.eta(now),
        )

    def _resources_at(self, now: float) -> dict[str, Any]:
        if self._resources is None or now - self._resources_t >= RESOURCES_EVERY_S:
            self._resources = self._resources or ResourceMonitor()
            self._resources_t = now
            self._utilization: dict[str, Any] = self._resources.monitor_resources()
        return self._utilization

    def sync(self) -> None:
        """Put everything written so far on the disk (at the end of an epoch)."""
        os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrainingProcessLists:
    """What `track_training_progress` has been told in this attempt."""

    def __init__(self) -> None:
        self.loss_curves: list[LossEntry] = []
        self.accuracy_metrics: list[dict[str, Any]] = []
        self.learning_rate_tracking: list[dict[str, Any]] = []

    def add(self, epoch: int, batch: int | None, step: int, values: dict[str, float | None], now: float) -> None:
        train, val = values.get("train/loss"), values.get("val/loss")
        if train is not None or val is not None:
            self.loss_curves.append(loss_entry(epoch, batch, train, val, now))
        where = {"epoch": epoch, "batch": batch, "step": step}
        if values.get("lr") is not None:
            self.learning_rate_tracking.append({**where, "learning_rate": values["lr"]})
        accuracy = {
            n: v for n, v in values.items() if n != "lr" and not n.startswith(("train/", "time/")) and n != "val/loss"
        }
        if accuracy:
            self.accuracy_metrics.append({**where, **accuracy})
        for entries in (self.loss_curves, self.accuracy_metrics, self.learning_rate_tracking):
            if len(entries) > KEPT_ENTRIES:
                del entries[: -KEPT_ENTRIES // 2]
