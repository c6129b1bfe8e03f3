"""From the lab to Label Studio: pictures, what is known of them as predictions, and which of them are read-only here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trugrade_core.annotate.label_studio.book import Book, Known, Task, alone, read_book, write_book
from trugrade_core.annotate.label_studio.client import Server
from trugrade_core.annotate.label_studio.config import Config, parse, problems
from trugrade_core.annotate.label_studio.convert import Sent, to_results
from trugrade_core.annotate.label_studio.results import validate_results
from trugrade_core.annotate.saving import state_of
from trugrade_core.data.label_studio import META
from trugrade_core.data.store import Dataset, annotation_in
from trugrade_core.errors import LabelStudioError
from trugrade_core.runs import Progress
from trugrade_core.schema import Annotation, Sample, digest

BATCH = 100
MODEL = "TruGrade lab"
Suggest = Callable[[Sample], tuple[list[Annotation], str] | None]
"""(annotations, the model's name) that a sample is sent with instead of its own; None for its own."""


@dataclass
class Pushed:
    project: int = 0
    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Project:
    """What the project is made of when there is none yet."""

    title: str
    label_config: str
    instructions: str


def push(
    ds: Dataset, server: Server, project: Project, samples: Sequence[Sample], *, suggest: Suggest | None = None,
    new_project: bool = False, progress: Progress | None = None,
) -> Pushed:  # fmt: skip
    """Send the samples that are not there yet, and anew those that were pulled or released since. Repeating it adds
    nothing. From then on they are read-only in the lab until they are pulled or released.

    Raises LabelStudioError: a template that cannot be used, a server that is down, refuses, or lost the project.
    """
    if wrong := problems(project.label_config):
        raise LabelStudioError("the label template cannot be used: " + "; ".join(wrong), where=ds.name,
                               code="label_studio.template", what_to_do="Mend the file in label_config/.")  # fmt: skip
    with alone(ds):
        before = read_book(ds)
        book = Book() if new_project else before
        _open_project(ds, server, project, book)
        done = Pushed(project=book.project or 0)
        if new_project and (left := sum(task.state == "pushed" for task in before.samples.values())):
            done.notes.append(f"{left} samples were not pulled from project {before.project} at {before.url}: what was "
                              "done there stays there alone")  # fmt: skip
        there = server.task_ids(done.project)
        _adopt(server, book, there)
        _forget(book, there, done)
        wanted = _wanted(server, book, samples, done)
        config = parse(book.label_config)
        for start in range(0, len(wanted), BATCH):
            _send(ds, server, book, config, wanted[start : start + BATCH], suggest, done)
            write_book(ds, book)
            if progress:
                progress(min(start + BATCH, len(wanted)), len(wanted), "sending samples")
        write_book(ds, book)
    return done


def release(ds: Dataset, samples: Sequence[str] | None = None) -> int:
    """Make pushed samples editable in the lab again (all of them without `samples`); what is at Label Studio stays."""
    with alone(ds):
        book = read_book(ds)
        wanted = book.samples if samples is None else set(samples)
        held = [id for id, task in book.samples.items() if task.state == "pushed" and id in wanted]
        for id in held:
            book.samples[id].state = "released"
        write_book(ds, book)
    return len(held)


# --- the project ------------------------------------------------------------------------------------------------


def _open_project(ds: Dataset, server: Server, project: Project, book: Book) -> None:
    if book.project is None:
        book.project = server.create_project(project.title, project.label_config, project.instructions)
        book.url, book.label_config = server.url, project.label_config
        write_book(ds, book)
        return
    check_server(ds, server, book)
    if server.label_config(book.project).strip() != book.label_config.strip():
        raise LabelStudioError("its template was changed at Label Studio since the project was made", where=ds.name,
                               code="label_studio.template",
                               what_to_do="trugrade label push NAME --restore-template puts the lab's back; a pull still takes what fits.")  # fmt: skip


def check_server(ds: Dataset, server: Server, book: Book) -> None:
    """Raises LabelStudioError when the dataset's project is at another server: there its number is somebody else's."""
    if book.url != server.url:
        raise LabelStudioError(f"was pushed to {book.url}, and the lab is connected to {server.url}", where=ds.name,
                               code="label_studio.moved",
                               what_to_do="Connect to the first server, or start a new project: trugrade label push NAME --new-project")  # fmt: skip


def restore_template(ds: Dataset, server: Server, project: Project) -> None:
    """Put the lab's template and instructions (back) into the project. The server refuses one that loses labels."""
    with alone(ds):
        book = read_book(ds)
        if book.project is not None:
            check_server(ds, server, book)
            server.update_project(book.project, project.label_config, project.instructions)
            book.label_config = project.label_config
            write_book(ds, book)


def _adopt(server: Server, book: Book, there: dict[int, dict[str, Any]]) -> None:
    """Tasks that a push made before it was cut off are taken over, not made again."""
    for task, meta in there.items():
        own: dict[str, Any] = meta.get(META) or {}
        sample = own.get("sample")
        if isinstance(sample, str) and sample not in book.samples:
            address = server.task_address(book.project or 0, task)
            known = {layer: {id: Known(**k) for id, k in ks.items()} for layer, ks in own.get("known", {}).items()}
            book.samples[sample] = Task(id=task, url=address, state="pushed", known=known)


def _forget(book: Book, there: dict[int, dict[str, Any]], done: Pushed) -> None:
    gone = [sample for sample, task in book.samples.items() if task.id not in there]
    for sample in gone:
        del book.samples[sample]
    if gone:
        done.notes.append(f"{len(gone)} tasks were deleted at Label Studio; their samples count as not sent")


def _wanted(server: Server, book: Book, samples: Sequence[Sample], done: Pushed) -> list[Sample]:
    """The samples to be sent. Tasks of excluded samples on which nobody has worked are removed."""
    found = []
    for sample in samples:
        task = book.samples.get(sample.id)
        if sample.excluded is not None:
            if task is not None and not task.work:
                server.delete_task(task.id)
                del book.samples[sample.id]
                done.removed += 1
            else:
                done.skipped.append({"sample": sample.id, "reason": f"excluded: {sample.excluded}"})
        elif task is not None and task.state == "pushed":
            done.unchanged += 1
        else:
            found.append(sample)
    return found


# --- tasks --------------------------------------------------------------------------------------------------------


def _send(
    ds: Dataset, server: Server, book: Book, config: Config, samples: Sequence[Sample], suggest: Suggest | None, done: Pushed
) -> None:  # fmt: skip
    assert book.project is not None  # noqa: S101 (opened before)
    new = [sample for sample in samples if sample.id not in book.samples]
    paths = [ds.image_path(sample) for sample in new]
    addresses = _addresses(ds, server, book.project, paths)
    tasks, known = [], []
    for sample, address in zip(new, addresses, strict=True):
        sent, agreed, model = _results(ds, sample, config, suggest, done)
        known.append(agreed)
        own = {
            "sample": sample.id,
            "sha256": sample.main.sha256,
            "known": {"main": {k: v.model_dump() for k, v in agreed.items()}},
        }
        data = {"image": address, "sample": sample.id, "card": sample.card, "file": (*sample.sources, "")[0]}
        predictions = [{"model_version": model, "result": sent.results}] if sent.results else []
        tasks.append({"data": data, "meta": {META: own}, "predictions": predictions})
    ids = server.import_tasks(book.project, tasks) if tasks else []
    for sample, id, agreed in zip(new, ids, known, strict=True):
        address = server.task_address(book.project, id)
        book.samples[sample.id] = Task(id=id, url=address, state="pushed", known={"main": agreed})
        done.created += 1
    for sample in samples:
        task = book.samples[sample.id]
        if task.state != "pushed":
            sent, agreed, model = _results(ds, sample, config, suggest, done)
            server.replace_prediction(task.id, sent.results, model)
            task.state = "pushed"
            if not task.work:  # else the annotation there still says what was last agreed on, not what is sent now
                task.known["main"] = agreed
            done.updated += 1


def _addresses(ds: Dataset, server: Server, project: int, paths: Sequence[Path]) -> list[str]:
    root = server.connection.document_root
    if not paths:
        return []
    if not root:
        return server.upload(project, paths)
    images = (ds.ws.root / "images").resolve()
    server.serve_folder(project, images)
    return [f"/data/local-files/?d={path.resolve().relative_to(Path(root).resolve()).as_posix()}" for path in paths]


def _results(
    ds: Dataset, sample: Sample, config: Config, suggest: Suggest | None, done: Pushed
) -> tuple[Sent, dict[str, Known], str]:
    """(what is sent as a prediction, what both sides then agree on, whose it is)."""
    state = state_of(ds, sample.id)
    entries = {e.annotation: e for e in state.shown}
    suggested = suggest(sample) if suggest and not entries else None
    if suggest and entries:
        done.notes.append(f"{sample.id} has labels: those were sent, not the model's")
    annotations = suggested[0] if suggested else [annotation_in(e) for e in state.shown]
    status = None if suggested or state.status.status == "unlabelled" else state.status
    sent = to_results(
        annotations, config, width=sample.main.width, height=sample.main.height, sample=sample.id, status=status,
        entries={id: e.entry for id, e in entries.items()},
    )  # fmt: skip
    if wrong := validate_results(sent.results, config, sample.main.width, sample.main.height):
        raise LabelStudioError(f"would be sent wrong: {wrong[0]}", where=sample.id, code="label_studio.results",
                               what_to_do="Mend or delete that label on the Annotate page, or mend the template.")  # fmt: skip
    done.skipped += [{"sample": sample.id, "reason": reason} for reason in sent.left_out]
    sent_ids = {str(result["id"]) for result in sent.results}
    agreed = {id: Known(entry=e.entry, digest=said(annotation_in(e))) for id, e in entries.items() if id in sent_ids}
    return sent, {} if suggested else agreed, suggested[1] if suggested else MODEL


def said(annotation: Annotation) -> str:
    """The digest of what an annotation says, wherever and by whom."""
    return digest(annotation.model_dump(mode="json", include={"label", "value", "attributes"}))[:32]
