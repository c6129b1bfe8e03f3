"""What can go wrong, in words a person can act on.

    TruGradeError            exit 1: the person can mend it
    |-- UsageError           exit 2: the command line itself is off
    |-- WorkspaceError       the workspace folder
    |-- ImageError           one picture that cannot be read or used
    |-- DatasetError         samples, labels, versions, splits
    |-- ConfigError          a run configuration; carries every problem at once
    |-- WeightsMissing       a weight file that is not on this machine
    |-- TrainingError        a run, its folder or its checkpoints
    |-- ExportError          an artifact or its parity
    |-- CatalogError         the catalog or a query
    |-- LabelStudioError     the team's Label Studio server, or what came from it
    `-- NotInThisVersion     a thing the plan names and this version lacks

Anything else that escapes is a bug of ours (exit 3). Every message says what happened; `where` names the input,
`what_to_do` the next step; `details` holds the values for programs.
"""

from __future__ import annotations

from typing import Any


class TruGradeError(Exception):
    """A failure that the person can mend. `code` is stable and meant for programs."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, where: str = "", what_to_do: str = "", code: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.what_to_do = what_to_do
        self.code = code or type(self).code
        self.details = details

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n{self.what_to_do}" if self.what_to_do else head

    def as_dict(self) -> dict[str, Any]:
        """The `error` object of `--json` output and of a job's outcome."""
        found = {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "what_to_do": self.what_to_do,
        }
        return {**found, "details": self.details} if self.details else found


class UsageError(TruGradeError):
    code = "usage"
    exit_code = 2


class WorkspaceError(TruGradeError):
    code = "workspace"


class ImageError(TruGradeError):
    code = "image"


class DatasetError(TruGradeError):
    code = "dataset"


class ConfigError(TruGradeError):
    """`problems` lists every mistake found, each `{"key", "problem", "what_to_do"}`."""

    code = "config"

    def __init__(self, message: str, *, problems: list[dict[str, str]] | None = None, **words: Any) -> None:
        self.problems = problems or []
        lines = [f"  {p['key']}: {p['problem']}" + (f" ({p['what_to_do']})" if p["what_to_do"] else "")
                 for p in self.problems]  # fmt: skip
        super().__init__("\n".join([message, *lines]), **words)
        if self.problems:
            self.details["problems"] = self.problems


class WeightsMissing(TruGradeError):
    code = "weights_missing"


class TrainingError(TruGradeError):
    code = "training"


class ExportError(TruGradeError):
    code = "export"


class CatalogError(TruGradeError):
    code = "catalog"


class LabelStudioError(TruGradeError):
    code = "label_studio"


class NotInThisVersion(TruGradeError):
    code = "not_in_this_version"


def nearest(word: str, known: list[str]) -> str:
    """'did you mean …' for a misspelt `word`, or the known words when nothing is close."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return "known: " + ", ".join(known) if known else ""
