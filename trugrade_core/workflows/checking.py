"""What a person does to trust a dataset: have it checked, read what was found, let a finding stand with a reason.

    datasets/NAME/checks/STATE.TASK.json    what a check found; STATE is `now` or a version, TASK an id or `any`

What was found is kept as it was; what people accepted since is weighed in when it is read, so that a word of theirs
changes the verdict at once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from trugrade_core.data import acceptance
from trugrade_core.data.acceptance import Acceptance, Weighed
from trugrade_core.data.checks import CHECKS, CheckName, Finding, Result, run_checks
from trugrade_core.data.checks.base import SEVERITIES
from trugrade_core.data.checks.verdict import Standing, verdict
from trugrade_core.data.importing import ImportOptions
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, TruGradeError, UsageError, WorkspaceError, nearest
from trugrade_core.runs import Progress, RunFolder
from trugrade_core.schema import digest
from trugrade_core.workflows.check_shots import shots
from trugrade_core.workflows.check_targets import Opened, Target, find_target, opened
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, now, read_json, write_json

AT_ONCE = 20_000
"""Samples that a snapshot checks while a person waits: some seconds. Of more, it says how to."""
SHOTS = 8
"""Samples of each finding of which a page shows the picture."""
FORMAT = 1
"""Raised when older kept results cannot be read any more."""


# --- checking -----------------------------------------------------------------------------------------------------


def check(
    ws: Workspace,
    name: str,
    *,
    task: str = "",
    deep: bool = True,
    options: ImportOptions | None = None,
    html: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check a dataset (NAME, NAME@V) or a folder, keep what was found, and answer in the shape of `data check --json`.

    `deep` reads every picture (minutes for thousands); without it pictures that were never measured are said to be not
    checked. `options` are for a folder: how to import it. Raises DatasetError when there is nothing of that name.
    """
    target = find_target(ws, name)
    state = _state(ws, target)
    begun = time.monotonic()
    with opened(ws, target, task=task, deep=deep, options=options, progress=progress) as found:
        results = run_checks(found.facts)
        kept = _kept(target, found, results, state, deep, time.monotonic() - begun)
        shown = {s for result in results.values() for f in result.findings for s in f.samples[:SHOTS]}
        kept["shots"] = shots(found.facts, shown)
        if target.path is None:
            write_json(_file(ws, target, kept["task"] or ""), kept)
        report = _report(ws, target, kept) | ({"path": str(target.path)} if target.path else {})
        if html is not None:
            from trugrade_core.workflows.check_report import write_report

            write_report(report, found.facts, html)
    return report


def start_check(
    ws: Workspace,
    name: str,
    *,
    task: str = "",
    options: ImportOptions | None = None,
    html: Path | None = None,
    who: str = "",
) -> RunFolder:
    """`check` as a job; its `report` is read with `checked`."""
    target = find_target(ws, name)
    if task:
        from trugrade_core.tasks import get_task

        get_task(task)
    args = {
        "name": str(target.path.absolute()) if target.path else name,
        "task": task,
        **({"options": options.model_dump(mode="json")} if options else {}),
        **({"html": str(html.absolute())} if html else {}),
    }
    return start(ws, "check", args, title=f"Check {target.name}", who=who)


def do_check(job: Job) -> dict[str, Any]:
    options, html = job.args.get("options"), job.args.get("html")
    found = check(
        job.ws,
        job.args["name"],
        task=job.args["task"],
        options=ImportOptions.model_validate(options) if options else None,
        html=Path(html) if html else None,
        progress=job.progress,
    )
    write_json(job.folder.path / "report.json", found)
    return {k: found[k] for k in ("name", "task", "verdict", "reason")}


def checked(folder: RunFolder) -> dict[str, Any]:
    """The report of a job of `start_check` that has finished."""
    found: dict[str, Any] = read_json(folder.path / "report.json")
    return found


def check_after(ws: Workspace, dataset: str, *, version: str = "") -> dict[str, Any]:
    """The cheap part, as it is done by itself after an import and at a snapshot: verdict, reason, and how many findings
    stand. What a look at the pictures found before is measured already and counts."""
    name = f"{dataset}@{version}" if version else dataset
    try:
        if version and (count := Dataset(ws, dataset).manifest(version).samples) > AT_ONCE:
            return {"verdict": "not_checked", "reason": f"{count:,} samples take a while", "task": None, "standing": 0}
        found = check(ws, name, deep=False)
    except TruGradeError as e:  # the import or snapshot itself went well
        return {"verdict": "not_checked", "reason": str(e), "task": None, "standing": 0}
    stand = [f for f in found["findings"] if f["severity"] != "info" and "accepted" not in f]
    return {k: found[k] for k in ("verdict", "reason", "task")} | {"standing": len(stand)}


# --- what is kept -------------------------------------------------------------------------------------------------


def _file(ws: Workspace, target: Target, task: str) -> Path:
    return ws.datasets / target.dataset / "checks" / f"{target.version or 'now'}.{task or 'any'}.json"


