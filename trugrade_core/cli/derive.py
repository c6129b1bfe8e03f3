"""trugrade data derive: one scan feeds every task."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, not_understood, say, table, who, workspace
from trugrade_core.cli.data import WholeName

if TYPE_CHECKING:
    from trugrade_core.workflows.carrying import CarryReport


def derive(
    name: WholeName,
    task: Annotated[str, typer.Option(help="What the crops are for; sizes are the task's. See: trugrade tasks")],
    to: Annotated[str, typer.Option(help="Dataset of the crops; made when it is not there.")],
    outline: Annotated[
        str,
        typer.Option(help="Class that is the card's edge; else outer_border, border, or the first shape like a card."),
    ] = "",
    outline_from: Annotated[
        str, typer.Option(help="A run or an export that finds the card where nobody has drawn it.")
    ] = "",
    format: Annotated[
        str,
        typer.Option(help="us (63.5 x 88.9 mm), tcg (63 x 88) or japanese (59 x 86): sets the scale of photographs."),
    ] = "",
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Turn boxes to the card's real edges, as the scan shows them.")
    ] = True,
    keep_all_classes: Annotated[
        bool, typer.Option("--keep-all-classes", help="Carry labels of every class, not only the task's.")
    ] = False,
    carry_scores: Annotated[
        bool, typer.Option("--carry-scores", help="Give each crop the scan's scores and tags too.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first scans.", min=1)] = None,
) -> None:
    """Cut corners, edges or the surface of cards out of their scans, for a task.

    Pixels are the scan's own: turned where the card lies tilted, never
    resized. The scale is the scanner's dpi. The card, its split, the labels
    that lie there and the way back to the scan are kept. Corners come with the
    corner at the top left, edges with the cut edge up; strips of an edge reach
    from corner to corner.

    Doing it again adds nothing. Where an outline has changed, new crops stand
    beside the old ones, which are excluded and keep what was drawn on them.
    Crops count as labelled when the scan does and the scans' dataset knows
    every class of the task.

    --json: {"dataset", "source", "task", "scans", "derived", "unchanged",
    "superseded", "labels", "outlines": {quad, fitted, box, refined_box: scans},
    "formats": {name: scans}, "padded" (crops that reach out of the scan),
    "most_padding" (share), "skipped": [{"sample", "source", "region" ('' for
    a whole scan), "reason"}], "notes"}
    """
    from pydantic import ValidationError

    from trugrade_core.workflows import deriving

    if outline_from and Path(outline_from).exists():
        outline_from = str(Path(outline_from).absolute())  # the job runs in a folder of its own
    try:
        options = deriving.DeriveOptions(
            task=task, outline=outline, outline_from=outline_from, format=format, refine=refine,
            all_classes=keep_all_classes, whole_labels=carry_scores, limit=limit, who=who(),
        )  # fmt: skip
    except ValidationError as e:
        raise not_understood(e) from e
    report = follow_job(deriving.start_derive(workspace(), name, to, options, who=who()))
    say(report, lambda: _show(report))


LISTED = 50


def _show(report: dict[str, Any]) -> None:
    line(f"{report['derived']} new crops of {report['scans']} scans in '{report['dataset']}', {report['unchanged']} unchanged, "
         f"{report['superseded']} superseded; {report['labels']} labels carried.")  # fmt: skip
    for note in report["notes"]:
        line(f"Note: {note}")
    if report["padded"]:
        line(
            f"Note: {report['padded']} crops reach out of the scan and are black there, at most {100 * report['most_padding']:.0f} %"
        )
    if report["skipped"]:
        why: dict[tuple[str, str], list[str]] = {}
        for one in report["skipped"]:
            why.setdefault((one["region"], one["reason"]), []).append(one["source"])
        rows = [(f"{own[0]} and {len(own) - 1} more" if own[1:] else own[0], *key) for key, own in why.items()]
        table(["left out", "region", "why"], rows[:LISTED])
        if len(rows) > LISTED:
            line(f"… and {len(rows) - LISTED} more reasons; --json lists all.")
    if report["scans"]:
        line(f"Next: annotate the crops in the app, then trugrade data split {quote(report['dataset'])}")


def carry_back(
    name: WholeName,
    preview: Annotated[bool, typer.Option("--preview", help="Only tell what would be said of the scans.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last carrying back from this dataset back.")] = False,
) -> None:
    """Say of the scans what was drawn on their crops.

    Shapes drawn on crops, in the app or in Label Studio, are put on the scan
    in its own pixels, by the same author. Crops overlap: what was drawn on two
    of them is one shape on the scan, with the worse severity. Scores and tags
    are the crop's own. Doing it again changes what was changed on the crops
    since; what people changed on the scan stays.

    --json: {"dataset", "into" (datasets of scans), "scans", "added",
    "changed", "removed", "unchanged", "joined", "touched" (changed on the scan
    by people, left), "came" (came with the scan and changed on the crop, left),
    "whole" (scores and tags, left), "classes" (new ones), "left_out":
    [{"dataset", "sample", "reason"}], "steps": {dataset: step}}; with --undo
    {dataset of scans: {"step", "what", "entries", "samples", "left"}}
    """
    from trugrade_core.workflows import carrying

    if undo:
        done = carrying.undo_carry_back(workspace(), name, who=who())
        say(done, lambda: _show_undone(done))
        return
    report = carrying.carry_back(workspace(), name, who=who(), preview=preview)
    say(report.model_dump(mode="json"), lambda: _show_carried(report, preview))


def _show_undone(done: dict[str, dict[str, Any]]) -> None:
    for source, one in done.items():
        left = f"; {one['left']} were changed since and stay" if one["left"] else ""
        line(f"Undone in '{source}': {one['entries']} labels{left}.")


def _show_carried(report: CarryReport, preview: bool) -> None:
    into = " and ".join(f"'{source}'" for source in report.into)
    done = f"Labels on scans in {into}, {'to be ' if preview else ''}" if into else "Nothing to carry back: labels "
    counts = f"added: {report.added}, changed: {report.changed}, removed: {report.removed}, " if into else ""
    line(f"{done}{counts}there already: {report.unchanged}.")
    for note in report.notes():
        line(f"Note: {note}")
    if report.left_out:
        table(
            ["scan", "of", "why it is left out"],
            [(s["sample"], s["dataset"], s["reason"]) for s in report.left_out[:LISTED]],
        )
        if len(report.left_out) > LISTED:
            line(f"… and {len(report.left_out) - LISTED:,} more; --json lists all.")
    if preview and report.into:
        line(f"Do it: trugrade data carry-back {quote(report.dataset)}")
    elif report.steps:
        line(f"Take it back: trugrade data carry-back {quote(report.dataset)} --undo")


COMMANDS = (derive, carry_back)
