"""Two versions of a dataset side by side: what came, went, was relabelled or changed its split, with pictures."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import look, overlay, state
from trugrade_core.data.diff import NOW, words
from trugrade_core.schema import Annotation, Sample
from trugrade_core.workflows import versioning
from trugrade_core.workspace import Workspace

PAGE = 24
KINDS = {
    "relabelled": "relabelled",
    "split_changed": "other split",
    "added": "added",
    "removed": "removed",
    "facts_changed": "other facts",
}
Picked = dict[str, tuple[Sample, list[Annotation]]]


def show(ws: Workspace, name: str, versions: list[str]) -> None:
    sides = [NOW, *versions]
    asked = [st.query_params.get(end, "") for end in ("from", "to")]
    is_asked = all(side in sides for side in asked)
    with st.expander("Two versions side by side", icon=":material/compare_arrows:", expanded=is_asked):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            first = (
                asked if is_asked else [versions[min(1, len(versions) - 1)], versions[0] if len(versions) > 1 else NOW]
            )
            chosen = [
                st.selectbox(label, sides, index=sides.index(side), format_func=_side_words, width=200, key=f"side-{name}-{label}")
                for label, side in zip(("From", "To"), first, strict=True)
            ]  # fmt: skip
            if st.button("Compare", icon=":material/compare_arrows:"):
                state.keep(**dict(zip(("from", "to"), chosen, strict=True)))
                st.rerun()
        if is_asked:
            with look.errors("comparing"):
                _compared(ws, *(f"{name}@{side}" for side in asked))


def _side_words(side: str) -> str:
    return "as it is now" if side == NOW else side


def _stamp(ws: Workspace, side: str) -> Any:
    """What a comparison is good for: a version never changes, the dataset as it is now with its files."""
    name, _, version = side.partition("@")
    if version != NOW:
        return state.stamp(ws.datasets / name / "versions" / version / "version.json")
    return now_stamp(ws, name)


def now_stamp(ws: Workspace, name: str) -> Any:
    """Changes whenever something is said in the dataset or kept as a version."""
    folder = ws.datasets / name
    files = [folder / file for file in ("samples.jsonl", "annotations.jsonl", "dataset.json", "versions")]
    return tuple(state.stamp(file) for file in (*files, *sorted(folder.glob("versions/v*/version.json"))))


def _compared(ws: Workspace, a: str, b: str) -> None:
    stamps = _stamp(ws, a), _stamp(ws, b)
    found = state.cached(("diff", str(ws.root), a, b), stamps, lambda: versioning.compare_versions(ws, a, b))
    if found["same"]:
        st.caption(f"{a} and {b} hold the same.")
        return
    if said := class_words(found["classes"]):
        st.caption(said)
    kinds = [kind for kind in KINDS if found[kind]]
    if not kinds:
        return
    kind = st.segmented_control(
        "What", kinds, format_func=lambda kind: f"{KINDS[kind]} · {len(found[kind]):,}", default=kinds[0], required=True,
        label_visibility="collapsed", key=f"compare-kind-{a}-{b}",
    )  # fmt: skip
    rows = found[kind]
    pages = -(-len(rows) // PAGE)
    page = st.pagination(pages, key=f"compare-page-{a}-{b}-{kind}") if pages > 1 else 1
    shown = rows[(page - 1) * PAGE : page * PAGE]
    ids = [row["sample"] for row in shown]
    pictures = state.cached(("picked", str(ws.root), a, b, tuple(ids)), stamps, lambda: _pick(ws, a, b, ids))
    classes = state.dataset(ws, a.partition("@")[0]).classes
    tiles = "".join(_tile(a, row, kind, pictures, classes) for row in shown)
    width = 260 if kind == "relabelled" else 150
    look.linked(f'<div class="tg-grid" style="--tile:{width}px">{tiles}</div>', key=f"compare-grid-{kind}")


def _pick(ws: Workspace, a: str, b: str, ids: list[str]) -> tuple[Picked, Picked]:
    return versioning.picked(ws, a, ids), versioning.picked(ws, b, ids)


def _tile(a: str, row: dict[str, Any], kind: str, pictures: tuple[Picked, Picked], classes: tuple[str, ...]) -> str:
    """Both sides beside each other where the labels differ, else the one picture; below it what changed."""
    sides = [side[row["sample"]] for side in pictures if row["sample"] in side]
    if kind != "relabelled":
        sides = sides[-1:]
    thumbs = "".join(
        f'<div style="flex:1;min-width:0">{overlay.thumb(sample, overlay.annotation_shapes(said, classes))}</div>'
        for sample, said in sides
    )
    said = "; ".join(change_words(row, kind))
    caption = f'<div class="cap"><span title="{escape(said)}">{escape(said)}</span><span></span></div>'
    name = escape(overlay.name_of(sides[-1][0])) if sides else row["sample"]
    top = f'<div class="cap"><span title="{name}">{name}</span><span>{escape(row["split"] or "")}</span></div>'
    inner = f'<div style="display:flex;gap:0.3rem">{thumbs}</div>{top}{caption}'
    return look.link("datasets", inner, css="tg-tile", dataset=a.partition("@")[0], sample=row["sample"])


def change_words(row: dict[str, Any], kind: str) -> list[str]:
    """What changed on a sample."""
    if kind == "split_changed":
        return [f"{row['was'] or 'none'} is now {row['now'] or 'none'}"]
    if kind == "facts_changed":
        return [f"{', '.join(row['fields'])} changed"]
    if kind in ("added", "removed"):
        return [look.count(row["annotations"], "annotation")]
    status = [f"status {row['status'][0]} is now {row['status'][1]}"] if row["status"] else []
    return [*(words(change) for change in row["annotations"]), *status]


def class_words(classes: dict[str, Any]) -> str:
    """What changed in the list of classes, in a line; '' where nothing did."""
    said = [f"{what}: {', '.join(classes[what])}" for what in ("added", "removed") if classes[what]]
    said += [f"{row['class']} was drawn as {row['was']}, is {row['now']}" for row in classes["reshaped"]]
    said += ["another order"] if classes["reordered"] else []
    return f"Classes {'; '.join(said)}." if said else ""
