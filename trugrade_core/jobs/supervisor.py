"""The supervisor: one small process for each job, alive exactly as long as the job is.

It holds the folder's lock (so that a lock that is free means the job is over), stands in line for its device, starts
the child or the ranks, passes stop and discard on, samples resources, publishes the catalog, and writes the last
state when the child could not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

from trugrade_core.jobs import SAFE_PATH
from trugrade_core.jobs.device import try_device
from trugrade_core.runs import Command, RunFolder, State
from trugrade_core.workspace import Workspace, locked

POLL_S = 0.25
RESOURCES_S = 1.0
PUBLISH_S = 10.0
TERM_GRACE_S = 20.0
"""How long a child may take to end after it was asked to."""
RANK_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT",
              "TORCHELASTIC_RUN_ID")  # fmt: skip
"""How torchrun tells a process its place among several. A job has its own, or none, whatever shell it is started from."""


class Supervisor:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.ws = Workspace(folder.path.parent.parent)
        self.job = folder.job()
        self.attempt = 0
        self.control_offset = 0
        self.children: list[subprocess.Popen[bytes]] = []
        self.asked: list[Command] = []

    def run(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder.path / ".lock"))
            self.attempt = self.folder.attempt()  # now that the attempt before has ended
            if self.folder.status().state != "queued":
                return
            if self._wait_for_device(stack):
                self._state("running")
                self._start_children()
                self._watch()
            self._conclude()
        self._publish(wait=True)

    # --- waiting ---------------------------------------------------------------------------------------------

    def _wait_for_device(self, stack: ExitStack) -> bool:
        """Hold the job's device; False when a person stopped the job first."""
        device = self.job.get("device")
        told = False
        while device:
            holder = try_device(self.ws, device, self.folder, stack)
            if holder is None:
                break
            if not told:
                queued = self.folder.status().t  # its place in the line
                reason = f"waits for {device}: {holder}"
                self.folder.append(
                    "state", sync=True, attempt=self.attempt, state="queued", reason=reason, since=queued
                )
                self._publish()
                told = True
            if self._told_to_end():
                return False
            time.sleep(POLL_S)
        return not self._told_to_end()

    def _told_to_end(self) -> bool:
        self.asked += self._read_control()
        return "stop" in self.asked or "discard" in self.asked

    # --- working ---------------------------------------------------------------------------------------------

    def _start_children(self) -> None:
        ranks = int(self.job.get("ranks", 1))
        port = str(_free_port()) if ranks > 1 else ""
        inherited = {name: value for name, value in os.environ.items() if name not in RANK_NAMES}
        for rank in range(ranks):
            # Nothing else from the folder: one that was copied from elsewhere may say what it likes.
            own = {
                key: str(value) for key, value in self.job.get("environment", {}).items() if key == "OMP_NUM_THREADS"
            }
            env = inherited | own | SAFE_PATH
            if ranks > 1:
                # As torchrun does, so that Fabric takes the ranks as given and starts none of its own.
                place = (rank, rank, ranks, ranks, 0, "127.0.0.1", port, self.folder.id)
                env |= {name: str(value) for name, value in zip(RANK_NAMES, place, strict=True)}
            command = [sys.executable, "-m", "trugrade_core.worker", "--child", str(self.folder.path)]
            self.children.append(subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL))

    def _watch(self) -> None:
        """Until every child has ended. A rank that dies takes the others with it."""
        from trugrade_core.monitor.resources import ResourceMonitor

        resources = ResourceMonitor(pid=os.getpid())
        next_sample = next_publish = time.monotonic()
        kill_at: float | None = None
        while any(child.poll() is None for child in self.children):
            now = time.monotonic()
            if now >= next_sample:
                with contextlib.suppress(OSError):  # a full disk is for the work itself to end by, in its own words
                    self.folder.append("resources", attempt=self.attempt, values=resources.sample())
                next_sample = now + RESOURCES_S
            if now >= next_publish:
                self._publish()
                next_publish = now + PUBLISH_S
            kill_at = self._pass_on(self._read_control(), kill_at)
            failed = [child for child in self.children if child.poll() not in (None, 0)]
            if failed and kill_at is None:
                self._signal(signal.SIGTERM)
                kill_at = now + TERM_GRACE_S
            if kill_at is not None and now >= kill_at:
                self._signal(signal.SIGKILL)
            time.sleep(POLL_S)

    def _pass_on(self, commands: list[Command], kill_at: float | None) -> float | None:
        """A training reads stop and save from its folder itself and ends on a step; other jobs are told by signal.

        Asked twice, either is ended by force. Returns when to kill, if at all.
        """
        self.asked += commands
        ends = [command for command in self.asked if command in ("stop", "discard")]
        if not commands or not ends:
            return kill_at
        if self.job["kind"] == "train" and len(ends) == 1:
            return kill_at
        self._signal(signal.SIGTERM)
        return kill_at or time.monotonic() + TERM_GRACE_S  # asking again gives no more time

    def _signal(self, number: signal.Signals) -> None:
        for child in self.children:
            if child.poll() is None:
                child.send_signal(number)

    # --- ending ----------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Write the last state if the child has not, and carry a discard out."""
        self.asked += self._read_control()  # what came while the child was ending
        codes = [child.returncode for child in self.children]
        last = self.folder.last("state").get("state")
        if last == ("running" if codes else "queued"):
            if any(command in ("stop", "discard") for command in self.asked):
                self._state("stopped", "stopped by a person" if codes else "stopped before it started")
            else:
                self._state("crashed", *_cause(codes, self.folder))
        if "discard" in self.asked:
            if last != "discarded":
                self._state("discarded", "discarded by a person")
            self.ws.to_trash(self.folder.path)

    def _state(self, state: State, reason: str = "", failure: str = "", what_to_do: str = "") -> None:
        words = {"failure": failure, "what_to_do": what_to_do} if failure else {}
        self.folder.append("state", sync=True, attempt=self.attempt, state=state, reason=reason, **words)

    def _publish(self, *, wait: bool = False) -> None:
        from trugrade_core.catalog.fold import publish

        try:
            publish(self.ws, wait=wait)
        except Exception as e:  # the catalog can always be made again; the work must go on
            print(f"catalog not published: {e}", file=sys.stderr)  # noqa: T201

    # --- control ---------------------------------------------------------------------------------------------

    def _read_control(self) -> list[Command]:
        self.control_offset, commands = self.folder.asked(self.control_offset, attempt=self.attempt)
        return commands


def _cause(codes: list[int], folder: RunFolder) -> tuple[str, str, str]:
    """(reason, failure class, next step) for children that ended without a word."""
    killed = [-code for code in codes if code < 0]
    number = next((n for n in killed if n != signal.SIGTERM), killed[0] if killed else 0)
    if number == signal.SIGKILL:
        return "the process was killed (signal 9), by a person or for memory", "killed", folder.way_on()
    if number:
        return f"the process ended by signal {signal.Signals(number).name}", "killed", folder.way_on()
    return f"the process ended without an outcome (exit {max(codes, default=0)})", "bug", f"Read the log: {folder.log}"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def main(path: Any) -> None:
    Supervisor(RunFolder(path)).run()
