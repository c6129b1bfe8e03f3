"""What a check is held over: a dataset, a version of it, or a folder that was not imported; and what the task asks of it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from trugrade_core.data.checks.base import Facts, Needs
from trugrade_core.data.checks.suspects import LEAST_SCORE
from trugrade_core.data.importing import ImportOptions, import_dataset
from trugrade_core.data.journal import SampleIndex
from trugrade_core.data.store import Dataset, list_datasets
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, TruGradeError, nearest
from trugrade_core.runs import Progress, RunFolder, list_ids
from trugrade_core.schema import Annotation, ClassDef, Instance, Sample
from trugrade_core.tasks import SCORES, TASKS, Task, get_task
from trugrade_core.workspace import Workspace

Record = tuple[Sample, list[Annotation]]
TaskFrom = Literal["given", "dataset", "classes", "none"]
ROLES = (("outer",), ("inner", "graphic"))
"""Words by which the two borders are known where a dataset has names of its own."""
HELD_OUT = ("test", "val")


class Target(NamedTuple):
    """`version` is '' for the dataset as it is now; `dataset` '' for a folder, which `path` then is."""

    dataset: str
    version: str
    path: Path | None

    @property
    def name(self) -> str:
        return str(self.path) if self.path else f"{self.dataset}@{self.version}" if self.version else self.dataset


def find_target(ws: Workspace, name: str) -> Target:
    """NAME, NAME@V or a path; a dataset of that name comes first. Raises DatasetError when it is none of these."""
    dataset, _, version = name.partition("@")
    known = list_datasets(ws)
    if dataset in known:
        if version:
            Dataset(ws, dataset).manifest(version)
        return Target(dataset, version, None)
    path = Path(name).expanduser()
    if path.exists():
        return Target("", "", path)
    raise DatasetError(
        f"'{name}' is neither a dataset of this workspace nor a folder or file",
        where=str(ws.root),
        code="dataset.not_found",
        what_to_do=nearest(dataset, known) or "Import one: trugrade data import FOLDER --dataset NAME",
    )


# --- the task -----------------------------------------------------------------------------------------------------


def choose_task(given: str, facts: Mapping[str, Any], classes: Sequence[ClassDef]) -> tuple[Task | None, TaskFrom]:
    """The task that was named, else the dataset's own, else the first whose classes the dataset has; and which it was.

    Raises UsageError naming the nearest for a task that there is none of.
    """
    if given:
        return get_task(given), "given"
    own = facts.get("task")
    if isinstance(own, str) and own in TASKS:
        return TASKS[own], "dataset"
    names = {c.name for c in classes}
    if all(_in_role(classes, words) for words in ROLES):
        return TASKS["border_detection.dual_class"], "classes"
    for task in TASKS.values():
        fitting = {c.name for c in classes if c.shape in task.shapes}
        if task.classes and set(task.classes) <= names and set(task.classes) <= fitting:
            return task, "classes"
    return None, "none"


def _in_role(classes: Sequence[ClassDef], words: Sequence[str]) -> list[str]:
    return [
        c.name for c in classes if c.shape in ("box", "polygon", "mask") and any(w in c.name.lower() for w in words)
    ]


def needs_of(task: Task, classes: Sequence[ClassDef]) -> Needs:
    whole_card = task.category == "border_detection"
    return Needs(
        task=task.id,
        title=task.title,
        kind=task.kind,
        shapes=task.shapes,
        classes=task.classes,
        dpi=task.capture.dpi,
        finest_mm=task.capture.finest_mm,
        scores=SCORES if task.kind == "score" else (),
        whole_card=whole_card,
        borders=_borders(task, classes) if whole_card else (),
        amount=task.capture.images,
    )


def _borders(task: Task, classes: Sequence[ClassDef]) -> tuple[str, ...]:
    names = {c.name for c in classes if c.shape in task.shapes}
    if set(task.classes) <= names:
        return task.classes
    roles = [_in_role(classes, words) for words in ROLES]
    if all(len(own) == 1 for own in roles):
        return roles[0][0], roles[1][0]
    return (next(iter(names)),) if len(names) == 1 else ()


# --- opening ------------------------------------------------------------------------------------------------------


class Opened(NamedTuple):
    facts: Facts
    task_from: TaskFrom
    samples: int


@contextlib.contextmanager
def opened(
    ws: Workspace, target: Target, *, task: str = "", deep: bool, options: ImportOptions | None = None, progress: Progress | None = None
) -> Iterator[Opened]:  # fmt: skip
    """The facts of a target while they are checked. A folder is imported into a workspace of its own, which goes
    again, so that what is checked is what an import would make of it."""
    said = progress or (lambda done, total, text: None)
    if target.path is None:
        yield _of_dataset(ws, target, task, deep, said)
        return
    _check_room(ws, target.path)
    ws.cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="check-", dir=ws.cache) as scratch:
        aside = Workspace.open(Path(scratch) / "workspace")
        try:
            report = import_dataset(aside, target.path, "checked", options or ImportOptions(), progress=said).as_json()
        except DatasetError as e:  # what an import says of it is the first thing to know
            report = {"taken": 0, "skipped": [], "refused": e.message, "what_to_do": e.what_to_do}
        found = _of_dataset(aside, Target("checked", "", None), task, deep, said)
        facts = {**vars(found.facts), "ws": ws, "name": target.name, "dataset": None, "imported": report}
        yield Opened(Facts(**facts), found.task_from, found.samples)


def _check_room(ws: Workspace, path: Path) -> None:
    """Raises DatasetError where the copy of a folder would fill the disk."""
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
    free = shutil.disk_usage(ws.root).free
    if size * 1.2 > free:
        raise DatasetError(
            f"checking it needs {size / 1e9:.1f} GB beside the workspace for a while, and {free / 1e9:.1f} GB are free",
            where=str(path),
            what_to_do="Make room, or import it and check the dataset.",
        )


def _of_dataset(ws: Workspace, target: Target, task: str, deep: bool, progress: Progress) -> Opened:
    ds = Dataset(ws, target.dataset)
    version = Version.open(ws, target.name) if target.version else None
    facts: Mapping[str, Any] = {}
    classes: tuple[ClassDef, ...] = ()
    with contextlib.suppress(TruGradeError):  # a damaged dataset.json is a finding of its own
        facts = ds.facts()
        classes = version.manifest.classes if version else ds.classes
    row, task_from = choose_task(task, facts, classes)
    answers, by = held_out(ws, target.dataset)
    made = Facts(
        ws=ws,
        name=target.name,
        classes=classes,
        records=(lambda: _version_records(version)) if version else _records(ds),
        image_path=ds.image_path,
        needs=needs_of(row, classes) if row else None,
        deep=deep,
        progress=progress,
        dataset=ds,
        manifest=version.manifest if version else None,
        predictions=answers,
        predicted_by=by,
    )
    return Opened(made, task_from, _count(ds, version))


def _count(ds: Dataset, version: Version | None) -> int:
    try:
        return version.manifest.samples if version else sum(s.excluded is None for s in ds.iter_samples())
    except DatasetError:  # damaged: format_validation says where
        return len(ds.samples_path.read_bytes().splitlines()) if ds.samples_path.exists() else 0


def _records(ds: Dataset) -> Callable[[], Iterator[Record]]:
    """As it is at the first call: each check sees the same, whatever people do meanwhile."""
    seen: list[tuple[SampleIndex, dict[str, list[bytes]]]] = []

    def again() -> Iterator[Record]:
        if not seen:
            seen.append((ds.index(), ds.current()))
        index, lines = seen[0]
        for sample in index.read_all(sorted(index.offsets)):
            if sample.excluded is None:
                yield sample, [ds.annotation(line) for line in lines.get(sample.id, ())]

    return again


def _version_records(version: Version) -> Iterator[Record]:
    labels = version.annotations()
    for sample in version.iter_samples():
        yield sample, labels.get(sample.id, [])


# --- what a model said ----------------------------------------------------------------------------------------------


def held_out(ws: Workspace, dataset: str) -> tuple[dict[str, list[Instance]] | None, str]:
    """({sample: answers from LEAST_SCORE on}, the run's words) of the newest run that was trained on a version of the
    dataset and judged on splits it did not train on; (None, '') where there is none."""
    for path in reversed(list_ids(ws.runs)):
        folder = RunFolder(path)
        try:
            trained_on = str(folder.job().get("dataset", "")).partition("@")[0]
        except TruGradeError:  # a damaged run says nothing
            continue
        files = [path / "evaluation" / split / "predictions.parquet" for split in HELD_OUT]
        if trained_on == dataset and any(file.exists() for file in files):
            found: dict[str, list[Instance]] = {}
            for file in files:
                found |= _answers(file)
            if found:
                return found, f"run {folder.id}"
    return None, ""


def _answers(path: Path) -> dict[str, list[Instance]]:
    """Without masks, which would be most of the file. {} where there is none, or where it is damaged."""
    columns = ["sample", "label", "score", "x0", "y0", "x1", "y1"]
    try:
        table = pq.read_table(path, columns=columns, filters=[("variant", "=", "plain")])
    except (OSError, pa.ArrowException):
        return {}
    found: dict[str, list[Instance]] = {}
    for row in table.to_pylist():
        own = found.setdefault(row["sample"], [])
        if row["score"] is not None and row["score"] >= LEAST_SCORE:
            box = (row["x0"], row["y0"], row["x1"], row["y1"])
            own.append(Instance(label=row["label"], score=row["score"], box=box))
    return found
