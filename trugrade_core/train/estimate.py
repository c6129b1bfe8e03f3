"""How long a planned run will take and what it needs, probed in a process of its own (so that callers need no torch)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trugrade_core.errors import TrainingError, TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.train.plan import Estimate, RunPlan
from trugrade_core.workspace import Workspace, read_json

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
    answer: Any = {"error": {"message": f"it ended with {done.returncode}"}}
    if done.returncode == 0:  # else what it printed is not its answer
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    if "error" in answer:
        said = answer["error"]
        raise TrainingError(f"the probe failed: {said['message']}", where=said.get("where", ""), code="training.probe",
                            what_to_do=said.get("what_to_do") or done.stderr[-500:])  # fmt: skip
    found: Estimate = answer
    return found


def _probe(plan: RunPlan, workspace: Path) -> Estimate:
    from trugrade_core.data.versions import Version

    version = Version.open(Workspace(workspace), plan.config.dataset)
    # Torch comes with this one, after what can go wrong quickly.
    from trugrade_core.train.setup import prepare

    with tempfile.TemporaryDirectory() as folder:
        # One device's share stands for all: they run side by side. `probe.measure` reckons with their number.
        one = plan.model_copy(update={"devices": 1})
        prepare(one, version, RunFolder(Path(folder)), lambda kind, **fields: None)
        found: Estimate = read_json(Path(folder) / "estimate.json")
        return found


def main() -> None:
    """The child: a plan as JSON on stdin, the estimate (or an error) as JSON on stdout."""
    try:
        found = _probe(RunPlan.model_validate_json(sys.stdin.read()), Path(sys.argv[1]))
        sys.stdout.write(json.dumps(found) + "\n")
    except TruGradeError as e:
        sys.stdout.write(json.dumps({"error": e.as_dict()}) + "\n")


if __name__ == "__main__":
    main()
