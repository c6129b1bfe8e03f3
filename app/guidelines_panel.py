"""What annotators are told of a dataset: its task, and the written guidelines with example pictures."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import look, state
from trugrade_core.errors import TruGradeError
from trugrade_core.tasks import TASKS
from trugrade_core.workflows import creating
from trugrade_core.workspace import Workspace


def show(ws: Workspace, dataset: str) -> None:
    """The 'Guidelines' view of a dataset."""
    found = creating.describe(ws, dataset)
    _task(ws, dataset, found["task"])
    history = creating.guideline_history(ws, dataset)
    left, right = st.columns(2, gap="large")
    with left:
        words = _write(ws, dataset, found["guidelines"], history)
    with right:
        st.caption("As annotators see it")
        with st.container(border=True):
            st.markdown(words or "Nothing is written yet.")
        if len(history) > 1:
            with st.expander(f"Earlier wordings: {len(history) - 1}"):
                rows = [
                    [escape(h["when"][:16].replace("T", " ")), escape(h["who"] or "unknown"), look.clip(h["text"], 30)]
                    for h in reversed(history[:-1])
                ]
                look.table(["when", "who", "words"], rows, key="guideline-history")


def _write(ws: Workspace, dataset: str, now: str, history: list[dict[str, Any]]) -> str:
    """The words in the box, and saving them. What somebody else saves comes into it only where nothing was written in it."""
    box, begun = f"guidelines-{dataset}", f"guidelines-begun-{dataset}"
    if begun not in st.session_state or st.session_state.get(box) in (None, st.session_state[begun]):
        st.session_state[box] = st.session_state[begun] = now
    if now != st.session_state[begun]:
        st.warning(f"{history[-1]['who'] or 'Somebody'} has saved other words meanwhile. Saving yours replaces them; they stay under "
                   "Earlier wordings.", icon=":material/group:")  # fmt: skip
        with st.expander("Their words"):
            st.markdown(now)
    words = st.text_area(
        "What annotators are told  :small[:gray[Markdown; shown beside the canvas and in Label Studio]]", height=380, key=box
    )  # fmt: skip
    turn = st.session_state.get("guidelines-turn", 0)
    pictures = st.file_uploader(
        "Add example pictures", accept_multiple_files=True, key=f"guideline-pictures-{dataset}-{turn}"
    )
    same = words.strip() == now and not pictures
    if st.button("Save", type="primary", icon=":material/save:", disabled=same):
        with look.errors("saving the guidelines"):
            lines = [creating.add_picture(ws, picture.getvalue(), name=picture.name) for picture in pictures]
            creating.set_guidelines(ws, dataset, "\n\n".join([words.strip(), *lines]), who=state.who())
            st.session_state["guidelines-turn"] = turn + 1  # the pictures are in the words now
            del st.session_state[begun]
            st.rerun()
    return words


def _task(ws: Workspace, dataset: str, task: str | None) -> None:
    key, failed, names = f"task-of-{dataset}", f"task-failed-{dataset}", list(TASKS)
    # The file leads: it may have been changed elsewhere. What is chosen here is written before this is drawn.
    known = task in names
    st.session_state[key] = task if known else None

    def choose() -> None:
        try:
            creating.set_task(ws, dataset, st.session_state[key], who=state.who())
        except (TruGradeError, OSError) as e:  # a callback must not draw: the run that follows shows it
            st.session_state[failed] = e

    st.selectbox("What it is for", names, index=0 if known else None, width=420, format_func=lambda name: f"{TASKS[name].title} · {name}",
                 placeholder="nobody has said yet", key=key, on_change=choose)  # fmt: skip
    if e := st.session_state.pop(failed, None):
        look.error(e, doing="setting the task")
