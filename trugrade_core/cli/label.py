"""trugrade label …"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from trugrade_core.cli.console import follow_job, line, say, table, who, workspace
from trugrade_core.cli.data import WholeName
from trugrade_core.cli.explore import Saved, Where, opened
from trugrade_core.errors import UsageError

app = typer.Typer(help="Label Studio, for teams: connect, push, diff, pull, keep in step.", no_args_is_help=True)

Task = Annotated[str, typer.Option("--task", help="What is annotated; the dataset's own when left out.")]
Samples = Annotated[list[str] | None, typer.Option("--sample", help="These alone. May be repeated.")]
FIRST_START_S = 300.0


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="On loopback.", min=1024, max=65535)] = 8080,
    stop: Annotated[bool, typer.Option("--stop", help="End it instead.")] = False,
) -> None:
    """Start a Label Studio of this workspace, for a team that has none, and connect to it."""
    from trugrade_core.annotate.label_studio import serve as serving

    ws = workspace()
    if stop:
        ended = serving.stop(ws)
        say({"stopped": ended}, lambda: line("Stopped." if ended else "It was not running."))
        return
    serving.serve(ws, port=port)
    line("Starting; the first time takes a minute or two.")
    found = serving.wait_until_up(ws, FIRST_START_S)
    say(
        vars(found),
        lambda: line(
            f"Up at {found.url}\nUser {found.user}, password {found.password}\nIt goes on; end it: trugrade label serve --stop"
        ),
    )


@app.command()
def connect(
    url: Annotated[str, typer.Argument(help="Such as http://127.0.0.1:8080")],
    token: Annotated[
        str, typer.Option(help="From Account & Settings; else $LABEL_STUDIO_API_KEY, else asked for.")
    ] = "",
    document_root: Annotated[
        str,
        typer.Option(
            help="The server's folder of local files, where it can read this workspace; else pictures are uploaded."
        ),
    ] = "",
) -> None:
    """Connect to the team's server. The token is kept in WORKSPACE/secrets.toml, readable by you alone."""
    import os

    from trugrade_core.workflows import labelling

    token = token or os.environ.get("LABEL_STUDIO_API_KEY", "") or typer.prompt("Token", hide_input=True, err=True)
    found = labelling.connect(workspace(), url, token, document_root=document_root)
    say(
        found,
        lambda: line(
            f"Connected to {found['url']} as {found['user']} (Label Studio {found['server']}, SDK {found['sdk']})"
        ),
    )


@app.command()
def push(
    name: WholeName,
    task: Task = "",
    sample: Samples = None,
    where: Where = "",
    filter: Saved = "",
    run: Annotated[str, typer.Option(help="Send what this run or artifact says as suggestions.")] = "",
    new_project: Annotated[
        bool, typer.Option("--new-project", help="Start another project, such as when it was deleted.")
    ] = False,
    restore_template: Annotated[
        bool, typer.Option("--restore-template", help="Put the lab's template back first.")
    ] = False,
) -> None:
    """Send samples with what is known of them as predictions. What was sent is read-only in the lab until it is pulled."""
    from trugrade_core.workflows import labelling

    if where or filter:
        if sample:
            raise UsageError("--sample and a filter are both given", what_to_do="Give one of them.")
        found_by, f, order = opened(name, where, filter)
        sample = found_by.ids(f, order)
        if not sample:
            raise UsageError(f"no sample of '{name}' fits {where or filter!r}", what_to_do=f"Look first: trugrade data find {name} --where …")  # fmt: skip
    words = {"task": task, "ids": sample, "run": run, "new_project": new_project, "restore_template": restore_template}
    found = follow_job(labelling.start_job(workspace(), "push", name, who=who(), **words))

    def human() -> None:
        line(
            f"{found['created']} new tasks, {found['updated']} sent anew, {found['unchanged']} there already, {found['removed']} removed."
        )
        _rows("not sent", found["skipped"], ("sample", "reason"))
        _notes(found)
        line(f"Open it: {found['url']}")

    say(found, human)


