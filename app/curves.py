"""Curves of one run or of several: losses, metrics, learning rate, and what a validation drew."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import streamlit as st

from app import charts, look, state
from trugrade_core.monitor.reading import Curve
from trugrade_core.runs import RunFolder
from trugrade_core.workspace import Workspace

DASHES = ("solid", "dash", "dot", "dashdot")
NOT_CURVES = ("time/",)
WIDE = 20
"""From this ratio of its largest to its smallest value on, a metric with a unit is drawn on a log axis: on a linear one
its first, untrained values would press all the others flat."""
ALL = "all"
"""The name of the curve of all classes."""


def of_runs(folders: Sequence[RunFolder]) -> dict[str, dict[str, Curve]]:
    """{run id: {metric: columns}}."""
    return {folder.id: state.journal(folder).curves() for folder in folders}


def names(found: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """Every metric that a run has, without what is shown elsewhere."""
    every = {name for curves in found.values() for name in curves if not name.startswith(NOT_CURVES)}
    return sorted(every, key=lambda name: (name.rpartition("/")[2] != "loss", name))


def draw(
    ws: Workspace,
    found: Mapping[str, Mapping[str, Curve]],
    wanted: Sequence[str],
    title: str,
    *,
    key: str,
    corner: str,
    log: bool,
    reference: float | None = None,
) -> None:
    """One chart of the metrics `wanted`. A run keeps its colour; several metrics of one run differ by colour instead.

    `reference` is the constant box's value of the metric, drawn as a line to be better than. `log` asks for a log axis,
    which a wide metric with a unit has anyhow.
    """
    unit = look.metric_words(wanted[0])[1]
    log = log or (unit in ("mm", "px") and _is_wide(found, wanted))
    fig = charts.figure(title, x="step", y=f"{unit}, log" if log and unit else unit)
    several = len(found) > 1
    used: list[str] = []
    for run_id, curves in found.items():
        own = charts.run_color(ws, run_id)
        for n, name in enumerate(name for name in wanted if name in curves):
            words = look.metric_words(name)[0]
            place = charts.PALETTE.index(own) if own in charts.PALETTE else 0
            color = own if several or n == 0 else charts.PALETTE[(place + 3 * n) % len(charts.PALETTE)]
            charts.line(
                fig,
                curves[name]["step"],
                [None if v is None else v * look.factor(name) for v in curves[name]["value"]],
                name=f"{run_id[-4:]} {words}" if several else words,
                color=color,
                unit=unit,
                dash=DASHES[used.count(color) % len(DASHES)],
                marks=name.startswith("val/"),
            )
            used.append(color)
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(type="log" if log else "linear", nticks=6)
    if reference is not None:
        y = reference * look.factor(wanted[0])
        fig.add_hline(y=y, line_dash="dot", line_width=1.2, line_color=charts.ink())
        fig.add_annotation(
            x=1,
            xref="x domain",
            xanchor="right",
            y=math.log10(y) if log and y > 0 else y,  # a label of a log axis stands at the exponent
            yanchor="bottom",
            text=f"constant box {look.metric(wanted[0], reference)}",
            showarrow=False,
        )
    charts.show(fig, key=key, alt=f"{title} by step", corner=corner)


def _is_wide(found: Mapping[str, Mapping[str, Curve]], wanted: Sequence[str]) -> bool:
    values = [
        v
        for curves in found.values()
        for name in wanted
        if name in curves
        for v in curves[name]["value"]
        if v is not None
    ]
    return bool(values) and min(values) > 0 and max(values) > WIDE * min(values)


def rows(found: Mapping[str, Mapping[str, Curve]]) -> dict[str, list[Any]]:
    """All points of all curves as columns."""
    table: dict[str, list[Any]] = {"run": [], "metric": [], "step": [], "epoch": [], "value": []}
    for run_id, curves in found.items():
        for name, curve in curves.items():
            table["run"] += [run_id] * len(curve["step"])
            table["metric"] += [name] * len(curve["step"])
            table["step"] += curve["step"]
            table["epoch"] += curve["epoch"]
            table["value"] += curve["value"]
    return table


Opens = Callable[[str], NoReturn]
"""Shows the samples behind a point: `score:THRESHOLD[:CLASS]` or `TRUE>FOUND`."""


def precision_recall(
    curves: Mapping[str, Any], *, key: str, lowest: float | None = None, opens: Opens | None = None
) -> None:
    """Precision by recall of a validation or an evaluation. Points from the score `lowest` on open their samples."""
    fig = charts.figure("Precision and recall", x="recall", y="precision")
    for n, (name, curve) in enumerate(_by_class(curves["precision_recall"]).items()):
        charts.line(
            fig,
            curve["recall"],
            curve["precision"],
            name=name,
            color=charts.PALETTE[n % len(charts.PALETTE)],
            opens=_scores(curve["threshold"], lowest, "" if name == ALL else f":{name}") if opens else None,
        )
    fig.update_layout(hovermode="closest")
    fig.update_xaxes(range=[0, 1.02])
    fig.update_yaxes(range=[0, 1.04])
    charts.show(fig, key=f"{key}-pr", alt="precision by recall", opens=opens)


def f1(curves: Mapping[str, Any], *, key: str, threshold: float | None = None, opens: Opens | None = None) -> None:
    """F1, precision and recall by score; `threshold` is the model's own, from which on points open their samples."""
    fig = charts.figure("F1 by score threshold", x="score threshold", y="")
    found = curves["f1_by_threshold"]
    for n, name in enumerate(("f1", "precision", "recall")):
        charts.line(
            fig,
            found["threshold"],
            found[name],
            name=look.metric_words(name)[0],
            color=charts.PALETTE[n],
            opens=_scores(found["threshold"], threshold, "") if opens else None,
        )
    if threshold is not None:
        fig.add_vline(x=threshold, line_width=1, line_dash="dot", line_color=charts.ink())
    fig.update_yaxes(range=[0, 1.04])
    charts.show(fig, key=f"{key}-f1", alt="F1, precision and recall by score threshold", opens=opens)


