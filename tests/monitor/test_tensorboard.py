from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from trugrade_core.errors import TrainingError, TruGradeError, UsageError
from trugrade_core.monitor.tensorboard import EVENT_FILE, convert, tag
from trugrade_core.monitor.tensorboard_server import TensorBoardServer
from trugrade_core.monitor.tracking import TrainingMonitor
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace

CONFIG = "task: t\nhyperparameters: {optimization: {learning_rate: 8e-4, batch_size: auto}}\ndata: {classes: [a, b]}\n"


@pytest.fixture
def folder(ws: Workspace) -> RunFolder:
    return make_run(ws)


def make_run(ws: Workspace) -> RunFolder:
    folder = RunFolder.create(ws.runs, {"kind": "train"})
    folder.queue()
    (folder.path / "config.yaml").write_text(CONFIG)
    (folder.path / "validations").mkdir()
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(folder.path / "validations" / "one.png")
    curve = {"threshold": [0.0, 0.5, 1.0], "precision": [0.5, 0.9, 1.0], "recall": [1.0, 0.8, 0.0]}
    found = {"precision_recall": {"border": curve}, "overlays": ["one.png"]}
    (folder.path / "validations" / "000002.json").write_text(json.dumps(found))
    with TrainingMonitor(folder) as monitor:
        values = {"train/loss": 1.0, "train/mask": 0.5, "lr": 0.1}
        monitor("metrics", step=1, epoch=0, batch=0, values=values)
        monitor("metrics", step=2, epoch=0, batch=1, values=values)
        monitor("metrics", step=2, epoch=0, values={"val/loss": 0.9, "val/mask": 0.4, "val/side_error_mm": None})
        monitor("metrics", step=2, epoch=0, values={"val/box_map": 0.3})
        monitor("validation", step=2, epoch=0, file="validations/000002.json")
        monitor("resources", values={"cpu_run_percent": 99.0, "gpu_percent": None})
    return folder


def read_events(folder: RunFolder) -> list[Any]:
    from tensorboard.compat.proto.event_pb2 import Event

    data, found = (folder.path / "tensorboard" / EVENT_FILE).read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + size]))
        data = data[12 + size + 4 :]
    return found


def tags(folder: RunFolder) -> list[str]:
    return [value.tag for event in read_events(folder) for value in event.summary.value]


def test_conversion_is_complete_and_incremental(folder: RunFolder) -> None:
    assert convert(folder) == 7 and convert(folder) == 0
    first = tags(folder)
    assert set(first) == {
        "_hparams_/session_start_info",
        "loss/train",
        "loss/train_mask",
        "lr",
        "loss/val",
        "loss/val_mask",
        "metrics/box_map",
        "precision_recall/border",
        "validation/1",
        "resources/cpu_run_percent",
    }
    with TrainingMonitor(folder) as monitor:
        monitor("metrics", step=3, epoch=1, values={"val/mask": 0.3})
    assert convert(folder) == 1
    assert tags(folder) == [*first, "loss/val_mask"]  # what is a loss is remembered from one call to the next


def test_bytes_of_a_killed_conversion_are_cut_off(folder: RunFolder) -> None:
    convert(folder)
    whole = (folder.path / "tensorboard" / EVENT_FILE).read_bytes()
    with (folder.path / "tensorboard" / EVENT_FILE).open("ab") as f:
        f.write(b"half a record")
    folder.append("note", text="no scalar")
    with TrainingMonitor(folder) as monitor:
        monitor("metrics", step=3, epoch=1, batch=0, values={"lr": 0.2})
    assert convert(folder) == 2
    now = (folder.path / "tensorboard" / EVENT_FILE).read_bytes()
    assert now.startswith(whole) and b"half a record" not in now and tags(folder)[-1] == "lr"
    (folder.path / "tensorboard" / EVENT_FILE).unlink()
    assert convert(folder) == 9  # a cache: made again when it is gone


