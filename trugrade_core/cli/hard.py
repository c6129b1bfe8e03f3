"""trugrade data hard: what a run is worst at, to annotate and train again."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trugrade_core.cli.console import line, say, table, who, workspace
from trugrade_core.cli.data import WholeName


def hard(
    name: WholeName,
    run: Annotated[str, typer.Option(help="A run that was evaluated; id, the beginning of one, or latest.")],
    kind: Annotated[
        str, typer.Option(help="worst, uncertain (scores near the threshold) or refused (nothing found).")
    ] = "worst",
    count: Annotated[int, typer.Option(help="At most so many.", min=1)] = 20,
    split: Annotated[str, typer.Option(help="The split that the run was evaluated on.")] = "test",
    tag: Annotated[str, typer.Option(help="Put this tag on them, as one step that data undo takes back.")] = "",
    assign: Annotated[list[str] | None, typer.Option(help="Give them to this person. May be repeated.")] = None,
) -> None:
    """The samples that a run is worst at, least sure of, or finds nothing on; to look at, tag, or give to people."""
    from trugrade_core.runs import RunFolder
    from trugrade_core.workflows import looping

    ws = workspace()
    run = RunFolder.find(ws, run).id
    looping.dataset_of(ws, run, name)
    rows = looping.hard_samples(ws, run, split, kind=kind, count=count)
    sent: dict[str, Any] = {}
    if rows and (tag or assign):
        sent = looping.send(ws, name, [r["sample"] for r in rows], tag=tag, people=assign or (), who=who(), tool="cli")
    found = {"dataset": name, "run": run, "split": split, "kind": kind, "samples": rows, "tagged": sent.get("tagged", 0),
             "batch": sent.get("batch"), "assigned": sent.get("assigned", {})}  # fmt: skip
    say(found, lambda: _show(found, tag))


def _show(found: dict[str, Any], tag: str) -> None:
    if not found["samples"]:
        line(f"No sample of {found['split']} is {found['kind']}.")
        return
    table(["sample", "why"], [(r["sample"], r["why"]) for r in found["samples"]])
    if tag:
        line(f"{found['tagged']} tagged '{tag}'. Take it back with: trugrade data undo {found['dataset']}")
    if found["assigned"]:
        table(["person", "new"], found["assigned"].items())


def again(
    run: Annotated[str, typer.Argument(help="A run, whose configuration is used again.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Write the configuration here, for trugrade train.")] = "",
) -> None:
    """Keep a run's dataset as its next version, and give the run's configuration for it. Starts nothing."""
    from pathlib import Path

    from trugrade_core.workflows import looping, training

    found = looping.train_again(workspace(), run)
    if out:
        training.write_config(found["config"], Path(out))

    def human() -> None:
        line(f"{found['version']}: " + ("the dataset as it is now" if found["changed"] else f"nothing has changed since {found['was']}"))  # fmt: skip
        for note in found["notes"]:
            line(note)
        line(f"Train: trugrade train {out}" if out else "Give --out FILE for a configuration to train with.")

    say(found, human)


COMMANDS = (hard, again)
