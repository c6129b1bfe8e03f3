"""Train like an earlier run (`?like=RUN`): its configuration on the chosen version, over what is suggested now."""

from __future__ import annotations

import streamlit as st

from app import forms, look
from app.loop_bar import architecture_of
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import looping, training
from trugrade_core.workspace import Workspace


def asked(ws: Workspace, dataset: str, task: str, architecture: str) -> str:
    """The run of the address, or '' where it names none, or one of another dataset, task or architecture; said then."""
    word = st.query_params.get("like", "")
    if not word:
        return ""
    for note in st.session_state.get("train-like-notes", []):
        st.info(note, icon=":material/info:")
    try:
        folder = RunFolder.find(ws, word)
        job = folder.job()
    except TruGradeError as e:
        look.error(e)
        return ""
    own = (str(job["dataset"]).partition("@")[0], job["task"], architecture_of(str(job["architecture"])))
    if own != (dataset.partition("@")[0], task, architecture):
        st.caption(f"Not like run {folder.id} any more: that is {own[1]} with {own[2]} on {own[0]}.")
        return ""
    return folder.id


def words(like: str) -> str:
    return f"as in run {like}; what is suggested now stands beside it" if like else "suggested for this data and this machine; change what you like"  # fmt: skip


def take(ws: Workspace, editing: forms.Editing, like: str, dataset: str) -> None:
    """Put the run's values into the form; a key that the run left out goes back to its default."""
    config = looping.config_like(ws, like, dataset)
    editing.values = {key: value for key in forms.FIELDS if (value := training.dotted(config, key)) is not None}
