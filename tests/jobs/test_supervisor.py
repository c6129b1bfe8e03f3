"""Jobs as processes: they outlive nobody's death wrongly, and every end has a state."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest

from trugrade_core.jobs import follow, launch, wait
from trugrade_core.jobs.device import try_device
from trugrade_core.jobs.supervisor import RANK_NAMES, Supervisor
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import datasets
from trugrade_core.workflows.jobs import perform
from trugrade_core.workspace import locked, write_json


def until(condition: Callable[[], object], what: str) -> object:
    """What `condition` gives once it is true; fails after a generous while."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def processes(folder: RunFolder, *, child: bool) -> list[psutil.Process]:
    """The job's supervisor, or its child."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "trugrade_core.worker" in line and str(folder.path) in line and ("--child" in line) == child:
            found.append(process)
    return found


@pytest.fixture
def long_job(ws) -> RunFolder:
    """Many synthetic cards: goes on for as long as a test needs."""
    folder = datasets.start_synth(ws, "many", count=5000, dpi=100)
    until(lambda: folder.last("progress").get("done"), "the job makes progress")
    yield folder
    for process in processes(folder, child=False) + processes(folder, child=True):
        process.kill()


def test_a_job_runs_to_its_end_and_leaves_its_result(ws) -> None:
    folder = datasets.start_synth(ws, "cards", count=3, dpi=60)
    assert wait(folder).state == "finished"
    assert folder.results()["images"] == 3
    assert [e["state"] for e in folder.events() if e["kind"] == "state"] == ["queued", "running", "finished"]
    until(ws.catalog.exists, "the catalog is published")


def test_a_failure_is_classed_and_says_what_to_do(ws) -> None:
    folder = datasets.start_export(ws, "nothing", "coco", ws.root.parent / "out")
    status = wait(folder)
    assert (status.state, status.failure) == ("failed", "data")
    assert "no dataset 'nothing'" in status.reason and status.what_to_do


def test_a_killed_child_is_a_crash_with_its_cause(long_job) -> None:
    (child,) = processes(long_job, child=True)
    child.kill()
    status = wait(long_job)
    assert (status.state, status.failure) == ("crashed", "killed")
    assert "signal 9" in status.reason


def test_a_killed_supervisor_takes_its_child_along(long_job) -> None:
    (supervisor,), (child,) = processes(long_job, child=False), processes(long_job, child=True)
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE, "the child dies too")
    assert until(lambda: long_job.status().state == "crashed", "readers see it")


def test_stopping_ends_a_job_as_stopped(long_job) -> None:
    long_job.ask("stop", "ada")
    assert wait(long_job).state == "stopped"


def test_discarding_moves_the_folder_to_the_trash(ws, long_job) -> None:
    long_job.ask("discard")
    until(lambda: not long_job.path.exists(), "the folder is gone")
    (moved,) = ws.root.glob(f"trash/*/jobs/{long_job.id}")
    assert RunFolder(moved).status().state == "discarded"


def test_two_jobs_for_one_device_go_one_after_the_other(ws) -> None:
    folders = []
    for _ in range(3):
        args = {"dataset": "cards", "count": 20, "seed": 0, "dpi": 60}
        folder = RunFolder.create(ws.jobs, {"kind": "synth", "args": args, "device": "cpu"})
        folder.queue()
        launch(folder)
        folders.append(folder)
    assert [wait(folder).state for folder in folders] == ["finished"] * 3
    spans = []
    for folder in folders:
        times = {e["state"]: e["t"] for e in folder.events() if e["kind"] == "state"}
        spans.append((times["running"], times["finished"]))
    spans.sort()
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_a_job_stopped_in_line_never_starts(ws, long_job) -> None:
    first = RunFolder.create(
        ws.jobs, {"kind": "synth", "args": {"dataset": "a", "count": 5000, "dpi": 100}, "device": "cpu"}
    )
    first.queue()
    launch(first)
    until(lambda: first.status().state == "running", "the first holds the device")
    second = RunFolder.create(
        ws.jobs, {"kind": "synth", "args": {"dataset": "b", "count": 1, "dpi": 60}, "device": "cpu"}
    )
    second.queue()
    launch(second)
    until(lambda: "waits for cpu" in second.status().reason, "the second waits")
    second.ask("save")  # of nothing yet: it stays in line
    time.sleep(1)
    assert second.status().state == "queued"
    second.ask("stop")
    assert wait(second).state == "stopped"
    assert not [e for e in second.events() if e["kind"] == "state" and e["state"] == "running"]
    third = RunFolder.create(
        ws.jobs, {"kind": "synth", "args": {"dataset": "c", "count": 1, "dpi": 60}, "device": "cpu"}
    )
    third.queue()
    third.ask("discard")
    launch(third)
    until(lambda: not third.path.exists(), "one that is discarded in line lies in the trash")
    first.ask("stop")
    assert wait(first).state == "stopped"


def test_a_folder_that_is_launched_twice_is_worked_on_once(ws) -> None:
    folder = datasets.start_synth(ws, "cards", count=10, dpi=60)
    launch(folder)
    assert wait(folder).state == "finished"
    until(lambda: not processes(folder, child=False), "both supervisors end")
    assert len([e for e in folder.events() if e["kind"] == "state" and e["state"] == "running"]) == 1


def test_the_line_for_a_device_is_by_the_time_of_queuing(ws) -> None:
    first, resumed = (RunFolder(ws.jobs / f"20260101-00000{n}-aaaa") for n in (1, 0))
    for folder in (first, resumed):  # the resumed one has the older id
        folder.path.mkdir(parents=True)
        write_json(folder.path / "job.json", {"kind": "synth", "device": "cpu"})
        folder.queue()
        time.sleep(0.01)
    # Saying whom it waits for does not put a job behind.
    first.append("state", state="queued", reason="waits for cpu", since=first.status().t)
    with ExitStack() as stack:
        assert try_device(ws, "cpu", resumed, stack) == f"{first.id} is before it"
        assert try_device(ws, "cpu", first, stack) is None


def test_following_a_job_reads_its_state_as_it_goes_by(ws, monkeypatch) -> None:
    folder = RunFolder.create(ws.jobs, {"kind": "synth"})
    folder.queue()
    searched = []
    plain = RunFolder.last
    monkeypatch.setattr(RunFolder, "last", lambda self, kind: searched.append(kind) or plain(self, kind))
    events = follow(folder, poll_s=0.01)
    with locked(folder.path / ".lock"):
        assert next(events)["state"] == "queued"
        folder.append("note", attempt=1, text="x")
        assert next(events)["text"] == "x"
        folder.append("state", attempt=1, state="running")
        assert next(events)["state"] == "running"
        folder.append("state", attempt=1, state="finished")
        assert [e["state"] for e in events] == ["finished"]
    assert searched == ["state"]


def test_only_the_first_rank_tells_the_result(ws, monkeypatch) -> None:
    monkeypatch.setattr(datasets, "do_synth", lambda job: {"rank": os.environ["RANK"]})
    folder = RunFolder.create(ws.jobs, {"kind": "synth"})
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        assert perform(folder).state == "finished"
    assert [e["values"] for e in folder.events() if e["kind"] == "result"] == [{"rank": "0"}]


def test_a_supervisor_takes_the_attempt_it_finds_when_it_is_its_turn(ws) -> None:
    folder = RunFolder.create(ws.jobs, {"kind": "synth"})
    folder.queue()
    supervisor = Supervisor(folder)
    folder.append("resumed", from_step=0)
    folder.append("state", state="stopped")
    supervisor.run()
    assert supervisor.attempt == 2


def test_modules_that_lie_in_the_folder_are_not_run(ws) -> None:
    """Neither by the supervisor nor by its child: the folder may come from anywhere."""
    folder = RunFolder.create(ws.jobs, {"kind": "synth", "args": {"dataset": "c", "count": 1, "dpi": 60},
                                        "environment": {"PYTHONSAFEPATH": "", "PYTHONPATH": "planted"}})  # fmt: skip
    (folder.path / "planted").mkdir()
    for name in ("yaml", "pydantic", "numpy"):
        for place in (folder.path, folder.path / "planted"):
            (place / f"{name}.py").write_text("open('ran', 'a').write(__name__); raise ImportError('planted')")
    folder.queue()
    launch(folder)
    assert wait(folder).state == "finished", folder.log.read_text()
    assert not (folder.path / "ran").exists()


def test_a_job_takes_no_rank_from_the_shell_it_is_started_in(ws, monkeypatch) -> None:
    for name in RANK_NAMES:
        monkeypatch.setenv(name, "1")
    folder = datasets.start_synth(ws, "cards", count=1, dpi=60)
    assert wait(folder).state == "finished", folder.log.read_text()
    assert folder.results()["images"] == 1


class Ended:
    """A child that has ended well."""

    returncode = 0

    def poll(self) -> int:
        return 0


def test_a_discard_asked_while_the_child_ends_is_carried_out(ws) -> None:
    folder = RunFolder.create(ws.jobs, {"kind": "synth"})
    folder.queue()
    supervisor = Supervisor(folder)
    supervisor.attempt, supervisor.children = 1, [Ended()]
    folder.append("state", state="running")
    folder.ask("discard")
    folder.append("state", state="finished")
    supervisor._conclude()
    assert not folder.path.exists()
    (moved,) = ws.root.glob(f"trash/*/jobs/{folder.id}")
    assert RunFolder(moved).status().state == "discarded"


def test_asking_again_gives_no_more_time(ws) -> None:
    supervisor = Supervisor(RunFolder.create(ws.jobs, {"kind": "synth"}))
    first = supervisor._pass_on(["stop"], None)
    assert first is not None and supervisor._pass_on(["stop"], first) == first
