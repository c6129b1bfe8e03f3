"""trugrade data split | snapshot | diff | restore | classes …"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trugrade_core.cli.console import line, say, table, who, workspace
from trugrade_core.cli.data import WholeName, _whole, show_check
from trugrade_core.errors import UsageError

if TYPE_CHECKING:
    from trugrade_core.data.relabel import ClassEdit

LISTED = 50
Preview = Annotated[bool, typer.Option("--preview", help="Say what would change; write nothing.")]
By = Annotated[
    list[str] | None,
    typer.Option(help="Kept in one split beside the card: design, print or session. May be repeated, or comma-separated."),
]  # fmt: skip
Side = Annotated[str, typer.Argument(help="NAME@VERSION, NAME (its newest version) or NAME@now.")]


# --- splits -------------------------------------------------------------------------------------------------------


def split(
    name: Annotated[str, typer.Argument(help="Dataset, NAME; with --folds also NAME@VERSION.")],
    ratios: Annotated[str, typer.Option(help="train/val/test.")] = "70/15/15",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    by: By = None,
    folds: Annotated[int, typer.Option(help="Also make K folds of train and val, for cross-validation.")] = 0,
    preview: Preview = False,
) -> None:
    """Divide the cards into train, val and test (all images of a card together) and keep that as a version.

    Classes, score levels, tags and origins are shared out evenly; the imbalance left is said. Cards that have a split
    keep it when ratios, seed and --by are those of the last time. NAME@VERSION --folds K makes folds of that version.
    """
    from trugrade_core.workflows import versioning

    units = [unit.strip() for given in by or [] for unit in given.split(",") if unit.strip()]
    if "@" in name and folds:
        made = versioning.make_folds(workspace(), name, folds, seed=seed, by=units if by else None)
        say(made, lambda: _show_folds(made))
        return
    do = versioning.preview_split if preview else versioning.split_dataset
    found = do(workspace(), _whole(name), ratios=versioning.parse_ratios(ratios), seed=seed, by=units, folds=folds)
    say(found, lambda: _show_plan(found) if preview else _show_version(name, found))


def snapshot(name: WholeName) -> None:
    """Keep the dataset as it is now as an immutable version (splits first if it never was)."""
    from trugrade_core.workflows import versioning

    found = versioning.snapshot_dataset(workspace(), _whole(name))
    say(found, lambda: _show_version(name, found))


def _show_plan(found: dict[str, Any]) -> None:
    _show_splits(found, f"{found['dataset']}: nothing is written yet")
    table(
        ["what", "of", "train", "val", "test", "in another split than asked"],
        [(r["name"], r["total"], r["train"], r["val"], r["test"], f"{100 * r['off']:.1f} %") for r in found["details"]["balance"]],
    )  # fmt: skip
    if found["moves"]:
        table(["from", "to", "cards"], [(m["from"], m["to"], m["cards"]) for m in found["moves"]])
    _show_rest(found)
    line("Apply it: the same line without --preview")


def _show_version(name: str, found: dict[str, Any]) -> None:
    _show_splits(found, f"{name}@{found['version']}   digest {found['digest'][:12]}")
    _show_rest(found)
    show_check(f"{name}@{found['version']}", found["check"])
    _show_next(f"{name}@{found['version']}", found["check"].get("task") or "")


def _show_next(version: str, task: str) -> None:
    from trugrade_core.models import why_untrainable
    from trugrade_core.tasks import TASKS

    if task in TASKS and (why := why_untrainable(TASKS[task])):
        line(f"Note: {why}.")
        return
    more = "" if task else ", with a task of: trugrade tasks"
    line(f"Next: trugrade suggest {quote(version)} --task {task or 'TASK'} -o run.yaml{more}")


def _show_splits(found: dict[str, Any], title: str) -> None:
    table(["split", "cards", "samples", "labelled"],
          [(s, n["cards"], n["samples"], n.get("labelled", n["samples"])) for s, n in found["splits"].items()], title=title)  # fmt: skip


def _show_rest(found: dict[str, Any]) -> None:
    units = " and ".join(["card", *found["by"]])
    line(f"By {units}: {found['leaks']} leak(s); imbalance {found['imbalance']:.4f} (whole cards allow {found['least_imbalance']:.4f} at best)")  # fmt: skip
    for leak in found["details"]["leaks"][:LISTED]:
        line(f"Leak: {leak['unit']} '{leak['value']}' lies in " + " and ".join(f"{s} ({n} cards)" for s, n in leak["splits"].items()))  # fmt: skip
    if "folds" in found:
        _show_folds(found["folds"])
    for note in found.get("notes", []):
        line(f"Note: {note}")


def _show_folds(found: dict[str, Any]) -> None:
    table(["fold", "cards", "samples", "labelled"],
          [(i, n["cards"], n["samples"], n["labelled"]) for i, n in enumerate(found["folds"])],
          title=f"{found['k']} folds of train and val: in each, one fold is val; test stays test")  # fmt: skip
    line(
        f"Folds: {found['leaks']} leak(s); imbalance {found['imbalance']:.4f} (at best {found['least_imbalance']:.4f})"
    )


# --- versions -----------------------------------------------------------------------------------------------------


def diff(a: Side, b: Side) -> None:
    """What leads from one version to another: samples added, removed, relabelled (by how many px and mm), splits, classes."""
    from trugrade_core.workflows import versioning

    found = versioning.compare_versions(workspace(), a, b)
    say(found, lambda: _show_diff(found))


def _show_diff(found: dict[str, Any]) -> None:
    from trugrade_core.data.diff import words

    if found["same"]:
        line(f"{found['from']} and {found['to']} hold the same.")
        return
    counts = found["counts"]
    table(["what", "samples"], [(key.replace("_", " "), n) for key, n in counts.items() if key != "annotations"],
          title=f"{found['from']} to {found['to']}")  # fmt: skip
    if counts["annotations"]:
        line("Annotations: " + ", ".join(f"{n} {how}" for how, n in counts["annotations"].items()))
    classes = found["classes"]
    for what in ("added", "removed"):
        if classes[what]:
            line(f"Classes {what}: {', '.join(classes[what])}")
    for row in classes["reshaped"]:
        line(f"Class {row['class']}: was drawn as {row['was']}, is {row['now']}")
    if classes["reordered"]:
        line("The classes stand in another order, so their ids differ.")
    rows: list[tuple[str, str, str]] = []
    for row in found["relabelled"]:
        said = [words(change) for change in row["annotations"]]
        said += [f"status {row['status'][0]} is now {row['status'][1]}"] if row["status"] else []
        rows.append((row["sample"], row["file"], "; ".join(said)))
    rows += [
        (r["sample"], r["file"], f"split {r['was'] or 'none'} is now {r['now'] or 'none'}")
        for r in found["split_changed"]
    ]
    rows += [(r["sample"], r["file"], f"{', '.join(r['fields'])} changed") for r in found["facts_changed"]]
    rows += [(r["sample"], r["file"], what) for what in ("added", "removed") for r in found[what]]
    table(["sample", "file", "change"], rows[:LISTED])
    if len(rows) > LISTED:
        line(f"… and {len(rows) - LISTED} more; --json lists all.")


def restore(
    version: Annotated[str, typer.Argument(help="NAME@VERSION to go back to; NAME alone with --undo.")],
    preview: Preview = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo going back, if it was the last step.")] = False,
) -> None:
    """Make an old version what holds now: its labels, statuses, classes and splits. Nothing is lost, and it can be undone."""
    from trugrade_core.workflows import versioning

    if undo:
        back = versioning.undo_restore(workspace(), _whole(version), who=who(), tool="cli")
        say(back, lambda: _show_undone(back))
        return
    if preview:
        found = versioning.preview_restore(workspace(), version)
        say(found, lambda: _show_diff(found))
        return
    done = versioning.restore_version(workspace(), version, who=who(), tool="cli")

    def human() -> None:
        name = version.partition("@")[0]
        line(f"{name} is as in {done['restored']} again, kept as {done['version']}: {done['entries']} labels and statuses "
             f"said anew, {done['left_out']} samples that came since are left out.")  # fmt: skip
        before = f"What was there before is {name}@{done['kept_before']}. " if done["kept_before"] else ""
        line(f"{before}Undo: trugrade data restore {name} --undo")

    say(done, human)


def _show_undone(done: dict[str, Any]) -> None:
    line(f"{done['what'].capitalize()}: {done['entries']} labels said anew, {done['samples']} samples put back.")
    if done["left"]:
        line(f"{done['left']} were changed by somebody since and stay as they are.")


COMMANDS = (split, snapshot, diff, restore)


# --- classes ------------------------------------------------------------------------------------------------------

classes = typer.Typer(help="The classes of a dataset: rename, merge, add, retire, undo.", no_args_is_help=True)
ClassName = Annotated[str, typer.Argument(help="The class.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@classes.command("list")
def list_(name: WholeName) -> None:
    """The classes in id order, and how often each was drawn."""
    from trugrade_core.workflows import overview

    found = overview.dataset(workspace(), _whole(name))["classes"]
    say(found, lambda: table(["id", "class", "shape", "annotations"],
                             [(i, c["name"], c["shape"], c["annotations"]) for i, c in enumerate(found, 1)]))  # fmt: skip


@classes.command()
def rename(name: WholeName, old: ClassName, new: ClassName, preview: Preview = False) -> None:
    """Give a class another name; every label of it follows, old versions stay."""
    from trugrade_core.data.relabel import Rename

    _edit(name, Rename(old=old, new=new), preview)


@classes.command()
def merge(
    name: WholeName,
    names: Annotated[list[str], typer.Argument(help="The classes that go.")],
    into: Annotated[str, typer.Option(help="The class that stays.")],
    preview: Preview = False,
) -> None:
    """Make one class of several."""
    from trugrade_core.data.relabel import Merge

    _edit(name, Merge(names=tuple(names), into=into), preview)


@classes.command()
def add(
    name: WholeName,
    new: ClassName,
    shape: Annotated[str, typer.Option(help="box, polygon, mask, tags or score.")] = "box",
    preview: Preview = False,
) -> None:
    """Add a class behind the others."""
    from pydantic import ValidationError

    from trugrade_core.data.relabel import Add

    try:
        edit = Add.model_validate({"name": new, "shape": shape})
    except ValidationError as e:
        raise UsageError(f"'{shape}' is no kind of class", what_to_do="box, polygon, mask, tags or score.") from e
    _edit(name, edit, preview)


@classes.command()
def retire(name: WholeName, old: ClassName, preview: Preview = False, yes: Yes = False) -> None:
    """Take a class off the list and delete what is drawn of it; old versions keep both, and it can be undone."""
    from trugrade_core.data.relabel import Retire
    from trugrade_core.workflows import versioning

    if not (preview or yes):
        found = versioning.preview_classes(workspace(), _whole(name), Retire(name=old))
        typer.confirm(f"Retire '{old}' and delete {found['annotations']} annotations of it?", abort=True, err=True)
    _edit(name, Retire(name=old), preview)


@classes.command("undo")
def undo_(name: WholeName) -> None:
    """Undo the last class edit."""
    from trugrade_core.workflows import versioning

    done = versioning.undo_classes(workspace(), _whole(name), who=who(), tool="cli")
    say(done, lambda: _show_undone(done))


def _edit(name: str, edit: ClassEdit, preview: bool) -> None:
    from trugrade_core.workflows import versioning

    if preview:
        found = versioning.preview_classes(workspace(), _whole(name), edit)
    else:
        found = versioning.edit_classes(workspace(), _whole(name), edit, who=who(), tool="cli")

    def human() -> None:
        would = "would change" if preview else "changed"
        line(f"{found['what'].capitalize()}: {found['annotations']} annotations on {found['samples']} samples {would}.")
        line("Classes: " + ", ".join(f"{i} {c}" for i, c in enumerate(found["classes"]["after"], 1)))
        for note in found["notes"]:
            line(f"Note: {note}")
        if not preview:
            line(f"Undo: trugrade data classes undo {name}   Keep it: trugrade data snapshot {name}")

    say(found, human)
