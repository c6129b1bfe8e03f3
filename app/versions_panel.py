"""Versions and splits of a dataset: what was kept, how cards are shared out, two versions side by side, its classes."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from app import classes_panel, compare_panel, jobcard, look, split_panel, state
from app.split_panel import tell
from trugrade_core.data.formats import FORMATS
from trugrade_core.workflows import datasets, versioning
from trugrade_core.workflows import overview as engine
from trugrade_core.workspace import Workspace

EXPORTS = [name for name, row in FORMATS.items() if row.write]
SPLITS = ("train", "val", "test")


def show(ws: Workspace, name: str) -> None:
    now = compare_panel.now_stamp(ws, name)
    found = state.cached(("versions", str(ws.root), name), now, lambda: engine.dataset(ws, name))
    versions = [v["version"] for v in found["versions"]]
    with st.container():  # there even when nothing is told, so that what is open below stays open
        if text := st.session_state.pop(f"told-{name}", ""):
            st.success(text, icon=":material/check_circle:")
        if found["conflicts"]:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.warning(
                    f"{look.count(found['conflicts'], 'annotation')} changed by two people at once; the newest counts until one settles it.",
                    width="stretch",
                )
                if st.button("Settle", icon=":material/call_split:", key="versions-settle"):
                    state.go("annotate", dataset=name, conflict="yes", sample="")
    st.caption(
        "A version is an immutable copy of the labels and splits; trainings stand on versions. Images of one card always go into one split."
    )
    if versions:
        _versions(ws, name, found["versions"])
    elif not found["samples"]:
        look.empty("No version yet", "A version keeps images with their labels and splits; there are no images yet.", icon="sell",
                   action=look.IMPORT, dataset=name, view="import")  # fmt: skip
    else:
        look.empty("No version yet", "Split the cards into train, val and test; that is kept as v1.", icon="sell")
    split_panel.show(ws, name, is_first=not versions, has_samples=bool(found["samples"]))
    if versions:
        compare_panel.show(ws, name, versions)
        _restore(ws, name, versions)
    classes_panel.show(ws, name, found["classes"])
    _leave(ws, name, versions)


def _versions(ws: Workspace, name: str, rows: list[dict[str, Any]]) -> None:
    look.table(
        ["version", "samples", "train", "val", "test", "made", "digest"],
        [_row(v) for v in rows],
        key="versions",
        right=(1, 2, 3, 4),
    )
    steps = ws.datasets / name / "steps.jsonl"
    step = state.cached(("step", str(steps)), state.stamp(steps), lambda: versioning.last_step(ws, name))
    with st.container(horizontal=True, vertical_alignment="center"):
        keep = st.button(
            "Keep as it is now", icon=":material/sell:",
            help="New cards are split by the same shares; nothing moves. Unchanged content gives the version that is there.",
        )  # fmt: skip
        undo = step and st.button(f"Undo: {step.what}", icon=":material/undo:", help=f"Done by {step.who} at {step.when[:16]}.")  # fmt: skip
    if keep:
        with look.errors("keeping a version"):
            tell(name, f"Kept as {name}@{versioning.snapshot_dataset(ws, name)['version']}. Next: train on it.")
    if undo and step:
        with look.errors("undoing"):
            back = versioning.undo_restore if step.kind == "restore" else versioning.undo_classes
            done = back(ws, name, who=state.who(), tool="explorer")
            were = "was changed by somebody since and stays as it is" if done["left"] == 1 else "were changed by somebody since and stay as they are"  # fmt: skip
            left = f" {done['left']:,} {were}." if done["left"] else ""
            tell(name, f"{look.sentence(done['what'])}.{left}")


def _restore(ws: Workspace, name: str, versions: list[str]) -> None:
    shown = f"back-{name}"
    with st.expander("Go back to a version", icon=":material/history:", expanded=shown in st.session_state):
        st.caption(
            "Labels, statuses, classes and splits become what they were. Nothing is lost: the dataset as it is now is kept as a version first."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            version = st.selectbox("Version", versions, index=min(1, len(versions) - 1), width=200, key=f"{shown}-to")
            st.button("Show what would change", icon=":material/preview:", on_click=split_panel.mark, args=(shown,))
        if shown in st.session_state:
            with look.errors("looking at the version"):
                _foreseen(ws, name, version)


def _foreseen(ws: Workspace, name: str, version: str) -> None:
    found = versioning.preview_restore(ws, f"{name}@{version}")
    if found["same"]:
        st.caption(f"The dataset holds what {version} holds: there is nothing to go back to.")
        return
    counts = found["counts"]
    facts = [
        ("relabelled", f"{counts['relabelled']:,}", "labels or status said anew"),
        ("split", f"{counts['split_changed']:,}", "go to another split"),
        ("left out", f"{counts['removed']:,}", f"came since, excluded as 'not in {version}'"),
        ("come back", f"{counts['added']:,}", "not among the samples now"),
    ]
    st.html(look.facts(facts))
    st.caption(compare_panel.class_words(found["classes"]) or "The classes stay.")
    if st.button(f"Go back to {version}", icon=":material/history:"):
        done = versioning.restore_version(ws, f"{name}@{version}", who=state.who(), tool="explorer")
        st.session_state.pop(f"back-{name}")
        before = f" What was there is {done['kept_before']}." if done["kept_before"] else ""
        tell(name, f"{name} is as in {version} again, kept as {done['version']}.{before}")


def _row(version: dict[str, Any]) -> list[str]:
    if "reason" in version:
        damaged = f'<span class="tg-state failed">{look.icon("error")} {look.clip("damaged: " + version["reason"], 24)}</span>'  # fmt: skip
        return [f"<b>{escape(version['version'])}</b>", "", "", "", "", damaged, ""]

    def of(split: str) -> str:
        n = version["splits"].get(split, {"samples": 0, "cards": 0})
        return f"{n['samples']:,} <span class='tg-soft'>({look.count(n['cards'], 'card')})</span>"

    return [
        f"<b>{escape(version['version'])}</b>",
        f"{version['samples']:,}",
        *map(of, SPLITS),
        escape(version["created"][:16].replace("T", " ")) + " UTC",
        f'<span class="tg-mono">{version["digest"][:12]}</span>',
    ]


def _leave(ws: Workspace, name: str, versions: list[str]) -> None:
    """Exporting a version, and removing the dataset."""
    with st.expander("Export a version as COCO, YOLO or Pascal VOC", icon=":material/output:"):
        left, middle, right = st.columns([1, 1, 3], vertical_alignment="bottom")
        version = left.selectbox("Version", versions, key="export-version")
        kind = middle.selectbox("Format", EXPORTS, key="export-format")
        out = right.text_input(
            "New folder on the lab's machine", placeholder="/data/exports/cards-coco", key="export-folder"
        )
        if st.button("Export", icon=":material/output:", disabled=not (out and version)):
            with look.errors("starting the export"):
                job = datasets.start_export(ws, f"{name}@{version}", kind, Path(out).expanduser(), who=state.who())
                state.keep(job=job.id)
        if job_id := st.query_params.get("job"):
            jobcard.show(job_id, done=_exported)
    with st.popover("Remove this dataset", icon=":material/delete:"):
        st.caption("Moves it to the workspace's trash, versions and all. Images stay where they are.")
        if st.button("Move to the trash"):
            with look.errors("removing the dataset"):
                datasets.remove_dataset(ws, name)
                state.go("datasets", dataset="", view="", sample="")


def _exported(found: dict[str, Any], args: dict[str, Any]) -> None:
    st.success(f"{look.count(found.get('images', 0), 'image')} in {args['out']}", icon=":material/check_circle:")
    for what, n in found["left_out"].items():
        st.caption(f"Left out, the format has no place for it: {what} ({n:,})")
