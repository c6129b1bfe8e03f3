"""Panels of a run beside its curves: configuration and plan, log, TensorBoard."""

from __future__ import annotations

import streamlit as st

from app import look, state
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import overview
from trugrade_core.workspace import Workspace


def log(folder: RunFolder) -> None:
    try:
        lines = folder.log.read_bytes()[-200_000:].decode(errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    words = st.text_input(
        "Find",
        key="monitor-find",
        placeholder="a word in the log",
        label_visibility="collapsed",
        icon=":material/search:",
    )
    shown = [line for line in lines if words.lower() in line.lower()][-1000:]
    if lines:
        st.code("\n".join(shown) or "No line has this in it.", language=None, height=520)
        st.caption(f"The newest {look.count(len(shown), 'line')} of {folder.log}")
    else:
        st.caption("Nothing was printed.")
    now = state.status(folder)
    if not now.live:
        st.html(f"It ended as {look.badge(now.state, now.reason)}")


def plan(folder: RunFolder) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Configuration, as given")
        path = folder.path / "config.yaml"
        text = path.read_text() if path.exists() else ""
        st.code(text or "No configuration is stored.", language="yaml")
        if text:
            st.download_button(
                "Download", text, f"{folder.id}.yaml", icon=":material/download:", type="tertiary", on_click="ignore"
            )
    with right:
        st.subheader("What became of each key")
        entries = overview.run(folder)["plan"].get("plan", {})
        rows = [
            [
                look.badge(e["status"]),
                look.dotted(key),
                look.wrap(str(e["value"])),
                look.wrap(e["reason"]),
            ]
            for key, e in sorted(entries.items(), key=lambda pair: pair[1]["status"] == "used")
        ]
        if rows:
            look.table(["", "key", "becomes", "why"], rows, key="monitor-plan")
        else:
            st.caption("No plan is stored with this run.")
        notes = [f"{look.ago(n['t'])}: {n.get('text') or n.get('reason', '')}" for n in state.journal(folder).notes]
        for note in notes[-20:]:
            st.caption(note)
    with st.expander("Repeat this run", icon=":material/terminal:"), look.errors("reading how to repeat it"):
        if (folder.path / "environment.json").exists():
            st.code("\n".join(overview.repro(folder)), language="bash")
        else:
            st.caption("The run's environment was not recorded.")


def tensorboard(ws: Workspace, folder: RunFolder, folders: list[RunFolder]) -> None:
    from app.server import show_in_tensorboard

    ids = [f.id for f in folders]
    chosen = st.multiselect("Runs", ids, default=[folder.id], key=f"tensorboard-runs-{folder.id}")
    if not chosen:
        return
    with look.errors("starting TensorBoard"):
        with st.spinner("TensorBoard starts: some seconds the first time"):
            show_in_tensorboard(ws, chosen)
        dark = "true" if st.context.theme.type == "dark" else "false"
        st.iframe(f"/lab/tb/?darkMode={dark}#timeseries", height=820)
        st.caption("TensorBoard reads new points when its own reload button is pressed; the curves above are live.")
