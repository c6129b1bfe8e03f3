"""What annotators are told of a dataset: its task, and the written guidelines with example pictures."""

from __future__ import annotations

from html import escape

import streamlit as st

from app import look, state
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
        words = st.text_area(
            "What annotators are told  :small[:gray[Markdown; shown beside the canvas and in Label Studio]]",
            value=found["guidelines"], height=380, key=f"guidelines-{dataset}-{len(history)}",
        )  # fmt: skip
        pictures = st.file_uploader(
            "Add example pictures", accept_multiple_files=True, key=f"guideline-pictures-{dataset}"
        )
        if st.button(
            "Save", type="primary", icon=":material/save:", disabled=words == found["guidelines"] and not pictures
        ):
            with look.errors("saving the guidelines"):
                lines = [creating.add_picture(ws, picture.getvalue(), name=picture.name) for picture in pictures]
                creating.set_guidelines(ws, dataset, "\n\n".join([words.strip(), *lines]), who=state.who())
                st.rerun()
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


def _task(ws: Workspace, dataset: str, task: str | None) -> None:
    names = list(TASKS)
    chosen = st.selectbox(
        "What it is for", names, index=names.index(task) if task in names else None, width=420,
        format_func=lambda name: f"{TASKS[name].title} · {name}", placeholder="nobody has said yet", key=f"task-of-{dataset}",
    )  # fmt: skip
    if chosen and chosen != task:
        with look.errors("setting the task"):
            creating.set_task(ws, dataset, chosen)
            if not creating.describe(ws, dataset)["guidelines"]:
                creating.set_guidelines(ws, dataset, TASKS[chosen].guidelines, who=state.who())
            st.rerun()