def _scores(thresholds: Sequence[float], lowest: float | None, behind: str) -> list[str | None]:
    """What each point opens; an evaluation knows nothing of answers below the model's threshold."""
    return [f"score:{t}{behind}" if lowest is None or t >= lowest else None for t in thresholds]


def _by_class(found: Mapping[str, Any]) -> dict[str, Any]:
    return {ALL: found} if "recall" in found else dict(found)


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], *, key: str, opens: Opens | None = None) -> None:
    """Rows are the true class, columns the found one; the last is background."""
    # The stored table has background first (id 0); people look for it last.
    order = [*range(1, len(classes) + 1), 0]
    words = [*classes, "background"]
    table = [[counts[row][column] for column in order] for row in order]
    fig = charts.figure("Confusion", x="found", y="true")
    fig.add_heatmap(
        z=table,
        x=words,
        y=words,
        colorscale=[[0, "rgba(37,150,170,0.05)"], [1, "rgba(37,150,170,0.85)"]],
        showscale=False,
        text=table,
        customdata=[
            [f"{true}>{found}" if n else None for found, n in zip(words, row, strict=True)]
            for true, row in zip(words, table, strict=True)
        ],
        texttemplate="%{text}",
        textfont={"color": charts.ink()},
        hovertemplate="true %{y}, found %{x}: %{z}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    fig.update_layout(hovermode="closest", showlegend=False)
    fig.update_yaxes(autorange="reversed")
    charts.show(fig, key=key, alt="confusion of true and found classes", opens=opens)


RESOURCES: tuple[tuple[str, str, float, dict[str, str]], ...] = (
    ("Processor", "% of one core", 1.0, {"cpu_run_percent": "this run"}),
    ("Memory", "GB", 1e9, {"memory_run_bytes": "this run", "memory_machine_used_bytes": "whole machine"}),
    ("Disk, this run", "MB/s", 1e6, {"disk_run_read_bytes_per_s": "read", "disk_run_write_bytes_per_s": "written"}),
    (
        "Network, whole machine",
        "MB/s",
        1e6,
        {"network_machine_received_bytes_per_s": "received", "network_machine_sent_bytes_per_s": "sent"},
    ),
    ("GPU", "%", 1.0, {"gpu_percent": "mean of all"}),
    ("GPU memory", "GB", 1e9, {"gpu_memory_run_bytes": "this run", "gpu_memory_used_bytes": "all programs"}),
)
"""(title, unit, divided by, {name in a `resources` event: words})."""


def resources(folder: RunFolder, *, corner: str, no_gpu: str) -> None:
    """What the run used of the machine, each second."""
    points = state.journal(folder).resources
    if not points:
        look.empty(
            "Nothing measured yet",
            "Processor, memory, disk, network and GPU are measured each second while a run goes.",
            icon="memory",
        )
        return
    begin = points[0]["t"]
    minutes = [(point["t"] - begin) / 60 for point in points]
    missing = []
    cells = st.columns(2)
    drawn = 0
    for title, unit, by, wanted in RESOURCES:
        if all(point.get(name) is None for point in points for name in wanted):
            missing.append(title)
            continue
        with cells[drawn % 2]:
            drawn += 1
            fig = charts.figure(title, x="minutes since the start", y=unit, height=220)
            for n, (name, words) in enumerate(wanted.items()):
                values = [None if point.get(name) is None else point[name] / by for point in points]
                charts.line(fig, minutes, values, name=words, color=charts.PALETTE[n], unit=unit)
            fig.update_yaxes(rangemode="tozero")
            charts.show(fig, key=f"resource-{next(iter(wanted))}", alt=f"{title} over time", corner=corner)
    if missing:
        st.caption(f"{' and '.join(missing)}: not measured ({no_gpu or 'this machine does not say'}).")
