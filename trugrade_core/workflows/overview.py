"""What is here: tasks, datasets, runs, and how runs differ. Reads only."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection
from typing import Any

from trugrade_core.config import RunConfig, get_key, leaves, load_mapping, parse_config
from trugrade_core.data.store import Dataset, list_datasets
from trugrade_core.data.versions import Version, summary
from trugrade_core.errors import DatasetError, TrainingError, TruGradeError, UsageError
from trugrade_core.models import describe, why_untrainable
from trugrade_core.runs import RunFolder, list_ids
from trugrade_core.schema import Sample
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import exploring
from trugrade_core.workspace import Workspace, read_json


def tasks() -> list[dict[str, Any]]:
    """A row for each task of the table, in the shape of `trugrade tasks --json`."""
    words = (
        "id",
        "category",
        "kind",
        "description",
        "precision",
        "speed",
        "complexity",
        "input",
        "output",
        "main_metric",
    )
    return [
        {word: getattr(task, word) for word in words}
        | {
            "classes": {str(i): name for i, name in enumerate(task.classes, 1)},
            "architectures": describe(task),
            "trainable": not why_untrainable(task),
        }
        for task in TASKS.values()
    ]


# --- datasets ----------------------------------------------------------------------------------------------------


def datasets(ws: Workspace) -> list[dict[str, Any]]:
    """A row for each dataset; `reason` says what is damaged, in one that cannot be read at all also the counts are 0."""
    rows = []
    for name in list_datasets(ws):
        try:
            rows.append(_dataset_row(Dataset.open(ws, name)))
        except (TruGradeError, ValueError, KeyError) as e:
            rows.append({"name": name, **_counts([]), "version": None, "classes": [], "reason": str(e)})
    return rows


def _dataset_row(ds: Dataset) -> dict[str, Any]:
    versions = _versions(ds)
    return {
        "name": ds.name,
        **exploring.counts(ds.ws, ds.name),
        "version": versions[0]["version"] if versions else None,
        "classes": [c.name for c in ds.classes],
        "reason": next((v["reason"] for v in versions if "reason" in v), ""),
    }


def _counts(samples: Collection[Sample]) -> dict[str, int]:
    return {
        "samples": len(samples),
        "cards": len({s.card for s in samples}),
        "labelled": sum(s.status == "done" for s in samples),
        "synthetic": sum(s.origin == "synthetic" for s in samples),
    }


def _versions(ds: Dataset) -> list[dict[str, Any]]:
    """Newest first; a damaged one has a `reason`, and nothing but its name."""
    rows: list[dict[str, Any]] = []
    for name in reversed(ds.version_names()):
        try:
            manifest = ds.manifest(name)
            rows.append(summary(manifest) | {"created": manifest.created.isoformat()})
        except DatasetError as e:
            rows.append({"version": name, "digest": "", "samples": 0, "splits": {}, "created": "", "reason": str(e)})
    return rows


def dataset(ws: Workspace, name: str) -> dict[str, Any]:
    """One dataset with its classes (and how often each was drawn) and versions, newest first.

    NAME is the dataset as it is now, NAME@V what that version holds.
    """
    ds = Dataset.open(ws, name.partition("@")[0])
    row, classes, versions = _dataset_row(ds), ds.classes, _versions(ds)
    if "@" in name:
        version = Version.open(ws, name)
        row |= _counts(version.samples()) | {"version": version.manifest.version, "reason": ""}
        classes = version.manifest.classes
        versions = [v for v in versions if v["version"] == version.manifest.version]
        annotated = version.annotations()
    else:
        annotated = ds.annotations()
    drawn = Counter(a.label for annotations in annotated.values() for a in annotations)
    return row | {
        "classes": [{"name": c.name, "shape": c.shape, "annotations": drawn[c.name]} for c in classes],
        "versions": versions,
        "conflicts": len(ds.conflicts()),
    }


# --- runs --------------------------------------------------------------------------------------------------------


def runs(ws: Workspace, *, jobs: bool = False) -> list[dict[str, Any]]:
    """A row for each run (and other job), newest first; a damaged folder is a row that says so."""
    parents = [ws.runs, ws.jobs] if jobs else [ws.runs]
    folders = [RunFolder(path) for parent in parents for path in list_ids(parent)]
    return [run_row(folder) for folder in sorted(folders, key=lambda f: f.id, reverse=True)]


def run_row(folder: RunFolder) -> dict[str, Any]:
    best: dict[str, Any] = {}
    try:
        job = folder.job()
        best = best_checkpoint(folder)
    except TruGradeError as e:
        job = {"kind": "train", "title": "damaged folder", "damage": str(e)}
    status = folder.status()
    main = TASKS[job["task"]].main_metric if job.get("task") in TASKS else None
    progress = folder.last("progress")
    return {
        "run": folder.id,
        "kind": job["kind"],
        "title": job.get("title", ""),
        "state": status.state,
        "reason": job.get("damage", status.reason),
        "what_to_do": status.what_to_do,
        "task": job.get("task"),
        "architecture": job.get("architecture"),
        "dataset": job.get("dataset"),
        "experiment": job.get("experiment"),
        "created": job.get("created"),
        "random_init": job.get("random_init", False),
        "epoch": best.get("epoch"),
        "metrics": best.get("metrics", {}),
        "main_metric_name": main,
        "main_metric": best.get("metrics", {}).get(main),
        "done": progress.get("done"),
        "total": progress.get("total"),
    }


def run(folder: RunFolder) -> dict[str, Any]:
    """A row of `runs` with the run's plan, checkpoints and evaluations."""
    plan = folder.path / "plan.json"
    return run_row(folder) | {
        "plan": read_json(plan) if plan.exists() else {},
        "checkpoints": [read_json(path) for path in sorted(folder.checkpoints.glob("*.json"))],
        "evaluations": sorted(path.parent.name for path in folder.path.glob("evaluation/*/evaluation.json")),
        "folder": str(folder.path),
    }


