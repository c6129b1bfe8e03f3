"""Checkpoints: NAME.pt (tensors and plain values, read with `weights_only`) and NAME.json, its manifest with digest.

The manifest is renamed into place first and holds the one before it too, then the tensors follow: whenever a kill
comes, the pair on disk is a good one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trugrade_core.errors import TrainingError, WorkspaceError
from trugrade_core.schema import Preprocess, Record
from trugrade_core.workspace import file_sha256, read_json, sync_folder, write_json

FORMAT = 1
ONCE_WRITTEN = {"from_box"}
"""Entries of manifests of this format that nobody reads any more."""
TRIES = 3
"""A training may save between the reading of a manifest and of its file: then both are read again."""


class Manifest(Record):
    """What a checkpoint is: enough to rebuild its network and to walk back to its run, data and configuration."""

    format: int = FORMAT
    name: str
    digest: str
    bytes: int
    run: str
    task: str
    architecture: str
    variant: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    threshold: float
    nms_iou: float
    config: dict[str, Any]
    config_digest: str
    dataset: str
    dataset_digest: str
    step: int
    epoch: int
    metrics: dict[str, float]
    random_init: bool
    previous: dict[str, Any] | None = None


def save(folder: Path, name: str, state: dict[str, Any], facts: dict[str, Any]) -> Manifest:
    """Write `state` as NAME.pt and its manifest (`facts` and digest) as NAME.json.

    Raises TrainingError (code training.disk) when the disk is full; the checkpoint before it is still good then.
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    path, manifest_path = folder / f"{name}.pt", folder / f"{name}.json"
    temp = folder / f".{name}.{os.getpid()}-{secrets.token_hex(3)}.tmp"
    try:
        with temp.open("wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        before = _manifest_before(path)
        manifest = Manifest(
            name=name,
            digest=file_sha256(temp),
            bytes=temp.stat().st_size,
            previous=before.model_dump(mode="json", exclude={"previous"}) if before else None,
            **facts,
        )
        write_json(manifest_path, manifest.model_dump(mode="json"))
        temp.replace(path)
        sync_folder(folder)
    except (OSError, RuntimeError) as e:
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        full = isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or (isinstance(e, RuntimeError) and "write" in str(e)):
            raise TrainingError(
                "the disk is full: the checkpoint could not be written, and the one before it is kept",
                where=str(path),
                code="training.disk",
                what_to_do="Free some space, then resume the run.",
            ) from e
        raise
    finally:
        temp.unlink(missing_ok=True)
    return manifest


def _manifest_before(path: Path) -> Manifest | None:
    """Of the checkpoint that is about to be replaced; None when that is no good one, which must not keep it there."""
    with contextlib.suppress(FileNotFoundError, TrainingError, WorkspaceError), path.open("rb") as f:
        return _manifest_of(f, path)
    return None


def open_manifest(path: Path) -> Manifest:
    """The manifest of the checkpoint file `path`, whose digest is checked. Raises TrainingError."""
    f, manifest = _open(path)
    f.close()
    return manifest


def _open(path: Path) -> tuple[BufferedReader, Manifest]:
    """The open file and its manifest: what is read from it later is what was checked, whoever replaces it meanwhile."""
    for _ in range(TRIES):
        try:
            f = path.open("rb")
        except (FileNotFoundError, IsADirectoryError) as e:
            raise TrainingError(
                "no such checkpoint",
                where=str(path),
                code="training.no_checkpoint",
                what_to_do="See: trugrade run list",
            ) from e
        try:
            found = _manifest_of(f, path)
        except BaseException:
            f.close()
            raise
        if found:
            return f, found
        f.close()
    raise TrainingError(
        "is not the file its manifest describes (the digest differs)",
        where=str(path),
        code="training.digest",
        what_to_do="Copy both files of the checkpoint again, or train again; a changed checkpoint is never used.",
    )


def _manifest_of(f: BufferedReader, path: Path) -> Manifest | None:
    """The manifest, the one before it when a kill came between the two renames, or None when neither fits the file."""
    manifest_path = path.with_suffix(".json")
    try:
        found = read_json(manifest_path)
    except FileNotFoundError as e:
        raise TrainingError(
            f"has no manifest {manifest_path.name} beside it, so nobody knows what it holds",
            where=str(path),
            code="training.no_manifest",
            what_to_do="Copy both files of a checkpoint. A weight file from elsewhere can start a run as pretrained_weights.",
        ) from e
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise TrainingError(
            f"is of a format this version does not read (it reads {FORMAT})",
            where=str(manifest_path),
            code="training.format",
            what_to_do="Open it with the version of TruGrade that wrote it.",
        )
    digest = hashlib.file_digest(f, "sha256").hexdigest()
    f.seek(0)
    for candidate in (found, found.get("previous")):
        if isinstance(candidate, dict) and candidate.get("digest") == digest:
            try:
                return Manifest.model_validate({k: v for k, v in candidate.items() if k not in ONCE_WRITTEN})
            except ValidationError as e:
                raise TrainingError(
                    f"is not a checkpoint's manifest: {e.errors()[0]['loc']}: {e.errors()[0]['msg']}",
                    where=str(manifest_path),
                    code="training.format",
                    what_to_do="Copy both files of the checkpoint again.",
                ) from e
    return None


def load(path: Path) -> tuple[dict[str, Any], Manifest]:
    """(state, manifest). Raises TrainingError for a missing, changed or pickled file; no code in it is ever run."""
    import pickle

    import torch

    f, manifest = _open(path)
    with f:
        try:
            state = torch.load(f, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
            raise TrainingError(
                "holds more than tensors and plain values and was not opened: it may run code",
                where=str(path),
                code="training.pickle",
                what_to_do="Use checkpoints that this lab wrote.",
            ) from e
    if not isinstance(state, dict) or "model" not in state:
        raise TrainingError("holds no model", where=str(path), code="training.no_model")
    return state, manifest
