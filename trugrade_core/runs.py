"""What a run (or any other job) is on disk, and the only code that reads and writes it.

    job.json          what is to be done: kind, arguments, device, who, when
    config.yaml       a training's configuration as the person gave it, its version and weight file pinned
    plan.json         what became of each key, and its resolved value
    environment.json  git commit, packages, machine, threads, seeds, dataset digest
    changes.patch     the uncommitted diff itself
    events.jsonl      append-only: states, metrics, resources, checkpoints, notes, the outcome
    control.jsonl     append-only: what people asked of the running job (stop, discard, save)
    checkpoints/      best.pt, latest.pt and their manifests
    evaluation/SPLIT/ evaluation.json and its Parquet files
    tensorboard/      a cache: the events as TensorBoard reads them
    log.txt           all that the child printed
    .lock             held by the supervisor for as long as it lives

An event is one JSON object a line: `{"run", "kind", "t" (seconds since 1970, UTC), "attempt", …}`. Journals only
ever gain fields; the meaning of one never changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trugrade_core.errors import TrainingError, UsageError
from trugrade_core.workspace import Workspace, append_lines, locked, now, read_json, write_json

State = Literal["queued", "running", "stopped", "finished", "failed", "crashed", "discarded"]
LIVE: tuple[State, ...] = ("queued", "running")
Command = Literal["stop", "discard", "save"]
JOB_WORDS = ("kind", "title", "task", "architecture", "dataset", "experiment", "created")
"""What lists show of a job.json: text or null, of which `kind` must be there."""

EVENT_KINDS = (
    "state",  # state, reason; failed and crashed also failure (its class) and what_to_do; since, when only the reason
    # is new: t of the event that entered it
    "progress",  # done, total, unit, text
    "metrics",  # step, epoch, values {name: number}
    "resources",  # values {name: number or null}
    "validation",  # step, epoch, file: curves and confusion of that validation
    "checkpoint",  # name, step, epoch, digest, bytes, metric
    "adapted",  # key, asked, used, reason: found out at start (batch size by probe, …)
    "note",  # text
    "resumed",  # from_step: opens a new attempt, whose number it carries
    "result",  # values: what the job came to, any JSON
)
Progress = Callable[[int, int, str], None]
"""How long work says where it is: (done, total, what)."""

BLOCK = 64 * 1024
"""Bytes of a journal that are read at a time when looking for its last events."""

GRACE_S = 30.0
"""How long a queued job may be without a supervisor before readers call it crashed."""


def encode_event(run: str, kind: str, attempt: int, fields: dict[str, Any]) -> bytes:
    """One line of a journal, without its newline. Every writer uses this: readers look for `_mark(kind)`."""
    assert kind in EVENT_KINDS, kind  # noqa: S101
    event = {"run": run, "kind": kind, "t": round(time.time(), 4), "attempt": attempt, **fields}
    return json.dumps(event, ensure_ascii=False).encode()


def _mark(kind: str) -> bytes:
    return f'"kind": "{kind}", "t": '.encode()


@dataclass(frozen=True)
class Status:
    """A job's state as any reader sees it. `t` is when it was entered, seconds since 1970."""

    state: State
    reason: str = ""
    failure: str = ""
    what_to_do: str = ""
    t: float = 0.0

    @property
    def live(self) -> bool:
        return self.state in LIVE


