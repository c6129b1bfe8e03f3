"""What a person does to draw on samples: what to show, saving a commit, suggestions, segmenting by a click."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from trugrade_core.annotate import assigning, edges, queue, sam, sam_weights, saving, segment, suggestions
from trugrade_core.annotate.indexes import samples_of
from trugrade_core.annotate.locks import pushed
from trugrade_core.annotate.saving import Decision, Op, SampleState, Saved
from trugrade_core.annotate.suggestions import Suggestion
from trugrade_core.data import images
from trugrade_core.data.card_facts import OUTLINE_CLASSES
from trugrade_core.data.large import LARGE_PIXELS, MOST_CROP_PIXELS, crop, smaller
from trugrade_core.data.store import Conflict, Dataset
from trugrade_core.errors import DatasetError, TruGradeError, UsageError, WeightsMissing
from trugrade_core.runs import RunFolder
from trugrade_core.schema import ClassDef, Image, Polygon, Sample, ShapeKind, Status
from trugrade_core.tasks import SCORES, Task
from trugrade_core.workflows.creating import task_of
from trugrade_core.workflows.jobs import Job, start
from trugrade_core.workspace import Workspace, read_json

Mode = Literal["shapes", "mask", "score", "tags"]
EDGES = "edges"
"""The source of suggestions that needs no model."""
MODES: dict[str, Mode] = {"instances": "shapes", "mask": "mask", "score": "score", "tags": "tags", "map": "shapes"}
_OPS = TypeAdapter(tuple[Op, ...])


# --- what is to be drawn ----------------------------------------------------------------------------------------


def describe(ws: Workspace, name: str) -> dict[str, Any]:
    """How a dataset is annotated: {mode, classes, scores, tags, guidelines, rubric, task, title}."""
    ds = Dataset.open(ws, name)
    task, classes = task_of(ds), ds.classes
    drawn = [c for c in classes if c.shape in ("box", "polygon", "mask")]
    return {
        "mode": MODES[task.kind] if task else _mode(classes),
        "classes": drawn,
        "scores": SCORES,
        "tags": _tags(task, classes),
        "guidelines": ds.facts().get("guidelines") or (task.guidelines if task else ""),
        "rubric": task.guidelines if task else "",
        "task": task.id if task else "",
        "title": task.title if task else "",
    }


def _mode(classes: Sequence[ClassDef]) -> Mode:
    """Where nobody has said what the dataset is for: by how its classes are drawn."""
    kinds = {c.shape for c in classes}
    if kinds and kinds <= {"score", "tags"}:
        return "tags" if "tags" in kinds else "score"
    return "mask" if kinds == {"mask"} else "shapes"


def _tags(task: Task | None, classes: Sequence[ClassDef]) -> tuple[str, ...]:
    own = tuple(c.name for c in classes if c.shape == "tags")
    return own or (task.classes if task and task.kind == "tags" else ())


def add_classes(ws: Workspace, name: str, names: Sequence[str], shape: ShapeKind = "polygon") -> None:
    """Raises UsageError for a name that is empty or too long."""
    cleaned = [n.strip() for n in names if n.strip()]
    if not cleaned or any(len(n) > 100 or not n.isprintable() for n in cleaned):
        raise UsageError("a class needs a name of up to 100 characters", what_to_do="Separate several by commas.")
    Dataset.open(ws, name).add_classes(ClassDef(name=n, shape=shape) for n in cleaned)


# --- saving -----------------------------------------------------------------------------------------------------


def save(
    ws: Workspace, name: str, sample: str, ops: Any, *, who: str, tool: str, commit: str, layer: str = "main",
    status: Mapping[str, Any] | None = None, status_replaces: str | None = None, decisions: Sequence[Decision] = (),
) -> Saved:  # fmt: skip
    """As `annotate.saving.save`, from plain values as they come from a browser or a file."""
    ds = Dataset.open(ws, name)
    try:
        parsed = _OPS.validate_python(ops)
        said = (
            Status.model_validate({"status": status.get("status"), "comment": status.get("comment") or ""})
            if status
            else None
        )
    except ValidationError as e:
        first = e.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"cannot be understood: {place}: {first['msg']}", where=sample, code="annotate.op",
                         what_to_do="Each change is {op: put or delete, annotation, label, value, replaces}.") from e  # fmt: skip
    return saving.save(
        ds, sample, parsed, who=who, tool=tool, commit=commit, layer=layer, status=said, status_replaces=status_replaces,
        decisions=decisions, scores=SCORES, tags=_tags(task_of(ds), ds.classes),
    )  # fmt: skip


def state(ws: Workspace, name: str, sample: str, layer: str = "main") -> SampleState:
    return saving.state_of(Dataset.open(ws, name), sample, layer)


def state_row(held: SampleState) -> dict[str, Any]:
    """For programs: what holds of a sample."""
    return {
        "sample": held.sample.id, "layer": held.layer, "status": held.status.status, "comment": held.status.comment,
        "annotations": [
            {"annotation": e.annotation, "entry": e.entry, "label": e.label, "attributes": e.attributes, "who": e.who,
             "when": e.when.isoformat(), "tool": e.tool, "suggested_by": e.suggested_by,
             "value": e.value.model_dump(mode="json") if e.value else None}
            for e in held.shown
        ],
        "conflicts": conflict_rows(held.conflicts),
    }  # fmt: skip


def saved_row(saved: Saved) -> dict[str, Any]:
    return {
        "sample": saved.sample, "commit": saved.commit, "entries": list(saved.entries), "annotations": list(saved.annotations),
        "notes": list(saved.notes), "again": saved.again, "conflicts": conflict_rows(saved.conflicts),
    }  # fmt: skip


def read_only(ws: Workspace, name: str, sample: str) -> str:
    """Why the sample cannot be drawn on, or ''."""
    return pushed(Dataset.open(ws, name), sample)


def conflicts(ws: Workspace, name: str) -> list[Conflict]:
    """All of the dataset; reads its whole log."""
    return Dataset.open(ws, name).conflicts()


def resolve(
    ws: Workspace, name: str, annotation: str, keep: str, *, who: str, reason: str, tool: str = "annotator"
) -> dict[str, Any]:
    """Settle a conflict; see `annotate.saving.resolve`."""
    found = saving.resolve(Dataset.open(ws, name), annotation, keep, who=who, reason=reason, tool=tool)
    return {"annotation": annotation, "entry": found.entry, "kept": keep, "who": found.who, "reason": found.reason}


def conflict_rows(found: Sequence[Conflict]) -> list[dict[str, Any]]:
    """For people and programs: each conflict with its heads, oldest first."""
    return [
        {"annotation": c.annotation, "sample": c.sample, "layer": c.heads[0].layer,
         "heads": [{"entry": e.entry, "op": e.op, "label": e.label, "who": e.who, "when": e.when.isoformat(), "tool": e.tool,
                    "value": e.value.model_dump(mode="json") if e.value else None} for e in c.heads]}
        for c in found
    ]  # fmt: skip


# --- what is next -----------------------------------------------------------------------------------------------


def layers_of(ws: Workspace, name: str, who: str) -> dict[str, str]:
    """{sample: layer} of what was given to a person: a layer of their own where several vote blind, else main."""
    given = assigning.assignments(Dataset.open(ws, name)).get(who.strip())
    return dict(given.samples) if given else {}


def queue_of(ws: Workspace, name: str, params: Mapping[str, str]) -> list[str]:
    """Ids of the samples that the filter of an address leaves, in its order; with `assigned` those given to a person."""
    found = _filtered(ws, name, params)
    if not params.get("assigned"):
        return found
    given = layers_of(ws, name, params["assigned"])
    return [id for id in found if id in given]


def _filtered(ws: Workspace, name: str, params: Mapping[str, str]) -> list[str]:
    from trugrade_core.data.filters import from_params
    from trugrade_core.workflows.exploring import explorer

    ds = Dataset.open(ws, name)
    asked = from_params(params)
    if asked.is_empty and not params.get("sort"):
        found = samples_of(ds)
        found.refresh()
        return list(found.rows)
    return explorer(ws, name).ids(asked, params.get("sort") or "arrival")


def progress(
    ws: Workspace, name: str, ids: Sequence[str], layers: Mapping[str, str] = queue.NO_LAYERS
) -> dict[str, int]:
    return dict(queue.counts(Dataset.open(ws, name), ids, layers))


# --- suggestions ------------------------------------------------------------------------------------------------


def sources(ws: Workspace, name: str) -> dict[str, str]:
    """{source: words} of what can suggest on this dataset: contrast where it has an outline class, artifacts, runs."""
    classes = {c.name for c in Dataset.open(ws, name).classes}
    found = {EDGES: "card edges by contrast, no model"} if classes & set(OUTLINE_CLASSES) else {}
    for path in sorted(ws.exports.glob("*/manifest.json")):
        found[path.parent.name] = f"artifact {path.parent.name}"
    for run in sorted(ws.runs.glob("*/checkpoints"), reverse=True)[:50]:
        if any(run.glob("*.pt")):
            found[run.parent.name] = f"run {run.parent.name}"
    return found


def digest_of(ws: Workspace, source: str) -> str:
    """What a source's suggestions are kept under: the model's own digest, so that training on asks anew. No model is
    opened. Raises TruGradeError when there is no such source."""
    if source == EDGES:
        return "ed9e5000"
    manifest = ws.exports / source / "manifest.json"
    if not manifest.exists():
        from trugrade_core.workflows.evaluating import checkpoint_of

        manifest = checkpoint_of(RunFolder.find(ws, source)).with_suffix(".json")
    found = read_json(manifest)
    if not isinstance(found, dict) or not isinstance(found.get("digest"), str):
        raise DatasetError("does not say its digest", where=str(manifest), what_to_do="Export or train it again.")
    digest: str = found["digest"]
    return digest


def suggested(ws: Workspace, name: str, sample: SampleState, source: str) -> tuple[Suggestion, ...] | None:
    """What the source suggests on the sample and nobody has decided on; None where it was not asked yet."""
    found = suggestions.kept(ws, digest_of(ws, source), sample.sample.id)
    return None if found is None else suggestions.undecided(found, sample)


def suggest_edges(ws: Workspace, name: str, sample: Sample) -> tuple[Suggestion, ...]:
    """The card's outline by contrast, kept. Some tenths of a second. Raises DatasetError when no card stands out."""
    ds = Dataset.open(ws, name)
    label = next((c.name for c in ds.classes if c.name in OUTLINE_CLASSES), None)
    if label is None:
        raise DatasetError(
            "has no outline class", where=name, what_to_do=f"Classes are found of {' or '.join(OUTLINE_CLASSES)}."
        )
    image, scale = _looked_at(ds, sample)
    mm = sample.mm_per_px
    outline = edges.card_outline(image, mm / scale if mm else None)
    points = (outline.points + 0.5) / scale - 0.5
    value = Polygon(points=tuple((round(float(x), 3), round(float(y), 3)) for x, y in points))
    found = (suggestions.suggestion(sample.id, label, value, "card edges by contrast", round(min(outline.support), 3)),)
    suggestions.keep(ws, digest_of(ws, EDGES), sample.id, found)
    return found


