"""The one family of charts: a Plotly theme that follows light and dark, a colour for each run, and how a chart is shown."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import plotly
import plotly.graph_objects as go
import streamlit as st

from app import look, state
from trugrade_core.runs import Status
from trugrade_core.workspace import Workspace

PALETTE = (
    "#3b7fd4",
    "#d9762b",
    "#2a9b72",
    "#b4549f",
    "#7a8b2a",
    "#cc4b52",
    "#2596aa",
    "#9a6b4f",
    "#6a6ccf",
    "#a98b00",
)
"""Neighbours differ in hue and lightness, and each has 3:1 against both backgrounds."""
MOST_POINTS = 2000
LIBRARY = f"/lab/plotly.js?v={plotly.__version__}"
_CHART = Path(__file__).with_name("chart.js").read_text()
_CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2},
    "doubleClick": "reset",
}


def run_color(ws: Workspace, run_id: str) -> str:
    """The run's colour on every page: runs that began one after the other differ."""
    ids = [folder.id for folder in reversed(state.runs(ws))]
    return PALETTE[ids.index(run_id) % len(PALETTE)] if run_id in ids else "#7f8c96"


def ink() -> str:
    """The colour of text in a chart, by the browser's theme."""
    return "#e3e8eb" if st.context.theme.type == "dark" else "#1c262e"


def figure(title: str, *, x: str, y: str, height: int = 280) -> go.Figure:
    """An empty chart of the family; `x` and `y` name the axes with their units."""
    dark = st.context.theme.type == "dark"
    soft, grid = ("#9aa6af", "rgba(154,166,175,0.16)") if dark else ("#5a6772", "rgba(90,103,114,0.14)")
    axis = {
        "gridcolor": grid,
        "zeroline": False,
        "linecolor": grid,
        "ticks": "",
        "automargin": True,
        "exponentformat": "e",
        "title_font_size": 12,
        "title_standoff": 6,
    }
    fig = go.Figure()
    fig.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 34, "b": 8},
        title={
            "text": f"<b>{title}</b>",
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 4, "l": 4},
            "font": {"size": 14, "color": ink()},
        },
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "Source Sans, sans-serif", "size": 12, "color": soft},
        xaxis={**axis, "title_text": x},
        yaxis={**axis, "title_text": y},
        hovermode="x unified",
        hoverlabel={"bgcolor": "#1e252a" if dark else "#ffffff", "bordercolor": grid, "font_size": 12},
        legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        colorway=PALETTE,
        uirevision="keep",  # zoom survives a refresh
    )
    return fig


def line(
    fig: go.Figure,
    x: Sequence[float],
    y: Sequence[float | None],
    *,
    name: str,
    color: str,
    unit: str = "",
    dash: str = "solid",
    marks: bool = False,
    opens: Sequence[str | None] | None = None,
) -> None:
    """Add a curve; more than 2,000 points are thinned evenly and its name says so. `opens`: see `show`, one a point."""
    every = -(-len(x) // MOST_POINTS)
    if every > 1:
        # Counted from the end, so that the newest point is always there.
        x, y, name = x[::-1][::every][::-1], y[::-1][::every][::-1], f"{name} (1 of {every} points)"
        opens = opens[::-1][::every][::-1] if opens else None
    fig.add_scatter(
        x=x,
        y=y,
        customdata=opens,
        name=name,
        mode="lines+markers" if marks or len(x) == 1 else "lines",
        line={"color": color, "width": 1.6, "dash": dash},
        marker={"size": 5},
        hovertemplate=f"%{{y:.3g}} {unit}".rstrip(),
    )


def show(
    fig: go.Figure, *, key: str, alt: str, corner: str = "", opens: Callable[[str], NoReturn] | None = None
) -> None:
    """Draw a chart. `corner` stands beside its title: live, or stale since.

    `opens` is called with the `customdata` of a bar or point that was clicked; those without it do nothing.
    """
    if fig.layout.showlegend is None:
        fig.update_layout(showlegend=len(fig.data) > 1)
    if corner:
        fig.update_layout(title_text=f"{fig.layout.title.text}  <span style='font-size:11px'>{corner}</span>")
    # st.plotly_chart makes a new chart whenever a point is new: it would flicker and lose its zoom.
    component = st.components.v2.component(
        "tg_chart", html='<div class="tg-chart" role="img"></div>', js=_CHART, isolate_styles=False
    )
    told = component(
        key=key,
        data={"spec": fig.to_json(), "config": _CONFIG, "alt": alt, "library": LIBRARY},
        on_point_change=lambda: None,
    )
    if opens and told.point:
        opens(told.point)


def download(rows: Mapping[str, Sequence[Any]], *, name: str, label: str = "CSV") -> None:
    """A button for the data behind charts, as CSV."""
    st.download_button(
        label,
        data=_csv(rows),
        file_name=f"{name}.csv",
        mime="text/csv",
        type="tertiary",
        icon=":material/download:",
        on_click="ignore",
    )


def _csv(rows: Mapping[str, Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows)
    writer.writerows(zip(*rows.values(), strict=True))
    return out.getvalue()


def freshness(now: Status, last_t: float | None) -> str:
    """What stands in a chart's corner: how new its newest point is; nothing for a run that has ended."""
    if not now.live:
        return ""
    if last_t is None:
        return "waiting for the first point"
    return "● live" if time.time() - last_t < 60 else f"stale since {look.ago(last_t)}"


def spark(values: Sequence[float], color: str) -> str:
    """A curve of a table cell's size, as an SVG."""
    if len(values) < 2:
        return ""
    every = -(-len(values) // 100)
    shown = values[::-1][::every][::-1]
    low, high = min(shown), max(shown)
    span = (high - low) or 1
    step = 118 / (len(shown) - 1)
    points = " ".join(f"{1 + i * step:.1f},{23 - 21 * (v - low) / span:.1f}" for i, v in enumerate(shown))
    return (
        f'<svg width="120" height="25" role="img" aria-label="from {shown[0]:.3g} to {shown[-1]:.3g}">'
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/></svg>'
    )
