"""Getting the model of click-to-segment: what is here, the download as a job, files at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trugrade_core.annotate import sam_weights
from trugrade_core.runs import RunFolder
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace

MB = 1_000_000


def state(ws: Workspace) -> dict[str, Any]:
    """{here, title, folder, files: [{name, bytes, sha256, published}], offered: {title, licence, bytes, files}}."""
    folder = sam_weights.folder_of(ws)
    published = {file.sha256 for file in sam_weights.PUBLISHED}
    files = [
        {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": sam_weights.digest_of(path),
            "published": sam_weights.digest_of(path) in published,
        }
        for path in (folder / sam_weights.ENCODER, folder / sam_weights.DECODER)
        if path.is_file()
    ]
    return {
        "here": len(files) == len(sam_weights.PUBLISHED),
        "title": sam_weights.title_of(next((str(f["sha256"]) for f in files if f["name"] == sam_weights.ENCODER), "")),
        "folder": str(folder),
        "files": files,
        "offered": {
            "title": sam_weights.TITLE,
            "licence": sam_weights.LICENCE,
            "bytes": sam_weights.total(),
            "files": [{"name": f.name, "url": f.url, "sha256": f.sha256} for f in sam_weights.PUBLISHED],
        },
    }


def start_download(ws: Workspace, *, who: str = "") -> RunFolder:
    """Download the published model, as a job."""
    return start(ws, "segmenter", {}, title=f"Get {sam_weights.TITLE} for click to segment", who=who)


def do_download(job: Job) -> dict[str, Any]:
    """`state` afterwards. Raises WeightsMissing: no network, a broken connection, or other bytes than were published."""
    sam_weights.download(job.ws, lambda done, of: job.progress(done // MB, of // MB, f"{sam_weights.TITLE}, MB"))
    sam_weights.open_pair(sam_weights.folder_of(job.ws))
    return state(job.ws)


def take(ws: Workspace, files: Sequence[Path]) -> dict[str, Any]:
    """As `annotate.sam_weights.take`; `state` afterwards."""
    sam_weights.take(ws, files)
    return state(ws)