def start_suggesting(ws: Workspace, name: str, samples: Sequence[str], source: str, *, who: str = "") -> RunFolder:
    """Ask a source about these samples, as a job."""
    digest_of(ws, source)
    args = {"dataset": name, "samples": list(samples), "source": source}
    return start(ws, "suggest", args, title=f"Suggest on {len(samples)} of {name} by {source}", who=who)


def do_suggest(job: Job) -> dict[str, Any]:
    """{"asked", "suggestions", "failed": [{"sample", "reason"}]}. A sample that cannot be read is one that failed."""
    from trugrade_core.workflows.evaluating import open_predictor

    ds, source = Dataset.open(job.ws, job.args["dataset"]), job.args["source"]
    predictor = None if source == EDGES else open_predictor(job.ws, source)
    kinds: dict[str, ShapeKind] = {c.name: c.shape for c in ds.classes}
    made, failed = 0, []
    for n, id in enumerate(job.args["samples"], start=1):
        try:
            sample = samples_of(ds).sample(ds, id)
            if predictor is None:
                made += len(suggest_edges(job.ws, ds.name, sample))
            else:
                answer = predictor.predict([images.decode(ds.image_path(sample))], [id])[0]
                found = suggestions.from_instances(
                    id, answer.instances, f"{predictor.name} {predictor.digest[:12]}", kinds
                )
                suggestions.keep(job.ws, predictor.digest, id, found)
                made += len(found)
        except TruGradeError as e:
            failed.append({"sample": id, "reason": e.message})
        job.progress(n, len(job.args["samples"]), "samples looked at")
    return {"asked": len(job.args["samples"]), "suggestions": made, "failed": failed}


