"""What a person does with datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.source import shown
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError
from trugrade_core.runs import RunFolder
from trugrade_core.workflows.checking import check_after
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workflows.versioning import parse_ratios as parse_ratios
from trugrade_core.workflows.versioning import snapshot_dataset as snapshot_dataset
from trugrade_core.workflows.versioning import split_dataset as split_dataset
from trugrade_core.workspace import Workspace, check_name


def preview_import(ws: Workspace, source: Path, dataset: str, options: ImportOptions) -> dict[str, Any]:
    """What an import would take and skip; writes nothing."""
    check_name(dataset, "dataset")
    _check_paths(source, options.labels, options.cards)
    return import_dataset(ws, source, dataset, options.model_copy(update={"dry_run": True})).as_json()


def start_import(ws: Workspace, source: Path, dataset: str, options: ImportOptions, *, who: str = "") -> RunFolder:
    check_name(dataset, "dataset")
    _check_paths(source, options.labels, options.cards)
    if not source.exists():
        raise DatasetError("there is nothing here", where=str(source), what_to_do="Give an existing file or folder.")
    # The job runs in a folder of its own; labels may also be named relative to the source.
    given = {"labels": options.labels, "cards": options.cards}
    options = options.model_copy(update={k: p.absolute() for k, p in given.items() if p and p.exists()})
    args = {"source": str(source.absolute()), "dataset": dataset, "options": options.model_dump(mode="json")}
    return start(ws, "import", args, title=f"Import {source.name} into {dataset}", who=who)


def _check_paths(*paths: Path | None) -> None:
    """Raises DatasetError for a path that a job's file, the log and the pages could not hold."""
    for path in filter(None, paths):
        if shown(str(path.absolute())) != str(path.absolute()):
            raise DatasetError(
                "the name of this folder or file is no UTF-8",
                where=shown(str(path.absolute())),
                code="dataset.path",
                what_to_do="Rename it, or give a link to it with a plain name: ln -s FOLDER LINK. Names of files inside are fine.",
            )


def do_import(job: Job) -> dict[str, Any]:
    options = ImportOptions.model_validate(job.args["options"])
    report = import_dataset(job.ws, Path(job.args["source"]), job.args["dataset"], options, progress=job.progress)
    checked = {} if options.dry_run else {"check": check_after(job.ws, job.args["dataset"])}
    return report.as_json() | checked


def start_synth(ws: Workspace, dataset: str, *, count: int, seed: int = 0, dpi: int = 600, who: str = "") -> RunFolder:
    check_name(dataset, "dataset")
    args = {"dataset": dataset, "count": count, "seed": seed, "dpi": dpi}
    return start(ws, "synth", args, title=f"Make {count} synthetic cards in {dataset}", who=who)


def do_synth(job: Job) -> dict[str, Any]:
    from trugrade_core.synth import synthesize

    return synthesize(job.ws, progress=job.progress, **job.args)


def start_export(ws: Workspace, dataset: str, format: str, out: Path, *, who: str = "") -> RunFolder:
    """`dataset` is NAME[@VERSION]."""
    _check_paths(out)
    args = {"dataset": dataset, "format": format, "out": str(out.absolute())}
    return start(ws, "export_dataset", args, title=f"Export {dataset} as {format}", who=who)


def do_export(job: Job) -> dict[str, Any]:
    from trugrade_core.data.exporting import export_version
    from trugrade_core.data.versions import Version

    version = Version.open(job.ws, job.args["dataset"])
    return export_version(version, job.args["format"], Path(job.args["out"]), progress=job.progress)


def remove_dataset(ws: Workspace, name: str) -> Path:
    """Move a dataset to the workspace's trash; returns where it lies now."""
    ds = Dataset.open(ws, name)
    with ds.lock():  # nobody writes to it while it goes
        return ws.to_trash(ds.path)
