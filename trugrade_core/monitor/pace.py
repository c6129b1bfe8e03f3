"""How fast a job goes and when it will be done, from its events alone.

A training's remaining time is the steps left at the recent pace, plus what happens between epochs (validation,
checkpoints) for each epoch left; both come with a spread. Other jobs have only their progress: items left at the
recent pace.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from itertools import pairwise
from typing import Any, TypedDict

RECENT_STEPS = 200
RECENT_EPOCHS = 5
BLOCKS = 8


class Eta(TypedDict):
    """`seconds` left, its likely range, and what it was made from. All null, with `reason`, when nothing is known."""

    seconds: float | None
    low_seconds: float | None
    high_seconds: float | None
    step_seconds: float | None
    between_epochs_seconds: float | None
    steps_left: int | None
    epochs_left: int | None
    reason: str


def no_eta(reason: str) -> Eta:
    return Eta(
        seconds=None,
        low_seconds=None,
        high_seconds=None,
        step_seconds=None,
        between_epochs_seconds=None,
        steps_left=None,
        epochs_left=None,
        reason=reason,
    )


class Pace:
    """Feed it every event in order; ask `eta()` at any time.

    `epochs` and `steps_per_epoch` sharpen the answer where the caller knows them; otherwise they are read from
    `progress` events (unit steps or epochs) and from the steps of the epochs already done.
    """

    def __init__(self, epochs: int | None = None, steps_per_epoch: int | None = None) -> None:
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._steps: deque[float] = deque(maxlen=RECENT_STEPS)  # seconds a step
        self._between: deque[float] = deque(maxlen=RECENT_EPOCHS)
        self._last: dict[str, Any] = {}  # the last training step
        self._epoch_start: tuple[int, int] | None = None
        self._progress: deque[dict[str, Any]] = deque(maxlen=RECENT_STEPS)
        self._state = ""

    def add(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "metrics" and event.get("batch") is not None and event.get("step") is not None:
            self._add_step(event)
        elif kind == "progress":
            self._progress.append(event)
        elif kind == "state":
            self._state = event.get("state", "")
            self._last = {}
        elif kind == "resumed":
            self._last, self._epoch_start = {}, None
            self._progress.clear()

    def _add_step(self, event: dict[str, Any]) -> None:
        last, self._last = self._last, event
        self._learn_epoch_length(event)
        if not last or event["step"] <= last["step"] or event.get("attempt") != last.get("attempt"):
            return
        seconds, steps = event["t"] - last["t"], event["step"] - last["step"]
        if event.get("epoch") == last.get("epoch"):
            self._steps.append(seconds / steps)
        elif self._steps:
            # From the last step of one epoch to the first of the next: what is not stepping is validation and saving.
            self._between.append(max(0.0, seconds - self._step_seconds() * steps))

    def _learn_epoch_length(self, event: dict[str, Any]) -> None:
        """`step - batch` at an epoch's first event grows by one epoch's steps, whatever either counts from."""
        epoch, base = event.get("epoch"), event["step"] - event["batch"]
        if epoch is None or (self._epoch_start and self._epoch_start[0] == epoch):
            return
        if self._epoch_start and epoch == self._epoch_start[0] + 1 and base > self._epoch_start[1]:
            self.steps_per_epoch = self.steps_per_epoch or base - self._epoch_start[1]
        self._epoch_start = (epoch, base)

    def _step_seconds(self) -> float:
        return statistics.median(self._steps)

    def eta(self, now: float | None = None) -> Eta:
        """Time left at `now` (seconds since 1970; default: this moment)."""
        now = time.time() if now is None else now
        if self._state and self._state not in ("queued", "running"):
            return no_eta(f"it has ended ({self._state})")
        if self._last and self._steps:
            left = self._left()
            return no_eta("how long an epoch is shows after the first one") if left is None else self._eta(*left, now)
        return self._progress_eta(now)

    def _left(self) -> tuple[int, int] | None:
        """(steps, ends of epochs) still to come, or None when the whole is not known yet."""
        done = self._last["step"]
        total = next(
            (p["total"] for p in reversed(self._progress) if p.get("unit") in ("step", "steps", "batches")), None
        )
        epochs = self.epochs or next(
            (p["total"] for p in reversed(self._progress) if p.get("unit") in ("epoch", "epochs")), None
        )
        if total is None and epochs and self.steps_per_epoch:
            total = epochs * self.steps_per_epoch
        if not total:
            return None
        steps = max(0, int(total) - done)
        return steps, math.ceil(steps / self.steps_per_epoch) if self.steps_per_epoch else 0

    def _eta(self, steps: int, epochs: int, now: float) -> Eta:
        step, between = self._step_seconds(), statistics.fmean(self._between) if self._between else 0.0
        low_step, high_step = spread(list(self._steps))
        low_between, high_between = (min(self._between), max(self._between)) if self._between else (0.0, 0.0)
        waited = max(0.0, now - self._last["t"])
        return Eta(
            seconds=max(0.0, steps * step + epochs * between - waited),
            low_seconds=max(0.0, steps * low_step + epochs * low_between - waited),
            high_seconds=max(0.0, steps * high_step + epochs * high_between - waited),
            step_seconds=step,
            between_epochs_seconds=between if self._between else None,
            steps_left=steps,
            epochs_left=epochs,
            reason="" if self._between else "validation not seen yet: not counted",
        )

    def _progress_eta(self, now: float) -> Eta:
        points = [(p["t"], p["done"]) for p in self._progress if p.get("total")]
        if len(points) < 2 or points[-1][1] <= points[0][1]:
            return no_eta("not enough progress yet to tell")
        left = self._progress[-1]["total"] - points[-1][1]
        rates = [(t1 - t0) / (d1 - d0) for (t0, d0), (t1, d1) in pairwise(points) if d1 > d0]
        mean = (points[-1][0] - points[0][0]) / (points[-1][1] - points[0][1])
        low, high = spread(rates)
        waited = max(0.0, now - points[-1][0])
        return Eta(
            seconds=max(0.0, left * mean - waited),
            low_seconds=max(0.0, left * min(low, mean) - waited),
            high_seconds=max(0.0, left * max(high, mean) - waited),
            step_seconds=mean,
            between_epochs_seconds=None,
            steps_left=int(left),
            epochs_left=None,
            reason="",
        )


def spread(values: list[float]) -> tuple[float, float]:
    """The range of the medians of up to eight successive blocks: how much the pace itself wanders, not single steps."""
    size = max(1, math.ceil(len(values) / BLOCKS))
    blocks = [statistics.median(values[i : i + size]) for i in range(0, len(values), size)]
    return min(blocks), max(blocks)
