"""The schema is one piece of data: tables, comments, dictionary and SQL all come from it."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from tests.catalog.workspaces import fill
from trugrade_core.catalog import schema
from trugrade_core.catalog.fold import publish
from trugrade_core.catalog.query import connect, dictionary
from trugrade_core.monitor.resources import FLAT
from trugrade_core.workspace import Workspace

GOLDEN = Path(__file__).with_name("schema.golden.sql")
NAMES = [
    "experiments",
    "runs",
    "run_params",
    "metrics",
    "eval_metrics",
    "resources",
    "checkpoints",
    "exports",
    "parity",
    "datasets",
    "dataset_versions",
    "samples",
    "annotations",
    "predictions",
    "lineage",
    "best_runs",
]


def test_schema_is_the_golden_one() -> None:
    """Analysts' queries rest on it. A change on purpose: run this with UPDATE_GOLDEN=1, and say so in the changelog."""
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(schema.as_text())
    assert schema.as_text() == GOLDEN.read_text()


def test_every_name_that_was_promised_is_there() -> None:
    assert set(NAMES) <= {table.name for table in (*schema.TABLES, *schema.VIEWS)}


def test_the_file_says_what_the_schema_says(ws: Workspace) -> None:
    publish(ws)
    found = {row["table"]: row for row in dictionary(ws)}
    expected = {table.name: table for table in (*schema.TABLES, *schema.VIEWS)}
    assert set(found) == set(expected)
    for name, table in expected.items():
        assert found[name]["comment"] == table.comment
        assert found[name]["kind"] == ("table" if isinstance(table, schema.Table) else "view")
        assert [(c["name"], c["type"], c["comment"]) for c in found[name]["columns"]] == [
            (c.name, c.type, c.comment) for c in table.columns
        ]


def test_columns_have_their_unit_in_name_or_comment() -> None:
    for table in (*schema.TABLES, *schema.VIEWS):
        for column in table.columns:
            assert column.comment and column.name not in ("at", "values")
            if column.type == "TIMESTAMP":
                assert "UTC" in column.comment, (table.name, column.name)
            if column.name.endswith("_px"):
                assert "pixel" in column.comment
            if column.name.endswith("_bytes") and column.name not in ("image_bytes", "folded_bytes"):
                assert "bytes" in column.comment


def test_resource_columns_are_what_the_monitor_writes() -> None:
    names = [column.name for column in schema.TABLE["resources"].columns]
    assert tuple(names[3:]) == FLAT


def test_views_have_rows_where_there_is_something(ws: Workspace) -> None:
    fill(ws)
    publish(ws)
    with closing(connect(ws)) as con:
        for view in schema.VIEWS:
            assert con.execute(f"SELECT count(*) FROM {view.name}").fetchone() != (0,), view.name
