"""The two programs of a job: `python -m trugrade_core.worker FOLDER` supervises, `… --child FOLDER` does the work."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from trugrade_core.errors import DatasetError, ImageError, TruGradeError
from trugrade_core.runs import RunFolder

PR_SET_PDEATHSIG = 1


class Cancelled(BaseException):
    """Raised in a child that was told to end (SIGTERM), so that open files are closed and temporary ones removed."""


def child(path: Path) -> int:
    """Do the job in `path`. Its outcome is written as events; returns the exit status."""
    from trugrade_core.workflows.jobs import perform

    folder = RunFolder(path)
    attempt = folder.attempt()
    try:
        outcome = perform(folder)
    except Exception as e:
        traceback.print_exc()
        if folder.status().state == "running":  # else another rank has told the cause already
            folder.append("state", sync=True, attempt=attempt, state="failed", **_failure(e, folder))
        return 1
    if os.environ.get("RANK", "0") == "0":
        folder.append("state", sync=True, attempt=attempt, state=outcome.state, reason=outcome.reason)
    return 0


def _failure(e: Exception, folder: RunFolder) -> dict[str, object]:
    """The words of a `failed` state."""
    failure, what_to_do = classify(e, folder)
    if isinstance(e, TruGradeError):
        error = e.as_dict()
    else:
        error = {"code": failure, "message": f"{type(e).__name__}: {e}", "where": folder.id, "what_to_do": what_to_do}
    return {
        "reason": error["message"],
        "failure": failure,
        "what_to_do": error["what_to_do"] or what_to_do,
        "error": error,
    }


def classify(e: BaseException, folder: RunFolder) -> tuple[str, str]:
    """(class of the failure, the one next step)."""
    if isinstance(e, TruGradeError) and e.code == "training.non_finite":
        return (
            "non-finite",
            "Lower the learning rate, or look at the samples named, and resume from the last checkpoint.",
        )
    if isinstance(e, MemoryError) or "out of memory" in str(e).lower() or "can't allocate memory" in str(e).lower():
        return "out of memory", "Lower the batch size or the image size, or switch memory_optimization on."
    full = isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or (isinstance(e, TruGradeError) and e.code == "training.disk"):
        return "disk", "Free some space, then resume."
    if isinstance(e, DatasetError | ImageError):
        return "data", "Mend the dataset, cut a new version and train again."
    if isinstance(e, TruGradeError):
        return "refused", "Change what the message names and start again."
    return "bug", f"This is a fault of ours. The log has the details: {folder.log}"


def die_with_parent() -> None:
    """Have the kernel kill this process when its supervisor dies, so that no trainer outlives its lock (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            sys.exit("the supervisor is gone")


def _cancel(number: int, frame: FrameType | None) -> None:
    raise Cancelled


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        die_with_parent()
        signal.signal(signal.SIGTERM, _cancel)
        try:
            status = child(Path(sys.argv[2]))
        except Cancelled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)  # end as the signal would have, so that the supervisor sees it
        sys.exit(status)
    from trugrade_core.jobs.supervisor import main as supervise

    supervise(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