@pytest.mark.parametrize("damaged", ['{"off', "[]", "{}", '{"offset": 0, "size": "9", "losses": []}'])
def test_a_damaged_state_means_converting_again(folder: RunFolder, damaged: str) -> None:
    convert(folder)
    whole = (folder.path / "tensorboard" / EVENT_FILE).read_bytes()
    (folder.path / "tensorboard" / "converted.json").write_text(damaged)
    assert convert(folder) == 7
    assert (folder.path / "tensorboard" / EVENT_FILE).read_bytes() == whole


def test_a_resume_tells_tensorboard_to_drop_what_follows(folder: RunFolder) -> None:
    folder.append("resumed", from_step=1)
    convert(folder)
    logs = [event.step for event in read_events(folder) if event.HasField("session_log")]
    assert logs == [2]


def test_tags() -> None:
    names = ("train/loss", "val/loss", "train/mask", "val/mask", "val/box_map", "lr", "time/step_s")
    expected = ["loss/train", "loss/val", "loss/train_mask", "loss/val_mask", "metrics/box_map", "lr", "time/step_s"]
    assert [tag(name, {"mask"}) for name in names] == expected


def wait_for_runs(server: TensorBoardServer, runs: set[str]) -> dict[str, dict[str, Any]]:
    end = time.monotonic() + 30
    while True:
        found: dict[str, dict[str, Any]] = httpx.get(server.url + "data/plugin/scalars/tags").json()
        if set(found) == runs or time.monotonic() > end:
            return found
        time.sleep(0.2)


@pytest.mark.slow
def test_the_server_shows_only_the_chosen_runs_and_ends(ws: Workspace, folder: RunFolder) -> None:
    other = make_run(ws)
    server = TensorBoardServer(ws)
    with pytest.raises(UsageError, match="not running"):
        server.show([folder.id])
    port = server.start()
    try:
        assert server.start() == port  # one process
        server.show([folder.id])
        found = wait_for_runs(server, {folder.id})
        assert set(found) == {folder.id} and "loss/train" in found[folder.id]
        server.show([other.id])
        assert set(wait_for_runs(server, {other.id})) == {other.id}
        reply = httpx.get(server.url + "data/plugin/pr_curves/tags").json()
        assert list(reply.get(other.id, {})) == ["precision_recall/border"]
        with pytest.raises(TrainingError):
            server.show(["20200101-000000-0000"])
        with pytest.raises(TruGradeError, match=f"port {port} is taken"):
            TensorBoardServer(ws, port=port).start()
    finally:
        server.stop()
    assert not server.alive
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/lab/tb/")


@pytest.mark.slow
def test_a_server_that_died_takes_another_port_when_its_own_is_taken(ws: Workspace) -> None:
    server = TensorBoardServer(ws)
    port = server.start()
    try:
        assert server._process is not None
        server._process.kill()
        server._process.wait()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", port))
            other.listen()
            again = server.start()
            assert again != port and f":{again}/" in server.url
    finally:
        server.stop()


@pytest.mark.slow
def test_the_server_ends_with_the_process_that_started_it(tmp_path: Path, ws: Workspace) -> None:
    code = (
        "import os, sys; from trugrade_core.workspace import Workspace\n"
        "from trugrade_core.monitor.tensorboard_server import TensorBoardServer\n"
        "server = TensorBoardServer(Workspace.open(sys.argv[1]))\n"
        "print(server.start(), server._folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ws.root)], capture_output=True, text=True, env=None)
    port, folder = done.stdout.split()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            httpx.get(f"http://127.0.0.1:{port}/lab/tb/")
        except httpx.TransportError:
            assert not Path(folder).exists()
            return
        time.sleep(0.2)
    pytest.fail("TensorBoard outlived the process that started it")


def test_not_installed_is_said(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TruGradeError, match="not installed"):
        TensorBoardServer(ws).start()