def decide(found: Sequence[Suggestion] | None, commit: Mapping[str, Any]) -> list[Decision]:
    """The decisions of a commit: `accepted`, `rejected` and `restored` are ids of suggestions that were shown."""
    by = {one.id: one.by for one in found or ()}
    return [
        Decision(suggestion=str(id), word=word, by=by.get(str(id), "a suggestion"))
        for word in ("accepted", "rejected", "restored")
        for id in commit.get(word) or ()
    ]


# --- click to segment -------------------------------------------------------------------------------------------


def segmenter(ws: Workspace) -> str:
    """What answers a click, as it is named on the button."""
    try:
        folder = sam_weights.find(ws)
    except WeightsMissing:
        return "GrabCut on the crop, no model"
    return sam_weights.title_of(sam_weights.digest_of(folder / sam_weights.ENCODER))


def segment_at(
    ws: Workspace, name: str, sample_id: str, points: Sequence[Sequence[float]], box: Sequence[float] | None = None
) -> segment.Part:
    """What was clicked. Raises DatasetError when nothing is found there."""
    ds = Dataset.open(ws, name)
    sample = samples_of(ds).sample(ds, sample_id)
    clicked = tuple((float(x), float(y), bool(kind)) for x, y, kind in points)
    framed = (float(box[0]), float(box[1]), float(box[2]), float(box[3])) if box else None
    prompt = segment.Prompt(clicked, framed)
    width, height = sample.main.width, sample.main.height
    try:
        sam_weights.find(ws)
    except WeightsMissing:
        crop_of = segment.window(prompt, width, height)
        return segment.grabcut(read_window(ds, sample, crop_of), prompt, crop_of[:2])
    model = sam.Sam.open(ws)
    return model.segment(partial(read_window, ds, sample), sample.main.sha256, prompt, (height, width))


