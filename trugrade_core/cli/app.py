"""The command table; one file beside this for each noun."""

from __future__ import annotations

import typer

from trugrade_core.cli import (
    annotate,
    catalog,
    check,
    create,
    data,
    derive,
    explore,
    grading,
    hard,
    lab,
    label,
    model,
    run,
    versions,
    weights,
)

app = typer.Typer(
    name="trugrade",
    help="TruGrade lab: from card scans to a judged, exported model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="-w FOLDER (the workspace; else $TRUGRADE_WORKSPACE, else ./workspace) and --json stand anywhere in the line.",
)
app.add_typer(data.app, name="data")
app.add_typer(label.app, name="label")
app.add_typer(run.app, name="run")
app.add_typer(weights.app, name="weights")
data.app.add_typer(versions.classes, name="classes")
app.add_typer(catalog.app, name="catalog")
for module in (create, annotate, check, derive, explore, versions, grading, hard):
    for command in module.COMMANDS:
        data.app.command()(command)
for module in (lab, model):
    for command in module.COMMANDS:
        app.command()(command)
