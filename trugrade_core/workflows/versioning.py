"""What a person does with splits, versions and classes: look first, then do it, and undo it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trugrade_core.annotate.locks import holder
from trugrade_core.data.store import Dataset
from trugrade_core.errors import DatasetError, UsageError
from trugrade_core.schema import Annotation, Sample, VersionManifest
from trugrade_core.workflows.checking import check_after
from trugrade_core.workspace import Workspace

if TYPE_CHECKING:
    from trugrade_core.data.relabel import ClassEdit
    from trugrade_core.data.steps import Taken
    from trugrade_core.data.versions import Version

# --- splits -------------------------------------------------------------------------------------------------------


def parse_ratios(text: str) -> tuple[float, float, float]:
    """`70/15/15` as shares that sum to 1."""
    try:
        train, val, test = (float(part) for part in text.split("/"))
        total = train + val + test
        if min(train, val, test) < 0 or not 0 < total < float("inf"):
            raise ValueError
    except ValueError:
        raise UsageError(
            f"'{text}' is not a set of ratios", what_to_do="Write three numbers such as 70/15/15 (train/val/test)."
        ) from None
    return train / total, val / total, test / total


def preview_split(
    ws: Workspace,
    name: str,
    *,
    ratios: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    by: Sequence[str] = (),
    folds: int = 0,
) -> dict[str, Any]:
    """What `split_dataset` would give, and what would move; writes nothing."""
    from trugrade_core.data import folds as cross
    from trugrade_core.data.splitting import plan_split

    ds = Dataset.open(ws, name)
    plan = plan_split(ds, ratios, seed, by)
    found = plan.as_json()
    found["notes"] += _assumed(sample for sample in ds.iter_samples() if not sample.excluded)
    if folds:
        for card, split in plan.where.items():
            plan.cards[card].splits = {split}
        fold = cross.share_folds(plan.cards, folds, seed, plan.by, name)
        found["folds"] = cross.report(plan.cards, fold, folds, plan.by)
    return found


def split_dataset(
    ws: Workspace,
    name: str,
    *,
    ratios: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    by: Sequence[str] = (),
    folds: int = 0,
) -> dict[str, Any]:
    """Divide the cards into train, val and test, keep together what shares a unit of `by`, and keep that as a version.
    `folds` makes that many folds of its train and val cards too."""
    from trugrade_core.data.splitting import apply_split, plan_split
    from trugrade_core.data.versions import snapshot

    ds = Dataset.open(ws, name)
    plan = plan_split(ds, ratios, seed, by)
    if folds:
        preview_split(ws, name, ratios=ratios, seed=seed, by=by, folds=folds)  # raises before anything is written
    apply_split(ds, plan)
    found = _judged(ws, snapshot(ds))
    found["notes"] = [*plan.move_notes(), *found.get("notes", [])]
    if folds:
        found["folds"] = make_folds(ws, f"{name}@{found['version']}", folds, seed=seed, by=plan.by)
    return {k: v for k, v in found.items() if k != "notes" or v}


def make_folds(
    ws: Workspace, version: str, k: int, *, seed: int = 0, by: Sequence[str] | None = None
) -> dict[str, Any]:
    """The folds of NAME[@V], made and kept with the version where they are not there yet, in numbers."""
    from trugrade_core.data import folds as cross
    from trugrade_core.data.versions import Version

    opened = Version.open(ws, version)
    units = opened.manifest.by if by is None else by
    fold = cross.fold_of(opened, k, seed, units)
    return {"version": opened.name, **cross.report(cross.version_cards(opened), fold, k, units)}


def snapshot_dataset(ws: Workspace, name: str) -> dict[str, Any]:
    """Keep the dataset as it is now as a version; the same content gives the same version."""
    from trugrade_core.data.versions import snapshot

    return _judged(ws, snapshot(Dataset.open(ws, name)))


def _judged(ws: Workspace, manifest: VersionManifest) -> dict[str, Any]:
    """A version's summary, how good its splits are, and what a person should know before trusting them."""
    from trugrade_core.data.folds import version_cards
    from trugrade_core.data.splitting import last_split, report
    from trugrade_core.data.versions import Version, summary

    version = Version.open(ws, f"{manifest.dataset}@{manifest.version}")
    ratios, _, by = last_split(Dataset.open(ws, manifest.dataset))
    cards = version_cards(version)
    where = {name: next(iter(card.splits)) for name, card in cards.items()}
    judged = report(cards, where, ratios, by)
    found = {**judged, **summary(manifest)}
    notes = [*summary(manifest).get("notes", []), *judged["notes"], *_assumed(version.iter_samples())]
    found |= {"notes": notes, "check": check_after(ws, manifest.dataset, version=manifest.version)}
    return {k: v for k, v in found.items() if k != "notes" or v}


