"""Catalog: what was done, ever?"""

from __future__ import annotations

import tempfile
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import look, state
from trugrade_core.catalog import query
from trugrade_core.catalog.fold import publish
from trugrade_core.workspace import Workspace

SHOWN = 500
LIMIT = 10_000
SECONDS = 10.0
OLD_S = 10.0
LINKS = {"run_id": ("monitor", "run"), "dataset": ("datasets", "dataset")}


def main() -> None:
    ws = state.workspace()
    with look.head("Catalog", note="every run, sample and figure, in one DuckDB file"):
        pass
    with look.errors("bringing the catalog up to date"):
        age = query.age_seconds(ws)
        if age is None or age > OLD_S:
            publish(ws)
        _for_analysts(ws)
        left, right = st.columns([1, 2], gap="medium")
        with left:
            _tables(ws)
        with right:
            _sql(ws)


def _for_analysts(ws: Workspace) -> None:
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.code(query.analyst_line(ws), language="bash")
    with right.popover("In a notebook", icon=":material/code:", width="stretch"):
        st.code(query.notebook_lines(ws), language="python")
    st.caption(
        f"Opens at any moment, also while a training runs. Rows are {look.ago_seconds(query.age_seconds(ws))} old; times are UTC."
    )


def _tables(ws: Workspace) -> None:
    st.subheader("Tables")
    stamp = state.stamp(ws.catalog)
    tables = state.cached(("dictionary", str(ws.catalog)), stamp, lambda: query.dictionary(ws))
    words = st.text_input(
        "Find",
        placeholder="a table or column",
        label_visibility="collapsed",
        key="catalog-find",
        icon=":material/search:",
    )
    for table in sorted(tables, key=lambda t: (t["table"].startswith("catalog_"), t["table"])):
        names = " ".join([table["table"], table["comment"] or "", *(c["name"] for c in table["columns"])])
        if words.lower() not in names.lower():
            continue
        rows = "view" if table["rows"] is None else look.count(table["rows"], "row")
        with st.expander(f"**{table['table']}** :gray[:small[{rows}]]"):
            st.caption(table["comment"] or "")
            st.button("Show its rows", key=f"show-{table['table']}", type="tertiary", icon=":material/table_rows:",
                      on_click=_put, args=(f"SELECT * FROM {table['table']}",))  # noqa: S608 # fmt: skip
            look.table(
                ["column", "type", ""],
                [
                    [
                        f'<span class="tg-mono">{escape(c["name"])}</span>',
                        f'<span class="tg-soft tg-small">{escape(c["type"])}</span>',
                        escape(c["comment"] or ""),
                    ]
                    for c in table["columns"]
                ],
                key=f"columns-{table['table']}",
            )


def _put(sql: str) -> None:
    st.session_state["catalog-sql"] = sql
    st.session_state["catalog-run"] = True


def _sql(ws: Workspace) -> None:
    st.subheader("Ask")
    titles = [title for title, _ in query.EXAMPLES]
    chosen = st.selectbox(
        "Examples",
        titles,
        index=None,
        placeholder="start from an example",
        label_visibility="collapsed",
        key="catalog-example",
    )
    if chosen and chosen != st.session_state.get("catalog-taken"):
        _put(dict(query.EXAMPLES)[chosen])
    st.session_state["catalog-taken"] = chosen
    if "catalog-sql" not in st.session_state:
        st.session_state["catalog-sql"] = st.query_params.get("sql") or query.EXAMPLES[0][1]
        st.session_state["catalog-run"] = True
    with st.container(key="sql-yaml-box"):
        sql = st.text_area("SQL", key="catalog-sql", height=150, label_visibility="collapsed")
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter"):
            st.session_state["catalog-run"] = True
        st.caption(f"One SELECT; at most {LIMIT:,} rows, {SECONDS:g} s and 512 MB. It only reads.")
    if st.session_state.get("catalog-run"):
        state.keep(sql=sql)
        with look.errors("asking the catalog"):
            _result(ws, sql)


def _result(ws: Workspace, sql: str) -> None:
    found = query.run_sql(ws, sql, limit=LIMIT, seconds=SECONDS)
    rows = found.rows[:SHOWN]
    frame = {name: [row[n] for row in rows] for n, name in enumerate(_unique(found.columns))}
    links: dict[str, Any] = {}
    for column, (page, name) in LINKS.items():
        if column in frame:
            frame[column] = [None if v is None else f"/{page}?{name}={v}" for v in frame[column]]
            links[column] = st.column_config.LinkColumn(column, display_text=rf"{name}=(.*)$")
    more = f", more than {LIMIT:,} in all" if found.truncated else ""
    shown = f"the first {SHOWN:,} of " if len(found.rows) > SHOWN else ""
    st.caption(f"{shown}{look.count(len(found.rows), 'row')}{more}")
    st.dataframe(frame, column_config=links, hide_index=True, height=min(520, 38 + 35 * max(1, len(rows))))
    with st.container(horizontal=True):
        for ending, mime in ((".csv", "text/csv"), (".parquet", "application/vnd.apache.parquet")):
            st.download_button(
                ending.lstrip(".").upper() if ending == ".csv" else "Parquet",
                data=partial(_file, ws, sql, ending), file_name=f"query{ending}", mime=mime, type="tertiary",
                icon=":material/download:", key=f"catalog{ending}", on_click="ignore",
            )  # fmt: skip


def _unique(columns: list[str]) -> list[str]:
    """A query may give two columns one name; a table here may not."""
    return [name if name not in columns[:n] else f"{name} ({n + 1})" for n, name in enumerate(columns)]


def _file(ws: Workspace, sql: str, ending: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"query{ending}"
        query.export_sql(ws, sql, path)
        return path.read_bytes()


main()
