"""For tests in a real browser: a Streamlit script as people start it, where Chromium is, and what they look up."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from trugrade_core.data.store import Dataset
from trugrade_core.schema import LogEntry

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
START_S = 90.0
SAVED_S = 30.0


@contextlib.contextmanager
def served(script: Path, folder: Path, *words: str, **environment: str) -> Iterator[str]:
    """The address of `streamlit run script` on a free port, once it answers. It runs in `folder`, where its log is."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    log = folder / "app.txt"
    with log.open("wb") as out:
        app = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port), *words],
            cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=out,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/_stcore/health", app, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        app.terminate()
        app.wait(20)


def _wait(health: str, app: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert app.poll() is None, log.read_text()
        try:
            if httpx.get(health).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"the app did not answer: {log.read_text()}")


def until(what: Callable[[], Any], seconds: float = SAVED_S) -> Any:
    """What it gives, once it is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.05)
    return found


def by_hand(ds: Dataset) -> list[LogEntry]:
    return [e for e in ds.log() if e.tool in ("annotator", "canvas")]


def unlabelled(ds: Dataset) -> str:
    return next(s.id for s in ds.samples().values() if s.status == "unlabelled")
