"""Datasets: what do I have, is it good?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import (
    browse,
    derive_form,
    guidelines_panel,
    import_form,
    jobcard,
    label_studio_panel,
    look,
    state,
    versions_panel,
)
from trugrade_core.errors import TruGradeError
from trugrade_core.runs import RunFolder
from trugrade_core.workflows import datasets, exploring
from trugrade_core.workspace import Workspace

LOOKED_AT = 200  # runs
VIEWS = {
    "browse": "Browse",
    "versions": "Versions and splits",
    "import": "Import",
    "derive": "Cut regions",
    "guidelines": "Guidelines",
    "label_studio": "Label Studio",
}
PANELS = {
    "versions": versions_panel.show,
    "import": import_form.show,
    "derive": derive_form.show,
    "guidelines": guidelines_panel.show,
    "label_studio": label_studio_panel.show,
}


def main() -> None:
    ws = state.workspace()
    name = st.query_params.get("dataset", "").partition("@")[0]
    view = st.query_params.get("view", "")
    if name and (view != "import" or name in state.dataset_names(ws)):
        with look.errors("opening the dataset"):
            _one(ws, name, view if view in VIEWS else "browse")
    elif view == "import":
        with look.head("Import images"):
            if st.button("All datasets", icon=":material/arrow_back:"):
                state.go("datasets", dataset="", view="", sample="")
        import_form.show(ws, name)
    else:
        _all(ws)


def _all(ws: Workspace) -> None:
    rows = state.dataset_rows(ws)
    with look.head("Datasets", note=look.count(len(rows), "dataset") if rows else ""):
        if st.button("Make synthetic cards", icon=":material/auto_awesome:"):
            _synth(ws)
        if rows and st.button("Import images", type="primary", icon=":material/upload:"):
            state.go("datasets", view="import", dataset="", sample="", job="")
    if job_id := st.query_params.get("job"):
        jobcard.show(job_id, done=_made)
    if not rows:
        look.empty(
            "No dataset yet",
            "A dataset is a set of card scans with what is drawn on them. Bring a folder, COCO, YOLO or Pascal VOC, or make synthetic cards.",
            icon="photo_library",
            action=look.IMPORT,
            view="import",
        )
        return
    newest = _newest_runs(ws)
    look.table(
        ["dataset", "cards", "samples", "labelled", "newest version", "last run", "classes"],
        [_row(row, newest.get(row["name"])) for row in rows[:200]],
        key="datasets",
        right=(1, 2),
    )


def _made(found: dict[str, Any], _args: dict[str, Any]) -> None:
    st.caption(f"{look.count(found.get('images', 0), 'new card')} in {found.get('dataset', '')}")


def _newest_runs(ws: Workspace) -> dict[str, RunFolder]:
    """{dataset: the newest of its runs}."""
    found: dict[str, RunFolder] = {}
    for folder in state.runs(ws)[:LOOKED_AT]:
        found.setdefault(str(state.job(folder).get("dataset", "")).partition("@")[0], folder)
    return found


def _row(row: dict[str, Any], run: RunFolder | None) -> list[str]:
    return [
        look.link("datasets", look.clip(row["name"], 16), dataset=row["name"], sample="", view="browse"),
        f"{row['cards']:,}",
        f"{row['samples']:,}",
        look.labelled(row),
        look.newest_version(row),
        _last_run(run) if run else "none yet",
        look.clip(", ".join(row["classes"]) or "none yet", 9),
    ]


def _last_run(run: RunFolder) -> str:
    row = state.run_row(run)
    said = (
        look.badge(row["state"])
        if row["main_metric"] is None
        else look.metric(row["main_metric_name"], row["main_metric"])
    )
    words = look.metric_words(row["main_metric_name"])[0] if row["main_metric"] is not None else ""
    return look.link("monitor", said, run=run.id, title=words)


@st.dialog("Make synthetic cards")
def _synth(ws: Workspace) -> None:
    st.caption("Cards whose borders are known exactly, in pixels and millimetres.")
    name = st.text_input("Dataset", value="synthetic-cards")
    left, middle, right = st.columns(3)
    count = left.number_input("Cards", min_value=1, max_value=100_000, value=50)
    dpi = middle.number_input("Resolution  :small[:gray[dpi]]", min_value=50, max_value=1200, value=600)
    seed = right.number_input("Seed", min_value=0, value=0, help="The same seed makes the same cards.")
    if st.button("Make them", type="primary"):
        with look.errors("starting"):
            job = datasets.start_synth(ws, name, count=count, dpi=dpi, seed=seed, who=state.who())
            state.go("datasets", job=job.id, dataset="", view="", sample="")


# --- one dataset --------------------------------------------------------------------------------------------------


def _one(ws: Workspace, name: str, view: str) -> None:
    try:
        classes = state.dataset(ws, name).classes
    except TruGradeError as e:
        with look.head("Datasets"):
            if st.button("All datasets", type="primary", icon=":material/arrow_back:"):
                state.go("datasets", dataset="", view="", sample="")
        look.error(e)
        return
    sample = st.query_params.get("sample", "")
    found = state.explorer(ws, name) if sample or view == "browse" else None
    versions = state.version_names(ws, name)
    counts = exploring.counts(ws, name)
    chips = [
        look.chip(look.count(counts["cards"], "card"), icon="style"),
        look.chip(f"@{versions[0]}" if versions else "no version yet", icon="sell"),
    ]
    # Forms bring a primary button of their own.
    is_first = bool(sample) or view in ("browse", "versions")
    with look.head(name, chips=chips):
        if versions:
            if st.button("Train on it", type="primary" if is_first else "secondary", icon=":material/tune:"):
                state.go("train", dataset=f"{name}@{versions[0]}")
        elif (
            view == "browse"
            and counts["samples"]
            and st.button("Split and keep a version", type="primary", icon=":material/call_split:")
        ):
            state.go("datasets", dataset=name, view="versions")
    if found and sample:
        browse.detail(found, classes, sample)
        return
    chosen = st.segmented_control(
        "View",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        default=view,
        required=True,
        label_visibility="collapsed",
        key=f"view-{name}-{view}",
    )
    if chosen != view:
        state.go("datasets", dataset=name, view=chosen)
    if found:
        browse.grid(ws, found, classes)
    else:
        PANELS[view](ws, name)


main()
