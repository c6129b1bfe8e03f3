"""Cut regions: corners, edges and surfaces of cards out of whole scans, into the dataset of a task."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from app import carry_form, jobcard, look, overlay, page_words, state
from trugrade_core.data.card_facts import FORMATS
from trugrade_core.data.store import Dataset
from trugrade_core.tasks import Task
from trugrade_core.workflows import deriving
from trugrade_core.workflows.creating import task_of
from trugrade_core.workflows.deriving import DeriveOptions
from trugrade_core.workspace import Workspace

PARTS = {"corner": "four corners", "edge": "strips along the four edges", "surface": "the face"}
NOBODY, ANY_CLASS, BY_DPI = "leave them out", "the card's edge, whatever it is called", "not needed: the dpi is known"
SHOWN = 200


def show(ws: Workspace, dataset: str) -> None:
    """The form, and below it what became of the last cutting. `dataset` is where crops go when its task looks at
    regions, else the scans that are cut."""
    task = task_of(Dataset.open(ws, dataset))
    is_target = _is_of_crops(ws, dataset)
    sources = [name for name in state.dataset_names(ws) if not _is_of_crops(ws, name)] if is_target else [dataset]
    if not sources:
        look.empty("No scans to cut yet", "Crops come from whole scans in another dataset, on which the card's outline is drawn.",
                   icon="content_cut", action=look.IMPORT, view="import", dataset="")  # fmt: skip
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        source, to, options = _form(ws, dataset, sources, task if is_target else None)
        if st.button("Cut regions", type="primary", icon=":material/content_cut:", disabled=not to, key="derive-go"):
            with look.errors("starting to cut"):
                job = deriving.start_derive(ws, source, to, options, who=state.who())
                state.keep(job=job.id)
    with right, look.errors("looking where it would be cut"):
        _preview(ws, source, options)
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=report)
    if is_target:
        carry_form.show(ws, dataset)


def _is_of_crops(ws: Workspace, dataset: str) -> bool:
    task = task_of(Dataset.open(ws, dataset))
    return task is not None and task.region is not None


def _form(ws: Workspace, dataset: str, sources: list[str], fixed: Task | None) -> tuple[str, str, DeriveOptions]:
    """(dataset of scans, dataset of crops, options)."""
    if fixed:
        source = st.selectbox("Scans of", sources, key="derive-source")
        task, to = fixed, dataset
        st.caption(words(task))
    else:
        source = dataset
        task = st.selectbox(
            "Cut for", deriving.derivable(), format_func=lambda row: row.title, key=f"derive-task-{dataset}"
        )
        st.caption(words(task))
        part = task.region.part if task.region else ""
        to = st.text_input(
            "Into the dataset", value=f"{dataset}-surface" if part == "surface" else f"{dataset}-{part}s",
            key=f"derive-to-{dataset}-{task.id}", help="Made when it is not there. Cutting again adds only what is new.",
        )  # fmt: skip
    classes = [ANY_CLASS, *(c.name for c in Dataset.open(ws, source).classes)]
    label = st.selectbox("The outline is drawn as", classes, key=f"derive-outline-{source}")
    runs = [NOBODY, *(run.id for run in state.trained(ws) if str(state.job(run).get("task", "")).startswith("border_"))]
    model = st.selectbox(
        "Cards nobody has outlined", runs, key="derive-model",
        format_func=lambda run: run if run == NOBODY else f"as found by {run}",
    )  # fmt: skip
    with st.expander("More", icon=":material/tune:"):
        refine = st.toggle("Turn upright boxes to the card's real edges", value=True, key="derive-refine",
                           help="On measured scans a corner is then 0.01 mm off, not 0.14 mm.")  # fmt: skip
        format = st.selectbox(
            "Card format, for photographs", [BY_DPI, *FORMATS], key="derive-format",
            format_func=lambda f: f if f == BY_DPI else f"{f}: {FORMATS[f][0]:g} × {FORMATS[f][1]:g} mm",
        )  # fmt: skip
        everything = st.toggle("Carry labels of every class, not only the task's", key="derive-all")
        whole = st.toggle("Give each crop the scan's scores and tags", key="derive-whole")
        limit = st.number_input("Only the first scans", min_value=1, value=None, placeholder="all", key="derive-limit")
    options = DeriveOptions(
        task=task.id, outline="" if label == ANY_CLASS else label, outline_from="" if model == NOBODY else model,
        format="" if format == BY_DPI else format, refine=refine, all_classes=everything, whole_labels=whole,
        limit=limit, who=state.who(),
    )  # fmt: skip
    return source, to.strip(), options


def words(task: Task) -> str:
    """What is cut for a task, with its sizes."""
    region = task.region
    if region is None:
        return "Nothing is cut for this task: it looks at whole scans."
    if region.size_mm is None:
        size = "whole"
    else:
        size = f"{region.size_mm[0]:g} × {region.size_mm[1]:g} mm" + (" tiles" if region.part == "surface" else " each")
    margin = f", {region.margin_mm:g} mm of it outside the card" if region.margin_mm else ""
    overlap = f", overlapping by {region.overlap_mm:g} mm or more" if region.overlap_mm else ""
    return f"{look.sentence(PARTS[region.part])}, {size}{margin}{overlap}; at the scan's own resolution."


def _preview(ws: Workspace, source: str, options: DeriveOptions) -> None:
    ds = Dataset.open(ws, source)
    now = state.stamp(ds.samples_path), state.stamp(ds.log_path)
    key = ("derive preview", source, options.model_dump_json())
    found = state.cached(key, now, lambda: deriving.preview(ws, source, options))
    if found is None:
        look.empty("No scans yet", f"'{source}' holds no pictures.", icon="photo_library")
        return
    shapes = [
        overlay.Shape(points=list(points), label=region, color=overlay.CLASS_COLORS[n % 2], dash=False)
        for n, (region, points) in enumerate(found.regions.items())
    ]
    if found.corners:
        shapes.append(overlay.Shape(points=list(found.corners), label="", color=overlay.MISSING_COLOR, dash=True))
    look.linked(f'<div style="max-width:24rem">{overlay.thumb(found.sample, shapes)}</div>', key="derive-preview")
    name = overlay.name_of(found.sample)
    if found.reason:
        more = " A model may find it." if options.outline_from else ""
        st.caption(f"{name} would be left out: {found.reason}.{more}")
    else:
        st.caption(f"{name}: {look.count(len(found.regions), 'region')} (outline as drawn)")


def report(found: dict[str, Any], _args: dict[str, Any]) -> None:
    """What a cutting came to, and what it left out and why."""
    skipped = found["skipped"]
    facts = [
        ("new crops", f"{found['derived']:,}", f"of {look.count(found['scans'], 'scan')}"),
        ("unchanged", f"{found['unchanged']:,}", ""),
        (
            "superseded",
            f"{found['superseded']:,}",
            "cut elsewhere now; kept, left out of versions" if found["superseded"] else "",
        ),
        ("labels carried", f"{found['labels']:,}", ""),
        ("left out", f"{len(skipped):,}", "with the reason below" if skipped else ""),
    ]
    st.html(look.facts(facts))
    for note in found["notes"]:
        st.caption(page_words.said(note))
    if found["padded"]:
        reach, are = ("reaches", "is") if found["padded"] == 1 else ("reach", "are")
        st.caption(
            f"{look.count(found['padded'], 'crop')} {reach} out of the scan and {are} black there, at most {100 * found['most_padding']:.0f} %."
        )
    if skipped:
        with st.expander(f"Left out: {len(skipped):,}", expanded=len(skipped) <= 20):
            look.table(
                ["scan", "region", "why"],
                [[look.clip(row["source"]), escape(row["region"] or "all"), escape(page_words.said(row["reason"]))] for row in skipped[:SHOWN]],
                key="derive-skipped",
            )  # fmt: skip
            if len(skipped) > SHOWN:
                st.caption(f"The first {SHOWN} of {len(skipped):,}; the job's folder holds them all.")
    if found["scans"] and st.button("Look at the crops", icon=":material/arrow_forward:", key="derive-next"):
        state.go("datasets", dataset=found["dataset"], view="browse", job="")
