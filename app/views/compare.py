"""Compare: which is better, and why?"""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import charts, curves, judged, look, state
from trugrade_core.evaluate.compare import compare
from trugrade_core.runs import RunFolder
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import overview
from trugrade_core.workspace import Workspace

MOST = 8
SPLIT = "test"
PROPOSED = ("train/loss", "val/loss", "lr")


def main() -> None:
    ws = state.workspace()
    folders = [folder for folder in state.runs(ws)[: state.LISTED] if (folder.path / "config.yaml").exists()]
    with look.head("Compare"):
        pass
    if len(folders) < 2:
        look.empty(
            "Nothing to compare yet",
            "Two trainings or more are laid side by side here.",
            icon="compare_arrows",
            action=look.TRAIN,
        )
        return
    chosen = _choose(folders)
    if len(chosen) < 2:
        st.caption("Choose two runs or more.")
        return
    with look.errors("comparing"):
        found = overview.compare(chosen)
        datasets = {row["dataset"] for row in found["runs"]}
        if len(datasets) > 1:
            st.warning(
                f"These runs stand on {len(datasets)} dataset versions ({', '.join(sorted(map(str, datasets)))}): their figures are not of the same cards.",
                icon=":material/warning:",
            )
        with look.errors("comparing on held-out cards"):  # those judged on other cards still have curves to compare
            _held_out(ws, chosen)
        _metrics(ws, found)
        _curves(ws, chosen)
        _differences(ws, found)


def _choose(folders: list[RunFolder]) -> list[RunFolder]:
    by_id = {folder.id: folder for folder in folders}
    asked = [run for run in state.param("runs").split(",") if run in by_id]

    def words(run: str) -> str:
        return f"{run[-4:]} · {state.job(by_id[run]).get('title', run)} · {state.status(by_id[run]).state}"

    chosen = st.multiselect(
        "Runs",
        list(by_id),
        default=asked[:MOST] or _newest_finished(folders),
        format_func=words,
        max_selections=MOST,
        key="compare-runs",
    )
    state.keep(runs=",".join(chosen))
    return [by_id[run] for run in chosen]


def _newest_finished(folders: list[RunFolder]) -> list[str]:
    finished = [folder.id for folder in folders if state.status(folder).state == "finished"][:2]
    return finished if len(finished) == 2 else [folder.id for folder in folders[:2]]


def _head(ws: Workspace, row: dict[str, Any]) -> str:
    dot = f'<span class="tg-dot" style="background:{charts.run_color(ws, row["run"])}"></span>'
    return dot + look.link("monitor", escape(row["run"][-4:]), run=row["run"], title=row["run"])


def _held_out(ws: Workspace, chosen: list[RunFolder]) -> None:
    """The first run against each other one, on the same held-out cards, with the interval of the difference."""
    st.subheader("On held-out cards")
    missing = [folder for folder in chosen if SPLIT not in judged.splits(folder)]
    if missing:
        links = ", ".join(look.link("evaluate", folder.id[-4:], run=folder.id, split=SPLIT) for folder in missing)
        look.linked(f'<span class="tg-soft">Not evaluated on {SPLIT} yet: {links}.</span>', key="compare-missing")
        return
    first, *others = chosen
    table = [["", _head(ws, state.run_row(first))]]
    for folder in others:
        table[0] += [_head(ws, state.run_row(folder)), '<span class="tg-soft">difference</span>']
    pairs = [compare(first.path / "evaluation" / SPLIT, folder.path / "evaluation" / SPLIT) for folder in others]
    for name, cell in pairs[0]["metrics"].items():
        row = [escape(look.metric_label(name)), look.metric(name, cell["a"])]
        for pair in pairs:
            cell = pair["metrics"][name]
            row += [look.metric(name, cell["b"]), _difference(name, cell["difference"])]
        table.append(row)
    look.table([""] * len(table[0]), table, key="compare-held-out")
    st.caption(
        f"{pairs[0]['dataset']}, {SPLIT}: {look.count(pairs[0]['n_cards'], 'card')}. "
        "A difference is the first run minus the other, both on the same draws of cards."
    )


def _difference(name: str, found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "not measured"
    words = {"a": "the first is better", "b": "this one is better", "neither": "no difference shown"}[found["better"]]
    span = look.metric_interval(name, found)
    said = f"({span}) {words}" if span else words
    return f'{look.metric(name, found["value"])} <span class="tg-soft">{said}</span>'


def _metrics(ws: Workspace, found: dict[str, Any]) -> None:
    st.subheader("Best epoch, on validation")
    rows = found["runs"]
    task = TASKS.get(rows[0]["task"] or "")
    main = task.main_metric if task else ""
    table = [["", *(_head(ws, row) for row in rows)], ["state", *(look.badge(row["state"]) for row in rows)]]
    table.append(["architecture", *(escape(row["architecture"] or "") for row in rows)])
    table.append(["epoch", *("not known" if row["epoch"] is None else str(row["epoch"]) for row in rows)])
    for name in sorted(found["metrics"], key=lambda name: (name != main, name)):
        values = found["metrics"][name]
        words = look.metric_label(name)
        best = _best(name, values)
        cells = [
            f"<b>{look.metric(name, v)}</b> {look.icon('check')}" if v == best else look.metric(name, v) for v in values
        ]
        label = f"<b>{escape(words)}</b>" if name == main else escape(words)
        table.append([label, *cells])
    look.table([""] * (len(rows) + 1), table, key="compare-metrics")
    st.caption("The mark is the better figure of this row; how sure that is, evaluations on held-out cards say.")


def _best(name: str, values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    if len(set(known)) < 2:
        return None
    return min(known) if "error" in name or "loss" in name else max(known)


def _curves(ws: Workspace, chosen: list[RunFolder]) -> None:
    st.subheader("Curves")
    found = curves.of_runs(chosen)
    names = curves.names(found)
    if not names:
        st.caption("None of these runs has a point yet.")
        return
    main = {f"val/{state.run_row(folder)['main_metric_name']}" for folder in chosen}
    proposed = [name for name in (*PROPOSED[:2], *sorted(main), PROPOSED[2]) if name in names]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.multiselect(
            "Metrics",
            names,
            default=proposed,
            format_func=look.metric_label,
            key="compare-metrics-chosen",
        )
        log = st.toggle("Log axis", key="compare-log")
        charts.download(curves.rows(found), name="compare-curves", label="All points as CSV")
    cells = st.columns(2, gap="medium")
    for n, name in enumerate(wanted):
        with cells[n % 2]:
            curves.draw(ws, found, [name], look.chart_title(name), key=f"compare-{name}", corner="", log=log)


def _differences(ws: Workspace, found: dict[str, Any]) -> None:
    st.subheader("What differs in the configuration")
    if not found["differences"]:
        st.caption("Nothing: these runs were given the same values.")
        return
    table = [["", *(_head(ws, row) for row in found["runs"])]]
    for key, values in found["differences"].items():
        table.append([look.dotted(key), *(escape(str(v)) for v in values)])
    look.table([""] * len(table[0]), table, key="compare-differences")


main()