def _assumed(samples: Iterable[Sample]) -> list[str]:
    """That leaks cannot be seen where samples name no card."""
    total = assumed = 0
    for sample in samples:
        total += 1
        assumed += sample.card_assumed and sample.origin == "real"
    if not assumed:
        return []
    return [
        f"{assumed} of {total} samples name no card, so each counts as a card of its own. Where one card was "
        "scanned more than once, say so on import with --cards or --card-pattern, or the splits leak."
    ]


# --- versions -----------------------------------------------------------------------------------------------------


def compare_versions(ws: Workspace, a: str, b: str) -> dict[str, Any]:
    """What leads from `a` to `b`: NAME@V, NAME (its newest version), or NAME@now (as the dataset is)."""
    from trugrade_core.data.diff import diff, side

    return diff(side(ws, a), side(ws, b))


def picked(ws: Workspace, side: str, samples: Collection[str]) -> dict[str, tuple[Sample, list[Annotation]]]:
    """Some samples of NAME@V or NAME@now with their annotations, for showing."""
    from trugrade_core.data import diff

    return diff.pick(diff.side(ws, side), samples)


def preview_restore(ws: Workspace, version: str) -> dict[str, Any]:
    """What going back to NAME@V would change, as `compare_versions` from now to it."""
    from trugrade_core.data import restoring

    ds, opened = _opened(ws, version)
    return restoring.preview(ds, opened)


def restore_version(ws: Workspace, version: str, *, who: str, tool: str) -> dict[str, Any]:
    """Keep the dataset as it is now, go back to NAME@V, and keep that as the newest version, with V's digest.

    `kept_before` is the version of what was there (None where every sample was excluded)."""
    from trugrade_core.data import restoring
    from trugrade_core.data.versions import snapshot

    ds, opened = _opened(ws, version)
    try:
        before = snapshot(ds).version
    except DatasetError as e:
        if e.code != "dataset.empty":  # every sample is excluded: there is nothing to keep but what the log holds
            raise
        before = None
    done = restoring.restore(ds, opened, who=who, tool=tool, held=holder(ds))
    made = snapshot(ds)
    return {"restored": opened.name, "kept_before": before, "version": made.version, "digest": made.digest,
            "same": made.digest == opened.manifest.digest, **done}  # fmt: skip


def undo_restore(ws: Workspace, name: str, *, who: str, tool: str) -> dict[str, Any]:
    """Undo going back, if it was the last step."""
    from trugrade_core.data import restoring, steps

    return steps.undo(Dataset.open(ws, name), restoring.KIND, who=who, tool=tool)


def _opened(ws: Workspace, version: str) -> tuple[Dataset, Version]:
    from trugrade_core.data.versions import Version

    name, _, number = version.partition("@")
    ds = Dataset.open(ws, name)
    if not number:
        raise UsageError(f"'{version}' names no version", what_to_do=f"Write {name}@{(ds.version_names() or ['v1'])[0]}, for example.")  # fmt: skip
    return ds, Version.open(ws, version)


# --- classes ------------------------------------------------------------------------------------------------------


def preview_classes(ws: Workspace, name: str, edit: ClassEdit) -> dict[str, Any]:
    """What `edit_classes` would change; writes nothing."""
    from trugrade_core.data import relabel

    return relabel.preview(Dataset.open(ws, name), edit)


def edit_classes(ws: Workspace, name: str, edit: ClassEdit, *, who: str, tool: str) -> dict[str, Any]:
    """Rename, merge, add or retire a class, with every label of it, in one step."""
    from trugrade_core.data import relabel

    ds = Dataset.open(ws, name)
    return relabel.apply(ds, edit, who=who, tool=tool, held=holder(ds))


def undo_classes(ws: Workspace, name: str, *, who: str, tool: str) -> dict[str, Any]:
    """Undo the last class edit, if it was the last step."""
    from trugrade_core.data import relabel, steps

    return steps.undo(Dataset.open(ws, name), relabel.KIND, who=who, tool=tool)


def last_step(ws: Workspace, name: str) -> Taken | None:
    """The step that could be undone now."""
    from trugrade_core.data import steps

    return steps.last(Dataset.open(ws, name))
