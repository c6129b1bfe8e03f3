"""Writing events and publishing the catalog, beside TensorBoard.

*Events.* One step's eight values by `TrainingMonitor` against TensorBoard's two writers: SummaryWriter (eight
`add_scalar`) and EventFileWriter (one record with eight values), in turns, closed and on the disk at the end. *Catalog.*
Made from nothing over 100 and 1,000 runs, and brought up to date after one run has one event more; beside it
TensorBoard's EventAccumulator over the same values. Growth is of seconds, with ten times as many runs.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Row, alternate, timed, times_faster
from trugrade_core.catalog.fold import publish
from trugrade_core.catalog.query import run_sql
from trugrade_core.monitor.tensorboard import convert
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import RunFolder, encode_event
from trugrade_core.workspace import Workspace

VALUES = {f"train/loss_{n}": 0.123456 * n for n in range(1, 6)} | {"lr": 1e-3, "time/step_s": 0.5, "train/loss": 1.5}
SHORT_STEP_S = 0.1
SHARE = 0.01
"""Of step time that writing events may take."""
FRESH_S = 10.0
"""How old the catalog's rows may be."""
STEPS = 50


def bench(scratch: Path, quick: bool) -> list[Row]:
    return [*_events(scratch, 50 if quick else 2000, 2 if quick else 7), *_catalog(scratch, 4 if quick else 100, quick)]


# --- events -------------------------------------------------------------------------------------------------------


def _events(scratch: Path, count: int, rounds: int) -> list[Row]:
    number = itertools.count()

    def folder() -> Path:
        return scratch / f"events-{next(number)}"

    def ours() -> None:
        with TrainingMonitor(RunFolder.create(folder(), {"kind": "train"})) as monitor:
            for step in range(count):
                monitor("metrics", step=step, epoch=1, batch=step, values=VALUES)

    sides: dict[str, Callable[[], None]] = {
        "ours": ours,
        "SummaryWriter": lambda: _summary_writer(folder(), count),
        "EventFileWriter": lambda: _event_file_writer(folder(), count),
    }
    for call in sides.values():
        call()
    seconds = alternate(sides, rounds)
    us = {name: 1e6 * statistics.median(found) / count for name, found in seconds.items()}
    share = us["ours"] / 1e6 / SHORT_STEP_S
    return [
        Row(
            name="event of a step",
            figure=us["ours"],
            unit="µs",
            compared_with=f"SummaryWriter: {us['SummaryWriter']:.0f}, EventFileWriter: {us['EventFileWriter']:.0f}",
            ratio=times_faster(seconds["ours"], seconds["SummaryWriter"]),
            goal=f"< {SHARE:.0%} of a step of {SHORT_STEP_S} s",
            met=share < SHARE,
            note=f"8 values; {times_faster(seconds['ours'], seconds['EventFileWriter']):.2f} x EventFileWriter; {share:.2%} of the step",
        )
    ]


def _summary_writer(folder: Path, count: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    for step in range(count):
        for name, value in VALUES.items():
            writer.add_scalar(name, value, step)
    writer.close()


def _event_file_writer(folder: Path, count: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step in range(count):
        values = [Summary.Value(tag=name, simple_value=value) for name, value in VALUES.items()]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    writer.close()


# --- catalog ------------------------------------------------------------------------------------------------------


def _catalog(scratch: Path, few: int, quick: bool) -> list[Row]:
    many = 10 * few
    workspaces = {count: _runs(scratch / f"runs-{count}", count) for count in (few, many)}

    def fresh(ws: Workspace) -> Callable[[], object]:
        def call() -> None:
            ws.catalog.unlink(missing_ok=True)
            assert publish(ws)

        return call

    def up_to_date(ws: Workspace) -> Callable[[], object]:
        run = RunFolder(sorted(ws.runs.iterdir())[-1])
        step = itertools.count(STEPS + 1)

        def call() -> None:
            run.append("metrics", attempt=1, step=next(step), epoch=1, batch=1, values=VALUES)
            assert publish(ws)

        return call

    rounds = 1 if quick else 3
    first = alternate({str(n): fresh(ws) for n, ws in workspaces.items()}, rounds)
    more = alternate({str(n): up_to_date(ws) for n, ws in workspaces.items()}, rounds + 2)
    rows_there = run_sql(workspaces[many], "SELECT count(*) FROM metrics").rows[0][0]
    expected = many * (STEPS * len(VALUES) + 1) + (rounds + 2) * len(VALUES)
    assert rows_there == expected, (rows_there, expected)
    board_us = _accumulator(workspaces[few], min(few, 20))
    first_s, more_s = statistics.median(first[str(many)]), statistics.median(more[str(many)])
    us = 1e6 * statistics.median(first[str(few)]) / (few * STEPS)
    return [
        Row(
            name=f"catalog from nothing, {many:,} runs",
            figure=first_s,
            unit="s",
            compared_with=f"{few} runs: {statistics.median(first[str(few)]):.2f} s",
            ratio=times_faster(first[str(few)], first[str(many)]),
            note=f"{STEPS} steps of 8 values a run; {us:.0f} µs an event ({few} runs), TensorBoard's EventAccumulator {board_us:.0f}",
        ),
        Row(
            name=f"catalog after one event, {many:,} runs",
            figure=more_s,
            unit="s",
            compared_with=f"{few} runs: {statistics.median(more[str(few)]):.3f} s",
            ratio=times_faster(more[str(few)], more[str(many)]),
            goal=f"< {FRESH_S:g} s",
            met=more_s < FRESH_S,
        ),
    ]


def _runs(root: Path, count: int) -> Workspace:
    """A workspace of finished trainings as their journals lie on the disk."""
    ws = Workspace.open(root)
    for number in range(count):
        job = {"kind": "train", "title": "Train", "task": "border_detection.dual_class", "dataset": "cards@v1",
               "architecture": "mask_rcnn_efficientnet_lite0", "experiment": f"borders-{number % 10}", "device": "cpu"}  # fmt: skip
        folder = RunFolder.create(ws.runs, job)
        events: list[tuple[str, dict[str, object]]] = [("state", {"state": "running", "reason": ""})]
        events += [("metrics", {"step": s, "epoch": 1, "batch": s, "values": VALUES}) for s in range(1, STEPS + 1)]
        events += [("metrics", {"step": STEPS, "epoch": 1, "values": {"val/side_error_mm": 0.2}})]
        events += [("state", {"state": "finished", "reason": "all epochs done"})]
        lines = [encode_event(folder.id, kind, 1, fields) + b"\n" for kind, fields in events]
        (folder.path / "events.jsonl").write_bytes(b"".join(lines))
    return ws


def _accumulator(ws: Workspace, count: int) -> float:
    """µs an event of TensorBoard's reader, over `count` runs."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = [RunFolder(path) for path in sorted(ws.runs.iterdir())[:count]]
    for folder in folders:
        convert(folder)
    seconds = timed(lambda: [EventAccumulator(str(f.path / "tensorboard")).Reload() for f in folders])
    return 1e6 * seconds / (count * STEPS)