def _state(ws: Workspace, target: Target) -> str:
    """What the target is at this moment: a version's digest, or how far the journals (which only grow) have come."""
    if target.path is not None:
        return ""
    ds = Dataset(ws, target.dataset)
    if target.version:
        return ds.manifest(target.version).digest
    files = [ds.samples_path, ds.log_path]
    sizes = [path.stat().st_size if path.exists() else 0 for path in files]
    try:
        facts = ds.facts()
    except (DatasetError, WorkspaceError) as e:
        return digest({"sizes": sizes, "damaged": str(e)})
    return digest({"sizes": sizes, "classes": facts["classes"]})


def _kept(target: Target, found: Opened, results: Mapping[CheckName, Result], state: str, deep: bool, seconds: float) -> dict[str, Any]:  # fmt: skip
    needs = found.facts.needs
    return {
        "format": FORMAT,
        "name": target.name,
        "state": state,
        "made": now().isoformat(),
        "seconds": round(seconds, 2),
        "deep": deep,
        "task": needs.task if needs else None,
        "title": needs.title if needs else "",
        "task_from": found.task_from,
        "samples": found.samples,
        "classes": [c.name for c in found.facts.classes],
        "predicted_by": found.facts.predicted_by,
        "results": {name: result.model_dump(mode="json") for name, result in results.items()},
    }


def tasks_checked(ws: Workspace, name: str) -> list[str]:
    """The tasks ('' for none) that a dataset or version was checked for, the newest check first."""
    target = find_target(ws, name)
    prefix = f"{target.version or 'now'}."
    files = (ws.datasets / target.dataset / "checks").glob(f"{prefix}*.json")
    newest = sorted(files, key=lambda p: p.stat().st_mtime, reverse=True)
    found = [p.name.removeprefix(prefix).removesuffix(".json") for p in newest]
    return ["" if task == "any" else task for task in found]


def report(ws: Workspace, name: str, task: str | None = None) -> dict[str, Any] | None:
    """What the last check of a dataset or version found, weighed with what was accepted since; `stale` says since when it
    is not of the dataset as it is now. Of the task, or of the newest check; None where there was none."""
    target = find_target(ws, name)
    if target.path is not None:
        return None
    if task is None:
        known = tasks_checked(ws, name)
        if not known:
            return None
        task = known[0]
    path = _file(ws, target, task)
    try:
        kept = read_json(path)
    except FileNotFoundError:
        return None
    if kept.get("format") != FORMAT:
        return None
    return _report(ws, target, kept)


def _report(ws: Workspace, target: Target, kept: Mapping[str, Any]) -> dict[str, Any]:
    results = {cast(CheckName, n): Result.model_validate(r) for n, r in kept["results"].items()}
    accepted = acceptance.acceptances(Dataset(ws, target.dataset)) if target.path is None else []
    weighed = acceptance.weigh((f for name in CHECKS for f in results[name].findings), accepted, kept["task"] or "")
    still = [w.open for w in weighed if w.open is not None]
    answer, rule, reason = verdict(Standing(still, results, kept["samples"], has_task=kept["task"] is not None))
    return {
        "verdict": answer,
        "task": kept["task"],
        "reason": reason,
        "rule": rule,
        "checks": {name: _standing(results[name], [w for w in weighed if w.finding.check == name]) for name in CHECKS},
        "findings": _rows(weighed),
        **{k: kept[k] for k in ("name", "title", "task_from", "samples", "classes", "deep", "made", "seconds", "predicted_by", "shots")},
        "stale": _stale(ws, target, kept["state"]),
    }  # fmt: skip


def sample_findings(ws: Workspace, dataset: str) -> list[tuple[str, str, str]]:
    """(sample, code, severity) of what stands open after the newest check of a dataset as it is now, infos left out."""
    found = report(ws, dataset) or {"findings": []}
    rows = [f for f in found["findings"] if "accepted" not in f and f["severity"] != "info"]
    return [(sample, f["code"], f["severity"]) for f in rows for sample in f["samples"]]


def write_html(ws: Workspace, name: str, path: Path, task: str | None = None) -> Path:
    """The one-page report of the last check. Raises DatasetError where there was none."""
    from trugrade_core.workflows.check_report import write_report

    found = report(ws, name, task)
    if found is None:
        raise _not_checked(name)
    with opened(ws, find_target(ws, name), task=found["task"] or "", deep=False) as now_there:
        write_report(found, now_there.facts, path)
    return path


def _not_checked(name: str) -> DatasetError:
    return DatasetError("was not checked yet", where=name, code="dataset.not_checked",
                        what_to_do=f"Check it first: trugrade data check {name}")  # fmt: skip


def _standing(result: Result, weighed: Iterable[Weighed]) -> dict[str, Any]:
    """A check's status and score with what was accepted taken out of the status; the score stays what was measured."""
    still = {w.open.severity for w in weighed if w.open is not None}
    status = result.status
    if status != "not_checked":
        status = "fail" if "error" in still else "warning" if "warning" in still else "ok"
    return {"status": status, "score": result.score, "why": result.why}


