"""trugrade data new, guidelines, watch: a dataset from the question it is to answer."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, say, table, who, workspace
from trugrade_core.cli.data import WholeName
from trugrade_core.errors import UsageError


def new(
    name: Annotated[str, typer.Argument(help="Name of the new dataset.")],
    task: Annotated[str, typer.Option(help="What is to be learnt; see: trugrade tasks")],
    architecture: Annotated[str, typer.Option(help="What a training proposes first.")] = "",
    guidelines: Annotated[Path | None, typer.Option(help="Markdown for annotators, instead of the task's own.")] = None,
) -> None:
    """Start a dataset from the question: the task gives its classes, what annotators are told and what to capture."""
    from trugrade_core.models import why_untrainable
    from trugrade_core.tasks import get_task
    from trugrade_core.workflows import creating

    text = None if guidelines is None else _read(guidelines)
    found = creating.create_dataset(workspace(), name, task, architecture=architecture, guidelines=text, who=who())
    capture = get_task(task).capture

    def human() -> None:
        classes = ", ".join(c["name"] for c in found["classes"]) or "none: whole samples are judged"
        line(f"'{name}' is for {task}; classes: {classes}")
        line(f"Capture: {capture.dpi} dpi or more, so that {capture.finest_mm:g} mm shows; {capture.light}.")
        line(f"How many: {capture.images}.")
        line(
            f"Next: trugrade data import FOLDER --dataset {quote(name)}   or: trugrade data watch FOLDER --dataset {quote(name)}"
        )
        if get_task(task).region is not None:
            line(
                f"Or cut them out of the scans of another dataset: trugrade data derive SCANS --task {task} --to {quote(name)}"
            )
        if why := why_untrainable(get_task(task)):
            line(f"Note: {why}.")

    say(found, human)


def guidelines(
    name: WholeName,
    file: Annotated[Path | None, typer.Option("--set", help="Markdown file with the new words.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Keep an example picture; prints its Markdown.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every wording so far.")] = False,
) -> None:
    """What annotators are told of a dataset: show it, set it, add an example picture."""
    from trugrade_core.workflows import creating

    ws = workspace()
    if picture is not None:
        markdown = creating.add_picture(ws, _bytes(picture), name=picture.name)
        say({"markdown": markdown}, lambda: line(markdown))
        return
    if history:
        rows = creating.guideline_history(ws, name)
        say(rows, lambda: table(["when", "who", "words"], [(r["when"], r["who"], r["text"][:200]) for r in rows]))
        return
    if file is not None:
        creating.set_guidelines(ws, name, _read(file), who=who())
    found = creating.describe(ws, name)
    say(found, lambda: line(found["guidelines"] or "Nothing is written yet: --set FILE"))


def watch(
    folder: Annotated[Path, typer.Argument(help="Where the scanner writes.")],
    dataset: Annotated[str, typer.Option(help="Name of the dataset to add to; made when it is not there.")],
    card_pattern: Annotated[
        str | None, typer.Option(help="Regular expression on file names with a group 'card'.")
    ] = None,
    dpi: Annotated[float | None, typer.Option(help="Scan resolution where the files do not say it.", min=1)] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the watch goes on.")] = False,
) -> None:
    """Import what comes into a folder, as soon as each file is whole, until the watch is stopped."""
    from trugrade_core.data.importing import ImportOptions
    from trugrade_core.workflows import watching

    options = ImportOptions(card_pattern=card_pattern, dpi=dpi, who=who())
    job = watching.start_watch(workspace(), folder.absolute(), dataset, options, who=who())
    if detach:
        say(
            {"job": job.id},
            lambda: line(f"Watching. Look: trugrade run watch {job.id}   End: trugrade run stop {job.id}"),
        )
        return
    found: dict[str, Any] = follow_job(job)
    say(found, lambda: line("The watch ended."))


def _read(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as e:
        raise UsageError("is no UTF-8 text", where=str(path), what_to_do="Save it as UTF-8.") from e


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise UsageError(f"cannot be read ({e.strerror})", where=str(path), what_to_do="Check the path.") from e


COMMANDS = (new, guidelines, watch)
