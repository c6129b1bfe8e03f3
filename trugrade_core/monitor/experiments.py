"""Where a result came from: the code, the packages, the machine; and the record of an experiment's trials.

Records lie in `WORKSPACE/experiments/ID.jsonl`, one line each, only ever appended; the catalog shows them beside
the runs of the same experiment.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trugrade_core
from trugrade_core.errors import TrainingError, UsageError
from trugrade_core.machine import Machine
from trugrade_core.runs import RunFolder
from trugrade_core.schema import canonical_json
from trugrade_core.workspace import Workspace, append_lines, check_name, locked, now, read_json

UNTRACKED_LIMIT_BYTES = 1_000_000
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def project_root() -> Path:
    """The folder this code runs from; a git checkout when installed for development."""
    return Path(trugrade_core.__file__).resolve().parents[1]


class ExperimentTracker:
    def __init__(self, ws: Workspace) -> None:
        self.ws = ws

    def track_experiment(
        self, experiment_id: str, config: Mapping[str, Any], results: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keep one trial for good and return it: config, results, git_commit, timestamp, model_checkpoints.

        `results["run"]`, where given, is a run's id (or unique prefix): its checkpoints are recorded with their
        digests. Raises UsageError for a name that cannot be a file or values that are not JSON, TrainingError for
        an unknown run.
        """
        check_name(experiment_id, "experiment")
        record = {
            "experiment_id": experiment_id,
            "timestamp": now().isoformat(),
            "git_commit": git_commit(project_root()),
            "config": dict(config),
            "results": dict(results),
            "model_checkpoints": self._checkpoints(results),
        }
        try:
            line = canonical_json(record).encode()
        except (TypeError, ValueError) as e:
            raise UsageError(f"config and results must be plain JSON values ({e})", where=experiment_id) from e
        path = self.ws.root / "experiments" / f"{experiment_id}.jsonl"
        with locked(self.ws.locks / "experiments"):
            path.parent.mkdir(parents=True, exist_ok=True)
            append_lines(path, [line], sync=True)
        found: dict[str, Any] = json.loads(line)
        return found

    def records(self, experiment_id: str) -> list[dict[str, Any]]:
        """What was tracked under that id, oldest first."""
        path = self.ws.root / "experiments" / f"{check_name(experiment_id, 'experiment')}.jsonl"
        found = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):  # a line torn by a kill stands alone
                found.append(json.loads(line))
        return found

    def _checkpoints(self, results: Mapping[str, Any]) -> list[dict[str, Any]]:
        if "run" not in results:
            return [dict(c) for c in results.get("model_checkpoints", [])]
        folder = RunFolder.find(self.ws, str(results["run"]))
        return [{"run": folder.id, **_manifest(path)} for path in sorted(folder.checkpoints.glob("*.json"))]


def _manifest(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise TrainingError("is not a checkpoint's manifest", where=str(path))
    return {"name": path.stem, "digest": found.get("digest"), "step": found.get("step"), "epoch": found.get("epoch")}


# --- who, and where it ran --------------------------------------------------------------------------------------


def who() -> str:
    """Who is at this computer, as logs and runs keep it; '' where the system has no name for the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user id, no environment
        return ""


def environment(root: Path) -> dict[str, Any]:
    """What a repeat needs to know: git commit of `root` and whether it had changes, packages, python, machine, threads."""
    commit = git_commit(root)
    return {
        "git_commit": commit,
        "git_dirty": None if commit is None else bool(_git(root, "status", "--porcelain")),
        "git_reason": "" if commit else f"{root} is not a git checkout, or git is not installed",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            d.metadata["Name"]: d.version for d in sorted(_distributions(), key=lambda d: d.metadata["Name"].lower())
        },
        "machine": Machine.here().model_dump(mode="json"),
        "host": platform.node(),
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
    }


def _distributions() -> list[importlib.metadata.Distribution]:
    return [d for d in importlib.metadata.distributions() if d.metadata["Name"]]


def git_commit(root: Path) -> str | None:
    """The commit checked out at `root`; None where there is none."""
    return (_git(root, "rev-parse", "--verify", "HEAD") or b"").decode().strip() or None


def uncommitted_diff(root: Path) -> bytes:
    """The changes of `root` against its commit as a patch that `git apply` takes, new files included (b'' for none).

    Bytes, because text files keep their own encoding in it. New files above 1 MB are named in a comment line instead
    of being copied.
    """
    if git_commit(root) is None:
        return b""
    parts = [_git(root, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color") or b""]
    for name in os.fsdecode(_git(root, "ls-files", "--others", "--exclude-standard", "-z") or b"").split("\0"):
        path = root / name
        if not name or not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size > UNTRACKED_LIMIT_BYTES:
            parts.append(os.fsencode(f"# not included: {name} ({path.stat().st_size} bytes, new)\n"))
        else:
            # exit code 1 only says that the files differ
            parts.append(
                _git(root, "diff", "--no-index", "--binary", "--no-color", "--", os.devnull, name, ok=(0, 1)) or b""
            )
    return b"".join(parts)


def _git(root: Path, *words: str, ok: tuple[int, ...] = (0,)) -> bytes | None:
    """Standard output of a git command that takes no lock, or None when it failed or there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode in ok else None
