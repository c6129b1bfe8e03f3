"""What a team does with Label Studio: connect, push, look at what changed, pull, keep in step."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trugrade_core.annotate.label_studio import pull as pulling
from trugrade_core.annotate.label_studio import push as pushing
from trugrade_core.annotate.label_studio import serve as serving
from trugrade_core.annotate.label_studio.book import read_book
from trugrade_core.annotate.label_studio.client import Connection, Server, keep_connection, read_connection
from trugrade_core.annotate.label_studio.config import instructions, label_config_for, parse, problems, template
from trugrade_core.data.store import Dataset
from trugrade_core.errors import LabelStudioError, UsageError, nearest
from trugrade_core.runs import Progress, RunFolder
from trugrade_core.schema import Sample
from trugrade_core.tasks import SCORES, TASKS, get_task
from trugrade_core.workflows.creating import task_of
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, read_json, write_json

PICTURE_PX = 640
"""Long side of an example picture in a project's instructions."""


def connect(ws: Workspace, url: str, token: str, *, document_root: str = "") -> dict[str, Any]:
    """Keep where the team's server is, once it has answered. Raises LabelStudioError, and keeps nothing."""
    connection = Connection(url.rstrip("/"), token, document_root)
    found = Server(connection).versions()
    keep_connection(ws, connection)
    return {"url": connection.url, **found}


def server(ws: Workspace) -> Server:
    return Server(serving.connection(ws))


def status(ws: Workspace, name: str = "") -> dict[str, Any]:
    """Whether a server is off, starting or up, its versions, and of a dataset what is there. Raises nothing for a server
    that is down: that is what is asked."""
    own, kept = serving.served(ws), read_connection(ws)
    found: dict[str, Any] = {
        "server": own.state if kept is None or kept.url == own.url else "off",
        "url": kept.url if kept else None,
        "own": vars(own),
        "reason": "" if kept else "not connected",
    }
    if kept is not None:
        try:
            found |= {"versions": Server(kept).versions(), "server": "up"}
        except LabelStudioError as e:
            found["reason"] = e.message
    if name:
        found["dataset"] = of_dataset(ws, name)
    return found


def of_dataset(ws: Workspace, name: str) -> dict[str, Any]:
    """What of a dataset is at Label Studio, without asking the server."""
    book = read_book(Dataset.open(ws, name))
    states = [task.state for task in book.samples.values()]
    return {
        "dataset": name,
        "project": book.project,
        "url": f"{book.url}/projects/{book.project}/data" if book.project else None,
        **{state: states.count(state) for state in ("pushed", "pulled", "released")},
        "people": pulling.people_of(book),
        "pulled_to": book.pulled_to,
    }


# --- people ---------------------------------------------------------------------------------------------------------


def people(ws: Workspace) -> dict[str, str]:
    """{Label Studio's name: the lab's}, as people have said."""
    path = ws.root / "label-studio-people.json"
    return dict(read_json(path)) if path.exists() else {}


def name_person(ws: Workspace, theirs: str, ours: str) -> None:
    write_json(ws.root / "label-studio-people.json", {**people(ws), theirs: ours})


def _names(ws: Workspace, asked: Server) -> pulling.Names:
    theirs, ours = asked.people(), people(ws)
    return lambda user: ours.get(theirs.get(user, ""), theirs.get(user, f"Label Studio user {user}"))


# --- push and pull --------------------------------------------------------------------------------------------------


def project_for(ds: Dataset, task: str = "") -> pushing.Project:
    """The project of a dataset: its task's template with the dataset's classes, and its guidelines. Raises UsageError
    when nobody has said what the dataset is for."""
    row = get_task(task) if task else task_of(ds) or _guessed(ds)
    drawn = [c.name for c in ds.classes if c.shape in row.shapes]
    xml = label_config_for(template(row.id), drawn)
    words = _with_pictures(ds.ws, ds.facts().get("guidelines") or row.guidelines)
    keys = None if problems(xml) else parse(xml)  # a push refuses it and says what is wrong
    return pushing.Project(ds.name, xml, instructions(row.title, words, keys))


def _with_pictures(ws: Workspace, words: str) -> str:
    """Guidelines whose example pictures are in the text itself: the server cannot ask the lab's app for them."""
    from trugrade_core.data.images import thumbnail

    def put_in(found: re.Match[str]) -> str:
        if ws.find_image(found[1]) is None:  # a digest that somebody typed: the text stays as it is
            return found[0]
        picture = base64.b64encode(thumbnail(ws, found[1], PICTURE_PX).read_bytes()).decode()
        return f"(data:image/webp;base64,{picture})"

    return re.sub(r"\(/lab/image/([0-9a-f]{64})\)", put_in, words)


