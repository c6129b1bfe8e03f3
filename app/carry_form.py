"""Carry back: what was drawn on crops, said of the scans that they were cut from."""

from __future__ import annotations

from html import escape

import streamlit as st

from app import look, state
from trugrade_core.data.store import Dataset
from trugrade_core.workflows import carrying
from trugrade_core.workflows.carrying import CarryReport
from trugrade_core.workspace import Workspace

SHOWN = 200


def show(ws: Workspace, dataset: str) -> None:
    """Below the form that cuts; `dataset` holds the crops."""
    with look.errors("looking what would be carried back"):
        if sources := carrying.sources(ws, dataset):
            _show(ws, dataset, sources)


def _show(ws: Workspace, dataset: str, sources: list[str]) -> None:
    st.subheader("Carry labels back to the scans")
    st.caption("Shapes drawn on crops, here or in Label Studio, are put on the scan in its own pixels, and so reach other tasks. "
               "What was drawn on two overlapping crops is one shape there.")  # fmt: skip
    if done := st.session_state.pop("carry-said", ""):
        st.success(done, icon=":material/check_circle:")
    report = _preview(ws, dataset, sources)
    _tell(report)
    with st.container(horizontal=True):
        _do(ws, dataset, report.added + report.changed + report.removed)


def _tell(report: CarryReport) -> None:
    facts = {
        "new on the scans": report.added,
        "changed": report.changed,
        "removed": report.removed,
        "there already": report.unchanged,
    }
    st.html(look.facts([(name, f"{count:,}", "") for name, count in facts.items()]))
    for note in report.notes():
        st.caption(look.sentence(note))
    if report.left_out:
        with st.expander(f"Left out: {look.count(len(report.left_out), 'scan')}", expanded=True):
            rows = [[escape(row[key]) for key in ("sample", "dataset", "reason")] for row in report.left_out[:SHOWN]]
            look.table(["scan", "of", "why"], rows, key="carry-left-out")


def _do(ws: Workspace, dataset: str, waiting: int) -> None:
    if st.button("Carry back", icon=":material/upload:", disabled=not waiting, key="carry-go",
                 help=None if waiting else "The scans say all of it already."):  # fmt: skip
        with look.errors("carrying labels back"):
            done = carrying.carry_back(ws, dataset, who=state.who())
            labels = look.count(done.added + done.changed + done.removed, "label")
            _say(f"{labels} carried back to {look.count(done.scans, 'scan')}.")
    if carrying.undoable(ws, dataset) and st.button("Undo", icon=":material/undo:", key="carry-undo", type="tertiary",
                                                    help="Takes back what the last carrying back has said of the scans."):  # fmt: skip
        with look.errors("taking back what was carried"):
            undone = carrying.undo_carry_back(ws, dataset, who=state.who())
            _say(f"{look.count(sum(one['entries'] for one in undone.values()), 'label')} taken back.")


def _say(done: str) -> None:
    st.session_state["carry-said"] = done
    st.rerun()


def _preview(ws: Workspace, dataset: str, sources: list[str]) -> CarryReport:
    """Kept until a log changes, of the crops or of the scans."""
    logs = [state.stamp(Dataset(ws, name).log_path) for name in (dataset, *sources)]
    return state.cached(("carry back", dataset), (*logs, state.stamp(Dataset(ws, dataset).samples_path)),
                        lambda: carrying.carry_back(ws, dataset, who="", preview=True))  # fmt: skip
