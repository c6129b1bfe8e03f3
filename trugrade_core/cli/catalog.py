"""trugrade catalog …"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from trugrade_core.cli import console
from trugrade_core.cli.console import line, say, table, workspace
from trugrade_core.errors import CatalogError, UsageError

app = typer.Typer(help="The DuckDB catalog of everything done here.", no_args_is_help=True)


@app.command()
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    format: Annotated[str, typer.Option(help="table, json or csv.")] = "table",
    limit: Annotated[int, typer.Option(help="Most rows shown.", min=1)] = 10_000,
    seconds: Annotated[float, typer.Option(help="Longest time a query may take.", min=0.1)] = 10,
) -> None:
    """Ask the catalog (read-only; brought up to date first)."""
    import csv
    import sys

    from trugrade_core.catalog.fold import publish
    from trugrade_core.catalog.query import run_sql

    if format not in ("table", "json", "csv"):
        raise UsageError(f"--format is table, json or csv, not '{format}'")
    ws = workspace()
    publish(ws, wait=True)
    found = run_sql(ws, sql, limit=limit, seconds=seconds)
    if format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        return
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    if format == "json":
        console.as_json = True
    say(rows, lambda: table(found.columns, found.rows))
    if found.truncated:
        line(f"Only the first {limit} rows are shown; --limit shows more.")


@app.command()
def sync() -> None:
    """Bring the catalog up to date with the files."""
    from trugrade_core.catalog.fold import publish

    ws = workspace()
    done = publish(ws)
    told = "up to date" if done else "another process is bringing it up to date"
    say({"catalog": str(ws.catalog), "published": done}, lambda: line(f"{ws.catalog}: {told}"))


@app.command()
def rebuild() -> None:
    """Make the catalog again from the files."""
    from trugrade_core.catalog.fold import rebuild as make_again

    ws = workspace()
    make_again(ws)
    say({"catalog": str(ws.catalog), "rebuilt": True}, lambda: line(f"{ws.catalog}: made again"))


@app.command()
def path() -> None:
    """Where the catalog lies, and the line an analyst types."""
    from trugrade_core.catalog.query import analyst_line

    ws = workspace()
    say({"catalog": str(ws.catalog), "line": analyst_line(ws)}, lambda: line(analyst_line(ws)))


@app.command()
def shell() -> None:
    """Open the catalog in DuckDB's own command line, read-only."""
    import shutil
    import sys

    from trugrade_core.catalog.fold import publish

    ws = workspace()
    publish(ws, wait=True)
    beside = Path(sys.executable).with_name("duckdb")
    program = str(beside) if beside.exists() else shutil.which("duckdb")
    if program is None:
        raise CatalogError("DuckDB's command line is not installed", what_to_do="pip install duckdb-cli")
    raise typer.Exit(subprocess.call([program, "-readonly", str(ws.catalog)]))


@app.command()
def export(
    sql: Annotated[str, typer.Argument(help="One SELECT.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A .csv or .parquet file.")],
) -> None:
    """Write a query's result to a CSV or Parquet file."""
    from trugrade_core.catalog.fold import publish
    from trugrade_core.catalog.query import export_sql

    ws = workspace()
    publish(ws, wait=True)
    count = export_sql(ws, sql, out)
    say({"rows": count, "file": str(out)}, lambda: line(f"{count} rows in {out}"))
