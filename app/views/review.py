"""Review: do graders agree, and what holds?"""

from __future__ import annotations

import streamlit as st

from app import look, review_forms, state
from app import review_panels as panels
from trugrade_core.workflows import grading
from trugrade_core.workspace import Workspace

SHOWN = {"queue": "To review", "settled": "Settled"}


def main() -> None:
    ws = state.workspace()
    names = state.dataset_names(ws)
    if not names:
        with look.head("Review"):
            pass
        look.empty(
            "No dataset to review yet",
            "Several people label the same samples without seeing each other; here it shows whether they agree.",
            icon="how_to_vote",
            action=look.IMPORT,
            view="import",
        )
        return
    with look.errors("opening the review"):
        asked = state.param("dataset").partition("@")[0]
        name = asked if asked in names else names[0]
        found = panels.review(ws, name)
        sample = st.query_params.get("sample", "")
        if sample in found.votes:
            panels.one(ws, name, found, sample)
        else:
            _all(ws, names, name, found)


def _all(ws: Workspace, names: list[str], name: str, found: grading.Review) -> None:
    with look.head("Review", chips=[look.chip(name, icon="photo_library", page="datasets", dataset=name)]):
        _actions(ws, name, found)
    chosen = st.selectbox("Dataset", names, index=names.index(name), key=f"review-dataset-{name}", width=420)
    if chosen != name:
        state.go("review", dataset=chosen, sample="", show="")
    state.keep(dataset=name)
    if note := st.session_state.pop("review-note", ""):
        st.success(note, icon=":material/check:")
    panels.conflicts(ws, name)
    if found.queue or found.settled:
        panels.agreement(ws, name)
    else:
        _no_votes(ws, name, found)
    panels.people(ws, name)
    if found.queue or found.settled:
        counts = {"queue": len(found.queue), "settled": len(found.settled)}
        shown = st.segmented_control(
            "Show", list(SHOWN), format_func=lambda k: f"{SHOWN[k]} ({counts[k]:,})", required=True,
            label_visibility="collapsed", **state.in_url("show", "queue", list(SHOWN)),
        )  # fmt: skip
        panels.grid(name, found, shown)


def _actions(ws: Workspace, name: str, found: grading.Review) -> None:
    open_now = st.session_state
    if st.query_params.get("assign") == "yes":
        state.keep(assign="")
        open_now[review_forms.OPEN] = "assign"
    if st.button(
        "Assign", type="secondary" if found.queue else "primary", icon=":material/group_add:", key="review-assign"
    ):
        open_now[review_forms.OPEN] = "assign"
    if found.queue and st.button("Settle what is near", icon=":material/done_all:", key="review-settle"):
        open_now[review_forms.OPEN] = "settle"
    if open_now.get(review_forms.OPEN) == "assign":
        review_forms.assign(ws, name)
    elif open_now.get(review_forms.OPEN) == "settle" and found.queue:
        review_forms.settle(ws, name, found)
    if found.queue and st.button(
        "Review", type="primary", icon=":material/how_to_vote:", key="review-first", help="Furthest apart first"
    ):
        state.go("review", dataset=name, sample=found.queue[0]["sample"])


def _no_votes(ws: Workspace, name: str, found: grading.Review) -> None:
    waiting = [row for row in panels.progress(ws, name) if row["blind"]]
    if not waiting:
        look.empty(
            "Nobody votes on these samples yet",
            "Assign the same samples to two people or more: each labels them without seeing the others.",
            icon="group_add",
        )
        return
    people = ", ".join(row["who"] for row in waiting[:5])
    words = f"{people} have samples to vote on. "
    if found.votes:
        words += f"{look.count(len(found.votes), 'sample')} with one vote so far; agreement shows from the second on."
    look.empty("Waiting for votes", words, icon="hourglass_empty")
    with st.container(horizontal=True, horizontal_alignment="center"):
        if st.button("Annotate what is assigned to me", icon=":material/draw:", key="review-mine"):
            state.go("annotate", dataset=name, assigned="me", sample="")


main()
