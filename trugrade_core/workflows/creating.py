"""Starting a dataset from the question: what is to be learnt, what annotators are told, where its images come from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from trugrade_core.data.journal import append_to, records
from trugrade_core.data.store import Dataset
from trugrade_core.errors import UsageError, nearest
from trugrade_core.schema import ClassDef, Record, ShapeKind
from trugrade_core.tasks import TASKS, Kind, Task, get_task
from trugrade_core.workspace import Workspace, now, write_atomic

DRAWN_AS: dict[Kind, ShapeKind] = {
    "instances": "polygon",
    "mask": "mask",
    "score": "score",
    "tags": "tags",
    "map": "mask",
}
"""The shape that a task's own classes are drawn as; an imported dataset brings its own."""
LONGEST_GUIDELINES = 100_000  # characters


def create_dataset(
    ws: Workspace, name: str, task: str, *, architecture: str = "", guidelines: str | None = None, who: str = ""
) -> dict[str, Any]:
    """An empty dataset for a task, with its classes and what annotators are told (the task's words, unless given).

    `architecture` is what a training on it proposes first. Raises UsageError for an unknown task or architecture,
    DatasetError when the name is taken.
    """
    row = get_task(task)
    _check_architecture(row, architecture)
    text = _checked(row.guidelines if guidelines is None else guidelines)
    ds = Dataset.create(ws, name, [ClassDef(name=c, shape=DRAWN_AS[row.kind]) for c in row.classes])
    with ds.lock():
        ds.note_facts(task=task, architecture=architecture or None)
        _note_guidelines(ds, text, who=who)
    return describe(ws, name)


def set_task(ws: Workspace, name: str, task: str, *, architecture: str = "", who: str = "") -> None:
    """Say what a dataset is for, and tell annotators the task's words where none are written. Its classes stay what they are."""
    row = get_task(task)
    _check_architecture(row, architecture)
    ds = Dataset.open(ws, name)
    with ds.lock():
        ds.note_facts(task=task, architecture=architecture or None)
        if not ds.facts().get("guidelines"):
            _note_guidelines(ds, row.guidelines.strip(), who=who)


def _check_architecture(task: Task, architecture: str) -> None:
    if architecture and architecture not in task.architectures:
        raise UsageError(f"{task.id} has no architecture '{architecture}'", code="task.architecture",
                         what_to_do=nearest(architecture, list(task.architectures)))  # fmt: skip


def task_of(ds: Dataset) -> Task | None:
    """What the dataset is for, or None when nobody has said or the task is no longer known."""
    return TASKS.get(ds.facts().get("task") or "")


def describe(ws: Workspace, name: str) -> dict[str, Any]:
    ds = Dataset.open(ws, name)
    facts = ds.facts()
    return {
        "dataset": name,
        "task": facts.get("task"),
        "architecture": facts.get("architecture"),
        "classes": [c.model_dump() for c in ds.classes],
        "guidelines": facts.get("guidelines") or "",
    }


# --- guidelines ---------------------------------------------------------------------------------------------------


class Wording(Record):
    """A line of guidelines.jsonl: what annotators were told from then on."""

    text: str
    who: str
    when: datetime


def set_guidelines(ws: Workspace, name: str, text: str, *, who: str = "") -> None:
    """What annotators are told of this dataset, as Markdown. Earlier words are kept (`guideline_history`)."""
    ds, text = Dataset.open(ws, name), _checked(text)
    with ds.lock():
        _note_guidelines(ds, text, who=who)


def _checked(text: str) -> str:
    if len(text) > LONGEST_GUIDELINES:
        raise UsageError(f"the guidelines have {len(text):,} characters; {LONGEST_GUIDELINES:,} is the most",
                         what_to_do="Put long material into a document and link it.")  # fmt: skip
    return text.strip()


def _history_path(ds: Dataset) -> Path:
    return ds.path / "guidelines.jsonl"


def _note_guidelines(ds: Dataset, text: str, *, who: str) -> None:
    """Call it under the dataset's lock."""
    if (ds.facts().get("guidelines") or "") == text:
        return
    wording = Wording(text=text, who=who, when=now())
    append_to(_history_path(ds), [wording.model_dump_json().encode()])
    ds.note_facts(guidelines=text)


def guideline_history(ws: Workspace, name: str) -> list[dict[str, Any]]:
    """Every wording with its who and when, oldest first. Raises DatasetError for a damaged line."""
    path = _history_path(Dataset.open(ws, name))
    return [{**vars(wording), "when": wording.when.isoformat()} for wording in records(Wording, path)]


def add_picture(ws: Workspace, data: bytes, *, name: str) -> str:
    """Keep an example picture for guidelines; returns its Markdown. Raises ImageError for what is no picture."""
    from trugrade_core.data import images

    ref = images.probe(data, name=name)
    images.verify(data, name=name)
    path = ws.image(ref.sha256, ref.suffix)
    if not path.exists():
        write_atomic(path, data)
    alt = "".join(c for c in Path(name).stem if c not in "[]()!\n\r")[:80] or "example"
    return f"![{alt}](/lab/image/{ref.sha256})"
