"""Many samples at once: what is selected, what can be done to it, and how many it would change before it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import streamlit as st

from app import explore_bar, look, state
from app.explore_bar import MOST_IDS
from app.state import who
from trugrade_core.data.filters import Filter
from trugrade_core.schema import SampleStatus
from trugrade_core.workflows import exploring

if TYPE_CHECKING:
    from trugrade_core.data.editing import Edit
    from trugrade_core.data.explore import Explorer

KINDS = {"Tag": "sell", "Score": "grade", "Class": "category", "Status": "check_circle", "Exclude": "block"}
SCORES = [n / 2 for n in range(2, 21)]


# --- what is selected ---------------------------------------------------------------------------------------------


def selected(name: str) -> dict[str, None]:
    """Ids that are marked, over all pages, in the order in which they were."""
    found: dict[str, None] = st.session_state.setdefault(f"explore-selected:{name}", {})
    return found


def choose(name: str, ids: Sequence[str]) -> None:
    """Mark exactly these; the grid shows it."""
    st.session_state[f"explore-selected:{name}"] = dict.fromkeys(ids)
    st.session_state["explore-all"] = ""
    st.session_state["explore-rev"] = rev() + 1


def rev() -> int:
    return int(st.session_state.get("explore-rev", 0))


def bar(found: Explorer, f: Filter, total: int, classes: Sequence[str]) -> None:
    """What can be done to the selection; nothing where there is none."""
    name = found.ds.name
    marked = selected(name)
    everything = bool(marked) and st.session_state.get("explore-all") == _everything(name, f)
    if not marked:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="explore-selection"):
        words = f"{'All ' if everything else ''}{look.count(total if everything else len(marked), 'sample')}"
        st.html(f"<b>{words}</b> selected", width="content")
        st.button(
            "Select none",
            type="tertiary",
            icon=":material/close:",
            key="explore-none",
            on_click=choose,
            args=(name, []),
        )
        for kind, icon in KINDS.items():
            if st.button(kind, icon=f":material/{icon}:", key=f"explore-do-{kind}"):
                chosen = f if everything else Filter(ids=tuple(marked))
                title = f"{_TITLES[kind]} {words[:1].lower()}{words[1:]}"
                st.dialog(title, width="medium")(_form)(found, chosen, kind, classes)
        if (everything or len(marked) <= MOST_IDS) and st.button(
            "Assign", icon=":material/group_add:", key="explore-assign", help="Give them to people to label"
        ):
            chosen = f if everything else Filter(ids=tuple(marked))
            state.go("review", dataset=name, sample="", assign="yes", **chosen.params())
        if everything:
            return
        if total > len(marked):
            st.button(
                f"All {total:,} that fit", type="tertiary", key="explore-everything", on_click=_take_all, args=(name, f)
            )
        if len(marked) <= MOST_IDS and st.button("Show only these", type="tertiary", key="explore-only"):
            address = explore_bar.params(Filter(ids=tuple(marked)))
            state.go("datasets", dataset=name, view="browse", sample="", **address)


def _take_all(name: str, f: Filter) -> None:
    st.session_state["explore-all"] = _everything(name, f)


def _everything(name: str, f: Filter) -> str:
    return f"{name}: all {f.line()}"


# --- doing something to it ----------------------------------------------------------------------------------------


_TITLES = {
    "Tag": "Tag",
    "Score": "Score",
    "Class": "Change the class on",
    "Status": "Set the status of",
    "Exclude": "Exclude",
}


def _form(found: Explorer, f: Filter, kind: str, classes: Sequence[str]) -> None:
    from trugrade_core.data import editing

    with look.errors("preparing the edit"):
        edit = _FORMS[kind](found, f, classes)
        total, changes = editing.preview(found, edit, f) if edit else (found.count(f), 0)
        if edit:
            st.html(
                f"<div><b>{changes:,}</b> of {look.count(total, 'sample')} would change. It can be undone as one step.</div>"
            )
        # What the person saw: another number by now is said instead of edited.
        shown = f"explore-total:{kind}:{f.line()}"
        expected = st.session_state.get(shown, total)
        st.session_state[shown] = total
        if not st.button("Apply", type="primary", icon=":material/done_all:", disabled=not changes) or edit is None:
            return
        progress = st.progress(0.0, "Writing") if total > 2000 else None

        def told(done: int, whole: int, text: str) -> None:
            if progress:
                progress.progress(min(done / whole, 1.0), f"{text}: {done:,} of {whole:,}")

        done = exploring.edit_all(found, edit, f, who=who(), expected=expected, progress=told)
        explore_bar.note(found, done)
        choose(found.ds.name, [])
        st.rerun()


def _tag(found: Explorer, f: Filter, _: Sequence[str]) -> Edit | None:
    from trugrade_core.data.editing import Tag

    known = explore_bar.cached_values(found)["tags"]
    on = (
        st.segmented_control(
            "What", ["put on", "take off"], default="put on", required=True, label_visibility="collapsed"
        )
        == "put on"
    )
    there = known if on else [tag for tag, _ in found.statistics(f)["tags"]]
    tag = st.selectbox(
        "Tag", there, index=None, accept_new_options=on, placeholder="type a new one, or choose" if on else "choose"
    )
    return Tag(tag=tag.strip(), on=on) if tag and tag.strip() else None


def _score(_found: Explorer, _f: Filter, _: Sequence[str]) -> Edit | None:
    from trugrade_core.data.editing import GiveScore

    score = st.select_slider("Score", SCORES, value=10.0, format_func=lambda s: f"{s:g}")
    st.caption("Gives every sample this score; one that has another gets this one instead.")
    return GiveScore(score=score)


def _class(found: Explorer, f: Filter, classes: Sequence[str]) -> Edit | None:
    from trugrade_core.data.editing import Reclass

    drawn = [(label, n) for label, n, _ in found.statistics(f)["classes"]]
    if not drawn:
        st.caption("Nothing is drawn on them.")
        return None
    words: dict[str | None, str] = {None: "every shape", **{label: f"{label} ({n:,})" for label, n in drawn}}
    left, right = st.columns(2)
    old = left.selectbox("Shapes of class", list(words), format_func=words.__getitem__, index=1)
    others = [c.name for c in found.ds.classes if c.shape not in ("tags", "score") and c.name != old]
    new = right.selectbox("become", others, index=None, placeholder="choose a class")
    return Reclass(old=old, new=new) if new else None


def _status(_found: Explorer, _f: Filter, _: Sequence[str]) -> Edit | None:
    from trugrade_core.data.editing import SetStatus

    status = st.selectbox("Status", get_args(SampleStatus), index=1)
    comment = st.text_input("Comment", placeholder="why, where it is not plain")
    return SetStatus(status=status, comment=comment.strip())


def _exclude(_found: Explorer, _f: Filter, _: Sequence[str]) -> Edit | None:
    from trugrade_core.data.editing import Exclude

    words = ["leave out", "take in again"]
    out = st.segmented_control("What", words, default=words[0], required=True, label_visibility="collapsed") == words[0]
    if not out:
        return Exclude(reason=None)
    st.caption("They stay in the dataset and are left out of new versions.")
    reason = st.text_input("Reason", placeholder="blurred scan")
    return Exclude(reason=reason.strip()) if reason.strip() else None


_FORMS: dict[str, Any] = {"Tag": _tag, "Score": _score, "Class": _class, "Status": _status, "Exclude": _exclude}