@app.command()
def diff(name: WholeName) -> None:
    """What a pull would change; changes nothing."""
    from trugrade_core.workflows import labelling

    found = labelling.diff(workspace(), name)
    say(found, lambda: _show_diff(found))


@app.command()
def pull(name: WholeName) -> None:
    """Take in what was done at Label Studio since the last pull."""
    from trugrade_core.workflows import labelling

    found = follow_job(labelling.start_job(workspace(), "pull", name, who=who()))
    say(found, lambda: _show_diff(found))


@app.command()
def sync(name: WholeName, task: Task = "") -> None:
    """Pull, then push what is new."""
    from trugrade_core.workflows import labelling

    found = follow_job(labelling.start_job(workspace(), "sync", name, who=who(), task=task))

    def human() -> None:
        if found["pulled"]:
            _show_diff(found["pulled"])
        line(f"{found['pushed']['created']} new tasks.")

    say(found, human)


@app.command()
def release(name: WholeName, sample: Samples = None) -> None:
    """Let samples that were pushed be drawn on in the lab again."""
    from trugrade_core.workflows import labelling

    found = labelling.release(workspace(), name, sample)
    say(found, lambda: line(f"{found['released']} samples can be drawn on here again."))


@app.command()
def status(name: Annotated[str, typer.Argument(help="Dataset, NAME; the server alone when left out.")] = "") -> None:
    """Whether the server is off, starting or up; of a dataset, what is there and who did what."""
    from trugrade_core.workflows import labelling

    found = labelling.status(workspace(), name)

    def human() -> None:
        versions = found.get("versions", {})
        said = f", Label Studio {versions['server']}, SDK {versions['sdk']}, as {versions['user']}" if versions else ""
        line(f"{found['url'] or 'not connected'}: {found['server']}{said} {found['reason']}")
        if own := found.get("dataset"):
            line(
                f"{own['dataset']}: {own['pushed']} pushed, {own['pulled']} pulled, {own['released']} released  {own['url'] or ''}"
            )
            table(
                ["person", "tasks", "minutes"],
                [(p, int(r["tasks"]), f"{r['minutes']:.1f}") for p, r in own["people"].items()],
            )

    say(found, human)


@app.command()
def people(
    map: Annotated[list[str] | None, typer.Option(help="theirs=ours: the lab's name of a Label Studio user.")] = None,
) -> None:
    """Which name in the lab a Label Studio user has."""
    from trugrade_core.workflows import labelling

    ws = workspace()
    for pair in map or []:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs or not ours:
            raise UsageError(f"--map {pair} is not theirs=ours", what_to_do="Such as: --map ana@example.com=ana")
        labelling.name_person(ws, theirs, ours)
    found = labelling.people(ws)
    say(found, lambda: table(["Label Studio", "lab"], found.items()))


def _show_diff(found: dict[str, Any]) -> None:
    line(
        ", ".join(f"{len(found[k])} {k}" for k in ("added", "changed", "removed", "skipped", "conflicts"))
        + f" in {found['samples']} samples"
    )
    _rows("added", found["added"], ("sample", "label", "after", "who"))
    _rows("changed", found["changed"], ("sample", "label", "before", "after", "who"))
    _rows("removed", found["removed"], ("sample", "label", "before", "who"))
    _rows("skipped", found["skipped"], ("sample", "reason", "who"))
    _rows("in conflict", found["conflicts"], ("sample", "label", "why", "who"))
    _rows("not understood, left at Label Studio", found["problems"], ("sample", "why", "who"))
    _notes(found)


def _rows(title: str, rows: list[dict[str, Any]], keys: tuple[str, ...]) -> None:
    if rows:
        table(keys, [[row.get(key) for key in keys] for row in rows[:50]], title=title)
        if len(rows) > 50:
            line(f"… and {len(rows) - 50} more; --json lists all.")


def _notes(found: dict[str, Any]) -> None:
    for note in found["notes"][:20]:
        line(f"Note: {note}")