def new_id() -> str:
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class RunFolder:
    path: Path

    # --- making and finding ------------------------------------------------------------------------------------

    @classmethod
    def create(cls, parent: Path, job: dict[str, Any]) -> RunFolder:
        """A new folder under `parent` (a workspace's runs or jobs) with its job.json; `queue` it when it is complete."""
        while True:
            path = parent / new_id()
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            break
        write_json(path / "job.json", {"id": path.name, "created": now().isoformat(), **job})
        return cls(path)

    @classmethod
    def find(cls, workspace: Workspace, name: str, *, jobs: bool = False) -> RunFolder:
        """By id or unique prefix, among runs (and jobs too when `jobs`); `latest` is the newest run."""
        known = list_ids(workspace.runs)
        if name == "latest" and known:
            return cls(known[-1])
        if jobs:
            known += list_ids(workspace.jobs)
        hits = [p for p in known if p.name == name] or [p for p in known if name and p.name.startswith(name)]
        if len(hits) == 1:
            return cls(hits[0])
        word = "run or job" if jobs else "run"
        if hits:
            raise UsageError(f"'{name}' fits {len(hits)} of them: " + ", ".join(p.name for p in hits[:5]),
                             what_to_do="Give more of the id.")  # fmt: skip
        raise TrainingError(
            f"no {word} '{name}' in this workspace",
            where=str(workspace.root),
            code="training.not_found",
            what_to_do="See: trugrade run list",
        )

    # --- facts -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def queue(self, reason: str = "") -> None:
        """Enter state queued: from here on the folder is a job that a supervisor may take."""
        self.append("state", state="queued", reason=reason, sync=True)

    def job(self) -> dict[str, Any]:
        """The job's specification. Raises TrainingError when the folder is half-written or gone, or the file damaged."""
        try:
            found = read_json(self.path / "job.json")
        except FileNotFoundError as e:
            raise TrainingError(
                "has no job.json: the folder is half-written or was removed",
                where=str(self.path),
                code="training.half_written",
                what_to_do="Move the folder away; its other files are left as they are.",
            ) from e
        words = {key: found.get(key) for key in JOB_WORDS} if isinstance(found, dict) else {}
        if not words.get("kind") or not all(isinstance(word, str | None) for word in words.values()):
            raise TrainingError(
                "has a damaged job.json: it does not say what is to be done",
                where=str(self.path),
                code="training.damaged",
                what_to_do="Restore the file from a copy, or move the folder away.",
            )
        return dict(found)

    # --- events ------------------------------------------------------------------------------------------------

    def append(self, kind: str, *, sync: bool = False, attempt: int | None = None, **fields: Any) -> None:
        """Write one event. `sync` for what must survive a power cut (states, ends of epochs)."""
        if attempt is None:
            attempt = self.attempt() + (kind == "resumed")
        line = encode_event(self.id, kind, attempt, fields)
        append_lines(self.path / "events.jsonl", [line], sync=sync)

    def events(self, *, start: int = 0) -> Iterator[dict[str, Any]]:
        """Every complete event from byte `start` on; a torn line is skipped."""
        for _, event in self.follow(start):
            yield event

    def follow(self, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(offset after the event, event) for every complete line from byte `start` on."""
        try:
            with (self.path / "events.jsonl").open("rb") as f:
                f.seek(start)
                for line in f:
                    start += len(line)
                    if not line.endswith(b"\n"):
                        return
                    try:
                        event = json.loads(line)
                    except ValueError:
                        continue
                    if isinstance(event, dict) and "kind" in event:
                        yield start, event
        except FileNotFoundError:
            return

    def attempt(self) -> int:
        """1 for the first start; one more for each resume."""
        found: int = self.last("resumed").get("attempt", 1)
        return found

    def last(self, kind: str) -> dict[str, Any]:
        """The last complete event of a kind, or {}. Reads backwards, and no further than it must."""
        mark = _mark(kind)
        for lines in _backwards(self.path / "events.jsonl"):
            if mark not in lines:
                continue
            for line in reversed(lines.split(b"\n")[:-1]):  # what follows the last newline is not complete
                if mark not in line:
                    continue
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict) and event.get("kind") == kind:
                    return event
        return {}

    def results(self) -> dict[str, Any]:
        """The last `result` event's values, or {}."""
        found: dict[str, Any] = self.last("result").get("values", {})
        return found

    # --- state -------------------------------------------------------------------------------------------------

    def status(self, last: dict[str, Any] | None = None) -> Status:
        """The last state written; a live one whose supervisor is gone reads `crashed`.

        `last` is the newest `state` event, from a reader who has seen it go by.
        """
        last = self.last("state") if last is None else last
        if not self.path.exists():
            return Status("discarded", "its folder lies in the workspace's trash, or was removed")
        if not last:
            return Status("crashed", "the run folder has no readable events")
        state: Any = last.get("state")
        entered = last.get("since", last.get("t"))
        if state not in get_args(State) or not isinstance(entered, int | float):
            return Status("crashed", "the last state in the run folder's events is damaged")
        found = Status(state, last.get("reason", ""), last.get("failure", ""), last.get("what_to_do", ""), entered)
        if not found.live or self.supervised():
            return found
        newest = self.last("state")
        if newest != last:  # it went on, or ended, before the lock was looked at
            return self.status(newest)
        if found.state == "queued" and time.time() - found.t < GRACE_S:
            return found
        reason = f"the process ended while {found.state}{self._log_end()}"
        return Status("crashed", reason, "killed", self.way_on(), found.t)

    def way_on(self) -> str:
        """What to do about a job that was cut short: only trainings can be resumed."""
        training = self.path.parent.name == "runs"
        return f"Resume it: trugrade run resume {self.id}" if training else "Start it again."

    def _log_end(self) -> str:
        try:
            lines = self.log.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return ""
        return f"; the log ends: {lines[-1][:200]}" if lines else ""

    def supervised(self) -> bool:
        """Whether a living supervisor holds this folder's lock."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with locked(self.path / ".lock", wait=False, shared=True, make_folder=False) as held:
                return held is None
        except FileNotFoundError:  # moved to the trash a moment ago
            return False

    # --- control -----------------------------------------------------------------------------------------------

    def ask(self, command: Command, who: str = "") -> None:
        line = json.dumps({"command": command, "t": time.time(), "who": who, "attempt": self.attempt()})
        append_lines(self.path / "control.jsonl", [line.encode()], sync=True)

    def asked(self, since: int = 0, *, attempt: int = 1) -> tuple[int, list[Command]]:
        """(new offset, commands written after byte `since`). What attempts before `attempt` were asked is over."""
        path = self.path / "control.jsonl"
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return since, []
        if size <= since:
            return since, []
        with path.open("rb") as f:
            f.seek(since)
            data = f.read()
        end = data.rfind(b"\n") + 1
        found: list[Command] = []
        for line in data[:end].splitlines():
            with contextlib.suppress(ValueError):  # a line torn by a kill stands alone
                entry = json.loads(line)
                if not isinstance(entry, dict) or not isinstance(entry.get("attempt", 1), int):
                    continue
                if entry.get("command") in get_args(Command) and entry.get("attempt", 1) >= attempt:
                    found.append(entry["command"])
        return since + end, found


def _backwards(path: Path) -> Iterator[bytes]:
    """The journal's whole lines, the last block of them first; the very last may end without its newline."""
    try:
        with path.open("rb") as f:
            start = f.seek(0, os.SEEK_END)
            later: list[bytes] = []  # what was read of a line that began further up, its end first
            while start > 0:
                end, start = start, max(0, start - BLOCK)
                f.seek(start)
                block = f.read(end - start)
                cut = block.find(b"\n") + 1 if start else 0  # the first line began in the block before
                if start and not cut:
                    later.append(block)
                    continue
                yield b"".join([block[cut:], *reversed(later)])
                later = [block[:cut]]
    except FileNotFoundError:
        return


ID_RULE = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


def list_ids(parent: Path) -> list[Path]:
    """Every run folder under `parent`, oldest first."""
    try:
        names = sorted(entry.name for entry in os.scandir(parent) if ID_RULE.fullmatch(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []
    return [parent / name for name in names]
