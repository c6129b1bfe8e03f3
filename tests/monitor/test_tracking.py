"""What a training says of itself, and what pages read of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trugrade_core.monitor import reading
from trugrade_core.monitor.pace import Pace, spread
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace


@pytest.fixture
def folder(ws: Workspace) -> RunFolder:
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    folder.queue()
    return folder


def test_emit_writes_what_the_folder_reads(folder: RunFolder) -> None:
    with TrainingMonitor(folder) as monitor:
        monitor("state", state="running", reason="")
        monitor("metrics", step=1, epoch=0, batch=0, values={"train/loss": 0.5})
    events = list(folder.events())
    assert [event["kind"] for event in events] == ["state", "state", "metrics"]
    assert events[2] | {"t": 0} == {
        "run": folder.id,
        "kind": "metrics",
        "t": 0,
        "attempt": 1,
        "step": 1,
        "epoch": 0,
        "batch": 0,
        "values": {"train/loss": 0.5},
    }
    assert folder.status().state == "crashed"  # running, and nobody holds its lock


def test_a_torn_line_stays_alone(folder: RunFolder) -> None:
    with (folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "metr')
    with TrainingMonitor(folder) as monitor:
        monitor("note", text="after the kill")
    assert [event["kind"] for event in folder.events()] == ["state", "note"]


def test_two_writers_never_mix_lines(folder: RunFolder) -> None:
    with TrainingMonitor(folder) as one, TrainingMonitor(folder) as two:
        for i in range(200):
            one("metrics", step=i, epoch=0, batch=i, values={"train/loss": 1.0})
            two("resources", values={"cpu_run_percent": 1.0})
    assert len(list(folder.events())) == 401


def test_every_event_that_was_acknowledged_survives_a_kill(folder: RunFolder) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from trugrade_core.monitor.tracking import TrainingMonitor\n"
        "from trugrade_core.runs import RunFolder\n"
        "monitor = TrainingMonitor(RunFolder(Path(sys.argv[1])))\n"
        "step = 0\n"
        "while True:\n"
        "    step += 1\n"
        "    monitor('metrics', step=step, epoch=0, batch=step, values={'train/loss': 1.0})\n"
        "    sys.stdout.write(f'{step}\\n'); sys.stdout.flush()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    for _ in range(300):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    acknowledged = 300 + sum(line.endswith(b"\n") for line in child.stdout.read().splitlines(keepends=True))
    child.wait()
    child.stdout.close()
    steps = [event["step"] for event in folder.events() if event["kind"] == "metrics"]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= acknowledged


def test_progress_has_the_users_groups(folder: RunFolder) -> None:
    with TrainingMonitor(folder, epochs=3, steps_per_epoch=2) as monitor:
        monitor.track_training_progress(0, 0, {"train_loss": 2.0, "learning_rate": 1e-3})
        monitor.track_training_progress(0, 1, {"train/loss": 1.5, "lr": 9e-4})
        found = monitor.track_training_progress(0, None, {"val/loss": 1.2, "val/side_error_mm": 0.4})
    assert set(found) == {
        "loss_curves",
        "accuracy_metrics",
        "learning_rate_tracking",
        "resource_utilization",
        "eta_predictions",
    }
    losses = [{k: v for k, v in entry.items() if k != "timestamp"} for entry in found["loss_curves"]]
    assert losses == [
        {"epoch": 0, "batch": 0, "train_loss": 2.0, "val_loss": None},
        {"epoch": 0, "batch": 1, "train_loss": 1.5, "val_loss": None},
        {"epoch": 0, "batch": None, "train_loss": None, "val_loss": 1.2},
    ]
    assert all(entry["timestamp"].endswith("+00:00") for entry in found["loss_curves"])
    assert [row["learning_rate"] for row in found["learning_rate_tracking"]] == [1e-3, 9e-4]
    assert found["accuracy_metrics"][-1]["val/side_error_mm"] == 0.4
    assert found["resource_utilization"]["cpu_usage"]["cores"] >= 1
    assert found["eta_predictions"]["steps_left"] == 4
    json.dumps(found)
    # what is read back from the journal is the same
    read = [{k: v for k, v in entry.items() if k != "timestamp"} for entry in reading.read(folder).loss_curves()]
    assert [entry["train_loss"] for entry in read] == [2.0, 1.5] and read[-1]["val_loss"] == 1.2


def test_the_highest_attempt_wins_at_each_step(folder: RunFolder) -> None:
    with TrainingMonitor(folder, attempt=1) as monitor:
        for step in (1, 2, 3):
            monitor("metrics", step=step, epoch=0, batch=step, values={"train/loss": step * 1.0, "lr": 0.1})
    folder.append("resumed", from_step=1)
    with TrainingMonitor(folder) as monitor:
        assert monitor.attempt == 2
        monitor("metrics", step=2, epoch=0, batch=2, values={"train/loss": 20.0})
    curves = reading.curves(folder)
    assert curves["train/loss"]["value"] == [1.0, 20.0, 3.0]
    assert curves["train/loss"]["attempt"] == [1, 2, 1]
    assert curves["lr"]["value"] == [0.1, 0.1, 0.1]


def test_a_journal_reads_only_what_is_new(folder: RunFolder) -> None:
    journal = reading.read(folder)
    assert not journal.refresh()
    with TrainingMonitor(folder) as monitor:
        monitor("metrics", step=1, epoch=0, batch=0, values={"time/images_per_s": 3.0, "time/wait_share": 0.02})
        assert journal.refresh()
        offset = journal.offset
        monitor("metrics", step=2, epoch=0, batch=1, values={"time/images_per_s": 5.0, "time/wait_share": 0.04})
        assert journal.refresh() and journal.offset > offset
    assert journal.throughput() == 4.0
    assert journal.wait_share() == pytest.approx(0.03)


def test_a_copy_stands_still_while_the_journal_grows(folder: RunFolder) -> None:
    """Pages go through it while another tab's refresh adds to the journal itself."""
    with TrainingMonitor(folder) as monitor:
        for done in (1, 2):
            monitor("metrics", step=done, epoch=0, values={"val/loss": 0.5})
            monitor("progress", done=done, total=100, text="")
        journal = reading.read(folder)
        still = journal.copy()
        curve, resources = still.points["val/loss"], still.resources
        names, steps = iter(still.points), iter(curve)
        progress = iter(still.pace._progress)
        monitor("metrics", step=3, epoch=0, values={"val/loss": 0.4, "val/box_map": 0.5})
        monitor("progress", done=3, total=100, text="")
        monitor("resources", values={"cpu_run_percent": 1.0})
        journal.refresh()
    assert list(names) == ["val/loss"] and list(steps) == [1, 2] and resources == []
    assert len(list(progress)) == 2  # a deque that was added to raises here
    assert len(journal.points) == 2 and len(journal.resources) == 1 and len(journal.pace._progress) == 3


