"""Two dialogs of the review: giving samples to people, and settling all that are near enough."""

from __future__ import annotations

import streamlit as st

from app import look, review_panels, state
from app.state import who
from trugrade_core.annotate.assigning import assignments
from trugrade_core.data.filters import UNLABELLED, Filter, from_line, from_params
from trugrade_core.data.store import Dataset
from trugrade_core.workflows import grading
from trugrade_core.workspace import Workspace

OPEN = "review-open"
"""Which of the two is open, in the session."""
WHICH = {"unlabelled": "Unlabelled", "filter": "By filter", "all": "All"}


def _closed() -> None:
    st.session_state.pop(OPEN, None)


@st.dialog("Assign samples", width="medium", on_dismiss=_closed)
def assign(ws: Workspace, name: str) -> None:
    with look.errors("assigning"):
        known = sorted({row["who"] for row in review_panels.progress(ws, name)} | {who()} - {""})
        people = st.multiselect("People", known, accept_new_options=True, placeholder="choose, or type a name", key="assign-people")  # fmt: skip
        left, right = st.columns(2)
        each = left.number_input(
            "People for each sample", 1, max(1, len(people)), value=min(2, max(1, len(people))), key=f"assign-each-{len(people)}",
            help="From two on they vote blind: nobody sees what the others drew.",
        )  # fmt: skip
        count = right.number_input(
            "At most so many samples", 1, value=None, placeholder="all of them", key="assign-count"
        )
        f = _which()
        fit = state.explorer(ws, name).ids(f) if f is not None else []
        most = min(len(fit), int(count or len(fit)))
        share = f", about {-(-most * each // len(people)):,} each" if people else ""
        blind = "each votes blind, in a layer of their own" if each > 1 else "they work on what holds, one each"
        st.html(f'<div><b>{look.count(most, "sample")}</b>{share}; <span class="tg-soft">{blind}. '
                "Who has a sample already keeps it.</span></div>")  # fmt: skip
        if st.button(
            "Assign", type="primary", icon=":material/group_add:", disabled=not (people and most), key="assign-do"
        ):
            done = grading.assign(ws, name, people, samples=fit, count=int(count or 0), each=int(each), by=who())[
                "assigned"
            ]
            said = ", ".join(f"{person} {look.count(n, 'new sample')}" for person, n in done.items())
            st.session_state["review-note"] = f"Assigned: {said}."
            _closed()
            st.rerun()
        _take_back(ws, name)


def _which() -> Filter | None:
    asked = from_params(st.query_params.to_dict())
    options = list(WHICH)
    which = st.segmented_control("Which samples", options, format_func=WHICH.__getitem__, required=True, key="assign-which",
                                 default="unlabelled" if asked.is_empty else "filter")  # fmt: skip
    if which == "all":
        return Filter()
    if which == "unlabelled":
        return UNLABELLED
    line = st.text_input("Filter", value=asked.line(), placeholder="class=scratch status=done", key="assign-filter",
                         help="As in the Explorer's address: class, status, split, tag, score, size, finding, card …")  # fmt: skip
    with look.errors("reading the filter"):
        return from_line(line)
    return None


def _take_back(ws: Workspace, name: str) -> None:
    given = assignments(Dataset.open(ws, name))
    if not given:
        return
    with st.expander("Take samples back"):
        person = st.selectbox(
            "From", list(given), format_func=lambda p: f"{p} ({len(given[p].samples):,})", key="assign-back"
        )
        st.caption("All that this person has; what is labelled stays.")
        if st.button("Take back", key="assign-take"):
            done = grading.withdraw(ws, name, person, by=who())
            st.session_state["review-note"] = f"{look.count(done['withdrawn'], 'sample')} taken from {person}."
            _closed()
            st.rerun()


@st.dialog("Settle what is near enough", on_dismiss=_closed)
def settle(ws: Workspace, name: str, found: grading.Review) -> None:
    with look.errors("settling"):
        most = st.number_input("No further apart than", 0.0, value=0.5, step=0.5, key="settle-most",
                               help="Grades between the lowest and the highest score, plus what of shapes and tags differs.")  # fmt: skip
        near = grading.within(found.queue, most)
        st.html(f'<div><b>{len(near):,}</b> of {look.count(len(found.queue), "sample")} to review would be settled by the '
                "majority: the median score, and the tags and shapes of more than half.</div>")  # fmt: skip
        if not near and found.queue:
            st.caption(f"The nearest are {found.queue[-1]['disagreement']:.3g} apart.")
        reason = st.text_input("Reason", placeholder="why (kept with every label)", key="settle-reason")
        if st.button(f"Settle {look.count(len(near), 'sample')}", type="primary", disabled=not near, key="settle-do"):
            done = grading.settle(ws, name, who=who(), reason=reason, samples=near, most=most)
            held = f" Being worked on in Label Studio: {len(done['held']):,}." if done["held"] else ""
            st.session_state["review-note"] = f"{look.count(len(done['settled']), 'sample')} settled.{held}"
            _closed()
            st.rerun()
