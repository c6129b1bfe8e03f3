"""The files that catalog rows come from: which there are, and what rows each gives.

A *source* is a file and those that belong to it; its fingerprint (sizes and times) says whether it must be read
again. Reading one raises Damaged when it cannot be understood; the fold then leaves it out and says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trugrade_core.catalog.values import Damaged, Row, read_mapping
from trugrade_core.runs import list_ids
from trugrade_core.workspace import Workspace

Rows = dict[str, list[Row]]


@dataclass(frozen=True)
class Source:
    """`files` are absolute, the first names the source; those that are missing do not count."""

    path: str
    files: tuple[Path, ...]
    read: Callable[[Source], Rows]

    @property
    def file(self) -> Path:
        return self.files[0]

    def fingerprint(self) -> str:
        found = []
        for file in self.files:
            try:
                stat = file.stat()
            except OSError:
                continue
            found.append(f"{file.name}:{stat.st_size}:{stat.st_mtime_ns}")
        return " ".join(found)


def all_sources(ws: Workspace) -> Iterator[Source]:
    """Every source of the workspace at this moment."""

    def source(read: Callable[[Source], Rows], file: Path, *others: str) -> Source:
        files = (file, *(file.parent / other for other in others))
        return Source(file.relative_to(ws.root).as_posix(), files, read)

    for file in ws.datasets.glob("[!.]*/dataset.json"):
        yield source(_dataset, file)
    for file in ws.datasets.glob("[!.]*/checks/*.json"):
        yield source(_check, file)
    for file in ws.datasets.glob("[!.]*/label_studio.json"):
        yield source(_label_studio, file)
    for file in ws.datasets.glob("[!.]*/versions/v*/version.json"):
        yield source(_version, file, "samples.parquet", "annotations.parquet")
    for folder in list_ids(ws.runs):
        # A run's folder is the source: its row also changes with its state, see fold.
        yield source(_run, folder / "job.json", "config.yaml", "plan.json", "environment.json")
        for file in _json_files(folder / "checkpoints"):
            yield source(_checkpoint, file)
        for split in _folders(folder / "evaluation"):
            if (split / "evaluation.json").exists():
                yield source(_evaluation, split / "evaluation.json", "predictions.parquet", "objects.parquet")
    for folder in list_ids(ws.jobs):
        yield source(_nothing, folder / "job.json")
    for folder in _folders(ws.exports):
        if not folder.name.startswith(".") and (folder / "manifest.json").exists():
            yield source(_export, folder / "manifest.json", "parity.json")
    for file in (ws.root / "experiments").glob("*.jsonl"):
        yield source(_experiment, file)


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(parent) if entry.is_dir())
    except FileNotFoundError:
        return []


def _json_files(parent: Path) -> list[Path]:
    try:
        return sorted(
            Path(e.path) for e in os.scandir(parent) if e.name.endswith(".json") and not e.name.startswith(".")
        )
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class Parquet:
    """A table file beside a source: DuckDB reads the columns `select` of it into `table`."""

    name: str
    table: str
    select: str


VERSION_FILES = (
    Parquet("samples.parquet", "version_samples", "{owner} AS dataset_version, id AS sample_id, card, split, status"),
    Parquet(
        "annotations.parquet",
        "version_annotations",
        "{owner} AS dataset_version, id AS annotation_id, sample AS sample_id, label, type, value",
    ),
)
EVALUATION_FILES = (
    Parquet(
        "predictions.parquet",
        "predictions",
        "{owner} AS run_id, {split} AS split, variant, sample AS sample_id, instance, label, score, x0 AS x0_px, y0 AS y0_px, "
        "x1 AS x1_px, y1 AS y1_px, width AS width_px, height AS height_px, seconds",
    ),
    Parquet(
        "objects.parquet",
        "eval_objects",
        "{owner} AS run_id, {split} AS split, variant, sample AS sample_id, label, score, left_px AS left_error_px, "
        "top_px AS top_error_px, right_px AS right_error_px, bottom_px AS bottom_error_px, "
        "(abs(left_px) + abs(top_px) + abs(right_px) + abs(bottom_px)) / 4 AS side_error_px, "
        "(abs(left_px) + abs(top_px) + abs(right_px) + abs(bottom_px)) / 4 * mm_per_px AS side_error_mm, mm_per_px, missed",
    ),
)


def parquet_of(source: Source) -> Iterator[tuple[Path, str, str]]:
    """(file, table, columns to select from it) of each table file beside `source` that is there."""
    folder = source.file.parent
    if source.read is _version:
        owner, split, files = f"{folder.parent.parent.name}@{folder.name}", "", VERSION_FILES
    elif source.read is _evaluation:
        owner, split, files = folder.parent.parent.name, folder.name, EVALUATION_FILES
    else:
        return
    for file in files:
        if (folder / file.name).exists():
            yield folder / file.name, file.table, file.select.format(owner=quoted(owner), split=quoted(split))


def quoted(text: str | Path) -> str:
    """As an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


# --- reading files ----------------------------------------------------------------------------------------------


def _nothing(source: Source) -> Rows:
    """A source whose rows the fold makes itself: jobs."""
    return {}


def _dataset(source: Source) -> Rows:
    found = read_mapping(source.file)
    return {"dataset_files": [{"dataset": source.file.parent.name, **found}]}


def _version(source: Source) -> Rows:
    found = read_mapping(source.file)
    splits = found.get("splits") or {}
    counts = {
        f"{split}_{what}": (splits.get(split) or {}).get(what)
        for split in ("train", "val", "test")
        for what in ("samples", "cards")
    }
    row = {**found, **counts, "dataset_version": f"{found.get('dataset')}@{found.get('version')}"}
    return {"dataset_versions": [row]}


