"""How long a planned run will take and what it needs, probed in a process of its own (so that callers need no torch)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from trugrade_core.errors import TrainingError
from trugrade_core.train.plan import Estimate, RunPlan

SECONDS = 300


def estimate(plan: RunPlan, workspace: Path) -> Estimate:
    """Build the planned network, run a few steps and one validation batch, and reckon with them.

    Takes some ten seconds on a CPU. The plan must refuse nothing. Raises TrainingError with the probe's own words.
    """
    plan.check()
    command = [sys.executable, "-m", "trugrade_core.train.estimate", str(workspace)]
    try:
        done = subprocess.run(
            command, input=plan.model_dump_json(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as e:
        raise TrainingError(f"the probe did not finish within {SECONDS} s", code="training.probe") from e
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise TrainingError(f"the probe failed: {words[0]}", code="training.probe",
                            what_to_do="The run would fail in the same way; lower the batch or image size, or mend what it names.")  # fmt: skip
    found: Estimate = json.loads(lines[-1])
    return found


def main() -> None:
    """The child: a plan as JSON on stdin, the estimate as JSON on stdout."""
    from trugrade_core.data.versions import Version
    from trugrade_core.runs import RunFolder
    from trugrade_core.train.setup import prepare
    from trugrade_core.workspace import Workspace

    # One device's share stands for all: they run side by side.
    plan = RunPlan.model_validate_json(sys.stdin.read()).model_copy(update={"devices": 1})
    version = Version.open(Workspace(Path(sys.argv[1])), plan.config.dataset)
    with tempfile.TemporaryDirectory() as folder:
        prepare(plan, version, RunFolder(Path(folder)), lambda kind, **fields: None)
        sys.stdout.write((Path(folder) / "estimate.json").read_text().replace("\n", " ") + "\n")


if __name__ == "__main__":
    main()
