"""Under an evaluation: the hardest samples go to people, and the next training starts from what they made of them."""

from __future__ import annotations

from html import escape

import streamlit as st

from app import look, state
from app.state import who
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import looping
from trugrade_core.workspace import Workspace

TAG = "review"
MOST_IDS = 300
"""Samples that an address may hold; of more, the tag leads to them."""
WORDS = {"worst": "Worst", "uncertain": "Least sure", "refused": "Nothing found"}


def bar(ws: Workspace, folder: RunFolder, split: str) -> None:
    with look.errors("looking for the hardest samples"), st.container(horizontal=True, vertical_alignment="bottom", key="loop-bar"):  # fmt: skip
        kind = st.segmented_control("Hardest samples", list(WORDS), format_func=WORDS.__getitem__, required=True,
                                    **state.in_url("hard", "worst", list(WORDS)))  # fmt: skip
        count = st.number_input("At most", 1, value=20, width=110, key="loop-count")
        rows = looping.hard_samples(ws, folder.id, split, kind=kind, count=int(count))
        with st.popover(f"Why these {len(rows):,}" if rows else "None", icon=":material/help:", disabled=not rows):
            files = state.names_of(ws, looping.dataset_of(ws, folder.id), [row["sample"] for row in rows[:100]])
            cells = [[look.link("evaluate", look.clip(files[row["sample"]], 14), run=folder.id, split=split, sample=row["sample"]), escape(row["why"])]
                     for row in rows[:100]]  # fmt: skip
            look.table(["sample", "why"], cells, key="loop-why")
        if st.button("Send these to annotation", icon=":material/draw:", disabled=not rows, key="loop-send",
                     help=f"Tags them '{TAG}', as one step that can be undone, and opens them to be drawn on."):  # fmt: skip
            name, ids = looping.dataset_of(ws, folder.id), [row["sample"] for row in rows]
            looping.send(ws, name, ids, tag=TAG, who=who(), tool="explorer")
            where = {"ids": ",".join(ids)} if len(ids) <= MOST_IDS else {"tag": TAG}
            state.go("annotate", dataset=name, sample=ids[0], **where)
        if st.button("Train again with these", icon=":material/model_training:", key="loop-again",
                     help="Keeps the dataset as it is now as its next version and opens Train with this run's configuration. "
                          "What was test stays test."):  # fmt: skip
            again(ws, folder)


def again(ws: Workspace, folder: RunFolder) -> None:
    """Cut the next version and open Train like this run."""
    with st.spinner("Keeping the dataset as it is now"):
        found = looping.train_again(ws, folder.id)
    job = folder.job()
    said = [
        *found["notes"],
        *([] if found["changed"] else [f"Nothing has changed in the dataset since {found['was']}."]),
    ]
    st.session_state["train-like-notes"] = said
    architecture = str(job["architecture"])
    state.go(
        "train",
        dataset=found["version"],
        task=str(job["task"]),
        architecture=architecture_of(architecture),
        like=folder.id,
    )


def architecture_of(variant: str) -> str:
    """The architecture of the word that a run keeps, which names its variant too."""
    from trugrade_core.models import ARCHITECTURES

    return next((id for id in ARCHITECTURES if variant == id or variant.startswith(f"{id}_")), variant)