def _steps(pace: Pace, *, epochs: int, per_epoch: int, step_s: float, between_s: float, first_epoch: int = 0) -> float:
    t, step = 1000.0, 0
    for epoch in range(first_epoch, first_epoch + epochs):
        for batch in range(per_epoch):
            step, t = step + 1, t + step_s
            pace.add(
                {"kind": "metrics", "t": t, "attempt": 1, "step": step, "epoch": epoch, "batch": batch, "values": {}}
            )
        t += between_s
    return t - between_s


@given(
    done=st.integers(2, 4),
    per_epoch=st.integers(3, 20),
    step_s=st.floats(0.01, 5),
    between_s=st.floats(0, 60),
    first_epoch=st.integers(0, 1),
)
def test_eta_is_exact_at_an_even_pace(
    done: int, per_epoch: int, step_s: float, between_s: float, first_epoch: int
) -> None:
    pace = Pace(epochs=6)
    now = _steps(pace, epochs=done, per_epoch=per_epoch, step_s=step_s, between_s=between_s, first_epoch=first_epoch)
    found = pace.eta(now)
    assert pace.steps_per_epoch == per_epoch
    assert found["steps_left"] == (6 - done) * per_epoch and found["epochs_left"] == 6 - done
    expected = (6 - done) * (per_epoch * step_s + between_s)
    assert found["seconds"] == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert found["low_seconds"] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_eta_has_a_spread_where_the_pace_wanders() -> None:
    pace, t = Pace(epochs=1, steps_per_epoch=200), 0.0
    for step in range(100):
        t += 1.0 if step < 50 else 2.0
        pace.add({"kind": "metrics", "t": t, "attempt": 1, "step": step, "epoch": 0, "batch": step, "values": {}})
    found = pace.eta(t)
    low, middle, high = found["low_seconds"], found["seconds"], found["high_seconds"]
    assert low is not None and middle is not None and high is not None
    assert low == pytest.approx(101) and high == pytest.approx(202)
    assert low <= middle <= high


