"""Writers and publishers killed with -9 at random while others read: nothing that was acknowledged is lost or doubled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.catalog.workspaces import dump
from trugrade_core.catalog.fold import publish, rebuild
from trugrade_core.catalog.query import connect
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace

CLI = Path(sys.executable).with_name("duckdb")

WRITER = """
import sys, time
from pathlib import Path
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import RunFolder
folder = RunFolder(Path(sys.argv[1]))
monitor = TrainingMonitor(folder)
step = max((e["step"] for e in folder.events() if e["kind"] == "metrics"), default=0)
while True:
    step += 1
    monitor("metrics", step=step, epoch=step // 100, batch=step, values={"train/loss": 1.0 / step, "lr": 0.1})
    print(step, flush=True)
    time.sleep(0.002)
"""
PUBLISHER = """
import sys
from trugrade_core.catalog.fold import publish
from trugrade_core.workspace import Workspace
ws = Workspace.open(sys.argv[1])
while True:
    publish(ws)
"""


class Crew:
    """Child processes that are killed and started again."""

    def __init__(self, ws: Workspace, writers: int, publishers: int, scratch: Path) -> None:
        self.folders = [RunFolder.create(ws.runs, {"kind": "train"}) for _ in range(writers)]
        self.said = [scratch / f"{folder.id}.said" for folder in self.folders]
        self.commands = [[WRITER, str(folder.path)] for folder in self.folders] + [
            [PUBLISHER, str(ws.root)]
        ] * publishers
        self.children: list[subprocess.Popen[bytes]] = [self._start(i) for i in range(len(self.commands))]
        self.kills = 0

    def _start(self, i: int) -> subprocess.Popen[bytes]:
        if i < len(self.said):
            with self.said[i].open("ab") as f:
                return subprocess.Popen([sys.executable, "-c", *self.commands[i]], stdout=f)
        return subprocess.Popen([sys.executable, "-c", *self.commands[i]], stdout=subprocess.DEVNULL)

    def kill(self, i: int, *, again: bool = True) -> None:
        self.children[i].send_signal(signal.SIGKILL)
        self.children[i].wait()
        self.kills += 1
        if again:
            self.children[i] = self._start(i)

    def end(self) -> None:
        for i in range(len(self.children)):
            self.kill(i, again=False)

    def acknowledged(self, i: int) -> int:
        lines = [line for line in self.said[i].read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return max((int(line) for line in lines), default=0)


def torture(ws: Workspace, scratch: Path, kills: int, writers: int, publishers: int) -> Crew:
    rng = random.Random(7)
    assert publish(ws)
    crew = Crew(ws, writers, publishers, scratch)
    held = connect(ws)  # an analyst whose connection stays open stops nobody
    try:
        while crew.kills < kills:
            time.sleep(rng.uniform(0.05, 0.3))
            with closing(connect(ws)) as con:
                con.execute("SELECT count(*), max(step) FROM metrics").fetchall()
            crew.kill(rng.randrange(len(crew.children)))
    finally:
        crew.end()
        held.close()
    assert publish(ws)
    with closing(connect(ws)) as con:
        for i, folder in enumerate(crew.folders):
            query = "SELECT count(*), count(DISTINCT step), max(step) FROM metrics_all WHERE run_id = ? AND name = 'train/loss'"
            count, distinct, last = con.execute(query, [folder.id]).fetchall()[0]
            assert count == distinct == (last or 0), "doubled or lost"
            assert (last or 0) >= crew.acknowledged(i)
    incremental = dump(ws)
    rebuild(ws)
    again = dump(ws)
    assert again["metrics_all"] == incremental["metrics_all"] and again["runs"] == incremental["runs"]
    return crew


def test_kills_lose_nothing_short(ws: Workspace, tmp_path: Path) -> None:
    crew = torture(ws, tmp_path, 8, writers=2, publishers=1)
    assert crew.kills >= 8 and all(child.poll() is not None for child in crew.children)


@pytest.mark.slow
def test_kills_lose_nothing(ws: Workspace, tmp_path: Path) -> None:
    """About ten seconds on an idle machine."""
    crew = torture(ws, tmp_path, 40, writers=4, publishers=2)
    assert any(crew.acknowledged(i) for i in range(4))


def test_the_command_line_opens_the_file_while_others_publish(ws: Workspace, tmp_path: Path) -> None:
    """The line that README and page show, with DuckDB's own program (an older version than the library)."""
    if not CLI.exists():
        pytest.skip("duckdb-cli is not installed beside this Python")
    publish(ws)
    crew = Crew(ws, 1, 1, tmp_path)
    try:
        counts = []
        end = time.monotonic() + 20
        while len(set(counts)) < 3 and time.monotonic() < end:
            done = subprocess.run(
                [str(CLI), "-readonly", str(ws.catalog), "-csv", "-noheader", "-c", "SELECT count(*) FROM metrics"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            counts.append(int(done.stdout))
    finally:
        crew.end()
    assert counts == sorted(counts) and len(set(counts)) >= 3
    refused = subprocess.run(
        [str(CLI), "-readonly", str(ws.catalog), "-c", "DELETE FROM runs"], capture_output=True, text=True
    )
    assert refused.returncode != 0 and "read-only" in refused.stderr
