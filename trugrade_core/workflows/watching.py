"""A watched folder, such as a scanner's output: what arrives is imported as soon as it is whole.

A file counts as whole when neither its size nor its time has changed between two looks, and it decodes to its end. What
was seen is kept in `datasets/NAME/watched.json`, so that a watch goes on where the last one ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trugrade_core.data.images import SUFFIXES
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.source import shown, suffix
from trugrade_core.data.store import Dataset, list_datasets
from trugrade_core.errors import DatasetError, TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, check_name, locked, read_json, write_json

LOOK_EVERY = 2.0  # seconds
MOST_TOLD = 100

Looks = dict[str, tuple[int, int]]
"""{file: (bytes, ns of the last change)} under the folder."""


def start_watch(ws: Workspace, folder: Path, dataset: str, options: ImportOptions, *, who: str = "") -> RunFolder:
    """Import what comes into `folder` until the job is stopped. Raises DatasetError when there is no such folder."""
    check_name(dataset, "dataset")
    if not folder.is_dir():
        raise DatasetError("there is no such folder to watch", where=str(folder), code="dataset.no_folder",
                           what_to_do="Give the folder into which the scanner writes.")  # fmt: skip
    args = {"folder": str(folder.absolute()), "dataset": dataset, "options": options.model_dump(mode="json")}
    return start(ws, "watch", args, title=f"Watch {folder.name} for {dataset}", who=who)


def do_watch(job: Job) -> dict[str, Any]:
    ds = Dataset(job.ws, job.args["dataset"])
    if ds.name not in list_datasets(job.ws):
        Dataset.create(job.ws, ds.name)
    folder = Path(job.args["folder"])
    with locked(ds.path / ".watch", wait=False) as held:
        if held is None:
            raise DatasetError("is watching a folder already", where=ds.name, code="dataset.watched",
                               what_to_do="Stop the other watch first; the jobs on Home name it.")  # fmt: skip
        watch = Watch(ds, folder, ImportOptions.model_validate(job.args["options"]))
        while True:
            watch.look(say=lambda text: job.emit("progress", done=watch.taken, total=0, text=text))
            time.sleep(LOOK_EVERY)


class Watch:
    """One folder and what was already taken of it."""

    def __init__(self, ds: Dataset, folder: Path, options: ImportOptions) -> None:
        self.ds, self.folder, self.options = ds, folder, options
        self.before: Looks = {}
        self.taken = 0
        self.skipped: dict[str, str] = {}
        self._memory = ds.path / "watched.json"
        kept = read_json(self._memory) if self._memory.exists() else {}
        self.seen: Looks = {name: (look[0], look[1]) for name, look in kept.get(str(folder), {}).items()}

    def look(self, *, say: Callable[[str], None]) -> None:
        """Look once, and import what is new and has come to rest since the look before."""
        now = _looks(self.folder)
        new = {name for name, look in now.items() if self.seen.get(name) != look}
        resting = [name for name in sorted(now) if self.before.get(name) == now[name]]
        whole = [name for name in resting if name in new]
        self.before = now
        if whole:
            looks = {name: now[name] for name in whole}
            self.seen |= looks
            taken = self._take(whole, _pictures(resting), self.options)
            self._remember({name: looks[name] for name in taken})  # what failed is tried again by the next watch
        waiting = len(new) - len(whole)
        coming = f", {waiting} still being written" if waiting else ""
        left = f", {len(self.skipped)} left out: {': '.join(next(iter(self.skipped.items())))}" if self.skipped else ""
        say(f"watching {self.folder}: {self.taken} taken{coming}{left}")

    def _take(self, files: list[str], resting: list[str], options: ImportOptions) -> list[str]:
        """The files that were read. Labels that cannot be read cost themselves, not the pictures they came with."""
        pictures = _pictures(files)
        # A label file speaks of pictures that came before it, or lists them all: then all that are whole are read again.
        only = tuple(pictures if len(pictures) == len(files) else resting)
        try:
            report = import_dataset(self.ds.ws, self.folder, self.ds.name, options.model_copy(update={"only": only}))
        except TruGradeError as e:
            self.skipped.update(dict.fromkeys(files[:MOST_TOLD], e.message))
            again = pictures and options.format != "folder"
            return self._take(pictures, resting, options.model_copy(update={"format": "folder"})) if again else []
        self.taken += report.images
        for name in files:
            self.skipped.pop(name, None)
        self.skipped.update({skip.file: skip.reason for skip in report.skipped[:MOST_TOLD]})
        left = {skip.file for skip in report.skipped}.intersection(map(shown, pictures))
        return [name for name in files if shown(name) not in left]

    def _remember(self, looks: Looks) -> None:
        kept = read_json(self._memory) if self._memory.exists() else {}
        own = kept.get(str(self.folder), {})
        write_json(self._memory, {**kept, str(self.folder): {**own, **looks}})


def _pictures(files: list[str]) -> list[str]:
    return [name for name in files if suffix(name) in SUFFIXES]


def _looks(folder: Path) -> Looks:
    """Every file below the folder. Raises DatasetError when the folder is gone."""
    found: Looks = {}
    if not folder.is_dir():
        raise DatasetError("the watched folder is gone", where=str(folder), code="dataset.no_folder",
                           what_to_do="Bring it back (is the drive mounted?) and start the watch again.")  # fmt: skip
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(where) / name
            try:
                stat = path.stat()
            except FileNotFoundError:  # moved away between the two calls
                continue
            if not name.startswith("."):
                found[path.relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found
