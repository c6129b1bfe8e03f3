"""TensorBoard's own server: one process over a folder of links to the runs that were chosen.

Embedded in a page through a same-origin proxy under `path_prefix`. It ends with the process that started it, however
that ends: its standard input is a pipe from there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from trugrade_core.errors import TruGradeError, UsageError
from trugrade_core.monitor.tensorboard import convert
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace

START_LIMIT_S = 60.0
STOP_LIMIT_S = 5.0

BOOT = """
import os, shutil, signal, sys, threading
folder = sys.argv.pop(1)
def end():
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end, daemon=True).start()
from tensorboard import main
sys.exit(main.run_main())
"""


class TensorBoardServer:
    """`port` 0 lets the system choose, anew at each start; `start()` returns the one in use."""

    def __init__(self, ws: Workspace, *, path_prefix: str = "/lab/tb", port: int = 0) -> None:
        self.ws = ws
        self.path_prefix = path_prefix.rstrip("/")
        self.port = self._asked_port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path_prefix}/"

    def start(self) -> int:
        """Start it unless it runs; returns its port. Raises TruGradeError when it cannot be started, with the reason."""
        if self.alive:
            return self.port
        if importlib.util.find_spec("tensorboard") is None:
            raise TruGradeError(
                "TensorBoard is not installed", code="tensorboard.missing", what_to_do="Run: pip install tensorboard"
            )
        self.stop()
        self._folder = Path(tempfile.mkdtemp(prefix="trugrade-tensorboard-"))
        (self._folder / "runs").mkdir()
        log = self._folder / "log.txt"
        words = ["--logdir", str(self._folder / "runs"), "--host", "127.0.0.1", "--port", str(self._asked_port)]
        with log.open("wb") as f:
            self._process = subprocess.Popen(
                [sys.executable, "-c", BOOT, str(self._folder), *words, "--path_prefix", self.path_prefix],
                stdin=subprocess.PIPE,
                stdout=f,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self.port = self._wait_for_port(log)
        except BaseException:
            self.stop()
            raise
        return self.port

    def _wait_for_port(self, log: Path) -> int:
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end:
            text = log.read_text(errors="replace")
            if found := re.search(r" at http://127\.0\.0\.1:(\d+)/", text):
                return int(found[1])
            if not self.alive:
                taken = "already in use" in text
                raise TruGradeError(
                    f"port {self._asked_port} is taken"
                    if taken
                    else f"TensorBoard ended at its start: {text.strip()[-500:]}",
                    where="TensorBoard",
                    code="tensorboard.port_taken" if taken else "tensorboard.failed",
                    what_to_do="Choose another port, or 0 for a free one." if taken else "Read the message above.",
                )
            time.sleep(0.05)
        raise TruGradeError(
            f"TensorBoard did not answer within {START_LIMIT_S:.0f} s", code="tensorboard.slow", what_to_do="Try again."
        )

    def show(self, run_ids: Iterable[str]) -> None:
        """Show exactly these runs, converted up to this moment. Raises TrainingError for one that is not there."""
        if self._folder is None:
            raise UsageError("TensorBoard is not running", what_to_do="Start it first.")
        runs = {folder.id: folder for folder in (RunFolder.find(self.ws, run_id) for run_id in run_ids)}
        links = self._folder / "runs"
        for link in links.iterdir():
            if link.name not in runs:
                link.unlink()
        for run_id, folder in runs.items():
            convert(folder)
            if not (links / run_id).is_symlink():
                (links / run_id).symlink_to(folder.path / "tensorboard", target_is_directory=True)

    def stop(self) -> None:
        """End it and its data server; nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