def test_eta_says_why_there_is_none() -> None:
    pace = Pace()
    assert pace.eta()["seconds"] is None and "progress" in pace.eta()["reason"]
    _steps(pace, epochs=1, per_epoch=5, step_s=1, between_s=0)
    assert "epoch" in pace.eta()["reason"]
    pace.add({"kind": "state", "state": "finished", "t": 0})
    assert "finished" in pace.eta()["reason"]


def test_eta_of_a_job_that_has_only_progress() -> None:
    pace = Pace()
    for i in range(11):
        pace.add({"kind": "progress", "t": 100.0 + i, "done": i * 10, "total": 200, "text": ""})
    assert pace.eta(110.0)["seconds"] == pytest.approx(10.0)
    assert pace.eta(112.0)["seconds"] == pytest.approx(8.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=300))
def test_spread_lies_within_the_values(values: list[float]) -> None:
    low, high = spread(values)
    assert min(values) <= low <= high <= max(values)


def test_an_event_costs_little_beside_a_step(folder: RunFolder) -> None:
    """A training step takes tens of milliseconds at least; half of one percent of 50 ms is 250 µs."""
    values = {f"train/c{i}": 0.1 for i in range(8)}
    best = 1.0
    with TrainingMonitor(folder) as monitor:
        for _ in range(5):
            start = time.thread_time()
            for step in range(200):
                monitor("metrics", step=step, epoch=0, batch=step, values=values)
            best = min(best, (time.thread_time() - start) / 200)
    reference = min(_json_cost(values) for _ in range(5))
    assert best < 40 * reference  # a ratio to the cost of the line itself, whatever the machine


def _json_cost(values: dict[str, float]) -> float:
    start = time.thread_time()
    for _ in range(200):
        json.dumps(values)
    return (time.thread_time() - start) / 200


def test_a_full_disk_raises_and_the_next_line_is_whole(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = TrainingMonitor(folder)
    real = os.write

    def torn_write(fd: int, data: bytes) -> int:
        if len(data) > 5:
            return real(fd, data[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", lambda fd, data: torn_write(fd, data) if len(data) > 60 else _full())
    with pytest.raises(OSError, match="No space"):
        monitor("note", text="x" * 60)
    monkeypatch.setattr(os, "write", real)
    monitor("note", text="after")
    monitor.close()
    assert [event.get("text") for event in folder.events()] == [None, "after"]


def _full() -> int:
    raise OSError(28, "No space left on device")


def test_importing_the_monitor_does_not_import_torch() -> None:
    code = (
        "import sys, trugrade_core.monitor.tracking, trugrade_core.monitor.reading, trugrade_core.monitor.resources,"
        "trugrade_core.monitor.experiments, trugrade_core.monitor.tensorboard, trugrade_core.monitor.tensorboard_server\n"
        "print([m for m in ('torch', 'duckdb', 'tensorboard', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
