"""The closed loop: what a run is worst at goes to people, and what they label goes into the next run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trugrade_core.config import parse_config
from trugrade_core.data.versions import Version
from trugrade_core.errors import DatasetError, TrainingError, UsageError, nearest
from trugrade_core.runs import RunFolder
from trugrade_core.schema import Prediction
from trugrade_core.workflows import exploring, grading, overview, versioning
from trugrade_core.workflows.evaluating import evaluation
from trugrade_core.workspace import Workspace

KINDS = ("worst", "uncertain", "refused")
Row = dict[str, Any]


def hard_samples(
    ws: Workspace, run: str, split: str = "test", *, kind: str = "worst", count: int = 50
) -> list[dict[str, Any]]:
    """At most `count` samples of a judged split, the hardest first: {"sample", "why", "value"}.

    worst: missed and extra objects, then the largest side error; `value` in mm, or px where the scale is not known.
    uncertain: an answer with a score near the model's threshold; `value` is how near.
    refused: nothing found from the threshold on where something is labelled; `value` is the best score below it.
    From what the evaluation kept: no picture and no model is opened. Raises UsageError for another kind, TrainingError
    where the run was not evaluated on the split, or its answers are gone.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is no kind of hard sample", code="hard.kind", what_to_do=nearest(kind, list(KINDS)))
    found = evaluation(ws, run, split)
    if kind == "worst":
        rows = [_worst(row) for row in found["samples"] if row["missed"] or row["extra"] or row["worst_px"]]
        return rows[: max(count, 0)]
    answers = _answers(ws, found)
    rate: Callable[[Row, Prediction, float], Row | None] = _uncertain if kind == "uncertain" else _refused
    threshold = float(found["predictor"]["threshold"])
    rated = [rate(row, answers[row["sample"]], threshold) for row in found["samples"]]
    return sorted(filter(None, rated), key=lambda row: (row["value"], row["sample"]))[: max(count, 0)]


def _answers(ws: Workspace, found: Row) -> dict[str, Prediction]:
    from trugrade_core.evaluate.predictions import read_predictions

    folder = RunFolder.find(ws, found["run"])
    answers = read_predictions(folder.path / "evaluation" / found["split"] / "predictions.parquet", found["key"])
    if answers is None:
        raise TrainingError("the stored answers are not those of this evaluation", where=folder.id,
                            code="training.no_answers",
                            what_to_do=f"Evaluate again: trugrade evaluate {folder.id} --split {found['split']}")  # fmt: skip
    return answers["plain"]


def _worst(row: Row) -> Row:
    unit = "mm" if row["worst_mm"] is not None else "px"
    value = float(row[f"worst_{unit}"])
    words = [f"{row['missed']} missed"] if row["missed"] else [f"a side is off by {value:.3g} {unit}"] if value else []
    words += [f"{row['extra']} found where nothing is labelled"] if row["extra"] else []
    return {"sample": row["sample"], "why": ", ".join(words), "value": value}


def _uncertain(row: Row, answer: Prediction, threshold: float) -> Row | None:
    nearest_one = min(answer.instances, key=lambda i: abs(i.score - threshold), default=None)
    if nearest_one is None:
        return None
    score, side = nearest_one.score, "counts" if nearest_one.score >= threshold else "does not count"
    why = f"a {nearest_one.label} with score {score:.2f} {side}: the threshold is {threshold:.2f}"
    return {"sample": row["sample"], "why": why, "value": abs(score - threshold)}


def _refused(row: Row, answer: Prediction, threshold: float) -> Row | None:
    best = max((i.score for i in answer.instances), default=0.0)
    labelled = len(row["objects"])
    if best >= threshold or not labelled:
        return None
    said = f"the best answer has score {best:.2f}, the threshold is {threshold:.2f}" if best else "no answer at all"
    return {"sample": row["sample"], "why": f"nothing found, {labelled} labelled: {said}", "value": best}


# --- to people ----------------------------------------------------------------------------------------------------


def send(
    ws: Workspace, name: str, samples: Sequence[str], *, tag: str = "", people: Sequence[str] = (), who: str, tool: str
) -> dict[str, Any]:
    """Mark samples with a tag (one step, which can be undone) and give them to people: {"dataset", "samples", "tagged",
    "batch", "assigned"}. Raises UsageError: an empty tag or name, or nothing to send."""
    from trugrade_core.data.editing import Tag
    from trugrade_core.data.filters import Filter

    if not samples:
        raise UsageError("there is nothing to send", where=name, what_to_do="Choose another kind, or a larger count.")
    done: dict[str, Any] = {"dataset": name, "samples": list(samples), "tagged": 0, "batch": None, "assigned": {}}
    found = exploring.explorer(ws, name)
    if missing := set(samples) - set(found.ids(Filter(ids=tuple(samples)))):
        raise DatasetError(f"{len(missing)} of them are not in '{name}' any more", where=min(missing),
                           code="dataset.no_sample", what_to_do="Evaluate on the dataset as it is now.")  # fmt: skip
    if tag.strip():
        edit = Tag(tag=tag.strip())
        applied = exploring.edit_all(found, edit, Filter(ids=tuple(samples)), who=who, tool=tool)
        done |= {"tagged": applied.changed, "batch": applied.batch}
    if people:
        done["assigned"] = grading.assign(ws, name, people, samples=samples, by=who)["assigned"]
    return done


def dataset_of(ws: Workspace, run: str, name: str = "") -> str:
    """The dataset that a run was trained on; raises UsageError when `name` is given and is another."""
    folder = RunFolder.find(ws, run)
    own: str = folder.job()["dataset"].partition("@")[0]
    if name and name != own:
        raise UsageError(f"run {folder.id} was trained on '{own}', not on '{name}'", code="hard.dataset",
                         what_to_do=f"trugrade data hard {own} --run {folder.id}")  # fmt: skip
    return own


# --- and back to training -----------------------------------------------------------------------------------------


def train_again(ws: Workspace, run: str) -> dict[str, Any]:
    """Keep the run's dataset as it is now as its next version, and give the run's configuration for it:
    {"run", "was", "version", "config", "changed", "notes"}. Starts nothing.

    Cards keep their split, new ones are shared out among them, so what was test stays test; where somebody has split the
    dataset anew since the run, `notes` says how many cards of its test would be trained on.
    """
    folder = RunFolder.find(ws, run)
    before = overview.version_of(ws, folder)
    made = versioning.snapshot_dataset(ws, before.manifest.dataset)
    version = f"{before.manifest.dataset}@{made['version']}"
    moved = _moved(before, Version.open(ws, version))
    notes = [
        f"{moved} cards that this run was tested on would be trained on now: the dataset was split anew since, so the two "
        "runs cannot be compared on test"
    ] if moved else []  # fmt: skip
    return {"run": folder.id, "was": before.name, "version": version, "config": config_like(ws, folder.id, version),
            "changed": made["digest"] != before.manifest.digest, "notes": notes}  # fmt: skip


def _moved(before: Version, after: Version) -> int:
    tested = {sample.card for sample in before.iter_samples() if sample.split == "test"}
    return len(tested & {sample.card for sample in after.iter_samples() if sample.split != "test"})


def config_like(ws: Workspace, run: str, dataset: str) -> dict[str, Any]:
    """What was given in a run's configuration, for another version of its dataset."""
    config = overview.run_config(RunFolder.find(ws, run)).model_dump(mode="json", exclude_unset=True)
    return parse_config({**config, "dataset": dataset}, where=run).model_dump(mode="json", exclude_unset=True)