def clicked_shape(
    ws: Workspace, name: str, sample_id: str, label: str | None, points: Sequence[Sequence[float]],
    box: Sequence[float] | None = None,
) -> Suggestion:  # fmt: skip
    """What was clicked, as a suggestion in the shape that its class is drawn as."""
    ds = Dataset.open(ws, name)
    kinds: dict[str, ShapeKind] = {c.name: c.shape for c in ds.classes}
    image = samples_of(ds).sample(ds, sample_id).main
    part = segment_at(ws, name, sample_id, points, box)
    value = part.value(kinds.get(label or "", "mask"), (image.height, image.width))
    # Each click is a suggestion of its own: who deleted the shape of an earlier one may click again.
    return Suggestion(id=secrets.token_hex(8), label=label, value=value, by=part.by)


# --- pixels -----------------------------------------------------------------------------------------------------

_decoded: dict[Path, Image] = {}


def read_window(ds: Dataset, sample: Sample, box: tuple[int, int, int, int]) -> Image:
    """(y1 - y0, x1 - x0, 3) of the sample's image. The last image read is kept, so a second click costs no decoding. Of a
    large one the window alone is read, from the pixels that the annotator's own crops come from; where it has more than
    MOST_CROP_PIXELS it comes reduced, from the smaller whole that the browser shows."""
    (x0, y0, x1, y1), image = box, sample.main
    if image.width * image.height <= LARGE_PIXELS:
        return _pixels(ds.image_path(sample))[y0:y1, x0:x1].copy()
    if (x1 - x0) * (y1 - y0) <= MOST_CROP_PIXELS:
        png = crop(ds.ws, image.sha256, x0, y0, x1 - x0, y1 - y0)
        return images.decode_bytes(png, name=sample.id)
    small = _pixels(smaller(ds.ws, image.sha256))
    down, across = small.shape[0] / image.height, small.shape[1] / image.width
    return small[round(y0 * down) : round(y1 * down), round(x0 * across) : round(x1 * across)].copy()


def _pixels(path: Path) -> Image:
    found = _decoded.get(path)
    if found is None:
        found = images.decode(path)
        _decoded.clear()
        _decoded[path] = found
    return found


def _looked_at(ds: Dataset, sample: Sample) -> tuple[Image, float]:
    """(pixels, their scale to the image): whole up to LARGE_PIXELS, reduced beyond, for 192 megapixels are half a gigabyte."""
    path, ref = ds.image_path(sample), sample.main
    if ref.width * ref.height <= LARGE_PIXELS:
        return images.decode(path), 1.0
    side = round(max(ref.width, ref.height) * (LARGE_PIXELS / (ref.width * ref.height)) ** 0.5)
    image = images.decode_small(path, side)
    return image, 1 / round(ref.width / image.shape[1])  # a whole part; the last column may be cut off within its pixel
