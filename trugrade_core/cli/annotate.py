"""trugrade data annotate, conflicts: what the Annotate page saves, from a file; and what two people said at once."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trugrade_core.cli.console import line, say, table, who, workspace
from trugrade_core.cli.data import WholeName
from trugrade_core.errors import UsageError


def annotate(
    name: WholeName,
    sample: Annotated[str, typer.Argument(help="Id of the sample.")],
    ops: Annotated[
        str, typer.Option(help="JSON file of changes, or - for stdin: [{op, annotation, label, value, replaces}].")
    ] = "",
    status: Annotated[str, typer.Option("--set", help="done, unsure, rescan, skipped or unlabelled.")] = "",
    comment: Annotated[str, typer.Option(help="Beside the status.")] = "",
    person: Annotated[str, typer.Option("--who", help="Whose work it is; else the computer's user.")] = "",
    commit: Annotated[str, typer.Option(help="Id of these changes: given twice, they are saved once.")] = "",
) -> None:
    """Save shapes, scores, tags or a status on one sample, as the Annotate page does: of who was asked to vote blind on it,
    as that one's vote. Without changes, say what holds."""
    from trugrade_core.workflows import annotating

    ws = workspace()
    if comment and not status:
        raise UsageError("--comment goes with a status", what_to_do="Add --set unsure (or rescan, skipped, done).")
    at_work = person or who()
    layer = annotating.layers_of(ws, name, at_work).get(sample, "main")
    before = annotating.state(ws, name, sample, layer)
    if not ops and not status:
        found = annotating.state_row(before)
        say(found, lambda: _show(found))
        return
    told = {"status": status, "comment": comment} if status else None
    saved = annotating.save(
        ws, name, sample, _read(ops) if ops else [], who=at_work, tool="cli", commit=commit or secrets.token_hex(16),
        layer=layer, status=told, status_replaces=before.status_entry,
    )  # fmt: skip
    found = annotating.saved_row(saved)

    def human() -> None:
        line(
            "Saved before: nothing was added."
            if saved.again
            else f"Saved on {sample}, {len(saved.entries)} in the log."
        )
        for note in saved.notes:
            line(f"Note: {note}")
        for conflict in saved.conflicts:
            line(f"Conflict on {conflict.annotation}: settle it with trugrade data conflicts {name}")

    say(found, human)


def _read(path: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if path == "-" else Path(path).read_bytes())
    except OSError as e:
        raise UsageError(
            f"cannot be read ({e.strerror})", where=path, what_to_do="Give a JSON file, or - for stdin."
        ) from e
    except ValueError as e:
        raise UsageError(f"is not JSON ({e})", where=path, what_to_do="Give a list of changes.") from e


def _show(found: dict[str, Any]) -> None:
    line(f"{found['sample']}: {found['status']}" + (f" ({found['comment']})" if found["comment"] else ""))
    table(["annotation", "class", "kind", "who", "with", "entry"],
          [(a["annotation"], a["label"], a["value"]["type"], a["who"], a["tool"], a["entry"]) for a in found["annotations"]])  # fmt: skip
    if found["conflicts"]:
        line(f"{len(found['conflicts'])} in conflict.")


def conflicts(
    name: WholeName,
    resolve: Annotated[str, typer.Option(help="The annotation to settle.")] = "",
    keep: Annotated[str, typer.Option(help="The entry that holds.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept in the log.")] = "",
) -> None:
    """What two people changed without seeing each other; settle one with --resolve ANNOTATION --keep ENTRY --reason TEXT."""
    from trugrade_core.workflows import annotating

    ws = workspace()
    if resolve or keep:
        if not (resolve and keep and reason.strip()):
            raise UsageError("settling takes --resolve ANNOTATION, --keep ENTRY and --reason TEXT",
                             what_to_do=f"trugrade data conflicts {name} lists annotations and entries.")  # fmt: skip
        settled = annotating.resolve(ws, name, resolve, keep, who=who(), reason=reason, tool="cli")
        say(settled, lambda: line(f"{resolve} is settled: entry {keep} holds."))
        return
    rows = annotating.conflict_rows(annotating.conflicts(ws, name))

    def human() -> None:
        if not rows:
            line("No conflicts.")
        for row in rows:
            table(["entry", "says", "class", "who", "when"],
                  [(h["entry"], json.dumps(h["value"]) if h["value"] else "deleted it", h["label"], h["who"], h["when"][:19])
                   for h in row["heads"]], title=f"{row['annotation']} on sample {row['sample']}, layer {row['layer']}")  # fmt: skip
            line(f"Settle it: trugrade data conflicts {name} --resolve {row['annotation']} --keep ENTRY --reason TEXT")

    say(rows, human)


COMMANDS = (annotate, conflicts)
