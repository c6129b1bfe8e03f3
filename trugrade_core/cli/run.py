"""trugrade run …"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, number, say, table, who, workspace
from trugrade_core.runs import RunFolder

app = typer.Typer(help="Runs and other jobs: list, watch, stop, resume, compare.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="Run id, a unique beginning of it, or 'latest'.")]


@app.command("list")
def list_(jobs: Annotated[bool, typer.Option("--jobs", help="Imports, exports and other jobs too.")] = False) -> None:
    """The runs of this workspace, newest first."""
    from trugrade_core.workflows import overview

    rows = overview.runs(workspace(), jobs=jobs)
    columns = ["run", "state", "task", "architecture", "dataset", "epoch", "main metric", "reason"]
    say(rows, lambda: table(columns, [(r["run"], r["state"], r["task"], r["architecture"], r["dataset"], r["epoch"],
                                       number(r["main_metric"]), r["reason"][:60]) for r in rows]))  # fmt: skip


@app.command()
def show(
    run: Run, repro: Annotated[bool, typer.Option("--repro", help="The lines that repeat this run.")] = False
) -> None:
    """One run: its state, plan, metrics and checkpoints."""
    from trugrade_core.workflows import overview

    folder = RunFolder.find(workspace(), run, jobs=True)
    if repro:
        lines = overview.repro(folder)
        say({"run": folder.id, "lines": lines}, lambda: line("\n".join(lines)))
        return
    found = overview.run(folder)

    def human() -> None:
        line(f"{found['run']}  {found['state']}  {found['reason']}")
        if found["what_to_do"]:
            line(found["what_to_do"])
        table(["metric", "best epoch"], [(name, number(value)) for name, value in found["metrics"].items()])
        line(f"Folder: {folder.path}")

    say(found, human)


@app.command()
def watch(run: Run) -> None:
    """Follow a run or job until it ends."""
    folder = RunFolder.find(workspace(), run, jobs=True)
    result = follow_job(folder)
    say(result, lambda: line(f"{folder.id}: {folder.status().state}"))


def _ask(run: str, command: Any, told: str) -> None:
    from trugrade_core.workflows import training

    folder = training.control(workspace(), run, command, who=who())
    say({"run": folder.id, "asked": command}, lambda: line(f"{folder.id}: {told}"))


@app.command()
def stop(run: Run, discard: Annotated[bool, typer.Option("--discard", help="Keep nothing.")] = False) -> None:
    """Stop a run after its current step and keep it (or discard it). Asked twice, it is ended by force."""
    if discard:
        _ask(run, "discard", "will stop and move to the trash")
    else:
        _ask(run, "stop", "will stop after its step and keep its checkpoints")


@app.command()
def save(run: Run) -> None:
    """Have a running training write its latest checkpoint now."""
    _ask(run, "save", "will save after its step")


@app.command()
def resume(run: Run, detach: Annotated[bool, typer.Option("--detach")] = False) -> None:
    """Go on from the latest checkpoint of a stopped, failed or crashed run."""
    from trugrade_core.cli.model import show_training
    from trugrade_core.workflows import training

    folder = training.resume(workspace(), run)
    show_training(folder, detach=detach)


@app.command()
def compare(runs: Annotated[list[str], typer.Argument(help="Two or more runs.")]) -> None:
    """Metrics side by side, and what differs in the configurations."""
    from trugrade_core.workflows import overview

    ws = workspace()
    found = overview.compare([RunFolder.find(ws, name) for name in runs])

    def human() -> None:
        names = [row["run"] for row in found["runs"]]
        table(["metric", *names], [(m, *(number(v) for v in values)) for m, values in found["metrics"].items()])
        table(["setting", *names], [(k, *values) for k, values in found["differences"].items()])

    say(found, human)


@app.command()
def rm(run: Run, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Move a run that has ended to the workspace's trash."""
    from trugrade_core.workflows import training

    if not yes:
        typer.confirm(f"Move run '{run}' to the trash?", abort=True, err=True)
    where = training.remove(workspace(), run)
    say({"removed": run, "trash": str(where)}, lambda: line(f"It lies in {where}"))
