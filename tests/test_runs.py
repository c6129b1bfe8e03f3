from __future__ import annotations

import fcntl
import json
import os
import time

import pytest

from trugrade_core import runs
from trugrade_core.errors import TrainingError, UsageError
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import locked


@pytest.fixture
def folder(ws) -> RunFolder:
    folder = RunFolder.create(ws.runs, {"kind": "train", "task": "t"})
    folder.queue()
    return folder


def test_a_new_run_is_queued(folder) -> None:
    assert folder.status().state == "queued"
    assert folder.job()["id"] == folder.id
    assert runs.ID_RULE.fullmatch(folder.id)


def test_events_come_back_in_order_and_a_torn_line_is_skipped(folder) -> None:
    folder.append("metrics", step=1, values={"train/loss": 2.5})
    with (folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "metr')
    folder.append("metrics", step=2, values={"train/loss": float("nan")})
    kinds = [event["kind"] for event in folder.events()]
    assert kinds == ["state", "metrics", "metrics"]
    assert [e["step"] for e in folder.events() if e["kind"] == "metrics"] == [1, 2]


def test_following_goes_on_where_it_was(folder) -> None:
    *_, (offset, _) = folder.follow(0)
    assert list(folder.follow(offset)) == []
    folder.append("note", text="ä")
    ((end, event),) = folder.follow(offset)
    assert event["text"] == "ä" and end > offset


def test_a_line_without_its_end_is_not_yet_there(folder) -> None:
    path = folder.path / "events.jsonl"
    size = path.stat().st_size
    with path.open("ab") as f:
        f.write(b'{"run": "x", "kind": "note", "t": 1.0}')
    assert list(folder.follow(size)) == []


def test_the_last_event_of_a_kind(folder) -> None:
    assert folder.last("result") == {}
    folder.append("result", values={"a": 1})
    folder.append("note", text='"kind": "result", "t": 1')
    folder.append("result", values={"a": 2})
    with (folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "result", "t": 5, "val')
    assert folder.results() == {"a": 2}


def test_attempts_count_the_resumes(folder) -> None:
    assert folder.attempt() == 1
    folder.append("resumed", from_step=3, attempt=2)
    assert folder.attempt() == 2
    folder.append("note", text="x")
    assert folder.last("note")["attempt"] == 2


def test_a_running_run_without_a_supervisor_reads_crashed(folder) -> None:
    folder.append("state", state="running")
    folder.log.write_text("Traceback\nBoom\n")
    status = folder.status()
    assert status.state == "crashed" and "Boom" in status.reason and folder.id in status.what_to_do
    with locked(folder.path / ".lock"):
        assert folder.status().state == "running"
    assert folder.status().state == "crashed"


def test_a_queued_run_gets_a_grace_then_reads_crashed(folder, monkeypatch) -> None:
    assert folder.status().state == "queued"
    now = time.time()
    monkeypatch.setattr(runs.time, "time", lambda: now + runs.GRACE_S + 1)
    assert folder.status().state == "crashed"


def test_control_is_read_once(folder) -> None:
    assert folder.asked(0) == (0, [])
    folder.ask("save", "ada")
    offset, commands = folder.asked(0)
    assert commands == ["save"]
    folder.ask("stop")
    assert folder.asked(offset)[1] == ["stop"]


def test_an_attempt_reads_what_it_was_asked_and_no_torn_line(folder) -> None:
    folder.ask("stop")
    with (folder.path / "control.jsonl").open("ab") as f:
        f.write(b'{"command": "sa')
    folder.append("resumed", from_step=0)
    folder.ask("save")
    assert folder.asked(0, attempt=folder.attempt())[1] == ["save"]


def test_finding_by_prefix_and_latest(ws, folder) -> None:
    assert RunFolder.find(ws, folder.id).path == folder.path
    assert RunFolder.find(ws, "latest").path == folder.path
    assert RunFolder.find(ws, folder.id[:-1]).path == folder.path
    with pytest.raises(TrainingError, match="no run 'x'"):
        RunFolder.find(ws, "x")
    other = ws.runs / (folder.id[:-1] + ("0" if folder.id[-1] != "0" else "1"))
    other.mkdir()
    with pytest.raises(UsageError, match="fits 2 of them"):
        RunFolder.find(ws, folder.id[:-1])


def test_half_written_and_emptied_folders_are_told(ws, folder) -> None:
    (folder.path / "job.json").unlink()
    with pytest.raises(TrainingError, match="half-written"):
        folder.job()
    os.truncate(folder.path / "events.jsonl", 0)
    assert folder.status().state == "crashed"
    assert runs.list_ids(ws.root / "nowhere") == []


def test_an_event_is_one_json_line(folder) -> None:
    line = runs.encode_event("r", "note", 3, {"text": "a\nb"})
    assert b"\n" not in line
    assert json.loads(line)["attempt"] == 3
    with pytest.raises(AssertionError):
        runs.encode_event("r", "nonsense", 1, {})


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_the_last_event_is_found_backwards_whatever_the_blocks(folder, monkeypatch, block) -> None:
    monkeypatch.setattr(runs, "BLOCK", block)
    folder.append("note", text="x" * 300)
    folder.append("result", values={"a": 1})
    with (folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "result", "t": 5, "val')
    for step in range(5):
        folder.append("metrics", step=step, values={})
    with (folder.path / "events.jsonl").open("ab") as f:
        f.write(b'{"run": "x", "kind": "metrics", "t": 5.0, "step": 9}')
    assert folder.last("metrics")["step"] == 4
    assert folder.results() == {"a": 1}
    assert folder.last("note")["text"] == "x" * 300
    assert folder.last("state")["state"] == "queued" and folder.last("resumed") == {}


def test_a_status_does_not_read_the_whole_journal(folder, monkeypatch) -> None:
    (folder.path / "events.jsonl").write_bytes(b'{"run": "x", "kind": "note", "t": 1.0}\n' * 20_000)
    folder.append("state", state="finished", reason="")
    read = 0
    plain = runs._backwards

    def counted(path):
        nonlocal read
        for lines in plain(path):
            read += len(lines)
            yield lines

    monkeypatch.setattr(runs, "_backwards", counted)
    assert folder.status().state == "finished"
    assert 0 < read <= runs.BLOCK


def test_a_line_of_many_blocks_costs_what_its_bytes_do(folder, monkeypatch) -> None:
    monkeypatch.setattr(runs, "BLOCK", 1024)
    journal = folder.path / "events.jsonl"

    def seconds(line: bytes) -> float:
        journal.write_bytes(line * ((8 << 20) // len(line)))
        begun = time.perf_counter()
        assert folder.attempt() == 1
        return time.perf_counter() - begun

    short = seconds(b"y" * 63 + b"\n")
    assert seconds(b"x" * ((8 << 20) - 1) + b"\n") < 15 * short, "joined once, not block by block (80 times)"


def test_a_state_written_while_the_lock_is_looked_at_is_read(folder, monkeypatch) -> None:
    folder.append("state", state="running")

    def ends(self) -> bool:
        self.append("state", state="finished")
        return False

    monkeypatch.setattr(RunFolder, "supervised", ends)
    assert folder.status().state == "finished"
    assert folder.status({"kind": "state", "state": "running", "t": 1.0}).state == "finished"


def test_a_folder_on_its_way_to_the_trash_is_not_made_again(ws, folder, monkeypatch) -> None:
    (folder.path / ".lock").touch()
    plain = runs.locked

    def late(path, **words):
        ws.to_trash(folder.path)
        return plain(path, **words)

    monkeypatch.setattr(runs, "locked", late)
    assert folder.status().state == "discarded"
    assert not folder.path.exists()


def test_a_run_of_another_user_is_looked_at_without_writing(folder) -> None:
    lock = folder.path / ".lock"
    lock.touch()
    lock.chmod(0o444)
    with lock.open("rb") as mine, runs.locked(lock, wait=False, shared=True, make_folder=False) as held:
        assert held is not None and held.mode == "rb", (
            "root may write whatever the mode says: the way it is opened counts"
        )
        fcntl.flock(mine, fcntl.LOCK_SH)
    with lock.open("rb") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        assert folder.supervised()


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"kind": 3}', '{"kind": "train", "task": []}'])
def test_a_damaged_job_is_told(folder, text) -> None:
    (folder.path / "job.json").write_text(text)
    with pytest.raises(TrainingError, match="damaged") as e:
        folder.job()
    assert str(folder.path) in str(e.value)


def test_damaged_lines_are_told_or_skipped(folder) -> None:
    folder.ask("stop")
    with (folder.path / "control.jsonl").open("a") as f:
        f.write('[]\n3\n{}\n{"command": "dance"}\n{"command": "save", "attempt": null}\n')
    folder.ask("save")
    assert folder.asked()[1] == ["stop", "save"]
    for line in ('{"run": "x", "kind": "state", "t": 1.0, "attempt": 1}', '{"kind": "state", "t": null, "state": "queued"}',
                 '{"kind": "state", "t": 1.0, "state": ["x"]}'):  # fmt: skip
        with (folder.path / "events.jsonl").open("a") as f:
            f.write(line + "\n")
        assert folder.status().state == "crashed" and "damaged" in folder.status().reason
    with (folder.path / "events.jsonl").open("a") as f:
        f.write('[{"kind": "result", "t": 1.0}]\n')
    assert folder.results() == {}


def test_a_new_reason_keeps_the_time_the_state_was_entered(folder) -> None:
    entered = folder.status().t
    folder.append("state", state="queued", reason="waits for cpu", since=entered)
    assert folder.last("state")["t"] >= entered == folder.status().t