def _run(source: Source) -> Rows:
    """The parameters of a run; the run's own row is made by `run_facts`."""
    return {"run_params": [{"run_id": source.file.parent.name, **row} for row in _params(source.file.parent)]}


def _params(folder: Path) -> Iterator[Row]:
    for name, entry in _plan(folder).items():
        if not isinstance(entry, dict):
            raise Damaged(f"plan.json: '{name}' is not an object")
        value = entry.get("value")
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        yield {
            "name": name,
            "value_number": number,
            **{k: entry.get(k) for k in ("value", "asked", "status", "reason")},
        }


def _plan(folder: Path) -> dict[str, Any]:
    if not (folder / "plan.json").exists():
        return {}
    found = read_mapping(folder / "plan.json").get("plan") or {}
    if not isinstance(found, dict):
        raise Damaged("plan.json: 'plan' is not an object")
    return found


def run_facts(folder: Path) -> Row:
    """What a run's files say of it, under the columns of table runs. Raises Damaged."""
    job = read_mapping(folder / "job.json")
    environment = read_mapping(folder / "environment.json") if (folder / "environment.json").exists() else {}
    config: dict[str, Any] = {}
    for name, entry in _plan(folder).items():
        _put(config, name.split("."), entry.get("value") if isinstance(entry, dict) else entry)
    version = job.get("dataset")
    return {
        **{
            k: job.get(k)
            for k in ("title", "task", "architecture", "dataset_digest", "created", "device", "random_init", "who")
        },
        **{k: environment.get(k) for k in ("host", "python", "git_commit", "git_dirty", "seed")},
        "run_id": folder.name,
        "experiment_id": job.get("experiment"),
        "dataset": version.partition("@")[0] if isinstance(version, str) else None,
        "dataset_version": version,
        "config": config or None,
        "environment": environment or None,
    }


def _put(mapping: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        mapping = mapping.setdefault(part, {})
        if not isinstance(mapping, dict):
            raise Damaged(f"plan.json: '{part}' is a value and holds '{path[-1]}' as well")
    mapping[path[-1]] = value


def job_facts(folder: Path) -> Row:
    """What a job's file says of it, under the columns of table jobs. Raises Damaged."""
    job = read_mapping(folder / "job.json")
    facts = {k: job.get(k) for k in ("kind", "title", "created", "who")}
    return {**facts, "job_id": folder.name, "arguments": job.get("args")}


def _checkpoint(source: Source) -> Rows:
    found = read_mapping(source.file)
    row = {
        **found,
        "run_id": source.file.parent.parent.name,
        "name": source.file.stem,
        "size_bytes": found.get("bytes"),
        "saved": source.file.stat().st_mtime,
    }
    return {"checkpoints": [row]}


def _evaluation(source: Source) -> Rows:
    found = read_mapping(source.file)
    about = {
        "run_id": source.file.parent.parent.parent.name,
        "split": source.file.parent.name,
        "checkpoint_digest": (found.get("predictor") or {}).get("digest"),
        "dataset_version": found.get("dataset"),
        "evaluated": found.get("made"),
    }
    rows: list[Row] = []
    for predictor, key in (("model", "metrics"), ("baseline", "baseline")):
        figures = found.get(key) or {}
        if not isinstance(figures, dict):
            raise Damaged(f"'{key}' is not an object")
        for name, figure in figures.items():
            values = figure if isinstance(figure, dict) else {"value": figure}
            rows.append(
                {
                    **about,
                    "predictor": predictor,
                    "name": name,
                    **{k: values.get(k) for k in ("value", "low", "high", "n_cards", "reason")},
                }
            )
    return {"eval_metrics": rows}


def _export(source: Source) -> Rows:
    found = read_mapping(source.file)
    name = source.file.parent.name
    row = {
        **found,
        "export_name": name,
        "format": found.get("kind"),
        "run_id": found.get("run"),
        "dataset_version": found.get("dataset"),
        "size_bytes": found.get("bytes"),
        "created": found.get("created") or source.file.stat().st_mtime,
        "manifest": found,
    }
    rows: Rows = {"exports": [row]}
    if (source.file.parent / "parity.json").exists():
        parity = read_mapping(source.file.parent / "parity.json")
        rows["parity"] = [{**parity, "export_name": name, "run_id": found.get("run"), "report": parity}]
    return rows


def _experiment(source: Source) -> Rows:
    rows: list[Row] = []
    for line in source.file.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # a line torn by a kill stands alone
        rows.append({**found, "logged": found.get("timestamp")})
    return {"tracked_experiments": rows}


def _label_studio(source: Source) -> Rows:
    return {
        "label_studio_work": [
            {
                "dataset": source.file.parent.name,
                "sample_id": sample,
                "task_id": task["id"],
                "who": work["who"],
                "submitted": work["when"],
                "minutes": work["seconds"] / 60,
            }
            for sample, task in read_mapping(source.file)["samples"].items()
            for work in task["work"].values()
        ]
    }


def _check(source: Source) -> Rows:
    report = read_mapping(source.file)
    return {
        "findings": [
            {
                "dataset": source.file.parent.parent.name,
                "subject": report["name"],
                "task": report.get("task"),
                "check_name": check,
                "code": found["code"],
                "severity": found["severity"],
                "samples": len(found["samples"]),
                "sample_ids": found["samples"],
                "why": found["why"],
                "action": found["action"],
                "logged": report.get("made"),
            }
            for check, result in report["results"].items()
            for found in result["findings"]
        ]
    }