def _guessed(ds: Dataset) -> Any:
    names = {c.name for c in ds.classes}
    for row in TASKS.values():
        if row.classes and names == set(row.classes):
            return row
    raise UsageError(f"nobody has said what '{ds.name}' is for", code="task.unsaid",
                     what_to_do=f"Give --task, one of: {', '.join(TASKS)}")  # fmt: skip


def push(
    ws: Workspace, name: str, *, task: str = "", ids: Sequence[str] | None = None, run: str = "", new_project: bool = False,
    restore_template: bool = False, progress: Progress | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Send samples (all, or `ids`) with what the lab says of them, or with what `run` says, as predictions."""
    ds, asked = Dataset.open(ws, name), server(ws)
    project = project_for(ds, task)
    if restore_template:
        pushing.restore_template(ds, asked, project)
    suggest = _suggest(ws, ds, run) if run else None
    done = pushing.push(ds, asked, project, _samples(ds, ids), suggest=suggest, new_project=new_project, progress=progress)  # fmt: skip
    return {"dataset": name, "url": f"{asked.url}/projects/{done.project}/data", **vars(done)}


def _samples(ds: Dataset, ids: Sequence[str] | None) -> list[Sample]:
    if ids is None:
        return list(ds.iter_samples())
    index = ds.index()
    for id in ids:
        if id not in index.offsets:
            raise UsageError(f"no sample '{id}' in '{ds.name}'", what_to_do=nearest(id, list(index.offsets)[:500]))
    return list(index.read_all(ids))


def _suggest(ws: Workspace, ds: Dataset, run: str) -> pushing.Suggest:
    from trugrade_core.data.images import decode
    from trugrade_core.data.store import annotation_id
    from trugrade_core.schema import Annotation, Box
    from trugrade_core.workflows.evaluating import open_predictor

    predictor, shapes = open_predictor(ws, run), {c.name: c.shape for c in ds.classes}

    def suggest(sample: Sample) -> tuple[list[Annotation], str]:
        found = predictor.predict([decode(ds.image_path(sample))], [sample.id])[0]
        values = [
            (i.label, i.mask if i.mask and shapes.get(i.label) == "mask" else Box(xyxy=i.box)) for i in found.instances
        ]
        made = [Annotation(id=annotation_id(sample.id, label, v), sample=sample.id, label=label, value=v) for label, v in values]  # fmt: skip
        return made, predictor.name

    return suggest


def diff(ws: Workspace, name: str) -> dict[str, Any]:
    """What a pull would change; writes nothing."""
    asked = server(ws)
    return pulling.pull(Dataset.open(ws, name), asked, _names(ws, asked), apply=False).as_json()


def pull(ws: Workspace, name: str, *, progress: Progress | None = None) -> dict[str, Any]:
    """Take in what was done at Label Studio since the last pull."""
    asked = server(ws)
    return pulling.pull(
        Dataset.open(ws, name), asked, _names(ws, asked), apply=True, scores=SCORES, progress=progress
    ).as_json()


def release(ws: Workspace, name: str, ids: Sequence[str] | None = None) -> dict[str, Any]:
    """Let pushed samples be drawn on in the lab again."""
    return {"dataset": name, "released": pushing.release(Dataset.open(ws, name), ids)}


def sync(ws: Workspace, name: str, *, task: str = "", progress: Progress | None = None) -> dict[str, Any]:
    """Pull, then push what is new."""
    known = read_book(Dataset.open(ws, name)).project is not None
    pulled = pull(ws, name, progress=progress) if known else None
    there = set(read_book(Dataset.open(ws, name)).samples)
    new = [s.id for s in Dataset.open(ws, name).iter_samples() if s.id not in there]
    return {"pulled": pulled, "pushed": push(ws, name, task=task, ids=new, progress=progress)}


WORK = {"push": push, "pull": pull, "sync": sync}


def start_job(ws: Workspace, what: str, name: str, *, who: str = "", **words: Any) -> RunFolder:
    """A push, pull or sync as a job of its own."""
    title = {
        "push": "Push {} to Label Studio",
        "pull": "Pull {} from Label Studio",
        "sync": "Keep {} in step with Label Studio",
    }[what]
    return start(ws, "label", {"what": what, "name": name, "words": words}, title=title.format(name), who=who)


def do_label(job: Job) -> Mapping[str, Any]:
    return WORK[job.args["what"]](job.ws, job.args["name"], progress=job.progress, **job.args["words"])