def best_checkpoint(folder: RunFolder) -> dict[str, Any]:
    """The manifest of the best checkpoint, else of the latest, else {}. Raises TruGradeError for a damaged one."""
    for name in ("best", "latest"):
        path = folder.checkpoints / f"{name}.json"
        try:
            found = read_json(path)
        except FileNotFoundError:
            continue
        if not isinstance(found, dict) or not isinstance(found.get("metrics", {}), dict):
            raise TrainingError(
                "is not a checkpoint's manifest",
                where=str(path),
                code="training.damaged",
                what_to_do="Restore the file from a copy, or move the run folder away.",
            )
        return found
    return {}


def run_config(folder: RunFolder) -> RunConfig:
    """The configuration that a training run was started with."""
    return parse_config(load_mapping(folder.path / "config.yaml"), where=folder.id)


def version_of(ws: Workspace, folder: RunFolder) -> Version:
    """The dataset version that a run was trained on. Raises TrainingError when another has taken its name since."""
    job = folder.job()
    version = Version.open(ws, job["dataset"])
    if job.get("dataset_digest") not in (None, version.manifest.digest):
        raise TrainingError(
            f"the version {job['dataset']} is not the one this run began with: another has its name now",
            where=folder.id,
            code="training.other_version",
            what_to_do="Put the dataset's folder back from the workspace's trash, or start a new run on it as it is now.",
        )
    return version


def compare(folders: list[RunFolder]) -> dict[str, Any]:
    """Runs side by side: best-epoch metrics, and only the settings that differ."""
    if len(folders) < 2:
        raise UsageError("comparing needs two runs or more", what_to_do="See: trugrade run list")
    rows = [run_row(folder) for folder in folders]
    configs = [run_config(folder) for folder in folders]
    names = sorted({name for row in rows for name in row["metrics"]})
    values = {key: [get_key(config, key) for config in configs] for key, _ in leaves()}
    return {
        "runs": rows,
        "metrics": {name: [row["metrics"].get(name) for row in rows] for name in names},
        "differences": {key: found for key, found in values.items() if any(v != found[0] for v in found)},
    }


def repro(folder: RunFolder) -> list[str]:
    """The lines that repeat a run on a fresh clone, as far as they are known."""
    if folder.job()["kind"] != "train":
        raise TrainingError("is no training; only trainings are repeated", where=folder.id)
    environment = read_json(folder.path / "environment.json")
    commit = environment.get("git_commit")
    lines = [f"git checkout {commit}" if commit else "# the code was not under git: no commit is known"]
    patch = folder.path / "changes.patch"
    if patch.exists() and patch.stat().st_size:
        lines.append(f"git apply {shlex.quote(str(patch))}")
    lines.append("make install")
    threads = environment.get("threads")
    pin = f" --set machine.threads={threads}" if threads else ""
    random_init = " --random-init" if folder.job().get("random_init") else ""
    workspace, config = (shlex.quote(str(path)) for path in (folder.path.parent.parent, folder.path / "config.yaml"))
    lines.append(f".venv/bin/trugrade -w {workspace} train {config}{pin}{random_init}")
    return lines
