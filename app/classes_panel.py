"""The classes of a dataset, and changing them: renamed, merged, added or retired, each shown before it is done."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from app import look, state
from app.split_panel import tell
from trugrade_core.data.relabel import Add, ClassEdit, Merge, Rename, Retire
from trugrade_core.schema import ShapeKind
from trugrade_core.workflows import versioning
from trugrade_core.workspace import Workspace

ACTIONS = {"rename": "Rename", "merge": "Merge", "add": "Add", "retire": "Retire"}


def show(ws: Workspace, name: str, classes: list[dict[str, Any]]) -> None:
    st.subheader("Classes")
    if classes:
        _table(classes)
    else:
        st.caption("None: scores are given without one.")
    with st.expander("Change the classes", icon=":material/edit:"):
        _change(ws, name, classes)


def _table(classes: list[dict[str, Any]]) -> None:
    look.table(
        ["id", "class", "shape", "annotations"],
        [[str(i), look.clip(c["name"]), c["shape"], f"{c['annotations']:,}"] for i, c in enumerate(classes, 1)],
        key="classes",
        right=(0, 3),
    )


def _change(ws: Workspace, name: str, classes: list[dict[str, Any]]) -> None:
    st.caption("Every label follows, also graders' own votes. Versions that were kept stay as they were, and it can be undone.")  # fmt: skip
    names = [c["name"] for c in classes]
    action = st.segmented_control("What", list(ACTIONS) if names else ["add"], format_func=ACTIONS.__getitem__, default="rename" if names else "add", required=True, key=f"classes-do-{name}")  # fmt: skip
    turn = st.session_state.get("classes-turn", 0)
    edit = _asked(action, names, turn)
    if edit is None:
        return
    with look.errors("looking at the classes"):
        found = versioning.preview_classes(ws, name, edit)
        how = "deleted by log entries" if action == "retire" else "said anew"
        facts = [
            ("annotations", f"{found['annotations']:,}", how),
            ("samples", f"{found['samples']:,}", "have them"),
            ("graders' votes", f"{found['votes']:,}", "follow"),
        ]
        st.html(look.facts(facts))
        after = [look.chip(f"{i} {c}") for i, c in enumerate(found["classes"]["after"], 1)]
        st.html(f'<span class="tg-soft">Then</span> {" ".join(after)}')
        for note in found["notes"]:
            st.caption(look.sentence(note))
        if st.button(f"{ACTIONS[action]} it", key="classes-apply"):
            st.session_state["classes-turn"] = turn + 1  # the fields are empty again
            done = versioning.edit_classes(ws, name, edit, who=state.who(), tool="explorer")
            tell(name, f"{look.sentence(done['what'])}: done. Keep the dataset as a version to train on it.")


def _asked(action: str, names: list[str], turn: int) -> ClassEdit | None:
    """The edit that the widgets describe; None while something is missing."""
    left, right = st.columns(2)
    if action == "add":
        new = left.text_input("Name", key=f"classes-add-{turn}")
        shape = right.selectbox("Drawn as", list(get_args(ShapeKind)))
        return Add(name=new, shape=shape) if new else None
    if action == "merge":
        gone = left.multiselect("These go", names, key=f"classes-gone-{turn}")
        into = right.selectbox("Into", [n for n in names if n not in gone], index=None)
        return Merge(names=tuple(gone), into=into) if gone and into else None
    old = left.selectbox("Class", names)
    if action == "retire":
        return Retire(name=old)
    new = right.text_input("New name", key=f"classes-new-{turn}")
    return Rename(old=old, new=new) if new else None