def _rows(weighed: Iterable[Weighed]) -> list[dict[str, Any]]:
    """Worst first; what was accepted last, with who and why."""
    open_rows, accepted_rows = [], []
    for w in weighed:
        if w.open is not None:
            open_rows.append(w.open.model_dump(mode="json") | {"key": w.open.key})
        if w.passed is not None:
            accepted_rows.append(
                w.passed.model_dump(mode="json")
                | {"key": w.passed.key, "accepted": [_words_of(a) for a in w.accepted]}
            )  # fmt: skip
    order = {severity: n for n, severity in enumerate(SEVERITIES)}
    return sorted(open_rows, key=lambda f: (order[f["severity"]], -len(f["samples"]))) + accepted_rows


def _words_of(a: Acceptance) -> dict[str, str]:
    return {"who": a.who, "reason": a.reason, "when": a.when.isoformat()}


def _stale(ws: Workspace, target: Target, state: str) -> str | None:
    """Since when (ISO, UTC) the kept result is not of what is there now; None while it is."""
    if target.path is not None or _state(ws, target) == state:
        return None
    ds = Dataset(ws, target.dataset)
    files = [p for p in (ds.samples_path, ds.log_path, ds.path / "dataset.json") if p.exists()]
    return datetime.fromtimestamp(max(p.stat().st_mtime for p in files), UTC).isoformat()


# --- letting a finding stand ----------------------------------------------------------------------------------------


def accept(
    ws: Workspace, name: str, key: str, *, who: str, reason: str, samples: Iterable[str] | None = None, task: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """Let a finding of the last check stand, by its key (its code, and `:SUBJECT` where it has one), for all its samples
    or for some, and for the task that was checked; the report as it is then. Raises UsageError for a finding that there
    is none of."""
    target, finding, checked_for = _finding(ws, name, key, task)
    ds = Dataset(ws, target.dataset)
    acceptance.accept(ds, finding, who=who, reason=reason, samples=samples, task=checked_for)
    found = report(ws, name, task)
    assert found is not None  # noqa: S101
    return found


def _kept_target(ws: Workspace, name: str) -> Target:
    target = find_target(ws, name)
    if target.path is not None:
        raise UsageError("nothing is kept of a folder that was not imported, so nothing of it can be let stand", where=name,
                         code="dataset.not_imported",
                         what_to_do=f"Import it, then check the dataset: trugrade data import {name} --dataset NAME")  # fmt: skip
    return target


def _finding(ws: Workspace, name: str, key: str, task: str | None) -> tuple[Target, Finding, str]:
    target = _kept_target(ws, name)
    found = report(ws, name, task)
    if found is None:
        raise _not_checked(name)
    rows = [row for row in found["findings"] if "accepted" not in row]
    of_code = [row for row in rows if row["key"] == key] or [row for row in rows if row["code"] == key]
    if len(of_code) != 1:
        keys = [row["key"] for row in of_code or rows]
        raise UsageError(
            f"'{key}' is {'more than one finding' if of_code else 'no open finding'} of {name}",
            code="dataset.no_finding",
            what_to_do="known: " + ", ".join(keys)
            if of_code
            else nearest(key, keys)
            or f"Nothing stands open. What came since the last check is found by another: trugrade data check {name}",
        )
    finding = Finding.model_validate({k: v for k, v in of_code[0].items() if k != "key"})
    return target, finding, found["task"] or ""


def withdraw(
    ws: Workspace, name: str, key: str, *, who: str, reason: str, task: str | None = None
) -> dict[str, Any] | None:
    """Take back what was accepted of a finding for the task that was checked; the report as it is then. Without a kept
    check, and with no task named, for every task."""
    target = _kept_target(ws, name)
    found = report(ws, name, task)
    checked_for = task if found is None else found["task"] or ""
    acceptance.withdraw(Dataset(ws, target.dataset), key, who=who, reason=reason, task=checked_for)
    return report(ws, name, task)


# --- the user's class -----------------------------------------------------------------------------------------------


class DatasetValidator:
    """Says whether a dataset, or a folder that was not imported, is fit to learn from."""

    def __init__(self, workspace: Workspace | None = None, *, task: str = "") -> None:
        self.workspace = workspace or Workspace.open()
        self.task = task

    def validate_dataset(self, path: str | Path) -> dict[str, dict[str, Any]]:
        """{label_consistency, class_balance, image_quality, annotation_coverage, format_validation: {"status", "score",
        "why", "findings"}}; reads every picture.

        path: NAME, NAME@V, or a folder or file as `trugrade data import` takes it. Raises DatasetError when it is none.
        """
        found = check(self.workspace, str(path), task=self.task)
        rows = found["findings"]
        return {name: found["checks"][name] | {"findings": [f for f in rows if f["check"] == name]} for name in CHECKS}
