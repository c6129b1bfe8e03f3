"""What commands share: the global options, and two ways of speaking (for people on a terminal, `--json` for programs)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trugrade_core.errors import TruGradeError, UsageError
from trugrade_core.monitor.experiments import who as who
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace

if TYPE_CHECKING:
    from pydantic import ValidationError

as_json = False
"""Whether `--json` was given: one document on stdout, all else on stderr."""
_workspace: str | None = None
UNFOLDED = 1_000_000
"""Columns of characters that no table fills: rich makes a table as wide as its content needs."""


def take_globals(argv: Sequence[str]) -> list[str]:
    """Take `-w FOLDER`, `--workspace FOLDER` and `--json` out of the line, wherever they stand before a `--`."""
    global as_json, _workspace
    as_json, _workspace = False, None
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*rest, word, *words]
        if word == "--json":
            as_json = True
        elif word in ("-w", "--workspace"):
            try:
                _workspace = next(words)
            except StopIteration:
                raise UsageError(f"{word} needs a folder") from None
        elif word.startswith("--workspace="):
            _workspace = word.partition("=")[2]
        else:
            rest.append(word)
    return rest


def workspace() -> Workspace:
    return Workspace.open(_workspace)


def say(data: Any, human: Callable[[], None]) -> None:
    """The command's result: `data` as JSON, or `human` printing it."""
    if as_json:
        sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
    else:
        human()


def line(text: str) -> None:
    """A line for people, on stdout; with `--json`, on stderr."""
    print(text, file=sys.stderr if as_json else sys.stdout)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Rows for people. The first column is never folded; into a file or pipe none is, however wide the rows are."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = Console() if sys.stdout.isatty() else Console(width=UNFOLDED)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        drawn.add_column(Text(name), no_wrap=i == 0, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))  # text, never markup
    if title:
        out.print(Text(title, style="bold"))
    out.print(drawn)


def pairs(rows: Iterable[tuple[str, Any, str]]) -> None:
    """`key = value` with its reason below: for long keys and sentences, which no table holds."""
    from rich.console import Console
    from rich.text import Text

    out = Console()
    for key, value, why in rows:
        out.print(Text(key, style="bold").append(f" = {value}", style="default"), soft_wrap=True)
        if why:
            out.print(Text(f"    {why}", style="dim"), soft_wrap=True)


def fail(e: TruGradeError) -> None:
    from rich.console import Console
    from rich.text import Text

    out = Console(stderr=True)
    head = f"{e.where}: {e.message}" if e.where else e.message
    out.print(Text("Error: ", style="bold red").append(head, style="default"), soft_wrap=True)
    if e.what_to_do:
        out.print(Text(e.what_to_do), soft_wrap=True)


def follow_job(folder: RunFolder) -> dict[str, Any]:
    """Show a job's progress until it ends; its result. Raises its error when it failed.

    Ctrl-C leaves the job going and says how to come back to it.
    """
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from trugrade_core.jobs import follow

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("starting", total=None)
            said = ""
            for event in follow(folder):
                if event["kind"] == "progress":
                    bar.update(task, description=event["text"], completed=event["done"], total=event["total"])
                    if not bar.console.is_terminal and event["text"] != said:  # into a file: a line for each stage
                        said = event["text"]
                        bar.console.print(Text(f"{said} ({event['done']} of {event['total']})"))
                elif event["kind"] == "state" and event["state"] == "queued" and event.get("reason"):
                    bar.update(task, description=event["reason"])
                elif event["kind"] == "note":
                    bar.console.print(Text(event["text"]))
    except KeyboardInterrupt:
        line(f"Left running. Watch it: trugrade run watch {folder.id}   End it: trugrade run stop {folder.id}")
        raise typer.Exit(1) from None
    return outcome(folder)


def outcome(folder: RunFolder) -> dict[str, Any]:
    """The result of a job that has ended. Raises the error that ended it."""
    status = folder.status()
    if status.state in ("failed", "crashed"):
        last = folder.last("state")
        error = last.get("error") or {}
        raise TruGradeError(
            error.get("message") or status.reason,
            where=error.get("where") or folder.id,
            what_to_do=error.get("what_to_do") or status.what_to_do,
            code=error.get("code") or f"job.{status.failure or status.state}",
            **error.get("details", {}),
        )
    if status.state in ("stopped", "discarded"):
        raise TruGradeError(f"the job was {status.state}: {status.reason}", where=folder.id, code="job.stopped")
    return folder.results()


def not_understood(e: ValidationError) -> UsageError:
    """What is wrong with the options that a command was given."""
    problem = e.errors()[0]
    return UsageError(f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].lower()}",
                      what_to_do="Give another value; the command's --help says what each option takes.")  # fmt: skip


def number(value: Any, digits: int = 3) -> str:
    """Three significant digits at most, or 'not measured'."""
    return "not measured" if value is None else f"{value:.{digits}g}" if isinstance(value, float) else str(value)
